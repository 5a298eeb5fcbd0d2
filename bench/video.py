"""Frames per second of whole videos, and of each stage by itself; memory over length.

    python -m bench.video                        the aim, with the 9-block generator at 256x256
    python -m bench.video --memory               a 3,000-frame run against a 300-frame run

Decoding, the translator alone and encoding are timed apart and end to end, in turns. Aims: end to
end at least 0.85 of the translator alone; memory of the long run within 5 % of the short one.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from bench.harness import figures, in_turns, record, table
from bench.translate import real_frame, stream
from cyclegan.config import ResnetConfig
from cyclegan.engine.containers import VideoReader
from cyclegan.engine.layout import Picture
from cyclegan.engine.tickets import Frames
from cyclegan.engine.translator import Translator
from cyclegan.engine.video import translate_video
from cyclegan.engine.writer import VideoWriter
from cyclegan.networks import Generator, generator_from_config, initialise

AIM_OF_TRANSLATOR = 0.85
AIM_OF_MEMORY = 1.05


def make_clip(path: Path, count: int, size: int) -> Path:
    """A video of ``count`` frames of ``size`` x ``size``: a picture that drifts."""
    import av
    import numpy as np

    wide = real_frame(2 * size)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
        for number in range(count):
            shift = number % size
            frame = np.ascontiguousarray(wide[shift : shift + size, shift // 2 :][:, :size])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def small_or_paper(width: int, blocks: int) -> Generator:
    """A generator with fixed random weights."""
    torch.manual_seed(0)
    generator = generator_from_config(ResnetConfig(width=width, blocks=blocks))
    initialise(generator)
    return generator


def decode(path: Path) -> list[Picture]:
    """All frames of a video, as RGB."""
    with VideoReader(path) as reader:
        return [item for item in reader.items() if isinstance(item, Picture)]


def encode(source: Path, path: Path, pictures: list[Picture], frames: list[Frames]) -> None:
    """Write frames at the times of ``pictures``, as :func:`translate_video` would."""
    with VideoReader(source) as reader:
        next(item for item in reader.items() if isinstance(item, Picture))
        writer = VideoWriter(path, reader)
        for picture, frame in zip(pictures, frames):
            writer.write(Picture(frame=frame, pts=picture.pts, duration=picture.duration))
        writer.close()


def measure(*, width: int, blocks: int, size: int, frames: int, turns: int) -> dict[str, Any]:
    """End to end beside its stages."""
    generator = small_or_paper(width, blocks)
    with (
        tempfile.TemporaryDirectory() as folder,
        Translator.open(generator, size=(size, size)) as translator,
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
        description = translator.description
    table(f"video {size}x{size}, {description}, bound by {stats.bound_by}", timings)
    return {
        "benchmark": "video",
        "settings": {"width": width, "blocks": blocks, "size": size, "engine": description},
        "of_translator": timings["end to end"].rate / timings["translator alone"].rate,
        "bound_by": stats.bound_by,
        "timings": figures(timings),
    }


def peak_memory(frames: int, size: int) -> int:
    """Most resident bytes of this process (Linux) after translating a video of so many frames."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Translator.open(small_or_paper(4, 1), size=(size, size)) as translator,
    ):
        clip = make_clip(Path(folder) / "in.mp4", frames, size)
        translate_video(clip, Path(folder) / "out.mp4", translator)
    # Not ru_maxrss: that begins at the peak of the process which started this one.
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024


def measure_memory(*, short: int, long: int, size: int) -> dict[str, Any]:
    """Peak memory of two lengths, each in a process of its own."""
    peaks = {}
    for frames in (short, short, long):  # The first run fills the cache of engines.
        command = [sys.executable, "-m", "bench.video", "--peak", str(frames), "--size", str(size)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[frames] = int(json.loads(done.stdout.splitlines()[-1]))
    return {
        "benchmark": "video-memory",
        "settings": {"size": size},
        "peak_bytes": {str(frames): peak for frames, peak in peaks.items()},
        "growth": peaks[long] / peaks[short],
    }


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print a table and record the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="measure memory, not speed")
    parser.add_argument("--short", type=int, default=300)
    parser.add_argument("--long", type=int, default=3000)
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help="append the result to this file of JSON lines")
    given = parser.parse_args(arguments)
    if given.peak:
        print(peak_memory(given.peak, given.size))
        return {}
    if given.memory:
        result = measure_memory(short=given.short, long=given.long, size=given.size)
        result["aims"] = {"growth": AIM_OF_MEMORY}
    else:
        result = measure(
            width=given.width,
            blocks=given.blocks,
            size=given.size,
            frames=given.frames,
            turns=given.turns,
        )
        result["aims"] = {"of_translator": AIM_OF_TRANSLATOR}
    record(result, given.output)
    return result


if __name__ == "__main__":
    main()
