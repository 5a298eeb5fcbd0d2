"""A camera, as far as that can be had without one: a library in the place of the kernel's driver.

FFmpeg's demuxer for Video4Linux2 runs as it is, in a process of its own; ``v4l2_camera.c`` answers
its system calls. Its memory is filled with rubbish when it is freed, and the camera says when it is
closed with buffers in use, so that nothing of a camera outlives it unseen.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from videos import decoded, leftovers, smooth, write_video

from cyclegan.engine.cameras import not_as_asked
from cyclegan.engine.endpoints import Input

pytestmark = [
    pytest.mark.xdist_group("camera"),  # one process, so that the library is built once
    pytest.mark.skipif(sys.platform != "linux", reason="Video4Linux2 is Linux's"),
]
CAMERA = "/dev/video42"
PERIOD = 30
"""Pictures after which the camera's ramp is where it was."""


@dataclass
class Run:
    """A process with the camera."""

    process: subprocess.Popen[str]
    out: Path

    def end(self) -> tuple[int, str]:
        """Its exit status, and all that it said."""
        try:
            said, _ = self.process.communicate(timeout=120)
        finally:
            self.process.kill()
        assert "in use" not in said
        assert "Traceback" not in said
        return self.process.returncode, said

    def wait_for_frames(self) -> None:
        """Until the first frame is on its way into the file, and some more."""
        deadline = time.monotonic() + 60
        while not any(self.out.parent.glob("*.mp4*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.4)


Start = Callable[..., Run]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("the camera's driver is C, and there is no cc or gcc")
    path = tmp_path_factory.mktemp("camera") / "camera.so"
    source = Path(__file__).with_name("v4l2_camera.c")
    flags = ["-O1", "-Wall", "-shared", "-fPIC", "-o", str(path), str(source), "-ldl", "-lpthread"]
    subprocess.run([compiler, *flags], check=True, timeout=120)
    return path


@pytest.fixture
def start(library: Path, tmp_path: Path) -> Start:
    """start(*flags, CAMERA_...=...) translates what the camera shows to out.mp4."""

    def begin(
        *flags: str,
        source: str | Path = CAMERA,
        seconds: float = 0.0,
        retry: dict[str, float] | None = None,
        more: Sequence[Sequence[str]] = (),
        **camera: str,
    ) -> Run:
        """``seconds`` are what each frame takes; ``more`` are the flags of further runs, to
        out1.mp4, out2.mp4, ...
        """
        how = json.dumps({"seconds": seconds, "retry": retry or {}})
        (tmp_path / "results").mkdir()
        out = tmp_path / "results" / "out.mp4"
        runs = ["translate", str(source), str(out), *flags]
        for number, again in enumerate(more, 1):
            runs += ["+", "translate", CAMERA, str(out.with_stem(f"out{number}")), *again]
        program = str(Path(__file__).with_name("camera_cli.py"))
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", program, how, *runs],
            env=os.environ | {"LD_PRELOAD": str(library), "MALLOC_PERTURB_": "165"} | camera,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return Run(process, out)

    return begin


def shown(number: int, width: int, height: int) -> np.ndarray:
    """The camera's picture with this number, in RGB."""
    y, x = np.mgrid[:height, :width].astype(float)
    place = (2 * x + 8 * number) % 240
    luma = 80 + np.minimum(place, 240 - place) - 16
    cb, cr = 112 + 32 * y // height - 128, 144 - 32 * (x - x % 2) // width - 128
    grey = 255 / 219 * luma
    red, blue = 255 / 224 * 1.402 * cr, 255 / 224 * 1.772 * cb
    green = -(0.299 * red + 0.114 * blue) / 0.587
    return np.stack([grey + red, grey + green, grey + blue], -1).clip(0, 255)


def pictures_of(path: Path, width: int = 64, height: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of all frames, and which of the camera's pictures they show, of 30.

    Fails where one of them is none of the camera's.
    """
    expected = np.stack([shown(n, width, height) for n in range(PERIOD)])
    seconds, numbers = [], []
    for frame in decoded(path):
        picture = frame.to_ndarray(format="rgb24")[:, :width].astype(float)
        assert picture.shape == (height, width, 3)
        apart = np.abs(expected - picture).mean((1, 2, 3))
        assert apart.min() < 3, "grey levels of 256"
        seconds.append(frame.time)
        numbers.append(int(apart.argmin()))
    return np.array(seconds), np.array(numbers)


def at_their_times(seconds: np.ndarray, numbers: np.ndarray, rate: float = 25) -> bool:
    """Whether pictures that were lost have left their time."""
    steps = np.diff(numbers) % PERIOD
    return bool(steps.min() > 0) and np.allclose(np.diff(seconds), steps / rate, atol=0.002)


def test_a_camera_is_translated_with_its_rate_size_and_times(start: Start) -> None:
    run = start("--end", "0.58")
    status, said = run.end()
    assert status == 0, said
    assert "decoded by rawvideo" in said
    seconds, numbers = pictures_of(run.out)
    assert len(seconds) == 15
    assert seconds[0] == 0
    assert at_their_times(seconds, numbers)
    with av.open(str(run.out)) as made:
        assert made.streams.video[0].average_rate == pytest.approx(25, rel=0.01)
        assert made.streams.video[0].format.name == "yuv422p", "as YUYV has it"


def test_a_camera_does_what_it_is_asked_for(start: Start, tmp_path: Path) -> None:
    (frame,) = smooth(1)
    av.VideoFrame.from_ndarray(frame, format="rgb24").save(tmp_path / "picture.jpg")
    camera = {"CAMERA_SIZES": "64x48,128x96", "CAMERA_RATES": "25,10"}
    wishes = ("video_size=128x96", "framerate=10", "input_format=nv12")
    flags = [flag for wish in wishes for flag in ("--source-option", wish)]
    jpeg = ("--source-option", "input_format=mjpeg", "--end", "0.38")
    camera["CAMERA_JPEG"] = str(tmp_path / "picture.jpg")
    run = start(*flags, "--end", "0.55", more=[jpeg], **camera)
    status, said = run.end()
    assert status == 0, said
    seconds, numbers = pictures_of(run.out, 128, 96)
    assert len(seconds) == 6
    assert at_their_times(seconds, numbers, 10)
    assert decoded(run.out)[0].format.name == "yuv420p"
    assert "decoded by mjpeg" in said
    second = decoded(run.out.with_name("out1.mp4"))
    made = [picture.to_ndarray(format="rgb24").astype(int) for picture in second]
    assert len(made) == 10
    assert max(np.abs(picture - frame).mean() for picture in made) < 5


def test_what_a_camera_does_not_have_is_an_error(start: Start) -> None:
    wishes = ("video_size=99x99", "framerate=7", "input_format=gray", "input_format=mjpeg")
    first, *more = [("--source-option", wish) for wish in wishes]
    run = start(*first, more=more)
    status, said = run.end()
    assert status == 1
    size, rate, form, unknown = re.findall("^error: .*$", said, re.MULTILINE)
    assert "has no frames of 99x99; the nearest are 64x48; v4l2-ctl -d /dev/video42" in size
    assert "does not give 7 frames/s, but 25" in rate
    assert "has no pictures in gray, but in yuyv422" in form
    assert "Invalid argument; it was asked for input_format=mjpeg, and v4l2-ctl" in unknown
    assert leftovers(run.out.parent) == []


@pytest.mark.parametrize(
    ("wishes", "problem"),
    [
        ({}, None),
        ({"video_size": "64x48", "framerate": "25", "input_format": "h264"}, None),
        ({"video_size": "vga", "framerate": "pal"}, None),  # FFmpeg's names
        ({"video_size": "48x64"}, "has no frames of 48x64; the nearest are 64x48"),
        ({"framerate": "24.9"}, None),
        ({"framerate": "0/0"}, None),
        ({"framerate": "24"}, "does not give 24 frames/s, but 25"),
        ({"framerate": "53/2"}, "does not give 26.5 frames/s, but 25"),
        ({"pixel_format": "yuv444p"}, None),
        ({"pixel_format": "nv12"}, "has no pictures in nv12, but in yuv444p"),
        ({"input_format": "mjpeg", "pixel_format": "yuv444p"}, "has no pictures in mjpeg"),
    ],
)
def test_what_a_driver_chose_in_place_of_a_wish_is_told(
    wishes: dict[str, str], problem: str | None, tmp_path: Path
) -> None:
    camera = Input(name=CAMERA, url=CAMERA, options=wishes, is_camera=True)
    with av.open(str(write_video(tmp_path / "a.mp4", smooth(5)))) as shows:
        told = not_as_asked(camera, shows.streams.video[0])
    if problem is None:
        assert told is None
    else:
        assert told is not None
        assert told.startswith(problem)
        assert told.endswith(f"; v4l2-ctl -d {CAMERA} --list-formats-ext lists what it has")


def test_a_camera_that_comes_back_goes_on_and_one_that_stays_away_is_an_error(start: Start) -> None:
    begun = time.monotonic()
    run = start(CAMERA_LIVES="10,10", CAMERA_AWAY="0.3")
    status, said = run.end()
    assert status == 1
    assert re.search(r"No such file .* did not come back in 2 attempts\. The 20 frames", said)
    assert leftovers(run.out.parent) == ["out.partial.mp4"]
    seconds, numbers = pictures_of(run.out.with_name("out.partial.mp4"))
    assert list(numbers) == [*range(10), *range(10)]
    assert at_their_times(seconds[:10], numbers[:10])
    assert at_their_times(seconds[10:], numbers[10:])
    assert 0.3 < seconds[10] - seconds[9] < time.monotonic() - begun, "the time that has passed"


def test_a_camera_that_falls_silent_is_opened_again_but_not_for_ever(start: Start) -> None:
    retry = {"attempts": 1, "silence_seconds": 0.8}
    run = start(retry=retry, CAMERA_LIVES="10", CAMERA_SILENT="1")
    status, said = run.end()
    assert status == 1
    assert "it gave no picture for 0.8 seconds" in said
    assert "did not come back in 1 attempts. The 10 frames" in said


def test_a_damaged_picture_is_left_out(start: Start) -> None:
    run = start("--end", "0.38", CAMERA_BROKEN="4")
    status, said = run.end()
    assert status == 0, said
    seconds, numbers = pictures_of(run.out)
    assert list(numbers) == [1, 2, 3, 5, 6, 7, 9, 10]
    assert at_their_times(seconds, numbers)


def test_late_frames_of_a_live_camera_are_dropped(start: Start) -> None:
    run = start("--live", "--end", "1.18", seconds=0.15)
    status, said = run.end()
    assert status == 0, said
    frames, dropped = (int(n) for n in re.findall(r"(\d+) (?:late )?frames(?:,| dropped)", said))
    latency = re.search(r"latency (\d+) ms \(p50\), (\d+) ms \(p95\)", said)
    assert latency is not None, said
    assert int(latency[2]) < 2250, "half of what all frames would take"
    assert dropped > 5
    assert frames + dropped <= 30
    seconds, numbers = pictures_of(run.out)
    assert len(seconds) == frames
    assert at_their_times(seconds, numbers)


def test_a_camera_under_another_name_is_one_too(start: Start, tmp_path: Path) -> None:
    """A link, as udev makes: opened again when it comes back, and ended in good order."""
    alias = tmp_path / "webcam"
    alias.symlink_to(CAMERA)
    run = start(source=alias, CAMERA_LIVES="20,1000")
    run.wait_for_frames()
    time.sleep(1.5)
    run.process.send_signal(signal.SIGINT)
    status, said = run.end()
    assert status == 0, said
    assert leftovers(run.out.parent) == ["out.mp4"]
    seconds, numbers = pictures_of(run.out)
    assert len(numbers) > 20
    assert max(np.diff(seconds)) > 0.15, "it was away"


@pytest.mark.parametrize(
    ("camera", "retry", "sent"),
    [
        ({}, {}, "SIGINT"),
        ({}, {}, "SIGTERM"),
        ({"CAMERA_LIVES": "5", "CAMERA_SILENT": "1"}, {"silence_seconds": 60}, "SIGINT"),
        ({"CAMERA_LIVES": "5"}, {"first_seconds": 60, "longest_seconds": 60}, "SIGINT"),
    ],
    ids=["that streams", "that streams, terminated", "that is silent", "that is away"],
)
def test_a_signal_ends_a_camera_in_good_order(
    start: Start, camera: dict[str, str], retry: dict[str, float], sent: str
) -> None:
    run = start(retry=retry, **camera)
    run.wait_for_frames()
    asked = time.monotonic()
    run.process.send_signal(signal.Signals[sent])
    status, said = run.end()
    assert status == 0, said
    assert time.monotonic() - asked < 30
    assert leftovers(run.out.parent) == ["out.mp4"]
    seconds, numbers = pictures_of(run.out)
    assert seconds[0] == 0
    assert list(numbers[:5]) == [*range(min(len(numbers), 5))]
    assert not camera or len(numbers) <= 5
