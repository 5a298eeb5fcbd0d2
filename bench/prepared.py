"""Compiles what whole networks need before they are measured, on all cores at once.

Part of ``bench/gpu.py``. A training step takes torch.compile minutes of one core, and seconds once
its caches on disk hold it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext, suppress
from tempfile import TemporaryFile
from threading import Event, Lock
from typing import Any

import torch

from bench import whole_networks
from bench.machine import ROOT
from bench.report import Report
from bench.switches import either
from cyclegan.cpu import cpu_cores
from cyclegan.engine.runners.placing import without_tf32

TESTS_CORES = 6
"""Cores that are left to the tests meanwhile."""
SECONDS_TO_GO = 5
"""Of a process that was killed."""
BEHIND = 10
"""How nice those that compile are to others."""
MEMORY_SHARE = 0.2
"""Of the GPU's, for each of those that compile."""
LARGE_SHARE = 0.5
"""For those that are large, one at a time."""


def ended(process: subprocess.Popen[Any], seconds: float) -> str:
    """Waits for a process that leads its own session; "", or why it did not end by itself and well.

    One that does not end in time is killed, with all that it started.
    """
    try:
        status = process.wait(max(seconds, 0))
        return f"ended with status {status}" * bool(status)
    except subprocess.TimeoutExpired:
        return "killed"
    finally:
        with suppress(ProcessLookupError):  # workers that it left behind end as well
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # a driver that hangs lets none of its own go
            process.wait(SECONDS_TO_GO)


def prepare(number: int) -> None:
    """Compiles what the row of this number needs, by running it once: the caches on disk have it.

    Block sizes of Inductor's own kernels are left to be chosen when nothing else runs. The tests,
    which compile too and are waited for first, come first on every core.
    """
    import torch._inductor.config as inductor

    os.nice(BEHIND)

    inductor.autotune_local_cache = False
    row = list(whole_networks.rows())[number]
    torch.cuda.set_per_process_memory_fraction(LARGE_SHARE if row.is_large else MEMORY_SHARE)
    torch._dynamo.reset()
    with either(row.ours), without_tf32():
        row.build()()
    torch.cuda.synchronize()  # an error of the GPU is to be seen here


@contextmanager
def preparing(report: Report, wanted: Sequence[str], seconds: float) -> Iterator[bool]:
    """Meanwhile compiles what the ``wanted`` parts have still to measure: whether there is any.

    As many at once as cores are free, each in a process of its own, and of large ones one. Waits at
    the end for those of the part that is measured next; what is not done then, or after
    ``seconds``, is stopped, and compiles when it is measured.
    """
    deadline = time.monotonic() + seconds
    running: dict[int, subprocess.Popen[bytes]] = {}
    one_large, stops = Lock(), Event()

    def one(number: int, name: str, is_large: bool) -> None:
        with one_large if is_large else nullcontext():
            compiled(number, name)

    def compiled(number: int, name: str) -> None:
        if (started := time.monotonic()) >= deadline or stops.is_set():
            return
        with TemporaryFile("w+", errors="replace") as said:
            running[number] = subprocess.Popen(
                [sys.executable, "-m", "bench.gpu", "--prepare", str(number)],
                cwd=ROOT, env={**os.environ, "TORCHINDUCTOR_COMPILE_THREADS": "2"},
                stdout=subprocess.DEVNULL, stderr=said, start_new_session=True,
            )  # fmt: skip
            why = ended(running[number], deadline - started)
            del running[number]
            said.seek(0)
            last = said.read().strip().rpartition("\n")[2]
        if why and last:
            why += f": {last}"
        print("compiled", name, f"{time.monotonic() - started:.0f} s", why, flush=True)

    lacking = [
        (row.part, number, " ".join(row.named.values()), row.is_large)
        for number, row in enumerate(whole_networks.rows())
        if row.compiles and row.part in wanted and not report.has("models", **row.named)
    ]
    pool = ThreadPoolExecutor(max(1, cpu_cores() - TESTS_CORES))
    submitted = [(part, pool.submit(one, *job)) for part, *job in lacking]
    try:
        yield bool(lacking)
        wait([job for part, job in submitted if part == lacking[0][0]])
    finally:
        stops.set()
        pool.shutdown(wait=False, cancel_futures=True)
        while not all(job.done() for _, job in submitted):
            for process in list(running.values()):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.1)
