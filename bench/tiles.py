"""Memory and time of one large frame, untiled and by each way of tiling.

    python -m bench.tiles                        3840x2160, the 9-block generator, all three ways

Each way runs in a process of its own, whose most resident memory (Linux), from when the frame is
there until it is translated, is the figure.
``--untiled`` adds the frame in one piece, which needs several times as much.
"""

import argparse
import json
import subprocess
import sys
import time
from typing import Any

from bench.generators import new_generator
from bench.harness import peak_memory, record, resident_bytes
from bench.options import parser_for, size_argument
from cyclegan.engine.runners import Precision
from cyclegan.engine.throughput import sample_frames
from cyclegan.engine.tiling import open_tiled
from cyclegan.engine.translator import Translator
from cyclegan.sizes import Size, size_text

MODES = ("exact", "thumbnail", "frozen")
PRECISIONS: tuple[Precision, ...] = ("auto", "float32", "bfloat16", "float16")
"""Of PyTorch, which is what computes tiles."""


def one(mode: str, width: int, blocks: int, size: Size, precision: Precision) -> dict[str, Any]:
    """Translate one frame of ``size`` (height, width) in this process."""
    generator = new_generator(width, blocks)
    (frame,) = sample_frames(1, *size)  # drawn first: in float64, which takes gigabytes
    before = resident_bytes()
    with peak_memory() as peak:
        opened: Any = (
            Translator.open(generator, backend="torch", precision=precision)
            if mode == "untiled"
            else open_tiled(generator, mode, precision=precision)  # type: ignore[arg-type]
        )
        with opened as translator:
            start = time.perf_counter()
            made = translator(frame)
            seconds = time.perf_counter() - start
            assert made.shape == frame.shape
    return {
        "seconds": seconds,
        "peak_bytes": peak.bytes,
        "bytes_before": before,
        "engine": translator.description,
    }


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Measure, and record each way's result before the next begins."""
    parser = parser_for(__doc__, turns=1)
    parser.add_argument(
        "--size", type=size_argument, default=(2160, 3840), help="WIDTHxHEIGHT of the frame"
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of the arithmetic")
    parser.add_argument(
        "--modes", nargs="+", choices=MODES, default=MODES, help="all, unless named here"
    )
    parser.add_argument("--untiled", action="store_true", help="the frame in one piece as well")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.only:
        result = one(given.only, given.width, given.blocks, given.size, given.precision)
        print(json.dumps(result))
        return [result]
    settings = {"width": given.width, "blocks": given.blocks, "size": list(given.size)}
    flags = [
        *("--width", str(given.width), "--blocks", str(given.blocks)),
        *("--size", size_text(given.size), "--precision", given.precision),
    ]
    results = []
    for mode in [*given.modes, *(["untiled"] if given.untiled else [])]:
        command = [sys.executable, "-m", "bench.tiles", "--only", mode, *flags]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        figures = json.loads(done.stdout.splitlines()[-1])
        results.append({"benchmark": "tiles", "settings": {"mode": mode, **settings}, **figures})
        record(results[-1], given.output)
    return results


if __name__ == "__main__":
    main()
