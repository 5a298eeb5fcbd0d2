"""What is taken, and what is refused, where there is no GPU; the choice, where one is made up."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import av
import pytest
from videos import leftovers

from cyclegan.engine import encoding, hardware
from cyclegan.engine.containers import VideoReader
from cyclegan.engine.encoding import Chosen, Encoding, choose
from cyclegan.engine.endpoints import input_from
from cyclegan.engine.gpus import nvidia_gpus
from cyclegan.engine.layout import TimedFrame
from cyclegan.engine.opening import open_video
from cyclegan.engine.options import VideoOptions
from cyclegan.engine.translator import Translator
from cyclegan.engine.video import translate_video
from cyclegan.errors import VideoError

Clip = Callable[[str], Path]
needs_no_gpu = pytest.mark.skipif(bool(nvidia_gpus()), reason="this machine has a GPU")


@needs_no_gpu
def test_by_name_the_gpu_is_refused_with_a_remedy(
    clip: Clip, copies: Translator, tmp_path: Path
) -> None:
    source = clip("carphone_pristine")
    with pytest.raises(VideoError, match=r"NVDEC cannot be used here: there is no NVIDIA.*auto"):
        translate_video(source, tmp_path / "out.mp4", copies, VideoOptions(decoder="nvdec"))
    for name in hardware.NVENC:
        options = VideoOptions(encoding=Encoding(encoder=name))
        with pytest.raises(VideoError, match=f"{name} cannot be used here.*take libx264"):
            translate_video(source, tmp_path / "out.mp4", copies, options)
    assert leftovers(tmp_path) == []


@needs_no_gpu
def test_auto_falls_back_with_a_line_in_the_log(
    clip: Clip, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cyclegan.engine.opening")
    with VideoReader(clip("carphone_pristine"), decoder="auto") as reader:
        assert isinstance(next(iter(reader.items())), TimedFrame)
    (line,) = caplog.messages
    assert line.endswith("is decoded on the CPU: there is no NVIDIA GPU with a driver")


@needs_no_gpu
def test_a_decoder_that_fails_after_all_is_left_by_auto_alone(
    clip: Clip, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "why_no_nvdec", lambda: None)
    source = clip("carphone_pristine")
    with VideoReader(source, decoder="auto") as reader:
        assert isinstance(next(iter(reader.items())), TimedFrame)
    assert "NVDEC does not open for" in caplog.text
    with pytest.raises(VideoError, match="cannot read"):
        VideoReader(source, decoder="nvdec")


def test_codecs_that_the_gpu_lacks_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "why_no_nvdec", lambda: None)
    picture = tmp_path / "a.png"
    av.VideoFrame(16, 16, "rgb24").save(picture)
    with pytest.raises(VideoError, match=r"NVDEC cannot decode .*a\.png"):
        open_video(input_from(picture), "nvdec")


@pytest.mark.parametrize(
    ("keep_on", "device", "stay"), [(None, None, False), ("cuda", "0", True), ("cuda:1", "1", True)]
)
def test_pictures_stay_on_the_gpu_that_is_named(
    clip: Clip,
    monkeypatch: pytest.MonkeyPatch,
    keep_on: str | None,
    device: str | None,
    stay: bool,
) -> None:
    asked: list[dict[str, object]] = []

    def accelerator(kind: str, **given: object) -> None:  # None: decoded on the CPU after all
        asked.append({"kind": kind, **given})

    current: list[str | None] = []
    monkeypatch.setattr(hardware, "why_no_nvdec", lambda: None)
    monkeypatch.setattr(
        hardware, "context_of", lambda device: current.append(device) or nullcontext()
    )
    monkeypatch.setattr("av.codec.hwaccel.HWAccel", accelerator)
    container, _ = open_video(input_from(clip("carphone_pristine")), "auto", keep_on)
    container.close()
    (given,) = asked
    assert given == {
        "kind": "cuda",
        "device": device,
        "allow_software_fallback": True,
        "options": {"primary_ctx": "0", "current_ctx": "1"} if stay else None,
        "is_hw_owned": stay,
    }
    assert current == [keep_on]


def test_pictures_that_cannot_stay_on_the_gpu_are_asked_for_in_the_hosts_memory(
    clip: Clip, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    places: list[str | None] = []

    def accelerator(kind: str, *, device: str | None, **given: object) -> None:
        places.append(device)
        if device is not None:
            raise av.FFmpegError(95, "not supported")

    monkeypatch.setattr(hardware, "why_no_nvdec", lambda: None)
    monkeypatch.setattr(hardware, "context_of", lambda device: nullcontext())
    monkeypatch.setattr("av.codec.hwaccel.HWAccel", accelerator)
    for decoder in ("auto", "nvdec"):
        container, _ = open_video(input_from(clip("carphone_pristine")), decoder, "cuda:1")
        container.close()
    assert places == ["1", None, "1", None]
    assert "carphone_pristine.mp4 with pictures in the memory of cuda:1" in caplog.text


def chosen(source_format: str, size: tuple[int, int], given: Encoding | None = None) -> Chosen:
    form = av.VideoFormat(source_format, *size)
    return choose(given or Encoding(), "mp4", ".mp4", form, size=size, live=False)


def test_auto_takes_the_gpus_encoder_where_it_opens_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(encoding, "why_no_encoder", lambda *given: asked.append(given))
    made = chosen("yuv420p", (640, 360))
    assert (made.encoder, made.pixel_format) == ("h264_nvenc", "yuv420p")
    assert made.options == {"rc": "vbr", "cq": "19"}
    assert set(asked) == {("h264_nvenc", 640, 360)}
    assert chosen("yuv420p10le", (640, 360)).encoder == "libx264"
    assert chosen("yuv422p", (640, 360)).encoder == "libx264"
    assert chosen("yuv420p", (641, 360)).encoder == "libx264"
    assert chosen("yuv420p", (640, 360), Encoding(encoder="libx264")).encoder == "libx264"
    assert chosen("yuv420p", (640, 360), Encoding(lossless=True)).encoder == "libx264rgb"
    monkeypatch.setattr(encoding, "why_no_encoder", lambda *given: "too small")
    assert chosen("yuv420p", (64, 36)).encoder == "libx264"
