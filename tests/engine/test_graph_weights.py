"""A graph is a whole model: the generator that it was exported from is in it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from cyclegan.config import GeneratorConfig, ResnetConfig, UnetConfig
from cyclegan.engine import backend_choice
from cyclegan.engine.export import onnx_from_generator, seal
from cyclegan.engine.frame_graph import FrameToFrame
from cyclegan.engine.graph_weights import BIASES, generator_from_graph, generator_of
from cyclegan.engine.int8 import quantized_onnx
from cyclegan.engine.model_source import open_source
from cyclegan.engine.stabilize import open_stabilized
from cyclegan.engine.tiling import open_tiled
from cyclegan.engine.translator import Translator
from cyclegan.engine.typed_graph import typed_graph
from cyclegan.errors import BackendError, FrameError, ModelError
from cyclegan.layers import InstanceNorm, NoNorm
from cyclegan.networks import Generator, network_from_config


@pytest.mark.parametrize(
    "config",
    [
        ResnetConfig(width=4, blocks=1, norm="none", dropout=True, in_channels=1),
        UnetConfig(width=4, depth=5),
    ],
)
def test_the_generator_comes_back_to_the_last_bit(config: GeneratorConfig, tmp_path: Path) -> None:
    generator = network_from_config(config)
    torch.nn.init.zeros_(generator.head.bias)
    path = onnx_from_generator(generator, tmp_path / "graph.onnx")
    again = open_source(path).generator()
    assert again.config == config
    assert not again.training
    states = again.state_dict(), generator.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_graph_computes_nothing_with_biases_that_a_norm_takes_away(tmp_path: Path) -> None:
    """They are in its metadata; graphs of before have them all, but for those of zeros."""
    generator = network_from_config(ResnetConfig(width=4, blocks=1))
    path = onnx_from_generator(generator, tmp_path / "graph.onnx")
    model, info = onnx.load(path), open_source(path).info
    biases = [t.name for t in model.graph.initializer if t.name.endswith(".bias")]
    assert biases == ["generator.head.bias"]
    (kept,) = [item for item in model.metadata_props if item.key == BIASES]
    again = generator_of(model, info)
    assert again is not None
    assert torch.equal(again.stem.bias, generator.stem.bias)
    kept.value = kept.value[:-8]
    assert generator_of(model, info) is None, "too few"
    kept.value = "?"
    assert generator_of(model, info) is None


def test_pytorch_runs_a_graph_whole_steadied_and_tiled(
    model: Path, graph: Path, frames: np.ndarray
) -> None:
    with Translator.open(model, backend="torch", precision="float32") as expected:
        whole = expected(frames)
    for opened in (
        Translator.open(graph, backend="torch", precision="float32"),
        open_stabilized(graph, steadiness=0.0, precision="float32"),
        open_tiled(graph, "exact", precision="float32"),
    ):
        with opened as translator:
            assert np.abs(translator(frames).astype(int) - whole).max() <= 1


def test_auto_takes_the_gpu_for_a_graph_too(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_choice, "cuda_available", lambda: True)
    with Translator.open(graph, device="cpu") as translator:  # as if it were one
        assert translator.backend == "torch"


@pytest.mark.parametrize(
    ("config", "precision", "reason"),
    [
        (ResnetConfig(width=4, blocks=1), "float16", "its weights were rounded to float16"),
        (ResnetConfig(width=4, blocks=1, norm="batch"), "float32", "its batch norms went into"),
    ],
)
def test_a_graph_of_other_weights_runs_as_a_graph_alone(
    config: GeneratorConfig, precision: str, reason: str, tmp_path: Path
) -> None:
    generator = network_from_config(config).eval()
    path = onnx_from_generator(generator, tmp_path / "graph.onnx", precision=precision)
    with pytest.raises(BackendError, match=f"cannot run, since {reason}"):
        Translator.open(path, backend="torch")
    with Translator.open(path) as translator:
        assert translator.backend == "openvino"
        assert translator(np.zeros((16, 16, 3), np.uint8)).shape == (16, 16, 3)
        assert translator.depths == (8,)
        with pytest.raises(FrameError, match="frames are uint16; expected uint8"):
            translator(np.zeros((16, 16, 3), np.uint16))
    with pytest.raises(BackendError, match="8 bits a channel, not 16"):
        open_source(path).onnx(16)


def test_a_graph_of_a_changed_generator_runs_as_a_graph_alone(
    frames: np.ndarray, tmp_path: Path
) -> None:
    """PyTorch makes a generator of its configuration and weights, which would be another."""
    generator = network_from_config(ResnetConfig(width=4, blocks=2))
    generator.register_forward_hook(lambda module, given, made: -made)
    path = onnx_from_generator(generator, tmp_path / "graph.onnx")
    with pytest.raises(BackendError, match="cannot run, since the generator was not as its config"):
        Translator.open(path, backend="torch")
    with Translator.open(path, precision="float32") as translator, torch.no_grad():
        expected = FrameToFrame(generator.eval())(torch.from_numpy(frames)).numpy()
        assert np.abs(translator(frames).astype(int) - expected).max() <= 1


def test_biases_stay_in_a_graph_where_no_norm_takes_them_away(
    frames: np.ndarray, tmp_path: Path
) -> None:
    generator = network_from_config(ResnetConfig(width=4, blocks=1)).eval()
    for module in list(generator.modules()):
        for name, part in module.named_children():
            if isinstance(part, InstanceNorm):
                setattr(module, name, NoNorm(0))
    for name, values in generator.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.constant_(values, 0.3)
    path = onnx_from_generator(generator, tmp_path / "graph.onnx")
    with Translator.open(path, precision="float32") as translator, torch.no_grad():
        expected = FrameToFrame(generator)(torch.from_numpy(frames)).numpy()
        assert np.abs(translator(frames).astype(int) - expected).max() <= 1


def _shortened(generator: Generator) -> None:
    del generator.blocks[-1]


def _tied(generator: Generator) -> None:
    generator.blocks[1] = generator.blocks[0]


def _with_equal_weights(generator: Generator) -> None:
    for conv in (generator.down1, generator.up2):
        torch.nn.init.constant_(conv.weight, 0.1)


@pytest.mark.parametrize("change", [_shortened, _tied, _with_equal_weights])
def test_a_graph_that_does_not_hold_all_weights_says_so_and_runs(
    change: Callable[[Generator], None], frames: np.ndarray, tmp_path: Path
) -> None:
    """The exporter makes one of tensors that are equal."""
    generator = network_from_config(ResnetConfig(width=4, blocks=2)).eval()
    change(generator)
    path = onnx_from_generator(generator, tmp_path / "graph.onnx")
    with pytest.raises(BackendError, match=r"its config.*, or two of its layers had equal weights"):
        open_source(path).generator()
    assert not open_source(path).has_generator
    with Translator.open(path, precision="float32") as translator, torch.no_grad():
        expected = FrameToFrame(generator)(torch.from_numpy(frames)).numpy()
        assert np.abs(translator(frames).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_generator_of_another_type_comes_back_in_float32(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    generator = network_from_config(ResnetConfig(width=4, blocks=1)).to(dtype)
    again = open_source(onnx_from_generator(generator, tmp_path / "graph.onnx")).generator()
    assert torch.equal(again.stem.weight, generator.stem.weight.float())


@pytest.mark.parametrize("change", ["value", "name", "shape"])
def test_weights_that_are_not_those_of_the_export_are_refused(
    change: str, graph: Path, tmp_path: Path
) -> None:
    path, changed = tmp_path / "graph.onnx", onnx.load(graph)
    first = next(t for t in changed.graph.initializer if t.name == "generator.stem.weight")
    if change == "value":
        first.raw_data = b"\0" * len(first.raw_data)
    elif change == "name":
        first.name = "other"
    else:
        first.dims[:] = [1, *first.dims]
    seal(changed)
    path.write_bytes(changed.SerializeToString())
    with pytest.raises(ModelError, match="not hold the weights that it was exported with; open it"):
        open_source(path).generator()


@pytest.mark.parametrize(
    ("damage", "read"),
    [
        ("type", lambda path: open_source(path).generator()),
        ("length", lambda path: open_source(path).generator()),
        ("field", lambda path: open_source(path).generator()),
        ("length", lambda path: typed_graph(path, "float16", "native")),
        ("node", lambda path: typed_graph(path, "float16", "native")),
        ("field", lambda path: typed_graph(path, "float32", "native")),
        ("field", lambda path: quantized_onnx(path, path.with_name("int8.onnx"))),
    ],
)
def test_what_is_damaged_is_told_where_no_checksum_tells_it(
    damage: str, read: Callable[[Path], object], graph: Path, tmp_path: Path
) -> None:
    path, changed = tmp_path / "graph.onnx", onnx.load(graph)
    del changed.metadata_props[-1]  # the checksum
    first = next(t for t in changed.graph.initializer if t.name == "generator.stem.weight")
    if damage == "type":
        first.data_type = 99
    elif damage == "length":
        first.raw_data = first.raw_data[:8]
    elif damage == "node":
        del changed.graph.node[3]
    whole = changed.SerializeToString()
    if damage == "field":  # the kind of a node, whose wire type is no string's
        whole = whole.replace(b"\x22\x04Conv", b"\x24\x04Conv", 1)
    path.write_bytes(whole)
    with pytest.raises(ModelError, match=r"graph\.onnx is damaged: .+; export it again"):
        read(path)


def test_openvino_tells_of_names_that_are_no_text(graph: Path, tmp_path: Path) -> None:
    path, changed = tmp_path / "graph.onnx", onnx.load(graph)
    del changed.metadata_props[-1]  # the checksum
    changed.graph.node[0].op_type = "no text"
    path.write_bytes(changed.SerializeToString().replace(b"no text", b"\xff" * 7))
    with pytest.raises(BackendError, match=r"OpenVINO cannot run .*graph\.onnx on CPU: "):
        Translator.open(path, backend="openvino")


def test_weights_in_another_file_are_refused_and_never_read(graph: Path, tmp_path: Path) -> None:
    """As ONNX allows: what is in the cache would not follow their changes."""
    path, changed = tmp_path / "graph.onnx", onnx.load(graph)
    path.write_bytes(graph.read_bytes())
    before = open_source(path)
    first = next(t for t in changed.graph.initializer if t.name == "generator.stem.weight")
    first.ClearField("raw_data")
    first.data_location = onnx.TensorProto.EXTERNAL
    first.external_data.add(key="location", value="../secret")
    seal(changed)
    path.write_bytes(changed.SerializeToString())
    with pytest.raises(
        ModelError, match=r"weights in another file, '\.\./secret'; .*export it again"
    ):
        open_source(path)
    with pytest.raises(ModelError, match="was replaced since it was opened; open it again"):
        before.generator()
    with pytest.raises(ModelError, match="not hold the weights that it was exported with; open it"):
        generator_from_graph(path, before.info)


@pytest.mark.parametrize("deep", [False, True])
def test_weights_of_nodes_and_of_their_graphs_may_be_in_no_other_file_either(
    deep: bool, graph: Path, tmp_path: Path
) -> None:
    path, changed = tmp_path / "graph.onnx", onnx.load(graph)
    weight = onnx.TensorProto(
        name="weight", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL
    )
    weight.external_data.add(key="location", value="w.bin")
    node = onnx.helper.make_node("Constant", [], ["weight"], value=weight)
    if deep:
        made = onnx.helper.make_tensor_value_info("weight", 1, [1])
        branch = onnx.helper.make_graph([node], "branch", [], [made])
        node = onnx.helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    changed.graph.node.append(node)
    seal(changed)
    path.write_bytes(changed.SerializeToString())
    with pytest.raises(ModelError, match=r"weights in another file, 'w\.bin'; expected all in"):
        open_source(path)


def test_a_graph_that_speaks_of_another_network_is_refused_before_memory_is_taken(
    graph: Path, tmp_path: Path
) -> None:
    path, changed = tmp_path / "graph.onnx", onnx.load(graph)
    info = open_source(graph).info
    replace(info, config=ResnetConfig(width=16384)).describe(changed)
    seal(changed)
    path.write_bytes(changed.SerializeToString())
    with pytest.raises(ModelError, match="not hold the weights that it was exported with"):
        open_source(path).generator()
