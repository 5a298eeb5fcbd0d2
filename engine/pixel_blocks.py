"""The last convolution of a graph as a CPU's vector registers like it: 2x2 pixels at a time.

C channels, K side of a kernel. The same numbers, but for the order of sums.
"""

from typing import Any

import numpy as np

FEW = 4
"""Output channels that leave most lanes of a vector register idle."""


def last_in_blocks(model: Any) -> None:
    """Have the last convolution of ``model`` (ONNX protobuf) give 2x2 pixels at a time.

    A picture has 3 channels and a register 8 or 16 lanes. As one convolution of (K + 1) x (K + 1)
    and stride 2 with 4 C outputs, each kernel at its place in the larger one, it does (K + 1)^2 /
    K^2 of the products in a third or a quarter of the registers. Depth to space puts the pixels
    side by side again. Height and width are even; a convolution that is not of this kind stays.
    """
    import onnx
    from onnx import numpy_helper

    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    if not nodes or nodes[-1].input[1] not in weights:
        return
    last = nodes[-1]
    kernel = numpy_helper.to_array(weights[last.input[1]])
    channels, inputs, high, wide = kernel.shape
    given = {item.name: onnx.helper.get_attribute_value(item) for item in last.attribute}
    plain = {"strides": [1, 1], "dilations": [1, 1], "pads": [0] * 4, "group": 1}
    if channels > FEW or any(given.get(name, usual) != usual for name, usual in plain.items()):
        return
    blocks = np.zeros((2, 2, channels, inputs, high + 1, wide + 1), kernel.dtype)
    for down in range(2):
        for right in range(2):
            blocks[down, right, :, :, down : down + high, right : right + wide] = kernel
    larger = [("weight", blocks.reshape(4 * channels, inputs, high + 1, wide + 1))]
    if len(last.input) > 2:
        larger.append(("bias", np.tile(numpy_helper.to_array(weights[last.input[2]]), 4)))
    names = [f"{last.name}.blocks.{name}" for name, _ in larger]
    graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, (_, value) in zip(names, larger)
    )
    made = last.output[0]
    convolution = onnx.helper.make_node(
        "Conv", [last.input[0], *names], [f"{made}.blocks"], name=last.name, strides=[2, 2]
    )
    side_by_side = onnx.helper.make_node(
        "DepthToSpace", convolution.output, [made], name=f"{last.name}.side_by_side", blocksize=2
    )
    at = list(graph.node).index(last)
    rest = list(graph.node)[at + 1 :]
    del graph.node[at:]
    graph.node.extend([convolution, side_by_side, *rest])
