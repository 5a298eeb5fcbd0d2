"""The generator inside a frame-to-frame graph, which holds its weights whole and by their names.

So a file that was exported for one backend can still be run by all of them, tiled, steadied, and
exported otherwise. Biases that the graph computes nothing with, since a norm takes them away
again, stand in its metadata.
"""

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclegan.engine.graph_info import GraphInfo, graph_readable
from cyclegan.errors import ModelError

if TYPE_CHECKING:
    from cyclegan.networks import Generator

PREFIX = "generator."
"""Of the names, since the graph is a FrameToFrame's."""
BIASES = "cyclegan.biases"
"""The metadata's key: all biases that are no tensors of the graph, one after the other in the order
of the generator's state, as float32, little-endian, in base64."""


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

    Raises ModelError where the file is damaged, or holds other weights than ``info`` says.
    """
    import onnx

    with graph_readable(path):
        model = onnx.load(path, load_external_data=False)
        generator = generator_of(model, info)
    if generator is None:
        raise ModelError(
            f"{path} does not hold the weights that it was exported with; open it with "
            "backend='openvino', or the file that it was exported from"
        )
    return generator


def add_biases(model: Any, generator: "Generator") -> None:
    """Put the biases that are no tensors of ``model`` (ModelProto) into its metadata."""
    held = {tensor.name.removeprefix(PREFIX) for tensor in model.graph.initializer}
    lacking = [
        tensor.detach().cpu().float().numpy().astype("<f4").tobytes()
        for name, tensor in generator.state_dict().items()
        if tensor.ndim == 1 and name not in held
    ]
    text = base64.b64encode(b"".join(lacking)).decode()
    model.metadata_props.add(key=BIASES, value=text)


def _biases(model: Any, size: int) -> Any:
    """``size`` numbers, of those that are no tensors: zeros in graphs of before, which have all
    others. None where there are not as many."""
    import numpy as np

    text = next((item.value for item in model.metadata_props if item.key == BIASES), None)
    if text is None:
        return np.zeros(size, np.float32)
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return np.frombuffer(content, "<f4") if len(content) == 4 * size else None


def generator_of(model: Any, info: GraphInfo) -> "Generator | None":
    """The generator in ``model`` (ModelProto), in evaluation mode; None where its weights are not
    those that ``info`` speaks of."""
    import torch
    from onnx import numpy_helper
    from onnx.external_data_helper import uses_external_data

    from cyclegan.engine.export import weights_digest
    from cyclegan.networks import empty, to_be_filled

    held = {
        tensor.name.removeprefix(PREFIX): torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in model.graph.initializer
        if not uses_external_data(tensor)  # ours never are: other files are not read
    }
    shapes = {name: value.shape for name, value in empty(info.config).state_dict().items()}
    lacking = [name for name, shape in shapes.items() if len(shape) == 1 and name not in held]
    sizes = [shapes[name].numel() for name in lacking]
    if (biases := _biases(model, sum(sizes))) is None:
        return None
    held |= zip(lacking, torch.split(torch.from_numpy(biases.copy()), sizes))
    # Before memory is taken for the network: that may not be the one that the file speaks of.
    if not all(name in held and held[name].shape == shape for name, shape in shapes.items()):
        return None
    generator: Generator = to_be_filled(info.config)
    generator.load_state_dict({name: held[name] for name in shapes})
    if weights_digest(generator) != info.weights_sha256:
        return None
    return generator.eval().requires_grad_(False)
