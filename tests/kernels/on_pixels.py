"""Pixels on the kernels. Run by ``test_interpreted.py``, and directly where a GPU is."""

import pytest
import torch
from checks import DEVICE, check_clamped, check_frames, check_yuv

from cyclegan.engine import frame_graph


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("shape", [(1, 16, 16, 3), (2, 37, 31, 3)])
def test_every_byte_survives_the_round_trip(
    dtype: torch.dtype, shape: tuple[int, int, int, int]
) -> None:
    check_frames(shape, dtype)


def test_values_beyond_the_range_are_clamped() -> None:
    check_clamped()


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
def test_yuv_agrees_with_the_reference(matrix: str, bits: int, full_range: bool) -> None:
    torch.manual_seed(bits)
    check_yuv(matrix, bits, full_range)


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
