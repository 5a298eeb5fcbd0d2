"""A whole video beside the translator alone: what decoding, encoding and queues cost.

Short enough for every change; ``python -m bench.video`` has the stages apart, and memory.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.peers import new_generator
from bench.suite import Comparison, Options
from bench.video import decode, make_clip
from cyclegan.engine.throughput import stream
from cyclegan.engine.translator import Translator
from cyclegan.engine.video import translate_video

ALONE, WHOLE = "translator alone", "end to end"
FRAMES = 24


def end_to_end(options: Options) -> Iterator[Comparison]:
    """The same frames with and without the video around them."""
    size = options.sizes[0]
    with (
        tempfile.TemporaryDirectory() as folder,
        Translator.open(new_generator(options), size=size) as translator,
    ):
        clip = make_clip(Path(folder) / "in.mp4", FRAMES, size)
        frames = [picture.frame for picture in decode(clip)]
        assert len(frames) == FRAMES

        def alone(count: int) -> None:
            stream(translator, frames * count)

        def whole(count: int) -> None:
            for _ in range(count):
                translate_video(clip, Path(folder) / "out.mp4", translator)

        yield Comparison(
            name=f"video {size[1]}x{size[0]}",
            candidates={ALONE: alone, WHOLE: whole},
            items=FRAMES,
            settings={"width": options.width, "blocks": options.blocks},
        )
