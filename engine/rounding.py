"""What 16 bits do to a graph's pictures, on a machine without a GPU.

The strongly typed graph is rewritten in float32 with every 16-bit tensor rounded to its type and
back, so that any CPU shows what the rounding and the overflow of the stored tensors do. Sums inside
a convolution stay float32, as in a GPU's tensor cores. A norm of the native route is taken apart
and each of its steps is rounded: the most that an engine may lose there, so that this errs on the
side of refusing. It is the same graph, but not the engine's own arithmetic.
"""

import copy
from typing import Any

import numpy as np

from cyclegan.engine.frames import Frames
from cyclegan.engine.graph_info import OPSET
from cyclegan.engine.ort_errors import ort_errors
from cyclegan.errors import BackendError

PEAK = ".peak"


def rounded_graph(typed: Any) -> Any:
    """``typed`` (ONNX protobuf) in float32, with its 16-bit tensors rounded where they are made."""
    import onnx

    model = copy.deepcopy(typed)
    graph = model.graph
    halves = _half_tensors(model)
    made = [name for node in graph.node for name in node.output if name in halves]
    nodes: list[Any] = []
    for node in graph.node:
        if node.op_type == "InstanceNormalization" and node.output[0] in halves:
            nodes += _norm_in_steps(node, halves[node.output[0]])
            made.append(f"{node.output[0]}.square")  # the first to overflow
        else:
            nodes += _rounding_node(node, halves)
    for name in made:
        nodes += _peak_nodes(name)
        graph.output.append(onnx.helper.make_tensor_value_info(name + PEAK, 1, []))
    del graph.node[:]
    graph.node.extend(nodes)
    for tensor in graph.initializer:
        if tensor.name in halves:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    model.opset_import[0].version = OPSET
    return model


def run_on_cpu(model: Any, frames: Frames) -> tuple[Frames, dict[str, float]]:
    """Translate uint8 (N, H, W, C) with a frame-to-frame graph (ONNX protobuf), one by one.

    Also returns the largest magnitude that each tensor had before it was rounded, by name; of a
    graph without rounding there are none. In ONNX Runtime, since OpenVINO leaves out what rounds.
    Raises BackendError where it is missing, or cannot run the graph.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(
            "without a GPU a plan is checked by ONNX Runtime, which is not installed; "
            "pip install onnxruntime, or build with check=False (--no-check)"
        ) from error
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    with ort_errors():
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        name = session.get_inputs()[0].name
        made = [session.run(None, {name: frame[None]}) for frame in frames]
    names = [output.name.removesuffix(PEAK) for output in session.get_outputs()[1:]]
    # Of all frames; NaN if one of them has NaN, which Python's max would pass over.
    peaks = {name: float(np.max([run[i] for run in made])) for i, name in enumerate(names, 1)}
    return np.concatenate([run[0] for run in made]), peaks


def _half_tensors(model: Any) -> dict[str, int]:
    """The 16-bit float tensors and their types."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer} | {
        value.name: value.type.tensor_type.elem_type for value in graph.value_info
    }
    halves = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    return {name: kind for name, kind in kinds.items() if kind in halves}


def _rounding_node(node: Any, halves: dict[str, int]) -> list[Any]:
    """``node`` in float32, with each 16-bit output rounded."""
    import onnx

    if node.op_type == "Cast" and node.output[0] in halves:
        next(item for item in node.attribute if item.name == "to").i = onnx.TensorProto.FLOAT
    nodes = [node]
    for position, name in enumerate(node.output):
        if name in halves:
            node.output[position] = f"{name}.exact"
            nodes += _round(f"{name}.exact", name, halves[name])
    return nodes


def _peak_nodes(name: str) -> list[Any]:
    """The largest magnitude of ``name`` before it was rounded, as an output of its own."""
    import onnx

    return [
        onnx.helper.make_node("Abs", [f"{name}.exact"], [f"{name}.magnitude"]),
        onnx.helper.make_node("ReduceMax", [f"{name}.magnitude"], [name + PEAK], keepdims=0),
    ]


def _round(source: str, target: str, kind: int) -> list[Any]:
    import onnx

    return [
        onnx.helper.make_node("Cast", [source], [f"{target}.stored"], to=kind),
        onnx.helper.make_node("Cast", [f"{target}.stored"], [target], to=onnx.TensorProto.FLOAT),
    ]


def _norm_in_steps(node: Any, kind: int) -> list[Any]:
    """An instance norm with every intermediate rounded: mean, deviation, square, variance, ..."""
    import onnx

    x, scale, bias = node.input
    (y,) = node.output
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    nodes: list[Any] = []

    def constant(what: str, value: Any) -> str:
        tensor = onnx.numpy_helper.from_array(value, f"{y}.{what}")
        nodes.append(onnx.helper.make_node("Constant", [], [tensor.name], value=tensor))
        return str(tensor.name)

    def step(what: str, operation: str, *inputs: str, **attributes: Any) -> str:
        name = y if what == "y" else f"{y}.{what}"
        nodes.append(onnx.helper.make_node(operation, inputs, [f"{name}.exact"], **attributes))
        nodes.extend(_round(f"{name}.exact", name, kind))
        return name

    axes = constant("axes", np.array([2, 3], np.int64))
    small = constant("epsilon", np.array(epsilon, np.float32))
    column = constant("column", np.array([1, -1, 1, 1], np.int64))
    mean = step("mean", "ReduceMean", x, axes, keepdims=1)
    deviation = step("deviation", "Sub", x, mean)
    square = step("square", "Mul", deviation, deviation)
    variance = step("variance", "ReduceMean", square, axes, keepdims=1)
    spread = step("spread", "Sqrt", step("guarded", "Add", variance, small))
    normal = step("normal", "Div", deviation, spread)
    scaled = step("scaled", "Mul", normal, step("scale", "Reshape", scale, column))
    step("y", "Add", scaled, step("bias", "Reshape", bias, column))
    return nodes
