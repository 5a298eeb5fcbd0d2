"""A progress bar with rate and time left, for anything that reports (done, expected)."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from cyclegan.errors import one_line

if TYPE_CHECKING:
    from rich.console import Console

Progress = Callable[[int, int | None], None]
"""Called with the frames or steps done and those expected (None: unknown), from one other thread;
what it raises ends the work."""


@contextlib.contextmanager
def progress_bar(
    what: str, unit: str = "frames", console: "Console | None" = None, *, at_once: bool = True
) -> Iterator[Progress]:
    """A callback that moves a bar on standard error, or on ``console``.

    The bar is there ``at_once``, or when there is something to report.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.progress import Task as BarTask
    from rich.text import Text

    from cyclegan.console import LossyConsole

    class Rate(TextColumn):
        def render(self, task: BarTask) -> Text:
            # Of late; rich forgets that when another number is expected, as at the end of videos.
            rate = task.speed or (task.completed / task.elapsed if task.elapsed else 0)
            return Text(f"{rate:.1f} {unit}/s")

    columns = (
        TextColumn("{task.description}", markup=False),  # of names such as "clip [a1].mp4"
        BarColumn(),
        MofNCompleteColumn(),
        Rate(""),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console or LossyConsole(stderr=True)) as bar:
        task = bar.add_task(one_line(what), total=None, visible=at_once)

        def report(done: int, expected: int | None) -> None:
            total = None if expected is None else max(done, expected)
            bar.update(task, completed=done, total=total, visible=True)

        yield report
