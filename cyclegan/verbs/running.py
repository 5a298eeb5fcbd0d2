"""Verbs that run a generator, and that say what runs it: translate, doctor."""

import sys
from pathlib import Path

from tyro.conf import Positional

from cyclegan.shipped import DEFAULT, find_model
from cyclegan.verbs import Backend, Model, Precision


def translate(
    source: Positional[Path],
    target: Positional[Path],
    model: Model = DEFAULT,
    backend: Backend = "auto",
    precision: Precision = "auto",
    skip_bad: bool = False,
) -> None:
    """Translate a picture, a folder of pictures, or a video.

    Args:
        source: a picture, a folder, or a video
        target: where the result goes: a file for a file, a folder for a folder
        backend: what runs the generator; auto takes what is fastest here
        precision: of the arithmetic
        skip_bad: go on without pictures that cannot be read
    """
    from cyclegan.engine.images import ImageStats, translate_path
    from cyclegan.engine.progress import progress_bar
    from cyclegan.engine.translator import Translator

    with (
        Translator.open(find_model(model), backend=backend, precision=precision) as translator,
        progress_bar(f"translating {source.name}") as progress,
    ):
        stats = translate_path(source, target, translator, skip_bad=skip_bad, progress=progress)
    if isinstance(stats, ImageStats):
        for message in stats.skipped:
            print(f"skipped {message}", file=sys.stderr)
        print(f"{target}: {stats.pictures} pictures, {len(stats.skipped)} skipped")
        return
    for note in stats.notes:
        print(f"note: {note}", file=sys.stderr)
    rates = ", ".join(f"{name} {rate:.1f}" for name, rate in stats.stage_rates().items())
    print(
        f"{target}: {stats.frames} frames, {stats.frames_per_second:.1f} frames/s end to end "
        f"({rates}; bound by {stats.bound_by})"
    )


def doctor() -> None:
    """Say what this machine has, which backend would run, and what would make it faster."""
    from rich.console import Console

    from cyclegan.engine.doctor import diagnose, render

    Console().print(render(diagnose()))
