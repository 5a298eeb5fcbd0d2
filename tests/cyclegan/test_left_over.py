"""What a killed process leaves under a temporary name goes later; what is being written stays."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from cyclegan.files import check_writable, replacing
from cyclegan.left_over import DAY, remove_left_over

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def _write_for_ever(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(b"half")
        time.sleep(600)


@pytest.fixture
def writer() -> Iterator[Callable[[Path], BaseProcess]]:
    """Starts a process that writes a file, and waits until half of it is there."""
    started = []

    def start(path: Path) -> BaseProcess:
        process = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(path,))
        process.start()
        started.append(process)
        while not any(half.stat().st_size for half in path.parent.glob(f".{path.stem}.*")):
            assert process.is_alive()
            time.sleep(0.01)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def _grow_old(file: Path) -> None:
    long_ago = time.time() - DAY - 60
    os.utime(file, (long_ago, long_ago))


def _next_process(path: Path) -> None:
    remove_left_over.cache_clear()
    check_writable(path)


def test_the_half_of_a_killed_process_goes_after_a_day(
    tmp_path: Path, writer: Callable[[Path], BaseProcess]
) -> None:
    process = writer(tmp_path / "clip.mp4")
    (half,) = tmp_path.iterdir()
    _grow_old(half)
    _next_process(tmp_path / "other.png")
    assert half.read_bytes() == b"half", "its process lives"
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    half.touch()
    _next_process(tmp_path / "other.png")
    assert half.exists(), "its process may be another machine's"
    _grow_old(half)
    _next_process(tmp_path / "other.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", [".clip.12-34.mp4", "clip.cyclegan-12-34.mp4", ".clip.cyclegan-12-34.mp4.bak", ".x"]
)
def test_files_of_others_stay(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"theirs")
    _grow_old(tmp_path / name)
    _next_process(tmp_path / "clip.mp4")
    assert (tmp_path / name).read_bytes() == b"theirs"


def test_links_and_folders_of_such_names_stay(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    (folder / ".a.cyclegan-1-2.mp4").mkdir(parents=True)
    other = tmp_path / "other.mp4"
    other.write_bytes(b"theirs")
    (folder / ".b.cyclegan-1-2.mp4").symlink_to(other)
    _grow_old(other)
    _grow_old(folder / ".a.cyclegan-1-2.mp4")
    _next_process(folder / "c.mp4")
    assert len(list(folder.iterdir())) == 2
    assert other.read_bytes() == b"theirs"


def test_a_folder_is_looked_through_once_a_process(tmp_path: Path) -> None:
    remove_left_over.cache_clear()
    for name in ("a.png", "b.png", "c.png"):
        with replacing(tmp_path / name) as temporary:
            temporary.write_bytes(b"new")
    assert remove_left_over.cache_info().misses == 1
