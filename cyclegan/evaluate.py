"""Scores: how near a generator's pictures come to the truth, or to the other domain.

N batch, C channels, H height, W width. Pictures are uint8 (H, W, C); a *translate* takes one and
gives one of the same size.

Where there is an aligned truth, pictures are compared one by one and averaged (``Scores``). Where
there is none, two sets are compared by what a trained classifier sees in them (``Distances``).
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from cyclegan.config import SSIM_WINDOW
from cyclegan.data import pictures_from_tensor, tensor_from_pictures
from cyclegan.errors import UNIMPORTABLE, BackendError, DataError, ImageError, reason_of
from cyclegan.pictures import Channels, Picture, list_pictures, read_picture
from cyclegan.sizes import size_text
from cyclegan.sources import names_to_pair

Translate = Callable[[Picture], Picture]
INCEPTION = 2048
"""The layer of the Inception network that FID and KID are usually taken from."""
_WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
"""The file of torch-fidelity with those of the Inception network."""


def import_metrics() -> Any:
    """torchmetrics, which computes scores. Raises BackendError where it cannot be imported.

    It imports torchvision wherever that is installed, as it is beside torch-fidelity.
    """
    try:
        import torchmetrics.image.fid
        import torchmetrics.image.kid
    except (*UNIMPORTABLE, RuntimeError, AttributeError) as error:  # torchvision raises any of them
        raise BackendError(
            f"scores need torchmetrics, which cannot be imported: {reason_of(error)}. The usual "
            "cause is a torchvision of another build than the PyTorch that is installed "
            f"({torch.__version__}): install the torchvision of the same build, from where PyTorch "
            "came from; or, for scores of pairs alone, uninstall torchvision and torch-fidelity"
        ) from error
    return torchmetrics


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Means over the pictures of one set; colours in [0, 1]."""

    count: int
    """Pictures compared."""
    l1: float
    """Mean absolute difference; lower is better."""
    psnr: float
    """Peak signal-to-noise ratio in dB; higher is better, infinite for equal pictures."""
    ssim: float
    """Structural similarity (Wang et al. 2004), at most 1; higher is better. Windows that reach
    over the border see the picture mirrored there; ``losses.ssim`` leaves them out."""
    gradient_correlation: float
    """Whether edges lie and rise alike, in [-1, 1]; see ``gradient_correlation``."""
    inverted: float
    """Share of pictures drawn light where the truth is dark: luminance correlated below zero."""


def translate_from_generator(generator: nn.Module) -> Translate:
    """The float32 ``generator`` in eval mode as a translate. Sides must fit its down-samplings."""

    def translate(picture: Picture) -> Picture:
        training = generator.training
        generator.eval()
        try:
            with torch.inference_mode():
                x = tensor_from_pictures([picture])
                x = x.to(next(generator.parameters()).device)
                return cast(Picture, pictures_from_tensor(generator(x))[0])
        finally:
            generator.train(training)

    return translate


def evaluate_pairs(
    translate: Translate | nn.Module, pairs: Iterable[tuple[Picture, Picture]]
) -> Scores:
    """Scores of ``translate`` (or a generator) over aligned pairs (input, truth).

    Raises DataError if there is no pair, an output differs in shape from its truth, or a side has
    fewer than 11 pixels, and BackendError if torchmetrics cannot be imported.
    """
    if isinstance(translate, nn.Module):
        translate = translate_from_generator(translate)
    each = []
    for given, truth in pairs:
        output = translate(given)
        with _one_thread():
            each.append(_compare(output, truth))
    if not each:
        raise DataError("no pair of pictures to evaluate; expected at least one")
    return Scores(
        count=len(each), **{name: float(np.mean([one[name] for one in each])) for name in each[0]}
    )


def _compare(output: Picture, truth: Picture) -> dict[str, float]:
    metrics = import_metrics().functional.image
    if output.shape != truth.shape:
        raise DataError(
            f"an output of shape {output.shape} has a truth of shape {truth.shape}; "
            "expected equal shapes"
        )
    check_side(truth)
    x, y = (_unit(picture) for picture in (output, truth))
    return {
        "l1": (x - y).abs().mean().item(),
        "psnr": metrics.peak_signal_noise_ratio(x, y, data_range=1.0).item(),
        "ssim": metrics.structural_similarity_index_measure(x, y, data_range=1.0).item(),
        "gradient_correlation": gradient_correlation(output, truth),
        "inverted": float(luminance_correlation(output, truth) < 0),
    }


def check_side(picture: Picture) -> None:
    """Raises DataError for a picture that holds no window of SSIM, which would be no number."""
    if min(picture.shape[:2]) < SSIM_WINDOW:
        raise DataError(
            f"a picture to score is {size_text(picture.shape[:2])}; SSIM compares windows of "
            f"{SSIM_WINDOW} pixels, so expected at least as many"
        )


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Small tensors lose more to waiting threads than they gain, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _unit(picture: Picture) -> Tensor:
    """uint8 (H, W, C) -> float32 (1, C, H, W) in [0, 1]."""
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255


def _luminance(picture: Picture) -> Tensor:
    """uint8 (H, W, C) -> float64 (H, W): ITU-R BT.601 luma of a scale of its own.

    Whole numbers, whose sums are exact: a flat picture of any size is 0 beside its mean.
    """
    weights = np.array([299.0, 587.0, 114.0] if picture.shape[2] == 3 else [1.0])
    return torch.from_numpy(picture @ weights)


def _cosine(x: Tensor, y: Tensor) -> float:
    """Of the angle between two tensors as vectors; 0 if one is zero."""
    length = x.norm() * y.norm()
    return (x * y).sum().div(length).item() if length > 0 else 0.0


def gradient_correlation(x: Picture, y: Picture) -> float:
    """Cosine of the angle between the gradient fields of two pictures' luminance.

    sum(grad x . grad y) / sqrt(sum |grad x|^2 * sum |grad y|^2) over all pixels, gradients by
    central differences: 1 for equal edges whatever the brightness, 0 for unrelated ones or a flat
    picture, -1 for a negative.
    """
    first, second = (torch.stack(torch.gradient(_luminance(picture))) for picture in (x, y))
    return _cosine(first, second)


def luminance_correlation(x: Picture, y: Picture) -> float:
    """Pearson correlation of two pictures' luminance, in [-1, 1]; 0 if one of them is flat.

    Between an input and its output it tells, without any truth, whether light and dark were
    exchanged; some pairs of domains call for that.
    """
    first, second = (luminance - luminance.mean() for luminance in map(_luminance, (x, y)))
    return _cosine(first, second)


def baselines(inputs: Sequence[Picture], targets: Sequence[Picture]) -> dict[str, Translate]:
    """What a generator should beat, from pictures of both domains; these need not be paired.

    ``identity`` changes nothing; ``constant colour`` paints the median colour of the targets, which
    is the best constant for L1; ``mean/std match`` scales and shifts each channel so that the
    inputs' mean and standard deviation become the targets'.
    """
    source, target = _moments(inputs), _moments(targets)
    median = np.median(_pixels(targets), axis=0)

    def constant(picture: Picture) -> Picture:
        return np.full(picture.shape, np.rint(median), np.uint8)

    def match(picture: Picture) -> Picture:
        standard = (picture - source[0]) / np.maximum(source[1], 1e-6)
        matched: Picture = np.rint(standard * target[1] + target[0]).clip(0, 255).astype(np.uint8)
        return matched

    return {"identity": lambda p: p, "constant colour": constant, "mean/std match": match}


def _pixels(pictures: Sequence[Picture]) -> Picture:
    return np.concatenate([picture.reshape(-1, picture.shape[2]) for picture in pictures])


def _moments(pictures: Sequence[Picture]) -> tuple[Any, Any]:
    pixels = _pixels(pictures)
    return pixels.mean(0, dtype=np.float64), pixels.std(0, dtype=np.float64)


def paired_folders(inputs: Path | str, truths: Path | str) -> list[tuple[Path, Path]]:
    """Pictures of two folders, paired by path within the folder; the suffix may differ.

    Raises DataError if a folder has no pictures, two of one name, or a picture has no partner.
    """
    found = [_by_name(Path(home)) for home in (inputs, truths)]
    alone = sorted(
        str(found[0].get(name, found[1].get(name))) for name in set(found[0]) ^ set(found[1])
    )
    if alone:
        raise DataError(
            f"{len(alone)} pictures under {inputs} and {truths} have no partner of the same name, "
            f"such as {alone[0]}; expected every picture in both"
        )
    return [(found[0][name], found[1][name]) for name in sorted(found[0])]


def _by_name(home: Path) -> dict[str, Path]:
    named: dict[str, Path] = {}
    paths = list_pictures(home)
    for name, path in zip(names_to_pair(home, paths), paths):
        other = named.setdefault(name, path)
        if other != path:
            raise DataError(f"{other} and {path} have one name; expected one picture of each name")
    return named


def evaluate_folders(
    translate: Translate | nn.Module,
    inputs: Path | str,
    truths: Path | str,
    channels: tuple[Channels, Channels] = (3, 3),
) -> Scores:
    """Scores over the pictures of ``inputs`` against those of the same names in ``truths``.

    ``channels`` are those that the pictures of each are read with. Raises ImageError and DataError,
    naming the pictures that cannot be scored, and BackendError if torchmetrics cannot be imported.
    """
    pair: list[Path] = []

    def pictures() -> Iterator[tuple[Picture, Picture]]:
        for given, truth in paired_folders(inputs, truths):
            pair[:] = given, truth
            yield read_picture(given, channels[0]), read_picture(truth, channels[1])
        pair.clear()

    try:
        return evaluate_pairs(translate, pictures())
    except DataError as error:
        if not pair or isinstance(error, ImageError):
            raise
        raise DataError(f"{pair[0]} against {pair[1]}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Distances:
    """How far two sets of pictures are apart for an Inception network; lower is better."""

    count: int
    """Pictures of the smaller set."""
    fid: float
    """Frechet inception distance (Heusel et al. 2017); biased upward for small sets."""
    kid: float
    """Kernel inception distance (Binkowski et al. 2018), mean over 100 random subsets of 1000
    pictures, or as many as the smaller set has; unbiased."""
    kid_std: float
    """Standard deviation of the KID over subsets, of half of the smaller set at most."""


def distances(
    fakes: Iterable[Picture], reals: Iterable[Picture], features: int | nn.Module = INCEPTION
) -> Distances:
    """FID and KID between two sets of uint8 (H, W, 1 or 3) pictures, gray in three equal channels.

    The subsets of KID are the same in every call. ``features``: layer of the Inception network, or
    a network (N, 3, H, W) uint8 -> (N, F). Raises BackendError if torch-fidelity is missing,
    torchmetrics cannot be imported or the weights cannot be had, DataError for sets of fewer than
    two pictures.
    """
    metrics = _metrics(_inception(features) if isinstance(features, int) else features)
    counts = [0, 0]
    for real, pictures in enumerate((fakes, reals)):
        for picture in pictures:
            batch = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].expand(-1, 3, -1, -1)
            for metric in metrics:
                metric.update(batch, real=bool(real))
            counts[real] += 1
    _check_counts(*counts)
    fid, kid = metrics
    count = min(counts)
    size = min(kid.subset_size, count)
    part = min(size, max(2, count // 2))
    mean, deviation = _over_subsets(kid, size)
    if part < size:  # those of the whole of a set hardly differ
        _, deviation = _over_subsets(kid, part)
    return Distances(
        count=count, fid=fid.compute().item(), kid=mean.item(), kid_std=deviation.item()
    )


def _over_subsets(kid: Any, size: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over subsets of ``size`` pictures, the same in every call."""
    kid.subset_size = size
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed is also of GPUs
        return cast(tuple[Tensor, Tensor], kid.compute())


def check_distances(first: int, second: int) -> nn.Module:
    """The Inception network for ``distances`` between sets of so many pictures.

    Raises DataError where these are too small for FID and KID, BackendError where the distances
    cannot be computed, saying what is missing.
    """
    _check_counts(first, second)
    return _inception(INCEPTION)


def _check_counts(first: int, second: int) -> None:
    if min(first, second) < 2:
        raise DataError(
            f"FID and KID compare sets of pictures, got {first} and {second}; expected at least 2 "
            "each, or pairs of the same names"
        )


def _metrics(network: nn.Module) -> tuple[Any, Any]:
    image = import_metrics().image
    return (
        image.fid.FrechetInceptionDistance(feature=network),
        image.kid.KernelInceptionDistance(feature=network, compute_with_cache=False),
    )


def _inception(layer: int) -> nn.Module:
    """As torchmetrics makes it of torch-fidelity's, with its weights."""
    image = import_metrics().image
    try:
        network: Any = image.fid.FrechetInceptionDistance(feature=layer).inception
    except ModuleNotFoundError as error:
        raise BackendError(
            "FID and KID need torch-fidelity; install it by: pip install 'cyclegan-engine[fid]'"
        ) from error
    except Exception as error:  # a damaged file is instructions to its unpickler: anything
        file = Path(torch.hub.get_dir(), "checkpoints", _WEIGHTS)
        reason = reason_of(error).partition("\n")[0]
        if file.exists():
            raise BackendError(
                f"{file} does not hold the Inception weights that FID and KID need, or is damaged "
                f"({reason}); remove it: it is fetched anew"
            ) from error
        raise BackendError(
            f"the Inception weights that FID and KID need could not be fetched ({reason}); connect "
            f"to the network once, or put them into {file}"
        ) from error
    network.num_features = layer  # else torchmetrics runs it to see how many it gives
    return cast(nn.Module, network)
