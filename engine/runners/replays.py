"""What a lane does again and again, recorded as CUDA graphs.

A small frame's network is some hundred short kernels, and the host needs longer to launch them than
the GPU to run them. A graph is one launch, for one set of shapes and fixed addresses: what is given
is copied there first. It needs no compiler, and is recorded in the time of a few batches.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MOST = 8
"""Recordings of one lane: as many as there are sizes of a batch."""
PIXELS = 1 << 20
"""Of a batch, from which its kernels are long enough to be launched one by one in time."""
TOLERANCE = 0.01
"""Largest mean difference of a recording's first result to what it was recorded from, as a share of
the numbers' range: other algorithms round otherwise, a recording of the wrong thing differs more.
"""

Tensors = tuple[Tensor, ...]
Run = Callable[..., Tensors]
Record = Callable[[Run, Sequence[Tensor]], Callable[[], Tensors]]
"""(what to do, tensors that it reads each time) -> what does it again, and gives the same tensors
with new numbers."""
_log = logging.getLogger(__name__)
_one_records = threading.Lock()
"""A recording begins with a wait for the whole device, which would spoil another's."""


def cuda_graphs(stream: Any) -> Record:
    """Records what is begun in ``stream``."""
    pool = torch.cuda.graph_pool_handle()  # one for all, since a lane replays one at a time

    def record(run: Run, inputs: Sequence[Tensor]) -> Callable[[], Tensors]:
        graph = torch.cuda.CUDAGraph()
        # Other threads may take page-locked memory meanwhile, which concerns no recording of ours.
        capture = torch.cuda.graph(
            graph, pool=pool, stream=stream, capture_error_mode="thread_local"
        )
        with _one_records, capture:
            outputs = run(*inputs)

        def again() -> Tensors:
            graph.replay()
            return outputs

        return again

    return record


@dataclass(frozen=True)
class _Recording:
    inputs: Tensors
    """Where it reads."""
    again: Callable[[], Tensors]


class Replays:
    """The recordings of one lane. A result holds until the next call."""

    def __init__(self, record: Record | None) -> None:
        """Without ``record`` everything is done anew each time."""
        self._record = record
        self._done: deque[Hashable] = deque(maxlen=2 * MOST)
        """What was done of late: pictures of ever new sizes are not worth a recording."""
        self._recordings: dict[Hashable, _Recording] = {}

    def __call__(self, what: Hashable, run: Run, *inputs: Tensor) -> Tensors:
        """``run(*inputs)``; ``what`` tells apart what is done with inputs of the same shapes."""
        if self._record is None and not self._recordings:
            return run(*inputs)
        key = what, *((tensor.shape, tensor.dtype) for tensor in inputs)
        if recording := self._recordings.get(key):
            for target, tensor in zip(recording.inputs, inputs):
                target.copy_(tensor, non_blocking=True)
            return recording.again()
        made = run(*inputs)
        small = max(tensor.shape[:3].numel() for tensor in inputs) <= PIXELS
        if self._record and small and key in self._done and len(self._recordings) < MOST:
            self._try(self._record, key, run, inputs, made)
        self._done.append(key)
        return made

    def _try(
        self, record: Record, key: Hashable, run: Run, inputs: Sequence[Tensor], made: Tensors
    ) -> None:
        """Record it; where that fails, or gives something else, go on without any recordings."""
        own = tuple(tensor.clone() for tensor in inputs)
        try:
            again = record(run, own)
            problem = _unlike(again(), made)
        except RuntimeError as error:
            problem = str(error)
        if problem:
            _log.warning("batches are launched kernel by kernel: %s", problem)
            self._record = None
        else:
            self._recordings[key] = _Recording(own, again)


def _unlike(again: Tensors, made: Tensors) -> str:
    """What is wrong with a recording's result; waits for the device, once for each recording."""
    for got, expected in zip(again, made):
        off = (got.to(torch.float32) - expected.to(torch.float32)).abs().mean().item()
        if not off <= TOLERANCE * torch.iinfo(got.dtype).max:
            return f"a CUDA graph gave other pictures, {off:.3g} off on the mean"
    return ""
