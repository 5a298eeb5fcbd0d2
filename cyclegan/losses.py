"""The losses of a CycleGAN: pure functions of tensors, each a scalar.

N batch, C channels, H height, W width; H' and W' count a discriminator's patches.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan.config import SSIM_WINDOW, Adversarial, CycleLoss

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


Difference = Callable[[Tensor, Tensor], Tensor]
"""From two batches (N, C, H, W) to a scalar, 0 for equal ones."""
CYCLE: dict[CycleLoss, Difference] = {"l1": F.l1_loss, "l2": F.mse_loss}
"""Mean difference, absolute or squared, between a picture and what comes back of it (paper,
equation 2, which takes the absolute one)."""


def identity(unchanged: Tensor, real: Tensor) -> Tensor:
    """Mean absolute difference that a generator makes to pictures of its own target domain
    (paper, section 5.2)."""
    return F.l1_loss(unchanged, real)


SIGMA = 1.5
"""Standard deviation of SSIM's Gaussian windows, in pixels (Wang et al. 2004)."""


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Mean structural similarity of pictures, (N, C, H, W) in [-1, 1].

    At most 1, for equal pictures. Sides are at least SSIM_WINDOW; only windows that lie within the
    picture count.
    """
    places = torch.arange(SSIM_WINDOW, dtype=x.dtype, device=x.device) - SSIM_WINDOW // 2
    weights = torch.exp(-places.square() / (2 * SIGMA**2))
    weights = weights / weights.sum()
    x, y = (x + 1) / 2, (y + 1) / 2
    moments = torch.cat([x, y, x * x, y * y, x * y])
    rows = weights.expand(x.shape[1], 1, 1, SSIM_WINDOW)
    moments = F.conv2d(moments, rows, groups=x.shape[1])
    moments = F.conv2d(moments, rows.mT, groups=x.shape[1])
    mean_x, mean_y, square_x, square_y, product = moments.chunk(5)
    variances = square_x - mean_x.square() + square_y - mean_y.square()
    covariance = product - mean_x * mean_y
    brightness = (2 * mean_x * mean_y + 1e-4) / (mean_x.square() + mean_y.square() + 1e-4)
    return (brightness * (2 * covariance + 9e-4) / (variances + 9e-4)).mean()


def mixed(difference: Difference, ssim_share: float) -> Difference:
    """``difference``, of which a share is 1 - SSIM instead (Zhao et al. 2017, section III-D)."""
    if ssim_share == 0:
        return difference
    return lambda x, y: (1 - ssim_share) * difference(x, y) + ssim_share * (1 - ssim(x, y))
