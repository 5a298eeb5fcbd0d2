"""Generators and discriminators.

N batch, C channels, H height, W width. Pictures are float (N, C, H, W) in [-1, 1].

Norms do what follows them too (:mod:`cyclegan.layers`): convolutions run unpadded where the norm
before them has padded already.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeVar, cast, get_args, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan.config import (
    DiscriminatorConfig,
    GeneratorConfig,
    Init,
    PatchConfig,
    PixelConfig,
    ResnetConfig,
    UnetConfig,
)
from cyclegan.errors import ModelError
from cyclegan.few_channels import Block, block_for, conv_in_blocks, for_blocks, with_zero_channels
from cyclegan.kernels import launch, native, reflection_pad2d
from cyclegan.layers import NORMS, UPSAMPLES, Conv, Conv3x3, TransposedConv, has_bias


class Stem(Conv):
    """From a picture: reflection padding, and the first convolution."""

    def forward(self, x: Tensor) -> Tensor:
        pad = self.kernel_size[0] // 2
        if not launch.has_kernels(x):
            return super().forward(reflection_pad2d(x, pad))
        x = reflection_pad2d(with_zero_channels(x), pad)
        y: Tensor = self._conv_forward(x, with_zero_channels(self.weight), self.bias_for(x))
        return y

    def prepare(self) -> None:
        if launch.has_kernels(self.weight):
            self.weight = nn.Parameter(with_zero_channels(self.weight))


class Head(nn.Conv2d):
    """The last convolution, to a picture."""

    prepared: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.prepared is None and not self._goes_in_blocks(x):
            return super().forward(x)
        block = block_for(x)
        return conv_in_blocks(x, *(self.prepared or self._for_blocks(block)), block)

    def prepare(self) -> None:
        if self._goes_in_blocks(self.weight) or native.computed_in(self.weight) == torch.float32:
            self.prepared = self._for_blocks(block_for(self.weight))

    def _goes_in_blocks(self, x: Tensor) -> bool:
        return launch.has_kernels(x) or native.computed_in(x) == torch.bfloat16

    def _for_blocks(self, block: Block) -> tuple[Tensor, Tensor]:
        assert self.bias is not None
        return for_blocks(self.weight, self.bias, block)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around an identity, no activation after the sum."""

    def __init__(self, config: ResnetConfig, channels: int) -> None:
        super().__init__()
        self.conv1 = Conv3x3(channels, channels, norm=config.norm)
        self.norm1 = NORMS[config.norm](channels)
        self.dropout = config.dropout
        self.conv2 = Conv3x3(channels, channels, norm=config.norm)
        self.norm2 = NORMS[config.norm](channels)

    def forward(self, x: Tensor, padded: Tensor, pad: int) -> tuple[Tensor, Tensor]:
        """From x and pad(x, 1), the block's result and its padding by ``pad``."""
        if self.dropout:
            y = F.dropout(self.norm1(self.conv1(padded), activation="relu"), 0.5, self.training)
            y = reflection_pad2d(y, 1)
        else:
            y = self.norm1(self.conv1(padded), activation="relu", pad=1)
        pair: tuple[Tensor, Tensor] = self.norm2(self.conv2(y), residual=x, pad=pad, unpadded=True)
        return pair


class ResnetGenerator(nn.Module):
    """The residual generator of the CycleGAN paper (Zhu et al. 2017, appendix 7.2).

    (N, in_channels, H, W) in [-1, 1] -> (N, out_channels, H, W) in [-1, 1]; H and W multiples of 4.
    """

    def __init__(self, config: ResnetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ResnetConfig()
        width, norm = config.width, NORMS[config.norm]
        self.stem = Stem(config.in_channels, width, 7, norm=config.norm)
        self.stem_norm = norm(width)
        self.down1 = Conv(width, 2 * width, 3, norm=config.norm, stride=2, padding=1)
        self.down1_norm = norm(2 * width)
        self.down2 = Conv(2 * width, 4 * width, 3, norm=config.norm, stride=2, padding=1)
        self.down2_norm = norm(4 * width)
        self.blocks = nn.ModuleList(ResidualBlock(config, 4 * width) for _ in range(config.blocks))
        upsample = UPSAMPLES[config.upsample]
        self.up1 = upsample(4 * width, 2 * width, norm=config.norm)
        self.up1_norm = norm(2 * width)
        self.up2 = upsample(2 * width, width, norm=config.norm)
        self.up2_norm = norm(width)
        self.head = Head(width, config.out_channels, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_norm(self.stem(x), activation="relu")
        x = self.down1_norm(self.down1(x), activation="relu")
        x, padded = self.down2_norm(self.down2(x), activation="relu", pad=1, unpadded=True)
        for left, block in enumerate(self.blocks, 1 - len(self.blocks)):
            x, padded = block(x, padded, pad=1 if left else 0)
        x = self.up1_norm(self.up1(x), activation="relu")
        x = self.up2_norm(self.up2(x), activation="relu", pad=3)
        return torch.tanh(self.head(x))


class UnetLevel(nn.Module):
    """One down-sampling and its up-sampling; what lies below comes in between."""

    def __init__(self, config: UnetConfig, level: int) -> None:
        super().__init__()
        outer, inner = _unet_channels(config, level - 1), _unet_channels(config, level)
        bottom, norm = level == config.depth - 1, config.norm
        self.down = (
            nn.Conv2d(outer, inner, 4, stride=2, padding=1, bias=has_bias(norm))
            if bottom
            else Conv(outer, inner, 4, norm=norm, stride=2, padding=1)
        )
        self.down_norm = nn.Identity() if bottom else NORMS[norm](inner)
        self.up = TransposedConv(inner if bottom else 2 * inner, outer, 4, norm=norm)
        self.up_norm = NORMS[config.norm](outer)
        # The public implementation drops out in the levels of 8 * width channels but the lowest.
        self.dropout = config.dropout and not bottom and level >= 4

    def encode(self, x: Tensor) -> Tensor:
        """(N, outer, H, W) -> (N, inner, H/2, W/2)."""
        encoded: Tensor = self.down_norm(self.down(F.leaky_relu(x, 0.2)))
        return encoded

    def decode(self, y: Tensor) -> Tensor:
        """(N, inner or twice that, H/2, W/2) -> (N, outer, H, W)."""
        decoded: Tensor = self.up_norm(self.up(F.relu(y)))
        return F.dropout(decoded, 0.5, self.training) if self.dropout else decoded


class UnetGenerator(nn.Module):
    """The U-Net generator of pix2pix (Isola et al. 2017, appendix 6.1.1).

    (N, in_channels, H, W) in [-1, 1] -> (N, out_channels, H, W) in [-1, 1]; H and W multiples of
    2**depth.
    """

    def __init__(self, config: UnetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or UnetConfig()
        bias = has_bias(config.norm)
        self.stem = nn.Conv2d(config.in_channels, config.width, 4, stride=2, padding=1, bias=bias)
        self.levels = nn.ModuleList(UnetLevel(config, level) for level in range(1, config.depth))
        self.head = nn.ConvTranspose2d(2 * config.width, config.out_channels, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        levels = [cast(UnetLevel, level) for level in self.levels]
        skips: list[Tensor] = [self.stem(x)]
        for level in levels:
            skips.append(level.encode(skips[-1]))
        y = skips.pop()
        for level in reversed(levels):
            y = torch.cat([skips.pop(), level.decode(y)], dim=1)
        return torch.tanh(self.head(F.relu(y)))


def _unet_channels(config: UnetConfig, level: int) -> int:
    return config.width * min(1 << level, 8)


class PatchDiscriminator(nn.Module):
    """PatchGAN (Isola et al. 2017, appendix 6.1.2).

    (N, C, H, W) in [-1, 1] -> one logit a patch, (N, 1, H', W').
    """

    def __init__(self, config: PatchConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PatchConfig()
        widths = [config.width * min(1 << i, 8) for i in range(config.layers + 1)]
        self.stem = nn.Conv2d(config.in_channels, widths[0], 4, stride=2, padding=1)
        self.convs = nn.ModuleList(
            Conv(
                before,
                after,
                4,
                norm=config.norm,
                stride=1 if i == config.layers else 2,
                padding=1,
            )
            for i, (before, after) in enumerate(pairwise(widths), 1)
        )
        self.norms = nn.ModuleList(NORMS[config.norm](after) for after in widths[1:])
        self.head = nn.Conv2d(widths[-1], 1, 4, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.stem(x), 0.2)
        for conv, norm in zip(self.convs, self.norms):
            x = norm(conv(x), activation="leaky_relu")
        logits: Tensor = self.head(x)
        return logits


class PixelDiscriminator(nn.Module):
    """PatchGAN with patches of one pixel.

    (N, C, H, W) in [-1, 1] -> one logit a pixel, (N, 1, H, W).
    """

    def __init__(self, config: PixelConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PixelConfig()
        bias = has_bias(config.norm)
        self.stem = nn.Conv2d(config.in_channels, config.width, 1)
        self.conv = Conv(config.width, 2 * config.width, 1, norm=config.norm)
        self.norm = NORMS[config.norm](2 * config.width)
        self.head = nn.Conv2d(2 * config.width, 1, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.stem(x), 0.2)
        logits: Tensor = self.head(self.norm(self.conv(x), activation="leaky_relu"))
        return logits


Generator = ResnetGenerator | UnetGenerator
Discriminator = PatchDiscriminator | PixelDiscriminator
Network = TypeVar("Network", bound=nn.Module)

_CLASSES: dict[type, Any] = {
    ResnetConfig: ResnetGenerator,
    UnetConfig: UnetGenerator,
    PatchConfig: PatchDiscriminator,
    PixelConfig: PixelDiscriminator,
}


def check_kind(network: object, kind: Any) -> None:
    """Raises ModelError unless ``network`` is one of ``kind``, Generator or Discriminator."""
    if not isinstance(network, kind):
        classes = " or a ".join(member.__name__ for member in get_args(kind))
        raise ModelError(f"got a {type(network).__name__} as network; expected a {classes}")


def check_unaltered(generator: Generator) -> None:
    """Raises ModelError unless ``generator`` is made as its configuration says, without hooks.

    By configuration and weights alone, one with another module would be taken for what it was.
    """
    if what := alteration(generator):
        raise ModelError(
            f"this generator is not as its configuration says: {what}; a changed one can be run "
            "with PyTorch itself, or exported with onnx_from_generator"
        )


def alteration(generator: Generator) -> str | None:
    """In what ``generator`` is not as its configuration says, or None."""
    found = _modules(generator)
    own = _modules(empty(generator.config))
    for name in {**own, **found}:
        what, expected = found.get(name, "missing"), own.get(name, "no such module")
        if what != expected:
            return f"{name or 'it'} is {what}, expected {expected}"
    return None


def _modules(network: nn.Module) -> dict[str, str]:
    """What each module of ``network`` is, by its name; one in two places has two."""
    found = {}
    for name, module in network.named_modules(remove_duplicate=False):
        kind = type(module)
        hooks = len(module._forward_hooks) + len(module._forward_pre_hooks)
        altered = f" with {hooks} hooks" if hooks else ""
        if "forward" in vars(module):
            altered += " with a forward of its own"
        found[name] = f"{kind.__module__}.{kind.__qualname__}({module.extra_repr()}){altered}"
    return found


@overload
def network_from_config(config: GeneratorConfig) -> Generator: ...
@overload
def network_from_config(config: DiscriminatorConfig) -> Discriminator: ...
def network_from_config(config: GeneratorConfig | DiscriminatorConfig) -> Any:
    """The network that ``config`` describes, with PyTorch's default initial weights."""
    return _CLASSES[type(config)](config)


def empty(config: GeneratorConfig | DiscriminatorConfig) -> Any:
    """The network that ``config`` describes, without memory for its weights."""
    with torch.device("meta"):
        return network_from_config(config)


def to_be_filled(config: GeneratorConfig | DiscriminatorConfig) -> Any:
    """The network that ``config`` describes in float32 on the CPU, its weights of any value: others
    are to be loaded.

    What PyTorch's default type and device are, the user may have set for something else.
    """
    return network_from_config(config).to_empty(device="cpu").float()


def prepare_for_inference(generator: Generator) -> None:
    """Makes once what forward makes of the weights each time, on the device and in the dtype that
    ``generator`` has now. It keeps both, and its weights must not change any more: what loads
    others raises ModelError.
    """
    generator.register_load_state_dict_pre_hook(_refuse_weights)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for module in generator.modules():
            if isinstance(module, Stem | Head | Conv3x3):
                module.prepare()


def _refuse_weights(*args: Any) -> None:
    raise ModelError(
        "a generator that was prepared for inference keeps the weights that it had then; load "
        "others into a new one, and prepare that"
    )


def _kaiming(weight: Tensor, gain: float) -> Tensor:
    return nn.init.kaiming_normal_(weight, a=0, mode="fan_in")


INITS: dict[Init, Callable[[Tensor, float], Tensor]] = {
    "normal": lambda weight, gain: nn.init.normal_(weight, 0.0, gain),
    "xavier": lambda weight, gain: nn.init.xavier_normal_(weight, gain),
    "kaiming": _kaiming,
    "orthogonal": lambda weight, gain: nn.init.orthogonal_(weight, gain),
}


def initialise(network: nn.Module, gain: float = 0.02, kind: Init = "normal") -> None:
    """Weights as ``kind`` and ``gain`` say, by default from N(0, 0.02) (paper, appendix 7.2).

    Biases are 0, norm scales from N(1, gain). ``kaiming`` has a gain of its own.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            INITS[kind](module.weight, gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, gain)
            nn.init.zeros_(module.bias)
