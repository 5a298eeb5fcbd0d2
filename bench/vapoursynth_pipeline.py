"""A VapourSynth pipeline around a vs-mlrt plug-in, run by the interpreter that has both.

    PYTHON -P bench/vapoursynth_pipeline.py ov                                    is it there?
    PYTHON -P bench/vapoursynth_pipeline.py ov MODEL.onnx FRAMES.npy RESULT.npy bf16

Stands alone: it needs VapourSynth and NumPy, and nothing of ours. The second form translates the
frames once into RESULT.npy and says
"ready" and its versions; then each line with a number on standard input is
answered by "done", once all the frames went through the pipeline so many times.

N batch, H height, W width. Frames are uint8 (N, H, W, 3), RGB; the model takes and gives float32
(1, 3, H, W) in [0, 1].
"""

import sys
from collections.abc import Iterator
from typing import Any


class Pipeline:
    """RGB24 -> float -> the model -> RGB24, over the frames again and again."""

    def __init__(self, plugin: str, model: str, frames: Any, precision: str) -> None:
        import vapoursynth as vs

        self.count, self._next = len(frames), 0
        core = vs.core
        _, height, width, _ = frames.shape
        blank = core.std.BlankClip(
            width=width, height=height, length=self.count, format=vs.RGB24, keep=True
        )
        source = core.std.ModifyFrame(blank, blank, lambda n, f: _filled(f, frames[n]))
        # A frame number is asked for once, so that no cache answers; the loop never ends.
        clip = core.resize.Point(core.std.Loop(source), format=vs.RGBS)
        if plugin == "ov":
            hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
            clip = core.ov.Model([clip], model, device="CPU", config=lambda: hints)
        else:
            clip = core.ort.Model([clip], model, provider="")
        self._clip = core.resize.Point(clip, format=vs.RGB24)

    def run(self, times: int) -> Iterator[Any]:
        """Every translated frame of so many rounds; VapourSynth works ahead of them."""
        begin, self._next = self._next, self._next + times * self.count
        yield from self._clip[begin : self._next].frames(close=True)


def _filled(frame: Any, picture: Any) -> Any:
    import numpy as np

    filled = frame.copy()
    for plane in range(3):
        np.copyto(np.asarray(filled[plane]), picture[:, :, plane])
    return filled


ENGINES = {
    "ov": ("OpenVINO", "openvino_version_build"),
    "ort": ("ONNX Runtime", "onnxruntime_version"),
}


def versions(plugin: str) -> str:
    """Of all that is needed. Raises ImportError or AttributeError where something is missing."""
    import numpy as np
    import vapoursynth as vs

    assert np.__version__
    engine, key = ENGINES[plugin]
    found = getattr(vs.core, plugin).Version()
    texts = {
        name: text.decode() if isinstance(text, bytes) else str(text)
        for name, text in found.items()
        if name in ("version", key)
    }
    return f"VapourSynth {vs.__version__}, vs-mlrt {texts['version']}, {engine} {texts.get(key)}"


def main(plugin: str, model: str, frames_path: str, result_path: str, precision: str) -> None:
    """Translate once, then on demand, until standard input ends."""
    import numpy as np

    pipeline = Pipeline(plugin, model, np.load(frames_path), precision)
    pictures = [
        np.stack([np.asarray(frame[plane]) for plane in range(3)], axis=-1)
        for frame in pipeline.run(1)
    ]
    np.save(result_path, np.stack(pictures))
    print(f"ready: {versions(plugin)}", flush=True)
    for line in sys.stdin:
        for _ in pipeline.run(int(line)):
            pass
        print("done", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(versions(sys.argv[1]))
    else:
        main(*sys.argv[1:])
