"""The losses of a CycleGAN: pure functions of tensors, each a scalar.

N batch, C channels, H height, W width; H' and W' count a discriminator's patches.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan.config import Adversarial, CycleLoss

Objective = Callable[[Tensor], Tensor]
"""From logits (N, 1, H', W') to a scalar."""


@dataclass(frozen=True, kw_only=True)
class AdversarialLoss:
    """What a discriminator is to say of real and of generated pictures, and what a generator is to
    make it say."""

    real: Objective
    fake: Objective
    fool: Objective

    def generator(self, fake_logits: Tensor) -> Tensor:
        """The generator's loss from the discriminator's judgement of its pictures."""
        return self.fool(fake_logits)

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """The discriminator's loss, halved to slow it down (paper, appendix 7.1)."""
        return 0.5 * (self.real(real_logits) + self.fake(fake_logits))


def _towards(loss: Callable[[Tensor, Tensor], Tensor], target: float) -> Objective:
    return lambda logits: loss(logits, torch.full_like(logits, target))


ADVERSARIAL: dict[Adversarial, AdversarialLoss] = {
    # Mao et al. 2017
    "lsgan": AdversarialLoss(
        real=_towards(F.mse_loss, 1.0),
        fake=_towards(F.mse_loss, 0.0),
        fool=_towards(F.mse_loss, 1.0),
    ),
    # Goodfellow et al. 2014, the non-saturating form
    "vanilla": AdversarialLoss(
        real=_towards(F.binary_cross_entropy_with_logits, 1.0),
        fake=_towards(F.binary_cross_entropy_with_logits, 0.0),
        fool=_towards(F.binary_cross_entropy_with_logits, 1.0),
    ),
    # Arjovsky et al. 2017; to be used with gradient_penalty
    "wgangp": AdversarialLoss(
        real=lambda logits: -logits.mean(),
        fake=lambda logits: logits.mean(),
        fool=lambda logits: -logits.mean(),
    ),
    # Lim and Ye 2017
    "hinge": AdversarialLoss(
        real=lambda logits: F.relu(1 - logits).mean(),
        fake=lambda logits: F.relu(1 + logits).mean(),
        fool=lambda logits: -logits.mean(),
    ),
}


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    rng: torch.Generator | None = None,
) -> Tensor:
    """How far the discriminator's slope is from 1 between real and fake (Gulrajani et al. 2017, 4).

    ``real`` and ``fake`` are (N, C, H, W); ``rng`` takes one point between each two of them.
    """
    weight = torch.rand(len(real), 1, 1, 1, generator=rng, device=real.device, dtype=real.dtype)
    between = torch.lerp(fake, real, weight).detach().requires_grad_()
    logits = discriminator(between)
    (slope,) = torch.autograd.grad(logits.sum(), between, create_graph=True)
    excess: Tensor = slope.flatten(1).norm(2, dim=1) - 1
    return excess.square().mean()


CYCLE: dict[CycleLoss, Callable[[Tensor, Tensor], Tensor]] = {"l1": F.l1_loss, "l2": F.mse_loss}
"""Mean difference, absolute or squared, between a picture and what comes back of it (paper,
equation 2, which takes the absolute one)."""


def identity(unchanged: Tensor, real: Tensor) -> Tensor:
    """Mean absolute difference that a generator makes to pictures of its own target domain
    (paper, section 5.2)."""
    return F.l1_loss(unchanged, real)
