"""``cyclegan demo``: the whole way from two folders to a translated video, on real data.

It paints relief maps as satellite pictures (see ``sample_data``). What it leaves in its folder:

    data/trainA, data/trainB      the training crops
    train/                        the training run, as ``cyclegan train`` leaves it
    relief2satellite.onnx         the exported generator: uint8 frames in, uint8 frames out
    flyover.mp4, flyover_satellite.mp4, flyover_side_by_side.mp4
    bikes_satellite.mp4           a clip of something else altogether
    report.html                   all of it on one page
"""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from cyclegan import sample_data
from cyclegan.checkpoint import load_generator
from cyclegan.config import CycleGANConfig, DataConfig, PatchConfig, ResnetConfig, TrainConfig
from cyclegan.data import tensor_from_pictures
from cyclegan.engine.doctor import diagnose
from cyclegan.engine.export import onnx_from_generator
from cyclegan.engine.options import VideoStats
from cyclegan.engine.parity import Parity, parity
from cyclegan.engine.progress import progress_bar
from cyclegan.engine.translator import Translator
from cyclegan.engine.video import translate_video
from cyclegan.evaluate import Scores, Translate, baselines, evaluate_pairs
from cyclegan.flicker import Flicker, flicker
from cyclegan.pictures import Picture
from cyclegan.report import Figure, Gallery, Report, ScoreTable, Table, Video, write_report
from cyclegan.training import SAMPLES, TrainResult, train

CROP = 128
"""Pixels of a training picture's side."""
MARGIN = 32
"""Pixels that a stored crop is larger, for the random crop of training."""
CROPS = 500
"""Training crops of each domain."""
PAIRS = 62
"""Aligned crops that the scores are means over."""
SHOWN = 6
"""Evaluation pairs in the report's gallery."""
FRAMES, FRAME_SIZE, FPS = 125, 256, 25
FLICKER_FRAMES = 25
"""Of the fly-over, that its flicker is the mean of."""
OURS, RIVAL = "CycleGAN", "mean/std match"

MODEL = CycleGANConfig(
    generator=ResnetConfig(width=32, blocks=4, upsample="resize"),
    discriminator=PatchConfig(width=32),
    precision="auto",
)


@dataclass(frozen=True, kw_only=True)
class Results:
    """What the report tells."""

    training: TrainResult
    pairs: tuple[Picture, Picture]
    """Aligned evaluation crops: relief, satellite."""
    translated: Picture
    scores: dict[str, Scores]
    """Relief to satellite, ours and the baselines'."""
    scores_back: dict[str, Scores]
    """Satellite to relief."""
    parity: Parity
    engine: str
    open_seconds: float
    flyover: VideoStats
    flicker: Flicker
    clip: VideoStats


def run_demo(output: Path, *, minutes: float = 5.0, seed: int = 0) -> Path:
    """Run the demonstration in the folder ``output``; returns the path of its report.

    ``minutes`` is the time to train for. Raises DataError where the extra ``demo`` is not
    installed, and what training, translating and writing raise.
    """
    began = time.monotonic()
    relief, satellite = sample_data.evaluation_pairs(PAIRS, CROP, seed=1)
    with _stage("cutting training crops from the relief map and the satellite picture"):
        a, b = sample_data.write_training_folders(output / "data", CROPS, CROP + MARGIN, seed)
    with _stage(f"training for {minutes:g} minutes"):
        training = train(
            TrainConfig(
                data=DataConfig(a=a, b=b, preprocess="crop", crop_size=CROP),
                model=dataclasses.replace(MODEL, seed=seed),
                output=output / "train",
                minutes=minutes,
                sample_every=100,
                overwrite=True,
                workers=0,
            ),
            samples=(
                tensor_from_pictures(list(relief[:SAMPLES])),
                tensor_from_pictures(list(satellite[:SAMPLES])),
            ),
        )
    results = _translate_and_score(output, training, (relief, satellite))
    page = _report(output, results, minutes, seed, time.monotonic() - began)
    return write_report(page, output / "report.html")


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
            scores = _scores(translator, relief, satellite)
            back = _scores(load_generator(training.generator_ba), satellite, relief)
            differences = parity(translator, generator, relief[:16])
        with _stage("translating a fly-over"):
            flyover, flickering = _translated_flyover(output, translator)
        with progress_bar("translating bikes.mp4") as progress:
            clip = translate_video(
                sample_data.clip("bikes"),
                output / "bikes_satellite.mp4",
                translator,
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


def _scores(translate: Translate | nn.Module, given: Picture, truth: Picture) -> dict[str, Scores]:
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


def _report(output: Path, results: Results, minutes: float, seed: int, seconds: float) -> Report:
    ours = results.scores[OURS]
    machine = diagnose()
    return Report(
        title="From relief map to satellite picture",
        subtitle=f"A CycleGAN trained for {minutes:g} minutes on unpaired crops of two maps",
        figures=(
            Figure(label="SSIM", value=f"{ours.ssim:.3f}", note=_against("ssim", results)),
            Figure(label="PSNR", value=f"{ours.psnr:.1f} dB", note=_against("psnr", results)),
            Figure(
                label="training",
                value=f"{results.training.steps} steps",
                note=f"in {results.training.seconds / 60:.1f} minutes",
            ),
            Figure(
                label="fly-over",
                value=f"{results.flyover.frames_per_second:.1f} frames/s",
                note=f"{FRAME_SIZE}x{FRAME_SIZE}, decode to encode",
            ),
            Figure(
                label="flicker",
                value=f"{results.flicker.translation:.1f} grey levels",
                note=f"of the fly-over, motion taken out; its source: {results.flicker.source:.1f}",
            ),
            Figure(label="the whole demo", value=f"{seconds / 60:.1f} minutes"),
        ),
        videos=(
            Video(
                path=output / "flyover_side_by_side.mp4",
                caption="A fly-over: relief map, its translation, the true satellite picture",
            ),
            Video(path=output / "flyover_satellite.mp4", caption="The translation alone"),
            Video(
                path=output / "bikes_satellite.mp4",
                caption="What it makes of a street, which it has never seen the like of",
            ),
        ),
        gallery=Gallery(
            columns=("relief map", "translated", "true satellite picture"),
            rows=list(zip(results.pairs[0], results.translated, results.pairs[1]))[:SHOWN],
            note="Evaluation crops, from strips of the Earth that training never saw.",
        ),
        scores=(
            ScoreTable(title="Relief to satellite", ours=OURS, rival=RIVAL, rows=results.scores),
            ScoreTable(
                title="Satellite to relief", ours=OURS, rival=RIVAL, rows=results.scores_back
            ),
        ),
        progress=_progress(output / "train" / "samples"),
        losses=output / "train" / "losses.csv",
        speed=_speed(results),
        parity=_parity(results),
        settings={
            "generator": str(MODEL.generator),
            "discriminator": str(MODEL.discriminator),
            "loss weights": f"cycle {MODEL.lambda_a:g}, identity {MODEL.lambda_identity:g} of it",
            "training crops": f"{CROPS} of {CROP + MARGIN} pixels a domain, cropped to {CROP}",
            "seed": str(seed),
        },
        machine={
            "processor": f"{machine.cpu}, {machine.cores} cores",
            "instructions": ", ".join(machine.instruction_sets),
            "system": machine.system,
            **{name: version for name, version in machine.libraries.items() if version},
        },
        command=f"cyclegan demo --minutes {minutes:g} --seed {seed}",
        credits=[sample_data.CREDITS[name] for name in ("relief", "satellite", "bikes")],
    )


def _against(metric: str, results: Results) -> str:
    return f"{RIVAL}: {getattr(results.scores[RIVAL], metric):.3g}"


def _progress(folder: Path) -> Sequence[tuple[int, Path]]:
    """The fixed samples at about six moments of the training, first and last among them."""
    pictures = sorted(folder.glob("*_ab.png"))
    chosen = np.unique(np.linspace(0, len(pictures) - 1, 6).round().astype(int))
    return [(int(pictures[i].stem.split("_")[0]), pictures[i]) for i in chosen]


def _speed(results: Results) -> Table:
    rows = []
    for name, stats in (
        (f"fly-over, {FRAME_SIZE}x{FRAME_SIZE}", results.flyover),
        ("bikes.mp4, 640x272", results.clip),
    ):
        rates = stats.stage_rates()
        rows.append(
            [
                name,
                str(stats.frames),
                *(f"{rates[stage]:.1f}" for stage in ("decode", "translate", "encode")),
                f"{stats.frames_per_second:.1f}",
                stats.bound_by,
            ]
        )
    return Table(
        columns=("clip", "frames", "decode", "translate", "encode", "end to end", "bound by"),
        rows=rows,
        note=f"Frames per second. Engine: {results.engine}, "
        f"ready after {results.open_seconds:.1f} s.",
    )


def _parity(results: Results) -> Table:
    found = results.parity
    return Table(
        columns=("engine", "frames", "PSNR", "largest difference", "mean difference"),
        rows=[
            [
                results.engine,
                str(found.frames),
                f"{found.psnr_db:.1f} dB",
                f"{found.max_abs} of 255",
                f"{found.mean_abs:.3f}",
            ]
        ],
        note="Against the same generator in float32 PyTorch, on evaluation crops.",
    )


@contextmanager
def _stage(what: str) -> Iterator[None]:
    began = time.monotonic()
    print(f"{what} ...", flush=True)
    yield
    print(f"{what}: {time.monotonic() - began:.1f} s", flush=True)
