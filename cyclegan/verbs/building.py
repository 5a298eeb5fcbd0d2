"""The verb that builds TensorRT plans."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, Suppress, arg

from cyclegan.engine.plan_settings import PlanSettings, Profile
from cyclegan.engine.typed_graph import BodyPrecision
from cyclegan.errors import ConfigError, one_line
from cyclegan.shipped import find_model
from cyclegan.sizes import Size
from cyclegan.verbs import Model


def profile_from_flags(
    size: Size | None = None, batch: int = 1, profile: str | None = None
) -> Profile:
    """The shapes that a plan takes.

    Args:
        size: WIDTHxHEIGHT of the frames, such as 640x272, or one number for a square;
            required, unless --profile is given
        batch: frames in one batch at most
        profile: sizes from smallest to largest instead: min,opt,max, each WIDTHxHEIGHT or
            WIDTHxHEIGHT:BATCH, such as 256x256,256x256:4,1280x720:8
    """
    if profile is not None:
        if size is not None or batch != 1:
            raise ConfigError("--profile names sizes and batches itself; leave --size and --batch")
        return Profile.parse(profile)
    if size is None:
        raise ConfigError("a plan is built for stated sizes: --size 256x256, or --profile")
    return Profile.of(*size, batch=batch)


@dataclass(frozen=True, kw_only=True)
class Settings(PlanSettings):
    """How the plan is built."""

    profile: Annotated[Profile, arg(constructor=profile_from_flags)]
    """The shapes that it takes."""
    precision: Suppress[BodyPrecision] = "float16"
    targets: Annotated[tuple[str, ...], arg(name="target", metavar="SM ...")] = ()
    """Compute capabilities such as 8.9; none means the GPU of this machine."""


@contextlib.contextmanager
def _cache_told() -> Iterator[None]:
    """Shows on standard error what the cache logs: why something is built, or that it is there."""
    from cyclegan.engine import cache

    log, handler = logging.getLogger(cache.__name__), logging.StreamHandler()
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


def build(
    model: Positional[Model],
    plan: Settings,
    output: Annotated[Positional[Path | None], arg(metavar="[PLAN]")] = None,
    precision: BodyPrecision | Literal["mixed"] = "float16",
    pictures: Path | None = None,
    device: str | None = None,
) -> None:
    """Build a TensorRT plan of a generator, check its pictures, and keep it.

    Args:
        output: where the plan and its note go, such as painter.plan; else the cache alone
        precision: of the network; mixed is float16 with norms in float32
        pictures: folder of pictures to compare, instead of the built-in two: the first eight, of
            larger ones the central 512x512, all in their median size
        device: GPU to build for and to check on, such as cuda:1; the first by default
    """
    from cyclegan.engine.model_source import open_source
    from cyclegan.engine.plan import plan_from_onnx
    from cyclegan.engine.plan_file import check_plan_target, describe
    from cyclegan.engine.progress import progress_bar
    from cyclegan.engine.real_frames import picture_frames

    if precision == "mixed":
        if plan.norm == "native":
            raise ConfigError(
                "--precision mixed has its norms in float32: leave out --norm native, or take "
                "--precision float16"
            )
        plan = replace(plan, norm="float32")
    else:
        plan = replace(plan, precision=precision)
    path = find_model(model)
    if output is not None:
        check_plan_target(path, output)
    source = open_source(path)
    frames = None
    if pictures is not None:
        network = source.info.config
        frames = picture_frames(pictures, network.in_channels, network.size_multiple)
    bar = progress_bar(f"building {Path(source.name).name}", "steps", at_once=False)
    with _cache_told(), bar as progress:
        built = plan_from_onnx(
            source.onnx(), output, settings=plan, frames=frames, progress=progress, device=device
        )
    for name, value in describe(built).items():
        print(f"{name:<14} {one_line(value)}")
