"""VapourSynth with a vs-mlrt plug-in as a peer, in a process of the interpreter that has them.

The environment variable VAPOURSYNTH_PYTHON names that interpreter; without it, it is ours. The
model is our exported graph between its conversions of pixels, which VapourSynth does itself.
"""

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Literal

import numpy as np

from bench.peer import Given, Ready
from cyclegan.engine.frames import Frames
from cyclegan.engine.model_source import open_source
from cyclegan.errors import BackendError

PIPELINE = Path(__file__).with_name("vapoursynth_pipeline.py")
VARIABLE = "VAPOURSYNTH_PYTHON"
SECONDS_TO_CLOSE = 20

Plugin = Literal["ov", "ort"]
PACKAGES: dict[Plugin, str] = {"ov": "vapoursynth-mlrt-ov", "ort": "vapoursynth-mlrt-ort"}


def in_vapoursynth(plugin: Plugin, precision: Callable[[], str]) -> Callable[[Given], Ready]:
    """VapourSynth with ``plugin``; ``precision`` is OpenVINO's hint, the other takes the graph's.

    A batch is so many frames one after the other: VapourSynth hands on single frames.
    """

    def open_(given: Given) -> Ready:
        process = given.opened.enter_context(Process(plugin, given, precision()))
        return Ready(once=lambda: process.first, repeated=process.run, about=process.versions)

    return open_


class Process:
    """The other interpreter with its pipeline open. Raises BackendError where that fails."""

    def __init__(self, plugin: Plugin, given: Given, precision: str) -> None:
        self._folder = TemporaryDirectory()
        folder = Path(self._folder.name)
        model, frames, result = (folder / name for name in ("m.onnx", "in.npy", "out.npy"))
        height, width = given.frames.shape[1:3]
        cut_graph(open_source(given.generator).onnx(), model, height, width)
        np.save(frames, given.frames)
        self._said: IO[str] = TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [interpreter(), "-P", PIPELINE, plugin, model, frames, result, precision],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True,
        )  # fmt: skip
        try:
            self.versions = self._expect("ready: ")
            self.first: Frames = np.load(result)
        except BaseException:
            self.close()
            raise

    def run(self, count: int) -> None:
        """All frames through the pipeline ``count`` times; returns when the last is out."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        self._expect("done")

    def _expect(self, beginning: str) -> str:
        """What follows ``beginning`` on the next line that the process says."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line.startswith(beginning):
            return line.removeprefix(beginning).strip()
        self._process.kill()
        self._process.wait(SECONDS_TO_CLOSE)
        self._said.seek(0)
        last = (self._said.read().strip().splitlines() or [f"it said {line!r}"])[-1]
        raise BackendError(f"the VapourSynth pipeline stopped: {last}")

    def close(self) -> None:
        """Ends the process; a second call does nothing."""
        if self._process.poll() is None:
            self._process.kill()  # it holds nothing that would have to be put away
        self._process.communicate(timeout=SECONDS_TO_CLOSE)
        self._said.close()
        self._folder.cleanup()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def interpreter() -> str:
    """The one that has VapourSynth, or would have."""
    return os.environ.get(VARIABLE) or sys.executable


def missing(plugin: Plugin) -> Callable[[], str | None]:
    """Says why ``plugin`` does not run in that interpreter."""
    return lambda: _missing(plugin, interpreter())


@functools.cache
def _missing(plugin: Plugin, python: str) -> str | None:
    try:
        command = [python, "-P", str(PIPELINE), plugin]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        reason = said[-1] if done.returncode else None
    except OSError as error:
        reason = f"cannot be run: {error.strerror}"
    except subprocess.TimeoutExpired:
        reason = "did not answer within 60 s"
    if reason is None:
        return None
    which = "this Python" if python == sys.executable else f"the Python of {VARIABLE}"
    return (
        f"{which}: {reason}; {VARIABLE} names one, 3.12 or later, that has vapoursynth, "
        f"{PACKAGES[plugin]} and numpy"
    )


def cut_graph(source: Path, target: Path, height: int, width: int) -> None:
    """Write what of a frame-to-frame graph is between pixels: float32 (1, C, H, W) in [0, 1].

    The graph begins with a cast, a transposition and x / 127.5 - 1, and ends with (y + 1) * 127.5,
    a rounding, a clamp and the way back: that is how :mod:`cyclegan.engine.frame_graph` is
    exported. On [0, 1] both constants are 0.5.
    """
    import onnx

    graph = onnx.load(source).graph
    kinds = [node.op_type for node in graph.node]
    end = kinds.index("Round")
    assert (kinds[:4], kinds[end - 2 : end]) == (
        ["Cast", "Transpose", "Div", "Sub"],
        ["Add", "Mul"],
    )
    nodes = graph.node[2:end]
    scale = nodes[0].input[1]
    assert nodes[-1].input[1] == scale
    half = onnx.numpy_helper.from_array(np.array(0.5, np.float32), scale)
    used = {name for node in nodes for name in node.input}
    weights = [half if w.name == scale else w for w in graph.initializer if w.name in used]
    shape = [1, 3, height, width]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name in (nodes[0].input[0], nodes[-1].output[0])
    ]
    cut = onnx.helper.make_graph(nodes, "between pixels", ends[:1], ends[1:], weights)
    opset = [onnx.helper.make_opsetid("", onnx.load(source).opset_import[0].version)]
    model = onnx.helper.make_model(cut, opset_imports=opset, ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)
