"""In which precision PyTorch runs a generator."""

import copy
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from cyclegan import Translator
from cyclegan.config import ResnetConfig
from cyclegan.cpu import has_fast_bfloat16
from cyclegan.engine import real_frames
from cyclegan.engine.model_source import GeneratorSource, open_source
from cyclegan.engine.runners.placing import _dtype, fits_float16, full_float32, placed, without_tf32
from cyclegan.engine.runners.settings import Settings
from cyclegan.errors import BackendError
from cyclegan.networks import Generator, network_from_config
from cyclegan.shipped import find_model

GPU = torch.device("cuda")
"""Named only: the networks stay on the CPU."""


@pytest.fixture(scope="module")
def loud() -> Generator:
    """A generator without norms whose activations leave the range of float16."""
    torch.manual_seed(0)
    generator = network_from_config(ResnetConfig(width=4, blocks=1, norm="none"))
    with torch.no_grad():
        generator.stem.weight.mul_(1e6)
    return generator.eval()


def test_a_gpu_computes_in_float16_what_fits(
    generator: Generator, loud: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _dtype(generator, GPU, Settings()) == torch.float16
    for native, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: native)  # noqa: B023
        assert _dtype(loud, GPU, Settings()) == expected
    assert _dtype(generator, GPU, Settings(depth=16)) == torch.float32
    assert _dtype(loud, GPU, Settings(precision="float16")) == torch.float16, "as it was asked"


def test_a_cpu_computes_in_what_it_multiplies_fast(generator: Generator) -> None:
    expected = torch.bfloat16 if has_fast_bfloat16() else torch.float32
    assert _dtype(generator, torch.device("cpu"), Settings()) == expected


def test_the_shipped_generator_fits_float16_and_trying_leaves_it_as_it_was(
    loud: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where a CPU has no products in float16, each frame of the usual size takes it half a minute.
    frames = real_frames.built_in_frames(3, 4)[:1, 64:128, 64:128]
    monkeypatch.setattr(real_frames, "built_in_frames", lambda *_: frames)
    shipped = open_source(find_model("relief2satellite")).generator()
    before = copy.deepcopy(shipped.state_dict())
    assert fits_float16(shipped)
    assert not fits_float16(loud)
    after = shipped.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("before", ["tf32", "ieee"])
def test_float32_is_all_of_it(before: str, monkeypatch: pytest.MonkeyPatch) -> None:
    convolutions = torch.backends.cudnn.conv
    monkeypatch.setattr(convolutions, "fp32_precision", before)
    for dtype, inside in ((torch.float32, False), (torch.float16, before == "tf32")):
        with full_float32(dtype):
            assert (convolutions.fp32_precision == "tf32") == inside
        assert convolutions.fp32_precision == before


@pytest.mark.parametrize("before", ["tf32", "ieee"])
def test_threads_that_need_full_float32_leave_it_to_each_other(
    before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One enters while the other is inside, and stays after it: neither computes in TF32."""
    convolutions, products = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    monkeypatch.setattr(convolutions, "fp32_precision", before)
    monkeypatch.setattr(products, "fp32_precision", before)
    entered, may_leave = threading.Event(), threading.Event()

    def other() -> tuple[str, str]:
        with without_tf32():
            entered.set()
            assert may_leave.wait(10)
            return convolutions.fp32_precision, products.fp32_precision

    with ThreadPoolExecutor(1) as pool:
        with without_tf32():
            seen = pool.submit(other)
            assert entered.wait(10)
        may_leave.set()
        assert "tf32" not in seen.result()
    assert (convolutions.fp32_precision, products.fp32_precision) == (before, before)


@pytest.fixture
def _usual_products() -> Iterator[None]:
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.usefixtures("_usual_products")
@pytest.mark.parametrize("before", ["highest", "high", "medium"])
def test_older_names_can_be_read_and_tell_what_was_set(before: str) -> None:
    """PyTorch's compilers read them."""
    torch.set_float32_matmul_precision(before)
    with without_tf32():
        assert torch.backends.cuda.matmul.fp32_precision != "tf32"
        assert not torch.backends.cuda.matmul.allow_tf32
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == before
    assert torch.backends.cuda.matmul.allow_tf32 == (before != "highest")


KINDS = (
    torch.backends.cudnn.conv,
    torch.backends.cudnn.rnn,
    torch.backends.cuda.matmul,
    torch.backends.mkldnn.conv,
    torch.backends.mkldnn.matmul,
)


def precisions() -> list[str]:
    return [kind.fp32_precision for kind in KINDS]


@pytest.fixture
def _usual_precisions() -> Iterator[None]:
    before = precisions()
    yield
    torch.backends.fp32_precision = "none"
    torch.backends.cuda.matmul.allow_tf32 = False
    for kind, precision in zip(KINDS, before):
        kind.fp32_precision = precision


@pytest.mark.usefixtures("_usual_precisions")
def test_what_was_set_for_everything_comes_back_and_can_be_changed() -> None:
    for kind in KINDS:
        kind.fp32_precision = "none"
    torch.backends.fp32_precision = "tf32"
    with without_tf32():
        assert "tf32" not in precisions()
        assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "highest"
    assert precisions() == ["tf32"] * len(KINDS)
    torch.backends.fp32_precision = "ieee"
    assert precisions() == ["ieee"] * len(KINDS)


@pytest.mark.usefixtures("_usual_precisions")
@pytest.mark.parametrize("kind", [torch.backends, *KINDS[-2:]])
def test_float32_on_a_cpu_is_all_of_it(kind: Any) -> None:
    """CPUs with products in bfloat16 use them where a program asks for it."""
    kind.fp32_precision = "bf16"
    before = precisions()
    assert "bf16" in before
    with without_tf32():
        assert "bf16" not in precisions()
    assert precisions() == before


@pytest.mark.usefixtures("_usual_precisions")
def test_what_was_set_for_products_on_gpus_is_not_set_for_those_on_cpus() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True
    before = precisions()
    with without_tf32():
        assert not torch.backends.cuda.matmul.allow_tf32
    assert precisions() == before
    assert torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("before", ["tf32", "ieee"])
def test_what_was_set_for_products_alone_is_no_hindrance(
    before: str, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older setting, ``allow_tf32``, can then no longer be read: PyTorch refuses."""
    monkeypatch.setattr(torch.backends.cuda.matmul, "fp32_precision", before)
    frame = np.zeros((64, 64, 3), np.uint8)
    with Translator.open(generator, backend="torch", precision="float32") as translator:
        assert translator(frame).shape == frame.shape
    assert torch.backends.cuda.matmul.fp32_precision == before


def test_a_device_that_is_not_there_is_said(generator: Generator) -> None:
    with pytest.raises(BackendError, match=r"^PyTorch cannot use the device 'xpu:7'"):
        placed(GeneratorSource(generator), Settings(device="xpu:7"))
