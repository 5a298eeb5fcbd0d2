import importlib
import multiprocessing.util
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from cyclegan.engine.options import VideoOptions
from cyclegan.resume import stopping
from cyclegan.signals import handling, leaving
from cyclegan.verbs.translating import stopping_at_interrupt

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uses signals of POSIX")

SWALLOWS = """
import signal
import time

try:
    signal.raise_signal(signal.{name})
except BaseException:  # as extension modules do
    pass
time.sleep(0.25)  # asked for again meanwhile
whole = True
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_end_comes_after_the_import_that_would_swallow_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "swallows.py").write_text(SWALLOWS.format(name=name))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "swallows", raising=False)
    number = signal.Signals[name]
    before = signal.getsignal(number), signal.getsignal(signal.SIGALRM)

    @leaving()
    def load() -> None:
        importlib.import_module("swallows")
        time.sleep(10)

    with pytest.raises((KeyboardInterrupt, SystemExit)) as ended:
        load()
    assert sys.modules["swallows"].whole
    assert getattr(ended.value, "code", 130) == 128 + number
    assert (signal.getsignal(number), signal.getsignal(signal.SIGALRM)) == before


@pytest.fixture
def asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module whose import sends SIGTERM to this process."""
    (tmp_path / "asks.py").write_text("import signal\nsignal.raise_signal(signal.SIGTERM)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "asks", raising=False)
    return "asks"


def test_an_end_that_is_asked_for_during_the_last_import_of_a_block_is_not_lost(asks: str) -> None:
    """The block may be over before there is another look."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)
    with pytest.raises(SystemExit) as ended, leaving():
        importlib.import_module(asks)
    assert ended.value.code == 143
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)) == before


def test_what_another_handler_sees_to_is_no_end_of_the_block(asks: str) -> None:
    """As that of a live run, which ends well where it is asked to stop."""
    heard: list[int] = []
    with leaving():
        importlib.import_module(asks)
        with handling([signal.SIGTERM], lambda number, frame: heard.append(number)):
            deadline = time.monotonic() + 5
            while not heard and time.monotonic() < deadline:
                time.sleep(0.01)
    assert heard == [signal.SIGTERM]


@pytest.mark.parametrize(
    "block", [leaving, stopping, lambda: stopping_at_interrupt("0", VideoOptions(live=True))]
)
def test_signals_that_we_were_started_to_ignore_stay_ignored(
    block: Callable[[], AbstractContextManager[object]],
) -> None:
    """As Ctrl-C is by what a shell without job control runs in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with block():
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_IGN, signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGINT, before)


class Thing:
    pass


class Ends:
    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act

    def __del__(self) -> None:
        self._act()


@pytest.mark.parametrize(
    "ends",
    [
        Ends,
        lambda act: multiprocessing.util.Finalize(Thing(), act),
        lambda act: weakref.finalize(Thing(), act),
    ],
    ids=["__del__", "Finalize", "finalize"],
)
@pytest.mark.parametrize(("block", "times"), [(leaving, 1), (stopping, 2)])
def test_an_end_comes_after_that_of_an_object_which_would_swallow_it(
    block: Callable[[], AbstractContextManager[object]],
    times: int,
    ends: Callable[[Callable[[], None]], object],
) -> None:
    """As that of PyTorch's loader does, which waits for its processes."""
    whole: list[bool] = []

    def ask() -> None:
        for _ in range(times):
            signal.raise_signal(signal.SIGTERM)
        time.sleep(0.12)  # asked for again meanwhile
        whole.append(True)

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)

    def end() -> None:
        with block():
            ends(ask)
            time.sleep(2)

    with pytest.raises(SystemExit) as ended:
        end()
    assert whole
    assert ended.value.code == 143
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)) == before


def test_an_error_that_a_library_makes_of_the_end_is_the_end() -> None:
    @leaving()
    def fail() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except SystemExit as error:
            raise RuntimeError("a step of the export failed") from error

    with pytest.raises(SystemExit) as ended:
        fail()
    assert ended.value.code == 143


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="another"), leaving():
        raise RuntimeError("another")


def test_an_end_comes_after_the_error_of_a_library_that_would_swallow_it() -> None:
    """As PyAV's errors do, while they are made: here by a program that makes nothing else."""
    import av
    import filelock  # noqa: F401 (from Python 3.12 on it listens to what is made)

    def opens() -> bool:
        context = av.CodecContext.create("h264_nvenc", "w")
        context.width, context.height, context.pix_fmt = 640, 480, "yuv420p"
        try:
            context.open()
        except av.FFmpegError:
            return False
        return True

    if "h264_nvenc" not in av.codec.codecs_available or opens():
        pytest.skip("NVENC is missing, or opens: no error is made")

    @leaving()
    def fail() -> None:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            opens()

    for _ in range(15):
        threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(SystemExit) as ended:
            fail()
        assert ended.value.code == 143
