"""A runner in PyTorch that translates frames in order, in a thread of its own."""

from abc import ABC, abstractmethod
from concurrent.futures import Future

from cyclegan.engine.frames import Frames
from cyclegan.engine.runners.worker import Worker
from cyclegan.errors import BackendError


class OrderedRunner(ABC):
    """What follows in ``translate`` may depend on the frames before."""

    slots = 2
    max_batch = 1
    remembers = False
    """Whether a frame's translation depends on the frames before."""

    def __init__(self) -> None:
        self._worker = Worker()
        self._results: list[Future[Frames] | None] = [None] * self.slots

    @abstractmethod
    def translate(self, frames: Frames) -> Frames:
        """One frame, uint8 (1, H, W, C), to one that is not changed afterwards."""

    @abstractmethod
    def forget(self) -> None:
        """The next frame is the first one."""

    def begin_anew(self) -> None:
        self._worker.submit(self.forget).result()

    def begin(self, slot: int, frames: Frames) -> None:
        self._results[slot] = self._worker.submit(self.translate, frames.copy())

    def finish(self, slot: int) -> Frames:
        future = self._results[slot]
        assert future is not None, "finish without begin"
        try:
            return future.result().copy()
        except RuntimeError as error:
            raise BackendError(f"PyTorch failed on a frame: {error}") from error

    def close(self) -> None:
        self._worker.shutdown()
