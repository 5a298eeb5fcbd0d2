"""The page that ``cyclegan demo`` leaves: what came of it, in pictures, curves and tables."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cyclegan import sample_data
from cyclegan.config import CycleGANConfig
from cyclegan.engine.doctor import diagnose
from cyclegan.engine.options import VideoStats
from cyclegan.engine.parity import Parity
from cyclegan.evaluate import Scores
from cyclegan.flicker import Flicker
from cyclegan.pictures import Picture
from cyclegan.report import (
    Figure,
    Gallery,
    Report,
    ScoreTable,
    Table,
    Video,
    samples_over_time,
)
from cyclegan.training import TrainResult

OURS, RIVAL = "CycleGAN", "mean/std match"
SHOWN = 6
"""Evaluation pairs in the page's gallery."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What the demonstration was asked to do."""

    folder: Path
    """Where it wrote its files."""
    minutes: float
    """Time that was given to training."""
    seed: int
    model: CycleGANConfig
    crops: str
    """What the training crops were, in words."""
    flyover_size: str


@dataclass(frozen=True, kw_only=True)
class Results:
    """What came of it."""

    training: TrainResult
    pairs: tuple[Picture, Picture]
    """Aligned evaluation crops: relief, satellite."""
    translated: Picture
    scores: dict[str, Scores]
    """Relief to satellite, ours and the baselines'."""
    scores_back: dict[str, Scores]
    """Satellite to relief."""
    parity: Parity
    engine: str
    open_seconds: float
    flyover: VideoStats
    flicker: Flicker
    """Of the beginning of the fly-over."""
    clip: VideoStats


def page_from_results(conditions: Conditions, results: Results, seconds: float) -> Report:
    """The page, ready to be written; ``seconds`` is what the whole demonstration took."""
    folder, minutes = conditions.folder, conditions.minutes
    return Report(
        title="From relief map to satellite picture",
        subtitle=f"A CycleGAN trained for {minutes:g} minutes on unpaired crops of two maps",
        figures=_figures(conditions, results, seconds),
        videos=_videos(folder),
        gallery=Gallery(
            columns=("relief map", "translated", "true satellite picture"),
            rows=list(zip(results.pairs[0], results.translated, results.pairs[1]))[:SHOWN],
            note="Evaluation crops, from strips of the Earth that training never saw.",
        ),
        scores=(
            ScoreTable(title="Relief to satellite", ours=OURS, rival=RIVAL, rows=results.scores),
            ScoreTable(
                title="Satellite to relief", ours=OURS, rival=RIVAL, rows=results.scores_back
            ),
        ),
        progress=samples_over_time(
            folder / "train" / "samples", {"ab": "Relief to satellite, and back"}
        ),
        losses=folder / "train" / "losses.csv",
        speed=_speed(conditions, results),
        parity=_parity(results),
        settings=_settings(conditions),
        machine=_machine(),
        command=f"cyclegan demo --output {shlex.quote(str(folder))} --minutes {minutes:g} "
        f"--seed {conditions.seed}",
        credits=[sample_data.CREDITS[name] for name in ("relief", "satellite", "bikes")],
    )


def _figures(conditions: Conditions, results: Results, seconds: float) -> Sequence[Figure]:
    ours, training = results.scores[OURS], results.training
    return (
        Figure(label="SSIM", value=f"{ours.ssim:.3f}", note=_against("ssim", results)),
        Figure(label="PSNR", value=f"{ours.psnr:.1f} dB", note=_against("psnr", results)),
        Figure(
            label="training",
            value=f"{training.steps} steps",
            note=f"in {training.seconds / 60:.1f} minutes",
        ),
        Figure(
            label="fly-over",
            value=f"{results.flyover.frames_per_second:.1f} frames/s",
            note=f"{conditions.flyover_size}, decode to encode",
        ),
        Figure(
            label="flicker",
            value=f"{results.flicker.translation:.1f} grey levels",
            note=f"of the fly-over, motion taken out; its source: {results.flicker.source:.1f}",
        ),
        Figure(label="the whole demo", value=f"{seconds / 60:.1f} minutes"),
    )


def _videos(folder: Path) -> Sequence[Video]:
    return (
        Video(
            path=folder / "flyover_side_by_side.mp4",
            caption="A fly-over: relief map, its translation, the true satellite picture",
        ),
        Video(path=folder / "flyover_satellite.mp4", caption="The translation alone"),
        Video(
            path=folder / "bikes_satellite.mp4",
            caption="What it makes of a street, which it has never seen the like of",
        ),
    )


def _settings(conditions: Conditions) -> dict[str, str]:
    model = conditions.model
    return {
        "generator": str(model.generator),
        "discriminator": str(model.discriminator),
        "loss weights": f"cycle {model.lambda_a:g}, identity {model.lambda_identity:g} of it",
        "training crops": conditions.crops,
        "seed": str(conditions.seed),
    }


def _machine() -> dict[str, str]:
    machine = diagnose()
    return {
        "processor": f"{machine.cpu}, {machine.cores} cores",
        "instructions": ", ".join(machine.instruction_sets),
        "system": machine.system,
        **{name: version for name, version in machine.libraries.items() if version},
    }


def _against(metric: str, results: Results) -> str:
    return f"{RIVAL}: {getattr(results.scores[RIVAL], metric):.3g}"


def _speed(conditions: Conditions, results: Results) -> Table:
    rows = []
    for name, stats in (
        (f"fly-over, {conditions.flyover_size}", results.flyover),
        ("bikes.mp4, 640x272", results.clip),
    ):
        rates = stats.stage_rates()
        rows.append(
            [
                name,
                str(stats.frames),
                *(f"{rates[stage]:.1f}" for stage in ("decode", "translate", "encode")),
                f"{stats.frames_per_second:.1f}",
                stats.bound_by,
            ]
        )
    return Table(
        columns=("clip", "frames", "decode", "translate", "encode", "end to end", "bound by"),
        rows=rows,
        note=f"Frames per second. Engine: {results.engine}, "
        f"ready after {results.open_seconds:.1f} s.",
    )


def _parity(results: Results) -> Table:
    found = results.parity
    return Table(
        columns=("engine", "frames", "PSNR", "largest difference", "mean difference"),
        rows=[
            [
                results.engine,
                str(found.frames),
                f"{found.psnr_db:.1f} dB",
                f"{found.max_abs} of 255",
                f"{found.mean_abs:.3f}",
            ]
        ],
        note="Against the same generator in float32 PyTorch, on evaluation crops.",
    )
