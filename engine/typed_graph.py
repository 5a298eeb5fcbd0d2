"""A float32 frame-to-frame graph, rewritten so that every tensor has the type it is computed in.

TensorRT takes precision from the graph: strong typing. Between the first convolution and the last,
the body, tensors become 16 bits; what makes frames to numbers and back stays float32, where half a
grey level is at stake. Norms run in the body's type (the native route), or in float32 between two
casts, as their statistics may need: float16 ends at 65504, and a variance is a sum of squares.
"""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from cyclegan.engine.graph_info import graph_readable, read_graph_info
from cyclegan.errors import BackendError, ModelError

BodyPrecision = Literal["float16", "bfloat16", "float32"]
NormRoute = Literal["native", "float32"]
"""What norms run in: the body's type, or float32 between two casts."""
CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
NORMS = frozenset({"InstanceNormalization", "BatchNormalization"})
BFLOAT16_OPSET = 22
"""From it on convolutions and norms take bfloat16; since 20 nothing but types were added."""
_NOT_DATA = {"Resize": {1, 2}}
"""Float inputs that are no data and keep their type: the region and scales of a resize."""


def norm_type(norm: NormRoute, precision: BodyPrecision) -> BodyPrecision:
    """What the norms of a route compute in."""
    return "float32" if norm == "float32" else precision


def typed_graph(path: Path, precision: BodyPrecision, norm: NormRoute) -> Any:
    """The ONNX model (protobuf) of the frame graph at ``path``, strongly typed.

    Raises ModelError when ``path`` is no float32 frame-to-frame graph, or is damaged, BackendError
    when it has no convolution.
    """
    import onnx

    info = read_graph_info(path)
    if info.precision != "float32":
        raise ModelError(
            f"{path} was exported in {info.precision}; plans are made from the float32 graph, "
            "against which they are checked: export it again without --half"
        )
    if info.depth != 8:
        raise ModelError(
            f"{path} takes frames of {info.depth} bits a channel, which TensorRT does not; export "
            "it again with 8"
        )
    with graph_readable(path):
        model = onnx.load(path)
        if precision != "float32":
            _Typing(model, precision, norm).apply()
    if precision == "bfloat16":
        model.opset_import[0].version = BFLOAT16_OPSET
    dataclasses.replace(info, precision=precision).describe(model)
    return model


def body_nodes(graph: Any) -> set[int]:
    """Positions of the nodes from the first convolution to the last, and of what pads for them."""
    nodes = list(graph.node)
    makers = {name: i for i, node in enumerate(nodes) for name in node.output}
    behind: set[int] = set()  # a convolution, or fed by one
    for i, node in enumerate(nodes):
        if node.op_type in CONVOLUTIONS or any(makers.get(name) in behind for name in node.input):
            behind.add(i)
    ahead: set[int] = set()  # a convolution, or feeding one
    needed: set[str] = set()
    for i, node in reversed(list(enumerate(nodes))):
        if node.op_type in CONVOLUTIONS or not needed.isdisjoint(node.output):
            ahead.add(i)
            needed.update(node.input)
    body = behind & ahead
    for i in sorted(ahead - behind, reverse=True):
        if nodes[i].op_type == "Pad" and _feeds_only(nodes, i, body):
            body.add(i)
    return body


def _feeds_only(nodes: list[Any], i: int, body: set[int]) -> bool:
    made = set(nodes[i].output)
    return all(j in body for j, node in enumerate(nodes) if not made.isdisjoint(node.input))


class _Typing:
    """One rewriting: which type each float tensor has, and the casts that were added."""

    def __init__(self, model: Any, precision: BodyPrecision, norm: NormRoute) -> None:
        import onnx

        self._graph = model.graph
        self._half = onnx.TensorProto.DataType.Value(precision.upper())
        self._single = onnx.TensorProto.FLOAT
        self._norm = norm
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._types: dict[str, int] = {}
        """Of the float tensors that nodes have made so far."""
        self._floats = _float_tensors(model)
        self._made: dict[tuple[str, int], str] = {}
        self._nodes: list[Any] = []

    def apply(self) -> None:
        body = body_nodes(self._graph)
        if not body:
            raise BackendError("the graph has no convolution: it is no generator")
        for i, node in enumerate(list(self._graph.node)):
            wanted = self._half if i in body else self._single
            if node.op_type in NORMS and self._norm == "float32":
                wanted = self._single
            self._retype(node, wanted)
            self._nodes.append(node)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        self._drop_unused()

    def _retype(self, node: Any, wanted: int) -> None:
        fixed = _NOT_DATA.get(node.op_type, set())
        for position, name in enumerate(node.input):
            if name in self._floats and position not in fixed:
                node.input[position] = self._as(name, wanted)
        for name in node.output:
            if name in self._floats:
                self._types[name] = wanted
                if node.op_type == "Cast":  # of truth or whole numbers, as in a mask
                    next(item for item in node.attribute if item.name == "to").i = wanted

    def _as(self, name: str, wanted: int) -> str:
        """The name of the tensor ``name`` in the type ``wanted``."""
        have = self._types.get(name, self._single)
        if have == wanted:
            return name
        if (name, wanted) not in self._made:
            self._made[name, wanted] = self._converted(name, wanted)
        return self._made[name, wanted]

    def _converted(self, name: str, wanted: int) -> str:
        import onnx

        target = f"{name}.{onnx.TensorProto.DataType.Name(wanted).lower()}"
        if name in self._weights:
            values = onnx.numpy_helper.to_array(self._weights[name])
            dtype = onnx.helper.tensor_dtype_to_np_dtype(wanted)
            self._graph.initializer.append(
                onnx.numpy_helper.from_array(_rounded(values, dtype), target)
            )
        else:
            cast = onnx.helper.make_node("Cast", [name], [target], name=f"cast {target}", to=wanted)
            self._nodes.append(cast)
        return target

    def _drop_unused(self) -> None:
        used = {name for node in self._graph.node for name in node.input}
        kept = [tensor for tensor in self._graph.initializer if tensor.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)


def _rounded(values: Any, dtype: Any) -> Any:
    import numpy as np

    with np.errstate(over="ignore"):  # a weight beyond float16 becomes infinite: the gate sees it
        return values.astype(dtype)


def _float_tensors(model: Any) -> set[str]:
    """Names of all float32 tensors of the graph, constants included."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    single = onnx.TensorProto.FLOAT
    values = (*graph.value_info, *graph.input, *graph.output)
    return {tensor.name for tensor in graph.initializer if tensor.data_type == single} | {
        value.name for value in values if value.type.tensor_type.elem_type == single
    }
