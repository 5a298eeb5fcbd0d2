"""Where kernels run, and with which block sizes.

Triton is optional: without it, and on a CPU, every operation here is its plain PyTorch reference,
but for what :mod:`cyclegan.kernels.native` has.

Block sizes are a checked-in table, not an autotuner's: the first frame of a stream must not wait
for a search, and two runs must launch the same code. ``blocks.json`` holds what a search on a real
GPU has found (``python -m bench.blocks`` writes it); what it does not list follows ``default``.
Within a doubling of H x W everything stays the same, so that a compiled network with dynamic sizes
is not compiled anew for each.

N batch, C channels, H height, W width.
"""

import functools
import importlib
import importlib.util
import json
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

from cyclegan.errors import TensorError
from cyclegan.kernels import analysis

HAS_TRITON = importlib.util.find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Kernels run in Triton's interpreter, on CPU tensors: for tests, very slowly."""

DYNAMO_SAYS_EXPORT = torch.torch_version.TorchVersion(torch.__version__) < "2.13"
"""Seen in 2.11; in 2.13 it is mended."""

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
"""What the kernels read and write; they always compute in float32."""

PROGRAMS = 1056
"""Programs of one large image: eight for each of an H100's 132 multiprocessors."""
SMALL = 1 << 23
"""Up to so many numbers an image stays in the L2 with all that belongs to it, and launches cost
most."""
INLINE_SPLITS = 64
"""Partial results a consumer merges by itself; more are first merged by a kernel of their own."""
WHOLE = 4096
"""Up to so many pixels one program holds a whole image, 16 bytes of its channels: one launch."""
MANY = 4
"""From so many images on, those of a batch fill a GPU together, and have rows of their own."""
MAX_PIXELS = 1 << 30
"""Pixels are counted in 32 bits, with room for the last, partly filled program."""
MAX_GRID = (1 << 16) - 1
"""Programs along a grid's second and third axis, where channels and images lie."""
MAX_ROWS = 1 << 30
"""Images times channels: the two sums of each lie at 32-bit offsets, unlike the pixels."""
OPERATORS = ("instance_norm_ops", "reflection_pad_triton", "pixels_triton")
"""The modules that register operators in Triton."""

_log = logging.getLogger(__name__)

Constant = TypeVar("Constant", bound=Callable[..., object])


def constant_in_graphs(function: Constant) -> Constant:
    """``torch.compiler.assume_constant_result`` without torch.compile, which that loads."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """The tile of one program, and how much of an image it walks."""

    pixels: int
    """Height of the tile, a power of two."""
    channels: int
    """Width of the tile, a power of two; 1 for contiguous N, C, H, W."""
    share: int
    """Pixels that one program walks, a multiple of ``pixels``."""
    warps: int = 4

    @property
    def one_tile(self) -> bool:
        """Whether that is all that a program walks."""
        return self.share == self.pixels


def bucket(pixels: int) -> int:
    """The smallest power of two that is not below ``pixels``, and at least 256."""
    edge = 256
    while pixels > edge:
        edge *= 2
    return edge


def default(
    channels: int,
    pixels: int,
    channels_last: bool,
    backward: bool = False,
    padded: bool = False,
) -> Blocks:
    """Block sizes by reasoning and by searches on an H100 and an H200: 16 bytes an access, no
    processor idle.

    Small images take narrow channel blocks, so that few splits of H x W make enough programs and
    the merge of the splits needs no launch of its own. Narrower blocks than 32 bytes, one sector,
    take 8 elements a thread; gradients take 16 at most, and 8 where they gather mirror images: with
    more than half of a multiprocessor's registers for one program, no other one fits beside it.
    """
    small = pixels * channels <= SMALL
    width = (32 if channels > 64 else 16) if small else 64
    width = min(width, next_power_of_two(channels)) if channels_last else 1
    inline = small and width >= 16
    warps = 8 if inline and width == 16 and not padded else 4
    numbers = 1024 if width < 16 else 4096 if small else 2048
    if backward:
        numbers = min(numbers, (256 if padded else 512) * warps)
    height = min(numbers // width, pixels)
    programs = INLINE_SPLITS if inline else max(1, PROGRAMS * width // channels)
    return Blocks(
        pixels=height,
        channels=width,
        share=max(height, _round_up(pixels, programs, height)),
        warps=warps,
    )


@functools.cache
def _table() -> dict[str, dict[str, list[int]]]:
    table: dict[str, dict[str, list[int]]] = json.loads(
        Path(__file__).with_name("blocks.json").read_text()
    )
    return table


def key(
    channels: int,
    pixels: int,
    channels_last: bool,
    dtype: torch.dtype,
    backward: bool = False,
    many: bool = False,
) -> str:
    """The name of a row of ``blocks.json``: both halves, float16 and bfloat16, have one.

    ``many``: of a batch of MANY images or more.
    """
    layout = "nhwc" if channels_last else "nchw"
    direction = "backward" if backward else "forward"
    batch = "/many" if many else ""
    return f"{8 * dtype.itemsize} bits/{layout}/c{channels}/hw{pixels}/{direction}{batch}"


@functools.cache
def _blocks(
    arch: str,
    channels: int,
    edge: int,
    last: bool,
    dtype: torch.dtype,
    backward: bool,
    many: bool,
    padded: bool,
) -> Blocks:
    row = _table().get(arch, {}).get(key(channels, edge, last, dtype, backward, many))
    if row is None:
        return default(channels, edge, last, backward, padded)
    pixels, width, share, warps = row
    return Blocks(pixels=pixels, channels=width, share=share, warps=warps)


def blocks_for(
    x: Tensor, pixels: int, channels_last: bool, backward: bool = False, padded: bool = False
) -> Blocks:
    """Block sizes for a tensor like ``x`` (N, C, H, W) over ``pixels`` pixels an image.

    ``padded``: of a gradient that is gathered from one of a padded image.
    """
    arch, channels, edge = _arch(x.device), int(x.shape[1]), bucket(pixels)
    many = bool(x.shape[0] >= MANY)
    return _blocks(arch, channels, edge, channels_last, x.dtype, backward, many, padded)


def whole_blocks(x: Tensor, pixels: int, channels_last: bool) -> Blocks | None:
    """Block sizes where one program holds an image like ``x`` whole; None where it is too large, or
    no 16 bytes of its channels lie together. A thread holds what registers take without spills.
    """
    edge, channels = bucket(pixels), int(x.shape[1])
    width = 16 // x.dtype.itemsize if channels_last else 1
    # Padded, an image is less than nine times as large; there 32 bits must count its numbers.
    if edge > WHOLE or channels % width or 9 * edge * channels >= 1 << 31:
        return None
    held = 128 if width == 8 else 32
    warps = max(1, edge * width // (32 * held))
    return Blocks(pixels=edge, channels=width, share=edge, warps=warps)


@functools.cache
def _arch(device: torch.device) -> str:
    if device.type != "cuda" or torch.version.hip:
        return "any"
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


def has_kernels(x: Tensor, *dtypes: torch.dtype) -> bool:
    """Whether kernels run on this tensor: on a GPU, in ``dtypes`` or DTYPES, and where operators of
    our own may stand.
    """
    if not (x.is_cuda or INTERPRETED) or not HAS_TRITON or not _can_launch():
        return False
    return x.dtype in (dtypes or DTYPES) and not wants_pytorch_alone()


def why_missing() -> str | None:
    """Why no kernel can be launched on this machine's GPUs, or None."""
    return _why_not_launched() if HAS_TRITON else "Triton is not installed"


@constant_in_graphs
def _can_launch() -> bool:
    if _why_not_launched() is not None:
        return False
    register_operators()
    return True


def register_operators() -> None:
    """Have PyTorch know the operators in Triton.

    That loads all of torch.compile, which takes longer than PyTorch: builds for CPUs do without.
    """
    for module in OPERATORS:
        importlib.import_module(f"cyclegan.kernels.{module}")


@functools.cache
def _why_not_launched() -> str | None:
    """Triton's launcher is C, compiled when first needed: that is tried here, once, and a failure
    is said in the log, since everything then runs in PyTorch's operators.
    """
    if INTERPRETED or not torch.cuda.is_available():
        return None
    try:
        import triton

        triton.runtime.driver.active.utils  # noqa: B018
    except Exception as error:  # of the compiler, of files, of what it has made
        reason = (
            "Triton cannot compile its launcher; install gcc and Python's headers (python3-dev): "
            f"{error}"
        )
        _log.warning("%s; going on with PyTorch's operators", reason)
        return reason
    return None


def wants_pytorch_alone() -> bool:
    """Whether there must be PyTorch's own operators, whatever the device.

    So in an exported graph, ONNX or not; under torch.func's transforms, which ours refuse; and in
    forward-mode differentiation, of which ours would make zeros without a word. In a compiled graph
    as well: Dynamo compiles anew where the level changes.
    """
    return is_exporting() or forward_ad._current_level >= 0 or _is_in_transform()


@constant_in_graphs
def _is_in_transform() -> bool:
    """Asked while a graph is made: Dynamo itself would take what is called here for true."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def is_exporting() -> bool:
    """Whether torch.export, ONNX export or torch.jit.trace is at work, and not torch.compile.

    Older PyTorch has ``torch.compiler.is_exporting`` say yes in all that Dynamo traces.
    """
    if DYNAMO_SAYS_EXPORT and torch.compiler.is_dynamo_compiling():
        return False
    return torch.compiler.is_exporting() or _is_traced()


@constant_in_graphs
def _is_traced() -> bool:
    """By torch.jit.trace, and so by ONNX export without Dynamo."""
    return torch._C._get_tracing_state() is not None


def wrap_triton(kernel: Any) -> Any:
    """PyTorch's, which looks for this very name in an operator's text to find its kernels.

    PyTorch before 2.13 refuses kernels in the interpreter, which no compiler sees.
    """
    if INTERPRETED:
        return kernel
    analysis.remember()
    return torch.library.wrap_triton(kernel)


def device_guard(x: Tensor) -> AbstractContextManager[object]:
    """Launches inside go to the GPU of ``x``, whichever is current."""
    return torch.cuda.device_of(x) if x.is_cuda else nullcontext()  # type: ignore[no-untyped-call]


def sizes(x: Tensor) -> tuple[int, int, int, int]:
    """(N, C, H, W); C a number even where the others are symbols: kernels are built for it."""
    n, c, h, w = x.shape
    return n, int(c), h, w


def dense(x: Tensor) -> tuple[Tensor, bool]:
    """``x`` without holes in memory, and whether its channels come last.

    Views and expanded tensors are copied, to channels-last.
    """
    if x.is_contiguous():
        return x, False
    return x.contiguous(memory_format=torch.channels_last), True


def in_format(x: Tensor, channels_last: bool) -> Tensor:
    """``x`` in the asked layout; itself where it is in that already."""
    return x.contiguous(
        memory_format=torch.channels_last if channels_last else torch.contiguous_format
    )


def empty(x: Tensor, height: int, width: int, channels_last: bool) -> Tensor:
    """An uninitialised tensor like ``x`` with another height and width.

    A plain ``empty`` either way: Inductor fills one that is asked for by its memory format, and has
    several that are asked for by their strides share memory, until it copies them.
    """
    n, c = x.shape[:2]
    if channels_last:
        return x.new_empty((n, height, width, c)).permute(0, 3, 1, 2)
    return x.new_empty((n, c, height, width))


def check_picture(x: Tensor, what: str) -> torch.Size:
    """The shape; raises TensorError unless it is (N, C, H, W) of countable pixels."""
    if x.dim() != 4:
        raise TensorError(f"{what} takes (N, C, H, W), got {tuple(x.shape)}")
    shape = x.shape
    if shape[2] * shape[3] >= MAX_PIXELS:
        raise TensorError(
            f"{what} takes fewer than {MAX_PIXELS} pixels an image, got {tuple(shape)}; "
            "cut the image into tiles"
        )
    if is_exporting():  # runs no kernels: the batch stays unbounded
        return shape
    if max(shape[:2]) > MAX_GRID or shape[0] * shape[1] >= MAX_ROWS:
        raise TensorError(
            f"{what} takes at most {MAX_GRID} images and {MAX_GRID} channels, and fewer than "
            f"{MAX_ROWS} of both together, got {tuple(shape)}; cut the batch into smaller ones"
        )
    return shape


def check_pads(shape: Sequence[int], pads: tuple[int, int, int, int]) -> None:
    """Raises TensorError where (left, right, top, bottom) reach beyond the picture's mirror, or
    where the padded picture has more pixels than can be counted.
    """
    left, right, top, bottom = pads
    height, width = shape[2], shape[3]
    if min(pads) < 0 or max(left, right) >= width or max(top, bottom) >= height:
        raise TensorError(
            f"pad is {pads} (left, right, top, bottom); reflection of {tuple(shape)} takes "
            f"0 to {width - 1} left and right, 0 to {height - 1} above and below"
        )
    high, wide = height + top + bottom, width + left + right
    if high * wide >= MAX_PIXELS:
        raise TensorError(
            f"pad {pads} (left, right, top, bottom) makes {tuple(shape)} {high}x{wide}; expected "
            f"fewer than {MAX_PIXELS} pixels an image: cut the image into tiles"
        )


def _round_up(pixels: int, parts: int, multiple: int) -> int:
    return cdiv(cdiv(pixels, parts), multiple) * multiple


def cdiv(number: int, by: int) -> int:
    """Division rounded up, of numbers or of symbols."""
    return (number + by - 1) // by


def next_power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
