import io
import time

from rich.console import Console

from cyclegan.engine.progress import progress_bar


def test_the_bar_shows_count_rate_and_what_it_is() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with progress_bar("translating", console=console) as report:
        report(1, None)
        report(3, 4)
        report(5, 4)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("translating", "5/5", "frames/s"):
        assert part in text


def test_the_rate_stays_when_the_number_of_frames_was_estimated_wrongly() -> None:
    console = Console(file=io.StringIO(), width=100)
    with progress_bar("translating", console=console) as report:
        report(1, 3)
        time.sleep(0.05)
        report(4, 3)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert 0 < float(text.split("4/4")[1].split("frames/s")[0]) <= 80


def test_brackets_in_a_name_are_shown() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with progress_bar("translating clip [a1].mp4", console=console):
        pass
    assert "clip [a1].mp4" in console.file.getvalue()  # type: ignore[attr-defined]
