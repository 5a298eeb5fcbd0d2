"""Scores against hand-made pictures, baselines on the built-in data, and clear refusals."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cyclegan import evaluate, sample_data
from cyclegan.config import ResnetConfig
from cyclegan.errors import BackendError, DataError
from cyclegan.evaluate import (
    baselines,
    distances,
    evaluate_folders,
    evaluate_pairs,
    gradient_correlation,
    luminance_correlation,
    translate_from_generator,
)
from cyclegan.networks import ResnetGenerator
from cyclegan.pictures import Picture, write_picture


def noise(seed: int, size: int = 32) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def test_equal_pictures_score_perfectly() -> None:
    scores = evaluate_pairs(lambda picture: picture, [(noise(0), noise(0))] * 2)
    assert scores.count == 2
    assert (scores.l1, scores.psnr, scores.inverted) == (0, float("inf"), 0)
    assert scores.ssim == pytest.approx(1)
    assert scores.gradient_correlation == pytest.approx(1)


def test_scores_are_means_of_known_figures() -> None:
    black = np.zeros((16, 16, 3), np.uint8)
    pairs = [(black + np.uint8(51), black), (black + np.uint8(102), black)]
    scores = evaluate_pairs(lambda picture: picture, pairs)
    assert scores.l1 == pytest.approx((0.2 + 0.4) / 2)
    assert scores.psnr == pytest.approx((-20 * np.log10(0.2) - 20 * np.log10(0.4)) / 2)
    # Of two flat pictures, of which one is black, only (Wang et al. 2004) the first constant stays.
    assert scores.ssim == pytest.approx((1e-4 / (0.2**2 + 1e-4) + 1e-4 / (0.4**2 + 1e-4)) / 2, 1e-3)
    assert (scores.gradient_correlation, scores.inverted) == (0, 0)


def test_negatives_are_inverted() -> None:
    assert evaluate_pairs(lambda p: 255 - p, [(noise(1), noise(1))]).inverted == 1
    assert gradient_correlation(noise(1), 255 - noise(1)) == pytest.approx(-1)
    assert luminance_correlation(noise(1), 255 - noise(1)) == pytest.approx(-1)


def test_correlations_ignore_brightness_and_contrast() -> None:
    dim = noise(2) // 2 + 20
    assert gradient_correlation(noise(2), dim) > 0.999
    assert luminance_correlation(noise(2), dim) > 0.999


def test_luminance_is_that_of_gray_pictures() -> None:
    gray = np.asarray(Image.fromarray(noise(3)).convert("L"))[..., None]
    assert luminance_correlation(noise(3), gray) > 0.9999


def test_correlations_of_unrelated_and_flat_pictures_vanish() -> None:
    for measure in (gradient_correlation, luminance_correlation):
        assert abs(measure(noise(3, 128), noise(4, 128))) < 0.03
        assert measure(noise(3), np.full((32, 32, 3), 77, np.uint8)) == 0


@pytest.mark.parametrize("colour", [(48, 33, 204), (91, 7, 13)])
def test_large_flat_pictures_are_flat_too(colour: tuple[int, int, int]) -> None:
    flat = np.full((1080, 1920, 3), colour, np.uint8)
    assert luminance_correlation(flat, noise(3, 1920)[:1080]) == 0


def test_correlations_work_on_one_channel() -> None:
    gray = noise(5)[..., :1]
    assert gradient_correlation(gray, gray) == pytest.approx(1)


def test_outputs_must_fit_their_truth() -> None:
    with pytest.raises(DataError, match=r"\(32, 32, 3\).*\(16, 16, 3\)"):
        evaluate_pairs(lambda picture: picture, [(noise(0), noise(0, 16))])
    with pytest.raises(DataError, match="no pair"):
        evaluate_pairs(lambda picture: picture, [])


def test_pictures_without_a_window_of_ssim_are_refused() -> None:
    """Their SSIM was no number, or an error of PyTorch's where not even the border fits."""
    assert evaluate_pairs(lambda picture: picture, [(noise(0, 11),) * 2]).ssim == pytest.approx(1)
    for narrow in (noise(0, 10), noise(0)[:, :4]):
        with pytest.raises(DataError, match=r"x\d+; SSIM compares windows of 11 pixels"):
            evaluate_pairs(lambda picture: picture, [(narrow, narrow)])


def test_a_generator_is_run_in_eval_mode_and_left_as_it_was() -> None:
    torch.manual_seed(0)
    generator = ResnetGenerator(ResnetConfig(width=4, blocks=1, dropout=True))
    translate = translate_from_generator(generator)
    first, again = translate(noise(0)), translate(noise(0))
    assert np.array_equal(first, again)
    assert generator.training
    translate_from_generator(generator.eval())(noise(0))
    assert not generator.training
    generator.train()
    with torch.inference_mode():
        x = torch.from_numpy(noise(0).transpose(2, 0, 1)[None]).float() / 127.5 - 1
        expected = (generator.eval()(x)[0].permute(1, 2, 0) + 1) * 127.5
    assert np.abs(first - expected.numpy()).max() <= 0.51
    assert evaluate_pairs(generator, [(noise(0), first)]).l1 == 0


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        evaluate_pairs(lambda picture: picture, [(noise(0), noise(0))])
        assert torch.get_num_threads() == 2
        with pytest.raises(DataError):
            evaluate_pairs(lambda picture: picture, [(noise(0), noise(0, 16))])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_mean_std_match_has_the_moments_of_the_targets() -> None:
    inputs = [noise(seed) // 4 + 60 for seed in range(3)]
    targets = [noise(seed) // 2 + np.uint8([10, 40, 90]) for seed in range(3, 6)]
    match = baselines(inputs, targets)["mean/std match"]
    matched = np.stack([match(picture) for picture in inputs]).astype(float)
    assert np.abs(matched.mean((0, 1, 2)) - np.mean(targets, (0, 1, 2))).max() < 0.1
    assert np.abs(matched.std((0, 1, 2)) - np.std(targets, (0, 1, 2))).max() < 0.3


def test_mean_std_match_gives_pictures_whatever_it_is_given() -> None:
    flat = np.full((8, 8, 3), 100, np.uint8)
    match = baselines([flat], [noise(0)])["mean/std match"]
    mean = noise(0).mean((0, 1))
    assert np.abs(match(flat) - mean).max() <= 0.5
    for extreme in (0, 255):
        assert (match(np.full_like(flat, extreme)) == extreme).all()


def test_no_other_constant_is_better() -> None:
    targets = [noise(seed) // 3 + np.uint8([10, 40, 90]) for seed in range(3)]
    constant = baselines(targets, targets)["constant colour"](noise(0))
    assert constant.shape == (32, 32, 3)
    colour = constant[0, 0].astype(float)
    error = np.abs(np.stack(targets) - colour).mean((0, 1, 2))
    for step in (-3, 3):
        assert (np.abs(np.stack(targets) - (colour + step)).mean((0, 1, 2)) > error).all()


def test_baselines_on_the_built_in_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """On crops of at least a quarter of land, for which these figures were found before."""
    monkeypatch.setattr(sample_data, "LAND", (0.25, 1.0))
    relief, satellite = sample_data.evaluation_pairs(62, 128)
    methods = baselines(*sample_data.training_crops(100, 128))
    scores = {name: evaluate_pairs(run, zip(relief, satellite)) for name, run in methods.items()}
    assert scores["identity"].l1 == pytest.approx(0.378, abs=0.03)
    assert scores["mean/std match"].l1 == pytest.approx(0.200, abs=0.035)
    assert scores["mean/std match"].psnr == pytest.approx(12.9, abs=1.3)
    assert scores["constant colour"].l1 == pytest.approx(0.158, abs=0.03)
    assert scores["constant colour"].gradient_correlation == 0


def test_folders_are_paired_by_name(tmp_path: Path) -> None:
    for number, name in enumerate(("one", "deep/two")):
        write_picture(noise(number), tmp_path / "in" / f"{name}.png")
        write_picture(255 - noise(number), tmp_path / "truth" / f"{name}.bmp")
    scores = evaluate_folders(lambda p: 255 - p, tmp_path / "in", tmp_path / "truth")
    assert (scores.count, scores.l1) == (2, 0)
    write_picture(noise(9), tmp_path / "in" / "alone.png")
    with pytest.raises(DataError, match=r"1 pictures .*alone\.png"):
        evaluate_folders(lambda p: p, tmp_path / "in", tmp_path / "truth")
    write_picture(noise(9), tmp_path / "in" / "alone.bmp")
    with pytest.raises(DataError, match=r"alone\.bmp and .*alone\.png have one name"):
        evaluate_folders(lambda p: p, tmp_path / "in", tmp_path / "truth")
    for suffix in ("png", "bmp"):
        (tmp_path / "in" / f"alone.{suffix}").unlink()
    write_picture(noise(9), tmp_path / "truth" / "alone.png")
    with pytest.raises(DataError, match=r"1 pictures .*truth/alone\.png"):
        evaluate_folders(lambda p: p, tmp_path / "in", tmp_path / "truth")


def test_the_pair_that_cannot_be_scored_is_named(tmp_path: Path) -> None:
    for folder, sides in (("a", (20, 20)), ("b", (20, 24))):
        (tmp_path / folder).mkdir()
        for name, side in zip(("1.png", "2.png"), sides):
            write_picture(np.zeros((20, side, 3), np.uint8), tmp_path / folder / name)
    with pytest.raises(DataError, match=r"a/2\.png against .*b/2\.png: an output of shape"):
        evaluate_folders(lambda picture: picture, tmp_path / "a", tmp_path / "b")


def test_folders_are_read_with_the_channels_of_the_generator(tmp_path: Path) -> None:
    for domain in ("in", "truth"):
        write_picture(noise(1)[..., :1], tmp_path / domain / "gray.png")

    def coloured(picture: Picture) -> Picture:
        return picture.repeat(3, axis=2)

    found = evaluate_folders(coloured, tmp_path / "in", tmp_path / "truth", channels=(1, 3))
    assert found.l1 == 0


class MeanColour(nn.Module):
    """A stand-in for the Inception network that needs no weights: four features of colour."""

    num_features = 4

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = pictures.float() / 255
        return torch.cat([x.mean((2, 3)), x.std((1, 2, 3))[:, None]], 1)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`:UserWarning")
def test_distances_tell_near_sets_from_far_ones() -> None:
    reals = [noise(seed) for seed in range(12)]
    near = distances([noise(seed) for seed in range(12, 24)], reals, MeanColour())
    far = distances([noise(seed) // 2 for seed in range(12, 24)], reals, MeanColour())
    assert near.count == 12
    assert 0 <= near.fid < far.fid / 100
    assert near.kid < far.kid
    assert far.fid == pytest.approx(3 * 0.25**2 + (0.5 * np.sqrt(1 / 12)) ** 2, rel=0.1)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`:UserWarning")
def test_kid_of_small_sets_is_exact_and_deviates_over_halves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def smaller(features: int | nn.Module) -> tuple[Any, Any]:
        fid, kid = metrics(features)
        kid.subset_size = usual
        return fid, kid

    metrics, usual = evaluate._metrics, 1000
    monkeypatch.setattr(evaluate, "_metrics", smaller)
    fakes, reals = ([noise(s) // n for s in range(10 * n, 10 * n + 8)] for n in (1, 2))
    x, y = (
        torch.cat([MeanColour()(torch.from_numpy(p).permute(2, 0, 1)[None]) for p in side])
        for side in (fakes, reals)
    )
    alike, apart = ([(a @ b.T / 4 + 1) ** 3 for a, b in s] for s in ([(x, x), (y, y)], [(x, y)]))
    exact = sum((k.sum() - k.trace()) / 56 for k in alike) - 2 * apart[0].mean()
    small = distances(fakes, reals, MeanColour())
    assert small.count == 8
    assert small.kid == pytest.approx(float(exact), rel=1e-4)
    assert 1e-3 * small.kid < small.kid_std < small.kid
    assert distances(fakes[:7], reals, MeanColour()).count == 7, "of the smaller set"
    usual = 4
    assert distances(fakes, reals, MeanColour()).kid_std == small.kid_std
    usual = 3
    assert distances(fakes, reals, MeanColour()).kid_std > small.kid_std


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`:UserWarning")
def test_distances_of_the_same_sets_agree_and_leave_the_random_numbers_as_they_are() -> None:
    fakes, reals = ([noise(s) // n for s in range(10 * n, 10 * n + 8)] for n in (1, 2))
    before = torch.get_rng_state()
    found = [distances(fakes, reals, MeanColour()) for _ in range(2)]
    assert found[0] == found[1]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`:UserWarning")
def test_distances_of_gray_pictures_are_those_of_three_equal_channels() -> None:
    gray = [noise(seed)[..., :1] for seed in range(8)]
    colour = [picture.repeat(3, axis=2) for picture in gray]
    one, three = (distances(x[:4], x[4:], MeanColour()) for x in (gray, colour))
    assert one.fid == pytest.approx(three.fid, abs=1e-6)
    assert one.kid == pytest.approx(three.kid, abs=1e-6)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`:UserWarning")
def test_distances_need_two_pictures() -> None:
    with pytest.raises(DataError, match="1 and 2"):
        distances([noise(0)], [noise(1), noise(2)], MeanColour())


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (ModuleNotFoundError("torch-fidelity"), r"pip install 'cyclegan-engine\[fid\]'"),
        (URLError("no route to host"), "could not be fetched .*no route to host.*checkpoints"),
    ],
)
def test_missing_inception_is_explained(
    monkeypatch: pytest.MonkeyPatch, failure: Exception, message: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise failure

    monkeypatch.setattr("torchmetrics.image.fid.FrechetInceptionDistance", fail)
    with pytest.raises(BackendError, match=message):
        distances([noise(0)] * 2, [noise(1)] * 2)


@pytest.mark.parametrize("content", [b"", b"<html>", b"Internal error\n", b"PK\3\4", "dictionary"])
def test_damaged_weights_of_the_inception_network_are_named(
    content: bytes | str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The network was asked for, though the file was there."""
    file = tmp_path / "hub" / "checkpoints" / evaluate._WEIGHTS
    file.parent.mkdir(parents=True)
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save({"of another": torch.zeros(1)}, file)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def load(feature: int) -> None:
        """As torch-fidelity does, whose URL ends with the file's name."""
        state = torch.hub.load_state_dict_from_url(f"http://localhost:9/{file.name}")
        nn.Linear(1, 1).load_state_dict(state)

    monkeypatch.setattr("torchmetrics.image.fid.FrechetInceptionDistance", load)
    with pytest.raises(
        BackendError, match=r"checkpoints/weights-.*\.pth does .* remove it"
    ) as told:
        distances([noise(0)] * 2, [noise(1)] * 2)
    assert "\n" not in str(told.value)


def test_metrics_that_cannot_be_imported_are_explained(unimportable_metrics: str) -> None:
    told = f"{unimportable_metrics}.* install the torchvision of the same build"
    with pytest.raises(BackendError, match=told):
        evaluate_pairs(lambda picture: picture, [(noise(0), noise(0))])
    with pytest.raises(BackendError, match=told):
        distances([noise(0)] * 2, [noise(1)] * 2)
