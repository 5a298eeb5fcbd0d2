import pytest
import torch

from cyclegan.config import PatchConfig, PixelConfig, ResnetConfig, UnetConfig
from cyclegan.networks import (
    PatchDiscriminator,
    ResnetGenerator,
    UnetGenerator,
    discriminator_from_config,
    generator_from_config,
)


def parameters(network):
    return sum(tensor.numel() for tensor in network.parameters())


def test_published_sizes():
    assert parameters(ResnetGenerator()) == 11_378_179
    assert parameters(PatchDiscriminator()) == 2_764_737
    assert parameters(UnetGenerator(UnetConfig(norm="batch"))) == 54_413_955


def test_patches_of_a_256_pixel_picture():
    assert PatchDiscriminator()(torch.zeros(1, 3, 256, 256)).shape == (1, 1, 30, 30)


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize(
    ("config", "size"),
    [
        (ResnetConfig(width=4, blocks=2, out_channels=1), (20, 36)),
        (ResnetConfig(width=4, blocks=1, dropout=True), (16, 16)),
        (ResnetConfig(width=4, blocks=1, upsample="resize"), (16, 20)),
        (UnetConfig(width=4, depth=5), (64, 96)),
        (UnetConfig(width=4, depth=6, dropout=True, in_channels=2), (128, 64)),
    ],
)
def test_generators_keep_the_size(config, size, norm):
    config = type(config)(**{**vars(config), "norm": norm})
    x = torch.randn(2, config.in_channels, *size)
    network = generator_from_config(config)
    y = network(x)
    assert y.shape == (2, config.out_channels, *size)
    assert y.abs().max() <= 1
    network.eval()
    torch.testing.assert_close(network(x), network(x))


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize(
    ("config", "patches"),
    [
        (PatchConfig(width=4, layers=1), 30),
        (PatchConfig(width=4, layers=4), 2),
        (PixelConfig(), 64),
    ],
)
def test_discriminators(config, patches, norm):
    config = type(config)(**{**vars(config), "norm": norm})
    logits = discriminator_from_config(config)(torch.randn(2, 3, 64, 64))
    assert logits.shape == (2, 1, patches, patches)


def test_dropout_acts_in_training_alone():
    torch.manual_seed(0)
    network = ResnetGenerator(ResnetConfig(width=4, blocks=2, dropout=True))
    x = torch.randn(1, 3, 16, 16)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def test_samples_do_not_interact():
    network = ResnetGenerator(ResnetConfig(width=4, blocks=2)).double()
    x = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    together, alone = network(x), torch.cat([network(one[None]) for one in x])
    torch.testing.assert_close(together, alone)
