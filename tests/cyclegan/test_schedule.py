"""Learning rates by epoch."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cyclegan.config import DataConfig, TrainConfig
from cyclegan.errors import ConfigError
from cyclegan.schedule import FACTORS, Plateau, Progress

DATA = DataConfig(a=Path("a"), b=Path("b"))


def factors(name, epochs=4, decay=4, **settings):
    config = TrainConfig(data=DATA, schedule=name, epochs=epochs, epochs_decay=decay, **settings)
    return [FACTORS[name](config, epoch) for epoch in range(epochs + decay)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("linear", [1, 1, 1, 1, 4 / 5, 3 / 5, 2 / 5, 1 / 5]),
        ("linear-2020", [1, 1, 1, 4 / 5, 3 / 5, 2 / 5, 1 / 5, 0]),
        ("step", [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01]),
        ("plateau", [1] * 8),
    ],
)
def test_factors(name, expected):
    assert factors(name, step_epochs=3) == pytest.approx(expected)


@given(epochs=st.integers(1, 200), decay=st.integers(0, 200))
def test_cosine_falls_from_one_and_never_climbs_back(epochs, decay):
    found = factors("cosine", epochs, decay)
    assert found[0] == 1
    assert all(later < earlier for earlier, later in pairwise(found))
    assert 0 <= found[-1] <= 1


@pytest.mark.parametrize("epochs", [1, 2, 7])
def test_cosine_is_pytorchs(epochs):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    for ours in factors("cosine", epochs, 0):
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize(
    "losses",
    [
        [5, 4, 3, 2],
        [1.0] * 15,
        [3, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1],
        [0.999**epoch for epoch in range(20)],
        [0.98**epoch for epoch in range(20)],
    ],
)
def test_plateau_is_pytorchs(losses):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.2, threshold=0.01, patience=5
    )
    ours = Plateau()
    for loss in losses:
        theirs.step(loss)
        ours.add(loss - 1)
        ours.add(loss + 1)
        ours.take(ours.mean())
        assert ours.factor == pytest.approx(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize(("change", "falls"), [(0.98, True), (1.0, True), (1.02, False)])
def test_plateau_takes_losses_below_zero(change, falls):
    """Those of critics; where a loss falls by 1 %, that is away from 0."""
    plateau = Plateau()
    for epoch in range(7):
        plateau.take(-(change**epoch))
    assert (plateau.factor < 1) == falls


def test_plateau_survives_a_checkpoint():
    config = TrainConfig(data=DATA, schedule="plateau")
    one, other = Progress(config, 10), Progress(config, 10)
    for _ in range(8):
        one.plateau.take(1.0)
    one.plateau.add(3.0)
    other.load_state(one.state())
    assert other.factor() == one.factor() == pytest.approx(0.2)
    assert other.plateau.mean() == 3.0


def test_time_goes_on_where_the_checkpoint_was():
    progress = Progress(TrainConfig(data=DATA, minutes=1.0), 10)
    progress.load_state({**progress.state(), "seconds": 45.0})
    assert progress.fraction() == pytest.approx(0.75, abs=0.01)
    assert progress.factor() == pytest.approx(0.5, abs=0.02), "from half of the time on it falls"
    assert progress.seconds() == pytest.approx(45, abs=1)


@pytest.mark.parametrize(
    ("batch", "steps_per_epoch", "then"),
    [
        (4, 4, (1, 0.5)),  # had ended: with more pictures it does not end again
        (3, 4, (0, 0.15)),
        (30, 40, (1, 0.5)),  # with fewer pictures it has no more steps
        (30, None, (1, 0.5)),  # a checkpoint from before lengths were kept
        (4, None, (0, 0.2)),
    ],
)
def test_an_epoch_goes_on_with_as_many_pictures_as_there_are(batch, steps_per_epoch, then):
    progress = Progress(TrainConfig(data=DATA, epochs=2, epochs_decay=0), 10)
    state = {**progress.state(), "batch": batch, "steps_per_epoch": steps_per_epoch}
    progress.load_state({name: value for name, value in state.items() if value is not None})
    assert (int(progress.ends_epoch()), progress.fraction()) == then


def test_unknown_schedule():
    with pytest.raises(ConfigError, match="schedule is 'lambda'; expected one of 'linear'"):
        TrainConfig(data=DATA, schedule="lambda")
