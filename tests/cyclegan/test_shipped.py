"""The model that comes with the package does what its card says."""

import re
from pathlib import Path

import pytest

from cyclegan import Translator, load_generator
from cyclegan.demo import CROP, PAIRS, score
from cyclegan.demo_report import OURS, RIVAL
from cyclegan.errors import ModelError
from cyclegan.sample_data import evaluation_pairs
from cyclegan.shipped import DEFAULT, FOLDER, find_model, names


def test_is_small():
    assert names() == [DEFAULT]
    assert find_model(DEFAULT).stat().st_size <= 8_000_000


def test_scores_are_those_of_its_card():
    relief, satellite = evaluation_pairs(PAIRS, CROP, seed=1)
    generator = load_generator(find_model(DEFAULT))
    with Translator.open(generator, backend="torch", precision="float32") as translator:
        scores = score(translator, relief, satellite)
    card = (FOLDER / f"{DEFAULT}.md").read_text()
    rows = dict(re.findall(r"^\| (.+?) +\| (.+) \|$", card, re.MULTILINE))
    for name in (OURS, RIVAL):
        said = [float(cell) for cell in rows[name].split("|")]
        found = scores[name]
        assert said == pytest.approx(
            [found.l1, found.psnr, found.ssim, found.gradient_correlation], abs=0.006
        )
    ours, rival = scores[OURS], scores[RIVAL]
    assert ours.l1 < rival.l1
    assert ours.psnr > rival.psnr
    assert ours.ssim > rival.ssim


def test_a_file_goes_before_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / DEFAULT).write_text("")
    assert find_model(DEFAULT) == Path(DEFAULT)
    with pytest.raises(ModelError, match="shipped models are relief2satellite"):
        find_model("nothing")


def test_a_run_offers_its_best_then_its_average_then_its_last(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(ModelError, match="no generator in the folder"):
        find_model(str(run))
    for suffix in ("", "_ema", "_best"):
        for name in ("generator_ab", "generator_ba"):
            (run / f"{name}{suffix}.safetensors").touch()
        assert find_model(str(run)).name == f"generator_ab{suffix}.safetensors"
        assert find_model(str(run / "generator_ba")).name == f"generator_ba{suffix}.safetensors"


def test_a_folder_of_public_files_names_one_to_give(tmp_path):
    for name in ("latest_net_D_A.pth", "latest_net_G_A.pth", "latest_net_G_B.pth"):
        (tmp_path / name).touch()
    with pytest.raises(ModelError, match=rf"give one of them, such as {tmp_path}/latest_net_G_A"):
        find_model(str(tmp_path))
