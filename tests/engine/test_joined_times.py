"""Recordings that were joined end to end are shown one after the other."""

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


def _packet(kind: str, when: Fraction, index: int = 0) -> Any:
    stream = SimpleNamespace(type=kind, index=index)
    base = Fraction(1, 1000)
    tick = int(when / base)
    return SimpleNamespace(stream=stream, pts=tick, dts=tick, duration=40, time_base=base)


def _moved(packets: list[Any], form: str = "mpegts") -> tuple[list[float], JoinedTimes]:
    moving = JoinedTimes(SimpleNamespace(format=SimpleNamespace(name=form)))
    return [float(p.pts * p.time_base) for p in moving.moved(packets)], moving


def test_one_wrong_time_moves_nothing_else() -> None:
    seconds = [Fraction(n, 25) for n in range(100, 140)]
    seconds[20] = Fraction(0)
    moved, _ = _moved([_packet("video", when) for when in seconds])
    assert moved[:20] == [float(when) for when in seconds[:20]]
    assert moved[21:] == [float(when) for when in seconds[21:]]


def test_other_formats_keep_their_times() -> None:
    moved, moving = _moved([_packet("video", Fraction(n % 20, 10)) for n in range(40)], "avi")
    assert moved == [n % 20 / 10 for n in range(40)]
    assert not moving.joints


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
    moving = JoinedTimes(SimpleNamespace(format=SimpleNamespace(name="mpegts")))
    moved = list(moving.moved(packets))
    assert len(moving.joints) == len(lengths) - 1
    for index in (0, 1):
        shown = [p.pts for p in moved if p.stream.index == index]
        assert sorted(set(shown)) == shown
    assert sum(p.stream.index == 0 for p in moved) == sum(lengths), "pictures are never left out"
    for number in range(len(lengths)):
        assert len({p.pts - p.own for p in moved if p.recording == number}) == 1
