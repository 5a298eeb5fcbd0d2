"""The generator inside a frame-to-frame graph, which holds its weights whole and by their names.

So a file that was exported for one backend can still be run by all of them, tiled, steadied, and
exported otherwise.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclegan.engine.graph_info import GraphInfo
from cyclegan.errors import ModelError

if TYPE_CHECKING:
    from cyclegan.networks import Generator

PREFIX = "generator."
"""Of the names, since the graph is a FrameToFrame's."""


def why_no_generator(info: GraphInfo) -> str | None:
    """Why a graph's weights are no longer the generator's, or None."""
    if not info.weights_sha256:
        return (
            "the generator was not as its configuration says, or two of its layers had equal "
            "weights, which are one in a graph"
        )
    if info.precision != "float32":
        return f"its weights were rounded to {info.precision}"
    if info.config.norm == "batch":
        return "its batch norms went into its convolutions"
    return None


def generator_from_graph(path: Path, info: GraphInfo) -> "Generator":
    """The generator that the graph at ``path`` was exported from, in evaluation mode.

    Raises ModelError where the file holds other weights than ``info`` says.
    """
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    if (generator := generator_of(graph.initializer, info)) is None:
        raise ModelError(
            f"{path} does not hold the weights that it was exported with; open it with "
            "backend='openvino', or the file that it was exported from"
        )
    return generator


def generator_of(tensors: Iterable[Any], info: GraphInfo) -> "Generator | None":
    """The generator in a graph's ``tensors`` (TensorProto), in evaluation mode; None where they are
    not the weights that ``info`` speaks of."""
    import torch
    from onnx import numpy_helper
    from onnx.external_data_helper import uses_external_data

    from cyclegan.engine.export import weights_digest
    from cyclegan.networks import empty, to_be_filled

    held = {
        tensor.name.removeprefix(PREFIX): torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in tensors
        if not uses_external_data(tensor)  # ours never are: other files are not read
    }
    shapes = {name: value.shape for name, value in empty(info.config).state_dict().items()}
    # Biases of nothing but zeros, as before any training, are one tensor in a graph.
    for name, shape in shapes.items():
        if len(shape) == 1 and name not in held:
            held[name] = torch.zeros(shape, dtype=torch.float32, device="cpu")
    # Before memory is taken for the network: that may not be the one that the file speaks of.
    if not all(name in held and held[name].shape == shape for name, shape in shapes.items()):
        return None
    generator: Generator = to_be_filled(info.config)
    generator.load_state_dict({name: held[name] for name in shapes})
    if weights_digest(generator) != info.weights_sha256:
        return None
    return generator.eval().requires_grad_(False)
