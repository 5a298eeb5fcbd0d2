"""Three stages that overlap: items are made, worked on and used up, each in a thread of its own.

The channels between them are bounded, so the memory in use does not depend on how many items there
are. The middle stage is handed whatever waits for it, up to a limit, and never waits for more: what
comes first is worked on at once, and batches form where the stage is the slowest. An error in any
stage, or an interrupt, stops all of them and is raised in the caller's thread.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class StoppedError(Exception):
    """The other side of a channel has gone, or everything was sent."""


class Channel(Generic[T]):
    """A bounded queue between two threads that either side can end."""

    def __init__(self, capacity: int) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._changed = threading.Condition()
        self._ended = self._aborted = False
        self.put_seconds = 0.0
        """Time that the sender waited for room."""
        self.get_seconds = 0.0
        """Time that the receiver waited for an item."""

    def put(self, item: T) -> None:
        """Send, waiting for room. Raises StoppedError after :meth:`abort`."""
        start = time.perf_counter()
        with self._changed:
            self._changed.wait_for(lambda: self._aborted or len(self._items) < self._capacity)
            self.put_seconds += time.perf_counter() - start
            if self._aborted:
                raise StoppedError
            self._items.append(item)
            self._changed.notify_all()

    def put_latest(self, item: T, is_late: Callable[[T], bool]) -> int:
        """Send at once, dropping what waits and ``is_late`` by now; how many were dropped."""
        with self._changed:
            if self._aborted:
                raise StoppedError
            kept = deque(other for other in self._items if not is_late(other))
            dropped = len(self._items) - len(kept)
            self._items = kept
            self._items.append(item)
            self._changed.notify_all()
            return dropped

    def get(self) -> T:
        """Receive, waiting for an item. Raises StoppedError when there will be none."""
        return self.get_some(1)[0]

    def get_some(self, most: int) -> list[T]:
        """Receive what there is, from one item to ``most``, waiting only for the first."""
        start = time.perf_counter()
        with self._changed:
            self._changed.wait_for(lambda: self._aborted or self._ended or self._items)
            self.get_seconds += time.perf_counter() - start
            if self._aborted or not self._items:
                raise StoppedError
            items = [self._items.popleft() for _ in range(min(most, len(self._items)))]
            self._changed.notify_all()
            return items

    def end(self) -> None:
        """Tell the receiver that nothing follows."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def abort(self) -> None:
        """Drop what is inside and stop both sides."""
        with self._changed:
            self._aborted = True
            self._items.clear()
            self._changed.notify_all()


@dataclass(frozen=True, kw_only=True)
class StageSeconds:
    """Where the time of the middle stage went, and how long the first one was at work."""

    making: float
    starved: float
    """The middle stage waited for the first."""
    working: float
    blocked: float
    """The middle stage waited for the last."""
    dropped: int
    """Items that came too late for the middle stage."""


def run_pipeline(
    make: Iterable[T],
    work: Callable[[list[T]], Iterable[U]],
    use: Callable[[U], None],
    *,
    capacity: int,
    most: int = 1,
    is_late: Callable[[T], bool] | None = None,
    stopped: Callable[[], None] = lambda: None,
) -> StageSeconds:
    """``use(result)`` for what ``work(items)`` gives for all items of ``make``, in order.

    ``make`` is drawn from in one new thread, ``use`` called in another, ``work`` in this one, with
    one to ``most`` items at a time. At most ``capacity`` items wait between two stages. With
    ``is_late``, a new item takes the place of those that wait for ``work`` and are late by then, so
    that ``make`` never waits. Raises the first error of any stage, when all of them have ended;
    ``stopped`` is called before that, from any thread, so that ``make`` and ``use`` wait for
    nothing more.
    """
    stages: _Stages[T, U] = _Stages(capacity, most, is_late, stopped)
    threads = (
        _Stage(lambda: stages.make(make), stages.stop),
        _Stage(lambda: stages.use(use), stages.stop),
    )
    try:
        for thread in threads:
            thread.start()
        stages.work(work)
    except BaseException as error:
        stages.stop(error)
    for thread in threads:
        thread.wait()
    for thread in threads:
        thread.join()
    if stages.errors:
        raise stages.errors[0]
    return stages.seconds()


class _Stages(Generic[T, U]):
    """What the three stages do and share."""

    def __init__(
        self,
        capacity: int,
        most: int,
        is_late: Callable[[T], bool] | None,
        stopped: Callable[[], None],
    ) -> None:
        self._most, self._is_late, self._stopped = most, is_late, stopped
        self._dropped = 0
        self._made: Channel[T] = Channel(capacity)
        self._done: Channel[U] = Channel(capacity)
        self._making = self._working = 0.0
        self.errors: list[BaseException] = []

    def stop(self, error: BaseException) -> None:
        """Stop all stages because of ``error``."""
        self.errors.append(error)
        self._made.abort()
        self._done.abort()
        self._stopped()

    def make(self, items: Iterable[T]) -> None:
        iterator = iter(items)
        with contextlib.suppress(StoppedError):
            while True:
                start = time.perf_counter()
                try:
                    item = next(iterator)
                except StopIteration:
                    return self._made.end()
                finally:
                    self._making += time.perf_counter() - start
                if self._is_late:
                    self._dropped += self._made.put_latest(item, self._is_late)
                else:
                    self._made.put(item)

    def work(self, work: Callable[[list[T]], Iterable[U]]) -> None:
        try:
            while True:
                items = self._made.get_some(self._most)
                start = time.perf_counter()
                results = work(items)
                self._working += time.perf_counter() - start
                for result in results:
                    self._done.put(result)
        except StoppedError:
            self._done.end()

    def use(self, use: Callable[[U], None]) -> None:
        with contextlib.suppress(StoppedError):
            while True:
                use(self._done.get())

    def seconds(self) -> StageSeconds:
        return StageSeconds(
            making=self._making,
            starved=self._made.get_seconds,
            working=self._working,
            blocked=self._done.put_seconds,
            dropped=self._dropped,
        )


class _Stage:
    """A stage in a thread of its own, which can be waited for through interrupts."""

    def __init__(self, run: Callable[[], None], stop: Callable[[BaseException], None]) -> None:
        self._run, self._stop = run, stop
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._guarded)

    def start(self) -> None:
        self._thread.start()

    def wait(self) -> None:
        """Return when the stage has ended; an interrupt meanwhile stops all stages."""
        # Not by Thread.join: interrupted, it can take a thread that runs for one that has ended.
        while self._started and not self._ended.is_set():
            try:
                self._ended.wait()
            except BaseException as error:
                self._stop(error)

    def join(self) -> None:
        """Let go of the thread, which has nothing left to do."""
        if self._started:
            self._thread.join()

    @property
    def _started(self) -> bool:
        return self._thread.ident is not None

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self._stop(error)
        finally:
            self._ended.set()
