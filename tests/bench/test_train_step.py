"""The benchmark of the training step, on a step small enough for a test."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench import aims, train_step
from bench.harness import Timing
from bench.steps import VARIANTS
from cyclegan.config import CycleGANConfig, PatchConfig, ResnetConfig
from cyclegan.model import CycleGAN
from cyclegan.networks import network_from_config

TINY = ["--width", "4", "--blocks", "1", "--size", "32", "--turns", "1", "--workers", "0"]
EAGER = [name for name, variant in VARIANTS.items() if variant.compiled == "nothing"]


def test_steps_and_loader_are_measured(aims_found: Callable[..., int]) -> None:
    (result,) = train_step.main([*TINY, "--variants", *EAGER])
    assert set(result["timings"]) == set(EAGER)
    assert result["of_eager"][EAGER[0]] == 1
    fractions = result["of_flop_limit"]
    assert all(fraction > 0 for fraction in fractions.values())
    assert fractions[EAGER[0]] < 1  # bfloat16 in software has no rate that deserves the name
    assert all(peak is None or peak > 1e6 for peak in result["peak_bytes"].values())
    assert result["loader_pairs_per_s"] > 0
    result["of_eager"][aims.STEP] = 1.0  # compiling takes too long for a test
    assert aims_found(result, size=256) + aims_found(result, size=128, workers=2) == 2


def test_an_unknown_variant_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others would be measured, and the row be taken for what was asked."""
    monkeypatch.setattr(train_step, "measure", lambda *_: pytest.fail("was measured"))
    with pytest.raises(SystemExit):
        train_step.main([*TINY, "--variants", EAGER[0], "fast"])
    assert f"no variant 'fast' here; there are '{EAGER[0]}', " in capsys.readouterr().err


def test_times_as_fast_are_taken_turn_by_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ratio of the medians would be 2/3."""
    seconds = dict(zip(EAGER, ((1.0, 2.0, 9.0), (1.0, 4.0, 3.0)), strict=True))
    in_turns = train_step.in_turns

    def turns(candidates: Any, **how: Any) -> dict[str, Timing]:
        if set(candidates) != set(seconds):
            return in_turns(candidates, **how)
        return {name: Timing(seconds=taken, items=1) for name, taken in seconds.items()}

    monkeypatch.setattr(train_step, "in_turns", turns)
    (result,) = train_step.main([*TINY, "--variants", *EAGER])
    assert result["of_eager"] == dict.fromkeys(EAGER, 1.0)


def test_a_step_of_the_paper_is_as_large_as_its_layers_say() -> None:
    """Forward once and backward twice, but for the first layers' inputs: about 3 forwards."""
    x = torch.zeros(1, 3, 64, 64)
    paper = network_from_config(ResnetConfig())
    assert train_step.flops_of(lambda: paper(x)) == pytest.approx(2 * 49.55e9 / 16, rel=0.01)
    thin = {"generator": ResnetConfig(width=8), "discriminator": PatchConfig(width=8)}
    model = CycleGAN(CycleGANConfig(precision="float32", merged=False, **thin))
    forward = train_step.flops_of(lambda: model.generator_ab(x))
    step = train_step.flops_of(lambda: model.step(x, x))
    assert 16 * forward < step < 21 * forward


def test_wrong_losses_stop_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_step.steps, "FAR", 1e-9)
    with pytest.raises(AssertionError, match="float32 has"):
        train_step.main([*TINY, "--variants", *EAGER])
