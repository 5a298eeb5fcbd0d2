"""What every kernel must satisfy, on a GPU or in Triton's interpreter. Imported by ``on_*.py``."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from interpreter import (
    leave_out_discarded_checks,
    look_up_dtypes_once,
    patch_language_once_a_launch,
)
from torch import Tensor

from bench.switches import in_splits
from cyclegan.kernels import (
    frames_to_tensor,
    instance_norm,
    launch,
    pixels_reference,
    reflection_pad2d,
    tensor_to_frames,
    tensor_to_yuv,
    yuv_to_tensor,
)
from cyclegan.kernels.pixels import _coding
from cyclegan.kernels.reference import Activation, norm_reference, pad_reference

DEVICE = "cpu" if launch.INTERPRETED else "cuda"
if launch.INTERPRETED:
    patch_language_once_a_launch()
    leave_out_discarded_checks()
    look_up_dtypes_once()
TOLERANCE = {torch.float16: 1e-3, torch.bfloat16: 1e-2, torch.float32: 1e-5}
FORMATS = {"nhwc": torch.channels_last, "nchw": torch.contiguous_format}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One call of ``instance_norm``, and what its input looks like."""

    shape: tuple[int, int, int, int] = (1, 5, 6, 7)
    dtype: torch.dtype = torch.float32
    layout: str = "nhwc"
    eps: float = 1e-5
    activation: Activation = "none"
    residual: bool = False
    affine: bool = False
    pad: int = 0
    unpadded: bool = False
    mean: float = 0.0
    std: float = 1.0


def relative(got: Tensor, expected: Tensor) -> float:
    """|got - expected| / |expected| in the L2 norm; NaN anywhere is infinite."""
    got, expected = got.detach().cpu().double(), expected.detach().cpu().double()
    assert got.shape == expected.shape
    if not got.isfinite().all():
        return float("inf")
    return float((got - expected).norm() / expected.norm().clamp_min(1e-30))


def normal(shape: tuple[int, ...], dtype: torch.dtype, layout: str = "nhwc") -> Tensor:
    x = torch.randn(shape).to(DEVICE, dtype)
    return x.contiguous(memory_format=FORMATS[layout]) if len(shape) == 4 else x


@contextmanager
def blocks(pixels: int = 16, channels: int = 4, share: int = 32) -> Iterator[None]:
    """Tiny tiles, so that tiny pictures have several tiles, splits and channel blocks."""
    chosen = launch.blocks_for
    tiny = launch.Blocks(pixels=pixels, channels=channels, share=share)
    flat = replace(tiny, channels=1)
    launch.blocks_for = lambda x, number, last, **_: tiny if last else flat
    try:
        with in_splits():
            yield
    finally:
        launch.blocks_for = chosen


@contextmanager
def poisoned() -> Iterator[None]:
    """Memory is handed out full of NaN: what a kernel does not write shows."""
    empty, new_empty, like = torch.empty, Tensor.new_empty, torch.empty_like
    torch.empty = lambda *a, **k: _poison(empty(*a, **k))
    torch.empty_like = lambda *a, **k: _poison(like(*a, **k))
    Tensor.new_empty = lambda *a, **k: _poison(new_empty(*a, **k))
    try:
        yield
    finally:
        torch.empty, Tensor.new_empty, torch.empty_like = empty, new_empty, like


def _poison(x: Tensor) -> Tensor:
    return x.fill_(float("nan") if x.dtype.is_floating_point else 77)


def check_norm(case: Case) -> None:
    """Results and all gradients agree with float64."""
    c = case.shape[1]
    x = normal(case.shape, torch.float32, case.layout) * case.std + case.mean
    inputs = {
        "x": x.to(case.dtype),
        "weight": normal((c,), torch.float32) if case.affine else None,
        "bias": normal((c,), torch.float32) if case.affine else None,
        "residual": normal(case.shape, case.dtype, case.layout) if case.residual else None,
    }
    ours = {k: None if t is None else t.clone().requires_grad_() for k, t in inputs.items()}
    true = {k: None if t is None else t.cpu().double().requires_grad_() for k, t in inputs.items()}
    with poisoned():
        got = instance_norm(
            **ours, eps=case.eps, activation=case.activation, pad=case.pad, unpadded=case.unpadded
        )
    expected = norm_reference(
        true["x"], true["weight"], true["bias"], case.eps, case.activation, true["residual"],
        case.pad, case.unpadded,
    )  # fmt: skip
    got, expected = _tuple(got), _tuple(expected)
    if case.pad == 0:
        got, expected = got[:1], expected[:1]
    # A float32 mean is off by half a unit in the last place, which is this much of a deviation.
    bound = TOLERANCE[case.dtype] + 2**-24 * abs(case.mean) / case.std
    for one, other in zip(got, expected):
        assert one.dtype == case.dtype
        assert one.is_contiguous(memory_format=FORMATS[case.layout])
        assert relative(one, other) < bound
    gradients = [normal(tuple(t.shape), case.dtype, case.layout) for t in got]
    with poisoned():
        found = torch.autograd.grad(got, [t for t in ours.values() if t is not None], gradients)
    wanted = torch.autograd.grad(
        expected,
        [t for t in true.values() if t is not None],
        [g.cpu().double() for g in gradients],
    )
    for one, other in zip(found, wanted):
        assert relative(one, other) < 2 * bound


def check_pad(
    shape: tuple[int, int, int, int],
    pads: tuple[int, int, int, int],
    dtype: torch.dtype = torch.float32,
    layout: str = "nhwc",
) -> None:
    """Padding is exact, and its gradient agrees with float64."""
    x = normal(shape, dtype, layout).requires_grad_()
    true = x.detach().cpu().double().requires_grad_()
    with poisoned():
        y = reflection_pad2d(x, pads)
    expected = pad_reference(true, *pads)
    assert torch.equal(y.detach().cpu().double(), expected.detach())
    gradient = normal(tuple(y.shape), dtype, layout)
    with poisoned():
        (found,) = torch.autograd.grad(y, x, gradient)
    (wanted,) = torch.autograd.grad(expected, true, gradient.cpu().double())
    assert relative(found, wanted) < TOLERANCE[dtype]


def _tuple(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def check_frames(shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    """Every byte survives the round trip, and is what the reference makes of it on the way."""
    frames = torch.arange(torch.Size(shape).numel()).remainder(256).to(DEVICE, torch.uint8)
    frames = frames.view(shape)
    with poisoned():
        x = frames_to_tensor(frames, dtype)
    expected = pixels_reference.frames_to_tensor_reference(frames.cpu(), dtype)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(x.cpu(), expected, atol=1e-3 if dtype == torch.float16 else 1e-6)
    with poisoned():
        back = tensor_to_frames(x)
    assert torch.equal(back, frames)
    assert torch.equal(tensor_to_frames(x.contiguous()), frames)


def check_clamped() -> None:
    """What lies beyond [-1, 1] becomes the nearest byte."""
    x = torch.tensor([-3.0, -1.0, 0.0, 1.0, 2.0, 1e6], device=DEVICE).view(1, 3, 1, 2)
    assert tensor_to_frames(x).flatten().tolist() == [0, 128, 255, 0, 255, 255]


def check_yuv(matrix: Any, bits: int, full_range: bool) -> None:
    """Planes and back agree with the reference, for values in and out of range and pure colours."""
    x = torch.rand(2, 3, 6, 10) * 2.4 - 1.2
    x[1] = torch.rand(3, 3, 5).sub(0.5).sign().repeat_interleave(2, 1).repeat_interleave(2, 2)
    x = x.to(DEVICE)
    coding = _coding(matrix, full_range, bits)
    with poisoned():
        y, uv = tensor_to_yuv(x, bits=bits, matrix=matrix, full_range=full_range)
        rgb = yuv_to_tensor(y, uv, matrix=matrix, full_range=full_range, dtype=torch.float32)
    y, uv = y.cpu(), uv.cpu()
    expected = pixels_reference.tensor_to_yuv_reference(x.cpu(), coding, y.dtype)
    one = 1 if bits == 8 else 64  # rounding may fall to either side
    for got, wanted in zip((y, uv), expected):
        assert (got.int() - wanted.int()).abs().max() <= one
    wanted = pixels_reference.yuv_to_tensor_reference(y, uv, coding, torch.float32)
    assert torch.allclose(rgb.cpu(), wanted, atol=1e-5)
