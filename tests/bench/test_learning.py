"""The experiment of learning, for a moment of it."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import learning, pages
from bench.machine import ROOT
from cyclegan.config import CycleGANConfig, PatchConfig, ResnetConfig
from cyclegan.evaluate import Scores

TINY = CycleGANConfig(
    generator=ResnetConfig(width=4, blocks=1), discriminator=PatchConfig(width=4, layers=1)
)


@pytest.mark.parametrize("minutes", ["0", "-1", "nan"])
def test_runs_of_no_minutes_are_refused(
    minutes: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """None given are ten."""
    monkeypatch.setattr(learning, "one_run", lambda *_: pytest.fail("was trained"))
    with pytest.raises(SystemExit):
        learning.main(["--minutes", minutes])
    assert f"--minutes {minutes}: expected some, such as 10" in capsys.readouterr().err


def test_runs_are_scored_and_tabled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(learning.VARIANTS, "default", TINY)
    output = tmp_path / "learning.jsonl"
    small = ["--minutes", "0.02", "--size", "32", "--crops", "4", "--pairs", "3"]
    results = learning.main([*small, "--seeds", "0", "1", "--output", str(output)])
    written = [json.loads(line) for line in output.read_text().splitlines()]
    assert [result["settings"]["seed"] for result in written] == [0, 1]
    assert len(pages.latest(written)) == 2, "a seed does not replace another"
    page = "\n".join(pages._plain_lines(written[0]))
    first = results[0]["rows"]["relief to satellite"]
    assert first["l1_of_match"] < 0.3
    cells = [line for line in page.splitlines() if line.startswith("| relief to satellite")]
    assert f"| {first['l1']:.3g} | {first['l1_of_match']:.3g} |" in cells[0]
    assert first["l1_of_paired_affine"] < first["l1_of_match"]
    assert 0 <= first["inverted_of_match"] <= 1


@pytest.mark.parametrize(
    ("l1", "ssim", "expected"), [(0.1, 0.6, True), (0.1, 0.4, False), (0.3, 0.6, False)]
)
def test_to_beat_is_to_be_better_by_both(l1: float, ssim: float, expected: bool) -> None:
    match = Scores(count=1, l1=0.2, psnr=20.0, ssim=0.5, gradient_correlation=0.5, inverted=0.0)
    ours = replace(match, l1=l1, ssim=ssim)
    assert learning.beside(ours, match, paired=match)["beats_match"] == expected


def test_paired_affine_finds_an_affine_map_of_colours() -> None:
    given = np.random.default_rng(0).integers(0, 100, (2, 8, 8, 3), dtype=np.uint8)
    truth = 255 - 2 * given[..., ::-1]
    translate = learning.paired_affine(given, truth)
    assert np.array_equal(translate(given[1]), truth[1])
    assert translate(np.full((4, 4, 3), 200, np.uint8)).max() == 0, "clipped, not wrapped around"


def test_the_command_above_the_table_of_variants_runs_all_of_them() -> None:
    section = (ROOT / "docs/training.md").read_text().partition("## Colours that come out")[2]
    command, _, table = section.partition("| variant |")
    _, _, names = command.partition("--variants ")
    named = shlex.split(names)
    shown = re.findall(r"^\| ([^|]+) \| \d", table.partition("\n\n")[0], re.MULTILINE)
    assert named == list(dict.fromkeys(shown))
    assert set(named) <= set(learning.VARIANTS)


def test_a_run_of_epochs_has_so_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(learning.VARIANTS, "any crops", TINY)
    small = ["--epochs", "3", "--size", "32", "--crops", "2", "--pairs", "3", "--seeds", "0"]
    (result,) = learning.main([*small, "--variants", "any crops"])
    assert result["steps"] == 3 * 2
    assert result["settings"]["minutes"] is None
