"""Makes a finished training run the shipped model: the file, its card with the scores, its picture.

python -m bench.card runs/relief2satellite
"""

import csv
import tomllib
from pathlib import Path

import numpy as np
import tyro
from PIL import Image
from tyro.conf import Positional

from cyclegan import load_generator, save_generator
from cyclegan.config import TrainConfig, from_dict
from cyclegan.cpu import cpu_model, has_fast_bfloat16
from cyclegan.demo import CROP, PAIRS, score
from cyclegan.engine.translator import Translator
from cyclegan.evaluate import Scores
from cyclegan.pictures import Picture
from cyclegan.sample_data import evaluation_pairs
from cyclegan.shipped import FOLDER

SHOWN = 8
"""Crops in the picture, one column each: relief, translation, truth."""


def main(run: Positional[Path]) -> None:
    """Write the model, its card and its picture where they belong.

    Args:
        run: folder of the training run, which gives the model its name
    """
    with (run / "config.toml").open("rb") as file:
        config: TrainConfig = from_dict(TrainConfig, tomllib.load(file))
    model = FOLDER / f"{run.name}.safetensors"
    name, kind = "generator_ab", "the run's generator_ab"
    if config.ema_decay > 0:
        name, kind = f"{name}_ema", f"the moving average of {kind}"
    generator = load_generator(run / f"{name}.safetensors")
    save_generator(model, generator, ("relief", "satellite"))
    relief, satellite = evaluation_pairs(PAIRS, CROP, seed=1)
    with Translator.open(model, backend="torch", precision="float32") as translator:
        scores = score(translator, relief, satellite)
        translated = np.stack([translator(picture) for picture in relief[:SHOWN]])
    card = Path(__file__).with_suffix(".md").read_text()
    facts = {**_settings(run.name, config), **_run(run), "scores": _rows(scores), "kind": kind}
    facts["parameters"] = f"{sum(p.numel() for p in generator.parameters()) / 1e6:.2f}"
    facts["megabytes"] = f"{model.stat().st_size / 1e6:.1f}"
    model.with_suffix(".md").write_text(card.format_map(facts))
    _write_picture(Path("docs") / f"{run.name}.jpg", relief, translated, satellite)


def _settings(name: str, config: TrainConfig) -> dict[str, object]:
    generator = config.model.generator
    return {
        "name": name,
        "multiple": generator.size_multiple,
        "crop": config.data.crop_size,
        "blocks": getattr(generator, "blocks", None),
        "width": generator.width,
        "seed": config.model.seed,
        "pairs": PAIRS,
    }


def _run(run: Path) -> dict[str, object]:
    """How long it took, and on how many pictures of which size."""
    *_, last = csv.reader((run / "losses.csv").open(newline=""))
    pictures = list((run / "data" / "trainA").iterdir())
    with Image.open(pictures[0]) as picture:
        stored = picture.width
    return {
        "steps": f"{int(last[0]):,}",
        "minutes": f"{float(last[1]) / 60:.0f}",
        "crops": len(pictures),
        "stored": stored,
        "machine": cpu_model(),
        "precision": "bfloat16" if has_fast_bfloat16() else "float32",
    }


def _rows(scores: dict[str, Scores]) -> str:
    return "\n".join(
        f"| {name} | {s.l1:.3f} | {s.psnr:.2f} | {s.ssim:.3f} | {s.gradient_correlation:.3f} |"
        for name, s in scores.items()
    )


def _write_picture(path: Path, *rows: Picture) -> None:
    grid = np.concatenate([np.concatenate(list(row[:SHOWN]), axis=1) for row in rows])
    Image.fromarray(grid).save(path, quality=90, subsampling=0)


if __name__ == "__main__":
    tyro.cli(main)
