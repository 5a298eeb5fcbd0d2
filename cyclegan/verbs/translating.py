"""What the verb translate makes of its flags, and what it says at the end."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Suppress, UseAppendAction, arg

from cyclegan.engine.endpoints import STANDARD_OUTPUT, Retry
from cyclegan.engine.options import VideoOptions
from cyclegan.engine.runners import Precision
from cyclegan.engine.tiling import Tiles
from cyclegan.errors import ConfigError, StoppedEarlyError, printable
from cyclegan.shipped import DEFAULT, find_model
from cyclegan.signals import ending_signals, handling, is_urgent, leave
from cyclegan.verbs import Backend, Model

if TYPE_CHECKING:
    from cyclegan.engine.images import ImageStats
    from cyclegan.engine.options import Show, VideoStats
    from cyclegan.engine.translator import Translator


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What runs the generator."""

    model: Model = DEFAULT
    backend: Backend = "auto"
    """auto takes what is fastest here."""
    precision: Precision = "auto"
    """Of the arithmetic."""
    stabilize: float | None = None
    """Steadiness of colours over time, from 0 to below 1, such as 0.9."""
    tiles: Tiles | None = None
    """Translate large frames in pieces: exact, or under the statistics of a thumbnail, or of the
    first frame."""

    def __post_init__(self) -> None:
        if self.stabilize is None and self.tiles is None:
            return
        if self.stabilize is not None and self.tiles is not None:
            raise ConfigError("frames are steadied or tiled, not both: give --stabilize or --tiles")
        if self.backend not in ("auto", "torch"):
            raise ConfigError(
                f"--stabilize and --tiles run in PyTorch: leave out --backend {self.backend}"
            )


def options_from_flags(
    source_option: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME=VALUE")] = (),
) -> dict[str, str]:
    """What FFmpeg is told of the source.

    Args:
        source_option: NAME=VALUE for its demuxer, such as framerate=25; may be given again
    """
    for pair in source_option:
        if "=" not in pair.strip("="):
            raise ConfigError(f"got the source option {pair!r}; expected NAME=VALUE")
    return dict(pair.split("=", 1) for pair in source_option)


@dataclass(frozen=True, kw_only=True)
class Options(VideoOptions):
    """How a video is read, translated and written."""

    # As VideoOptions has them, but for what is no flag, or one under another name.
    source_options: Annotated[Mapping[str, str], arg(constructor=options_from_flags)] = field(
        default_factory=dict
    )
    retry: Suppress[Retry] = field(default_factory=Retry)


def open_translator(run: RunSettings) -> "Translator":
    """The translator that the flags ask for. Raises ConfigError, ModelError, BackendError."""
    from cyclegan.engine.stabilize import open_stabilized
    from cyclegan.engine.tiling import open_tiled
    from cyclegan.engine.translator import Translator

    model = find_model(run.model)
    if run.tiles is not None:
        return open_tiled(model, run.tiles, precision=run.precision)
    if run.stabilize is not None:
        return open_stabilized(model, steadiness=run.stabilize, precision=run.precision)
    return Translator.open(model, backend=run.backend, precision=run.precision)


@contextlib.contextmanager
def stopping_at_interrupt(source: str, options: VideoOptions) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets, where that is how a run ends; the second ends
    it at once, and so does the first where there is nothing yet to keep."""
    from cyclegan.engine.video import open_input

    stop, asked_by = threading.Event(), 0

    def set_it(number: int, frame: FrameType | None) -> None:
        nonlocal asked_by
        if stop.is_set() and is_urgent(number):
            leave(number)
        asked_by = number
        stop.set()

    if not (options.live or open_input(source, options).endless):
        yield stop
        return
    with handling(ending_signals(), set_it):
        try:
            yield stop
        except StoppedEarlyError:
            leave(asked_by)


@contextlib.contextmanager
def previewing(port: int | None) -> Iterator["Show | None"]:
    """What shows frames on a page at ``port``; None without one. Raises OutputError."""
    if port is None:
        yield None
        return
    from cyclegan.engine.preview import Preview

    with Preview(port) as preview:
        print(f"preview: {preview.address}", file=sys.stderr, flush=True)
        yield preview.show


def tell(target: str, stats: "ImageStats | VideoStats") -> None:
    """The notes, to standard error; the summary too, where results go to standard output."""
    from cyclegan.engine.options import VideoStats

    out = sys.stderr if _is_standard_output(target) else sys.stdout
    for note in stats.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    if not isinstance(stats, VideoStats):
        for message in stats.skipped:
            print(f"skipped {printable(message)}", file=sys.stderr)
        print(f"{target}: {stats.pictures} pictures, {len(stats.skipped)} skipped", file=out)
        return
    rates = ", ".join(f"{name} {rate:.1f}" for name, rate in stats.stage_rates().items())
    print(
        f"{target}: {stats.frames} frames, {stats.frames_per_second:.1f} frames/s end to end "
        f"({rates}; bound by {stats.bound_by}); first frame after "
        f"{stats.first_frame_seconds:.2f} s",
        file=out,
    )
    print(stats.means, file=out)
    if stats.latency:
        print(
            f"live: latency {stats.latency.p50:.0f} ms (p50), {stats.latency.p95:.0f} ms (p95); "
            f"{stats.dropped} late frames dropped",
            file=out,
        )


def _is_standard_output(target: str) -> bool:
    """Whether ``target`` is where standard output goes, as ``/dev/fd/1`` is under any name."""
    if target in STANDARD_OUTPUT:
        return True
    try:
        same = os.path.samestat(Path(target).stat(), os.fstat(1))
    except (OSError, ValueError):  # an address, or a name that no file has
        return False
    return same and target != os.devnull
