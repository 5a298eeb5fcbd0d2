import errno
import json
import logging
import multiprocessing
import os
import signal
from pathlib import Path

import filelock
import pytest

from cyclegan.engine.cache import cached, find, read_note, sidecar, why_build
from cyclegan.errors import ConfigError, ModelError, OutputError
from cyclegan.files import cache_folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Builder:
    """Counts how often it builds."""

    def __init__(self, content: bytes = b"engine") -> None:
        self.calls = 0
        self.content = content

    def __call__(self, path: Path) -> None:
        self.calls += 1
        path.write_bytes(self.content)


def test_an_entry_is_built_once_for_each_key(folder: Path) -> None:
    build = Builder()
    first = cached("a.bin", {"version": 1}, build)
    assert first.read_bytes() == b"engine"
    assert cached("a.bin", {"version": 1}, build) == first
    assert build.calls == 1
    assert cached("a.bin", {"version": 2}, build) != first
    assert cached("b.bin", {"version": 1}, build) != first
    assert build.calls == 3
    assert first.is_relative_to(folder)
    one = cached("a.bin", {"version": 1, "size": 2}, build)
    assert cached("a.bin", {"size": 2, "version": 1}, build) == one, "a key has no order"


@pytest.mark.parametrize("damage", ["content", "note", "key", "no note"])
def test_a_damaged_entry_is_reported_and_built_again(
    folder: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    build = Builder()
    path = cached("a.bin", {"version": 1}, build)
    note = path.with_name("a.bin.json")
    if damage == "content":
        path.write_bytes(b"engin?")
    elif damage == "note":
        note.write_text("{")
    elif damage == "key":
        values = json.loads(note.read_text())
        values["key"]["version"] = 2
        note.write_text(json.dumps(values))
    else:
        note.unlink()
    with caplog.at_level(logging.WARNING):
        assert cached("a.bin", {"version": 1}, build).read_bytes() == b"engine"
    assert build.calls == 2
    assert ("is damaged" in caplog.text) == (damage != "no note")


@pytest.mark.parametrize(
    "note",
    [
        '{"key": 3, "sha256": ""}',
        '{"key": {}, "sha256": 3}',
        '{"key": {}, "sha256": "", "facts": []}',
        "[1]",
        pytest.param("[" * 100_000, id="deep"),
    ],
)
def test_a_damaged_note_does_not_keep_others_from_being_built(folder: Path, note: str) -> None:
    path = cached("a.bin", {"version": 1}, Builder())
    sidecar(path).write_text(note)
    with pytest.raises(ValueError, match="no note on a file"):
        read_note(path)
    assert cached("a.bin", {"version": 2}, Builder()).read_bytes() == b"engine"
    sidecar(path).write_text(note)
    assert cached("a.bin", {"version": 1}, Builder(b"again")).read_bytes() == b"again"


def test_what_is_in_a_cache_that_can_only_be_read_is_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container's image."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    def unknown(*args: object, **kwargs: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    build = Builder()
    path = cached("a.bin", {"version": 1}, build)
    with monkeypatch.context() as patch:
        patch.setattr(os, "utime", refuse)  # someone else's file in a folder for all
        assert cached("a.bin", {"version": 1}, build) == path
    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    assert cached("a.bin", {"version": 1}, build) == path
    with pytest.raises(OutputError, match=r"Permission denied; set CYCLEGAN_CACHE"):
        cached("a.bin", {"version": 2}, build)
    monkeypatch.setattr(filelock.FileLock, "acquire", unknown)  # older ones, where there is none
    assert cached("a.bin", {"version": 1}, build) == path
    with pytest.raises(OutputError, match=r"not appear to support flock; set CYCLEGAN_CACHE"):
        cached("a.bin", {"version": 2}, build)
    assert build.calls == 1


def test_a_limit_that_is_none_is_refused_before_the_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CYCLEGAN_CACHE_GB", "much")
    build = Builder()
    with pytest.raises(ConfigError, match="CYCLEGAN_CACHE_GB='much'"):
        cached("a.bin", {}, build)
    assert build.calls == 0


def test_a_build_that_fails_leaves_no_entry(folder: Path) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise ValueError("out of memory")

    with pytest.raises(ValueError, match="out of memory") as failed:
        cached("a.bin", {}, fail)
    assert failed.tb, "what holds all that the call held"
    (lock,) = folder.rglob("lock")
    filelock.FileLock(lock).acquire(timeout=0).lock.release()
    assert [p.name for p in folder.rglob("*") if p.is_file() and p.name != "lock"] == []
    build = Builder()
    assert cached("a.bin", {}, build).read_bytes() == b"engine"


def test_a_file_to_build_from_that_is_gone_is_not_blamed_on_the_entry(
    folder: Path, tmp_path: Path
) -> None:
    def convert(path: Path) -> None:
        path.write_bytes((tmp_path / "gone.onnx").read_bytes())

    with pytest.raises(ModelError, match=r"gone\.onnx is gone, from which a\.bin is made: open"):
        cached("a.bin", {}, convert)
    with pytest.raises(OutputError, match=r"cannot write .*a\.bin: No such file"):
        cached("a.bin", {}, lambda path: path.rename(tmp_path / "elsewhere"))
    with pytest.raises(OutputError, match=r"cannot write .*a\.bin: No such file"):
        cached("a.bin", {}, lambda path: (path.unlink(), path.read_bytes()))


def _build_and_die(folder: Path) -> None:
    def build(path: Path) -> None:
        path.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    cached("a[1].bin", {}, build)


@pytest.mark.skipif(os.name != "posix", reason="uses signals of POSIX")
def test_the_half_of_a_build_that_was_killed_goes_with_the_next_one(folder: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_build_and_die, args=(folder,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (half,) = folder.rglob(".a*")
    assert half.read_bytes() == b"half"
    path = cached("a[1].bin", {}, Builder())
    assert {other.name for other in path.parent.iterdir()} == {
        path.name,
        sidecar(path).name,
        "lock",
    }


def _build_slowly(log: Path) -> None:
    import time

    def build(path: Path) -> None:
        with log.open("a") as file:
            file.write("built\n")
        time.sleep(0.3)
        path.write_bytes(b"engine")

    assert cached("a.bin", {}, build).read_bytes() == b"engine"


def test_processes_that_want_one_entry_build_it_once(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    processes = [context.Process(target=_build_slowly, args=(log,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert log.read_text() == "built\n"


def test_who_waits_for_anothers_build_is_asked_again_and_again_and_may_end_it(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = cached("a.bin", {}, Builder())
    lock = filelock.FileLock(path.parent / "lock")
    turns: list[int] = []

    def enough() -> None:
        turns.append(len(turns))
        if len(turns) == 2:
            raise BrokenPipeError("enough")

    with caplog.at_level(logging.INFO):
        with lock, pytest.raises(BrokenPipeError, match="enough"):
            cached("a.bin", {}, Builder(), enough)
        assert caplog.text.count("another process is building it; waiting") == 1
        lock.acquire()
        assert cached("a.bin", {}, Builder(), lock.release) == path


def test_where_it_lives(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == folder
    monkeypatch.delenv("CYCLEGAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "cyclegan-engine" in cache_folder().parts


def test_a_cache_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="CYCLEGAN_CACHE"):
        cached("a.bin", {}, Builder())


def test_the_reason_to_build_names_what_differs(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = {"onnx": "1" * 64, "driver": "550", "gpu": "G", "version": 1, "level": 3}
    assert why_build("a.bin", key) == "there is none yet"
    cached("a.bin", key, Builder())
    newer = {**key, "driver": "560"}
    assert why_build("a.bin", newer) == "the nearest differs in driver (550, now 560)"
    with caplog.at_level(logging.INFO):
        cached("a.bin", newer, Builder())
    assert "building a.bin: the nearest differs in driver" in caplog.text
    other = {**newer, "onnx": "2" * 64, "level": None}
    assert why_build("a.bin", other) == (
        "the nearest differs in level (3, now None), onnx (111111111111..., now 222222222222...)"
    )
    assert why_build("a.bin", {"onnx": "3", "driver": "1", "gpu": "H"}) == "there is none yet"
    assert why_build("b.bin", key) == "there is none yet"
    find("a.bin", key).unlink()  # type: ignore[union-attr]
    assert why_build("a.bin", key) == "its file is damaged or gone"


def test_what_a_builder_says_is_kept_in_the_note(folder: Path) -> None:
    def build(path: Path) -> dict[str, object]:
        path.write_bytes(b"engine")
        return {"psnr_db": 51.5, "layers": {"convolution HALF": 3}}

    path = cached("a.bin", {"version": 1}, build)
    note = read_note(path)
    assert note.facts == {"psnr_db": 51.5, "layers": {"convolution HALF": 3}}
    assert note.key["version"] == 1
    assert read_note(cached("b.bin", {}, Builder())).facts == {}
    sidecar(path).write_text('{"other": 1}')
    with pytest.raises(ValueError, match="no note"):
        read_note(path)
