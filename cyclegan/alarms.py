"""What can go wrong in a run, seen from its losses and its samples, and said in words.

N batch, C channels, H height, W width.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from cyclegan.errors import DivergedError

WINDOW = 200
"""Steps over which losses are averaged."""
SATURATED = 0.005
"""A discriminator whose mean loss is below this tells all pictures apart; lsgan's is 0.25 where it
cannot tell any."""
FLAT = 0.02
"""Standard deviation over a sample's channel, of values in [-1, 1], below which it is flat."""
INVERTED = -0.1
"""Correlation of brightness, of inputs and outputs, below which light and dark are exchanged;
nearer to 0 a young generator only wavers."""
ALIKE = 0.05
"""Outputs whose mean distance is below this share of the inputs' are one picture."""


class Alarms:
    """Messages, each given once a cause until the cause has gone.

    ``saturates``: whether a discriminator that always wins has a loss of 0. That of a Wasserstein
    critic is below 0 wherever it tells pictures apart, and means nothing by itself.
    """

    def __init__(self, *, saturates: bool = True) -> None:
        self.saturates = saturates
        self.messages: list[str] = []
        self.active: set[str] = set()
        self.recent: dict[str, deque[float]] = {}

    def state(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "messages": list(self.messages),
            "active": sorted(self.active),
            "recent": {name: list(window) for name, window in self.recent.items()},
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``: what has been told is not told again, nor forgotten."""
        self.messages, self.active = list(state["messages"]), set(state["active"])
        self.recent = {
            name: deque(window, maxlen=WINDOW) for name, window in state["recent"].items()
        }

    def losses(self, step: int, losses: Mapping[str, float]) -> list[str]:
        """What the losses of one step say. Raises DivergedError, naming the first bad loss."""
        for name, value in losses.items():
            if not math.isfinite(value):
                raise DivergedError(
                    f"{name} is {value} in step {step}: the run has diverged. Checkpoints and "
                    "networks from before are kept; go on from them with a lower learning_rate, "
                    "or with precision 'float32'"
                )
        found: list[str] = []
        for name in ("discriminator_a", "discriminator_b") if self.saturates else ():
            window = self.recent.setdefault(name, deque(maxlen=WINDOW))
            window.append(losses[name])
            mean = sum(window) / len(window)
            found += self._raised(
                f"{name} saturated",
                len(window) == WINDOW and mean < SATURATED,
                mean > 2 * SATURATED,
                f"step {step}: {name} tells every picture of its generator from a real one (mean "
                f"loss {mean:.2g} over {WINDOW} steps), which leaves that nothing to learn from; "
                "if it lasts, lower the learning rate or give discriminators less width",
            )
        return found

    def samples(self, step: int, real: Tensor, fake: Tensor, direction: str) -> list[str]:
        """What translations of fixed pictures say: float (N, C, H, W) in [-1, 1], on any device."""
        real, fake = real.float().cpu(), fake.float().cpu()
        flat = _are_flat(fake) and not _are_flat(real)  # as the first slices of a scan may be
        inputs_differ = len(real) > 1 and _apart(real) > FLAT
        alike = inputs_differ and _apart(fake) < ALIKE * _apart(real)
        correlation = brightness_correlation(real, fake)
        return [
            *self._raised(
                f"{direction} collapsed",
                flat or alike,
                not (flat or alike),
                f"step {step}: {direction} paints the same picture whatever it is given; start "
                "anew with another seed, a lower learning rate or a larger cycle weight",
            ),
            *self._raised(
                f"{direction} inverted",
                correlation < INVERTED,
                correlation > 0,
                f"step {step}: {direction} exchanges light and dark (correlation of brightness "
                f"{correlation:.2f}); unless the domains call for it, raise lambda_identity or "
                "start anew with another seed",
            ),
        ]

    def _raised(self, cause: str, holds: bool, gone: bool, message: str) -> Sequence[str]:
        """``gone`` lies well apart from ``holds``: what wavers in between is one cause."""
        new = holds and cause not in self.active
        if holds:
            self.active.add(cause)
        elif gone:
            self.active.discard(cause)
        self.messages += [message] * new
        return [message] * new


def _are_flat(pictures: Tensor) -> bool:
    """Whether each is of one colour."""
    return bool((pictures.flatten(2).std(dim=2) < FLAT).all())


def _apart(pictures: Tensor) -> float:
    """Mean absolute distance of each picture from the mean of all."""
    return float((pictures - pictures.mean(0)).abs().mean())


def brightness_correlation(x: Tensor, y: Tensor) -> float:
    """Pearson correlation of the mean over channels, picture by picture, averaged: in [-1, 1]."""
    first, second = (t.mean(1).flatten(1) for t in (x, y))
    first, second = (t - t.mean(1, keepdim=True) for t in (first, second))
    length = first.norm(dim=1) * second.norm(dim=1)
    return float(((first * second).sum(1) / length.clamp(min=1e-6)).mean())
