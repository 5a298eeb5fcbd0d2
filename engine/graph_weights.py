"""The generator inside a frame-to-frame graph, which holds its weights whole and by their names.

So a file that was exported for one backend can still be run by all of them, tiled, steadied, and
exported otherwise.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from cyclegan.engine.graph_info import GraphInfo
from cyclegan.errors import ModelError

if TYPE_CHECKING:
    from cyclegan.networks import Generator

PREFIX = "generator."
"""Of the names, since the graph is a FrameToFrame's."""


def why_no_generator(info: GraphInfo) -> str | None:
    """Why a graph's weights are no longer the generator's, or None."""
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
    import torch
    from onnx import numpy_helper
    from onnx.external_data_helper import uses_external_data

    from cyclegan.engine.export import weights_digest
    from cyclegan.networks import generator_from_config, to_be_filled

    tensors = onnx.load(path, load_external_data=False).graph.initializer
    held = {
        tensor.name.removeprefix(PREFIX): torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in tensors
        if not uses_external_data(tensor)  # ours never are: other files are not read
    }
    generator = to_be_filled(generator_from_config(info.config))
    # Biases of nothing but zeros, as before any training, are one tensor in a graph.
    zeros = {name: torch.zeros_like(value) for name, value in generator.state_dict().items()}
    try:
        generator.load_state_dict({name: held.get(name, zeros[name]) for name in zeros})
        whole = weights_digest(generator) == info.weights_sha256
    except RuntimeError:  # another shape
        whole = False
    if not whole:
        raise ModelError(
            f"{path} does not hold the weights that it was exported with; open it with "
            "backend='openvino', or the file that it was exported from"
        )
    return generator.eval().requires_grad_(False)
