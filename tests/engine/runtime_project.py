"""Building engine/runtime as its users do: CMake and Ninja, from the environment of the tests."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUNTIME = ROOT / "engine" / "runtime"


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    stdin: bytes = b"",
    timeout: float = 500,
    **environment: str,
) -> subprocess.CompletedProcess[bytes]:
    """Run ``command`` with this environment's programs first; its status is the caller's to see."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        timeout=timeout,
        env={**os.environ, "PATH": path, **environment},
    )


def must(command: Sequence[str | Path], **settings: object) -> bytes:
    """Standard output of ``command``, which has to succeed."""
    done = run(command, **settings)  # type: ignore[arg-type]
    text = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == 0, f"{list(map(str, command))}: status {done.returncode}\n{text}"
    return done.stdout


def build(folder: Path, *options: str, source: Path = ROOT) -> Path:
    """Configure ``source`` with ``options`` into ``folder`` and build it; returns ``folder``."""
    given = ["-DCMAKE_COMPILE_WARNING_AS_ERROR=ON", f"-DPython3_EXECUTABLE={sys.executable}"]
    must(["cmake", "-G", "Ninja", "-S", source, "-B", folder, *given, *options])
    must(["ninja", "-C", folder])
    return folder
