"""Exchanged with NumPy and PyTorch in the host's memory: the structures are the same on a GPU."""

import gc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cyclegan.engine import device_arrays
from cyclegan.engine.device_arrays import CPU, CUDA, LEGACY_STREAM, DeviceFrames, device_view
from cyclegan.engine.frames import Frames
from cyclegan.errors import FrameError


@pytest.fixture
def memory() -> Frames:
    return np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)


def on_host(memory: Frames, stream: int = 0) -> DeviceFrames:
    return DeviceFrames(memory.ctypes.data, memory.shape, stream, 0, owner=memory, kind=CPU)


def test_others_read_the_same_memory(memory: Frames) -> None:
    frames = on_host(memory)
    tensor, array = torch.from_dlpack(frames), np.from_dlpack(frames)  # type: ignore[arg-type]
    assert tensor.dtype == torch.uint8
    assert array.shape == tuple(tensor.shape) == memory.shape
    tensor[0, 0, 0, 0] = 77
    assert memory[0, 0, 0, 0] == array[0, 0, 0, 0] == 77
    assert frames.__dlpack_device__() == (CPU, 0)


@pytest.mark.parametrize("library", [torch, np])
def test_a_copy_or_another_device_is_refused_in_words(memory: Frames, library: Any) -> None:
    frames = on_host(memory)
    assert library.from_dlpack(frames, device="cpu", copy=False).shape == memory.shape
    with pytest.raises(BufferError, match="not copied; take them without copy=True"):
        library.from_dlpack(frames, copy=True)
    with pytest.raises(BufferError, match=r"on DLPack device \(1, 0\), and are wanted on \(2, 0\)"):
        frames.__dlpack__(dl_device=(CUDA, 0))


def test_what_was_handed_out_lives_as_long_as_its_readers(memory: Frames) -> None:
    before = len(device_arrays._exported)
    tensor = torch.from_dlpack(on_host(memory))
    gc.collect()
    assert len(device_arrays._exported) == before + 1
    assert tensor.sum() == memory.sum(dtype=np.int64)
    del tensor
    gc.collect()
    assert len(device_arrays._exported) == before
    capsule = on_host(memory).__dlpack__()  # never used
    assert len(device_arrays._exported) == before + 1
    del capsule
    gc.collect()
    assert len(device_arrays._exported) == before


@pytest.mark.parametrize("make", [torch.from_numpy, lambda memory: memory])
def test_others_memory_is_read_in_place(memory: Frames, make: Any) -> None:
    view = device_view(make(memory), kinds=(CPU,))
    assert view.pointer == memory.ctypes.data
    assert view.shape == memory.shape
    part = device_view(make(memory)[1:], kinds=(CPU,))
    assert part.pointer == memory[1:].ctypes.data


class Foreign:
    """An array with that interface."""

    def __init__(self, **changes: Any) -> None:
        self.__cuda_array_interface__ = {
            "shape": (1, 8, 8, 3), "typestr": "|u1", "data": (4096, True), "version": 3, **changes
        }  # fmt: skip


def test_the_cuda_array_interface() -> None:
    view = device_view(Foreign(stream=5))
    assert (view.pointer, view.shape, view.stream, view.device) == (4096, (1, 8, 8, 3), 5, None)
    assert device_view(Foreign(strides=None)).stream is None
    assert device_view(Foreign(strides=(192, 24, 3, 1))).shape == (1, 8, 8, 3)
    made = DeviceFrames(4096, (1, 8, 8, 3), 0, 0)
    assert made.__cuda_array_interface__["stream"] == 1, "0 is forbidden there"
    assert device_view(made).pointer == 4096


class OnGpu(torch.Tensor):
    """A tensor of the host that says what one of a GPU would."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": tuple(self.shape), "typestr": "|u1", "data": (self.data_ptr(), False),
            "strides": None, "version": 2,
        }  # fmt: skip


def test_frames_of_pytorch_are_in_the_stream_that_it_works_in(
    memory: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever stream they are wanted in: version 2 of the interface names none."""
    working = SimpleNamespace(cuda_stream=77)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: working)
    tensor = torch.from_numpy(memory).as_subclass(OnGpu)
    for wanted in (0, 5):
        view = device_view(tensor, wanted)
        assert (view.pointer, view.shape, view.stream) == (tensor.data_ptr(), memory.shape, 77)


class Both(Foreign):
    """Such as JAX's: an interface without a stream, and DLPack."""

    def __init__(self, memory: Frames, **changes: Any) -> None:
        super().__init__(shape=memory.shape, data=(memory.ctypes.data, False), **changes)
        self.memory, self.asked = memory, list[int | None]()

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, 0

    def __dlpack__(self, *, stream: int | None = None) -> Any:
        self.asked.append(stream)
        return self.memory.__dlpack__()


def test_who_names_no_stream_is_asked_to_wait(memory: Frames) -> None:
    for wanted, asked in ((0, LEGACY_STREAM), (5, 5)):
        frames = Both(memory)
        view = device_view(frames, wanted)
        assert (view.pointer, frames.asked) == (memory.ctypes.data, [asked])
    named = Both(memory, stream=7)
    assert (device_view(named, 5).stream, named.asked) == (7, [])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Foreign(typestr="<f4"), "got <f4"),
        (Foreign(shape=(8, 8, 3)), "expected uint8 .N, H, W, C."),
        (Foreign(shape=(0, 8, 8, 3)), "none empty"),
        (Foreign(strides=(384, 48, 3, 1)), "call .contiguous"),
        (np.zeros((1, 8, 8, 3), np.uint8), "call the translator itself"),
        ([1, 2], "got a list"),
    ],
)
def test_what_cannot_be_taken(given: Any, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        device_view(given)


def test_host_arrays_of_other_types_and_layouts(memory: Frames) -> None:
    for wrong in (memory.astype(np.float32), memory.view(np.int8), memory[:, :, ::2], memory[0]):
        with pytest.raises(FrameError):
            device_view(wrong, kinds=(CPU,))


def test_a_reader_in_another_stream_is_refused(memory: Frames) -> None:
    frames = on_host(memory, stream=9)
    assert frames.__dlpack__(stream=9) is not None
    assert frames.__dlpack__(stream=-1) is not None
    with pytest.raises(FrameError, match="belong to CUDA stream 9, and stream 4"):
        frames.__dlpack__(stream=4)
