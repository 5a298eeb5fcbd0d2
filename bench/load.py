"""How long it takes until something happens: start-up of processes, opening of engines.

python -m bench.run load
"""

import io
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.generators import new_generator
from bench.suite import Comparison, Options
from cyclegan.engine.export import onnx_from_generator
from cyclegan.engine.runners import BACKENDS
from cyclegan.engine.runners.openvino import shared_core
from cyclegan.engine.translator import Translator

OURS, IMPORT, COMPILE = "Translator.open, cached", "OpenVINO import", "OpenVINO compile"
FIRST_FRAME = """
import sys, numpy
from cyclegan import Translator
height, width = map(int, sys.argv[2:])
with Translator.open(sys.argv[1], backend="openvino", size=(height, width)) as translator:
    translator(numpy.zeros((height, width, 3), numpy.uint8))
"""


def comparisons(options: Options) -> Iterator[Comparison]:
    """Opening inside a process, then whole processes."""
    yield from opening(options)
    yield from starting(options)


def opening(options: Options) -> Iterator[Comparison]:
    """An engine that was compiled before, beside bare OpenVINO."""
    if reason := BACKENDS["openvino"].why_missing():
        yield Comparison(
            name="opening", candidates={}, absent=dict.fromkeys((OURS, IMPORT), reason)
        )
        return
    size = options.sizes[0]
    generator = new_generator(options.width, options.blocks)
    with tempfile.TemporaryDirectory() as folder:
        onnx = onnx_from_generator(generator, Path(folder) / "generator.onnx")
        blob = _compiled(onnx, size).export_model().getvalue()

        def ours(count: int) -> None:
            for _ in range(count):
                Translator.open(onnx, backend="openvino", size=size).close()

        def imported(count: int) -> None:
            for _ in range(count):
                model = shared_core().import_model(io.BytesIO(blob), "CPU")
                _requests = [model.create_infer_request() for _ in range(2)]

        def compiled(count: int) -> None:
            for _ in range(count):
                _compiled(onnx, size)

        yield Comparison(
            name="opening",
            candidates={IMPORT: imported, OURS: ours, COMPILE: compiled},
            unit="engines",
            settings={"width": options.width, "blocks": options.blocks},
        )


def starting(options: Options) -> Iterator[Comparison]:
    """Processes: what importing costs, and the first frame from an engine in the cache."""
    height, width = options.sizes[0]
    generator = new_generator(options.width, options.blocks)
    with tempfile.TemporaryDirectory() as folder:
        onnx = onnx_from_generator(generator, Path(folder) / "generator.onnx")
        commands = {
            "python -c pass": ["-c", "pass"],
            "import cyclegan": ["-c", "import cyclegan"],
            "import torch": ["-c", "import torch"],
            "cyclegan doctor": ["-m", "cyclegan.cli", "doctor"],
            "first frame, cached engine": ["-c", FIRST_FRAME, str(onnx), str(height), str(width)],
        }

        def started(arguments: list[str], count: int) -> None:
            for _ in range(count):
                subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

        yield Comparison(
            name="start-up",
            candidates={
                name: lambda count, arguments=arguments: started(arguments, count)  # type: ignore[misc]
                for name, arguments in commands.items()
            },
            unit="processes",
        )


def _compiled(onnx: Path, size: tuple[int, int]):  # type: ignore[no-untyped-def]
    core = shared_core()
    model = core.read_model(onnx)
    model.reshape([1, *size, 3])
    return core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
