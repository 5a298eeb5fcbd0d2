"""Verbs that run a generator, and that say what runs it: translate, doctor."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from cyclegan.shipped import DEFAULT, find_model
from cyclegan.verbs import Backend, Model, Precision


def translate(
    source: Annotated[Positional[str], arg(metavar="SOURCE")],
    target: Annotated[Positional[str], arg(metavar="TARGET")],
    model: Model = DEFAULT,
    backend: Backend = "auto",
    precision: Precision = "auto",
    skip_bad: bool = False,
    start: float = 0.0,
    end: float | None = None,
    size: str | None = None,
    compare: Literal["none", "side", "wipe"] = "none",
    depth: Literal["auto", 8, 16] = "auto",
    decoder: Literal["auto", "cpu", "nvdec"] = "auto",
    container: str = "auto",
    encoder: str = "auto",
    quality: int | None = None,
    pixel_format: str = "auto",
    lossless: bool = False,
    source_format: str | None = None,
    source_option: UseAppendAction[tuple[str, ...]] = (),
    live: bool = False,
    resume: bool = False,
    stabilize: float | None = None,
    tiles: Literal["exact", "thumbnail", "frozen"] | None = None,
    preview: int | None = None,
) -> None:
    """Translate a picture, a folder of pictures, a video, a camera or a stream.

    Args:
        source: a picture, a folder, a video; - for standard input; pictures/%05d.png; /dev/video0;
            an address such as rtsp://...
        target: a file for a file, a folder for a folder; - for standard output; pictures/%05d.png;
            /dev/null
        backend: what runs the generator; auto takes what is fastest here
        precision: of the arithmetic
        skip_bad: go on without pictures that cannot be read
        start: second at which a video is begun
        end: second at which it is ended
        size: WIDTHxHEIGHT that frames are scaled to before they are translated
        compare: source and translation in one picture, side by side or with a moving border
        depth: bits a channel that videos are translated with; auto takes 16 where source and
            result have more than 8
        decoder: of a video; auto takes NVDEC where an NVIDIA GPU has it
        container: of the result: y4m, raw, mkv, ts or FFmpeg's name; auto goes by the suffix
        encoder: FFmpeg's name, such as libx265, libvpx-vp9, libsvtav1, ffv1
        quality: on the encoder's scale, mostly a constant rate factor; smaller is better
        pixel_format: such as yuv444p or yuv420p10le; auto keeps the source's chroma and depth
        lossless: the result decodes to the very frames that were translated
        source_format: how the source is to be read where it does not tell: y4m, raw, ...
        source_option: NAME=VALUE for FFmpeg's demuxer, such as framerate=25; may be given again
        live: drop frames that come too late, and play a file at its own speed
        stabilize: steadiness of colours over time, from 0 to below 1, such as 0.9
        tiles: translate large frames in pieces: exact, or under the statistics of a thumbnail, or
            of the first frame
        preview: port of a page on this machine that shows the live picture; 0 takes a free one
        resume: work in segments, and go on after the last one that an interrupted run finished
    """
    from cyclegan.engine.encoding import Encoding
    from cyclegan.engine.images import translate_path
    from cyclegan.engine.layout import Part
    from cyclegan.engine.options import VideoOptions
    from cyclegan.engine.progress import progress_bar
    from cyclegan.verbs.translating import (
        open_translator,
        previewing,
        settings_from,
        size_from,
        stopping_at_interrupt,
        tell,
    )

    options = VideoOptions(
        encoding=Encoding(
            container=container,
            encoder=encoder,
            quality=quality,
            pixel_format=pixel_format,
            lossless=lossless,
        ),
        part=Part(start=start, end=end, size=size_from(size)),
        compare=compare,
        depth=depth,
        decoder=decoder,
        live=live,
        resume=resume,
        source_format=source_format,
        source_options=settings_from(source_option),
    )
    with (
        open_translator(
            find_model(model),
            backend=backend,
            precision=precision,
            stabilize=stabilize,
            tiles=tiles,
        ) as translator,
        previewing(preview) as show,
        progress_bar(f"translating {Path(source).name}") as progress,
        stopping_at_interrupt(source, live) as stop,
    ):
        stats = translate_path(
            source,
            target,
            translator,
            skip_bad=skip_bad,
            options=options,
            progress=progress,
            show=show,
            stop=stop,
        )
    tell(target, stats)


def doctor() -> None:
    """Say what this machine has, which backend would run, and what would make it faster."""
    from rich.console import Console

    from cyclegan.engine.doctor import diagnose, render

    Console().print(render(diagnose()))
