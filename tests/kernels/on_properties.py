"""What holds for every picture, on the kernels. Run by ``test_interpreted.py``, and on a GPU."""

import pytest
import torch
from checks import DEVICE, Case, blocks, check_norm, normal, relative

from cyclegan.kernels import instance_norm, reflection_pad2d

pytest.importorskip("hypothesis")

from hypothesis import assume, given, settings
from hypothesis import strategies as st

sides = st.integers(2, 7)
layouts = st.sampled_from(["nhwc", "nchw"])
Pads = tuple[int, int, int, int]


@st.composite
def pads_of(draw: st.DrawFn, height: int, width: int) -> Pads:
    """Any legal (left, right, top, bottom)."""
    left, right, top, bottom = (
        draw(st.integers(0, side - 1)) for side in (width, width, height, height)
    )
    return left, right, top, bottom


@given(
    height=sides,
    width=sides,
    channels=st.integers(1, 6),
    scale=st.floats(0.5, 8.0),
    shift=st.floats(-50.0, 50.0),
)
@settings(max_examples=8, deadline=None)
def test_scale_and_shift_vanish(
    height: int, width: int, channels: int, scale: float, shift: float
) -> None:
    x = normal((1, channels, height, width), torch.float32) * 3
    with blocks():
        plain, moved = (instance_norm(t, eps=1e-12) for t in (x, x * scale + shift))
    assert relative(moved, plain) < 1e-5 * (1 + abs(shift))


@given(height=sides, width=sides, layout=layouts)
@settings(max_examples=6, deadline=None)
def test_the_gradient_is_orthogonal_to_ones_and_to_x(height: int, width: int, layout: str) -> None:
    x = normal((1, 3, height, width), torch.float32, layout).requires_grad_()
    with blocks():
        z = instance_norm(x, eps=1e-10)
        (dx,) = torch.autograd.grad(z, x, torch.randn_like(z))
    size = dx.abs().sum((2, 3)) + 1e-6
    assert (dx.sum((2, 3)).abs() / size).max() < 1e-4
    assert ((dx * z).sum((2, 3)).abs() / size).max() < 1e-3


@given(data=st.data(), height=sides, width=sides, layout=layouts, residual=st.booleans())
@settings(max_examples=8, deadline=None)
def test_an_image_in_one_launch_is_padded_as_one_alone(
    data: st.DataObject, height: int, width: int, layout: str, residual: bool
) -> None:
    x, added = (normal((2, 8, height, width), torch.float32, layout) for _ in range(2))
    pad = data.draw(st.integers(0, min(height, width) - 1))
    z, padded = instance_norm(
        x, activation="relu", residual=added if residual else None, pad=pad, unpadded=True
    )
    assert torch.equal(padded, reflection_pad2d(z, pad))


@given(data=st.data(), height=sides, width=sides)
@settings(max_examples=6, deadline=None)
def test_backward_is_the_transpose(data: st.DataObject, height: int, width: int) -> None:
    pads = data.draw(pads_of(height, width))
    x = normal((1, 2, height, width), torch.float32).requires_grad_()
    with blocks():
        y = reflection_pad2d(x, pads)
        g = normal(tuple(y.shape), torch.float32)
        (dx,) = torch.autograd.grad(y, x, g)
    assert torch.allclose((y * g).sum(), (x * dx).sum(), rtol=1e-4, atol=1e-4)


@given(data=st.data(), height=sides, width=sides, layout=layouts)
@settings(max_examples=8, deadline=None)
def test_a_gradient_of_ones_counts_the_images(
    data: st.DataObject, height: int, width: int, layout: str
) -> None:
    pads = data.draw(pads_of(height, width))
    x = normal((1, 2, height, width), torch.float32, layout).requires_grad_()
    with blocks():
        (dx,) = torch.autograd.grad(reflection_pad2d(x, pads).sum(), x)
    places = torch.arange(float(height * width)).view(1, 1, height, width)
    seen = torch.nn.functional.pad(places, pads, mode="reflect").long().flatten()
    images = torch.bincount(seen, minlength=height * width).view(height, width)
    assert torch.equal(dx.cpu(), images.float().expand(1, 2, height, width))


@given(height=sides, width=sides, layout=layouts, tiles=st.integers(1, 9), mean=st.floats(-50, 50))
@settings(max_examples=6, deadline=None)
def test_splits_do_not_change_the_result(
    height: int, width: int, layout: str, tiles: int, mean: float
) -> None:
    x = normal((1, 3, height, width), torch.float32, layout) + mean
    with blocks(8, 4, 64):
        whole = instance_norm(x, activation="leaky_relu", pad=1)
    with blocks(4, 4, 4 * tiles):
        split = instance_norm(x, activation="leaky_relu", pad=1)
    assert relative(split, whole) < 1e-6 * (10 + abs(mean))


@given(data=st.data(), height=sides, width=sides, channels=st.integers(1, 6))
@settings(max_examples=6, deadline=None)
def test_layouts_agree(data: st.DataObject, height: int, width: int, channels: int) -> None:
    x = normal((2, channels, height, width), torch.float32)
    pads = data.draw(pads_of(height, width))
    with blocks():
        assert torch.equal(reflection_pad2d(x, pads), reflection_pad2d(x.contiguous(), pads))
        assert relative(instance_norm(x, pad=1), instance_norm(x.contiguous(), pad=1)) < 1e-5


@given(value=st.floats(-1e3, 1e3, width=32), height=sides, width=sides, layout=layouts)
@settings(max_examples=6, deadline=None)
def test_constant_channels_vanish(value: float, height: int, width: int, layout: str) -> None:
    """But for what float32 leaves of their mean in up to 16 roundings, times 1 / sqrt(eps)."""
    x = torch.full((1, 2, height, width), value, device=DEVICE)
    if layout == "nhwc":
        x = x.contiguous(memory_format=torch.channels_last)
    with blocks():
        z = instance_norm(x, eps=1e-5)
    assert z.abs().max() <= 16 * 2**-24 * abs(value) / 1e-5**0.5


@given(
    channels=st.sampled_from([1, 3, 8, 48, 64, 256, 513]),
    height=st.sampled_from([2, 3, 7, 31, 961]),
    width=st.sampled_from([2, 3, 7, 31, 961]),
    dtype=st.sampled_from([torch.float16, torch.float32]),
    layout=layouts,
    activation=st.sampled_from(["none", "relu", "leaky_relu"]),
    flags=st.tuples(*[st.booleans()] * 3),
    pad=st.integers(0, 3),
    shifted=st.booleans(),
    eps=st.sampled_from([1e-5, 0.5]),
    seed=st.integers(0, 99),
)
@settings(max_examples=16, deadline=None, derandomize=True)  # a sign near 0 may fall either way
def test_any_picture_agrees_with_float64(
    channels: int, height: int, width: int, dtype: torch.dtype, layout: str, activation: str,
    flags: tuple[bool, bool, bool], pad: int, shifted: bool, eps: float, seed: int,
) -> None:  # fmt: skip
    pixels = height * width
    assume(channels * pixels <= 1 << 12)
    assume(pad < min(height, width))
    assume(pixels >= 49 or not shifted)
    torch.manual_seed(seed)
    affine, residual, unpadded = flags
    case = Case(
        shape=(1, channels, height, width), dtype=dtype, layout=layout, activation=activation,
        affine=affine, residual=residual, unpadded=unpadded, pad=pad, eps=eps,
        mean=1e3 if shifted else 0.0, std=30.0 if shifted and dtype == torch.float16 else 1.0,
    )  # fmt: skip
    check_norm(case)
