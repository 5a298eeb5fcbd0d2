"""The files of a run that are there to be looked at: log, samples, TensorBoard.

N batch, C channels, H height, W width.

Losses stay on the device until ``flush``, so that a GPU is made to wait once in ``log_every``
steps, and no cost grows with the length of the run.
"""

import csv
import io
import itertools
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cyclegan.alarms import Alarms
from cyclegan.board import Board
from cyclegan.config import TrainConfig
from cyclegan.data import pictures_from_tensor
from cyclegan.errors import OutputError, reason_of
from cyclegan.files import append, write_whole
from cyclegan.phases import LOSSES, Images, Losses
from cyclegan.pictures import Picture, write_picture

log = logging.getLogger(__name__)
Row = tuple[int, float, float, Tensor]
"""Step, seconds, learning rate, losses (8,) on the device."""
SAMPLE = re.compile(r"(?P<step>[0-9]{6,})_(ab|ba)\.png")
"""Names of samples, as :meth:`Recorder.samples` gives them."""


class Recorder:
    """Writes losses.csv, the samples, and TensorBoard's events, from step ``step`` on."""

    def __init__(self, config: TrainConfig, step: int = 0) -> None:
        self.config = config
        self.path = config.output / "losses.csv"
        self.scores_path = config.output / "scores.csv"
        self.alarms = Alarms(saturates=config.model.adversarial != "wgangp")
        self.pending: list[Row] = []
        self.unwritten: list[list[object]] = []
        """Lines of losses.csv that the system has refused so far."""
        self.last: dict[str, float] = {}
        """The mean losses of the last reading."""
        self.board = Board(config.output / "tensorboard", step) if config.tensorboard else None

    def begin(self) -> None:
        """An empty log."""
        write_whole(self.path, ",".join(["step", "seconds", *LOSSES]) + "\n")

    def rewind(self, step: int) -> None:
        """Drop from the logs what came after ``step``, and what no log can hold; samples too.

        Of scores no heading stays alone: those that follow may have other names. Raises
        OutputError.
        """
        if not _rewound(self.path, step):
            self.begin()
        _rewound(self.scores_path, step)
        for path in (self.config.output / "samples").glob("*.png"):
            named = SAMPLE.fullmatch(path.name)
            if named and int(named["step"]) > step:
                _remove(path)

    def add(self, step: int, seconds: float, learning_rate: float, losses: Losses) -> None:
        """Note one step's losses, without waiting for the device."""
        self.pending.append((step, seconds, learning_rate, losses.stacked()))

    def flush(self) -> list[dict[str, float]]:
        """Read the losses noted since, write them, and return them.

        Where the system refuses, it is said, and they are kept until it does not. Raises
        DivergedError where one is not finite.
        """
        rows, self.pending = self.pending, []
        if not rows:
            return []
        values = torch.stack([row[3] for row in rows]).tolist()  # waits for the device
        self.unwritten += (
            [step, f"{seconds:.3f}", *(f"{value:.6g}" for value in each)]
            for (step, seconds, _, _), each in zip(rows, values)
        )
        self._write()
        named = [dict(zip(LOSSES, each)) for each in values]
        self.last = {name: sum(each[name] for each in named) / len(named) for name in LOSSES}
        if self.board:
            self._scalars(rows)
        for (step, *_), losses in zip(rows, named):
            _tell(self.alarms.losses(step, losses))
        return named

    def _write(self) -> None:
        """Add to losses.csv what it lacks: all of it, or nothing."""
        try:
            append(self.path, _csv(self.unwritten))
            self.unwritten = []
        except OSError as error:
            log.warning("cannot write %s: %s; the run goes on", self.path, reason_of(error))

    def samples(self, step: int, real: tuple[Tensor, Tensor], images: Images) -> None:
        """Write the samples, each beside its translation and what comes back of it."""
        (real_a, real_b), data = real, self.config.data
        columns = {
            "ab": (real_a, images.fake_b, images.rec_a),
            "ba": (real_b, images.fake_a, images.rec_b),
        }
        names = {"ab": (data.name_a, data.name_b), "ba": (data.name_b, data.name_a)}
        for name, batches in columns.items():
            picture = _grid(batches)
            write_picture(picture, self.config.output / "samples" / f"{step:06d}_{name}.png")
            if self.board:
                self.board.picture(f"samples/{name}", picture, step)
            direction = " to ".join(names[name])
            if step:
                _tell(self.alarms.samples(step, batches[0], batches[1], direction))

    def scores(self, step: int, scores: dict[str, float]) -> None:
        """Add one scoring to scores.csv, and to TensorBoard."""
        path = self.scores_path
        if self.board:
            self.board.scalars({f"scores/{name}": value for name, value in scores.items()}, step)
        head = [] if path.exists() else [["step", *scores]]
        row = [step, *(f"{value:.6g}" for value in scores.values())]
        try:
            append(path, _csv([*head, row]))
        except OSError as error:
            raise OutputError(f"cannot write {path}: {reason_of(error)}") from error

    def _scalars(self, rows: Sequence[Row]) -> None:
        """The mean of what was read, at its last step: a fixed cost for each reading."""
        assert self.board is not None
        step, _, learning_rate, _ = rows[-1]
        means = {f"losses/{name}": mean for name, mean in self.last.items()}
        self.board.scalars({**means, "learning_rate": learning_rate}, step)


def set_aside(path: Path, step: int) -> None:
    """Give ``path``, where it is there, a name that tells that it is of a run up to ``step``.

    What was set aside at that step before keeps its name. Raises OutputError.
    """
    stem = f"{path.stem}_to_{step:06d}"
    stems = itertools.chain([stem], (f"{stem}_{number}" for number in itertools.count(2)))
    try:
        if path.exists():
            path.replace(next(aside for aside in map(path.with_stem, stems) if not aside.exists()))
    except OSError as error:
        raise OutputError(f"cannot rename {path}: {reason_of(error)}") from error


def _remove(path: Path) -> None:
    """Raises OutputError."""
    try:
        path.unlink()
    except OSError as error:
        raise OutputError(f"cannot remove {path}: {reason_of(error)}") from error


def _rewound(path: Path, step: int) -> bool:
    """Leaves of a log the lines up to ``step`` that are whole; without any it goes, and False is
    returned."""
    try:
        first, *lines = path.read_text(errors="replace").splitlines(keepends=True)
    except (OSError, ValueError):  # missing, or empty
        return False

    def stays(line: str) -> bool:
        number = line.split(",")[0]
        return line.endswith("\n") and number.isdecimal() and int(number) <= step

    kept = [*filter(stays, lines)]
    if not kept:
        path.unlink()
        return False
    write_whole(path, "".join([first, *kept]))
    return True


def _csv(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _tell(messages: Sequence[str]) -> None:
    for message in messages:
        log.warning("%s", message)


def _grid(columns: Sequence[Tensor]) -> Picture:
    """Batches side by side, one row a picture: uint8 (N x H, len(columns) x W, 3).

    Of more than three channels the first three are shown, of two the first.
    """
    shown = [batch[:, : 3 if batch.shape[1] >= 3 else 1] for batch in columns]
    rows = [pictures_from_tensor(batch) for batch in shown]
    return np.concatenate(
        [np.concatenate(np.broadcast_to(p, (*p.shape[:3], 3)), axis=0) for p in rows], axis=1
    )
