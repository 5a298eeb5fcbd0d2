"""Runs that begin with networks of others, or of a run before."""

import dataclasses

import pytest
import torch

from cyclegan import train
from cyclegan.checkpoint import save_discriminator, save_generator
from cyclegan.config import (
    CycleGANConfig,
    DataConfig,
    PatchConfig,
    ResnetConfig,
    TrainConfig,
    UnetConfig,
)
from cyclegan.errors import ConfigError, ModelError
from cyclegan.model import NETWORKS, CycleGAN
from cyclegan.pretrained import PUBLIC_NAMES, load_pretrained
from cyclegan.reference import export_reference
from cyclegan.sample_data import write_training_folders

TINY = CycleGANConfig(
    generator=ResnetConfig(width=4, blocks=1), discriminator=PatchConfig(width=4, layers=1)
)


def public_files(model, folder, epoch="latest"):
    for name, theirs in PUBLIC_NAMES.items():
        export_reference(folder / f"{epoch}_net_{theirs}.pth", getattr(model, name))


def equal(one, other):
    return [
        name
        for name in NETWORKS
        if all(
            torch.equal(a, b)
            for a, b in zip(getattr(one, name).parameters(), getattr(other, name).parameters())
        )
    ]


def new(config=TINY, seed=1):
    return CycleGAN(dataclasses.replace(config, seed=seed))


def test_public_files_of_any_epoch(tmp_path):
    given, older, model = new(seed=1), new(seed=2), new(seed=3)
    public_files(given, tmp_path)
    public_files(older, tmp_path, "50")
    assert not equal(model, given)
    load_pretrained(model, tmp_path)
    assert equal(model, given) == [*NETWORKS]
    load_pretrained(model, tmp_path / "50")
    assert equal(model, older) == [*NETWORKS]


def test_what_the_public_d_a_judges(tmp_path):
    """Domain B: of gray A and coloured B it is the one that takes three channels."""
    config = dataclasses.replace(
        TINY, generator=dataclasses.replace(TINY.generator, in_channels=1), lambda_identity=0
    )
    given, model = new(config, 1), new(config, 2)
    public_files(given, tmp_path)
    judge = torch.load(tmp_path / "latest_net_D_A.pth", weights_only=True)
    assert judge["model.0.weight"].shape[1] == 3
    load_pretrained(model, tmp_path)
    assert equal(model, given) == [*NETWORKS]


def test_networks_with_dropout_whose_files_do_not_tell_it(tmp_path):
    unet = UnetConfig(width=2, depth=5, dropout=True)
    config = dataclasses.replace(TINY, generator=unet)
    given, model = new(config, 1), new(config, 2)
    public_files(given, tmp_path)
    load_pretrained(model, tmp_path)
    assert equal(model, given) == [*NETWORKS]
    assert model.generator_ab.config.dropout


def test_networks_of_another_architecture(tmp_path):
    public_files(new(), tmp_path)
    wider = dataclasses.replace(TINY, generator=ResnetConfig(width=8, blocks=1))
    with pytest.raises(ConfigError, match=r"width=4.*and generator_ab is one of .*width=8"):
        load_pretrained(new(wider), tmp_path)


def test_a_network_that_is_missing(tmp_path):
    public_files(new(), tmp_path, "50")
    with pytest.raises(ModelError, match=r"lacks .*latest_net_G_A\.pth.* as in .*50"):
        load_pretrained(new(), tmp_path)
    (tmp_path / "50_net_D_B.pth").unlink()
    with pytest.raises(ModelError, match=r"lacks [^ ]*50_net_D_B\.pth; a run begins with all four"):
        load_pretrained(new(), tmp_path / "50")
    with pytest.raises(
        ModelError, match=r"60_net_D_A\.pth; .*; files of epochs are .* as in .*50$"
    ):
        load_pretrained(new(), tmp_path / "60")


@pytest.mark.parametrize("name", ["latest_net_G_A.pth", "generator_ab.safetensors"])
def test_one_file_of_four_is_answered_with_its_folder(name, tmp_path):
    (tmp_path / name).touch()
    with pytest.raises(ModelError) as raised:
        load_pretrained(new(), tmp_path / name)
    says = f"{tmp_path / name} is one file; name the folder of all four networks, {tmp_path}"
    assert str(raised.value) == says


def test_files_that_were_swapped(tmp_path):
    public_files(new(), tmp_path)
    (tmp_path / "latest_net_D_A.pth").replace(tmp_path / "latest_net_G_A.pth")
    export_reference(tmp_path / "latest_net_D_A.pth", new().discriminator_b)
    with pytest.raises(ModelError, match=r"G_A.pth holds a discriminator; expected a generator"):
        load_pretrained(new(), tmp_path)


def test_a_run_begins_with_them_and_goes_on_with_its_own(tmp_path):
    a, b = write_training_folders(tmp_path / "data", 2, 40)
    before, given = tmp_path / "before", new(seed=7)
    for name, domains in (("generator_ab", ("A", "B")), ("generator_ba", ("B", "A"))):
        save_generator(before / f"{name}.safetensors", getattr(given, name), domains)
    for name, domain in (("discriminator_a", "A"), ("discriminator_b", "B")):
        save_discriminator(before / f"{name}.safetensors", getattr(given, name), domain)
    config = TrainConfig(
        data=DataConfig(a=a, b=b, load_size=36, crop_size=32),
        model=dataclasses.replace(TINY, learning_rate=0),
        output=tmp_path / "run",
        pretrained=before,
        epochs=1,
        epochs_decay=0,
        workers=0,
    )
    train(config, device="cpu")
    model = new(seed=3)
    load_pretrained(model, config.output)
    assert equal(model, given) == [*NETWORKS], "a run that learns nothing ends where it began"
    for path in before.iterdir():
        path.unlink()
    train(dataclasses.replace(config, epochs=2), device="cpu", resume=True)
