"""Where exported graphs and compiled engines live, and when one may be used again.

An entry is one file and a note beside it (JSON): the whole key that it was built for, and the
SHA-256 of the file. It is used again only if both agree. The name of an entry is the SHA-256 of its
key, and a key must name everything that shapes the result: content digests, versions, settings.
Entries are written whole, under a file lock, so that processes can share the folder. A compiled
engine is code: share the folder only with those who may run code as you.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from cyclegan.errors import OutputError
from cyclegan.files import replacing

LAYOUT_VERSION = 1
ENVIRONMENT_VARIABLE = "CYCLEGAN_CACHE"
Key = Mapping[str, str | int | float | None]
_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """The folder: ``$CYCLEGAN_CACHE`` if set, else the user's cache folder of this system."""
    if folder := os.environ.get(ENVIRONMENT_VARIABLE):
        return Path(folder)
    import platformdirs

    return Path(platformdirs.user_cache_dir("cyclegan-engine", appauthor=False))


def cached(name: str, key: Key, build: Callable[[Path], object]) -> Path:
    """The file that ``build(path)`` writes for ``key``, from the cache if it is there.

    ``name`` is the file's name, as in ``model.onnx``. A file that is damaged or was built for
    something else is reported in the log and built again. Raises OutputError when the cache cannot
    be written, and what ``build`` raises.
    """
    from filelock import FileLock

    path, note = _entry(name, key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.parent / "lock")
        lock.acquire()
    except OSError as error:
        raise OutputError(
            f"cannot write the cache {cache_folder()}: {error.strerror or error}; "
            f"set {ENVIRONMENT_VARIABLE} to a folder that can be written"
        ) from error
    try:
        if not _usable(path, note):
            _build(path, note, build)
        return path
    finally:
        lock.release()


def find(name: str, key: Key) -> Path | None:
    """The file that is in the cache for ``key``, or None; nothing is built or written."""
    path, note = _entry(name, key)
    return path if _usable(path, note) else None


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entry(name: str, key: Key) -> tuple[Path, dict[str, object]]:
    """Where the file for ``key`` stands, and the note on what it was built for."""
    note: dict[str, object] = {"layout": LAYOUT_VERSION, "name": name, **key}
    digest = hashlib.sha256(json.dumps(note, sort_keys=True).encode()).hexdigest()
    return cache_folder() / digest[:2] / digest / name, note


def _build(path: Path, note: Mapping[str, object], build: Callable[[Path], object]) -> None:
    # Without its note a file is not used, so a stop between the two writes does no harm.
    _sidecar(path).unlink(missing_ok=True)
    with replacing(path) as temporary:
        build(temporary)
    built = {"key": note, "sha256": file_digest(path)}
    with replacing(_sidecar(path)) as temporary:
        temporary.write_text(json.dumps(built, indent=1))


def _usable(path: Path, note: Mapping[str, object]) -> bool:
    sidecar = _sidecar(path)
    if not (path.exists() and sidecar.exists()):
        return False
    try:
        built = json.loads(sidecar.read_text())
        if built["key"] == note and built["sha256"] == file_digest(path):
            return True
        reason = "its content is not what was written"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error)
    _log.warning("the cached file %s is damaged (%s); building it again", path, reason)
    return False


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".json")
