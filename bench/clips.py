"""A whole video beside the translator alone: what decoding, encoding and queues cost.

Short enough for every change; ``python -m bench.video`` has the stages apart, and memory.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.generators import new_generator
from bench.suite import Comparison, Options
from cyclegan.engine.frames import Frames
from cyclegan.engine.throughput import sample_frames, stream
from cyclegan.engine.translator import Translator
from cyclegan.engine.video import translate_video

ALONE, WHOLE = "translator alone", "end to end"
FRAMES = 24


def end_to_end(options: Options) -> Iterator[Comparison]:
    """The same frames with and without the video around them."""
    size = options.sizes[0]
    frames = sample_frames(FRAMES, *size)
    with (
        tempfile.TemporaryDirectory() as folder,
        Translator.open(new_generator(options.width, options.blocks), size=size) as translator,
    ):
        clip, out = Path(folder) / "in.mp4", Path(folder) / "out.mp4"
        write_clip(clip, frames)
        done = translate_video(clip, out, translator)
        assert done.frames == FRAMES, f"{done.frames} frames came out, not {FRAMES}"

        def alone(count: int) -> None:
            stream(translator, list(frames) * count)

        def whole(count: int) -> None:
            for _ in range(count):
                translate_video(clip, out, translator)

        yield Comparison(
            name=f"video {size[1]}x{size[0]}",
            candidates={ALONE: alone, WHOLE: whole},
            items=FRAMES,
            settings={"width": options.width, "blocks": options.blocks},
        )


def write_clip(path: Path, frames: Frames) -> None:
    """uint8 (N, H, W, 3) as H.264 at 25 frames a second."""
    import av

    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.height, video.width = frames.shape[1:3]
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode(None))
