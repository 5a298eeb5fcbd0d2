"""Exchanged with NumPy and PyTorch in the host's memory: the structures are the same on a GPU."""

import gc
from typing import Any

import numpy as np
import pytest
import torch

from cyclegan.engine import device_arrays
from cyclegan.engine.device_arrays import CPU, DeviceFrames, device_view
from cyclegan.engine.tickets import Frames
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
    assert (view.pointer, view.shape, view.stream, view.device) == (4096, (1, 8, 8, 3), 5, 0)
    assert device_view(Foreign(strides=None)).stream is None
    assert device_view(Foreign(strides=(192, 24, 3, 1))).shape == (1, 8, 8, 3)
    made = DeviceFrames(4096, (1, 8, 8, 3), 0, 0)
    assert made.__cuda_array_interface__["stream"] == 1, "0 is forbidden there"
    assert device_view(made).pointer == 4096


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
