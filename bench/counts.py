"""What is counted rather than timed, so that it is the same on every machine and in every run.

N batch, C channels, H height, W width.
"""

import importlib.util
import logging
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any
from unittest import mock

import torch

from bench.machine import ROOT
from bench.suite import TINY
from cyclegan.config import PatchConfig, ResnetConfig
from cyclegan.engine.layout import TimedFrame
from cyclegan.engine.throughput import sample_frames, stream
from cyclegan.kernels import launch, native
from cyclegan.networks import PatchDiscriminator, ResnetGenerator, prepare_for_inference

CAPABILITY = 90
AOT_TESTS = ROOT / "tests/kernels/test_aot.py"
Counts = dict[str, int]
SIDE = 256
"""Of the frames that are counted for, in pixels."""


def registers() -> Counts:
    """Registers, and bytes of stack and local memory (spills), of each kernel for an H100.

    Compiled ahead of time: no GPU is needed. Empty without Triton.
    """
    if not launch.HAS_TRITON:
        return {}
    aot = _loaded(AOT_TESTS)
    counts: Counts = {}
    for name, variant in (aot.VARIANTS | aot.OTHERS).items():
        used = aot.resources(aot.compiled(variant, CAPABILITY).asm["cubin"])
        counts[f"registers of {name}"] = used["REG"]
        counts[f"spilled bytes of {name}"] = used["STACK"] + used["LOCAL"]
    return counts


def launches() -> Counts:
    """Kernels that a GPU is given for one 256x256 picture through the paper's generator.

    Traced on tensors without data that claim to be on a GPU; a convolution counts once. Empty
    without Triton.
    """
    if not launch.HAS_TRITON:
        return {}
    network = ResnetGenerator().half().eval().to(memory_format=torch.channels_last)
    seen: Counter[str] = Counter()
    with _pretended_gpu(seen), _fake_tensors() as fake, torch.no_grad():
        weights = {
            name: torch.empty_strided(p.shape, p.stride(), dtype=p.dtype, device="cuda")
            for name, p in network.named_parameters()
        }
        x = torch.empty(1, 3, 256, 256, dtype=torch.half, device="cuda")
        x = x.to(memory_format=torch.channels_last)
        fake.seen.clear()
        torch.func.functional_call(network, weights, x)
    convolutions = fake.seen["aten.convolution.default"]
    others = sum(fake.seen.values()) - convolutions
    return {
        "Triton launches per forward": seen.total(),
        "convolutions per forward": convolutions,
        "other operators per forward": others,
    }


def left_to_pytorch() -> Counts:
    """What PyTorch computes itself, for one 256x256 picture in float32 on a CPU.

    Convolutions of other shapes than 3x3 and stride 1, and no norm. Empty where no kernels can be
    compiled.
    """
    if native.why_missing():
        return {}
    network = ResnetGenerator().eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    prepare_for_inference(network)
    with torch.no_grad(), _Seen() as modes:
        network(torch.zeros(1, 3, SIDE, SIDE))
    convolutions = sum(n for name, n in modes.seen.items() if "convolution" in name)
    norms = sum(n for name, n in modes.seen.items() if "norm" in name)
    return {"PyTorch's convolutions per forward": convolutions, "PyTorch's norms": norms}


def graph_breaks() -> Counts:
    """Where torch.compile falls back to Python, in the generator and in the discriminator."""
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    networks: dict[str, tuple[torch.nn.Module, int]] = {
        "generator": (ResnetGenerator(ResnetConfig(width=4, blocks=2)), 32),
        "discriminator": (PatchDiscriminator(PatchConfig(width=4)), 64),
    }
    counts: Counts = {}
    for name, (network, side) in networks.items():
        torch._dynamo.reset()
        explained = torch._dynamo.explain(network)(torch.zeros(1, 3, side, side))
        counts[f"graph breaks in the {name}"] = explained.graph_break_count
    return counts


def bytes_copied() -> Counts:
    """KiB of new NumPy arrays for each 256x256 frame that goes through a runner.

    OpenVINO's has one copy in, so that the caller may reuse his frames, and one out, which he owns.
    PyTorch's has the copy in: its result is memory of PyTorch's own, which Python does not see.
    """
    from bench.generators import new_generator
    from cyclegan.engine.translator import Translator

    frames, counts = sample_frames(1, SIDE, SIDE), {}
    generator, size = new_generator(TINY.width, TINY.blocks), (SIDE, SIDE)
    names = {"openvino": "KiB copied per frame", "torch": "KiB copied per frame, PyTorch"}
    for backend, name in names.items():
        if importlib.util.find_spec(backend) is None:
            continue
        with Translator.open(generator, backend=backend, size=size) as translator:
            stream(translator, [frames] * 4)
            counts[name] = _new_kib(lambda: translator(frames))
    return counts


def bytes_copied_by_videos() -> Counts:
    """KiB of new NumPy arrays for each frame that is decoded, and for each that is encoded.

    libav's own memory is not among them. Both are called as a video's threads call them, one after
    the other: how many frames a whole run has in flight is a matter of time, not of copies.
    """
    if importlib.util.find_spec("av") is None:
        return {}
    from bench.video import make_clip
    from cyclegan.engine.containers import VideoReader
    from cyclegan.engine.writer import VideoWriter

    with TemporaryDirectory() as folder:
        clip = make_clip(Path(folder) / "in.mp4", 8, (SIDE, SIDE))
        with VideoReader(clip) as reader:
            pictures = (item for item in reader.items() if isinstance(item, TimedFrame))
            first, second = next(pictures), next(pictures)
            writer = VideoWriter(Path(folder) / "out.mp4", reader)
            writer.write(first)
            decoded = _new_kib(lambda: next(pictures))
            encoded = _new_kib(lambda: writer.write(second))
            writer.close()
    return {"KiB copied per frame decoded": decoded, "KiB copied per frame encoded": encoded}


def _new_kib(call: Callable[[], object]) -> int:
    """The most that a call had in new memory of Python's and NumPy's at one time."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = call()
        _, peak = tracemalloc.get_traced_memory()
        del kept
    finally:
        tracemalloc.stop()
    return round((peak - before) / 1024 / 32) * 32  # tickets and the like are small change


class _Seen(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts the operators that launch something on a GPU; views and allocations launch nothing."""

    FREE = ("aten.empty", "aten.new_empty", "aten.detach", "aten.alias", "prim.device")

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = str(function)
        if function.namespace != "cyclegan" and not name.startswith(self.FREE):
            self.seen[name] += not function.is_view
        return function(*args, **(kwargs or {}))


@contextmanager
def _fake_tensors() -> Iterator[_Seen]:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True), _Seen() as seen:
        yield seen


@contextmanager
def _pretended_gpu(seen: Counter[str]) -> Iterator[None]:
    """Lets the kernels' launch code run without a GPU, and counts what it would launch."""
    from cyclegan.kernels import instance_norm_ops, reflection_pad_triton

    class Launches:
        def __init__(self, kernel: Any) -> None:
            self.name = kernel.fn.__name__

        def __getitem__(self, grid: tuple[int, ...]) -> Any:
            return lambda *args, **kwargs: seen.update([self.name])

    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(launch, "device_guard", return_value=nullcontext()))
        patches.enter_context(mock.patch.object(launch, "_arch", return_value="any"))
        for module in (instance_norm_ops, reflection_pad_triton):
            patches.enter_context(mock.patch.object(module, "wrap_triton", Launches))
        yield


def _loaded(path: Path) -> ModuleType:
    """A test file as a module, whatever its name is under pytest."""
    name = f"bench_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
