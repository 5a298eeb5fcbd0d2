"""One training run: its model, how far it has come, and what it leaves in its folder.

N batch, C channels, H height, W width.
"""

import dataclasses
import logging
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tomli_w
import torch
from torch import Tensor

from cyclegan.checkpoint import Scored, read_info, save_discriminator, save_generator
from cyclegan.config import TrainConfig, as_dict
from cyclegan.data import UnpairedPictures
from cyclegan.ema import averaged
from cyclegan.errors import BackendError, DataError, DivergedError, ModelError, OutputError
from cyclegan.files import write_whole
from cyclegan.model import CycleGAN
from cyclegan.phases import Images, Losses
from cyclegan.recorder import SAMPLE, Recorder, set_aside
from cyclegan.resume import list_checkpoints, save_checkpoint
from cyclegan.schedule import Progress
from cyclegan.scoring import Scorer
from cyclegan.sources import fingerprint

log = logging.getLogger(__name__)
GENERATORS = ("generator_ab", "generator_ba")
_ASIDE = r"(_to_[0-9]{6,}(_[0-9]+)?)?"
"""What :func:`set_aside` adds to names."""
_WORTH = re.compile(
    rf"losses\.csv|(generator_(ab|ba)(_ema|_best{_ASIDE})?|discriminator_[ab])\.safetensors"
)
"""Names of files that make a folder one of a run."""
_BESIDE = re.compile(rf"scores{_ASIDE}\.csv|report\.html")
"""Names of other files of a run."""


class Run:
    """What happens beside the steps. Of several processes the first alone writes."""

    def __init__(
        self,
        config: TrainConfig,
        model: CycleGAN,
        progress: Progress,
        data: UnpairedPictures,
        samples: tuple[Tensor, Tensor],
        *,
        keep_samples: bool = False,
    ) -> None:
        """``keep_samples``: they are not among the pictures, and checkpoints have to hold them."""
        self.config, self.model, self.progress = config, model, progress
        self.world = model.world
        self.fingerprint = fingerprint((data.config.a, data.paths_a), (data.config.b, data.paths_b))
        decay = config.ema_decay
        generators = [getattr(model, name) for name in GENERATORS]
        self.means = tuple(averaged(generator, decay) for generator in generators) if decay else ()
        self.real = samples[0].to(model.device), samples[1].to(model.device)
        self.keeps_samples = keep_samples
        self.scorer = Scorer(config) if config.score_every and self.world.writes else None
        if config.data.test_a is not None and not config.score_every and self.world.writes:
            log.warning(
                "test_a and test_b are not looked at, as score_every is 0: set it to the epochs "
                "between two scorings"
            )
        self.scored = self.scorer.fingerprint if self.scorer else None
        self.best: float | None = None
        """The greatest goodness on the pictures of ``scored``, as they are taken there."""
        self.saved_at = -1
        self._are_finite = torch.ones((), dtype=torch.bool, device=model.device)
        """Whether all losses of this process were, where there are several."""
        self.checked_at = time.monotonic()
        self.recorder: Recorder

    def start(self) -> None:
        """Claim the run's folder, which must hold no other run unless that may go."""
        output = self.config.output
        first = self._translated()
        if self.world.writes:
            old = _remains(output)
            if old and not self.config.overwrite:
                raise OutputError(
                    f"{output} holds a run already; go on with it by --resume, choose another "
                    "output, or set overwrite to replace it"
                )
            self.recorder = Recorder(self.config)
            self._keep_settings()
            for path in old:  # once the new run's settings are known to be possible
                path.unlink()
            self.recorder.begin()
            self.recorder.samples(0, self.real, first)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        if state["data"] != self.fingerprint:
            log.warning(
                "the pictures are not those that the run began with (%s, now %s): it goes on, but "
                "not as it would have",
                state["data"],
                self.fingerprint,
            )
        own = state["ranks"][self.world.rank]
        self.model.load_state(state["model"])
        self.model.load_rank_state(own["model"])
        for mean, kept in zip(self.means, state["means"], strict=True):
            mean.load_state_dict(kept)
        self.progress.load_state(state["progress"])
        self.best = state["best"]
        kept = state.get("samples")  # not in older checkpoints
        if kept and not self.keeps_samples:  # others may be given
            self.real = kept[0].to(self.model.device), kept[1].to(self.model.device)
            self.keeps_samples = True
        torch.set_rng_state(own["torch"])
        if own["cuda"] is not None and self.model.device.type == "cuda":
            torch.cuda.set_rng_state(own["cuda"], self.model.device)
        if self.world.writes:
            self.recorder = Recorder(self.config, self.progress.step)
            if "alarms" in state:  # not in older checkpoints
                self.recorder.alarms.load_state(state["alarms"])
            self._keep_settings()
            self.recorder.rewind(self.progress.step)
            self._compare_scored(state.get("scored"))  # not in older checkpoints
            self._find_best()

    def _compare_scored(self, before: str | None) -> None:
        """Have scores of other pictures than ``before`` begin anew, or of the same in another size:
        figures of both do not compare."""
        if self.scorer is None:
            self.scored = before
        elif before not in (None, self.scorer.pictures, self.scored):  # older ones tell no more
            log.warning(
                "the test pictures are not those that the run was scored on, or not taken as they "
                "were (%s, now %s): scores begin anew, and so does the choice of the best "
                "generators",
                before,
                self.scored,
            )
            self.best = None
            set_aside(self.recorder.scores_path, self.progress.step)

    def _find_best(self) -> None:
        """Have ``best`` be that of the files, which are set aside where they cannot be it: what is
        there under their names is offered."""
        self.best = self._best_of_files()
        if self.best is None:
            for name in GENERATORS:
                set_aside(self.path(name, "_best"), self.progress.step)

    def _best_of_files(self) -> float | None:
        """Files change at any scoring, and may be later than the checkpoint."""
        try:
            found = [read_info(self.path(name, "_best")).scored for name in GENERATORS]
        except ModelError as error:
            if self.best is not None:
                log.warning("the best generators are chosen anew: %s", error)
            return None
        kept = [scored for scored in found if scored is not None]
        if len(kept) < len(found):
            return self.best  # they are of an older version
        others = [scored.pictures for scored in kept if scored.pictures != self.scored]
        if others:
            if self.best is not None:
                log.warning(
                    "the best generators are chosen anew: those that are there were scored on "
                    "other test pictures, or in another size (%s, now %s), and are set aside",
                    others[0],
                    self.scored,
                )
            return None
        best = min(scored.goodness for scored in kept)  # two where a kill came between
        if best != self.best:
            log.warning(
                "the best generators are later than the checkpoint: they stay until one is better "
                "than their %.6g, whose line in scores.csv is gone",
                best,
            )
        return best

    def after_step(self, losses: Losses) -> None:
        """What follows a step that has these losses: averages, log, samples, scores, saves."""
        config, progress = self.config, self.progress
        for mean, name in zip(self.means, GENERATORS, strict=False):
            mean.update_parameters(getattr(self.model, name))
        if self.world.size > 1:
            self._are_finite &= losses.stacked().isfinite().all()
        if self.world.writes:
            rate = self.model.learning_rate
            self.recorder.add(progress.step, progress.seconds(), rate, losses)
            if progress.step % config.log_every == 0:
                self.flush()
            if progress.step % config.sample_every == 0:
                self._or_go_on(self.sample)
        if progress.ends_epoch():
            self._end_epoch()

    def _end_epoch(self) -> None:
        self.flush()
        self._check_all()
        plateau = self.progress.plateau
        mean = float(self.world.all_gathered(plateau.mean())[0])  # who writes has read the losses
        if self.config.schedule == "plateau":
            plateau.take(mean)
        if self.progress.ends_epoch(self.config.score_every):
            self.score()
        if self.progress.ends_epoch(self.config.save_every):
            self._or_go_on(self.save)

    def flush(self) -> None:
        """Read the losses from the device and write them."""
        if self.world.writes:
            for losses in self.recorder.flush():
                generators = (v for name, v in losses.items() if "discriminator" not in name)
                self.progress.plateau.add(sum(generators))

    def _check_all(self) -> None:
        """Raises DivergedError in all processes where the losses of one are not finite: by its
        gradients they all have other networks."""
        if self.world.size > 1 and self.world.agreed(not self._are_finite):
            raise DivergedError(
                f"losses of one of the {self.world.size} processes are not finite by step "
                f"{self.progress.step}: the run has diverged. Checkpoints and networks from before "
                "are kept; go on from them with a lower learning_rate, or with precision 'float32'"
            )

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        waited = time.monotonic() - self.checked_at
        return self.config.checkpoints > 0 and waited >= 60 * self.config.checkpoint_minutes

    def checkpoint(self, *, last: bool = False) -> None:
        """Write a checkpoint; where the disk refuses, say so and, but for the ``last``, go on."""
        self.flush()  # both raise where losses are not finite: nothing bad is kept
        self._check_all()
        if not self.config.checkpoints:
            return
        self.checked_at = time.monotonic()
        ranks = self.world.gathered(self._rank_state())
        if not self.world.writes:
            return
        state = {
            "config": as_dict(self.config),
            "world_size": self.world.size,
            "data": self.fingerprint,
            "model": self.model.state(),
            "means": [mean.state_dict() for mean in self.means],
            "progress": self.progress.state(),
            "best": self.best,
            "scored": self.scored,
            "alarms": self.recorder.alarms.state(),
            "samples": self.real if self.keeps_samples else None,
            "ranks": ranks,
        }
        folder, step = self.config.output / "checkpoints", self.progress.step

        def write() -> None:
            save_checkpoint(folder, step, state, self.config.checkpoints)

        if last:
            write()
        else:
            self._or_go_on(write)

    def _rank_state(self) -> dict[str, Any]:
        cuda = self.model.device.type == "cuda"
        return {
            "model": self.model.rank_state(),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.model.device) if cuda else None,
        }

    def _or_go_on(self, write: Callable[[], None]) -> bool:
        """Whether it could be written."""
        try:
            write()
        except OutputError as error:
            log.warning("%s; what was there stays, and the run goes on", error)
            return False
        return True

    def path(self, network: str, suffix: str = "") -> Path:
        """Where a network is saved."""
        return self.config.output / f"{network}{suffix}.safetensors"

    @property
    def offered(self) -> str:
        """The suffix of the generators to use: the best if they were scored, else the averages."""
        if self.best is not None:
            return "_best"
        return "_ema" if self.means else ""

    def save(self) -> None:
        """Write the networks, the rest of the log and a last picture of the samples."""
        if self.saved_at == self.progress.step or not self.world.writes:
            return
        self.flush()
        model, (a, b) = self.model, self._names()
        for name, domain in (("discriminator_a", a), ("discriminator_b", b)):
            save_discriminator(self.path(name), getattr(model, name), domain)
        self._save_generators((model.generator_ab, model.generator_ba), "")
        if self.means:
            self._save_generators(self._generators(), "_ema")
        self.sample()
        self.saved_at = self.progress.step

    def _save_generators(
        self, generators: Sequence[Any], suffix: str, scored: Scored | None = None
    ) -> None:
        a, b = self._names()
        for name, generator, domains in zip(GENERATORS, generators, ((a, b), (b, a))):
            save_generator(self.path(name, suffix), generator, domains, scored)

    def score(self) -> None:
        """Score what ``_generators`` gives on the test pictures; keep it if nothing was better."""
        if self.scorer is None:
            return
        try:
            scores = self.scorer.scores(*self._generators())
        except (DataError, BackendError) as error:  # training is worth more than its scores
            log.warning("the generators could not be scored: %s; the run goes on", error)
            return
        self._or_go_on(lambda: self.recorder.scores(self.progress.step, scores))
        goodness = scores["goodness"]
        if self.best is not None and not goodness > self.best:
            return
        assert self.scored is not None
        scored = Scored(goodness=goodness, pictures=self.scored)
        if self._or_go_on(lambda: self._save_generators(self._generators(), "_best", scored)):
            self.best = goodness

    def sample(self) -> None:
        """Write the samples as they are translated now."""
        self.recorder.samples(self.progress.step, self.real, self._translated())

    def _translated(self) -> Images:
        trained = (self.model.generator_ab, self.model.generator_ba)
        for generator in trained:
            generator.eval()  # neither dropout nor the samples' statistics
        with torch.no_grad():
            images = self.model.cycle(*self.real, self._generators())
        for generator in trained:
            generator.train()
        return images

    def _generators(self) -> tuple[Any, Any]:
        """The generators as they are now, A to B and B to A: the averages, if there are any."""
        if self.means:
            mean_ab, mean_ba = self.means
            return mean_ab.module, mean_ba.module
        return self.model.generator_ab, self.model.generator_ba

    def _names(self) -> tuple[str, str]:
        return self.config.data.name_a, self.config.data.name_b

    def _keep_settings(self) -> None:
        # What was agreed to for this run is not for those that begin with its settings.
        kept = dataclasses.replace(self.config, overwrite=False)
        path, settings = self.config.output / "config.toml", tomli_w.dumps(as_dict(kept))
        try:
            write_whole(path, settings)
        except UnicodeEncodeError as error:
            line = settings.split("\n")[settings.count("\n", 0, error.start)]
            raise OutputError(
                f"cannot write {path}: it is UTF-8, and cannot hold {line!a}; rename the folder"
            ) from error


def _remains(output: Path) -> list[Path]:
    """The files of a run in ``output``: none of them may be taken for the next one's.

    What has another name, as a copy of a network, is its user's.
    """
    files = list(output.glob("*"))
    worth = [path for path in files if _WORTH.fullmatch(path.name)]
    worth += list_checkpoints(output / "checkpoints")
    if not worth:
        return []
    return [
        *worth,
        *(path for path in files if _BESIDE.fullmatch(path.name)),
        *(path for path in (output / "samples").glob("*") if SAMPLE.fullmatch(path.name)),
        *(output / "tensorboard").glob("events.*"),
    ]
