"""When frames are shown where the container or codec cannot tell every time."""

from fractions import Fraction

import pytest

from cyclegan.engine.colour import BT601, LIMITED, Colour
from cyclegan.engine.encoding import Chosen
from cyclegan.engine.frame_times import FrameTimes
from cyclegan.engine.layout import Layout


def frame_times(form: str, codec: str = "h264", base: Fraction = Fraction(1, 1000)) -> FrameTimes:
    """Of a source with 25 frames/s."""
    layout = Layout(
        width=64,
        height=48,
        time_base=base,
        rate=Fraction(25),
        pixel_aspect=None,
        display_matrix=None,
        colour=Colour(matrix=BT601, range=LIMITED, primaries=2, transfer=2),
        format=None,
    )
    chosen = Chosen(encoder=codec, canonical=codec, options={}, pixel_format="yuv420p")
    return FrameTimes(form, chosen, layout)


@pytest.mark.parametrize("base", [Fraction(1, 1000), Fraction(1, 25)])
def test_a_crowd_takes_the_next_places_and_no_more(base: Fraction) -> None:
    times = frame_times("avi", base=base)
    given = [round(Fraction(ms, 1000) / base) for ms in (0, 40, 40, 80, 240, 280)]
    assert [times.place(pts) for pts in given] == [0, 1, 2, 3, 6, 7]


def test_frames_of_containers_without_times_are_counted() -> None:
    times = frame_times("yuv4mpegpipe")
    assert [times.place(pts) for pts in (0, 90, 91, 500)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("form", "codec", "step", "said"),
    [
        ("avi", "h264", 34, None),  # 30 frames/s in milliseconds
        ("avi", "h264", 50, "avi knows one rate"),
        ("matroska", "mpeg2video", 50, "mpeg2video knows one rate"),
        ("yuv4mpegpipe", "wrapped_avframe", 50, "has none"),
        ("matroska", "h264", 50, None),
    ],
)
def test_times_that_vary_are_told_where_they_are_lost(
    form: str, codec: str, step: int, said: str | None
) -> None:
    times = frame_times(form, codec)
    for pts in (0, 33, 33 + step):
        times.place(pts)
    notes = "; ".join(times.notes())
    assert said in notes if said else not notes
