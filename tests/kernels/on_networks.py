"""Whole networks on the kernels. Run by ``test_interpreted.py``, and directly where a GPU is."""

from collections import Counter
from typing import Any

import pytest
import torch
from checks import DEVICE, normal, relative
from torch import Tensor, nn

from cyclegan.config import PatchConfig, ResnetConfig
from cyclegan.engine.bands import BandedResnet
from cyclegan.few_channels import Block, conv_in_blocks, for_blocks
from cyclegan.kernels import launch
from cyclegan.layers import BeforeNorm
from cyclegan.network_config import Norm
from cyclegan.networks import PatchDiscriminator, ResnetGenerator, prepare_for_inference

NETWORKS = {
    "generator": lambda: ResnetGenerator(ResnetConfig(width=4, blocks=1)),
    "resizing generator": lambda: ResnetGenerator(
        ResnetConfig(width=4, blocks=1, upsample="resize")
    ),
    "discriminator": lambda: PatchDiscriminator(PatchConfig(width=4, layers=2)),
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def placed(name: str) -> nn.Module:
    network: nn.Module = NETWORKS[name]().to(DEVICE)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def given() -> Tensor:
    """One small picture."""
    return normal((1, 3, 16, 24), torch.float32).clamp(-1, 1)


def plainly(call: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What ``call`` gives on PyTorch's own operators."""
    with monkeypatch.context() as plain:
        plain.setattr(launch, "HAS_TRITON", False)
        return call()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_agrees_with_plain_operators(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = placed(name), given()
    weights = {k: w for k, w in network.named_parameters() if not is_before_a_norm(network, k)}

    def result() -> tuple[Tensor, ...]:
        y = network(x)
        return y, *torch.autograd.grad((y * torch.linspace(0, 1, y.numel()).to(y).view_as(y)).sum(),
                                       list(weights.values()))  # fmt: skip

    expected = plainly(result, monkeypatch)
    for what, one, other in zip(("result", *weights), result(), expected, strict=True):
        assert relative(one, other) < 1e-3, what


def is_before_a_norm(network: nn.Module, parameter: str) -> bool:
    """Whether it is a bias that an instance norm takes away again."""
    module, _, name = parameter.rpartition(".")
    return name == "bias" and isinstance(network.get_submodule(module), BeforeNorm)


def test_a_bias_that_a_norm_takes_away_is_left_out() -> None:
    network, x = placed("generator"), given()
    before = network(x)
    biases = {k: b for k, b in network.named_parameters() if is_before_a_norm(network, k)}
    assert len(biases) == 7
    with torch.no_grad():
        for bias in biases.values():
            bias.fill_(float("nan"))
    assert torch.equal(network(x), before)
    network(x).sum().backward()
    assert all(bias.grad is None for bias in biases.values())


def test_a_prepared_generator_gives_the_same() -> None:
    network, x = placed("generator"), given()
    assert isinstance(network, ResnetGenerator)
    with torch.no_grad():
        expected = network(x)
        prepare_for_inference(network)
        assert network.stem.weight.shape[1] == 4
        assert relative(network(x), expected) < 1e-5


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_bands_of_rows_give_what_the_whole_frame_gives(norm: Norm) -> None:
    """Tiles of ``exact`` statistics, on the device: none of it stays on the host."""
    network = ResnetGenerator(ResnetConfig(width=4, blocks=1, norm=norm)).eval().to(DEVICE)
    x = normal((1, 3, 32, 24), torch.float32).clamp(-1, 1)
    with torch.inference_mode():
        expected = network(x)
        for band in (5, 16, 64):
            made = BandedResnet(network, band)(x)
            assert made.device == expected.device
            assert relative(made, expected) < 1e-4, f"bands of {band}"


@pytest.mark.parametrize("block", [(4, 2), (4, 4)])
@pytest.mark.parametrize("channels", [1, 3])
def test_blocks_of_pixels_are_what_a_convolution_gives(channels: int, block: Block) -> None:
    x, weight = torch.randn(2, 5, 14, 18).double(), torch.randn(channels, 5, 7, 7).double()
    bias = torch.randn(channels).double()
    found = conv_in_blocks(x, *for_blocks(weight, bias, block), block)
    expected = nn.functional.conv2d(x, weight, bias)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert relative(found, expected) < 1e-12


def test_an_empty_batch_goes_through_the_blocks() -> None:
    blocks = for_blocks(torch.randn(3, 5, 7, 7), torch.randn(3), (4, 2))
    assert conv_in_blocks(torch.empty(0, 5, 14, 14), *blocks, (4, 2)).shape == (0, 3, 8, 8)


def test_a_gradient_reaches_the_weight_through_the_blocks() -> None:
    weight, bias = (
        torch.randn(size, dtype=torch.float64, requires_grad=True) for size in ((2, 3, 3, 3), (2,))
    )
    x = torch.randn(1, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    call = lambda x, w, b: conv_in_blocks(x, *for_blocks(w, b, (4, 2)), (4, 2))  # noqa: E731
    assert torch.autograd.gradcheck(call, (x, weight, bias))


@pytest.mark.skipif(launch.INTERPRETED, reason="the interpreter cannot be traced")
def test_compiled_code_runs_the_kernels() -> None:
    """PyTorch before 2.13 told all code under Dynamo that it was being exported."""
    seen: Counter[str] = Counter()

    def look(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        seen.update(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    network, x = placed("generator"), given()
    torch._dynamo.reset()
    with torch.no_grad():
        compiled = torch.compile(network, backend=look, fullgraph=True)
        assert relative(compiled(x), network(x)) < 1e-5
    assert sum(count for name, count in seen.items() if "instance_norm" in name) == 7
    assert any("reflection_pad" in name for name in seen)
