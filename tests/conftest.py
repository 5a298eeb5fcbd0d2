"""Settings for all tests."""

import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# Shared machines stall now and then: a slow example is no failure.
hypothesis.settings.register_profile("project", deadline=None, max_examples=50)
hypothesis.settings.load_profile("project")

# A shell that runs the tests in the background has them, and all that they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Graphs and engines of all tests go to one folder, made new for each run, never the user's.

    Processes that tests start inherit it.
    """
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CYCLEGAN_CACHE", str(folder))
        yield folder
