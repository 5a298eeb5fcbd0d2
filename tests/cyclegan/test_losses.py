import math
import random

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.image import structural_similarity_index_measure

from cyclegan.image_pool import ImagePool
from cyclegan.losses import ADVERSARIAL, CYCLE, gradient_penalty, mixed, ssim

logits = st.lists(st.floats(-20, 20), min_size=1, max_size=9).map(
    lambda values: torch.tensor(values, dtype=torch.float64)
)


@given(real=logits, fake=logits)
def test_lsgan_and_vanilla_are_mse_and_cross_entropy(real, fake):
    for name, loss in (
        ("lsgan", F.mse_loss),
        ("vanilla", F.binary_cross_entropy_with_logits),
    ):
        objective = ADVERSARIAL[name]
        one, zero = torch.ones_like, torch.zeros_like
        expected = 0.5 * (loss(real, one(real)) + loss(fake, zero(fake)))
        torch.testing.assert_close(objective.discriminator(real, fake), expected)
        torch.testing.assert_close(objective.generator(fake), loss(fake, one(fake)))


@pytest.mark.parametrize(
    ("name", "real_loss", "fake_loss", "fooling"),
    [
        ("hinge", (3 + 0.5 + 0) / 3, (0 + 1.25 + 3) / 3, 0.25),
        ("wgangp", -0.5, -0.25, 0.25),
    ],
)
def test_hinge_and_wgangp_of_known_judgements(name, real_loss, fake_loss, fooling):
    real, fake = torch.tensor([-2.0, 0.5, 3.0]), torch.tensor([-3.0, 0.25, 2.0])
    objective = ADVERSARIAL[name]
    found = objective.discriminator(real, fake).item()
    assert found == pytest.approx(0.5 * (real_loss + fake_loss))
    assert objective.generator(fake).item() == pytest.approx(fooling)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_generator_and_discriminator_pull_apart(name):
    objective = ADVERSARIAL[name]
    fake = torch.tensor([0.3], requires_grad=True)
    real = torch.tensor([0.3], requires_grad=True)
    (up,) = torch.autograd.grad(objective.generator(fake), fake)
    down, raised = torch.autograd.grad(objective.discriminator(real, fake), (fake, real))
    assert up < 0 < down
    assert raised < 0


def test_penalty_of_a_plane_is_the_square_of_its_excess_slope():
    slope = torch.randn(3, 4, 4, dtype=torch.float64, requires_grad=True)
    real, fake = torch.randn(2, 2, 3, 4, 4, dtype=torch.float64)
    penalty = gradient_penalty(lambda x: (x * slope).sum((1, 2, 3)), real, fake)
    expected = (slope.norm() - 1) ** 2
    torch.testing.assert_close(penalty, expected)
    # What trains the discriminator.
    found, wanted = (torch.autograd.grad(loss, slope)[0] for loss in (penalty, expected))
    torch.testing.assert_close(found, wanted)


def test_penalty_looks_between_real_and_fake():
    seen = []

    def judge(x):
        seen.append(x)
        return x.square().sum((1, 2, 3))

    real, fake = torch.full((64, 1, 1, 1), 2.0), torch.full((64, 1, 1, 1), 1.0)
    gradient_penalty(judge, real, fake)
    values = seen[0].flatten()
    assert 1 <= values.min() < 1.2 < 1.8 < values.max() <= 2


def test_pool_fills_then_swaps_half_of_the_time():
    pool = ImagePool(10, random.Random(0))
    first = torch.arange(10.0).reshape(10, 1, 1, 1)
    assert torch.equal(pool.query(first), first)
    older = 0
    for value in range(10, 1010):
        (answer,) = pool.query(torch.full((1, 1, 1, 1), float(value))).flatten().tolist()
        assert answer <= value
        older += answer < value
    assert abs(older - 500) < 4 * math.sqrt(250)
    assert min(image.item() for image in pool.images) >= 10, "each place is taken anew"


def test_pool_that_returns_an_older_image_keeps_the_new_one():
    pool = ImagePool(1, random.Random(0))
    held = pool.query(torch.zeros(1, 1, 1, 1)).item()
    for value in range(1, 40):
        answer = pool.query(torch.full((1, 1, 1, 1), float(value))).item()
        if answer != value:
            assert answer == held
            held = value
    assert held > 0


def test_pool_copies():
    pool = ImagePool(2, random.Random(0))
    for value in range(1, 9):  # those that fill it, and those that take their places
        batch = torch.full((2, 1, 1, 1), float(value))
        pool.query(batch)
        batch.fill_(-1)
        held = [image.item() for image in pool.images]
        assert min(held) > 0
    assert max(held) > 1


def test_pool_holds_pictures_of_all_sizes_until_a_batch_wants_one():
    pool = ImagePool(6, random.Random(0))
    for width in 3 * (4, 8):
        pool.query(torch.zeros(1, 1, 4, width))
    assert [image.shape[2] for image in pool.images] == 3 * [4, 8]
    for _ in range(9):
        assert pool.query(torch.zeros(2, 1, 4, 8)).shape == (2, 1, 4, 8)


def test_pool_of_one_size_forgets_the_others_in_batches_of_one_too():
    pool = ImagePool(4, random.Random(0), one_size=True)
    for width in 20 * [4] + 20 * [8]:
        assert pool.query(torch.zeros(1, 1, 4, width)).shape == (1, 1, 4, width)
    assert [image.shape[2] for image in pool.images] == 4 * [8]


def test_pool_of_none():
    batch = torch.randn(2, 3, 4, 4)
    assert ImagePool(0, random.Random(0)).query(batch) is batch


def test_ssim_is_torchmetrics_within_the_border():
    rng = torch.Generator().manual_seed(0)
    x, y = 2 * torch.rand(2, 2, 3, 24, 20, generator=rng) - 1
    y = 0.5 * x + 0.5 * y
    _, everywhere = structural_similarity_index_measure(
        (x + 1) / 2, (y + 1) / 2, data_range=1.0, return_full_image=True
    )
    torch.testing.assert_close(ssim(x, y), everywhere[..., 5:-5, 5:-5].mean())
    torch.testing.assert_close(ssim(x, x), torch.tensor(1.0))


def test_a_share_of_a_difference_is_of_structure():
    x, y = torch.rand(2, 1, 3, 16, 16)
    assert mixed(CYCLE["l2"], 0.0) is CYCLE["l2"]
    torch.testing.assert_close(mixed(CYCLE["l2"], 1.0)(x, y), 1 - ssim(x, y))
    expected = 0.75 * F.mse_loss(x, y) + 0.25 * (1 - ssim(x, y))
    torch.testing.assert_close(mixed(CYCLE["l2"], 0.25)(x, y), expected)
