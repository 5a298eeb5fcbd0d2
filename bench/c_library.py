"""The C library from Python, as far as a benchmark needs it: RGB frames in flight.

Frames are uint8 (H, W, 3) in [0, 255], all of the size that the translator was opened for.
"""

import ctypes
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import ROOT
from cyclegan.engine.frames import Frames

PRECISIONS = {"auto": 0, "f32": 1, "bf16": 2, "f16": 3}


class Settings(ctypes.Structure):
    """cyclegan_settings."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        *[(name, ctypes.c_int32) for name in ("backend", "precision", "width", "height")],
        *[(name, ctypes.c_int32) for name in ("slots", "threads")],
        *[(name, ctypes.c_void_p) for name in ("device", "cache_folder", "log", "log_user")],
        ("reserved", ctypes.c_size_t * 8),
    ]


class Frame(ctypes.Structure):
    """cyclegan_frame."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        *[(name, ctypes.c_int32) for name in ("width", "height", "format", "matrix")],
        *[(name, ctypes.c_int32) for name in ("full_range", "reserved0")],
        ("data", ctypes.c_void_p * 2),
        ("stride", ctypes.c_size_t * 2),
        ("reserved", ctypes.c_size_t * 4),
    ]

    @classmethod
    def of(cls, rgb: Frames) -> "Frame":
        """The frame that lies in ``rgb``, which has to outlive it."""
        frame = cls(struct_size=ctypes.sizeof(cls), width=rgb.shape[1], height=rgb.shape[0])
        frame.data[0], frame.stride[0] = rgb.ctypes.data, rgb.strides[0]
        return frame


def built_library(folder: Path) -> Path:
    """libcyclegan.so in ``folder``, built there from this tree."""
    scripts = Path(sys.executable).parent
    cmake = scripts / "cmake"
    python = [f"-DPython3_EXECUTABLE={sys.executable}", "-DCYCLEGAN_TESTS=OFF"]
    options = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={scripts / 'ninja'}", *python]
    subprocess.run([cmake, "-S", ROOT, "-B", folder, *options], check=True, stdout=sys.stderr)
    subprocess.run([cmake, "--build", folder], check=True, stdout=sys.stderr)
    return folder / "lib" / "libcyclegan.so"


class CTranslator:
    """One translator of the C library. Raises RuntimeError with its message."""

    def __init__(self, library: Path, model: Path, size: tuple[int, int], precision: str) -> None:
        self._library: Any = ctypes.CDLL(str(library))
        self._library.cyclegan_last_error.restype = ctypes.c_char_p
        self._handle = ctypes.c_void_p()
        settings = Settings(struct_size=ctypes.sizeof(Settings), height=size[0], width=size[1])
        settings.precision = PRECISIONS[precision]
        place, path = ctypes.byref(self._handle), str(model).encode()
        self._check(self._library.cyclegan_open(place, path, ctypes.byref(settings)))

    def submit(self, rgb: Frames) -> ctypes.c_uint64:
        """Start a frame; its ticket."""
        ticket = ctypes.c_uint64()
        source = ctypes.byref(Frame.of(rgb))
        self._check(self._library.cyclegan_submit(self._handle, source, ctypes.byref(ticket)))
        return ticket

    def collect(self, ticket: ctypes.c_uint64, into: Frames) -> Frames:
        """Wait for a frame; it is written to ``into``."""
        target = ctypes.byref(Frame.of(into))
        self._check(self._library.cyclegan_collect(self._handle, ticket, target))
        return into

    def stream(self, frames: list[Frames]) -> Frames:
        """Translate frames with both slots in use; the last result."""
        waiting: list[ctypes.c_uint64] = []
        result = np.empty_like(frames[0])
        for frame in frames:
            if len(waiting) == 2:
                self.collect(waiting.pop(0), result)
            waiting.append(self.submit(frame))
        for ticket in waiting:
            self.collect(ticket, result)
        return result

    def close(self) -> None:
        """Give it back."""
        self._library.cyclegan_close(ctypes.byref(self._handle))

    def _check(self, status: int) -> None:
        if status:
            handle = self._handle if self._handle.value else None
            raise RuntimeError(self._library.cyclegan_last_error(handle).decode())
