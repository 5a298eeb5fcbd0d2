"""The page of a training run: curves, samples, scores, alarms and settings, in one file."""

import csv
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cyclegan.config import TrainConfig, as_dict
from cyclegan.errors import DataError, reason_of
from cyclegan.report import Figure, Report, Table, samples_over_time, write_report
from cyclegan.training import TrainResult


def write_training_report(config: TrainConfig, result: TrainResult) -> Path:
    """Writes report.html into the run's folder; returns its path.

    Raises OutputError where it cannot be written or the extra ``demo`` is not installed, DataError
    where what it is made of cannot be read.
    """
    a, b = config.data.name_a, config.data.name_b
    rate = result.steps / max(result.seconds, 1e-9)
    return write_report(
        Report(
            title=f"{a} ↔ {b}",
            subtitle=f"A CycleGAN in {config.output}",
            figures=(
                Figure(label="steps", value=f"{result.steps:,}"),
                Figure(label="time", value=f"{result.seconds / 60:.1f} minutes"),
                Figure(label="rate", value=f"{rate:.2f} steps/s"),
                Figure(label="alarms", value=str(len(result.alarms))),
            ),
            progress=samples_over_time(
                config.output / "samples", {"ab": f"{a} to {b}", "ba": f"{b} to {a}"}
            ),
            losses=config.output / "losses.csv",
            tables={**_alarms(result), **_scores(config.output / "scores.csv")},
            settings=_flat(as_dict(config)),
            command=shlex.join(_again(config.output)),
        ),
        config.output / "report.html",
    )


def _again(output: Path) -> list[str]:
    """The same run once more, beside this one."""
    other = Path(f"{output if output.name else output.resolve()}-again")  # "." has no name
    settings = ["--config", str(output / "config.toml"), "--output", str(other)]
    return ["cyclegan", "train", *settings]


def _alarms(result: TrainResult) -> dict[str, Table]:
    rows = [[message] for message in result.alarms]
    return {"Alarms": Table(columns=("what looked wrong",), rows=rows)} if rows else {}


def _scores(path: Path) -> dict[str, Table]:
    if not path.exists():
        return {}
    try:
        with path.open(newline="") as file:
            header, *rows = [*csv.reader(file)] or [[]]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} is no table of scores: {reason_of(error)}") from error
    if not rows:
        return {}
    note = "On the test pictures; the generators of the greatest goodness are kept as _best."
    return {"Scores": Table(columns=header, rows=rows, note=note)}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings by dotted names."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value)
    return flat
