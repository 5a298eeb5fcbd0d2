"""Videos that other programs make: odd times, names, sounds and encoders."""

import re
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from videos import decoded, leftovers, smooth, times, write_video

from cyclegan.engine.cutting import Part
from cyclegan.engine.encoding import Encoding
from cyclegan.engine.endings import Ending
from cyclegan.engine.frames import Frames
from cyclegan.engine.options import VideoOptions
from cyclegan.engine.translator import Translator
from cyclegan.engine.video import translate_video
from cyclegan.errors import ConfigError, OutputError, VideoError
from cyclegan.sources import list_items

WRAP = 2**33 / 90000
"""Seconds after which the clock of a transport stream starts again."""


def with_sound(path: Path, codec: str, rate: int = 44100) -> Path:
    """One second of pictures, and of sound of ``codec``."""
    with av.open(str(path), "w") as made:
        video = made.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = made.add_stream(codec, rate=rate, layout="mono")
        sound.bit_rate = 64000
        for number, pixels in enumerate(smooth(25)):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts = number
            made.mux(video.encode(picture))
        made.mux(video.encode(None))
        silence = np.zeros((1, rate), np.int16)
        frame = av.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        resampler = av.AudioResampler(sound.format, "mono", rate, sound.frame_size or 1024)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            made.mux(sound.encode(part))
        made.mux(sound.encode(None))
    return path


def with_pause(
    path: Path, codec: str, *, begin: float = 0, pause: float = 0, pictures: float = 0
) -> Path:
    """As :func:`with_sound`, but that the sound begins late, and pauses at half a second, or the
    pictures begin late."""
    one = with_sound(path.with_name("one.mkv"), codec, 48000)
    with av.open(str(one)) as video, av.open(str(path), "w") as made:
        streams = {stream: made.add_stream_from_template(stream) for stream in video.streams}
        for packet in video.demux():
            if packet.dts is None:
                continue
            seconds = pictures
            if packet.stream.type == "audio":
                seconds = begin + (pause if packet.dts * packet.time_base > 0.5 else 0)
            shift = round(seconds / packet.time_base)
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            packet.stream = streams[packet.stream]
            made.mux(packet)
    return path


def shifted(path: Path, source: Path, seconds: float) -> Path:
    """``source`` with all its times moved."""
    options = {"mpegts_copyts": "1"} if path.suffix == ".ts" else {}
    with av.open(str(source)) as video, av.open(str(path), "w", options=options) as made:
        copy = made.add_stream_from_template(video.streams.video[0])
        for packet in video.demux(video=0):
            if packet.dts is not None:
                shift = round(seconds / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = copy
                made.mux(packet)
    return path


def sounds(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [stream.codec_context.name for stream in container.streams.audio]


def test_frames_before_zero_are_frames(copies: Translator, tmp_path: Path) -> None:
    """As in a broadcast whose clock starts again in the middle."""
    source = shifted(tmp_path / "in.ts", write_video(tmp_path / "a.mp4", smooth(10)), WRAP - 0.2)
    assert times(source)[0] < 0
    stats = translate_video(source, tmp_path / "out.mkv", copies)
    assert stats.frames == 10
    seen = np.diff([float(time) for time in times(tmp_path / "out.mkv")])
    assert np.allclose(seen, 0.04, atol=1e-3)


@pytest.mark.parametrize(
    ("rate", "encoder", "name"),
    [
        (Fraction(1000000, 33333), "auto", "out.wmv"),
        (Fraction(1000000, 33333), "mpeg4", "out.mp4"),
        (Fraction(1000000, 33333), "mpeg2video", "out.mkv"),
        (Fraction(15), "mpeg1video", "out.mkv"),
        (Fraction(15), "mpeg1video", "out.mp4"),
    ],
)
def test_frames_keep_their_times_where_the_encoder_does_not_know_their_rate(
    rate: Fraction, encoder: str, name: str, copies: Translator, tmp_path: Path
) -> None:
    """As cameras and recorders give them, whose frames last a whole number of microseconds."""
    source = tmp_path / "in.avi"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("mjpeg", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for frame in smooth(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    options = VideoOptions(encoding=Encoding(encoder=encoder))
    stats = translate_video(source, tmp_path / name, copies, options)
    made = times(tmp_path / name)
    assert [float(time - made[0]) for time in made] == pytest.approx(
        [float(time) for time in times(source)], abs=2e-3
    )
    said = "mpeg1video knows no 15.000 frames/s: frames were moved to the nearest of 30.000"
    assert (said in "; ".join(stats.notes)) == (rate == 15)


def test_frames_of_avi_come_evenly(copies: Translator, tmp_path: Path) -> None:
    """It tells only when frames are decoded: H.264's come in another order."""
    source = tmp_path / "in.avi"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "3", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number, frame in enumerate(smooth(30)):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    stats = translate_video(source, tmp_path / "out.mp4", copies)
    assert stats.frames == 30
    assert set(np.diff(times(tmp_path / "out.mp4"))) == {Fraction(1, 25)}


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", ["out.avi", "out.bin"])
def test_frames_of_avi_keep_their_times_beside_sound_that_begins_before_zero(
    name: str, resume: bool, copies: Translator, tmp_path: Path
) -> None:
    """As AAC does, by what its encoder needs to begin."""
    source, target = with_sound(tmp_path / "in.mp4", "aac"), tmp_path / name
    options = VideoOptions(resume=resume, encoding=Encoding(container="avi"))
    notes = translate_video(source, target, copies, options).notes
    with av.open(str(target)) as made:
        begins = [
            (packet.stream.type, packet.dts * packet.time_base)
            for packet in made.demux()
            if packet.dts is not None
        ]
    assert [at for kind, at in begins if kind == "video"] == [Fraction(n, 25) for n in range(25)]
    heard = [at for kind, at in begins if kind == "audio"]
    assert heard == [Fraction(1024 * n, 44100) for n in range(45)]
    assert not notes


def test_frames_that_an_avi_only_counts_are_none_that_are_missing(
    copies: Translator, tmp_path: Path
) -> None:
    """Recorders drop frames so; with nothing behind the last one, the file was cut off."""
    source = write_video(tmp_path / "in.avi", smooth(12), pix_fmt="yuv420p")
    with av.open(str(source)) as container:
        assert container.streams.video[0].frames == 480, "in steps of a millisecond"
    assert translate_video(source, tmp_path / "out.mkv", copies).frames == 12
    source.write_bytes(source.read_bytes()[:8000])
    with pytest.raises(VideoError, match=r"it ends after \d of 480 frames"):
        translate_video(source, tmp_path / "cut.mkv", copies)


def test_sound_behind_the_last_frame_of_an_avi_is_no_index(
    copies: Translator, tmp_path: Path
) -> None:
    """Of which a .y4m takes none, but which is read."""
    source = with_sound(tmp_path / "in.avi", "pcm_s16le")
    with av.open(str(source)) as container:
        packets = [(p.pos, p.size, p.stream.type) for p in container.demux() if p.size]
    half = [(at, size) for at, size, kind in packets if kind == "audio"][len(packets) // 4]
    source.write_bytes(source.read_bytes()[: sum(half)])
    with pytest.raises(VideoError, match=r"it ends after \d+ of \d+ frames"):
        translate_video(source, tmp_path / "cut.y4m", copies)


@pytest.mark.parametrize(("suffix", "resume"), [(".mp4", False), (".mkv", False), (".mkv", True)])
def test_sound_whose_times_step_back_loses_what_overlaps(
    suffix: str, resume: bool, copies: Translator, tmp_path: Path
) -> None:
    source, target = tmp_path / "in.flv", tmp_path / f"out{suffix}"
    translate_video(with_sound(tmp_path / "mpeg4.mkv", "aac"), source, copies)
    tags, at = bytearray(source.read_bytes()), 13
    while at < len(tags):
        size, when = (int.from_bytes(tags[at + n : at + n + 3], "big") for n in (1, 4))
        if tags[at] == 8 and when >= 500:  # of sound, in milliseconds
            tags[at + 4 : at + 7] = (when - 60).to_bytes(3, "big")
        at += 11 + size + 4
    source.write_bytes(tags)
    stats = translate_video(source, target, copies, VideoOptions(resume=resume))
    assert stats.frames == 25
    with av.open(str(source)) as before, av.open(str(target)) as after:
        packets = [[p for p in video.demux(audio=0) if p.size] for video in (before, after)]
    lost = len(packets[0]) - len(packets[1])
    assert 2 <= lost <= 3
    assert f"audio stream 1: {lost} packets were left out" in "; ".join(stats.notes)
    assert (np.diff([packet.dts for packet in packets[1]]) > 0).all()


@pytest.mark.parametrize(
    ("codec", "rate", "samples"),
    [("ac3", 48000, 1536), ("libmp3lame", 44100, 1152)],
    ids=["exact", "in milliseconds"],
)
def test_sound_half_a_packet_off_is_whole_in_an_avi(
    codec: str, rate: int, samples: int, copies: Translator, tmp_path: Path
) -> None:
    """Its unit of time is a packet: two that are nearest to the same go to it and the next."""
    source, target = with_sound(tmp_path / "in.mkv", codec, rate), tmp_path / "out.avi"
    with av.open(str(source)) as video:
        seen = [float(p.pts * p.time_base) for p in video.demux(audio=0) if p.pts is not None]
    start = round(seen[5] + samples / rate / 2, 3)
    stats = translate_video(source, target, copies, VideoOptions(part=Part(start=start)))
    assert stats.notes == ()
    with av.open(str(target)) as result:
        assert sum(p.size > 0 for p in result.demux(audio=0)) == sum(s >= start for s in seen)


@pytest.mark.parametrize("codec", ["libmp3lame", "aac"])
@pytest.mark.parametrize(
    ("begin", "pause", "early"), [(0, 0, None), (0.3, 0, "0.2[78]"), (0, 0.4, "0.3[78]")]
)
def test_sound_that_an_avi_has_too_early_is_told(
    begin: float, pause: float, early: str | None, codec: str, copies: Translator, tmp_path: Path
) -> None:
    """Its muxer counts packets of sound, whatever their times."""
    source = with_pause(tmp_path / "in.mkv", codec, begin=begin, pause=pause)
    for name in ("out.avi", "out.mkv"):
        notes = translate_video(source, tmp_path / name, copies).notes
        said = [note for note in notes if re.search(f"1 comes up to {early} s too early", note)]
        assert len(said) == len(notes) == (early is not None and name == "out.avi")


@pytest.mark.parametrize(
    ("source", "codec", "moved", "name", "said"),
    [
        ("in.mp4", "aac", {"pause": 0.4}, "out.avi", "0.3. s too early: avi .* begins or pauses"),
        ("in.mkv", "flac", {"pause": 0.4}, "out.avi", None),
        ("in.mkv", "pcm_s16le", {"pause": 0.4}, "out.mov", "0.40 s too early: mov .* it pauses"),
        ("in.mkv", "pcm_s16le", {"pause": 0.4}, "out.mp4", "0.40 s too early: mp4 .* it pauses"),
        ("in.mkv", "pcm_s16le", {"begin": 0.3}, "out.mov", None),
        ("in.mkv", "aac", {"pause": 0.4}, "out.mov", None),
        ("in.mkv", "pcm_s16le", {"pause": 0.4}, "out.mxf", "0.40 s too early: mxf"),
        ("in.mkv", "pcm_s16le", {"begin": 0.3}, "out.mxf", "0.30 s too early: mxf"),
        ("in.mkv", "pcm_s16le", {"pictures": 0.4}, "out.mxf", "0.40 s too late: mxf"),
        ("in.mkv", "pcm_s16le", {"begin": 0.4, "pictures": 0.4}, "out.mxf", None),
        ("in.mkv", "aac", {"begin": 0.4}, "out.ismv", "0.3. s too early: ismv .* it begins"),
        ("in.mkv", "aac", {"pause": 0.4}, "out.ismv", None),
    ],
)
def test_pauses_that_a_container_loses_are_told_and_no_others(
    source: str,
    codec: str,
    moved: dict[str, float],
    name: str,
    said: str | None,
    copies: Translator,
    tmp_path: Path,
) -> None:
    made = with_pause(tmp_path / source, codec, **moved)
    encoding = Encoding(encoder="mpeg2video" if name == "out.mxf" else "auto")
    notes = translate_video(made, tmp_path / name, copies, VideoOptions(encoding=encoding)).notes
    assert len(sounds(tmp_path / name)) == 1
    assert len(notes) == (said is not None)
    assert not said or re.search(rf"comes up to {said}.*; \.mkv can$", notes[0])


def test_a_pause_that_a_file_cannot_hold_is_told(copies: Translator, tmp_path: Path) -> None:
    """As damaged times make it: three weeks between two frames."""
    source = write_video(tmp_path / "in.mkv", smooth(4), [0, 40, 2 * 10**9, 2 * 10**9 + 40])
    with pytest.raises(VideoError, match=r"FFmpeg cannot write .*out\.mp4: .*an \.mkv holds more"):
        translate_video(source, tmp_path / "out.mp4", copies)
    assert translate_video(source, tmp_path / "out.mkv", copies).frames == 4
    assert times(tmp_path / "out.mkv")[-1] == times(source)[-1]


def test_a_stream_that_comes_up_on_the_way_is_no_end(
    copies: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyAV fails to flush it: by what lay in its memory before, so that here it always does."""
    source = write_video(tmp_path / "in.flv", smooth(5), pix_fmt="yuv420p")

    class Late:
        def __init__(self, container: Any) -> None:
            self._container = container

        def __getattr__(self, name: str) -> Any:
            return getattr(self._container, name)

        def __enter__(self) -> "Late":
            return self

        def __exit__(self, *_: object) -> None:
            self._container.close()

        def demux(self, *streams: Any) -> Any:
            yield from self._container.demux(*streams)
            raise IndexError("list index out of range")

    opened = av.open
    monkeypatch.setattr(
        av, "open", lambda *a, **k: opened(*a, **k) if "w" in a else Late(opened(*a, **k))
    )
    assert translate_video(source, tmp_path / "out.mkv", copies).frames == 5
    assert len(list_items(source)) == 5


def test_frames_without_times_come_at_their_rate(copies: Translator, tmp_path: Path) -> None:
    """As in a stream of H.264 in no container."""
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 64, 48, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    pictures: list[Any] = [av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in smooth(9)]
    for number, picture in enumerate(pictures):
        picture.pts = number
    packets = [packet for picture in (*pictures, None) for packet in encoder.encode(picture)]
    (tmp_path / "in.h264").write_bytes(b"".join(map(bytes, packets)))
    translate_video(tmp_path / "in.h264", tmp_path / "out.mkv", copies)
    assert times(tmp_path / "out.mkv") == [Fraction(n, 25) for n in range(9)]


def test_frames_of_one_time_are_all_kept(copies: Translator, tmp_path: Path) -> None:
    source, stands = tmp_path / "in.mkv", [0, 40, 40, 80]
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number, frame in enumerate(smooth(4)):
            (packet,) = stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24"))
            packet.pts = packet.dts = stands[number]
            packet.time_base = Fraction(1, 1000)
            container.mux(packet)
    assert times(source) == [Fraction(time, 1000) for time in stands]
    translate_video(source, tmp_path / "out.mkv", copies)
    assert times(tmp_path / "out.mkv") == [Fraction(time, 1000) for time in (0, 40, 41, 80)]


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", ["out.avi", "out.wmv"])
def test_frames_of_files_without_two_times_come_in_order(
    name: str, resume: bool, copies: Translator, tmp_path: Path
) -> None:
    source = write_video(tmp_path / "in.mkv", smooth(30), [40 * n for n in range(30)])
    translate_video(source, tmp_path / name, copies, VideoOptions(resume=resume))
    assert set(np.diff(times(tmp_path / name))) == {Fraction(1, 25)}


@pytest.mark.parametrize("name", ["out.y4m", "out.raw"])
def test_varying_times_fit_where_there_are_none(
    name: str, copies: Translator, tmp_path: Path
) -> None:
    source = write_video(tmp_path / "in.mkv", smooth(8), [0, 33, 66, 70, 74, 300, 301, 340])
    encoding = Encoding(container=name.partition(".")[2])
    stats = translate_video(source, tmp_path / name, copies, VideoOptions(encoding=encoding))
    assert stats.frames == 8
    assert any("times of the frames vary" in note for note in stats.notes)
    if name == "out.y4m":
        assert len(decoded(tmp_path / name)) == 8
    else:
        assert (tmp_path / name).stat().st_size == 8 * 64 * 48 * 3


def test_a_gif_leaves_out_what_is_too_fast_for_it(copies: Translator, tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mkv", smooth(24), [round(n / 0.24) for n in range(24)])
    stats = translate_video(source, tmp_path / "out.gif", copies)
    seen = times(tmp_path / "out.gif")
    lost = f"100 frames/s at most: {24 - len(seen)} frames were left out"
    assert any(lost in note for note in stats.notes)
    assert len(seen) < 24
    assert min(np.diff(seen)) >= Fraction(1, 100)


def test_one_picture_holds_one_frame(copies: Translator, tmp_path: Path) -> None:
    one = write_video(tmp_path / "one.mkv", smooth(1))
    translate_video(one, tmp_path / "one.png", copies)
    assert (tmp_path / "one.png").exists()
    source = write_video(tmp_path / "in.mkv", smooth(3))
    with pytest.raises(OutputError, match=r"frame\.png is one picture.*frame%05d\.png"):
        translate_video(source, tmp_path / "frame.png", copies)
    assert not (tmp_path / "frame.png").exists()


@pytest.mark.parametrize(("source", "kept"), [("yuv444p", "yuv444p"), ("yuv420p", "yuv420p")])
def test_y4m_keeps_the_chroma(source: str, kept: str, copies: Translator, tmp_path: Path) -> None:
    made = write_video(tmp_path / "in.mkv", smooth(2), pix_fmt=source)
    translate_video(made, tmp_path / "out.y4m", copies)
    assert decoded(tmp_path / "out.y4m")[0].format.name == kept


def test_raw_pixels_are_the_same_kind_whatever_their_number(
    copies: Translator, tmp_path: Path
) -> None:
    source = write_video(tmp_path / "in.mkv", smooth(1))
    for width in (64, 65):
        options = VideoOptions(encoding=Encoding(container="raw"), part=Part(size=(64, width)))
        stats = translate_video(source, tmp_path / f"{width}.raw", copies, options)
        assert "rgb24" in stats.means
        assert (tmp_path / f"{width}.raw").stat().st_size == 64 * width * 3


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("suffix", [".avi", ".mov", ".nut"])
def test_raw_pixels_in_a_container_have_their_colours(
    suffix: str, lossless: bool, copies: Translator, tmp_path: Path
) -> None:
    source = write_video(tmp_path / "in.mkv", smooth(2))
    encoding = Encoding(encoder="rawvideo", lossless=lossless)
    target = tmp_path / f"out{suffix}"
    translate_video(source, target, copies, VideoOptions(encoding=encoding))
    for made, own in zip(decoded(target), decoded(source)):
        assert (made.to_ndarray(format="rgb24") == own.to_ndarray(format="rgb24")).all()


def test_raw_pixels_in_a_mov_are_read_back_at_every_width(
    copies: Translator, tmp_path: Path
) -> None:
    options = VideoOptions(encoding=Encoding(encoder="rawvideo", lossless=True))
    for width in range(60, 68):
        source = write_video(tmp_path / f"{width}.mkv", smooth(1, width))
        translate_video(source, tmp_path / f"{width}.mov", copies, options)
        made, own = (decoded(tmp_path / f"{width}{suffix}")[0] for suffix in (".mov", ".mkv"))
        assert (made.to_ndarray(format="rgb24") == own.to_ndarray(format="rgb24")).all(), width


@pytest.mark.parametrize("suffix", [".avi", ".mov"])
def test_raw_pixels_that_a_container_would_mistake_are_refused(
    suffix: str, copies: Translator, tmp_path: Path
) -> None:
    source = write_video(tmp_path / "in.mkv", smooth(1))
    options = VideoOptions(encoding=Encoding(encoder="rawvideo", pixel_format="rgb24"))
    with pytest.raises(VideoError, match=r"rawvideo takes no rgb24; it takes bgr24"):
        translate_video(source, tmp_path / f"out{suffix}", copies, options)


def test_a_file_of_yuv_holds_yuv(copies: Translator, tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mkv", smooth(1), pix_fmt="yuv420p")
    assert "yuv420p" in translate_video(source, tmp_path / "out.yuv", copies).means
    assert (tmp_path / "out.yuv").stat().st_size == 64 * 48 * 3 // 2


@pytest.mark.parametrize(
    ("source", "codec", "name", "held"),
    [
        ("in.mkv", "flac", "out.mov", False),
        ("in.mkv", "flac", "out.mp4", True),
        ("in.mkv", "flac", "out.mkv", True),
        ("in.avi", "pcm_mulaw", "out.avi", True),
        ("in.avi", "pcm_mulaw", "out.mkv", False),
        ("in.wmv", "wmav2", "out.mp4", False),
        ("in.mkv", "aac", "out.avi", True),
        ("in.ts", "aac", "out.avi", False),
        ("in.ts", "aac", "out.wmv", False),
        ("in.ts", "aac", "out.flv", True),
        ("in.mkv", "pcm_s16le", "out.flv", False),
    ],
)
def test_sound_is_kept_where_the_file_takes_it(
    source: str, codec: str, name: str, held: bool, copies: Translator, tmp_path: Path
) -> None:
    made = with_sound(tmp_path / source, codec, 48000)
    (sound,) = sounds(made)
    notes = translate_video(made, tmp_path / name, copies).notes
    assert sounds(tmp_path / name) == ([sound] if held else [])
    assert any("left out" in note for note in notes) is not held
    can = codec in ("flac", "aac", "pcm_s16le") and not held
    assert any(".mkv can" in note for note in notes) is can, "only what is so"


@pytest.mark.parametrize(
    ("codec", "rate", "name", "held"),
    [
        ("pcm_s16le", 44100, "out.mxf", False),
        ("pcm_s16le", 48000, "out.mxf", True),
        ("libmp3lame", 8000, "out.f4v", False),
        ("libmp3lame", 44100, "out.f4v", True),
        ("ac3", 48000, "out.ismv", False),
        ("aac", 48000, "out.ismv", True),
        ("eac3", 48000, "out.avi", False),
        ("ac3", 48000, "out.avi", True),
        ("pcm_u8", 8000, "out.flv", False),
        ("pcm_s16le", 16000, "out.flv", False),
        ("pcm_s16le", 11025, "out.flv", True),
        ("pcm_s16be", 44100, "out.flv", False),
    ],
)
def test_sound_that_a_container_refuses_or_plays_wrongly_is_left_out(
    codec: str, rate: int, name: str, held: bool, copies: Translator, tmp_path: Path
) -> None:
    source = with_sound(tmp_path / "in.mkv", codec, rate)
    encoding = Encoding(encoder="mpeg2video" if name == "out.mxf" else "auto")
    notes = translate_video(source, tmp_path / name, copies, VideoOptions(encoding=encoding)).notes
    assert len(sounds(tmp_path / name)) == held
    assert any("left out" in note for note in notes) is not held


@pytest.mark.parametrize(
    ("channels", "name", "layouts"),
    [
        (2, "out.mp4", ["stereo"]),
        (2, "out.flv", ["stereo"]),
        (9, "out.mp4", []),
        (9, "out.flv", []),
        (9, "out.mov", ["9 channels"]),
    ],
)
def test_channels_of_which_nothing_is_said_belong_where_as_many_usually_do(
    channels: int, name: str, layouts: list[str], copies: Translator, tmp_path: Path
) -> None:
    """Else the muxer of .mp4 would fail at its end, and that of .flv end this process."""
    pictures = with_sound(tmp_path / "one.mkv", "aac")
    with av.open(str(pictures)) as one, av.open(str(tmp_path / "in.mkv"), "w") as made:
        video = made.add_stream_from_template(one.streams.video[0])
        sound = made.add_stream("pcm_s16le", rate=44100, layout=f"{channels} channels")
        packets = [packet for packet in one.demux(video=0) if packet.size]
        quiet = av.Packet(bytes(44100 * 2 * channels))
        quiet.pts, quiet.dts, quiet.time_base = 0, 0, Fraction(1, 44100)
        for packet, stream in ((quiet, sound), *((packet, video) for packet in packets)):
            packet.stream = stream
            made.mux(packet)
    notes = translate_video(tmp_path / "in.mkv", tmp_path / name, copies).notes
    with av.open(str(tmp_path / name)) as container:
        found = [stream.codec_context.layout.name for stream in container.streams.audio]
    assert found == layouts
    assert any("left out" in note for note in notes) is (not layouts)


def test_sound_of_an_unknown_codec_is_said_to_be(copies: Translator, tmp_path: Path) -> None:
    """As teletext is that comes in a .ts: the container is not to blame."""
    source = with_sound(tmp_path / "in.mkv", "flac")
    source.write_bytes(source.read_bytes().replace(b"A_FLAC", b"A_NEXT"))
    (note,) = translate_video(source, tmp_path / "out.mkv", copies).notes
    assert note == "audio stream 1 was left out: this FFmpeg does not know its codec"


@pytest.mark.parametrize("name", ["out.ts", "out.avi", "out.flv"])
def test_sound_that_is_announced_and_never_comes_is_left_out(
    name: str, copies: Translator, tmp_path: Path
) -> None:
    source = with_sound(tmp_path / "one.ts", "libmp3lame")
    with av.open(str(source)) as one, av.open(str(tmp_path / "in.ts"), "w") as made:
        streams = {stream: made.add_stream_from_template(stream) for stream in one.streams}
        made.add_stream("libmp3lame", rate=44100)
        for packet in one.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                made.mux(packet)
    notes = translate_video(tmp_path / "in.ts", tmp_path / name, copies).notes
    assert sum("audio stream" in note for note in notes) == 1
    assert len(sounds(tmp_path / name)) == 1


@pytest.mark.parametrize(
    ("encoder", "name"),
    [("mpeg4", "out.mp4"), ("mpeg2video", "out.ts"), ("mpeg1video", "out.mkv")],
)
def test_encoders_of_coarse_times_take_any_source(
    encoder: str, name: str, copies: Translator, tmp_path: Path
) -> None:
    source = write_video(tmp_path / "in.ts", smooth(10), pix_fmt="yuv420p")
    options = VideoOptions(encoding=Encoding(encoder=encoder))
    assert translate_video(source, tmp_path / name, copies, options).frames == 10
    gaps = np.diff([float(time) for time in times(tmp_path / name)])
    assert np.allclose(gaps, 0.04, atol=1e-3)


def test_names_with_a_colon_are_names(copies: Translator, tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", smooth(2)).rename(tmp_path / "12:30 a.mp4")
    translate_video(source, tmp_path / "12:31 b.mp4", copies)
    (tmp_path / "12:31 b.mp4").rename(tmp_path / "b.mp4")
    assert len(decoded(tmp_path / "b.mp4")) == 2


def test_names_with_a_colon_are_names_in_the_folder_at_hand(
    copies: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "a.mp4", smooth(2)).rename(tmp_path / "12:30 a.mp4")
    monkeypatch.chdir(tmp_path)
    assert translate_video("12:30 a.mp4", "12:31 b.mp4", copies).frames == 2
    assert Path("12:31 b.mp4").exists()


@pytest.mark.parametrize(
    ("start", "end"), [(float("nan"), None), (float("inf"), None), (0.0, float("inf"))]
)
def test_times_that_are_no_numbers_are_refused(start: float, end: float | None) -> None:
    with pytest.raises(ConfigError, match="expected 0 <= start < end"):
        Part(start=start, end=end)


def test_an_encoder_of_sound_is_none_of_video(copies: Translator, tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mkv", smooth(1))
    with pytest.raises(VideoError, match="aac encodes audio"):
        translate_video(
            source, tmp_path / "out.mkv", copies, VideoOptions(encoding=Encoding(encoder="aac"))
        )


def test_a_part_before_the_first_frame_says_when_it_comes(
    copies: Translator, tmp_path: Path
) -> None:
    source = shifted(tmp_path / "in.mkv", write_video(tmp_path / "a.mp4", smooth(5)), 1.5)
    with pytest.raises(VideoError, match=r"no frames before 0\.9 s: the first comes at 1\.50 s"):
        translate_video(source, tmp_path / "out.mp4", copies, VideoOptions(part=Part(end=0.9)))


FAR = (1).to_bytes(4) + b"free" + b"\xff" * 8
"""A box of more bytes than a file can be sought to."""


@pytest.mark.parametrize(("kept", "more"), [(36, b""), (0, b""), (32, FAR)])
def test_a_recording_without_its_index_is_told(
    kept: int, more: bytes, copies: Translator, tmp_path: Path
) -> None:
    """As where a camera lost its power: FFmpeg finds its data invalid."""
    source = write_video(tmp_path / "in.mp4", smooth(10))
    whole = source.read_bytes()
    index = whole.index(b"moov") - 4
    source.write_bytes(whole[: kept or index] + more)
    with pytest.raises(
        VideoError, match=r"in\.mp4 as a video: its index \(the moov box\) is missing"
    ):
        translate_video(source, tmp_path / "out.mp4", copies)
    source.write_bytes(whole[:4] + b"what" + whole[8:index])
    with pytest.raises(VideoError, match=r"in\.mp4 as a video: Invalid data"):
        translate_video(source, tmp_path / "out.mp4", copies)


def test_a_cover_is_no_film(copies: Translator, tmp_path: Path) -> None:
    source = tmp_path / "song.m4a"
    with av.open(str(source), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=48000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 16, 16, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        picture.pts = 0
        container.mux(cover.encode(picture))
        container.mux(cover.encode(None))
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts = 48000, 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.raises(VideoError, match="no video stream, only a cover picture"):
        translate_video(source, tmp_path / "out.mp4", copies)


def test_sounds_keep_their_language_and_which_is_the_default(
    copies: Translator, tmp_path: Path
) -> None:
    (one, other), source = (
        (with_sound(tmp_path / f"{n}.mkv", "aac") for n in "ab"),
        tmp_path / "in.mkv",
    )
    with av.open(str(one)) as a, av.open(str(other)) as b, av.open(str(source), "w") as made:
        given = [a.streams.video[0], a.streams.audio[0], b.streams.audio[0]]
        streams = [made.add_stream_from_template(stream) for stream in given]
        for stream, language in zip(streams[1:], ("nld", "fra")):
            stream.metadata["language"] = language
        streams[1].disposition = av.stream.Disposition.comment
        streams[2].disposition = av.stream.Disposition.default
        for old, new in zip(given, streams):
            for packet in old.container.demux(old):
                if packet.dts is not None:
                    packet.stream = new
                    made.mux(packet)
            old.container.seek(0)
    translate_video(source, tmp_path / "out.mkv", copies)
    with av.open(str(source)) as before, av.open(str(tmp_path / "out.mkv")) as after:
        told = [
            [(stream.language, stream.disposition) for stream in film.streams.audio]
            for film in (before, after)
        ]
    assert told[0] == told[1]
    assert [language for language, _ in told[1]] == ["nld", "fra"]
    assert av.stream.Disposition.default in told[1][1][1]


def test_the_default_stays_and_sizes_of_the_source_do_not(
    copies: Translator, tmp_path: Path
) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.disposition = av.stream.Disposition.default
        stream.metadata.update({"BPS": "123", "NUMBER_OF_FRAMES": "7", "title": "kept"})
        picture = av.VideoFrame.from_ndarray(smooth(1)[0], format="rgb24")
        picture.pts = 0
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    translate_video(source, tmp_path / "out.mkv", copies)
    with av.open(str(tmp_path / "out.mkv")) as made:
        video = made.streams.video[0]
        assert video.disposition == av.stream.Disposition.default
        assert video.metadata["title"] == "kept"
        assert not {"BPS", "NUMBER_OF_FRAMES"} & set(video.metadata)


class Slow:
    """A runner whose batches take their time, as a generator's do; it gives what it gets."""

    slots, max_batch, description = 16, 1, "slow"

    def __init__(self) -> None:
        self._given: dict[int, Frames] = {}

    def begin(self, slot: int, frames: Frames) -> None:
        self._given[slot] = frames.copy()

    def finish(self, slot: int) -> Frames:
        time.sleep(0.03)
        return self._given[slot]

    def close(self) -> None:
        pass


def test_what_takes_longest_is_what_bounds(copies: Translator, tmp_path: Path) -> None:
    """Though sound, which waits for its turn among the pictures, is held up by the last stage."""
    source = with_sound(tmp_path / "in.mkv", "aac")
    with Translator(Slow(), copies.info) as slow:
        stats = translate_video(source, tmp_path / "out.mkv", slow)
    assert stats.bound_by == "translate"


SUBTITLES = """1
00:00:00,100 --> 00:00:00,200
over by then

2
00:00:00,200 --> 00:00:00,900
on the screen

3
00:00:01,100 --> 00:00:03,000
to the end
"""


def test_texts_are_cut_to_the_part(copies: Translator, tmp_path: Path) -> None:
    video, texts, source = (tmp_path / name for name in ("a.mp4", "a.srt", "in.mkv"))
    write_video(video, smooth(50))
    texts.write_text(SUBTITLES)
    with (
        av.open(str(video)) as pictures,
        av.open(str(texts)) as words,
        av.open(str(source), "w") as made,
    ):
        streams = [pictures.streams.video[0], words.streams.subtitles[0]]
        copied = [made.add_stream_from_template(stream) for stream in streams]
        packets = [
            (packet, copy)
            for container, copy in ((pictures, copied[0]), (words, copied[1]))
            for packet in container.demux()
            if packet.dts is not None
        ]
        for packet, copy in sorted(packets, key=lambda pair: pair[0].dts * pair[0].time_base):
            packet.stream = copy
            made.mux(packet)
    options = VideoOptions(part=Part(start=0.5, end=1.5))
    translate_video(source, tmp_path / "out.mkv", copies, options)
    with av.open(str(tmp_path / "out.mkv")) as made:
        shown = [
            (float(p.pts * p.time_base), float(p.duration * p.time_base))
            for p in made.demux(subtitles=0)
            if p.pts is not None
        ]
    assert shown == [(0.0, pytest.approx(0.4)), (pytest.approx(0.6), pytest.approx(0.4))]


def test_an_end_alone_cuts_nothing_off_the_beginning_of_sound(
    copies: Translator, tmp_path: Path
) -> None:
    """AAC begins before zero: without that its first sound is damaged."""
    source = with_sound(tmp_path / "in.mp4", "aac")
    translate_video(source, tmp_path / "out.mkv", copies, VideoOptions(part=Part(end=0.5)))
    with av.open(str(source)) as given, av.open(str(tmp_path / "out.mkv")) as made:
        wanted, heard = (
            [
                (float(packet.pts * packet.time_base), bytes(packet))
                for packet in sound
                if packet.size
            ]
            for sound in (given.demux(audio=0), made.demux(audio=0))
        )
    assert wanted[0][0] < 0
    assert [data for _, data in heard] == [data for time, data in wanted if time < 0.5]


def test_sound_that_lies_late_in_its_file_is_cut_where_the_pictures_are(
    copies: Translator, tmp_path: Path
) -> None:
    """Each of its packets stands 0.8 s behind the pictures that it is played with."""
    video, source, target = (tmp_path / name for name in ("in.mp4", "in.mkv", "out.mkv"))
    write_video(video, smooth(60))
    at_once = {"max_interleave_delta": "1"}
    with av.open(str(video)) as silent, av.open(str(source), "w", options=at_once) as made:
        pictures = made.add_stream_from_template(silent.streams.video[0])
        sound = made.add_stream("pcm_s16le", rate=8000, layout="mono")
        placed = []
        for packet in silent.demux(video=0):
            if packet.dts is not None:
                placed.append((float(packet.dts * packet.time_base), packet))
                packet.stream = pictures
        for number in range(100):
            samples = np.full((1, 160), number, np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 8000, 160 * number
            placed += [(0.02 * number + 0.8, packet) for packet in sound.encode(frame)]
        for _, packet in sorted(placed, key=lambda place: place[0]):
            made.mux(packet)
    options = VideoOptions(part=Part(start=0.2, end=1.0))
    assert translate_video(source, target, copies, options).frames == 20
    with av.open(str(target)) as made:
        heard = [int(frame.to_ndarray()[0, 0]) for frame in made.decode(audio=0)]
    assert heard == list(range(10, 50))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.m3u8", "hls makes no single file"),
        ("out.mpd", "dash makes no single file"),
        ("out.mpg", "cannot hold h264 .*, or name the encoder, such as mpeg1video$"),
        ("out.mp3", "cannot hold h264 video; others are .mp4, .mov, .mkv, .avi$"),
        ("out", "end its name in .mp4 or .mkv, or name the container$"),
    ],
)
def test_targets_that_hold_no_such_video_say_what_would(
    name: str, message: str, copies: Translator, tmp_path: Path
) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(2))
    with pytest.raises(OutputError, match=message):
        translate_video(source, tmp_path / name, copies)
    assert leftovers(tmp_path) == ["in.mp4"]


@pytest.mark.parametrize("size", [None, -38], ids=["PyAV 19", "PyAV 18"])
def test_a_source_of_no_known_size_is_whole(size: int | None) -> None:
    form = SimpleNamespace(name="video4linux2,v4l2")
    camera = SimpleNamespace(size=size, format=form, duration=None)
    ending = Ending(camera, SimpleNamespace(frames=0))
    assert ending.problem(3) is None
