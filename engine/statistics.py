"""Instance norm under statistics that come from elsewhere: other frames, a thumbnail, other tiles.

N batch, C channels, H height, W width. An instance norm takes the mean and variance of what it is
given. Taken from one frame to the next they flicker; taken from tiles they leave seams. Here they
are measured, kept and mixed by a ``Statistics`` that all norms of one generator share.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from cyclegan.errors import BackendError
from cyclegan.kernels import finish
from cyclegan.layers import InstanceNorm

EPS = 1e-5
"""As instance norm has it everywhere here."""

Moments = tuple[Tensor, Tensor]
"""Mean and biased variance over H and W, float32 (1, C, 1, 1)."""


class Statistics:
    """The moments of each instance norm of a generator, in the order in which they are asked."""

    def __init__(self) -> None:
        self.share = 1.0
        """Of what is measured in what is used: 1 is plain instance norm, 0 uses what is kept."""
        self._kept: list[Moments] = []
        self._next = 0

    def begin(self) -> None:
        """A new frame or tile: the next question comes from the first norm."""
        self._next = 0

    def forget(self) -> None:
        """Keep nothing: the next frame is normalised by itself."""
        self._kept.clear()

    def keep(self, moments: list[Moments]) -> None:
        """Have the moments of all norms, in their order, from elsewhere."""
        self._kept = list(moments)

    def of(self, x: Tensor) -> Moments:
        """What the next norm shall use for ``x``, (1, C, H, W); kept for the frame after."""
        number, self._next = self._next, self._next + 1
        if number == len(self._kept):
            self._kept.append(moments(x))
        elif self.share:
            kept, measured = self._kept[number], moments(x)
            mean, variance = (torch.lerp(k, m, self.share) for k, m in zip(kept, measured))
            self._kept[number] = mean, variance
        return self._kept[number]


class SharedNorm(nn.Module):
    """Instance norm without parameters, with moments by ``statistics``."""

    def __init__(self, statistics: Statistics) -> None:
        super().__init__()
        self.statistics = statistics

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        return finish(normalise(x, self.statistics.of(x)), *args, **kwargs)


def moments(x: Tensor) -> Moments:
    """Mean and biased variance of ``x``, (1, C, H, W), over H and W, in float32."""
    variance, mean = torch.var_mean(x.float(), dim=(2, 3), correction=0, keepdim=True)
    return mean, variance


def normalise(x: Tensor, moments: Moments) -> Tensor:
    """(x - mean) / sqrt(variance + eps) in float32, given in the dtype of ``x``.

    Half precision has no digits left for the difference where |mean| is many deviations.
    """
    mean, variance = moments
    scale = torch.rsqrt(variance + EPS)
    return (x.float() * scale - mean * scale).to(x.dtype)


def with_statistics(generator: nn.Module) -> tuple[nn.Module, Statistics]:
    """A copy of ``generator`` whose instance norms ask the statistics that come with it.

    Raises BackendError for a generator without instance norm: its frames do not influence each
    other, so there is nothing to steady or to join.
    """
    shared, statistics = copy.deepcopy(generator), Statistics()
    found = False
    for module in list(shared.modules()):
        for name, child in module.named_children():
            if isinstance(child, InstanceNorm):
                setattr(module, name, SharedNorm(statistics))
                found = True
    if not found:
        raise BackendError(
            "this generator has no instance norm, so its frames flicker by nothing that could be "
            "steadied and its tiles fit as they are; run it as it is"
        )
    return shared.eval(), statistics
