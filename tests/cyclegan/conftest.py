"""What tests of several modules need."""

import resource
from collections.abc import Callable, Iterator

import pytest


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], None]]:
    """No file may grow beyond so many bytes: a real refusal of the system."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
