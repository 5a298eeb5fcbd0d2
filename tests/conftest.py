"""Settings for all tests."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

# The networks of tests are small: threads that share one wait for each other for longer than they
# work, most of all on a machine that others use. Processes that tests start have it from here.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Hundreds of processes load the package and three the tests: what one has compiled is kept for all.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Shared machines stall now and then: a slow example is no failure. Each run has the same examples,
# so that no change is refused for what it did not do; --hypothesis-profile=search finds new ones.
hypothesis.settings.register_profile("project", deadline=None, max_examples=50, derandomize=True)
hypothesis.settings.register_profile("search", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("project")

# A shell that runs the tests in the background has them, and all that they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def cache(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Path]:
    """Graphs and engines of all tests go to one folder, made new for each run, never the user's.

    Processes that tests start inherit it, and the workers of a run share it: what takes seconds to
    compile is compiled by one of them.
    """
    ours = tmp_path_factory.getbasetemp()
    folder = (ours.parent if hasattr(request.config, "workerinput") else ours) / "cache"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CYCLEGAN_CACHE", str(folder))
        yield folder


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], None]]:
    """No file may grow beyond so many bytes: a real refusal of the system."""
    resource = pytest.importorskip("resource", reason="limits are POSIX's")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def unimportable_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the import of torchmetrics raises here, as with the torchvision of another build."""
    home, said = tmp_path / "packages" / "torchmetrics", "operator torchvision::nms does not exist"
    home.mkdir(parents=True)
    (home / "__init__.py").write_text(f"raise RuntimeError({said!r})")
    monkeypatch.delitem(sys.modules, "torchmetrics", raising=False)
    monkeypatch.syspath_prepend(home.parent)
    return said
