"""Runs that are stopped, killed or damaged, and go on."""

import dataclasses
import errno
import logging
import multiprocessing.connection
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import tomli_w
import torch
from PIL import Image

from cyclegan import alarms, resume, train, training
from cyclegan.config import (
    CycleGANConfig,
    DataConfig,
    PatchConfig,
    ResnetConfig,
    TrainConfig,
    as_dict,
)
from cyclegan.errors import ConfigError, DataError, DivergedError, ImageError, OutputError
from cyclegan.resume import (
    check_same,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
    stopping,
)
from cyclegan.sample_data import write_training_folders


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_training_folders(tmp_path_factory.mktemp("data"), 6, 40)


@pytest.fixture
def config(folders, tmp_path):
    """Dropout, full pools, averages, a half, several epochs: all that a run can carry."""
    a, b = folders
    return TrainConfig(
        data=DataConfig(a=a, b=b, load_size=20, crop_size=16),
        model=CycleGANConfig(
            generator=ResnetConfig(width=4, blocks=1, dropout=True),
            discriminator=PatchConfig(width=4, layers=1),
            precision="float16",
            pool_size=2,
        ),
        output=tmp_path / "run",
        epochs=2,
        epochs_decay=2,
        sample_every=5,
        workers=0,
        log_every=3,
    )


def run(config, **how):
    return train(config, device="cpu", show_progress=False, **how)


def whole(config, seed=3):
    """The same run, never stopped."""
    torch.manual_seed(seed)
    alone = dataclasses.replace(config, output=config.output.with_name("whole"))
    run(alone)
    return alone.output


def assert_same(one: Path, other: Path):
    """Every weight, every optimizer's state, every pool, every logged loss, bit for bit."""
    first, second = (load_checkpoint(folder / "checkpoints") for folder in (one, other))
    for state in (first, second):
        state["progress"].pop("seconds")
        state.pop("config")

    def compare(x, y, where):
        assert type(x) is type(y), where
        if isinstance(x, torch.Tensor):
            assert torch.equal(x, y), where
        elif isinstance(x, dict):
            assert x.keys() == y.keys(), where
            for key in x:
                compare(x[key], y[key], f"{where}.{key}")
        elif isinstance(x, list | tuple):
            assert len(x) == len(y), where
            for i, pair in enumerate(zip(x, y)):
                compare(*pair, f"{where}[{i}]")
        else:
            assert x == y, where

    compare(first, second, "state")
    logs = [
        [line.split(",")[:1] + line.split(",")[2:] for line in path.read_text().splitlines()]
        for path in (one / "losses.csv", other / "losses.csv")
    ]
    assert logs[0] == logs[1]


HALF_OF_STEP_7 = """
import sys, time, torch
from cyclegan.cli import main
from torch.amp import GradScaler

update, count = GradScaler.step, 0

def updated(self, optimizer):
    global count
    count += 1
    update(self, optimizer)
    if count == 13:
        print("in the middle", flush=True)
        time.sleep(600)

GradScaler.step = updated
torch.manual_seed(3)
sys.exit(main())
"""


def test_a_killed_run_goes_on_in_a_new_process_as_if_nothing_had_been(config):
    """kill -9 between the updates of a step; then the rest in this process."""
    config = dataclasses.replace(config, checkpoint_minutes=0.0)
    kept = config.output.with_name("config.toml")
    kept.write_text(tomli_w.dumps(as_dict(config)))
    command = [sys.executable, "-c", HALF_OF_STEP_7, "train", "--config", str(kept)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert "in the middle\n" in iter(process.stdout.readline, "")
        process.kill()
    folder = config.output / "checkpoints"
    assert list_checkpoints(folder)[0].name == "00000006.pt"
    (folder / ".00000099.1-1.pt").write_bytes(b"half of a checkpoint")
    torch.manual_seed(99)  # must not matter
    result = run(config, resume=True)
    assert result.steps == 24
    assert [path.name for path in sorted(folder.iterdir())] == ["00000023.pt", "00000024.pt"]
    assert_same(config.output, whole(config))


def test_a_run_that_is_asked_to_stop_ends_its_step(config, monkeypatch):
    """SIGTERM in a step, in the middle of an epoch; the loss of that step is the last one."""
    from cyclegan.model import CycleGAN

    step, count = CycleGAN.step, [0]

    def interrupted(self, *args, **kwargs):
        count[0] += 1
        if count[0] == 8:
            threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGTERM)).start()
            time.sleep(0.2)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(CycleGAN, "step", interrupted)
    torch.manual_seed(3)
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stopped:
        run(config)
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is handler
    assert [int(path.stem) for path in list_checkpoints(config.output / "checkpoints")] == [8]
    monkeypatch.undo()
    torch.manual_seed(99)  # must not matter
    assert run(config, resume=True).steps == 24
    assert_same(config.output, whole(config))


def test_a_run_whose_reading_process_is_killed_in_a_step_ends_that_step(config, monkeypatch):
    """Between its updates; then the rest."""
    from torch.amp import GradScaler

    update, count = GradScaler.step, [0]

    def updated(self, optimizer):
        count[0] += 1
        update(self, optimizer)
        if count[0] == 5:  # the generators' update of step 3
            (reader,) = multiprocessing.active_children()
            reader.kill()
            multiprocessing.connection.wait([reader.sentinel])
            time.sleep(0.1)  # for the signal

    config = dataclasses.replace(config, workers=1, epochs=1, epochs_decay=0)
    monkeypatch.setattr(GradScaler, "step", updated)
    torch.manual_seed(3)
    with pytest.raises(DataError, match="reads pictures was killed"):
        run(config)
    assert [int(path.stem) for path in list_checkpoints(config.output / "checkpoints")] == [3]
    monkeypatch.undo()
    assert run(config, resume=True).steps == 6
    assert_same(config.output, whole(config))


@pytest.mark.parametrize("content", [{"x": Path("code")}, [1, 2]])
def test_a_checkpoint_of_something_else_is_told_and_the_one_before_is_used(
    tmp_path, content, caplog
):
    """Whole, but of objects that may be code, or of no state."""
    save_checkpoint(tmp_path, 1, {"x": torch.zeros(3)}, keep=2)
    torch.save(content, tmp_path / "00000002.pt")
    assert "x" in load_checkpoint(tmp_path)
    assert "00000002.pt is damaged (it holds" in caplog.text
    assert "weights_only" not in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="uses signals of POSIX")
def test_a_closed_terminal_may_say_so_twice():
    """The system does, and the shell; whoever presses Ctrl-C twice is in a hurry."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored
    try:
        with stopping() as stop:
            for _ in range(2):
                signal.raise_signal(signal.SIGHUP)
            assert stop.by == signal.SIGHUP
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_of_a_launched_process_two_signals_at_once_are_one_stop(monkeypatch):
    """One is its own, the other its launcher's, which was told as well; later ones are meant."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(resume, "time", SimpleNamespace(monotonic=lambda: clock.now))
    with stopping(launched=True) as stop:
        signal.raise_signal(signal.SIGTERM)
        clock.now += 3
        signal.raise_signal(signal.SIGINT)
        assert stop.by == signal.SIGTERM
        clock.now += 3
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with stopping():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 143


@pytest.mark.parametrize("damage", ["truncated", "one bit", "emptied"])
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(tmp_path, damage, caplog):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"x": torch.full((5_000,), float(step))}, keep=2)
    newest, before = list_checkpoints(tmp_path)
    content = bytearray(newest.read_bytes())
    if damage == "one bit":
        content[len(content) // 2] ^= 1
    else:
        del content[len(content) // 2 if damage == "truncated" else 0 :]
    newest.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(tmp_path)["x"][0] == 2
    assert f"{newest} is damaged" in caplog.text
    assert f"going on from {before}" in caplog.text


def test_what_looked_wrong_before_a_stop_is_kept_and_not_told_again(config, monkeypatch, caplog):
    monkeypatch.setattr(alarms, "WINDOW", 3)
    monkeypatch.setattr(alarms, "SATURATED", 1e9)  # every loss is below it
    half = dataclasses.replace(config, epochs_decay=0)
    first = run(half)
    assert [message[:23] for message in first.alarms] == [
        f"step 3: discriminator_{domain}" for domain in "ab"
    ]
    caplog.clear()
    assert run(config, resume=True).alarms == first.alarms
    assert "tells every picture" not in caplog.text


def test_what_the_last_samples_say_is_kept_and_not_told_again(config, monkeypatch, caplog):
    monkeypatch.setattr(alarms, "INVERTED", 1.1)  # every correlation is below it
    half = dataclasses.replace(config, epochs=1, epochs_decay=0, sample_every=1000)
    first = run(half)
    assert [message[:15] for message in first.alarms] == ["step 6: A to B ", "step 6: B to A "]
    caplog.clear()
    longer = dataclasses.replace(half, epochs=2)
    assert run(longer, resume=True).alarms == first.alarms
    assert "exchanges light and dark" not in caplog.text


def test_a_checkpoint_from_before_alarms_were_kept_goes_on(finished, monkeypatch):
    folder = finished.output / "checkpoints"
    state = load_checkpoint(folder)
    state.pop("alarms")
    monkeypatch.setattr(training, "load_checkpoint", lambda _: state)
    run(finished, resume=True)


def test_a_picture_that_goes_away_under_the_run(config, tmp_path, monkeypatch):
    """The run stops, names it, and keeps all it has; put back, the run goes on."""
    from cyclegan.model import CycleGAN

    a, b = write_training_folders(tmp_path / "changing", 6, 40)
    data = dataclasses.replace(config.data, a=a, b=b)
    config = dataclasses.replace(config, data=data, epochs=1, epochs_decay=1)
    gone, away, step = a / "00002.png", tmp_path / "away.png", CycleGAN.step

    def stepped(self, *args, **kwargs):
        if gone.exists():
            gone.rename(away)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(CycleGAN, "step", stepped)
    with pytest.raises(ImageError, match=r"00002\.png"):
        run(config)
    monkeypatch.undo()
    reached = int(list_checkpoints(config.output / "checkpoints")[0].stem)
    lines = (config.output / "losses.csv").read_text().splitlines()
    assert 1 <= reached < 12
    assert int(lines[-1].split(",")[0]) == reached
    away.rename(gone)
    assert run(config, resume=True).steps == 12


def test_nothing_to_go_on_from(config):
    with pytest.raises(DataError, match="there is none; start the run anew"):
        run(config, resume=True)
    (config.output / "checkpoints").mkdir(parents=True)
    (config.output / "checkpoints" / "00000001.pt").write_bytes(b"")
    with pytest.raises(DataError, match=r"00000001\.pt are damaged"):
        run(config, resume=True)


@pytest.fixture(scope="module")
def finished(folders, tmp_path_factory):
    """A short run that has ended."""
    a, b = folders
    config = TrainConfig(
        data=DataConfig(a=a, b=b, load_size=20, crop_size=16, name_a="map", name_b="photo"),
        model=CycleGANConfig(
            generator=ResnetConfig(width=4, blocks=1), discriminator=PatchConfig(width=4, layers=1)
        ),
        output=tmp_path_factory.mktemp("finished"),
        epochs=1,
        epochs_decay=0,
        workers=0,
    )
    run(config)
    return config


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"generator": ResnetConfig(width=8, blocks=1)},
            "model.generator was .*'width': 4.*, is .*'width': 8",
        ),
        ({"pool_size": 7}, "model.pool_size was 50, is 7"),
    ],
)
def test_another_architecture_is_refused_with_both_shown(finished, changes, says):
    other = dataclasses.replace(finished, model=dataclasses.replace(finished.model, **changes))
    with pytest.raises(ConfigError, match=says):
        run(other, resume=True)


def test_another_number_of_pictures_in_a_step_is_refused(finished):
    with pytest.raises(ConfigError, match="batch_size was 1, is 2"):
        run(dataclasses.replace(finished, batch_size=2), resume=True)


def test_all_that_makes_it_another_run_is_told(finished):
    state = {"config": as_dict(finished), "world_size": 1}
    model = dataclasses.replace(
        finished.model,
        discriminator=PatchConfig(width=8, layers=1),
        adversarial="hinge",
        init="xavier",
        init_gain=1.0,
        seed=7,
    )
    check_same(state, dataclasses.replace(finished, epochs=9, ema_decay=0.5, passes=1), 1)
    with pytest.raises(ConfigError) as refused:
        check_same(state, dataclasses.replace(finished, model=model, ema_decay=0.0), 2)
    for part in (
        "model.discriminator was {'kind': 'patch'",
        "model.adversarial was lsgan, is hinge",
        "model.init was normal, is xavier",
        "model.init_gain was 0.02, is 1.0",
        "model.seed was 0, is 7",
        "number of processes was 1, is 2",
        "ema_decay above 0 was True, is False",
    ):
        assert part in str(refused.value), part


def test_networks_to_begin_with_come_too_late_for_a_run_that_goes_on(finished, tmp_path):
    """And its settings do not claim them."""
    settings = (finished.output / "config.toml").read_text()
    with pytest.raises(ConfigError, match=f"pretrained was None, is {tmp_path}; use the old ones"):
        run(dataclasses.replace(finished, pretrained=tmp_path), resume=True)
    assert (finished.output / "config.toml").read_text() == settings
    began = {"config": as_dict(dataclasses.replace(finished, pretrained=tmp_path)), "world_size": 1}
    check_same(began, dataclasses.replace(finished, pretrained=tmp_path), 1)


def test_a_run_that_has_ended_has_nothing_left_to_do_unless_it_is_prolonged(finished, caplog):
    assert run(finished, resume=True).steps == 6
    assert "nothing is left to do" in caplog.text
    longer = dataclasses.replace(finished, epochs=2)
    assert run(longer, resume=True).steps == 12


def test_other_pictures_are_told(finished, tmp_path, caplog):
    a, b = write_training_folders(tmp_path, 5, 40)
    data = dataclasses.replace(finished.data, a=a, b=b)
    before = load_checkpoint(finished.output / "checkpoints")["progress"]
    assert before["batch"] == 6  # of an epoch that had ended
    longer = dataclasses.replace(finished, data=data, epochs=before["epoch"] + 2)
    with caplog.at_level(logging.WARNING):
        result = run(longer, resume=True)
    assert "the pictures are not those" in caplog.text
    assert result.steps == before["step"] + 5


@pytest.fixture
def among_pictures(finished, tmp_path):
    """A run to go on with, and settings by which it would read its own samples, too."""
    shutil.copytree(finished.output, tmp_path / "run")
    data = dataclasses.replace(finished.data, b=tmp_path)
    return dataclasses.replace(finished, data=data, output=tmp_path / "run")


def test_other_pictures_do_not_lie_around_the_run(among_pictures):
    settings = (among_pictures.output / "config.toml").read_text()
    with pytest.raises(OutputError, match="run lies inside the source folder"):
        run(among_pictures, resume=True)
    tested = {"test_a": among_pictures.data.a, "test_b": among_pictures.output / "samples"}
    data = dataclasses.replace(among_pictures.data, b=among_pictures.data.a, **tested)
    with pytest.raises(OutputError, match=r"samples lies where a run in .* writes its samples"):
        run(dataclasses.replace(among_pictures, data=data), resume=True)
    assert (among_pictures.output / "config.toml").read_text() == settings


def test_a_run_that_began_among_its_pictures_goes_on(among_pictures):
    """Older versions let it."""
    folder = among_pictures.output / "checkpoints"
    state = load_checkpoint(folder)
    step = state["progress"]["step"]
    save_checkpoint(folder, step, {**state, "config": as_dict(among_pictures)}, keep=1)
    assert run(among_pictures, resume=True).steps == step


def test_the_same_pictures_at_another_place_are_the_same(finished, tmp_path, caplog):
    begun = dataclasses.replace(finished, output=tmp_path / "run")
    run(begun)
    folders = [
        shutil.copytree(folder, tmp_path / "mounted" / folder.name)
        for folder in (finished.data.a, finished.data.b)
    ]
    data = dataclasses.replace(finished.data, a=folders[0], b=folders[1])
    run(dataclasses.replace(begun, data=data), resume=True)
    assert "nothing is left to do" in caplog.text
    assert "the pictures are not those" not in caplog.text


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, small_disk):
    kept = save_checkpoint(tmp_path, 1, {"x": torch.zeros(9)}, keep=2)
    small_disk(60_000)
    with pytest.raises(OutputError, match=r"cannot write .*00000002\.pt"):
        save_checkpoint(tmp_path, 2, {"x": torch.zeros(1_000_000)}, keep=2)
    assert list(tmp_path.iterdir()) == [kept]
    assert load_checkpoint(tmp_path)["x"].shape == (9,)


def test_a_run_on_a_full_disk_says_so_and_goes_on_to_its_end(config, small_disk, caplog):
    config = dataclasses.replace(config, epochs=1, epochs_decay=1)
    run(config)
    kept = [path.name for path in list_checkpoints(config.output / "checkpoints")]
    assert all(path.stat().st_size < 60_000 for path in config.output.glob("*.safetensors"))
    longer = dataclasses.replace(
        config, epochs=2, checkpoint_minutes=0.0, sample_every=1, tensorboard=True
    )
    generator = config.output / "generator_ab.safetensors"
    first = generator.read_bytes()
    small_disk(60_000)
    with caplog.at_level(logging.WARNING), pytest.raises(OutputError, match="cannot write"):
        run(longer, resume=True)
    assert caplog.text.count("what was there stays, and the run goes on") == 6
    assert "events.out" in caplog.text
    assert [path.name for path in list_checkpoints(config.output / "checkpoints")] == kept
    assert (config.output / "losses.csv").read_text().splitlines()[-1].startswith("18,")
    # The networks need less room than the checkpoint that could not be written.
    assert generator.read_bytes() != first
    assert (config.output / "samples" / "000018_ab.png").exists()


def test_a_run_that_diverges_stops_and_keeps_what_was_good(config, monkeypatch):
    from cyclegan.model import CycleGAN

    config = dataclasses.replace(config, checkpoint_minutes=0.0, log_every=50)
    step, count = CycleGAN.step, [0]

    def poisoned(self, *args, **kwargs):
        count[0] += 1
        if count[0] == 5:
            self.discriminator_b.head.bias.data.fill_(float("nan"))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(CycleGAN, "step", poisoned)
    with pytest.raises(DivergedError, match="generator_ab is nan in step 5"):
        run(config)
    assert list_checkpoints(config.output / "checkpoints")[0].name == "00000004.pt"
    state = load_checkpoint(config.output / "checkpoints")
    assert all(w.isfinite().all() for w in state["model"]["networks"]["generator_ab"].values())


@pytest.mark.parametrize(("before", "after"), [("float32", "float16"), ("float16", "float32")])
def test_another_precision_goes_on(finished, before, after, tmp_path):
    def of(precision, epochs):
        model = dataclasses.replace(finished.model, precision=precision)
        return dataclasses.replace(finished, model=model, epochs=epochs, output=tmp_path)

    run(of(before, 1))
    assert run(of(after, 2), resume=True).steps == 12


def test_settings_of_the_optimizer_are_those_of_now(finished):
    from cyclegan.model import CycleGAN

    old = CycleGAN(finished.model)
    picture = torch.zeros(1, 3, 32, 32)
    old.step(picture, picture)
    new = CycleGAN(dataclasses.replace(finished.model, beta1=0.9))
    new.load_state(old.state())
    (group,) = new.optimizer_generators.param_groups
    assert group["betas"] == (0.9, 0.999)
    averages = [
        [state["exp_avg"] for state in model.optimizer_generators.state.values()]
        for model in (old, new)
    ]
    assert len(averages[0]) > 10
    assert all(map(torch.equal, *averages))


def test_a_checkpoint_of_another_kind_of_device_goes_on(finished, tmp_path, caplog):
    """A GPU's generator of random numbers has 16 bytes."""
    config = dataclasses.replace(finished, output=tmp_path)
    run(config)
    state = load_checkpoint(tmp_path / "checkpoints")
    state["ranks"][0]["model"]["rng"] = state["ranks"][0]["cuda"] = torch.zeros(16).byte()
    save_checkpoint(tmp_path / "checkpoints", 6, state, keep=1)
    assert run(dataclasses.replace(config, epochs=2), resume=True).steps == 12
    assert "another kind of device" in caplog.text


@pytest.mark.parametrize(("batch_size", "adversarial"), [(2, "lsgan"), (1, "wgangp")])
def test_another_crop_goes_on(finished, tmp_path, batch_size, adversarial):
    """The pools, which are full, hold pictures of the old size."""
    model = dataclasses.replace(finished.model, pool_size=2, adversarial=adversarial)
    config = dataclasses.replace(
        finished, model=model, output=tmp_path, batch_size=batch_size, epochs=batch_size
    )
    assert run(config).steps == 6
    smaller = dataclasses.replace(config.data, crop_size=12)
    longer = dataclasses.replace(config, data=smaller, epochs=2 * batch_size)
    assert run(longer, resume=True).steps == 12


def test_a_later_checkpoint_that_is_damaged_does_not_outlive_a_good_one(tmp_path):
    (tmp_path / "00000900.pt").write_bytes(b"damaged")
    save_checkpoint(tmp_path, 6, {"x": torch.ones(1)}, keep=1)
    save_checkpoint(tmp_path, 12, {"x": torch.full((1,), 2.0)}, keep=1)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["00000012.pt"]
    assert load_checkpoint(tmp_path)["x"] == 2


def test_a_copy_of_a_checkpoint_under_another_name_is_neither_taken_nor_removed(tmp_path):
    """Names order as the numbers that they are, the longest steps too."""
    first = save_checkpoint(tmp_path, 7, {"x": torch.tensor(7)}, keep=2)
    copies = [tmp_path / name for name in ("7-before-longer.pt", "00000007_good.pt", "99.pt")]
    for copy in copies:
        shutil.copy(first, copy)
    assert list_checkpoints(tmp_path) == [first]
    kept = [
        save_checkpoint(tmp_path, step, {"x": torch.tensor(step)}, keep=2)
        for step in (99_999_999, 100_000_000)
    ]
    assert set(tmp_path.iterdir()) == {*kept, *copies}
    assert load_checkpoint(tmp_path)["x"] == 100_000_000


def test_a_checkpoint_of_a_later_version_is_refused(tmp_path, monkeypatch):
    """Not passed over as a damaged one would be: the run would go back."""
    save_checkpoint(tmp_path, 1, {"x": torch.ones(1)}, keep=2)
    monkeypatch.setattr(resume, "VERSION", resume.VERSION + 1)
    save_checkpoint(tmp_path, 2, {"x": torch.ones(1)}, keep=2)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match=r"00000002\.pt was written by a later version: it has"):
        load_checkpoint(tmp_path)


def test_samples_that_were_given_are_shown_until_the_end(config):
    given = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    parts = [dataclasses.replace(config, epochs=epochs, epochs_decay=0) for epochs in (1, 2, 3)]
    run(parts[0], samples=given)
    for part in parts[1:]:
        run(part, resume=True)
    shown = sorted((config.output / "samples").glob("*_ab.png"))
    assert len(shown) > 3
    for path in shown:
        with Image.open(path) as picture:
            assert list(picture.convert("L").crop((0, 0, 32, 1)).tobytes()) == [
                int(value + 0.5) for value in (given[0][0, 0, 0] + 1) * 127.5
            ]


def test_a_folder_is_of_one_process(finished, monkeypatch):
    from cyclegan import claim

    monkeypatch.setattr(claim, "WAIT", 0.2)
    code = (
        "import sys, pathlib\nfrom cyclegan.claim import claimed\n"
        "with claimed(pathlib.Path(sys.argv[1])): print('ours', flush=True); input()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, finished.output], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert other.stdout.readline() == b"ours\n"
        with pytest.raises(OutputError, match="another process is at work in"):
            run(finished, resume=True)
        other.kill()
        other.wait()
        assert run(finished, resume=True).steps
    finally:
        other.kill()
        other.communicate()
    assert not (finished.output / ".lock").exists()


def test_a_disk_that_is_full_for_a_while_loses_no_line(config, monkeypatch, caplog):
    """From the fourth to the tenth step no file grows."""
    from cyclegan.model import CycleGAN

    step, count = CycleGAN.step, [0]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def stepped(self, *args, **kwargs):
        count[0] += 1
        soft = 10 if 4 <= count[0] <= 10 else before[0]
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, before[1]))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(CycleGAN, "step", stepped)
    try:
        run(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    lines = (config.output / "losses.csv").read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines[1:]] == list(range(1, 25))
    assert {len(line.split(",")) for line in lines} == {10}
    assert "losses.csv: File too large; the run goes on" in caplog.text
    assert "000005_ab.png" in caplog.text  # a sample
    assert (config.output / "samples" / "000015_ab.png").exists()


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOLCK, "No locks available"), NotImplementedError]
)
def test_a_file_system_without_locks_is_told(finished, monkeypatch, caplog, error):
    from filelock import FileLock

    def refused(*_, **__):
        raise error

    monkeypatch.setattr(FileLock, "acquire", refused)
    assert run(finished, resume=True).steps
    assert "cannot be locked" in caplog.text
