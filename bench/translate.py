"""Frames per second of the engines: uint8 frames in, uint8 frames out.

    python -m bench.translate                    the aims, with the 9-block generator at 256x256
    python -m bench.translate --blocks 2 --width 8 --turns 2    a quick look

Two comparisons, each in one run and in turns, with the results checked against float32 PyTorch:
our OpenVINO runner against a bare OpenVINO loop on the same ONNX file (aim: at least 0.9), and
against PyTorch, eager in float32 and compiled in the precision that the CPU is fastest in.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.harness import figures, in_turns, record, table
from bench.options import parser_for
from cyclegan.config import ResnetConfig
from cyclegan.engine.parity import compare
from cyclegan.engine.runners.openvino import shared_core
from cyclegan.engine.source import open_source
from cyclegan.engine.tickets import Frames
from cyclegan.engine.translator import Translator
from cyclegan.networks import generator_from_config, initialise

AIM_OF_BARE = 0.9
AIM_OF_EAGER_WITH_AMX = 6.0
LEAST_PSNR_DB = 30.0


class BareOpenVINO:
    """The least code that keeps OpenVINO busy: two requests, inputs set once, no copies."""

    def __init__(self, onnx: Path, frame: Frames, precision: str) -> None:
        import openvino

        core = shared_core()
        model = core.read_model(onnx)
        model.reshape([1, *frame.shape])
        hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        compiled = core.compile_model(model, "CPU", hints)
        self.requests = [compiled.create_infer_request() for _ in range(2)]
        for request in self.requests:
            request.set_input_tensor(openvino.Tensor(frame[None].copy()))

    def run(self, count: int) -> Frames:
        """Infer ``count`` times; the last output."""
        for number in range(count):
            request = self.requests[number % 2]
            request.wait()
            request.start_async()
        for request in self.requests:
            request.wait()
        output: Frames = self.requests[0].get_output_tensor().data[0]
        return output


def stream(translator: Translator, frames: list[Frames]) -> Frames:
    """Translate frames as a video would be, with all slots in use; the last result."""
    waiting = []
    result = frames[0]
    for frame in frames:
        waiting.append(translator.submit(frame))
        if len(waiting) > translator.slots:
            result = translator.collect(waiting.pop(0))
    for ticket in waiting:
        result = translator.collect(ticket)
    return result


def real_frame(size: int) -> Frames:
    """A smooth picture with edges: close enough to a photograph for timing and parity."""
    y, x = np.mgrid[:size, :size] / size
    waves = [np.sin(7 * x + 3 * y), np.cos(5 * y * x), np.sign(np.sin(9 * x) * np.sin(6 * y))]
    return ((np.stack(waves, -1) + 1) * 127.5).astype(np.uint8)


def measure(
    *, width: int, blocks: int, size: int, frames: int, turns: int, compiled: bool
) -> dict[str, Any]:
    """Both comparisons. Raises AssertionError if an engine's pictures are wrong."""
    torch.manual_seed(0)
    generator = generator_from_config(ResnetConfig(width=width, blocks=blocks))
    initialise(generator)
    frame = real_frame(size)
    batch = [frame] * frames
    with (
        Translator.open(generator, backend="openvino", size=(size, size)) as engine,
        Translator.open(generator, backend="torch", precision="float32", device="cpu") as eager,
    ):
        precision = engine.description.rpartition(" ")[2]
        bare = BareOpenVINO(open_source(generator).onnx(), frame, precision)
        exact = eager(frame)
        parity = {"runner": compare(engine(frame), exact), "bare": compare(bare.run(1), exact)}
        for name, score in parity.items():
            assert score.psnr_db > LEAST_PSNR_DB, f"{name} is wrong: {score}"
        ours = in_turns(
            {"bare OpenVINO": lambda: bare.run(frames), "runner": lambda: stream(engine, batch)},
            turns=turns,
            items=frames,
        )
        table(f"OpenVINO, {precision}, uint8 to uint8", ours)
        few = batch[: max(2, frames // 4)]
        candidates: dict[str, Callable[[], object]] = {
            "torch float32": lambda: stream(eager, few),
            "openvino": lambda: stream(engine, few),
        }
        if compiled:
            fast = Translator.open(generator, backend="torch-compiled", device="cpu")
            assert compare(fast(frame), exact).psnr_db > LEAST_PSNR_DB
            candidates["torch compiled"] = lambda: stream(fast, few)
        others = in_turns(candidates, turns=turns, items=len(few))
        table("against PyTorch", others)
    return {
        "benchmark": "translate",
        "settings": {"width": width, "blocks": blocks, "size": size, "precision": precision},
        "of_bare": ours["runner"].rate / ours["bare OpenVINO"].rate,
        "of_eager": others["openvino"].rate / others["torch float32"].rate,
        "psnr_db": {name: score.psnr_db for name, score in parity.items()},
        "timings": figures(ours | others),
    }


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print a table and record the result."""
    parser = parser_for(__doc__, turns=5)
    parser.add_argument("--size", type=int, default=256, help="height and width of frames")
    parser.add_argument("--frames", type=int, default=16, help="in each turn")
    parser.add_argument("--no-compiled", action="store_true", help="leave torch.compile out")
    given = parser.parse_args(arguments)
    result = measure(
        width=given.width,
        blocks=given.blocks,
        size=given.size,
        frames=given.frames,
        turns=given.turns,
        compiled=not given.no_compiled,
    )
    result["aims"] = {"of_bare": AIM_OF_BARE, "of_eager_with_amx": AIM_OF_EAGER_WITH_AMX}
    record(result, given.output)
    return result


if __name__ == "__main__":
    main()
