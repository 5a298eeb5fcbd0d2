"""What Inductor makes of the kernels, as far as it goes without a GPU: everything but the running.

A CPU's tensors claim that kernels run on them, and Triton that there is an H100. Inductor then sees
what it would see on a GPU, and its code is read instead of run. This looks into Inductor itself, so
it is for the version of PyTorch that this project is developed with.
"""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

triton = pytest.importorskip("triton")

from cyclegan.config import CycleGANConfig, PatchConfig, ResnetConfig  # noqa: E402
from cyclegan.kernels import launch  # noqa: E402
from cyclegan.model import CycleGAN  # noqa: E402
from cyclegan.networks import ResnetGenerator  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        not torch.__version__.startswith("2.13."), reason="reads the Inductor of PyTorch 2.13"
    ),
]
SMALL = ResnetConfig(width=8, blocks=1)


class Compiled:
    """Of all graphs together: our kernels, and what Inductor puts beside them."""

    def __init__(self) -> None:
        self.kernels: Counter[str] = Counter()
        self.copied: list[str] = []
        """Tensors that are copied before a kernel writes to them."""
        self.filled: list[str] = []
        """Loops that only write: memory that did not need to be initialised."""
        self.analysed = 0
        """Kernels that Triton translated to see what they write."""

    def look(self, graph: torch.fx.Graph) -> None:
        from torch._higher_order_ops.triton_kernel_wrap import kernel_side_table

        for node in graph.nodes:
            if "triton_kernel_wrapper_functional" in str(node.target):
                kernel: Any = kernel_side_table.get_kernel(node.kwargs["kernel_idx"])
                self.kernels[kernel.fn.__name__] += 1
                self.copied += node.kwargs["tensors_to_clone"]

    def read(self, code: str) -> None:
        # Loops are named after the operators that they compute.
        self.filled += re.findall(r"^ +cpp_fused_\d+\(", code, re.MULTILINE)


def _like(output: Any) -> torch.Tensor | None:
    """What a graph gives, but for its numbers."""
    if "None" in type(output).__name__:
        return None
    size, stride = ([int(n) for n in get()] for get in (output.get_size, output.get_stride))
    return torch.empty_strided(size, stride, dtype=output.get_dtype())


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Compiled]:
    import torch._inductor.config as inductor
    import torch._inductor.cpu_vec_isa as cpu
    import torch._inductor.fx_passes.post_grad as post_grad
    from torch._higher_order_ops import triton_kernel_wrap
    from torch._inductor.graph import GraphLowering
    from triton.backends.compiler import GPUTarget

    found = Compiled()
    launch.register_operators()
    monkeypatch.setattr(launch, "has_kernels", lambda x, *_: not launch.is_exporting())
    monkeypatch.setattr(launch, "device_guard", lambda x: nullcontext())
    monkeypatch.setattr(launch, "_arch", lambda device: "sm_90")
    decompose = post_grad.decompose_triton_kernel_wrapper_functional

    def looked_at(graph: torch.fx.Graph) -> Any:
        found.look(graph)
        return decompose(graph)

    generate = triton_kernel_wrap.generate_ttir

    def counted(*arguments: Any) -> Any:
        found.analysed += 1
        return generate(*arguments)

    monkeypatch.setattr(triton_kernel_wrap, "generate_ttir", counted)
    monkeypatch.setattr(post_grad, "decompose_triton_kernel_wrapper_functional", looked_at)

    def read_instead(self: GraphLowering) -> Any:
        found.read(self.codegen()[0].value)
        made = [_like(out) for out in self.graph_outputs]
        self.cache_key, self.cache_path, self.cache_linemap = "read", str(tmp_path / "read.py"), []
        (tmp_path / "read.py").touch()
        return SimpleNamespace(call=lambda inputs: made, __file__=self.cache_path)

    monkeypatch.setattr(GraphLowering, "compile_to_module", read_instead)
    # Norms of both kinds: in splits those of 32x32 pixels, in one launch the others.
    monkeypatch.setattr(launch, "WHOLE", 256)
    # Nothing is run here, so no compiler need be asked what this CPU has.
    monkeypatch.setattr(cpu, "valid_vec_isa_list", list)
    target = GPUTarget("cuda", 90, 32)
    driver = SimpleNamespace(
        get_current_target=lambda: target, get_current_device=lambda: 0,
        get_active_torch_device=lambda: torch.device("cpu"),
    )  # fmt: skip
    triton.runtime.driver.set_active(driver)
    torch._dynamo.reset()
    with inductor.patch(force_disable_caches=True, compile_threads=1):
        yield found
    torch._dynamo.reset()
    triton.runtime.driver.set_active(None)


def test_nothing_is_copied_or_filled_around_the_kernels_of_a_forward(compiled: Compiled) -> None:
    network = ResnetGenerator(SMALL).eval().to(memory_format=torch.channels_last)
    run = torch.compile(network, fullgraph=True, dynamic=False)
    with torch.inference_mode():
        run(torch.randn(1, 3, 32, 32))
    assert compiled.kernels == {"pad_forward": 1, "in_stats": 2, "in_apply": 2, "in_whole": 5}
    assert compiled.copied == compiled.filled == []


def test_nothing_is_copied_or_filled_around_the_kernels_of_a_step(compiled: Compiled) -> None:
    config = CycleGANConfig(
        precision="bfloat16", generator=SMALL, discriminator=PatchConfig(width=8, layers=1)
    )
    model = CycleGAN(config)
    model.compile()
    real_a, real_b = torch.rand(2, 1, 3, 32, 32) * 2 - 1
    made = model._generator_phase(real_a, real_b)
    made.losses.sum().backward()
    fakes = made.fake_a.detach(), made.fake_b.detach()
    model._discriminator_phase(real_a, real_b, *fakes).sum().backward()
    kernels = compiled.kernels
    # Three calls of a generator, four of a discriminator.
    assert kernels["in_stats"] == kernels["in_apply"] == 3 * 2
    assert kernels["in_whole"] == 3 * 5 + 4 * 1
    assert kernels["in_bwd_reduce"] == kernels["in_bwd_dx"] == 3 * 7 + 4 * 1
    assert 0 < compiled.analysed < kernels.total(), "without memory three to four times a launch"
    assert compiled.copied == compiled.filled == []
