"""What holds for every picture, on the kernels. Run by ``test_interpreted.py``, and on a GPU."""

import pytest
import torch
from checks import blocks, normal, relative

from cyclegan.kernels import instance_norm, reflection_pad2d

pytest.importorskip("hypothesis")

from hypothesis import given, settings
from hypothesis import strategies as st


@given(
    height=st.integers(2, 7),
    width=st.integers(2, 7),
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
        assert relative(
            instance_norm(x * scale + shift, eps=1e-12), instance_norm(x, eps=1e-12)
        ) < 1e-4 * (1 + abs(shift))


@given(height=st.integers(2, 7), width=st.integers(2, 7), layout=st.sampled_from(["nhwc", "nchw"]))
@settings(max_examples=6, deadline=None)
def test_the_gradient_is_orthogonal_to_ones_and_to_x(height: int, width: int, layout: str) -> None:
    x = normal((1, 3, height, width), torch.float32, layout).requires_grad_()
    with blocks():
        z = instance_norm(x, eps=1e-10)
        (dx,) = torch.autograd.grad(z, x, torch.randn_like(z))
    size = dx.abs().sum((2, 3)) + 1e-6
    assert (dx.sum((2, 3)).abs() / size).max() < 1e-4
    assert ((dx * z).sum((2, 3)).abs() / size).max() < 1e-3


@given(data=st.data(), height=st.integers(2, 6), width=st.integers(2, 6))
@settings(max_examples=6, deadline=None)
def test_backward_is_the_transpose(data: st.DataObject, height: int, width: int) -> None:
    pads = tuple(data.draw(st.integers(0, side - 1)) for side in (width, width, height, height))
    x = normal((1, 2, height, width), torch.float32).requires_grad_()
    with blocks():
        y = reflection_pad2d(x, pads)
        g = normal(tuple(y.shape), torch.float32)
        (dx,) = torch.autograd.grad(y, x, g)
    assert torch.allclose((y * g).sum(), (x * dx).sum(), rtol=1e-4, atol=1e-4)
