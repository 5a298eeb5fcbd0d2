"""Every kernel, forward and backward, in Triton's interpreter: in two processes of their own.

The interpreter must be chosen before the kernels are imported. The same files run on a GPU by
``python -m pytest -o python_files="on_*.py" -o pythonpath=tests/kernels tests/kernels``.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted(path.name for path in HERE.glob("on_*.py"))
HALVES = [FILES[half::2] for half in range(2)]
"""To begin a process takes as long as half of what is in the files."""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.parametrize("files", HALVES, ids=" ".join)
def test_kernels_in_the_interpreter(files: list[str]) -> None:
    root = HERE.parent.parent
    command = [
        sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--durations=3",
        "-o", "python_files=on_*.py", "-o", f"pythonpath={HERE}", *(HERE / file for file in files),
    ]  # fmt: skip
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for file in files:
        assert f"{file} ." in done.stdout, "none of its tests has passed"
