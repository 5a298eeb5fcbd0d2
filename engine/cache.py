"""Where exported graphs and compiled engines live, and when one may be used again.

An entry is one file and a note beside it (JSON): the whole key that it was built for, the SHA-256
of the file, and what its builder had to say. It is used again only if key and file agree. The name
of an entry is the SHA-256 of its key, and a key must name everything that shapes the result:
content digests, versions, settings. Entries are written whole, under a file lock, so that processes
can share the folder; those used least recently go when it outgrows its limit
(:mod:`cyclegan.engine.cache_space`). A compiled engine is code: share the folder only with those
who may run code as you.
"""

import contextlib
import glob
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cyclegan.engine.cache_space import limit_bytes, make_room
from cyclegan.errors import ModelError, OutputError, reason_of
from cyclegan.files import CACHE_VARIABLE, cache_folder, replacing, write_whole

LAYOUT_VERSION = 1
Key = Mapping[str, str | int | float | bool | None]
_TURN_SECONDS = 0.2
"""How long a wait for another process goes on before who waits is asked again."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Note:
    """What stands beside a file: what it was built for, and its content."""

    key: dict[str, Any]
    sha256: str
    facts: dict[str, Any] = field(default_factory=dict)
    """What the builder returned."""


def cached(
    name: str,
    key: Key,
    build: Callable[[Path], object],
    waiting: Callable[[], None] | None = None,
) -> Path:
    """The file that ``build(path)`` writes for ``key``, from the cache if it is there.

    ``name`` is the file's name, as in ``model.onnx``. A mapping that ``build`` returns goes into
    the note. A file that is damaged or was built for something else is reported in the log and
    built again. What is there may be in a folder that can only be read. ``waiting`` is called again
    and again while another process builds it, and ends the wait by raising. Raises OutputError when
    the cache has to be written and cannot, ConfigError for a limit that is none, ModelError where a
    file that ``build`` reads is gone, and what else that and ``waiting`` raise.
    """
    from filelock import FileLock, Timeout

    path, note = _entry(name, key)
    lock, told = FileLock(path.parent / "lock"), False
    while not lock.is_locked:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=_TURN_SECONDS)
        except Timeout:  # an OSError as well
            if not told:
                _log.info("%s: another process is building it; waiting", name)
                told = True
            if waiting is not None:
                waiting()
        except (OSError, NotImplementedError) as error:  # some file systems know no locks
            if _usable(path, note):
                return path
            raise _unwritable(error) from error
    try:
        if _usable(path, note):
            _log.info("%s is in the cache", name)
            with contextlib.suppress(OSError):  # as of someone else's file
                os.utime(sidecar(path))  # used now: the last to go
        else:
            limit_bytes()  # one that is none is refused before the work
            _log.info("building %s: %s", name, why_build(name, key))
            _build(path, note, build)
            make_room(cache_folder())  # under our lock: this entry stays
        return path
    finally:
        lock.release()


def find(name: str, key: Key) -> Path | None:
    """The file that is in the cache for ``key``, or None; nothing is built or written."""
    path, note = _entry(name, key)
    return path if _usable(path, note) else None


def check_cache() -> None:
    """Raises OutputError where the cache cannot be written, ConfigError for a limit that is none.

    What is there may still be used. The folder is made where it is missing.
    """
    from filelock import FileLock

    limit_bytes()
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as trial, FileLock(Path(trial) / "lock"):
            (Path(trial) / "file").write_bytes(bytes(4096))  # which a full disk refuses
    except (OSError, NotImplementedError) as error:
        raise _unwritable(error) from error


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_unchanged(path: Path, digest: str) -> None:
    """For builds from a model file, once they have read it: their key says what it was before.

    Raises ModelError unless the content of ``path`` is that of ``digest``.
    """
    try:
        same = file_digest(path) == digest
    except OSError:
        same = False
    if not same:
        raise ModelError(f"{path} was replaced since it was opened; open it again")


def code_digest(*files: Path) -> str:
    """SHA-256 of the content of ``files``, one after the other, in hexadecimal.

    For keys: code that shapes an entry may change where no version does.
    """
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _entry(name: str, key: Key) -> tuple[Path, dict[str, object]]:
    """Where the file for ``key`` stands, and the note on what it was built for."""
    note: dict[str, object] = {"layout": LAYOUT_VERSION, "name": name, **key}
    digest = hashlib.sha256(json.dumps(note, sort_keys=True).encode()).hexdigest()
    return cache_folder() / digest[:2] / digest / name, note


def _unwritable(error: Exception) -> OutputError:
    return OutputError(
        f"cannot write the cache {cache_folder()}: {reason_of(error)}; "
        f"set {CACHE_VARIABLE} to a folder that can be written"
    )


def read_note(path: Path) -> Note:
    """The note beside the file ``path``. Raises OSError or ValueError where none can be read."""
    try:
        note = Note(**json.loads(sidecar(path).read_text()))
    except (TypeError, RecursionError) as error:
        raise ValueError(f"it is no note on a file: {error}") from error
    for value, kind in ((note.key, dict), (note.sha256, str), (note.facts, dict)):
        if not isinstance(value, kind):
            raise ValueError(f"it is no note on a file: got {value!r}, expected a {kind.__name__}")
    return note


def write_note(path: Path, note: Note) -> None:
    """Put ``note`` beside the file ``path``. Raises OutputError."""
    values = {"key": note.key, "sha256": note.sha256, "facts": note.facts}
    write_whole(sidecar(path), json.dumps(values, indent=1))


def sidecar(path: Path) -> Path:
    """Where the note on ``path`` stands."""
    return path.with_name(path.name + ".json")


def why_build(name: str, key: Key) -> str:
    """Why ``name`` has to be built for ``key``: how the nearest entry differs, in one line."""
    _, wanted = _entry(name, key)
    nearest: dict[str, Any] | None = None
    for other in cache_folder().glob(f"??/*/{name}.json"):
        try:
            found = read_note(other.with_suffix("")).key
        except (OSError, ValueError):
            continue
        differing = {item for item in wanted.keys() | found.keys() if _differs(item, wanted, found)}
        if not differing:
            return "its file is damaged or gone"
        changes = {item: (found.get(item), wanted.get(item)) for item in sorted(differing)}
        if nearest is None or len(changes) < len(nearest):
            nearest = changes
    if nearest is None or 2 * len(nearest) > len(wanted):
        return "there is none yet"
    return "the nearest differs in " + ", ".join(
        f"{item} ({_brief(old)}, now {_brief(new)})" for item, (old, new) in nearest.items()
    )


def _differs(item: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    return bool(wanted.get(item) != found.get(item))


def _brief(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:12] + "..."


def _build(path: Path, key: Mapping[str, object], build: Callable[[Path], object]) -> None:
    # Without its note a file is not used, so a stop between the two writes does no harm.
    sidecar(path).unlink(missing_ok=True)
    for half in path.parent.glob(f".{glob.escape(path.stem)}.*"):
        half.unlink(missing_ok=True)  # of a process that was killed: the lock is ours
    with replacing(path) as temporary:
        try:
            facts = build(temporary)
        except FileNotFoundError as error:
            if error.filename in (None, str(temporary)):
                raise
            # Of what it reads, as from a cache that was emptied.
            raise ModelError(
                f"{error.filename} is gone, from which {path.name} is made: open the model again"
            ) from error
    said = dict(facts) if isinstance(facts, Mapping) else {}
    write_note(path, Note(key=dict(key), sha256=file_digest(path), facts=said))


def _usable(path: Path, key: Mapping[str, object]) -> bool:
    if not (path.exists() and sidecar(path).exists()):
        return False
    try:
        note = read_note(path)
        if note.key == key and note.sha256 == file_digest(path):
            return True
        reason = "its content is not what was written"
    except (OSError, ValueError) as error:
        reason = str(error)
    _log.warning("the cached file %s is damaged (%s); building it again", path, reason)
    return False
