"""The demonstration from end to end, with less of everything."""

import dataclasses
import html
import os
import re
import sys
from itertools import islice

import av
import pytest
import tomli_w

from cyclegan import claim, demo, sample_data
from cyclegan.cli import main
from cyclegan.config import PatchConfig, ResnetConfig
from cyclegan.errors import BackendError, ConfigError, OutputError


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    tiny = dataclasses.replace(
        demo.MODEL,
        generator=ResnetConfig(width=4, blocks=1, upsample="resize"),
        discriminator=PatchConfig(width=4, layers=1),
    )
    for name, value in {"MODEL": tiny, "CROPS": 6, "PAIRS": 7, "FRAMES": 12}.items():
        monkeypatch.setattr(demo, name, value)
    # The shortest clip instead of the one that is shown.
    carphone = sample_data.clip("carphone_pristine")
    monkeypatch.setattr(sample_data, "clip", lambda name: carphone)


def a_former_run(run, pictures, output="demo/train"):
    run.mkdir(parents=True)
    (run / "config.toml").write_text(
        tomli_w.dumps({"output": str(output), "data": {"a": str(pictures)}})
    )
    (run / "losses.csv").write_text("former")


def test_demo_leaves_a_report_that_shows_everything(tmp_path, capsys):
    output = tmp_path / "relief & more"
    a_former_run(output / "train", "demo/data/trainA")  # it lay elsewhere
    path = demo.run_demo(output, minutes=0.03, seed=3)
    page = path.read_text()
    assert path == output / "report.html"
    assert f"cyclegan demo --output '{output}' --minutes 0.03 --seed 3" in html.unescape(page)
    assert "relief &amp; more" in page
    assert page.count("<video") == 3
    for expected in ("mean/std match", "PSNR", "bound by", "Blue Marble", "ResnetConfig(", "<svg"):
        assert expected in page
    assert not re.search(r'(src|href)="(?!data:|#)', page), "the page needs other files"
    for name, width in (("flyover_satellite.mp4", 256), ("flyover_side_by_side.mp4", 3 * 256)):
        with av.open(str(output / name)) as video:
            frames = list(islice(video.decode(video=0), 20))
        assert len(frames) == 12
        assert frames[0].width == width
    assert (output / "relief2satellite.onnx").exists()
    assert "training for 0.03 minutes" in capsys.readouterr().out
    assert (output / "train" / "losses.csv").read_text().startswith("step,")


def test_metrics_that_cannot_be_imported_are_told_before_anything_is_made(
    tmp_path, unimportable_metrics
):
    with pytest.raises(BackendError, match=unimportable_metrics):
        demo.run_demo(tmp_path / "demo", minutes=0.01)
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("settings", [True, False])
def test_a_training_run_of_other_pictures_is_left_as_it_is(settings, tmp_path):
    run = tmp_path / "train"
    a_former_run(run, "photos")
    if not settings:
        (run / "config.toml").unlink()
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(OutputError, match=r"train holds a run .*choose another output"):
        demo.run_demo(tmp_path, minutes=0.01)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    assert (tmp_path / "data").exists() != settings


def test_a_run_that_was_gone_on_with_by_another_name_is_a_demonstration_still(
    tmp_path, monkeypatch
):
    """Its settings name the pictures as who began it did, the run as who went on did."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    outputs = tmp_path / "demo/train", "link/demo/train", "demo/data/../train"
    for number, output in enumerate(outputs):
        a_former_run(tmp_path / str(number), "demo/data/trainA", output)
        assert demo._was_demo(tmp_path / str(number)), output
    a_former_run(tmp_path / "other", "photos/data/trainA", tmp_path / "demo/train")
    with pytest.raises(OutputError, match="no demonstration's"):
        demo._was_demo(tmp_path / "other")


@pytest.mark.parametrize("folder", ["", "train"])
def test_a_folder_where_another_is_at_work_is_left_as_it_is(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(claim, "WAIT", 0.1)
    with claim.claimed(tmp_path / folder):
        with pytest.raises(OutputError, match="another process is at work in"):
            demo.run_demo(tmp_path, minutes=0.01)
        assert not (tmp_path / "data").exists()


def test_others_are_kept_out_after_training_too_and_not_once_it_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(claim, "WAIT", 0.1)

    def stopped(output, *_):
        with pytest.raises(OutputError, match="another process is at work in"):
            demo.run_demo(output)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "train", lambda *_, **how: None)
    monkeypatch.setattr(demo, "_translate_and_score", stopped)
    with pytest.raises(KeyboardInterrupt):
        demo.run_demo(tmp_path)
    with claim.claimed(tmp_path), claim.claimed(tmp_path / "train"):
        pass
    assert not list(tmp_path.rglob(".lock"))


def test_a_slow_machine_translates_the_beginning_of_the_clip():
    class Seen:
        frames_per_second = 2.0

    clip = sample_data.clip("bikes")
    with av.open(str(clip)) as video:
        stream = video.streams.video[0]
        pixels, rate = stream.width * stream.height, float(stream.average_rate)
    part = demo._beginning(clip, Seen)
    assert part.start == 0
    seconds = part.end * rate * pixels / (2.0 * demo.FRAME_SIZE**2)
    assert seconds == pytest.approx(demo.CLIP_SECONDS)
    Seen.frames_per_second = 1e-3
    assert demo._beginning(clip, Seen).end == 1, "it is never nothing"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"minutes": 0.0}, "minutes is 0.0; expected"),
        ({"minutes": float("nan")}, "minutes is nan; expected"),
        ({"seed": -1}, "seed is -1; expected at least 0"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(settings, says, tmp_path):
    with pytest.raises(ConfigError, match=says):
        demo.run_demo(tmp_path, **settings)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves_does_not_end_it(tmp_path, monkeypatch):
    """As in ``cyclegan demo | head -1``."""
    ours, theirs = os.pipe()
    stages = []

    def run_demo(output, minutes, seed):
        for stage in ("first", "second"):
            with demo._stage(stage):
                stages.append(stage)
                if stage == "first":
                    os.close(ours)
        return output / "report.html"

    monkeypatch.setattr(demo, "run_demo", run_demo)
    with os.fdopen(theirs, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["demo", "--output", str(tmp_path)]) == 0
    assert stages == ["first", "second"]
