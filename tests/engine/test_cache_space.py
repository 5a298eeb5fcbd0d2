import logging
import os
import time
from pathlib import Path

import pytest
from filelock import FileLock

from cyclegan.engine.cache import cached, find
from cyclegan.engine.cache_space import IN_USE_SECONDS, entries, limit_bytes
from cyclegan.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, with room for three entries of 1,000 bytes and their notes."""
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CYCLEGAN_CACHE_GB", "0.0000045")
    return tmp_path / "cache"


def build(number: int, size: int = 1000) -> Path:
    """The entry of that number, made to look as if it was used ``number`` seconds after 1970."""
    path = cached("a.bin", {"number": number}, lambda path: path.write_bytes(bytes(size)))
    _age(path, number)
    return path


def _age(path: Path, seconds: int) -> None:
    for file in (path, path.with_name("a.bin.json")):
        os.utime(file, (seconds, seconds))


def kept(folder: Path) -> set[int]:
    return {number for number in range(9) if find("a.bin", {"number": number})}


def test_the_least_recently_used_go_first(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        build(number)
    assert kept(folder) == {0, 1, 2}
    cached("a.bin", {"number": 0}, lambda path: None)  # used again: now it is the youngest
    with caplog.at_level(logging.INFO):
        build(3)
    assert kept(folder) == {0, 2, 3}
    assert "to stay below 4500 bytes" in caplog.text


def test_what_was_just_built_stays_whatever_its_size(folder: Path) -> None:
    build(0)
    large = build(1, size=10_000)
    assert kept(folder) == {1}
    assert large.stat().st_size == 10_000


def test_what_was_used_within_the_last_minutes_stays(folder: Path) -> None:
    """Another process may be reading it."""
    for number in range(3):
        build(number)
    now = int(time.time())
    for number, seconds in enumerate((IN_USE_SECONDS + 60, 60, 0)):
        path = find("a.bin", {"number": number})
        assert path is not None
        _age(path, now - int(seconds))
    build(3, size=10_000)
    assert kept(folder) == {1, 2, 3}


def test_what_a_clock_that_was_ahead_has_dated_goes_first(folder: Path) -> None:
    for number in (1, 2):
        build(number)
    _age(build(3), int(time.time() + 365 * 86400))
    build(4)
    assert kept(folder) == {1, 2, 4}


def test_nothing_that_the_cache_did_not_write_goes(folder: Path) -> None:
    strange = folder / "ab" / ("ab" + "0" * 62)
    mine = [folder / "my.plan", folder / "ab/my.plan", strange / "my.plan"]
    # Plans have notes wherever they stand.
    for home in (folder / "ab" / "abroad", folder / "ab" / ("cd" + "0" * 62)):
        mine += [home / "my.plan", home / "my.plan.json"]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(50_000))
    for number in range(5):
        build(number)
    assert all(path.exists() for path in mine)
    assert 4 in kept(folder)


def test_an_entry_that_is_in_use_stays(folder: Path) -> None:
    first = build(0)
    with FileLock(first.parent / "lock"):
        for number in range(1, 5):
            build(number)
        assert kept(folder) == {0, 3, 4}, "others went in its place"
    build(5)
    assert 0 not in kept(folder)


def test_a_note_goes_before_its_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in between, there is a file without a note, which is never used."""
    for number in range(3):
        build(number)
    unlink = Path.unlink

    def stop_at_files(path: Path, missing_ok: bool = False) -> None:
        if path.name == "a.bin":
            raise OSError("stopped")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", stop_at_files)
    build(3)
    assert 0 not in kept(folder)


def test_entries_say_what_they_take(folder: Path) -> None:
    build(7)
    (entry,) = entries(folder)
    assert entry.used == 7
    assert entry.size == sum(file.stat().st_size for file in entry.files) > 1000


@pytest.mark.parametrize("text", ["much", "-1", "0", "nan", "inf"])
def test_limits_that_are_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CYCLEGAN_CACHE_GB", text)
    with pytest.raises(ConfigError, match="such as 20"):
        limit_bytes()
    monkeypatch.delenv("CYCLEGAN_CACHE_GB")
    assert limit_bytes() == 20e9
