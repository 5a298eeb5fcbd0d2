"""A progress bar with rate and time left, for anything that reports (done, expected)."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cyclegan.engine.options import Progress

if TYPE_CHECKING:
    from rich.console import Console


@contextlib.contextmanager
def progress_bar(
    what: str, unit: str = "frames", console: "Console | None" = None
) -> Iterator[Progress]:
    """A callback that moves a bar on standard error, or on ``console``."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.progress import Task as BarTask
    from rich.text import Text

    class Rate(TextColumn):
        def render(self, task: BarTask) -> Text:
            return Text(f"{task.speed or 0:.1f} {unit}/s")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(""),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console or Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)

        def report(done: int, expected: int | None) -> None:
            bar.update(
                task, completed=done, total=None if expected is None else max(done, expected)
            )

        yield report
