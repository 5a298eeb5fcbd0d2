"""What is made once a process, whichever threads ask for it first."""

import functools
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Made = TypeVar("Made")


def once(make: Callable[Given, Made]) -> Callable[Given, Made]:
    """``make``, called once for what it is given: functools.cache calls it in each thread that
    comes before the first result."""
    lock, kept = threading.Lock(), functools.cache(make)

    @functools.wraps(make)
    def get(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        with lock:
            return kept(*args, **kwargs)  # type: ignore[arg-type]

    return get
