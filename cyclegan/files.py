"""Writing files so that their names never show half of what is written, and where caches are."""

import contextlib
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from cyclegan.errors import OutputError, reason_of
from cyclegan.left_over import MARK, remove_left_over

CACHE_VARIABLE = "CYCLEGAN_CACHE"
LONGEST_NAME = 255
"""Bytes, on all common file systems."""
ANY_TEXT = "surrogateescape"
"""How Python keeps bytes that are no UTF-8 in a text, as names of files and old titles may be."""
_OWNER = stat.S_IRUSR | stat.S_IWUSR


def cache_folder() -> Path:
    """The folder: ``$CYCLEGAN_CACHE`` if set, else the user's cache folder of this system.

    Raises OutputError for a user without a home, as containers have them.
    """
    if folder := os.environ.get(CACHE_VARIABLE):
        return Path(folder)
    import platformdirs

    try:
        place = Path(platformdirs.user_cache_dir("cyclegan-engine", appauthor=False))
    except RuntimeError:
        place = Path("~")
    if not place.is_absolute():  # older platformdirs name a folder called ~ of wherever we are
        raise OutputError(f"this user has no home for a cache; set {CACHE_VARIABLE} to a folder")
    return place


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yields a temporary name beside ``path``, which takes that name when the block ends well.

    Missing folders are made. When the block raises, or the process is interrupted, the temporary
    file is removed and what stood at ``path`` before stays; where it was killed, processes that
    write to the folder a day later remove the file. The temporary name keeps the suffix, by which
    writers choose their format. A symbolic link stays, and the file that it leads to is
    replaced; the new one has its mode, and where there was none, what the umask allows. Raises
    OutputError where the system refuses to write, and for a folder, a pipe or a device.
    """
    path = Path(path)
    _check_file(path)
    path = behind_link(path)
    end = f".{MARK}-{os.getpid()}-{threading.get_ident()}{path.suffix}"
    temporary = path.with_name(fitting(f".{path.stem}", end))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_left_over(path.parent.absolute())
        temporary.unlink(missing_ok=True)
        temporary.touch(exist_ok=False)  # no link that somebody else has put there is followed
        old = _mode_of(path)
        mode = stat.S_IMODE(temporary.stat().st_mode) if old is None else old
        temporary.chmod(mode | _OWNER)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)  # some writers allow the owner alone
        temporary.replace(path)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot write {path}: {reason_of(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_whole(path: Path | str, content: str | bytes) -> None:
    """Replace the file at ``path`` by one of this content, a text in UTF-8. Raises OutputError."""
    content = content.encode() if isinstance(content, str) else content
    with replacing(path) as temporary:
        temporary.write_bytes(content)


class _TriedError(Exception):
    """Ends a file that was begun only to see that it could be."""


def check_writable(path: Path | str) -> None:
    """Raises OutputError where :func:`replacing` could not begin, to be told before long work.

    Missing folders are made, and what stands at ``path`` stays.
    """
    with contextlib.suppress(_TriedError), replacing(path):
        raise _TriedError


def append(path: Path, content: bytes) -> None:
    """Add ``content`` to the end of a file: all of it, or nothing, where there was none no file.

    Missing folders are made. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    size = path.stat().st_size if path.exists() else None
    try:
        with path.open("ab") as file:
            file.write(content)
    except OSError:
        with contextlib.suppress(OSError):
            if size is None:
                path.unlink()
            else:
                os.truncate(path, size)
        raise


def _mode_of(path: Path) -> int | None:
    """Who may read, write and execute what is there; None if nothing is."""
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        return None


def fitting(stem: str, end: str) -> str:
    """``stem`` and ``end`` as one name; the stem is cut short where that name would be too long."""
    room = max(LONGEST_NAME - len(os.fsencode(end)), 0)
    whole = os.fsencode(stem)
    return (stem if len(whole) <= room else whole[:room].decode(errors="ignore")) + end


def name_for_ffmpeg(path: str) -> str:
    """The path of a file as FFmpeg takes it, which reads what precedes a colon as a protocol."""
    return f"file:{path}" if ":" in path else path


def behind_link(path: Path) -> Path:
    """Where ``path`` leads, if it is a symbolic link; else ``path`` as it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _check_file(path: Path) -> None:
    """Raises OutputError for what is there and no file: a new one must not take its place."""
    try:
        mode = path.stat().st_mode
    except OSError:  # nothing there, or what writing will tell
        return
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "no regular file, but a pipe or a device"
        raise OutputError(f"cannot write {path}: it is {what}; give the name of a file")
