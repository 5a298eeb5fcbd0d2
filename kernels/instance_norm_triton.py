# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"
# ruff: noqa: N803 (Triton spells constants in capitals)
"""Instance norm: the kernels. Ideas and byte counts: ``instance_norm.py``.

Grid (splits of H x W, channel blocks, N); a program walks ``share`` pixels in tiles of
[pixels, channels]. A split's result for two sums or moments lies in ``partial`` (N, splits, 2, C),
float32. Whoever needs them merges the splits in one fixed order, so results do not vary from run
to run, or finds them MERGED, and needs half the registers; where it has ONE_TILE to do, it asks for
that before, so that both waits are one.

The first pass of forward and backward walks images from their end: the second, which walks from the
beginning, finds there what is still in the cache.
"""

import triton
import triton.language as tl

from cyclegan.kernels.reflection_pad_triton import gather_padded, offsets, reflect

RUN_TIME = ["H", "W", "pixels", "splits", "share", "partial_share", "pad", "eps"]
RELU = tl.constexpr(1)
LEAKY_RELU = tl.constexpr(2)
SLOPE = tl.constexpr(0.2)
FEW = tl.constexpr(32)  # splits merged at once, by the programs of the second pass
MANY = tl.constexpr(512)  # and by a kernel that does nothing else


@triton.jit
def from_the_end():
    """Split and image of this program, the last ones first."""
    return (
        tl.num_programs(0) - 1 - tl.program_id(0),
        tl.num_programs(2) - 1 - tl.program_id(2),
    )


@triton.jit(do_not_specialize=RUN_TIME)
def in_stats(
    x_ptr, partial_ptr, pixels, share,
    C: tl.constexpr, P: tl.constexpr, BLOCK_C: tl.constexpr, CHANNELS_LAST: tl.constexpr,
):  # fmt: skip
    """Mean and M2 = sum (x - mean)^2 of each split.

    Every row of the tile keeps running moments of its own (Welford 1962), which costs no exchange
    between threads until the rows are merged at the end (Chan et al. 1979). Convolution biases make
    |mean| >> std, where E[x^2] - E[x]^2 would lose all digits.
    """
    split, n = from_the_end()
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    first = split * share
    last = tl.minimum(first + share, pixels)
    count = tl.zeros([P], tl.float32)
    mean = tl.zeros([P, BLOCK_C], tl.float32)
    m2 = tl.zeros([P, BLOCK_C], tl.float32)
    for start in range(first, last, P):
        pixel = start + tl.arange(0, P)
        mask = (pixel < last)[:, None] & (channel < C)[None, :]
        at = offsets(n, pixel, channel, pixels, C, CHANNELS_LAST)
        x = tl.load(x_ptr + at, mask=mask, other=0).to(tl.float32)
        count += tl.where(pixel < last, 1.0, 0.0)
        delta = tl.where(mask, x - mean, 0.0)
        mean += delta * (1 / tl.maximum(count, 1.0))[:, None]
        m2 += delta * (x - mean)
    # The sum of all means is off in its last places; that of their distances to it puts them right.
    near = tl.sum(mean * count[:, None], 0) / (last - first)
    apart = mean - near[None, :]
    weighed = apart * count[:, None]
    whole = near + tl.sum(weighed, 0) / (last - first)
    m2 = tl.sum(m2 + apart * weighed, 0)
    at = (n * tl.num_programs(0) + split).to(tl.int64) * 2 * C + channel
    tl.store(partial_ptr + at, whole, mask=channel < C)
    tl.store(partial_ptr + at + C, m2, mask=channel < C)


@triton.jit
def load_partials(partial_ptr, n, split, splits, channel, C: tl.constexpr):
    """Both values of some splits, [splits, channels] each; 0 beyond the last split."""
    at = ((n * splits + split).to(tl.int64) * 2 * C)[:, None] + channel[None, :]
    mask = (split < splits)[:, None] & (channel < C)[None, :]
    one = tl.load(partial_ptr + at, mask=mask, other=0.0)
    two = tl.load(partial_ptr + at + C, mask=mask, other=0.0)
    return one, two


@triton.jit
def merge_moments(
    partial_ptr, n, splits, share, pixels, channel, C: tl.constexpr, AT_ONCE: tl.constexpr
):
    """Mean and M2 of all splits, each of ``share`` pixels but the last (Chan et al. 1979)."""
    mean = tl.zeros([channel.shape[0]], tl.float32)
    m2 = tl.zeros([channel.shape[0]], tl.float32)
    seen = 0
    for start in range(0, splits, AT_ONCE):
        split = start + tl.arange(0, AT_ONCE)
        part_mean, part_m2 = load_partials(partial_ptr, n, split, splits, channel, C)
        # Products of splits that exist: those beyond them would not fit into 32 bits.
        first = tl.minimum(split, splits - 1) * share
        count = tl.where(split < splits, tl.minimum(pixels - first, share), 0).to(tl.float32)
        last = pixels
        if start + AT_ONCE < splits:
            last = (start + AT_ONCE) * share
        new = last - start * share
        near = tl.sum(part_mean * count[:, None], 0) / new
        apart = part_mean - near[None, :]
        some = near + tl.sum(apart * count[:, None], 0) / new
        some_m2 = tl.sum(part_m2 + apart * apart * count[:, None], 0)
        delta = some - mean
        weight = new / (seen + new)
        mean += delta * weight
        m2 += some_m2 + delta * delta * (seen * weight)
        seen += new
    return mean, m2


@triton.jit
def merge_sums(partial_ptr, n, splits, channel, C: tl.constexpr, AT_ONCE: tl.constexpr):
    """The two sums over all splits."""
    one = tl.zeros([channel.shape[0]], tl.float32)
    two = tl.zeros([channel.shape[0]], tl.float32)
    for start in range(0, splits, AT_ONCE):
        split = start + tl.arange(0, AT_ONCE)
        part_one, part_two = load_partials(partial_ptr, n, split, splits, channel, C)
        one += tl.sum(part_one, 0)
        two += tl.sum(part_two, 0)
    return one, two


@triton.jit
def load_merged(partial_ptr, n, channel, C: tl.constexpr):
    """Both values of the only split."""
    one = tl.load(partial_ptr + n * 2 * C + channel, mask=channel < C, other=0)
    two = tl.load(partial_ptr + n * 2 * C + C + channel, mask=channel < C, other=0)
    return one, two


@triton.jit
def merged_moments(
    partial_ptr, mean_ptr, rstd_ptr, n, splits, share, pixels, channel, eps,
    C: tl.constexpr, MERGED: tl.constexpr,
):  # fmt: skip
    """Mean and 1 / sqrt(variance + eps); an image's first program keeps them for backward."""
    if MERGED:
        mean, m2 = load_merged(partial_ptr, n, channel, C)
    else:
        mean, m2 = merge_moments(partial_ptr, n, splits, share, pixels, channel, C, FEW)
    rstd = tl.rsqrt(m2 / pixels + eps)
    if tl.program_id(0) == 0:
        tl.store(mean_ptr + n * C + channel, mean, mask=channel < C)
        tl.store(rstd_ptr + n * C + channel, rstd, mask=channel < C)
    return mean, rstd


@triton.jit
def merged_sums(partial_ptr, sums_ptr, n, splits, channel, C: tl.constexpr, MERGED: tl.constexpr):
    """S1 and S2; an image's first program keeps them for dbeta and dgamma."""
    if MERGED:
        s1, s2 = load_merged(partial_ptr, n, channel, C)
    else:
        s1, s2 = merge_sums(partial_ptr, n, splits, channel, C, FEW)
    if tl.program_id(0) == 0:
        tl.store(sums_ptr + n * 2 * C + channel, s1, mask=channel < C)
        tl.store(sums_ptr + n * 2 * C + C + channel, s2, mask=channel < C)
    return s1, s2


@triton.jit(do_not_specialize=RUN_TIME)
def in_merge(
    partial_ptr, merged_ptr, splits, share, pixels,
    C: tl.constexpr, BLOCK_C: tl.constexpr, MOMENTS: tl.constexpr,
):  # fmt: skip
    """Many splits to one, so that not every program of the next kernel reads them all."""
    n = tl.program_id(1)
    channel = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    if MOMENTS:
        one, two = merge_moments(partial_ptr, n, splits, share, pixels, channel, C, MANY)
    else:
        one, two = merge_sums(partial_ptr, n, splits, channel, C, MANY)
    at = n.to(tl.int64) * 2 * C + channel
    tl.store(merged_ptr + at, one, mask=channel < C)
    tl.store(merged_ptr + at + C, two, mask=channel < C)


@triton.jit
def load_affine(
    weight_ptr, bias_ptr, channel,
    C: tl.constexpr, WEIGHT: tl.constexpr, BIAS: tl.constexpr,
):  # fmt: skip
    """gamma and beta in float32; 1 and 0 where the norm has none."""
    gamma = tl.full([channel.shape[0]], 1.0, tl.float32)
    beta = tl.zeros([channel.shape[0]], tl.float32)
    if WEIGHT:
        gamma = tl.load(weight_ptr + channel, mask=channel < C, other=0).to(tl.float32)
    if BIAS:
        beta = tl.load(bias_ptr + channel, mask=channel < C, other=0).to(tl.float32)
    return gamma, beta


@triton.jit
def normalised(x, mean, rstd, gamma, beta, ACTIVATION: tl.constexpr):
    """act((x - mean) rstd gamma + beta) of a tile."""
    y = (x - mean[None, :]) * rstd[None, :] * gamma[None, :] + beta[None, :]
    if ACTIVATION == RELU:
        y = tl.where(y < 0, 0.0, y)  # keeps a NaN, as PyTorch does
    elif ACTIVATION == LEAKY_RELU:
        y = tl.where(y > 0, y, y * SLOPE)
    return y


@triton.jit(do_not_specialize=RUN_TIME)
def in_apply(
    x_ptr, partial_ptr, weight_ptr, bias_ptr, residual_ptr,
    z_ptr, padded_ptr, mean_ptr, rstd_ptr,
    H, W, share, splits, partial_share, pad, eps,
    C: tl.constexpr, P: tl.constexpr, BLOCK_C: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    WEIGHT: tl.constexpr, BIAS: tl.constexpr, RESIDUAL: tl.constexpr, ACTIVATION: tl.constexpr,
    Z: tl.constexpr, PADDED: tl.constexpr, ONE_TILE: tl.constexpr, MERGED: tl.constexpr,
):  # fmt: skip
    """Normalise, activate, add; write z, pad(z) or both.

    With PADDED programs walk the padded image: each padded pixel reads its mirror image, and the
    pixels inside are z as well.
    """
    n = tl.program_id(2)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    pixels = H * W
    if not ONE_TILE:
        mean, rstd = merged_moments(
            partial_ptr, mean_ptr, rstd_ptr, n, splits, partial_share, pixels, channel, eps,
            C, MERGED,
        )  # fmt: skip
    gamma, beta = load_affine(weight_ptr, bias_ptr, channel, C, WEIGHT, BIAS)
    wide, high = W + 2 * pad, H + 2 * pad
    first = tl.program_id(0) * share
    last = tl.minimum(first + share, wide * high)
    for start in range(first, last, P):
        pixel = start + tl.arange(0, P)
        mask = (pixel < last)[:, None] & (channel < C)[None, :]
        source, inside = pixel, mask
        if PADDED:
            h, w = pixel // wide - pad, pixel % wide - pad
            source = reflect(h, H) * W + reflect(w, W)
            inside = mask & ((h >= 0) & (h < H) & (w >= 0) & (w < W))[:, None]
        at = offsets(n, source, channel, pixels, C, CHANNELS_LAST)
        x = tl.load(x_ptr + at, mask=mask, other=0).to(tl.float32)
        if RESIDUAL:
            residual = tl.load(residual_ptr + at, mask=mask, other=0).to(tl.float32)
        if ONE_TILE:
            mean, rstd = merged_moments(
                partial_ptr, mean_ptr, rstd_ptr, n, splits, partial_share, pixels, channel, eps,
                C, MERGED,
            )  # fmt: skip
        y = normalised(x, mean, rstd, gamma, beta, ACTIVATION)
        if RESIDUAL:
            y += residual
        if Z:
            tl.store(z_ptr + at, y.to(z_ptr.dtype.element_ty), mask=inside)
        if PADDED:
            to = offsets(n, pixel, channel, wide * high, C, CHANNELS_LAST)
            tl.store(padded_ptr + to, y.to(padded_ptr.dtype.element_ty), mask=mask)


@triton.jit
def whole_gradient(
    dz_ptr, dpadded_ptr, n, start, P: tl.constexpr, at, mask, channel, H, W, pad,
    C: tl.constexpr, CHANNELS_LAST: tl.constexpr, DZ: tl.constexpr, DPADDED: tl.constexpr,
):  # fmt: skip
    """dz + pad^T(dpadded) of a tile, in float32."""
    if DPADDED:
        dy = gather_padded(
            dpadded_ptr, n, start, P, mask, channel, H, W, pad, pad, pad, pad, C, CHANNELS_LAST
        )
        if DZ:
            dy += tl.load(dz_ptr + at, mask=mask, other=0).to(tl.float32)
    else:
        dy = tl.load(dz_ptr + at, mask=mask, other=0).to(tl.float32)
    return dy


@triton.jit
def before_activation(dy, xhat, gamma, beta, ACTIVATION: tl.constexpr):
    """dy act'(gamma x^ + beta), the sign found by forward's own expression."""
    y = xhat * gamma[None, :] + beta[None, :]
    if ACTIVATION == RELU:
        dy = tl.where(y > 0, dy, 0.0)
    elif ACTIVATION == LEAKY_RELU:
        dy = tl.where(y > 0, dy, dy * SLOPE)
    return dy


@triton.jit(do_not_specialize=RUN_TIME)
def in_bwd_reduce(
    dz_ptr, dpadded_ptr, x_ptr, mean_ptr, rstd_ptr, weight_ptr, bias_ptr,
    dy_ptr, partial_ptr, H, W, share, pad,
    C: tl.constexpr, P: tl.constexpr, BLOCK_C: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    WEIGHT: tl.constexpr, BIAS: tl.constexpr, ACTIVATION: tl.constexpr,
    DZ: tl.constexpr, DPADDED: tl.constexpr, DY: tl.constexpr,
):  # fmt: skip
    """S1 = sum g and S2 = sum g x^ of each split; with DY also writes the whole gradient of z."""
    split, n = from_the_end()
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    mean = tl.load(mean_ptr + n * C + channel, mask=channel < C, other=0)
    rstd = tl.load(rstd_ptr + n * C + channel, mask=channel < C, other=0)
    gamma, beta = load_affine(weight_ptr, bias_ptr, channel, C, WEIGHT, BIAS)
    first = split * share
    last = tl.minimum(first + share, H * W)
    sum_g = tl.zeros([P, BLOCK_C], tl.float32)
    sum_gx = tl.zeros([P, BLOCK_C], tl.float32)
    for start in range(first, last, P):
        pixel = start + tl.arange(0, P)
        mask = (pixel < last)[:, None] & (channel < C)[None, :]
        at = offsets(n, pixel, channel, H * W, C, CHANNELS_LAST)
        x = tl.load(x_ptr + at, mask=mask, other=0).to(tl.float32)
        dy = whole_gradient(
            dz_ptr, dpadded_ptr, n, start, P, at, mask, channel, H, W, pad,
            C, CHANNELS_LAST, DZ, DPADDED,
        )  # fmt: skip
        if DY:
            tl.store(dy_ptr + at, dy.to(dy_ptr.dtype.element_ty), mask=mask)
        xhat = (x - mean[None, :]) * rstd[None, :]
        g = before_activation(dy, xhat, gamma, beta, ACTIVATION)
        sum_g += g
        sum_gx += g * xhat
    at = (n * tl.num_programs(0) + split).to(tl.int64) * 2 * C + channel
    tl.store(partial_ptr + at, tl.sum(sum_g, 0), mask=channel < C)
    tl.store(partial_ptr + at + C, tl.sum(sum_gx, 0), mask=channel < C)


@triton.jit(do_not_specialize=RUN_TIME)
def in_bwd_dx(
    dz_ptr, dpadded_ptr, x_ptr, mean_ptr, rstd_ptr, weight_ptr, bias_ptr,
    partial_ptr, dx_ptr, sums_ptr, H, W, share, splits, pad,
    C: tl.constexpr, P: tl.constexpr, BLOCK_C: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    WEIGHT: tl.constexpr, BIAS: tl.constexpr, ACTIVATION: tl.constexpr,
    DZ: tl.constexpr, DPADDED: tl.constexpr, ONE_TILE: tl.constexpr, MERGED: tl.constexpr,
):  # fmt: skip
    """dx = gamma rstd (g - S1 / M - x^ S2 / M); keeps S1 and S2 for dbeta and dgamma."""
    n = tl.program_id(2)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    mean = tl.load(mean_ptr + n * C + channel, mask=channel < C, other=0)
    rstd = tl.load(rstd_ptr + n * C + channel, mask=channel < C, other=0)
    gamma, beta = load_affine(weight_ptr, bias_ptr, channel, C, WEIGHT, BIAS)
    if not ONE_TILE:
        s1, s2 = merged_sums(partial_ptr, sums_ptr, n, splits, channel, C, MERGED)
    pixels = H * W
    first = tl.program_id(0) * share
    last = tl.minimum(first + share, pixels)
    for start in range(first, last, P):
        pixel = start + tl.arange(0, P)
        mask = (pixel < last)[:, None] & (channel < C)[None, :]
        at = offsets(n, pixel, channel, pixels, C, CHANNELS_LAST)
        x = tl.load(x_ptr + at, mask=mask, other=0).to(tl.float32)
        dy = whole_gradient(
            dz_ptr, dpadded_ptr, n, start, P, at, mask, channel, H, W, pad,
            C, CHANNELS_LAST, DZ, DPADDED,
        )  # fmt: skip
        if ONE_TILE:
            s1, s2 = merged_sums(partial_ptr, sums_ptr, n, splits, channel, C, MERGED)
        xhat = (x - mean[None, :]) * rstd[None, :]
        g = before_activation(dy, xhat, gamma, beta, ACTIVATION)
        dx = (g - (s1 / pixels)[None, :] - xhat * (s2 / pixels)[None, :]) * (rstd * gamma)[None, :]
        tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=mask)
