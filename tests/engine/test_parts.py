"""Parts of videos begin with their first frame, end where they were asked to, and miss nothing."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from videos import Copies, decoded, smooth, times, write_video

from cyclegan.config import ResnetConfig
from cyclegan.engine.containers import VideoReader
from cyclegan.engine.cutting import Part
from cyclegan.engine.graph_info import GraphInfo
from cyclegan.engine.layout import TimedFrame
from cyclegan.engine.options import VideoOptions
from cyclegan.engine.translator import Translator
from cyclegan.engine.video import translate_video
from cyclegan.errors import VideoError


@pytest.fixture
def copies() -> Translator:
    return Translator(Copies(), GraphInfo(config=ResnetConfig()))


def _encode(path: Path, encoder: str, options: dict[str, str], muxer: dict[str, str]) -> None:
    with av.open(str(path), "w", options=muxer) as container:
        stream = container.add_stream(encoder, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if encoder == "mpeg2video":
            stream.codec_context.max_b_frames = 2
        for number, frame in enumerate(smooth(60)):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("suffix", "encoder", "options", "muxer"),
    [
        (".mp4", "libx264", {"x264-params": "open-gop=1:keyint=12:scenecut=0"}, {}),
        (".mp4", "libx265", {"x265-params": "keyint=12:log-level=none"}, {}),
        (".mov", "mpeg2video", {"g": "12"}, {}),
        (".mp4", "libx264", {"g": "12"}, {"movflags": "frag_keyframe+empty_moov"}),
        (".mkv", "libx264", {"x264-params": "open-gop=1:keyint=12:scenecut=0"}, {}),
    ],
)
def test_a_part_has_all_frames_from_its_start_on(
    suffix: str, encoder: str, options: dict[str, str], muxer: dict[str, str], tmp_path: Path
) -> None:
    """An index by times of decoding leads to key frames that are shown only later."""
    source = tmp_path / f"in{suffix}"
    _encode(source, encoder, options, muxer)
    shown = times(source)
    assert len(shown) == 60
    for first in range(1, 60, 3):
        with VideoReader(source, Part(start=float(shown[first]))) as reader:
            assert len(list(reader.items())) == 60 - first, f"from frame {first} on"
            assert not reader.problems


@pytest.mark.parametrize(
    ("suffix", "encoder", "options"),
    [(".h264", "libx264", {}), (".h265", "libx265", {"x265-params": "log-level=none"})],
)
def test_a_part_of_a_raw_stream_is_found_by_counting(
    suffix: str, encoder: str, options: dict[str, str], tmp_path: Path
) -> None:
    """Its pictures hold no times, not even those of which others lie in between, as here."""
    source = tmp_path / f"in{suffix}"
    _encode(source, encoder, options, {})

    def read(part: Part) -> tuple[list[np.ndarray], list[Fraction]]:
        with VideoReader(source, part) as reader:
            items = [item for item in reader.items() if isinstance(item, TimedFrame)]
            assert reader.layout is not None
            base = reader.layout.time_base
            return [item.frame for item in items], [item.pts * base for item in items]

    frames, shown = read(Part())
    assert shown == [Fraction(number, 25) for number in range(60)]
    for part, first, end in (
        (Part(start=1.0, end=2.0), 25, 50),
        (Part(end=0.4), 0, 10),
        (Part(start=1.0), 25, 60),
    ):
        cut, shown = read(part)
        assert shown == [Fraction(number, 25) for number in range(end - first)]
        assert np.array_equal(cut, frames[first:end])
    with VideoReader(source, Part(start=3.0)) as reader:
        assert not list(reader.items())
        assert "it ends after 2.40 s" in reader.why_empty()


@pytest.mark.parametrize("suffix", [".mkv", ".y4m"])
@pytest.mark.parametrize("part", [Part(start=0.5), Part(start=0.5, end=7.5)])
def test_a_part_of_a_source_that_is_cut_off_is_damaged(
    suffix: str, part: Part, copies: Translator, tmp_path: Path
) -> None:
    whole = tmp_path / f"whole{suffix}"
    translate_video(write_video(tmp_path / "a.mp4", smooth(200)), whole, copies)
    source = tmp_path / f"in{suffix}"
    content = whole.read_bytes()
    source.write_bytes(content[: len(content) * 2 // 3 + 100])
    with pytest.raises(VideoError, match=r"in\..* is damaged: it"):
        translate_video(source, tmp_path / "out.mkv", copies, VideoOptions(part=part))
    assert not (tmp_path / "out.mkv").exists()
    assert len(decoded(tmp_path / "out.partial.mkv")) > 60
    translate_video(
        source, tmp_path / "out.mkv", copies, VideoOptions(part=Part(start=0.4, end=1.4))
    )
    assert len(decoded(tmp_path / "out.mkv")) == 25, "the part is whole"


def test_the_last_frame_ends_with_the_part(copies: Translator, tmp_path: Path) -> None:
    """Slides stand for many seconds."""
    source = write_video(tmp_path / "in.mp4", smooth(4), [0, 1000, 11000, 12000])
    target = tmp_path / "out.mp4"
    stats = translate_video(source, target, copies, VideoOptions(part=Part(end=3.0)))
    assert stats.frames == 2
    with av.open(str(target)) as container:
        assert container.streams.video[0].duration * container.streams.video[0].time_base == 3
    translate_video(source, target, copies, VideoOptions(part=Part(start=0.5, end=3.0)))
    with av.open(str(target)) as container:
        video = container.streams.video[0]
        assert (video.start_time + video.duration) * video.time_base == Fraction(5, 2)


def test_a_damaged_source_is_not_replaced_by_what_could_be_translated(
    copies: Translator, tmp_path: Path
) -> None:
    """Recordings and downloads that were broken off are called like that."""
    write_video(tmp_path / "whole.mkv", smooth(100))
    content = (tmp_path / "whole.mkv").read_bytes()
    source = tmp_path / "clip.partial.mkv"
    source.write_bytes(content[: len(content) // 2])
    with pytest.raises(VideoError, match=r"are in .*clip\.partial\.partial\.mkv"):
        translate_video(source, tmp_path / "clip.mkv", copies)
    assert source.read_bytes() == content[: len(content) // 2]
    assert np.all(np.diff(times(tmp_path / "clip.partial.partial.mkv")) > 0)
