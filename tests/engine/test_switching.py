import logging
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from videos import Copies

from cyclegan.config import Depth, ResnetConfig
from cyclegan.engine.frames import Frames
from cyclegan.engine.graph_info import GraphInfo
from cyclegan.engine.model_source import Source, open_source
from cyclegan.engine.runners import BACKENDS, Backend, Settings, open_while
from cyclegan.engine.runners.switching import SwitchingRunner
from cyclegan.engine.tickets import Runner, Scheduler
from cyclegan.engine.translator import Translator
from cyclegan.errors import BackendError, FrameError


class Adder:
    """Adds a number; knows whether it is used after it was closed."""

    max_batch = 1

    def __init__(self, number: int, slots: int = 2) -> None:
        self.number, self.slots = number, slots
        self.description = f"adds {number}"
        self.busy: dict[int, Frames] = {}
        self.closed = False

    def begin(self, slot: int, frames: Frames) -> None:
        assert not self.closed
        assert slot not in self.busy
        assert len(frames) <= self.max_batch
        if frames.max() == 99:
            raise BackendError("refused")
        self.busy[slot] = frames + self.number

    def finish(self, slot: int) -> Frames:
        assert not self.closed
        return self.busy.pop(slot)

    def close(self) -> None:
        assert not self.closed
        assert not self.busy
        self.closed = True


def frame(value: int) -> Frames:
    return np.full((1, 1, 1, 1), value, np.uint8)


def test_batches_end_where_they_began_and_the_old_runner_closes_after_its_last() -> None:
    go = threading.Event()
    old, new = Adder(1), Adder(2, slots=3)

    def build(unwanted: threading.Event) -> Adder:
        assert go.wait(10)
        return new

    runner = SwitchingRunner(old, build)
    scheduler = Scheduler(runner)
    assert "adds 1 (a better engine is being built)" in runner.description
    first = scheduler.submit(frame(10))
    go.set()
    assert runner.wait(10)
    assert runner.description == "adds 2"
    second = scheduler.submit(frame(20))
    assert not old.closed
    assert scheduler.collect(first).item() == 11
    assert old.closed
    assert scheduler.collect(second).item() == 22
    with pytest.raises(BackendError, match="refused"):
        scheduler.submit(frame(99))
    assert scheduler.collect(scheduler.submit(frame(30))).item() == 32
    scheduler.close()
    assert new.closed


class ChoosyAdder(Adder):
    """Takes frames of one pixel alone."""

    def why_refused(self, shape: tuple[int, ...]) -> str | None:
        return None if shape[1:] == (1, 1) else f"no frames of {shape[2]}x{shape[1]}"


@pytest.mark.parametrize("better", [Adder, ChoosyAdder], ids=["any size", "one size can come"])
def test_an_idle_runner_is_closed_when_the_next_batch_begins(better: type[Adder]) -> None:
    old, new = Adder(1), better(2)
    runner = SwitchingRunner(old, lambda unwanted: new)
    runner.wait(10)
    runner.begin(0, frame(1))
    assert old.closed
    assert runner.finish(0).item() == 3
    runner.close()


def test_large_batches_come_to_a_runner_that_takes_small_ones() -> None:
    old, new = Adder(1), Adder(2)
    old.max_batch = 8
    runner = SwitchingRunner(old, lambda unwanted: new)
    runner.wait(10)
    with Translator(runner, GraphInfo(config=ResnetConfig(in_channels=1))) as translator:
        assert translator(np.full((8, 8, 8, 1), 3, np.uint8)).max() == 5
        assert old.closed


def test_what_was_cut_for_the_first_runner_comes_whole_from_a_better_one_that_takes_less() -> None:
    """It is cut before there is a slot, and meanwhile another thread's frames bring the switch."""
    old, new = Adder(1), Adder(2)
    old.max_batch = 8
    runner = SwitchingRunner(old, lambda unwanted: new)
    runner.wait(10)
    runner.begin(0, frame(5))
    runner.begin(1, np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1))
    assert old.closed
    assert runner.finish(1).flatten().tolist() == [2, 3, 4]
    assert runner.finish(0).item() == 7
    runner.begin(1, frame(6))
    assert runner.finish(1).item() == 8
    runner.close()


@pytest.mark.parametrize("any_size", [False, True])
def test_frames_of_a_depth_that_the_first_runner_took_never_come_to_one_that_does_not(
    any_size: bool,
) -> None:
    """As those of a thread that was let in just before another one's frames bring the switch."""

    class Choosy(Copies):
        def why_refused(self, shape: tuple[int, ...]) -> None:
            return None

    old, new = Copies(depths=(8, 16)), Choosy(depths=(8,))
    runner = SwitchingRunner(old, lambda unwanted: new, any_size=any_size)
    runner.wait(10)
    runner.begin(0, np.zeros((1, 8, 8, 3), np.uint8))
    deep = np.full((1, 8, 8, 3), 999, np.uint16)
    if any_size:  # the first one is still there
        runner.begin(1, deep)
        assert np.array_equal(runner.finish(1), deep)
    else:
        with pytest.raises(FrameError, match="uint16; the better engine, now ready, takes uint8"):
            runner.begin(1, deep)
    assert new.seen == {"uint8"}
    runner.finish(0)
    runner.close()


def test_frames_of_a_gpu_are_taken_once_there_is_an_engine_for_them() -> None:
    class OnGpu(Adder):
        def translate_on_device(self, frames: object, stream: int = 0) -> object:
            return frames, stream

    go, old = threading.Event(), Adder(1)

    def build(unwanted: threading.Event) -> OnGpu:
        assert go.wait(10)
        return OnGpu(2)

    runner = SwitchingRunner(old, build)
    with Translator(runner, GraphInfo(config=ResnetConfig())) as translator:
        with pytest.raises(
            BackendError, match=r"being built\) takes .*the host alone; what backend"
        ):
            translator.translate_on_device("frames")
        go.set()
        runner.wait(10)
        assert translator.translate_on_device("frames", stream=7) == ("frames", 7)
        assert old.closed


def test_frames_of_sizes_that_the_better_runner_refuses_go_on_with_the_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    old, new = Adder(1), ChoosyAdder(2)
    old.max_batch, new.max_batch = 4, 8
    runner = SwitchingRunner(old, lambda unwanted: new, any_size=True)
    runner.wait(10)
    scheduler = Scheduler(runner)
    sizes = [(1, 1), (3, 2), (1, 1), (2, 3)]
    with caplog.at_level(logging.WARNING):
        tickets = [scheduler.submit(np.zeros((1, *size, 1), np.uint8)) for size in sizes]
    made = [int(scheduler.collect(ticket).max()) for ticket in tickets]
    assert made == [2, 1, 2, 1]
    assert runner.description == "adds 2; other sizes: adds 1"
    assert runner.max_batch == 4, "what both take"
    assert [record.message for record in caplog.records] == [
        "no frames of 2x3; until then, the first engine goes on with such frames"
    ]
    assert not old.closed
    scheduler.close()
    assert old.closed
    assert new.closed


def test_a_build_that_fails_is_reported_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def build(unwanted: threading.Event) -> Adder:
        raise BackendError("no such GPU")

    with caplog.at_level(logging.WARNING):
        runner = SwitchingRunner(Adder(1), build)
        runner.wait(10)
    assert "could not be built: no such GPU" in caplog.text
    assert "could not be built: no such GPU" in runner.description
    runner.begin(0, frame(1))
    assert runner.finish(0).item() == 2
    runner.close()


def test_too_few_slots_are_no_replacement() -> None:
    small = Adder(2, slots=1)
    runner = SwitchingRunner(Adder(1), lambda unwanted: small)
    runner.wait(10)
    assert small.closed
    assert "1 slots, and 2 are in use" in runner.description
    runner.close()


def test_closing_tells_the_build_and_waits_for_it() -> None:
    ended = threading.Event()

    def build(unwanted: threading.Event) -> Adder:
        assert unwanted.wait(10)
        ended.set()
        raise BackendError("cancelled")

    old = Adder(1)
    SwitchingRunner(old, build).close()
    assert ended.is_set()
    assert old.closed


def test_a_process_that_ends_without_closing_ends_the_build_first() -> None:
    script = """
import types
from cyclegan.engine.runners.switching import SwitchingRunner

def build(unwanted):
    assert unwanted.wait(30)
    print("told", flush=True)
    raise ValueError("no longer wanted")

runner = SwitchingRunner(types.SimpleNamespace(slots=1), build)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert (ended.stdout, ended.stderr) == ("told\n", "")


def test_a_translator_serves_from_the_first_frame_and_then_switches(
    model: Path, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two real backends: OpenVINO until PyTorch is ready."""
    wanted, row = threading.Event(), BACKENDS["torch"]

    def late(source: Source, settings: Settings) -> Runner:
        assert wanted.wait(60)
        return row.open(source, settings)

    monkeypatch.setitem(BACKENDS, "torch", replace(row, open=late))
    with Translator.open(model, backend="torch", device="cpu", precision="float32",
                         serve_while_building=True) as translator:  # fmt: skip
        assert translator.description.startswith("OpenVINO")
        first = translator(frames[0])
        wanted.set()
        assert isinstance(translator._runner, SwitchingRunner)
        assert translator._runner.wait(60)
        assert translator.description == "PyTorch, cpu, torch.float32"
        second = translator(frames[0])
    with Translator.open(model, backend="torch", device="cpu", precision="float32") as exact:
        assert np.array_equal(second, exact(frames[0]))
    assert np.abs(first.astype(int) - second.astype(int)).mean() < 1


@pytest.mark.parametrize("depths", [(8,), (8, 16)])
def test_frames_of_a_depth_that_was_translated_go_on_being_taken(depths: tuple[Depth, ...]) -> None:
    old, new = Copies(depths=(8, 16)), Copies(depths=depths)
    runner = SwitchingRunner(old, lambda unwanted: new)
    runner.wait(10)
    with Translator(runner, GraphInfo(config=ResnetConfig())) as translator:
        assert translator.depths == (8, 16)
        for kind in ("uint16", "uint8", "uint16"):
            assert translator(np.zeros((8, 8, 3), kind)).dtype == kind
        refused = "(the better engine could not be built: it takes no frames of 16 bits a channel"
        assert (refused in translator.description) == (depths == (8,))
    assert bool(old.seen) == (depths == (8,))
    assert new.seen != old.seen


def test_a_graph_of_sixteen_bits_is_served_while_something_is_built(
    model: Path, frames: Frames
) -> None:
    deep = open_source(model).onnx(16)
    with Translator.open(deep, backend="torch", device="cpu", serve_while_building=True) as both:
        assert both.depths == (16, 8)
        first = both(frames[0] * np.uint16(257))
        assert isinstance(both._runner, SwitchingRunner)
        assert both._runner.wait(60)
        second = both(frames[0] * np.uint16(257))
        assert both.description == "PyTorch, cpu, torch.float32"
        assert both.depths == (16, 8)
    assert np.abs(first.astype(int) - second).max() < 257


@pytest.mark.parametrize("size", [None, (8, 8)])
def test_the_first_backend_stays_where_frames_of_any_size_may_come(
    size: tuple[int, int] | None, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choosy = Backend(open=lambda *_: ChoosyAdder(2), why_missing=lambda: None, depths=(8,))
    monkeypatch.setitem(BACKENDS, "torch", choosy)
    frames = np.full((1, 8, 8, 3), 128, np.uint8)
    runner = open_while("openvino", "torch", open_source(model), Settings(size=size))
    runner.wait(10)
    runner.begin(0, frames)
    assert np.array_equal(runner.finish(0), frames + 2) == (size is not None)
    runner.close()


def test_what_cannot_run_here_is_refused_at_once(model: Path) -> None:
    with pytest.raises(BackendError, match="the backend tensorrt cannot run here"):
        Translator.open(model, backend="tensorrt", serve_while_building=True)
