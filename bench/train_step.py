"""The training step against what people come from, and the loader that feeds it.

    python -m bench.train_step                 # 256x256 and 128x128, 9 blocks, 64 channels, batch 1
    python -m bench.train_step --size 128 --blocks 6 --width 32 --workers 2

Variants (``bench/steps.py``) take turns on the same pictures. The losses of each one's first step
must be near those of float32. The FLOP fraction is of what a large product of matrices reaches in
the same precision in the same run; a step's FLOPs are counted from the public order's calls, whose
merging changes none. Peak memory is the process's high-water mark while a variant runs alone on a
CPU (with all networks made, so compare differences), and what PyTorch had allocated on a GPU.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench import steps
from bench.harness import Timing, figures, in_turns, peak_memory, ratio, record, table
from bench.limits import matrix_side
from bench.options import count_argument, parser_for
from cyclegan.config import DataConfig, PatchConfig, ResnetConfig
from cyclegan.data import UnpairedPictures, batches
from cyclegan.engine.runners.placing import without_tf32
from cyclegan.pictures import write_picture

ALL = steps.VARIANTS | steps.ON_CPUS


def settle(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()  # timings end when the work does


def flops_of(step: steps.Step) -> int:
    """Multiplications and additions of one step, forward, backward and all."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def product_rate(dtype: torch.dtype, device: str) -> float:
    """FLOP/s of a square product: about the most that this machine gives in ``dtype``."""
    size = matrix_side(dtype, device, 2048)
    x, y = torch.randn(2, size, size, device=device).to(dtype)

    def product() -> None:
        torch.mm(x, y)
        settle(device)

    return 2 * size**3 * in_turns({"mm": product}, turns=5, items=1)["mm"].rate


def peak_bytes(step: steps.Step, device: str) -> int | None:
    """Most memory in use during a step; None where the system does not tell."""
    with peak_memory(on_gpu=device == "cuda") as peak:
        step()
    return peak.bytes


def checked_losses(calls: Mapping[str, steps.Step]) -> None:
    """Takes each model's first step. Raises AssertionError if one is far from float32's."""
    exact: dict[str, float] = {}
    for name, call in calls.items():
        found = call().as_floats()
        exact = exact or found
        steps.check_losses(name, found, exact)


def measure_steps(
    *, config: dict[str, Any], size: int, batch: int, turns: int, repeats: int, names: list[str]
) -> dict[str, Any]:
    """Seconds a step, peak memory and FLOP fraction of each variant."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    real_a, real_b = torch.rand(2, batch, 3, size, size, device=device) * 2 - 1
    variants = {name: ALL[name] for name in names}
    with without_tf32():
        models = {name: steps.new_model(v, device, config) for name, v in variants.items()}
        calls = {
            name: steps.step_call(variants[name], model, real_a, real_b)
            for name, model in models.items()
        }
        checked_losses(calls)

        def repeated(call: steps.Step) -> Callable[[], None]:
            def turn() -> None:
                for _ in range(repeats):
                    call()
                settle(device)

            return turn

        timings = in_turns(
            {name: repeated(call) for name, call in calls.items()}, turns=turns, items=repeats
        )
        flops = flops_of(calls[steps.EXACT])
        limits = {name: product_rate(model.dtype, device) for name, model in models.items()}
        peaks = {name: peak_bytes(call, device) for name, call in calls.items()}
    table(f"training step, {size}x{size}, batch {batch}, {device}", timings, "steps/s")
    return {
        "timings": figures(timings),
        "of_eager": {
            name: ratio(timing, timings[steps.EXACT]).median for name, timing in timings.items()
        },
        "gflop": flops / 1e9,
        "of_flop_limit": {n: flops * timings[n].rate / limits[n] for n in timings},
        "peak_bytes": peaks,
    }


def measure_loader(*, size: int, workers: int, count: int = 64, epochs: int = 4) -> Timing:
    """Pairs a second of the loader alone, from noisy PNG pictures that are 1/8 larger."""
    rng = np.random.default_rng(0)
    side = size * 9 // 8
    with tempfile.TemporaryDirectory() as folder:
        for domain in ("a", "b"):
            for i in range(count):
                noise = rng.integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8)
                picture = np.kron(noise, np.ones((4, 4, 1), np.uint8))
                write_picture(picture, Path(folder) / domain / f"{i}.png")
        config = DataConfig(
            a=Path(folder) / "a", b=Path(folder) / "b", load_size=side, crop_size=size
        )
        data, seconds = UnpairedPictures(config), []
        for epoch in range(epochs):
            start = time.perf_counter()
            for _ in batches(data, batch_size=1, workers=workers, epoch=epoch):
                pass
            seconds.append(time.perf_counter() - start)
    return Timing(seconds=tuple(seconds[1:]), items=count)


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Measure every size, print tables and record the results."""
    parser = parser_for(__doc__, turns=5)
    parser.add_argument(
        "--size",
        type=count_argument,
        nargs="+",
        default=[256, 128],
        help="sides of the square frames",
    )
    parser.add_argument(
        "--batch", type=count_argument, default=1, help="pictures of each domain in a step"
    )
    parser.add_argument("--repeats", type=count_argument, default=1, help="steps in each turn")
    parser.add_argument("--workers", type=int, default=2, help="of the loader")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="all, unless named here")
    given = parser.parse_args(arguments)
    on_gpu = torch.cuda.is_available()
    names = [n for n in ALL if (n not in steps.ON_CPUS if on_gpu else "CUDA" not in n)]
    if unknown := set(given.variants or ()) - set(names):
        parser.error(
            f"no variant {', '.join(sorted(map(repr, unknown)))} here; "
            f"there are {', '.join(map(repr, names))}"
        )
    chosen = [name for name in names if name == steps.EXACT or name in (given.variants or names)]
    return [measure(size, given, chosen) for size in given.size]


def measure(size: int, given: argparse.Namespace, names: list[str]) -> dict[str, Any]:
    """Steps and loader at one size; the result is recorded."""
    config = {
        "generator": ResnetConfig(width=given.width, blocks=given.blocks),
        "discriminator": PatchConfig(width=given.width),
    }
    result = measure_steps(
        config=config, size=size, batch=given.batch, turns=given.turns,
        repeats=given.repeats, names=names,
    )  # fmt: skip
    loader = measure_loader(size=size, workers=given.workers)
    settings = {key: value for key, value in vars(given).items() if key != "output"}
    result = {
        "benchmark": "train_step",
        "settings": settings | {"size": size},
        **result,
        "loader_pairs_per_s": loader.rate,
        "loader_of_fastest_step": loader.rate
        / (given.batch * max(t["per_second"] for t in result["timings"].values())),
    }
    record(result, given.output)
    return result


if __name__ == "__main__":
    main()
