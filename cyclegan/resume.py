"""Checkpoints: all that a stopped run needs to go on as if it had not been stopped.

A checkpoint is one file, ``checkpoints/00001000.pt`` for the state after step 1000, written by
``torch.save`` and read without executing anything found in it. It appears whole or not at all; the
last few are kept, so that a damaged one loses little. Every byte of a checkpoint is covered by the
checksums of the zip format.
"""

import logging
import pickle
import re
import shutil
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from cyclegan.config import TrainConfig, as_dict
from cyclegan.errors import ConfigError, DataError, OutputError, reason_of
from cyclegan.files import replacing
from cyclegan.signals import Asked, ending_signals, handling, is_urgent, leave

VERSION = 1
SAME_STOP = 5.0
"""Seconds in which a launched process may hear of one stop twice: what stops a whole service or job
tells it and torchrun, which hands on what it is told."""
CHECKPOINT = re.compile(r"[0-9]{8,}\.pt")
"""Names of checkpoints, as :func:`save_checkpoint` gives them; of copies, others."""
log = logging.getLogger(__name__)


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write ``state`` to ``folder`` and drop all but the newest ``keep`` up to ``step``.

    Those of later steps were damaged, or the run would not be here.

    ``state`` holds tensors and plain values. Raises OutputError where it cannot be written; what
    was there stays.
    """
    path = folder / f"{step:08d}.pt"
    with replacing(path) as temporary:
        try:
            torch.save({"version": VERSION, **state}, temporary)
        except RuntimeError as error:  # how PyTorch reports what the system refuses
            free = shutil.disk_usage(folder).free / 1e6
            raise OutputError(
                f"cannot write {path}: the disk has {free:,.1f} MB left "
                f"({str(error).splitlines()[0]})"
            ) from error
    found = list_checkpoints(folder)
    newest = found.index(path)
    for other in [*found[:newest], *found[newest + keep :]]:
        other.unlink(missing_ok=True)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of ``folder``, newest first."""
    found = (path for path in folder.glob("*.pt") if CHECKPOINT.fullmatch(path.name))
    return sorted(found, key=lambda path: int(path.stem), reverse=True)


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """The newest checkpoint of ``folder`` that is whole; damaged ones are named in the log.

    Raises DataError if there is none, ConfigError for one that a later version wrote.
    """
    damaged: list[str] = []
    for unfinished in folder.glob(".[0-9]*.pt"):  # of a process that was killed while it wrote
        unfinished.unlink(missing_ok=True)
    for path in list_checkpoints(folder):
        try:
            state = _read(path)
        except ConfigError:
            raise  # whole, and not to be lost
        except Exception as error:  # whatever zipfile and an unpickler make of damaged bytes
            damaged.append(path.name)
            log.warning("%s is damaged (%s); trying the one before", path, reason_of(error))
            continue
        if damaged:
            log.warning("going on from %s: later ones are damaged", path)
        return state
    found = f"{', '.join(damaged)} are damaged" if damaged else "there is none"
    raise DataError(f"no checkpoint to go on from in {folder}: {found}; start the run anew")


def _read(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as file:
        wrong = file.testzip()
    if wrong is not None:
        raise ValueError(f"checksum of {wrong} does not match")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # PyTorch says how to run it all the same: we do not
        raise ValueError("it holds more than tensors and plain values") from error
    if not isinstance(state, dict):
        raise ValueError(f"it holds a {type(state).__name__}")
    if state["version"] > VERSION:
        raise ConfigError(
            f"{path} was written by a later version: it has format {state['version']}; "
            f"this version reads up to {VERSION}; install a newer cyclegan-engine"
        )
    return state


def check_same(state: dict[str, Any], config: TrainConfig, world_size: int) -> None:
    """Raises ConfigError, showing both, where a run cannot go on because it is another one."""
    kept, given = state["config"], as_dict(config)
    names = ("generator", "discriminator", "adversarial", "pool_size", "init", "init_gain", "seed")
    pairs = {
        "pretrained": (kept.get("pretrained"), given.get("pretrained")),  # None is not stored
        **{
            f"model.{name}": (kept["model"].get(name, given["model"][name]), given["model"][name])
            for name in names  # some are not in older checkpoints
        },
        "batch_size": (kept["batch_size"], given["batch_size"]),
        "number of processes": (state["world_size"], world_size),
        "ema_decay above 0": (kept["ema_decay"] > 0, given["ema_decay"] > 0),
    }
    different = [f"{name} was {a}, is {b}" for name, (a, b) in pairs.items() if a != b]
    if different:
        raise ConfigError(
            "this run cannot go on with other settings than it began with: "
            f"{'; '.join(different)}; use the old ones, or start a new run in another folder"
        )


class Stopping:
    """Whether the run has been asked to stop, and by which signal."""

    def __init__(self, *, launched: bool = False) -> None:
        """``launched``: by torchrun, or what does as it does."""
        self.by: int | None = None
        self.at_once = Asked()
        self._launched = launched
        self._since = 0.0

    def __bool__(self) -> bool:
        return self.by is not None

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Note a signal; asked again it ends the run at once, unless that is SIGHUP."""
        if self:
            same = self._launched and time.monotonic() - self._since < SAME_STOP
            if is_urgent(number) and not same:
                self.at_once.leave(number, frame)
            return
        self.by, self._since = number, time.monotonic()
        provided = ", unless one of its processes has ended" if self._launched else ""
        log.warning("stopping after this step; the run will be saved%s", provided)

    def leave(self) -> None:
        """End as the signal asks: KeyboardInterrupt, or SystemExit with status 128 + number."""
        if self.by is not None:
            leave(self.by)


@contextmanager
def stopping(*, launched: bool = False) -> Iterator[Stopping]:
    """Have Ctrl-C, SIGTERM and SIGHUP wait for the end of a step, where this is the main thread."""
    asked = Stopping(launched=launched)
    with handling(ending_signals(), asked.ask):
        try:
            yield asked
        finally:
            asked.at_once.forget()
