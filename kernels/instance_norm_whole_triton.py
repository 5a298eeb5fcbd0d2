# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"
# ruff: noqa: N803 (Triton spells constants in capitals)
"""Instance norm in one launch: one program holds some channels of a whole image in registers.

Grid (channel blocks, N). x is read once, and nothing waits for another program: no partial results,
no second launch. For images of few pixels, where launches and merges cost more than memory.
"""

import triton
import triton.language as tl

from cyclegan.kernels.instance_norm_triton import load_affine, normalised
from cyclegan.kernels.reflection_pad_triton import reflect

RUN_TIME = ["H", "W", "pad", "eps"]
BORDER = tl.constexpr(256)  # padded pixels around the image that are written at once


@triton.jit(do_not_specialize=RUN_TIME)
def in_whole(
    x_ptr, weight_ptr, bias_ptr, residual_ptr, z_ptr, padded_ptr, mean_ptr, rstd_ptr,
    H, W, pad, eps,
    C: tl.constexpr, P: tl.constexpr, BLOCK_C: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    WEIGHT: tl.constexpr, BIAS: tl.constexpr, RESIDUAL: tl.constexpr, ACTIVATION: tl.constexpr,
    Z: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    """Mean and variance of an image of at most P pixels; then as ``in_apply``."""
    channel = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    n = tl.program_id(1)
    pixels = H * W
    pixel = tl.arange(0, P)
    mask = (pixel < pixels)[:, None] & (channel < C)[None, :]
    at = inside(pixel, channel, pixels, C, CHANNELS_LAST)
    image = n.to(tl.int64) * pixels * C
    x = tl.load(x_ptr + image + at, mask=mask, other=0).to(tl.float32)
    gamma, beta = load_affine(weight_ptr, bias_ptr, channel, C, WEIGHT, BIAS)
    # A sum of all is off in its last places; that of the distances to its mean puts it right.
    near = tl.sum(x, 0) / pixels
    apart = tl.where(mask, x - near[None, :], 0.0)
    mean = near + tl.sum(apart, 0) / pixels
    rstd = tl.rsqrt(tl.sum(apart * apart, 0) / pixels + eps)
    tl.store(mean_ptr + n * C + channel, mean, mask=channel < C)
    tl.store(rstd_ptr + n * C + channel, rstd, mask=channel < C)
    y = normalised(x, mean, rstd, gamma, beta, ACTIVATION)
    if RESIDUAL:
        y += tl.load(residual_ptr + image + at, mask=mask, other=0).to(tl.float32)
    if Z:
        tl.store(z_ptr + image + at, y.to(z_ptr.dtype.element_ty), mask=mask)
    if PADDED:
        wide, high = W + 2 * pad, H + 2 * pad
        padded = n.to(tl.int64) * wide * high * C
        to = (pixel // W + pad) * wide + pixel % W + pad
        to = inside(to, channel, wide * high, C, CHANNELS_LAST)
        tl.store(padded_ptr + padded + to, y.to(padded_ptr.dtype.element_ty), mask=mask)
        for start in range(0, wide * high - pixels, BORDER):
            index = start + tl.arange(0, BORDER)
            there = (index < wide * high - pixels)[:, None] & (channel < C)[None, :]
            h, w = around(index, H, W, pad)
            source = reflect(h, H) * W + reflect(w, W)
            source = inside(source, channel, pixels, C, CHANNELS_LAST)
            mirrored = tl.load(x_ptr + image + source, mask=there, other=0).to(tl.float32)
            mirrored = normalised(mirrored, mean, rstd, gamma, beta, ACTIVATION)
            if RESIDUAL:
                residual = tl.load(residual_ptr + image + source, mask=there, other=0)
                mirrored += residual.to(tl.float32)
            target = (h + pad) * wide + w + pad
            target = inside(target, channel, wide * high, C, CHANNELS_LAST)
            mirrored = mirrored.to(padded_ptr.dtype.element_ty)
            tl.store(padded_ptr + padded + target, mirrored, mask=there)


@triton.jit
def inside(pixel, channel, pixels, C: tl.constexpr, CHANNELS_LAST: tl.constexpr):
    """Where [pixel, channel] of an image lies in it, in elements: in 32 bits, unlike ``offsets``,
    since registers are full of x.
    """
    if CHANNELS_LAST:
        return (pixel * C)[:, None] + channel[None, :]
    return (channel * pixels)[None, :] + pixel[:, None]


@triton.jit
def around(index, H, W, pad):
    """Row and column, from -pad on, of the index-th pixel around an image: those above it and
    below, row by row, then those left and right.
    """
    wide = W + 2 * pad
    above = index // wide
    over = index < 2 * pad * wide
    beside = tl.maximum(index - 2 * pad * wide, 0)
    left = beside % (2 * pad)
    above = tl.where(above < pad, above, above + H)
    h = tl.where(over, above, pad + beside // (2 * pad))
    w = tl.where(over, index % wide, tl.where(left < pad, left, left + W))
    return h - pad, w - pad
