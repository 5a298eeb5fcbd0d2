"""The command line: ``cyclegan VERB ...``, one function a verb.

A verb imports what it needs when it runs, so that ``cyclegan doctor`` does not wait for PyTorch's
training half, and reports what goes wrong as one line on stderr and an exit status of 1.
"""

import argparse
import dataclasses
import inspect as introspection
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from cyclegan.config import TrainConfig, from_dict
from cyclegan.errors import ConfigError, CycleGANError
from cyclegan.shipped import DEFAULT, find_model

Backend = Literal["auto", "openvino", "torch", "torch-compiled"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Size = Annotated[
    tuple[int, int] | None, arg(metavar="HEIGHT WIDTH", help="the one size that frames have")
]
Model = Annotated[str, arg(metavar="MODEL", help="a model file, or the name of a shipped model")]


def demo(output: Path = Path("runs/demo"), minutes: float = 5.0, seed: int = 0) -> None:
    """Train on built-in data, export, translate, score, and write a report.

    Args:
        output: folder of the run; the report is report.html in it
        minutes: time to train for
        seed: of the weights and of the crops
    """
    from cyclegan.demo import run_demo

    report = run_demo(output, minutes=minutes, seed=seed)
    print(f"report: {report}")


def train(arguments: list[str]) -> None:
    """Train on two folders of pictures; settings from flags, a TOML file, or both."""
    files = argparse.ArgumentParser(add_help=False)
    files.add_argument("--config", type=Path)
    given, rest = files.parse_known_args(arguments)
    config = tyro.cli(
        TrainConfig,
        prog="cyclegan train",
        description="Train on two folders of pictures. --config FILE reads the settings from a "
        "TOML file first, such as the config.toml that every run leaves; flags change them.",
        args=rest,
        default=_config_from_file(given.config) if given.config else tyro.MISSING_NONPROP,
    )
    from cyclegan.training import train as run

    result = run(config)
    for path, reason in result.skipped.items():
        print(f"skipped {path}: {reason}", file=sys.stderr)
    print(f"{result.steps} steps in {result.seconds:.0f} s, {len(result.skipped)} pictures skipped")
    print(f"generators: {result.generator_ab} {result.generator_ba}")


def evaluate(
    model: Positional[Model],
    source: Positional[Path],
    truth: Positional[Path],
    unpaired: bool = False,
    backend: Backend = "auto",
) -> None:
    """Score a generator: pictures of SOURCE, translated, against those of TRUTH.

    Args:
        source: folder of pictures to translate
        truth: folder of what they should become, under the same names
        unpaired: TRUTH is a set of the target domain, of any names: FID and KID instead
        backend: what runs the generator
    """
    from cyclegan.engine.translator import Translator
    from cyclegan.evaluate import distances, evaluate_folders
    from cyclegan.pictures import list_pictures, read_picture

    with Translator.open(find_model(model), backend=backend) as translator:
        if unpaired:
            fakes = (translator(read_picture(path)) for path in list_pictures(source))
            scores: Any = distances(fakes, map(read_picture, list_pictures(truth)))
        else:
            scores = evaluate_folders(translator, source, truth)
    for item in dataclasses.fields(scores):
        print(f"{item.name:<22} {getattr(scores, item.name):.6g}")


def import_(
    source: Positional[Path],
    target: Positional[Path],
    domains: tuple[str, str] = ("A", "B"),
) -> None:
    """Turn a .pth of the public PyTorch CycleGAN into a .safetensors of ours.

    Args:
        source: such as latest_net_G_A.pth
        target: such as generator.safetensors
        domains: names of what it translates from and to
    """
    from cyclegan.checkpoint import save_discriminator, save_generator
    from cyclegan.config import DiscriminatorConfig
    from cyclegan.reference import import_reference

    network: Any = import_reference(source)
    if isinstance(network.config, DiscriminatorConfig):
        save_discriminator(target, network, domains[0])
    else:
        save_generator(target, network, domains)
    print(f"{target}: {network.config}")


def export(
    model: Positional[Model],
    target: Positional[Path],
    reference: bool = False,
    half: bool = False,
) -> None:
    """Write a generator as a frame-to-frame ONNX graph, or as a .pth of the public CycleGAN.

    Args:
        target: such as generator.onnx, or latest_net_G_A.pth with --reference
        reference: write what the public PyTorch implementation loads
        half: float16 weights and arithmetic, for GPUs
    """
    from cyclegan.checkpoint import load_generator, read_info

    path = find_model(model)
    generator = load_generator(path)
    if reference:
        from cyclegan.reference import export_reference

        export_reference(target, generator)
    else:
        from cyclegan.engine.export import onnx_from_generator

        source_domain, target_domain = read_info(path).domains
        onnx_from_generator(
            generator,
            target,
            precision="float16" if half else "float32",
            domains=(source_domain, target_domain),
        )
    print(target)


def translate(
    source: Positional[Path],
    target: Positional[Path],
    model: Model = DEFAULT,
    backend: Backend = "auto",
    precision: Precision = "auto",
    skip_bad: bool = False,
) -> None:
    """Translate a picture, a folder of pictures, or a video.

    Args:
        source: a picture, a folder, or a video
        target: where the result goes: a file for a file, a folder for a folder
        backend: what runs the generator; auto takes what is fastest here
        precision: of the arithmetic
        skip_bad: go on without pictures that cannot be read
    """
    from cyclegan.engine.images import ImageStats, translate_path
    from cyclegan.engine.progress import progress_bar
    from cyclegan.engine.translator import Translator

    with (
        Translator.open(find_model(model), backend=backend, precision=precision) as translator,
        progress_bar(f"translating {source.name}") as progress,
    ):
        stats = translate_path(source, target, translator, skip_bad=skip_bad, progress=progress)
    if isinstance(stats, ImageStats):
        for message in stats.skipped:
            print(f"skipped {message}", file=sys.stderr)
        print(f"{target}: {stats.pictures} pictures, {len(stats.skipped)} skipped")
        return
    for note in stats.notes:
        print(f"note: {note}", file=sys.stderr)
    rates = ", ".join(f"{name} {rate:.1f}" for name, rate in stats.stage_rates().items())
    print(
        f"{target}: {stats.frames} frames, {stats.frames_per_second:.1f} frames/s end to end "
        f"({rates}; bound by {stats.bound_by})"
    )


def inspect(model: Positional[Model]) -> None:
    """Say what is in a model file: .safetensors, .pth or exported .onnx."""
    path = find_model(model)
    for name, value in _description(path).items():
        print(f"{name:<14} {value}")


def _description(path: Path) -> dict[str, object]:
    if path.suffix == ".onnx":
        from cyclegan.engine.graph_info import read_graph_info

        graph = read_graph_info(path)
        return {
            "file": path,
            "format": "frame-to-frame ONNX graph",
            "network": graph.config,
            "domains": " -> ".join(graph.domains),
            "precision": graph.precision,
            "size multiple": graph.config.size_multiple,
            "weights": f"sha256 {graph.weights_sha256}",
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


def doctor() -> None:
    """Say what this machine has, which backend would run, and what would make it faster."""
    from rich.console import Console

    from cyclegan.engine.doctor import diagnose, render

    Console().print(render(diagnose()))


VERBS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "train": train,
    "evaluate": evaluate,
    "import": import_,
    "export": export,
    "translate": translate,
    "inspect": inspect,
    "doctor": doctor,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    verb, *rest = [*(sys.argv[1:] if arguments is None else arguments), "--help"]
    if verb not in VERBS:
        return _overview(verb)
    rest.pop()
    try:
        if verb == "train":
            train(rest)
        else:
            tyro.cli(VERBS[verb], prog=f"cyclegan {verb}", args=rest)
    except CycleGANError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _overview(given: str) -> int:
    from cyclegan import __version__

    if given == "--version":
        print(__version__)
        return 0
    wrong = given not in ("--help", "-h")
    out = sys.stderr if wrong else sys.stdout
    if wrong:
        print(f"error: no verb {given!r}", file=out)
    print("usage: cyclegan VERB ...  (cyclegan VERB --help tells more)\n", file=out)
    for name, function in VERBS.items():
        summary = (introspection.getdoc(function) or "").split("\n")[0]
        print(f"  {name:<10} {summary}", file=out)
    return 2 if wrong else 0


def _config_from_file(path: Path) -> TrainConfig:
    import tomllib

    try:
        with path.open("rb") as file:
            config: TrainConfig = from_dict(TrainConfig, tomllib.load(file))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from error
    return config


if __name__ == "__main__":
    sys.exit(main())
