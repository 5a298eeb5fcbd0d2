"""Other ways to run the same generator, beside ours, in one run on the same frames and weights.

    python -m bench.run peers

Every peer takes uint8 frames and gives uint8 frames, as ours does, and is compared with float32
PyTorch before it is timed. One that cannot run here is a row that says why.

N batch, H height, W width, C channels. Frames are uint8 (N, H, W, C), RGB.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import vapoursynth_peer
from bench.generators import new_generator
from bench.limits import frame_work
from bench.peer import Given, Peer, Ready, again, needs
from bench.suite import Comparison, Options
from bench.switches import without_kernels
from cyclegan.config import ResnetConfig
from cyclegan.engine.frame_graph import FrameToFrame
from cyclegan.engine.frames import Frames
from cyclegan.engine.model_source import open_source
from cyclegan.engine.parity import compare
from cyclegan.engine.runners import BACKENDS, Precision
from cyclegan.engine.runners.openvino import openvino_module, shared_core
from cyclegan.engine.runners.torch import why_no_compiler
from cyclegan.engine.throughput import sample_frames, stream
from cyclegan.engine.translator import Translator
from cyclegan.networks import Generator

LEAST_PSNR_DB = 30.0
EQUAL_DB = 100.0
"""Stands for frames that are equal, whose PSNR is infinite."""


def in_pytorch(
    dtype: torch.dtype, mode: str | None = None, backend: str = "inductor"
) -> Callable[[Given], Ready]:
    """PyTorch itself, channels-last, without our kernels; eager, or torch.compile in ``mode``.

    A ``backend`` other than PyTorch's own is a module that registers itself when it is imported.
    """

    def open_(given: Given) -> Ready:
        if backend != "inductor":
            importlib.import_module(backend)
        module: Any = FrameToFrame(open_source(given.generator).generator().to(dtype), dtype)
        module = module.eval().to(device=device(), memory_format=torch.channels_last)
        if mode is not None:
            module = torch.compile(module, mode=mode, backend=backend, dynamic=False)
        batch = torch.from_numpy(given.frames)

        def once() -> Frames:
            with without_kernels(), torch.inference_mode():
                frames: Frames = module(batch.to(device())).cpu().numpy()
                return frames

        return again(once)

    return open_


def in_ours(backend: str = "auto", precision: Precision = "auto") -> Callable[[Given], Ready]:
    """Our translator, with all its slots in use."""

    def open_(given: Given) -> Ready:
        size = given.frames.shape[1:3]
        engine = given.opened.enter_context(
            Translator.open(given.generator, backend=backend, size=size, precision=precision)
        )
        return Ready(
            once=lambda: engine(given.frames),
            repeated=lambda count: stream(engine, [given.frames] * count),
        )

    return open_


def in_onnxruntime(given: Given) -> Ready:
    """ONNX Runtime on the exported graph, with its own settings."""
    import onnxruntime

    path = open_source(given.generator).onnx()
    providers = onnxruntime.get_available_providers()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=providers)

    def once() -> Frames:
        frames: Frames = session.run(None, {"frames": given.frames})[0]
        return frames

    return again(once)


class BareOpenVINO:
    """The least code that keeps OpenVINO busy: two requests, inputs set once, no copies."""

    def __init__(self, onnx: Path, frames: Frames, precision: str) -> None:
        core = shared_core()
        model = core.read_model(onnx)
        model.reshape(list(frames.shape))
        hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        compiled = core.compile_model(model, "CPU", hints)
        self._requests = [compiled.create_infer_request() for _ in range(2)]
        for request in self._requests:
            request.set_input_tensor(openvino_module().Tensor(frames.copy()))

    def run(self, count: int) -> Frames:
        """Infer ``count`` times; the last output."""
        for number in range(count):
            request = self._requests[number % 2]
            request.wait()
            request.start_async()
        for request in self._requests:
            request.wait()
        frames: Frames = self._requests[(count - 1) % 2].get_output_tensor().data
        return frames


def openvino_precision() -> str:
    """The fastest that the CPU has."""
    able = shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in able else "f32"


def in_bare_openvino(given: Given) -> Ready:
    """OpenVINO without us, in the fastest precision the CPU has."""
    bare = BareOpenVINO(open_source(given.generator).onnx(), given.frames, openvino_precision())
    return Ready(once=lambda: bare.run(1), repeated=bare.run)


def _on_a_gpu(missing: Callable[[], str | None]) -> Callable[[], str | None]:
    no_gpu = "needs an NVIDIA GPU; PyTorch sees none"
    return lambda: missing() if torch.cuda.is_available() else no_gpu


OURS = "cyclegan-engine, auto"
EAGER = "PyTorch eager, float32"
BARE = "OpenVINO, bare"
PEERS = {
    EAGER: Peer(open=in_pytorch(torch.float32)),
    OURS: Peer(open=in_ours()),
    BARE: Peer(open=in_bare_openvino, missing=BACKENDS["openvino"].why_missing),
    "ONNX Runtime, float32": Peer(open=in_onnxruntime, missing=needs("onnxruntime")),
    "PyTorch eager, bfloat16": Peer(open=in_pytorch(torch.bfloat16)),
    "torch.compile, bfloat16": Peer(
        open=in_pytorch(torch.bfloat16, "default"), missing=why_no_compiler
    ),
    "torch.compile max-autotune, bfloat16": Peer(
        open=in_pytorch(torch.bfloat16, "max-autotune"), missing=why_no_compiler
    ),
    "cyclegan-engine, PyTorch": Peer(open=in_ours("torch")),
    "VapourSynth, vs-mlrt OpenVINO": Peer(
        open=vapoursynth_peer.in_vapoursynth("ov", openvino_precision),
        missing=vapoursynth_peer.missing("ov"),
    ),
    "VapourSynth, vs-mlrt ONNX Runtime, float32": Peer(
        open=vapoursynth_peer.in_vapoursynth("ort", lambda: "f32"),
        missing=vapoursynth_peer.missing("ort"),
    ),
    "cyclegan-engine, TensorRT": Peer(
        open=in_ours("tensorrt"), missing=BACKENDS["tensorrt"].why_missing
    ),
    "Torch-TensorRT, float16": Peer(
        open=in_pytorch(torch.float16, "default", "torch_tensorrt"),
        missing=_on_a_gpu(needs("torch_tensorrt")),
    ),
}
"""Eager float32 first: the others are measured against it, and checked against its frames."""


def comparisons(options: Options) -> Iterator[Comparison]:
    """All peers at the first size, at every batch size."""
    generator = new_generator(options.width, options.blocks)
    for batch in options.batches:
        yield from compared(PEERS, generator, options.sizes[0], batch)


def compared(
    peers: dict[str, Peer], generator: Generator, size: tuple[int, int], batch: int
) -> Iterator[Comparison]:
    """One comparison of ``peers``, opened, checked, and closed again."""
    torch._dynamo.reset()  # past a few shapes of one module, torch.compile would stop compiling
    frames = sample_frames(batch, *size)
    absent = {name: why for name, peer in peers.items() if (why := peer.missing())}
    with ExitStack() as opened:
        given = Given(generator=generator, frames=frames, opened=opened)
        exact = in_pytorch(torch.float32)(given).once()
        ready: dict[str, Ready] = {}
        psnr_db: dict[str, float] = {}
        for name, peer in peers.items():
            if name in absent:
                continue
            try:
                ready[name] = peer.open(given)
                psnr_db[name] = checked(name, ready[name].once(), exact)
            except AssertionError:
                raise
            except Exception as error:  # the others must not be lost with this one
                ready.pop(name, None)
                absent[name] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        yield Comparison(
            name=f"{size[1]}x{size[0]}, batch {batch}",
            candidates={name: one.repeated for name, one in ready.items()},
            items=batch,
            settings=settings_of(generator, size, batch),
            absent=absent,
            psnr_db=psnr_db,
            about={name: one.about for name, one in ready.items() if one.about},
            work=frame_work(generator, *size, batch=batch),
            device=device(),
        )


def checked(name: str, frames: Frames, exact: Frames) -> float:
    """PSNR in dB to ``exact``. Raises AssertionError where the frames are wrong."""
    score = compare(np.asarray(frames), exact)
    assert score.psnr_db > LEAST_PSNR_DB, f"{name} is wrong: {score}"
    return min(score.psnr_db, EQUAL_DB)


def settings_of(generator: Generator, size: tuple[int, int], batch: int) -> dict[str, Any]:
    """What of a comparison a reader must know."""
    config = generator.config
    shape = {"width": config.width}
    if isinstance(config, ResnetConfig):
        shape["blocks"] = config.blocks
    threads = torch.get_num_threads()
    return {**shape, "height_px": size[0], "width_px": size[1], "batch": batch, "threads": threads}


def device() -> str:
    """Where PyTorch's own rows run."""
    return "cuda" if torch.cuda.is_available() else "cpu"
