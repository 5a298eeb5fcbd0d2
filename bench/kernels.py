"""Each fused operation and its backward against eager PyTorch, torch.compile and a copy's rate.

A row's ``bytes`` are those that two kernels must move (see ``kernels/instance_norm.py``), so that
its rate over a copy's says how far the kernels are from the memory's limit; other variants are held
to the same bytes. Calls are captured in a CUDA graph that rotates among inputs of at least three
times the L2 together, each call with results of its own: neither launches nor the cache flatter
anyone. All that the graph has written is compared before it is timed: with float64, and frames with
what PyTorch's operators make of them.

    python -m bench.kernels          # rows to bench/results/<gpu>/kernels.json and .md

N batch, C channels, H height, W width; activations are float16, channels-last. Pixel conversions go
one way, from frames to tensor or back.
"""

import argparse
import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.checked import Call, Checked, as_tuple
from bench.graph_timing import copy_rate, sets_of, timed
from bench.pixels import PICTURES, PIXELS, Pixels
from bench.report import Report, brief, gpu_or_exit
from bench.switches import either, in_splits
from bench.time_limit import at_most
from cyclegan.kernels import instance_norm, launch, reflection_pad2d

DEVICE = "cuda"
ROW_SECONDS = 40
"""Of one row, compilation included."""
BATCHES = (1, 8)
SPLIT = "ours, in splits"
"""Small images as large ones: what one launch saves."""
ORDER = (("ours", SPLIT, "eager"), ("torch.compile",))
"""Variants, those first that are worth most in little time."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One fused group of the networks."""

    run: Callable[[Tensor, Tensor], Any]
    """From x and a residual to the result or results."""
    forward: float
    """Activations read and written forward, T each; borders of a pad are counted apart."""
    backward: float
    padded: tuple[int, int, int] = (0, 0, 0)
    """Pad, and how many padded activations move forward and backward."""
    residual: bool = False


OPERATIONS = {
    "norm relu": Operation(
        run=lambda x, r: instance_norm(x, activation="relu"), forward=3, backward=5
    ),
    "norm leaky": Operation(
        run=lambda x, r: instance_norm(x, activation="leaky_relu"), forward=3, backward=5
    ),
    "norm relu pad1": Operation(
        run=lambda x, r: instance_norm(x, activation="relu", pad=1),
        forward=2, backward=3, padded=(1, 1, 2),
    ),
    "norm relu pad3": Operation(
        run=lambda x, r: instance_norm(x, activation="relu", pad=3),
        forward=2, backward=3, padded=(3, 1, 2),
    ),
    "norm residual both": Operation(
        run=lambda x, r: instance_norm(x, residual=r, pad=1, unpadded=True),
        forward=4, backward=6, padded=(1, 1, 1), residual=True,
    ),
    "pad3": Operation(
        run=lambda x, r: reflection_pad2d(x, 3), forward=1, backward=1, padded=(3, 1, 1)
    ),
}  # fmt: skip

CASES = [
    # 256x256, 512x512 and 1280x720 through the generator; 256x256 through the discriminator.
    ("norm relu", 64, 256, 256), ("norm relu", 128, 128, 128), ("norm relu", 64, 512, 512),
    ("norm relu", 64, 720, 1280), ("norm relu pad1", 256, 64, 64),
    ("norm relu pad1", 256, 128, 128), ("norm relu pad1", 256, 180, 320),
    ("norm relu pad3", 64, 256, 256), ("norm relu pad3", 64, 720, 1280),
    ("norm residual both", 256, 64, 64), ("norm residual both", 256, 128, 128),
    ("norm residual both", 256, 180, 320), ("norm leaky", 128, 64, 64),
    ("norm leaky", 256, 32, 32), ("norm leaky", 512, 31, 31), ("pad3", 64, 720, 1280),
]  # fmt: skip


def declared_bytes(operation: Operation, shape: tuple[int, int, int, int], back: bool) -> int:
    """What the kernels must move, in bytes of float16."""
    n, c, h, w = shape
    pad, forth, backwards = operation.padded
    plain = n * c * h * w * (operation.backward if back else operation.forward)
    framed = n * c * (h + 2 * pad) * (w + 2 * pad) * (backwards if back else forth)
    return int(2 * (plain + framed))


def calls_of(
    run: Callable[[Tensor, Tensor], Any], shape: tuple[int, int, int, int], operation: Operation
) -> tuple[list[Checked], list[Checked]]:
    """Forward and backward calls over inputs that together pass the L2 three times."""
    pairs = [
        call_pair(run, shape, operation) for _ in range(sets_of(2 * torch.Size(shape).numel()))
    ]
    return [forward for forward, _ in pairs], [backward for _, backward in pairs]


def call_pair(
    run: Callable[[Tensor, Tensor], Any], shape: tuple[int, int, int, int], operation: Operation
) -> tuple[Checked, Checked]:
    """A forward call, and the backward one over the same input."""
    x, residual = (
        torch.randn(shape, device=DEVICE, dtype=torch.float16)
        .to(memory_format=torch.channels_last)
        .requires_grad_()
        for _ in range(2)
    )
    return _forward(run, x, residual, operation), _backward(run, x, residual, operation)


def _forward(
    run: Callable[[Tensor, Tensor], Any], x: Tensor, residual: Tensor, operation: Operation
) -> Checked:
    @torch.no_grad()
    def call() -> object:
        return run(x, residual)

    @torch.no_grad()
    def exact(images: slice) -> Any:
        return operation.run(x[images].double(), residual[images].double())

    return Checked(call=call, images=len(x), exact=exact)


def _backward(
    run: Callable[[Tensor, Tensor], Any], x: Tensor, residual: Tensor, operation: Operation
) -> Checked:
    made: list[Any] = []  # built at the first call, on the stream that will be captured

    def call() -> object:
        if not made:
            results = as_tuple(run(x, residual))
            made.extend([results, [torch.randn_like(r) for r in results]])
        inputs = (x, residual) if operation.residual else (x,)
        return torch.autograd.grad(made[0], inputs, made[1], retain_graph=True)

    def exact(images: slice) -> Any:
        given = [t.detach()[images].double().requires_grad_() for t in (x, residual)]
        results = as_tuple(operation.run(*given))
        gradients = [gradient[images].double() for gradient in made[1]]
        return torch.autograd.grad(results, given if operation.residual else given[:1], gradients)

    return Checked(call=call, images=len(x), exact=exact)


def variants(run: Callable[[Tensor, Tensor], Any]) -> dict[str, tuple[Callable[..., Any], bool]]:
    """What is compared: a callable each, and whether the kernels are on while it runs."""
    torch._dynamo.reset()
    return {
        "ours": (run, True),
        SPLIT: (in_splits()(run), True),
        "eager": (run, False),
        "torch.compile": (torch.compile(run, fullgraph=True, dynamic=False), False),
    }


@dataclass(frozen=True, kw_only=True)
class Case:
    """One operation at one size: the rows of all its variants."""

    operation: str
    shape: tuple[int, ...]
    run: Callable[..., Any]
    directions: dict[str, tuple[int, Callable[[Callable[..., Any]], Sequence[Call]]]]
    """Name: (bytes that must move, the calls to be timed of a variant of ``run``)."""

    def measured(self, variant: str) -> dict[str, Any]:
        """The directions of a variant: splits are apart only forward, of images held whole."""
        if variant != SPLIT:
            return self.directions
        whole = self.operation.startswith("norm") and math.prod(self.shape[2:]) <= launch.WHOLE
        return {name: of for name, of in self.directions.items() if whole and name == "forward"}


def cases(batch: int) -> Iterator[Case]:
    """What is measured at this batch size."""
    for name, *sizes in CASES:
        yield _norm_case(name, (batch, sizes[0], sizes[1], sizes[2]))
    for name, (height, width) in itertools.product(PIXELS, PICTURES):
        yield _pixel_case(name, (batch, height, width))


def _norm_case(name: str, shape: tuple[int, int, int, int]) -> Case:
    operation = OPERATIONS[name]
    return Case(
        operation=name,
        shape=shape,
        run=operation.run,
        directions={
            "forward": (
                declared_bytes(operation, shape, back=False),
                lambda run: calls_of(run, shape, operation)[0],
            ),
            "backward": (
                declared_bytes(operation, shape, back=True),
                lambda run: calls_of(run, shape, operation)[1],
            ),
        },
    )


def _pixel_case(name: str, shape: tuple[int, int, int]) -> Case:
    pixels = PIXELS[name]
    size = int(pixels.bytes * math.prod(shape))

    def calls(run: Callable[..., Any]) -> Sequence[Call]:
        given = [pixels.given(*shape, DEVICE) for _ in range(sets_of(size))]
        return [_conversion(run, tensors, pixels) for tensors in given]

    return Case(operation=name, shape=shape, run=pixels.run, directions={"forward": (size, calls)})


def _conversion(run: Callable[..., Any], given: tuple[Tensor, ...], pixels: Pixels) -> Checked:
    return Checked(
        call=functools.partial(run, *given),
        images=len(given[0]),
        exact=lambda images: pixels.run(*(tensor[images] for tensor in given)),
    )


def measure(report: Report, deadline: float, alone: bool = True) -> None:
    """All rows, each written as soon as it is measured; stops in time for the deadline.

    What torch.compile makes of the operations, which takes longest, comes last of its batch size. A
    row that the report has already is not measured again, but for those that others disturbed, at
    the end. Where others are at the GPU, it is not ``alone``: they slow down evenly what they run
    beside, which nothing shows, so all rows are busy, and what fails is no row.
    """
    report.facts.pop("kernels", None)
    rate = copy_rate()
    report.facts["copy_gb_per_s"] = round(rate / 1e9)
    common = Common(report=report, deadline=deadline, rate=rate, alone=alone)
    rounds = (False, True) if alone else (False,)
    for again, batch, names in itertools.product(rounds, BATCHES, ORDER):
        for case in cases(batch):
            for variant, (run, ours) in variants(case.run).items():
                if variant not in names:
                    continue
                in_time = time.monotonic() <= deadline
                if in_time:
                    with either(ours):
                        in_time = measure_one(common, case, variant, run, again)
                if not in_time:
                    report.facts["kernels"] = "stopped at the time limit"
                    report.write()
                    return


@dataclass(frozen=True, kw_only=True)
class Common:
    """Where and how all rows of a part are measured."""

    report: Report
    deadline: float
    rate: float
    """Of a copy, in bytes per second."""
    alone: bool


def measure_one(
    common: Common, case: Case, variant: str, run: Callable[..., Any], again: bool
) -> bool:
    """A row for each direction; an error is written into its row, and the next is measured.

    ``again`` replaces those that are busy. Returns whether there was time for both: what the
    deadline interrupts is no row. Raises an error after which nothing runs in this process.
    """
    report = common.report
    for direction, (size, calls) in case.measured(variant).items():
        row: dict[str, Any] = {
            "operation": case.operation,
            "direction": direction,
            "shape": "x".join(map(str, case.shape)),
            "variant": variant,
            "mbytes": round(size / 1e6, 1),
        }
        there = report.has("kernels", **row, **({"busy": True} if again else {}))
        if there != again:
            continue
        named = dict(row)
        left = common.deadline - time.monotonic()
        try:
            with at_most(min(ROW_SECONDS, left)):
                took = timed(calls(run))
            share = round(size / took.ms * 1e3 / common.rate, 3)
            row |= {"ms": round(took.ms, 4), "of_copy_rate": share}
            row |= {"busy": took.busy or not common.alone, "error": ""}
        except Exception as error:  # the other rows must not be lost with this one
            if isinstance(error, TimeoutError) and left < ROW_SECONDS:
                return False  # the part's time is over, not the row's
            if not common.alone:
                print("to be tried again:", *row.values(), brief(error), flush=True)
                _raise_if_lost()
                continue
            row |= {"ms": None, "of_copy_rate": None, "busy": False, "error": brief(error)}
        if again:
            report.drop("kernels", **named)
        report.add("kernels", **row)
        if row["error"]:
            _raise_if_lost()
    return True


def _raise_if_lost() -> None:
    """Raises again an error that has taken the GPU's context along."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main(arguments: list[str] | None = None) -> None:
    """Measure them all, in an hour at most."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(arguments)
    report = gpu_or_exit("kernels")
    measure(report, time.monotonic() + 3600)


if __name__ == "__main__":
    main()
