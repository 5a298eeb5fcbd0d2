"""The last convolution in blocks of pixels gives the same picture."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from cyclegan.config import GeneratorConfig, ResnetConfig, UnetConfig
from cyclegan.engine.export import onnx_from_generator
from cyclegan.engine.pixel_blocks import last_in_blocks
from cyclegan.engine.rounding import run_on_cpu
from cyclegan.networks import initialise, network_from_config


@pytest.mark.parametrize("channels", [1, 3])
def test_the_picture_stays(channels: int, tmp_path: Path) -> None:
    config = ResnetConfig(width=4, blocks=1, out_channels=channels)
    generator = network_from_config(config)
    initialise(generator, gain=0.2)
    path = onnx_from_generator(generator.eval(), tmp_path / "graph.onnx")
    given = np.random.default_rng(channels).integers(0, 256, (2, 20, 36, 3), np.uint8)
    expected, _ = run_on_cpu(onnx.load(path), given)
    changed = onnx.load(path)
    last_in_blocks(changed)
    onnx.checker.check_model(changed, full_check=True)
    made, _ = run_on_cpu(changed, given)
    assert expected.std() > 5
    assert np.abs(made.astype(int) - expected).max() <= 1
    assert (made == expected).mean() > 0.999
    kernels = [numpy_helper.to_array(tensor).shape for tensor in changed.graph.initializer]
    assert (4 * channels, 4, 8, 8) in kernels
    again = changed.SerializeToString()
    last_in_blocks(changed)
    assert changed.SerializeToString() == again, "done once"


@pytest.mark.parametrize(
    "config",
    [UnetConfig(width=4, depth=5), ResnetConfig(width=4, blocks=1, out_channels=5)],
)
def test_what_is_not_of_this_kind_stays(config: GeneratorConfig, tmp_path: Path) -> None:
    generator = network_from_config(config).eval()
    model = onnx.load(onnx_from_generator(generator, tmp_path / "graph.onnx"))
    before = model.SerializeToString()
    last_in_blocks(model)
    assert model.SerializeToString() == before
