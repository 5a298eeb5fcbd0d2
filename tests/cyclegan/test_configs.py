"""The paper's experiments: every file loads, and its settings take a step."""

import dataclasses
import tomllib
from pathlib import Path

import pytest

from cyclegan import shipped, train
from cyclegan.config import TrainConfig, from_dict
from cyclegan.sample_data import write_training_folders

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "configs").glob("*.toml"))


def load(path):
    return from_dict(TrainConfig, tomllib.loads(path.read_text()))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_training_folders(tmp_path_factory.mktemp("data"), 1, 48)


def test_all_experiments_are_there():
    assert {path.stem for path in FILES} == {
        "apple2orange", "cezanne2photo", "cityscapes", "facades", "horse2zebra", "maps",
        "monet2photo", "summer2winter_yosemite", "ukiyoe2photo", "vangogh2photo",
    }  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_experiment_takes_a_step(path, folders, tmp_path):
    """All as it is in the file, but for thinner networks and smaller pictures."""
    config = load(path)
    assert str(config.data.a) == f"datasets/{path.stem}/trainA"
    a, b = folders
    model = dataclasses.replace(
        config.model,
        generator=dataclasses.replace(config.model.generator, width=4),
        discriminator=dataclasses.replace(config.model.discriminator, width=4),
    )
    small = dataclasses.replace(
        config,
        model=model,
        data=dataclasses.replace(config.data, a=a, b=b, load_size=40, crop_size=32),
        output=tmp_path / "run",
        epochs=1,
        epochs_decay=0,
        workers=0,
        checkpoints=0,
    )
    assert train(small, device="cpu", show_progress=False).steps == 1


def test_the_shipped_models_settings_still_load():
    folder = Path(shipped.__file__).parent / "models"
    for path in folder.glob("*.toml"):
        assert load(path).data.crop_size == 128
