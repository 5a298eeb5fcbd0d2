"""What the verb translate makes of its flags, and what it says at the end."""

import contextlib
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, cast

from cyclegan.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from cyclegan.engine.images import ImageStats
    from cyclegan.engine.options import Show, VideoStats
    from cyclegan.engine.runners.settings import Precision
    from cyclegan.engine.tiling import Tiles
    from cyclegan.engine.translator import Translator
    from cyclegan.flicker import Flicker


def open_translator(
    model: "str | Path",
    *,
    backend: str,
    precision: "Precision",
    stabilize: float | None,
    tiles: "Tiles | None",
) -> "Translator":
    """The translator that the flags ask for. Raises ConfigError for flags that exclude another."""
    from cyclegan.engine.stabilize import open_stabilized
    from cyclegan.engine.tiling import open_tiled
    from cyclegan.engine.translator import Translator

    if stabilize is None and tiles is None:
        return Translator.open(model, backend=backend, precision=precision)
    if stabilize is not None and tiles is not None:
        raise ConfigError("frames are steadied or tiled, not both: give --stabilize or --tiles")
    if backend not in ("auto", "torch"):
        raise ConfigError(f"--stabilize and --tiles run in PyTorch: leave out --backend {backend}")
    if tiles is not None:
        return open_tiled(model, tiles, precision=precision)
    assert stabilize is not None
    return open_stabilized(model, steadiness=stabilize, precision=precision)


def flicker_of_clip(translator: "Translator", source: "Path") -> "Flicker":
    """The flicker of a video's translation beside that of the video. Raises VideoError."""
    from cyclegan.engine.containers import VideoReader
    from cyclegan.engine.layout import Picture
    from cyclegan.flicker import flicker

    with VideoReader(source) as reader:
        pictures = (item for item in reader.items() if isinstance(item, Picture))
        frames = (cast("NDArray[np.uint8]", picture.frame) for picture in pictures)
        return flicker((frame, translator(frame)) for frame in frames)


def size_from(text: str | None) -> tuple[int, int] | None:
    """(height, width) of "WIDTHxHEIGHT". Raises ConfigError."""
    if text is None:
        return None
    if not (match := re.fullmatch(r"(\d+)x(\d+)", text)):
        raise ConfigError(f"got the size {text!r}; expected WIDTHxHEIGHT, such as 640x360")
    width, height = map(int, match.groups())
    return height, width


def settings_from(pairs: Sequence[str]) -> dict[str, str]:
    """A dictionary of "name=value" strings. Raises ConfigError."""
    for pair in pairs:
        if "=" not in pair.strip("="):
            raise ConfigError(f"got the source option {pair!r}; expected NAME=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


@contextlib.contextmanager
def stopping_at_interrupt(source: str, live: bool) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, where that is how a run ends; the second interrupts."""
    from cyclegan.engine.sources import input_from

    stop = threading.Event()

    def set_it(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    if not (live or (source != "-" and input_from(source).endless)):
        yield stop
        return
    before = signal.signal(signal.SIGINT, set_it)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


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

    out = sys.stderr if target == "-" else sys.stdout
    if not isinstance(stats, VideoStats):
        for message in stats.skipped:
            print(f"skipped {message}", file=sys.stderr)
        print(f"{target}: {stats.pictures} pictures, {len(stats.skipped)} skipped", file=out)
        return
    for note in stats.notes:
        print(f"note: {note}", file=sys.stderr)
    rates = ", ".join(f"{name} {rate:.1f}" for name, rate in stats.stage_rates().items())
    print(
        f"{target}: {stats.frames} frames, {stats.frames_per_second:.1f} frames/s end to end "
        f"({rates}; bound by {stats.bound_by}); first frame after "
        f"{stats.first_frame_seconds:.2f} s",
        file=out,
    )
    if stats.latency:
        print(
            f"live: latency {stats.latency.p50:.0f} ms (p50), {stats.latency.p95:.0f} ms (p95); "
            f"{stats.dropped} late frames dropped",
            file=out,
        )
