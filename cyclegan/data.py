"""Two folders of pictures -> unpaired batches.

N batch, C channels, H height, W width. Batches are float32 (N, C, H, W) in [-1, 1].

An epoch has max(|A|, |B|) samples in shuffled order. Sample ``index`` takes picture index mod |A|
of A and a random one of B; both are then scaled, cropped and mirrored independently. A sample is a
function of (seed, epoch, index) alone, whatever the number of worker processes, so that a stopped
run can go on in the middle of an epoch with the very same pictures.

=====================  ==================================  =====================================
preprocess             training                            testing
=====================  ==================================  =====================================
resize_and_crop        to load_size^2, random crop         to crop_size^2
crop                   random crop                         centre crop
scale_width            to load_size wide                   the same
scale_width_and_crop   to load_size wide, random crop      to crop_size wide, centre crop
none                   as it is                            the same
=====================  ==================================  =====================================

Scaling is bicubic. Scaling to a width keeps the aspect ratio but never falls below crop_size in
height. Where nothing is cropped, sides are rounded to multiples of what the network needs (4).
"""

import dataclasses
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cyclegan.config import DataConfig, Preprocess
from cyclegan.cpu import cpu_cores
from cyclegan.distributed import ALONE, World
from cyclegan.errors import CycleGANError, DataError, ImageError
from cyclegan.pictures import Picture
from cyclegan.sources import PEAKS, Item, Pixels, list_items, read_item

Size = tuple[int, int]
"""(height, width) in pixels."""


def _square(size: Size, config: DataConfig) -> Size:
    return config.loaded


def _to_width(size: Size, config: DataConfig) -> Size:
    height, width = size
    if width == config.load_size and height >= config.cropped[0]:
        return size
    return int(max(config.load_size * height / width, config.cropped[0])), config.load_size


def _as_it_is(size: Size, config: DataConfig) -> Size:
    return size


_SCALED: dict[Preprocess, Callable[[Size, DataConfig], Size]] = {
    "resize_and_crop": _square,
    "crop": _as_it_is,
    "scale_width": _to_width,
    "scale_width_and_crop": _to_width,
    "none": _as_it_is,
}
_CROPPED: frozenset[Preprocess] = frozenset({"resize_and_crop", "crop", "scale_width_and_crop"})


def scale(picture: Pixels, config: DataConfig, multiple: int = 4) -> Pixels:
    """``picture`` resized as ``config`` says; sides that no crop will fit are rounded."""
    height, width = _SCALED[config.preprocess](picture.shape[:2], config)
    if config.preprocess not in _CROPPED:
        height, width = (max(1, round(side / multiple)) * multiple for side in (height, width))
    if (height, width) == picture.shape[:2]:
        return picture
    if picture.dtype == np.uint8 and picture.shape[2] in (1, 3):
        return _resized(picture, (width, height)).reshape(height, width, -1)
    planes = [_resized(plane, (width, height)) for plane in picture.transpose(2, 0, 1)]
    return np.stack(planes, axis=2)


def _resized(pixels: Pixels, size: Size) -> Pixels:
    """uint8 (H, W, 1 or 3), or a plane (H, W) of any type, at size (width, height), bicubic."""
    if pixels.ndim == 3:
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        return np.asarray(image.resize(size, Image.Resampling.BICUBIC))
    plane = Image.fromarray(pixels.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    peak = PEAKS[pixels.dtype.type]
    rounded: Pixels = np.rint(np.asarray(plane)).clip(0, peak)
    return rounded.astype(pixels.dtype)


def _room(picture: Pixels, config: DataConfig, path: Item) -> Size:
    """How far down and right the crop may start."""
    height, width = picture.shape[:2]
    high, wide = config.cropped
    if height < high or width < wide:
        crop = str(wide) if high == wide else f"{wide}x{high}"
        raise ImageError(
            f"{path} is {width}x{height} pixels, smaller than crop_size {crop}; "
            "lower crop_size or choose preprocess 'resize_and_crop'"
        )
    return height - high, width - wide


def _cut(picture: Pixels, top: int, left: int, config: DataConfig) -> Pixels:
    high, wide = config.cropped
    return picture[top : top + high, left : left + wide]


def augmented(
    path: Item,
    config: DataConfig,
    rng: np.random.Generator,
    channels: int = 3,
    multiple: int = 4,
) -> Pixels:
    """The picture at ``path``, scaled, randomly cropped and mirrored: uint8 (H, W, C)."""
    picture = scale(read_item(path, channels, config.depth), config, multiple)
    if config.preprocess in _CROPPED:
        down, right = _room(picture, config, path)
        top, left = rng.integers(down + 1), rng.integers(right + 1)
        picture = _cut(picture, int(top), int(left), config)
    if config.flip and rng.random() < 0.5:
        picture = picture[:, ::-1]
    return picture


def plain(path: Item, config: DataConfig, channels: int = 3, multiple: int = 4) -> Pixels:
    """The picture at ``path`` as a network sees it when tested, without chance: uint8 (H, W, C)."""
    if config.preprocess in _CROPPED:
        height, width = config.cropped
        config = dataclasses.replace(config, load_size=width, load_height=height)
    picture = scale(read_item(path, channels, config.depth), config, multiple)
    if config.preprocess in _CROPPED:
        top, left = (room // 2 for room in _room(picture, config, path))
        picture = _cut(picture, top, left, config)
    return picture


def tensor_from_pictures(pictures: Sequence[Pixels]) -> Tensor:
    """uint8 or uint16 (H, W, C) pictures of one size -> float32 (N, C, H, W) in [-1, 1]."""
    # NumPy, because a few small pictures are not worth waking PyTorch's threads.
    peak = PEAKS[pictures[0].dtype.type]
    pixels = np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2), np.float32)
    pixels /= np.float32(peak / 2)
    pixels -= np.float32(1)
    return torch.from_numpy(pixels)


def pictures_from_tensor(batch: Tensor) -> Picture:
    """Float (N, C, H, W) in [-1, 1] -> uint8 (N, H, W, C), clipped and rounded."""
    scaled = batch.detach().float().add(1).mul(127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


@dataclass(frozen=True)
class Sample:
    """One unpaired sample, and what was passed over on the way to it: path -> reason."""

    real_a: Pixels
    real_b: Pixels
    bad: Mapping[str, str]


class UnpairedPictures(Dataset[Sample | CycleGANError]):
    """The two folders of ``config``. ``dataset[epoch, index]`` is one sample.

    ``multiple`` is the network's ``size_multiple``. ``bad`` collects what ``config.skip_bad``
    passed over while ``batches`` ran: path -> reason. Raises DataError if a folder is missing or
    empty.
    """

    def __init__(
        self,
        config: DataConfig,
        seed: int = 0,
        *,
        channels_a: int = 3,
        channels_b: int = 3,
        multiple: int = 4,
    ) -> None:
        self.config, self.seed, self.multiple = config, seed, multiple
        self.channels_a, self.channels_b = channels_a, channels_b
        self.paths_a, self.paths_b = list_items(config.a), list_items(config.b)
        self.bad: dict[str, str] = {}

    def __len__(self) -> int:
        return max(len(self.paths_a), len(self.paths_b))

    def order(self, epoch: int) -> list[int]:
        """The indices of ``epoch``, shuffled."""
        shuffled = np.random.default_rng((self.seed, epoch)).permutation(len(self))
        return [int(index) for index in shuffled]

    def __getitem__(self, at: tuple[int, int]) -> Sample | CycleGANError:
        """The sample at (epoch, index), or the error that it met.

        The error is a value because a worker process would bury a raised one in its traceback.
        """
        epoch, index = at
        rng = np.random.default_rng((self.seed, epoch, index))
        which_b = int(rng.integers(len(self.paths_b)))
        bad: dict[str, str] = {}
        try:
            real_a = self._good(self.paths_a, index, rng, self.channels_a, bad)
            real_b = self._good(self.paths_b, which_b, rng, self.channels_b, bad)
        except CycleGANError as error:
            return error
        return Sample(real_a, real_b, bad)

    def _good(
        self,
        paths: Sequence[Item],
        which: int,
        rng: np.random.Generator,
        channels: int,
        bad: dict[str, str],
    ) -> Pixels:
        """The picture at ``which``, modulo, or with skip_bad the first good one after it."""
        for step in range(len(paths)):
            path = paths[(which + step) % len(paths)]
            try:
                return augmented(path, self.config, rng, channels, self.multiple)
            except ImageError as error:
                if not self.config.skip_bad:
                    raise ImageError(f"{error}; skip_bad goes on without it") from error
                bad[str(path)] = str(error)
        raise DataError(f"none of the {len(paths)} pictures can be used; {bad[str(path)]}")


def batches(
    dataset: UnpairedPictures,
    *,
    batch_size: int,
    workers: int,
    epoch: int,
    first: int = 0,
    world: World = ALONE,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of ``epoch`` from number ``first`` on: (real_a, real_b), float32 (N, C, H, W).

    The last batch may be smaller. ``workers`` processes read ahead, at most one a core; 0 reads in
    this one. Of several processes in a ``world`` each takes every n-th sample, all equally many.
    Raises ImageError for a picture that cannot be used, unless ``skip_bad``, and DataError if a
    batch would mix sizes.
    """
    order = dataset.order(epoch)
    order = order[world.rank : len(order) // world.size * world.size : world.size]
    order = order[first * batch_size :]
    loader = DataLoader(
        dataset,
        batch_size,
        sampler=[(epoch, index) for index in order],
        num_workers=min(workers, cpu_cores()),
        worker_init_fn=_leave_signals_to_the_parent,
        collate_fn=list,
        # Its workers' seeds, which nothing uses, shall not move the generator that dropout uses.
        generator=torch.Generator(),
    )
    for samples in loader:
        for sample in samples:
            if isinstance(sample, CycleGANError):
                raise sample
            dataset.bad.update(sample.bad)
        yield (
            _batch([sample.real_a for sample in samples]),
            _batch([sample.real_b for sample in samples]),
        )


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ctrl-C reaches all processes of a terminal; the training process ends its workers itself."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _batch(pictures: list[Pixels]) -> Tensor:
    sizes = {picture.shape[:2] for picture in pictures}
    if len(sizes) > 1:
        raise DataError(
            f"pictures of sizes {sorted(sizes)} do not fit one batch; "
            "set batch_size to 1 or choose a preprocess that crops"
        )
    return tensor_from_pictures(pictures)
