"""Inference backends, each behind the protocol of :class:`cyclegan.engine.tickets.Runner`.

A backend is one row of ``BACKENDS``: how it is opened, and why it cannot be used here, if so. What
it needs is imported when it is asked, so that a backend that is not installed costs nothing.
"""

import dataclasses
import threading
from collections.abc import Callable
from dataclasses import dataclass

from cyclegan.config import Depth
from cyclegan.engine.model_source import Source
from cyclegan.engine.runners import openvino, tensorrt, torch
from cyclegan.engine.runners.depths import DepthRunner
from cyclegan.engine.runners.settings import Precision, Settings
from cyclegan.engine.runners.switching import SwitchingRunner
from cyclegan.engine.tickets import Runner
from cyclegan.errors import BackendError, ConfigError

__all__ = ["BACKENDS", "Backend", "Precision", "Settings", "open_runner", "open_while"]


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A row of the table."""

    open: Callable[[Source, Settings], Runner]
    """A runner with the generator loaded. Raises BackendError, ConfigError."""
    why_missing: Callable[[], str | None]
    """What keeps the backend from running here and what to do about it, or None."""
    depths: tuple[Depth, ...] = (8, 16)
    """Of the frames that it takes, in bits a channel."""


BACKENDS: dict[str, Backend] = {
    "openvino": Backend(open=openvino.open_runner, why_missing=openvino.why_missing),
    "torch": Backend(open=torch.open_runner, why_missing=torch.why_missing),
    "torch-compiled": Backend(open=torch.open_compiled_runner, why_missing=torch.why_no_compiler),
    "tensorrt": Backend(open=tensorrt.open_runner, why_missing=tensorrt.why_missing, depths=(8,)),
}


def open_while(now: str, later: str, source: Source, settings: Settings) -> SwitchingRunner:
    """A runner of the backend ``now``, which gives way to one of ``later`` when that is ready.

    Raises BackendError, ConfigError where either cannot run here at all.
    """
    _usable(later)

    def build(unwanted: threading.Event) -> Runner:
        runner = open_runner(later, source, dataclasses.replace(settings, unwanted=unwanted))
        if unwanted.is_set():
            runner.close()
            raise BackendError("no longer wanted")
        return runner

    # The first one speaks for itself: precision and device are meant for the one to come.
    first = open_runner(now, source, Settings(size=settings.size))
    return SwitchingRunner(first, build, any_size=settings.size is None)


def open_runner(backend: str, source: Source, settings: Settings) -> Runner:
    """A runner of the backend of that name, for all depths of frames that it and ``source`` take.

    Raises ConfigError, BackendError.
    """
    row = _usable(backend)
    takes: tuple[Depth, ...] = (8,) if settings.precision == "int8" else row.depths
    depths = [depth for depth in source.depths if depth in takes]
    if not depths:
        raise BackendError(
            f"{source.name} takes frames of 16 bits a channel, which {backend} does not; export it "
            "again with 8"
        )
    if depths == [8]:
        return row.open(source, settings)
    return DepthRunner(
        lambda depth: row.open(source, dataclasses.replace(settings, depth=depth)), depths
    )


def _usable(backend: str) -> Backend:
    if backend not in tuple(BACKENDS):  # a list has no hash
        raise ConfigError(f"unknown backend {backend!r}; known are auto, {', '.join(BACKENDS)}")
    if reason := BACKENDS[backend].why_missing():
        raise BackendError(f"the backend {backend} cannot run here: {reason}")
    return BACKENDS[backend]
