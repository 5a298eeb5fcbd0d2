"""Frames per second of whole videos, and of each stage by itself; latency; memory over time.

    python -m bench.video                        three sizes, with the 9-block generator
    python -m bench.video --memory               resident memory along a 10,000-frame run

Decoding, the translator alone and encoding are timed apart and end to end, in turns, with the same
cores. End to end is held against the slowest of them; the first frame, and the latency of a live
source that is played at 0.8 of the translator's rate, against the time of one frame; memory at the
end against that after a tenth of the frames.
"""

import argparse
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

from bench.generators import new_generator
from bench.harness import figures, in_turns, ratio, record, resident_bytes, table
from bench.options import count_argument, parser_for, size_argument
from cyclegan.engine.containers import VideoReader
from cyclegan.engine.frames import Frames
from cyclegan.engine.layout import TimedFrame
from cyclegan.engine.options import VideoOptions
from cyclegan.engine.throughput import sample_frames, stream
from cyclegan.engine.translator import Translator
from cyclegan.engine.video import translate_video
from cyclegan.engine.writer import VideoWriter
from cyclegan.sizes import Size, size_text

SIZES = ((256, 256), (272, 640), (720, 1280))
"""(height, width)."""
LIVE_SHARE = 0.8
"""Of the translator's rate, that a live source is played at."""


def make_clip(path: Path, count: int, size: Size, rate: int | Fraction = 25) -> Path:
    """A video of ``count`` frames of ``size``: a picture that drifts."""
    import av
    import numpy as np

    height, width = size
    side = 2 * max(size)
    wide = sample_frames(1, side, side)[0]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(count):
            shift = number % height
            frame = np.ascontiguousarray(wide[shift : shift + height, shift // 2 :][:, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def decode(path: Path) -> list[TimedFrame]:
    """All frames of a video, as RGB."""
    with VideoReader(path) as reader:
        return [item for item in reader.items() if isinstance(item, TimedFrame)]


def encode(source: Path, path: Path, pictures: list[TimedFrame], frames: list[Frames]) -> None:
    """Write frames at the times of ``pictures``, as :func:`translate_video` would."""
    with VideoReader(source) as reader:
        next(item for item in reader.items() if isinstance(item, TimedFrame))
        writer = VideoWriter(path, reader)
        for picture, frame in zip(pictures, frames):
            writer.write(TimedFrame(frame=frame, pts=picture.pts, duration=picture.duration))
        writer.close()


def measure(*, width: int, blocks: int, size: Size, frames: int, turns: int) -> dict[str, Any]:
    """End to end beside its stages, and live, for one size."""
    generator = new_generator(width, blocks)
    with (
        tempfile.TemporaryDirectory() as folder,
        Translator.open(generator, size=size) as translator,
    ):
        clip = make_clip(Path(folder) / "in.mp4", frames, size)
        out = Path(folder) / "out.mp4"
        pictures = decode(clip)
        assert len(pictures) == frames
        translated = [translator(picture.frame) for picture in pictures]
        timings = in_turns(
            {
                "translator alone": lambda: stream(translator, [p.frame for p in pictures]),
                "end to end": lambda: translate_video(clip, out, translator),
                "decode alone": lambda: decode(clip),
                "encode alone": lambda: encode(clip, out, pictures, translated),
            },
            turns=turns,
            items=frames,
            warmup=0,
        )
        stats = translate_video(clip, out, translator)
        assert stats.frames == len(decode(out)) == frames
        live = measure_live(
            translator, Path(folder), frames, size, timings["translator alone"].rate
        )
        description = translator.description
    name = size_text(size)
    table(f"video {name}, {description}, bound by {stats.bound_by}", timings)
    stages = [timings[f"{name} alone"] for name in ("translator", "decode", "encode")]
    slowest = min(stages, key=lambda stage: stage.rate)
    return {
        "benchmark": "video",
        "settings": {"width": width, "blocks": blocks, "size": name, "engine": description},
        "of_slowest_stage": ratio(timings["end to end"], slowest).median,
        "first_frame_in_frames": stats.first_frame_seconds * timings["translator alone"].rate,
        **live,
        "bound_by": stats.bound_by,
        "timings": figures(timings),
    }


def measure_live(
    translator: Translator, folder: Path, frames: int, size: Size, rate: float
) -> dict[str, Any]:
    """Latency of a source that is played a little slower than the translator can go."""
    played = Fraction(LIVE_SHARE * rate).limit_denominator(1000)  # below 1, too
    clip = make_clip(folder / "live.mp4", frames, size, played)
    stats = translate_video(clip, folder / "out.mp4", translator, VideoOptions(live=True))
    assert stats.latency is not None
    return {
        "live_rate": float(played),
        "live_dropped": stats.dropped,
        "live_p95_in_frames": stats.latency.p95 / 1000 * float(played),
    }


def measure_memory(*, frames: int, size: Size) -> dict[str, Any]:
    """Resident memory at every tenth of a long run, of a small generator."""
    seen: dict[int, int | None] = {}

    def look(done: int, expected: int | None) -> None:
        if done % max(frames // 10, 1) == 0:
            seen[done] = resident_bytes()

    with (
        tempfile.TemporaryDirectory() as folder,
        Translator.open(new_generator(4, 1), size=size) as translator,
    ):
        clip = make_clip(Path(folder) / "in.mp4", frames, size)
        translate_video(clip, Path(folder) / "out.mp4", translator, progress=look)
    first, *_, last = seen.values()
    if first is None or last is None:
        raise OSError("this system does not tell how much memory a process has")
    return {
        "benchmark": "video-memory",
        "settings": {"size": size_text(size), "frames": frames},
        "resident_bytes": {str(done): taken for done, taken in seen.items()},
        "growth": last / first,
    }


def even_argument(text: str) -> Size:
    """(height, width) that H.264 has in 4:2:0, for ``add_argument``."""
    size = size_argument(text)
    if any(side % 2 for side in size):
        raise argparse.ArgumentTypeError(f"{text!r}; expected even sides, which H.264 needs")
    return size


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Measure, print tables and record the results."""
    parser = parser_for(__doc__, turns=3)
    parser.add_argument(
        "--size", type=even_argument, nargs="+", default=SIZES, help="WIDTHxHEIGHT of frames, even"
    )
    parser.add_argument("--frames", type=count_argument, help="in each turn; fewer of larger sizes")
    parser.add_argument("--memory", action="store_true", help="measure memory, not speed")
    given = parser.parse_args(arguments)
    if given.memory and given.frames == 1:
        parser.error("--memory holds the end against the beginning: --frames from 2 up")
    results = []
    for size in given.size[:1] if given.memory else given.size:
        fewer = max(8, 48 * 256 * 256 // (size[0] * size[1]))
        if given.memory:
            result = measure_memory(frames=given.frames or 10_000, size=size)
        else:
            result = measure(
                width=given.width,
                blocks=given.blocks,
                size=size,
                frames=given.frames or fewer,
                turns=given.turns,
            )
        record(result, given.output)
        results.append(result)
    return results


if __name__ == "__main__":
    main()
