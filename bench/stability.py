"""How much steadier videos get by averaged statistics, and what that costs.

    python -m bench.stability                    both clips, the shipped generator

For each clip and steadiness: flicker after motion compensation (grey levels, and over that of the
source), and fidelity: PSNR against the frames translated by themselves. Nothing here is timed.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import record
from bench.options import count_argument, output_argument
from cyclegan.engine.containers import VideoReader
from cyclegan.engine.cutting import Part
from cyclegan.engine.frames import Frames
from cyclegan.engine.layout import TimedFrame
from cyclegan.engine.parity import compare
from cyclegan.engine.stabilize import open_stabilized
from cyclegan.flicker import flicker
from cyclegan.sample_data import clip
from cyclegan.shipped import DEFAULT, find_model

CLIPS = {"bikes": (136, 320), "bigbuckbunny": (180, 320)}
"""Names of the clips, and the height and width at which they are translated."""


def frames_of(name: str, count: int) -> list[Frames]:
    """The first frames of a clip."""
    with VideoReader(clip(name), Part(size=CLIPS[name])) as reader:
        pictures = (item for item in reader.items() if isinstance(item, TimedFrame))
        return [picture.frame for picture, _ in zip(pictures, range(count))]


def translated(model: Path, frames: list[Frames], steadiness: float) -> list[Frames]:
    """The frames, translated in order."""
    with open_stabilized(model, steadiness=steadiness, precision="float32") as translator:
        return [translator(frame) for frame in frames]


def fidelity(made: list[Frames], plain: list[Frames]) -> float:
    """PSNR in dB over all frames together."""
    return compare(np.stack(made), np.stack(plain)).psnr_db


def measure(name: str, count: int, steadinesses: list[float]) -> dict[str, Any]:
    """One clip at every steadiness; 0 is plain instance norm."""
    model, frames = find_model(DEFAULT), frames_of(name, count)
    plain = translated(model, frames, 0.0)
    rows = []
    for steadiness in [0.0, *steadinesses]:
        made = translated(model, frames, steadiness) if steadiness else plain
        score = flicker(zip(frames, made))
        rows.append(
            {
                "steadiness": steadiness,
                "flicker_of_source": score.source,
                "flicker": score.translation,
                "ratio": score.ratio,
                "psnr_db_to_plain": fidelity(made, plain) if steadiness else None,
            }
        )
    height, width = CLIPS[name]
    return {
        "benchmark": "stability",
        "settings": {"clip": name, "frames": len(frames), "size": f"{width}x{height}"},
        "rows": rows,
        "of_plain": {str(row["steadiness"]): row["flicker"] / rows[0]["flicker"] for row in rows},
    }


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Measure and record the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--clips",
        nargs="+",
        choices=list(CLIPS),
        default=list(CLIPS),
        help="all, unless named here",
    )
    parser.add_argument(
        "--frames", type=count_argument, default=80, help="of each clip, from its beginning"
    )
    parser.add_argument(
        "--steadiness",
        nargs="+",
        type=float,
        default=[0.5, 0.8, 0.95],
        help="of the averages, from 0 to below 1",
    )
    parser.add_argument(
        "--output", type=output_argument, help="append the results to this file of JSON lines"
    )
    given = parser.parse_args(arguments)
    results = []
    for name in given.clips:
        results.append(measure(name, given.frames, given.steadiness))
        record(results[-1], given.output)
    return results


if __name__ == "__main__":
    main()
