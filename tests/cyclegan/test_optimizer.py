"""Adam over weights that are channels last: PyTorch's numbers, without its copies."""

import copy

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from cyclegan.optimizer import Adam

LAST, FIRST = torch.channels_last, torch.contiguous_format
SHAPES = ((8, 4, 3, 3), (8,), (6, 4, 1, 1), (4, 3, 7, 7))


def stepped(kind, memory_format, steps=4):
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    for weight in weights:
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=memory_format)
    optimizer = kind(weights, 1e-2, (0.5, 0.999), fused=True)
    for _ in range(steps):
        for weight in weights:
            weight.grad = torch.randn(weight.shape).as_strided_(weight.shape, weight.stride())
        optimizer.step()
    return weights, optimizer


@pytest.mark.parametrize("memory_format", [LAST, FIRST])
def test_numbers_are_pytorchs(memory_format):
    ours, own = stepped(Adam, memory_format)
    theirs, other = stepped(torch.optim.Adam, memory_format)
    for weight, expected in zip(ours, theirs):
        assert torch.equal(weight, expected)
        assert weight.stride() == expected.stride()
    states = own.state_dict()["state"], other.state_dict()["state"]
    for state, expected in zip(*(s.values() for s in states)):
        assert state.keys() == expected.keys()
        for name, number in state.items():
            assert torch.equal(number, expected[name])
            assert number.shape == expected[name].shape


def test_gradients_are_not_copied():
    weights, optimizer = stepped(Adam, LAST, steps=1)
    assert all(weight.grad is not None for weight in weights)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        optimizer.step()
    assert not [event for event in seen.events() if event.name == "aten::clone"]


@pytest.mark.parametrize(("saved_as", "loaded_as"), [(FIRST, LAST), (LAST, FIRST)])
def test_averages_follow_weights_into_another_memory_format(saved_as, loaded_as):
    """As where a run goes on in another precision."""
    alone, kept = stepped(Adam, saved_as)
    weights = [nn.Parameter(weight.detach().clone()) for weight in alone]
    for weight in weights:
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=loaded_as)
    optimizer = Adam(weights, 1e-2, (0.5, 0.999), fused=True)
    optimizer.load_state_dict(copy.deepcopy(kept.state_dict()))
    for weight, expected in zip(weights, alone):
        gradient = torch.randn(weight.shape)
        weight.grad = torch.empty_like(weight).copy_(gradient)
        expected.grad = torch.empty_like(expected).copy_(gradient)
    optimizer.step()
    kept.step()
    for weight, expected in zip(weights, alone):
        torch.testing.assert_close(weight, expected, rtol=0, atol=1e-6)
