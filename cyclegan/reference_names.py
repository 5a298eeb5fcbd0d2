"""What the public PyTorch CycleGAN calls the parts of its networks, beside our names for them.

One function for each architecture: pairs of module names, ours and theirs, in the order of layers.
"""

from collections.abc import Callable, Iterator
from typing import Any

from cyclegan.config import (
    DiscriminatorConfig,
    GeneratorConfig,
    PatchConfig,
    PixelConfig,
    ResnetConfig,
    UnetConfig,
)
from cyclegan.networks import empty

NetworkConfig = GeneratorConfig | DiscriminatorConfig
Names = Iterator[tuple[str, str]]
"""Pairs of names: ours, theirs."""


def _resnet_names(config: ResnetConfig) -> Names:
    yield from (("stem", "model.1"), ("stem_norm", "model.2"))
    yield from (("down1", "model.4"), ("down1_norm", "model.5"))
    yield from (("down2", "model.7"), ("down2_norm", "model.8"))
    second = 6 if config.dropout else 5
    for i in range(config.blocks):
        block = f"model.{10 + i}.conv_block"
        yield from ((f"blocks.{i}.conv1", f"{block}.1"), (f"blocks.{i}.norm1", f"{block}.2"))
        yield f"blocks.{i}.conv2", f"{block}.{second}"
        yield f"blocks.{i}.norm2", f"{block}.{second + 1}"
    up = 10 + config.blocks
    yield from (("up1", f"model.{up}"), ("up1_norm", f"model.{up + 1}"))
    yield from (("up2", f"model.{up + 3}"), ("up2_norm", f"model.{up + 4}"))
    yield "head", f"model.{up + 7}"


def _unet_names(config: UnetConfig) -> Names:
    yield from (("stem", "model.model.0"), ("head", "model.model.3"))
    prefix = "model.model.1"
    for i in range(config.depth - 1):
        bottom = i == config.depth - 2
        yield f"levels.{i}.down", f"{prefix}.model.1"
        if not bottom:
            yield f"levels.{i}.down_norm", f"{prefix}.model.2"
        yield f"levels.{i}.up", f"{prefix}.model.{3 if bottom else 5}"
        yield f"levels.{i}.up_norm", f"{prefix}.model.{4 if bottom else 6}"
        prefix += ".model.3"


def _patch_names(config: PatchConfig) -> Names:
    yield "stem", "model.0"
    for i in range(config.layers):
        yield from ((f"convs.{i}", f"model.{3 * i + 2}"), (f"norms.{i}", f"model.{3 * i + 3}"))
    yield "head", f"model.{3 * config.layers + 2}"


def _pixel_names(config: PixelConfig) -> Names:
    yield from (("stem", "net.0"), ("conv", "net.2"), ("norm", "net.3"), ("head", "net.5"))


_NAMES: dict[type, Callable[[Any], Names]] = {
    ResnetConfig: _resnet_names,
    UnetConfig: _unet_names,
    PatchConfig: _patch_names,
    PixelConfig: _pixel_names,
}


def keys(config: NetworkConfig) -> Names:
    """Pairs of state_dict keys: ours, theirs, in the order of ours."""
    theirs = dict(_NAMES[type(config)](config))
    for ours in empty(config).state_dict():
        module, _, leaf = ours.rpartition(".")
        yield ours, f"{theirs[module]}.{leaf}"
