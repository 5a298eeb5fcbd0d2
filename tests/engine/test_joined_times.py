"""Recordings that were joined end to end are shown one after the other."""

import copy
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from videos import Copies, decoded, smooth, times

from cyclegan.config import ResnetConfig
from cyclegan.engine.graph_info import GraphInfo
from cyclegan.engine.joined_times import JoinedTimes
from cyclegan.engine.options import VideoOptions
from cyclegan.engine.translator import Translator
from cyclegan.engine.video import translate_video
from cyclegan.errors import VideoError

PACKET = 188
"""Bytes of a packet of MPEG-TS."""


def _recording(path: Path, sound: bool) -> bytes:
    """Two seconds."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"g": "25"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("aac", rate=48000) if sound else None
        for number, frame in enumerate(smooth(50)):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            container.mux(video.encode(picture))
            if audio:
                heard = av.AudioFrame.from_ndarray(
                    np.zeros((2, 1920), np.float32), format="fltp", layout="stereo"
                )
                heard.sample_rate, heard.pts = 48000, 1920 * number
                heard.time_base = Fraction(1, 48000)
                container.mux(audio.encode(heard))
        container.mux(video.encode(None))
        if audio:
            container.mux(audio.encode(None))
    return path.read_bytes()


def _counted_on(stream: bytes) -> bytes:
    """With counters of packets that go on, as programs write them that join files well."""
    counters: dict[int, int] = {}
    result = bytearray(stream)
    for at in range(0, len(result), PACKET):
        program = (result[at + 1] & 31) << 8 | result[at + 2]
        if result[at + 3] & 16:
            counters[program] = (counters.get(program, -1) + 1) & 15
        result[at + 3] = result[at + 3] & 0xF0 | counters.get(program, 0)
    return bytes(result)


def _without_a_piece(stream: bytes) -> bytes:
    """Ten packets are missing in its middle."""
    middle = len(stream) // PACKET // 2 * PACKET
    return stream[:middle] + stream[middle + 10 * PACKET :]


def _list(path: Path, recording: str) -> None:
    part = f"#EXTINF:2,\n{recording}\n"
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n"
    path.write_text(f"{head}{part}#EXT-X-DISCONTINUITY\n{part}#EXT-X-ENDLIST\n")


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("sound", [False, True])
@pytest.mark.parametrize("kind", ["appended", "joined", "list"])
def test_the_second_recording_follows_the_first(
    kind: str, sound: bool, resume: bool, tmp_path: Path
) -> None:
    copies = Translator(Copies(), GraphInfo(config=ResnetConfig()))
    one = _recording(tmp_path / "one.ts", sound)
    source = tmp_path / ("in.m3u8" if kind == "list" else "in.ts")
    if kind == "list":
        _list(source, "one.ts")
    else:
        source.write_bytes(one + one if kind == "appended" else _counted_on(one + one))
    target = tmp_path / "out.mp4"
    stats = translate_video(source, target, copies, VideoOptions(resume=resume))
    assert stats.frames == len(decoded(target)) == 100
    assert any("times begin anew after " in note for note in stats.notes)
    steps = np.diff([float(when) for when in times(target)])
    assert steps.min() > 0.039
    assert steps.max() < 0.1, "at the joint too, where sound may have lasted longer"
    with av.open(str(target)) as container:
        heard = [p.pts * p.time_base for s in container.streams.audio for p in container.demux(s)
                 if p.size]  # fmt: skip
    assert len(heard) == (188 if sound else 0) or abs(len(heard) - 188) < 4
    assert np.all(np.diff(np.array(heard, float)) > 0)


def test_damage_is_not_excused_by_a_joint_without_any(tmp_path: Path) -> None:
    one = _recording(tmp_path / "one.ts", sound=False)
    whole = _counted_on(one + one)
    (tmp_path / "in.ts").write_bytes(whole[: len(one)] + _without_a_piece(whole[len(one) :]))
    copies = Translator(Copies(), GraphInfo(config=ResnetConfig()))
    with pytest.raises(VideoError, match="1 packets are damaged"):
        translate_video(tmp_path / "in.ts", tmp_path / "out.mp4", copies)


def _packet(kind: str, when: float | Fraction, index: int = 0) -> Any:
    stream = SimpleNamespace(type=kind, index=index)
    base = Fraction(1, 1000)
    tick = round(when / base)
    values = {"pts": tick, "dts": tick, "duration": 40, "time_base": base}
    return SimpleNamespace(stream=stream, is_corrupt=False, **values)


def _both(begin: float, seconds: float, sound_from: float = 0) -> list[Any]:
    """A recording's packets, 25 a second; sound comes from so many seconds on."""
    times = [begin + number / 25 for number in range(round(25 * seconds))]
    return [
        _packet(kind, when, index)
        for when in times
        for index, kind in enumerate(("video", "audio"))
        if index == 0 or when >= begin + sound_from
    ]


def _joining(form: str = "mpegts", start_time: int = 0) -> JoinedTimes:
    container = SimpleNamespace(format=SimpleNamespace(name=form), start_time=start_time)
    return JoinedTimes(container)


def _moved(packets: list[Any], index: int = 0, **container: Any) -> list[float]:
    """When the packets of a stream are shown, in seconds."""
    moved = list(_joining(**container).moved(packets))
    return [float(p.pts * p.time_base) for p in moved if p.stream.index == index]


def test_a_recording_goes_on_behind_what_was_put_into_it() -> None:
    """Its own clock has gone on meanwhile."""
    packets = _both(0, 10) + _both(0, 5) + _both(10, 10)
    for index in (0, 1):
        shown = _moved([*map(copy.copy, packets)], index)
        assert len(shown) == 625
        steps = np.diff(shown)
        assert (steps > 0.039).all()
        assert np.flatnonzero(steps > 0.1).tolist() == [374], "a pause of what was left out"
        assert shown[-1] == pytest.approx(29.96, abs=0.1)


@pytest.mark.parametrize("late", [0.3, 1.0, 3.0])
def test_sound_that_begins_late_in_a_recording_is_moved_with_its_pictures(late: float) -> None:
    shown = _moved(_both(0, 2) + _both(0, 6, sound_from=late), 1)
    assert shown[50] == pytest.approx(2 + late, abs=0.1)


@pytest.mark.parametrize("wrong", [0.0, 5000.0])
def test_one_wrong_time_moves_nothing_else(wrong: float) -> None:
    packets = _both(100, 2) + _both(1, 2)
    packets[40] = _packet("video", wrong)
    moving = _joining()
    moved = list(moving.moved(packets))
    shown = [float(p.pts * p.time_base) for p in moved if p.stream.index == 0]
    assert shown[:20] + shown[21:50] == [100 + n / 25 for n in range(50) if n != 20]
    steps = np.diff(shown[50:])
    assert len(moving.joints) == 1
    assert steps == pytest.approx(np.full(49, 0.04))
    assert shown[50] >= 102


def _late(stream: bytes, program: int, number: int, seconds: float) -> bytes:
    """With one frame, or piece of sound, that is said to come so much later."""
    result = bytearray(stream)
    heads = [
        at
        for at in range(0, len(result), PACKET)
        if (result[at + 1] & 31) << 8 | result[at + 2] == program and result[at + 1] & 64
    ]
    at = heads[number] + 4 + (result[heads[number] + 3] >> 5 & 1) * (result[heads[number] + 4] + 1)
    for place in (at + 9, at + 14)[: (result[at + 7] >> 6) - 1]:  # when shown, when decoded
        a, b, c, d, e = result[place : place + 5]
        ticks = (a >> 1 & 7) << 30 | b << 22 | c >> 1 << 15 | d << 7 | e >> 1
        ticks += round(90000 * seconds)
        result[place : place + 5] = (
            *(a & 0xF0 | ticks >> 29 & 14 | 1, ticks >> 22 & 255),
            *(ticks >> 14 & 254 | 1, ticks >> 7 & 255, ticks << 1 & 254 | 1),
        )
    return bytes(result)


@pytest.mark.parametrize("program", [0x100, 0x101], ids=["video", "audio"])
def test_a_time_that_is_far_ahead_is_put_back(program: int, tmp_path: Path) -> None:
    whole, source = tmp_path / "whole.ts", tmp_path / "in.ts"
    source.write_bytes(_late(_recording(whole, sound=True), program, 20, 20))
    copies = Translator(Copies(), GraphInfo(config=ResnetConfig()))
    assert translate_video(whole, tmp_path / "whole.mkv", copies).notes == ()
    (note,) = translate_video(source, tmp_path / "out.mkv", copies).notes
    assert note == "the times of 1 packets lay far ahead of those around, and were put back"
    told = []
    for path in (tmp_path / "whole.mkv", tmp_path / "out.mkv"):
        with av.open(str(path)) as container:
            packets = [(p.stream_index, p.pts) for p in container.demux() if p.size]
            told.append(sorted(packets))
    assert told[0] == told[1]


@pytest.mark.parametrize("ahead", [0.7, 20.0])
@pytest.mark.parametrize("wrong", [1, 5])
def test_times_that_share_an_error_are_put_back_together(wrong: int, ahead: float) -> None:
    packets = _both(10, 3)
    right = [packet.pts for packet in packets]
    for packet in [p for p in packets if p.stream.index == 1][20 : 20 + wrong]:
        packet.pts, packet.dts = packet.pts + round(1000 * ahead), packet.dts + round(1000 * ahead)
    moving = _joining()
    moved = list(moving.moved(packets))
    assert sorted(packet.pts for packet in moved) == right
    assert moving.strays.count == wrong


@pytest.mark.parametrize("pause", [0.6, 1.0, 100.0])
@pytest.mark.parametrize("seconds", [0.04, 0.2, 3])
def test_a_pause_stays(pause: float, seconds: float) -> None:
    """Also where little follows."""
    packets = _both(0, 2) + _both(2 + pause, seconds)
    right = [packet.pts for packet in packets if packet.stream.index == 0]
    assert [round(1000 * when) for when in _moved(packets)] == right


def test_pictures_that_come_seldom_keep_their_times() -> None:
    times = [3.0 * number for number in range(9)]
    assert _moved([_packet("video", when) for when in times]) == times


def test_other_formats_keep_their_times() -> None:
    assert _moved([_packet("video", n % 20 / 10) for n in range(40)], form="avi") == [
        n % 20 / 10 for n in range(40)
    ]


def test_a_clock_that_began_anew_lies_behind_zero() -> None:
    """Containers that hide what is shown before zero would hide half of the film."""
    packets = _both(-3, 8)
    assert _moved(packets, start_time=-3_000_000)[0] == 0


@given(
    lengths=st.lists(st.integers(20, 60), min_size=1, max_size=4),
    begins=st.lists(st.integers(0, 10**6), min_size=4, max_size=4),
    early=st.integers(-15, 15),
)
def test_times_rise_and_streams_stay_in_step(
    lengths: list[int], begins: list[int], early: int
) -> None:
    """Sound may come before or after the pictures that it belongs to."""
    packets: list[Any] = []
    last = 0
    for number, (length, begin) in enumerate(zip(lengths, begins, strict=False)):
        first = begin % max(last - length - 20, 1) if number else begin
        last = first + length - 1
        for frame in range(first, first + length):
            packets.append(_packet("video", Fraction(frame, 25)))
            packets.append(_packet("audio", Fraction(frame + early, 25), 1))
        for packet in packets[-2 * length :]:
            packet.recording, packet.own = number, packet.pts
    moving = _joining()
    moved = list(moving.moved(packets))
    assert len(moving.joints) == len(lengths) - 1
    shown = [p.pts for p in moved if p.stream.index == 0]
    assert sorted(set(shown)) == shown
    assert len(moved) == 2 * sum(lengths)
    for number in range(len(lengths)):
        assert len({p.pts - p.own for p in moved if p.recording == number}) == 1
