"""Verbs that make a generator and score it: demo, train, evaluate."""

import argparse
import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import Positional, arg

from cyclegan.config import CycleGANConfig, TrainConfig, as_dict, from_dict
from cyclegan.errors import ConfigError, DataError, OutputError, VideoError, printable, reason_of
from cyclegan.shipped import find_model
from cyclegan.streams import text_may_be_lost
from cyclegan.verbs import Backend, Model
from cyclegan.verbs.flags import Program, spelled_out, wide_enough
from cyclegan.verbs.public_options import tell_equivalents

if TYPE_CHECKING:
    from cyclegan.engine.translator import Translator
    from cyclegan.pictures import Channels

DOMAINS = ("data.a", "data.b")


def demo(output: Path = Path("runs/demo"), minutes: float = 5.0, seed: int = 0) -> None:
    """Train on built-in data, export, translate, score, and write a report.

    Args:
        output: folder of the run; the report is report.html in it
        minutes: time to train for
        seed: of the weights and of the crops
    """
    from cyclegan.demo import run_demo

    report = run_demo(output, minutes=minutes, seed=seed)
    with text_may_be_lost():
        print(f"report: {report}")


def train(arguments: list[str]) -> None:
    """Train on two sets of pictures; settings from flags, a TOML file, or both."""
    config, resume = _asked(arguments)
    import tomli_w

    from cyclegan.training import train as run
    from cyclegan.training_report import write_training_report

    talks = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts
    if talks:
        with contextlib.suppress(OSError):  # a reader that leaves ends no run
            print(tomli_w.dumps(as_dict(config)), flush=True)
    result = run(config, resume=resume)
    if not talks:
        return
    try:
        page, out = f"report: {write_training_report(config, result)}", sys.stdout
    except (OutputError, DataError) as error:  # the run is done all the same
        page, out = f"no report: {error}", sys.stderr
    with text_may_be_lost():
        for path, reason in result.skipped.items():
            print(printable(f"skipped {path}: {reason}"), file=sys.stderr)
        skipped = len(result.skipped)
        print(f"{result.steps} steps in {result.seconds:.0f} s, {skipped} pictures skipped")
        print(f"generators: {result.generator_ab} {result.generator_ba}")
        print(page, file=out)


def _asked(arguments: list[str]) -> tuple[TrainConfig, bool]:
    """What the flags of ``train`` ask for, and whether a run is to go on.

    Files are looked for first: what they set is the default of all other flags. Ends the program
    where a file is not named.
    """
    files = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    files.add_argument("--config", type=Path)
    files.add_argument("--resume", type=Path)
    files.add_argument("--output", type=Path)
    for domain in DOMAINS:
        files.add_argument(f"--{domain}")
    try:
        given, rest = files.parse_known_args(arguments)
    except argparse.ArgumentError as error:  # all that can be wrong is that no value follows
        flag = error.argument_name
        print(
            f"error: no value follows {flag}; expected a name, as {flag}=NAME where it begins with "
            "a dash; cyclegan train --help tells more",
            file=sys.stderr,
        )
        tell_equivalents("train", arguments)
        raise SystemExit(2) from error
    domains = {name: vars(given)[name] for name in DOMAINS if vars(given)[name] is not None}
    # One word each, for names that begin with a dash.
    rest = [f"--{name}={source}" for name, source in domains.items()] + rest
    if given.resume:
        given.config = given.config or _settings_of(given.resume)
        given.output = _output_of(given.resume, given.output, rest)
    if given.output is not None:
        rest = [f"--output={given.output}", *rest]  # before the kinds of networks
    default = _config_from_file(given.config, domains) if given.config else tyro.MISSING_NONPROP
    return _config_from_flags(rest, default), given.resume is not None


@wide_enough()
def _config_from_flags(flags: list[str], default: Any) -> TrainConfig:
    """The settings of ``default``, changed by ``flags``; ends the program for wrong ones."""
    try:
        config: TrainConfig = tyro.cli(
            TrainConfig,
            prog=Program("cyclegan train"),
            description="Train on two sets of pictures. --config FILE reads the settings from "
            "a TOML file first, such as the config.toml that every run leaves; flags change them. "
            "--resume FOLDER goes on with the run in FOLDER. "
            "Settings of the networks are listed by cyclegan train model.generator:resnet-config "
            "--help, or another kind below, and with model.discriminator:patch-config before the "
            "--help.",
            args=spelled_out(flags),
            default=default,
        )
    except SystemExit as stopped:
        if stopped.code:
            settled = isinstance(default, TrainConfig)
            _tell_of_kinds(flags, default.model if settled else CycleGANConfig())
            tell_equivalents("train", flags)
        raise
    return config


def _settings_of(run: Path) -> Path:
    """The file of a run's settings. Raises ConfigError for a folder of networks alone."""
    settings = run / "config.toml"
    if run.is_dir() and not settings.exists():
        raise ConfigError(
            f"{run} holds no run to go on with: it lacks {settings.name}; a new run begins with "
            f"the networks there by --pretrained {run}"
        )
    return settings


def _output_of(run: Path, output: Path | None, rest: list[str]) -> Path:
    """Raises ConfigError for flags that a run that goes on would ignore, but for settings that it
    began with, which ``resume.check_same`` compares."""
    if output is not None and output.absolute() != run.absolute():
        raise ConfigError(f"--resume goes on in {run}: leave out --output, or train anew without")
    if "--overwrite" in rest:
        raise ConfigError(f"--resume goes on with the run in {run}: leave out --overwrite")
    return run


def evaluate(
    model: Positional[Model],
    source: Annotated[Positional[Path], arg(metavar="SOURCE")],
    truth: Annotated[Positional[Path | None], arg(metavar="[TRUTH]")] = None,
    unpaired: bool = False,
    backend: Backend = "auto",
) -> None:
    """Score a generator: pictures of SOURCE, translated, against TRUTH; or how a video flickers.

    Args:
        source: folder of pictures to translate, or a video
        truth: folder of what they should become, under the same names; none for a video
        unpaired: TRUTH is a set of the target domain, of any names: FID and KID instead
        backend: what runs the generator
    """
    from cyclegan.engine.translator import Translator
    from cyclegan.evaluate import (
        check_distances,
        distances,
        evaluate_folders,
        import_metrics,
        paired_folders,
    )
    from cyclegan.pictures import list_pictures, read_picture

    # What cannot be scored is told before the generator is made ready, which takes long.
    if truth is None:
        if unpaired:
            raise ConfigError(
                "--unpaired compares two sets of pictures: name the folder TRUTH as well"
            )
        if not source.is_file():
            raise ConfigError(
                f"{source} is no video: give the folder of what its pictures should be"
            )
    elif unpaired:
        inputs, truths = list_pictures(source), list_pictures(truth)
        inception = check_distances(len(inputs), len(truths))
    else:
        paired_folders(source, truth)
        import_metrics()
    with Translator.open(find_model(model), backend=backend) as translator:
        if truth is None:
            _tell_flicker(translator, source)
            return
        channels = _channels_of(translator)
        if unpaired:
            given = (read_picture(path, channels[0]) for path in inputs)
            reals = (read_picture(path, channels[1]) for path in truths)
            scores: Any = distances(map(translator, given), reals, inception)
        else:
            scores = evaluate_folders(translator, source, truth, channels)
    for item in dataclasses.fields(scores):
        print(f"{item.name:<22} {getattr(scores, item.name):.6g}")


def _channels_of(translator: "Translator") -> "tuple[Channels, Channels]":
    """What it takes and gives. Raises ConfigError where pictures have no such channels."""
    config: Any = translator.info.config
    channels = (config.in_channels, config.out_channels)
    if not {1, 3}.issuperset(channels):
        raise ConfigError(
            f"this generator takes {channels[0]} channels and gives {channels[1]}; pictures have 1 "
            "or 3, and no others are scored"
        )
    return channels


def _tell_flicker(translator: "Translator", source: Path) -> None:
    """That of a video's translation, beside that of the video. Raises VideoError for a video that
    cannot be read to its end."""
    from cyclegan.engine.containers import VideoReader
    from cyclegan.engine.layout import TimedFrame
    from cyclegan.engine.video import check_channels
    from cyclegan.flicker import flicker

    check_channels(translator)
    with VideoReader(source) as reader:

        def pairs() -> Iterator[Any]:
            for item in reader.items():
                if isinstance(item, TimedFrame):
                    frame: Any = item.frame
                    yield frame, translator(frame)
            if reader.layout is None:
                raise VideoError(reader.why_empty())
            if reader.problems:
                raise VideoError(f"{reader.name} is damaged: {'; '.join(reader.problems)}")

        score = flicker(pairs())
    for item in dataclasses.fields(score):
        print(f"{item.name:<22} {getattr(score, item.name):.6g}")
    print(f"{'ratio':<22} {score.ratio:.6g}")


def _tell_of_kinds(given: list[str], model: CycleGANConfig) -> None:
    """Settings of a network are known once its kind has been named, which is that of ``model``."""
    for network in ("generator", "discriminator"):
        place, kind = f"model.{network}", f"{getattr(model, network).kind}-config"
        settings = [part for part in given if part.startswith(f"--{place}.")]
        if settings and not any(part.startswith(f"{place}:") for part in given):
            print(
                f"name the {network}'s kind before its settings: {place}:{kind} {settings[0]} ...",
                file=sys.stderr,
            )


def _config_from_file(path: Path, domains: dict[str, str]) -> TrainConfig:
    """The settings of a file; ``domains`` are given by flags, which it need not name."""
    import tomllib

    try:
        values = tomllib.loads(path.read_text("utf-8-sig"))  # some editors begin with a mark
        data = values.setdefault("data", {})
        if isinstance(data, dict):
            for name, source in domains.items():
                data[name.removeprefix("data.")] = source
        config: TrainConfig = from_dict(TrainConfig, values)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {reason_of(error)}") from error
    except (ValueError, RecursionError) as error:  # no TOML, or settings that are none
        raise ConfigError(f"{path}: {error}") from error
    return config
