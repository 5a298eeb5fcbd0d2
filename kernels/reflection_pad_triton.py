# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"
# ruff: noqa: N803, RET505 (Triton spells constants in capitals, and wants else after return)
"""Reflection padding: the kernels and their registered operators. Ideas: ``reflection_pad.py``.

A tile is [pixels, channels]; offsets are 64 bits wide, for activations beyond 2**31 elements.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op
from torch.utils.flop_counter import register_flop_formula

from cyclegan.kernels import launch
from cyclegan.kernels.launch import wrap_triton
from cyclegan.kernels.reference import pad_backward_reference, pad_reference

SIZES = ["H", "W", "share", "left", "right", "top", "bottom"]


@triton.jit
def offsets(n, pixel, channel, pixels, C: tl.constexpr, CHANNELS_LAST: tl.constexpr):
    """Where [pixel, channel] of image n lies, in elements."""
    n = tl.cast(n, tl.int64)
    if CHANNELS_LAST:
        return ((n * pixels + pixel) * C)[:, None] + channel[None, :]
    else:
        return ((n * C + channel) * pixels)[None, :] + pixel[:, None]


@triton.jit
def reflect(i, size):
    """The position inside [0, size) that i, up to size - 1 outside, mirrors: n-1-|n-1-|i||."""
    return size - 1 - tl.abs(size - 1 - tl.abs(i))


@triton.jit
def preimage(i, size, before, after, K: tl.constexpr):
    """The K-th of three places where position i can lie in the padded line, and whether it does."""
    if K == 0:
        return i + before, i >= 0
    elif K == 1:
        return before - i, (i >= 1) & (i <= before)
    else:
        return 2 * (size - 1) - i + before, (i >= size - 1 - after) & (i <= size - 2)


@triton.jit
def gather_padded(
    ptr, n, first, P: tl.constexpr, mask, channel, H, W, left, right, top, bottom,
    C: tl.constexpr, CHANNELS_LAST: tl.constexpr,
):  # fmt: skip
    """The transpose of padding for a tile that starts at pixel ``first``: sums all mirror images.

    A tile away from the upper and lower edge takes a shorter way, and one away from every edge the
    shortest: each pixel has one image there.
    """
    pixel = first + tl.arange(0, P)
    wide, high = W + left + right, H + top + bottom
    h0, w0 = first // W, first % W
    h1 = (first + P - 1) // W
    if (h0 > top) & (h1 < H - 1 - bottom):
        row = (pixel // W + top) * wide
        at = offsets(n, row + pixel % W + left, channel, high * wide, C, CHANNELS_LAST)
        total = tl.load(ptr + at, mask=mask, other=0).to(tl.float32)
        if (w0 <= left) | (w0 + P > W - 1 - right):
            for column in tl.static_range(1, 3):
                w, w_valid = preimage(pixel % W, W, left, right, column)
                at = offsets(n, row + w, channel, high * wide, C, CHANNELS_LAST)
                valid = w_valid[:, None] & mask
                total += tl.load(ptr + at, mask=valid, other=0).to(tl.float32)
    else:
        total = tl.zeros([P, channel.shape[0]], tl.float32)
        for row in tl.static_range(3):
            h, h_valid = preimage(pixel // W, H, top, bottom, row)
            for column in tl.static_range(3):
                w, w_valid = preimage(pixel % W, W, left, right, column)
                at = offsets(n, h * wide + w, channel, high * wide, C, CHANNELS_LAST)
                valid = (h_valid & w_valid)[:, None] & mask
                total += tl.load(ptr + at, mask=valid, other=0).to(tl.float32)
    return total


@triton.jit(do_not_specialize=SIZES)
def pad_forward(
    x_ptr, y_ptr, H, W, share, left, right, top, bottom,
    C: tl.constexpr, P: tl.constexpr, BLOCK_C: tl.constexpr, CHANNELS_LAST: tl.constexpr,
):  # fmt: skip
    """Writes padded pixels in order, each from its mirror image."""
    n = tl.program_id(2)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    wide, high = W + left + right, H + top + bottom
    first = tl.program_id(0) * share
    last = tl.minimum(first + share, high * wide)
    for start in range(first, last, P):
        pixel = start + tl.arange(0, P)
        mask = (pixel < last)[:, None] & (channel < C)[None, :]
        source = reflect(pixel // wide - top, H) * W + reflect(pixel % wide - left, W)
        x = tl.load(x_ptr + offsets(n, source, channel, H * W, C, CHANNELS_LAST), mask=mask)
        tl.store(y_ptr + offsets(n, pixel, channel, high * wide, C, CHANNELS_LAST), x, mask=mask)


@triton.jit(do_not_specialize=SIZES)
def pad_backward(
    dy_ptr, dx_ptr, H, W, share, left, right, top, bottom,
    C: tl.constexpr, P: tl.constexpr, BLOCK_C: tl.constexpr, CHANNELS_LAST: tl.constexpr,
):  # fmt: skip
    """Each input pixel gathers the gradients of its mirror images: no atomics, one fixed order."""
    n = tl.program_id(2)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    first = tl.program_id(0) * share
    last = tl.minimum(first + share, H * W)
    for start in range(first, last, P):
        pixel = start + tl.arange(0, P)
        mask = (pixel < last)[:, None] & (channel < C)[None, :]
        total = gather_padded(
            dy_ptr, n, start, P, mask, channel, H, W, left, right, top, bottom, C, CHANNELS_LAST
        )
        at = offsets(n, pixel, channel, H * W, C, CHANNELS_LAST)
        tl.store(dx_ptr + at, total.to(dx_ptr.dtype.element_ty), mask=mask)


@triton_op("cyclegan::reflection_pad", mutates_args=())
def reflection_pad_op(x: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """``x`` (N, C, H, W) mirrored beyond each side, in the layout of ``x``."""
    if not launch.has_kernels(x):
        return pad_reference(x, left, right, top, bottom)
    x, last = launch.dense(x)
    n, c, h, w = launch.sizes(x)
    high, wide = h + top + bottom, w + left + right
    y = launch.empty(x, high, wide, last)
    if y.numel() == 0:
        return y
    blocks = launch.blocks_for(x, h * w, last)
    grid = (launch.cdiv(high * wide, blocks.share), launch.cdiv(c, blocks.channels), n)
    with launch.device_guard(x):
        wrap_triton(pad_forward)[grid](
            x, y, h, w, blocks.share, left, right, top, bottom,
            C=c, P=blocks.pixels, BLOCK_C=blocks.channels, CHANNELS_LAST=last,
            num_warps=blocks.warps,
        )  # fmt: skip
    return y


@triton_op("cyclegan::reflection_pad_backward", mutates_args=())
def reflection_pad_backward_op(dy: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """The gradient (N, C, H, W) from that of the padded tensor."""
    n, c, high, wide = launch.sizes(dy)
    h, w = high - top - bottom, wide - left - right
    launch.check_pads((n, c, h, w), (left, right, top, bottom))
    if not launch.has_kernels(dy):
        return pad_backward_reference(dy, left, right, top, bottom)
    dy, last = launch.dense(dy)
    dx = launch.empty(dy, h, w, last)
    if dx.numel() == 0:
        return dx
    blocks = launch.blocks_for(dy, h * w, last, backward=True)
    grid = (launch.cdiv(h * w, blocks.share), launch.cdiv(c, blocks.channels), n)
    with launch.device_guard(dy):
        wrap_triton(pad_backward)[grid](
            dy, dx, h, w, blocks.share, left, right, top, bottom,
            C=c, P=blocks.pixels, BLOCK_C=blocks.channels, CHANNELS_LAST=last,
            num_warps=blocks.warps,
        )  # fmt: skip
    return dx


def _keep_pads(ctx, inputs, output) -> None:
    ctx.pads = inputs[1:]


# Padding is linear: each operator is the other's derivative, to any order.
reflection_pad_op.register_autograd(
    lambda ctx, dy: (reflection_pad_backward_op(dy, *ctx.pads), None, None, None, None),
    setup_context=_keep_pads,
)
reflection_pad_backward_op.register_autograd(
    lambda ctx, dx: (reflection_pad_op(dx, *ctx.pads), None, None, None, None),
    setup_context=_keep_pads,
)


@register_flop_formula(
    [torch.ops.cyclegan.reflection_pad, torch.ops.cyclegan.reflection_pad_backward]
)
def _no_flops(*args, **kwargs) -> int:
    """Padding moves and adds few numbers; counted as none, like PyTorch's own."""
    return 0
