"""The verb that builds TensorRT plans."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from cyclegan.errors import ConfigError
from cyclegan.shipped import find_model
from cyclegan.sizes import Size
from cyclegan.verbs import Model

if TYPE_CHECKING:
    from cyclegan.engine.plan_settings import Profile

PlanPrecision = Literal["float16", "bfloat16", "float32", "mixed"]
Targets = Annotated[tuple[str, ...], arg(metavar="SM ...")]


def build(
    model: Positional[Model],
    output: Positional[Path | None] = None,
    size: Size | None = None,
    batch: int = 1,
    profile: str | None = None,
    precision: PlanPrecision = "float16",
    norm: Literal["auto", "native", "float32"] = "auto",
    target: Targets = (),
    flavour: Literal["tensorrt", "tensorrt-rtx"] | None = None,
    optimization_level: int = 3,
    tiling: Literal["none", "fast", "moderate", "full"] = "none",
    max_aux_streams: int | None = None,
    workspace_mib: int | None = None,
    refit: bool = False,
    timing_cache: bool = True,
    check: bool = True,
    least_psnr_db: float = 40.0,
    pictures: Path | None = None,
) -> None:
    """Build a TensorRT plan of a generator, check its pictures, and keep it.

    Args:
        output: where the plan and its note go, such as painter.plan; else the cache alone
        size: WIDTHxHEIGHT of the frames, such as 640x272, or one number for a square
        batch: frames in one batch at most
        profile: sizes from smallest to largest instead: min,opt,max, each WIDTHxHEIGHT or
            WIDTHxHEIGHT:BATCH, such as 256x256,256x256:4,1280x720:8
        precision: of the network; mixed is float16 with norms in float32
        norm: precision of the norms; auto takes the first that passes the check
        target: compute capabilities such as 8.9; else this machine's GPU
        flavour: which TensorRT, where both are installed
        optimization_level: from 0, quick to build, to 5
        tiling: how hard the builder looks for tilings that stay in the cache
        max_aux_streams: streams beside the main one; else the builder chooses
        workspace_mib: scratch memory at most; else the builder chooses
        refit: let other weights be put in later
        timing_cache: keep kernel timings between builds
        check: compare the pictures with float32
        least_psnr_db: how close they must be
        pictures: folder of pictures to compare, instead of the built-in two
    """
    from cyclegan.engine.gate import picture_frames
    from cyclegan.engine.plan import plan_from_onnx
    from cyclegan.engine.plan_file import describe
    from cyclegan.engine.plan_settings import PlanSettings
    from cyclegan.engine.progress import progress_bar
    from cyclegan.engine.source import open_source

    source = open_source(find_model(model))
    settings = PlanSettings(
        profile=_profile(size, batch, profile),
        precision="float16" if precision == "mixed" else precision,
        norm="float32" if precision == "mixed" else norm,
        targets=target,
        flavour=flavour,
        optimization_level=optimization_level,
        tiling=tiling,
        max_aux_streams=max_aux_streams,
        workspace_mib=workspace_mib,
        refit=refit,
        timing_cache=timing_cache,
        check=check,
        least_psnr_db=least_psnr_db,
    )
    frames = None
    if pictures is not None:
        network = source.info.config
        frames = picture_frames(pictures, network.in_channels, network.size_multiple)
    with progress_bar(f"building {Path(source.name).name}", "steps") as progress:
        plan = plan_from_onnx(
            source.onnx(), output, settings=settings, frames=frames, progress=progress
        )
    for name, value in describe(plan).items():
        print(f"{name:<14} {value}")


def _profile(size: Size | None, batch: int, profile: str | None) -> "Profile":
    from cyclegan.engine.plan_settings import Profile

    if profile is not None:
        if size is not None or batch != 1:
            raise ConfigError("--profile names sizes and batches itself; leave --size and --batch")
        return Profile.parse(profile)
    if size is None:
        raise ConfigError("a plan is built for stated sizes: --size 256x256, or --profile")
    return Profile.of(*size, batch=batch)
