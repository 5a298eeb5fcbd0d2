"""A final name shows the old file or the new one, never half of one."""

import os
import stat
import sys
from pathlib import Path

import pytest

from cyclegan.errors import OutputError
from cyclegan.files import cache_folder, check_writable, replacing


def test_the_new_file_takes_the_name(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    for text in ("old", "new"):
        with replacing(path) as temporary:
            assert temporary.parent == path.parent
            assert temporary.suffix == ".txt"
            temporary.write_text(text)
            assert not path.exists() or path.read_text() == "old"
            written = temporary.stat().st_ino
    assert path.read_text() == "new"
    assert path.stat().st_ino == written  # renamed, not copied
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(sys.platform != "linux", reason="where homes are is the system's")
def test_a_user_without_a_home_is_told_to_name_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    def nobody(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "XDG_CACHE_HOME", "CYCLEGAN_CACHE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(OutputError, match="no home for a cache; set CYCLEGAN_CACHE to a folder"):
        cache_folder()


@pytest.mark.parametrize("name", ["x" * 251 + ".txt", "\u00e4" * 125 + ".txt"])
def test_a_name_may_be_as_long_as_the_system_lets_it(name: str, tmp_path: Path) -> None:
    with replacing(tmp_path / name) as temporary:
        temporary.write_text("new")
    assert (tmp_path / name).read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise failure

    with pytest.raises(failure):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_the_system_refuses_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    with (
        pytest.raises(OutputError, match=r"cannot write .*folder\.txt"),
        replacing(tmp_path / "folder.txt") as temporary,
    ):
        temporary.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.txt"]


def test_a_place_is_tried_without_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    check_writable(path)
    assert not list(tmp_path.iterdir())
    path.write_text("old")
    check_writable(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match=r"cannot write .*deep\.txt: Not a directory"):
        check_writable(path / "deep" / "deep.txt")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes with names are POSIX's")
def test_a_pipe_is_no_file_to_replace(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "link.txt").symlink_to("pipe.txt")
    for name in ("pipe.txt", "link.txt"):
        with (
            pytest.raises(OutputError, match=rf"cannot write .*{name}: it is no regular file"),
            replacing(tmp_path / name) as temporary,
        ):
            temporary.write_text("new")
    assert (tmp_path / "pipe.txt").is_fifo()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("before", ["old", None])
def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path, before: str | None) -> None:
    link, file = tmp_path / "here" / "link.txt", tmp_path / "there" / "file.txt"
    for folder in (link.parent, file.parent):
        folder.mkdir()
    link.symlink_to("../there/file.txt")
    if before is not None:
        file.write_text(before)
    with replacing(link) as temporary:
        assert temporary.parent == file.parent  # where renaming crosses no border of disks
        temporary.write_text("new")
    assert link.is_symlink()
    assert file.read_text() == link.read_text() == "new"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX's")
@pytest.mark.parametrize("mode", [0o600, 0o664, 0o440])
def test_who_may_read_a_result_may_read_the_next(tmp_path: Path, mode: int) -> None:
    """A private result was there for all to read once it was made again."""
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(mode)
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert stat.S_IMODE(temporary.stat().st_mode) == mode | 0o600
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_text() == "new"


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("theirs")
    with replacing(tmp_path / "a.txt") as temporary:
        name = temporary.name
    (tmp_path / name).symlink_to(other)
    with replacing(tmp_path / "a.txt") as temporary:
        assert temporary.name == name
        temporary.write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert other.read_text() == "theirs"
