"""What a translator is opened with: a model file, or a generator in memory.

Backends ask it for what they run on, a PyTorch module or an ONNX file; either is made when it is
first asked for. A model whose graph is in the cache already is opened without PyTorch.
"""

import copy
import importlib.metadata
import os
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cyclegan
from cyclegan.config import Depth
from cyclegan.engine.cache import Key, cached, check_unchanged, code_digest, file_digest, find
from cyclegan.engine.graph_info import FORMAT_VERSIONS, OPSET, GraphInfo, read_graph_info
from cyclegan.engine.graph_weights import generator_from_graph, why_no_generator
from cyclegan.engine.plan_file import PlanFile, looks_like_plan, read_plan
from cyclegan.errors import BackendError, ModelError, model_readable
from cyclegan.reference_domains import domains_of
from cyclegan.shipped import find_model

if TYPE_CHECKING:
    from cyclegan.networks import Generator

_PACKAGE = Path(cyclegan.__file__).parent
_SHAPING = (
    "checkpoint.py",
    "layers.py",
    "networks.py",
    "reference.py",
    "reference_names.py",
    "engine/export.py",
    "engine/frame_graph.py",
    "engine/graph_info.py",
    "engine/graph_weights.py",
    *sorted(f"kernels/{path.name}" for path in (_PACKAGE / "kernels").glob("*.py")),
)


class Source(Protocol):
    """A generator, as a backend may ask for it."""

    name: str
    """What messages call it."""
    has_generator: bool
    """Whether :meth:`generator` can be had."""
    plan: PlanFile | None
    """The TensorRT plan that was opened, where that is all there is."""
    depths: tuple[Depth, ...]
    """Of the frames that it can be run on; the first is the usual one."""

    @property
    def info(self) -> GraphInfo:
        """Its configuration and domains."""

    def generator(self) -> "Generator":
        """The float32 PyTorch module in evaluation mode. Raises BackendError if there is none."""

    def onnx(self, depth: Depth = 8) -> Path:
        """Its float32 frame-to-frame graph, for frames of ``depth`` bits."""


class GraphSource:
    """A frame-to-frame ONNX file, and the generator that its weights make."""

    plan: PlanFile | None = None

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path.absolute()  # it is read later too, maybe from another folder
        self._stamp = self._stamped()
        self.info = read_graph_info(path)
        self._why_no_generator = why_no_generator(self.info)
        self.has_generator = self._why_no_generator is None
        own = self.info.depth
        other: Depth = 8 if own == 16 else 16
        self.depths: tuple[Depth, ...] = (own, other) if self.has_generator else (own,)

    def generator(self) -> "Generator":
        if self._why_no_generator is not None:
            raise BackendError(
                f"{self.name} is an ONNX graph that PyTorch cannot run, since "
                f"{self._why_no_generator}; open the .safetensors or .pth file that it was "
                "exported from"
            )
        self._check_unchanged()
        with model_readable(self._path):
            generator = generator_from_graph(self._path, self.info)
        self._check_unchanged()
        return generator

    def onnx(self, depth: Depth = 8) -> Path:
        if depth == self.info.depth:
            self._check_unchanged()
            return self._path
        if self._why_no_generator is not None:
            raise BackendError(
                f"{self.name} takes frames of {self.info.depth} bits a channel, not {depth}; open "
                "the file that it was exported from, or export it again"
            )
        with model_readable(self._path):
            key = _export_key(file_digest(self._path), depth)
        self._check_unchanged()
        return _exported(self, key, depth)

    def _stamped(self) -> tuple[int, ...]:
        """Changes when the file is replaced, and costs no reading, which opening would feel."""
        with model_readable(self._path):
            stat = self._path.stat()
        return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns

    def _check_unchanged(self) -> None:
        if self._stamped() != self._stamp:
            raise ModelError(f"{self.name} was replaced since it was opened; open it again")


class CheckpointSource:
    """A ``.safetensors`` file of ours, or a ``.pth`` file of the public implementation."""

    has_generator = True
    plan: PlanFile | None = None
    depths: tuple[Depth, ...] = (8, 16)

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path.absolute()  # it is read later too, maybe from another folder
        self._onnx: dict[Depth, Path] = {}

    @cached_property
    def info(self) -> GraphInfo:
        if graph := find("frames.onnx", self._key(8)):  # readable without PyTorch
            return read_graph_info(graph)
        from cyclegan.checkpoint import read_info
        from cyclegan.config import DiscriminatorConfig

        info = read_info(self._path)
        if isinstance(info.config, DiscriminatorConfig):
            raise ModelError(f"{self.name} holds a discriminator; expected a generator")
        source, target = info.domains
        return GraphInfo(config=info.config, domains=(source, target))

    def _key(self, depth: Depth) -> Key:
        """Of the domains too, which a ``.pth`` file's name tells, and a graph holds."""
        return {**_export_key(self._digest, depth), "domains": "->".join(domains_of(self._path))}

    @cached_property
    def _digest(self) -> str:
        with model_readable(self._path):
            return file_digest(self._path)

    def generator(self) -> "Generator":
        from cyclegan.checkpoint import load_generator

        digest = self._digest
        generator = load_generator(self._path)
        check_unchanged(self._path, digest)
        return generator

    def onnx(self, depth: Depth = 8) -> Path:
        if depth not in self._onnx:
            self._onnx[depth] = _exported(self, self._key(depth), depth)
        return self._onnx[depth]


class GeneratorSource:
    """A generator in memory as it was when it was opened; it is copied, never changed."""

    has_generator = True
    plan: PlanFile | None = None
    depths: tuple[Depth, ...] = (8, 16)

    def __init__(self, generator: "Generator") -> None:
        from cyclegan.networks import Generator, check_kind, check_unaltered

        check_kind(generator, Generator)
        check_unaltered(generator)
        self.name = type(generator).__name__
        self._generator = copy.deepcopy(generator).cpu().float().eval().requires_grad_(False)
        self.info = GraphInfo(config=generator.config)

    def generator(self) -> "Generator":
        return copy.deepcopy(self._generator)

    def onnx(self, depth: Depth = 8) -> Path:
        from cyclegan.engine.export import weights_digest

        return _exported(self, _export_key(weights_digest(self._generator), depth), depth)


class PlanSource:
    """A TensorRT plan, which holds all that it needs but runs nowhere else."""

    has_generator = False
    depths: tuple[Depth, ...] = (8,)

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.plan: PlanFile | None = read_plan(path)
        self.info = self.plan.info

    def generator(self) -> "Generator":
        raise self._wrong_backend()

    def onnx(self, depth: Depth = 8) -> Path:
        raise self._wrong_backend()

    def _wrong_backend(self) -> BackendError:
        return BackendError(
            f"{self.name} is a TensorRT plan, which no other backend runs; "
            "open the .safetensors, .pth or .onnx file that it was built from"
        )


def open_source(model: "str | os.PathLike[str] | Generator") -> Source:
    """The source for a path, told by its content, for a name that
    :func:`~cyclegan.shipped.find_model` knows, or for a generator. Raises ModelError.
    """
    if not isinstance(model, str | os.PathLike):
        if not hasattr(model, "config"):
            raise ModelError(
                f"got a {type(model).__name__} as model; expected a path, a ResnetGenerator or a "
                "UnetGenerator"
            )
        return GeneratorSource(model)
    path = find_model(os.fsdecode(model))
    if looks_like_plan(path):
        return PlanSource(path)
    return GraphSource(path) if is_onnx(path) else CheckpointSource(path)


def is_onnx(path: Path) -> bool:
    """ONNX is protobuf: field 1 (ir_version, a varint) comes first. Ours ends in .onnx, too.

    Safetensors may begin with that byte as well, the lowest of its header's length; the header
    follows in JSON. Raises ModelError for what cannot be read.
    """
    with model_readable(path), path.open("rb") as file:
        head = file.read(9)
    protobuf = head.startswith(b"\x08") and not head.endswith(b"{")
    return protobuf or path.suffix.lower() == ".onnx"


def _exported(source: Source, key: Key, depth: Depth) -> Path:
    """The graph of a source's generator, from the cache where it was made before."""

    def export(path: Path) -> None:
        from cyclegan.engine.export import onnx_from_generator

        onnx_from_generator(source.generator(), path, domains=source.info.domains, depth=depth)

    return cached("frames.onnx", key, export)


def _export_key(digest: str, depth: Depth) -> Key:
    versions = {name: importlib.metadata.version(name) for name in ("torch", "onnx", "onnxscript")}
    return {
        "weights": digest,
        "graph_format": FORMAT_VERSIONS[depth],
        "depth": depth,
        "opset": OPSET,
        "cyclegan": cyclegan.__version__,
        "code": _code_digest(),
        **versions,
    }


@cache
def _code_digest() -> str:
    """Of what shapes a graph."""
    return code_digest(*(_PACKAGE / name for name in _SHAPING))
