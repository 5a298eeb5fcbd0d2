"""Reflection padding on the kernels. Run by ``test_interpreted.py``, and directly on a GPU."""

import pytest
import torch
import triton
import triton.language as tl
from checks import DEVICE, blocks, check_pad, normal

from cyclegan.kernels import launch, reflection_pad2d
from cyclegan.kernels.reflection_pad_triton import offsets, preimage, reflect

SIZES = [(n, before, after) for n in range(2, 9) for before in range(n) for after in range(n)]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("shape", "pads", "dtype", "layout"),
    [
        ((1, 3, 5, 6), (1, 1, 1, 1), torch.float16, "nhwc"),
        ((2, 5, 4, 7), (6, 0, 2, 3), torch.float32, "nhwc"),
        ((1, 2, 3, 9), (3, 8, 0, 2), torch.float32, "nchw"),
        ((1, 4, 2, 2), (1, 1, 1, 1), torch.float32, "nhwc"),
        ((1, 3, 1, 4), (3, 2, 0, 0), torch.float32, "nhwc"),
        ((1, 2, 19, 23), (2, 3, 1, 2), torch.float32, "nhwc"),
    ],
)
def test_agrees_with_float64(
    shape: tuple[int, int, int, int],
    pads: tuple[int, int, int, int],
    dtype: torch.dtype,
    layout: str,
) -> None:
    with blocks(4 if shape[2] == 19 else 16, 4, 64):
        check_pad(shape, pads, dtype, layout)


@triton.jit
def _line(out_ptr, count_ptr, size, before, after, P: tl.constexpr):  # noqa: N803
    i = tl.arange(0, P)
    tl.store(out_ptr + i, reflect(i - before, size), mask=i < size + before + after)
    for k in tl.static_range(3):
        place, valid = preimage(i, size, before, after, k)
        tl.atomic_add(count_ptr + place, 1, mask=valid & (i < size))


@pytest.mark.parametrize("size", range(2, 9))
def test_every_size_and_legal_pad_of_a_line(size: int) -> None:
    """Forward reads the mirror image; each padded place is the image of exactly one pixel."""
    for n, before, after in SIZES:
        if n != size:
            continue
        length = size + before + after
        read = torch.full((32,), -1, dtype=torch.int32, device=DEVICE)
        images = torch.zeros(32, dtype=torch.int32, device=DEVICE)
        _line[(1,)](read, images, size, before, after, P=32)
        line = torch.arange(float(size)).view(1, 1, 1, size)
        expected = torch.nn.functional.pad(line, (before, after, 0, 0), mode="reflect").flatten()
        assert read[:length].tolist() == expected.int().tolist()
        assert images.tolist() == [1] * length + [0] * (32 - length)


def test_a_gradient_of_ones_counts_the_images() -> None:
    x = normal((1, 1, 4, 5), torch.float32).requires_grad_()
    y = reflection_pad2d(x, 1)
    (dx,) = torch.autograd.grad(y.sum(), x)
    rows, columns = torch.tensor([1.0, 2, 2, 1]), torch.tensor([1.0, 2, 1, 2, 1])
    assert torch.equal(dx[0, 0].cpu(), rows[:, None] * columns[None, :])


@triton.jit
def _where(out_ptr, n, pixel, pixels, C: tl.constexpr, LAST: tl.constexpr):  # noqa: N803
    at = offsets(n, pixel + tl.arange(0, 2), C - 2 + tl.arange(0, 2), pixels, C, LAST)
    places = tl.arange(0, 2)[:, None] * 2 + tl.arange(0, 2)[None, :]
    tl.store(out_ptr + places, at)


@pytest.mark.parametrize("last", [True, False])
def test_offsets_beyond_32_bits(last: bool) -> None:
    n, channels, pixels = 40, 512, 1920 * 1080
    out = torch.zeros(4, dtype=torch.int64, device=DEVICE)
    _where[(1,)](out, n, pixels - 2, pixels, C=channels, LAST=last)
    expected = [
        (n * pixels + pixel) * channels + channel
        if last
        else (n * channels + channel) * pixels + pixel
        for pixel in (pixels - 2, pixels - 1)
        for channel in (channels - 2, channels - 1)
    ]  # fmt: skip
    assert min(expected) > 2**31
    assert out.tolist() == expected


def test_an_empty_batch_gives_an_empty_batch() -> None:
    x = torch.empty(0, 3, 4, 5, device=DEVICE)
    assert reflection_pad2d(x, 1).shape == (0, 3, 6, 7)


def test_the_layout_is_kept() -> None:
    x = normal((1, 3, 4, 5), torch.float16)
    assert reflection_pad2d(x, 1).is_contiguous(memory_format=torch.channels_last)
    assert reflection_pad2d(x.contiguous(), 1).is_contiguous()
    assert launch.has_kernels(x)
