import copy
import dataclasses

import pytest
import torch

from cyclegan.config import PatchConfig, PixelConfig, ResnetConfig, UnetConfig
from cyclegan.errors import ModelError
from cyclegan.kernels import native
from cyclegan.layers import BeforeNorm
from cyclegan.networks import (
    PatchDiscriminator,
    ResnetGenerator,
    UnetGenerator,
    network_from_config,
    prepare_for_inference,
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
    network = network_from_config(config)
    y = network(x)
    assert y.shape == (2, config.out_channels, *size)
    assert y.abs().max() <= 1
    network.eval()
    torch.testing.assert_close(network(x), network(x))


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize(
    "config",
    [
        ResnetConfig(width=4, blocks=1),
        ResnetConfig(width=4, blocks=2, dropout=True, upsample="resize"),
        UnetConfig(width=4, depth=5),
    ],
)
def test_smallest_pictures_of_a_generator(config, norm):
    config = dataclasses.replace(config, norm=norm)
    network, side = network_from_config(config), config.smallest_side
    assert network(torch.randn(1, 3, side, side)).shape == (1, 3, side, side)
    with pytest.raises((RuntimeError, ValueError)):
        network(torch.randn(1, 3, side, side - config.size_multiple))


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
    logits = network_from_config(config)(torch.randn(2, 3, 64, 64))
    assert logits.shape == (2, 1, patches, patches)


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_smallest_pictures_of_a_discriminator(layers):
    config = PatchConfig(width=4, layers=layers)
    network, side = network_from_config(config), config.smallest_side
    assert network(torch.randn(1, 3, side, side)).shape == (1, 1, 1, 1)
    with pytest.raises((RuntimeError, ValueError)):
        network(torch.randn(1, 3, side, side - 1))


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


@pytest.mark.parametrize(
    "config",
    [
        ResnetConfig(width=8, blocks=2),
        ResnetConfig(width=8, blocks=1, upsample="resize", out_channels=1),
        UnetConfig(width=8, depth=5),
    ],
)
def test_bfloat16_on_a_cpu_is_as_near_to_float32_as_plain_operators_are(config, monkeypatch):
    """With kernels, a head in blocks of pixels, and no bias before a norm."""
    ours, theirs = 0.0, 0.0
    for seed in range(4):
        torch.manual_seed(seed)
        network = network_from_config(config).to(memory_format=torch.channels_last)
        x = torch.rand(2, 3, 32, 64) * 2 - 1
        true = result_and_gradients(network, x)
        with torch.autocast("cpu", torch.bfloat16):
            found = result_and_gradients(network, x)
            with monkeypatch.context() as plain:
                plain.setattr(native, "ON", False)
                others = result_and_gradients(network, x)
        assert not any(map(torch.equal, found, others))
        assert off(found[0], true[0]) < 0.03
        ours += sum(map(off, found, true))
        theirs += sum(map(off, others, true))
    assert ours < 1.1 * theirs


def result_and_gradients(network, x):
    """Of all weights but biases, which do nothing before a norm."""
    y = network(x).float()
    pull = torch.linspace(0, 1, y.numel()).view_as(y)
    weights = [w for w in network.parameters() if w.dim() == 4]
    return y.detach(), *torch.autograd.grad((y * pull).sum(), weights)


def off(found, expected):
    return float((found - expected).norm() / expected.norm())


def test_in_bfloat16_a_bias_that_a_norm_takes_away_is_left_out():
    network = ResnetGenerator(ResnetConfig(width=4, blocks=1)).to(memory_format=torch.channels_last)
    biases = [m.bias for m in network.modules() if isinstance(m, BeforeNorm)]
    assert len(biases) == 7
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        before = network(x)
        for bias in biases:
            bias.fill_(float("nan"))
    assert network(x).isnan().all()  # float32 has them, as the public implementation does
    with torch.autocast("cpu", torch.bfloat16):
        y = network(x)
    y.sum().backward()
    assert off(y.detach().float(), before) < 0.03
    assert all(bias.grad is None for bias in biases)


def test_a_prepared_generator_takes_no_other_weights():
    """It would go on with what was made of the old ones."""
    generator = ResnetGenerator(ResnetConfig(width=8, blocks=1))
    weights = ResnetGenerator(generator.config).state_dict()
    generator.load_state_dict(weights)
    prepare_for_inference(generator)
    for prepared in (generator, copy.deepcopy(generator)):
        with pytest.raises(ModelError, match="load others into a new one"):
            prepared.load_state_dict(weights)
