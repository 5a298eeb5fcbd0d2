import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from videos import Copies, decoded, leftovers, smooth, times, write_video

import cyclegan
from cyclegan import claim
from cyclegan.config import ResnetConfig
from cyclegan.engine import encoding, segments
from cyclegan.engine.containers import VideoReader
from cyclegan.engine.cutting import Part
from cyclegan.engine.encoding import Chosen, Encoding
from cyclegan.engine.frames import Frames
from cyclegan.engine.graph_info import GraphInfo
from cyclegan.engine.options import VideoOptions
from cyclegan.engine.segments import segments_folder
from cyclegan.engine.stabilize import open_stabilized
from cyclegan.engine.tiling import open_tiled
from cyclegan.engine.translator import Translator
from cyclegan.engine.video import translate_video
from cyclegan.errors import BackendError, ConfigError, OutputError, VideoError

Clip = Callable[[str], Path]
RESUME = VideoOptions(resume=True)
MPEG1 = VideoOptions(resume=True, encoding=Encoding(encoder="mpeg1video"))
H264 = Chosen(encoder="libx264", canonical="h264", options={"crf": "18"}, pixel_format="yuv420p")


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "LENGTH", 16)


class Negatives(Copies):
    def begin(self, slot: int, frames: Frames) -> None:
        super().begin(slot, 255 - frames)


def translator(runner: Copies) -> Translator:
    return Translator(runner, GraphInfo(config=ResnetConfig()))


def piece(clip: Clip, path: Path, seconds: float) -> Path:
    """The beginning of a real clip with its sound."""
    with av.open(str(clip("bigbuckbunny"))) as a, av.open(str(path), "w") as b:
        streams = {s: b.add_stream_from_template(s) for s in (*a.streams.video, *a.streams.audio)}
        for packet in a.demux():
            if packet.dts is not None and packet.dts * packet.time_base < seconds:
                packet.stream = streams[packet.stream]
                b.mux(packet)
    return path


@pytest.mark.parametrize(
    ("suffix", "fail_at"), [(".mp4", 21), (".mkv", 43), (".mkv", 47), (".webm", 21)]
)
def test_a_resumed_run_ends_like_one_without_interruption(
    suffix: str, fail_at: int, clip: Clip, tmp_path: Path
) -> None:
    source = piece(clip, tmp_path / "in.mp4", 1.8)
    options = VideoOptions(resume=True, part=Part(size=(90, 160)))
    whole, target = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    plain = translator(Copies())
    count = translate_video(source, whole, plain, options).frames
    assert count == len(decoded(source)) > 44
    with pytest.raises(BackendError, match="the device is gone"):
        translate_video(source, target, translator(Copies(fail_at=fail_at)), options)
    assert not target.exists()
    assert (tmp_path / f".out{suffix}.segments").is_dir()
    again = Copies()
    done: list[tuple[int, int | None]] = []
    stats = translate_video(
        source, target, translator(again), options, progress=lambda *now: done.append(now)
    )
    earlier = (fail_at - 3) // 16 * 16
    assert done[-1] == (count - earlier, count - earlier), "what is left to do has been done"
    assert stats.frames == count - earlier
    assert again.count == count - earlier + 2, "two more to compare the generator"
    assert f"{earlier} frames are from an earlier run" in stats.notes
    with av.open(str(target)) as a, av.open(str(whole)) as b:
        for one, other in zip(a.demux(), b.demux(), strict=True):
            assert (one.stream_index, one.pts, one.dts) == (
                other.stream_index,
                other.pts,
                other.dts,
            )
            assert bytes(one) == bytes(other)
    assert target.read_bytes() == whole.read_bytes()
    assert times(target) == times(source)
    assert leftovers(tmp_path) == sorted(["in.mp4", whole.name, target.name])


@pytest.mark.parametrize("resume", [False, True])
def test_pictures_are_not_cut_into_slices_for_the_encoders_threads(
    resume: bool, clip: Clip, tmp_path: Path
) -> None:
    source = piece(clip, tmp_path / "in.mp4", 0.5)
    translate_video(source, tmp_path / "a.mp4", translator(Copies()), VideoOptions(resume=resume))
    assert b" sliced_threads=0 " in (tmp_path / "a.mp4").read_bytes(), "libx264 tells its settings"


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_times_of_very_few_frames_of_h265_are_not_left_to_chance(
    count: int, resume: bool, tmp_path: Path
) -> None:
    source = write_video(tmp_path / "in.mkv", smooth(count))
    options = VideoOptions(resume=resume, encoding=Encoding(encoder="libx265"))
    for _ in range(12):  # what libx265 takes for times is what was in memory
        translate_video(source, tmp_path / "a.mp4", translator(Copies()), options)
        assert times(tmp_path / "a.mp4") == times(source)


def test_segments_keep_sound_and_picture_as_one_pass_does(clip: Clip, tmp_path: Path) -> None:
    source = piece(clip, tmp_path / "in.mp4", 1.8)
    part = Part(size=(90, 160))
    plain = translator(Copies())
    translate_video(source, tmp_path / "a.mp4", plain, VideoOptions(part=part))
    translate_video(source, tmp_path / "b.mp4", plain, VideoOptions(part=part, resume=True))

    def sound(path: Path) -> list[tuple[int | None, bytes]]:
        with av.open(str(path)) as container:
            return [(p.pts, bytes(p)) for p in container.demux(audio=0) if p.size]

    assert sound(tmp_path / "a.mp4") == sound(tmp_path / "b.mp4")
    assert times(tmp_path / "a.mp4") == times(tmp_path / "b.mp4") == times(source)
    for one, other in zip(decoded(tmp_path / "a.mp4"), decoded(tmp_path / "b.mp4"), strict=True):
        difference = one.to_ndarray(format="rgb24").astype(int) - other.to_ndarray(format="rgb24")
        assert np.abs(difference).mean() < 6


@pytest.mark.parametrize("suffix", [".webm", ".mp4"])
def test_uneven_times_pass_through_segments(suffix: str, tmp_path: Path) -> None:
    # The gap after the 17th frame has the second encoder begin far below the first one's end.
    steps = np.random.default_rng(0).integers(10, 300, 40)
    steps[17] = 3000
    uneven = np.cumsum(steps).tolist()
    source = write_video(tmp_path / "in.mkv", smooth(40), uneven)
    translate_video(source, tmp_path / f"out{suffix}", translator(Copies()), RESUME)
    assert times(tmp_path / f"out{suffix}") == times(source)
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        sent = [packet.dts for packet in container.demux(video=0) if packet.size]
    assert len(sent) == 40
    assert all(one < other for one, other in pairwise(sent))


@pytest.mark.parametrize(("suffix", "encoder"), [(".avi", "auto"), (".mkv", "mpeg2video")])
def test_frames_that_are_counted_go_on_behind_those_of_the_earlier_run(
    suffix: str, encoder: str, tmp_path: Path
) -> None:
    """A crowd of frames in the source has taken places of later ones."""
    steps = [2] * 20 + [30] * 20
    source = write_video(tmp_path / "in.mkv", smooth(40), np.cumsum(steps).tolist())
    options = VideoOptions(resume=True, encoding=Encoding(encoder=encoder))
    whole, target = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    translate_video(source, whole, translator(Copies()), options)
    with pytest.raises(BackendError, match="the device is gone"):
        translate_video(source, target, translator(Copies(fail_at=25)), options)
    assert translate_video(source, target, translator(Copies()), options).frames == 24
    assert times(target) == times(whole)
    assert len(times(target)) == 40


def test_a_run_that_stopped_after_its_last_segment_is_joined_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(32))
    with monkeypatch.context() as patch:
        patch.setattr(segments.SegmentWriter, "close", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            translate_video(source, tmp_path / "out.mp4", translator(Copies()), RESUME)
    again = Copies()
    stats = translate_video(source, tmp_path / "out.mp4", translator(again), RESUME)
    assert (stats.frames, again.count) == (0, 2)
    assert len(decoded(tmp_path / "out.mp4")) == 32


@pytest.fixture
def fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """Makes in.mp4, of more frames a second than MPEG-1 holds, and all segments of out.mkv."""

    def interrupted(frames: int) -> Path:
        source = tmp_path / "in.mp4"
        write_video(source, smooth(frames), range(frames), time_base=Fraction(1, 240))
        with monkeypatch.context() as patch:
            patch.setattr(segments.Segments, "packets", lambda self, base: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                translate_video(source, tmp_path / "out.mkv", translator(Copies()), MPEG1)
        return source

    return interrupted


def test_frames_that_were_left_out_are_done_too(
    fast: Callable[[int], Path], tmp_path: Path
) -> None:
    """They are in no packet, and the next run need not translate them to leave them out again."""
    source, whole, target = fast(48), tmp_path / "whole.mkv", tmp_path / "out.mkv"
    (said,) = translate_video(source, whole, translator(Copies()), MPEG1).notes
    (tmp_path / ".out.mkv.segments" / "000002.npz").unlink()
    stats = translate_video(source, target, translator(Copies()), MPEG1)
    assert stats.frames == 16
    assert stats.notes == ("32 frames are from an earlier run", said)
    assert times(target) == times(whole)


def test_a_segment_whose_frames_were_all_left_out_is_joined(
    fast: Callable[[int], Path], tmp_path: Path
) -> None:
    source = fast(33)
    assert len(np.load(tmp_path / ".out.mkv.segments" / "000002.npz")["pts"]) == 0
    translate_video(source, tmp_path / "out.mkv", translator(Copies()), MPEG1)
    assert len(decoded(tmp_path / "out.mkv")) == 9


def test_joined_segments_are_described_as_one_pass_is(tmp_path: Path) -> None:
    """In the stream itself too: a transport stream has no other place for it."""
    tags = {"matrix": 9, "span": 2, "primaries": 9, "transfer": 14}
    aspect = Fraction(4, 3)
    source = write_video(tmp_path / "in.mkv", smooth(20), pix_fmt="yuv420p", aspect=aspect, **tags)
    for resume, name in ((False, "whole"), (True, "joined")):
        for suffix, encoder in ((".ts", "libx264"), (".mp4", "mpeg4")):
            options = VideoOptions(resume=resume, encoding=Encoding(encoder=encoder))
            translate_video(source, tmp_path / f"{name}{suffix}", translator(Copies()), options)
    for suffix in (".ts", ".mp4"):
        told = []
        for name in ("whole", "joined"):
            with av.open(str(tmp_path / f"{name}{suffix}")) as container:
                video = container.streams.video[0]
                picture = next(container.decode(video))
                shown = picture.colorspace, picture.color_range, picture.color_primaries
                told.append((*shown, picture.color_trc, video.sample_aspect_ratio, video.duration))
        assert told[0] == told[1]
    assert told[0][4] == aspect


def test_key_frames_stay_key_frames(tmp_path: Path) -> None:
    """Players begin at them."""
    source = write_video(tmp_path / "in.mp4", smooth(20))
    options = VideoOptions(resume=True, encoding=Encoding(encoder="mpeg4"))
    translate_video(source, tmp_path / "out.mp4", translator(Copies()), options)
    with av.open(str(tmp_path / "out.mp4")) as container:
        told = [p.is_keyframe for p in container.demux(video=0) if p.size]
    # In a segment too, whose encoder has one every 12 frames.
    assert [number for number, is_key in enumerate(told) if is_key] == [0, 12, 16]


def test_all_that_shapes_segments_is_in_their_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(2))

    def facts(
        runner: Copies | None = None, options: VideoOptions = RESUME, chosen: Chosen = H264
    ) -> str:
        with VideoReader(source) as reader:
            return segments.fingerprint(reader, translator(runner or Copies()), options, chosen)

    class OnDevice(Copies):
        planes_on = "cpu"
        begin_planes = finish_planes = Copies.begin

    usual = facts()
    assert facts() == usual
    seen = {usual, facts(Copies(depths=(8, 16))), facts(OnDevice()), facts(Negatives())}
    seen.add(facts(options=VideoOptions(resume=True, encoding=Encoding(quality=30))))
    for other in ({"encoder": "h264_nvenc"}, {"options": {}}, {"pixel_format": "yuv444p"}):
        seen.add(facts(chosen=replace(H264, **other)))
    changes = (
        (cyclegan, "__version__"),
        (segments, "LENGTH"),
        (segments, "_ARRAYS"),
        (av, "library_versions"),
    )
    for module, name in changes:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, {"another": 1})
            seen.add(facts())
    os.utime(source, (1, 1))  # another video of as many bytes
    seen.add(facts())
    assert len(seen) == 13


def test_generators_that_agree_on_black_alone_are_told_apart(tmp_path: Path) -> None:
    """Instance norm leaves the same of black whatever comes before it, and films begin black."""

    class Brighter(Copies):
        def begin(self, slot: int, frames: Frames) -> None:
            super().begin(slot, np.minimum(frames, 127) * 2)

    source = write_video(tmp_path / "in.mp4", [np.zeros((48, 64, 3), np.uint8)] * 2)

    def facts(runner: Copies) -> str:
        with VideoReader(source) as reader:
            return segments.fingerprint(reader, translator(runner), RESUME, H264)

    assert facts(Copies()) == facts(Copies()) != facts(Brighter())


@pytest.mark.parametrize("change", ["source", "settings", "generator", "processor"])
def test_segments_of_another_job_are_not_used(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(40))
    monkeypatch.setattr(encoding, "instruction_sets", lambda: ("AVX2",))
    with pytest.raises(BackendError):
        translate_video(source, tmp_path / "out.mp4", translator(Copies(fail_at=30)), RESUME)
    runner, options = Copies(), RESUME
    if change == "source":
        write_video(source, smooth(41)[1:])
    elif change == "settings":
        options = VideoOptions(resume=True, encoding=Encoding(quality=30))
    elif change == "generator":
        runner = Negatives()
    else:  # for which the encoder is set up another way
        monkeypatch.setattr(encoding, "instruction_sets", lambda: ("AVX2", "AVX512"))
    stats = translate_video(source, tmp_path / "out.mp4", translator(runner), options)
    assert stats.frames == 40
    assert leftovers(tmp_path) == ["in.mp4", "out.mp4"]


def test_segments_of_another_job_are_not_used_behind_a_link(tmp_path: Path) -> None:
    """To a disk with room, say: such a folder is not removed with its link."""
    source = write_video(tmp_path / "in.mp4", smooth(40))
    (tmp_path / "room").mkdir()
    (tmp_path / ".out.mp4.segments").symlink_to(tmp_path / "room")
    with pytest.raises(BackendError):
        translate_video(source, tmp_path / "out.mp4", translator(Copies(fail_at=38)), RESUME)
    assert {path.name for path in (tmp_path / "room").iterdir()} >= {"000000.npz", "facts.json"}
    stats = translate_video(source, tmp_path / "out.mp4", translator(Negatives()), RESUME)
    assert stats.frames == 40
    assert list((tmp_path / "room").iterdir()) == []


def test_segments_of_another_job_that_cannot_be_removed_are_refused(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(4))
    (tmp_path / ".out.mp4.segments" / "000000.npz").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"000000.npz, of an earlier translation: "):
        translate_video(source, tmp_path / "out.mp4", translator(Copies()), RESUME)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _change(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _leave_out(path: Path) -> None:
    with np.load(path) as file:
        arrays = dict(file)
    del arrays["dts"]
    np.savez(path, **arrays)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("damage", [_cut, _change, _leave_out, lambda path: path.write_bytes(b"")])
def test_what_follows_a_damaged_segment_is_translated_again(
    damage: Callable[[Path], object], number: int, tmp_path: Path
) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(60))
    whole, target = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    translate_video(source, whole, translator(Copies()), RESUME)
    with pytest.raises(BackendError):
        translate_video(source, target, translator(Copies(fail_at=56)), RESUME)
    damage(tmp_path / ".out.mp4.segments" / f"{number:06}.npz")
    (tmp_path / ".out.mp4.segments/.facts.cyclegan-1-2.json").touch()  # as a kill leaves it
    stats = translate_video(source, target, translator(Copies()), RESUME)
    assert stats.frames == 60 - 16 * number
    assert any(f"{number:06}.npz is damaged: " in note for note in stats.notes)
    assert target.read_bytes() == whole.read_bytes()
    assert leftovers(tmp_path) == ["in.mp4", "out.mp4", "whole.mp4"]


def test_a_second_run_to_the_same_target_is_refused_and_leaves_the_first_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would remove the first one's segments, and its own would be joined in their place."""
    monkeypatch.setattr(claim, "WAIT", 0.1)
    source, whole = write_video(tmp_path / "in.mp4", smooth(40)), tmp_path / "whole.mp4"
    target = tmp_path / "out.mp4"
    translate_video(source, whole, translator(Copies()), RESUME)

    class Disturbed(Copies):
        def begin(self, slot: int, frames: Frames) -> None:
            if self.count in (0, 20):  # before anything is noted, and after a segment
                with pytest.raises(OutputError, match=r"at work in .*/\.out\.mp4\.segments; stop"):
                    translate_video(source, target, translator(Negatives()), RESUME)
            super().begin(slot, frames)

    assert translate_video(source, target, translator(Disturbed()), RESUME).frames == 40
    assert target.read_bytes() == whole.read_bytes()
    assert leftovers(tmp_path) == ["in.mp4", "out.mp4", "whole.mp4"]


def test_a_second_run_goes_on_once_the_first_has_ended_and_removed_the_folder(
    tmp_path: Path,
) -> None:
    target, waits = tmp_path / "out.mp4", threading.Event()

    def second() -> None:
        waits.set()
        with segments_folder(target) as folder:
            assert folder.is_dir()

    with ThreadPoolExecutor(1) as pool:
        with segments_folder(target):
            run = pool.submit(second)
            waits.wait()
            time.sleep(0.05)
        run.result()
    assert leftovers(tmp_path) == []


def test_facts_that_are_no_text_are_of_another_job(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(4))
    (tmp_path / ".out.mp4.segments").mkdir()
    (tmp_path / ".out.mp4.segments/facts.json").write_bytes(b"\xff\xfe{")
    assert translate_video(source, tmp_path / "out.mp4", translator(Copies()), RESUME).frames == 4


@pytest.mark.parametrize("length", [3, 251])  # with its suffix as long as a name may be
def test_a_damaged_source_is_told_when_resumed_too(length: int, tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mkv", smooth(60, 320, 240))
    data = source.read_bytes()
    source.write_bytes(data[: int(len(data) * 0.7)])
    target = tmp_path / f"{'o' * length}.mp4"
    with pytest.raises(VideoError, match=r"is damaged.*oo\.partial\.mp4"):
        translate_video(source, target, translator(Copies()), RESUME)
    assert not target.exists()
    (partial,) = tmp_path.glob("o*.partial.mp4")
    assert len(decoded(partial)) > 10


def test_a_run_that_finished_no_segment_leaves_no_folder(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(2))
    with pytest.raises(ZeroDivisionError):
        translate_video(
            source, tmp_path / "out.mp4", translator(Copies()), RESUME, progress=lambda *_: 1 / 0
        )
    assert list(tmp_path.iterdir()) == [source]


def test_only_files_can_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="both must be files"):
        translate_video("-", tmp_path / "out.mp4", translator(Copies()), RESUME)
    with pytest.raises(ConfigError, match="live or resume"):
        VideoOptions(live=True, resume=True)


@pytest.mark.parametrize("kind", ["gif", "apng", "y4m"])
def test_animations_are_not_joined(kind: str, tmp_path: Path) -> None:
    """Each segment would begin with the head of a file, and apng's muxer would crash.

    What FFmpeg calls packets of y4m are addresses of pictures, which are gone by then.
    """
    source = write_video(tmp_path / "in.mp4", smooth(2))
    encoder = "wrapped_avframe" if kind == "y4m" else kind
    options = VideoOptions(resume=True, encoding=Encoding(encoder=encoder))
    with pytest.raises(ConfigError, match=f"{kind} pictures cannot be joined.*without resume"):
        translate_video(source, tmp_path / f"out.{kind}", translator(Copies()), options)
    assert leftovers(tmp_path) == ["in.mp4"]


def test_a_target_that_cannot_be_opened_leaves_no_segments(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(2))
    options = VideoOptions(resume=True, encoding=Encoding(encoder="libx264"))
    with pytest.raises(OutputError, match="webm files cannot hold h264"):
        translate_video(source, tmp_path / "out.webm", translator(Copies()), options)
    assert leftovers(tmp_path) == ["in.mp4"]


@pytest.mark.parametrize("kind", ["steady", "frozen"])
def test_what_depends_on_frames_before_is_not_resumed(
    kind: str, model: Path, tmp_path: Path
) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(2))
    opened = open_stabilized(model) if kind == "steady" else open_tiled(model, "frozen")
    with opened as remembering, pytest.raises(ConfigError, match="give it without resume"):
        translate_video(source, tmp_path / "out.mp4", remembering, RESUME)
    assert leftovers(tmp_path) == ["in.mp4"]
