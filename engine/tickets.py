"""Batches in flight: the one scheduler that every runner works under.

A runner has a fixed number of slots; each holds one batch from ``begin`` to ``finish``. The
scheduler hands slots out in turn, and gives a ticket for each batch:

- order: slots are taken in the order of submission, and any ticket may be collected at any time;
- back-pressure: ``submit`` waits for the oldest batch when every slot is taken, and its frames then
  wait in its ticket, so no more than the slots plus what the caller has not collected is held;
- errors: what a runner raises comes out of the ``submit`` or ``collect`` of that batch alone;
- cancellation: a cancelled batch gives its slot back when it ends, and its frames are dropped;
- interrupts: Ctrl-C may come between any two steps, and loses no slot. What else a signal handler
  raises, other than an ``Exception``, may too; that cannot be told from an error of the runner's;
- signal handlers: what one would wait for in vain, as the thread that it has interrupted is at work
  on it, is refused, or left to that thread.

All methods may be called from any thread of the process that made the scheduler; the threads and
devices behind a runner do not come along into a forked one.
"""

import atexit
import contextlib
import itertools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from cyclegan.engine.frames import Frames
from cyclegan.errors import BackendError

if TYPE_CHECKING:
    from cyclegan.engine.device_arrays import DeviceFrames
    from cyclegan.engine.planes import Planes


class Runner(Protocol):
    """One backend with one loaded generator."""

    slots: int
    """Batches that may be in flight at once."""

    @property
    def max_batch(self) -> int:
        """Frames that it takes in one batch at most."""

    def begin(self, slot: int, frames: Frames) -> None:
        """Start to translate ``frames``; they may be overwritten once this returns.

        They are uint8, unless the runner says by ``depths`` that it takes others. The sizes are
        multiples of what the generator asks for. Called for a free slot only; for different slots
        perhaps from several threads at once. After an interrupt the slot is free, though what was
        begun may never be finished.
        """

    def finish(self, slot: int) -> Frames:
        """Wait for what ``begin`` started, free the slot, and return frames that the caller owns.

        If it raises, the slot is free too.
        """

    def close(self) -> None:
        """Give back what the backend holds. No slot is in use. Called again after an interrupt."""


@runtime_checkable
class PlaneRunner(Runner, Protocol):
    """A runner that also takes pictures as decoders and encoders hold them."""

    planes_on: str | None
    """The device that they become RGB on; None: none, after all."""

    def begin_planes(self, slot: int, pictures: "Sequence[Planes]") -> None:
        """Start to translate ``pictures``, which are of one size and coding, and stay as they are
        until their batch is finished."""

    def finish_planes(self, slot: int) -> "list[Planes]":
        """As ``finish`` does, for what ``begin_planes`` started; in the host's memory."""


@runtime_checkable
class OnDevice(Protocol):
    """A runner that takes frames which are on the GPU already."""

    def translate_on_device(self, frames: Any, stream: int = 0) -> "DeviceFrames":
        """See :meth:`~cyclegan.engine.translator.Translator.translate_on_device`."""


@runtime_checkable
class ChoosyRunner(Runner, Protocol):
    """A runner that does not take batches of all sizes."""

    def why_refused(self, shape: tuple[int, ...]) -> str | None:
        """Why it takes no batch of ``shape`` (N, H, W), and what to do about it; or None."""


@runtime_checkable
class RememberingRunner(Runner, Protocol):
    """A runner whose frames may depend on those before."""

    remembers: bool
    """Whether they do."""

    def begin_anew(self) -> None:
        """Forget all frames so far, once those in flight have been translated."""


class Ticket:
    """A batch that was submitted: to be handed to ``collect`` once."""

    __slots__ = ("_cancelled", "_error", "_finish", "_frames", "_scheduler", "_slot", "_thread")

    def __init__(self, scheduler: "Scheduler", finish: Callable[[int], Any]) -> None:
        self._scheduler = scheduler
        self._slot: int
        """The slot that it occupies while it is in flight."""
        self._finish = finish
        self._thread: int | None = threading.get_ident()
        """The thread that begins it or waits for it, if any does."""
        self._cancelled = False
        self._frames: Any = None
        """What the runner made of the batch: frames, or planes."""
        self._error: BaseException | None = None


class Scheduler:
    """Submits batches to the slots of a runner and collects them."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._turns = itertools.cycle(range(runner.slots))
        self._in_flight: deque[Ticket] = deque()
        """What occupies a slot. A slot is free when no ticket here has it: nothing else says so,
        which leaves no step between two that say it."""
        self._lock = threading.RLock()
        """Entered as it is, not through the condition: that does so in Python, where an interrupt
        can leave it locked."""
        self._changed = threading.Condition(self._lock)
        self._closing = False
        """Whether new work is refused."""
        self._closed = False
        """Whether the runner is closed."""
        self._beside: dict[object, int] = {}
        """A mark of each call that is at work beside the slots, and its thread."""
        self._process = os.getpid()
        _open.add(self)

    def submit(self, frames: Frames) -> Ticket:
        """Start ``frames`` in the next free slot, waiting for the oldest batch if there is none.

        Raises BackendError where a signal handler submits while the thread that it has interrupted
        is at work on the batches of all slots.
        """
        return self._submit(lambda slot: self._runner.begin(slot, frames), self._runner.finish)

    def submit_planes(self, pictures: "Sequence[Planes]") -> Ticket:
        """The same with planes, for a runner that takes them."""
        runner = self._runner
        assert isinstance(runner, PlaneRunner)
        return self._submit(lambda slot: runner.begin_planes(slot, pictures), runner.finish_planes)

    def _submit(self, begin: Callable[[int], None], finish: Callable[[int], Any]) -> Ticket:
        self._check_process()
        ticket = Ticket(self, finish)
        try:
            begin(self._take_slot(ticket))
            with self._lock:
                ticket._thread = None
                self._changed.notify_all()
        except BaseException:
            self._end(ticket)
            raise
        return ticket

    @contextlib.contextmanager
    def beside_slots(self) -> Iterator[None]:
        """For work of the runner's that takes no slot: within it the runner is not closed."""
        self._check_process()
        mark = object()
        try:
            with self._lock:
                self._check_open()
                self._beside[mark] = threading.get_ident()
            yield
        finally:
            with self._lock:
                self._beside.pop(mark, None)
                self._changed.notify_all()

    def collect(self, ticket: Ticket) -> Any:
        """The frames of ``ticket``, or its planes, waiting for them.

        Raises what went wrong with that batch; BackendError where a signal handler collects what
        the thread that it has interrupted is at work on.
        """
        self._check_process()
        self._check_own(ticket)
        with self._lock:
            if self._is_mine(ticket):
                raise BackendError(
                    "this batch is being waited for by the code that this signal handler has "
                    "interrupted: collect it there"
                )
        self._settle(ticket)
        with self._lock:
            frames, error = ticket._frames, ticket._error
            ticket._frames = None
        if error is not None:
            raise error
        if frames is None:
            state = "cancelled" if ticket._cancelled else "collected before"
            raise BackendError(f"this ticket was {state}; a ticket is collected once")
        return frames

    def cancel(self, ticket: Ticket) -> None:
        """Drop the batch. Does not wait; a batch that runs ends, and its frames go nowhere."""
        self._check_own(ticket)
        with self._lock:
            ticket._cancelled = True
            ticket._frames = None

    def close(self) -> None:
        """Wait for what is in flight or at work, then close the runner. Frames stay in their
        tickets.

        Does nothing in a process that was forked from the one with the runner. After an interrupt
        the next call goes on. In a signal handler that has interrupted this thread at work on a
        batch it only refuses new ones: the next call closes the runner. What is open when the
        interpreter ends is closed then.
        """
        if os.getpid() != self._process:
            return
        with self._lock:
            self._closing = True
            self._changed.notify_all()
        mark = object()  # others wait while this thread closes the runner
        try:
            if self._wait_until_idle(mark):
                self._runner.close()
                self._closed = True
        finally:
            with self._lock:
                self._beside.pop(mark, None)
                self._changed.notify_all()

    def _wait_until_idle(self, mark: object) -> bool:
        """Wait for what is in flight or at work; whether the runner is to be closed, which then has
        ``mark``."""
        while True:
            with self._lock:
                self._changed.wait_for(
                    lambda: self._is_idle() or self._waiting() or self._is_interrupted()
                )
                if self._closed or self._is_interrupted():
                    return False
                if self._is_idle():
                    self._beside[mark] = threading.get_ident()
                    return True
                ticket = self._waiting()
            if ticket is not None:
                self._settle(ticket)

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise BackendError(
                f"this translator was opened in the process {self._process}, and cannot be used in "
                f"{os.getpid()}, which was forked from it, and where its libraries may hang: "
                "open one in a process that is started by spawn, or forked before any was opened"
            )

    def _check_own(self, ticket: Ticket) -> None:
        if ticket._scheduler is not self:
            raise BackendError(
                "this batch was submitted to another translator: collect or cancel it there"
            )

    def _check_open(self) -> None:
        if self._closing:
            raise BackendError("the translator is closed")

    def _is_idle(self) -> bool:
        return not self._in_flight and not self._beside

    def _is_mine(self, ticket: Ticket) -> bool:
        """Whether this thread begins ``ticket`` or waits for it."""
        return ticket in self._in_flight and ticket._thread == threading.get_ident()

    def _is_interrupted(self) -> bool:
        """Whether this thread is at work already, which goes on when a signal handler returns."""
        beside = threading.get_ident() in self._beside.values()
        return beside or any(self._is_mine(ticket) for ticket in self._in_flight)

    def _has_free(self) -> bool:
        return len(self._in_flight) < self._runner.slots

    def _take_slot(self, ticket: Ticket) -> int:
        """Put ``ticket`` in flight, in the next free slot."""
        while True:
            with self._lock:
                self._changed.wait_for(
                    lambda: (
                        self._closing
                        or self._has_free()
                        or self._waiting() is not None
                        or all(self._is_mine(other) for other in self._in_flight)
                    )
                )
                self._check_open()
                if self._has_free():
                    occupied = {other._slot for other in self._in_flight}
                    ticket._slot = next(slot for slot in self._turns if slot not in occupied)
                    self._in_flight.append(ticket)
                    return ticket._slot
                oldest = self._waiting()
            if oldest is None:
                raise BackendError(
                    "every slot is taken by the code that this signal handler has interrupted: "
                    "submit when it has returned"
                )
            self._settle(oldest)

    def _waiting(self) -> Ticket | None:
        """The oldest batch that no thread begins or waits for."""
        return next((ticket for ticket in self._in_flight if ticket._thread is None), None)

    def _settle(self, ticket: Ticket) -> None:
        """Return once ``ticket`` has ended; its result or error is then in it."""
        frames, error = None, None
        try:
            with self._lock:
                self._changed.wait_for(
                    lambda: ticket not in self._in_flight or ticket._thread is None
                )
                if ticket not in self._in_flight:
                    return
                ticket._thread = threading.get_ident()
            try:
                frames = ticket._finish(ticket._slot)
            except Exception as raised:
                error = raised
            self._end(ticket, frames, error)
        except BaseException:
            why = "an interrupt came while this batch was waited for; translate it again"
            self._end(ticket, error=BackendError(why))
            raise

    def _end(self, ticket: Ticket, frames: Any = None, error: BaseException | None = None) -> None:
        """Free the slot of ``ticket``, if it has one and this thread begins it or waits for it.

        May be called again after an interrupt within it.
        """
        with self._lock:
            if self._is_mine(ticket):
                ticket._frames = None if ticket._cancelled else frames
                ticket._error = error
                self._in_flight.remove(ticket)
            self._changed.notify_all()


_open: "weakref.WeakSet[Scheduler]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """A thread that is in a library's code while the interpreter goes can crash the process."""
    for scheduler in list(_open):
        scheduler.close()
