"""Serving with one backend while another, better one is still being built.

A batch begins on the better runner as soon as there is one; what is in flight ends where it began.
Frames of sizes that the better one refuses go on with the first.
"""

import atexit
import contextlib
import logging
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from cyclegan.config import Depth
from cyclegan.engine.frames import Frames, depth_of
from cyclegan.engine.tickets import ChoosyRunner, OnDevice, Runner
from cyclegan.errors import BackendError, FrameError

if TYPE_CHECKING:
    from cyclegan.engine.device_arrays import DeviceFrames

_log = logging.getLogger(__name__)


class SwitchingRunner:
    """One runner now, and another when ``build`` has made it, in a thread of its own.

    ``build`` is given an event that is set when its result is no longer wanted. If it fails, that
    is a warning in the log, and the first runner goes on.
    """

    def __init__(
        self, now: Runner, build: Callable[[threading.Event], Runner], any_size: bool = False
    ) -> None:
        """``any_size``: frames may come that the better runner says (``why_refused``) it does not
        take. Then the first one stays, for those."""
        self.slots = now.slots
        self._current = now
        self._next: Runner | None = None
        self._any_size = any_size
        self._first: Runner | None = None
        """What was replaced, where it is kept for frames that the better one refuses."""
        self._told = False
        self._serving: list[Runner | None] = [None] * self.slots
        self._done: list[list[Frames]] = [[] for _ in range(self.slots)]
        """What a slot's batch has been translated to so far, of one that had to be cut."""
        self._seen: set[Depth] = set()
        """Depths of the batches so far, which go on being taken."""
        self._changed = threading.Lock()
        self._unwanted = threading.Event()
        self._problem: BaseException | None = None
        self._thread = threading.Thread(
            target=self._prepare, args=(build,), name="build engine", daemon=True
        )
        self._thread.start()
        _open.add(self)

    @property
    def max_batch(self) -> int:
        """What the runner at hand takes, and the better one too, once it is ready: who hands over
        more would never come to that."""
        with self._changed:
            ready = (self._current, self._next, self._first)
        return min(runner.max_batch for runner in ready if runner is not None)

    @property
    def depths(self) -> tuple[Depth, ...]:
        """Of the frames that the runner at hand takes, in bits a channel."""
        return _depths(self._current)

    @property
    def description(self) -> str:
        """What runs now, and what is to come."""
        with self._changed:
            current = getattr(self._next or self._current, "description", "")
            if self._problem is not None:
                return f"{current} (the better engine could not be built: {self._problem})"
            if self._first is not None:
                return f"{current}; other sizes: {getattr(self._first, 'description', '')}"
            building = self._thread.is_alive() and self._next is None
            return f"{current} (a better engine is being built)" if building else str(current)

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait until the better runner is ready or has failed; whether that is so."""
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def begin(self, slot: int, frames: Frames) -> None:
        with self._changed:
            self._seen.add(depth_of(frames))
            retired = self._switched(len(frames))
            runner = self._serving[slot] = self._taking(frames)
        if retired is not None:
            retired.close()
        try:
            _check_depth(runner, frames)
            *parts, last = _cut(frames, runner.max_batch)
            self._done[slot] = [_translated(runner, slot, part) for part in parts]
            runner.begin(slot, last)
        except BaseException:
            self._release(slot)
            raise

    def finish(self, slot: int) -> Frames:
        runner = self._serving[slot]
        assert runner is not None, "finish without begin"
        try:
            made = runner.finish(slot)
            return np.concatenate([*self._done[slot], made]) if self._done[slot] else made
        finally:
            self._release(slot)

    def translate_on_device(self, frames: Any, stream: int = 0) -> "DeviceFrames":
        """By the better runner, once it is ready, if that is one for frames on the GPU.

        Raises BackendError where it is not, and what it raises.
        """
        with self._changed:
            retired, runner = self._switched(0), self._current
        if retired is not None:
            retired.close()
        if not isinstance(runner, OnDevice):
            raise BackendError(
                f"{self.description} takes frames of the host alone; what backend='tensorrt' "
                "builds takes those of a GPU, once it is ready"
            )
        return runner.translate_on_device(frames, stream)

    def end_build(self) -> None:
        """Tell the build that its result is not wanted, and wait for its end."""
        self._unwanted.set()
        self._thread.join()

    def close(self) -> None:
        self.end_build()
        for runner in (self._current, self._next, self._first):
            if runner is not None:
                runner.close()

    def _why_not(self, better: Runner) -> str | None:
        """Why it can never take over, or None."""
        if better.slots < self.slots:  # they could not take the place of these
            return f"it has {better.slots} slots, and {self.slots} are in use"
        if refused := self._seen.difference(_depths(better)):
            return f"it takes no frames of {max(refused)} bits a channel, as were translated"
        return None

    def _switched(self, count: int) -> Runner | None:
        """Let the better runner take over, if it is ready and takes ``count`` frames; what is to be
        closed then."""
        better = self._next
        if better is None:
            return None
        if why := self._why_not(better):
            self._next, self._problem = None, ValueError(why)
            return better
        if better.max_batch < count:
            return None
        replaced, self._current, self._next = self._current, better, None
        if self._any_size and isinstance(better, ChoosyRunner):
            self._first = replaced
        return None if replaced in (self._first, *self._serving) else replaced

    def _taking(self, frames: Frames) -> Runner:
        """The runner at hand, or the first one, for what that refuses."""
        if self._first is None:
            return self._current
        assert isinstance(self._current, ChoosyRunner)
        if depth_of(frames) not in _depths(self._current):
            return self._first
        why = self._current.why_refused(frames.shape[:3])
        if why is None:
            return self._current
        if not self._told:
            _log.warning("%s; until then, the first engine goes on with such frames", why)
            self._told = True
        return self._first

    def _release(self, slot: int) -> None:
        """Free the slot, and close a runner that was replaced once its last batch has ended."""
        with self._changed:
            runner, self._serving[slot], self._done[slot] = self._serving[slot], None, []
            kept = (self._current, self._first)
            over = runner not in kept and runner not in self._serving
        if over and runner is not None:
            runner.close()

    def _prepare(self, build: Callable[[threading.Event], Runner]) -> None:
        try:
            made = build(self._unwanted)
        except BaseException as error:
            if not self._unwanted.is_set():
                _log.warning("the better engine could not be built: %s", error)
            self._problem = error
            return
        with self._changed:
            if (why := self._why_not(made)) is None:
                self._next = made
                return
            self._problem = ValueError(why)
        with contextlib.suppress(Exception):
            made.close()


def _depths(runner: Runner) -> tuple[Depth, ...]:
    return getattr(runner, "depths", (8,))


def _check_depth(runner: Runner, frames: Frames) -> None:
    """What one runner takes may come when another, which does not, has just taken over."""
    if depth_of(frames) not in _depths(runner):
        kinds = " or ".join(f"uint{depth}" for depth in _depths(runner))
        raise FrameError(f"frames are {frames.dtype}; the better engine, now ready, takes {kinds}")


def _cut(frames: Frames, most: int) -> list[Frames]:
    """What was cut for one runner may come when another, which takes less, has just taken over."""
    return [frames[i : i + most] for i in range(0, len(frames), most)]


def _translated(runner: Runner, slot: int, frames: Frames) -> Frames:
    runner.begin(slot, frames)
    return runner.finish(slot)


_open: "weakref.WeakSet[SwitchingRunner]" = weakref.WeakSet()


@atexit.register
def _end_builds() -> None:
    """A thread that is in a library's code while the interpreter goes can crash the process."""
    for runner in list(_open):
        runner.end_build()
