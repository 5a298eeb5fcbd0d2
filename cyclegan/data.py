"""Two folders of pictures -> unpaired batches.

N batch, C channels, H height, W width. Batches are float32 (N, C, H, W) in [-1, 1], channels last
in memory.

An epoch has max(|A|, |B|) samples in shuffled order. Sample ``index`` takes picture index mod |A|
of A and a random one of B; both are then scaled, cropped (``preprocess``) and mirrored
independently. A sample is a function of (seed, epoch, index) alone, whatever the number of worker
processes, so that a stopped run can go on in the middle of an epoch with the very same pictures.
"""

import gc
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cyclegan.config import DataConfig
from cyclegan.cpu import cpu_cores
from cyclegan.distributed import ALONE, World
from cyclegan.errors import CycleGANError, DataError, ImageError
from cyclegan.pictures import Picture
from cyclegan.preprocess import augmented
from cyclegan.signals import handling
from cyclegan.sources import Item, Pixels, list_items
from cyclegan.transfer import Batch, Cut, batch_from_cuts

CPU = torch.device("cpu")
SKIP_BAD = "skip_bad goes on without it"
"""What there is to do about a picture that cannot be used."""
_NO_THREAD = "can't start new thread"
"""How Python says that a limit is reached."""


def tensor_from_pictures(pictures: Sequence[Pixels]) -> Tensor:
    """uint8 or uint16 (H, W, C) pictures of one size -> float32 (N, C, H, W) in [-1, 1]."""
    return batch_from_cuts([Cut(picture) for picture in pictures]).on(CPU).contiguous()


def pictures_from_tensor(batch: Tensor) -> Picture:
    """Float (N, C, H, W) in [-1, 1] -> uint8 (N, H, W, C), clipped and rounded."""
    scaled = batch.detach().float().add(1).mul(127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


@dataclass(frozen=True)
class Sample:
    """One unpaired sample, and what was passed over on the way to it: path -> reason."""

    real_a: Cut
    real_b: Cut
    bad: Mapping[str, str]


@dataclass(frozen=True)
class Drawn:
    """Samples of one step, and what was passed over on the way to them: path -> reason."""

    real_a: Batch
    real_b: Batch
    bad: Mapping[str, str]

    def pin_memory(self) -> "Drawn":
        """As a loader calls it, in a thread of its own."""
        return Drawn(self.real_a.pin_memory(), self.real_b.pin_memory(), self.bad)


class UnpairedPictures(Dataset[Sample | CycleGANError]):
    """The two folders of ``config``. ``dataset[epoch, index]`` is one sample.

    ``multiple`` is the network's ``size_multiple``, ``smallest`` the side that pictures have at
    least, or cannot be used. ``bad`` collects what ``config.skip_bad``
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
        smallest: int = 1,
    ) -> None:
        self.config, self.seed = config, seed
        self.multiple, self.smallest = multiple, smallest
        self.channels_a, self.channels_b = channels_a, channels_b
        self.paths_a = list_items(config.a, skip_bad=config.skip_bad)
        self.paths_b = list_items(config.b, skip_bad=config.skip_bad)
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
    ) -> Cut:
        """The picture at ``which``, modulo, or with skip_bad the first good one after it."""
        for step in range(len(paths)):
            path = paths[(which + step) % len(paths)]
            try:
                return augmented(path, self.config, rng, channels, self.multiple, self.smallest)
            except ImageError as error:
                if not self.config.skip_bad:
                    raise ImageError(f"{error}; {SKIP_BAD}") from error
                bad[str(path)] = str(error)
        raise DataError(f"none of the {len(paths)} pictures can be used; {bad[str(path)]}")


def _begun(loader: Iterable[Drawn | CycleGANError]) -> Iterator[Drawn | CycleGANError]:
    """The loader's iterator. Its processes leave alone what they inherit.

    Some of that waits for its threads when it goes, as a video does that was decoded, and would
    wait for ever in a process that has none of them.
    """
    gc.collect()
    gc.freeze()
    try:
        return iter(loader)
    finally:
        gc.unfreeze()


@contextmanager
def readers_watched() -> Iterator[None]:
    """Raises DataError where a process of ``batches`` is killed, or is allowed no more threads.

    PyTorch raises RuntimeError then.
    """
    try:
        yield
    except RuntimeError as error:
        if _NO_THREAD in str(error):
            raise DataError(
                f"the system allows no more threads or processes ({_NO_THREAD}); lower workers, or "
                "raise the limit: ulimit -u, or that of the container"
            ) from error
        if "DataLoader worker" not in str(error):
            raise
        raise DataError(
            f"a process that reads pictures was killed, most likely for lack of memory ({error}); "
            "lower workers"
        ) from error


class _Held:
    """A signal handler that only notes that the signal came."""

    came = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.came = True


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Have what PyTorch raises where a reading process is killed wait for the end of this block.

    It does so from a signal handler, in whatever line is being run: half a step would be made.
    Where such blocks overlap, the first that holds the handler back gives it back.
    """
    held = _Held()
    handler = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
    is_free = callable(handler) and not isinstance(handler, _Held)
    with handling([signal.SIGCHLD] if is_free else [], held):
        yield
    if held.came:
        signal.raise_signal(signal.SIGCHLD)


def batches(
    dataset: UnpairedPictures,
    *,
    batch_size: int,
    workers: int,
    epoch: int,
    first: int = 0,
    epochs: int | None = 1,
    world: World = ALONE,
    device: torch.device = CPU,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches from number ``first`` of ``epoch`` on: (real_a, real_b), on ``device``.

    They end after ``epochs`` epochs, begun ones counted; None: never. The last one of an epoch may
    be smaller. ``workers`` processes read ahead, at most one a core, through ends of epochs; 0
    reads in this one. One that is killed is told as the next batch is asked for. Of several
    processes in a ``world`` each takes every n-th sample, all equally many. Raises ImageError for a
    picture that cannot be used, unless ``skip_bad``, and DataError if a batch would mix sizes.
    """
    loader = DataLoader(
        dataset,
        batch_sampler=_places(dataset, batch_size, epoch, first, epochs, world),
        num_workers=min(workers, cpu_cores()),
        worker_init_fn=_leave_signals_to_the_parent,
        collate_fn=_drawn,
        pin_memory=device.type == "cuda",
        # Its workers' seeds, which nothing uses, shall not move the generator that dropout uses.
        generator=torch.Generator(),
    )
    # All that PyTorch brings takes half a second to collect: only where processes inherit it.
    begun: Iterable[Drawn | CycleGANError] = _begun(loader) if loader.num_workers else loader
    undisturbed = _undisturbed if loader.num_workers else nullcontext
    try:
        for drawn in begun:
            if isinstance(drawn, CycleGANError):
                raise drawn
            with undisturbed():
                dataset.bad.update(drawn.bad)
                yield drawn.real_a.on(device), drawn.real_b.on(device)
    finally:
        # Its processes end with it. Left to the collector, which closes its queues first, it could
        # not tell them, and would wait for each in vain.
        with undisturbed():
            del begun


def _places(
    dataset: UnpairedPictures,
    batch_size: int,
    epoch: int,
    first: int,
    epochs: int | None,
    world: World,
) -> Iterator[list[tuple[int, int]]]:
    """(epoch, index) of the samples of each batch."""
    for number in itertools.count() if epochs is None else range(epochs):
        order = dataset.order(epoch + number)
        order = order[world.rank : len(order) // world.size * world.size : world.size]
        begin = 0 if number else first * batch_size
        for at in range(begin, len(order), batch_size):
            yield [(epoch + number, index) for index in order[at : at + batch_size]]


def _drawn(samples: list[Sample | CycleGANError]) -> Drawn | CycleGANError:
    """The samples as one, in the process that read them, or the first error.

    Arrays, because small ones pass between processes faster than tensors, which come as files in
    shared memory.
    """
    good: list[Sample] = []
    for sample in samples:
        if isinstance(sample, CycleGANError):
            return sample
        good.append(sample)
    bad = {path: reason for sample in good for path, reason in sample.bad.items()}
    try:
        real_a = batch_from_cuts([sample.real_a for sample in good])
        return Drawn(real_a, batch_from_cuts([sample.real_b for sample in good]), bad)
    except DataError as error:
        return error


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ctrl-C and SIGHUP reach all processes of a terminal; the training process ends its workers
    itself."""
    for name in ("SIGINT", "SIGHUP"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None or not hasattr(signal, "sigtimedwait"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    except RuntimeError:  # nothing would end this process, and its parent waits for that
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    """End this process when ``parent`` says so, or is gone, killed perhaps.

    At once: what this process still wants to hand over might wait for ever for somebody to take it.
    """
    while True:
        told = signal.sigtimedwait({signal.SIGTERM}, 1.0)
        if (told is not None and told.si_pid == parent.pid) or not parent.is_alive():
            os._exit(0)
