"""Writing a file so that its final name never shows half of it."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from cyclegan.errors import OutputError


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yields a temporary name beside ``path``, which takes that name when the block ends well.

    Missing folders are made. When the block raises, or the process is interrupted, the temporary
    file is removed and what stood at ``path`` before stays. The temporary name keeps the suffix,
    by which writers choose their format. Raises OutputError where the system refuses to write.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # some writers allow the owner alone
        temporary.replace(path)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Have ``write`` fill the temporary name of ``replacing(path)``."""
    with replacing(path) as temporary:
        write(temporary)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
