"""What a run leaves to be looked at: TensorBoard's events, scores, names, the best."""

import csv
import dataclasses
import logging
import resource
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog
from torch import nn

from cyclegan import load_generator, scoring, train
from cyclegan.board import Board
from cyclegan.checkpoint import Scored, read_info, save_generator
from cyclegan.config import CycleGANConfig, DataConfig, PatchConfig, ResnetConfig, TrainConfig
from cyclegan.errors import BackendError, ConfigError, DataError, ImageError, OutputError
from cyclegan.evaluate import Distances, paired_folders
from cyclegan.phases import LOSSES, Images, Losses
from cyclegan.recorder import Recorder, set_aside
from cyclegan.resume import load_checkpoint, save_checkpoint
from cyclegan.sample_data import evaluation_pairs, write_training_folders
from cyclegan.scoring import Scorer
from cyclegan.shipped import find_model
from cyclegan.training import TrainResult
from cyclegan.training_report import write_training_report


def events(folder):
    """Every event of the run, by the record format: length, checksum, content, checksum."""
    found = []
    for path in sorted(folder.glob("events.*")):
        content, at = path.read_bytes(), 0
        while at < len(content):
            length = int.from_bytes(content[at : at + 8], "little")
            found.append(Event.FromString(content[at + 12 : at + 12 + length]))
            at += 16 + length
    return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("data")
    a, b = write_training_folders(home, 6, 40)
    for name, pictures in zip(("testA", "testB"), evaluation_pairs(3, 32)):
        (home / name).mkdir()
        for i, picture in enumerate(pictures):
            Image.fromarray(picture).save(home / name / f"{i}.png")
    return DataConfig(
        a=a,
        b=b,
        name_a="relief",
        name_b="satellite",
        test_a=home / "testA",
        test_b=home / "testB",
        load_size=36,
        crop_size=32,
    )


@pytest.fixture
def config(folders, tmp_path):
    return TrainConfig(
        data=folders,
        model=CycleGANConfig(
            generator=ResnetConfig(width=4, blocks=1), discriminator=PatchConfig(width=4, layers=1)
        ),
        output=tmp_path / "run",
        epochs=2,
        epochs_decay=1,
        workers=0,
        log_every=4,
        sample_every=6,
        score_every=1,
        tensorboard=True,
    )


def test_a_watched_run(config):
    train(config, device="cpu", show_progress=False)
    found = events(config.output / "tensorboard")
    values = [(event.step, value) for event in found for value in event.summary.value]
    steps = defaultdict(list)
    for step, value in values:
        steps[value.tag].append(step)
    read_at = [4, 6, 8, 12, 16, 18]  # every fourth step, and before each epoch's end
    assert {name: steps[f"losses/{name}"] for name in LOSSES} == dict.fromkeys(LOSSES, read_at)
    assert steps["learning_rate"] == read_at
    rates = [value.simple_value for _, value in values if value.tag == "learning_rate"]
    assert rates[0] == pytest.approx(2e-4)
    assert rates[-1] == pytest.approx(1e-4)
    assert steps["samples/ab"][:3] == steps["samples/ba"][:3] == [0, 6, 12]

    with (config.output / "losses.csv").open() as file:
        rows = {int(row["step"]): row for row in csv.DictReader(file)}
    mean = sum(float(rows[step]["cycle_a"]) for step in (1, 2, 3, 4)) / 4
    board = next(v.simple_value for s, v in values if (s, v.tag) == (4, "losses/cycle_a"))
    assert board == pytest.approx(mean, rel=1e-4)

    with (config.output / "scores.csv").open() as file:
        scores = list(csv.DictReader(file))
    assert [int(row["step"]) for row in scores] == [6, 12, 18]
    for row in scores:
        mean = (float(row["ab_ssim"]) + float(row["ba_ssim"])) / 2
        assert float(row["goodness"]) == pytest.approx(mean, rel=1e-4)
    assert steps["scores/ab_l1"] == [6, 12, 18]
    best = config.output / "generator_ba_best.safetensors"
    assert read_info(best).domains == ("satellite", "relief")
    assert read_info(config.output / "discriminator_a.safetensors").domains == ("relief",)


def test_the_page_of_a_run(config):
    result = train(config, device="cpu", show_progress=False)
    result = dataclasses.replace(result, alarms=("step 7: <something> looked wrong",))
    page = write_training_report(config, result).read_text()
    for part in (
        "relief ↔ satellite",
        "step 7: &lt;something&gt; looked wrong",
        "<h3>relief to satellite</h3>",
        "<h3>satellite to relief</h3>",
        "goodness",
        "<dt>model.generator.width</dt><dd>4</dd>",
        "data:image/png;base64,",
        "<svg",
        f"<pre>cyclegan train --config {config.output}/config.toml --output {config.output}-again<",
    ):
        assert part in page, part
    assert 'src="http' not in page


def test_the_page_of_a_run_in_the_folder_where_it_was_begun(config, monkeypatch):
    result = train(config, device="cpu", show_progress=False)
    monkeypatch.chdir(config.output)
    here = dataclasses.replace(config, output=Path())
    page = write_training_report(here, result).read_text()
    assert f" --output {config.output.resolve()}-again<" in page


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"step\n\xff"), Path.mkdir])
def test_a_page_is_refused_where_the_scores_are_no_table(damage, config):
    """As :mod:`cyclegan.verbs.learning` expects it, for which the run is done all the same."""
    config.output.mkdir()
    (config.output / "losses.csv").write_text("step,seconds,cycle_a\n1,0.5,0.25\n")
    damage(config.output / "scores.csv")
    result = TrainResult(steps=1, seconds=1.0, generator_ab=Path(), generator_ba=Path(), skipped={})
    with pytest.raises(DataError, match=r"scores\.csv is no table of scores: "):
        write_training_report(config, result)


def test_the_best_is_kept_and_what_comes_after_it_is_not(config, monkeypatch):
    goodness, scored = iter([0.1, 0.9, 0.5, 0.7]), []

    def scores(self, generator_ab, generator_ba):
        scored.append(generator_ab.head.weight.clone())
        return {"goodness": next(goodness)}

    monkeypatch.setattr(Scorer, "scores", scores)
    config = dataclasses.replace(config, tensorboard=False, checkpoint_minutes=0.0, checkpoints=99)
    result = train(config, device="cpu", show_progress=False)
    assert result.generator_ab == config.output / "generator_ab_best.safetensors"
    best = load_generator(config.output / "generator_ab_best.safetensors").state_dict()
    for later in config.output.glob("checkpoints/*.pt"):
        if int(later.stem) > 12:
            later.unlink()
    state = load_checkpoint(config.output / "checkpoints")
    assert state["best"] == 0.9
    assert (best["head.weight"] == state["means"][0]["module.head.weight"]).all()
    assert (best["head.weight"] == scored[1]).all()
    kept = result.generator_ab.read_bytes()
    result = train(config, device="cpu", show_progress=False, resume=True)
    assert result.generator_ab.read_bytes() == kept, "0.7 is not better than before the checkpoint"


def test_the_best_is_not_lost_to_a_worse_one_after_an_older_checkpoint(config, monkeypatch, caplog):
    goodness = iter([0.1, 0.9, 0.5, 0.7, 0.8, 0.95])
    monkeypatch.setattr(Scorer, "scores", lambda *_: {"goodness": next(goodness)})
    config = dataclasses.replace(config, tensorboard=False, checkpoint_minutes=0.0, checkpoints=99)
    best = train(config, device="cpu", show_progress=False).generator_ab
    kept = best.read_bytes()
    for later in config.output.glob("checkpoints/*.pt"):
        if int(later.stem) > 8:
            later.unlink()
    assert load_checkpoint(config.output / "checkpoints")["best"] == 0.1
    result = train(config, device="cpu", show_progress=False, resume=True)
    assert caplog.text.count("they stay until one is better than their 0.9, whose line in") == 1
    assert result.generator_ab == best
    assert best.read_bytes() == kept
    longer = dataclasses.replace(config, epochs=3)
    train(longer, device="cpu", show_progress=False, resume=True)
    assert caplog.text.count("the best generators are later") == 1
    assert read_info(best).scored == Scored(goodness=0.95, pictures=Scorer(config).fingerprint)


@pytest.fixture
def scored_once(config, monkeypatch):
    """A run whose best, of 0.5, are those of its only epoch."""
    monkeypatch.setattr(Scorer, "scores", lambda *_: {"goodness": 0.5})
    config = dataclasses.replace(config, tensorboard=False, epochs=1, epochs_decay=0)
    train(config, device="cpu", show_progress=False)
    return config


def best_after_resuming(config):
    """Its folder offers the same."""
    result = train(config, device="cpu", show_progress=False, resume=True)
    assert find_model(config.output) == result.generator_ab
    assert find_model(config.output / "generator_ba") == result.generator_ba
    return load_checkpoint(config.output / "checkpoints")["best"], result.generator_ab.stem


@pytest.mark.parametrize(
    ("ab", "ba", "best"),
    [(0.9, 0.9, 0.9), (0.9, 0.5, 0.5), (0.9, None, 0.5), (None, None, 0.5)],
    ids=["both", "killed between the two", "the first from an older version", "an older version"],
)
def test_the_best_is_as_good_as_its_files_say(ab, ba, best, scored_once):
    fingerprint = Scorer(scored_once).fingerprint
    for name, goodness in (("ab", ab), ("ba", ba)):
        path = scored_once.output / f"generator_{name}_best.safetensors"
        scored = Scored(goodness=goodness, pictures=fingerprint) if goodness else None
        save_generator(path, load_generator(path), scored=scored)
    assert best_after_resuming(scored_once) == (best, "generator_ab_best")


@pytest.mark.parametrize("loss", [Path.unlink, lambda path: path.write_bytes(b"half a")])
def test_best_generators_that_are_gone_are_not_offered(loss, scored_once, caplog):
    loss(scored_once.output / "generator_ba_best.safetensors")
    assert best_after_resuming(scored_once) == (None, "generator_ab_ema")
    assert "the best generators are chosen anew: " in caplog.text


def test_a_best_of_other_pictures_is_not_compared(scored_once):
    """Of a run that was killed before a checkpoint told of them."""
    for name in ("ab", "ba"):
        path = scored_once.output / f"generator_{name}_best.safetensors"
        save_generator(path, load_generator(path), scored=Scored(goodness=9.0, pictures="others"))
    assert best_after_resuming(scored_once) == (None, "generator_ab_ema")


def test_the_log_goes_on_where_the_checkpoint_was(config):
    config = dataclasses.replace(config, tensorboard=False, score_every=0)
    train(config, device="cpu", show_progress=False)
    log = config.output / "losses.csv"
    lines = log.read_text()
    log.write_text(lines + "19,1.0,half a li")
    train(dataclasses.replace(config, epochs=3), device="cpu", show_progress=False, resume=True)
    assert log.read_text().startswith(lines)
    assert [int(line.split(",")[0]) for line in log.read_text().splitlines()[1:]] == [*range(1, 25)]


def test_all_lines_of_the_logs_end_alike(config):
    recorder = Recorder(dataclasses.replace(config, tensorboard=False))
    recorder.begin()
    recorder.add(1, 0.5, 2e-4, Losses(**dict.fromkeys(LOSSES, torch.tensor(0.25))))
    recorder.flush()
    recorder.scores(1, {"goodness": 0.5})
    for path in (recorder.path, recorder.scores_path):
        content = path.read_bytes()
        assert content.count(b"\n") == 2
        assert b"\r" not in content


def test_samples_stand_beside_their_translations(config):
    """Of five channels the first three are seen, a gray one three times."""
    recorder = Recorder(dataclasses.replace(config, tensorboard=False))

    def flat(first, channels):
        values = first + torch.arange(channels).view(1, -1, 1, 1)
        return values.expand(2, -1, 4, 4) / 127.5 - 1

    images = Images(fake_b=flat(40, 5), rec_a=flat(50, 1), fake_a=flat(60, 1), rec_b=flat(70, 5))
    recorder.samples(5, (flat(10, 1), flat(20, 5)), images)
    shown = {n: [n, n, n] for n in (10, 50, 60)} | {n: [n, n + 1, n + 2] for n in (20, 40, 70)}
    for name, columns in (("ab", (10, 40, 50)), ("ba", (20, 60, 70))):
        with Image.open(config.output / "samples" / f"000005_{name}.png") as grid:
            seen = np.asarray(grid)
        expected = np.repeat([shown[first] for first in columns], 4, axis=0)
        assert np.array_equal(seen, np.tile(expected, (8, 1, 1))), name


def test_alarms_name_the_direction_that_they_are_of(config):
    recorder = Recorder(dataclasses.replace(config, tensorboard=False))
    real_a, real_b = torch.rand(2, 2, 3, 16, 16)
    images = Images(fake_b=real_a, rec_a=real_a, fake_a=-real_b, rec_b=real_b)
    recorder.samples(5, (real_a, real_b), images)
    (message,) = recorder.alarms.messages
    assert message.startswith("step 5: satellite to relief exchanges light and dark")


def test_events_after_the_checkpoint_are_purged(config):
    Recorder(config, 6)
    logs = [event for event in events(config.output / "tensorboard") if event.session_log.status]
    assert [event.step for event in logs] == [7]


def test_events_that_a_full_disk_refuses_are_left_out_and_said(small_disk, tmp_path, caplog):
    picture = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
    board = Board(tmp_path)
    small_disk(60_000)
    for step in range(1, 6):
        board.picture("sample", picture, step)
    small_disk(resource.RLIM_INFINITY)
    board.scalars({"loss": 0.5, "rate": 2.0}, 6)
    first, *_, last = found = events(tmp_path)
    assert [event.step for event in found] == [0, 1, 2, 3, 6]
    assert first.file_version == "brain.Event:2"
    assert {value.tag: value.simple_value for value in last.summary.value} == {
        "loss": 0.5,
        "rate": 2.0,
    }
    assert caplog.text.count("File too large; the run goes on") == 2


def test_events_begin_where_there_is_room_again(small_disk, tmp_path):
    small_disk(0)
    board = Board(tmp_path, 6)
    small_disk(resource.RLIM_INFINITY)
    board.scalars({"loss": 0.5}, 7)
    begun, purged, loss = events(tmp_path)
    assert begun.file_version == "brain.Event:2"
    assert purged.session_log.status == SessionLog.START
    assert loss.step == 7


def test_records_carry_the_checksums_that_readers_ask_for(tmp_path):
    """CRC-32C, turned by 15 bits and moved, as TFRecords have it: a reader gives up without."""

    def checksum(content):
        crc = 0xFFFFFFFF
        for byte in content:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        crc ^= 0xFFFFFFFF
        return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")

    Board(tmp_path, 6).scalars({"loss": 0.5}, 7)
    (path,) = tmp_path.iterdir()
    content, count = path.read_bytes(), 0
    while content:
        size = 12 + int.from_bytes(content[:8], "little")
        assert content[8:12] == checksum(content[:8])
        assert content[size : size + 4] == checksum(content[12:size])
        content, count = content[size + 4 :], count + 1
    assert count == 3


def test_a_score_that_a_full_disk_refuses_leaves_no_half_of_a_line(small_disk, config):
    recorder = Recorder(dataclasses.replace(config, tensorboard=False))
    config.output.mkdir()
    recorder.scores(6, {"ab_l1": 0.125})
    small_disk(recorder.scores_path.stat().st_size + 4)
    with pytest.raises(OutputError, match=r"cannot write .*scores\.csv: File too large"):
        recorder.scores(12, {"ab_l1": 0.25})
    small_disk(resource.RLIM_INFINITY)
    recorder.scores(18, {"ab_l1": 0.5})
    lines = recorder.scores_path.read_text().splitlines()
    assert lines == ["step,ab_l1", "6,0.125", "18,0.5"]


def test_scores_have_their_names_where_a_full_disk_refused_the_first(small_disk, config):
    recorder = Recorder(dataclasses.replace(config, tensorboard=False))
    config.output.mkdir()
    small_disk(4)
    with pytest.raises(OutputError, match=r"cannot write .*scores\.csv: File too large"):
        recorder.scores(6, {"ab_l1": 0.25})
    small_disk(resource.RLIM_INFINITY)
    assert not recorder.scores_path.exists()
    recorder.scores(12, {"ab_l1": 0.5})
    assert recorder.scores_path.read_text().splitlines() == ["step,ab_l1", "12,0.5"]


class Painter(nn.Module):
    """Paints all of one value."""

    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, x):
        return self.value.expand_as(x)


class Numbers(nn.Module):
    """Pictures as numbers in [0, 1]."""

    def forward(self, x):
        return x.float() / 255


def test_scores_are_of_each_direction(config):
    scores = Scorer(config).scores(Painter(1.0), Painter(-1.0))
    relief, satellite = evaluation_pairs(3, 32)
    assert scores["ab_l1"] == pytest.approx(1 - satellite.mean() / 255, rel=1e-5)
    assert scores["ba_l1"] == pytest.approx(relief.mean() / 255, rel=1e-5)


def test_of_sets_the_nearer_one_is_better(monkeypatch):
    near, far = (Distances(count=2, fid=9.0, kid=kid, kid_std=0.0) for kid in (0.1, 0.2))
    found = iter([near, far])
    monkeypatch.setattr(scoring, "distances", lambda fakes, reals, inception: next(found))
    judge, painter = nn.Identity(), Painter(0.0)
    better, worse = (scoring._of_sets(judge, painter, [], [])["goodness"] for _ in range(2))
    assert better > worse


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`:UserWarning")
def test_the_inception_network_is_made_once_for_all_scorings(config, tmp_path, monkeypatch):
    made = []

    def pooled(layer):
        made.append(nn.Sequential(Numbers(), nn.AdaptiveAvgPool2d(2), nn.Flatten()))
        return made[-1]

    monkeypatch.setattr("cyclegan.evaluate._inception", pooled)
    shutil.copytree(config.data.test_b, tmp_path / "b")
    (tmp_path / "b" / "0.png").rename(tmp_path / "b" / "other.png")
    data = dataclasses.replace(config.data, test_b=tmp_path / "b")
    scorer = Scorer(dataclasses.replace(config, data=data))
    scores = [scorer.scores(Painter(1.0), Painter(-1.0)) for _ in range(2)]
    assert scores[0] == scores[1]
    assert scores[0]["ab_kid"] != scores[0]["ba_kid"] != 0
    assert len(made) == 1


def test_scoring_needs_pictures(config):
    data = dataclasses.replace(config.data, test_a=None, test_b=None)
    with pytest.raises(ConfigError, match=r"set data\.test_a and data\.test_b"):
        dataclasses.replace(config, data=data)
    with pytest.raises(ConfigError, match="test_a and test_b go together"):
        dataclasses.replace(config.data, test_b=None)


def test_test_pictures_that_nothing_looks_at_are_told(config, caplog):
    config = dataclasses.replace(config, tensorboard=False, epochs=1, epochs_decay=0)
    train(config, device="cpu", show_progress=False)
    assert "not looked at" not in caplog.text
    train(
        dataclasses.replace(config, score_every=0), device="cpu", show_progress=False, resume=True
    )
    assert caplog.text.count("test_a and test_b are not looked at, as score_every is 0") == 1


def test_steps_that_wait_for_pictures_are_told(config, caplog, monkeypatch):
    import time

    from cyclegan import training

    def slow():
        for _ in range(400):
            time.sleep(0.001)
            yield None, None

    with caplog.at_level(logging.WARNING):
        for _ in training._watched(slow(), config):
            pass
    assert caplog.text.count("steps wait for pictures") == 1


@pytest.mark.parametrize(
    "content", ["", "step\n", "step,seconds\n3,1\n", "step,seconds\n7,2\n\0\0\0"]
)
def test_a_log_that_was_damaged_keeps_no_run_from_going_on(config, content):
    recorder = Recorder(dataclasses.replace(config, tensorboard=False))
    config.output.mkdir()
    recorder.path.write_text(content)
    recorder.rewind(6)
    text = recorder.path.read_text()
    assert text.startswith("step")
    assert text.splitlines()[1:] == (["3,1"] if "3,1" in content else [])


def test_samples_of_later_steps_go_with_them(config):
    recorder = Recorder(dataclasses.replace(config, tensorboard=False))
    folder = config.output / "samples"
    folder.mkdir(parents=True)
    kept = ["000000_ab.png", "000006_ab.png", "000006_ba.png", "000012_mine.png", "12_ab.png"]
    for name in [*kept, "000007_ab.png", "000012_ba.png", "1000000_ab.png"]:
        (folder / name).touch()
    recorder.rewind(6)
    assert sorted(path.name for path in folder.iterdir()) == sorted(kept)


def test_scores_go_on_where_the_checkpoint_was(config):
    config = dataclasses.replace(config, tensorboard=False, checkpoint_minutes=0.0, checkpoints=99)
    train(config, device="cpu", show_progress=False)
    for later in config.output.glob("checkpoints/*.pt"):
        if int(later.stem) > 8:
            later.unlink()
    train(config, device="cpu", show_progress=False, resume=True)
    with (config.output / "scores.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [6, 12, 18]


def test_other_test_pictures_have_a_best_of_their_own(config, tmp_path, monkeypatch, caplog):
    """Their figures may be of another kind too, and the scores before are kept."""
    found = iter([{"goodness": 0.9, "ab_ssim": 0.9}, {"goodness": -0.1, "ab_kid": 0.1}])
    monkeypatch.setattr(Scorer, "scores", lambda *_: next(found))
    config = dataclasses.replace(config, tensorboard=False, epochs=1, epochs_decay=0)
    best = train(config, device="cpu", show_progress=False).generator_ab
    kept = best.read_bytes()
    other = shutil.copytree(config.data.test_a, tmp_path / "other")
    (other / "2.png").rename(other / "3.png")
    data = dataclasses.replace(config.data, test_a=other, test_b=other)
    # What is not scored for a while does not forget what it was scored on.
    for epochs, score_every in ((2, 0), (3, 3)):
        longer = dataclasses.replace(config, data=data, epochs=epochs, score_every=score_every)
        result = train(longer, device="cpu", show_progress=False, resume=True)
    assert caplog.text.count("(pairs of 3 and 3 pictures, ") == 1
    assert result.generator_ab == best
    assert best.read_bytes() != kept
    assert (config.output / "scores.csv").read_text().split() == [
        "step,goodness,ab_kid",
        "18,-0.1,0.1",
    ]
    assert (config.output / "scores_to_000012.csv").read_text().split() == [
        "step,goodness,ab_ssim",
        "6,0.9,0.9",
    ]


def test_test_pictures_of_another_size_have_a_best_of_their_own(config, monkeypatch, caplog):
    found = iter([{"goodness": 0.9}, {"goodness": 0.1}])
    monkeypatch.setattr(Scorer, "scores", lambda *_: next(found))
    config = dataclasses.replace(config, tensorboard=False, epochs=1, epochs_decay=0)
    kept = train(config, device="cpu", show_progress=False).generator_ab.read_bytes()
    longer = dataclasses.replace(
        config, data=dataclasses.replace(config.data, crop_size=24), epochs=2
    )
    best = train(longer, device="cpu", show_progress=False, resume=True).generator_ab
    assert "resize_and_crop to 32x32, now pairs of 3 and 3" in caplog.text
    assert best.read_bytes() != kept
    assert (config.output / "scores_to_000006.csv").read_text().split()[1:] == ["6,0.9"]
    assert (config.output / "scores.csv").read_text().split()[1:] == ["12,0.1"]


def test_a_best_of_another_size_is_set_aside(scored_once, caplog):
    best = scored_once.output / "generator_ab_best.safetensors"
    kept = best.read_bytes()
    data = dataclasses.replace(scored_once.data, crop_size=24)
    for given in (data, scored_once.data):  # and back, where nothing has been scored since
        other = dataclasses.replace(scored_once, data=given)
        assert best_after_resuming(other) == (None, "generator_ab_ema")
    assert best.with_stem("generator_ab_best_to_000006").read_bytes() == kept
    assert caplog.text.count("scores begin anew") == 2
    assert "later than the checkpoint" not in caplog.text


def test_best_generators_that_were_set_aside_stay_where_the_run_goes_on_from_there_again(
    scored_once, caplog
):
    """With pictures of another size, killed before its next checkpoint, and with the first ones."""
    best = scored_once.output / "generator_ab_best.safetensors"
    first = best.read_bytes()
    data = dataclasses.replace(scored_once.data, crop_size=24)
    other = dataclasses.replace(scored_once, data=data, epochs=2)
    assert best_after_resuming(other) == (0.5, "generator_ab_best")
    second = best.read_bytes()
    (scored_once.output / "checkpoints" / "00000012.pt").unlink()
    assert best_after_resuming(scored_once) == (None, "generator_ab_ema")
    aside = [best.with_stem(f"generator_ab_best_to_000006{end}") for end in ("", "_2")]
    assert [path.read_bytes() for path in aside] == [first, second]
    assert caplog.text.count("the best generators are chosen anew: ") == 1
    assert "to 24x24, now pairs of 3 and 3 pictures" in caplog.text


@pytest.mark.parametrize(
    ("preprocess", "changes", "compare"),
    [
        ("resize_and_crop", {"load_size": 40}, True),
        ("resize_and_crop", {"crop_height": 28}, False),
        ("crop", {"crop_size": 28}, False),
        ("scale_width_and_crop", {"load_size": 40}, True),
        ("scale_width", {"load_size": 40}, False),
        ("scale_width", {"crop_height": 40}, False),
        ("none", {"load_size": 40, "crop_size": 28}, True),
        ("none", {"preprocess": "crop", "crop_size": 28}, False),
    ],
)
def test_figures_compare_where_pictures_are_tested_in_one_size(
    preprocess, changes, compare, config
):
    data = dataclasses.replace(config.data, preprocess=preprocess, crop_size=32)
    first, second = (
        Scorer(dataclasses.replace(config, data=data)),
        Scorer(dataclasses.replace(config, data=dataclasses.replace(data, **changes))),
    )
    assert (first.fingerprint == second.fingerprint) == compare
    pictures = [scorer._pictures()[0] for scorer in (first, second)]
    assert all(map(np.array_equal, *pictures)) == compare


@pytest.mark.parametrize("told", [None, "pictures"])
def test_a_checkpoint_from_before_test_pictures_were_told_apart_goes_on(told, config, monkeypatch):
    """Or their names were, but not how they were taken."""
    monkeypatch.setattr(Scorer, "scores", lambda *_: {"goodness": 0.9})
    config = dataclasses.replace(config, tensorboard=False, epochs=1, epochs_decay=0)
    train(config, device="cpu", show_progress=False)
    folder = config.output / "checkpoints"
    state = load_checkpoint(folder)
    assert state.pop("scored")
    if told:
        state["scored"] = getattr(Scorer(config), told)
    save_checkpoint(folder, 6, state, keep=1)
    longer = dataclasses.replace(config, epochs=2)
    train(longer, device="cpu", show_progress=False, resume=True)
    assert len((config.output / "scores.csv").read_text().split()) == 3


def test_scores_that_were_set_aside_stay_where_the_run_goes_on_from_there_again(config):
    """Killed before its next checkpoint."""
    recorder = Recorder(dataclasses.replace(config, tensorboard=False))
    config.output.mkdir()
    recorder.scores(6, {"ab_ssim": 0.5})
    for _ in range(2):
        recorder.rewind(6)
        set_aside(recorder.scores_path, 6)
        recorder.scores(12, {"ab_kid": 0.25})
    aside = config.output / "scores_to_000006.csv"
    assert aside.read_text().split() == ["step,ab_ssim", "6,0.5"]
    assert recorder.scores_path.read_text().split() == ["step,ab_kid", "12,0.25"]


def test_what_cannot_be_scored_is_told_before_the_run_begins(config, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for i in range(3):
        (broken / f"{i}.png").write_text("no picture")
    data = dataclasses.replace(config.data, test_a=broken)
    with pytest.raises(ImageError, match=r"cannot read .*0\.png"):
        train(dataclasses.replace(config, data=data), device="cpu", show_progress=False)
    assert not (config.output / "losses.csv").exists()


def test_pairs_without_a_window_of_ssim_are_told_before_the_run_begins(config, tmp_path):
    """No SSIM was a number, and so no generator the best."""
    Image.new("RGB", (16, 8)).save(tmp_path / "0.png")
    small = dataclasses.replace(
        config.data, test_a=tmp_path, test_b=tmp_path, preprocess="none", crop_size=8
    )
    with pytest.raises(DataError, match="is 16x8; SSIM compares windows of 11 pixels"):
        Scorer(dataclasses.replace(config, data=small))


def test_pictures_too_small_for_the_generator_are_told_before_the_run_begins(
    config, tmp_path, monkeypatch
):
    monkeypatch.setattr(scoring, "check_distances", lambda *_: None)
    for name in ("0", "1"):
        Image.new("RGB", (40, 5)).save(tmp_path / f"{name}.png")
    data = dataclasses.replace(config.data, test_b=tmp_path, preprocess="none")
    with pytest.raises(ImageError, match=r"0\.png is 40x5 .* take sides of at least 8"):
        Scorer(dataclasses.replace(config, data=data))


def test_sets_of_one_picture_are_told_before_the_run_begins(config, tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "alone.png")
    data = dataclasses.replace(config.data, test_b=tmp_path)
    with pytest.raises(DataError, match=r"FID and KID .* got 3 and 1; .* or pairs of the same"):
        Scorer(dataclasses.replace(config, data=data))


def test_metrics_that_cannot_be_imported_are_told_before_the_run_begins(
    config, unimportable_metrics
):
    """A whole epoch came first."""
    with pytest.raises(BackendError, match=unimportable_metrics):
        Scorer(config)


def test_pairs_of_two_sizes_are_told_before_the_run_begins(config, tmp_path):
    for domain, width in (("a", 16), ("b", 20)):
        (tmp_path / domain).mkdir()
        Image.new("RGB", (width, 16)).save(tmp_path / domain / "0.png")
    data = dataclasses.replace(
        config.data, test_a=tmp_path / "a", test_b=tmp_path / "b", preprocess="none"
    )
    with pytest.raises(
        DataError, match=r"a/0\.png is scored against .*b/0\.png, at 16x16 and 20x16"
    ):
        Scorer(dataclasses.replace(config, data=data))


def test_scoring_that_fails_on_the_way_does_not_end_the_run(config, monkeypatch, caplog):
    def failing(*_):
        raise ImageError("cannot read x.png")

    monkeypatch.setattr(Scorer, "scores", failing)
    result = train(config, device="cpu", show_progress=False)
    assert result.steps == 18
    assert caplog.text.count("could not be scored: cannot read x.png; the run goes on") == 3


def test_pairs_are_of_one_name_all_of_them(config, monkeypatch):
    """Beyond those that are looked at, too."""
    monkeypatch.setattr(scoring, "MOST", 2)
    assert scoring.Scorer(config).paired
    checked = []
    monkeypatch.setattr(scoring, "check_distances", lambda *_: checked.append(True))
    last = sorted(config.data.test_b.iterdir())[-1]
    renamed = last.rename(last.with_name("other.png"))
    try:
        assert not scoring.Scorer(config).paired
        assert checked
    finally:
        renamed.rename(last)


def test_lists_of_the_same_names_in_another_order_are_pairs(config, tmp_path):
    lists = []
    for source, order in ((config.data.test_a, "012"), (config.data.test_b, "201")):
        lists.append(tmp_path / f"{source.name}.txt")
        lists[-1].write_text("".join(f"{source}/{number}.png\n" for number in order))
    data = dataclasses.replace(config.data, test_a=lists[0], test_b=lists[1])
    scorer = Scorer(dataclasses.replace(config, data=data))
    assert scorer.paired
    assert [item.name for item in scorer.items[1]] == ["0.png", "1.png", "2.png"]
    for each in lists:  # nor are they other pictures
        each.write_text("\n".join(reversed(each.read_text().splitlines())))
        assert Scorer(dataclasses.replace(config, data=data)).fingerprint == scorer.fingerprint


@pytest.mark.parametrize("names", [("x/0", "p/0"), ("x/0", "0")])
def test_pictures_of_one_name_in_different_subfolders_are_no_pairs(
    names, config, tmp_path, monkeypatch
):
    """Nor are they for ``cyclegan evaluate``."""
    monkeypatch.setattr(scoring, "check_distances", lambda *_: None)
    for domain, name in zip("ab", names):
        for path in (tmp_path / domain / f"{name}.png", tmp_path / domain / "z" / "1.png"):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16)).save(path)
    data = dataclasses.replace(config.data, test_a=tmp_path / "a", test_b=tmp_path / "b")
    assert not Scorer(dataclasses.replace(config, data=data)).paired
    with pytest.raises(DataError, match="have no partner"):
        paired_folders(data.test_a, data.test_b)


def test_names_that_come_twice_tell_no_pairs(config, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "check_distances", lambda *_: None)
    lists = []
    for source in (config.data.test_a, config.data.test_b):
        lists.append(tmp_path / f"{source.name}.txt")
        lists[-1].write_text(f"{source}/0.png\n{source}/0.png\n")
    data = dataclasses.replace(config.data, test_a=lists[0], test_b=lists[1])
    assert not Scorer(dataclasses.replace(config, data=data)).paired


class Failing(nn.Module):
    """A generator that does this instead."""

    def __init__(self, does):
        super().__init__()
        self.weight, self.does = nn.Parameter(torch.zeros(1)), does

    def forward(self, x):
        return self.does(x)


def on_a_full_gpu(x):
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    ("allocate", "says"),
    [
        (lambda x: torch.empty(1 << 50), r"\(.*DefaultCPUAllocator: .*\); give smaller ones"),
        (lambda x: np.empty(1 << 50), r"\(Unable to allocate 8.* PiB .*\); give smaller ones"),
        (on_a_full_gpu, r"\(CUDA out of memory\); give smaller ones"),
    ],
)
def test_scoring_says_that_there_is_too_little_memory(config, allocate, says):
    """As an error that does not end the run."""
    with pytest.raises(DataError, match=f"too little memory for the test pictures {says}"):
        Scorer(config).scores(Failing(allocate), Failing(allocate))


def test_what_else_fails_in_scoring_is_not_taken_for_too_little_memory(config):
    wrong = Failing(lambda x: x @ torch.zeros(7))
    with pytest.raises(RuntimeError, match="size mismatch"):
        Scorer(config).scores(wrong, wrong)
