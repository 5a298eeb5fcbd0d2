"""Instance norm on the kernels. Run by ``test_interpreted.py``, and directly where a GPU is."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import pytest
import torch
import triton
import triton.language as tl
from checks import DEVICE, TOLERANCE, Case, blocks, check_norm, normal, relative

from bench.switches import in_splits
from cyclegan.kernels import instance_norm, launch
from cyclegan.kernels.instance_norm_triton import FEW, in_merge, merge_moments

Splits = Callable[[], AbstractContextManager[None]]

CASES = {
    "plain": Case(),
    "relu then pad": Case(activation="relu", pad=2),
    "residual, z and pad": Case(residual=True, pad=1, unpadded=True),
    "residual": Case(residual=True),
    "leaky, affine, half": Case(activation="leaky_relu", affine=True, dtype=torch.float16),
    "everything": Case(activation="relu", affine=True, residual=True, pad=3, unpadded=True),
    "half, pad, nchw": Case(activation="relu", pad=1, dtype=torch.float16, layout="nchw"),
    "residual, nchw": Case(residual=True, pad=1, unpadded=True, layout="nchw"),
    "two images": Case(shape=(2, 3, 5, 5), activation="relu"),
    "large mean": Case(mean=1e3),
    "large mean, half": Case(mean=1e3, std=30.0, dtype=torch.float16),
    "large eps": Case(eps=0.5, activation="leaky_relu"),
    "one channel": Case(shape=(1, 1, 9, 7)),
    "one row": Case(shape=(1, 3, 1, 31)),
    "two pixels": Case(shape=(1, 3, 2, 1), eps=0.1),
    "wide": Case(shape=(1, 2, 2, 961), activation="relu"),
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_float64(name: str) -> None:
    pixels = CASES[name].shape[2] * CASES[name].shape[3]
    with blocks() if pixels < 100 else blocks(64, 2, 512):
        check_norm(CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_images_in_one_launch_agree_with_float64(name: str) -> None:
    n, _, height, width = CASES[name].shape
    check_norm(replace(CASES[name], shape=(n, 8, height, width)))


@pytest.mark.parametrize("splits", [in_splits, nullcontext])
@pytest.mark.parametrize("channels", [3, 8, 48, 64, 256, 513])
def test_any_number_of_channels_with_the_tables_blocks(channels: int, splits: Splits) -> None:
    with splits():
        check_norm(Case(shape=(1, channels, 7, 7), activation="relu"))


@pytest.mark.skipif(launch.INTERPRETED, reason="the interpreter rounds bfloat16 wrongly")
@pytest.mark.parametrize("splits", [in_splits, nullcontext])
def test_bfloat16(splits: Splits) -> None:
    with splits():
        check_norm(Case(dtype=torch.bfloat16, activation="relu", pad=1))


@pytest.mark.parametrize("splits", [in_splits, nullcontext])
def test_a_large_mean_is_right_to_the_last_place_with_the_tables_blocks(splits: Splits) -> None:
    with splits():
        check_norm(Case(shape=(1, 4, 16, 16), mean=1e3))


@pytest.mark.skipif(launch.INTERPRETED, reason="takes minutes in the interpreter")
@pytest.mark.parametrize("side", [(64, 64), (61, 67), (31, 31), (16, 256)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_images_as_large_as_one_program_holds(side: tuple[int, int], dtype: torch.dtype) -> None:
    shape = (2, 32, *side)
    check_norm(Case(shape=shape, dtype=dtype, residual=True, pad=1, unpadded=True))
    check_norm(Case(shape=shape, dtype=dtype, activation="relu", affine=True, pad=3, layout="nchw"))


def test_what_one_program_does_not_hold_is_split() -> None:
    def held(channels: int, pixels: int, last: bool = True) -> launch.Blocks | None:
        return launch.whole_blocks(torch.empty(1, channels, 1, 1), pixels, last)

    assert held(4, launch.WHOLE) is not None
    assert held(4, launch.WHOLE + 1) is None
    assert held(3, launch.WHOLE) is None, "16 bytes of its channels are not together"
    assert held(3, launch.WHOLE, last=False) is not None
    assert held(1 << 15, launch.WHOLE) is not None
    assert held(1 << 16, launch.WHOLE) is None, "32 bits do not count its numbers"


def test_many_splits_are_merged_by_a_kernel_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "INLINE_SPLITS", 2)
    with blocks(8, 4, 8):
        check_norm(Case(shape=(2, 3, 7, 5), activation="relu", affine=True, mean=50.0))


@pytest.mark.parametrize("mean", [100.0, 1e3])
def test_more_splits_than_are_merged_at_once(mean: float) -> None:
    with blocks(4, 4, 4):
        check_norm(Case(shape=(1, 3, 13, 11), mean=mean))


def test_splits_do_not_change_the_result() -> None:
    x = normal((1, 4, 9, 11), torch.float32) + 20
    results = []
    for share in (16, 48, 112):
        with blocks(16, 4, share):
            results.append(instance_norm(x, activation="relu"))
    assert relative(results[0], results[2]) < 1e-5
    assert relative(results[1], results[2]) < 1e-5


def test_layouts_agree() -> None:
    x = normal((2, 3, 6, 5), torch.float32)
    with blocks():
        ours = instance_norm(x, activation="relu", pad=1)
        other = instance_norm(x.contiguous(), activation="relu", pad=1)
    assert relative(ours, other) < 1e-6


def test_views_and_expanded_inputs() -> None:
    x = normal((1, 6, 6, 8), torch.float32)[:, ::2, :, 1:6]
    assert relative(instance_norm(x), instance_norm(x.contiguous())) < 1e-6
    shared = normal((1, 3, 4, 5), torch.float32).expand(2, 3, 4, 5)
    assert relative(instance_norm(shared), instance_norm(shared.contiguous())) < 1e-6


@pytest.mark.parametrize("whole", [False, True])
def test_parameters_may_lie_apart(whole: bool) -> None:
    """As the columns of what a style network gives do, or one number for all channels."""
    x = normal((2, 8, 5, 6), torch.float32).requires_grad_()
    weight, bias = normal((8, 2, 1, 1), torch.float32)[:, :, 0, 0].unbind(1)
    one = weight[:1].expand(8)
    with nullcontext() if whole else blocks():
        for given in ((weight, bias), (one, bias), (weight, None)):
            dense = [None if p is None else p.clone() for p in given]
            ours = instance_norm(x, *given, activation="relu")
            expected = instance_norm(x, *dense, activation="relu")
            assert torch.equal(ours, expected)
            dy = torch.ones_like(ours)
            assert torch.equal(*(torch.autograd.grad(z, x, dy)[0] for z in (ours, expected)))


def test_constant_channels_are_zero_and_their_gradient_finite() -> None:
    x = torch.full((1, 3, 4, 4), 7.5, device=DEVICE, requires_grad=True)
    z = instance_norm(x)
    (dx,) = torch.autograd.grad(z, x, torch.randn_like(z))
    assert z.abs().max() == 0
    assert dx.isfinite().all()


def test_nan_is_passed_on() -> None:
    x = normal((1, 2, 3, 3), torch.float32)
    x[0, 1, 1, 1] = float("nan")
    z = instance_norm(x, activation="relu")
    assert z[0, 0].isfinite().all()
    assert z[0, 1].isnan().all()


def test_an_empty_batch_gives_an_empty_batch() -> None:
    x = torch.empty(0, 3, 4, 5, device=DEVICE, requires_grad=True)
    z, padded = instance_norm(x, activation="relu", pad=1, unpadded=True)
    assert z.shape == (0, 3, 4, 5)
    assert padded.shape == (0, 3, 6, 7)
    assert torch.autograd.grad(padded.sum(), x)[0].shape == x.shape


def test_second_derivatives_agree_with_float64() -> None:
    x = normal((1, 2, 4, 5), torch.float32).requires_grad_()
    true = x.detach().cpu().double().requires_grad_()
    weights = torch.randn(1, 2, 4, 5)

    def penalty(x: torch.Tensor) -> torch.Tensor:
        z = (instance_norm(x, activation="leaky_relu") * weights.to(x)).sum()
        (dx,) = torch.autograd.grad(z, x, create_graph=True)
        return (dx**2).sum()

    (found,) = torch.autograd.grad(penalty(x), x)
    (wanted,) = torch.autograd.grad(penalty(true), true)
    assert relative(found, wanted) < 10 * TOLERANCE[torch.float32]


@pytest.mark.parametrize("side", [8192, 9000, 32768])
@pytest.mark.parametrize("splits", [1, 33, 64])
def test_moments_of_huge_images_are_merged_in_32_bits(side: int, splits: int) -> None:
    """As they come, and as one split after a kernel has merged them."""
    pixels = side * side
    share = -(-pixels // splits)
    count = torch.tensor([min(share, pixels - n * share) for n in range(splits)])
    mean = torch.arange(splits, device=DEVICE, dtype=torch.float64)[:, None].expand(-1, 4)
    m2 = 2.0 * count[:, None].expand(-1, 4).to(DEVICE, torch.float64)
    partial = torch.stack([mean, m2], 1).float().contiguous()
    merged = torch.empty(2, 4, device=DEVICE)
    in_merge[(1, 1)](partial, merged, splits, share, pixels, C=4, BLOCK_C=4, MOMENTS=True)
    inline = torch.empty(2, 4, device=DEVICE)
    _merge_inline[(1,)](partial, inline, splits, share, pixels)
    weight = count.to(DEVICE, torch.float64)[:, None] / pixels
    whole = (mean * weight).sum(0)
    wanted = torch.stack([whole, (2.0 + (mean - whole) ** 2).mul(weight).sum(0) * pixels])
    for found in (merged, inline):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-6)


@triton.jit
def _merge_inline(partial_ptr, out_ptr, splits, share, pixels):
    channel = tl.arange(0, 4)
    mean, m2 = merge_moments(partial_ptr, 0, splits, share, pixels, channel, 4, FEW)
    tl.store(out_ptr + channel, mean)
    tl.store(out_ptr + 4 + channel, m2)
