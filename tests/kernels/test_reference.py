"""The public functions without a GPU: PyTorch's own numbers, and an answer to every bad input."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan.errors import FrameError, TensorError
from cyclegan.kernels import (
    FramesToTensor,
    InstanceNormAct,
    ReflectionPad,
    TensorToFrames,
    TensorToYuv,
    YuvToTensor,
    finish,
    frames_to_tensor,
    instance_norm,
    launch,
    reflection_pad2d,
    tensor_to_frames,
    tensor_to_yuv,
    yuv_to_tensor,
)

X = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))


def test_modules_of_pixels_are_their_functions() -> None:
    frames = torch.randint(0, 256, (2, 6, 8, 3), dtype=torch.uint8)
    between = torch.nn.Sequential(FramesToTensor(torch.float32), torch.nn.Tanh(), TensorToFrames())
    x = frames_to_tensor(frames, torch.float32)
    assert FramesToTensor()(frames).dtype == torch.float16
    assert torch.equal(between(frames), tensor_to_frames(torch.tanh(x)))
    coding = {"matrix": "bt2020", "full_range": True}
    for bits in (8, 10):
        planes = TensorToYuv(bits=bits, **coding)(x)  # type: ignore[arg-type]
        expected = tensor_to_yuv(x, bits=bits, **coding)  # type: ignore[arg-type]
        assert all(map(torch.equal, planes, expected))
        back = YuvToTensor(dtype=torch.float32, **coding)(*planes)  # type: ignore[arg-type]
        assert torch.equal(back, yuv_to_tensor(*planes, dtype=torch.float32, **coding))  # type: ignore[arg-type]


def test_numbers_are_pytorchs_own() -> None:
    expected = F.instance_norm(X)
    assert torch.equal(instance_norm(X), expected)
    assert torch.equal(instance_norm(X, activation="relu"), F.relu(expected))
    z, padded = instance_norm(X, activation="leaky_relu", residual=X, pad=2, unpadded=True)
    assert torch.equal(z, F.leaky_relu(expected, 0.2) + X)
    assert torch.equal(padded, F.pad(z, (2, 2, 2, 2), mode="reflect"))
    assert torch.equal(reflection_pad2d(X, 2), F.pad(X, (2, 2, 2, 2), mode="reflect"))
    assert torch.equal(reflection_pad2d(X, (5, 0, 1, 3)), F.pad(X, (5, 0, 1, 3), mode="reflect"))


FLOATS = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


@pytest.mark.parametrize("beside", FLOATS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_result_has_the_dtype_of_x(dtype: torch.dtype, beside: torch.dtype) -> None:
    x, residual = X.to(dtype), X.to(beside, copy=True).requires_grad_()
    gamma = torch.ones(3, dtype=beside)
    z, padded = instance_norm(
        x, gamma, gamma - 1, activation="relu", residual=residual, pad=1, unpadded=True
    )
    assert z.dtype == padded.dtype == finish(x, residual=residual).dtype == dtype
    wanted = F.relu(F.instance_norm(x.double())) + residual.double()
    assert torch.allclose(z.double(), wanted, atol=0.05)
    z.sum().backward()
    assert residual.grad is not None
    assert residual.grad.dtype == beside


@pytest.mark.parametrize("dtype", FLOATS[:3])
def test_autocast_leaves_the_dtype_of_x(dtype: torch.dtype) -> None:
    x = X.to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        z, padded = instance_norm(x, activation="relu", residual=x, pad=1, unpadded=True)
        assert z.dtype == padded.dtype == reflection_pad2d(x, 1).dtype == dtype


def test_one_dtype_is_not_converted() -> None:
    traced = torch.export.export(_Finish(), (X, X)).graph.nodes
    assert [str(n.target) for n in traced if n.op == "call_function"] == [
        "aten.relu.default", "aten.add.Tensor", "aten.pad.default",
    ]  # fmt: skip


class _Finish(torch.nn.Module):
    def forward(self, z: Tensor, residual: Tensor) -> Tensor:
        finished = finish(z, "relu", residual)
        assert isinstance(finished, Tensor)
        return reflection_pad2d(finished, 1)


def test_modules() -> None:
    norm = InstanceNormAct(3, affine=True, activation="relu", pad=1)
    assert set(norm.state_dict()) == {"weight", "bias"}
    assert not InstanceNormAct(3).state_dict()
    assert torch.equal(norm(X), ReflectionPad(1)(F.relu(F.instance_norm(X))))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_gradient_is_right_in_every_layout(batch: int, layout: torch.memory_format) -> None:
    """PyTorch's own is wrong for one image and a channels-last gradient."""
    x = X[:batch].contiguous(memory_format=layout).requires_grad_()
    true = x.detach().double().contiguous().requires_grad_()
    g = torch.randn(x.shape).contiguous(memory_format=layout)
    (found,) = torch.autograd.grad(instance_norm(x), x, g)
    variance, mean = torch.var_mean(true, (2, 3), correction=0, keepdim=True)
    (wanted,) = torch.autograd.grad((true - mean) / (variance + 1e-5).sqrt(), true, g.double())
    assert torch.allclose(found.double(), wanted, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_statistics_of_half_precision_are_float32(dtype: torch.dtype) -> None:
    """Far from 0, where a mean that is rounded to ``dtype`` is off by a part of the deviation."""
    x = (X.repeat(1, 1, 8, 8) + 100).to(dtype).requires_grad_()
    true = x.detach().double().requires_grad_()
    z, exact = instance_norm(x), F.instance_norm(true)
    assert (z.double() - exact).abs().max() < torch.finfo(dtype).eps * exact.abs().max()
    half = torch.sigmoid(X.repeat(1, 1, 8, 8)).to(dtype)
    (found,), (wanted,) = (
        torch.autograd.grad(y, of, half.to(y.dtype)) for y, of in ((z, x), (exact, true))
    )
    assert (found.double() - wanted).abs().max() < torch.finfo(dtype).eps * wanted.abs().max()


def test_an_exported_norm_of_half_precision_is_one_operator() -> None:
    norm = InstanceNormAct(3, affine=True).half()
    traced = torch.export.export(norm, (X.half(),)).graph.nodes
    found = [str(node.target) for node in traced if node.op == "call_function"]
    assert found == ["aten.instance_norm.default"]


LONG = 1 << 15  # squared, one pixel too many to count


def huge(*shape: int) -> Tensor:
    """A tensor of any size, without memory."""
    return torch.empty(shape, device="meta")


def test_the_largest_sizes_are_taken() -> None:
    x = huge(65535, 1, LONG - 1, LONG - 2)
    assert reflection_pad2d(x, (1, 0, 0, 0)).shape[2:] == (LONG - 1, LONG - 1)


BAD = {
    "not four dimensions": (lambda: instance_norm(X[0]), r"\(3, 5, 6\)"),
    "one pixel": (lambda: instance_norm(X[:, :, :1, :1]), r"\(2, 3, 1, 1\)"),
    "integers": (lambda: instance_norm(X.long()), "int64"),
    "eight bits": (
        lambda: instance_norm(X.to(torch.float8_e4m3fn)),
        r"float8_e4m3fn \(2, 3, 5, 6\); expected .*16, 32 or 64 bits",
    ),
    "weight of integers": (lambda: instance_norm(X, torch.ones(3).int()), r"weight is .*int32"),
    "bias of integers": (lambda: instance_norm(X, None, torch.ones(3).int()), r"bias is .*int32"),
    "negative eps": (lambda: instance_norm(X, eps=-1.0), "eps is -1.0"),
    "an eps of 0": (lambda: instance_norm(X, eps=0), "eps is 0; expected .* above 0"),
    "an eps that float32 has not": (lambda: instance_norm(X, eps=1e-46), r"from 1\.18e-38"),
    "no eps": (lambda: instance_norm(X, eps=float("nan")), "eps is nan"),
    "two pads": (lambda: reflection_pad2d(X, (1, 2)), r"\(1, 2\) for \(2, 3, 5, 6\)"),  # type: ignore[arg-type]
    "residual of integers": (
        lambda: instance_norm(X, residual=X.int()),
        r"residual is torch.int32 .*expected floating",
    ),
    "residual of integers after another norm": (
        lambda: finish(X, residual=X.long()),
        r"int64 .*expected floating",
    ),
    "pad of integers": (
        lambda: reflection_pad2d(X.byte(), 1),
        r"uint8 \(2, 3, 5, 6\); expected floating",
    ),
    "pad as large as the picture": (lambda: instance_norm(X, pad=5), r"\(2, 3, 5, 6\)"),
    "negative pad": (lambda: instance_norm(X, pad=-1), "-1"),
    "residual of another shape": (lambda: instance_norm(X, residual=X[:1]), r"\(1, 3, 5, 6\)"),
    "residual elsewhere": (lambda: instance_norm(X, residual=X.to("meta")), "meta"),
    "weight of another size": (lambda: instance_norm(X, torch.ones(4)), r"weight is \(4,\)"),
    "bias elsewhere": (lambda: instance_norm(X, None, torch.ones(3, device="meta")), "meta"),
    "unknown activation": (lambda: instance_norm(X, activation="gelu"), "gelu"),  # type: ignore[arg-type]
    "unknown activation after another norm": (
        lambda: finish(X, "gelu"),  # type: ignore[arg-type]
        "gelu.*expected one of .*leaky_relu",
    ),
    "pad beyond the mirror": (lambda: reflection_pad2d(X, (6, 0, 0, 0)), r"\(6, 0, 0, 0\)"),
    "pad without dimensions": (lambda: reflection_pad2d(X[0], 1), r"\(3, 5, 6\)"),
    "too many pixels": (
        lambda: reflection_pad2d(torch.empty(1, 1, 1 << 15, 1 << 15, device="meta"), 1),
        r"\(1, 1, 32768, 32768\)",
    ),
    "too many pixels with the pad": (
        lambda: instance_norm(huge(1, 1, LONG - 1, LONG), pad=200),
        "33167x33168; expected fewer",
    ),
    "too many pixels with one of four pads": (
        lambda: reflection_pad2d(huge(1, 1, LONG - 1, LONG), (0, 0, 1, 0)),
        "32768x32768",
    ),
    "too many images": (lambda: instance_norm(huge(65536, 1, 2, 2)), "65535 images"),
    "too many images to pad": (lambda: reflection_pad2d(huge(65536, 1, 2, 2), 1), "65535 images"),
    "too many of both": (
        lambda: instance_norm(huge(65535, 32768, 1, 2)),
        r"fewer than 1073741824 of both together, got \(65535, 32768, 1, 2\)",
    ),
    "too many channels": (lambda: reflection_pad2d(huge(1, 65536, 2, 2), 1), r"\(1, 65536, 2, 2\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tensors_are_refused_with_their_shapes(name: str) -> None:
    call, pattern = BAD[name]
    with pytest.raises(TensorError, match=pattern):
        call()


def test_an_empty_batch_is_answered() -> None:
    assert reflection_pad2d(X[:0], 1).shape == (0, 3, 7, 8)
    assert instance_norm(X[:0], pad=1).shape == (0, 3, 7, 8)


BAD_FRAMES: dict[str, Callable[[], object]] = {
    "frames of floats": lambda: frames_to_tensor(torch.zeros(1, 4, 4, 3)),
    "frames of four channels": lambda: frames_to_tensor(torch.zeros(1, 4, 4, 4).byte()),
    "float64": lambda: frames_to_tensor(torch.zeros(1, 4, 4, 3).byte(), torch.float64),
    "tensor of one channel": lambda: tensor_to_frames(X[:, :1]),
    "tensor of integers": lambda: tensor_to_frames(X.long()),
    "odd height": lambda: tensor_to_yuv(X),
    "too many pictures": lambda: tensor_to_yuv(huge(65536, 3, 2, 2)),
    "too many planes": lambda: yuv_to_tensor(huge(65536, 2, 2).byte(), huge(65536, 1, 1, 2).byte()),
    "seven bits": lambda: tensor_to_yuv(X[:, :, :4], bits=7),  # type: ignore[arg-type]
    "unknown matrix": lambda: tensor_to_yuv(X[:, :, :4], matrix="bt470"),  # type: ignore[arg-type]
    "chroma of another depth": lambda: yuv_to_tensor(
        torch.zeros(1, 4, 4).byte(), torch.zeros(1, 2, 2, 2, dtype=torch.uint16)
    ),
    "chroma of another size": lambda: yuv_to_tensor(
        torch.zeros(1, 4, 4).byte(), torch.zeros(1, 4, 4, 2).byte()
    ),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_bad_frames_are_refused(name: str) -> None:
    with pytest.raises(FrameError, match=r"expected|needs"):
        BAD_FRAMES[name]()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_every_byte_survives_the_round_trip(dtype: torch.dtype) -> None:
    frames = torch.arange(768).remainder(256).byte().view(1, 16, 16, 3)
    x = frames_to_tensor(frames, dtype)
    assert x.shape == (1, 3, 16, 16)
    assert x.min() == -1
    assert x.max() == 1
    assert torch.equal(tensor_to_frames(x), frames)


@pytest.mark.parametrize(
    ("matrix", "rgb", "codes"),
    [
        # 8-bit limited range of the colour bars of ITU-R BT.601, 709 and 2020: white, red, blue.
        ("bt601", (1, 1, 1), (235, 128, 128)),
        ("bt601", (1, 0, 0), (81, 90, 240)),
        ("bt601", (0, 0, 1), (41, 240, 110)),
        ("bt709", (1, 1, 1), (235, 128, 128)),
        ("bt709", (1, 0, 0), (63, 102, 240)),
        ("bt709", (0, 0, 1), (32, 240, 118)),
        ("bt2020", (1, 1, 1), (235, 128, 128)),
        ("bt2020", (1, 0, 0), (74, 97, 240)),
        ("bt2020", (0, 0, 1), (29, 240, 119)),
    ],
)
def test_yuv_of_known_colours(
    matrix: str, rgb: tuple[int, int, int], codes: tuple[int, int, int]
) -> None:
    x = (torch.tensor(rgb).float() * 2 - 1).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    y, uv = tensor_to_yuv(x, matrix=matrix)  # type: ignore[arg-type]
    assert (y.unique().tolist(), uv.flatten().tolist()) == ([codes[0]], list(codes[1:]))
    y10, uv10 = tensor_to_yuv(x, bits=10, matrix=matrix)  # type: ignore[arg-type]
    for one, ten in zip((y, uv), (y10, uv10)):
        assert ((ten.int() >> 6) - one.int() * 4).abs().max() <= 2
        assert (ten.int() & 63).max() == 0


@pytest.mark.parametrize(("bits", "last"), [(8, 255), (10, 1023 << 6)])
def test_pure_colours_of_full_range_have_the_last_code(bits: int, last: int) -> None:
    """Half a step beyond it, where the next code would be 0, the opposite colour."""
    for channel, rgb in enumerate(((-1.0, -1.0, 1.0), (1.0, -1.0, -1.0))):  # blue, red
        x = torch.tensor(rgb).view(1, 3, 1, 1).expand(1, 3, 2, 2)
        _, uv = tensor_to_yuv(x, bits=bits, full_range=True)  # type: ignore[arg-type]
        assert int(uv[0, 0, 0, channel]) == last


def test_chroma_is_the_mean_of_its_pixels() -> None:
    x = -torch.ones(1, 3, 2, 2)
    x[0, 2, 1, 1] = 1.0  # one of four is blue: a quarter of the way from 128 to 240
    _, uv = tensor_to_yuv(x, matrix="bt709")
    assert int(uv[0, 0, 0, 0]) == 156


def test_colours_beyond_rgb_are_clamped() -> None:
    """Limited range has codes below its black and above its white."""
    for code, value in ((0, -1.0), (255, 1.0)):
        y = torch.full((1, 2, 2), code, dtype=torch.uint8)
        uv = torch.full((1, 1, 1, 2), 128, dtype=torch.uint8)
        assert (yuv_to_tensor(y, uv, dtype=torch.float32) == value).all()


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full_range", [False, True])
def test_yuv_round_trip(bits: int, full_range: bool) -> None:
    flat = torch.rand(4, 3, 3, 5, generator=torch.Generator().manual_seed(1)) * 2 - 1
    x = flat.repeat_interleave(2, 2).repeat_interleave(2, 3)
    y, uv = tensor_to_yuv(x, bits=bits, matrix="bt2020", full_range=full_range)  # type: ignore[arg-type]
    back = yuv_to_tensor(y, uv, matrix="bt2020", full_range=full_range, dtype=torch.float32)
    assert (back - x).abs().max() < 8 / (1 << bits)


def test_nothing_of_triton_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package imports, and computes, where Triton is not installed."""
    import subprocess
    import sys

    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'triton' else find(name, *a)\n"
        "import torch, cyclegan.networks as n\n"
        "from cyclegan.kernels import launch\n"
        "assert not launch.HAS_TRITON\n"
        "print(n.ResnetGenerator()(torch.zeros(1, 3, 16, 16)).shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[1, 3, 16, 16]" in done.stdout


@pytest.mark.skipif(torch.backends.cuda.is_built(), reason="PyTorch is built for GPUs")
def test_a_cpu_does_without_torch_compile() -> None:
    """To load it, which operators in Triton do, takes longer than to load PyTorch."""
    import subprocess
    import sys

    code = (
        "import sys, torch, cyclegan.networks as n\n"
        "n.ResnetGenerator().eval()(torch.zeros(1, 3, 16, 16))\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_constants_are_marked_as_pytorch_marks_them() -> None:
    def ours() -> None: ...
    def theirs() -> None: ...

    torch.compiler.assume_constant_result(theirs)  # type: ignore[no-untyped-call]
    assert vars(launch.constant_in_graphs(ours)) == vars(theirs) != {}


def test_a_size_that_is_a_power_of_two_is_its_own_edge() -> None:
    edges = {1: 256, 256: 256, 257: 512, 512: 512, 65536: 65536, 65537: 131072}
    assert {pixels: launch.bucket(pixels) for pixels in edges} == edges


def test_block_sizes_fill_a_gpu_and_change_only_where_a_size_doubles() -> None:
    for channels, pixels in ((64, 1920 * 1080), (256, 4096), (128, 16384), (3, 65536), (513, 100)):
        edge = launch.bucket(pixels)
        assert pixels <= edge <= max(256, 2 * pixels)
        for backward, padded, most in ((False, False, 32), (True, False, 16), (True, True, 8)):
            chosen = launch.default(channels, edge, True, backward, padded)
            assert chosen.share % chosen.pixels == 0
            assert chosen.pixels * chosen.channels <= 32 * chosen.warps * most
            if pixels > 1 << 20:
                programs = -(-channels // chosen.channels) * -(-pixels // chosen.share)
                assert 528 <= programs <= 1056


def check_contracts(op: Any, arguments: tuple[Any, ...]) -> None:
    result = torch.library.opcheck(op, arguments)
    assert set(result.values()) == {"SUCCESS"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_operators_keep_their_contracts(layout: torch.memory_format, operators: Any) -> None:
    x = X.contiguous(memory_format=layout).requires_grad_()
    w, b = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)
    for op, arguments in (
        (operators.instance_norm.default, (x, w, b, x.detach().clone(), 1e-5, "relu", 2, True)),
        (operators.instance_norm.default, (x, None, None, None, 1e-5, "none", 0, False)),
        (operators.reflection_pad.default, (x, 1, 2, 3, 4)),
    ):
        check_contracts(op, arguments)


@pytest.mark.filterwarnings("ignore")
def test_operators_of_one_layout_keep_their_contracts(operators: Any) -> None:
    mean, rstd = torch.zeros(2, 3), torch.ones(2, 3)
    padded = torch.randn(2, 3, 9, 10)
    planes = torch.zeros(1, 4, 6).byte(), torch.zeros(1, 2, 3, 2).byte()
    coding = [0.2126, 0.0722, 16.0, 219.0, 128.0, 224.0]
    for op, arguments in (
        (
            operators.instance_norm_backward.default,
            (X, padded, X, mean, rstd, None, None, 1e-5, "relu", 2, True),
        ),
        (operators.reflection_pad_backward.default, (padded, 1, 2, 3, 1)),
        (operators.frames_to_tensor.default, (torch.zeros(1, 4, 4, 3).byte(), torch.float16)),
        (operators.tensor_to_frames.default, (X,)),
        (operators.yuv_to_tensor.default, (*planes, coding, torch.float16)),
        (operators.tensor_to_yuv.default, (X[:, :, :4], coding, torch.uint8)),
    ):
        check_contracts(op, arguments)


@pytest.mark.filterwarnings("ignore")
def test_derivatives_to_the_second(operators: Any) -> None:
    def double(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, requires_grad=True)

    def norm(*tensors: Tensor) -> tuple[Tensor, ...]:
        return operators.instance_norm(*tensors, 1e-2, "leaky_relu", 2, True)[:2]  # type: ignore[no-any-return]

    torch.manual_seed(0)
    tensors = (double(1, 2, 3, 3), double(2), double(2), double(1, 2, 3, 3))
    assert torch.autograd.gradcheck(norm, tensors)
    assert torch.autograd.gradgradcheck(norm, tensors)
    pad = operators.reflection_pad
    assert torch.autograd.gradcheck(lambda x: pad(x, 1, 2, 0, 1), (tensors[0],))
    assert torch.autograd.gradgradcheck(lambda x: pad(x, 1, 2, 0, 1), (tensors[0],))


def test_a_third_derivative_says_that_there_is_none(operators: Any) -> None:
    x = torch.randn(1, 2, 3, 3, requires_grad=True)
    y = operators.instance_norm(x, None, None, None, 1e-2, "none", 0, True)[0]
    (first,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
    with pytest.raises(TensorError, match="third derivative"):
        torch.autograd.grad(first.pow(2).sum(), x, create_graph=True)


def test_operators_are_registered_at_once_where_pytorch_is_built_for_gpus() -> None:
    """There torch.compile must not come upon them unregistered."""
    pytest.importorskip("triton", reason="operators need Triton")
    program = (
        "import torch\n"
        "torch.backends.cuda.is_built = lambda: True\n"
        "import cyclegan.kernels\n"
        "names = ('instance_norm', 'reflection_pad', 'frames_to_tensor')\n"
        "print([hasattr(torch.ops.cyclegan, name) for name in names])"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    assert told.strip() == "[True, True, True]"


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_an_empty_batch_has_gradients_of_zero(
    layout: torch.memory_format, dtype: torch.dtype
) -> None:
    x = torch.empty(0, 3, 4, 5, dtype=dtype).contiguous(memory_format=layout)
    weight, bias = (torch.ones(3, requires_grad=True) for _ in range(2))
    z = instance_norm(x, weight, bias, residual=x, pad=1)
    assert (z.shape, z.dtype) == ((0, 3, 6, 7), dtype)
    for gradient in torch.autograd.grad(z.sum(), (weight, bias)):
        assert torch.equal(gradient, torch.zeros(3))
