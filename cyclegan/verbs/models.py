"""Verbs about model files: import, export, inspect."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from cyclegan.engine.model_source import is_onnx, open_source
from cyclegan.engine.plan_file import DAMAGED
from cyclegan.errors import ConfigError, ModelError, one_line
from cyclegan.files import replacing
from cyclegan.shipped import find_model
from cyclegan.targets import check_ending, check_target
from cyclegan.verbs import Model

_GRAPH = ("an ONNX graph, or with --reference a .pth", ".onnx")
_STATE_DICT = ("a state_dict of PyTorch", ".pth", ".pt")
"""What export writes, and how its name may end."""


def import_(
    source: Annotated[Positional[Path], arg(metavar="SOURCE")],
    target: Annotated[Positional[Path], arg(metavar="TARGET")],
    domains: tuple[str, str] | None = None,
) -> None:
    """Turn a .pth of the public CycleGAN, or an exported .onnx, into a .safetensors of ours.

    Args:
        source: such as latest_net_G_A.pth
        target: such as generator.safetensors
        domains: names of the domains that the whole CycleGAN translates between, A and B; an .onnx
            has its own
    """
    from cyclegan.checkpoint import save_discriminator, save_generator
    from cyclegan.config import DiscriminatorConfig
    from cyclegan.reference_domains import domains_of

    check_target(source, target)
    check_ending(target, "a .safetensors file of ours", ".safetensors")
    if is_onnx(source):
        if domains is not None:
            raise ConfigError(f"{source} has the names of its domains already: leave out --domains")
        graph = open_source(source)
        save_generator(target, graph.generator(), graph.info.domains)
        print(f"{target}: {graph.info.config}")
        return
    network = _imported(source)
    a, b = domains_of(source, domains or ("A", "B"))
    if isinstance(network.config, DiscriminatorConfig):
        save_discriminator(target, network, b)
    else:
        save_generator(target, network, (a, b))
    print(f"{target}: {network.config}")


def _imported(source: Path) -> Any:
    """The network in a file of the public implementation. Raises ModelError, also for ours."""
    from cyclegan.reference import import_reference

    try:
        return import_reference(source)
    except ModelError:
        if _is_ours(source):
            raise ModelError(
                f"{source} is a .safetensors file of ours already: use it as it is"
            ) from None
        raise


def _is_ours(source: Path) -> bool:
    from cyclegan.checkpoint import read_info

    try:
        return read_info(source).format_version > 0
    except ModelError:
        return False


def export(
    model: Positional[Model],
    target: Annotated[Positional[Path], arg(metavar="TARGET")],
    reference: bool = False,
    half: bool = False,
    int8: bool = False,
    pictures: Path | None = None,
    depth: Literal[8, 16] = 8,
    triton_repository: bool = False,
    plan: Path | None = None,
    name: str | None = None,
) -> None:
    """Write a generator as a frame-to-frame ONNX graph, or as a .pth of the public CycleGAN.

    Args:
        target: such as generator.onnx, latest_net_G_A.pth with --reference, or a folder
        reference: write what the public PyTorch implementation loads
        half: float16 weights and arithmetic, for GPUs
        int8: 8-bit convolutions, for OpenVINO on CPUs; compared with float32 before it is kept
        pictures: folder of pictures like those to be translated, for --int8: the first 32, of
            larger ones the central 512x512, all in their median size
        depth: bits a channel of the frames that the graph takes and gives
        triton_repository: write a model repository of NVIDIA's Triton Inference Server
        plan: a plan of the full TensorRT that goes into the repository as well
        name: with what the names of the repository's models begin; the file's by default
    """
    _check_formats(reference, triton_repository, half or int8 or depth != 8, plan, name)
    if int8 and (half or depth != 8):
        raise ConfigError("--int8 is of its own kind: leave out --half and --depth")
    if pictures is not None and not int8:
        raise ConfigError("--pictures are for --int8: add that, or leave them out")
    path = find_model(model)
    check_target(path, target)
    if triton_repository:
        _export_repository(path, target, plan, name)
        return
    check_ending(target, *(_STATE_DICT if reference else _GRAPH))
    if reference:
        from cyclegan.reference import export_reference

        export_reference(target, _network(path))
    elif int8:
        _export_int8(path, target, pictures)
    else:
        from cyclegan.engine.export import onnx_from_generator

        source = open_source(path)
        onnx_from_generator(
            source.generator(),
            target,
            precision="float16" if half else "float32",
            domains=source.info.domains,
            depth=depth,
        )
    print(target)


def _export_int8(model: Path, target: Path, pictures: Path | None) -> None:
    from cyclegan.engine.int8 import quantized_onnx
    from cyclegan.engine.real_frames import picture_frames

    source = open_source(model)
    config, frames = source.info.config, None
    if pictures is not None:
        frames = picture_frames(pictures, config.in_channels, config.size_multiple, most=32)
    with replacing(target) as temporary:
        parity = quantized_onnx(source.onnx(), temporary, frames)
    print(
        f"{parity.psnr_db:.1f} dB from float32 over {parity.frames} pictures; "
        f"largest difference {parity.max_abs}, mean {parity.mean_abs:.2f}"
    )


def _network(path: Path) -> Any:
    """The generator or discriminator in a file that is not a plan."""
    from cyclegan.checkpoint import load_discriminator, read_info

    if not is_onnx(path) and not read_info(path).is_generator:
        return load_discriminator(path)
    return open_source(path).generator()


def _check_formats(
    reference: bool,
    triton_repository: bool,
    other_graph: bool,
    plan: Path | None,
    name: str | None,
) -> None:
    """Raises ConfigError for flags of which one would be ignored."""
    if reference and triton_repository:
        raise ConfigError("give --reference or --triton-repository, not both")
    if (reference or triton_repository) and other_graph:
        holds = "a .pth holds weights" if reference else "a repository holds the float32 graph"
        raise ConfigError(f"{holds}: leave out --half, --int8 and --depth")
    if plan is not None and not triton_repository:
        raise ConfigError("--plan goes into a repository: add --triton-repository, or leave it out")
    if name is not None and not triton_repository:
        raise ConfigError("--name is of a repository: add --triton-repository, or leave it out")


def _export_repository(model: Path, folder: Path, plan: Path | None, name: str | None) -> None:
    from cyclegan.engine import triton_repository
    from cyclegan.engine.plan_file import read_plan

    source = open_source(model)
    made = triton_repository.triton_repository(
        source.onnx(source.info.depth),
        folder,
        name=re.sub(r"[^\w.-]", "_", model.stem) if name is None else name,
        plan=None if plan is None else read_plan(plan),
    )
    print(*made, sep="\n")


def inspect(model: Positional[Model]) -> None:
    """Say what is in a model file: .safetensors, .pth, exported .onnx or built .plan."""
    path = find_model(model)
    description = _description(path)
    for name, value in description.items():
        print(f"{name:<14} {one_line(value)}")
    if str(description.get("content", "")).startswith(DAMAGED):
        raise ModelError(f"{path} is not what its note says: build it again; copy both files")


def _description(path: Path) -> dict[str, object]:
    from cyclegan.engine.plan_file import describe, looks_like_plan, read_plan

    if looks_like_plan(path):
        return describe(read_plan(path))
    if is_onnx(path):
        from cyclegan.engine.graph_info import INPUT, OUTPUT, read_graph_info

        graph = read_graph_info(path)
        frames = f"uint{graph.depth} NxHxWx"
        digest = graph.weights_sha256
        weights = f"sha256 {digest}" if digest else "of a generator that was changed"
        return {
            "file": path,
            "format": "frame-to-frame ONNX graph",
            "network": graph.config,
            "domains": " -> ".join(graph.domains),
            "precision": graph.precision,
            "depth": f"{graph.depth} bits a channel",
            "inputs": f"{INPUT}: {frames}{graph.config.in_channels}",
            "outputs": f"{OUTPUT}: {frames}{graph.config.out_channels}",
            "size multiple": graph.config.size_multiple,
            "weights": weights,
        }
    from cyclegan.checkpoint import read_info

    info = read_info(path)
    ours = f"cyclegan-engine, version {info.format_version}"
    return {
        "file": path,
        "format": ours if info.format_version else ".pth of the public CycleGAN",
        "network": info.config,
        "domains": " -> ".join(info.domains),
        "parameters": f"{info.parameters:,}",
        "size multiple": getattr(info.config, "size_multiple", "any"),
    }
