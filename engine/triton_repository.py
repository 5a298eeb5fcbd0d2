"""A model repository for NVIDIA Triton Inference Server, out of the same graph and plan.

N batch, H height, W width, C channels. The server batches requests itself (dynamic batching), so
that a request is one or more frames, uint8 (N, H, W, C) RGB. A repository holds a model for ONNX
Runtime, which any machine runs, and one for TensorRT where a plan of the full flavour is given:

    DIR/NAME_onnx/config.pbtxt, DIR/NAME_onnx/1/model.onnx
    DIR/NAME_tensorrt/config.pbtxt, DIR/NAME_tensorrt/1/model.plan

Fields are those of the server's model_config.proto.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from cyclegan.config import Depth
from cyclegan.engine.graph_info import INPUT, OUTPUT, GraphInfo, read_graph_info
from cyclegan.engine.plan_file import PlanFile
from cyclegan.errors import ConfigError, OutputError
from cyclegan.files import replacing, write_whole

VERSION = "1"
MAX_BATCH = 8
QUEUE_MICROSECONDS = 2000
"""How long a request may wait for others to share its batch."""


@dataclass(frozen=True, kw_only=True)
class _Model:
    """One folder of the repository."""

    name: str
    platform: str
    """The server's name for what runs it."""
    file: str
    source: Path
    info: GraphInfo
    max_batch: int
    sides: tuple[int, int]
    """Height and width; -1 where they are free."""
    instances: int
    device: str

    def config(self) -> str:
        """config.pbtxt."""
        info = self.info
        channels = info.config.in_channels, info.config.out_channels
        ports = (("input", INPUT, channels[0]), ("output", OUTPUT, channels[1]))
        sizes = sorted({2**i for i in range(10) if 2**i <= self.max_batch})
        values = f"uint{info.depth} 0..{2**info.depth - 1}"
        batching = f"preferred_batch_size: {sizes} max_queue_delay_microseconds: "
        return "\n".join(
            [
                f'name: "{self.name}"',
                f'platform: "{self.platform}"',
                f"max_batch_size: {self.max_batch}",
                *(self._port(*port, info.depth) for port in ports),
                f"instance_group [ {{ count: {self.instances} kind: {self.device} }} ]",
                f"dynamic_batching {{ {batching}{QUEUE_MICROSECONDS} }}",
                f'parameters {{ key: "value_range" value {{ string_value: "{values} RGB" }} }}',
                f'parameters {{ key: "domains" value {{ string_value: {_quoted(info)} }} }}',
                "",
            ]
        )

    def _port(self, kind: str, name: str, channels: int, depth: Depth) -> str:
        dims = [*self.sides, channels]
        return f'{kind} [ {{ name: "{name}" data_type: TYPE_UINT{depth} dims: {dims} }} ]'


def triton_repository(
    onnx: str | Path,
    folder: str | Path,
    *,
    name: str = "cyclegan",
    plan: PlanFile | None = None,
    instances: int = 2,
) -> list[Path]:
    """Write the repository under ``folder``; returns the folders of its models.

    ``plan`` must be of the full TensorRT, which the server has. ``instances`` of each model run at
    once on a GPU. Raises ConfigError for another plan or name, a plan of another generator or one
    that takes no single frames, ModelError for a damaged one or for a file that is no
    frame-to-frame graph, OutputError when it cannot be written or a model of that name is there
    already.
    """
    onnx, folder = Path(onnx), Path(folder)
    info = read_graph_info(onnx)
    if info.precision != "float32":
        raise ConfigError(
            f"{onnx} is a graph in {info.precision}, and a repository holds the float32 one: give "
            "the model that it was exported from"
        )
    if not re.fullmatch(r"[\w.-]+", name):
        raise ConfigError(f"model name {name!r}: expected letters, digits, '_', '-' and '.'")
    models = [_onnx_model(name, onnx, info)]
    if plan is not None:
        if not _same_generator(plan.info, info):
            raise ConfigError(
                f"{plan.path} is of another generator than {onnx}; the models of one name should "
                "translate alike: build the plan of this one"
            )
        models.append(_plan_model(name, plan, instances))
    for model in models:
        if (folder / model.name).exists():
            raise OutputError(
                f"{folder / model.name} exists; give another name (--name), or remove it"
            )
    return [_write(model, folder / model.name) for model in models]


def _same_generator(one: GraphInfo, other: GraphInfo) -> bool:
    if one.weights_sha256 and other.weights_sha256:
        return one.weights_sha256 == other.weights_sha256
    return one.config == other.config  # all that is known of one that was changed


def _onnx_model(name: str, onnx: Path, info: GraphInfo) -> _Model:
    return _Model(
        name=f"{name}_onnx",
        platform="onnxruntime_onnx",
        file="model.onnx",
        source=onnx,
        info=info,
        max_batch=MAX_BATCH,
        sides=(-1, -1),
        instances=1,
        device="KIND_AUTO",
    )


def _plan_model(name: str, plan: PlanFile, instances: int) -> _Model:
    if plan.flavour != "tensorrt":
        raise ConfigError(
            f"{plan.path} is of {plan.flavour}; the server runs plans of the full TensorRT alone, "
            "of the version that it was released with: build one there with --flavour tensorrt"
        )
    plan.verified()
    least, _, most = plan.profile
    if least[0] > 1:
        raise ConfigError(
            f"{plan.path} takes batches from {least[0]} frames up, and the server gives it single "
            f"ones too: build it with a profile of at least one, got {plan.profile}"
        )
    free = least[1:] != most[1:]
    return _Model(
        name=f"{name}_tensorrt",
        platform="tensorrt_plan",
        file="model.plan",
        source=plan.path,
        info=plan.info,
        max_batch=most[0],
        sides=(-1, -1) if free else (most[1], most[2]),
        instances=instances,
        device="KIND_GPU",
    )


def _write(model: _Model, folder: Path) -> Path:
    with replacing(folder / VERSION / model.file) as temporary:
        shutil.copyfile(model.source, temporary)
    write_whole(folder / "config.pbtxt", model.config())  # last: without it there is no model
    return folder


def _quoted(info: GraphInfo) -> str:
    """The domains as a string of protobuf's text format: UTF-8, other than plain bytes in octal."""
    data = " -> ".join(info.domains).encode()
    plain = [chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:03o}" for b in data]
    return '"' + "".join(plain) + '"'
