"""What the tests of videos share: clips made to measure, and a runner that changes nothing."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from cyclegan.engine.frames import Frames
from cyclegan.errors import BackendError


class Copies:
    """A runner that gives back what it gets, so that all else can be seen."""

    slots = 2
    max_batch = 1

    def __init__(self, fail_at: int = -1, depths: tuple[int, ...] = (8,)) -> None:
        self.depths = depths
        self.seen: set[str] = set()
        self.frames: dict[int, Frames] = {}
        self.count = 0
        self.fail_at = fail_at

    def begin(self, slot: int, frames: Frames) -> None:
        self.count += 1
        self.seen.add(str(frames.dtype))
        if self.count == self.fail_at:
            raise BackendError("the device is gone")
        self.frames[slot] = frames.copy()

    def finish(self, slot: int) -> Frames:
        return self.frames.pop(slot)

    def close(self) -> None:
        pass


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    times: Sequence[int] | None = None,
    *,
    time_base: Fraction = Fraction(1, 1000),
    pix_fmt: str = "yuv444p",
    matrix: int = 2,
    span: int = 0,
    primaries: int = 2,
    transfer: int = 2,
    rotation: int = 0,
    aspect: Fraction | None = None,
    matrix_of_display: tuple[int, ...] | None = None,
    quality: int = 4,
) -> Path:
    """A video of RGB frames at the given times, with the given tags."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": str(quality)})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        context = stream.codec_context
        context.time_base = stream.time_base = time_base
        context.colorspace, context.color_range = matrix, span
        context.color_primaries, context.color_trc = primaries, transfer
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        if matrix_of_display:
            stream.set_display_matrix(matrix_of_display)
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
                format=pix_fmt,
                dst_colorspace=None if matrix == 2 else matrix,
                dst_color_range=span or 1,
            )
            picture.pts = times[number] if times else number * 40
            picture.time_base = time_base
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def smooth(count: int, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Coloured ramps that move, so that each frame is unlike the others and easy to encode."""
    y, x = np.mgrid[:height, :width]
    return [
        np.stack([x * 3 + 5 * n, y * 4 + 20, 200 - x * 2 - n], -1).clip(0, 255).astype(np.uint8)
        for n in range(count)
    ]


def decoded(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def times(path: Path) -> list[Fraction]:
    return [picture.pts * picture.time_base for picture in decoded(path)]


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def peak_kib() -> int:
    """Most memory that this process ever had resident (Linux; elsewhere 0)."""
    # Not ru_maxrss: that begins at the peak of the process which started this one.
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])
