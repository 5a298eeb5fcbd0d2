"""A training run: two folders of pictures in, four networks out.

The run's folder holds

    config.toml                  every setting, as it was resolved
    generator_ab.safetensors     and generator_ba, discriminator_a, discriminator_b
    generator_ab_ema.safetensors and generator_ba_ema: means of the weights, which paint better
    losses.csv                   a line a step: step, seconds, the eight losses
    samples/000500_ab.png        fixed pictures of A, each beside fake_b and rec_a; _ba likewise
"""

import csv
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import tomli_w
import torch
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor

from cyclegan.checkpoint import save_discriminator, save_generator
from cyclegan.config import TrainConfig, as_dict
from cyclegan.data import (
    UnpairedPictures,
    batches,
    pictures_from_tensor,
    plain,
    tensor_from_pictures,
)
from cyclegan.ema import averaged
from cyclegan.errors import DataError, ImageError, OutputError
from cyclegan.files import replacing
from cyclegan.model import CycleGAN, Losses
from cyclegan.pictures import Channels, Picture, write_picture

SAMPLES = 4


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a finished run leaves."""

    steps: int
    seconds: float
    """Time from the first step to the last save."""
    generator_ab: Path
    """The generator to use: the moving average, unless ``ema_decay`` is 0."""
    generator_ba: Path
    skipped: dict[str, str]
    """Pictures that ``skip_bad`` passed over, with the reason."""


def train(
    config: TrainConfig,
    *,
    device: str | None = None,
    samples: tuple[Tensor, Tensor] | None = None,
    show_progress: bool = True,
) -> TrainResult:
    """Train as ``config`` says and save the networks in ``config.output``.

    ``device`` is ``cuda`` where there is one, else ``cpu``. ``samples`` are float32 (N, C, H, W) in
    [-1, 1], one batch a domain, to be translated every ``config.sample_every`` steps; without them
    the first pictures of each folder are. Interrupted by Ctrl-C, the run saves its networks first.

    Raises DataError or ImageError for folders or pictures that cannot be used, and OutputError when
    the run's folder cannot be written, or holds another run and ``config.overwrite`` is not set.
    """
    generator = config.model.generator
    data = UnpairedPictures(
        config.data,
        config.model.seed,
        channels_a=cast(Channels, generator.in_channels),
        channels_b=cast(Channels, generator.out_channels),
        multiple=generator.size_multiple,
    )
    model = CycleGAN(config.model, device or ("cuda" if torch.cuda.is_available() else "cpu"))
    run = _Run(config, model, samples or _first_pictures(config, data))
    run.start()
    schedule = _Schedule(config, steps_per_epoch=-(-len(data) // config.batch_size))
    with _progress(show_progress) as progress:
        task = progress.add_task("training", total=1.0, rate="")
        try:
            for real_a, real_b in schedule.over(data):
                model.set_learning_rate(config.model.learning_rate * schedule.factor())
                losses = model.step(real_a, real_b)
                run.average()
                run.record(losses, schedule.seconds())
                if schedule.step % (config.save_every * schedule.steps_per_epoch) == 0:
                    run.save()
                _show(progress, task, schedule)
        finally:
            run.save()
    return TrainResult(
        steps=run.steps,
        seconds=schedule.seconds(),
        generator_ab=run.path("generator_ab", averaged=config.ema_decay > 0),
        generator_ba=run.path("generator_ba", averaged=config.ema_decay > 0),
        skipped=dict(data.bad),
    )


class _Schedule:
    """Which step this is, when the run ends, and what fraction of the learning rate is used."""

    def __init__(self, config: TrainConfig, steps_per_epoch: int) -> None:
        self.config = config
        self.steps_per_epoch = steps_per_epoch
        self.step = 0
        self.epoch = 0
        self.began = time.monotonic()

    def over(self, data: UnpairedPictures) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of all epochs, until the last one or until time is out."""
        config = self.config
        while not self.done():
            for batch in batches(
                data, batch_size=config.batch_size, workers=config.workers, epoch=self.epoch
            ):
                self.step += 1
                yield batch
                if config.minutes is not None and self.done():
                    return
            self.epoch += 1

    def factor(self) -> float:
        """The learning rate's factor: by epoch as the public implementation has it, or by time."""
        if self.config.minutes is not None:
            return min(1.0, 2 * (1 - self.fraction()))
        late = max(0, self.epoch + 1 - self.config.epochs)
        return 1 - late / (self.config.epochs_decay + 1)

    def fraction(self) -> float:
        """How much of the run is done, 0 to 1."""
        if self.config.minutes is not None:
            return min(1.0, self.seconds() / (60 * self.config.minutes))
        epochs = self.config.epochs + self.config.epochs_decay
        return min(1.0, self.step / (epochs * self.steps_per_epoch))

    def done(self) -> bool:
        return self.fraction() >= 1

    def seconds(self) -> float:
        return time.monotonic() - self.began


class _Run:
    """The files of one run."""

    def __init__(
        self, config: TrainConfig, model: CycleGAN, samples: tuple[Tensor, Tensor]
    ) -> None:
        self.config, self.model = config, model
        generators = (model.generator_ab, model.generator_ba)
        decay = config.ema_decay
        self.means = tuple(averaged(generator, decay) for generator in generators) if decay else ()
        self.samples = samples[0].to(model.device), samples[1].to(model.device)
        self.log = config.output / "losses.csv"
        self.rows: list[list[object]] = []
        self.steps = self.saved_at = 0

    def start(self) -> None:
        """Claim the run's folder, which must hold no other run unless that may go."""
        samples = self.config.output / "samples"
        old = [self.log, *samples.glob("*.png")] if self.log.exists() else []
        if old and not self.config.overwrite:
            raise OutputError(
                f"{self.config.output} holds a run already; choose another output, "
                "or set overwrite to replace it"
            )
        pictures = self._translated()
        for path in old:
            path.unlink()
        with replacing(self.config.output / "config.toml") as temporary:
            temporary.write_text(tomli_w.dumps(_without_none(as_dict(self.config))))
        with replacing(self.log) as temporary:
            header = ["step", "seconds", *(item.name for item in fields(Losses))]
            temporary.write_text(",".join(header) + "\n")
        self._write_samples(pictures)

    def path(self, network: str, *, averaged: bool = False) -> Path:
        """Where a network is saved."""
        return self.config.output / f"{network}{'_ema' if averaged else ''}.safetensors"

    def average(self) -> None:
        """Take the generators as they are now into their averages."""
        for mean, name in zip(self.means, ("generator_ab", "generator_ba"), strict=False):
            mean.update_parameters(getattr(self.model, name))

    def record(self, losses: Losses, seconds: float) -> None:
        """Note one step's losses; write them, and a picture of the samples, when it is time."""
        self.steps += 1
        values = (f"{value:.6g}" for value in losses.as_floats().values())
        self.rows.append([self.steps, f"{seconds:.3f}", *values])
        if self.steps % 100 == 0:
            self.flush()
        if self.steps % self.config.sample_every == 0:
            self.sample()

    def flush(self) -> None:
        rows, self.rows = self.rows, []
        try:
            with self.log.open("a", newline="") as file:
                csv.writer(file).writerows(rows)
        except OSError as error:
            raise OutputError(f"cannot write {self.log}: {error.strerror or error}") from error

    def sample(self) -> None:
        """Write the samples as they are translated now, each beside what comes back of it."""
        self._write_samples(self._translated())

    def _translated(self) -> dict[str, Picture]:
        trained = (self.model.generator_ab, self.model.generator_ba)
        for generator in trained:
            generator.eval()  # neither dropout nor the samples' statistics
        with torch.no_grad():
            images = self.model.cycle(*self.samples, self._generators())
        for generator in trained:
            generator.train()
        real_a, real_b = self.samples
        return {
            "ab": _grid((real_a, images.fake_b, images.rec_a)),
            "ba": _grid((real_b, images.fake_a, images.rec_b)),
        }

    def _generators(self) -> tuple[Any, Any]:
        """The generators to use, A to B and B to A."""
        if self.means:
            mean_ab, mean_ba = self.means
            return mean_ab.module, mean_ba.module
        return self.model.generator_ab, self.model.generator_ba

    def _write_samples(self, pictures: dict[str, Picture]) -> None:
        for name, picture in pictures.items():
            write_picture(picture, self.config.output / "samples" / f"{self.steps:06d}_{name}.png")

    def save(self) -> None:
        """Write the networks, the rest of the log and a last picture of the samples."""
        if self.saved_at == self.steps:
            return
        self.saved_at = self.steps
        model = self.model
        save_generator(self.path("generator_ab"), model.generator_ab, ("A", "B"))
        save_generator(self.path("generator_ba"), model.generator_ba, ("B", "A"))
        save_discriminator(self.path("discriminator_a"), model.discriminator_a, "A")
        save_discriminator(self.path("discriminator_b"), model.discriminator_b, "B")
        if self.means:
            mean_ab, mean_ba = self._generators()
            save_generator(self.path("generator_ab", averaged=True), mean_ab, ("A", "B"))
            save_generator(self.path("generator_ba", averaged=True), mean_ba, ("B", "A"))
        self.flush()
        self.sample()


def _first_pictures(config: TrainConfig, data: UnpairedPictures) -> tuple[Tensor, Tensor]:
    """The first pictures of each folder that make one batch, as a network sees them when tested."""

    def batch(paths: Sequence[Path], channels: Channels) -> Tensor:
        pictures: list[Picture] = []
        for path in paths:
            try:
                picture = plain(path, config.data, channels, data.multiple)
            except ImageError:
                if not config.data.skip_bad:
                    raise
                continue
            if len(pictures) == SAMPLES or (pictures and picture.shape != pictures[0].shape):
                break
            pictures.append(picture)
        if not pictures:
            raise DataError(f"none of the {len(paths)} pictures beside {paths[0]} can be used")
        return tensor_from_pictures(pictures)

    return batch(data.paths_a, data.channels_a), batch(data.paths_b, data.channels_b)


def _grid(columns: Sequence[Tensor]) -> Picture:
    """Batches side by side, one row a picture: uint8 (N x H, len(columns) x W, 3)."""
    rows = [pictures_from_tensor(batch) for batch in columns]
    return np.concatenate(
        [np.concatenate(np.broadcast_to(p, (*p.shape[:3], 3)), axis=0) for p in rows], axis=1
    )


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null: what is not set is left out."""
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if value is not None
    }


def _progress(shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        disable=not shown,
    )


def _show(progress: Progress, task: TaskID, schedule: _Schedule) -> None:
    rate = f"step {schedule.step}, {schedule.step / max(schedule.seconds(), 1e-9):.2f} steps/s"
    progress.update(task, completed=schedule.fraction(), rate=rate)
