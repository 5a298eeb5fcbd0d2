import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import video

ROOT = Path(__file__).parents[2]


SMALL = ["--width", "4", "--blocks", "1", "--size", "32", "--turns", "1"]


def test_videos_can_be_timed() -> None:
    result = video.main([*SMALL, "--frames", "8"])
    assert result["of_translator"] > 0
    assert result["bound_by"] in ("decode", "translate", "encode")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_measured_in_processes_of_their_own() -> None:
    command = [sys.executable, "-m", "bench.video", "--memory", "--size", "32"]
    done = subprocess.run(
        [*command, "--short", "5", "--long", "10"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=120,
    )
    result = json.loads(done.stdout)
    assert set(result["peak_bytes"]) == {"5", "10"}
    assert 0.5 < result["growth"] < 2
