"""The thread in which a runner of PyTorch's computes."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from cyclegan.errors import BackendError

Given = ParamSpec("Given")
Made = TypeVar("Made")


class Worker:
    """One thread, so that batches are seen in the order in which they were submitted."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="translate")

    def submit(
        self, compute: Callable[Given, Made], /, *args: Given.args, **kwargs: Given.kwargs
    ) -> Future[Made]:
        """Start ``compute``. Raises BackendError where there is no thread for it."""
        try:
            return self._executor.submit(compute, *args, **kwargs)
        except RuntimeError as error:  # also once the main thread has ended
            raise BackendError(
                f"PyTorch cannot begin a batch: {error}; the main thread must outlast those that "
                "translate"
            ) from error

    def shutdown(self) -> None:
        """Wait for what was submitted, and end the thread."""
        self._executor.shutdown()
