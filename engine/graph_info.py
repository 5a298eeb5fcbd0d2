"""What a frame-to-frame ONNX file says about itself, readable without PyTorch and ONNX."""

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cyclegan
from cyclegan.config import Depth, GeneratorConfig, as_dict, from_dict
from cyclegan.engine.onnx_header import GRAPH_DIGEST, read_onnx_header
from cyclegan.errors import CycleGANError, ModelError, NewerFormatError, reason_of

FORMAT_VERSIONS: dict[Depth, int] = {8: 1, 16: 2}
"""Of the graph's interface and metadata, by the depth of its frames: a reader refuses what is newer
than it knows, and so those that know 8 bits alone refuse 16."""
FORMAT_VERSION = max(FORMAT_VERSIONS.values())
OPSET = 20
INPUT, OUTPUT = "frames", "translated"
_PREFIX = "cyclegan."
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class GraphInfo:
    """The metadata of a frame-to-frame graph."""

    config: GeneratorConfig
    domains: tuple[str, str] = ("A", "B")
    """What the generator translates from, and to."""
    precision: str = "float32"
    """Of the weights and the arithmetic inside the graph."""
    weights_sha256: str = ""
    """Of a generator that is as ``config`` says; empty where the graph does not give that back."""
    depth: Depth = 8
    """Bits a channel of the frames: uint8 or uint16."""

    def to_metadata(self) -> dict[str, str]:
        """As the strings that travel in the file."""
        values = {
            "format_version": str(FORMAT_VERSIONS[self.depth]),
            "library_version": cyclegan.__version__,
            "config": json.dumps(as_dict(self.config)),
            "domains": json.dumps(self.domains),
            "size_multiple": str(self.config.size_multiple),
            "precision": self.precision,
            "weights_sha256": self.weights_sha256,
            "value_range": f"uint{self.depth} 0..{2**self.depth - 1}, RGB, NHWC",
        }
        return {_PREFIX + key: value for key, value in values.items()}

    def describe(self, model: Any) -> None:
        """Make this all the metadata of ``model``, a ModelProto."""
        del model.metadata_props[:]
        for key, text in self.to_metadata().items():
            model.metadata_props.add(key=key, value=text)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path: Path) -> "GraphInfo":
        """From a file's strings. Raises ModelError when they are not ours."""
        values = {key.removeprefix(_PREFIX): metadata[key] for key in metadata if _PREFIX in key}
        if "format_version" not in values:
            raise ModelError(
                f"{path} is an ONNX file, but not a frame-to-frame graph: it lacks the metadata "
                f"{_PREFIX}format_version; where another program wrote it, give the .pth or "
                ".safetensors file that it was made from, or what `cyclegan export` makes of that"
            )
        try:
            version = int(values["format_version"])
        except ValueError as error:
            raise ModelError(
                f"{path} has graph format {values['format_version']!r}; expected a number; "
                "export it again"
            ) from error
        if version > FORMAT_VERSION:
            raise NewerFormatError(
                f"{path} has graph format {version}; this version reads up to {FORMAT_VERSION}; "
                "install a newer cyclegan-engine"
            )
        try:
            source, target = map(str, json.loads(values["domains"]))
            return cls(
                config=from_dict(GeneratorConfig, json.loads(values["config"])),
                domains=(source, target),
                precision=values["precision"],
                weights_sha256=values["weights_sha256"],
                depth=next(d for d, known in FORMAT_VERSIONS.items() if known >= version),
            )
        except (
            KeyError,
            ValueError,
            TypeError,
            AttributeError,
            RecursionError,
            CycleGANError,
        ) as error:
            raise ModelError(f"{path} has damaged metadata: {error!r}; export it again") from error


def read_graph_info(path: Path) -> GraphInfo:
    """The metadata of the ONNX file at ``path``, once its checksum was verified. Raises ModelError,
    for one whose weights are in another file too.

    A file without a checksum is taken, and reported in the log.
    """
    try:
        header = read_onnx_header(path.read_bytes())
    except OSError as error:
        raise ModelError(f"cannot read {path}: {reason_of(error)}") from error
    except ValueError as error:
        raise ModelError(
            f"{path} is not an ONNX file, or is damaged: {error}; export it again"
        ) from error
    ours = _PREFIX + "format_version" in header.metadata  # others are told below what they are
    if ours and header.elsewhere is not None:  # no checksum and no cache's key would tell a change
        raise ModelError(
            f"{path} has weights in another file, {header.elsewhere!r}; expected all in the one: "
            "export it again, which writes them there"
        )
    written = header.metadata.get(GRAPH_DIGEST)
    if written is not None and written != header.digest:
        raise ModelError(
            f"{path} is damaged: its SHA-256 is {header.digest}, and {written[:99]} was written; "
            "make it again"
        )
    info = GraphInfo.from_metadata(header.metadata, path)
    if written is None:
        _log.warning("%s has no checksum; export it again to have one", path)
    return info


@contextlib.contextmanager
def graph_readable(path: Path) -> Iterator[None]:
    """Raises ModelError for what ONNX makes of the damaged bytes of ``path``, which had no checksum
    that told them."""
    from google.protobuf.message import DecodeError
    from onnx.shape_inference import InferenceError

    try:
        yield
    except (DecodeError, InferenceError, KeyError, TypeError, ValueError) as error:
        reason = reason_of(error).splitlines()[0]  # ONNX names every node that comes after, too
        raise ModelError(
            f"{path} is damaged: {type(error).__name__}: {reason}; export it again"
        ) from error
