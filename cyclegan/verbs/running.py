"""Verbs that run a generator, and that say what runs it: translate, doctor."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from cyclegan.verbs.translating import (
    Options,
    RunSettings,
    open_translator,
    previewing,
    stopping_at_interrupt,
    tell,
)


def translate(
    source: Annotated[Positional[str], arg(metavar="SOURCE")],
    target: Annotated[Positional[str], arg(metavar="TARGET")],
    run: RunSettings,
    video: Options,
    skip_bad: bool = False,
    preview: int | None = None,
) -> None:
    """Translate a picture, a folder of pictures, a video, a camera or a stream.

    Args:
        source: a picture, a folder, a video; - for standard input; pictures/%05d.png; /dev/video0;
            an address such as rtsp://...
        target: a file for a file, a folder for a folder; - for standard output; pictures/%05d.png;
            /dev/null
        skip_bad: go on without pictures that cannot be read
        preview: port of a page on this machine that shows the live picture; 0 takes a free one
    """
    from cyclegan.engine.images import source_path, translate_path
    from cyclegan.engine.progress import progress_bar

    source_path(source, video)  # the generator may first have to be compiled, for minutes

    with (
        open_translator(run) as translator,
        previewing(preview) as show,
        progress_bar(f"translating {Path(source).name}") as progress,
        stopping_at_interrupt(source, video) as stop,
    ):
        stats = translate_path(
            source,
            target,
            translator,
            skip_bad=skip_bad,
            options=video,
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
