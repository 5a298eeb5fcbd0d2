from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from cyclegan.engine.export import seal
from cyclegan.engine.frames import Frames
from cyclegan.engine.parity import compare
from cyclegan.engine.rounding import PEAK, rounded_graph, run_on_cpu
from cyclegan.engine.typed_graph import typed_graph
from cyclegan.errors import BackendError


def rounded(graph: Path, frames: Frames, precision: Any, norm: Any) -> tuple[Frames, Any]:
    return run_on_cpu(rounded_graph(typed_graph(graph, precision, norm)), frames)


def stored(model: Any, names: list[str], frames: Frames) -> list[Any]:
    """The values of those tensors in the first frame."""
    shown = onnx.ModelProto.FromString(model.SerializeToString())
    for name in names:
        shown.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, None))
    session = onnxruntime.InferenceSession(
        shown.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(names, {"frames": frames[:1]}))


def test_what_onnx_runtime_refuses_is_an_error_of_ours(graph: Path, frames: Frames) -> None:
    with pytest.raises(BackendError, match=r"ONNX Runtime cannot run the graph: .*less"):
        run_on_cpu(onnx.load(graph), frames[:1, ..., :2])


def test_coarser_types_are_further_from_float32(graph: Path, frames: Frames) -> None:
    exact, none = run_on_cpu(onnx.load(graph), frames[:1])
    assert none == {}
    assert np.array_equal(rounded(graph, frames[:1], "float32", "native")[0], exact)
    means = [
        compare(rounded(graph, frames[:1], precision, norm)[0], exact).mean_abs
        for precision in ("float16", "bfloat16")
        for norm in ("float32", "native")
    ]
    assert means == sorted(means)
    assert 0 < 4 * means[0] < means[2]  # three bits fewer: eight times as coarse


def test_every_stored_tensor_is_rounded_and_its_peak_reported(graph: Path, frames: Frames) -> None:
    typed = typed_graph(graph, "float16", "float32")
    model = rounded_graph(typed)
    onnx.checker.check_model(model, full_check=True)
    half = onnx.TensorProto.FLOAT16
    casts = [node for node in typed.graph.node if node.op_type == "Cast"]
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    _, peaks = run_on_cpu(model, frames[:1])
    values = stored(model, [node.output[0].removesuffix(".exact") for node in convolutions], frames)
    assert all(np.array_equal(value, value.astype(np.float16)) for value in values)
    assert len(np.unique(values[0])) > 100
    assert all(node.output[0].removesuffix(".exact") in peaks for node in convolutions)
    assert all(cast.output[0] in peaks for cast in casts if cast.attribute[0].i == half)
    assert all(0 < peak < 1e4 for peak in peaks.values())
    other = run_on_cpu(model, frames[3:])[1]
    both = run_on_cpu(model, frames[[0, 3]])[1]
    assert both == {name: max(peaks[name], other[name]) for name in peaks}, "of all frames"
    assert any(peaks[name] > other[name] for name in peaks)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_casts_of_the_generator_itself_keep_what_they_cast_to(
    precision: Any, graph: Path, frames: Frames, tmp_path: Path
) -> None:
    """As a mask has them, ``x * (relu(x) != 0)``: to truth, to numbers, and to what they are."""
    model = onnx.load(graph)
    made: list[Any] = []
    for node in model.graph.node:
        made.append(node)
        if node.op_type == "Relu":
            (x,), (y,) = node.input, node.output
            node.output[0] = f"{y}.relu"
            made += [
                helper.make_node("Cast", [f"{y}.relu"], [f"{y}.truth"], to=TensorProto.BOOL),
                helper.make_node("Cast", [f"{y}.truth"], [f"{y}.mask"], to=TensorProto.FLOAT),
                helper.make_node("Cast", [f"{y}.mask"], [f"{y}.same"], to=TensorProto.FLOAT),
                helper.make_node("Mul", [x, f"{y}.same"], [y]),
            ]
    del model.graph.node[:]
    model.graph.node.extend(made)
    seal(model)
    masked = tmp_path / "masked.onnx"
    onnx.save(model, masked)
    exact, _ = run_on_cpu(onnx.load(graph), frames[:1])
    assert np.array_equal(run_on_cpu(model, frames[:1])[0], exact)
    typed = typed_graph(masked, precision, "native")
    onnx.checker.check_model(typed, full_check=True)
    got, peaks = run_on_cpu(rounded_graph(typed), frames[:1])
    assert {peak for name, peak in peaks.items() if name.endswith((".mask", ".same"))} == {1.0}
    assert np.array_equal(got, rounded(graph, frames[:1], precision, "native")[0])


def test_the_steps_of_a_native_norm_are_the_norm(graph: Path, frames: Frames) -> None:
    """In float32 the taken-apart norm gives what the operator gives: only rounding differs."""
    typed = typed_graph(graph, "float16", "native")
    model = rounded_graph(typed)
    for node in model.graph.node:
        if node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT16:
            node.attribute[0].i = onnx.TensorProto.FLOAT  # rounds no more
    exact, _ = run_on_cpu(onnx.load(graph), frames[:1])
    made, peaks = run_on_cpu(model, frames[:1])
    assert any(name.endswith(".square") for name in peaks)
    # The weights remain rounded.
    assert compare(made, exact).max_abs <= 2


def test_a_peak_is_no_number_where_that_of_any_frame_is_none() -> None:
    """Roots of what is above 0, and then of what is below."""
    nodes = [
        helper.make_node("Identity", ["frames"], ["made"]),
        helper.make_node("Cast", ["frames"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["numbers", "one"], ["less"]),
        helper.make_node("Sqrt", ["less"], ["root"]),
        helper.make_node("ReduceMax", ["root"], ["root" + PEAK], keepdims=0),
    ]
    frame = helper.make_tensor_value_info("frames", TensorProto.UINT8, [1, 1, 1, 3])
    made = helper.make_tensor_value_info("made", TensorProto.UINT8, [1, 1, 1, 3])
    peak = helper.make_tensor_value_info("root" + PEAK, TensorProto.FLOAT, [])
    one = helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
    body = helper.make_graph(nodes, "roots", [frame], [made, peak], [one])
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    _, peaks = run_on_cpu(model, np.array([[[[5, 5, 5]]], [[[0, 0, 0]]]], np.uint8))
    assert np.isnan(peaks["root"])
