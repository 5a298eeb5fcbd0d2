"""Frames per second of the C library: uint8 frames in, uint8 frames out.

    python -m bench.runtime                      the aim, with the 9-block generator at 256x256
    python -m bench.runtime --blocks 2 --width 8 --turns 2    a quick look

In one run and in turns: a bare OpenVINO loop, which copies nothing, the Python translator, and the
C library, all on one ONNX file, in one precision, with two frames in flight. The library's pictures
have to be the Python translator's, byte for byte.
"""

from pathlib import Path
from typing import Any

import numpy as np

from bench.c_library import CTranslator, built_library
from bench.generators import new_generator
from bench.harness import figures, in_turns, ratio, record, table
from bench.machine import ROOT
from bench.options import count_argument, parser_for
from bench.peers import BareOpenVINO
from cyclegan.engine.model_source import open_source
from cyclegan.engine.throughput import sample_frames, stream
from cyclegan.engine.translator import Translator


def measure(
    *, width: int, blocks: int, size: int, frames: int, turns: int, library: Path
) -> dict[str, Any]:
    """The comparison. Raises AssertionError if the library's pictures are not the translator's."""
    generator = new_generator(width, blocks)
    onnx = open_source(generator).onnx()
    frame = sample_frames(1, size, size)[0]
    batch = [frame] * frames
    with Translator.open(onnx, backend="openvino", size=(size, size)) as python:
        precision = python.description.rpartition(" ")[2]
        bare = BareOpenVINO(onnx, frame[None], precision)
        ours = CTranslator(library, onnx, (size, size), precision)
        assert np.array_equal(ours.stream(batch[:3]), python(frame)), "the pictures differ"
        timings = in_turns(
            {
                "bare OpenVINO": lambda: bare.run(frames),
                "Python translator": lambda: stream(python, batch),
                "C library": lambda: ours.stream(batch),
            },
            turns=turns,
            items=frames,
        )
        ours.close()
    table(f"C library, {precision}, uint8 to uint8", timings)
    return {
        "benchmark": "runtime",
        "settings": {"width": width, "blocks": blocks, "size": size, "precision": precision},
        "of_bare": ratio(timings["C library"], timings["bare OpenVINO"]).median,
        "of_python": ratio(timings["C library"], timings["Python translator"]).median,
        "timings": figures(timings),
    }


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print a table and record the result."""
    parser = parser_for(__doc__, turns=5)
    parser.add_argument(
        "--size", type=count_argument, default=256, help="side of the square frames"
    )
    parser.add_argument("--frames", type=count_argument, default=16, help="in each turn")
    parser.add_argument("--library", type=Path, help="libcyclegan.so; else it is built here")
    given = vars(parser.parse_args(arguments))
    output = given.pop("output")
    given["library"] = given["library"] or built_library(ROOT / "build" / "runtime")
    result = measure(**given)
    record(result, output)
    return result


if __name__ == "__main__":
    main()
