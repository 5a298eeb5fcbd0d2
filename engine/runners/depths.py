"""One backend for frames of 8 and of 16 bits a channel.

Each depth has a runner of its own, since each has a graph of its own. The first is opened at once,
the other with its first frames.
"""

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cyclegan.config import Depth
from cyclegan.engine.frames import Frames, depth_of
from cyclegan.engine.tickets import PlaneRunner, RememberingRunner, Runner

if TYPE_CHECKING:
    from cyclegan.engine.planes import Planes


class DepthRunner:
    """Gives every batch to the runner of its depth."""

    def __init__(self, open_one: Callable[[Depth], Runner], depths: Sequence[Depth]) -> None:
        """``open_one`` opens the runner of a depth. Raises what it raises."""
        self.depths = tuple(depths)
        """The depths of frames that it takes; the first is the usual one."""
        first = open_one(self.depths[0])
        self.slots, self.max_batch = first.slots, first.max_batch
        self.remembers = getattr(first, "remembers", False)
        self.planes_on: str | None = getattr(first, "planes_on", None)
        self._open_one = open_one
        self._runners: dict[Depth, Runner] = {self.depths[0]: first}
        self._serving: list[Runner | None] = [None] * self.slots
        self._opening = threading.Lock()

    @property
    def description(self) -> str:
        """What runs, by depth where there is more than one."""
        runners = dict(self._runners)
        said = {depth: getattr(runner, "description", "") for depth, runner in runners.items()}
        if len(said) == 1:
            return str(next(iter(said.values())))
        return "; ".join(f"{depth} bits: {text}" for depth, text in said.items())

    def begin(self, slot: int, frames: Frames) -> None:
        runner = self._serving[slot] = self._runner(depth_of(frames))
        runner.begin(slot, frames)

    def finish(self, slot: int) -> Frames:
        runner = self._serving[slot]
        assert runner is not None, "finish without begin"
        return runner.finish(slot)

    def begin_planes(self, slot: int, pictures: "Sequence[Planes]") -> None:
        self._serving[slot] = self._runner(pictures[0].depth)
        self._taking_planes(slot).begin_planes(slot, pictures)

    def finish_planes(self, slot: int) -> "list[Planes]":
        return self._taking_planes(slot).finish_planes(slot)

    def _taking_planes(self, slot: int) -> PlaneRunner:
        runner = self._serving[slot]
        assert isinstance(runner, PlaneRunner)
        return runner

    def begin_anew(self) -> None:
        with self._opening:
            for runner in self._runners.values():
                assert isinstance(runner, RememberingRunner)
                runner.begin_anew()

    def close(self) -> None:
        for runner in self._runners.values():
            runner.close()

    def _runner(self, depth: Depth) -> Runner:
        with self._opening:
            if depth not in self._runners:
                self._runners[depth] = self._open_one(depth)
            return self._runners[depth]
