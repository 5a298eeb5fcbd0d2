"""The losses of a training step, in its two phases: functions of pictures that compile whole.

N batch, C channels, H height, W width. Pictures are float32 (N, C, H, W) in [-1, 1].

Where samples of a batch do not interact, a network takes all the pictures that wait for it in one
call. The six calls of the generators (two translations, two ways back, two identities) become
three: ``generator_ab([a, b])``, ``generator_ba([fake_b, b, a])``, ``generator_ab([fake_a])``; and
each discriminator judges real and generated pictures at once. The numbers are the same but for
rounding.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cyclegan import losses
from cyclegan.config import CycleGANConfig
from cyclegan.networks import Discriminator, Generator


@dataclass(frozen=True, kw_only=True)
class Images:
    """What the generators make of a real picture of each domain."""

    fake_b: Tensor
    """generator_ab(real_a)"""
    rec_a: Tensor
    """generator_ba(fake_b)"""
    fake_a: Tensor
    """generator_ba(real_b)"""
    rec_b: Tensor
    """generator_ab(fake_a)"""


@dataclass(frozen=True, kw_only=True)
class Losses:
    """The losses of one step, weighted as they were trained on: detached scalars."""

    generator_ab: Tensor
    """How far fake_b is from passing for real (``G_A`` of the public implementation)."""
    generator_ba: Tensor
    """How far fake_a is from passing for real (``G_B``)."""
    cycle_a: Tensor
    """lambda_a x L1(rec_a, real_a), or what cycle_loss and ssim_share put in its place."""
    cycle_b: Tensor
    """lambda_b x L1(rec_b, real_b)."""
    identity_a: Tensor
    """lambda_a x lambda_identity x L1(generator_ba(real_a), real_a) (``idt_B``)."""
    identity_b: Tensor
    """lambda_b x lambda_identity x L1(generator_ab(real_b), real_b) (``idt_A``)."""
    discriminator_a: Tensor
    """(``D_B``)"""
    discriminator_b: Tensor
    """(``D_A``)"""

    def stacked(self) -> Tensor:
        """(8,) on the device, in the order of the fields."""
        return torch.stack([getattr(self, item.name) for item in fields(self)])

    def as_floats(self) -> dict[str, float]:
        """The losses by name; waits for the device."""
        return dict(zip(LOSSES, self.stacked().tolist()))


LOSSES = tuple(item.name for item in fields(Losses))


class Made(NamedTuple):
    """What the phase of the generators gives."""

    losses: Tensor
    """(6,) weighted: those of Losses that are the generators', in its order."""
    fake_a: Tensor
    fake_b: Tensor


@dataclass(frozen=True, kw_only=True)
class Phases:
    """Both phases over four networks, computed in ``dtype``: float32 or a half under autocast."""

    config: CycleGANConfig
    device: torch.device
    dtype: torch.dtype
    generator_ab: Generator
    generator_ba: Generator
    discriminator_a: Discriminator
    discriminator_b: Discriminator
    rng: torch.Generator
    """Draws the points between real and generated pictures at which the penalty is taken."""

    def generators(self, real_a: Tensor, real_b: Tensor) -> Made:
        """Translate both batches, translate them back, and take the generators' losses."""
        config = self.config
        ab, ba = self.generator_ab, self.generator_ba
        # Running statistics follow the order of calls, the public implementation's: identity last.
        (fake_b,) = self.through(ab, real_a)
        if config.lambda_identity > 0:
            rec_a, fake_a, idt_a = self.through(ba, fake_b, real_b, real_a)
            rec_b, idt_b = self.through(ab, fake_a, real_b)
            identity = losses.mixed(losses.identity, config.ssim_share)
            identity_a = config.lambda_identity * identity(idt_a, real_a)
            identity_b = config.lambda_identity * identity(idt_b, real_b)
        else:
            rec_a, fake_a = self.through(ba, fake_b, real_b)
            (rec_b,) = self.through(ab, fake_a)
            identity_a = identity_b = real_a.new_zeros(())
        (judged_b,) = self.through(self.discriminator_b, fake_b)
        (judged_a,) = self.through(self.discriminator_a, fake_a)

        adversarial = losses.ADVERSARIAL[config.adversarial]
        cycle = losses.mixed(losses.CYCLE[config.cycle_loss], config.ssim_share)
        stacked = torch.stack(
            [
                adversarial.generator(judged_b),
                adversarial.generator(judged_a),
                config.lambda_a * cycle(rec_a, real_a),
                config.lambda_b * cycle(rec_b, real_b),
                config.lambda_a * identity_a,
                config.lambda_b * identity_b,
            ]
        )
        return Made(stacked, fake_a, fake_b)

    def discriminators(
        self, real_a: Tensor, real_b: Tensor, fake_a: Tensor, fake_b: Tensor
    ) -> Tensor:
        """(2,): the losses of discriminator_a and discriminator_b; fakes carry no gradient."""
        return torch.stack(
            [
                self.judgement(self.discriminator_a, real_a, fake_a),
                self.judgement(self.discriminator_b, real_b, fake_b),
            ]
        )

    def judgement(self, discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
        """The loss of one discriminator; ``fake`` carries no gradient."""
        adversarial = losses.ADVERSARIAL[self.config.adversarial]
        judged_real, judged_fake = self.through(discriminator, real, fake)
        loss = adversarial.discriminator(judged_real, judged_fake)
        if self.config.adversarial == "wgangp":
            penalty = losses.gradient_penalty(discriminator, real, fake, self.rng)
            loss = loss + self.config.lambda_gradient_penalty * penalty
        return loss

    def through(self, network: Generator | Discriminator, *batches: Tensor) -> list[Tensor]:
        """``network`` of every batch, in one call where that changes nothing but the time."""
        one_size = len({batch.shape[1:] for batch in batches}) == 1
        if not (self.config.merged and one_size and _samples_are_apart(network)):
            return [self.run(network, batch) for batch in batches]
        if len(batches) == 1:
            return [self.run(network, batches[0])]
        counts = [len(batch) for batch in batches]
        return list(torch.split(self.run(network, torch.cat(batches)), counts))

    def run(self, network: nn.Module, x: Tensor) -> Tensor:
        """``network(x)``, the network's convolutions in ``dtype``, the result in that of ``x``."""
        half = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype if half else None, enabled=half):
            y: Tensor = network(x)
        return y.to(x.dtype)


def _samples_are_apart(network: Generator | Discriminator) -> bool:
    """Whether a sample's result does not depend on what else is in the batch, nor on chance."""
    config = network.config
    return config.norm != "batch" and not getattr(config, "dropout", False)
