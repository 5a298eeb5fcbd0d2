"""Our kernels on, or off: PyTorch's own operators then, whatever the device."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from cyclegan.kernels import launch, native


def either(ours: bool) -> AbstractContextManager[None]:
    """Our kernels, or PyTorch's operators."""
    return nullcontext() if ours else without_kernels()


@contextmanager
def without_kernels() -> Iterator[None]:
    """The reference path: what PyTorch does by itself."""
    before = launch.HAS_TRITON, native.ON
    launch.HAS_TRITON = native.ON = False
    try:
        yield
    finally:
        launch.HAS_TRITON, native.ON = before


@contextmanager
def in_splits() -> Iterator[None]:
    """Small images by the two kernels of large ones."""
    before = launch.WHOLE
    launch.WHOLE = 0
    try:
        yield
    finally:
        launch.WHOLE = before
