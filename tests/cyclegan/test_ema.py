"""The moving average of a network's weights."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cyclegan.ema import averaged


@given(
    values=st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=40),
    decay=st.floats(0, 0.999),
)
def test_follows_its_formula(values, decay):
    network = nn.Linear(1, 1, bias=False)
    mean = averaged(network, decay)
    expected = values[0]
    for n, value in enumerate(values):
        nn.init.constant_(network.weight, value)
        mean.update_parameters(network)
        if n:
            kept = min(decay, (1 + n) / (10 + n))
            expected = kept * expected + (1 - kept) * value
    assert abs(mean.module.weight.item() - expected) < 1e-4


def test_copies_buffers_and_never_trains():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    mean = averaged(network, 0.9)
    network(torch.randn(8, 2))
    mean.update_parameters(network)
    assert torch.equal(mean.module[1].running_mean, network[1].running_mean)
    assert not any(p.requires_grad for p in mean.parameters())
    assert not any(module.training for module in mean.modules())
    assert network.training


def test_the_number_of_updates_stays_on_the_host():
    """Reading it from a GPU would make every step wait. Nothing can be read from "meta"."""
    network = nn.Linear(2, 2, device="meta")
    mean = averaged(network, 0.9)
    for _ in range(3):
        mean.update_parameters(network)
    assert int(mean.n_averaged) == 3
