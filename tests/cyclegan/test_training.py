"""Whole runs on real pictures."""

import contextlib
import csv
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cyclegan import alarms, load_generator, train, training
from cyclegan.checkpoint import load_discriminator, read_info
from cyclegan.config import (
    CycleGANConfig,
    DataConfig,
    PatchConfig,
    PixelConfig,
    ResnetConfig,
    TrainConfig,
    from_dict,
)
from cyclegan.data import UnpairedPictures
from cyclegan.distributed import World
from cyclegan.errors import BackendError, ConfigError, DataError, ImageError, OutputError
from cyclegan.model import CycleGAN
from cyclegan.phases import LOSSES
from cyclegan.run import Run
from cyclegan.sample_data import write_training_folders
from cyclegan.schedule import Plateau, Progress
from cyclegan.shipped import find_model

TINY = CycleGANConfig(
    generator=ResnetConfig(width=4, blocks=1), discriminator=PatchConfig(width=4, layers=1)
)


@pytest.fixture
def config(tmp_path):
    """Six satellite and six relief crops, three steps a second or better."""
    a, b = write_training_folders(tmp_path / "data", 6, 40)
    data = DataConfig(a=a, b=b, load_size=36, crop_size=32)
    return TrainConfig(
        data=data,
        model=TINY,
        output=tmp_path / "run",
        epochs=1,
        epochs_decay=1,
        sample_every=5,
        workers=0,
    )


def replaced(config, **changes):
    return type(config)(**{**vars(config), **changes})


def test_a_run_leaves_what_it_promises(config):
    result = train(config, device="cpu", show_progress=False)
    assert result.steps == 12
    assert result.skipped == {}
    assert load_generator(result.generator_ab).config == TINY.generator
    assert read_info(result.generator_ba).domains == ("B", "A")
    assert load_discriminator(config.output / "discriminator_b.safetensors")
    with (config.output / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 13))
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())
    assert float(rows[-1]["seconds"]) > float(rows[0]["seconds"])
    samples = sorted(path.name for path in (config.output / "samples").iterdir())
    assert samples == [f"{n:06d}_{d}.png" for n in (0, 5, 10, 12) for d in ("ab", "ba")]
    with Image.open(config.output / "samples" / samples[0]) as grid:
        assert grid.size == (3 * 32, 4 * 32)


def test_settings_are_kept_and_make_the_same_run(config, tmp_path):
    train(config, device="cpu", show_progress=False)
    text = (config.output / "config.toml").read_text()
    kept = from_dict(TrainConfig, tomllib.loads(text))
    assert kept == config
    train(replaced(kept, output=tmp_path / "again"), device="cpu", show_progress=False)

    def losses(folder):
        with (folder / "losses.csv").open() as file:
            return [{**row, "seconds": None} for row in csv.DictReader(file)]

    assert losses(config.output) == losses(tmp_path / "again")


def test_a_run_does_not_replace_another_unless_told_to(config):
    first = train(config, device="cpu", show_progress=False)
    kept = first.generator_ab.read_bytes()
    log = (config.output / "losses.csv").read_bytes()
    with pytest.raises(OutputError, match="holds a run already; go on with it"):
        train(config, device="cpu", show_progress=False)
    assert first.generator_ab.read_bytes() == kept
    assert (config.output / "losses.csv").read_bytes() == log
    shorter = replaced(config, overwrite=True, epochs_decay=0)
    train(shorter, device="cpu", show_progress=False)
    assert first.generator_ab.read_bytes() != kept
    assert not (config.output / "samples" / "000012_ab.png").exists()
    # A run that begins with the settings of that one has not been told to.
    again = from_dict(
        TrainConfig, tomllib.loads((config.output / "config.toml").read_text("utf-8"))
    )
    with pytest.raises(OutputError, match="holds a run already"):
        train(again, device="cpu", show_progress=False)


@pytest.mark.parametrize("inside", ["", "run"])
def test_no_run_lies_among_its_pictures(config, inside):
    """Else its samples would be the next one's data."""
    data = config.data.b
    before = sorted(data.rglob("*"))
    with pytest.raises(OutputError, match=r"is the source itself|lies inside the source"):
        train(replaced(config, output=data / inside), device="cpu", show_progress=False)
    assert sorted(data.rglob("*")) == before


@pytest.mark.parametrize("inside", ["", "photos"])
@pytest.mark.parametrize("domain", ["a", "test_b"])
def test_no_pictures_lie_among_the_samples_of_their_run(config, domain, inside):
    """They would be sources, and go with the run."""
    test = {"test_a": config.data.a, "test_b": config.data.b}
    source = shutil.copytree(config.data.a, config.output / "samples" / inside)
    data = replaced(config.data, **{**test, domain: source})
    before = contents(config.output)
    with pytest.raises(OutputError, match=f"{source} lies where a run in .* writes its samples"):
        train(replaced(config, data=data), device="cpu", show_progress=False)
    assert contents(config.output) == before


def test_samples_lead_through_no_link_among_the_pictures(config):
    config.output.mkdir()
    (config.output / "samples").symlink_to(config.data.b / "samples")
    with pytest.raises(OutputError, match=f"{config.data.b} lies where a run in .* writes"):
        train(config, device="cpu", show_progress=False)


def test_what_replaces_a_run_leaves_what_it_did_not_write(config, run_before):
    samples = config.output / "samples"
    (samples / "000005_ba.png").touch()
    kept = [samples / "before_ab.png", samples / "5-nice_ab.png"]
    kept += [config.output / f"generator_ab{end}.safetensors" for end in ("_good", "-5", "_best_2")]
    gone = [config.output / f"generator_ba_best_to_000005{end}.safetensors" for end in ("", "_2")]
    gone += [config.output / "scores_to_000005.csv"]
    for path in (*kept, *gone):
        path.touch()
    train(replaced(config, overwrite=True, epochs_decay=0), device="cpu", show_progress=False)
    written = {f"{step:06d}_{way}.png" for step in (0, 5, 6) for way in ("ab", "ba")}
    assert {path.name for path in samples.iterdir()} == written | {path.name for path in kept[:2]}
    assert (samples / "000005_ba.png").stat().st_size
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in gone)


def test_what_replaces_a_run_offers_nothing_of_it(config):
    train(config, device="cpu", show_progress=False)
    other = replaced(config, overwrite=True, ema_decay=0.0)
    result = train(other, device="cpu", show_progress=False)
    assert find_model(str(config.output)) == result.generator_ab
    assert not list(config.output.glob("*_ema.safetensors"))


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def run_before(config):
    """What is there of another run, in part."""
    for name in ("losses.csv", "config.toml", "samples/000000_ab.png", "tensorboard/events.out.1"):
        path = config.output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("of the run before")
    return contents(config.output)


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux")
def test_settings_that_no_file_can_hold_replace_no_run(config, run_before):
    odd = config.data.a.rename(config.data.a.with_name(os.fsdecode(b"\xff")))
    data = replaced(config.data, a=odd)
    with pytest.raises(OutputError, match="it is UTF-8, and cannot hold"):
        train(
            replaced(config, data=data, overwrite=True, tensorboard=True),
            device="cpu",
            show_progress=False,
        )
    assert contents(config.output) == run_before


def test_events_that_nothing_here_can_write_replace_no_run(config, run_before, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX.proto.event_pb2", None)
    with pytest.raises(ConfigError, match="tensorboardX is not installed"):
        train(replaced(config, overwrite=True, tensorboard=True), device="cpu", show_progress=False)
    assert contents(config.output) == run_before


@pytest.mark.parametrize("lost", ["losses.csv", "checkpoints"])
def test_a_run_is_one_without_its_log_or_its_checkpoints(config, lost):
    train(config, device="cpu", show_progress=False)
    path = config.output / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(OutputError, match="holds a run already"):
        train(config, device="cpu", show_progress=False)


def test_without_a_terminal_a_run_says_how_far_it_has_come(config, monkeypatch, capsys):
    monkeypatch.setattr(training, "SAY_SECONDS", 0.0)
    train(replaced(config, log_every=2), device="cpu")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert len(lines) == 12
    assert lines[0].endswith("learning rate 0.0002"), "no loss has been read yet"
    assert re.match(
        r"epoch 2, step 10, 83\.3%, [\d.]+ steps/s, ETA 0:00:\d\d, learning rate 0\.0001: "
        r"generator_ab \d\.\d{3}, .*discriminator_b \d\.\d{3}$",
        lines[9],
    ), lines[9]


def unread():
    """A file behind which nobody reads."""
    ours, theirs = os.pipe()
    os.close(ours)
    return os.fdopen(theirs, "w")


def full():
    """A file for which the disk has no room."""
    return Path("/dev/full").open("w")


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
@pytest.mark.parametrize("place", [unread, full])
def test_lines_that_cannot_be_printed_do_not_end_a_run(place, config, monkeypatch):
    monkeypatch.setattr(training, "SAY_SECONDS", 0.0)
    with contextlib.suppress(OSError), place() as stdout:  # which closing would still write to
        monkeypatch.setattr(sys, "stdout", stdout)
        steps = train(config, device="cpu").steps
    assert steps == 12


def test_a_reading_process_that_is_killed_is_told_and_the_run_is_kept(config, monkeypatch):
    step, count = CycleGAN.step, [0]

    def stepped(self, *args, **kwargs):
        count[0] += 1
        if count[0] == 3:
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGKILL)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(CycleGAN, "step", stepped)
    long = replaced(config, workers=1, epochs=50)
    with pytest.raises(DataError, match=r"reads pictures was killed.*lower workers"):
        train(long, device="cpu", show_progress=False)
    assert list((config.output / "checkpoints").iterdir())


def test_too_little_memory_says_what_to_change(config, monkeypatch):
    def stepped(self, *args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(CycleGAN, "step", stepped)
    with pytest.raises(ConfigError, match="batch_size 1 in 1 passes; raise passes"):
        train(config, device="cpu", show_progress=False)


@pytest.mark.parametrize(("owner", "method"), [(CycleGAN, "_placed"), (Run, "_translated")])
def test_too_little_memory_beside_the_steps_is_told_too(owner, method, config, monkeypatch):
    """For the networks, or the samples."""

    def on_a_full_gpu(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(owner, method, on_a_full_gpu)
    with pytest.raises(ConfigError, match=r"networks or the samples; see by nvidia-smi what else"):
        train(config, device="cpu", show_progress=False)


def test_a_step_that_failed_is_made_when_the_run_goes_on(config, monkeypatch):
    whole = replaced(config, output=config.output.with_name("whole"))
    expected = train(whole, device="cpu", show_progress=False)
    step, calls = CycleGAN.step, iter(range(100))

    def fails_once(self, *args, **kwargs):
        if next(calls) == 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(self, *args, **kwargs)

    monkeypatch.setattr(CycleGAN, "step", fails_once)
    with pytest.raises(ConfigError, match="raise passes"):
        train(config, device="cpu", show_progress=False)
    result = train(config, device="cpu", show_progress=False, resume=True)
    assert result.steps == expected.steps
    with (config.output / "losses.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(1, 13))
    weights, others = (load_generator(r.generator_ab).parameters() for r in (result, expected))
    assert all(map(torch.equal, weights, others))


def test_samples_leave_the_networks_alone(config):
    model = CycleGANConfig(
        generator=ResnetConfig(width=4, blocks=1, norm="batch", dropout=True),
        discriminator=TINY.discriminator,
    )
    often = replaced(config, model=model, sample_every=1)
    seldom = replaced(often, sample_every=100, output=config.output.with_name("seldom"))
    results = []
    for each in (often, seldom):
        torch.manual_seed(0)
        result = train(each, device="cpu", show_progress=False)
        results.append(load_generator(result.generator_ab).state_dict())
    assert all(torch.equal(results[0][key], results[1][key]) for key in results[0])


def test_dropout_follows_the_seed_of_the_run(config):
    generator = ResnetConfig(width=4, blocks=1, dropout=True)
    model = CycleGANConfig(generator=generator, discriminator=TINY.discriminator)
    results = []
    for name in ("one", "two"):  # between them numbers are drawn
        once = replaced(config, model=model, output=config.output.with_name(name))
        result = train(once, device="cpu", show_progress=False)
        results.append(load_generator(result.generator_ab).parameters())
    assert all(map(torch.equal, *results))


def test_averages_are_of_the_weights_after_each_step(config, monkeypatch):
    step = CycleGAN.step
    seen = {"generator_ab": [], "generator_ba": []}

    def weights(network):
        return torch.cat([weight.detach().flatten() for weight in network.parameters()])

    def stepped(self, *args):
        losses = step(self, *args)
        for name, after in seen.items():
            after.append(weights(getattr(self, name)))
        return losses

    monkeypatch.setattr(CycleGAN, "step", stepped)
    train(config, device="cpu", show_progress=False)
    for name, after in seen.items():
        mean = after[0]
        for n, newest in enumerate(after[1:], 1):
            mean = torch.lerp(mean, newest, 1 - (1 + n) / (10 + n))
        saved = load_generator(config.output / f"{name}_ema.safetensors")
        torch.testing.assert_close(weights(saved), mean)


def test_networks_are_saved_every_so_many_epochs(config):
    """Of six pictures a batch of four leaves two, which are a step too."""
    often = replaced(config, batch_size=4, epochs=3, epochs_decay=0, save_every=2, sample_every=100)
    assert train(often, device="cpu", show_progress=False).steps == 6
    samples = sorted(path.name for path in (config.output / "samples").glob("*_ab.png"))
    assert samples == [f"{step:06d}_ab.png" for step in (0, 4, 6)]


def test_a_plateau_is_of_the_generators_losses_over_an_epoch(config, monkeypatch):
    take, taken = Plateau.take, []

    def noted(self, loss):
        taken.append(loss)
        take(self, loss)

    monkeypatch.setattr(Plateau, "take", noted)
    watched = replaced(config, log_every=4, schedule="plateau")
    train(watched, device="cpu", show_progress=False)
    with (config.output / "losses.csv").open() as file:
        sums = [sum(float(row[name]) for name in LOSSES[:6]) for row in csv.DictReader(file)]
    assert taken == pytest.approx([sum(sums[:6]) / 6, sum(sums[6:]) / 6], rel=1e-4)


@pytest.mark.parametrize(("schedule", "last"), [("linear", 1.0), ("step", 1.0), ("plateau", 0.2)])
def test_losses_that_stay_lower_the_rate_of_a_plateau_alone(config, schedule, last, monkeypatch):
    monkeypatch.setattr(Plateau, "mean", lambda self: 1.0)
    rates, set_rate = [], CycleGAN.set_learning_rate

    def noted(self, rate):
        rates.append(rate)
        set_rate(self, rate)

    monkeypatch.setattr(CycleGAN, "set_learning_rate", noted)
    run = replaced(config, epochs=8, epochs_decay=0, batch_size=6, schedule=schedule)
    train(run, device="cpu", show_progress=False)
    assert len(rates) == 8
    assert [rates[0], rates[-1]] == pytest.approx([2e-4, 2e-4 * last])


def test_what_looked_wrong_is_in_the_result(config, monkeypatch):
    monkeypatch.setattr(alarms, "WINDOW", 3)
    monkeypatch.setattr(alarms, "SATURATED", 1e9)
    result = train(replaced(config, epochs_decay=0), device="cpu", show_progress=False)
    assert [message[:23] for message in result.alarms] == [
        f"step 3: discriminator_{domain}" for domain in "ab"
    ]


def test_samples_are_the_first_good_pictures_of_one_size(config):
    wide, bad = (config.data.a / f"0000{n}.png" for n in (3, 1))
    Image.new("RGB", (48, 40)).save(wide)
    bad.write_bytes(b"no picture")
    data = replaced(config.data, preprocess="none", skip_bad=True)
    of_a, of_b = training._first_pictures(replaced(config, data=data), UnpairedPictures(data))
    assert of_a.shape == (2, 3, 40, 40)
    assert of_b.shape == (4, 3, 40, 40)


def test_a_budget_of_time_ends_the_run(config):
    began = time.monotonic()
    result = train(replaced(config, minutes=0.05, epochs=10_000), device="cpu", show_progress=False)
    assert 3 <= time.monotonic() - began < 20
    assert result.steps > 6


@pytest.mark.parametrize(
    ("epoch", "factor"), [(0, 1.0), (99, 1.0), (100, 100 / 101), (150, 50 / 101), (199, 1 / 101)]
)
def test_learning_rate_by_epoch(config, epoch, factor):
    schedule = Progress(replaced(config, epochs=100, epochs_decay=100), 10)
    schedule.epoch = epoch
    assert schedule.factor() == pytest.approx(factor)


@pytest.mark.parametrize(
    ("seconds", "factor"), [(0, 1), (30, 1), (45, 0.5), (57, 0.1), (60, 0), (70, 0)]
)
def test_learning_rate_by_time(config, seconds, factor, monkeypatch):
    schedule = Progress(replaced(config, minutes=1.0), 10)
    monkeypatch.setattr(schedule, "seconds", lambda: float(seconds))
    assert schedule.factor() == pytest.approx(factor, abs=1e-9)


def test_time_that_preparing_takes_up_leaves_a_step(config):
    result = train(replaced(config, minutes=1e-6), device="cpu", show_progress=False)
    assert result.steps == 1
    assert len((config.output / "losses.csv").read_text().splitlines()) == 2


def test_bad_picture_stops_the_run_or_is_skipped_and_counted(config):
    bad = config.data.a / "00003.png"
    bad.write_bytes(bad.read_bytes()[:500])
    with pytest.raises(ImageError, match=r"00003\.png"):
        train(config, device="cpu", show_progress=False)
    skipping = replaced(config, data=replaced(config.data, skip_bad=True))
    result = train(skipping, device="cpu", show_progress=False)
    assert [Path(path).name for path in result.skipped] == ["00003.png"]
    assert result.steps == 12


def test_a_bad_picture_among_the_samples_is_told_what_goes_on_without_it(config):
    (config.data.a / "00000.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"00000\.png.*; skip_bad goes on without it$"):
        training._first_pictures(config, UnpairedPictures(config.data))


@pytest.mark.parametrize(
    ("model", "height", "smallest"),
    [
        ({"discriminator": PatchConfig(width=4, layers=2, norm="batch")}, 9, 12),
        ({"discriminator": PixelConfig(width=4), "ssim_share": 0.5}, 9, 11),
        ({"discriminator": PixelConfig(width=4)}, 5, 8),
    ],
)
@pytest.mark.parametrize("number", [0, 3])
def test_an_uncropped_picture_that_is_too_small_is_named_or_skipped(
    config, model, height, smallest, number
):
    """The first one, which is among the samples, and one that is not."""
    small = config.data.a / f"0000{number}.png"
    Image.new("RGB", (40, height)).save(small)
    data = replaced(config.data, preprocess="none")
    config = replaced(config, data=data, model=replaced(TINY, **model), epochs_decay=0)
    taken = f"is 40x{height} pixels, and is taken at 40x{height - 1}"
    says = f"{small.name} {taken}; .* at least {smallest};.*skip_bad"
    with pytest.raises(ImageError, match=says):
        train(config, device="cpu", show_progress=False)
    skipping = replaced(config, data=replaced(data, skip_bad=True), overwrite=True)
    result = train(skipping, device="cpu", show_progress=False)
    assert (result.steps, list(result.skipped)) == (6, [str(small)])


@pytest.mark.parametrize("mode", ["scale_width", "scale_width_and_crop"])
def test_a_picture_that_a_width_stretches_is_told_once_a_run(config, mode, caplog):
    """The first of B; that of A cannot be read, which is told where it is used."""
    first_a, first_b = (min(folder.iterdir()) for folder in (config.data.a, config.data.b))
    first_a.write_bytes(b"no picture")
    Image.new("RGB", (80, 40)).save(first_b)
    wide = replaced(config, data=replaced(config.data, preprocess=mode))
    training._pictures(wide, World())
    (told,) = caplog.messages
    assert told.startswith(f"{first_b} is 80x40 pixels, and is stretched to 1.78 times its height")
    assert "36 wide (load_size) it would be lower than a crop, 32" in told


def test_pictures_that_keep_their_shape_or_are_asked_to_lose_it_are_not_told_of(config, caplog):
    for changes in ({"preprocess": "scale_width"}, {"preprocess": "resize_and_crop"}):
        training._pictures(replaced(config, data=replaced(config.data, **changes)), World())
    Image.new("RGB", (80, 40)).save(min(config.data.a.iterdir()))
    low = replaced(config.data, preprocess="scale_width", crop_height=18)
    for data in (low, replaced(config.data, preprocess="resize_and_crop")):
        training._pictures(replaced(config, data=data), World())
    training._pictures(replaced(config, data=replaced(low, crop_height=24)), World(rank=1))
    assert not caplog.messages


def test_two_domains_that_are_one_are_told(config, caplog):
    """As whoever has a folder of pairs side by side may give it."""
    train(config, device="cpu", show_progress=False)
    assert "same pictures" not in caplog.text
    data = replaced(config.data, b=config.data.a)
    train(replaced(config, data=data, overwrite=True), device="cpu", show_progress=False)
    assert "both domains are the same pictures" in caplog.text
    assert "cut them into two folders" in caplog.text


def test_folder_without_pictures(config, tmp_path):
    (tmp_path / "empty").mkdir()
    data = replaced(config.data, b=tmp_path / "empty")
    with pytest.raises(DataError, match="empty"):
        train(replaced(config, data=data), show_progress=False)


def test_output_that_cannot_be_written(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        train(replaced(config, output=tmp_path / "file" / "run"), show_progress=False)


def test_a_batch_that_the_pictures_do_not_fill(config):
    with pytest.raises(DataError, match=r"takes 7 pictures .* larger one has 6; lower batch"):
        train(replaced(config, batch_size=7), device="cpu", show_progress=False)


@pytest.mark.parametrize("minutes", [0.0, -1.0])
def test_no_time(config, minutes):
    with pytest.raises(ConfigError, match="expected a finite number above 0"):
        replaced(config, minutes=minutes)


def test_crops_that_the_generator_does_not_take(config):
    with pytest.raises(ConfigError, match="crop_size is 30; this generator takes multiples of 4"):
        replaced(config, data=replaced(config.data, crop_size=30))


def test_crops_that_hold_no_window_of_ssim(config):
    small = replaced(config.data, crop_size=8)
    assert replaced(config, data=small).data.crop_size == 8
    with pytest.raises(ConfigError, match="crop_size is 8; ssim_share compares windows of 11"):
        replaced(config, data=small, model=replaced(config.model, ssim_share=0.84))


def test_channels_that_pictures_do_not_have(config):
    model = CycleGANConfig(generator=ResnetConfig(in_channels=2, out_channels=2))
    with pytest.raises(ImageError, match="is read in 1 or 3 channels; the generator takes 2"):
        train(replaced(config, model=model), show_progress=False)


def test_arrays_of_any_channels_and_16_bits(config, tmp_path):
    rng = np.random.default_rng(0)
    for domain in "ab":
        (tmp_path / domain).mkdir()
        for i in range(3):
            deep = rng.integers(0, 65536, (40, 44, 5), dtype=np.uint16)
            np.save(tmp_path / domain / f"{i}.npy", deep)
    data = replaced(config.data, a=tmp_path / "a", b=tmp_path / "b", depth=16)
    model = CycleGANConfig(
        generator=ResnetConfig(width=4, blocks=1, in_channels=5, out_channels=5),
        discriminator=TINY.discriminator,
    )
    result = train(replaced(config, data=data, model=model), device="cpu", show_progress=False)
    assert result.steps == 6
    assert load_generator(result.generator_ab).config.in_channels == 5


def test_gray_to_colour(config):
    model = CycleGANConfig(
        generator=ResnetConfig(width=4, blocks=1, in_channels=1),
        discriminator=TINY.discriminator,
        lambda_identity=0,
    )
    result = train(replaced(config, model=model), device="cpu", show_progress=False)
    assert load_generator(result.generator_ab).config.in_channels == 1
    assert load_generator(result.generator_ba).config.out_channels == 1


@pytest.mark.parametrize(
    ("workers", "sent", "status"),
    [(2, signal.SIGINT, 130), (0, signal.SIGTERM, 143), (2, signal.SIGHUP, 129)],
)
def test_a_run_that_is_stopped_saves(config, workers, sent, status):
    """A real process, stopped in the middle of a long run, leaves networks that load and a
    checkpoint of the last step."""
    command = [sys.executable, "-m", "cyclegan.cli", "train", "--workers", str(workers)]
    command += ["--data.a", config.data.a, "--data.b", config.data.b, "--output", config.output]
    command += ["--data.load-size", "36", "--data.crop-size", "32", "--epochs", "100000"]
    command += ["--compile", "off", "--log-every", "1"]
    command += ["model.generator:resnet-config", "--model.generator.width", "4"]
    command += ["--model.generator.blocks", "1"]
    before = signal.signal(sent, signal.SIG_DFL)  # what nohup ignores is inherited
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    signal.signal(sent, before)
    try:
        deadline = time.monotonic() + 60
        losses = config.output / "losses.csv"
        while not losses.exists() or losses.read_text().count("\n") < 4:  # three steps
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.killpg(process.pid, sent)
        out, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == status, out + err
    assert "crop_size = 32" in out
    last = losses.read_text().splitlines()[-1].split(",")[0]
    (kept,) = (config.output / "checkpoints").iterdir()
    assert int(kept.stem) == int(last) >= 3
    assert load_generator(config.output / "generator_ab.safetensors")
    assert not list(config.output.glob(".*"))


def test_the_average_is_what_is_offered_for_use(config):
    result = train(replaced(config, ema_decay=0.9), device="cpu", show_progress=False)
    assert result.generator_ab.name == "generator_ab_ema.safetensors"
    means = load_generator(result.generator_ab).state_dict()
    last = load_generator(config.output / "generator_ab.safetensors").state_dict()
    assert means.keys() == last.keys()
    assert any(not torch.equal(means[name], last[name]) for name in means)

    result = train(
        replaced(config, ema_decay=0.0, output=config.output / "plain"),
        device="cpu",
        show_progress=False,
    )
    assert result.generator_ab.name == "generator_ab.safetensors"
    assert not list(result.generator_ab.parent.glob("*_ema*"))


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_told_before_a_folder_is_made(config, device):
    with pytest.raises(
        BackendError, match=f"cannot use the device '{device}'.*expected one of cpu"
    ):
        train(config, device=device, show_progress=False)
    assert not config.output.exists()


@pytest.mark.parametrize("device", ["CPU", torch.device("cpu")])
def test_a_device_may_be_named_in_any_letters_and_be_one_of_pytorchs(config, device):
    shorter = replaced(config, epochs_decay=0)
    assert train(shorter, device=device, show_progress=False).steps == 6


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux")
def test_a_folder_that_its_settings_cannot_name_is_refused(config):
    named = replaced(config, output=config.output / os.fsdecode(b"\xff"))
    with pytest.raises(OutputError, match=r"it is UTF-8, and cannot hold 'output = .*\\udcff\"'"):
        train(named, device="cpu", show_progress=False)


def test_names_of_pictures_may_be_any_bytes(config):
    first = sorted(config.data.a.iterdir())[0]
    first.rename(first.with_name(os.fsdecode(b"\xff\xfe.png")))
    assert train(config, device="cpu", show_progress=False).steps == 12
