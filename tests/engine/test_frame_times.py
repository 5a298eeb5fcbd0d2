"""When frames are shown where the container or codec cannot tell every time."""

from fractions import Fraction

import pytest

from cyclegan.colour import BT601, LIMITED, Colour
from cyclegan.engine.encoding import Chosen
from cyclegan.engine.frame_times import FrameTimes
from cyclegan.engine.layout import Layout
from cyclegan.errors import VideoError


def frame_times(
    form: str,
    codec: str = "h264",
    base: Fraction = Fraction(1, 1000),
    rate: Fraction = Fraction(25),
) -> FrameTimes:
    """Of a source with frames at that average rate."""
    layout = Layout(
        width=64,
        height=48,
        time_base=base,
        rate=rate,
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


def test_frames_half_a_unit_off_all_find_a_place() -> None:
    times = frame_times("gif", "gif", rate=Fraction(100))
    assert [times.place(ms) for ms in range(-15, 40, 10)] == [-1, 0, 1, 2, 3, 4]
    assert times.notes() == []


@pytest.mark.parametrize("codec", ["h264", "mpeg1video"])
def test_frames_of_containers_without_times_are_counted(codec: str) -> None:
    times = frame_times("yuv4mpegpipe", codec, rate=Fraction(1000000, 33333))
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


@pytest.mark.parametrize(
    ("codec", "rate", "told"),
    [
        ("mpeg4", Fraction(30000, 1001), Fraction(30000, 1001)),
        ("mpeg4", Fraction(1, 100000), Fraction(1, 65535)),
        ("mpeg1video", Fraction(1000000, 33333), Fraction(30)),
        ("mpeg1video", Fraction(15), Fraction(30)),
        ("mpeg1video", Fraction(12), Fraction(24)),
        ("mpeg1video", Fraction(120), Fraction(60)),
        ("mpeg2video", Fraction(1000000, 33333), Fraction(30)),
        ("mpeg2video", Fraction(15), Fraction(15)),
        ("h264", Fraction(1000000, 33333), Fraction(1000000, 33333)),
    ],
)
def test_a_rate_that_a_codec_cannot_tell_becomes_one_that_it_can(
    codec: str, rate: Fraction, told: Fraction
) -> None:
    times = frame_times("avi", codec, rate=rate)
    assert (times.rate, times.base) == (told, 1 / told)


def test_ticks_that_mpeg4_cannot_count_become_the_nearest() -> None:
    rate = Fraction(1000000, 33333)
    told = frame_times("avi", "mpeg4", rate=rate).rate
    assert max(told.numerator, told.denominator) <= 65535
    assert abs(told / rate - 1) < 1e-5, "less than a frame in an hour"


def test_frames_faster_than_any_rate_of_the_codec_are_left_out() -> None:
    times = frame_times("matroska", "mpeg1video", Fraction(1, 120), Fraction(120))
    placed = [times.place(pts) for pts in range(0, 48)]
    kept = [slot for slot in placed if slot is not None]
    assert kept == sorted(set(kept))
    assert kept[-1] == 24, "the others would come too late"
    assert times.notes() == [
        f"mpeg1video holds 60.000 frames/s here: {placed.count(None)} frames were left out"
    ]


def test_a_rate_is_not_made_up_for_where_players_count_frames() -> None:
    frame_times("mpeg", "mpeg1video", rate=Fraction(1000000, 33333))
    with pytest.raises(VideoError, match=r"mpeg1video knows no 15\.000 frames/s"):
        frame_times("mpeg", "mpeg1video", rate=Fraction(15))
