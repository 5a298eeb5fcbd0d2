"""Does it learn, and what makes colours come out inverted: runs on the built-in maps, scored.

    python -m bench.learning                                  # three seeds, 10 minutes each
    python -m bench.learning --variants default "no identity" --seeds 0 1 2 --minutes 10

Every run trains on unpaired 128x128 crops of relief map and satellite picture and is scored on
aligned crops that it never saw, both ways, beside the unpaired mean/std match. A line a run goes to
``--output`` as it ends; ``bench/pages.py`` makes the table of them.
Run it where nothing else runs: the number of steps in the given time is part of the result.
"""

import argparse
import dataclasses
import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.harness import record
from cyclegan import sample_data
from cyclegan.checkpoint import load_generator
from cyclegan.config import CycleGANConfig, DataConfig, PatchConfig, ResnetConfig, TrainConfig
from cyclegan.evaluate import Scores, baselines, evaluate_pairs
from cyclegan.training import train

MARGIN = 32
"""Pixels that a stored crop is larger, for the random crop of training."""
MODEL = CycleGANConfig(
    generator=ResnetConfig(width=32, blocks=4, upsample="resize"),
    discriminator=PatchConfig(width=32),
)
VARIANTS: dict[str, CycleGANConfig] = {
    "default": MODEL,
    "no identity": dataclasses.replace(MODEL, lambda_identity=0.0),
    "identity 1": dataclasses.replace(MODEL, lambda_identity=1.0),
    "cycle l2": dataclasses.replace(MODEL, cycle_loss="l2"),
    "xavier": dataclasses.replace(MODEL, init="xavier"),
    "transposed": dataclasses.replace(
        MODEL, generator=ResnetConfig(width=32, blocks=4, upsample="transposed")
    ),
}
RIVAL = "mean/std match"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """The same for all runs of one table."""

    minutes: float
    size: int = 128
    crops: int = 500
    pairs: int = 62


def one_run(name: str, model: CycleGANConfig, setting: Setting, folder: Path) -> dict[str, Any]:
    """Trains, and scores both directions beside the match."""
    a, b = sample_data.write_training_folders(
        folder / "data", setting.crops, setting.size + MARGIN, model.seed
    )
    result = train(
        TrainConfig(
            data=DataConfig(a=a, b=b, preprocess="crop", crop_size=setting.size),
            model=model,
            output=folder / "run",
            minutes=setting.minutes,
            workers=0,
            checkpoints=0,
        )
    )
    relief, satellite = sample_data.evaluation_pairs(setting.pairs, setting.size, seed=1)
    directions = {
        "relief to satellite": (result.generator_ab, relief, satellite),
        "satellite to relief": (result.generator_ba, satellite, relief),
    }
    rows = {}
    for direction, (path, given, truth) in directions.items():
        match = baselines(list(given), list(truth))[RIVAL]
        rows[direction] = beside(
            evaluate_pairs(load_generator(path), zip(given, truth)),
            evaluate_pairs(match, zip(given, truth)),
        )
    return {
        "benchmark": "learning",
        "settings": {"variant": name, "seed": model.seed, **dataclasses.asdict(setting)},
        "steps": result.steps,
        "minutes": result.seconds / 60,
        "alarms": list(result.alarms),
        "rows": rows,
    }


def beside(ours: Scores, match: Scores) -> dict[str, float | bool]:
    """Figures of both; to beat the match is to be better by both L1 and SSIM."""
    return {
        "l1": ours.l1,
        "l1_of_match": match.l1,
        "ssim": ours.ssim,
        "ssim_of_match": match.ssim,
        "inverted": ours.inverted,
        "beats_match": ours.l1 < match.l1 and ours.ssim > match.ssim,
    }


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Run all, one after the other, and record the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", nargs="+", default=["default"], choices=VARIANTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, each run")
    parser.add_argument("--size", type=int, default=128, help="side of the square crops")
    parser.add_argument("--crops", type=int, default=500, help="of each domain")
    parser.add_argument("--pairs", type=int, default=62, help="that scores are means over")
    parser.add_argument("--output", type=Path, help="append the results to this file of JSON lines")
    given = parser.parse_args(arguments)
    setting = Setting(minutes=given.minutes, size=given.size, crops=given.crops, pairs=given.pairs)
    results = []
    for name, seed in itertools.product(given.variants, given.seeds):
        print(f"{name}, seed {seed}", file=sys.stderr)
        model = dataclasses.replace(VARIANTS[name], seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            results.append(one_run(name, model, setting, Path(folder)))
        record(results[-1], given.output)
    return results


if __name__ == "__main__":
    main()
