import signal
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from cyclegan.engine.pipeline import run_pipeline


def test_everything_arrives_in_order() -> None:
    got: list[int] = []
    run_pipeline(range(100), lambda items: [n * n for n in items], got.append, capacity=3)
    assert got == [n * n for n in range(100)]


def test_nothing_is_fine() -> None:
    run_pipeline([], list, pytest.fail, capacity=1)


def test_stages_overlap() -> None:
    """Each stage can only go on while another is at work, so that stages in turn would hang."""
    meeting = threading.Barrier(3, timeout=20)

    def make() -> Iterator[int]:
        yield 0
        yield 1
        meeting.wait()
        yield 2

    def work(items: list[int]) -> list[int]:
        if items == [1]:
            meeting.wait()
        return items

    def use(item: int) -> None:
        if item == 0:
            meeting.wait()

    run_pipeline(make(), work, use, capacity=2)


def test_a_slow_end_holds_the_start_back() -> None:
    made = used = 0
    most_ahead = 0

    def make() -> Iterator[int]:
        nonlocal made, most_ahead
        for made in range(1, 41):
            most_ahead = max(most_ahead, made - used)
            yield made

    def use(item: int) -> None:
        nonlocal used
        time.sleep(0.002)
        used = item

    run_pipeline(make(), list, use, capacity=3)
    # Three in each channel, and one in the hands of each stage.
    assert 4 <= most_ahead <= 3 + 3 + 3


@pytest.mark.parametrize("stage", ["make", "work", "use"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_anywhere_stops_all_and_comes_out(stage: str, error: type[BaseException]) -> None:
    before = threading.active_count()

    def fail_in(name: str, item: int) -> int:
        if stage == name and item == 5:
            raise error("here")
        return item

    with pytest.raises(error, match="here"):
        run_pipeline(
            (fail_in("make", n) for n in range(10_000_000)),
            lambda items: [fail_in("work", n) for n in items],
            lambda n: fail_in("use", n) and None,
            capacity=2,
        )
    assert threading.active_count() == before


def test_the_first_of_several_errors_comes_out() -> None:
    """What follows from it in other stages would only hide the cause."""
    last: list[threading.Thread] = []
    working, failing = threading.Event(), threading.Event()

    def work(items: list[int]) -> list[int]:
        if items[0] == 1:
            working.set()
            assert failing.wait(20)
            last[0].join(20)  # its error is known
            raise KeyError("second")
        return items

    def use(item: int) -> None:
        last.append(threading.current_thread())
        assert working.wait(20)
        failing.set()
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        run_pipeline(range(5), work, use, capacity=2)


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals as POSIX does")
def test_an_interrupt_while_the_last_stage_ends_waits_for_it() -> None:
    """What ``use`` writes to is closed by the caller, who must not do so under its hands."""
    used: list[int] = []
    main = threading.main_thread().ident
    assert main is not None

    def use(item: int) -> None:
        if item == 0:
            for _ in range(3):
                time.sleep(0.1)  # All is made and worked on: the caller's thread waits for this.
                signal.pthread_kill(main, signal.SIGINT)
            time.sleep(0.1)
        used.append(item)

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(range(3), list, use, capacity=5)
    assert used == [0], "what follows an interrupt is dropped"
    assert threading.active_count() == before


def test_time_is_charged_to_the_stage_that_takes_it() -> None:
    seconds = run_pipeline(range(20), list, lambda n: time.sleep(0.01), capacity=2)
    assert seconds.blocked > 10 * max(seconds.working, seconds.starved)
    seconds = run_pipeline(
        range(20), lambda items: [time.sleep(0.01) for _ in items], lambda n: None, capacity=2
    )
    assert seconds.working > 10 * max(seconds.blocked, seconds.starved)

    def slowly() -> Iterator[int]:
        for n in range(20):
            time.sleep(0.01)
            yield n

    seconds = run_pipeline(slowly(), list, lambda n: None, capacity=2)
    assert seconds.making >= 0.2
    assert seconds.starved > 10 * max(seconds.blocked, seconds.working)


def test_batches_form_behind_a_slow_stage_and_never_delay_the_first_item() -> None:
    batches: list[list[int]] = []
    first_seen = threading.Event()

    def make() -> Iterator[int]:
        yield 0
        # Nothing more is made until the first item was worked on, alone.
        assert first_seen.wait(20)
        yield from range(1, 40)

    def work(items: list[int]) -> list[int]:
        first_seen.set()
        batches.append(items)
        time.sleep(0.01)
        return items

    got: list[int] = []
    run_pipeline(make(), work, got.append, capacity=6, most=4)
    assert got == list(range(40))
    assert batches[0] == [0]
    assert max(map(len, batches)) == 4
    assert sum(len(batch) == 4 for batch in batches) > 5


def test_the_latest_item_wins_and_the_maker_never_waits() -> None:
    got: list[int] = []
    made_at: list[float] = []

    def make() -> Iterator[int]:
        for n in range(30):
            made_at.append(time.perf_counter())
            yield n
            time.sleep(0.002)

    def work(items: list[int]) -> list[int]:
        time.sleep(0.02)
        return items

    stats = run_pipeline(make(), work, got.append, capacity=1, is_late=lambda n: n % 10 != 9)
    assert {9, 19, 29} <= set(got), "what is never late is never dropped"
    assert got == sorted(got)
    assert len(got) + stats.dropped == 30
    assert stats.dropped > 10
    assert made_at[-1] - made_at[0] < 30 * 0.02
