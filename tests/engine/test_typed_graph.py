from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from cyclegan.config import UnetConfig
from cyclegan.engine.export import onnx_from_generator, seal
from cyclegan.engine.graph_info import GraphInfo
from cyclegan.engine.typed_graph import body_nodes, typed_graph
from cyclegan.errors import BackendError, ModelError
from cyclegan.networks import network_from_config

FLOAT, HALF, BFLOAT = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Batch norms, concatenations, leaky activations, dropout that is off."""
    torch.manual_seed(0)
    generator = network_from_config(UnetConfig(width=8, depth=5, norm="batch")).eval()
    path = tmp_path_factory.mktemp("unet") / "unet.onnx"
    return onnx_from_generator(generator, path)


def output_types(model: Any) -> Counter[tuple[str, int]]:
    """How many nodes of each kind give which type."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
    return Counter((node.op_type, types[node.output[0]]) for node in graph.node)


@pytest.mark.parametrize(("precision", "half"), [("float16", HALF), ("bfloat16", BFLOAT)])
@pytest.mark.parametrize("norm", ["native", "float32"])
def test_the_body_is_typed_and_the_edges_stay_float32(
    graph: Path, precision: Any, half: int, norm: Any
) -> None:
    before, typed = onnx.load(graph), typed_graph(graph, precision, norm)
    onnx.checker.check_model(typed, full_check=True)
    types = output_types(typed)
    kinds = Counter(node.op_type for node in before.graph.node)
    for kind in ("Conv", "ConvTranspose", "Pad"):
        assert types[kind, half] == kinds[kind] > 0
        assert types[kind, FLOAT] == 0
    norm_type = half if norm == "native" else FLOAT
    assert types["InstanceNormalization", norm_type] == kinds["InstanceNormalization"] > 0
    for kind in ("Div", "Sub", "Tanh", "Mul", "Round", "Clip"):
        assert types[kind, half] == 0, kind
    assert [tensor.name for tensor in (*typed.graph.input, *typed.graph.output)] == [
        "frames",
        "translated",
    ]
    metadata = {item.key: item.value for item in typed.metadata_props}
    assert GraphInfo.from_metadata(metadata, graph).precision == precision


def test_weights_are_those_of_the_graph_rounded_once(graph: Path) -> None:
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(graph).graph.initializer}
    typed = typed_graph(graph, "float16", "native")
    halves = [t for t in typed.graph.initializer if t.data_type == HALF]
    assert any(t.name.startswith("generator.stem.weight") for t in halves)
    for tensor in halves:
        exact = weights[tensor.name.removesuffix(".float16")]
        assert np.array_equal(onnx.numpy_helper.to_array(tensor), exact.astype(np.float16))
    used = {name for node in typed.graph.node for name in node.input}
    assert {tensor.name for tensor in typed.graph.initializer} <= used


def test_float32_changes_nothing(graph: Path) -> None:
    assert typed_graph(graph, "float32", "native").graph == onnx.load(graph).graph


def test_a_unet_with_batch_norms(unet: Path) -> None:
    typed = typed_graph(unet, "float16", "float32")
    onnx.checker.check_model(typed, full_check=True)
    types = output_types(typed)
    assert types["Conv", FLOAT] == types["ConvTranspose", FLOAT] == types["Concat", FLOAT] == 0
    assert types["BatchNormalization", HALF] == 0
    assert types["Concat", HALF] == 4


def test_the_body_is_what_lies_between_convolutions() -> None:
    def node(kind: str, inputs: str, output: str) -> Any:
        return helper.make_node(kind, inputs.split(), [output])

    nodes = [
        node("Div", "x c", "a"),
        node("Pad", "a p", "b"),
        node("Conv", "b w", "d"),
        node("Relu", "d", "e"),
        node("Conv", "e w", "f"),
        node("Tanh", "f", "g"),
        node("Pad", "a p", "h"),  # feeds the head as well as a convolution
        node("Add", "h g", "i"),
    ]
    graph = helper.make_graph(nodes, "test", [], [])
    assert body_nodes(graph) == {1, 2, 3, 4}
    assert body_nodes(helper.make_graph(nodes[:2], "test", [], [])) == set()


def test_graphs_that_cannot_be_typed(graph: Path, tmp_path: Path) -> None:
    half = onnx.load(graph)
    next(item for item in half.metadata_props if item.key == "cyclegan.precision").value = "float16"
    seal(half)
    onnx.save(half, tmp_path / "half.onnx")
    with pytest.raises(ModelError, match="without --half"):
        typed_graph(tmp_path / "half.onnx", "float16", "native")
    empty = onnx.load(graph)
    del empty.graph.node[:]
    seal(empty)
    onnx.save(empty, tmp_path / "empty.onnx")
    with pytest.raises(BackendError, match="no convolution"):
        typed_graph(tmp_path / "empty.onnx", "float16", "native")
