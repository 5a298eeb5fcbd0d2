"""The generators that benchmarks run."""

import torch

from cyclegan.config import ResnetConfig
from cyclegan.networks import Generator, initialise, network_from_config

SPREAD = 0.05
"""A gain of the weights under which a picture has values of the whole range."""


def new_generator(width: int, blocks: int, *, gain: float = 0.02, seed: int = 0) -> Generator:
    """A residual generator with fixed random weights: 64 channels and 9 blocks are the paper's."""
    torch.manual_seed(seed)
    generator = network_from_config(ResnetConfig(width=width, blocks=blocks))
    initialise(generator, gain)
    return generator.eval()
