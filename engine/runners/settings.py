"""How a backend is asked to run a generator."""

import threading
from dataclasses import dataclass
from typing import Literal

from cyclegan.config import Depth
from cyclegan.network_config import check
from cyclegan.plain_values import one_of

Precision = Literal["auto", "float32", "bfloat16", "float16", "int8"]
"""Of the arithmetic; int8 is OpenVINO's alone (:mod:`cyclegan.engine.int8`)."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every backend is opened with. Raises ConfigError for a precision that there is not, and
    for a device that is no name."""

    size: tuple[int, int] | None = None
    """Height and width of all frames, where known; the engine may then take no other."""
    precision: Precision = "auto"
    """``auto``: 16 bits where the device computes faster in them, else float32; float32 for frames
    of 16 bits, since bfloat16 tells fewer levels apart than a 10-bit film has."""
    depth: Depth = 8
    """Bits a channel of the frames."""
    device: str | None = None
    """The backend's own name of the device (``cuda:1``, ``GPU.0``); None lets it choose."""
    unwanted: threading.Event | None = None
    """Set when a runner that is being made is no longer wanted: a long build may end then."""

    def __post_init__(self) -> None:
        one_of(Precision, precision=self.precision)
        check(
            self.device is None or (isinstance(self.device, str) and self.device != ""),
            f"device is {self.device!r}; expected its name, such as 'cpu' or 'cuda:1'",
        )
