"""``cyclegan demo``: the whole way from two folders to a translated video, on real data.

It paints relief maps as satellite pictures (see ``sample_data``). What it leaves in its folder:

    data/trainA, data/trainB      the training crops
    train/                        the training run, as ``cyclegan train`` leaves it
    relief2satellite.onnx         the exported generator: uint8 frames in, uint8 frames out
    flyover.mp4, flyover_satellite.mp4, flyover_side_by_side.mp4
    bikes_satellite.mp4           a clip of something else altogether; its beginning, on a slow CPU
    report.html                   all of it on one page
"""

import contextlib
import dataclasses
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from torch import nn

from cyclegan import sample_data
from cyclegan.checkpoint import load_generator
from cyclegan.claim import claimed
from cyclegan.config import CycleGANConfig, DataConfig, PatchConfig, ResnetConfig, TrainConfig
from cyclegan.data import tensor_from_pictures
from cyclegan.demo_report import OURS, Conditions, Results, page_from_results
from cyclegan.engine.cutting import Part
from cyclegan.engine.export import onnx_from_generator
from cyclegan.engine.options import VideoOptions, VideoStats
from cyclegan.engine.parity import parity
from cyclegan.engine.progress import progress_bar
from cyclegan.engine.translator import Translator
from cyclegan.engine.video import translate_video
from cyclegan.errors import OutputError
from cyclegan.evaluate import Scores, Translate, baselines, evaluate_pairs, import_metrics
from cyclegan.flicker import Flicker, flicker
from cyclegan.pictures import Picture
from cyclegan.report import write_report
from cyclegan.training import SAMPLES, TrainResult, train

CROP = 128
"""Pixels of a training picture's side."""
MARGIN = 32
"""Pixels that a stored crop is larger, for the random crop of training."""
CROPS = 500
"""Training crops of each domain."""
PAIRS = 62
"""Aligned crops that the scores are means over."""
FRAMES, FRAME_SIZE, FPS = 125, 256, 25
FLICKER_FRAMES = 25
"""Of the fly-over, that its flicker is the mean of."""
CLIP_SECONDS = 60
"""That the translation of the other clip may take, about."""

MODEL = CycleGANConfig(
    generator=ResnetConfig(width=32, blocks=4, upsample="resize"),
    discriminator=PatchConfig(width=32),
)


def run_demo(output: Path, *, minutes: float = 5.0, seed: int = 0) -> Path:
    """Run the demonstration in the folder ``output``; returns the path of its report.

    ``minutes`` is the time to train for. Raises DataError where the extra ``demo`` is not
    installed, ConfigError for minutes that are not above 0 and a seed below 0, OutputError where
    another process is at work in ``output`` or its training run is no demonstration's, BackendError
    where nothing can be scored, and what training, translating and writing raise.
    """
    began = time.monotonic()
    import_metrics()
    folder = output / "data"
    config = TrainConfig(  # refuses what cannot be before there is anything to wait for
        data=DataConfig(a=folder, b=folder, preprocess="crop", crop_size=CROP),
        model=dataclasses.replace(MODEL, seed=seed),
        output=output / "train",
        minutes=minutes,
        sample_every=100,
        overwrite=_was_demo(output / "train"),
        workers=0,
    )
    relief, satellite = sample_data.evaluation_pairs(PAIRS, CROP, seed=1)
    with claimed(output):
        # Nobody goes on with the run whose pictures are replaced.
        with (
            claimed(config.output),
            _stage("cutting training crops from the relief map and the satellite picture"),
        ):
            a, b = sample_data.write_training_folders(folder, CROPS, CROP + MARGIN, seed)
        with _stage(f"training for {minutes:g} minutes"):
            training = train(
                dataclasses.replace(config, data=dataclasses.replace(config.data, a=a, b=b)),
                samples=(
                    tensor_from_pictures(list(relief[:SAMPLES])),
                    tensor_from_pictures(list(satellite[:SAMPLES])),
                ),
            )
        results = _translate_and_score(output, training, (relief, satellite))
        conditions = Conditions(
            folder=output,
            minutes=minutes,
            seed=seed,
            model=MODEL,
            crops=f"{CROPS} of {CROP + MARGIN} pixels a domain, cropped to {CROP}",
            flyover_size=f"{FRAME_SIZE}x{FRAME_SIZE}",
        )
        page = page_from_results(conditions, results, time.monotonic() - began)
        return write_report(page, output / "report.html")


def _was_demo(run: Path) -> bool:
    """Whether a demonstration has left ``run``. Raises OutputError where it was trained on other
    pictures."""
    try:
        config = tomllib.loads((run / "config.toml").read_text("utf-8"))
        # As they lay to each other: both may have been moved, or named from another folder. Paths
        # in full: who goes on with a run may name it otherwise than who began it.
        beside = Path(config["output"]).absolute().parent
        if Path(config["data"]["a"]).resolve() == (beside / "data" / "trainA").resolve():
            return True
    except OSError:  # no settings; where there are networks all the same, training refuses
        return False
    except (ValueError, LookupError, TypeError):  # settings of something else
        pass
    raise OutputError(f"{run} holds a run that is no demonstration's; choose another output")


def _translate_and_score(
    output: Path, training: TrainResult, pairs: tuple[Picture, Picture]
) -> Results:
    generator = load_generator(training.generator_ab)
    relief, satellite = pairs
    with _stage("exporting the generator to ONNX"):
        onnx_from_generator(
            generator, output / "relief2satellite.onnx", domains=("relief", "satellite")
        )
    with _stage("building the engine"):
        began = time.monotonic()
        translator = Translator.open(training.generator_ab)
        open_seconds = time.monotonic() - began
    with translator:
        with _stage("scoring against the aligned truth"):
            translated = np.stack([translator(picture) for picture in relief])
            scores = score(translator, relief, satellite)
            back = score(load_generator(training.generator_ba), satellite, relief)
            differences = parity(translator, generator, relief[:16])
        with _stage("translating a fly-over"):
            flyover, flickering = _translated_flyover(output, translator)
        bikes = sample_data.clip("bikes")
        with progress_bar("translating bikes.mp4") as progress:
            clip = translate_video(
                bikes,
                output / "bikes_satellite.mp4",
                translator,
                VideoOptions(part=_beginning(bikes, flyover)),
                progress=progress,
            )
        engine = f"{translator.backend} ({translator.description})"
    return Results(
        training=training,
        pairs=pairs,
        translated=translated,
        scores=scores,
        scores_back=back,
        parity=differences,
        engine=engine,
        open_seconds=open_seconds,
        flyover=flyover,
        flicker=flickering,
        clip=clip,
    )


def score(translate: Translate | nn.Module, given: Picture, truth: Picture) -> dict[str, Scores]:
    """Scores of a translation of ``given``, and of the baselines, against ``truth``, by name.

    ``given`` and ``truth`` are aligned uint8 pictures (N, H, W, 3).
    """
    rows: dict[str, Translate | nn.Module] = {
        OURS: translate,
        **baselines(list(given), list(truth)),
    }
    return {name: evaluate_pairs(row, zip(given, truth)) for name, row in rows.items()}


def _translated_flyover(output: Path, translator: Translator) -> tuple[VideoStats, Flicker]:
    """Three clips: the relief flown over, its translation, and both beside the truth."""
    sample_data.write_flyover(output / "flyover.mp4", FRAMES, FRAME_SIZE, fps=FPS)
    stats = translate_video(output / "flyover.mp4", output / "flyover_satellite.mp4", translator)

    pairs: list[tuple[Picture, Picture]] = []

    def side_by_side() -> Iterator[Picture]:
        for relief, satellite in sample_data.flyover(FRAMES, FRAME_SIZE, fps=FPS):
            translated = translator(relief)
            pairs.append((relief, translated))
            yield np.concatenate([relief, translated, satellite], axis=1)

    sample_data.write_clip(side_by_side(), output / "flyover_side_by_side.mp4", FPS)
    return stats, flicker(pairs[:FLICKER_FRAMES])


def _beginning(clip: Path, flyover: VideoStats) -> Part:
    """As much of ``clip`` as can be translated in time, by the pixels a second of ``flyover``."""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        pixels = stream.width * stream.height * float(stream.average_rate or FPS)
    rate = flyover.frames_per_second * FRAME_SIZE**2
    return Part(end=max(1.0, CLIP_SECONDS * rate / pixels))


@contextlib.contextmanager
def _stage(what: str) -> Iterator[None]:
    began = time.monotonic()
    _say(f"{what} ...")
    yield
    _say(f"{what}: {time.monotonic() - began:.1f} s")


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # a reader that leaves ends no run
        print(line, flush=True)
