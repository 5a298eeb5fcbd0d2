"""The networks under torch.compile, torch.export and ONNX export, and the kernels in a graph."""

import importlib.util
import os
import subprocess
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cyclegan.config import PatchConfig, ResnetConfig
from cyclegan.kernels import launch
from cyclegan.networks import PatchDiscriminator, ResnetGenerator

pytestmark = pytest.mark.filterwarnings("ignore")


def generator() -> ResnetGenerator:
    torch.manual_seed(0)
    return ResnetGenerator(ResnetConfig(width=4, blocks=1))


def discriminator() -> PatchDiscriminator:
    torch.manual_seed(0)
    return PatchDiscriminator(PatchConfig(width=4))


@pytest.mark.parametrize("build", [generator, discriminator])
def test_compiles_without_a_graph_break_forward_and_backward(build: Any) -> None:
    network = build().to(memory_format=torch.channels_last)
    x = torch.randn(1, 3, 32, 32).to(memory_format=torch.channels_last)
    compiled = torch.compile(network, fullgraph=True)
    eager_loss, loss = network(x).square().mean(), compiled(x).square().mean()
    assert torch.allclose(loss, eager_loss, rtol=1e-4)
    wanted = torch.autograd.grad(eager_loss, list(network.parameters()))
    found = torch.autograd.grad(loss, list(network.parameters()))
    scale = max(float(g.abs().max()) for g in wanted)
    for one, other in zip(found, wanted):
        assert float((one - other).abs().max()) < 1e-3 * scale


@pytest.mark.parametrize("build", [generator, discriminator])
def test_one_compilation_serves_every_size(build: Any) -> None:
    """Symbolic height and width, whose checks must not pin them to the first size.

    All are small: whether a picture is, PyTorch's own convolution asks.
    """
    from torch._dynamo.testing import CompileCounter

    torch._dynamo.reset()
    network, counter = build().eval(), CompileCounter()
    compiled = torch.compile(network, backend=counter, fullgraph=True, dynamic=True)
    with torch.no_grad():
        for height, width in ((32, 48), (64, 32), (40, 72), (56, 64)):
            x = torch.randn(1, 3, height, width)
            assert torch.equal(compiled(x), network(x))
    assert counter.frame_count == 1


def _operators(program: torch.export.ExportedProgram) -> Counter[str]:
    return Counter(str(n.target) for n in program.graph.nodes if n.op == "call_function")


@pytest.mark.parametrize("build", [generator, discriminator])
def test_export_sees_pytorchs_operators(build: Any) -> None:
    found = _operators(torch.export.export(build().eval(), (torch.randn(1, 3, 32, 32),)))
    assert not [name for name in found if not name.startswith("aten")]
    assert found["aten.instance_norm.default"] == (3 if build is discriminator else 7)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torchscript_sees_pytorchs_operators(dtype: torch.dtype) -> None:
    """And with it ONNX export without Dynamo, which knows no others."""
    last: Any = {"memory_format": torch.channels_last}
    x = torch.randn(1, 3, 32, 32, dtype=dtype).contiguous(**last)
    traced = torch.jit.trace(generator().eval().to(dtype).to(**last), x, check_trace=False)
    kinds = {node.kind() for node in traced.inlined_graph.nodes()}
    assert not [kind for kind in kinds if kind.startswith("cyclegan")]
    assert "aten::as_strided_scatter" not in kinds


def test_a_dynamic_batch_is_exported_without_bounds() -> None:
    sizes = ({0: torch.export.Dim("batch", max=1 << 20)},)
    x = torch.randn(2, 3, 16, 16)
    program = torch.export.export(generator().eval(), (x,), dynamic_shapes=sizes)
    assert program.module()(x[:1]).shape == (1, 3, 16, 16)
    assert [bounds.upper for bounds in program.range_constraints.values()] == [1 << 20]


def given_twice(kernel: torch.fx.Node) -> set[str]:
    """New tensors that a kernel gets as more than one argument.

    Inductor copies them: what is written under one name might be read under the other.
    """
    given = Counter(n for n in kernel.kwargs["kwargs"].values() if isinstance(n, torch.fx.Node))
    return {str(n) for n, count in given.items() if count > 1 and "empty" in str(n.target)}


class _Claims(nn.Module):
    """A network that says, while it is traced, whether the kernels would have taken it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 0 if launch.has_kernels(x) else x


def test_an_export_never_takes_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "INTERPRETED", True)
    monkeypatch.setattr(launch, "HAS_TRITON", True)
    x = torch.randn(2, 3)
    assert launch.has_kernels(x)
    assert torch.equal(torch.export.export(_Claims(), (x,)).module()(x), x)


def test_onnx_export_gives_standard_operators() -> None:
    pytest.importorskip("onnxscript")
    program = torch.onnx.export(
        generator().eval(), (torch.randn(1, 3, 32, 32),), dynamo=True, verbose=False
    )
    assert program is not None
    graph = program.model_proto.graph
    found = Counter(node.op_type for node in graph.node)
    assert {node.domain for node in graph.node} <= {"", "ai.onnx"}
    assert found["InstanceNormalization"] == 7
    modes = [a.s for n in graph.node if n.op_type == "Pad" for a in n.attribute if a.name == "mode"]
    assert modes == [b"reflect"] * 4
    assert found["Relu"] == 6


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
@pytest.mark.parametrize(("height", "width", "count"), [(180, 320, 4), (45, 80, 3)])
def test_a_traced_graph_holds_the_kernels_for_every_size_of_its_bucket(
    height: int, width: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traces what torch.compile sees on a GPU, on fake tensors of symbolic height and width."""
    from torch.fx.experimental.proxy_tensor import make_fx

    from cyclegan.kernels.instance_norm_ops import instance_norm_backward_op, instance_norm_op

    monkeypatch.setattr(launch, "device_guard", lambda x: nullcontext())
    monkeypatch.setattr(launch, "_arch", lambda device: "sm_90")

    def both(x: torch.Tensor, dz: torch.Tensor, dpadded: torch.Tensor) -> tuple[Any, ...]:
        x, dz, dpadded = (
            torch.empty(t.shape, dtype=torch.half, device="cuda", memory_format=torch.channels_last)
            for t in (x, dz, dpadded)
        )
        forward, backward = instance_norm_op._abstract_fn, instance_norm_backward_op._abstract_fn
        z, padded, mean, rstd = forward(x, None, None, x, 1e-5, "relu", 1, True)
        dx, _, dy = backward(dz, dpadded, x, mean, rstd, None, None, 1e-5, "relu", 1, True)
        return z, padded, dx, dy

    x, padded = torch.empty(2, 64, height, width), torch.empty(2, 64, height + 2, width + 2)
    graph = make_fx(both, tracing_mode="symbolic")(x, x.clone(), padded)
    kernels = [n for n in graph.graph.nodes if "triton_kernel_wrapper" in str(n.target)]
    assert len(kernels) == count, "statistics, apply, reduction, dx: no layout copies beside them"
    given = [n.kwargs["kwargs"] for n in kernels]
    sizes = [k[name] for k in given for name in ("H", "W", "pixels") if name in k]
    assert len(sizes) >= len(kernels)
    if count == 4:  # else a program holds the image, whatever its size
        sizes += [n.kwargs["grid"][0][0] for n in kernels]
    assert all(isinstance(size, torch.fx.Node) for size in sizes), "sizes were baked in"


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("pad", "unpadded"), [(0, False), (0, True), (1, False), (1, True)])
def test_no_kernel_gets_its_result_twice(
    pad: int, unpadded: bool, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    from cyclegan.kernels.instance_norm_ops import instance_norm_backward_op, instance_norm_op

    monkeypatch.setattr(launch, "device_guard", lambda x: nullcontext())
    monkeypatch.setattr(launch, "_arch", lambda device: "sm_90")
    if not whole:
        monkeypatch.setattr(launch, "WHOLE", 0)

    def both(x: torch.Tensor) -> Any:
        x, dz, dpadded = (
            torch.empty((1, 64, side, side), dtype=torch.half, device="cuda") * 2
            for side in (32, 32, 32 + 2 * pad)
        )
        forward, backward = instance_norm_op._abstract_fn, instance_norm_backward_op._abstract_fn
        made = forward(x, None, None, None, 1e-5, "relu", pad, unpadded)
        gradients = (dz if unpadded or not pad else None, dpadded if pad else None)
        return made, backward(*gradients, x, *made[2:], None, None, 1e-5, "relu", pad, False)

    graph = make_fx(both, tracing_mode="fake")(torch.ones(1))
    kernels = [n for n in graph.graph.nodes if "triton_kernel_wrapper" in str(n.target)]
    assert len(kernels) == 4 - whole
    assert not [given_twice(node) for node in kernels if given_twice(node)]


def test_torch_compile_is_no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where PyTorch says so, as it did before 2.13."""
    monkeypatch.setattr(launch, "INTERPRETED", True)
    monkeypatch.setattr(launch, "HAS_TRITON", True)
    x = torch.randn(2, 3)
    for always in (False, True):
        monkeypatch.setattr(launch, "DYNAMO_SAYS_EXPORT", always or launch.DYNAMO_SAYS_EXPORT)
        torch._dynamo.reset()
        compiled = torch.compile(_Claims(), backend="eager", fullgraph=True)
        assert torch.equal(compiled(x), x * 0)


@pytest.mark.usefixtures("operators")
def test_pytorch_finds_the_kernels_of_every_operator() -> None:
    """By the text of the operators; by what it finds, its caches notice that a kernel changed."""
    from torch._library.triton import get_triton_kernels_for_op

    def kernels(operator: str) -> set[str]:
        return {kernel.fn.__name__ for kernel in get_triton_kernels_for_op(f"cyclegan::{operator}")}

    assert kernels("instance_norm") == {
        "in_whole", "in_stats", "in_merge", "in_apply",
    }  # fmt: skip
    assert kernels("instance_norm_backward") == {"in_bwd_reduce", "in_merge", "in_bwd_dx"}
    assert kernels("reflection_pad") == {"pad_forward"}
    assert kernels("frames_to_tensor") == {"unpack_frames"}


WITHOUT_COMPILER = """
import logging
from types import SimpleNamespace
import torch
from cyclegan.kernels import launch

logging.basicConfig()
torch.cuda.is_available = lambda: True
on_a_gpu = SimpleNamespace(is_cuda=True, dtype=torch.float16)
assert not launch.has_kernels(on_a_gpu)
assert not launch.has_kernels(on_a_gpu)
print(launch.why_missing())
"""


@pytest.mark.skipif(not launch.HAS_TRITON, reason="without Triton there is nothing to compile")
def test_a_gpu_without_a_c_compiler_takes_pytorchs_operators(tmp_path: Path) -> None:
    """Triton's real attempt to compile its launcher; the GPU alone is pretended."""
    made = subprocess.run(
        [sys.executable, "-c", WITHOUT_COMPILER],
        env={
            **{name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"},
            "CC": "no-such-compiler",
            "TRITON_CACHE_DIR": str(tmp_path),
            "TRITON_LIBCUDA_PATH": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert "no-such-compiler" in made.stdout
    assert "install gcc" in made.stdout
    assert made.stderr.count("going on with PyTorch's operators") == 1


def test_kernels_in_the_interpreter_are_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """As PyTorch before 2.13 wants it, which refuses them."""

    def refuse(kernel: Any) -> Any:
        raise RuntimeError("wrap_triton only works on functions annotated with triton.jit")

    monkeypatch.setattr(launch, "INTERPRETED", True)
    monkeypatch.setattr(torch.library, "wrap_triton", refuse)
    kernel = object()
    assert launch.wrap_triton(kernel) is kernel
