"""Two processes over gloo, as torchrun starts them, against one that takes both batches."""

import contextlib
import dataclasses
import os
import random
import signal
import socket
import subprocess
import sys
import time
import tomllib
from types import SimpleNamespace

import pytest
import tomli_w
import torch

from cyclegan import distributed, load_generator, train
from cyclegan.config import (
    CycleGANConfig,
    DataConfig,
    PatchConfig,
    ResnetConfig,
    TrainConfig,
    as_dict,
    from_dict,
)
from cyclegan.errors import ConfigError, CycleGANError, DataError
from cyclegan.resume import load_checkpoint, save_checkpoint
from cyclegan.sample_data import write_training_folders


@pytest.fixture
def config(tmp_path):
    """Without pools, which differ between processes."""
    a, b = write_training_folders(tmp_path / "data", 5, 40)
    return TrainConfig(
        data=DataConfig(a=a, b=b, load_size=36, crop_size=32),
        model=CycleGANConfig(
            generator=ResnetConfig(width=4, blocks=1),
            discriminator=PatchConfig(width=4, layers=1),
            precision="float32",
            pool_size=0,
        ),
        output=tmp_path / "two",
        epochs=1,
        epochs_decay=1,
        workers=0,
        compile="off",
    )


def unused_port():
    """None of those that systems give to connections, which one of another test may get first."""
    while True:
        port = random.SystemRandom().randrange(10_000, 30_000)
        with contextlib.suppress(OSError), socket.socket() as found:
            found.bind(("127.0.0.1", port))
            return port


def together(config, code, size=2):
    """Runs ``code`` in ``size`` processes, each of which knows the others."""
    port = unused_port()
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    settings = config.output.with_name("settings.toml")
    settings.write_text(tomli_w.dumps(as_dict(config)))
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, "train", "--config", str(settings)],
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    for process, (_, err) in zip(processes, outputs):
        assert process.returncode == 0, err
    return [out for out, _ in outputs]


ONE_HAS_NO_GRADIENT_FOR_A_BIAS = """
import sys, torch
from cyclegan.cli import main
from cyclegan.model import CycleGAN
init = CycleGAN.__init__
def initialised(self, *args, **how):
    init(self, *args, **how)
    bias, weight = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    (4 * weight + (6 * bias if self.world.writes else 0)).sum().backward()
    self.world.averaging(torch.optim.SGD([bias, weight]))()
    print("means:", bias.grad.tolist(), weight.grad.tolist())
CycleGAN.__init__ = initialised
sys.exit(main())
"""


def test_two_processes_are_one_with_both_batches(config):
    """Each takes every other sample: after two epochs of two steps, gradients and weights agree.

    Of five samples both leave out the fifth, which one process would take alone. A gradient that
    one process lacks counts as zero in the mean, as of biases, which a convolution leaves out by
    the size of its picture.
    """
    first, second = together(config, ONE_HAS_NO_GRADIENT_FOR_A_BIAS)
    assert "crop_size = 32" in first
    assert "4 steps" in first
    assert "100 % step 4," in first, "the last step is shown, where they do not meet after it"
    assert second == "means: [3.0, 3.0] [4.0, 4.0]\n"
    assert second in first
    one = _steps_of_two(config)
    found = load_generator(config.output / "generator_ab.safetensors").state_dict()
    for name, expected in one.generator_ab.state_dict().items():
        if name.endswith("weight"):
            torch.testing.assert_close(found[name], expected, atol=2e-5, rtol=0)
    state = load_checkpoint(config.output / "checkpoints")
    for theirs, ours in zip(state["model"]["optimizers"], one.state()["optimizers"]):
        gradients = [ours["state"][i]["exp_avg"] for i in ours["state"]]
        scale = max(gradient.abs().max() for gradient in gradients)
        for i, expected in enumerate(gradients):
            off = (theirs["state"][i]["exp_avg"] - expected).abs().max()
            assert off < 1e-3 * scale
    assert state["world_size"] == len(state["ranks"]) == 2
    one_rank, other = state["ranks"]
    assert not torch.equal(one_rank["model"]["rng"], other["model"]["rng"])
    assert one_rank["model"]["pool_rng"] != other["model"]["pool_rng"]
    assert not torch.equal(one_rank["torch"], other["torch"]), "dropout's"

    with pytest.raises(ConfigError, match="number of processes was 2, is 1"):
        train(config, device="cpu", show_progress=False, resume=True)


def _steps_of_two(config):
    """One process, after the full batches of two of each epoch."""
    from cyclegan.data import UnpairedPictures, batches
    from cyclegan.model import CycleGAN
    from cyclegan.schedule import FACTORS

    model, data = CycleGAN(config.model), UnpairedPictures(config.data, config.model.seed)
    for epoch in range(2):
        model.set_learning_rate(2e-4 * FACTORS["linear"](config, epoch))
        for real_a, real_b in batches(data, batch_size=2, workers=0, epoch=epoch):
            if len(real_a) == 2:
                model.step(real_a, real_b)
    return model


def test_settings_survive_being_handed_on(config):
    assert from_dict(TrainConfig, tomllib.loads(tomli_w.dumps(as_dict(config)))) == config


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2, but not set are RANK, MASTER_ADDR, MASTER_PORT"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "::1"}, "2, but not set are MASTER_PORT,"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE is '', expected a number from 1 up"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0', expected a number from 1 up"),
        (
            {"WORLD_SIZE": "2", "RANK": "-1", "MASTER_ADDR": "::1", "MASTER_PORT": "29500"},
            "RANK is '-1', expected a number from 0 up",
        ),
    ],
)
def test_an_environment_of_half_a_torchrun_is_refused_with_a_remedy(
    config, told, says, monkeypatch
):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"{says}.* start it by torchrun, or unset WORLD_SIZE"):
        train(config, device="cpu", show_progress=False)


def test_clocks_are_not_shared(config, monkeypatch):
    from cyclegan import training
    from cyclegan.distributed import World

    with pytest.raises(ConfigError, match="give epochs instead of minutes"):
        training._pictures(dataclasses.replace(config, minutes=1.0), World(rank=0, size=2))


def test_a_step_takes_a_batch_of_every_process(config):
    from cyclegan import training
    from cyclegan.distributed import World

    with pytest.raises(DataError, match=r"takes 6 pictures .* larger one has 5"):
        training._pictures(dataclasses.replace(config, batch_size=3), World(rank=0, size=2))


def test_one_process_that_says_so_is_enough(monkeypatch):
    def gathered(values, value):
        values[:] = [False, value]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gathered)
    here = distributed.World(rank=1, size=2)
    assert here.agreed(True)
    assert not here.agreed(False)
    assert here.all_gathered(True) == [False, True]


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        (RuntimeError("Connection closed by peer\nat"), CycleGANError),
        (torch.distributed.DistBackendError("NCCL\nat"), CycleGANError),
        (torch.OutOfMemoryError("too little memory"), torch.OutOfMemoryError),
        (ZeroDivisionError("of a value"), ZeroDivisionError),
    ],
)
def test_errors_of_an_exchange_that_tell_of_another_process_are_ours(raised, becomes):
    with pytest.raises(becomes, match=str(raised).split("\n")[0]), distributed._exchanging():
        raise raised


def test_pictures_that_any_process_skips_are_told(monkeypatch):
    from cyclegan import training
    from cyclegan.distributed import World

    def gathered(values, value):
        values[:] = [value, {"b.png": "empty"}]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gathered)
    data = SimpleNamespace(bad={"a.png": "cut off"})
    found = training._skipped(World(rank=0, size=2), data)
    assert found == {"a.png": "cut off", "b.png": "empty"}


@pytest.mark.parametrize(("seconds", "apart"), [(0.25, 8), (1.5, 1), (4.0, 1)])
def test_processes_meet_every_two_seconds_or_every_step(seconds, apart, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(distributed, "time", SimpleNamespace(monotonic=lambda: clock.now))
    meetings, met = distributed.Meetings(distributed.ALONE, 10), []
    for step in range(11, 40):
        clock.now += seconds
        if meetings.after(step):
            met.append(step)
    assert met == list(range(11, 40, apart))


ONE_FAILS = """
import sys
from cyclegan.cli import main
from cyclegan.distributed import World
from cyclegan.model import CycleGAN
step, count = CycleGAN.step, [0]
def stepped(self, *args):
    count[0] += 1
    if count[0] == 2 and self.world.rank:
        from cyclegan.errors import DataError
        raise DataError("a picture went bad")
    return step(self, *args)
CycleGAN.step = stepped
sys.exit(main())
"""
SLOW = """
import os, sys, time
from pathlib import Path
from cyclegan.cli import main
from cyclegan.model import CycleGAN
Path(__file__).with_name("process" + os.environ["RANK"]).write_text(str(os.getpid()))
step = CycleGAN.step
def stepped(self, *args):
    time.sleep(1.5)
    return step(self, *args)
CycleGAN.step = stepped
sys.exit(main())
"""


ONE_DIVERGES = """
import os, sys
from cyclegan.cli import main
from cyclegan.model import CycleGAN
step, count = CycleGAN.step, [0]
def stepped(self, real_a, real_b, passes=1):
    count[0] += 1
    bad = count[0] == 2 and os.environ["RANK"] == "1"
    return step(self, real_a * float("inf" if bad else 1), real_b, passes)
CycleGAN.step = stepped
sys.exit(main())
"""


def started_by_torchrun(config, code):
    script = config.output.with_name("script.py")
    script.write_text(code)
    settings = config.output.with_name("settings.toml")
    settings.write_text(tomli_w.dumps(as_dict(config)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(script), "train", "--config", str(settings)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_an_error_in_one_process_ends_all(config):
    process = started_by_torchrun(config, ONE_FAILS)
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "error: a picture went bad" in said
    assert "RuntimeError" not in said


def test_no_process_looks_for_a_checkpoint_before_the_folder_is_theirs(config, monkeypatch):
    """What had it may write another until then; and it may keep it, which ends the first."""
    from cyclegan import training

    def gathered(values, value):
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(torch.distributed, "all_gather_object", gathered)
    second = distributed.World(rank=1, size=2)
    monkeypatch.setattr(training, "world", lambda device: contextlib.nullcontext((second, device)))
    with pytest.raises(CycleGANError, match="another process of this run has ended"):
        train(config, device="cpu", show_progress=False, resume=True)


def test_no_process_ends_before_the_first_has_saved_the_run(config, monkeypatch):
    """By a signal to each: torchrun would end the one that saves."""
    saved, met = config.output / "generator_ab.safetensors", []
    monkeypatch.setattr(distributed.World, "meet", lambda _: met.append(saved.exists()))
    train(dataclasses.replace(config, epochs_decay=0), device="cpu", show_progress=False)
    assert met == [False, True]


def test_processes_that_found_different_checkpoints_do_not_go_on(config, monkeypatch):
    from cyclegan import training

    def gathered(values, value):
        values[:] = [45, value]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gathered)
    folder = config.output / "checkpoints"
    folder.mkdir(parents=True)
    save_checkpoint(folder, 21, {"progress": {"step": 21}}, keep=1)
    run = SimpleNamespace(config=config, world=distributed.World(rank=1, size=2))
    with pytest.raises(DataError, match="process 0 that of step 45, process 1 that of step 21"):
        training._go_on(run)


@pytest.mark.parametrize("checkpoints", [0, 3])
def test_nothing_is_kept_of_networks_that_another_process_has_spoilt(config, checkpoints):
    """The losses of the one that writes are good until the step after that."""
    settings = {"save_every": 1, "checkpoints": checkpoints, "checkpoint_minutes": 0.0}
    process = started_by_torchrun(dataclasses.replace(config, **settings), ONE_DIVERGES)
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "losses of one of the 2 processes are not finite by step 2: the run has diverged" in said
    assert not list(config.output.glob("generator*"))
    assert [path.stem for path in config.output.glob("checkpoints/*.pt")] in ([], ["00000001"])


@pytest.mark.parametrize("told", ["torchrun", "all"])
def test_slow_steps_are_stopped_in_time_and_saved(config, told):
    """As by Ctrl-C, or as systemctl stop and scancel do: torchrun then tells the others again."""
    process = started_by_torchrun(dataclasses.replace(config, epochs=100), SLOW)
    try:
        while not (config.output / "samples" / "000000_ba.png").exists():
            assert process.poll() is None
            time.sleep(0.1)
        time.sleep(2)
        for rank in range(2 if told == "all" else 0):
            own = config.output.with_name(f"process{rank}").read_text()
            os.kill(int(own), signal.SIGTERM)
        process.terminate()
        began = time.monotonic()
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert time.monotonic() - began < 25  # torchrun's patience ends after 30
    assert "stopping after this step" in said
    (kept,) = (config.output / "checkpoints").iterdir()
    assert 1 <= int(kept.stem) <= 8
