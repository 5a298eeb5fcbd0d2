import copy
import logging
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from cyclegan.config import Depth, GeneratorConfig, ResnetConfig, UnetConfig, Upsample
from cyclegan.engine import export
from cyclegan.engine.export import onnx_from_generator, seal, weights_digest
from cyclegan.engine.frame_graph import FrameToFrame, frames_of_values
from cyclegan.engine.graph_info import GraphInfo, read_graph_info
from cyclegan.engine.model_source import open_source
from cyclegan.engine.onnx_header import GRAPH_DIGEST, read_onnx_header
from cyclegan.errors import BackendError, ConfigError, ModelError, NewerFormatError, OutputError
from cyclegan.networks import Generator, ResnetGenerator, initialise, network_from_config
from cyclegan.reference import export_reference

STANDARD = {
    *("Add", "Cast", "Clip", "Concat", "Conv", "ConvTranspose", "Div", "InstanceNormalization"),
    *("Greater", "LeakyRelu", "Mul", "Pad", "ReduceMax", "ReduceMin", "Relu", "Round", "Sub"),
    *("Tanh", "Transpose"),
}


def run(path: Path, frames: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["translated"], {"frames": frames})[0]


def test_a_frame_is_scaled_rounded_and_clamped() -> None:
    values = torch.tensor([-1.5, -1.0, 0.4 / 127.5 - 1, 0.6 / 127.5 - 1, 0.0, 1.5])
    frame = torch.zeros(1, 1, 6, 1, dtype=torch.uint8)
    seen: list[torch.Tensor] = []

    class Fixed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return values.reshape(1, 1, 1, 6)

    translated = FrameToFrame(Fixed())(frame)
    assert translated.flatten().tolist() == [0, 0, 0, 1, 128, 255]
    assert seen[0].flatten().tolist() == [-1.0] * 6


@pytest.mark.parametrize(
    ("config", "gain"),
    [
        (UnetConfig(width=4, depth=5, norm="batch"), 0.1),
        (ResnetConfig(width=4, blocks=1, dropout=True, norm="none", in_channels=1), 0.25),
        (ResnetConfig(width=4, blocks=1, upsample="resize"), 0.25),
    ],
    ids=["unet-batch", "resnet-dropout-1-channel", "resnet-resize"],
)
def test_every_architecture_equals_pytorch(
    config: GeneratorConfig, gain: float, frames: np.ndarray, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = network_from_config(config)
    initialise(network, gain)
    network.train()
    path = onnx_from_generator(network, tmp_path / "g.onnx")
    assert network.training, "the generator was changed"
    batch = frames[:3, :64, :96, : config.in_channels]
    expected = FrameToFrame(network.eval())(torch.from_numpy(batch.copy())).detach().numpy()
    difference = np.abs(run(path, batch).astype(int) - expected)
    assert expected.std() > 1
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("upsample", ["transposed", "resize"])
def test_a_frame_of_one_colour_is_translated_to_one(
    depth: Depth, upsample: Upsample, tmp_path: Path
) -> None:
    """What the rounding of float32 leaves of a constant, each norm would make 316 times larger."""
    torch.manual_seed(0)
    network = network_from_config(ResnetConfig(width=8, blocks=3, upsample=upsample))
    initialise(network, 0.2)
    for name, values in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(values, 0.0, 0.1)
    path = onnx_from_generator(network, tmp_path / "g.onnx", depth=depth)
    frames = np.full((2, 32, 48, 3), [[[[16, 128, 240]]], [[[0, 0, 0]]]], f"uint{depth}")
    made = run(path, frames)
    (colour,) = np.unique(made.reshape(-1, 3), axis=0)
    expected = (torch.tanh(network.head.bias.detach()).numpy() + 1) * ((2**depth - 1) / 2)
    assert np.abs(colour - expected).max() < 1


class Vignette(FrameToFrame):
    """Darker outwards, by factors of the size that it saw."""

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        rows, columns = (torch.linspace(-1, 1, n) for n in frames.shape[1:3])
        dark = 1 - (rows[:, None] ** 2 + columns**2) / 4
        y: torch.Tensor = self.generator(frames.permute(0, 3, 1, 2) / 127.5 - 1) * dark
        return frames_of_values(y, frames.dtype)


def test_what_computes_with_its_sizes_is_refused(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "FrameToFrame", Vignette)
    with pytest.raises(BackendError, match=r"has the sizes \[.*12, 16\] whatever the frames are"):
        onnx_from_generator(generator, tmp_path / "g.onnx")
    assert not list(tmp_path.iterdir())


class Squeezed(torch.nn.Module):
    """Scaled by the means of its channels, whatever the size."""

    def __init__(self) -> None:
        super().__init__()
        self.excitation = torch.nn.Conv2d(8, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = x * self.excitation(x.mean((2, 3), keepdim=True))
        return y


class Thinned(torch.nn.Module):
    """Divided by the root of the area."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (x.shape[2] * x.shape[3]) ** -0.5


class Windowed(torch.nn.Module):
    """Pooled over the size that it saw, in an attribute of one node."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.nn.functional.avg_pool2d(x, x.shape[2:])


def changed(generator: Generator, module: torch.nn.Module) -> Generator:
    """``generator`` with ``module`` before its head."""
    other = copy.deepcopy(generator)
    other.head = torch.nn.Sequential(module, other.head)
    return other


def test_a_changed_generator_that_pools_its_frames_is_exported_for_every_size(
    generator: Generator, frames: np.ndarray, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    pooling = changed(generator, Squeezed())
    path = onnx_from_generator(pooling, tmp_path / "g.onnx")
    for batch in (frames[:1], frames[:3, :40, :64]):
        expected = FrameToFrame(pooling)(torch.from_numpy(batch.copy())).detach().numpy()
        assert expected.std() > 1
        assert np.abs(run(path, batch).astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("module", "node"), [(Thinned, "node_mul"), (Windowed, "node_avg_pool2d")])
def test_a_changed_generator_that_computes_with_its_sizes_is_refused(
    module: type[torch.nn.Module], node: str, generator: Generator, tmp_path: Path
) -> None:
    with pytest.raises(BackendError, match=f"for every size: {node} computes otherwise for frames"):
        onnx_from_generator(changed(generator, module()), tmp_path / "g.onnx")
    assert not list(tmp_path.iterdir())


def test_one_graph_takes_every_batch_and_size(
    graph: Path, generator: Generator, frames: np.ndarray
) -> None:
    for batch in (frames[:1, :8, :8], frames[:1], frames[:, :72, :100], frames[:2, :12, :176]):
        expected = FrameToFrame(generator)(torch.from_numpy(batch.copy())).detach().numpy()
        translated = run(graph, batch)
        assert translated.shape == batch.shape
        assert translated.dtype == np.uint8
        assert np.abs(translated.astype(int) - expected).max() <= 1


def test_the_graph_is_standard_and_casts_at_its_edges(graph: Path) -> None:
    model = onnx.load(graph)
    onnx.checker.check_model(model, full_check=True)
    operators = [node.op_type for node in model.graph.node]
    assert set(operators) <= STANDARD
    assert operators[:2] == ["Cast", "Transpose"]
    assert operators[-2:] == ["Transpose", "Cast"]
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 20)]
    for value in (*model.graph.input, *model.graph.output):
        tensor = value.type.tensor_type
        assert tensor.elem_type == onnx.TensorProto.UINT8
        assert [size.dim_param or size.dim_value for size in tensor.shape.dim] == ["N", "H", "W", 3]
    assert str(Path.cwd()) not in str(model), "the file tells where it was made"


def test_half_precision_has_half_the_size_and_nearly_the_values(
    graph: Path,
    generator: Generator,
    frames: np.ndarray,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    half = onnx_from_generator(generator, tmp_path / "half.onnx", precision="float16")
    assert capfd.readouterr() == ("", ""), "exporting says nothing"
    kinds = {tensor.data_type for tensor in onnx.load(half).graph.initializer if tensor.dims}
    assert onnx.TensorProto.FLOAT16 in kinds
    assert onnx.TensorProto.FLOAT not in kinds
    assert half.stat().st_size < 0.6 * graph.stat().st_size
    difference = np.abs(run(half, frames[:1]).astype(int) - run(graph, frames[:1]))
    assert 0 < difference.mean() < 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        {"domains": "5"},
        {"config": "[]"},
        {"config": '{"kind": []}'},
        {"config": "{"},
        {"config": "[" * 10_000},
    ],
)
def test_metadata_of_another_kind_is_damaged(wrong: dict[str, str]) -> None:
    known = GraphInfo(config=ResnetConfig()).to_metadata()
    changed = known | {f"cyclegan.{key}": text for key, text in wrong.items()}
    with pytest.raises(ModelError, match=r"some\.onnx has damaged metadata"):
        GraphInfo.from_metadata(changed, Path("some.onnx"))


def test_metadata_comes_back(graph: Path, generator: Generator) -> None:
    info = read_graph_info(graph)
    digest = weights_digest(generator)
    assert info == GraphInfo(
        config=generator.config, domains=("phones", "cars"), weights_sha256=digest
    )
    changed = copy.deepcopy(generator)
    with torch.no_grad():
        next(changed.parameters()).flatten()[0] += 1
    assert weights_digest(changed) != digest


def test_files_that_are_not_ours_are_refused(graph: Path, tmp_path: Path) -> None:
    model = onnx.load(graph)
    newer = next(p for p in model.metadata_props if p.key == "cyclegan.format_version")
    newer.value = "99"
    seal(model)
    onnx.save(model, tmp_path / "newer.onnx")
    with pytest.raises(NewerFormatError, match="graph format 99"):
        read_graph_info(tmp_path / "newer.onnx")
    newer.value = "first"
    seal(model)
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(ModelError, match="graph format 'first'; expected a number"):
        read_graph_info(tmp_path / "odd.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(ModelError, match=r"not a frame-to-frame graph.*give the \.pth"):
        read_graph_info(tmp_path / "foreign.onnx")
    outside = {"save_as_external_data": True, "location": "weights", "size_threshold": 0}
    onnx.save(model, tmp_path / "foreign.onnx", **outside)
    with pytest.raises(ModelError, match=r"not a frame-to-frame graph.*give the \.pth"):
        read_graph_info(tmp_path / "foreign.onnx")
    (tmp_path / "cut.onnx").write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(ModelError, match="is damaged: it ends in the middle of a field"):
        read_graph_info(tmp_path / "cut.onnx")


def test_every_part_of_a_file_is_under_its_checksum(graph: Path, tmp_path: Path) -> None:
    whole, path = graph.read_bytes(), tmp_path / "flipped.onnx"
    for at in range(len(whole) // 16, len(whole), len(whole) // 16):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(ModelError, match="is damaged"):
            read_graph_info(path)


def test_a_file_without_a_checksum_is_taken_and_reported(
    graph: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = tmp_path / "old.onnx"
    key = GRAPH_DIGEST.encode()
    old.write_bytes(graph.read_bytes().replace(key, b"somebody" + key[len(b"cyclegan") :]))
    assert read_graph_info(old) == read_graph_info(graph)
    assert "old.onnx has no checksum; export it again" in caplog.text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it has no graph"),
        (b"\x0b", "unknown wire type"),
        (b"\x08" + 10 * b"\xff", "a number is too long"),
        (b"\x08\x80", "in the middle of a field"),
        (b"\x3a" + 9 * b"\xff" + b"\x01", "in the middle of a field"),
        (b"\x09\x00\x00", "in the middle of a field"),
    ],
)
def test_bytes_that_are_no_onnx_file(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_onnx_header(data)


def test_a_target_that_cannot_be_written_leaves_nothing(
    generator: Generator, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        onnx_from_generator(generator, tmp_path / "file" / "g.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_several_threads_may_export_at_once(tmp_path: Path) -> None:
    networks = [network_from_config(ResnetConfig(width=4, blocks=1)) for _ in range(2)]
    filters, level = list(warnings.filters), logging.getLogger("torch.onnx").level
    together = threading.Barrier(2)

    def exported(network: Generator) -> str:
        together.wait(10)
        path = onnx_from_generator(network, tmp_path / f"{id(network)}.onnx")
        return read_graph_info(path).weights_sha256

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(exported, networks)) == [weights_digest(each) for each in networks]
    assert (warnings.filters, logging.getLogger("torch.onnx").level) == (filters, level)


def test_domains_that_a_name_tells_are_no_other_names(tmp_path: Path) -> None:
    """One network in two files: what is in the cache of the one says nothing of the other."""
    torch.manual_seed(5)
    ab, ba = tmp_path / "latest_net_G_A.pth", tmp_path / "latest_net_G_B.pth"
    export_reference(ab, ResnetGenerator(ResnetConfig(width=4, blocks=1)))
    ba.write_bytes(ab.read_bytes())
    graph = open_source(ab).onnx()
    assert open_source(ab).info == read_graph_info(graph), "found in the cache"
    assert open_source(ba).info.domains == ("B", "A")


@pytest.mark.parametrize("wrong", [{"precision": "fp16"}, {"depth": 10}])
def test_a_precision_or_depth_that_there_is_not_is_refused(
    wrong: dict[str, object], generator: Generator, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"is (10|'fp16'); expected one of"):
        onnx_from_generator(generator, tmp_path / "g.onnx", **wrong)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_around_an_export_changes_nothing(dtype: torch.dtype, tmp_path: Path) -> None:
    generator = network_from_config(ResnetConfig(width=4, blocks=1))
    plain = onnx_from_generator(generator, tmp_path / "plain.onnx")
    with torch.autocast("cpu", dtype):
        path = onnx_from_generator(generator, tmp_path / "autocast.onnx")
    assert path.read_bytes() == plain.read_bytes()
