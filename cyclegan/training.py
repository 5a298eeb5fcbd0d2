"""A training run: two sets of pictures in, four networks out.

The run's folder holds

    config.toml                  every setting, as it was resolved
    generator_ab.safetensors     and generator_ba, discriminator_a, discriminator_b
    generator_ab_ema.safetensors and generator_ba_ema: means of the weights, which paint better
    generator_ab_best.safetensors and generator_ba_best: the means that scored best, if scored
    losses.csv, scores.csv       a line a step: step, seconds, the eight losses; a line a scoring
    samples/000500_ab.png        fixed pictures of A, each beside fake_b and rec_a; _ba likewise
    checkpoints/00001000.pt      all that the run needs to go on from there
    tensorboard/                 if it is asked for

N batch, C channels, H height, W width.
"""

import contextlib
import logging
import time
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from rich.progress import (
    BarColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from torch import Tensor

from cyclegan.claim import claimed
from cyclegan.compiling import worth_compiling, worth_replaying
from cyclegan.config import TrainConfig
from cyclegan.console import LossyConsole
from cyclegan.data import (
    CPU,
    SKIP_BAD,
    UnpairedPictures,
    readers_watched,
    tensor_from_pictures,
)
from cyclegan.devices import find_device, usual_device
from cyclegan.distributed import Meetings, World, launched, world
from cyclegan.errors import ConfigError, DataError, DivergedError, ImageError, OutputError
from cyclegan.model import CycleGAN
from cyclegan.preprocess import plain, stretched
from cyclegan.pretrained import load_pretrained
from cyclegan.resume import Stopping, check_same, load_checkpoint, stopping
from cyclegan.run import Run
from cyclegan.schedule import Progress
from cyclegan.sources import Item, Pixels
from cyclegan.targets import check_run

SAMPLES = 4
SAY_SECONDS = 60.0
"""Between two lines about the run where there is no terminal to show a bar."""
STARVED = 0.3
"""Share of the time that steps may wait for pictures before it is said."""
BESIDE_STEPS = (
    "the networks or the samples; see by nvidia-smi what else runs on it, or lower crop_size, "
    "load_size or the width of the generators"
)
"""What takes a GPU's memory beside the steps, and what there is to do."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a finished run leaves."""

    steps: int
    seconds: float
    """Time from the first step to the last save, over all processes that went on with it."""
    generator_ab: Path
    """The generator to use: the best if the run was scored, else the last moving average, or with
    ``ema_decay`` 0 the last one."""
    generator_ba: Path
    skipped: dict[str, str]
    """Pictures that ``skip_bad`` passed over, with the reason."""
    alarms: tuple[str, ...] = ()
    """What looked wrong on the way."""


def train(
    config: TrainConfig,
    *,
    device: str | None = None,
    samples: tuple[Tensor, Tensor] | None = None,
    show_progress: bool = True,
    resume: bool = False,
) -> TrainResult:
    """Train as ``config`` says and save the networks in ``config.output``.

    ``device`` is ``cuda`` where there is one, else ``cpu``. ``samples`` are float32 (N, C, H, W) in
    [-1, 1], one batch a domain, to be translated every ``config.sample_every`` steps; without them
    those that the run began with are, or the first pictures of each folder. ``resume`` goes on with
    the run in ``config.output`` from its newest checkpoint, as if it had not been stopped. On
    Ctrl-C, SIGTERM or SIGHUP the run ends its step, saves itself, and raises KeyboardInterrupt or
    SystemExit. Under ``torchrun`` all processes train one model together.

    Raises DataError or ImageError for pictures that cannot be used or a checkpoint that is
    missing, ConfigError for a checkpoint of another run, pretrained networks of another
    architecture, a run that does not fit the GPU or a ``WORLD_SIZE`` without the rest of what
    ``torchrun`` sets, ModelError for networks that cannot be read, BackendError for a device that
    is not there and where scores need an extra that is missing, OutputError when the run's folder
    cannot be written or lies among its pictures, these lie among its samples, another process is at
    work there, or it holds another run and ``config.overwrite`` is not set, DivergedError when a
    loss is no longer finite, and CycleGANError when another process of the run has ended.
    """
    if not resume:
        _check_sources(config, {})
    wanted = str(device or usual_device()).lower()  # under torchrun, cuda is one GPU of many
    with world(wanted) as (here, own), contextlib.ExitStack() as claims:
        device = str(find_device(own))
        if here.writes and not (resume and not config.output.exists()):
            claims.enter_context(claimed(config.output))
        here.meet()  # who had the folder before may write until the claim
        with _memory_watched(BESIDE_STEPS):
            return _train(config, here, device, samples, show_progress and here.writes, resume)


def _train(
    config: TrainConfig,
    here: World,
    device: str,
    samples: tuple[Tensor, Tensor] | None,
    show_progress: bool,
    resume: bool,
) -> TrainResult:
    data = _pictures(config, here)
    model = CycleGAN(config.model, device, here)
    if config.pretrained is not None and not resume:
        load_pretrained(model, config.pretrained)
    per_epoch = -(-(len(data) // here.size) // config.batch_size)
    progress = Progress(config, per_epoch)
    shown = samples or _first_pictures(config, data)
    run = Run(config, model, progress, data, shown, keep_samples=samples is not None)
    if resume:
        _go_on(run)
    else:
        torch.manual_seed(config.model.seed + here.rank)  # dropout's
        run.start()
    _compile(run)
    with _bar(show_progress) as bar, stopping(launched=launched()) as stop:
        try:
            with (  # closed: the traceback of an error would keep what reads
                readers_watched(),
                _memory_watched(_of_a_step(config)),
                contextlib.closing(progress.over(data, here, model.device)) as batches,
            ):
                _loop(run, batches, stop, _shower(bar, run))
        except DivergedError:
            raise  # what was kept before is worth more
        except Exception:
            if here.size == 1:  # several processes would wait for this one to take part
                with contextlib.suppress(Exception):
                    _keep(run)
            raise
        skipped = _skipped(here, data)
        _keep(run)
        here.meet()  # where one ends by a signal, torchrun ends the others
    stop.leave()
    return TrainResult(
        steps=progress.step,
        seconds=progress.seconds(),
        generator_ab=run.path("generator_ab", run.offered),
        generator_ba=run.path("generator_ba", run.offered),
        skipped=skipped,
        alarms=tuple(run.recorder.alarms.messages) if here.writes else (),
    )


def _go_on(run: Run) -> None:
    """Have ``run`` as its newest checkpoint has it. Raises DataError, ConfigError, OutputError."""
    folder = run.config.output / "checkpoints"
    state = load_checkpoint(folder)
    steps = run.world.all_gathered(state["progress"]["step"])
    if len(set(steps)) > 1:
        found = ", ".join(f"process {rank} that of step {step}" for rank, step in enumerate(steps))
        raise DataError(
            f"the processes of this run found different checkpoints in {folder}: {found}; have all "
            "of them read one folder, which nothing else writes to"
        )
    check_same(state, run.config, run.world.size)
    _check_sources(run.config, state["config"]["data"])
    run.restore(state)
    log.warning("going on with %s after step %d", run.config.output, run.progress.step)
    if run.progress.done():
        log.warning("nothing is left to do: ask for more epochs, or minutes")


def _check_sources(config: TrainConfig, before: Mapping[str, Any]) -> None:
    """Raises OutputError where the run and its pictures lie among each other.

    Those of the settings ``before`` are let be: older versions began runs there.
    """
    for name in ("a", "b", "test_a", "test_b"):
        source = getattr(config.data, name)
        if source is not None and str(source) != before.get(name):
            check_run(source, config.output)


def _compile(run: Run) -> None:
    """Compile the step if the run's settings say so, or where it pays."""
    config, model, device = run.config, run.model, run.model.device.type
    if worth_compiling(
        config.compile,
        device=device,
        steps=run.progress.steps,
        minutes=config.minutes,
        one_size=config.data.crops,
        native=model.has_native_kernels,
    ):
        graphs = worth_replaying(config.compile, device=device, processes=run.world.size)
        model.compile(cuda_graphs=graphs)


def _loop(
    run: Run, batches: Iterable[tuple[Tensor, Tensor]], stop: Stopping, show: Callable[[], None]
) -> None:
    """The steps of a run, until its end or until it is asked to stop."""
    config, model, progress, here = run.config, run.model, run.progress, run.world
    meetings = Meetings(here, progress.step)
    for real_a, real_b in _watched(batches, config, model.device):
        model.set_learning_rate(config.model.learning_rate * progress.factor())
        try:
            losses = model.step(real_a, real_b, config.passes)
        except Exception:
            progress.take_back()  # or the checkpoint would count a step that changed nothing
            raise
        run.after_step(losses)
        show()
        stops, due = bool(stop), run.due()
        if here.size > 1:
            if not meetings.after(progress.step):
                continue
            stops, due = here.agreed(stops), here.agreed(due)
        if due:
            run.checkpoint()
        if stops:
            return


def _of_a_step(config: TrainConfig) -> str:
    return (
        f"a step with batch_size {config.batch_size} in {config.passes} passes; raise passes, or "
        "lower batch_size or crop_size"
    )


@contextlib.contextmanager
def _memory_watched(use: str) -> Iterator[None]:
    """Raises ConfigError where the GPU has no room for ``use``, which tells what to do as well."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ConfigError(f"the GPU has too little memory for {use}") from error


def _keep(run: Run) -> None:
    """The last checkpoint, and the networks, which find room where it did not.

    Whoever is in a hurry has it first; it is written again where the last samples raise alarms.
    """
    try:
        run.checkpoint(last=True)
    except OutputError:
        run.save()
        raise
    before = _alarms(run)
    run.save()
    if run.world.agreed(_alarms(run) != before):
        run.checkpoint()


def _alarms(run: Run) -> dict[str, Any] | None:
    """All of them, where this process writes."""
    return run.recorder.alarms.state() if run.world.writes else None


def _skipped(here: World, data: UnpairedPictures) -> dict[str, str]:
    """What the processes of a run have passed over, each of its own share: path -> reason."""
    return dict(ChainMap(*here.all_gathered(dict(data.bad))))


def _pictures(config: TrainConfig, here: World) -> UnpairedPictures:
    """The data, which must fill a batch of every process."""
    generator = config.model.generator
    if here.size > 1 and config.minutes is not None:
        raise ConfigError("clocks of several processes differ: give epochs instead of minutes")
    data = UnpairedPictures(
        config.data,
        config.model.seed,
        channels_a=generator.in_channels,
        channels_b=generator.out_channels,
        multiple=generator.size_multiple,
        smallest=config.model.smallest_side,
    )
    if data.paths_a == data.paths_b and here.writes:
        log.warning(
            "both domains are the same pictures, which leaves nothing to translate; pairs side by "
            "side in one picture are not taken apart: cut them into two folders first"
        )
    wanted = config.batch_size * here.size
    if len(data) < wanted:
        raise DataError(
            f"a step takes {wanted} pictures of each domain, and the larger one has {len(data)}; "
            "lower batch_size"
        )
    if here.writes:
        _tell_of_stretching(data)
    return data


def _tell_of_stretching(data: UnpairedPictures) -> None:
    """Once, of the first picture of either domain."""
    firsts = (data.paths_a[0], data.channels_a), (data.paths_b[0], data.channels_b)
    for path, channels in firsts:
        with contextlib.suppress(ImageError):  # told where the picture is to be used
            if told := stretched(path, data.config, channels):
                log.warning("%s", told)
                return


def _watched(
    batches: Iterable[tuple[Tensor, Tensor]], config: TrainConfig, device: torch.device = CPU
) -> Iterator[tuple[Tensor, Tensor]]:
    """``batches``; says once if steps wait for pictures."""
    began, waited, count, told = time.monotonic(), 0.0, 0, False
    source = iter(batches)
    stepped = torch.Event(device) if device.type == "cuda" else None
    while True:
        asked = time.monotonic()
        if stepped:
            stepped.record()
        batch = next(source, None)
        if batch is None:
            return
        # While a GPU is still at the step before, only the host waits.
        if stepped is None or stepped.query():
            waited += time.monotonic() - asked
        count += 1
        yield batch
        share = waited / max(time.monotonic() - began, 1e-9)
        if count % 200 == 0:
            if share > STARVED and not told:
                log.warning(
                    "steps wait for pictures %.0f %% of the time; raise workers (%d), or store "
                    "pictures at the size they are loaded at",
                    100 * share,
                    config.workers,
                )
                told = True
            began, waited = time.monotonic(), 0.0


def _first_pictures(config: TrainConfig, data: UnpairedPictures) -> tuple[Tensor, Tensor]:
    """The first pictures of each folder that make one batch, as a network sees them when tested."""

    def batch(items: Sequence[Item], channels: int) -> Tensor:
        pictures: list[Pixels] = []
        for item in items:
            try:
                picture = plain(item, config.data, channels, data.multiple, data.smallest)
            except ImageError as error:
                if not config.data.skip_bad:
                    raise ImageError(f"{error}; {SKIP_BAD}") from error
                continue
            if len(pictures) == SAMPLES or (pictures and picture.shape != pictures[0].shape):
                break
            pictures.append(picture)
        if not pictures:
            raise DataError(f"none of the {len(items)} pictures beside {items[0]} can be used")
        return tensor_from_pictures(pictures)

    return batch(data.paths_a, data.channels_a), batch(data.paths_b, data.channels_b)


def _bar(shown: bool) -> Bar:
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=LossyConsole(),
        disable=not shown,
    )


def _shower(bar: Bar, run: Run) -> Callable[[], None]:
    """Shows how far the run has come: moves the bar or, without a terminal, says it in lines."""
    progress = run.progress
    task = bar.add_task("training", total=1.0, rate="")
    said = time.monotonic()

    def show() -> None:
        nonlocal said
        rate = progress.step / max(progress.seconds(), 1e-9)
        bar.update(
            task,
            completed=progress.fraction(),
            rate=f"step {progress.step}, {rate:.2f} steps/s",
        )
        if bar.disable or bar.console.is_terminal or time.monotonic() - said < SAY_SECONDS:
            return
        said = time.monotonic()
        left = progress.seconds() * (1 / max(progress.fraction(), 1e-9) - 1)
        losses = ", ".join(f"{name} {value:.3f}" for name, value in run.recorder.last.items())
        bar.console.print(
            f"epoch {progress.epoch + 1}, step {progress.step}, {progress.fraction():.1%}, "
            f"{rate:.2f} steps/s, ETA {timedelta(seconds=round(left))}, "
            f"learning rate {run.model.learning_rate:.3g}" + (f": {losses}" if losses else ""),
            soft_wrap=True,
            highlight=False,
        )

    return show
