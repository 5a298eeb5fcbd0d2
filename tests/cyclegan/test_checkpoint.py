import json
import stat

import pytest
import torch
from safetensors.torch import load_file, save_file

from cyclegan import load_generator, save_generator
from cyclegan.checkpoint import load_discriminator, read_info, save_discriminator
from cyclegan.config import PatchConfig, ResnetConfig
from cyclegan.engine.export import onnx_from_generator
from cyclegan.engine.model_source import open_source
from cyclegan.errors import ConfigError, ModelError, NewerFormatError, OutputError
from cyclegan.networks import PatchDiscriminator, ResnetGenerator, UnetGenerator
from cyclegan.reference import export_reference, import_reference


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return ResnetGenerator(ResnetConfig(width=4, blocks=2, norm="batch", upsample="resize")).eval()


def test_comes_back_equal(generator, tmp_path):
    path = tmp_path / "new folder" / "generator.safetensors"
    save_generator(path, generator, ("relief", "satellite"))
    loaded, x = load_generator(path), torch.randn(1, 3, 16, 16)
    assert torch.equal(loaded(x), generator(x))
    assert not loaded.training
    info = read_info(path)
    assert info.config == generator.config
    assert info.domains == ("relief", "satellite")
    assert info.is_generator
    assert info.parameters == sum(tensor.numel() for tensor in generator.state_dict().values())


def test_channels_last_and_half_are_saved_as_plain_float32(generator, tmp_path):
    path = tmp_path / "generator.safetensors"
    save_generator(path, generator.half().to(memory_format=torch.channels_last))
    tensors = load_file(path)
    assert tensors["stem.weight"].dtype == torch.float32
    assert tensors["stem.weight"].is_contiguous()


def test_reference_file_just_works(tmp_path):
    unet = UnetGenerator(type(UnetGenerator().config)(width=2, depth=5)).eval()
    export_reference(tmp_path / "latest_net_G_A", unet)
    x = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(load_generator(tmp_path / "latest_net_G_A")(x), unet(x))
    assert read_info(tmp_path / "latest_net_G_A").format_version == 0


def test_discriminators(tmp_path):
    discriminator = PatchDiscriminator(PatchConfig(width=4))
    path = tmp_path / "d.safetensors"
    save_discriminator(path, discriminator, "satellite")
    loaded = load_discriminator(path)
    assert loaded.config == discriminator.config
    assert not loaded.training
    assert not read_info(path).is_generator
    assert read_info(path).domains == ("satellite",)
    with pytest.raises(ModelError, match="holds a discriminator; expected a generator"):
        load_generator(path)


def test_of_another_kind(generator, tmp_path):
    save_generator(tmp_path / "g", generator)
    with pytest.raises(ModelError, match="holds a generator; expected a discriminator"):
        load_discriminator(tmp_path / "g")
    with pytest.raises(ModelError, match=r"no model file .*missing"):
        load_generator(tmp_path / "missing")
    with pytest.raises(ModelError, match="no model file"):
        load_generator(tmp_path)


def rewritten(path, generator, **metadata):
    """A model file whose metadata says something else."""
    known = {
        "format": "cyclegan-generator",
        "format_version": "1",
        "config": json.dumps({"kind": "resnet", "width": 4, "blocks": 2, "norm": "batch"}),
        "domains": '["A", "B"]',
    }
    save_file(generator.state_dict(), path, {**known, **metadata})
    return path


@pytest.mark.parametrize(
    ("metadata", "error", "says"),
    [
        (
            {"format_version": "2"},
            NewerFormatError,
            "has format 2; this version reads up to 1; install a newer",
        ),
        ({"format": "lora"}, ModelError, "its format is 'lora'; expected 'cyclegan-generator'"),
        ({"config": "{"}, ModelError, "metadata cannot be used"),
        ({"config": '{"kind": "resnet", "depth": 3}'}, ModelError, "unknown setting config.depth"),
        ({"config": '{"kind": "resnet", "width": 8}'}, ModelError, "do not fit its configuration"),
        (
            {"config": '{"kind": "resnet", "width": 16384, "blocks": 2, "norm": "batch"}'},
            ModelError,
            "do not fit its configuration",  # said before its terabytes are asked for
        ),
        ({"config": "[" * 10_000}, ModelError, "metadata cannot be used"),
        ({"config": "[]"}, ModelError, "metadata cannot be used"),
        ({"scored": "{}"}, ModelError, "scored.goodness is not set"),
        ({"domains": '["A"]'}, ModelError, "it names 1 domains; expected 2"),
    ],
)
def test_metadata_that_does_not_fit(metadata, error, says, generator, tmp_path):
    path = rewritten(tmp_path / "g.safetensors", generator, **metadata)
    with pytest.raises(error, match=says):
        load_generator(path)


def test_safetensors_of_others(generator, tmp_path):
    save_file(generator.state_dict(), tmp_path / "g.safetensors")
    with pytest.raises(ModelError, match="its format is None"):
        load_generator(tmp_path / "g.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_truncated(share, generator, tmp_path):
    path = tmp_path / "g.safetensors"
    save_generator(path, generator)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelError, match=r"g\.safetensors"):
        load_generator(path)


def test_failed_save_keeps_the_old_file(generator, tmp_path, monkeypatch):
    path = tmp_path / "g.safetensors"
    save_generator(path, generator)
    old = path.read_bytes()

    def full_disk(tensors, name, metadata):
        name.write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cyclegan.checkpoint.save_file", full_disk)
    with pytest.raises(OutputError, match="No space left on device"):
        save_generator(path, generator)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_interrupted_save_keeps_the_old_file(generator, tmp_path, monkeypatch):
    path = tmp_path / "g.safetensors"
    path.write_bytes(b"old")

    def interrupted(tensors, name, metadata):
        name.write_bytes(b"half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr("cyclegan.checkpoint.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_generator(path, generator)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file(generator, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        save_generator(tmp_path / "file" / "g.safetensors", generator)


def test_saved_files_are_readable_as_the_umask_says(generator, tmp_path):
    save_generator(tmp_path / "g.safetensors", generator)
    plain = tmp_path / "plain"
    plain.write_text("")
    assert stat.S_IMODE((tmp_path / "g.safetensors").stat().st_mode) == stat.S_IMODE(
        plain.stat().st_mode
    )


@pytest.mark.parametrize("kind", ["type", "device"])
def test_weights_are_float32_on_the_cpu_whatever_the_defaults(tmp_path, kind):
    """A default of bfloat16 rounded them, and what was exported of them was kept."""
    generator = ResnetGenerator(ResnetConfig(width=8, blocks=1))
    save_generator(tmp_path / "g.safetensors", generator)
    export_reference(tmp_path / "latest_net_G_A.pth", generator)
    files = list(tmp_path.iterdir())
    graph = onnx_from_generator(generator, tmp_path / "graphs" / "g.onnx")
    if kind == "type":
        torch.set_default_dtype(torch.bfloat16)
    else:
        torch.set_default_device("meta")
    try:
        found = [load_generator(path) for path in files]
        found.append(open_source(graph).generator())
        found.append(import_reference(tmp_path / "latest_net_G_A.pth"))
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    for network in found:
        for name, tensor in generator.state_dict().items():
            assert torch.equal(network.state_dict()[name], tensor)


@pytest.mark.parametrize("save", [save_generator, onnx_from_generator])
def test_what_reading_would_refuse_is_not_written_over_a_good_file(save, generator, tmp_path):
    path = tmp_path / "good"
    path.write_bytes(b"good")
    with pytest.raises(ModelError, match=r"got a PatchDiscriminator.*expected a ResnetGenerator"):
        save(path=path, generator=PatchDiscriminator(PatchConfig(width=4)))
    for domains in ("AB", ("A",), ("A", "B", "C"), ("A", 2), None):
        with pytest.raises(ConfigError, match=r"domains are .*; expected 2 of str"):
            save(path=path, generator=generator, domains=domains)
    assert path.read_bytes() == b"good"


def test_a_discriminator_of_no_name_is_not_written_over_a_good_file(generator, tmp_path):
    path = tmp_path / "good"
    path.write_bytes(b"good")
    with pytest.raises(ModelError, match=r"got a ResnetGenerator.*expected a PatchDiscriminator"):
        save_discriminator(path, generator, "zebra")
    with pytest.raises(ConfigError, match=r"domains are \(\('A', 'B'\),\); expected 1 of str"):
        save_discriminator(path, PatchDiscriminator(PatchConfig(width=4)), ("A", "B"))
    assert path.read_bytes() == b"good"


@pytest.mark.parametrize("hooked", [False, True])
def test_a_changed_generator_is_not_written_as_what_it_was(hooked, generator, tmp_path):
    path = tmp_path / "good"
    path.write_bytes(b"good")
    if hooked:
        generator.register_forward_hook(lambda module, given, made: -made)
        says = "it is .* with 1 hooks"
    else:
        del generator.blocks[-1]
        says = r"blocks.\d is missing, expected .*ResidualBlock"
    with pytest.raises(ModelError, match=f"not as its configuration says: {says}"):
        save_generator(path, generator)
    assert path.read_bytes() == b"good"


def test_layers_that_share_their_weights_come_back_with_the_same(tmp_path):
    generator = ResnetGenerator(ResnetConfig(width=2, blocks=2, norm="batch"))
    generator.blocks[1] = generator.blocks[0]
    save_generator(tmp_path / "g", generator)
    again = load_generator(tmp_path / "g").state_dict()
    assert all(torch.equal(again[name], value) for name, value in generator.state_dict().items())
