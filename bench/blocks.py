"""Searches block sizes on this GPU and writes them to ``kernels/blocks.json``.

    python -m bench.blocks                 # at most nine minutes
    python -m bench.blocks --skip 5        # goes on after the fifth search

Every size of ``bench/kernels.py`` is tried alone and in a batch, forward and backward apart, all
operations of a size together; where one program holds an image whole, backward alone. First each
tile with one share of an image, then the best tiles with others; the fastest is kept where it beats
the default by more than 2 percent, which is more than two runs differ. Where none does, an earlier
row goes; one that the GPU refuses is out of the running.
"""

import argparse
import functools
import itertools
import json
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.checked import Checked
from bench.graph_timing import timed
from bench.kernels import CASES, OPERATIONS, call_pair, calls_of
from bench.report import brief, gpu_or_exit
from bench.switches import in_splits
from cyclegan.cpu import cpu_cores
from cyclegan.files import write_whole
from cyclegan.kernels import launch

MARGIN = 0.98
BATCHES = (1, 8)
"""Alone, and as ``launch.MANY`` or more are."""
PROGRAMS = (528, 64, 264, 1056, 2112)
"""Of all images together."""
LARGE = 1 << 24
"""Numbers of an image that fills a GPU alone; no batches of larger ones are searched."""
BEST = 3
"""Tiles that are tried with all of PROGRAMS; the others with its first."""
Row = list[int]
Case = tuple[str, tuple[int, int, int, int]]
"""An operation and the shape of its input."""
Calls = list[list[Checked]]
"""Of each operation, over inputs that pass the cache."""


def tiles(channels: int, pixels: int) -> list[tuple[int, int, int]]:
    """(pixels, channels, warps) of 1,024 to 4,096 numbers."""
    widths = [width for width in (8, 16, 32, 64, 128) if width <= channels]
    return [
        (min(numbers // width, pixels), width, 8 if numbers == 4096 else 4)
        for width, numbers in itertools.product(widths, (1024, 2048, 4096))
    ]


def in_shares(tile: tuple[int, int, int], channels: int, pixels: int, programs: int) -> Row:
    """[pixels, channels, share, warps] for so many programs an image."""
    height, width, warps = tile
    share = launch.cdiv(launch.cdiv(pixels * channels, width * programs), height) * height
    return [height, width, max(height, share), warps]


def fastest(
    channels: int,
    pixels: int,
    images: int,
    default: float,
    time_of: Callable[[Row], float],
) -> Row | None:
    """The row of least time, or None where none beats the default clearly."""
    found: dict[tuple[int, ...], float] = {}

    def look(tile: tuple[int, int, int], programs: int) -> float:
        row = in_shares(tile, channels, pixels, max(1, programs // images))
        if tuple(row) not in found:
            found[tuple(row)] = time_of(row)
        return found[tuple(row)]

    first, *others = PROGRAMS
    best = sorted(tiles(channels, pixels), key=lambda tile: look(tile, first))[:BEST]
    for tile, programs in itertools.product(best, others):
        look(tile, programs)
    row = min(found, key=lambda row: found[row])
    return list(row) if found[row] < MARGIN * default else None


def write(path: Path, arch: str, found: Mapping[str, Row | None]) -> None:
    """Puts rows into the table, and takes out those that are None now; those of other GPUs and
    sizes stay."""
    before: dict[str, dict[str, Row]] = json.loads(path.read_text())
    rows = {**before.get(arch, {}), **found}
    table = {**before, arch: {name: row for name, row in rows.items() if row}}
    table = {name: rows for name, rows in table.items() if rows}
    if table == before:
        return
    lines = [
        f" {json.dumps(name)}: {{\n"
        + ",\n".join(f"  {json.dumps(k)}: {json.dumps(row)}" for k, row in sorted(rows.items()))
        + "\n }"
        for name, rows in sorted(table.items())
    ]
    write_whole(path, "{\n" + ",\n".join(lines) + "\n}\n")


def groups() -> dict[tuple[int, int], list[Case]]:
    """What shares a row, by its channels and the bucket of its pixels."""
    found: dict[tuple[int, int], list[Case]] = {}
    for name, channels, height, width in CASES:
        key = channels, launch.bucket(height * width)
        found.setdefault(key, []).append((name, (1, channels, height, width)))
    return found


@dataclass(frozen=True)
class Search:
    """Of one row: a direction of all operations of a size, in one batch."""

    channels: int
    edge: int
    cases: list[Case]
    backward: bool
    images: int = 1

    @property
    def key(self) -> str:
        many = self.images >= launch.MANY
        return launch.key(self.channels, self.edge, True, torch.float16, self.backward, many)

    def best(self, arch: str) -> Row | None:
        """The row that wins, or None for the default: this process goes on with it."""
        calls = self._calls()
        row = fastest(
            self.channels,
            self.edge,
            self.images,
            self._time_of(calls, arch, None),
            functools.partial(self._time_if_it_runs, calls, arch),
        )
        self._use(arch, row)
        return row

    def _calls(self) -> Calls:
        """Made once: they take the block sizes of the moment each time."""
        return [
            calls_of(OPERATIONS[name].run, (self.images, *shape[1:]), OPERATIONS[name])[
                self.backward
            ]
            for name, shape in self.cases
        ]

    def _time_if_it_runs(self, calls: Calls, arch: str, row: Row) -> float:
        """Infinite where it does not: the search must not end with sizes that do not fit."""
        try:
            return self._time_of(calls, arch, row)
        except Exception as error:
            print(self.key, row, brief(error), flush=True)
            return math.inf

    def _use(self, arch: str, row: Row | None) -> None:
        rows = launch._table().setdefault(arch, {})
        rows.pop(self.key, None)
        if row is not None:
            rows[self.key] = row
        launch._blocks.cache_clear()

    def _time_of(self, calls: Calls, arch: str, row: Row | None) -> float:
        self._use(arch, row)
        return sum(timed(each).ms for each in calls)


def searches() -> list[Search]:
    """Batches first: what one image takes was searched before, and the default is of that."""
    return [
        Search(*size, cases, backward, images)
        for images in reversed(BATCHES)
        for size, cases in groups().items()
        for backward in (False, True)
        if (backward or size[1] > launch.WHOLE) and (images == 1 or math.prod(size) <= LARGE)
    ]


Job = tuple[int, str, tuple[int, int, int]]
"""Channels, operation and tile: the kernels of all its images, of which only shares differ."""


def jobs(searches: list[Search]) -> list[Job]:
    """What the searches make Triton compile."""
    found = {
        (search.channels, name, tile): None
        for search in searches
        for name, _ in search.cases
        for tile in tiles(search.channels, search.edge)
    }
    return list(found)


def compile_all(searches: list[Search]) -> None:
    """On all cores at once: one after another takes longer than the search."""
    with multiprocessing.get_context("spawn").Pool(cpu_cores()) as pool:
        for _ in pool.imap_unordered(compile_one, jobs(searches)):
            pass


def compile_one(job: Job) -> None:
    """Triton's cache on disk has it then. What does not compile is told when it is searched."""
    channels, name, (pixels, width, warps) = job
    operation, shape = OPERATIONS[name], (1, channels, 64, 64)
    for share in (pixels, 2 * pixels):  # kernels differ where a share is one tile
        blocks = launch.Blocks(pixels=pixels, channels=width, share=share, warps=warps)
        with suppress(Exception), in_these(blocks):
            for call in call_pair(operation.run, shape, operation):
                call()


@contextmanager
def in_these(blocks: launch.Blocks) -> Iterator[None]:
    """Whatever the table has, and no image held whole."""
    before = launch.blocks_for
    launch.blocks_for = lambda *_, **__: blocks
    try:
        with in_splits():
            yield
    finally:
        launch.blocks_for = before


def search_all(
    searches: list[Search], skip: int, minutes: float, arch: str, path: Path
) -> int | None:
    """How many are done when time would not do for one more like the longest; None: all."""
    deadline, longest = time.monotonic() + 60 * minutes, 0.0
    for done, search in enumerate(searches[skip:], skip):
        began = time.monotonic()
        if began + longest > deadline:
            return done
        best = search.best(arch)
        longest = max(longest, time.monotonic() - began)
        print(search.key, best or "default", flush=True)
        write(path, arch, {search.key: best})
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--skip", type=int, default=0, help="searches that are done already")
    parser.add_argument("--minutes", type=float, default=9, help="at most; it says how to go on")
    options = parser.parse_args()
    gpu_or_exit("blocks")
    major, minor = torch.cuda.get_device_capability()
    arch, path = f"sm_{major}{minor}", Path(launch.__file__).with_name("blocks.json")
    began = time.monotonic()
    compile_all(searches()[options.skip :])
    left = options.minutes - (time.monotonic() - began) / 60
    done = search_all(searches(), options.skip, left, arch, path)
    if done is not None:
        print(f"time is over; go on with: python -m bench.blocks --skip {done}")


if __name__ == "__main__":
    main()
