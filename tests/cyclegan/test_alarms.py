"""Alarms: each one rings for what it is for, once, and for nothing else."""

import pytest
import torch

from cyclegan.alarms import SATURATED, WINDOW, Alarms, brightness_correlation
from cyclegan.config import CycleGANConfig, DataConfig, TrainConfig
from cyclegan.data import tensor_from_pictures
from cyclegan.errors import DivergedError
from cyclegan.phases import LOSSES
from cyclegan.recorder import Recorder
from cyclegan.sample_data import evaluation_pairs

GOOD = dict.fromkeys(LOSSES, 0.25)


@pytest.fixture(scope="module")
def real():
    relief, satellite = evaluation_pairs(4, 64)
    return tensor_from_pictures(list(relief)), tensor_from_pictures(list(satellite))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_first_bad_loss_is_named(bad):
    losses = {**GOOD, "cycle_b": bad, "discriminator_a": bad}
    with pytest.raises(DivergedError, match=r"cycle_b is (nan|inf) in step 7"):
        Alarms().losses(7, losses)


@pytest.mark.parametrize("name", ["discriminator_a", "discriminator_b"])
def test_a_discriminator_that_always_wins_is_told_once(name):
    alarms, told = Alarms(), []
    for step in range(3 * WINDOW):
        told += alarms.losses(step, {**GOOD, name: 1e-4})
    (message,) = told
    assert message.startswith(f"step {WINDOW - 1}: {name} tells every picture")


def test_what_wavers_around_a_bound_is_one_cause(real):
    alarms, noise = Alarms(), torch.Generator().manual_seed(0)
    for step in range(4000):
        loss = SATURATED * float(-torch.rand((), generator=noise).log())  # of that mean
        alarms.losses(step, {**GOOD, "discriminator_a": loss})
    assert len(alarms.messages) == 1
    for step in range(WINDOW):
        alarms.losses(step, GOOD)
    for step in range(WINDOW):
        alarms.losses(step, {**GOOD, "discriminator_a": 0.0})
    assert len(alarms.messages) == 2
    a, flat = real[0], torch.zeros_like(real[0])
    alarms = Alarms()
    for step in range(9):  # correlation of -1, and of 0
        alarms.samples(step, a, flat if step % 2 else -a, "A to B")
    assert sum("light and dark" in message for message in alarms.messages) == 1


def test_a_wasserstein_critic_that_tells_pictures_apart_is_no_alarm(tmp_path):
    config = TrainConfig(
        data=DataConfig(a=tmp_path, b=tmp_path), model=CycleGANConfig(adversarial="wgangp")
    )
    alarms = Recorder(config).alarms
    for step in range(2 * WINDOW):
        assert not alarms.losses(step, {**GOOD, "discriminator_a": -0.8})
    with pytest.raises(DivergedError, match="discriminator_a is inf"):
        alarms.losses(2 * WINDOW, {**GOOD, "discriminator_a": float("inf")})


def test_usual_losses_and_single_good_steps_are_no_alarm():
    alarms = Alarms()
    for step in range(3 * WINDOW):
        good = step % 10 == 0
        assert not alarms.losses(step, {**GOOD, "discriminator_a": 0.0 if good else 0.2})


def test_good_translations_are_no_alarm(real):
    a, b = real
    for fake in (a, b, 0.5 * a + 0.3, 0.1 * a):
        assert not Alarms().samples(1, a, fake, "A to B")


def test_one_picture_for_all_inputs_is_a_collapse(real):
    a, b = real
    (message,) = Alarms().samples(9, a, b[:1].expand_as(a) + 0.001 * a, "A to B")
    assert message.startswith("step 9: A to B paints the same picture")
    assert Alarms().samples(9, a, torch.full_like(a, 0.3), "A to B")


def test_one_colour_for_each_input_is_a_collapse(real):
    a, _ = real
    colours = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1], [0, 0, 0]])
    assert Alarms().samples(9, a, colours[..., None, None].expand_as(a), "A to B")


def test_one_flat_translation_of_several_is_no_collapse(real):
    a, b = real
    fake = b.clone()
    fake[0] = 0.3
    assert not Alarms().samples(9, a, fake, "A to B")


def test_translations_of_empty_pictures_are_no_collapse(real):
    empty = torch.full_like(real[0], -1.0)
    assert not Alarms().samples(9, empty, empty + 0.01, "A to B")


def test_translations_of_pictures_that_are_all_alike_are_no_collapse(real):
    """As frames of a camera that stands still."""
    a, b = (pictures[:1].expand_as(pictures) for pictures in real)
    assert not Alarms().samples(9, a + 0.001 * torch.randn_like(a), b, "A to B")


def test_exchanged_light_and_dark_is_told_until_it_is_gone(real):
    a, _ = real
    alarms = Alarms()
    (message,) = alarms.samples(5, a, -a, "map to photo")
    assert "map to photo exchanges light and dark (correlation of brightness -1.00)" in message
    assert not alarms.samples(6, a, -a, "map to photo")
    assert not alarms.samples(7, a, a, "map to photo")
    assert alarms.samples(8, a, -a, "map to photo")
    assert len(alarms.messages) == 2


def test_correlation_is_of_the_mean_over_channels(real):
    a, b = real
    assert brightness_correlation(b, b.flip(1)) == pytest.approx(1)
    assert brightness_correlation(a, torch.cat([a[:2], -a[2:]])) == pytest.approx(0, abs=1e-6)
    assert brightness_correlation(a, 2 * a + 1) == pytest.approx(1)
    assert brightness_correlation(a, -a) == pytest.approx(-1)
    assert brightness_correlation(a, torch.zeros_like(a)) == 0
