import os
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclegan.config import ResnetConfig
from cyclegan.engine.frames import Frames
from cyclegan.engine.graph_info import GraphInfo
from cyclegan.engine.tickets import Scheduler, Ticket
from cyclegan.engine.translator import Translator
from cyclegan.errors import BackendError


class Recorder:
    """A runner that inverts frames when it is told to finish, and checks how it is used."""

    max_batch = 1

    def __init__(self, slots: int = 2) -> None:
        self.slots = slots
        self.busy: dict[int, Frames] = {}
        self.most_busy = 0
        self.log: list[str] = []
        self.fail_on: int | None = None

    def begin(self, slot: int, frames: Frames) -> None:
        assert slot not in self.busy, "a slot was given twice"
        if self.fail_on == -int(frames[0, 0, 0, 0]):
            raise BackendError("refused")
        self.busy[slot] = frames.copy()
        self.most_busy = max(self.most_busy, len(self.busy))
        self.log.append(f"begin {frames[0, 0, 0, 0]}")

    def finish(self, slot: int) -> Frames:
        frames = self.busy.pop(slot)
        self.log.append(f"finish {frames[0, 0, 0, 0]}")
        if self.fail_on == frames[0, 0, 0, 0]:
            raise BackendError("lost the device")
        return 255 - frames

    def close(self) -> None:
        assert not self.busy
        self.log.append("close")


def frame(value: int) -> Frames:
    return np.full((1, 1, 1, 3), value, np.uint8)


def value(frames: Frames) -> int:
    return 255 - int(frames[0, 0, 0, 0])


@given(st.data(), st.integers(1, 4), st.integers(1, 12))
def test_any_order_of_collection_gives_each_ticket_its_own(
    data: st.DataObject, slots: int, count: int
) -> None:
    runner = Recorder(slots)
    scheduler = Scheduler(runner)
    tickets: dict[int, Ticket] = {}
    waiting = list(range(count))
    while waiting or tickets:
        if waiting and (not tickets or data.draw(st.booleans())):
            number = waiting.pop(0)
            tickets[number] = scheduler.submit(frame(number))
        else:
            number = data.draw(st.sampled_from(sorted(tickets)))
            assert value(scheduler.collect(tickets.pop(number))) == number
    scheduler.close()
    assert runner.most_busy <= slots
    begun = [line for line in runner.log if line.startswith("begin")]
    assert begun == [f"begin {number}" for number in range(count)]


def test_a_full_runner_finishes_the_oldest_first() -> None:
    runner = Recorder(slots=2)
    scheduler = Scheduler(runner)
    for number in range(3):
        scheduler.submit(frame(number))
    assert runner.log == ["begin 0", "begin 1", "finish 0", "begin 2"]


def test_an_error_belongs_to_its_own_batch() -> None:
    runner = Recorder(slots=2)
    runner.fail_on = 1
    scheduler = Scheduler(runner)
    tickets = [scheduler.submit(frame(number)) for number in range(4)]
    assert value(scheduler.collect(tickets[0])) == 0
    with pytest.raises(BackendError, match="lost the device"):
        scheduler.collect(tickets[1])
    assert [value(scheduler.collect(ticket)) for ticket in tickets[2:]] == [2, 3]


def test_a_refused_batch_gives_its_slot_back() -> None:
    runner = Recorder(slots=1)
    runner.fail_on = -1
    scheduler = Scheduler(runner)
    for _ in range(3):
        with pytest.raises(BackendError, match="refused"):
            scheduler.submit(frame(1))
    assert value(scheduler.collect(scheduler.submit(frame(2)))) == 2


def test_a_cancelled_ticket_is_dropped_and_frees_its_slot() -> None:
    scheduler = Scheduler(Recorder(slots=1))
    ticket = scheduler.submit(frame(1))
    scheduler.cancel(ticket)
    assert value(scheduler.collect(scheduler.submit(frame(2)))) == 2
    with pytest.raises(BackendError, match="cancelled"):
        scheduler.collect(ticket)


def test_a_ticket_may_be_cancelled_when_its_batch_has_ended() -> None:
    scheduler = Scheduler(Recorder(slots=1))
    ticket = scheduler.submit(frame(1))
    scheduler.submit(frame(2))  # takes the slot: the first one's frames wait in its ticket
    scheduler.cancel(ticket)
    with pytest.raises(BackendError, match="cancelled"):
        scheduler.collect(ticket)


class Held(Recorder):
    """A runner that begins or finishes when it is let go on."""

    def __init__(self, held: str) -> None:
        super().__init__(slots=1)
        self.held = held
        self.entered, self.go_on = threading.Event(), threading.Event()

    def _hold(self, what: str) -> None:
        if what == self.held:
            self.entered.set()
            assert self.go_on.wait(10)

    def begin(self, slot: int, frames: Frames) -> None:
        self._hold("begin")
        super().begin(slot, frames)

    def finish(self, slot: int) -> Frames:
        self._hold("finish")
        return super().finish(slot)


def check_second_waits(act: Callable[[], object], runner: Held) -> None:
    """Of two threads that ``act`` the second waits for the first, which ``runner`` holds."""
    threads = [threading.Thread(target=act, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
        assert runner.entered.wait(10)
    threads[1].join(0.1)
    assert threads[1].is_alive()
    runner.go_on.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive(), "it was not told"


def test_who_wants_a_batch_that_another_thread_waits_for_waits_too() -> None:
    runner = Held("finish")
    scheduler = Scheduler(runner)
    ticket = scheduler.submit(frame(1))
    got: list[object] = []

    def collect() -> None:
        try:
            got.append(value(scheduler.collect(ticket)))
        except BackendError as error:
            got.append(str(error))

    check_second_waits(collect, runner)
    assert sorted(map(str, got))[0] == "1"
    assert "collected before" in sorted(map(str, got))[1]
    assert runner.log == ["begin 1", "finish 1"]


def test_closing_waits_for_a_batch_that_is_about_to_begin() -> None:
    runner = Held("begin")
    scheduler = Scheduler(runner)
    threads = [
        threading.Thread(target=scheduler.submit, args=(frame(1),), daemon=True),
        threading.Thread(target=scheduler.close, daemon=True),
    ]
    threads[0].start()
    assert runner.entered.wait(10)
    threads[1].start()
    threads[1].join(0.1)
    assert threads[1].is_alive()
    runner.go_on.set()
    for thread in threads:
        thread.join(10)
    assert runner.log == ["begin 1", "finish 1", "close"]


def test_an_interrupt_is_not_kept_for_the_batch_that_it_met() -> None:
    """Ctrl-C comes while ``submit`` waits for a batch of someone else's."""

    class Interrupted(Recorder):
        def finish(self, slot: int) -> Frames:
            super().finish(slot)
            raise KeyboardInterrupt

    scheduler = Scheduler(Interrupted(slots=1))
    ticket = scheduler.submit(frame(1))
    with pytest.raises(KeyboardInterrupt):
        scheduler.submit(frame(2))
    with pytest.raises(BackendError, match=r"an interrupt came .*; translate it again"):
        scheduler.collect(ticket)
    scheduler.submit(frame(3))  # the slot is free


@pytest.mark.parametrize("where", ["begin", "finish", "beside"])
def test_a_signal_handler_waits_for_nothing_that_it_has_interrupted(where: str) -> None:
    """It runs in the thread that it interrupts, which could not go on meanwhile."""
    said: list[str] = []

    def handler() -> None:
        tickets = scheduler._in_flight
        submit, collect = lambda: scheduler.submit(frame(2)), lambda: scheduler.collect(tickets[0])
        for use in (submit, collect) if where != "beside" else ():
            try:
                use()
            except BackendError as error:
                said.append(str(error))
        scheduler.close()

    class Interrupted(Recorder):
        def begin(self, slot: int, frames: Frames) -> None:
            super().begin(slot, frames)
            if where == "begin":
                handler()

        def finish(self, slot: int) -> Frames:
            if where == "finish":
                handler()
            return super().finish(slot)

    runner = Interrupted(slots=1)
    scheduler = Scheduler(runner)
    got: list[int] = []

    def act() -> None:
        if where == "beside":
            with scheduler.beside_slots():
                handler()
        else:
            got.append(value(scheduler.collect(scheduler.submit(frame(1)))))
        with pytest.raises(BackendError, match="the translator is closed"):
            scheduler.submit(frame(3))
        assert "close" not in runner.log
        scheduler.close()

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "it waits for itself"
    assert runner.log[-1] == "close"
    if where != "beside":
        assert got == [1]
        assert ["signal handler has interrupted" in line for line in said] == [True, True]


@pytest.mark.parametrize("at", ["finish", "close"])
def test_closing_goes_on_after_an_interrupt(at: str) -> None:
    class Interrupted(Recorder):
        left = 1

        def _interrupt(self, where: str) -> None:
            if where == at and self.left:
                self.left -= 1
                scheduler.close()  # as a handler may, which then raises
                raise KeyboardInterrupt

        def finish(self, slot: int) -> Frames:
            frames = super().finish(slot)
            self._interrupt("finish")
            return frames

        def close(self) -> None:
            self._interrupt("close")
            super().close()

    runner = Interrupted()
    scheduler = Scheduler(runner)
    for number in range(2):
        scheduler.submit(frame(number))
    with pytest.raises(KeyboardInterrupt):
        scheduler.close()
    assert "close" not in runner.log
    for _ in range(2):
        scheduler.close()
    assert runner.log == ["begin 0", "begin 1", "finish 0", "finish 1", "close"]


def test_who_closes_what_another_thread_closes_waits_until_it_is() -> None:
    class Slow(Held):
        def close(self) -> None:
            self._hold("close")
            super().close()

    runner = Slow("close")
    scheduler = Scheduler(runner)
    check_second_waits(scheduler.close, runner)
    assert runner.log == ["close"]


def interrupted(act: Callable[[], object], step: int) -> bool:
    """Whether Ctrl-C came within ``act``: at the ``step``th place where Python looks for signals,
    as it does when a function of its own begins and when one in C has returned. (Not where a
    generator is dropped, which also counts as a call of it.)"""
    left = step

    def look(at: FrameType, event: str, _argument: object) -> None:
        nonlocal left
        left -= event in ("call", "c_return") and at.f_code.co_name != "<genexpr>"
        if left == 0:
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(look)
    try:
        act()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def test_an_interrupt_at_any_step_loses_no_slot() -> None:
    """Nor does it hold up other threads, or ``close``."""

    class Restarted(Recorder):
        """What was begun before an interrupt, and never finished, is begun anew, as by others."""

        slots_begun: list[int]

        def begin(self, slot: int, frames: Frames) -> None:
            self.busy.pop(slot, None)
            super().begin(slot, frames)
            self.slots_begun.append(slot)

        def close(self) -> None:
            self.log.append("close")

    def act() -> None:
        with scheduler.beside_slots():
            tickets = [scheduler.submit(frame(number)) for number in range(3)]
        for ticket in reversed(tickets):
            scheduler.collect(ticket)

    def go_on() -> None:
        for number in range(2):
            scheduler.submit(frame(number))
        scheduler.close()

    for step in range(1, 10_000):
        runner = Restarted(slots=2)
        runner.slots_begun = []
        scheduler = Scheduler(runner)
        came = interrupted(act, step)
        thread = threading.Thread(target=go_on, daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive(), f"interrupted at step {step}, it hangs"
        assert sorted(runner.slots_begun[-2:]) == [0, 1], f"step {step}: a slot is lost"
        assert runner.log[-1] == "close"
        if not came:
            break
    assert step > 100


def test_closing_can_be_interrupted_at_any_step() -> None:
    class Patient(Recorder):
        def close(self) -> None:
            self.log.append("close")

    for step in range(1, 10_000):
        runner = Patient()
        scheduler = Scheduler(runner)
        scheduler.submit(frame(1))
        came = interrupted(scheduler.close, step)
        thread = threading.Thread(target=scheduler.close, daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive(), f"interrupted at step {step}, it hangs"
        assert runner.log[-1] == "close", f"interrupted at step {step}, it never closes"
        if not came:
            break
    assert step > 30


def test_a_ticket_is_collected_once() -> None:
    scheduler = Scheduler(Recorder())
    ticket = scheduler.submit(frame(1))
    scheduler.collect(ticket)
    with pytest.raises(BackendError, match="collected before"):
        scheduler.collect(ticket)


def test_a_ticket_is_of_the_scheduler_that_gave_it() -> None:
    """Nothing of either changes, so that both go on and can be closed."""
    one, other = Scheduler(Recorder(slots=1)), Scheduler(Recorder(slots=1))
    ticket = one.submit(frame(1))
    for use in (other.collect, other.cancel):
        with pytest.raises(BackendError, match="submitted to another translator"):
            use(ticket)
    assert value(one.collect(ticket)) == 1
    assert value(other.collect(other.submit(frame(2)))) == 2
    one.close()
    other.close()


def test_closing_waits_keeps_results_and_refuses_more() -> None:
    runner = Recorder()
    scheduler = Scheduler(runner)
    ticket = scheduler.submit(frame(7))
    scheduler.close()
    scheduler.close()
    assert runner.log == ["begin 7", "finish 7", "close"]
    assert value(scheduler.collect(ticket)) == 7
    with pytest.raises(BackendError, match="closed"):
        scheduler.submit(frame(8))


def test_frames_on_the_device_keep_the_runner_open_and_find_it_closed() -> None:
    entered, leave = threading.Event(), threading.Event()

    class OnDevice(Recorder):
        def translate_on_device(self, frames: object, stream: int = 0) -> str:
            entered.set()
            assert leave.wait(10)
            self.log.append("translated")
            return "made"

    runner = OnDevice()
    translator = Translator(runner, GraphInfo(config=ResnetConfig()))
    inside = threading.Thread(target=translator.translate_on_device, args=("frames",))
    closing = threading.Thread(target=translator.close)
    inside.start()
    assert entered.wait(10)
    closing.start()
    closing.join(0.1)
    assert closing.is_alive()
    leave.set()
    inside.join()
    closing.join()
    assert runner.log == ["translated", "close"]
    with pytest.raises(BackendError, match="the translator is closed"):
        translator.translate_on_device("frames")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_is_told_to_open_its_own_elsewhere(tmp_path: Path) -> None:
    """The threads of a runner are not there, nor are its libraries': it would wait for ever."""
    runner = Recorder()
    scheduler = Scheduler(runner)
    ticket = scheduler.submit(frame(1))
    if (child := os.fork()) == 0:
        said = []
        for use in (lambda: scheduler.submit(frame(2)), lambda: scheduler.collect(ticket)):
            try:
                use()
            except BackendError as error:
                said.append(str(error))
        scheduler.close()
        (tmp_path / "said").write_text("\n".join([*said, *runner.log]))
        os._exit(0)
    os.waitpid(child, 0)
    first, second, *log = (tmp_path / "said").read_text().splitlines()
    assert first == second
    assert "was opened in the process" in first
    assert first.endswith("a process that is started by spawn, or forked before any was opened")
    assert log == ["begin 1"]
    assert value(scheduler.collect(ticket)) == 1
    scheduler.close()


def test_many_threads_share_a_scheduler() -> None:
    runner = Recorder(slots=3)
    scheduler = Scheduler(runner)
    wrong: list[object] = []

    def client(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for _ in range(50):
                numbers = [chance.randrange(256) for _ in range(chance.randrange(1, 5))]
                tickets = [scheduler.submit(frame(number)) for number in numbers]
                got = [value(scheduler.collect(ticket)) for ticket in tickets]
                if got != numbers:
                    wrong.append((numbers, got))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=client, args=(seed,), daemon=True) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive(), "threads wait for each other"
    assert wrong == []
    scheduler.close()
