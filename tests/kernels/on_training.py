"""Steps of a whole CycleGAN on the kernels. Run by ``test_interpreted.py``, and where a GPU is.

What every step is compared with is the same model in float32 on PyTorch's own operators.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from checks import DEVICE, relative
from torch import Tensor, nn
from torch._dynamo.utils import counters

from cyclegan.config import CycleGANConfig, PatchConfig, Precision, ResnetConfig
from cyclegan.ema import averaged
from cyclegan.kernels import launch, native
from cyclegan.layers import BeforeNorm
from cyclegan.model import NETWORKS, CycleGAN
from cyclegan.networks import ResnetGenerator

STEPS = 1 if launch.INTERPRETED else 3
"""Compiled phases with CUDA graphs run, are recorded, and are replayed. The interpreter needs
seconds for one."""
SIZE = (8, 12) if launch.INTERPRETED else (32, 48)
SMALL: dict[str, Any] = {
    "generator": ResnetConfig(width=4, blocks=1),
    "discriminator": PatchConfig(width=4, layers=1),
    "init_gain": 0.2,
    "pool_size": 1,
}
"""The pool gives back fakes of the step before, which a graph must not have written over."""
TOLERANCE: dict[Precision, tuple[float, float]] = {"float32": (1e-3, 0.2), "bfloat16": (0.05, 0.8)}
"""Of each loss, and of the way that all weights have gone. Adam divides gradients by their size:
where one is nearly 0 and rounded otherwise, its weight goes the other way at full length: one in
100 of them, or with 16 bits one in 6."""
PRECISIONS: list[Precision] = ["float32"] if launch.INTERPRETED else ["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What became of a model."""

    losses: list[dict[str, float]]
    """Of each step."""
    way: Tensor
    """From the initial weights to the last."""


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def trained(precision: Precision, passes: int, *, compiled: bool = False) -> Trained:
    """After STEPS steps, each on other pictures, one picture of each domain in every pass."""
    model = CycleGAN(CycleGANConfig(precision=precision, **SMALL), DEVICE)
    if compiled:
        torch._dynamo.reset()
        model.compile(cuda_graphs=True)
    before, losses, skipped = weights(model), [], graphs_skipped()
    generator = torch.Generator().manual_seed(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "torch.compile failed")  # steps would go on without it
        for _ in range(STEPS):
            real_a, real_b = torch.rand(2, passes, 3, *SIZE, generator=generator) * 2 - 1
            losses.append(model.step(real_a, real_b, passes).as_floats())
    assert graphs_skipped() == skipped, "some were launched kernel by kernel"
    return Trained(losses=losses, way=weights(model) - before)


def graphs_skipped() -> int:
    """Compiled graphs so far that did not become CUDA graphs where they were to."""
    return counters["inductor"]["cudagraph_skips"]


def weights(model: CycleGAN) -> Tensor:
    """All in one, but for biases that an instance norm takes away: those go by rounding alone."""
    found = [
        parameter.detach().double().cpu().flatten()
        for name in NETWORKS
        for module in getattr(model, name).modules()
        for kind, parameter in module.named_parameters(recurse=False)
        if not (kind == "bias" and isinstance(module, BeforeNorm))
    ]
    return torch.cat(found)


def plainly(passes: int, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """In float32 on PyTorch's own operators."""
    with monkeypatch.context() as plain:
        plain.setattr(launch, "HAS_TRITON", False)
        plain.setattr(native, "ON", False)
        return trained("float32", passes)


def check(got: Trained, expected: Trained, tolerance: tuple[float, float]) -> None:
    of_losses, of_way = tolerance
    for step, (one, other) in enumerate(zip(got.losses, expected.losses, strict=True)):
        assert all(loss > 0 for loss in other.values()), "adversarial, cycle and identity"
        assert one == pytest.approx(other, rel=of_losses), f"step {step}"
    assert relative(got.way, expected.way) < of_way


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_steps_are_those_of_plain_float32(
    precision: Precision, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    got, expected = trained(precision, passes), plainly(passes, monkeypatch)
    check(got, expected, TOLERANCE[precision])


@pytest.mark.skipif(DEVICE != "cuda", reason="CUDA graphs need a GPU")
@pytest.mark.parametrize(("precision", "passes"), [("float32", 2), ("bfloat16", 1)])
def test_compiled_steps_in_cuda_graphs_are_the_eager_ones(
    precision: Precision, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    got = trained(precision, passes, compiled=True)
    check(got, trained(precision, passes), TOLERANCE[precision])
    check(got, plainly(passes, monkeypatch), TOLERANCE[precision])


@pytest.mark.parametrize("decay", [0.15, 0.999])
def test_the_moving_average_follows_its_formula(decay: float) -> None:
    """On the device, where all tensors are moved at once."""
    network = nn.Sequential(ResnetGenerator(ResnetConfig(width=4, blocks=1, norm="batch")))
    network.to(DEVICE)
    mean = averaged(network, decay)
    expected: dict[str, Tensor] = {}
    for n in range(4):
        with torch.no_grad():
            for tensor in network.state_dict().values():
                tensor.copy_(torch.randn(tensor.shape) * 4)
        mean.update_parameters(network)
        kept = min(decay, (1 + n) / (10 + n)) if n else 0.0
        now = {name: p.detach().double().cpu() for name, p in network.named_parameters()}
        expected = {k: kept * expected.get(k, w) + (1 - kept) * w for k, w in now.items()}
    for name, parameter in mean.module.named_parameters():
        assert parameter.device.type == DEVICE
        assert relative(parameter, expected[name]) < 2e-6, name
    for (name, got), wanted in zip(mean.module.named_buffers(), network.buffers(), strict=True):
        assert torch.equal(got, wanted), name
