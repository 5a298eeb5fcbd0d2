"""What the project wants to reach, as data, and what committed results say of it.

Each aim is a bound on one figure of a benchmark: a ratio within one run, or a time on a machine
that it names. ``bench/pages.py`` writes the table of all; what was not measured says so.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from bench.harness import Timing, ratio
from bench.suite import Row


@dataclass(frozen=True, kw_only=True)
class Place:
    """Results of one machine: rows by the name of their benchmark; ``gpu`` for make gpu's."""

    title: str
    rows: Mapping[str, list[Row]]
    has: tuple[str, ...]
    """Its instruction sets, or the name of its GPU."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A value that an aim is about, and whether others disturbed it."""

    value: float
    busy: bool = False


Find = Callable[[list[Row]], Iterable[Figure]]


@dataclass(frozen=True, kw_only=True)
class Aim:
    """One bound; of several figures the worst counts, or the best where ``any_of_them`` may do."""

    about: str
    benchmark: str
    find: Find
    least: float | None = None
    most: float | None = None
    unit: str = ""
    needs: str = ""
    """An instruction set, or a word of a GPU's name, without which it is not judged."""
    any_of_them: bool = False

    @property
    def bound(self) -> str:
        """In words."""
        words, value = ("at least", self.least) if self.most is None else ("at most", self.most)
        return f"{words} {value:,g} {self.unit}".rstrip()

    def found(self, place: Place) -> Figure | None:
        """The figure that counts, of one machine's results."""
        figures = sorted(self.find(place.rows.get(self.benchmark, [])), key=lambda f: f.value)
        if not figures:
            return None
        return figures[0] if (self.most is None) != self.any_of_them else figures[-1]

    def met(self, value: float) -> bool:
        """Whether ``value`` is within the bound."""
        return value >= self.least if self.least is not None else value <= (self.most or 0.0)


def lines(places: list[Place]) -> Iterator[tuple[str, str, str, str, str]]:
    """Aim, bound, measured, machine, verdict: a line for each machine that has the figure."""
    for aim in AIMS:
        have = [(place, figure) for place in places if (figure := aim.found(place))]
        for place, figure in have:
            unable = aim.needs and not any(aim.needs in word for word in place.has)
            verdict = "met" if aim.met(figure.value) else "**not met**"
            verdict = f"not judged: needs {aim.needs}" if unable else verdict
            marked = f"{verdict}, **busy**" if figure.busy else verdict
            yield aim.about, aim.bound, f"{figure.value:,.3g}", place.title, marked
        if not have:
            yield aim.about, aim.bound, "", "", "not measured"


PAPER = {"width": 64, "blocks": 9}
"""The paper's generator: figures of smaller ones are not what an aim is about."""


def value(*path: str, over: float = 1, **settings: object) -> Find:
    """The value at ``path`` of every row with these settings, over ``over``."""

    def find(rows: list[Row]) -> Iterator[Figure]:
        for row in rows:
            if not _is_set(row, settings):
                continue
            held: object = row
            for key in path:
                held = held.get(key) if isinstance(held, Mapping) else None
            if isinstance(held, int | float):
                yield Figure(value=held / over, busy=_busy(row))

    return find


def beside(ours: str, reference: str, **settings: object) -> Find:
    """``ours`` over ``reference``, turn by turn, in every comparison that has both."""

    def find(rows: list[Row]) -> Iterator[Figure]:
        timed = [row for row in rows if "seconds" in row]
        for one in timed:
            if one["candidate"] != ours or not _is_set(one, settings):
                continue
            for other in timed:
                same = all(one[key] == other[key] for key in ("comparison", "settings"))
                if same and other["candidate"] == reference:
                    share = ratio(_timing(one), _timing(other)).median
                    yield Figure(value=share, busy=_busy(one) or _busy(other))

    return find


def on_gpu(figure: str, least_mib: float = 0, **cells: str) -> Find:
    """A column of make gpu's rows whose cells are these; ``*`` at the end of one stands for any.

    Of activations in half precision of ``least_mib`` and more.
    """

    def find(rows: list[Row]) -> Iterator[Figure]:
        for row in rows:
            if row.get(figure) is None or not _matches(row, cells):
                continue
            if not least_mib or _mib(row["shape"]) >= least_mib:
                yield Figure(value=row[figure], busy=_busy(row))

    return find


def _mib(shape: str) -> float:
    """Of a float16 tensor whose shape is written as 1x64x720x1280."""
    return 2 * math.prod(map(int, shape.split("x"))) / (1 << 20)


def times_as_fast(variant: str, than: str, by: tuple[str, ...], **cells: str) -> Find:
    """How many times as fast a variant's rows are as another's with equal cells ``by``."""

    def find(rows: list[Row]) -> Iterator[Figure]:
        rows = [row for row in rows if row.get("ms") is not None and _matches(row, cells)]
        others = {tuple(row[k] for k in by): row for row in rows if row["variant"] == than}
        for row in rows:
            other = others.get(tuple(row[k] for k in by))
            if row["variant"] == variant and other:
                busy = _busy(row) or _busy(other)
                yield Figure(value=other["ms"] / row["ms"], busy=busy)

    return find


def _matches(row: Row, cells: Mapping[str, str]) -> bool:
    return all(
        row[k].startswith(v[:-1]) if v.endswith("*") else row[k] == v for k, v in cells.items()
    )


def _is_set(row: Row, settings: Mapping[str, object]) -> bool:
    given = row.get("settings", {})
    return all(given.get(name) == wanted for name, wanted in settings.items())


def _timing(row: Row) -> Timing:
    return Timing(seconds=tuple(row["seconds"]), items=row["items"])


def _busy(row: Row) -> bool:
    timings = row.get("timings", {}).values()
    return bool(row.get("busy")) or any(timing.get("busy") for timing in timings)


UNCOMPILED = "bfloat16 eager, ours"
"""What training takes by itself on a CPU that our C++ kernels run on."""
STEP, GRAPHED = "bfloat16, phases compiled", "bfloat16, phases compiled, CUDA graphs"
PUBLIC, COMPILED = "float32 eager, public order", "bfloat16, networks compiled"
GROUPS: dict[str, str] = {"operation": "norm *"}
ABOVE_L2 = 64
"""MiB; the L2 of an H100 and of an H200 have 50 and 60."""
CASE = ("operation", "direction", "shape")
SMALL = {"task": "forward", "variant": "ours, CUDA graph"}
TRAIN = {"task": "step", "size": "1x256x256"}

AIMS = (
    Aim(
        about="training step of eager float32's, CPU with AMX",
        benchmark="train_step", find=value("of_eager", UNCOMPILED, size=256, **PAPER),
        least=7, unit="times", needs="AMX",
    ),
    Aim(
        about="loader alone of the fastest step, 128x128, two workers",
        benchmark="train_step", find=value("loader_of_fastest_step", size=128, workers=2, **PAPER),
        least=2, unit="times",
    ),
    Aim(
        about="OpenVINO runner of the bare backend, 256x256",
        benchmark="translate",
        find=beside("openvino, auto", "OpenVINO, bare", height_px=256, **PAPER), least=0.9,
    ),
    Aim(
        about="OpenVINO runner of eager float32, 256x256, CPU with AMX",
        benchmark="translate",
        find=beside("openvino, auto", "PyTorch eager, float32", height_px=256, **PAPER),
        least=6, unit="times", needs="AMX",
    ),
    Aim(
        about="C library of the bare backend", benchmark="runtime",
        find=value("of_bare", **PAPER), least=0.97,
    ),
    Aim(
        about="video end to end of its slowest stage alone", benchmark="video",
        find=value("of_slowest_stage", **PAPER), least=0.85,
    ),
    Aim(
        about="first frame of a video, in times of one frame", benchmark="video",
        find=value("first_frame_in_frames", **PAPER), most=3, unit="frames",
    ),
    Aim(
        about="live latency, 95 % of the frames", benchmark="video",
        find=value("live_p95_in_frames", **PAPER), most=2.5, unit="frames",
    ),
    Aim(
        about="memory after 10,000 frames of that after 1,000", benchmark="video-memory",
        find=value("growth", frames=10_000), most=1.05, unit="times",
    ),
    Aim(
        about="memory for one 3840x2160 frame in exact tiles", benchmark="tiles",
        find=value("peak_bytes", over=1 << 30, mode="exact", size=[2160, 3840], **PAPER),
        most=4, unit="GiB",
    ),
    Aim(
        about="building a TensorRT-RTX plan", benchmark="tensorrt",
        find=value("build_s", **PAPER), most=5, unit="s",
    ),
    Aim(
        about="opening a cached TensorRT-RTX plan", benchmark="tensorrt",
        find=value("cached_open_s", **PAPER), most=1, unit="s",
    ),
    Aim(
        about="reading what a cached plan was built for", benchmark="tensorrt",
        find=value("note_ms", **PAPER), most=50, unit="ms",
    ),
    Aim(
        about="norm kernels forward above the L2, of a copy's rate", benchmark="gpu kernels",
        find=on_gpu("of_copy_rate", ABOVE_L2, variant="ours", direction="forward", **GROUPS),
        least=0.85,
    ),
    Aim(
        about="norm kernels backward above the L2, of a copy's rate", benchmark="gpu kernels",
        find=on_gpu("of_copy_rate", ABOVE_L2, variant="ours", direction="backward", **GROUPS),
        least=0.75,
    ),
    Aim(
        about="fused groups of eager channels-last", benchmark="gpu kernels",
        find=times_as_fast("ours", "eager", CASE, **GROUPS), least=2, unit="times",
    ),
    Aim(
        about="fused groups of torch.compile", benchmark="gpu kernels",
        find=times_as_fast("ours", "torch.compile", CASE, **GROUPS), least=1.3, unit="times",
    ),
    Aim(
        about="generator, half, CUDA graph, 256x256, batch 1", benchmark="gpu models",
        find=on_gpu("ms", size="1x256x256", **SMALL), most=0.6, unit="ms",
    ),
    Aim(
        about="generator, half, CUDA graph, 256x256, batch 16", benchmark="gpu models",
        find=on_gpu("pictures_per_s", size="16x256x256", **SMALL), least=3000, unit="frames/s",
    ),
    Aim(
        about="training step, 256x256, batch 1, H100", benchmark="gpu models",
        find=on_gpu("ms", variant=f"{STEP}*", **TRAIN), most=12, unit="ms", needs="H100",
        any_of_them=True,
    ),
    Aim(
        about="training step of plainly compiled bfloat16, H100", benchmark="gpu models",
        find=times_as_fast(GRAPHED, COMPILED, ("size",), **TRAIN), least=1.3, unit="times",
        needs="H100",
    ),
    Aim(
        about="training step of eager float32, H100", benchmark="gpu models",
        find=times_as_fast(GRAPHED, PUBLIC, ("size",), **TRAIN), least=4, unit="times",
        needs="H100",
    ),
    Aim(
        about="TensorRT, FP16, 256x256, latency", benchmark="gpu tensorrt",
        find=on_gpu("device_ms", result="ran"), most=0.6, unit="ms", any_of_them=True,
    ),
    Aim(
        about="TensorRT, FP16, 256x256, throughput", benchmark="gpu tensorrt",
        find=on_gpu("device_frames_per_s", result="ran"), least=3500, unit="frames/s",
        any_of_them=True,
    ),
)  # fmt: skip
