"""A generator as an ONNX file that takes frames and gives frames.

N batch, H height, W width, C channels. The graph has one input ``frames``, uint8 (N, H, W, C), and
one output ``translated``, uint8 (N, H, W, C'), both uint16 in a graph of depth 16; N, H and W are
free, H and W multiples of the generator's ``size_multiple``. It uses standard operators of opset 20
alone. What a host must know about it stands in its metadata
(:class:`~cyclegan.engine.graph_info.GraphInfo`).
"""

import contextlib
import copy
import hashlib
import itertools
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from cyclegan.config import Depth, GeneratorConfig, as_dict
from cyclegan.engine.frame_graph import FrameToFrame, takes_away_constants
from cyclegan.engine.graph_info import INPUT, OPSET, OUTPUT, GraphInfo
from cyclegan.engine.graph_weights import add_biases, generator_of, why_no_generator
from cyclegan.engine.onnx_header import GRAPH_DIGEST
from cyclegan.engine.tracing import tracing
from cyclegan.errors import BackendError
from cyclegan.files import replacing
from cyclegan.layers import BeforeNorm
from cyclegan.network_config import check_domains
from cyclegan.networks import Generator, alteration, check_kind
from cyclegan.plain_values import one_of

GraphPrecision = Literal["float32", "float16"]
_FRAMES: dict[Depth, torch.dtype] = {8: torch.uint8, 16: torch.uint16}
_Size = tuple[int, int, int]
_EXPORTED: _Size = (2, 1, 2)
"""The batch that is exported, and by how many multiples its H and W are above the least."""
_COMPARED: _Size = (3, 3, 5)
"""Likewise of a second export: no side, ratio or area is the first one's."""


def onnx_from_generator(
    generator: Generator,
    path: str | Path,
    *,
    precision: GraphPrecision = "float32",
    domains: tuple[str, str] = ("A", "B"),
    depth: Depth = 8,
) -> Path:
    """Write the frame-to-frame graph of ``generator`` to ``path``, and return ``path``.

    ``precision`` is that of the weights and the arithmetic inside: ``float16`` is meant for GPUs
    that take precision from the graph. ``domains`` name what the generator translates from and to.
    ``depth``: bits a channel of the frames, 8 or 16. The generator itself stays as it is; the graph
    of one whose modules were changed, or whose layers share weights, runs as a graph alone, not
    with PyTorch. Raises ModelError for what is no generator, ConfigError for another precision or
    depth and domains that are not two names, BackendError when PyTorch's exporter refuses the
    module or its layers depend on the size of the frames, and OutputError when ``path`` cannot be
    written.
    """
    import onnx

    check_kind(generator, Generator)
    check_domains(domains, 2)
    one_of(GraphPrecision, precision=precision)
    one_of(Depth, depth=depth)
    path = Path(path)
    altered = alteration(generator) is not None
    info = GraphInfo(
        config=generator.config,
        domains=domains,
        precision=precision,
        weights_sha256="" if altered else weights_digest(generator),
        depth=depth,
    )
    with replacing(path) as temporary:  # refused before the work, where it cannot be written
        network = _frozen(generator, getattr(torch, precision), altered=altered)
        model = _exported(network, _FRAMES[depth], _EXPORTED)
        if altered:  # those as configured are known not to compute with sizes
            _check_alike(model, _exported(network, _FRAMES[depth], _COMPARED))
        _free_sizes(model)
        info.describe(model)
        if why_no_generator(info) is None:
            add_biases(model, generator)
            # The exporter makes one of weights that are equal.
            if generator_of(model, info) is None:
                replace(info, weights_sha256="").describe(model)
        seal(model)
        onnx.checker.check_model(model)
        onnx.save(model, temporary)
    return path


def weights_digest(generator: Generator) -> str:
    """SHA-256 over the configuration and every tensor of a generator, in hexadecimal.

    In float32, as they are exported, whatever the generator computes in.
    """
    digest = hashlib.sha256(json.dumps(as_dict(generator.config), sort_keys=True).encode())
    for name, tensor in sorted(generator.state_dict().items()):
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _frozen(generator: Generator, dtype: torch.dtype, *, altered: bool) -> FrameToFrame:
    """A copy of ``generator`` in ``dtype``, to be exported; ``altered``: it is not as its
    configuration says."""
    frozen = copy.deepcopy(generator).cpu().eval().requires_grad_(False).to(dtype)
    if not altered and frozen.config.norm == "instance":
        for module in frozen.modules():
            if isinstance(module, BeforeNorm):
                module.bias = None  # the norm would take away no more than nearly all of it
    flat_as_zero = not altered and takes_away_constants(frozen.config)
    return FrameToFrame(frozen, dtype, flat_as_zero=flat_as_zero).eval()


def _exported(network: FrameToFrame, frames: torch.dtype, size: _Size) -> Any:
    """The ONNX model (protobuf) of ``network``, for ``frames``."""
    config: GeneratorConfig = network.generator.config  # type: ignore[assignment]
    multiple = config.size_multiple
    batch, *sides = size
    height, width = (max(8, multiple) + side * multiple for side in sides)
    example = torch.zeros((batch, height, width, config.in_channels), dtype=frames, device="cpu")
    try:
        # Of one size: symbols for N, H and W would give the same graph in several times the time,
        # since none of our networks computes with its sizes. `_check_alike` refuses one that does.
        with tracing.exporting(), _quietly(), torch.autocast("cpu", enabled=False):
            program = torch.onnx.export(
                network,
                (example,),
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise BackendError(f"PyTorch cannot export this generator to ONNX: {error}") from error
    assert program is not None
    model = program.model_proto
    _tidy(model)
    return model


def _tidy(model: Any) -> None:
    """Drop the exporter's notes, and shapes inside the graph, which every reader infers."""
    del model.graph.value_info[:]
    for item in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        del item.metadata_props[:]
        item.doc_string = ""
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]


def _check_alike(model: Any, other: Any) -> None:
    """Raises BackendError unless ``other``, exported of another size, computes the very same."""
    ours, others = ({item.name: item for item in made.graph.initializer} for made in (model, other))
    for node, twin in itertools.zip_longest(model.graph.node, other.graph.node):
        if node != twin or any(ours.get(name) != others.get(name) for name in node.input):
            raise BackendError(
                f"this generator cannot be exported for every size: {(node or twin).name} computes "
                "otherwise for frames of another size or number; its layers should not depend on "
                "them"
            )


def _free_sizes(model: Any) -> None:
    """Let N, H and W be any, in a graph that was exported of one size.

    Raises BackendError where something inside has that size for good.
    """
    import onnx

    for value in (*model.graph.input, *model.graph.output):
        for size, name in zip(value.type.tensor_type.shape.dim, "NHW"):
            size.dim_param = name
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        shape = value.type.tensor_type.shape.dim
        sizes = [size.dim_value for size in shape if size.dim_value > 1]  # what is pooled has 1
        if len(sizes) > 1:  # more than the channels
            raise BackendError(
                f"this generator cannot be exported for every size: {value.name} has the sizes "
                f"{sizes} whatever the frames are; its layers should not depend on them"
            )


def seal(model: Any) -> None:
    """Add the SHA-256 of the file as it is without it, which tells a damaged copy from a whole.

    ``model`` is a ModelProto; a seal that it has, from before a change, goes.
    """
    entries = model.metadata_props
    for old in [item for item in entries if item.key == GRAPH_DIGEST]:
        entries.remove(old)
    digest = hashlib.sha256(model.SerializeToString()).hexdigest()
    entries.add(key=GRAPH_DIGEST, value=digest)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporter's remarks on missing libraries and its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
