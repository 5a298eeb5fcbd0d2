"""Frames that are in a GPU's memory, exchanged with other libraries without a copy.

N batch, H height, W width, C channels. In: anything that speaks ``__cuda_array_interface__``
(version 2 or 3) or DLPack. Out: :class:`DeviceFrames`, which speaks both. Structures and rules are
those of the two published interfaces.
"""

import ctypes
import math
import sys
from dataclasses import dataclass
from typing import Any, ClassVar

from cyclegan.errors import FrameError

CPU, CUDA, CUDA_MANAGED = 1, 2, 13
"""DLPack's device types."""
_UNSIGNED = 1
LEGACY_STREAM = 1
"""CUDA's default stream by its handle; both interfaces forbid or exclude 0."""


@dataclass(frozen=True, kw_only=True)
class DeviceView:
    """Where someone else's frames are."""

    pointer: int
    shape: tuple[int, ...]
    """(N, H, W, C), contiguous, uint8."""
    device: int | None
    """Which GPU's; None where the array does not tell."""
    stream: int | None
    """Where known, the one that the frames are made in: what it was given comes before they are
    read, and what it will be given after, such as other numbers in memory that was freed."""
    owner: Any
    """Keeps the memory."""


class _Device(ctypes.Structure):
    _fields_: ClassVar = [("kind", ctypes.c_int32), ("number", ctypes.c_int32)]


class _Type(ctypes.Structure):
    _fields_: ClassVar = [
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
    ]


class _Tensor(ctypes.Structure):
    _fields_: ClassVar = [
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _Type),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_Managed._fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter)]

_api = ctypes.pythonapi
_api.PyCapsule_New.restype = ctypes.py_object
_api.PyCapsule_New.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_api.PyCapsule_GetPointer.restype = ctypes.c_void_p
_api.PyCapsule_GetPointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
_api.PyCapsule_IsValid.restype = ctypes.c_int
_api.PyCapsule_IsValid.argtypes = (ctypes.py_object, ctypes.c_char_p)
_FRESH = b"dltensor"
_Destructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
# For the destructor, which must not touch the count of references of what is going.
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_IsValid", _api)
)
_get_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", _api)
)


def device_view(
    frames: Any, stream: int = 0, kinds: tuple[int, ...] = (CUDA, CUDA_MANAGED)
) -> DeviceView:
    """Where ``frames`` are, for work in ``stream``. Raises FrameError unless it can be read.

    ``kinds`` are the DLPack device types that are taken.
    """
    interface = getattr(frames, "__cuda_array_interface__", None)
    if interface is not None:
        view = _from_interface(frames, interface)
        # One that names no stream waits for none, but the producer of a capsule does.
        if view.stream is not None or not hasattr(frames, "__dlpack__"):
            return view
    if hasattr(frames, "__dlpack__"):
        return _from_dlpack(frames, stream, kinds)
    raise FrameError(
        f"got a {type(frames).__name__}; expected frames on the GPU that speak "
        "__cuda_array_interface__ or DLPack, such as a PyTorch or CuPy array"
    )


class DeviceFrames:
    """Translated frames on the GPU: uint8 (N, H, W, C), contiguous.

    They are there once ``stream`` has done what it was given before they were made, and until the
    next call of what made them.
    """

    def __init__(
        self,
        pointer: int,
        shape: tuple[int, ...],
        stream: int,
        device: int,
        owner: object = None,
        kind: int = CUDA,
    ) -> None:
        self.pointer, self.shape, self.stream, self.device = pointer, shape, stream, device
        self._owner, self._kind = owner, kind

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": "|u1",
            "data": (self.pointer, False),
            "strides": None,
            "version": 3,
            "stream": self.stream or LEGACY_STREAM,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._kind, self.device

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A capsule (DLPack 0.x, which every consumer reads, whatever its ``max_version``).

        Raises FrameError when the consumer's ``stream`` is another than that of the frames: let it
        wait for that one, or hand its stream to the call that makes them. Raises BufferError, as
        DLPack asks for, when a ``copy`` or another device is wanted: neither is made here.
        """
        if copy:
            raise BufferError(
                "these frames are handed over where they are, not copied; take them without "
                "copy=True, and copy what you got, such as with .clone()"
            )
        if dl_device not in (None, self.__dlpack_device__()):
            raise BufferError(
                f"these frames are on DLPack device {self.__dlpack_device__()}, and are wanted on "
                f"{dl_device}; take them where they are, and move what you got"
            )
        ours = self.stream or LEGACY_STREAM
        if stream not in (None, -1, ours):
            raise FrameError(
                f"these frames belong to CUDA stream {ours}, and stream {stream} wants them; "
                "translate in the stream that reads the result"
            )
        return _capsule(self, self._kind)


def _from_interface(frames: Any, value: dict[str, Any]) -> DeviceView:
    shape = tuple(value["shape"])
    _check(value["typestr"] in ("|u1", "<u1", "=u1"), value["typestr"], shape)
    _check_contiguous(value.get("strides"), shape)
    known = hasattr(frames, "__dlpack_device__")
    stream = value.get("stream")
    return DeviceView(
        pointer=value["data"][0],
        shape=shape,
        device=int(frames.__dlpack_device__()[1]) if known else None,
        stream=_pytorchs_stream(frames) if stream is None else stream,
        owner=frames,
    )


def _pytorchs_stream(frames: Any) -> int | None:
    """The one that PyTorch works in, if these are a tensor of it: its interface names none."""
    torch = sys.modules.get("torch")  # loaded then
    if torch is None or not isinstance(frames, torch.Tensor):
        return None
    return int(torch.cuda.current_stream(frames.device).cuda_stream)


def _from_dlpack(frames: Any, stream: int, kinds: tuple[int, ...]) -> DeviceView:
    kind, device = (int(part) for part in frames.__dlpack_device__())
    if kind not in kinds:
        raise FrameError(
            f"the frames are on DLPack device {kind}; expected the GPU ({CUDA}); "
            "for frames of the host call the translator itself"
        )
    # The producer lets our stream wait for its own.
    capsule = frames.__dlpack__(stream=(stream or LEGACY_STREAM) if kind != CPU else None)
    if not _api.PyCapsule_IsValid(capsule, _FRESH):
        raise FrameError("the frames' DLPack capsule was used before, or is of a newer kind")
    managed = _Managed.from_address(_api.PyCapsule_GetPointer(capsule, _FRESH))
    tensor = managed.tensor
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    dtype = (tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes)
    _check(dtype == (_UNSIGNED, 8, 1), f"DLPack type {dtype}", shape)
    strides = tuple(tensor.strides[i] for i in range(tensor.ndim)) if tensor.strides else None
    _check_contiguous(strides, shape)
    # The capsule stays unused, and frees what it holds when it goes with the view.
    return DeviceView(
        pointer=(tensor.data or 0) + tensor.byte_offset,
        shape=shape,
        device=device,
        stream=None,
        owner=(frames, capsule),
    )


def _check(is_uint8: bool, got: object, shape: tuple[int, ...]) -> None:
    if not is_uint8 or len(shape) != 4 or 0 in shape:
        raise FrameError(f"got {got} of shape {shape}; expected uint8 (N, H, W, C), none empty")


def _check_contiguous(strides: tuple[int, ...] | None, shape: tuple[int, ...]) -> None:
    expected = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
    if strides is not None and any(
        got != want for got, want, side in zip(strides, expected, shape) if side > 1
    ):
        raise FrameError(
            f"the frames have strides {strides}; expected contiguous ones {expected}: "
            "call .contiguous() first"
        )


_exported: dict[int, tuple[Any, ...]] = {}
"""What exported capsules point to, until their consumers let go."""


@_Deleter  # type: ignore[untyped-decorator]
def _delete(managed: Any) -> None:
    _exported.pop(ctypes.addressof(managed.contents), None)


@_Destructor  # type: ignore[untyped-decorator]
def _drop(capsule: int) -> None:
    """Frees what an unused capsule holds; a consumer renames the capsule and frees it itself."""
    if _is_valid(capsule, _FRESH):
        _exported.pop(_get_pointer(capsule, _FRESH), None)


def _capsule(frames: DeviceFrames, kind: int) -> Any:
    shape = (ctypes.c_int64 * len(frames.shape))(*frames.shape)
    tensor = _Tensor(
        data=frames.pointer,
        device=_Device(kind, frames.device),
        ndim=len(frames.shape),
        dtype=_Type(_UNSIGNED, 8, 1),
        shape=ctypes.cast(shape, ctypes.POINTER(ctypes.c_int64)),
        strides=None,
        byte_offset=0,
    )
    managed = _Managed(tensor=tensor, context=None, deleter=_delete)
    address = ctypes.addressof(managed)
    _exported[address] = (managed, shape, frames)
    return _api.PyCapsule_New(address, _FRESH, ctypes.cast(_drop, ctypes.c_void_p))
