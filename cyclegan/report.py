"""One page that shows what a run made: a single HTML file, all of it inside.

Pictures are uint8 (H, W, 3) or paths of PNG and JPEG files. A section of which nothing is known is
left out.
"""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from cyclegan.errors import DataError, OutputError, reason_of
from cyclegan.evaluate import Scores
from cyclegan.files import write_whole
from cyclegan.loss_charts import loss_charts
from cyclegan.pictures import Picture, read_picture

AnyPicture = Picture | Path
SHOWN_STEPS = 6
"""Steps of a run from which its samples are shown."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number worth a headline, such as "7.9 dB" with the label "PSNR"."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Rows of pictures that belong together, one of each column."""

    columns: Sequence[str]
    rows: Sequence[Sequence[AnyPicture]]
    title: str = "Samples"
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """The scores of one direction, beside those of baselines."""

    title: str
    ours: str
    """The row that is judged."""
    rival: str
    """The row that it is judged by."""
    rows: Mapping[str, Scores]

    def __post_init__(self) -> None:
        for name in (self.ours, self.rival):
            if name not in self.rows:
                raise DataError(f"no scores of {name!r}; there are {', '.join(self.rows)}")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as they shall read."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Video:
    """A clip with a line about it; MP4 or WebM."""

    path: Path
    caption: str


@dataclass(frozen=True, kw_only=True)
class Moments:
    """What became of the fixed samples of one direction in the course of a run."""

    title: str
    pictures: Sequence[tuple[int, AnyPicture]]
    """(step, each sample beside its translation, and that translated back)."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the page shows."""

    title: str
    subtitle: str = ""
    figures: Sequence[Figure] = ()
    videos: Sequence[Video] = ()
    gallery: Gallery | None = None
    scores: Sequence[ScoreTable] = ()
    progress: Sequence[Moments] = ()
    losses: Path | None = None
    """CSV file with the columns step, seconds and one for each loss."""
    speed: Table | None = None
    parity: Table | None = None
    tables: Mapping[str, Table] = field(default_factory=dict)
    """More tables, by their titles."""
    settings: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    credits: Sequence[str] = ()


def samples_over_time(folder: Path, directions: Mapping[str, str]) -> list[Moments]:
    """Of a run's samples those at a few steps, first and last among them: for ``progress``.

    ``directions`` are ab and ba, or one of them, with their titles. Steps of which one is missing,
    as a full disk may have refused it, are passed over.
    """
    steps = _steps(folder, directions)
    if not steps:
        return []
    chosen = np.unique(np.linspace(0, len(steps) - 1, SHOWN_STEPS).round().astype(int))
    return [
        Moments(
            title=title,
            pictures=[(steps[i], folder / f"{steps[i]:06d}_{direction}.png") for i in chosen],
        )
        for direction, title in directions.items()
    ]


def _steps(folder: Path, directions: Iterable[str]) -> list[int]:
    found = [
        {
            int(number)
            for path in folder.glob(f"*_{direction}.png")
            if (number := path.stem.removesuffix(f"_{direction}")).isdecimal()
        }
        for direction in directions
    ]
    return sorted(set.intersection(*found))


def write_report(report: Report, path: Path | str) -> Path:
    """Writes ``report`` as one HTML file; returns ``path``.

    The file appears whole or not at all. Raises DataError or ImageError for parts that cannot be
    read, OutputError where it cannot be written or the extra ``demo`` is not installed.
    """
    write_whole(path, _page(report))
    return Path(path)


def _page(report: Report) -> str:
    try:
        import jinja2
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise OutputError(
            f"the report needs {error.name}; install it by: pip install 'cyclegan-engine[demo]'"
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        report=report,
        picture=picture_url,
        wide=_is_wide,
        video=video_url,
        metrics=METRICS,
        best=best_rows,
        verdict=verdict,
        charts=loss_charts(report.losses) if report.losses else [],
    )


def picture_url(picture: AnyPicture) -> str:
    """A data URL: files as they are, arrays as JPEG without colour subsampling."""
    if isinstance(picture, Path):
        kind = "png" if picture.suffix.lower() == ".png" else "jpeg"
        return _data_url(f"image/{kind}", picture)
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, "JPEG", quality=92, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}"


def video_url(video: Video) -> str:
    """A data URL of an MP4 or WebM file."""
    kind = "webm" if video.path.suffix.lower() == ".webm" else "mp4"
    return _data_url(f"video/{kind}", video.path)


def _data_url(kind: str, path: Path) -> str:
    try:
        return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
    except OSError as error:
        raise DataError(f"cannot read {path} for the report: {reason_of(error)}") from error


def _is_wide(picture: AnyPicture) -> bool:
    height, width = (read_picture(picture) if isinstance(picture, Path) else picture).shape[:2]
    return bool(width > 2 * height)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A column of the table of scores."""

    name: str
    label: str
    sign: int
    """1 where more is better, -1 where less is."""
    digits: int
    unit: str = ""

    def of(self, scores: Scores) -> float:
        """Its value among ``scores``."""
        value: float = vars(scores)[self.name]
        return value


METRICS = (
    Metric(name="l1", label="L1", sign=-1, digits=3),
    Metric(name="psnr", label="PSNR", unit="dB", sign=1, digits=2),
    Metric(name="ssim", label="SSIM", sign=1, digits=3),
    Metric(name="gradient_correlation", label="gradient correlation", sign=1, digits=3),
    Metric(name="inverted", label="share inverted", sign=-1, digits=2),
)


def best_rows(table: ScoreTable) -> dict[str, set[str]]:
    """For each metric the rows that are best in it, as far as the page shows."""
    return {metric.name: _best(table, metric) for metric in METRICS}


def _best(table: ScoreTable, metric: Metric) -> set[str]:
    shown = {
        name: metric.sign * round(metric.of(scores), metric.digits)
        for name, scores in table.rows.items()
    }
    return {name for name, value in shown.items() if value == max(shown.values())}


def verdict(table: ScoreTable) -> str:
    """Where ``ours`` is better than ``rival``, in one sentence that follows from the figures."""
    ours, rival = table.rows[table.ours], table.rows[table.rival]
    ahead: list[str] = []
    behind: list[str] = []
    for metric in METRICS:
        first, second = metric.sign * metric.of(ours), metric.sign * metric.of(rival)
        if first != second:  # both may be infinite
            (ahead if first > second else behind).append(metric.label)
    parts = [
        f"{word} {table.rival} on {_listed(labels)}"
        for word, labels in (("beats", ahead), ("falls short of", behind))
        if labels
    ]
    return f"{table.ours} {' and '.join(parts) or f'equals {table.rival}'}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
