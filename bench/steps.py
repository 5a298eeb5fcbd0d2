"""Whole training steps, for ``bench/gpu.py``: four networks, all losses, both optimizers.

N batch, C channels, H height, W width. Pictures are float32 (N, C, H, W) in [-1, 1].
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cyclegan.config import CycleGANConfig, Precision
from cyclegan.model import CycleGAN, _frozen

Step = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How a step is computed. In bfloat16 the networks run channels-last, else N, C, H, W."""

    precision: Precision
    ours: bool
    """Whether the kernels are on."""
    compiled: bool = False


VARIANTS = {
    "float32 eager, no TF32": Variant(precision="float32", ours=False),
    "bfloat16 eager, ours": Variant(precision="bfloat16", ours=True),
    "bfloat16 compiled halves, ours": Variant(precision="bfloat16", ours=True, compiled=True),
}


@contextmanager
def without_tf32() -> Iterator[None]:
    """float32 convolutions and products in full precision; what was set comes back."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    convolutions.allow_tf32 = products.allow_tf32 = False
    try:
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before


def step_call(model: CycleGAN, real_a: Tensor, real_b: Tensor, compiled: bool) -> Step:
    """A step of ``model`` on two batches, eager or in two compiled halves."""
    if compiled:
        return compiled_step(model, real_a, real_b)
    return lambda: model.step(real_a, real_b)


def new_model(variant: Variant, device: str, config: dict[str, Any] | None = None) -> CycleGAN:
    """The paper's networks and losses, unless ``config`` has others."""
    return CycleGAN(CycleGANConfig(precision=variant.precision, **(config or {})), device)


def compiled_step(
    model: CycleGAN, real_a: Tensor, real_b: Tensor, **options: Any
) -> Callable[[], tuple[Tensor, Tensor]]:
    """``CycleGAN.step`` with each half's losses in one graph; the losses of both halves.

    Image pools choose on the host, and stay between the graphs, as do the optimizers.
    """

    def generators(real_a: Tensor, real_b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        images = model.cycle(real_a, real_b)
        losses = model._generator_losses(images, real_a, real_b)
        return torch.stack(list(losses.values())).sum(), images.fake_a, images.fake_b

    def discriminators(real_a: Tensor, real_b: Tensor, a: Tensor, b: Tensor) -> Tensor:
        loss = model._discriminator_loss(model.discriminator_b, real_b, b)
        return loss + model._discriminator_loss(model.discriminator_a, real_a, a)

    first, second = (
        torch.compile(half, fullgraph=True, dynamic=False, **options)
        for half in (generators, discriminators)
    )
    real_a, real_b = model._on_device(real_a), model._on_device(real_b)

    def step() -> tuple[Tensor, Tensor]:
        with _frozen(model.discriminator_a, model.discriminator_b):
            loss, fake_a, fake_b = first(real_a, real_b)
            model.optimizer_generators.zero_grad()
            loss.backward()
            model.optimizer_generators.step()
        model.optimizer_discriminators.zero_grad()
        fake_b, fake_a = model.pool_b.query(fake_b.detach()), model.pool_a.query(fake_a.detach())
        judged = second(real_a, real_b, fake_a, fake_b)
        judged.backward()
        model.optimizer_discriminators.step()
        return loss.detach(), judged.detach()

    return step
