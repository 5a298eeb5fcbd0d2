"""Three stages that overlap: items are made, worked on and used up, each in a thread of its own.

The channels between them are bounded, so the memory in use does not depend on how many items there
are. An error in any stage, or an interrupt, stops all of them and is raised in the caller's thread.
"""

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

    def get(self) -> T:
        """Receive, waiting for an item. Raises StoppedError when there will be none."""
        start = time.perf_counter()
        with self._changed:
            self._changed.wait_for(lambda: self._aborted or self._ended or self._items)
            self.get_seconds += time.perf_counter() - start
            if self._aborted or not self._items:
                raise StoppedError
            item = self._items.popleft()
            self._changed.notify_all()
            return item

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


def run_pipeline(
    make: Iterable[T], work: Callable[[T], U], use: Callable[[U], None], *, capacity: int
) -> StageSeconds:
    """``use(work(item))`` for all items of ``make``, in order, in overlapping stages.

    ``make`` is drawn from in one new thread, ``use`` called in another, ``work`` in this one.
    At most ``capacity`` items wait between two stages. Raises the first error of any stage.
    """
    made: Channel[T] = Channel(capacity)
    done: Channel[U] = Channel(capacity)
    errors: list[BaseException] = []
    seconds = {"making": 0.0, "working": 0.0}

    def stop(error: BaseException) -> None:
        errors.append(error)
        made.abort()
        done.abort()

    def making() -> None:
        items = iter(make)
        try:
            while True:
                start = time.perf_counter()
                try:
                    item = next(items)
                except StopIteration:
                    return made.end()
                finally:
                    seconds["making"] += time.perf_counter() - start
                made.put(item)
        except StoppedError:
            return None
        except BaseException as error:
            return stop(error)

    def using() -> None:
        try:
            while True:
                use(done.get())
        except StoppedError:
            pass
        except BaseException as error:
            stop(error)

    threads = [threading.Thread(target=making), threading.Thread(target=using)]
    try:
        for thread in threads:
            thread.start()
        while True:
            item = made.get()
            start = time.perf_counter()
            result = work(item)
            seconds["working"] += time.perf_counter() - start
            done.put(result)
    except StoppedError:
        done.end()
    except BaseException as error:
        stop(error)
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return StageSeconds(starved=made.get_seconds, blocked=done.put_seconds, **seconds)
