"""Whole training steps, for ``bench/gpu.py`` and ``bench/train_step.py``.

N batch, C channels, H height, W width. Pictures are float32 (N, C, H, W) in [-1, 1].
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from bench.switches import either
from cyclegan.config import CycleGANConfig, Precision
from cyclegan.model import NETWORKS, CycleGAN
from cyclegan.phases import Losses

Step = Callable[[], Losses]
Compiled = Literal["nothing", "networks", "phases", "phases, CUDA graphs"]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How a step is computed. In half precision the networks run channels-last, else N, C, H, W."""

    precision: Precision
    ours: bool
    """Whether our kernels are on."""
    merged: bool = True
    """Whether pictures that one network takes at one time are one batch."""
    compiled: Compiled = "nothing"


VARIANTS = {
    "float32 eager, public order": Variant(precision="float32", ours=False, merged=False),
    "bfloat16 eager, ours": Variant(precision="bfloat16", ours=True),
    "bfloat16, networks compiled": Variant(
        precision="bfloat16", ours=False, merged=False, compiled="networks"
    ),
    "bfloat16, phases compiled": Variant(precision="bfloat16", ours=True, compiled="phases"),
    "bfloat16, phases compiled, CUDA graphs": Variant(
        precision="bfloat16", ours=True, compiled="phases, CUDA graphs"
    ),
}
"""From what people come from, over what any compiler gives, to what is ours. float32 without TF32,
where ``without_tf32`` is used."""
EXACT = next(iter(VARIANTS))
"""What the others are compared with."""
FAR = 0.1
"""A loss of the first step farther than this from float32's, relatively, is a wrong result."""
ON_CPUS = {"float32 eager, ours": Variant(precision="float32", ours=True)}
"""And where a CPU has no arithmetic in bfloat16."""


def new_model(variant: Variant, device: str, config: dict[str, Any] | None = None) -> CycleGAN:
    """The paper's networks and losses, unless ``config`` has others, as ``variant`` computes."""
    model = CycleGAN(
        CycleGANConfig(precision=variant.precision, merged=variant.merged, **(config or {})), device
    )
    if variant.compiled == "networks":
        for name in NETWORKS:
            getattr(model, name).compile()
    elif variant.compiled != "nothing":
        model.compile(cuda_graphs=variant.compiled == "phases, CUDA graphs")
    return model


def step_call(variant: Variant, model: CycleGAN, real_a: Tensor, real_b: Tensor) -> Step:
    """A step of ``model``, which is new_model's of that ``variant``, on two batches.

    It raises where its compilation fails: training goes on eager then, with a warning, and such a
    figure would bear a false name.
    """

    def step() -> Losses:
        with either(variant.ours), warnings.catch_warnings():
            warnings.filterwarnings("error", "torch.compile failed")
            return model.step(real_a, real_b)

    return step


def check_losses(what: str, made: Mapping[str, float], exact: Mapping[str, float]) -> None:
    """Raises AssertionError, about ``what``, for losses of a first step far from float32's."""
    for name, value in made.items():
        off = abs(value - exact[name]) / abs(exact[name])
        assert off < FAR, f"{what}: {name} is {value:.4g}, float32 has {exact[name]:.4g}"
