"""Where a generator runs under PyTorch, and in which precision."""

import copy
import threading
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from cyclegan.cpu import has_fast_bfloat16
from cyclegan.engine.model_source import Source
from cyclegan.engine.runners.settings import Settings
from cyclegan.errors import BackendError, ConfigError

if TYPE_CHECKING:
    import torch

    from cyclegan.networks import Generator


def placed(source: Source, settings: Settings) -> "tuple[Generator, torch.device, torch.dtype]":
    """The generator of ``source`` on its device, in evaluation mode and in its dtype.

    Raises BackendError, ConfigError.
    """
    from cyclegan.devices import find_device, usual_device

    device = find_device(settings.device or usual_device())
    try:
        generator = source.generator().eval().to(device)
        dtype = _dtype(generator, device, settings)
        return generator.to(dtype), device, dtype
    except (RuntimeError, AssertionError) as error:
        raise BackendError(f"PyTorch cannot load {source.name}: {error}") from error


def _dtype(generator: "Generator", device: "torch.device", settings: Settings) -> "torch.dtype":
    import torch

    if settings.precision == "int8":
        raise ConfigError(
            "PyTorch does not compute in int8, and neither do tiles and steadied frames; use "
            "another precision, or --backend openvino"
        )
    if settings.precision != "auto":
        named: torch.dtype = getattr(torch, settings.precision)
        return named
    if settings.depth == 16:
        return torch.float32
    if device.type != "cuda":
        return torch.bfloat16 if has_fast_bfloat16() else torch.float32
    # GPUs multiply both halves equally fast, where they have the second at all.
    if fits_float16(generator):
        return torch.float16
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float32


class _WithoutTF32(AbstractContextManager[None]):
    """PyTorch's settings are the process's: they come back when the last thread has left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = _turned_off()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._before.close()


def _turned_off() -> ExitStack:
    """No TF32 and no bfloat16 from here on; closing it brings back what was set.

    PyTorch has older and newer names for it. Its compilers read the older ones, which is an error
    where the two disagree, as where the newer ones were set: then those alone are used. To set an
    older one sets several of the newer, which are therefore read first and set back last.
    """
    import torch

    backends: Any = torch.backends  # its types do not know ``conv``
    before = ExitStack()
    kinds = (
        backends.cudnn.conv,
        backends.cudnn.rnn,
        backends.cuda.matmul,
        backends.mkldnn.conv,
        backends.mkldnn.matmul,
    )
    for kind in kinds:
        before.callback(_set_back, kind, kind.fp32_precision)
    with suppress(RuntimeError):
        if backends.cudnn.allow_tf32:
            backends.cudnn.allow_tf32 = False
            before.callback(setattr, backends.cudnn, "allow_tf32", True)
    with suppress(RuntimeError):
        if (products := torch.get_float32_matmul_precision()) != "highest":
            torch.set_float32_matmul_precision("highest")
            before.callback(torch.set_float32_matmul_precision, products)
    for kind in kinds:
        if kind.fp32_precision in ("tf32", "bf16"):
            kind.fp32_precision = "ieee"
    return before


def _set_back(kind: Any, precision: str) -> None:
    """What was set for more than ``kind`` is not set for that alone: it may be changed later."""
    kind.fp32_precision = "none"
    if precision != "none" and kind.fp32_precision != precision:
        kind.fp32_precision = precision


_without_tf32 = _WithoutTF32()


def without_tf32() -> AbstractContextManager[None]:
    """float32 convolutions and products in full precision, while any thread is inside; what was
    set before the first comes back after the last."""
    return _without_tf32


def full_float32(dtype: "torch.dtype") -> AbstractContextManager[None]:
    """float32 is float32 inside, where ``dtype`` is that.

    PyTorch lets GPUs round what convolutions multiply to ten bits (TF32), which is float16's
    precision, and CPUs to bfloat16 where a program says so: who asks for float32, or has frames of
    more than 8 bits, needs more.
    """
    import torch

    return without_tf32() if dtype == torch.float32 else nullcontext()


def fits_float16(generator: "Generator") -> bool:
    """Whether ``generator``, in float32, gives the same pictures in float16, on fixed real frames.

    The same to the bound that plans are held to. float16 is eight times as fine as bfloat16, and
    ends at 65504, which activations of a generator without norms may exceed.
    """
    import torch

    from cyclegan.engine.frame_graph import FrameToFrame
    from cyclegan.engine.parity import compare
    from cyclegan.engine.plan_settings import LEAST_PSNR_DB
    from cyclegan.engine.real_frames import built_in_frames

    config = generator.config
    device = next(generator.parameters()).device
    frames = torch.from_numpy(built_in_frames(config.in_channels, config.size_multiple)).to(device)
    half = copy.deepcopy(generator).to(torch.float16)
    with torch.inference_mode(), without_tf32():
        expected = FrameToFrame(generator)(frames)
        made = FrameToFrame(half, torch.float16)(frames)
    return compare(made.cpu().numpy(), expected.cpu().numpy()).psnr_db >= LEAST_PSNR_DB
