"""Whether others were using the machine while something was measured.

A spread between turns shows interference that comes and goes; a neighbour that computes all the
time slows every turn alike, and some candidates more than others. The system's own account of CPU
time shows that one too (Linux).
"""

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cyclegan.cpu import cpu_cores

MOST = 0.1
"""Share of the machine's CPU time that others may use before a figure is marked."""
SHORTEST = 1.0
"""Seconds below which the system's clock ticks are too coarse to tell."""
STAT = Path("/proc/stat")
IDLE = slice(3, 5)
"""Of the columns of a line of /proc/stat: idle, and waiting for a disk."""
PARENT, USED = 1, slice(11, 15)
"""Behind the name in a process's stat: its parent; ticks of its own and of its ended children."""
COLUMNS = 8
"""user nice system idle iowait irq softirq steal; what follows is counted in user already."""


@dataclass
class Others:
    """Filled in when the block of :func:`watching_others` ends."""

    share: float | None = None
    """Of the machine's CPU time, used by other processes and other machines; None if unknown."""

    @property
    def busy(self) -> bool:
        """Whether that is too much."""
        return self.share is not None and self.share > MOST


@contextmanager
def watching_others() -> Iterator[Others]:
    """Accounts for the CPU time that neither this process nor its children used in the block."""
    others, before = Others(), _usage()
    yield others
    after = _usage()
    if before is None or after is None or after[2] - before[2] < SHORTEST:
        return
    machine, own, seconds = (new - old for new, old in zip(after, before))
    others.share = max(0.0, machine - own) / (seconds * cpu_cores())


def _usage() -> tuple[float, float, float] | None:
    """Seconds of CPU the machine has used, those of ours, and the time; None if not known."""
    if not STAT.exists():
        return None
    total, *lines = STAT.read_text().splitlines()
    cores = sum(line.startswith("cpu") for line in lines)
    if cores != cpu_cores():  # the account is of a larger machine than ours
        return None
    ticks = [int(text) for text in total.split()[1 : COLUMNS + 1]]
    busy = (sum(ticks) - sum(ticks[IDLE])) / os.sysconf("SC_CLK_TCK")
    own = _cpu_seconds(resource.RUSAGE_SELF) + _cpu_seconds(resource.RUSAGE_CHILDREN)
    own += _living_children()
    return busy, own, time.perf_counter()


def _cpu_seconds(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def _living_children() -> float:
    """Seconds of CPU of children that run; the system counts those that ended as ours."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # one that ended meanwhile
            columns = path.read_text().rpartition(")")[2].split()
            if int(columns[PARENT]) == os.getpid():
                ticks += sum(map(int, columns[USED]))
    return ticks / os.sysconf("SC_CLK_TCK")
