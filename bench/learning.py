"""Does it learn, and what makes colours come out inverted: runs on the built-in maps, scored.

    python -m bench.learning                                  # three seeds, 10 minutes each
    python -m bench.learning --epochs 12 --crops 100 --variants structure   # beats the match
    python -m bench.learning --epochs 2 --crops 150 --variants default "no identity" "any crops"

Every run trains on unpaired 128x128 crops of relief map and satellite picture and is scored on
aligned crops that it never saw, both ways, beside the unpaired mean/std match and an affine map
of colours that is fitted to the scored pairs themselves. A line a run goes to
``--output`` as it ends; ``bench/pages.py`` makes the table of them.
With ``--minutes``, run it where nothing else runs: the number of steps is part of the result. With
``--epochs`` that number is given, half of it at the full learning rate and half while that falls.
"""

import argparse
import dataclasses
import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bench.harness import record
from bench.options import count_argument, output_argument
from cyclegan import sample_data
from cyclegan.checkpoint import load_generator
from cyclegan.config import (
    CycleGANConfig,
    DataConfig,
    PatchConfig,
    PixelConfig,
    ResnetConfig,
    TrainConfig,
    UnetConfig,
)
from cyclegan.evaluate import Scores, Translate, baselines, evaluate_pairs
from cyclegan.pictures import Picture
from cyclegan.training import train

MARGIN = 32
"""Pixels that a stored crop is larger, for the random crop of training."""
MODEL = CycleGANConfig(
    generator=ResnetConfig(width=32, blocks=4, upsample="resize"),
    discriminator=PatchConfig(width=32),
)
NARROW = dataclasses.replace(
    MODEL,
    generator=ResnetConfig(width=16, blocks=4, upsample="resize"),
    discriminator=PatchConfig(width=16),
)
STRUCTURE = dataclasses.replace(NARROW, ssim_share=0.84, learning_rate=4e-4)
ANY_CROPS = "any crops"
VARIANTS: dict[str, CycleGANConfig] = {
    "default": MODEL,
    ANY_CROPS: MODEL,
    "narrow": NARROW,
    "narrow, cycle 30": dataclasses.replace(NARROW, lambda_a=30.0, lambda_b=30.0),
    "structure": STRUCTURE,
    "structure, no identity": dataclasses.replace(STRUCTURE, lambda_identity=0.0),
    "no norm": dataclasses.replace(
        NARROW,
        generator=dataclasses.replace(NARROW.generator, norm="none"),
        init="xavier",
        init_gain=1.0,
        learning_rate=4e-4,
    ),
    "no identity": dataclasses.replace(MODEL, lambda_identity=0.0),
    "identity 2": dataclasses.replace(MODEL, lambda_identity=2.0),
    "cycle l2": dataclasses.replace(MODEL, cycle_loss="l2"),
    "xavier": dataclasses.replace(MODEL, init="xavier"),
    "learning rate 4e-4": dataclasses.replace(MODEL, learning_rate=4e-4),
    "smaller patches": dataclasses.replace(MODEL, discriminator=PatchConfig(width=32, layers=2)),
    "pixels": dataclasses.replace(MODEL, discriminator=PixelConfig(width=32)),
    "u-net": dataclasses.replace(MODEL, generator=UnetConfig(width=32, depth=5)),
    "transposed": dataclasses.replace(
        MODEL, generator=ResnetConfig(width=32, blocks=4, upsample="transposed")
    ),
}
"""What is trained; ANY_CROPS differs in its data, where some crops are all land or all sea."""
RIVAL = "mean/std match"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """The same for all runs of one table."""

    minutes: float | None
    epochs: int | None
    threads: int
    size: int = 128
    crops: int = 500
    pairs: int = 62


def one_run(name: str, model: CycleGANConfig, setting: Setting, folder: Path) -> dict[str, Any]:
    """Trains, and scores both directions beside the match."""
    a, b = sample_data.write_training_folders(
        folder / "data",
        setting.crops,
        setting.size + MARGIN,
        model.seed,
        land=(0.0, 1.0) if name == ANY_CROPS else None,
    )
    epochs = setting.epochs or 2
    result = train(
        TrainConfig(
            data=DataConfig(a=a, b=b, preprocess="crop", crop_size=setting.size),
            model=model,
            output=folder / "run",
            minutes=setting.minutes,
            epochs=epochs - epochs // 2,
            epochs_decay=epochs // 2,
            compile="off",
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
        translates = (
            load_generator(path),
            baselines(list(given), list(truth))[RIVAL],
            paired_affine(given, truth),
        )
        rows[direction] = beside(*(evaluate_pairs(way, zip(given, truth)) for way in translates))
    return {
        "benchmark": "learning",
        "settings": {"variant": name, "seed": model.seed, **dataclasses.asdict(setting)},
        "steps": result.steps,
        "minutes": result.seconds / 60,
        "alarms": list(result.alarms),
        "rows": rows,
    }


def paired_affine(given: Picture, truth: Picture) -> Translate:
    """The affine map of colours nearest to the truth of these very pairs, (N, H, W, 3) each.

    It is told what no unpaired method knows.
    """

    def with_one(pixels: Picture) -> npt.NDArray[np.float64]:
        flat = pixels.reshape(-1, 3) / 255
        return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)

    weights, *_ = np.linalg.lstsq(with_one(given), truth.reshape(-1, 3).astype(float))

    def translate(picture: Picture) -> Picture:
        colours: Picture = np.rint(with_one(picture) @ weights).clip(0, 255).astype(np.uint8)
        return colours.reshape(picture.shape)

    return translate


def beside(ours: Scores, match: Scores, paired: Scores) -> dict[str, float | bool]:
    """Figures of all three; to beat the match is to be better by both L1 and SSIM."""
    return {
        "l1": ours.l1,
        "l1_of_match": match.l1,
        "l1_of_paired_affine": paired.l1,
        "ssim": ours.ssim,
        "ssim_of_match": match.ssim,
        "ssim_of_paired_affine": paired.ssim,
        "inverted": ours.inverted,
        "inverted_of_match": match.inverted,
        "inverted_of_paired_affine": paired.inverted,
        "beats_match": ours.l1 < match.l1 and ours.ssim > match.ssim,
    }


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Run all, one after the other, and record the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--variants", nargs="+", default=["default"], choices=VARIANTS, help="what is trained"
    )
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[0, 1, 2], help="a run of each variant for each"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="of training, each run; 10 unless given")
    length.add_argument(
        "--epochs", type=count_argument, help="instead: how often each run sees every crop"
    )
    parser.add_argument("--size", type=count_argument, default=128, help="side of the square crops")
    parser.add_argument("--crops", type=count_argument, default=500, help="of each domain")
    parser.add_argument(
        "--pairs", type=count_argument, default=62, help="that scores are means over"
    )
    parser.add_argument(
        "--output", type=output_argument, help="append the results to this file of JSON lines"
    )
    given = parser.parse_args(arguments)
    if given.minutes is not None and not given.minutes > 0:
        parser.error(f"--minutes {given.minutes:g}: expected some, such as 10")
    setting = Setting(
        minutes=None if given.epochs else given.minutes or 10.0,
        epochs=given.epochs,
        threads=torch.get_num_threads(),
        size=given.size,
        crops=given.crops,
        pairs=given.pairs,
    )
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
