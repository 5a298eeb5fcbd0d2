"""Which calls the driver gets, in which order; a driver that answers was not at hand."""

import ctypes
import sys
import types
from typing import Any

import numpy as np
import pytest

from cyclegan.engine import cuda
from cyclegan.engine.cuda import DriverCuda, PyCuda
from cyclegan.errors import BackendError


class Recorder:
    """A driver library that notes its calls and fails on one of them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.fails: dict[str, int] = {}

    def __getitem__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.calls.append((name, arguments))
            if name == "cuGetErrorName":
                arguments[1]._obj.value = b"CUDA_ERROR_OUT_OF_PAPER"
            return self.fails.get(name, 0)

        return call

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(cuda, "_driver", lambda: recorder)
    return recorder


def test_a_capture_records_work_and_its_replay_gives_itself_back(driver: Recorder) -> None:
    def work() -> None:
        driver.calls.append(("work", ()))

    replay = DriverCuda().capture(7, work)
    replay(9)
    assert driver.names == [
        "cuStreamBeginCapture_v2", "work", "cuStreamEndCapture", "cuGraphInstantiateWithFlags",
        "cuGraphDestroy", "cuGraphLaunch",
    ]  # fmt: skip
    assert driver.calls[0][1][0].value == 7
    assert driver.calls[0][1][1] == 1, "other threads may call CUDA meanwhile"
    assert driver.calls[-1][1][1].value == 9
    del replay
    assert driver.names[-1] == "cuGraphExecDestroy"


def test_a_capture_ends_when_its_work_fails(driver: Recorder) -> None:
    def work() -> None:
        raise BackendError("TensorRT refuses")

    with pytest.raises(BackendError, match="TensorRT refuses"):
        DriverCuda().capture(7, work)
    assert driver.names == ["cuStreamBeginCapture_v2", "cuStreamEndCapture"]


def test_no_graph_is_left_when_it_cannot_be_made(driver: Recorder) -> None:
    driver.fails["cuGraphInstantiateWithFlags"] = 2
    with pytest.raises(
        BackendError, match="cuGraphInstantiateWithFlags says CUDA_ERROR_OUT_OF_PAPER"
    ):
        DriverCuda().capture(7, lambda: None)
    assert driver.names[-1] == "cuGraphDestroy"


def test_one_stream_waits_for_another_on_the_device(driver: Recorder) -> None:
    DriverCuda().wait_for(3, 4)
    assert driver.names == [
        "cuEventCreate", "cuEventRecord", "cuStreamWaitEvent", "cuEventDestroy_v2"
    ]  # fmt: skip
    assert driver.calls[1][1][1].value == 4
    assert driver.calls[2][1][0].value == 3


def test_copies_name_both_ends_their_size_and_stream(driver: Recorder) -> None:
    frames = np.zeros(300, np.uint8)
    DriverCuda().copy_in(1 << 40, frames, 5)
    DriverCuda().copy_out(frames, 1 << 41, 5)
    (_, given), (_, taken) = driver.calls
    assert [type(value) for value in given] == [
        ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p
    ]  # fmt: skip
    assert [value.value for value in given] == [1 << 40, frames.ctypes.data, 300, 5]
    assert [value.value for value in taken] == [frames.ctypes.data, 1 << 41, 300, 5]


def test_a_failed_batch_says_what_the_driver_says(driver: Recorder) -> None:
    driver.fails["cuStreamSynchronize"] = 700
    with pytest.raises(BackendError, match="the GPU failed: cuStreamSynchronize says CUDA_ERROR"):
        DriverCuda().synchronize(1)
    assert "24 of 48 MiB free" in str(cuda.out_of_memory(2 << 20, 24 << 20, 48 << 20))


class PyCudaContext:
    """A primary context as PyCUDA has it: ``detach`` is all when current, and pops nothing."""

    def __init__(self, driver: Recorder) -> None:
        self.driver = driver

    def push(self) -> None:
        self.driver.calls.append(("push", ()))

    def detach(self) -> None:
        self.driver.calls.append(("detach", ()))


def test_a_closed_gpu_is_no_longer_the_threads(
    driver: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever thread: what was opened in the background is closed by another one."""

    class Device:
        def __init__(self, number: int) -> None:
            assert number == 1

        @staticmethod
        def count() -> int:
            return 2

        def name(self) -> str:
            return "Fake 4090"

        def total_memory(self) -> int:
            return 1 << 30

        def compute_capability(self) -> tuple[int, int]:
            return 8, 9

        def retain_primary_context(self) -> PyCudaContext:
            return PyCudaContext(driver)

    module: Any = types.ModuleType("pycuda.driver")
    module.Device, module.init, module.get_driver_version = Device, lambda: None, lambda: 13000
    package: Any = types.ModuleType("pycuda")
    package.driver = module
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", module)
    PyCuda(1).close()
    assert driver.names == ["push", "cuCtxPopCurrent_v2", "detach"]
