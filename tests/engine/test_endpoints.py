import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from rtsp_camera import Camera
from videos import Copies, decoded, leftovers, smooth, times, write_video

from cyclegan.config import ResnetConfig
from cyclegan.engine import sinks
from cyclegan.engine.containers import VideoReader
from cyclegan.engine.cutting import Part
from cyclegan.engine.encoding import Encoding
from cyclegan.engine.endpoints import Retry, input_from, output_to
from cyclegan.engine.frames import Frames
from cyclegan.engine.graph_info import GraphInfo
from cyclegan.engine.images import translate_path
from cyclegan.engine.layout import TimedFrame
from cyclegan.engine.live import latency_of
from cyclegan.engine.options import VideoOptions
from cyclegan.engine.translator import Translator
from cyclegan.engine.video import translate_video
from cyclegan.errors import (
    BackendError,
    ConfigError,
    OutputError,
    StoppedEarlyError,
    VideoError,
)
from cyclegan.verbs.translating import stopping_at_interrupt

Clip = Callable[[str], Path]
QUICK = Retry(attempts=3, first_seconds=0.05, silence_seconds=2)


class Slow(Copies):
    """Takes its time for every frame."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def finish(self, slot: int) -> Frames:
        time.sleep(self.seconds)
        return super().finish(slot)


def test_pauses_double_up_to_the_longest_however_many_there_were() -> None:
    retry = Retry(attempts=10**6, first_seconds=0.5, longest_seconds=8)
    assert [retry.pause(attempt) for attempt in (0, 1, 2, 4, 5, 1025, 10**6)] == [
        0.5,
        1,
        2,
        *[8] * 4,
    ]


def rgb(path: Path) -> np.ndarray:
    return np.stack([picture.to_ndarray(format="rgb24") for picture in decoded(path)])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_names_tell_what_they_are() -> None:
    assert input_from("-", form="y4m").url == "pipe:0"
    assert input_from("-", form="y4m").format == "yuv4mpegpipe"
    assert input_from("/dev/video3").format == "video4linux2"
    assert input_from("/dev/video3").endless
    assert input_from("/dev/v4l/by-id/usb-A-index0").is_camera
    assert input_from("/dev/webcam", form="v4l2").is_camera
    assert input_from("/dev/webcam", form="v4l2").endless
    assert not input_from("/dev/webcam").is_camera
    assert input_from("rtsp://camera/1").options["rtsp_transport"] == "tcp"
    assert input_from("udp://0.0.0.0:5000").endless
    assert not input_from("https://host/clip.mp4").endless
    assert input_from("file:///clip.mp4").endless is False
    assert input_from("p/%04d.png").format == "image2"
    assert input_from("clip.mp4").path == Path("clip.mp4")
    assert input_from("-").path is None
    assert input_from("p/%04d.png").path is None
    assert input_from("file:///clip.mp4").path == Path("/clip.mp4")
    assert input_from("file:///p/%04d.png") == input_from("/p/%04d.png")
    assert input_from("file:///p/*.png") == input_from("/p/*.png")
    assert output_to("file:///out.mp4") == output_to("/out.mp4")
    assert input_from(__file__, form="y4m").path == Path(__file__)
    assert output_to("-", "y4m").format == "yuv4mpegpipe"
    assert output_to("/dev/stdout", "y4m") == output_to("-", "y4m")
    assert output_to("/dev/null").format == "null"
    assert output_to("rtmp://host/live").format == "flv"
    assert output_to("out.mp4").is_file
    assert not output_to("o/%d.png").is_file
    with pytest.raises(OutputError, match="name one: y4m"):
        output_to("-")
    with pytest.raises(VideoError, match="give pixel_format and video_size"):
        input_from("-", form="raw")


@pytest.mark.parametrize(
    ("source", "name", "usual", "asked"),
    [
        ("rtsp://camera/1", "rtsp_transport", "tcp", "udp"),
        ("https://host/clip.mp4", "reconnect_max_retries", "6", "0"),
        ("p/%04d.png", "start_number", "0", "7"),
        ("p/*.png", "pattern_type", "glob", "none"),
    ],
)
def test_what_is_asked_for_goes_before_what_is_usual(
    source: str, name: str, usual: str, asked: str
) -> None:
    assert input_from(source).options[name] == usual
    given = input_from(source, options={name: asked, "other": "1"}).options
    assert (given[name], given["other"]) == (asked, "1")


RAW = {"video_size": "32x16", "pixel_format": "rgb24", "framerate": "25"}


@pytest.mark.parametrize(
    ("source", "form", "given", "said"),
    [
        ("-", "raw", RAW | {"frame_rate": "50"}, "no source option frame_rate; did you .* framera"),
        ("in.rgb", "raw", RAW | {"bogus": "1"}, "bogus; expected video_size, pixel_format, framer"),
        ("in.y4m", "y4m", {"frame_rate": "50"}, "yuv4mpegpipe has no source option frame_rate"),
        ("/dev/video3", None, {"videosize": "64x48"}, "videosize; did you mean video_size"),
        ("/dev/webcam", "v4l2", {"rate": "25"}, "v4l2 has no source option rate"),
    ],
)
def test_an_option_that_a_source_does_not_have_is_refused(
    source: str, form: str | None, given: dict[str, str], said: str
) -> None:
    """FFmpeg passes over it without a word."""
    with pytest.raises(ConfigError, match=said):
        input_from(source, form=form, options=given)


@pytest.mark.parametrize("name", ["in.yuv", "in.y4m"])
def test_an_option_is_refused_too_where_the_file_tells_the_format(
    name: str, copies: Translator, tmp_path: Path
) -> None:
    source = tmp_path / name
    with av.open(str(source), "w", format={".yuv": "rawvideo"}.get(source.suffix)) as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(32, 16, "yuv420p")))
    known = {"video_size": "32x16"} if name == "in.yuv" else {}
    options = VideoOptions(source_options=known | {"framrate": "50"})
    with pytest.raises(ConfigError, match="has no source option framrate; "):
        translate_video(source, tmp_path / "out.mp4", copies, options)
    options = VideoOptions(source_options=known)
    assert translate_video(source, tmp_path / "out.mp4", copies, options).frames == 1


def test_options_that_every_source_has_are_let_through() -> None:
    given = RAW | {"probesize": "32", "max_pixels": "512", "fflags": "nobuffer"}
    assert input_from("-", form="raw", options=given).options == given
    assert input_from("tcp://host:1", form="raw", options=RAW | {"listen": "1"}).endless


@pytest.mark.skipif(sys.platform == "win32", reason="pipes with names are POSIX's")
@pytest.mark.parametrize("wrong", [{"framerate": "-5"}, {"pixel_format": "nope"}])
def test_an_option_of_raw_pictures_that_is_refused_is_told(
    wrong: dict[str, str], copies: Translator, tmp_path: Path
) -> None:
    """Nothing was read then, which is another thing than that nothing came."""
    os.mkfifo(tmp_path / "pipe")
    held = os.open(tmp_path / "pipe", os.O_RDWR)
    os.write(held, bytes(32 * 16 * 3))
    options = VideoOptions(source_format="raw", source_options=RAW | wrong)
    (name, value) = next(iter(wrong.items()))
    with pytest.raises(VideoError, match=f"video: Invalid argument; it .* {name}={value}"):
        translate_video(tmp_path / "pipe", tmp_path / "out.mkv", copies, options)
    os.close(held)


def test_a_container_that_is_named_goes_before_that_of_an_address() -> None:
    assert output_to("rtsp://host/1").format == "rtsp"
    assert output_to("tcp://host:1").format == "mpegts"
    assert output_to("tcp://host:1", "mkv").format == "matroska"


def test_pauses_grow_and_are_bounded() -> None:
    retry = Retry(first_seconds=0.5, longest_seconds=3)
    assert [retry.pause(n) for n in range(5)] == [0.5, 1, 2, 3, 3]


def test_a_camera_that_is_not_there_is_an_error_at_once(copies: Translator, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="cannot read /dev/video99"):
        translate_path("/dev/video99", tmp_path / "out.mp4", copies)
    assert leftovers(tmp_path) == []


def test_srt_is_not_in_pyavs_ffmpeg_and_that_is_said(copies: Translator, tmp_path: Path) -> None:
    """If this fails, PyAV's wheels have SRT now: test it, and say so in docs/video.md."""
    with pytest.raises(VideoError, match=r"cannot read srt://.*: the FFmpeg .* without srt"):
        translate_video("srt://127.0.0.1:1", tmp_path / "out.mp4", copies)
    source = write_video(tmp_path / "in.mp4", smooth(2))
    with pytest.raises(OutputError, match=r"cannot write srt://.*: the FFmpeg .* without srt"):
        translate_video(source, "srt://127.0.0.1:1", copies)


def test_raw_pictures_come_in_and_go_out(copies: Translator, tmp_path: Path) -> None:
    frames = np.stack(smooth(4, 46, 38))
    (tmp_path / "in.rgb").write_bytes(frames.tobytes())
    options = VideoOptions(
        source_format="raw",
        source_options={"video_size": "46x38", "pixel_format": "rgb24", "framerate": "10"},
        encoding=Encoding(container="raw"),
    )
    translate_path(tmp_path / "in.rgb", tmp_path / "out.rgb", copies, options=options)
    assert (tmp_path / "out.rgb").read_bytes() == frames.tobytes()


def test_half_a_raw_picture_is_one_damaged_packet(copies: Translator, tmp_path: Path) -> None:
    data = np.stack(smooth(4, 46, 38)).tobytes()
    (tmp_path / "in.rgb").write_bytes(data[: -46 * 19 * 3])
    asked = {"video_size": "46x38", "pixel_format": "rgb24"}
    options = VideoOptions(source_format="raw", source_options=asked)
    with pytest.raises(VideoError, match=r"is damaged: 1 packets are damaged\. The 3"):
        translate_path(tmp_path / "in.rgb", tmp_path / "out.mkv", copies, options=options)


@pytest.mark.parametrize("suffix", [".yuv", ".RGB"])
def test_raw_pictures_are_told_what_they_lack(
    suffix: str, copies: Translator, tmp_path: Path
) -> None:
    source = tmp_path / f"in{suffix}"
    source.write_bytes(bytes(9999))
    with pytest.raises(VideoError, match=r"the source format raw, .* video_size=640x360"):
        translate_path(source, tmp_path / "out.mkv", copies)


def test_y4m_keeps_rate_and_colours_and_says_what_it_cannot_hold(
    copies: Translator, tmp_path: Path
) -> None:
    uneven = [0, 40, 80, 300, 340]
    source = write_video(tmp_path / "in.mp4", smooth(5), uneven, pix_fmt="yuv420p", matrix=6)
    (note,) = translate_video(source, tmp_path / "out.y4m", copies).notes
    assert "the times of the frames vary" in note
    assert np.abs(rgb(tmp_path / "out.y4m").astype(int) - np.stack(smooth(5))).mean() < 4
    assert len(set(np.diff([float(t) for t in times(tmp_path / "out.y4m")]).round(6))) == 1


@pytest.mark.parametrize("missing", [1, 64 * 48, 64 * 48 * 3 // 2 + 3])
@pytest.mark.parametrize("named", ["a file", "a pipe", "standard input"])
def test_a_picture_of_y4m_that_is_cut_off_is_told(
    named: str, missing: int, copies: Translator, tmp_path: Path
) -> None:
    """As where the program before a pipe fails: all pictures before it look like a whole film."""
    source = write_video(tmp_path / "in.mkv", smooth(3), pix_fmt="yuv420p")
    cut = tmp_path / "cut.y4m"
    translate_video(source, cut, copies)
    cut.write_bytes(cut.read_bytes()[:-missing])
    name, options = str(cut), VideoOptions(source_format="y4m")
    own = None
    if named == "a pipe":
        name = str(tmp_path / "pipe")
        os.mkfifo(name)
        threading.Thread(target=lambda: Path(name).write_bytes(cut.read_bytes())).start()
    elif named == "standard input":
        name, own = "-", os.dup(0)
        with cut.open("rb") as file:
            os.dup2(file.fileno(), 0)
    try:
        with pytest.raises(VideoError, match=r"last picture is not whole.*\. The 2 frames that"):
            translate_video(name, tmp_path / "out.mp4", copies, options)
    finally:
        if own is not None:
            os.dup2(own, 0)
            os.close(own)
    assert (tmp_path / "out.partial.mp4").exists()
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("form", [None, "y4m"])
def test_an_empty_pipe_is_told(form: str | None, copies: Translator, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="cannot read /dev/null as a video: nothing came"):
        translate_video("/dev/null", tmp_path / "out.mp4", copies, VideoOptions(source_format=form))


def test_an_mp4_in_a_pipe_is_told_to_be_saved_where_its_index_comes_last(
    copies: Translator, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 96, 128, 3), dtype=np.uint8)
    film, pipe = write_video(tmp_path / "in.mp4", list(noise)), tmp_path / "pipe"
    content = film.read_bytes()
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(content))
    writer.start()
    with pytest.raises(VideoError, match=r"no frames .* index comes last .* \+faststart"):
        translate_video(pipe, tmp_path / "out.mp4", copies)
    writer.join()
    assert leftovers(tmp_path) == ["in.mp4", "pipe"]


@pytest.mark.parametrize("sent", [b"", b"YUV4MPEG2 W64", b"YUV4MPEG2 W64 H48 C420\nFRAME\n"])
def test_an_interrupt_ends_waiting_for_a_first_picture(
    sent: bytes, copies: Translator, tmp_path: Path
) -> None:
    name = tmp_path / "pipe"
    os.mkfifo(name)
    held = os.open(name, os.O_RDWR)  # so that it stays open
    os.write(held, sent)
    timer = threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            translate_video(name, tmp_path / "out.mp4", copies)
    finally:
        timer.join()
        os.close(held)
    assert leftovers(tmp_path) == ["pipe"]


@pytest.fixture(params=["y4m", "raw"])
def silent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VideoOptions]:
    """How ``pipe`` is to be read, which gives ten pictures, and then nothing for 20 seconds."""
    form, raw = request.param, {}
    head, each = b"YUV4MPEG2 W16 H16 F25:1 C444\n", b"FRAME\n"
    if form == "raw":
        head, each = b"", b""
        raw = {"video_size": "16x16", "pixel_format": "rgb24", "framerate": "25"}
    os.mkfifo(tmp_path / "pipe")
    held = os.open(tmp_path / "pipe", os.O_RDWR)
    os.write(held, head + 10 * (each + bytes(16 * 16 * 3)))
    late = threading.Timer(20, os.close, (held,))  # what waits in spite of all must end
    late.start()
    yield VideoOptions(source_format=form, source_options=raw)
    if late.is_alive():
        late.cancel()
        os.close(held)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes with names are POSIX's")
def test_an_interrupt_ends_waiting_for_a_further_picture(
    silent: VideoOptions, copies: Translator, tmp_path: Path
) -> None:
    """Another thread waits there, which signals do not interrupt."""
    begun = time.monotonic()
    timer = threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        translate_video(tmp_path / "pipe", tmp_path / "out.mp4", copies, silent)
    timer.join()
    assert time.monotonic() - begun < 10
    assert leftovers(tmp_path) == ["pipe"]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes with names are POSIX's")
def test_an_error_does_not_wait_for_a_further_picture(silent: VideoOptions, tmp_path: Path) -> None:
    begun = time.monotonic()
    with (
        Translator(Copies(fail_at=10), GraphInfo(config=ResnetConfig())) as failing,
        pytest.raises(BackendError, match="the device is gone"),
    ):
        translate_video(tmp_path / "pipe", tmp_path / "out.mp4", failing, silent)
    assert time.monotonic() - begun < 10
    assert leftovers(tmp_path) == ["pipe"]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes with names are POSIX's")
def test_a_stop_ends_a_live_pipe_in_good_order(
    silent: VideoOptions, copies: Translator, tmp_path: Path
) -> None:
    stop, begun = threading.Event(), time.monotonic()
    timer = threading.Timer(1, stop.set)
    timer.start()
    live = replace(silent, live=True)
    stats = translate_video(tmp_path / "pipe", tmp_path / "out.mp4", copies, live, stop=stop)
    timer.join()
    assert time.monotonic() - begun < 10
    assert len(decoded(tmp_path / "out.mp4")) == stats.frames > 0


@pytest.mark.skipif(sys.platform != "linux", reason="as Linux has pipes with names")
@pytest.mark.parametrize("waiting_for", ["who writes", "a picture", "who reads"])
@pytest.mark.parametrize(("sent", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_before_there_is_anything_to_keep_ends_a_live_run_as_an_interrupt(
    waiting_for: str, sent: str, status: int, copies: Translator, tmp_path: Path
) -> None:
    source, target = tmp_path / "in", tmp_path / "out.y4m"
    held, how = None, VideoOptions(live=True, source_format="y4m")
    if waiting_for == "who reads":
        source, how = write_video(tmp_path / "in.mkv", smooth(2)), VideoOptions(live=True)
        os.mkfifo(target)
    else:
        os.mkfifo(source)
    if waiting_for == "a picture":
        held = os.open(source, os.O_RDWR)

    def run() -> None:
        with stopping_at_interrupt(str(source), how) as stop:
            threading.Timer(0.3, os.kill, (os.getpid(), signal.Signals[sent])).start()
            translate_video(source, target, copies, how, stop=stop)

    begun = time.monotonic()
    with pytest.raises((KeyboardInterrupt, SystemExit)) as ended:
        run()
    assert getattr(ended.value, "code", 130) == status  # 130 is the interrupt's
    assert time.monotonic() - begun < 10
    if held is not None:
        os.close(held)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes with names are POSIX's")
def test_a_stop_before_the_first_frame_is_an_error_of_ours(
    copies: Translator, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    stop = threading.Event()
    timer = threading.Timer(0.2, stop.set)
    timer.start()
    with pytest.raises(StoppedEarlyError, match=r"stopped before .*pipe gave a frame"):
        translate_video(
            tmp_path / "pipe", tmp_path / "out.mp4", copies, VideoOptions(live=True), stop=stop
        )
    assert leftovers(tmp_path) == ["pipe"]


@contextlib.contextmanager
def unread(kind: str, folder: Path) -> Iterator[str]:
    """A target that nobody reads, full after a few pictures; the other side goes after 20 seconds,
    since what waits in spite of all must end.
    """
    with contextlib.ExitStack() as undo:
        if kind == "a connection":
            listener = undo.enter_context(socket.create_server(("127.0.0.1", 0)))
            name, away = f"tcp://127.0.0.1:{listener.getsockname()[1]}", listener.close
        else:
            name = str(folder / "pipe")
            os.mkfifo(name)
            reading = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
            away = undo.enter_context(os.fdopen(reading)).close
        if kind == "standard output":
            before, writing = os.dup(1), os.open(name, os.O_WRONLY)
            undo.callback(os.close, before)
            undo.callback(os.dup2, before, 1)
            os.dup2(writing, 1)
            os.close(writing)
            name = "-"
        late = threading.Timer(20, away)
        late.start()
        undo.callback(late.cancel)
        yield name


@pytest.mark.skipif(sys.platform == "win32", reason="pipes with names are POSIX's")
@pytest.mark.parametrize(
    ("kind", "encoder", "frames"),
    [
        ("a pipe", "rawvideo", 10),
        ("a pipe", "libx264", 20),  # which all come at the end, where this thread writes
        ("standard output", "rawvideo", 10),
        ("a connection", "rawvideo", 200),
    ],
)
def test_an_interrupt_ends_waiting_for_who_does_not_read(
    kind: str, encoder: str, frames: int, copies: Translator, tmp_path: Path
) -> None:
    """Another thread waits there, which signals do not interrupt."""
    noise = np.random.default_rng(0).integers(0, 256, (frames, 96, 128, 3), np.uint8)
    source = tmp_path / "in.rgb"
    source.write_bytes(noise.tobytes())
    last = math.inf

    def progress(done: int, expected: int | None) -> None:
        nonlocal last
        last = time.monotonic()

    def interrupt() -> None:
        while time.monotonic() < last + 0.4:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    how = VideoOptions(
        source_format="raw",
        source_options={"video_size": "128x96", "pixel_format": "rgb24"},
        encoding=Encoding(container="nut", encoder=encoder),
    )
    with unread(kind, tmp_path) as target:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            translate_video(source, target, copies, how, progress=progress)
    assert time.monotonic() < last + 10


@pytest.mark.skipif(sys.platform == "win32", reason="pipes with names are POSIX's")
def test_a_pipe_with_a_name_gets_the_result_and_stays(copies: Translator, tmp_path: Path) -> None:
    frames = smooth(4)
    source = write_video(tmp_path / "in.mp4", frames)
    pipe, kept = tmp_path / "out.y4m", tmp_path / "kept.y4m"
    os.mkfifo(pipe)
    with kept.open("wb") as file, subprocess.Popen(["cat", pipe], stdout=file) as reader:
        try:
            translate_video(source, pipe, copies)
            reader.wait(10)
        finally:
            reader.kill()
    assert pipe.is_fifo()
    assert np.abs(rgb(kept).astype(int) - np.stack(frames)).mean() < 4
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="pipe has no suffix that tells the container"):
        translate_video(source, tmp_path / "pipe", copies)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes with names are POSIX's")
def test_a_pipe_with_a_name_is_read_once_and_from_its_beginning(
    copies: Translator, tmp_path: Path
) -> None:
    source = write_video(tmp_path / "in.mkv", smooth(4))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # Whoever opens it a second time finds nothing.
    give = f"cat {source} > {pipe}; : > {pipe}"
    with subprocess.Popen(["sh", "-c", give], start_new_session=True) as giver:
        try:
            assert translate_path(pipe, tmp_path / "out.mkv", copies).frames == 4  # type: ignore
        finally:
            os.killpg(giver.pid, signal.SIGKILL)
    with pytest.raises(ConfigError, match="both must be files"):
        translate_path(pipe, tmp_path / "out.mkv", copies, options=VideoOptions(resume=True))


@pytest.mark.skipif(sys.platform == "win32", reason="pipes with names are POSIX's")
def test_a_part_in_a_pipe_claims_no_length_of_the_whole(copies: Translator, tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mkv", smooth(60))
    pipe, kept = tmp_path / "out.mkv", tmp_path / "kept.mkv"
    os.mkfifo(pipe)
    with kept.open("wb") as file, subprocess.Popen(["cat", pipe], stdout=file) as reader:
        try:
            translate_video(source, pipe, copies, VideoOptions(part=Part(end=0.4)))
            reader.wait(10)
        finally:
            reader.kill()
    assert translate_video(kept, tmp_path / "again.mkv", copies).frames == 10


@pytest.mark.skipif(sys.platform == "win32", reason="pipes with names are POSIX's")
@pytest.mark.parametrize("form", ["mkv", "ts"])
def test_the_sound_of_a_transport_stream_goes_through_a_pipe(
    form: str, copies: Translator, tmp_path: Path
) -> None:
    """Its AAC is described in each packet alone, and an .mkv tells in the beginning what it is."""
    source, pipe, kept = tmp_path / "in.ts", tmp_path / f"pipe.{form}", tmp_path / f"kept.{form}"
    tone = np.sin(np.arange(44 * 1024) / 20).astype(np.float32)
    with av.open(str(source), "w") as made:
        pictures = made.add_stream("libx264", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sound = made.add_stream("aac", rate=44100, layout="stereo")
        for pixels in smooth(25):
            made.mux(pictures.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        made.mux(pictures.encode(None))
        for block in tone.reshape(-1, 1, 1024):
            part = av.AudioFrame.from_ndarray(block.repeat(2, 0), format="fltp", layout="stereo")
            part.sample_rate = 44100
            made.mux(sound.encode(part))
        made.mux(sound.encode(None))
    os.mkfifo(pipe)
    with kept.open("wb") as file, subprocess.Popen(["cat", pipe], stdout=file) as reader:
        try:
            stats = translate_video(source, pipe, copies)
            reader.wait(10)
        finally:
            reader.kill()
    assert stats.notes == ()
    heard = []
    for path in (source, kept):
        with av.open(str(path)) as container:
            parts = [part.to_ndarray() for part in container.decode(audio=0)]
            assert container.streams.audio[0].sample_rate == 44100
        heard.append(np.concatenate(parts, axis=1))
    assert np.array_equal(*heard)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes with names are POSIX's")
@pytest.mark.parametrize("form", ["mp4", "mov"])
def test_what_is_not_written_in_order_does_not_go_into_a_pipe(
    form: str, copies: Translator, tmp_path: Path
) -> None:
    source, pipe = write_video(tmp_path / "in.mkv", smooth(2)), tmp_path / f"out.{form}"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.DEVNULL) as reader:
        try:
            with pytest.raises(OutputError, match=f"the beginning of {form} is written last"):
                translate_video(source, pipe, copies)
        finally:
            reader.kill()


def test_pictures_become_a_video_and_a_video_pictures(copies: Translator, tmp_path: Path) -> None:
    frames = smooth(5)
    (tmp_path / "in").mkdir()
    for number, frame in enumerate(frames, 7):
        av.VideoFrame.from_ndarray(frame, format="rgb24").save(tmp_path / f"in/a{number:03}.png")
    options = VideoOptions(source_options={"framerate": "10"})
    stats = translate_path(tmp_path / "in/a%03d.png", tmp_path / "v.mp4", copies, options=options)
    assert stats.frames == 5  # type: ignore[union-attr]
    assert times(tmp_path / "v.mp4") == [Fraction(n, 10) for n in range(5)]
    translate_path(tmp_path / "in/*.png", tmp_path / "new/out%02d.png", copies)
    for number, frame in enumerate(frames, 1):
        assert (rgb(tmp_path / f"new/out{number:02}.png")[0] == frame).all()
    with pytest.raises(OutputError, match="into another folder"):
        translate_path(tmp_path / "in/*.png", tmp_path / "in/b%03d.png", copies)
    for name in (
        *("i?/*.png", "{in/a*,x/y}.png", "[!a]n/*.{jpg,png}", "i*/../in/a*.png"),
        *("[^a]n/*.png", "[[:alpha:]]n/*.png", "[a\\i]n/*.png", "[[=i=]]n/*.png"),
    ):
        with pytest.raises(OutputError, match="into another folder"):
            translate_path(tmp_path / name, tmp_path / "in/a%03d.png", copies)
    for source in (f"file://{tmp_path}/in/a%03d.png", tmp_path / "in/a008.png"):
        with pytest.raises(OutputError, match="into another folder"):
            translate_video(source, tmp_path / "in/a%03d.png", copies)
    first = VideoOptions(part=Part(end=0.01))
    for source in ("*.png", "a%03d.png"):
        with pytest.raises(OutputError, match=r"a007\.png is a source itself"):
            translate_path(
                tmp_path / "in" / source, tmp_path / "in/a007.png", copies, options=first
            )
    translate_path(tmp_path / "v.mp4", tmp_path / "q%d.jpg", copies)
    assert len(list(tmp_path.glob("q*.jpg"))) == 5


@pytest.mark.parametrize(("name", "container"), [("50%done.mp4", "auto"), ("9%03d.wmv", "mkv")])
def test_a_film_may_have_in_its_name_what_stands_for_numbers_in_that_of_pictures(
    name: str, container: str, copies: Translator, tmp_path: Path
) -> None:
    source, target = write_video(tmp_path / "in.mp4", smooth(3)), tmp_path / name
    translate_video(source, target, copies, VideoOptions(encoding=Encoding(container=container)))
    assert leftovers(tmp_path) == sorted(["in.mp4", name])
    assert translate_video(target, tmp_path / "again.mp4", copies).frames == 3


def test_pictures_of_an_ending_that_is_not_known_are_told_why_they_are_pictures(
    copies: Translator, tmp_path: Path
) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(1))
    for name, container in (("50%done.wmv", "auto"), ("%d.mp4", "images")):
        options = VideoOptions(encoding=Encoding(container=container))
        with pytest.raises(OutputError, match="or the container where a %d in the name is no numb"):
            translate_video(source, tmp_path / name, copies, options)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("[^b]*.png", {"1.png", "[.png", "].png"}),
        ("[^]b]*.png", {"1.png", "[.png"}),
        ("[[1]*.png", {"1.png", "[.png"}),
        ("\\[*.png", {"[.png"}),
    ],
)
def test_brackets_mean_what_they_do_to_ffmpeg(
    pattern: str, names: set[str], copies: Translator, tmp_path: Path
) -> None:
    for name in ("1.png", "b.png", "[.png", "].png"):
        Image.fromarray(smooth(1)[0]).save(tmp_path / name)
    assert {path.name for path in input_from(tmp_path / pattern).pictures} == names
    assert translate_video(tmp_path / pattern, tmp_path / "v.mkv", copies).frames == len(names)


@pytest.mark.parametrize("folder", ["100%", "a%02db", "a[b]", "a{b,c}", "a*b?", "a\\b", "a:b"])
def test_signs_in_the_name_of_a_folder_mean_nothing(
    folder: str, copies: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # before a colon, in a relative name, FFmpeg sees a protocol
    here, frames = Path(folder), smooth(2)
    here.mkdir()
    for number, frame in enumerate(frames, 3):
        Image.fromarray(frame).save(here / f"5%%_{number:03}_%.png")
    translate_path(here / "5%%_%03d_%.png", here / "new/out%02d.png", copies)
    for number, frame in enumerate(frames, 1):
        assert (np.asarray(Image.open(here / f"new/out{number:02}.png")) == frame).all()
    assert translate_path(here / "*.png", here / "v.mkv", copies).frames == 2  # type: ignore
    first = VideoOptions(part=Part(end=0.03))
    translate_path(here / "v.mkv", here / "first.png", copies, options=first)
    expected = {"first.png", "new", "v.mkv", "5%%_003_%.png", "5%%_004_%.png"}
    assert {path.name for path in here.iterdir()} == expected


@pytest.mark.parametrize("above", ["plain", "a[1]", "a{b,c}", "a\\b"])
@pytest.mark.parametrize("is_relative", [False, True])
def test_a_sign_for_any_text_may_be_in_the_name_of_a_folder(
    is_relative: bool,
    above: str,
    copies: Translator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also inside of one in whose name signs mean nothing."""
    for scene in ("scene1", "scene2"):
        (tmp_path / above / scene).mkdir(parents=True)
        Image.fromarray(smooth(1)[0]).save(tmp_path / above / scene / "a.png")
    monkeypatch.chdir(tmp_path / above)
    folder = Path() if is_relative else Path.cwd()
    stats = translate_path(folder / "scene*/a.png", tmp_path / "v.mkv", copies)
    assert stats.frames == 2  # type: ignore[union-attr]


def test_numbered_pictures_with_a_gap_are_not_whole(copies: Translator, tmp_path: Path) -> None:
    source, target = tmp_path / "%03d.png", tmp_path / "out.mkv"
    for number in (3, 4, 5, 7, 8):
        Image.fromarray(smooth(1)[0]).save(tmp_path / f"{number:03}.png")
    with pytest.raises(VideoError, match=r"picture 6 is missing, and those from 7 to 8 .* The 3"):
        translate_path(source, target, copies)
    begun = VideoOptions(part=Part(end=0.08))
    assert translate_path(source, target, copies, options=begun).frames == 2  # type: ignore
    later = VideoOptions(source_options={"start_number": "7"})
    assert translate_path(source, target, copies, options=later).frames == 2  # type: ignore


@pytest.mark.parametrize(
    ("pattern", "names", "strays"),
    [
        ("%03d.png", ["998", "999", "1000"], ["1", "12", "0997", "01003", "٩٩٧"]),
        ("%3d.png", ["007", "008"], ["6", "11", "0010"]),
        ("%d.png", ["0", "1"], ["03", "00"]),
    ],
)
def test_pictures_whose_number_has_another_width_are_not_of_the_pattern(
    pattern: str, names: list[str], strays: list[str], tmp_path: Path
) -> None:
    for name in (*names, *strays):
        Image.fromarray(smooth(1)[0]).save(tmp_path / f"{name}.png")
    source = input_from(tmp_path / pattern)
    assert sorted(path.stem for path in source.pictures) == sorted(names)
    assert source.gap is None
    with VideoReader(source) as reader:
        assert sum(isinstance(item, TimedFrame) for item in reader.items()) == len(names)
        assert not reader.problems


@pytest.mark.parametrize(("turned", "rotation"), [(None, 0), (6, -90), (8, 90)])
@pytest.mark.parametrize("suffix", [".tif", ".jpg"])
def test_pictures_with_exif_are_read_and_stay_turned(
    suffix: str, turned: int | None, rotation: int, copies: Translator, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    if turned is not None:
        exif[0x0112] = turned
    for number, frame in enumerate(smooth(3)):
        Image.fromarray(frame).save(tmp_path / f"{number}{suffix}", exif=exif)
    stats = translate_path(f"{tmp_path}/*{suffix}", tmp_path / "out.mp4", copies)
    assert stats.frames == 3  # type: ignore[union-attr]
    assert decoded(tmp_path / "out.mp4")[0].rotation == rotation


@pytest.mark.parametrize("pattern", ["*.jpg", "%d.jpg"])
def test_a_picture_that_is_turned_another_way_on_the_way_is_an_error(
    pattern: str, copies: Translator, tmp_path: Path
) -> None:
    """One video is turned one way; the others would lie on their side."""
    for number, turned in enumerate((6, 6, 1, 6)):
        exif = Image.Exif()
        exif[0x0112] = turned
        Image.fromarray(smooth(1)[0]).save(tmp_path / f"{number}.jpg", exif=exif)
    with pytest.raises(
        VideoError, match=r"picture 3 is turned another way .*their folder.* The 2 "
    ):
        translate_path(tmp_path / pattern, tmp_path / "out.mp4", copies)
    assert len(decoded(tmp_path / "out.partial.mp4")) == 2


class Dropping(BaseHTTPRequestHandler):
    """Serves one file, and hangs up in the middle of the first answer."""

    data = b""
    hung_up = False

    def do_GET(self) -> None:
        begin = int((self.headers["Range"] or "bytes=0-").split("=")[1].split("-")[0])
        self.send_response(206)
        self.send_header("Content-Length", str(len(self.data) - begin))
        self.send_header("Content-Range", f"bytes {begin}-{len(self.data) - 1}/{len(self.data)}")
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if not type(self).hung_up:
            type(self).hung_up = True
            self.wfile.write(self.data[begin : len(self.data) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.wfile.write(self.data[begin:])

    def log_message(self, *arguments: object) -> None:
        pass


def test_a_download_that_breaks_off_goes_on(clip: Clip, copies: Translator, tmp_path: Path) -> None:
    source = tmp_path / "clip.mkv"
    with av.open(str(clip("bikes"))) as a, av.open(str(source), "w") as b:
        stream = b.add_stream_from_template(a.streams.video[0])
        for packet in a.demux(video=0):
            if packet.dts is not None and packet.dts * packet.time_base < 2:
                packet.stream = stream
                b.mux(packet)
    Dropping.data, Dropping.hung_up = source.read_bytes(), False
    with ThreadingHTTPServer(("127.0.0.1", 0), Dropping) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = f"http://127.0.0.1:{server.server_port}/clip.mkv"
            options = VideoOptions(retry=QUICK, part=Part(size=(68, 160)))
            stats = translate_path(address, tmp_path / "out.mp4", copies, options=options)
        finally:
            server.shutdown()
            thread.join()
    assert Dropping.hung_up
    assert stats.frames == len(decoded(source)) > 40  # type: ignore[union-attr]


@pytest.mark.parametrize("hangs_up_early", [False, True])
def test_a_download_of_no_stated_length_ends_where_the_server_hangs_up(
    hangs_up_early: bool, copies: Translator, tmp_path: Path
) -> None:
    """What the file says of itself is still held against it."""
    source = write_video(tmp_path / "in.mkv", smooth(50))
    data = source.read_bytes()

    class Unmeasured(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if hangs_up_early else data)

    with ThreadingHTTPServer(("127.0.0.1", 0), Unmeasured) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/in.mkv"
        try:
            if hangs_up_early:
                with pytest.raises(VideoError, match=r"damaged: .* of 2\.00 seconds"):
                    translate_video(address, tmp_path / "out.mp4", copies)
            else:
                stats = translate_video(address, tmp_path / "out.mp4", copies)
                assert stats.frames == 50
                assert any("taken to be whole" in note for note in stats.notes)
        finally:
            server.shutdown()
            thread.join()


def test_a_server_that_says_nothing_is_named(copies: Translator, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/clip.mp4"
        options = VideoOptions(retry=Retry(silence_seconds=0.5))
        with pytest.raises(VideoError, match=r"clip.mp4 as a video: no answer in 0\.5 seconds"):
            translate_video(address, tmp_path / "out.mp4", copies, options)


@pytest.mark.parametrize(
    ("then", "told"),
    [
        ("waits", r"no answer in 0\.5 seconds"),
        (
            "hangs up",
            r"Invalid data .*, or the connection broke off before an \.mp4 gave its index",
        ),
    ],
)
def test_a_download_that_ends_before_its_index_is_not_only_called_invalid(
    then: str, told: str, copies: Translator, tmp_path: Path
) -> None:
    data = write_video(tmp_path / "in.mp4", smooth(20)).read_bytes()
    is_over = threading.Event()

    class Partial(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            if then == "waits":
                is_over.wait(10)

    with ThreadingHTTPServer(("127.0.0.1", 0), Partial) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/in.mp4"
        options = VideoOptions(retry=Retry(silence_seconds=0.5))
        try:
            with pytest.raises(VideoError, match=rf"as a video: {told}$"):
                translate_video(address, tmp_path / "out.mp4", copies, options)
        finally:
            is_over.set()
            server.shutdown()
            thread.join()


def test_an_address_that_takes_no_result_is_named(copies: Translator, tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(2), pix_fmt="yuv420p")
    for scheme in ("rtsp", "tcp"):
        address = f"{scheme}://127.0.0.1:{free_port()}"
        with pytest.raises(OutputError, match=rf"cannot write {address}\S*: Connection refused"):
            translate_video(source, address, copies)


@contextlib.contextmanager
def full_server() -> Iterator[socket.socket]:
    """A server that takes nobody any more, of which Linux says nothing."""
    with contextlib.ExitStack() as undo:
        server = undo.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            caller = undo.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(server.getsockname())
        yield server


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ignores who calls a full server")
@pytest.mark.parametrize("is_stopped", [True, False])
def test_an_address_that_does_not_answer_holds_no_run(
    is_stopped: bool, copies: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, stop = write_video(tmp_path / "in.mp4", smooth(2), pix_fmt="yuv420p"), threading.Event()
    kind: type[Exception] = OutputError
    said = r"cannot write tcp://\S*: no answer in 0\.3 seconds"
    with contextlib.ExitStack() as undo:
        server = undo.enter_context(full_server())
        ends = [threading.Timer(20, server.close)]  # what waits in spite of all must end
        if is_stopped:
            kind, said = StoppedEarlyError, r"stopped before tcp://\S* answered"
            ends.append(threading.Timer(0.2, stop.set))
        else:
            monkeypatch.setattr(sinks, "_SILENCE_SECONDS", 0.3)
        for end in ends:
            end.start()
            undo.callback(end.cancel)
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(kind, match=said):
            translate_video(source, address, copies, VideoOptions(live=True), stop=stop)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ignores who calls a full server")
@pytest.mark.parametrize("has_another", [True, False])
def test_a_host_of_several_addresses_has_no_more_time_to_answer(
    has_another: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full_server() as server, socket.create_server(("127.0.0.1", 0)) as another:
        places = [server.getsockname()] * 4 + [another.getsockname()] * has_another
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", place) for place in places]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        monkeypatch.setattr(sinks, "_SILENCE_SECONDS", 0.4)
        output, begin = output_to("tcp://four.example:9"), time.monotonic()
        if has_another:
            sinks.Sink(output, threading.Event()).close()
        else:
            with pytest.raises(TimeoutError, match=r"no answer in 0\.4 seconds"):
                sinks.Sink(output, threading.Event())
        assert time.monotonic() - begin < 1.2, "four times as long"


@pytest.fixture
def stream(tmp_path: Path) -> bytes:
    """Ten frames as a transport stream."""
    path = write_video(tmp_path / "ten.ts", smooth(10), [n * 100 for n in range(10)])
    data = path.read_bytes()
    path.unlink()
    return data


def serve(*answers: bytes) -> Iterator[int]:
    """A server that gives each caller the next of ``answers``, and then is gone."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            for data in answers:
                caller, _ = server.accept()
                with caller:
                    caller.sendall(data)
            server.close()

        thread = threading.Thread(target=run)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def test_a_stream_that_comes_back_goes_on_and_one_that_stays_away_is_an_error(
    stream: bytes, copies: Translator, tmp_path: Path
) -> None:
    for port in serve(stream, stream):
        options = VideoOptions(retry=QUICK)
        with pytest.raises(VideoError, match=r"did not come back in 3 attempts.*The 20 frames"):
            translate_path(f"tcp://127.0.0.1:{port}", tmp_path / "out.mkv", copies, options=options)
    seen = [float(t) for t in times(tmp_path / "out.partial.mkv")]
    assert len(seen) == 20
    assert seen[0] == 0
    steps = np.diff(seen)
    assert (steps > 0).all()
    assert np.allclose(np.delete(steps, 9), 0.1, atol=0.002)
    assert leftovers(tmp_path) == ["out.partial.mkv"]


@pytest.mark.parametrize("silence", [0, 0.4])
def test_the_time_that_a_stream_was_away_ends_with_its_first_new_picture(
    silence: float, stream: bytes, copies: Translator, tmp_path: Path
) -> None:
    """Not when it answers, nor when FFmpeg has looked at enough of it, as it does to open it."""
    whole = write_video(tmp_path / "in.ts", smooth(30), [n * 20 for n in range(30)])
    data = whole.read_bytes()
    with av.open(str(whole)) as container:
        begins = [packet.pos for packet in container.demux(video=0) if packet.size]
    sent = []

    def run(server: socket.socket) -> None:
        caller, _ = server.accept()
        with caller:
            caller.sendall(stream)
            sent.append(time.perf_counter())
        caller, _ = server.accept()
        with caller:
            time.sleep(silence)
            sent.append(time.perf_counter())
            for number, (begin, end) in enumerate(pairwise([0, *begins[1:], len(data)])):
                time.sleep(max(0, sent[1] + number * 0.02 - time.perf_counter()))
                caller.sendall(data[begin:end])
        server.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=run, args=(server,))
        thread.start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        options = VideoOptions(retry=replace(QUICK, attempts=1))
        with pytest.raises(VideoError, match="The 40 frames"):
            translate_video(address, tmp_path / "out.mkv", copies, options)
        thread.join()
    seen = [float(t) for t in times(tmp_path / "out.partial.mkv")]
    assert seen[10] - seen[9] == pytest.approx(sent[1] - sent[0], abs=0.2)
    assert np.allclose(np.diff(seen[10:]), 0.02, atol=0.002)


def test_a_stream_that_comes_back_in_another_size_ends_there(
    stream: bytes, copies: Translator, tmp_path: Path
) -> None:
    other = write_video(tmp_path / "other.ts", smooth(10, 80, 48), [n * 100 for n in range(10)])
    problem = r"came back with frames of 80x48, not 64x48.*The 10 frames"
    for port in serve(stream, other.read_bytes()):
        options = VideoOptions(retry=QUICK)
        with pytest.raises(VideoError, match=problem):
            translate_video(f"tcp://127.0.0.1:{port}", tmp_path / "out.mkv", copies, options)
    for port in serve(stream, other.read_bytes()):  # scaled to one size anyway
        options = VideoOptions(retry=QUICK, part=Part(size=(48, 64), end=1.55))
        stats = translate_video(f"tcp://127.0.0.1:{port}", tmp_path / "b.mkv", copies, options)
        assert stats.frames > 10


def test_latencies_are_told_in_milliseconds() -> None:
    assert latency_of([]) is None
    latency = latency_of([n / 1000 for n in (*range(50, 101), *range(50))])
    assert latency is not None
    assert (latency.p50, latency.p95) == (pytest.approx(50), pytest.approx(95))


def test_an_end_or_a_stop_finishes_a_stream_in_good_order(
    stream: bytes, copies: Translator, tmp_path: Path
) -> None:
    for port in serve(stream):
        options = VideoOptions(retry=QUICK, part=Part(end=0.55))
        stats = translate_video(f"tcp://127.0.0.1:{port}", tmp_path / "a.mp4", copies, options)
        assert stats.frames == 6
    stop = threading.Event()
    for port in serve(stream):
        stats = translate_video(
            f"tcp://127.0.0.1:{port}",
            tmp_path / "b.mp4",
            copies,
            VideoOptions(retry=QUICK),
            stop=stop,
            progress=lambda done, expected: stop.set() if done == 3 else None,
        )
    assert 3 <= stats.frames <= 10
    assert len(decoded(tmp_path / "b.mp4")) == stats.frames
    with pytest.raises(ConfigError, match="a start cannot be chosen"):
        translate_video(
            "tcp://127.0.0.1:1", tmp_path / "c.mp4", copies, VideoOptions(part=Part(start=1))
        )


def test_a_network_stream_is_read_as_it_comes(copies: Translator, tmp_path: Path) -> None:
    address = f"udp://127.0.0.1:{free_port()}"
    over = threading.Event()

    def send() -> None:
        # As a camera would: over and over, with a key frame in every second.
        while not over.is_set():
            try:
                with av.open(address, "w", format="mpegts") as sender:
                    out = sender.add_stream("libx264", rate=50, options={"tune": "zerolatency"})
                    out.width, out.height, out.pix_fmt = 64, 48, "yuv420p"
                    out.codec_context.gop_size = 10
                    for number in range(500):
                        frame = av.VideoFrame.from_ndarray(smooth(1)[0], format="rgb24")
                        frame.pts = number
                        sender.mux(out.encode(frame))
                        if over.wait(0.01):
                            break
            except (av.FFmpegError, OSError):
                over.wait(0.05)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        options = VideoOptions(part=Part(end=0.6), retry=Retry())
        stats = translate_video(address, tmp_path / "out.mp4", copies, options)
    finally:
        over.set()
        thread.join(20)
    assert not thread.is_alive()
    assert 10 < stats.frames <= 30
    shown = rgb(tmp_path / "out.mp4")[-1].astype(int)
    assert np.abs(shown - smooth(1)[0]).mean() < 8


def test_a_silent_network_stream_ends_with_an_error_and_its_frames(
    copies: Translator, tmp_path: Path
) -> None:
    port = free_port()
    address = f"udp://127.0.0.1:{port}"
    sent = threading.Event()
    packets = write_video(tmp_path / "in.ts", smooth(40), pix_fmt="yuv420p").read_bytes()

    def send() -> None:
        # Datagrams of seven packets, as senders of transport streams use; then silence.
        with socket.socket(type=socket.SOCK_DGRAM) as out:
            sent.wait(0.3)  # until the reader listens
            for at in range(0, len(packets), 1316):
                out.sendto(packets[at : at + 1316], ("127.0.0.1", port))
                sent.wait(0.005)

    thread = threading.Thread(target=send)
    thread.start()
    begun = time.monotonic()
    retry = Retry(attempts=1, first_seconds=0.05, silence_seconds=1)
    with pytest.raises(VideoError, match=r"went away .* did not come back in 1 attempts"):
        translate_video(address, tmp_path / "out.mkv", copies, VideoOptions(retry=retry))
    thread.join()
    assert time.monotonic() - begun < 8
    assert len(decoded(tmp_path / "out.partial.mkv")) > 10
    assert not (tmp_path / "out.mkv").exists()


def test_an_rtsp_camera_that_comes_back_goes_on(copies: Translator, tmp_path: Path) -> None:
    camera = Camera(callers=2, frames=15)
    retry = Retry(attempts=1, first_seconds=0.05, silence_seconds=5)
    with pytest.raises(VideoError, match=r"did not come back in 1 attempts.*The 30 frames"):
        translate_video(camera.url, tmp_path / "out.mkv", copies, VideoOptions(retry=retry))
    camera.thread.join(5)
    assert not camera.thread.is_alive()
    seen = [float(t) for t in times(tmp_path / "out.partial.mkv")]
    assert (np.diff(seen) > 0).all()
    shown = rgb(tmp_path / "out.partial.mkv")[-1].astype(int)
    assert np.abs(shown - smooth(1)[0]).mean() < 8


def test_a_download_that_stays_away_is_an_error(
    clip: Clip, copies: Translator, tmp_path: Path
) -> None:
    data = clip("carphone_pristine").read_bytes()
    asked: list[float] = []

    class Leaving(Dropping):
        def do_GET(self) -> None:
            asked.append(time.monotonic())
            if len(asked) > 1:
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            super().do_GET()

    Leaving.data, Leaving.hung_up = data, False
    with ThreadingHTTPServer(("127.0.0.1", 0), Leaving) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = f"http://127.0.0.1:{server.server_port}/clip.mp4"
            options = VideoOptions(retry=Retry(attempts=2, longest_seconds=2))
            with pytest.raises(VideoError, match=r"damaged|cannot read"):
                translate_video(address, tmp_path / "out.mkv", copies, options)
        finally:
            server.shutdown()
            thread.join()
    assert 3 <= len(asked) < 10, "it asked again, and then no more"
    assert np.diff(asked).max() > 0.5, "after growing pauses"


def test_live_drops_late_frames_and_keeps_the_times_of_the_others(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(40), [n * 20 for n in range(40)])
    with Translator(Slow(0.05), GraphInfo(config=ResnetConfig())) as translator:
        stats = translate_video(source, tmp_path / "out.mp4", translator, VideoOptions(live=True))
    assert stats.frames + stats.dropped == 40
    assert stats.dropped > 10
    assert stats.latency is not None
    assert stats.latency.p50 >= 50, "milliseconds that each takes"
    assert stats.latency.p95 < 600, "frames that wait are replaced, not queued"
    assert set(times(tmp_path / "out.mp4")) <= set(times(source))


def test_live_keeps_up_at_a_rate_that_the_engine_sustains(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(12), [n * 100 for n in range(12)])
    with Translator(Slow(0.02), GraphInfo(config=ResnetConfig())) as translator:
        begin = time.perf_counter()
        stats = translate_video(source, "/dev/null", translator, VideoOptions(live=True))
    assert time.perf_counter() - begin > 1.0, "a file is played at its own speed"
    assert (stats.frames, stats.dropped) == (12, 0)
    assert stats.latency is not None
    assert stats.latency.p95 < 250


def test_the_command_line_works_in_a_pipe(model: Path, clip: Clip, tmp_path: Path) -> None:
    """y4m in, y4m out, as FFmpeg would give and take it; nothing else on standard output."""
    frames = smooth(3, 32, 24)
    source = write_video(tmp_path / "in.mp4", frames, pix_fmt="yuv420p")
    with Translator(Copies(), GraphInfo(config=ResnetConfig())) as copies:
        translate_video(source, tmp_path / "in.y4m", copies)
    command = [sys.executable, "-m", "cyclegan.cli", "translate", "-", "-", "--model", str(model)]
    flags = ["--source-format", "y4m", "--container", "y4m", "--compare", "side"]
    with (tmp_path / "in.y4m").open("rb") as given:
        done = subprocess.run(
            [*command, *flags], stdin=given, capture_output=True, timeout=300, check=False
        )
    assert done.returncode == 0, done.stderr
    assert b"3 frames" in done.stderr
    (tmp_path / "out.y4m").write_bytes(done.stdout)
    seen = rgb(tmp_path / "out.y4m")
    assert seen.shape == (3, 24, 64, 3)
    assert np.abs(seen[:, :, :32].astype(int) - np.stack(frames)).mean() < 4
    assert np.abs(seen[:, :, :32].astype(int) - seen[:, :, 32:]).mean() > 8


def test_a_playlist_opens_files_and_no_addresses(copies: Translator, tmp_path: Path) -> None:
    """Or a file that somebody sends could ask the servers of our network."""
    asked = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    (tmp_path / "elsewhere").mkdir()
    part = write_video(tmp_path / "elsewhere" / "part.ts", smooth(6), pix_fmt="yuv420p")
    playlist = tmp_path / "list.m3u8"
    lines = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
    try:
        playlist.write_text(lines.format(f"http://127.0.0.1:{server.server_port}/part.ts"))
        with pytest.raises(VideoError, match=r"list\.m3u8"):
            translate_video(playlist, tmp_path / "out.mkv", copies)
        assert not asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    playlist.write_text(lines.format(part))
    assert translate_video(playlist, tmp_path / "out.mkv", copies).frames == 6
