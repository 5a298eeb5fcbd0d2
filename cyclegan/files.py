"""Writing a file so that its final name never shows half of it, and where caches are."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from cyclegan.errors import OutputError

CACHE_VARIABLE = "CYCLEGAN_CACHE"


def cache_folder() -> Path:
    """The folder: ``$CYCLEGAN_CACHE`` if set, else the user's cache folder of this system."""
    if folder := os.environ.get(CACHE_VARIABLE):
        return Path(folder)
    import platformdirs

    return Path(platformdirs.user_cache_dir("cyclegan-engine", appauthor=False))


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yields a temporary name beside ``path``, which takes that name when the block ends well.

    Missing folders are made. When the block raises, or the process is interrupted, the temporary
    file is removed and what stood at ``path`` before stays. The temporary name keeps the suffix,
    by which writers choose their format. Raises OutputError where the system refuses to write.
    """
    path = Path(path)
    owner = f"{os.getpid()}-{threading.get_ident()}"
    temporary = path.with_name(f".{path.stem}.{owner}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # what the umask allows, though some writers allow the owner alone
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
