"""Pixels on the kernels. Run by ``test_interpreted.py``, and directly where a GPU is."""

import pytest
import torch
from checks import DEVICE, poisoned

from cyclegan.engine import frame_graph
from cyclegan.kernels import (
    frames_to_tensor,
    pixels_reference,
    tensor_to_frames,
    tensor_to_yuv,
    yuv_to_tensor,
)
from cyclegan.kernels.pixels import _coding


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("shape", [(1, 16, 16, 3), (2, 37, 31, 3)])
def test_every_byte_survives_the_round_trip(
    dtype: torch.dtype, shape: tuple[int, int, int, int]
) -> None:
    frames = torch.arange(torch.Size(shape).numel()).remainder(256).to(DEVICE, torch.uint8)
    frames = frames.view(shape)
    with poisoned():
        x = frames_to_tensor(frames, dtype)
        back = tensor_to_frames(x)
    expected = pixels_reference.frames_to_tensor_reference(frames.cpu(), dtype)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(x.cpu(), expected, atol=1e-3 if dtype == torch.float16 else 1e-6)
    assert torch.equal(back, frames)
    assert torch.equal(tensor_to_frames(x.contiguous()), frames)


def test_values_beyond_the_range_are_clamped() -> None:
    x = torch.tensor([-3.0, -1.0, 0.0, 1.0, 2.0, 1e6], device=DEVICE).view(1, 3, 1, 2)
    assert tensor_to_frames(x).flatten().tolist() == [0, 128, 255, 0, 255, 255]


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
def test_yuv_agrees_with_the_reference(matrix: str, bits: int, full_range: bool) -> None:
    torch.manual_seed(bits)
    x = (torch.rand(2, 3, 6, 10) * 2.4 - 1.2).to(DEVICE)
    coding = _coding(matrix, full_range, bits)
    with poisoned():
        y, uv = tensor_to_yuv(x, bits=bits, matrix=matrix, full_range=full_range)
        rgb = yuv_to_tensor(y, uv, matrix=matrix, full_range=full_range, dtype=torch.float32)
    y, uv = y.cpu(), uv.cpu()
    expected = pixels_reference.tensor_to_yuv_reference(x.cpu(), coding, y.dtype)
    one = 1 if bits == 8 else 64  # rounding may fall to either side
    for got, wanted in zip((y, uv), expected):
        assert (got.int() - wanted.int()).abs().max() <= one
    wanted = pixels_reference.yuv_to_tensor_reference(y, uv, coding, torch.float32)
    assert torch.allclose(rgb.cpu(), wanted, atol=1e-5)


def test_the_frame_network_converts_by_these_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []

    def spied(name: str) -> None:
        original = getattr(frame_graph, name)
        monkeypatch.setattr(frame_graph, name, lambda *a: (used.append(name), original(*a))[1])

    spied("frames_to_tensor")
    spied("tensor_to_frames")
    network = frame_graph.FrameToFrame(torch.nn.Identity(), torch.float16)
    frames = torch.arange(768).remainder(256).to(DEVICE, torch.uint8).view(2, 16, 8, 3)
    assert torch.equal(network(frames), frames)
    assert used == ["frames_to_tensor", "tensor_to_frames"]
    for other in (frames[..., :1], frames.to(torch.int32).mul(257).to(torch.uint16)):
        exact = frame_graph.FrameToFrame(torch.nn.Identity(), torch.float32)
        assert torch.equal(exact(other).cpu(), other.cpu()), "grey, and 16 bits: by operators"
    assert len(used) == 2
