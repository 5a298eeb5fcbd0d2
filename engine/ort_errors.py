"""ONNX Runtime's errors as ours."""

import contextlib
from collections.abc import Iterator

from cyclegan.errors import BackendError


@contextlib.contextmanager
def ort_errors() -> Iterator[None]:
    """Raises BackendError where ONNX Runtime, which is installed, cannot run a graph."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    try:
        yield
    except (state.Fail, state.InvalidArgument, state.RuntimeException) as error:
        reason = " ".join(str(error).split())  # it is of several lines
        raise BackendError(
            f"ONNX Runtime cannot run the graph: {reason}; where memory is short, fewer or smaller "
            "pictures need less"
        ) from error
