"""What a result is encoded with, by its target and source."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from cyclegan.engine.encoding import Chosen, Encoding, choose


def chosen(
    encoding: Encoding, source: str, *, live: bool = False, depth: Any = "auto", side: int = 64
) -> Chosen:
    """For Matroska and square frames of the pixel format ``source``."""
    form = av.VideoFormat(source, side, side)
    return choose(encoding, "matroska", ".mkv", form, size=(side, side), live=live, depth=depth)


@pytest.mark.parametrize(
    ("encoder", "source", "expected"),
    [
        ("libx265", "yuv420p12le", "yuv420p12le"),
        ("libx264", "yuv420p12le", "yuv420p10le"),
        ("libx264", "yuv420p9le", "yuv420p10le"),
        ("libsvtav1", "yuv444p10le", "yuv420p10le"),
        ("ffv1", "yuv444p16le", "yuv444p16le"),
        ("ffv1", "gbrp14le", "yuv420p16le"),
        ("mpeg4", "yuv420p10le", "yuv420p"),
        ("prores_ks", "yuv420p", "yuv422p10le"),  # 422 HQ, not 4444
        ("prores_ks", "yuv420p10le", "yuv422p10le"),
        ("prores_ks", "yuv444p", "yuv444p10le"),
        ("libx264", "yuv411p", "yuv422p"),
        ("libx264", "yuv410p", "yuv420p"),
        ("libx264", "yuv440p", "yuv420p"),
        ("libx264", "yuvj422p", "yuv422p"),
        ("libx264", "gray", "yuv420p"),
        ("libx264", "rgb24", "yuv420p"),
        ("dpx", "yuv420p", "rgb24"),
        ("exr", "yuv420p", "gbrpf32le"),
    ],
)
def test_chroma_and_depth_are_the_nearest_that_the_encoder_has(
    encoder: str, source: str, expected: str
) -> None:
    assert chosen(Encoding(encoder=encoder), source).pixel_format == expected


def test_odd_sizes_are_not_halved() -> None:
    assert chosen(Encoding(encoder="libx264"), "yuv420p", side=45).pixel_format == "yuv444p"


def test_frames_that_must_not_wait_do_not_wait_in_the_encoder() -> None:
    assert chosen(Encoding(encoder="libx264"), "yuv420p", live=True).options["tune"] == (
        "zerolatency"
    )
    assert "tune" not in chosen(Encoding(encoder="libx264"), "yuv420p").options


def test_lossless_is_as_deep_as_the_frames_that_are_translated() -> None:
    whole = Encoding(lossless=True)
    assert chosen(whole, "yuv420p10le").pixel_format == "gbrp16le"
    assert chosen(whole, "yuv420p10le", depth=8).pixel_format == "bgr0"
    assert chosen(whole, "yuv420p", depth=16).pixel_format == "gbrp16le"
    assert chosen(whole, "yuv420p").pixel_format == "bgr0"
    for wanted in (
        Encoding(encoder="libx264", lossless=True),
        Encoding(encoder="libx264", lossless=True, container="mkv"),
        Encoding(encoder="h264", lossless=True),
    ):
        by_name = chosen(wanted, "yuv420p")
        assert (by_name.encoder, by_name.pixel_format) == ("libx264rgb", "rgb24")


@pytest.mark.parametrize(
    ("codec", "encoder"),
    [("h264", "libx264"), ("hevc", "libx265"), ("vp9", "libvpx-vp9"), ("av1", "libsvtav1")],
)
def test_a_codec_stands_for_its_encoder(codec: str, encoder: str) -> None:
    for quality in (None, 30):
        wanted = chosen(Encoding(encoder=encoder, quality=quality), "yuv420p")
        assert chosen(Encoding(encoder=codec, quality=quality), "yuv420p") == wanted


TRANSLATED = """
import sys
from pathlib import Path

sys.path.append(sys.argv[1])
from videos import Copies

from cyclegan.config import ResnetConfig
from cyclegan.engine.cutting import Part
from cyclegan.engine.graph_info import GraphInfo
from cyclegan.engine.options import VideoOptions
from cyclegan.engine.translator import Translator
from cyclegan.engine.video import translate_video

translator = Translator(Copies(), GraphInfo(config=ResnetConfig()))
translate_video(sys.argv[2], sys.argv[3], translator, options=VideoOptions(part=Part(end=0.5)))
"""


def test_what_was_in_memory_before_does_not_decide_what_is_coded(
    clip: Callable[[str], Path], tmp_path: Path
) -> None:
    packets = []
    for byte in ("0", "1"):  # glibc fills with it what is freed, and with its complement the rest
        target = tmp_path / f"{byte}.mp4"
        command = [
            sys.executable,
            "-c",
            TRANSLATED,
            Path(__file__).parent,
            clip("carphone_pristine"),
            target,
        ]
        subprocess.run(command, env={**os.environ, "MALLOC_PERTURB_": byte}, check=True)
        with av.open(str(target)) as container:
            packets.append([bytes(packet) for packet in container.demux(video=0)])
    assert packets[0] == packets[1]
