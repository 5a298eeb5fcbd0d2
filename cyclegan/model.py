"""The four networks of a CycleGAN, and one training step (Zhu et al. 2017, sections 3 and 5.2).

N batch, C channels, H height, W width. Pictures are float32 (N, C, H, W) in [-1, 1].

``generator_ab`` paints a picture of domain A as one of domain B, ``generator_ba`` the other way;
``discriminator_a`` judges pictures of domain A, ``discriminator_b`` of B. The public PyTorch
implementation calls generator_ab ``G_A``, and the discriminator that judges **B** ``D_A``.
"""

import dataclasses
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cyclegan.compiling import CompiledPhase
from cyclegan.config import CycleGANConfig, GeneratorConfig, Precision
from cyclegan.cpu import has_fast_bfloat16
from cyclegan.distributed import ALONE, World
from cyclegan.errors import DataError
from cyclegan.image_pool import ImagePool
from cyclegan.kernels import native
from cyclegan.network_config import at_least
from cyclegan.networks import Network, initialise, network_from_config
from cyclegan.optimizer import Adam
from cyclegan.phases import LOSSES, Images, Losses, Made, Phases

Part = tuple[float, Tensor, Tensor]
"""Pictures of A and of B that go through the networks at once, and their share of the batch."""
log = logging.getLogger(__name__)
NETWORKS = ("generator_ab", "generator_ba", "discriminator_a", "discriminator_b")


class CycleGAN:
    """Two generators, two discriminators, their optimizers and image pools.

    ``config`` says how they are made and trained; ``config.seed`` decides the initial weights,
    which images the pools return, and where the gradient penalty looks; dropout follows PyTorch's
    global generator, which ``train`` seeds. The networks live on ``device``. In a ``world`` of
    several processes gradients are averaged over all, and each has pools of its own.
    """

    def __init__(
        self, config: CycleGANConfig, device: torch.device | str = "cpu", world: World = ALONE
    ) -> None:
        self.config, self.world = config, world
        self.device = torch.device(device)
        self.dtype = _dtype(config.precision, self.device)
        ba = _reversed(config.generator)
        judge = config.discriminator
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.generator_ab = self._placed(network_from_config(config.generator))
            self.generator_ba = self._placed(network_from_config(ba))
            self.discriminator_a = self._placed(
                network_from_config(dataclasses.replace(judge, in_channels=ba.out_channels))
            )
            self.discriminator_b = self._placed(
                network_from_config(
                    dataclasses.replace(judge, in_channels=config.generator.out_channels)
                )
            )
        self.optimizer_generators = self._adam(self.generator_ab, self.generator_ba)
        self.optimizer_discriminators = self._adam(self.discriminator_a, self.discriminator_b)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.pool_rng = random.Random(config.seed + world.rank)
        mixes = config.adversarial == "wgangp"  # real pictures with what a pool returns
        self.pool_a = ImagePool(config.pool_size, self.pool_rng, one_size=mixes)
        self.pool_b = ImagePool(config.pool_size, self.pool_rng, one_size=mixes)
        self.rng = torch.Generator(self.device).manual_seed(config.seed + world.rank)
        self.phases = Phases(
            config=config,
            device=self.device,
            dtype=self.dtype,
            **{name: getattr(self, name) for name in NETWORKS},
            rng=self.rng,
        )
        self._cuda_graphs = False
        self._generator_phase: Callable[..., Made] = self.phases.generators
        self._discriminator_phase: Callable[..., Tensor] = self.phases.discriminators

    def compile(self, *, cuda_graphs: bool = False, **options: Any) -> None:
        """Run both phases through ``torch.compile``, each one graph, from the next step on.

        ``cuda_graphs`` has a GPU replay them without the host's launches. ``options`` are
        torch.compile's own. The gradient penalty of ``wgangp``, a derivative of a
        derivative, stays eager. Where compilation fails, steps go on eager, with a warning.
        """
        self._cuda_graphs = cuda_graphs
        if cuda_graphs:
            options["mode"] = "reduce-overhead"
        self._generator_phase = CompiledPhase(self.phases.generators, **options)
        if self.config.adversarial != "wgangp":
            self._discriminator_phase = CompiledPhase(self.phases.discriminators, **options)

    def step(self, real_a: Tensor, real_b: Tensor, passes: int = 1) -> Losses:
        """One update of the generators, then one of the discriminators.

        ``real_a`` and ``real_b`` are float32 (N, C, H, W) in [-1, 1], on any device. They go
        through the networks in ``passes`` parts, whose gradients add up to those of the whole: for
        batches that do not fit the memory. Networks that were converted to another dtype take that.
        Raises DataError for other shapes and dtypes, for pictures smaller than what is trained
        takes, and for batches of two lengths in several passes, or of two lengths or sizes with
        ``wgangp``; ConfigError for ``passes`` below 1.
        """
        at_least(1, passes=passes)
        if passes > 1 and len(real_a) != len(real_b):
            raise DataError(
                f"batches of {len(real_a)} and {len(real_b)} in {passes} passes; expected as many "
                "pictures of A as of B, or one pass"
            )
        channels = self.config.generator
        real_a = self._on_device(real_a, channels.in_channels)
        real_b = self._on_device(real_b, channels.out_channels)
        if self.config.adversarial == "wgangp" and real_a[:, 0].shape != real_b[:, 0].shape:
            raise DataError(
                f"batches have shapes {tuple(real_a.shape)} and {tuple(real_b.shape)}; wgangp "
                "mixes pictures with generated ones: expected as many of A as of B, of one size"
            )
        parts = _parts(real_a, real_b, passes)
        if self._cuda_graphs:
            # What they gave last time is used up.
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]

        self.optimizer_generators.zero_grad()
        generator_losses, fakes = self._generator_gradients(parts)
        end_generators = self.world.averaging(self.optimizer_generators)

        # Both judge what the generators made before this step's update, which can therefore wait
        # for other processes in the meantime.
        self.optimizer_discriminators.zero_grad()
        discriminator_losses = self._discriminator_gradients(parts, fakes)
        end_discriminators = self.world.averaging(self.optimizer_discriminators)

        end_generators()
        self.scaler.step(self.optimizer_generators)
        end_discriminators()
        self.scaler.step(self.optimizer_discriminators)
        self.scaler.update()

        return Losses(**dict(zip(LOSSES, (*generator_losses, *discriminator_losses), strict=True)))

    def _generator_gradients(
        self, parts: Sequence[Part]
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """The generators' losses (6,), and what they painted: (fake_a, fake_b) of each part."""
        losses, fakes = [], []
        with _frozen(self.discriminator_a, self.discriminator_b):
            for share, real_a, real_b in parts:
                made = self._generator_phase(real_a, real_b)
                self.scaler.scale(share * made.losses.sum()).backward()  # type: ignore[no-untyped-call]
                losses.append(share * made.losses.detach())
                fakes.append((made.fake_a.detach(), made.fake_b.detach()))
        return torch.stack(losses).sum(0), fakes

    def _discriminator_gradients(
        self, parts: Sequence[Part], fakes: Sequence[tuple[Tensor, Tensor]]
    ) -> Tensor:
        """The losses (2,) of discriminator_a and discriminator_b."""
        losses = []
        for (share, real_a, real_b), (fake_a, fake_b) in zip(parts, fakes, strict=True):
            fake_b = self.pool_b.query(fake_b)
            fake_a = self.pool_a.query(fake_a)
            wrong = self._discriminator_phase(real_a, real_b, fake_a, fake_b)
            self.scaler.scale(share * wrong.sum()).backward()  # type: ignore[no-untyped-call]
            losses.append(share * wrong.detach())
        return torch.stack(losses).sum(0)

    def cycle(
        self, real_a: Tensor, real_b: Tensor, generators: tuple[nn.Module, nn.Module] | None = None
    ) -> Images:
        """Both pictures there and back again: float32 (N, C, H, W) in [-1, 1] on this device.

        ``generators``, A to B and B to A, are those that are being trained unless others are given.
        """
        ab, ba = generators or (self.generator_ab, self.generator_ba)
        fake_b = self.phases.run(ab, real_a)
        rec_a = self.phases.run(ba, fake_b)
        fake_a = self.phases.run(ba, real_b)
        rec_b = self.phases.run(ab, fake_a)
        return Images(fake_b=fake_b, rec_a=rec_a, fake_a=fake_a, rec_b=rec_b)

    @property
    def has_native_kernels(self) -> bool:
        """Whether a step runs kernels compiled for this CPU: in bfloat16, or float32 and merged."""
        on_cpu = self.device.type == "cpu" and self.dtype != torch.float16
        ours = on_cpu and self.config.generator.norm == "instance"
        wanted = self._is_half or self.config.merged  # in the public order PyTorch computes it all
        return ours and wanted and native.available("instance_norm_cpu")

    @property
    def learning_rate(self) -> float:
        """In use now."""
        return float(self.optimizer_generators.param_groups[0]["lr"])

    def set_learning_rate(self, learning_rate: float) -> None:
        """Use ``learning_rate`` for all networks from the next step on."""
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate

    def state(self) -> dict[str, Any]:
        """Networks, optimizers and scaler, as tensors and plain values; not copies."""
        return {
            "networks": {name: getattr(self, name).state_dict() for name in NETWORKS},
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "scaler": self.scaler.state_dict(),
        }

    def rank_state(self) -> dict[str, Any]:
        """What each process of a run has of its own: pools and generators of random numbers."""
        return {
            "pools": [
                [image.cpu() for image in pool.images] for pool in (self.pool_a, self.pool_b)
            ],
            "pool_rng": self.pool_rng.getstate(),
            "rng": self.rng.get_state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from ``state``, which a model of the same configuration gave."""
        for name in NETWORKS:
            getattr(self, name).load_state_dict(state["networks"][name])
        for optimizer, kept in zip(self._optimizers, state["optimizers"], strict=True):
            # Averages as they were; settings as they are now.
            own = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": kept["state"], "param_groups": own})
        if state["scaler"]:  # empty where the steps before were not in float16
            self.scaler.load_state_dict(state["scaler"])

    def load_rank_state(self, state: dict[str, Any]) -> None:
        """Go on with the pools and random numbers that ``rank_state`` gave."""
        for pool, images in zip((self.pool_a, self.pool_b), state["pools"], strict=True):
            pool.images = [image.to(self.device) for image in images]
        version, internal, following = state["pool_rng"]
        self.pool_rng.setstate((version, tuple(internal), following))
        if len(state["rng"]) == len(self.rng.get_state()):
            self.rng.set_state(state["rng"])
        else:
            log.warning(
                "the run was on another kind of device, with other random numbers: it goes on, but "
                "not as it would have"
            )

    @property
    def _optimizers(self) -> tuple[torch.optim.Adam, torch.optim.Adam]:
        return self.optimizer_generators, self.optimizer_discriminators

    def _placed(self, network: Network) -> Network:
        network.float()  # what type is the default is the user's to set
        initialise(network, self.config.init_gain, self.config.init)
        network.to(device=self.device)
        network.to(memory_format=self._memory_format)  # type: ignore[call-overload]
        return network.train()

    @property
    def _is_half(self) -> bool:
        return self.dtype != torch.float32

    @property
    def _memory_format(self) -> torch.memory_format:
        # Half-precision convolutions want channels last, and so do our kernels for CPUs; PyTorch's
        # in float32 do not gain from it.
        last = self._is_half or self.has_native_kernels
        return torch.channels_last if last else torch.contiguous_format

    def _on_device(self, real: Tensor, channels: int) -> Tensor:
        multiple, shape = self.config.generator.size_multiple, tuple(real.shape)
        fits = len(shape) == 4 and shape[1] == channels and 0 not in shape
        if not fits or shape[2] % multiple or shape[3] % multiple:
            raise DataError(
                f"a batch has shape {shape}; expected (N, {channels}, H, W), none empty, with H "
                f"and W multiples of {multiple}"
            )
        smallest = self.config.smallest_side
        if min(shape[2:]) < smallest:
            raise DataError(
                f"a batch has shape {shape}; training takes sides of at least {smallest} pixels"
            )
        dtype = next(self.generator_ab.parameters()).dtype
        if real.dtype != dtype:
            raise DataError(f"a batch is {real.dtype}; expected {dtype} in [-1, 1]")
        return real.to(self.device, memory_format=self._memory_format, non_blocking=True)

    def _adam(self, *networks: nn.Module) -> torch.optim.Adam:
        parameters = [weight for network in networks for weight in network.parameters()]
        config = self.config
        return Adam(parameters, config.learning_rate, (config.beta1, config.beta2), fused=True)


def _reversed(config: GeneratorConfig) -> GeneratorConfig:
    """The configuration of the generator that comes back from where ``config``'s leads."""
    return dataclasses.replace(
        config, in_channels=config.out_channels, out_channels=config.in_channels
    )


def _dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """What convolutions are computed in; ``auto`` takes a half where it is the faster one."""
    if precision != "auto":
        named: torch.dtype = getattr(torch, precision)
        return named
    if device.type == "cuda":
        whole = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if whole else torch.float16
    return torch.bfloat16 if has_fast_bfloat16() else torch.float32


def _parts(real_a: Tensor, real_b: Tensor, passes: int) -> list[Part]:
    """A batch in at most ``passes`` parts of about equal size."""
    pairs = zip(real_a.chunk(passes), real_b.chunk(passes), strict=True)
    return [(len(a) / len(real_a), a, b) for a, b in pairs]


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
