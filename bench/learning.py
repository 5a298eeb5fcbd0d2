"""Does it learn, and what makes colours come out inverted: runs on the built-in maps, scored.

    python -m bench.learning                                  # three seeds, 10 minutes each
    python -m bench.learning --variants default "no identity" --seeds 0 1 2 --minutes 10

Every run trains on unpaired 128x128 crops of relief map and satellite picture and is scored on
aligned crops that it never saw, both ways, beside the unpaired mean/std match. A line a run goes to
``--output`` as it ends; at the end the table of all lines there is written beside it as ``.md``.
Run it where nothing else runs: the number of steps in the given time is part of the result.
"""

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Mapping, Sequence
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
COLUMNS = (
    "variant", "seed", "steps", "minutes", "direction",
    "L1", "L1 of match", "SSIM", "SSIM of match", "inverted", "beats match",
)  # fmt: skip


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
    scores = {}
    for direction, (path, given, truth) in directions.items():
        match = baselines(list(given), list(truth))[RIVAL]
        scores[direction] = {
            "ours": _figures(evaluate_pairs(load_generator(path), zip(given, truth))),
            "match": _figures(evaluate_pairs(match, zip(given, truth))),
        }
    return {
        "benchmark": "learning",
        "variant": name,
        "seed": model.seed,
        "settings": dataclasses.asdict(setting),
        "steps": result.steps,
        "minutes": result.seconds / 60,
        "alarms": list(result.alarms),
        "scores": scores,
    }


def _figures(scores: Scores) -> dict[str, float]:
    return {name: getattr(scores, name) for name in ("l1", "ssim", "inverted")}


def beats(ours: Mapping[str, float], match: Mapping[str, float]) -> bool:
    """Better by both L1 and SSIM."""
    return ours["l1"] < match["l1"] and ours["ssim"] > match["ssim"]


def markdown(results: Sequence[Mapping[str, Any]], command: str) -> str:
    """The table of all runs, two rows each."""
    lines = [f"Made by `{command}`.", "", " | ".join(COLUMNS), " | ".join("---" for _ in COLUMNS)]
    for result in results:
        for direction, scores in result["scores"].items():
            ours, match = scores["ours"], scores["match"]
            cells = (
                result["variant"], result["seed"], result["steps"], f"{result['minutes']:.1f}",
                direction, f"{ours['l1']:.3f}", f"{match['l1']:.3f}", f"{ours['ssim']:.3f}",
                f"{match['ssim']:.3f}", f"{ours['inverted']:.2f}",
                "yes" if beats(ours, match) else "no",
            )  # fmt: skip
            lines.append(" | ".join(map(str, cells)))
    machine = results[-1]["machine"]
    lines += ["", f"On {machine['cpu']}, {machine['cores']} cores."]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> Path:
    """Run all, one after the other; returns the path of the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", nargs="+", default=["default"], choices=VARIANTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, each run")
    parser.add_argument("--size", type=int, default=128, help="side of the square crops")
    parser.add_argument("--crops", type=int, default=500, help="of each domain")
    parser.add_argument("--pairs", type=int, default=62, help="that scores are means over")
    parser.add_argument("--output", type=Path, default=Path("bench/results/learning.jsonl"))
    given = parser.parse_args(arguments)
    setting = Setting(minutes=given.minutes, size=given.size, crops=given.crops, pairs=given.pairs)
    for name in given.variants:
        for seed in given.seeds:
            print(f"{name}, seed {seed}", flush=True)
            model = dataclasses.replace(VARIANTS[name], seed=seed)
            with tempfile.TemporaryDirectory() as folder:
                record(one_run(name, model, setting, Path(folder)), given.output)
    results = [json.loads(line) for line in given.output.read_text().splitlines()]
    flags = f"--seeds {' '.join(map(str, given.seeds))} --minutes {given.minutes:g}"
    variants = " ".join(f'"{name}"' if " " in name else name for name in given.variants)
    command = f"python -m bench.learning --variants {variants} {flags}"
    table: Path = given.output.with_suffix(".md")
    table.write_text(markdown(results, command))
    print(table)
    return table


if __name__ == "__main__":
    main()
