"""3x3 convolutions by Winograd's filtering, compiled and run on this CPU."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as some
from native_sources import OTHER_CPUS, compiled_for, mutated
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cyclegan import cpu
from cyclegan.errors import TensorError
from cyclegan.kernels import winograd_cpu
from cyclegan.kernels.winograd_cpu import (
    SOURCE,
    TILES,
    conv3x3_backward_op,
    conv3x3_op,
    conv3x3_packed_op,
    packed,
)
from cyclegan.layers import Conv3x3

pytestmark = pytest.mark.skipif(
    shutil.which("g++") is None, reason="a C++ compiler is needed, and there is none"
)
LAST = torch.channels_last
ERROR = {torch.float32: 4e-6, torch.bfloat16: 8e-3}
"""Relative, in the L2 norm: the transforms add numbers before they are rounded and multiplied, so
it is about twice that of PyTorch's convolution, in float32 with squares of 4 six times."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A convolution: batch, channels, outputs, height, width."""

    shape: tuple[int, int, int, int, int] = (1, 32, 32, 8, 8)
    dtype: torch.dtype = torch.float32
    last: bool = True
    """Whether the weight lies channels last."""


CASES = {
    "one pixel": Case(shape=(1, 32, 32, 3, 3)),
    "half a square": Case(shape=(1, 32, 32, 3, 4)),
    "a square of four": Case(shape=(1, 32, 32, 6, 6)),
    "squares that stand out": Case(shape=(1, 32, 32, 7, 9)),
    "more outputs": Case(shape=(1, 32, 96, 6, 5)),
    "more channels": Case(shape=(1, 96, 32, 5, 6)),
    "blocks of squares and a rest": Case(shape=(1, 32, 32, 35, 29)),
    "several images in a block": Case(shape=(5, 32, 32, 9, 8)),
    "parts that are summed in turn": Case(shape=(3, 32, 64, 60, 50)),
    "a weight that lies otherwise": Case(shape=(2, 64, 32, 8, 8), last=False),
}


def dtypes() -> list[torch.dtype]:
    """Those of whose kernels this CPU has the instructions."""
    bfloat16 = cpu.has_fast_bfloat16()
    return [torch.float32, torch.bfloat16] if bfloat16 else [torch.float32]


@pytest.fixture(autouse=True)
def _written(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Memory is handed out full of NaN: what a kernel does not write shows."""
    monkeypatch.setattr(winograd_cpu, "LEAST_CHANNELS", dict.fromkeys(TILES, 32))
    monkeypatch.setattr(winograd_cpu, "LEAST_PIXELS", 0)
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def inputs(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """x, a float32 weight, and dy."""
    n, c, o, h, w = case.shape
    x = torch.randn(n, c, h, w).to(case.dtype).contiguous(memory_format=LAST)
    weight = torch.randn(o, c, 3, 3) / (3 * c**0.5)
    dy = torch.randn(n, o, h - 2, w - 2).to(case.dtype).contiguous(memory_format=LAST)
    return x, weight.contiguous(memory_format=LAST) if case.last else weight, dy


def error(got: Tensor, exact: Tensor) -> float:
    assert got.shape == exact.shape
    got, exact = got.detach().double(), exact.detach()
    return float((got - exact).norm() / exact.norm())


def check(case: Case) -> None:
    """Results and gradients agree with float64, packed weights too."""
    x, weight, dy = inputs(case)
    ours = [t.clone().requires_grad_() for t in (x, weight)]
    exact = [t.double().requires_grad_() for t in (x, weight)]
    assert winograd_cpu.has_kernels(x, weight)
    y = conv3x3_op(*ours)
    z = F.conv2d(*exact)
    assert y.is_contiguous(memory_format=LAST)
    pairs = list(zip(torch.autograd.grad(y, ours, dy), torch.autograd.grad(z, exact, dy.double())))
    u = packed(weight.to(case.dtype))
    assert u is not None
    pairs += [(y, z), (conv3x3_packed_op(x, u, len(weight)), z)]
    for got, wanted in pairs:
        assert error(got, wanted) < ERROR[case.dtype]
    dx, dweight = (t for t, _ in pairs[:2])
    assert (dx.dtype, dx.stride()) == (x.dtype, x.stride())
    assert (dweight.dtype, dweight.stride()) == (weight.dtype, weight.stride())


@pytest.mark.parametrize("dtype", dtypes())
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_float64(name: str, dtype: torch.dtype) -> None:
    check(replace(CASES[name], dtype=dtype))


@given(
    shape=some.tuples(
        some.integers(1, 3),
        *[some.sampled_from([32, 64, 96])] * 2,
        *[some.integers(3, 24)] * 2,
    ),
    dtype=some.sampled_from(dtypes()),
    last=some.booleans(),
)
def test_agrees_with_float64_whatever_the_shape(
    shape: tuple[int, int, int, int, int], dtype: torch.dtype, last: bool
) -> None:
    check(Case(shape=shape, dtype=dtype, last=last))


@pytest.mark.parametrize("name", OTHER_CPUS)
def test_agrees_as_compiled_for_other_cpus(name: str, tmp_path: Path) -> None:
    """Each has vectors, and sums that fit its registers, of its own."""
    with compiled_for(name, tmp_path):
        for case in CASES.values():
            check(case)
            if name == "AVX512-BF16":
                check(replace(case, dtype=torch.bfloat16))
            else:
                assert packed(torch.ones(32, 32, 3, 3).bfloat16()) is None


@pytest.mark.parametrize("dtype", dtypes())
def test_threads_do_not_change_a_bit(dtype: torch.dtype) -> None:
    x, weight, dy = inputs(Case(shape=(2, 64, 128, 41, 33), dtype=dtype))
    given = [t.requires_grad_() for t in (x, weight)]

    def results() -> list[Tensor]:
        y = conv3x3_op(*given)
        return [y.detach(), *torch.autograd.grad(y, given, dy)]

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = results()
        for threads in (3, 8, 33):
            torch.set_num_threads(threads)
            assert all(map(torch.equal, alone, results())), threads
    finally:
        torch.set_num_threads(before)


def test_work_is_float32_whatever_the_default_type() -> None:
    """Half of its bytes would be written over by others."""
    x, weight, dy = inputs(Case(shape=(1, 32, 64, 9, 8)))
    torch.set_default_dtype(torch.bfloat16)
    try:
        work = winograd_cpu._work(x, 5)
        assert (work.dtype, work.numel()) == (torch.float32, 5)
        y = conv3x3_op(x, weight)
        _, dweight = conv3x3_backward_op(dy, x, weight, False, True)
    finally:
        torch.set_default_dtype(torch.float32)
    assert error(y, F.conv2d(x.double(), weight.double())) < ERROR[torch.float32]
    assert dweight.dtype == torch.float32


@pytest.mark.parametrize("dtype", dtypes())
def test_a_matrix_unit_is_left_as_it_was(dtype: torch.dtype) -> None:
    """PyTorch's own products, which set its tiles too, are the same in between."""
    x, weight, _ = inputs(Case(shape=(1, 32, 32, 20, 20), dtype=dtype))
    a = torch.randn(96, 96).to(dtype)
    before = a @ a
    y = conv3x3_op(x, weight)
    assert torch.equal(a @ a, before)
    assert torch.equal(conv3x3_op(x, weight), y)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", dtypes())
def test_what_is_not_a_number_stays_visible(dtype: torch.dtype, bad: float) -> None:
    x, weight, _ = inputs(Case(shape=(2, 32, 32, 12, 12), dtype=dtype))
    x[0, 3, 5, 5] = bad
    y = conv3x3_op(x, weight)
    assert not y[0, :, 3:6, 3:6].isfinite().any()
    assert y[1].isfinite().all()


def test_other_convolutions_are_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, _ = inputs(Case(shape=(1, 64, 64, 8, 8)))
    has = winograd_cpu.has_kernels
    assert has(x, weight)
    assert not has(x.contiguous(), weight)
    assert not has(x.double(), weight)
    assert not has(x[:, :32], weight[:, :33])
    assert not has(x, weight[:, :32])
    assert not has(x[:, :, :2].contiguous(memory_format=LAST), weight)
    assert not has(x, weight[:33])
    assert not has(x, torch.ones(64, 64, 4, 4))
    with torch.autocast("cpu", torch.bfloat16):
        assert not has(x, weight)  # PyTorch computes it in bfloat16
    monkeypatch.setattr(winograd_cpu, "LEAST_PIXELS", 65)
    assert not has(x, weight)
    monkeypatch.setattr(winograd_cpu, "LEAST_PIXELS", 64)
    monkeypatch.setattr(winograd_cpu, "LEAST_CHANNELS", dict.fromkeys(TILES, 65))
    assert not has(x, weight)


def test_a_weight_packed_for_something_else_is_refused() -> None:
    x, weight, _ = inputs(Case(shape=(1, 64, 32, 8, 8)))
    u = packed(weight)
    assert u is not None
    with pytest.raises(TensorError, match="64 channels and 64 outputs was expected, got 73728"):
        conv3x3_packed_op(x, u, 64)
    with pytest.raises(TensorError, match=r"packed for torch\.bfloat16"):
        conv3x3_packed_op(x.bfloat16(), u, 32)


def test_the_second_derivative() -> None:
    x, weight, _ = (t.requires_grad_() for t in inputs(Case()))

    def penalty(convolution: object, *given: Tensor) -> tuple[Tensor, ...]:
        y = convolution(*given).pow(3).sum()  # type: ignore[operator]
        gradients = torch.autograd.grad(y, given, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in gradients), given)

    found = penalty(conv3x3_op, x, weight)
    exact = penalty(F.conv2d, *(t.detach().double().requires_grad_() for t in (x, weight)))
    for one, other in zip(found, exact):
        assert error(one, other) < 1e-5


@pytest.mark.parametrize("dtype", dtypes())
def test_operators_keep_their_contracts(dtype: torch.dtype) -> None:
    x, weight, dy = inputs(Case(shape=(2, 64, 32, 6, 7), dtype=dtype))
    u = packed(weight.to(dtype))
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    for op, arguments in (
        (conv3x3_op, (x.clone().requires_grad_(), weight.clone().requires_grad_())),
        (conv3x3_op, (x, weight.contiguous())),
        (conv3x3_backward_op, (dy, x, weight, True, True)),
        (conv3x3_backward_op, (dy, x, weight.contiguous(), False, True)),
        (conv3x3_packed_op, (x, u, 32)),
    ):
        found = torch.library.opcheck(op, arguments, test_utils=tests)
        assert set(found.values()) == {"SUCCESS"}


@pytest.mark.parametrize("dtype", dtypes())
@pytest.mark.parametrize("prepared", [False, True])
def test_a_layer_runs_them(dtype: torch.dtype, prepared: bool) -> None:
    """And drops a bias, which the instance norm behind it takes away."""
    layer = Conv3x3(32, 64, norm="instance").to(dtype).to(memory_format=LAST)  # type: ignore[call-overload]
    x, _, _ = inputs(Case(dtype=dtype))
    exact = F.conv2d(x.double(), layer.weight.double())
    if prepared:
        layer.prepare()
        assert layer.packed is not None
    seen: list[str] = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    with torch.no_grad(), Watch():
        y = layer(x)
    assert seen == [f"cyclegan.conv3x3_cpu{'_packed' * prepared}.default"]
    assert error(y, exact) < ERROR[dtype]


def test_compiled_code_runs_them() -> None:
    layer = Conv3x3(32, 32, norm="none").to(memory_format=LAST)  # type: ignore[call-overload]
    x, _, _ = inputs(Case())
    seen: list[str] = []

    def look(graph: torch.fx.GraphModule, given: list[Tensor]) -> object:
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend=look)
    assert torch.equal(compiled(x), layer(x))
    assert any("conv3x3_cpu" in name for name in seen)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_transforms_of_functions_have_none_of_them() -> None:
    layer = Conv3x3(32, 32, norm="none").to(memory_format=LAST)  # type: ignore[call-overload]
    x, _, _ = inputs(Case())
    with torch.no_grad():
        y, along = torch.func.jvp(layer, (x,), (x,))
        torch.testing.assert_close(along, y)  # it is linear
        torch.testing.assert_close(torch.vmap(lambda one: layer(one[None])[0])(x), y)


def test_what_is_saved_may_be_laid_out_anew() -> None:
    """As by hooks that bring it elsewhere until the backward pass."""
    x, weight, dy = inputs(Case(shape=(2, 32, 64, 9, 8)))
    weight.requires_grad_()
    (wanted,) = torch.autograd.grad(F.conv2d(x, weight), weight, dy)
    with torch.autograd.graph.saved_tensors_hooks(torch.Tensor.contiguous, lambda kept: kept):
        y = conv3x3_op(x, weight)
    assert torch.equal(conv3x3_op(x.contiguous(), weight), y)
    (found,) = torch.autograd.grad(y, weight, dy)
    assert error(found, wanted.double()) < ERROR[torch.float32]


def test_an_export_has_none_of_them() -> None:
    layer: nn.Module = Conv3x3(32, 32, norm="none").to(memory_format=LAST)  # type: ignore[call-overload]
    x, _, _ = inputs(Case())
    program = torch.export.export(layer, (x,))
    assert not [n for n in program.graph.nodes if "cyclegan" in str(n.target)]


MUTATIONS = {
    "B of squares of two": ("{0, 1, 0, -1}}};", "{0, 1, 0, 1}}};"),
    "B of squares of four": ("{4, 0, -5, 0, 1, 0}", "{4, 0, -4, 0, 1, 0}"),
    "A of squares of four": ("{0, 1, -1, 8, -8, 1}", "{0, 1, -1, 8, -8, 0}"),
    "G of squares of four": ("1 / 24.f, 1 / 12.f", "1 / 24.f, 1 / 6.f"),
    "the last column counts as zero": ("x.has(row, column) ?", "x.has(row, column + 1) ?"),
    "the last row is not written": ("y.has(row + i, column", "y.has(row + i + 1, column"),
    "forgets the last squares": (
        "const Index count = std::min(BLOCK<Number>, squares.count - first)",
        "const Index count = std::min(BLOCK<Number>, squares.count - first) - 1",
    ),
    "a kernel that is not turned": ("+ 8) * c + channel, -3 * c, -c", ") * c + channel, 3 * c, c"),
    "forgets what other parts have left": ("begin > 0", "false"),
    "a square after the last": (
        "if (s < count) all[s]", "if (s <= count) all[s ? s - (s == count) : 0]"
    ),
    "only the first half of a panel": ("panel + DEPTH<Number>)", "panel)"),
    "blocks are not transposed": ("if constexpr (step > 1) turn<step / 2>(x);", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name: str, tmp_path: Path) -> None:
    with mutated(SOURCE, *MUTATIONS[name], tmp_path), pytest.raises(AssertionError):
        list(map(check, CASES.values()))


@pytest.mark.parametrize("dtype", dtypes())
def test_operations_are_counted_as_those_of_the_convolution(dtype: torch.dtype) -> None:
    x, weight, dy = (t.to(dtype) for t in inputs(Case(shape=(2, 64, 32, 6, 7), dtype=dtype)))
    u = packed(weight)
    forward = 2 * 2 * 4 * 5 * 32 * 64 * 9  # H and W of the result are 4 and 5
    for expected, call in (
        (forward, lambda: conv3x3_op(x, weight)),
        (forward, lambda: conv3x3_packed_op(x, u, 32)),
        (2 * forward, lambda: conv3x3_backward_op(dy, x, weight, True, True)),
    ):
        with FlopCounterMode(display=False) as counter:
            call()
        assert counter.get_total_flops() == expected
