"""The experiment of learning, for a moment of it."""

import json
from pathlib import Path

import pytest

from bench import learning
from cyclegan.config import CycleGANConfig, PatchConfig, ResnetConfig

TINY = CycleGANConfig(
    generator=ResnetConfig(width=4, blocks=1), discriminator=PatchConfig(width=4, layers=1)
)


def test_runs_are_scored_and_tabled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(learning.VARIANTS, "default", TINY)
    output = tmp_path / "learning.jsonl"
    small = ["--minutes", "0.02", "--size", "32", "--crops", "4", "--pairs", "3"]
    table = learning.main([*small, "--seeds", "0", "1", "--output", str(output)])
    results = [json.loads(line) for line in output.read_text().splitlines()]
    assert [result["seed"] for result in results] == [0, 1]
    rows = [line.split(" | ") for line in table.read_text().splitlines() if " | " in line]
    assert len(rows) == 2 + 2 * 2
    assert {len(row) for row in rows} == {len(learning.COLUMNS)}
    first = results[0]["scores"]["relief to satellite"]
    assert rows[2][5] == f"{first['ours']['l1']:.3f}"
    assert first["match"]["l1"] < 0.3


@pytest.mark.parametrize(
    ("l1", "ssim", "expected"), [(0.1, 0.6, True), (0.1, 0.4, False), (0.3, 0.6, False)]
)
def test_to_beat_is_to_be_better_by_both(l1: float, ssim: float, expected: bool) -> None:
    ours = {"l1": l1, "ssim": ssim}
    assert learning.beats(ours, {"l1": 0.2, "ssim": 0.5}) == expected
