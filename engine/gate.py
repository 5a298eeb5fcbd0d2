"""The gate: no plan is handed out before its pictures were compared with float32.

N batch, C channels, H height, W width. On a machine that can run the plan, the engine itself is
compared; elsewhere the same graph is run on the CPU with its tensors rounded, and the plan's note
says that it was not run. Norms in 16 bits come first; where they fail, norms in float32; where
those fail too, the plan is refused.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cyclegan.engine.frames import Frames
from cyclegan.engine.graph_info import GraphInfo
from cyclegan.engine.parity import compare
from cyclegan.engine.plan_settings import PlanSettings
from cyclegan.engine.real_frames import fitted
from cyclegan.engine.rounding import rounded_graph, run_on_cpu
from cyclegan.engine.typed_graph import BodyPrecision, NormRoute, norm_type
from cyclegan.errors import BackendError

NOT_RUN = "not run on this machine: the same graph on the CPU, 16-bit tensors rounded"
NOTHING_ROUNDED = "not run on this machine; in float32 there is nothing to round"
RUN = "run on this machine's GPU"
UNCHECKED = "not checked"
_LARGEST = {"float16": 65504.0, "bfloat16": 3.3895e38, "float32": math.inf}


@dataclass(frozen=True, kw_only=True)
class Check:
    """How far a plan's pictures are from float32, in grey levels of 0..255."""

    how: str
    """:data:`RUN`, :data:`NOT_RUN`, :data:`NOTHING_ROUNDED` or :data:`UNCHECKED`."""
    norm: NormRoute
    frames: int = 0
    max_abs: int | None = None
    mean_abs: float | None = None
    psnr_db: float | None = None
    """None where the pictures are equal, or were not compared."""
    overflow: str | None = None
    """The first tensor beyond the range of its type, and its largest magnitude."""
    milliseconds: float | None = None
    """Of one batch, where it was run."""

    def failure(self, least_psnr_db: float) -> str | None:
        """Why the plan must not be used, or None."""
        if self.overflow is not None:
            return f"overflow: {self.overflow}"
        if self.psnr_db is not None and not self.psnr_db >= least_psnr_db:
            return (
                f"{self.psnr_db:.1f} dB from float32 (largest difference {self.max_abs}); "
                f"at least {least_psnr_db:g} dB are asked for"
            )
        return None


Attempt = tuple[Check, Any]
"""A check, and what was built for it."""


def choose(
    norms: Iterable[NormRoute], attempt: Callable[[NormRoute], Attempt], settings: PlanSettings
) -> Attempt:
    """The first route of ``norms`` that passes; of several that were timed, the fastest.

    Raises BackendError when none passes, saying why for each.
    """
    failures: list[str] = []
    passed: list[Attempt] = []
    for norm in norms:
        check, made = attempt(norm)
        if reason := check.failure(settings.least_psnr_db):
            failures.append(f"norms in {norm_type(norm, settings.precision)}: {reason}")
            continue
        passed.append((check, made))
        if check.milliseconds is None:  # without times a second one can win nothing
            break
    if not passed:
        raise BackendError(
            f"no plan in {settings.precision} is close enough to float32: {'; '.join(failures)}; "
            "use --precision float32, or bfloat16 against overflow"
        )
    return min(passed, key=lambda made: made[0].milliseconds or 0.0)


def routes(settings: PlanSettings) -> tuple[NormRoute, ...]:
    """The norm routes to try, in order."""
    if settings.precision == "float32":
        return ("native",)
    return ("native", "float32") if settings.norm == "auto" else (settings.norm,)


def check_on_cpu(
    onnx: Path, typed: Any, norm: NormRoute, precision: BodyPrecision, frames: Frames
) -> Check:
    """Compare ``typed`` with 16 bits rounded against the float32 graph ``onnx``, both on the CPU.

    Raises BackendError where ONNX Runtime is missing.
    """
    import onnx as library

    if precision == "float32":
        return Check(how=NOTHING_ROUNDED, norm=norm)
    expected, _ = run_on_cpu(library.load(onnx), frames)
    made, peaks = run_on_cpu(rounded_graph(typed), frames)
    check = compared(made, expected, NOT_RUN, norm)
    return dataclasses.replace(check, overflow=_overflow(peaks, _LARGEST[precision]))


def check_engine(
    onnx: Path,
    execute: Callable[[bytes, GraphInfo, Sequence[Frames]], tuple[list[Frames], float]],
    plan: bytes,
    info: GraphInfo,
    settings: PlanSettings,
    norm: NormRoute,
    frames: Frames,
) -> Check:
    """Compare the engine itself, run on this machine's GPU, with the float32 graph on the CPU.

    In batches as the plan is best at, of which the last is filled up with pictures from the front.
    """
    import onnx as library

    batch, *size = settings.profile.best
    pictures = fitted(frames, *size)
    count = -(-len(pictures) // batch) * batch
    filled = np.resize(pictures, (count, *pictures.shape[1:]))
    batches = [filled[start : start + batch] for start in range(0, count, batch)]
    made, milliseconds = execute(plan, info, batches)
    expected, _ = run_on_cpu(library.load(onnx), pictures)
    check = compared(np.concatenate(made)[: len(pictures)], expected, RUN, norm)
    return dataclasses.replace(check, milliseconds=milliseconds)


def compared(made: Frames, expected: Frames, how: str, norm: NormRoute) -> Check:
    """The differences between two uint8 arrays of one shape (N, H, W, C)."""
    parity = compare(made, expected)
    return Check(
        how=how,
        norm=norm,
        frames=parity.frames,
        max_abs=parity.max_abs,
        mean_abs=parity.mean_abs,
        psnr_db=parity.psnr_db if math.isfinite(parity.psnr_db) else None,
    )


def _overflow(peaks: dict[str, float], largest: float) -> str | None:
    for name, peak in peaks.items():
        if not peak <= largest:
            return f"{name} reaches {peak:.3g}, beyond {largest:.3g}"
    return None
