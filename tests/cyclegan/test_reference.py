"""The public implementation's files, made here as it makes them: nested ``nn.Sequential``s."""

import pickle
import resource
import zipfile

import pytest
import torch
from torch import nn

from cyclegan.checkpoint import load_generator
from cyclegan.config import PatchConfig, PixelConfig, ResnetConfig, UnetConfig
from cyclegan.errors import ModelError, OutputError, UnknownModelError
from cyclegan.networks import initialise, network_from_config
from cyclegan.reference import export_reference, import_reference
from cyclegan.reference_names import keys

NORMS = {
    "instance": lambda c: nn.InstanceNorm2d(c),
    "tracking": lambda c: nn.InstanceNorm2d(c, track_running_stats=True),
    "batch": lambda c: nn.BatchNorm2d(c),
    "none": lambda c: nn.Identity(),
}


class Model(nn.Module):
    """A network whose layers lie in an attribute called ``model`` or ``net``."""

    def __init__(self, layers, name="model"):
        super().__init__()
        self.name = name
        setattr(self, name, layers if isinstance(layers, nn.Module) else nn.Sequential(*layers))

    def forward(self, x):
        return getattr(self, self.name)(x)


class Block(nn.Module):
    def __init__(self, c, norm, bias, dropout):
        super().__init__()
        first = [nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3, bias=bias), norm(c), nn.ReLU()]
        second = [nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3, bias=bias), norm(c)]
        self.conv_block = nn.Sequential(*first, *[nn.Dropout(0.5)] * dropout, *second)

    def forward(self, x):
        return x + self.conv_block(x)


def resnet(width=4, blocks=2, norm="instance", dropout=False, channels=3):
    make, bias, c = NORMS[norm], norm in ("instance", "tracking"), width
    layers = [nn.ReflectionPad2d(3), nn.Conv2d(channels, c, 7, bias=bias), make(c), nn.ReLU()]
    for _ in range(2):
        layers += [nn.Conv2d(c, 2 * c, 3, 2, 1, bias=bias), make(2 * c), nn.ReLU()]
        c *= 2
    layers += [Block(c, make, bias, dropout) for _ in range(blocks)]
    for _ in range(2):
        up = nn.ConvTranspose2d(c, c // 2, 3, 2, 1, output_padding=1, bias=bias)
        layers += [up, make(c // 2), nn.ReLU()]
        c //= 2
    return Model([*layers, nn.ReflectionPad2d(3), nn.Conv2d(c, channels, 7), nn.Tanh()])


class Skip(nn.Module):
    def __init__(self, layers, outermost=False):
        super().__init__()
        self.model, self.outermost = nn.Sequential(*layers), outermost

    def forward(self, x):
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


def unet(width=2, depth=6, norm="instance"):
    make, bias = NORMS[norm], norm in ("instance", "tracking")
    widths = [width * min(2**i, 8) for i in range(depth)]
    block = None
    for level in range(depth - 1, 0, -1):
        outer, inner = widths[level - 1], widths[level]
        down = nn.Conv2d(outer, inner, 4, 2, 1, bias=bias)
        up = nn.ConvTranspose2d(inner * (2 if block else 1), outer, 4, 2, 1, bias=bias)
        middle = [make(inner), block] if block else []
        layers = [nn.LeakyReLU(0.2, True), down, *middle, nn.ReLU(True), up, make(outer)]
        block = Skip(layers)
    stem, head = nn.Conv2d(3, width, 4, 2, 1, bias=bias), nn.ConvTranspose2d(2 * width, 3, 4, 2, 1)
    return Model(Skip([stem, block, nn.ReLU(True), head, nn.Tanh()], outermost=True))


def patch(width=4, n=3, norm="instance"):
    make, bias = NORMS[norm], norm in ("instance", "tracking")
    layers, c = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)], width
    for i in range(1, n + 1):
        wider = width * min(2**i, 8)
        conv = nn.Conv2d(c, wider, 4, 1 if i == n else 2, 1, bias=bias)
        layers += [conv, make(wider), nn.LeakyReLU(0.2)]
        c = wider
    return Model([*layers, nn.Conv2d(c, 1, 4, 1, 1)])


def pixel(width=4, norm="instance"):
    make, bias = NORMS[norm], norm in ("instance", "tracking")
    return Model(
        [
            nn.Conv2d(3, width, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 1, bias=bias),
            make(2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 1, bias=bias),
        ],
        "net",
    )


CASES = [
    (resnet(blocks=6), ResnetConfig(width=4, blocks=6)),
    (resnet(blocks=9, channels=1), ResnetConfig(width=4, in_channels=1, out_channels=1)),
    (resnet(dropout=True), ResnetConfig(width=4, blocks=2, dropout=True)),
    (resnet(norm="batch"), ResnetConfig(width=4, blocks=2, norm="batch")),
    (
        resnet(norm="batch", dropout=True),
        ResnetConfig(width=4, blocks=2, norm="batch", dropout=True),
    ),
    (resnet(norm="none"), ResnetConfig(width=4, blocks=2, norm="none")),
    (unet(depth=5), UnetConfig(width=2, depth=5)),
    (unet(depth=7), UnetConfig(width=2, depth=7)),
    (unet(norm="batch"), UnetConfig(width=2, depth=6, norm="batch")),
    (patch(), PatchConfig(width=4)),
    (patch(n=5, norm="batch"), PatchConfig(width=4, layers=5, norm="batch")),
    (patch(n=1, norm="none"), PatchConfig(width=4, layers=1, norm="none")),
    (pixel(), PixelConfig(width=4)),
    (pixel(norm="batch"), PixelConfig(width=4, norm="batch")),
]


def trained(network):
    """As after some training: no weight or running statistic left at its initial value."""
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(0.5 + torch.rand_like(tensor) if "var" in name else tensor)
            tensor.add_(0.1 * torch.randn_like(tensor) if "var" not in name else 0)
    return network.eval()


@pytest.mark.parametrize(("theirs", "config"), CASES, ids=[str(i) for i in range(len(CASES))])
def test_recognised_and_equal(theirs, config, tmp_path):
    torch.manual_seed(0)
    trained(theirs)
    torch.save(theirs.state_dict(), tmp_path / "net.pth")
    ours = import_reference(tmp_path / "net.pth")
    assert ours.config == config
    size = 2 ** getattr(config, "depth", 7)
    x = torch.randn(2, config.in_channels, size, size)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("theirs", "config"), CASES, ids=[str(i) for i in range(len(CASES))])
def test_back_again(theirs, config, tmp_path):
    torch.save(trained(theirs).state_dict(), tmp_path / "net.pth")
    export_reference(tmp_path / "back.pth", import_reference(tmp_path / "net.pth"))
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert back.keys() == theirs.state_dict().keys()
    theirs.load_state_dict(back)


def test_old_files_with_running_statistics(tmp_path):
    old = resnet(norm="tracking")
    assert any("running_mean" in key for key in old.state_dict())
    torch.save(old.state_dict(), tmp_path / "net.pth")
    plain = resnet()
    kept = plain.state_dict().keys()
    plain.load_state_dict({k: v for k, v in old.state_dict().items() if k in kept})
    ours, x = load_generator(tmp_path / "net.pth"), torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(ours(x), plain(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("theirs", [resnet(norm="batch"), unet(norm="batch")])
def test_old_files_without_counts_of_batches(theirs, tmp_path):
    """As batch norms were saved before PyTorch 0.4.1."""
    state = {k: v for k, v in trained(theirs).state_dict().items() if "num_batches" not in k}
    torch.save(state, tmp_path / "net.pth", _use_new_zipfile_serialization=False)
    ours, x = load_generator(tmp_path / "net.pth"), torch.randn(1, 3, 64, 64)
    assert ours.config.norm == "batch"
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_files_of_wrapped_networks(prefix, tmp_path):
    """As DataParallel and torch.compile name weights."""
    network = resnet()
    state = {f"{prefix}{key}": tensor for key, tensor in network.state_dict().items()}
    torch.save(state, tmp_path / "net.pth")
    x = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(load_generator(tmp_path / "net.pth")(x), network(x))


def test_half_precision_files_come_back_as_float32(tmp_path):
    torch.save(resnet().half().state_dict(), tmp_path / "net.pth")
    assert next(load_generator(tmp_path / "net.pth").parameters()).dtype == torch.float32


def saved(state, tmp_path):
    torch.save(state, tmp_path / "net.pth")
    return tmp_path / "net.pth"


def test_missing_and_left_over_keys_are_listed(tmp_path):
    state = resnet().state_dict()
    state["model.4.wieght"] = state.pop("model.4.weight")
    with pytest.raises(UnknownModelError) as caught:
        import_reference(saved(state, tmp_path))
    message = str(caught.value)
    assert "missing model.4.weight" in message
    assert "left over model.4.wieght" in message
    assert "ResnetConfig(" in message


def test_other_shapes_are_listed(tmp_path):
    state = patch().state_dict()
    state["model.5.weight"] = torch.zeros(16, 9, 4, 4)
    with pytest.raises(UnknownModelError, match=r"model.5.weight \(16, 9, 4, 4\) instead of"):
        import_reference(saved(state, tmp_path))


@pytest.mark.parametrize(
    "shapes",
    [
        {"model.model.0.weight": (2, 3, 4, 4), "model.model.3.weight": (4, 3, 4, 4)},
        {"model.1.weight": (3,), "model.10.conv_block.1.weight": (4, 4, 3, 3)},
        {"model.0.weight": (4, 0, 4, 4), "model.2.weight": (1, 4, 4, 4)},
    ],
)
def test_what_only_looks_like_a_network(shapes, tmp_path):
    state = {key: torch.zeros(shape) for key, shape in shapes.items()}
    with pytest.raises(UnknownModelError, match=r"fits no network known here\. Tried"):
        import_reference(saved(state, tmp_path))


def test_unrelated_network(tmp_path):
    with pytest.raises(UnknownModelError, match=r"Its keys: fc\.weight, fc\.bias"):
        import_reference(
            saved({"fc.weight": torch.zeros(2, 2), "fc.bias": torch.zeros(2)}, tmp_path)
        )


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ([torch.zeros(1)], "holds a list; expected a state_dict"),
        ({}, "holds a dict; expected a state_dict"),
        ({"epoch": 3, "state_dict": {}}, "more than tensors, with keys such as epoch"),
    ],
)
def test_not_a_state_dict(state, says, tmp_path):
    with pytest.raises(ModelError, match=says):
        import_reference(saved(state, tmp_path))


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("kind", ["sparse", "quantised", "complex", "without numbers"])
def test_tensors_of_other_kinds_are_named(kind, tmp_path):
    change = {
        "sparse": lambda tensor: tensor.to_sparse(),
        "quantised": lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.quint8),
        "complex": lambda tensor: tensor.to(torch.complex64),
        "without numbers": lambda tensor: tensor.to("meta"),
    }
    state = {key: change[kind](tensor) for key, tensor in resnet().state_dict().items()}
    with pytest.raises(ModelError, match=r"plain ones were expected: model\.1\.weight"):
        import_reference(saved(state, tmp_path))


def test_a_file_cannot_fill_the_memory(tmp_path):
    """Neither with one number that stands for many, nor with an archive that was compressed."""
    with torch.device("meta"):
        wide = network_from_config(ResnetConfig(width=4096))
    zero = torch.zeros(1)
    state = {
        theirs: zero.expand(wide.state_dict()[ours].shape) for ours, theirs in keys(wide.config)
    }
    with pytest.raises(ModelError, match="bytes, and says that its tensors have 186,0"):
        import_reference(saved(state, tmp_path))
    plain = saved({"weight": torch.zeros(10_000_000)}, tmp_path)
    compressed = tmp_path / "compressed.pth"
    with (
        zipfile.ZipFile(plain) as old,
        zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(ModelError, match="bytes, and says that its tensors have 40,000,"):
        import_reference(compressed)


class Payload:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


@pytest.mark.parametrize("text", ["", "hello", "<!DOCTYPE html>", "version https://git-lfs"])
def test_a_text_is_no_model(text, tmp_path):
    (tmp_path / "net.pth").write_text(text)
    with pytest.raises(ModelError, match="something else than tensors"):
        import_reference(tmp_path / "net.pth")


def test_loading_executes_nothing(tmp_path):
    (tmp_path / "net.pth").write_bytes(pickle.dumps({"model.1.weight": Payload()}))
    with pytest.raises(ModelError, match="neither a safetensors file nor a PyTorch") as refused:
        import_reference(tmp_path / "net.pth")
    assert "something else than tensors" in str(refused.value)
    assert "of a whole network save the state_dict()" in str(refused.value)
    assert "weights_only" not in str(refused.value), "advice to run what is in the file"
    (tmp_path / "net.pth").write_bytes(b"")
    with pytest.raises(ModelError, match="is damaged; nothing was loaded"):
        import_reference(tmp_path / "net.pth")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated(share, tmp_path):
    path = saved(resnet().state_dict(), tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelError, match=r"net\.pth"):
        import_reference(path)


def test_what_it_does_not_have_is_not_exported(tmp_path):
    network = network_from_config(ResnetConfig(width=4, blocks=1, upsample="resize"))
    with pytest.raises(ModelError, match="resize-convolutions"):
        export_reference(tmp_path / "net.pth", network)
    with pytest.raises(ModelError, match="got a Linear as network; expected a ResnetGenerator or"):
        export_reference(tmp_path / "net.pth", torch.nn.Linear(2, 2))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_the_old_export_and_is_told_in_the_words_of_the_system(tmp_path):
    path, network = tmp_path / "net.pth", network_from_config(ResnetConfig(width=4, blocks=1))
    export_reference(path, network)
    old, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # a real refusal
    try:
        with pytest.raises(OutputError, match=r"cannot write .*net\.pth: File too large"):
            export_reference(path, network)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == old


def test_initial_weights():
    network = network_from_config(PatchConfig(width=32, norm="batch"))
    initialise(network)
    weight = network.convs[1].weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert network.stem.bias.abs().max() == 0
    assert network.norms[0].weight.mean().item() == pytest.approx(1, abs=0.02)
