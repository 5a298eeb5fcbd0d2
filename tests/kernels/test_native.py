"""The C++ kernels of the CPU, compiled and run."""

import functools
import logging
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as some
from native_sources import OTHER_CPUS, afresh, compiled_for, mutated
from torch import Tensor
from torch.autograd import forward_ad

from cyclegan.kernels import instance_norm, native
from cyclegan.kernels.reference import Activation, norm_reference

pytestmark = pytest.mark.skipif(
    shutil.which("g++") is None, reason="a C++ compiler is needed, and there is none"
)
LAST = torch.channels_last
SOURCE = "instance_norm_cpu"
ROUNDING = {torch.bfloat16: 4e-3, torch.float32: 1e-6}
"""Half a unit in the last place of bfloat16, and a little for gradients that are rounded twice; in
float32 a few roundings of sums."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One call of ``instance_norm``, and what its input looks like."""

    shape: tuple[int, int, int, int] = (1, 5, 6, 7)
    activation: Activation = "none"
    residual: bool = False
    affine: bool = False
    pad: int = 0
    unpadded: bool = False
    mean: float = 0.0
    std: float = 1.0
    dtype: torch.dtype = torch.bfloat16


CASES = {
    "plain": Case(),
    "relu then pad": Case(activation="relu", pad=2),
    "leaky, affine": Case(activation="leaky_relu", affine=True),
    "residual": Case(residual=True),
    "residual, z and pad": Case(residual=True, pad=1, unpadded=True),
    "everything": Case(activation="relu", affine=True, residual=True, pad=3, unpadded=True),
    "two images": Case(shape=(2, 3, 5, 5), activation="relu", pad=1),
    "vectors of channels and a rest": Case(shape=(2, 67, 5, 4), residual=True, pad=1),
    "large mean": Case(shape=(1, 4, 30, 40), mean=200.0, std=30.0),
    "one channel": Case(shape=(1, 1, 9, 7), activation="relu"),
    "one row": Case(shape=(1, 3, 1, 31)),
    "two pixels": Case(shape=(1, 3, 2, 1)),
    "every pixel mirrored": Case(shape=(1, 3, 3, 4), pad=2),
    "a variance below eps": Case(std=1e-3),
    "no images": Case(shape=(0, 3, 4, 4), pad=1),
}


@pytest.fixture(autouse=True)
def _written() -> Iterator[None]:
    """Memory is handed out full of NaN: what a kernel does not write shows."""
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Path]:
    """A cache of its own, in which nothing is compiled yet."""
    with afresh(tmp_path) as folder:
        yield folder


def normal(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    x = torch.randn(shape).to(dtype)
    return x.contiguous(memory_format=LAST) if len(shape) == 4 else x


def relative(got: Tensor, expected: Tensor) -> float:
    return distance(got, expected) / float(expected.detach().norm().clamp_min(1e-30))


def distance(got: Tensor, expected: Tensor) -> float:
    got, expected = got.detach(), expected.detach()
    assert got.shape == expected.shape
    if not got.isfinite().all():
        return float("inf")
    return float((got.double() - expected).norm())


def drawn(case: Case) -> dict[str, Tensor | None]:
    """Random tensors. None lies so near 0 before the activation that rounding decides for it."""
    c, dtype = case.shape[1], case.dtype
    while True:
        x = (normal(*case.shape).float() * case.std + case.mean).to(dtype)
        weight = normal(c, dtype=dtype) if case.affine else None
        bias = normal(c, dtype=dtype) if case.affine else None
        y = F.instance_norm(
            x.double(),
            weight=None if weight is None else weight.double(),
            bias=None if bias is None else bias.double(),
        )
        if not y.numel() or y.abs().min() > 1e-6:
            break
    residual = normal(*case.shape, dtype=dtype) if case.residual else None
    return {"x": x, "weight": weight, "bias": bias, "residual": residual}


def check(case: Case, *, small: float | None = None) -> None:
    """Results and all gradients agree with float64.

    small: how much smaller than what they are the difference of gradients may be. float32 has no
    digits below.
    """
    dtype, given = case.dtype, drawn(case)
    settings = {"activation": case.activation, "pad": case.pad, "unpadded": case.unpadded}
    ours = {k: None if t is None else t.clone().requires_grad_() for k, t in given.items()}
    true = {k: None if t is None else t.double().requires_grad_() for k, t in given.items()}
    assert native.has_norm_kernels(given["x"])  # type: ignore[arg-type]
    got = instance_norm(**ours, **settings)  # type: ignore[arg-type]
    expected = norm_reference(**true, eps=1e-5, **settings)  # type: ignore[arg-type]
    pairs = list(zip(*(t if isinstance(t, tuple) else (t,) for t in (got, expected))))
    pairs = pairs if case.pad else pairs[:1]
    dz = [normal(*one.shape, dtype=dtype) for one, _ in pairs]
    found = torch.autograd.grad(
        [one for one, _ in pairs], [t for t in ours.values() if t is not None], dz
    )
    wanted = torch.autograd.grad(
        [other for _, other in pairs],
        [t for t in true.values() if t is not None],
        [g.double() for g in dz],
    )
    for one, other in pairs:
        assert one.is_contiguous(memory_format=LAST)
        assert one.dtype == dtype
        assert relative(one, other) < ROUNDING[dtype]
    x = true["x"].detach()  # type: ignore[union-attr]
    rstd = (x.var((2, 3), correction=0) + 1e-5).rsqrt().max() if x.numel() else torch.ones(())
    if small is None:
        small = 1e-6 if dtype == torch.float32 else 0.0
    terms = small * rstd * max(g.double().norm() for g in dz)
    for one, other in zip(found, wanted):
        assert one.dtype == dtype
        assert distance(one, other) <= 2 * ROUNDING[dtype] * other.norm() + terms


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_float64(name: str, dtype: torch.dtype) -> None:
    check(replace(CASES[name], dtype=dtype))


@given(
    shape=some.tuples(*(some.integers(1, m) for m in (2, 40, 9, 9))).filter(
        lambda s: s[2] * s[3] > 3
    ),
    activation=some.sampled_from(["none", "relu", "leaky_relu"]),
    flags=some.tuples(*[some.booleans()] * 3),
    pad=some.integers(0, 3),
    dtype=some.sampled_from(list(ROUNDING)),
    seed=some.integers(0, 2**32 - 1),
)
def test_agrees_with_float64_whatever_the_shape(
    shape: tuple[int, int, int, int],
    activation: Activation,
    flags: tuple[bool, bool, bool],
    pad: int,
    dtype: torch.dtype,
    seed: int,
) -> None:
    torch.manual_seed(seed)  # so that a failure can be repeated
    residual, affine, unpadded = flags
    check(
        Case(
            shape=shape, activation=activation, residual=residual, affine=affine,
            pad=min(pad, min(shape[2:]) - 1), unpadded=unpadded, dtype=dtype,
        )
    )  # fmt: skip


@pytest.mark.parametrize("name", OTHER_CPUS)
def test_agrees_as_compiled_for_other_cpus(name: str, tmp_path: Path) -> None:
    """In bfloat16 too sums are of float32, whose last digits differ from CPU to CPU."""
    with compiled_for(name, tmp_path):
        for case in CASES.values():
            check(case, small=1e-6)
            check(replace(case, dtype=torch.float32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_vectors_are_used_on_cpus_without_avx512(dtype: torch.dtype, tmp_path: Path) -> None:
    """Number by number, as GCC once compiled it, a norm took longer than PyTorch's."""
    x = normal(1, 256, 64, 64, dtype=dtype)

    def seconds(norm: Callable[..., object]) -> float:
        taken = []
        for _ in range(9):
            start = time.perf_counter()
            norm(x, activation="relu", pad=1)
            taken.append(time.perf_counter() - start)
        return min(taken)

    with compiled_for("AVX2", tmp_path):
        ours = seconds(instance_norm)
    none = {"weight": None, "bias": None, "residual": None, "unpadded": False}
    theirs = seconds(functools.partial(norm_reference, eps=1e-5, **none))
    assert ours < theirs


def test_threads_do_not_change_a_bit() -> None:
    def results() -> list[Tensor]:
        x = x0.clone().requires_grad_()
        y = instance_norm(x, activation="relu", pad=2)
        return [y.detach(), *torch.autograd.grad(y, x, dy)]

    x0, dy, before = normal(2, 20, 33, 17), normal(2, 20, 37, 21), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = results()
        torch.set_num_threads(4)
        assert all(map(torch.equal, alone, results()))
    finally:
        torch.set_num_threads(before)


def test_the_default_type_is_no_matter() -> None:
    """float64: a narrower one would end the process where it does matter."""

    def results() -> list[Tensor]:
        x = given.clone().requires_grad_()
        y = instance_norm(x, activation="relu", pad=1)
        return [y.detach(), *torch.autograd.grad(y, x, dy)]

    given, dy = normal(1, 67, 9, 8, dtype=torch.float32), normal(1, 67, 11, 10, dtype=torch.float32)
    usual = results()
    torch.set_default_dtype(torch.float64)
    try:
        assert all(map(torch.equal, results(), usual))
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("view", ["part", "expanded", "contiguous", "float32"])
def test_gradients_and_residuals_of_every_layout(view: str) -> None:
    def seen(x: Tensor) -> Tensor:
        return {
            "part": torch.cat([x, x], dim=1)[:, :8],
            "expanded": x[:, :, :1, :1].expand_as(x),
            "contiguous": x.contiguous(),
            "float32": x.float(),
        }[view]

    def results(change: Callable[[Tensor], Tensor]) -> list[Tensor]:
        x = given.clone().requires_grad_()
        y = instance_norm(x, residual=change(residual))
        return [y.detach(), *torch.autograd.grad(y, x, change(dy).to(y.dtype))]

    given, residual, dy = (normal(2, 8, 5, 6) for _ in range(3))
    plain = results(lambda t: seen(t).bfloat16().clone(memory_format=LAST))
    assert all(map(torch.equal, results(seen), plain))


@pytest.mark.parametrize("value", [100.0, 1e4])
def test_a_first_pixel_unlike_all_others_costs_few_digits(value: float) -> None:
    x = normal(1, 3, 200, 100, dtype=torch.float32)
    x[:, :, 0, 0] = value
    exact = norm_reference(x.double(), None, None, 1e-5, "none", None, 0, False)
    assert isinstance(exact, Tensor)
    assert relative(instance_norm(x), exact) < 1e-4


def test_an_edge_unlike_a_flat_rest_costs_few_digits() -> None:
    """As a captured picture has, and every one of a single colour after a convolution of zeros."""
    x = normal(1, 16, 1, 1, dtype=torch.float32).repeat(1, 1, 32, 2048)
    x[..., 0] *= 0.6
    exact = norm_reference(x.double(), None, None, 1e-5, "none", None, 0, False)
    assert isinstance(exact, Tensor)
    assert relative(instance_norm(x.contiguous(memory_format=LAST)), exact) < 3e-5


def test_a_new_thread_starts_no_more_than_it_may() -> None:
    """Of processes as many threads as PyTorch was told, whichever of Python's threads calls."""
    script = """if True:
        import os, threading, torch
        from cyclegan.kernels import instance_norm
        def norm():
            before = len(os.listdir("/proc/self/task"))
            instance_norm(x)
            assert len(os.listdir("/proc/self/task")) == before
            done.append(True)
        x = torch.ones(1, 64, 64, 64).contiguous(memory_format=torch.channels_last)
        torch.set_num_threads(1)
        done = []
        thread = threading.Thread(target=norm)
        thread.start()
        thread.join()
        assert done
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "3"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_a_number_stays_visible(bad: float) -> None:
    x = normal(1, 3, 4, 4)
    x[0, 1, 2, 2] = bad
    y = instance_norm(x, activation="relu")
    assert y[0, 1].isnan().all()
    assert y[0, [0, 2]].isfinite().all()


def test_other_tensors_are_left_to_pytorch() -> None:
    x = normal(2, 3, 4, 4)
    for other in (x.contiguous(), x.half(), x.double(), x[:, :, ::2]):
        assert not native.has_norm_kernels(other)
        assert torch.equal(instance_norm(other), norm_reference(
            other, None, None, 1e-5, "none", None, 0, False))  # fmt: skip


def test_the_second_derivative() -> None:
    """What a gradient penalty asks for."""
    given = normal(1, 3, 5, 5)

    x = given.clone().requires_grad_()
    cubed = instance_norm(x, activation="leaky_relu").pow(3).sum()
    (dx,) = torch.autograd.grad(cubed, x, create_graph=True)
    (found,) = torch.autograd.grad(dx.square().sum(), x)
    true = given.double().requires_grad_()
    cubed = norm_reference(true, None, None, 1e-5, "leaky_relu", None, 0, False).pow(3).sum()  # type: ignore[union-attr]
    (dx,) = torch.autograd.grad(cubed, true, create_graph=True)
    (wanted,) = torch.autograd.grad(dx.square().sum(), true)
    assert found.dtype == torch.bfloat16
    assert relative(found, wanted) < 0.05


@pytest.mark.filterwarnings("ignore")
def test_operators_keep_their_contracts() -> None:
    x, w = normal(2, 3, 5, 6).requires_grad_(), normal(3).requires_grad_()
    mean, rstd, padded = torch.zeros(2, 3), torch.ones(2, 3), normal(2, 3, 9, 10)
    ops = torch.ops.cyclegan
    given = x.detach().clone()
    for op, arguments in (
        (ops.instance_norm_cpu.default, (x, w, w, given, 1e-5, "relu", 2, True)),
        (ops.instance_norm_cpu.default, (x, None, None, None, 1e-5, "none", 0, False)),
        (
            ops.instance_norm_cpu_backward.default,
            (given, padded, given, mean, rstd, None, None, 1e-5, "relu", 2, True),
        ),
    ):
        tests = ("test_schema", "test_autograd_registration", "test_faketensor")
        assert set(torch.library.opcheck(op, arguments, test_utils=tests).values()) == {"SUCCESS"}


def test_compiled_code_runs_them() -> None:
    def call(x: Tensor) -> Tensor:
        y: Tensor = instance_norm(x * 2, activation="relu", pad=1)
        return y

    seen: list[str] = []

    def look(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    x = normal(1, 4, 6, 6)
    torch._dynamo.reset()
    compiled = torch.compile(call, fullgraph=True, backend=look)
    assert torch.equal(compiled(x), call(x))
    assert any("instance_norm_cpu" in name for name in seen)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_transforms_of_functions_have_none_of_them() -> None:
    """A derivative along a direction would be zeros, and the others would be refused."""

    def cubes(x: Tensor) -> Tensor:
        y: Tensor = instance_norm(x, activation="leaky_relu").pow(3).sum()
        return y

    x, direction = normal(2, 4, 6, 5, dtype=torch.float32), normal(2, 4, 6, 5, dtype=torch.float32)
    given = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(cubes(given), given)
    along = torch.func.jvp(cubes, (x,), (direction,))[1]
    close = functools.partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)
    close(along, (expected * direction).sum())
    with forward_ad.dual_level():
        y = cubes(forward_ad.make_dual(x, direction))
        close(forward_ad.unpack_dual(y).tangent, along)
    close(torch.func.grad(cubes)(x), expected)
    each = torch.vmap(lambda one: cubes(one[None]))(x)
    close(each.sum(), cubes(x))


def _along(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    derivative: Tensor = torch.func.jvp(function, (x,), (x.cos(),))[1]
    return derivative


def _along_dual(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with forward_ad.dual_level():
        y = function(forward_ad.make_dual(x, x.cos()))
        tangent: Tensor = forward_ad.unpack_dual(y).tangent
        return tangent


def _slope(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    slope: Tensor = torch.func.grad(lambda x: function(x).sum())(x)
    return slope


def _each(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.vmap(lambda one: function(one[None]))(x)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
@pytest.mark.parametrize("transform", [_along, _along_dual, _slope, _each])
def test_compiled_transforms_have_none_of_them_and_plain_graphs_have(
    transform: Callable[..., Tensor],
) -> None:
    """Whichever of them is compiled first, and whether the function or all of it is compiled."""

    def cubes(x: Tensor) -> Tensor:
        y: Tensor = instance_norm(x, activation="leaky_relu").pow(3)
        return y

    ours: list[bool] = []

    def look(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        ours.append(any("cyclegan" in str(node.target) for node in graph.graph.nodes))
        return graph.forward

    x = normal(2, 4, 6, 5, dtype=torch.float32)
    close = functools.partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)
    wanted = transform(cubes, x)
    torch._dynamo.reset()
    close(torch.compile(transform, backend=look)(cubes, x), wanted)
    assert ours == [False]
    for plain_first in (True, False):
        torch._dynamo.reset()
        ours.clear()
        compiled = torch.compile(cubes, backend=look)
        if plain_first:
            close(compiled(x), cubes(x))
            assert ours == [True]
        close(transform(compiled, x), wanted)
        close(compiled(x), cubes(x))


def test_an_export_has_none_of_them() -> None:
    class Norm(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = instance_norm(x)
            return y

    program = torch.export.export(Norm(), (normal(1, 4, 6, 6),))
    assert not [n for n in program.graph.nodes if "cyclegan" in str(n.target)]


def compiler(folder: Path, does: str) -> Path:
    """A program in place of the compiler, which notes its calls in ``calls``."""
    program = folder / "compiler"
    program.write_text(f'#!/bin/sh\necho "$@" >> {folder}/calls\n{does}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


@pytest.fixture(scope="module")
def makes() -> str:
    """What a compiler of :func:`compiler` does that makes the library at once: seconds of g++ show
    nothing where it only counts whether a library was made."""
    ready = native._compiled(SOURCE, native._compiler() or ())
    return f'for last; do :; done; case "$*" in *" -o "*) cp "{ready}" "$last";; esac'


def test_they_are_compiled_once(
    makes: str, fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(compiler(tmp_path, makes)))
    for _ in range(2):
        native._made.cache_clear()  # as in the next process
        assert native.library(SOURCE) is not None
    assert [path.suffix for path in fresh.iterdir()] == [".so"]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [("-o" in call) for call in calls] == [False, True, False]


@pytest.mark.parametrize("damage", ["cut short", "changed", "empty"])
def test_a_damaged_one_is_compiled_again(
    damage: str, makes: str, fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own: a library that was cut short would end this one."""
    monkeypatch.setenv("CXX", str(compiler(tmp_path, makes)))
    look = "from cyclegan.kernels import native; assert native.library('instance_norm_cpu')"
    assert native.library(SOURCE) is not None
    (path,) = fresh.iterdir()
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.unlink()  # this process has it in use
    path.write_bytes(
        {
            "cut short": whole[:middle],
            "changed": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "empty": b"",
        }[damage]
    )
    subprocess.run([sys.executable, "-c", look], check=True)
    assert native._whole(path)
    assert (tmp_path / "calls").read_text().count(" -o ") == 2


def test_the_compiler_may_have_arguments(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = compiler(tmp_path, 'shift; exec g++ "$@"')
    monkeypatch.setenv("CXX", f"{program} first")
    assert native.library(SOURCE) is not None
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["first", "first"]


@pytest.mark.parametrize(
    ("does", "message"),
    [
        ("echo >&2; exit 4", "status 4"),
        (r"printf '\377 is broken' >&2; exit 1", "is broken"),
        ("echo it is broken >&2; exit 1", "it is broken"),
        (r"printf 'included from x\nx.h: error: no y\n' >&2; exit 1", "x.h: error: no y"),
        ("exit 3", "status 3"),
        ('case "$*" in *-o*) for last; do :; done; echo no library > "$last";; esac', ".so: "),
    ],
)
def test_without_them_everything_goes_on(
    does: str,
    message: str,
    fresh: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("CXX", str(compiler(tmp_path, does)))
    x = normal(1, 3, 4, 4)
    with caplog.at_level(logging.WARNING):
        found = instance_norm(x)
        instance_norm(x)
    assert torch.equal(
        found,
        norm_reference(x, None, None, 1e-5, "none", None, 0, False),  # type: ignore[arg-type]
    )
    (record,) = caplog.records
    assert message in record.getMessage()
    assert "instance_norm_cpu.cpp" in record.getMessage()


def test_without_a_place_for_them_everything_goes_on(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where there is little besides PyTorch: what finds the user's cache folder is absent."""
    monkeypatch.delenv("CYCLEGAN_CACHE")
    monkeypatch.setitem(sys.modules, "platformdirs", None)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        assert not native.has_norm_kernels(normal(1, 3, 4, 4))
    expected = "platformdirs, which says where caches are, is missing: install it, or set CYCLEGAN_"
    assert expected in str(native.why_missing())
    assert expected in caplog.text


def test_without_a_compiler_nothing_is_said(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not native.has_norm_kernels(normal(1, 3, 4, 4))
    assert native.why_missing() == "no C++ compiler: CXX is 'no-such-compiler', and not there"
    assert not caplog.records


MUTATIONS = {
    "rounds down": ("+ 0x7fff + ((bits >> 16) & 1)", ""),
    "repeats edges": ("std::abs(i - pad);", "std::abs(i - pad) - (i < pad);"),
    "misses a corner": ("j < columns.count", "j < (i ? 1 : columns.count)"),
    "misses the last row's images": ("n - 1 - pad <= i && i <= n - 2", "false"),
    "unbiased variance": ("squares[k] / (h * w)", "squares[k] / (h * w - 1)"),
    "rows of one mean": (" + spread * apart * apart", ""),
    "the mean of the last row": ("mean[k] += share * apart", "mean[k] += apart"),
    "no eps": (" + eps)", ")"),
    "the mean of the first image": ("float *m = mean + i * c,", "float *m = mean,"),
    "pieces of one mean": (" + before * share * apart * apart", ""),
    "the mean of the last piece": ("mean += share * apart", "mean += apart"),
    "forgets a row": ("row = 0; row < s.h; ++row, partial", "row = 1; row < s.h; ++row, partial"),
    "no activation in the gradient": ("norm.activated(norm.scaled(xhat, k), d)", "d"),
    "no first sum": ("(read<V>(t1 + k) + xhat", "(xhat"),
    "no second sum": (" + xhat * read<V>(t2 + k)", ""),
    "no gamma in the gradient": ("read<V>(gamma + k) * read<V>(norm.rstd", "read<V>(norm.rstd"),
    "forgets dz": ("if (dz) from", "if (false) from"),
    "residual before the activation": (
        "const V active = norm.activated(y, y);",
        "const V all = rp ? y + read<V>(rp + k) : y;"
        " const V active = norm.activated(all, all) - (rp ? read<V>(rp + k) : V{});",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name: str, tmp_path: Path) -> None:
    with mutated(SOURCE, *MUTATIONS[name], tmp_path), pytest.raises(AssertionError):
        list(map(check, CASES.values()))
