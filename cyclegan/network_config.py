"""Settings of the networks, and what settings are checked with."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Literal

from cyclegan.errors import ConfigError
from cyclegan.plain_values import take_types

Norm = Literal["instance", "batch", "none"]
Upsample = Literal["transposed", "resize"]

# Far above what is of use. A model file that says more is damaged, or meant to fill the memory with
# a network that it does not hold.
MOST_CHANNELS = 1 << 14
MOST_LAYERS = 256
MOST_HALVINGS = 16
"""Of a picture, whose sides are multiples of 65536 then."""


def check(holds: bool, message: str) -> None:
    """Raises ConfigError unless ``holds``."""
    if not holds:
        raise ConfigError(message)


def between(smallest: int, largest: int, **settings: int) -> None:
    """Raises ConfigError for a setting outside of ``smallest`` to ``largest``."""
    at_least(smallest, **settings)
    for name, value in settings.items():
        check(value <= largest, f"{name} is {value}; expected at most {largest}")


def at_least(smallest: float, **settings: float) -> None:
    """Raises ConfigError for a setting below ``smallest``, or that is no number or infinite."""
    for name, value in settings.items():
        check(isinstance(value, Real), f"{name} is {value!r}; expected a number")
        check(value >= smallest, f"{name} is {value}; expected at least {smallest}")
        check(value < math.inf, f"{name} is {value}; expected a finite number")


def check_domains(domains: Any, count: int) -> None:
    """Raises ConfigError unless ``domains`` are ``count`` names; one string is no pair of them."""
    named = isinstance(domains, tuple | list) and all(isinstance(name, str) for name in domains)
    check(
        named and len(domains) == count,
        f"domains are {domains!r}; expected {count} of str, such as {('horse', 'zebra')[:count]}",
    )


@dataclass(frozen=True, kw_only=True)
class ResnetConfig:
    """The residual generator of the CycleGAN paper (appendix 7.2)."""

    kind: ClassVar[str] = "resnet"
    smallest_side: ClassVar[int] = 8
    """Pixels that a picture must be high and wide: residual blocks pad a quarter by reflection."""
    in_channels: int = 3
    """Channels of the pictures that it takes."""
    out_channels: int = 3
    """Channels of the pictures that it paints."""
    width: int = 64
    """Channels after the first convolution (``ngf``)."""
    blocks: int = 9
    """Number of residual blocks."""
    norm: Norm = "instance"
    """What follows each convolution but the last."""
    dropout: bool = False
    """Whether each residual block leaves out half of its values, at random, in training."""
    upsample: Upsample = "transposed"
    """``transposed`` convolutions, as in the paper, or ``resize``: nearest neighbour, then a plain
    convolution, which leaves no checkerboard (Odena et al. 2016) and costs more."""

    def __post_init__(self) -> None:
        take_types(self)
        between(
            1,
            MOST_CHANNELS,
            in_channels=self.in_channels,
            out_channels=self.out_channels,
            width=self.width,
        )
        between(1, MOST_LAYERS, blocks=self.blocks)

    @property
    def size_multiple(self) -> int:
        """Heights and widths of input pictures must be multiples of this."""
        return 4


@dataclass(frozen=True, kw_only=True)
class UnetConfig:
    """The U-Net generator of pix2pix: ``depth`` 7 is ``unet_128``, 8 is ``unet_256``."""

    kind: ClassVar[str] = "unet"
    in_channels: int = 3
    """Channels of the pictures that it takes."""
    out_channels: int = 3
    """Channels of the pictures that it paints."""
    width: int = 64
    """Channels after the first convolution (``ngf``)."""
    depth: int = 8
    """Number of down-samplings."""
    norm: Norm = "instance"
    """What follows each convolution but the first, the lowest down-sampling and the last."""
    dropout: bool = False
    """Whether the widest up-samplings but the lowest leave out half of their values in training."""

    def __post_init__(self) -> None:
        take_types(self)
        between(
            1,
            MOST_CHANNELS,
            in_channels=self.in_channels,
            out_channels=self.out_channels,
            width=self.width,
        )
        between(5, MOST_HALVINGS, depth=self.depth)

    @property
    def size_multiple(self) -> int:
        """Heights and widths of input pictures must be multiples of this."""
        return 1 << self.depth

    @property
    def smallest_side(self) -> int:
        """Pixels that a picture must be high and wide."""
        return self.size_multiple


@dataclass(frozen=True, kw_only=True)
class PatchConfig:
    """The PatchGAN discriminator: ``layers`` 3 judges patches of 70x70 pixels."""

    kind: ClassVar[str] = "patch"
    in_channels: int = 3
    """Channels of the pictures that it judges; in training those of its domain, whatever is set."""
    width: int = 64
    """Channels after the first convolution (``ndf``)."""
    layers: int = 3
    """Number of convolutions between the first and the last; more judge larger patches."""
    norm: Norm = "instance"
    """What follows each convolution but the first and the last."""

    def __post_init__(self) -> None:
        take_types(self)
        between(1, MOST_CHANNELS, in_channels=self.in_channels, width=self.width)
        between(1, MOST_LAYERS, layers=self.layers)

    @property
    def smallest_side(self) -> int:
        """Pixels that a picture must be high and wide for one logit."""
        return 3 << self.layers


@dataclass(frozen=True, kw_only=True)
class PixelConfig:
    """The discriminator that judges each pixel by itself."""

    kind: ClassVar[str] = "pixel"
    smallest_side: ClassVar[int] = 1
    """Pixels that a picture must be high and wide for one logit."""
    in_channels: int = 3
    """Channels of the pictures that it judges; in training those of its domain, whatever is set."""
    width: int = 64
    """Channels after the first convolution (``ndf``)."""
    norm: Norm = "instance"
    """What follows the second convolution."""

    def __post_init__(self) -> None:
        take_types(self)
        between(1, MOST_CHANNELS, in_channels=self.in_channels, width=self.width)


GeneratorConfig = ResnetConfig | UnetConfig
DiscriminatorConfig = PatchConfig | PixelConfig
