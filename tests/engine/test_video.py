import io
import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from videos import Copies, decoded, leftovers, smooth, times, write_video

from cyclegan.config import ResnetConfig
from cyclegan.engine.cutting import Part
from cyclegan.engine.encoding import Encoding
from cyclegan.engine.graph_info import GraphInfo
from cyclegan.engine.options import VideoOptions, VideoStats
from cyclegan.engine.translator import Translator
from cyclegan.engine.video import translate_video
from cyclegan.engine.writer import VideoWriter
from cyclegan.errors import BackendError, ConfigError, OutputError, VideoError

Clip = Callable[[str], Path]


@pytest.mark.parametrize("name", ["carphone_pristine", "bikes"])
def test_real_clips_keep_everything_but_their_colours(
    name: str, clip: Clip, copies: Translator, tmp_path: Path
) -> None:
    target = tmp_path / "out.mp4"
    stats = translate_video(clip(name), target, copies)
    before, after = decoded(clip(name)), decoded(target)
    assert stats.frames == len(before) == len(after)
    assert times(target) == times(clip(name))
    with av.open(str(clip(name))) as a, av.open(str(target)) as b:
        old, new = a.streams.video[0], b.streams.video[0]
        assert (new.width, new.height) == (old.width, old.height)
        assert new.sample_aspect_ratio == old.sample_aspect_ratio
        assert b.duration == a.duration
    for old, new in zip(before[::40], after[::40]):
        difference = old.to_ndarray().astype(float) - new.to_ndarray()
        assert 10 * np.log10(255**2 / np.square(difference).mean()) > 36
    written = target.read_bytes()
    assert written.index(b"moov") < written.index(b"mdat"), "browsers play it while it loads"
    assert leftovers(tmp_path) == ["out.mp4"]


def test_a_real_engine_translates_a_real_clip(
    clip: Clip, translator: Translator, frames: np.ndarray, tmp_path: Path
) -> None:
    calls: list[tuple[int, int | None]] = []
    target = tmp_path / "out.mp4"
    stats = translate_video(
        clip("carphone_pristine"),
        target,
        translator,
        VideoOptions(encoding=Encoding(quality=4)),
        progress=lambda done, expected: calls.append((done, expected)),
    )
    assert isinstance(stats, VideoStats)
    assert calls == [(n, 120) for n in range(1, 121)]
    assert min(stats.stage_rates().values()) > 0
    assert stats.bound_by in stats.stage_rates()
    assert 0 < stats.translate_seconds <= stats.seconds
    assert 0 < stats.first_frame_seconds < stats.seconds
    first = decoded(target)[0].to_ndarray(format="rgb24").astype(float)
    # The encoder halves the resolution of colour, and the network's output is busy.
    expected = translator(frames[0]).astype(float)
    grey = np.array([0.299, 0.587, 0.114])
    likeness = [
        np.corrcoef((first @ grey).ravel(), (x @ grey).ravel()) for x in (expected, frames[0])
    ]
    assert likeness[0][0, 1] > 0.95
    assert likeness[1][0, 1] < 0.8


def test_audio_is_copied_packet_by_packet(clip: Clip, copies: Translator, tmp_path: Path) -> None:
    source, target = tmp_path / "cut.mp4", tmp_path / "out.mp4"
    with av.open(str(clip("bigbuckbunny"))) as a, av.open(str(source), "w") as b:
        streams = {s: b.add_stream_from_template(s) for s in (*a.streams.video, *a.streams.audio)}
        for packet in a.demux():
            if packet.dts is not None and packet.dts * packet.time_base < 0.6:
                packet.stream = streams[packet.stream]
                b.mux(packet)
    stats = translate_video(source, target, copies)
    assert stats.frames > 10
    assert stats.notes == ()

    def sound(path: Path) -> list[tuple[int | None, bytes]]:
        with av.open(str(path)) as container:
            return [(p.pts, bytes(p)) for p in container.demux(audio=0) if p.size]

    assert len(sound(source)) > 10
    assert sound(target) == sound(source)
    assert times(target) == times(source)
    with av.open(str(target)) as container:
        assert container.streams.audio[0].codec_context.layout.name == "5.1"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_uneven_times_that_do_not_begin_at_zero_are_kept(
    suffix: str, copies: Translator, tmp_path: Path
) -> None:
    uneven = [540, 581, 600, 930, 1660, 1670, 1671, 2400]
    source = write_video(tmp_path / f"in{suffix}", smooth(8), uneven)
    translate_video(source, tmp_path / f"out{suffix}", copies)
    assert times(source) == [Fraction(t, 1000) for t in uneven]
    assert times(tmp_path / f"out{suffix}") == times(source)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_video_that_begins_late_is_whole(suffix: str, copies: Translator, tmp_path: Path) -> None:
    late = [4000 + 40 * n for n in range(12)]
    source = write_video(tmp_path / f"in{suffix}", smooth(12), late)
    assert translate_video(source, tmp_path / f"out{suffix}", copies).frames == 12
    assert times(tmp_path / f"out{suffix}") == [Fraction(t, 1000) for t in late]


@pytest.mark.parametrize(("encoder", "resume"), [("auto", False), ("auto", True), ("mpeg4", False)])
def test_avi_has_one_rate_and_says_what_it_cannot_hold(
    encoder: str, resume: bool, copies: Translator, tmp_path: Path
) -> None:
    options = VideoOptions(encoding=Encoding(encoder=encoder), resume=resume)
    even = write_video(tmp_path / "even.mp4", smooth(12))
    assert translate_video(even, tmp_path / "even.avi", copies, options).notes == ()
    assert set(np.diff(times(tmp_path / "even.avi"))) == {Fraction(1, 25)}
    with av.open(str(tmp_path / "even.avi")) as container:
        assert container.streams.video[0].average_rate == 25
    close = [0, 1, 2, 400, 800, 1200, 1600, 2000]
    uneven = write_video(tmp_path / "uneven.mp4", smooth(8), close)
    (note,) = translate_video(uneven, tmp_path / "uneven.avi", copies, options).notes
    assert "the times of the frames vary, and avi knows one rate" in note
    seen = times(tmp_path / "uneven.avi")
    assert len(seen) == 8
    assert (np.diff(seen) > 0).all()


@pytest.mark.parametrize("size", [(45, 37), (46, 37), (45, 38), (5, 3)])
def test_odd_sizes_stay(size: tuple[int, int], copies: Translator, tmp_path: Path) -> None:
    frames = smooth(3, *size)
    source = write_video(tmp_path / "in.mp4", frames)
    translate_video(source, tmp_path / "out.mp4", copies)
    after = decoded(tmp_path / "out.mp4")
    assert {(picture.width, picture.height) for picture in after} == {size}
    for picture, frame in zip(after, frames):
        difference = picture.to_ndarray(format="rgb24").astype(int) - frame
        assert np.abs(difference).mean() < 3


@pytest.mark.parametrize("matrix", [1, 5, 6, 9])
@pytest.mark.parametrize("span", [1, 2])
def test_colours_follow_their_tags(
    matrix: int, span: int, copies: Translator, tmp_path: Path
) -> None:
    tags = {"matrix": matrix, "span": span, "primaries": 9, "transfer": 14}
    frames = smooth(2)
    seen: list[np.ndarray] = []
    submit = copies.submit
    copies.submit = lambda frame: seen.append(frame.copy()) or submit(frame)  # type: ignore
    source = write_video(tmp_path / "in.mp4", frames, **tags)
    translate_video(source, tmp_path / "out.mp4", copies)
    for frame, expected in zip(seen, frames):
        assert np.abs(frame.astype(int) - expected).mean() < 2
    picture = decoded(tmp_path / "out.mp4")[0]
    kept = (picture.color_range, picture.color_primaries, picture.color_trc)
    assert kept == (span, 9, 14)
    assert picture.colorspace == matrix
    back = picture.to_ndarray(format="rgb24").astype(int)
    assert np.abs(back - frames[0]).mean() < 3


@pytest.mark.parametrize("matrix", [8, 10, 14])
def test_colours_that_are_not_converted_are_named(
    matrix: int, copies: Translator, tmp_path: Path
) -> None:
    source = write_video(tmp_path / "in.mkv", smooth(2), matrix=matrix)
    with pytest.raises(VideoError, match=rf"coded as .* \(matrix {matrix} of ITU-T H.273\)"):
        translate_video(source, tmp_path / "out.mp4", copies)
    assert leftovers(tmp_path) == ["in.mkv"]


@pytest.mark.parametrize(("height", "matrix"), [(48, 6), (720, 1)])
def test_untagged_colours_are_tagged_by_height(
    height: int, matrix: int, copies: Translator, tmp_path: Path
) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(2, 16, height))
    assert decoded(source)[0].colorspace == 2
    translate_video(source, tmp_path / "out.mp4", copies)
    picture = decoded(tmp_path / "out.mp4")[0]
    assert (picture.colorspace, picture.color_range) == (matrix, 1)


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_rotation_and_pixel_shape_stay(rotation: int, copies: Translator, tmp_path: Path) -> None:
    aspect = Fraction(128, 117)
    source = write_video(tmp_path / "in.mp4", smooth(2), rotation=rotation, aspect=aspect)
    translate_video(source, tmp_path / "out.mp4", copies)
    before, after = decoded(source)[0], decoded(tmp_path / "out.mp4")[0]
    assert abs(before.rotation) == abs(rotation)
    assert after.rotation == before.rotation
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == aspect


def test_subtitles_are_copied_or_their_loss_is_told(copies: Translator, tmp_path: Path) -> None:
    (tmp_path / "in.srt").write_text("1\n00:00:00,040 --> 00:00:00,160\nHello\n\n")
    silent = write_video(tmp_path / "silent.mp4", smooth(6))
    source = tmp_path / "in.mkv"
    with (
        av.open(str(silent)) as a,
        av.open(str(tmp_path / "in.srt")) as s,
        av.open(str(source), "w") as b,
    ):
        video = b.add_stream_from_template(a.streams.video[0])
        text = b.add_stream_from_template(s.streams.subtitles[0])
        for container, stream in ((a, video), (s, text)):
            for packet in container.demux():
                if packet.dts is not None:
                    packet.stream = stream
                    b.mux(packet)
    assert translate_video(source, tmp_path / "out.mkv", copies).notes == ()
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert [bytes(p) for p in container.demux(subtitles=0) if p.size] == [b"Hello"]
    (note,) = translate_video(source, tmp_path / "out.mp4", copies).notes
    assert "subtitle stream 1" in note
    assert ".mkv can" in note


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_truncated_video_leaves_a_partial_one_and_an_error(
    suffix: str, clip: Clip, copies: Translator, tmp_path: Path
) -> None:
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    translate_video(clip("carphone_pristine"), whole, copies)
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    target = tmp_path / f"out{suffix}"
    target.write_bytes(b"old")
    with pytest.raises(VideoError, match=r"ends after .*out\.partial\." + suffix[1:]):
        translate_video(cut, target, copies)
    assert target.read_bytes() == b"old"
    assert 30 < len(decoded(tmp_path / f"out.partial{suffix}")) < 110
    assert leftovers(tmp_path) == sorted(
        [whole.name, cut.name, target.name, f"out.partial{suffix}"]
    )


@pytest.mark.parametrize("tagged", [True, False])
def test_a_matroska_file_that_lacks_its_last_frames_is_not_whole(
    tagged: bool, copies: Translator, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    write_video(whole, smooth(480), [500 * n for n in range(480)])
    data = whole.read_bytes()
    if not tagged:
        data = data.replace(b"DURATION", b"DURATIO_")
        whole.write_bytes(data)
    assert translate_video(whole, tmp_path / "out.mkv", copies).frames == 480
    with av.open(str(whole)) as container:
        late = (packet for packet in container.demux(video=0) if (packet.pts or 0) >= 238_500)
        last = bytes(next(late))
    cut.write_bytes(data[: data.rindex(last)])
    with pytest.raises(VideoError, match=r"it ends after 23[5-9]\.\d+ of 239\.\d+ seconds"):
        translate_video(cut, tmp_path / "out.mkv", copies)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_video_is_whole_whose_file_has_a_longer_one(
    suffix: str, copies: Translator, tmp_path: Path
) -> None:
    source = tmp_path / f"in{suffix}"
    with av.open(str(source), "w") as made:
        videos = [made.add_stream("mpeg4", rate=25) for _ in range(2)]
        for video, size in zip(videos, (64, 32), strict=True):
            video.width, video.height, video.pix_fmt = size, size, "yuv420p"
        for video, count in zip(videos, (25, 75), strict=True):
            for pixels in smooth(count, video.width, video.height):
                made.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            made.mux(video.encode(None))
    source.write_bytes(source.read_bytes().replace(b"DURATION", b"DURATIO_"))  # Matroska's tags
    stats = translate_video(source, tmp_path / "out.mkv", copies)
    assert stats.frames == 25
    assert "video stream 1 was left out" in stats.notes


def in_short_groups(path: Path, clip: Clip) -> None:
    """A real clip with a key frame every 12 frames, and its index in front."""
    options = {"g": "12", "bf": "2"}
    with (
        av.open(str(clip("carphone_pristine"))) as a,
        av.open(str(path), "w", options={"movflags": "+faststart"}) as b,
    ):
        stream = b.add_stream("libx264", rate=a.streams.video[0].average_rate, options=options)
        stream.width, stream.height, stream.pix_fmt = 176, 144, "yuv420p"
        for picture in a.decode(video=0):
            b.mux(stream.encode(picture))
        b.mux(stream.encode(None))


def test_a_trimmed_clip_is_whole(clip: Clip, copies: Translator, tmp_path: Path) -> None:
    whole, trimmed = tmp_path / "whole.mp4", tmp_path / "trimmed.mp4"
    in_short_groups(whole, clip)
    data = bytearray(whole.read_bytes())
    # An edit list: size, "elst", version, entries, then the duration shown of the first.
    at = data.index(b"elst") + 12
    shown = int.from_bytes(data[at : at + 4], "big")
    data[at : at + 4] = (shown // 2).to_bytes(4, "big")
    trimmed.write_bytes(data)
    with av.open(str(trimmed)) as container:
        packets = sum(packet.size > 0 for packet in container.demux(video=0))
        assert packets < container.streams.video[0].frames == 120
    assert len(decoded(trimmed)) == 60
    assert translate_video(trimmed, tmp_path / "out.mp4", copies).frames == 60
    assert times(tmp_path / "out.mp4") == times(trimmed)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.98])
def test_a_clip_cut_anywhere_is_not_whole(
    share: float, clip: Clip, copies: Translator, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    in_short_groups(whole, clip)
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    with pytest.raises(VideoError, match="is damaged"):
        translate_video(cut, tmp_path / "out.mp4", copies)


def test_damage_inside_is_told(clip: Clip, copies: Translator, tmp_path: Path) -> None:
    whole, bad = tmp_path / "whole.mkv", tmp_path / "bad.mkv"
    translate_video(clip("carphone_pristine"), whole, copies)
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    bad.write_bytes(data)
    with pytest.raises(VideoError, match="damaged"):
        translate_video(bad, tmp_path / "out.mkv", copies)
    assert len(decoded(tmp_path / "out.partial.mkv")) > 40
    assert not (tmp_path / "out.mkv").exists()


def test_pictures_that_the_decoder_patched_up_are_told(
    clip: Clip, copies: Translator, tmp_path: Path
) -> None:
    whole, bad = tmp_path / "whole.mp4", tmp_path / "bad.mp4"
    in_short_groups(whole, clip)
    data = bytearray(whole.read_bytes())
    with av.open(str(whole)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    # In the middle of a key frame, where the decoder goes on with what it can guess.
    packet = packets[36]
    at = data.index(bytes(packet)) + packet.size // 2
    data[at : at + 20] = bytes(byte ^ 0x55 for byte in data[at : at + 20])
    bad.write_bytes(data)
    with pytest.raises(VideoError, match=r"is damaged: [1-9]\d* pictures are damaged\. The 120"):
        translate_video(bad, tmp_path / "out.mp4", copies)
    assert len(decoded(tmp_path / "out.partial.mp4")) == 120


def sound_only(path: Path, clip: Clip) -> None:
    with av.open(str(clip("bigbuckbunny"))) as a, av.open(str(path), "w") as b:
        stream = b.add_stream_from_template(a.streams.audio[0])
        for packet in a.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                b.mux(packet)


def test_what_is_no_video_is_refused(clip: Clip, copies: Translator, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is not a video")
    (tmp_path / "empty.mp4").touch()
    sound_only(tmp_path / "sound.m4a", clip)
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")
    for name, message in [
        ("text.mp4", "cannot read"),
        ("empty.mp4", "cannot read .*empty.mp4 as a video: the file is empty"),
        ("missing.mp4", "No such file"),
        ("sound.m4a", "no video stream"),
    ]:
        with pytest.raises(VideoError, match=message):
            translate_video(tmp_path / name, target, copies)
    assert target.read_bytes() == b"old"
    assert len(leftovers(tmp_path)) == 4


def test_frames_have_a_limit_that_can_be_set(copies: Translator, tmp_path: Path) -> None:
    """Decoders make 128x64 of 80x50 pixels, and count those."""
    source, target = write_video(tmp_path / "in.mp4", smooth(2, 80, 50)), tmp_path / "out.mp4"
    exact, less, none = (
        VideoOptions(source_options={"max_pixels": most}) for most in ("4000", "3999", "many")
    )
    assert translate_video(source, target, copies, exact).frames == 2
    with pytest.raises(VideoError, match=r"frames are 80x50; expected at most 3,999 pixels; .* gi"):
        translate_video(source, target, copies, less)
    with pytest.raises(ConfigError, match=r"^got max_pixels=many; expected a number of pixels$"):
        translate_video(source, target, copies, none)


def test_options_that_are_none_are_refused(copies: Translator, tmp_path: Path) -> None:
    options: Any = {"resume": True}
    with pytest.raises(ConfigError, match="options are a dict; expected VideoOptions, such as"):
        translate_video(tmp_path / "in.mp4", tmp_path / "out.mp4", copies, options)


@pytest.mark.parametrize(
    ("group", "given", "said"),
    [
        (
            VideoOptions,
            {"decoder": "cuda"},
            "decoder is 'cuda'; expected one of 'auto', 'cpu', 'nvdec'",
        ),
        (
            VideoOptions,
            {"convert": "gpu"},
            "convert is 'gpu'; expected one of 'auto', 'cpu', 'device'",
        ),
        (VideoOptions, {"compare": "split"}, "compare is 'split'; expected one of 'none', 'side'"),
        (Part, {"size": 32}, r"size is 32; expected \(height, width\)"),
        (Part, {"size": (32, 32, 3)}, r"size is \(32, 32, 3\); expected \(height, width\)"),
        (Part, {"size": (32.0, 32.0)}, r"size is \(32.0, 32.0\); expected \(height, width\)"),
        (Part, {"size": (0, 32)}, r"size is \(0, 32\); expected \(height, width\)"),
        (Part, {"size": (32, 32769)}, r"got the size \(32, 32769\); expected sides of 1 to 32768"),
    ],
)
def test_settings_that_there_are_not_are_refused_when_they_are_made(
    group: Callable[..., object], given: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{said}"):
        group(**given)


def test_numbers_for_ffmpeg_may_be_given_as_numbers(copies: Translator, tmp_path: Path) -> None:
    source, target = write_video(tmp_path / "in.mp4", smooth(2, 64, 48)), tmp_path / "out.mp4"
    numbers: Any = {"max_pixels": 4000, "ignore_editlist": 1}
    options = VideoOptions(source_options=numbers)
    assert translate_video(source, target, copies, options).frames == 2


def test_frames_of_which_the_head_says_nothing_have_the_limit_too(
    copies: Translator, tmp_path: Path
) -> None:
    source, target = tmp_path / "in.mkv", tmp_path / "out.mp4"
    with av.open(str(source), "w") as made:
        stream = made.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number, size in enumerate([(64, 48), (64, 48), (4096, 2048)]):
            jpeg = io.BytesIO()
            Image.new("RGB", size).save(jpeg, "jpeg", subsampling="4:2:0")
            packet = av.Packet(jpeg.getvalue())
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = number
            made.mux(packet)
    with pytest.raises(VideoError, match="change from 64x48 to 4096x2048"):
        translate_video(source, target, copies)
    few = VideoOptions(source_options={"max_pixels": "4000000"})
    with pytest.raises(VideoError, match=r"1 packets are damaged\. The 2 frames"):
        translate_video(source, target, copies, few)


def test_video_that_nothing_decodes_is_refused(copies: Translator, tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mkv", smooth(2))
    source.write_bytes(source.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ"))
    with pytest.raises(VideoError, match="holds video that this FFmpeg has no decoder for"):
        translate_video(source, tmp_path / "out.mp4", copies)


def test_a_video_without_frames_is_refused(clip: Clip, copies: Translator, tmp_path: Path) -> None:
    whole = tmp_path / "whole.mp4"
    translate_video(clip("carphone_pristine"), whole, copies)
    data = whole.read_bytes()
    (tmp_path / "none.mp4").write_bytes(data[: data.index(b"mdat") + 4])
    with pytest.raises(VideoError, match="no frames"):
        translate_video(tmp_path / "none.mp4", tmp_path / "out.mp4", copies)
    assert leftovers(tmp_path) == ["none.mp4", "whole.mp4"]


def test_targets_that_cannot_be_written_are_refused(
    clip: Clip, copies: Translator, tmp_path: Path
) -> None:
    source = clip("carphone_pristine")
    (tmp_path / "file").touch()
    for name in ("file/out.mp4", "out.xyz", "out.wav"):
        with pytest.raises(OutputError):
            translate_video(source, tmp_path / name, copies)
    same = tmp_path / "same.mp4"
    same.write_bytes(source.read_bytes())
    told = VideoOptions(source_format="mp4")
    address = f"file://{same}"
    for name, target, options in (
        *((same, same, None), (same, same, told)),
        *((address, same, None), (same, address, None)),
    ):
        with pytest.raises(OutputError, match="is the source itself"):
            translate_video(name, target, copies, options)
    assert same.read_bytes() == source.read_bytes()
    assert leftovers(tmp_path) == ["file", "same.mp4"]


@pytest.mark.parametrize(
    ("encoder", "suffix", "error"),
    [("nope", ".mp4", VideoError), ("libx264", ".webm", OutputError)],
)
def test_an_encoder_that_cannot_be_used_is_named_and_leaves_no_file_open(
    encoder: str,
    suffix: str,
    error: type[Exception],
    clip: Clip,
    copies: Translator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[str] = []
    discard = VideoWriter.discard
    monkeypatch.setattr(
        VideoWriter, "discard", lambda self: (discard(self), closed.append("closed"))
    )
    source = clip("carphone_pristine")
    options = VideoOptions(encoding=Encoding(encoder=encoder))
    with pytest.raises(error, match="'nope'" if encoder == "nope" else "cannot hold"):
        translate_video(source, tmp_path / f"out{suffix}", copies, options)
    assert closed == ["closed"]
    assert leftovers(tmp_path) == []


def test_an_engine_that_fails_stops_everything(clip: Clip, tmp_path: Path) -> None:
    translator = Translator(Copies(fail_at=20), GraphInfo(config=ResnetConfig()))
    with pytest.raises(BackendError, match="the device is gone"):
        translate_video(clip("carphone_pristine"), tmp_path / "out.mp4", translator)
    assert leftovers(tmp_path) == []


def test_a_generator_of_other_channels_is_refused(clip: Clip, tmp_path: Path) -> None:
    translator = Translator(Copies(), GraphInfo(config=ResnetConfig(in_channels=1)))
    with pytest.raises(VideoError, match="videos need 3 and 3"):
        translate_video(clip("carphone_pristine"), tmp_path / "out.mp4", translator)


def test_a_size_that_changes_on_the_way_is_an_error(copies: Translator, tmp_path: Path) -> None:
    parts = [
        write_video(tmp_path / f"{n}.ts", smooth(3, width, 48), [t + 400 * n for t in (0, 40, 80)])
        for n, width in enumerate((64, 80))
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(VideoError, match="change from 64x48 to 80x48"):
        translate_video(joined, tmp_path / "out.mp4", copies)
    assert not (tmp_path / "out.mp4").exists()
    assert len(decoded(tmp_path / "out.partial.mp4")) == 3


PROGRAM = textwrap.dedent("""
    import resource, signal, sys, threading
    sys.path.insert(0, {tests!r})
    from videos import Copies
    from cyclegan.config import ResnetConfig
    from cyclegan.engine.graph_info import GraphInfo
    from cyclegan.engine.translator import Translator
    from cyclegan.engine.video import translate_video
    from cyclegan.errors import OutputError

    translator = Translator(Copies(), GraphInfo(config=ResnetConfig()))
    how = {how!r}
    if how == "full disk":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    def progress(done, expected):
        if how == "interrupt" and done == 20:
            signal.raise_signal(signal.SIGINT)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    try:
        translate_video({source!r}, {target!r}, translator, progress=progress)
    except (KeyboardInterrupt, OutputError) as error:
        print(type(error).__name__, error)
""")


@pytest.mark.skipif(sys.platform == "win32", reason="uses signals and limits of POSIX")
@pytest.mark.parametrize(
    ("how", "printed"), [("interrupt", "KeyboardInterrupt"), ("full disk", "OutputError cannot")]
)
def test_a_stop_or_a_full_disk_keeps_the_old_file(
    how: str, printed: str, clip: Clip, tmp_path: Path
) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")
    code = PROGRAM.format(
        how=how,
        tests=str(Path(__file__).parent),
        source=str(clip("bikes")),
        target=str(target),
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.stdout.startswith(printed), done.stderr
    assert done.stderr == ""
    assert target.read_bytes() == b"old"
    assert leftovers(tmp_path) == ["out.mp4"]


@pytest.mark.skipif(sys.platform == "win32", reason="uses limits of POSIX")
def test_a_disk_that_is_full_before_the_first_frame_is_told(tmp_path: Path) -> None:
    """The head of the file holds what is attached."""
    video, source, target = (tmp_path / name for name in ("in.mp4", "in.mkv", "out.mkv"))
    write_video(video, smooth(2))
    with av.open(str(video)) as plain, av.open(str(source), "w") as made:
        copy = made.add_stream_from_template(plain.streams.video[0])
        made.add_attachment("letters.ttf", "font/ttf", bytes(1_000_000))
        for packet in plain.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                made.mux(packet)
    tests = str(Path(__file__).parent)
    code = PROGRAM.format(how="full disk", tests=tests, source=str(source), target=str(target))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.stdout == f"OutputError cannot write {target}: File too large\n", done.stderr
    assert leftovers(tmp_path) == ["in.mkv", "in.mp4"]


@pytest.mark.skipif(sys.platform == "win32", reason="uses limits of POSIX")
def test_a_picture_that_finds_no_room_does_not_take_its_name(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (160, 200, 3), np.uint8)
    source = write_video(tmp_path / "in.mkv", [noise * 0, noise])
    tests, target = str(Path(__file__).parent), str(tmp_path / "out" / "%d.png")
    code = PROGRAM.format(how="full disk", tests=tests, source=str(source), target=target)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.stdout == f"OutputError cannot write {target}: File too large\n", done.stderr
    assert leftovers(tmp_path / "out") == ["1.png", "2.png.tmp"]


@pytest.mark.skipif(sys.platform == "win32", reason="uses signals of POSIX")
@pytest.mark.parametrize(("sent", "status"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_leaves_no_half_file(sent: str, status: int, clip: Clip, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")
    program = str(Path(__file__).with_name("camera_cli.py"))
    how = json.dumps({"seconds": 0.1, "retry": {}})
    command = [sys.executable, program, how, "translate", str(clip("bikes")), str(target)]
    before = signal.signal(signal.Signals[sent], signal.SIG_DFL)  # what nohup ignores is inherited
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    signal.signal(signal.Signals[sent], before)
    with process:
        deadline = time.monotonic() + 60
        while len(leftovers(tmp_path)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(leftovers(tmp_path)) == 2, "it is at work"
        process.send_signal(signal.Signals[sent])
        _, said = process.communicate(timeout=60)
    assert process.returncode == status
    assert b"Traceback" not in said
    assert target.read_bytes() == b"old"
    assert leftovers(tmp_path) == ["out.mp4"]
