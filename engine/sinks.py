"""What goes into a pipe or over a connection, written by us: FFmpeg would wait for whoever reads
it, also when nobody wants to write any more.
"""

import errno
import os
import select
import socket
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cyclegan.engine.endpoints import Output
from cyclegan.engine.pipes import LOOK_SECONDS
from cyclegan.errors import StoppedEarlyError

_AT_ONCE = getattr(select, "PIPE_BUF", 1 << 20)
"""Bytes that are taken without a wait by a pipe that says that it takes some."""
_SILENCE_SECONDS = 10
"""That a host may take to answer."""


class Sink:
    """Standard output, a named pipe or a TCP connection, as a file for PyAV. Has no way back."""

    def __init__(self, output: Output, stop: threading.Event) -> None:
        """Waits for a program that reads a named pipe, and a while for an address that does not
        answer. Raises OSError where there is nothing to write to, ValueError for an address that is
        none, StoppedEarlyError where ``stop`` comes before.
        """
        self.name = output.url
        """PyAV chooses the container by its suffix."""
        self._own = None if output.url == "pipe:1" else _opened(output, stop)
        self._file = 1 if self._own is None else self._own
        self._poll = None
        if hasattr(select, "poll"):  # not on Windows, where pipes cannot be asked
            self._poll = select.poll()
            self._poll.register(self._file, select.POLLOUT)
        self._abandoned = threading.Event()
        self._ended_by: BaseException | None = None

    def abandon(self) -> None:
        """Wait for nobody more: what is written from now on is an error."""
        self._abandoned.set()

    def write(self, data: bytes) -> None:
        """All of ``data``, as fast as it is read. Raises BrokenPipeError once it is abandoned."""
        try:
            rest = memoryview(data)
            while rest:
                self._wait()
                rest = rest[os.write(self._file, rest[:_AT_ONCE]) :]
        except (KeyboardInterrupt, SystemExit) as ending:  # which PyAV would print and forget
            self._ended_by = ending
            self.abandon()
            self._wait()

    def _wait(self) -> None:
        """Return when there is room. Raises BrokenPipeError when nobody waits for it any more."""
        while not self._abandoned.is_set():
            if self._poll is None or self._poll.poll(1000 * LOOK_SECONDS):
                return
        raise BrokenPipeError(errno.EPIPE, "it was not read to its end")

    def close(self) -> None:
        """Let go of it; standard output stays open. Raises what interrupted writing."""
        own, self._own = self._own, None
        if own is not None:
            os.close(own)
        ended_by, self._ended_by = self._ended_by, None
        if ended_by is not None:
            raise ended_by


def _opened(output: Output, stop: threading.Event) -> int:
    """A descriptor of our own, which never waits."""
    if output.is_connection:
        return _connected(output, stop)
    if not Path(output.url).is_fifo():
        return os.open(output.url, os.O_WRONLY)
    while not stop.is_set():
        try:
            return os.open(output.url, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nobody reads it yet
                raise
        stop.wait(LOOK_SECONDS)
    raise StoppedEarlyError(f"stopped before anybody read {output.name}")


def _connected(output: Output, stop: threading.Event) -> int:
    """To the first of the host's addresses that takes us; each gets its share of the time left."""
    address = urlsplit(output.url)
    failed: OSError | None = None
    found = socket.getaddrinfo(address.hostname, address.port, type=socket.SOCK_STREAM)
    until = time.monotonic() + _SILENCE_SECONDS
    for left, (family, kind, protocol, _, where) in zip(range(len(found), 0, -1), found):
        now = time.monotonic()
        try:
            with socket.socket(family, kind, protocol) as connection:
                _connect(connection, where, now + (until - now) / left, output.name, stop)
                return connection.detach()
        except OSError as error:
            failed = error
    assert failed is not None  # no host is without an address
    raise failed


def _connect(
    connection: socket.socket, where: Any, until: float, name: str, stop: threading.Event
) -> None:
    """Raises OSError where nobody takes it, or answers ``until`` then, StoppedEarlyError where
    ``stop`` comes before.
    """
    connection.setblocking(False)
    refusal = connection.connect_ex(where)
    if refusal == errno.EINPROGRESS:
        poll = select.poll()
        poll.register(connection, select.POLLOUT)
        while not poll.poll(1000 * LOOK_SECONDS):
            if stop.is_set():
                raise StoppedEarlyError(f"stopped before {name} answered")
            if time.monotonic() > until:
                raise TimeoutError(f"no answer in {_SILENCE_SECONDS} seconds")
        refusal = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if refusal:
        raise OSError(refusal, os.strerror(refusal))
