"""Where a run is, when it ends, and what fraction of the learning rate its steps use."""

import math
import time
from collections.abc import Callable, Generator
from typing import Any

import torch
from torch import Tensor

from cyclegan.config import Schedule, TrainConfig
from cyclegan.data import CPU, UnpairedPictures, batches
from cyclegan.distributed import ALONE, World

Factor = Callable[[TrainConfig, int], float]
"""From the settings and an epoch's index to the fraction of the learning rate it runs at."""


def _linear(config: TrainConfig, epoch: int) -> float:
    late = max(0, epoch + 1 - config.epochs)
    return 1 - late / (config.epochs_decay + 1)


def _linear_2020(config: TrainConfig, epoch: int) -> float:
    """One epoch earlier: the last one runs at 0."""
    late = max(0, epoch + 2 - config.epochs)
    return 1 - late / (config.epochs_decay + 1)


def _step(config: TrainConfig, epoch: int) -> float:
    return float(0.1 ** (epoch // config.step_epochs))


def _cosine(config: TrainConfig, epoch: int) -> float:
    """Loshchilov and Hutter 2017, equation 5, over all epochs: it never climbs back."""
    return 0.5 * (1 + math.cos(math.pi * epoch / (config.epochs + config.epochs_decay)))


FACTORS: dict[Schedule, Factor] = {
    "linear": _linear,
    "linear-2020": _linear_2020,
    "step": _step,
    "cosine": _cosine,
    "plateau": lambda config, epoch: 1.0,
}


class Plateau:
    """A factor that falls to a fifth when losses have not fallen by 1 % for more than 5 epochs."""

    def __init__(self) -> None:
        self.factor, self.best, self.waited = 1.0, math.inf, 0
        self.total, self.count = 0.0, 0

    def add(self, loss: float) -> None:
        """The loss of one step of this epoch."""
        self.total, self.count = self.total + loss, self.count + 1

    def mean(self) -> float:
        """Of the epoch that has ended; the next one begins."""
        mean = self.total / max(self.count, 1)
        self.total, self.count = 0.0, 0
        return mean

    def take(self, loss: float) -> None:
        """The mean loss of the epoch that has ended."""
        if math.isinf(self.best) or self.best - loss > 0.01 * abs(self.best):
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited > 5:
            self.factor, self.waited = 0.2 * self.factor, 0


class Progress:
    """How far the run has come: epoch, batch in it, step, seconds."""

    def __init__(self, config: TrainConfig, steps_per_epoch: int) -> None:
        self.config = config
        self.steps_per_epoch = steps_per_epoch
        self.step = self.epoch = self.batch = 0
        self.plateau = Plateau()
        self.before = 0.0
        """Seconds that the run took before this process."""
        self.began = time.monotonic()

    def over(
        self, data: UnpairedPictures, world: World = ALONE, device: torch.device = CPU
    ) -> Generator[tuple[Tensor, Tensor]]:
        """The batches, on ``device``, from here to the last epoch's end, or until time is out.

        Time begins with them: a machine that is slow to prepare takes a step at least.
        """
        config, self.began = self.config, time.monotonic()
        if self.done():
            return
        if self.batch >= self.steps_per_epoch:
            self.epoch, self.batch = self.epoch + 1, 0
        for batch in batches(
            data,
            batch_size=config.batch_size,
            workers=config.workers,
            epoch=self.epoch,
            first=self.batch,
            epochs=None if config.minutes is not None else self.epochs - self.epoch,
            world=world,
            device=device,
        ):
            self.step += 1
            self.batch += 1
            yield batch
            if self.done():
                return
            if self.batch == self.steps_per_epoch:
                self.epoch, self.batch = self.epoch + 1, 0

    def take_back(self) -> None:
        """The step under way has failed: go on with it, not behind it."""
        self.step, self.batch = self.step - 1, self.batch - 1

    def ends_epoch(self, every: int = 1) -> bool:
        """Whether this step is the last of an epoch, of every ``every`` epochs; 0: never."""
        last = self.batch == self.steps_per_epoch
        return last and every > 0 and (self.epoch + 1) % every == 0

    def factor(self) -> float:
        """Of the learning rate, for this step."""
        if self.config.minutes is not None:
            return min(1.0, 2 * (1 - self.fraction()))
        if self.config.schedule == "plateau":
            return self.plateau.factor
        return FACTORS[self.config.schedule](self.config, self.epoch)

    def fraction(self) -> float:
        """How much of the run is done, 0 to 1."""
        if self.config.minutes is not None:
            return min(1.0, self.seconds() / (60 * self.config.minutes))
        return min(1.0, (self.epoch * self.steps_per_epoch + self.batch) / self.steps)

    @property
    def epochs(self) -> int:
        """Of the whole run."""
        return self.config.epochs + self.config.epochs_decay

    @property
    def steps(self) -> int:
        """Of all epochs."""
        return self.epochs * self.steps_per_epoch

    def done(self) -> bool:
        """Whether all epochs are over, or the time."""
        return self.fraction() >= 1

    def seconds(self) -> float:
        """Time that the run has taken, over all processes that went on with it."""
        return self.before + time.monotonic() - self.began

    def state(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            **{name: getattr(self, name) for name in ("step", "epoch", "batch", "steps_per_epoch")},
            "seconds": self.seconds(),
            "plateau": vars(self.plateau).copy(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from ``state``: an epoch that had ended has, however many steps one takes now."""
        self.step, self.epoch, self.batch = (state[name] for name in ("step", "epoch", "batch"))
        length = state.get("steps_per_epoch", self.steps_per_epoch)  # not in older checkpoints
        if self.batch >= min(length, self.steps_per_epoch):
            self.batch = self.steps_per_epoch
        self.before, self.began = state["seconds"], time.monotonic()
        vars(self.plateau).update(state["plateau"])
