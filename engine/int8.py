"""A float32 graph with its convolutions in 8 bits, for CPUs.

N batch, H height, W width, C channels. Affine quantisation (Jacob et al. 2018, section 2.1) after
training (Krishnamoorthi 2018, section 3.1): weights are int8 with a scale for each output channel,
what goes into a convolution is uint8 with one scale and zero. Sums stay as wide as they are, and
norms, pixels and the residual path floating. The first convolution stays floating too, since dark
pictures, whose small differences a norm magnifies, must not be rounded twice; and the last, whose
rounding would be seen.

Scales come from the ranges that a few frames reach. Instance norm keeps ranges alike whatever the
picture, so that built-in frames do: two real ones, and two of little light in the dark and little
dark in the light, which reach furthest; for a generator without such norms, pictures of one's own
are worth more. ONNX Runtime's quantiser writes the graph, as Q/DQ pairs of
standard operators; OpenVINO runs it.
"""

import contextlib
import dataclasses
import importlib.metadata
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import cyclegan
from cyclegan.engine import pixel_blocks
from cyclegan.engine.cache import cached, check_unchanged, code_digest, file_digest
from cyclegan.engine.frames import Frames
from cyclegan.engine.graph_info import INPUT, GraphInfo, graph_readable, read_graph_info
from cyclegan.engine.ort_errors import ort_errors
from cyclegan.engine.parity import Parity, compare
from cyclegan.engine.plan_settings import LEAST_PSNR_DB
from cyclegan.engine.real_frames import PICTURE, built_in_frames
from cyclegan.engine.typed_graph import CONVOLUTIONS
from cyclegan.errors import UNIMPORTABLE, BackendError, ModelError

COPIES = frozenset({"Pad", "Resize"})
"""Of the graphs here, both with pixels that are there."""
EXTREME, SPOT = 256, 32
"""Sides of the built-in frames of extremes, and of the square in their middle, in pixels."""
_SHAPING = ("int8.py", "pixel_blocks.py", "real_frames.py", "graph_info.py")


def int8_graph(graph: Path) -> Path:
    """The float32 ``graph`` in 8 bits, from the cache where it was made before.

    Raises as :func:`quantized_onnx` does.
    """
    key = {
        "onnx": file_digest(graph),
        "cyclegan": cyclegan.__version__,
        "onnxruntime": _onnxruntime().__version__,
        "onnx_library": importlib.metadata.version("onnx"),
        "code": _code_digest(),
    }

    def build(path: Path) -> dict[str, Any]:
        parity = quantized_onnx(graph, path)
        check_unchanged(graph, key["onnx"])
        return dataclasses.asdict(parity)

    return cached("int8.onnx", key, build)


def _code_digest() -> str:
    """Of what shapes a graph: code, and the frames that give ranges."""
    return code_digest(*(Path(__file__).with_name(name) for name in _SHAPING), PICTURE)


def quantized_onnx(graph: Path, target: Path, pictures: Frames | None = None) -> Parity:
    """Write the float32 ``graph`` in 8 bits to ``target``; how far its pictures are from float32.

    ``pictures``, uint8 (N, H, W, C), are like those that will be translated: their ranges count
    beside those of the built-in frames, and they are compared, where there are none the built-in
    ones. Raises ModelError for a graph that is damaged or not float32 of 8-bit frames, BackendError
    where ONNX Runtime or OpenVINO is missing, ONNX Runtime cannot run the graph, or either kind of
    frames is too far.
    """
    from cyclegan.engine.runners import openvino

    _onnxruntime()
    if reason := openvino.why_missing():
        raise BackendError(f"8-bit graphs are compared with float32 in OpenVINO: {reason}")
    info = read_graph_info(graph)
    if (info.precision, info.depth) != ("float32", 8):
        raise ModelError(
            f"{graph} is in {info.precision}, for frames of {info.depth} bits a channel; expected "
            "float32 and 8: export it again without --half, --int8 and --depth"
        )
    channels, multiple = info.config.in_channels, info.config.size_multiple
    real = [built_in_frames(channels, multiple), *([] if pictures is None else [pictures])]
    _write(graph, target, [*real, *_extremes(channels, multiple)], info)
    made, exact = (_translated(path, real) for path in (target, graph))
    parities = [compare(*pair) for pair in zip(made, exact)]
    for parity in parities:
        if not parity.psnr_db >= LEAST_PSNR_DB:
            raise BackendError(
                f"in 8 bits this generator is {parity.psnr_db:.1f} dB from float32 (largest "
                f"difference {parity.max_abs}); at least {LEAST_PSNR_DB:g} dB are asked for: use "
                "another precision"
            )
    return parities[-1]


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except UNIMPORTABLE as error:
        raise BackendError(
            "8-bit graphs are written by ONNX Runtime's quantiser, which cannot be imported: "
            f"{error}; pip install onnxruntime"
        ) from error
    return onnxruntime


def _extremes(channels: int, multiple: int) -> list[Frames]:
    """A light square in the dark, and a dark one in the light: (1, H, W, C) each."""
    side = -(-EXTREME // multiple) * multiple
    dark = np.zeros((1, side, side, channels), np.uint8)
    first = (side - SPOT) // 2
    dark[:, first : first + SPOT, first : first + SPOT] = 255
    return [dark, 255 - dark]


def _write(graph: Path, target: Path, batches: Sequence[Frames], info: GraphInfo) -> None:
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    from cyclegan.engine.export import seal

    with graph_readable(graph):
        model = onnx.load(graph)
    convolutions = [node.name for node in model.graph.node if node.op_type in CONVOLUTIONS]
    with _quietly(), ort_errors():
        quantize_static(
            model,
            target,
            _Given(batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(CONVOLUTIONS),
            nodes_to_exclude=[convolutions[0], convolutions[-1]],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # What a convolution gives goes into a norm, which is floating.
            extra_options={"OpTypesToExcludeOutputQuantization": list(CONVOLUTIONS)},
        )
    made = onnx.load(target)
    _round_before_copies(made)
    pixel_blocks.last_in_blocks(made)
    dataclasses.replace(info, precision="int8").describe(made)
    seal(made)
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, target)


def _round_before_copies(model: Any) -> None:
    """Move each Q/DQ pair before what only copies, so that this copies bytes, not floats."""
    from onnxruntime.quantization.onnx_model import ONNXModel

    makers = {name: node for node in model.graph.node for name in node.output}
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for rounding in [node for node in model.graph.node if node.op_type == "QuantizeLinear"]:
        (restoring,) = readers[rounding.output[0]]
        copied, restored = rounding.input[0], restoring.output[0]
        given, first = copied, None
        while (maker := makers.get(given)) and maker.op_type in COPIES and len(readers[given]) == 1:
            first, given = maker, maker.input[0]
        if first is None:
            continue
        for reader in readers[restored]:
            reader.input[:] = [copied if name == restored else name for name in reader.input]
        rounding.input[0] = given
        first.input[0] = restored
    ONNXModel(model).topological_sort()


class _Given:
    """Batches, frame by frame, as the quantiser asks for them."""

    def __init__(self, batches: Sequence[Frames]) -> None:
        self._left = (frame[None] for batch in batches for frame in batch)

    def get_next(self) -> dict[str, Frames] | None:
        """The next input, or None."""
        frame = next(self._left, None)
        return None if frame is None else {INPUT: frame}


def _translated(path: Path, batches: Sequence[Frames]) -> list[Frames]:
    """By OpenVINO, which will run it; frame by frame, since large batches take much memory."""
    from cyclegan.engine.runners.openvino import shared_core

    hints = {"INFERENCE_PRECISION_HINT": "f32"}
    request = shared_core().compile_model(str(path), "CPU", hints).create_infer_request()
    return [
        np.concatenate([request.infer({0: frame[None]})[0].copy() for frame in batch])
        for batch in batches
    ]


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the quantiser's advice, which it gives through the root of all loggers."""
    root = logging.getLogger()

    def warned(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    root.addFilter(warned)
    try:
        yield
    finally:
        root.removeFilter(warned)
