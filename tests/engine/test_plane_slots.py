"""Planes in front of a runner of frames, with PyTorch's CPU in the GPU's place."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from test_planes import HD, coloured, noise
from torch import Tensor

from cyclegan.colour import BT601, FULL, Colour, rgb_from_picture
from cyclegan.config import ResnetConfig
from cyclegan.engine.device_arrays import CPU, DeviceFrames
from cyclegan.engine.flavours import load_tensorrt
from cyclegan.engine.graph_info import GraphInfo
from cyclegan.engine.plan_settings import Profile
from cyclegan.engine.planes import (
    PlaneLayout,
    Planes,
    picture_from_planes,
    planes_from_picture,
)
from cyclegan.engine.runners import plane_slots
from cyclegan.engine.runners.plane_slots import PlaneSlots
from cyclegan.engine.runners.tensorrt import TensorRTRunner
from cyclegan.engine.translator import Translator
from cyclegan.errors import FrameError
from tests.engine.fake_cuda import FakeCuda, FakeEngine


def grey(value: int, colour: Colour = HD, size: tuple[int, int] = (54, 70)) -> Planes:
    """One grey, and the chroma of none."""
    picture = noise("nv12", colour, size)
    planes = planes_from_picture(
        picture, colour, PlaneLayout(format="nv12", colour=colour), pinned=False
    )
    planes.y.fill_(value)
    planes.uv.fill_(128)
    return planes


class Negative:
    """A runner on the device, that hands out memory of its own."""

    def __init__(self) -> None:
        self.seen: list[tuple[torch.Size, int]] = []
        self.memory = np.empty(0, np.uint8)

    def __call__(self, frames: Tensor, stream: int) -> DeviceFrames:
        assert frames.is_contiguous()
        assert frames.dtype == torch.uint8
        self.seen.append((frames.shape, stream))
        self.memory = 255 - frames.numpy()
        return DeviceFrames(
            self.memory.ctypes.data, tuple(frames.shape), stream, 0, owner=self, kind=CPU
        )


@pytest.mark.parametrize("colour", [HD, coloured(BT601, FULL)])
def test_pictures_come_back_translated(colour: Colour) -> None:
    negative = Negative()
    slots = PlaneSlots("cpu", 4, [negative, Negative()])
    given = [grey(value, colour) for value in (40, 90, 200)]
    slots.begin(0, given)
    slots.begin(1, given[:1])
    made, (other,) = slots.finish(0), slots.finish(1)
    assert negative.seen == [(torch.Size([3, 56, 72, 3]), 0)]
    for before, after in zip(given, made):
        shown, wanted = (
            rgb_from_picture(picture_from_planes(planes, "nv12", colour), colour)
            for planes in (after, before)
        )
        assert after.y.shape == (54, 70)
        assert np.abs(shown.astype(int) - (255 - wanted.astype(int))).max() <= 2
    assert torch.equal(other.y, made[0].y)


@pytest.fixture
def on_fake(monkeypatch: pytest.MonkeyPatch) -> tuple[Translator, FakeCuda]:
    """TensorRT's runner on a GPU of NumPy, with planes on PyTorch's CPU."""
    cuda = FakeCuda()
    profile, info = Profile.parse("8x8,16x16:2,72x56:4"), GraphInfo(config=ResnetConfig())
    runner = TensorRTRunner(load_tensorrt("tensorrt-rtx"), cuda, FakeEngine(cuda), info, profile)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        plane_slots, "Lane", lambda device, lane=plane_slots.Lane: lane(torch.device("cpu"))
    )

    def translate(slot: Any, frames: Tensor, stream: int) -> DeviceFrames:
        """By the slot, whose addresses are those of the fake GPU alone."""
        made = 255 - frames.numpy()
        return DeviceFrames(made.ctypes.data, made.shape, stream, 0, owner=made, kind=CPU)

    monkeypatch.setattr(runner, "_translate_in", translate)
    return Translator(runner, info, "tensorrt"), cuda


def test_tensorrt_takes_planes_in_batches_of_its_profile(
    on_fake: tuple[Translator, FakeCuda],
) -> None:
    translator, cuda = on_fake
    assert translator.planes_on == "cuda:0"
    before = len(cuda.buffers)
    with translator:
        given = [grey(40 + number) for number in range(9)]
        made = translator.collect(translator.submit_planes(given))
        assert len(cuda.buffers) == before + 2 * translator.slots, "slots of their own, made once"
        levels = [int(planes.y.float().mean()) for planes in made]
        assert levels == sorted(levels, reverse=True)
        assert len(set(levels)) == 9
    assert cuda.closed


def test_threads_that_bring_the_first_planes_at_once_share_their_slots(
    on_fake: tuple[Translator, FakeCuda], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(PlaneSlots):
        def __init__(self, *given: Any) -> None:
            time.sleep(0.05)
            super().__init__(*given)

    monkeypatch.setattr(plane_slots, "PlaneSlots", Slow)
    translator, cuda = on_fake
    assert translator.planes_on
    before, together = len(cuda.buffers), threading.Barrier(3)

    def client(value: int) -> int:
        together.wait(10)
        (made,) = translator.collect(translator.submit_planes([grey(value)]))
        return int(made.y.float().mean())

    with translator, ThreadPoolExecutor(3) as threads:
        levels = list(threads.map(client, (40, 120, 200)))
    assert levels == sorted(levels, reverse=True)
    assert len(cuda.buffers) == before + 2 * translator.slots


def test_without_pytorchs_gpu_there_are_no_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    profile, info = Profile.of(8, 8), GraphInfo(config=ResnetConfig())
    runner = TensorRTRunner(load_tensorrt("tensorrt-rtx"), cuda, FakeEngine(cuda), info, profile)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with Translator(runner, info, "tensorrt") as translator:
        assert translator.planes_on is None


def test_a_translator_for_one_size_refuses_planes_of_another() -> None:
    from cyclegan.engine.model_source import GeneratorSource
    from cyclegan.engine.runners.settings import Settings
    from cyclegan.engine.runners.torch import TorchRunner
    from cyclegan.networks import ResnetGenerator

    source = GeneratorSource(ResnetGenerator(ResnetConfig(width=4, blocks=1)))
    runner = TorchRunner(source, Settings(device="cpu"), compiled=False)
    with (
        Translator(runner, source.info, "torch", only_size=(64, 64)) as translator,
        pytest.raises(FrameError, match="frames are 70x54, but this translator was opened for"),
    ):
        translator.submit_planes([grey(9)])


def test_running_a_plan_loads_no_pytorch() -> None:
    """What sits in an application that knows RGB frames alone must stay light."""
    import subprocess

    code = "import sys; import cyclegan.engine.runners.tensorrt; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
