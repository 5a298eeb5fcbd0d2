"""The four networks of a CycleGAN, and one training step (Zhu et al. 2017, sections 3 and 5.2).

N batch, C channels, H height, W width. Pictures are float32 (N, C, H, W) in [-1, 1].

``generator_ab`` paints a picture of domain A as one of domain B, ``generator_ba`` the other way;
``discriminator_a`` judges pictures of domain A, ``discriminator_b`` of B. The public PyTorch
implementation calls generator_ab ``G_A``, and the discriminator that judges **B** ``D_A``.
"""

import dataclasses
import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from cyclegan import losses
from cyclegan.config import CycleGANConfig, GeneratorConfig, Precision
from cyclegan.cpu import has_fast_bfloat16
from cyclegan.errors import DataError
from cyclegan.image_pool import ImagePool
from cyclegan.networks import discriminator_from_config, generator_from_config, initialise

Network = TypeVar("Network", bound=nn.Module)


@dataclasses.dataclass(frozen=True, kw_only=True)
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Losses:
    """The losses of one step, weighted as they were trained on: detached scalars."""

    generator_ab: Tensor
    """How far fake_b is from passing for real (``G_A`` of the public implementation)."""
    generator_ba: Tensor
    """How far fake_a is from passing for real (``G_B``)."""
    cycle_a: Tensor
    """lambda_a x L1(rec_a, real_a)."""
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

    def as_floats(self) -> dict[str, float]:
        """The losses by name; waits for the device."""
        names = [item.name for item in dataclasses.fields(self)]
        values = torch.stack([getattr(self, name) for name in names])
        return dict(zip(names, values.tolist()))  # the one wait of a step


class CycleGAN:
    """Two generators, two discriminators, their optimizers and image pools.

    ``config`` says how they are made and trained; ``config.seed`` decides the initial weights,
    which images the pools return, and where the gradient penalty looks; dropout follows PyTorch's
    global generator. The networks live on ``device``.
    """

    def __init__(self, config: CycleGANConfig, device: torch.device | str = "cpu") -> None:
        self.config = config
        self.device = torch.device(device)
        self.bfloat16 = _is_bfloat16(config.precision, self.device)
        ba = _reversed(config.generator)
        judge = config.discriminator
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.generator_ab = self._placed(generator_from_config(config.generator))
            self.generator_ba = self._placed(generator_from_config(ba))
            self.discriminator_a = self._placed(
                discriminator_from_config(dataclasses.replace(judge, in_channels=ba.out_channels))
            )
            self.discriminator_b = self._placed(
                discriminator_from_config(
                    dataclasses.replace(judge, in_channels=config.generator.out_channels)
                )
            )
        self.optimizer_generators = self._adam(self.generator_ab, self.generator_ba)
        self.optimizer_discriminators = self._adam(self.discriminator_a, self.discriminator_b)
        pool_rng = random.Random(config.seed)
        self.pool_a = ImagePool(config.pool_size, pool_rng)
        self.pool_b = ImagePool(config.pool_size, pool_rng)
        self.rng = torch.Generator(self.device).manual_seed(config.seed)
        self.adversarial = losses.ADVERSARIAL[config.adversarial]

    def step(self, real_a: Tensor, real_b: Tensor) -> Losses:
        """One update of the generators, then one of the discriminators.

        ``real_a`` and ``real_b`` are float32 (N, C, H, W) in [-1, 1], on any device. Raises
        DataError when their shapes do not fit the networks.
        """
        real_a, real_b = self._on_device(real_a), self._on_device(real_b)

        images = self.cycle(real_a, real_b)
        with _frozen(self.discriminator_a, self.discriminator_b):
            generator_losses = self._generator_losses(images, real_a, real_b)
            self.optimizer_generators.zero_grad()
            torch.stack(list(generator_losses.values())).sum().backward()  # type: ignore[no-untyped-call]
            self.optimizer_generators.step()

        # Both judge what the generators made before this step's update.
        self.optimizer_discriminators.zero_grad()
        discriminator_b = self._discriminator_loss(
            self.discriminator_b, real_b, self.pool_b.query(images.fake_b.detach())
        )
        discriminator_b.backward()  # type: ignore[no-untyped-call]
        discriminator_a = self._discriminator_loss(
            self.discriminator_a, real_a, self.pool_a.query(images.fake_a.detach())
        )
        discriminator_a.backward()  # type: ignore[no-untyped-call]
        self.optimizer_discriminators.step()

        return Losses(
            **{name: loss.detach() for name, loss in generator_losses.items()},
            discriminator_a=discriminator_a.detach(),
            discriminator_b=discriminator_b.detach(),
        )

    def cycle(
        self, real_a: Tensor, real_b: Tensor, generators: tuple[nn.Module, nn.Module] | None = None
    ) -> Images:
        """Both pictures there and back again: float32 (N, C, H, W) in [-1, 1] on this device.

        ``generators``, A to B and B to A, are those that are being trained unless others are given.
        """
        ab, ba = generators or (self.generator_ab, self.generator_ba)
        fake_b = self._run(ab, real_a)
        rec_a = self._run(ba, fake_b)
        fake_a = self._run(ba, real_b)
        rec_b = self._run(ab, fake_a)
        return Images(fake_b=fake_b, rec_a=rec_a, fake_a=fake_a, rec_b=rec_b)

    def set_learning_rate(self, learning_rate: float) -> None:
        """Use ``learning_rate`` for all networks from the next step on."""
        for optimizer in (self.optimizer_generators, self.optimizer_discriminators):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate

    def _generator_losses(
        self, images: Images, real_a: Tensor, real_b: Tensor
    ) -> dict[str, Tensor]:
        config = self.config
        judged_b = self._run(self.discriminator_b, images.fake_b)
        judged_a = self._run(self.discriminator_a, images.fake_a)
        identity_a = identity_b = torch.zeros((), device=self.device)
        if config.lambda_identity > 0:
            idt_a = self._run(self.generator_ba, real_a)
            idt_b = self._run(self.generator_ab, real_b)
            weight_a = config.lambda_a * config.lambda_identity
            weight_b = config.lambda_b * config.lambda_identity
            identity_a = weight_a * losses.identity(idt_a, real_a)
            identity_b = weight_b * losses.identity(idt_b, real_b)
        return {
            "generator_ab": self.adversarial.generator(judged_b),
            "generator_ba": self.adversarial.generator(judged_a),
            "cycle_a": config.lambda_a * losses.cycle(images.rec_a, real_a),
            "cycle_b": config.lambda_b * losses.cycle(images.rec_b, real_b),
            "identity_a": identity_a,
            "identity_b": identity_b,
        }

    def _discriminator_loss(self, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        loss = self.adversarial.discriminator(
            self._run(discriminator, real), self._run(discriminator, fake)
        )
        if self.config.adversarial == "wgangp":
            penalty = losses.gradient_penalty(discriminator, real, fake, self.rng)
            loss = loss + self.config.lambda_gradient_penalty * penalty
        return loss

    def _run(self, network: nn.Module, x: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            y: Tensor = network(x)
        return y.float() if self.bfloat16 else y

    def _placed(self, network: Network) -> Network:
        initialise(network)
        network.to(device=self.device)
        network.to(memory_format=self._memory_format)  # type: ignore[call-overload]
        return network.train()

    @property
    def _memory_format(self) -> torch.memory_format:
        # Half-precision convolutions want channels last; float32 ones on a CPU do not gain from it.
        return torch.channels_last if self.bfloat16 else torch.contiguous_format

    def _on_device(self, real: Tensor) -> Tensor:
        multiple = self.config.generator.size_multiple
        if real.dim() != 4 or real.shape[2] % multiple or real.shape[3] % multiple:
            raise DataError(
                f"a batch has shape {tuple(real.shape)}; expected (N, C, H, W) with H and W "
                f"multiples of {multiple}"
            )
        return real.to(self.device, memory_format=self._memory_format)

    def _adam(self, *networks: nn.Module) -> torch.optim.Adam:
        parameters = itertools.chain.from_iterable(network.parameters() for network in networks)
        config = self.config
        return torch.optim.Adam(
            parameters, config.learning_rate, (config.beta1, config.beta2), fused=True
        )


def _reversed(config: GeneratorConfig) -> GeneratorConfig:
    """The configuration of the generator that comes back from where ``config``'s leads."""
    return dataclasses.replace(
        config, in_channels=config.out_channels, out_channels=config.in_channels
    )


def _is_bfloat16(precision: Precision, device: torch.device) -> bool:
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return has_fast_bfloat16()


@contextmanager
def _frozen(*networks: nn.Module) -> Iterator[None]:
    """No gradients for the parameters of ``networks``; they still flow through to the input."""
    for network in networks:
        network.requires_grad_(False)
    try:
        yield
    finally:
        for network in networks:
            network.requires_grad_(True)
