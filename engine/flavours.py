"""TensorRT, whichever flavour is installed, as one module.

There are two flavours with one API: ``tensorrt``, for every NVIDIA GPU, and ``tensorrt-rtx``, for
GeForce and RTX GPUs, which builds plans on machines without a GPU too. A plan of one is of no use
to the other. Everything else here sees the module that :func:`load_tensorrt` found.
"""

import functools
import importlib
import importlib.metadata
import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from cyclegan.engine.once import once
from cyclegan.errors import UNIMPORTABLE, BackendError, ConfigError

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
"""Flavours by the names of their packages, and the modules; the first that imports is taken."""
INSTALL = (
    "pip install 'cyclegan-engine[plan]' to build plans, 'cyclegan-engine[tensorrt]' to run them "
    "as well"
)
_INSTALL_ONE = {
    "tensorrt": "pip install tensorrt, with the libraries of its vendor",
    "tensorrt-rtx": "pip install 'cyclegan-engine[plan]'",
}


@dataclass(frozen=True, kw_only=True)
class TensorRT:
    """One flavour, imported."""

    flavour: str
    version: str
    trt: Any
    """The module itself."""

    @property
    def package(self) -> str:
        """The installed package with the bindings, which names the CUDA version they are for."""
        module = MODULES[self.flavour]
        for name in (f"{module}_cu{cuda}_bindings" for cuda in range(14, 10, -1)):
            with suppress(importlib.metadata.PackageNotFoundError):
                importlib.metadata.version(name)
                return name.removesuffix("_bindings")
        return module

    @property
    def is_rtx(self) -> bool:
        """Whether it builds for GPUs that are not here, and compiles kernels when it loads."""
        return self.flavour == "tensorrt-rtx"


@functools.cache
def load_tensorrt(flavour: str | None = None) -> TensorRT:
    """The flavour of that name, or the first that imports.

    Raises ConfigError for a name that is none, BackendError where it cannot be imported.
    """
    if flavour is not None and flavour not in MODULES:
        raise ConfigError(f"TensorRT flavour {flavour!r}; known are {', '.join(MODULES)}")
    wanted = [flavour] if flavour else list(MODULES)
    problems = []
    for name in wanted:
        if importlib.util.find_spec(MODULES[name]) is None:
            problems.append(f"{name} is not installed")
            continue
        try:
            trt = importlib.import_module(MODULES[name])
            return TensorRT(flavour=name, version=trt.__version__, trt=trt)
        except (*UNIMPORTABLE, RuntimeError, AttributeError) as error:
            problems.append(f"{name} cannot be imported ({error})")
    advice = _INSTALL_ONE[flavour] if flavour else INSTALL
    raise BackendError(f"no TensorRT: {'; '.join(problems)}; {advice}")


def why_missing() -> str | None:
    """Why no plan can be built here, or None; imports nothing."""
    if any(importlib.util.find_spec(module) for module in MODULES.values()):
        return None
    return f"TensorRT is not installed; {INSTALL}"


class Messages:
    """What TensorRT logs: it knows one logger for a process, so this is asked for each task."""

    def __init__(self, tensorrt: TensorRT) -> None:
        self._lines: list[list[str]] = []
        self._guard = threading.Lock()
        self.logger = self._made(tensorrt.trt)

    def _made(self, trt: Any) -> Any:
        messages = self
        grave = (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR)

        class Logger(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in grave:
                    messages._add(message)

        return Logger()

    def _add(self, message: str) -> None:
        with self._guard:
            for lines in self._lines:
                lines.append(message)

    @contextmanager
    def errors(self) -> Iterator[list[str]]:
        """The errors logged within the block, by any thread."""
        lines: list[str] = []
        with self._guard:
            self._lines.append(lines)
        try:
            yield lines
        finally:
            with self._guard:
                self._lines = [other for other in self._lines if other is not lines]


@once
def messages(tensorrt: TensorRT) -> Messages:
    """The one log of this process for ``tensorrt``."""
    return Messages(tensorrt)
