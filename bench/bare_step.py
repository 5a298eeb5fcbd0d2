"""The training step beside the least code that does the same: what our step costs, or gains.

The bare step is the algorithm of the paper on the same networks, written out: LSGAN, cycle and
identity losses, both optimizers, nothing else. Short enough for every change.

N batch, C channels, H height, W width. Pictures are float32 (N, C, H, W) in [-1, 1].
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.suite import Comparison, Options, Repeated
from cyclegan.config import CycleGANConfig, PatchConfig, ResnetConfig
from cyclegan.model import CycleGAN
from cyclegan.networks import Discriminator, Generator

OURS, BARE = "CycleGAN.step", "bare step"
CYCLE = 10.0
"""Weight of the cycle loss; the identity loss has half of it."""
NEAR = 1e-3
"""Relative distance of the first step's sums of losses, beyond rounding a wrong result."""


class BareStep:
    """Public order: both generators, then both discriminators; fakes are judged as they are."""

    def __init__(self, model: CycleGAN) -> None:
        self.model = model
        rate = {"lr": 2e-4, "betas": (0.5, 0.999)}
        generators = [model.generator_ab, model.generator_ba]
        discriminators = [model.discriminator_a, model.discriminator_b]
        self.generators = torch.optim.Adam(_parameters(generators), **rate)  # type: ignore[arg-type]
        self.discriminators = torch.optim.Adam(_parameters(discriminators), **rate)  # type: ignore[arg-type]

    def __call__(self, real_a: Tensor, real_b: Tensor) -> tuple[Tensor, Tensor]:
        """One step; the sums of the generators' and of the discriminators' losses."""
        m = self.model
        m.discriminator_a.requires_grad_(False)
        m.discriminator_b.requires_grad_(False)
        fake_b, fake_a = m.generator_ab(real_a), m.generator_ba(real_b)
        loss = self._translated(real_a, fake_b, m.generator_ab, m.generator_ba, m.discriminator_b)
        loss = loss + self._translated(
            real_b, fake_a, m.generator_ba, m.generator_ab, m.discriminator_a
        )
        self.generators.zero_grad()
        loss.backward()
        self.generators.step()
        m.discriminator_a.requires_grad_(True)
        m.discriminator_b.requires_grad_(True)
        judged = _judged(m.discriminator_a, real_a, fake_a.detach())
        judged = judged + _judged(m.discriminator_b, real_b, fake_b.detach())
        self.discriminators.zero_grad()
        judged.backward()
        self.discriminators.step()
        return loss.detach(), judged.detach()

    def _translated(
        self, real: Tensor, fake: Tensor, there: Generator, back: Generator, judge: Discriminator
    ) -> Tensor:
        verdict = judge(fake)
        adversarial = F.mse_loss(verdict, torch.ones_like(verdict))
        identity = F.l1_loss(back(real), real)
        return adversarial + CYCLE * F.l1_loss(back(fake), real) + CYCLE / 2 * identity


def _judged(judge: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
    true, false = judge(real), judge(fake)
    return (
        F.mse_loss(true, torch.ones_like(true)) + F.mse_loss(false, torch.zeros_like(false))
    ) / 2


def _parameters(networks: list[nn.Module]) -> list[nn.Parameter]:
    return [p for network in networks for p in network.parameters()]


def comparison(options: Options) -> Iterator[Comparison]:
    """Both steps, each on networks of its own that begin alike."""
    config = CycleGANConfig(
        generator=ResnetConfig(width=max(4, options.width // 4), blocks=options.blocks),
        discriminator=PatchConfig(width=max(4, options.width // 4)),
        precision="float32",
    )
    height, width = (max(64, side // 2) for side in options.sizes[0])
    torch.manual_seed(0)
    real_a, real_b = torch.rand(2, 1, 3, height, width) * 2 - 1
    torch.manual_seed(1)
    ours = CycleGAN(config, "cpu")
    torch.manual_seed(1)
    bare = BareStep(CycleGAN(config, "cpu"))
    losses = ours.step(real_a, real_b).as_floats()
    judged = losses.pop("discriminator_a") + losses.pop("discriminator_b")
    expected = torch.tensor([sum(losses.values()), judged])
    error = float((torch.stack(bare(real_a, real_b)) / expected - 1).abs().max())
    assert error < NEAR, f"the steps differ by {error}"

    def ours_repeated(count: int) -> None:
        for _ in range(count):
            ours.step(real_a, real_b)

    def bare_repeated(count: int) -> None:
        for _ in range(count):
            bare(real_a, real_b)

    steps: dict[str, Repeated] = {BARE: bare_repeated, OURS: ours_repeated}
    yield Comparison(name="training step", candidates=steps, unit="steps")
