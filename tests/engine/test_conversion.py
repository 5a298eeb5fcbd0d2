"""Pictures converted where the generator runs: the same video as by the CPU's conversion."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from videos import Copies, leftovers, write_video

from cyclegan.config import ResnetConfig, UnetConfig
from cyclegan.engine.containers import VideoReader
from cyclegan.engine.conversion import PlaneConversion, RgbConversion, choose_conversion
from cyclegan.engine.cutting import Part
from cyclegan.engine.encoding import Encoding
from cyclegan.engine.frames import Frames
from cyclegan.engine.graph_info import GraphInfo
from cyclegan.engine.layout import Layout, TimedFrame
from cyclegan.engine.options import VideoOptions, VideoStats
from cyclegan.engine.planes import Planes
from cyclegan.engine.translator import Translator
from cyclegan.engine.video import translate_video
from cyclegan.errors import BackendError, VideoError
from cyclegan.shipped import DEFAULT, find_model

Clip = Callable[[str], Path]
FIRST = Part(end=0.25)
LOSSLESS = Encoding(encoder="libx264", quality=0)


@pytest.fixture(scope="module")
def in_torch() -> Iterator[Translator]:
    """The shipped generator, whose pictures are smooth as pictures are, in PyTorch."""
    with Translator.open(find_model(DEFAULT), backend="torch", precision="float32") as translator:
        yield translator


def translated(source: Path, translator: Translator, **options: Any) -> tuple[Path, VideoStats]:
    target = source.with_name(f"{options.get('convert', 'auto')}.mp4")
    given = {"encoding": LOSSLESS, **options}
    return target, translate_video(source, target, translator, VideoOptions(**given))


def shown(path: Path) -> np.ndarray:
    """All frames as RGB, (N, H, W, 3)."""
    with VideoReader(path) as reader:
        return np.stack([item.frame for item in reader.items() if isinstance(item, TimedFrame)])


def psnr(x: np.ndarray, y: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((x.astype(float) - y.astype(float)) ** 2)))


@pytest.mark.parametrize(
    ("pix_fmt", "matrix", "span"),
    [("yuv420p", 1, 1), ("yuv420p", 6, 2), ("yuv420p10le", 9, 1)],
)
def test_both_conversions_give_one_video(
    frames: np.ndarray, in_torch: Translator, tmp_path: Path, pix_fmt: str, matrix: int, span: int
) -> None:
    times = [0, 33, 90, 100]
    source = write_video(
        tmp_path / "in.mp4", list(frames), times, pix_fmt=pix_fmt, matrix=matrix, span=span
    )
    by_cpu, cpu_stats = translated(source, in_torch, convert="cpu")
    by_device, stats = translated(source, in_torch, convert="device")
    assert "converted on the CPU" in cpu_stats.means
    assert "converted on the generator's device, cpu, encoded by libx264 in" in stats.means
    with av.open(str(by_device)) as container:
        decoded = list(container.decode(video=0))
        assert [round(picture.time * 1000) for picture in decoded] == times
    assert decoded[0].format.name.replace("j", "") == pix_fmt
    assert (decoded[0].colorspace, decoded[0].color_range) == (matrix, span)
    # Chroma is interpolated on the CPU, and not on the device.
    assert psnr(shown(by_cpu), shown(by_device)) > 36
    assert psnr(grey(by_cpu), grey(by_device)) > 40


def grey(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([p.to_ndarray(format="gray") for p in container.decode(video=0)])


def test_a_real_clip_keeps_its_size_and_sound(clip: Clip, model: Path, tmp_path: Path) -> None:
    source = clip("bigbuckbunny")
    target = tmp_path / "out.mp4"
    options = VideoOptions(convert="device", part=Part(end=0.09))
    with Translator.open(model, backend="torch") as translator:
        stats = translate_video(source, target, translator, options)
    assert stats.frames == 3
    assert "decoded by h264" in stats.means
    with av.open(str(target)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (1280, 720)
        assert container.streams.audio[0].codec_context.name == "aac"


def test_a_size_that_the_generator_does_not_take_is_kept(
    frames: np.ndarray, in_torch: Translator, tmp_path: Path
) -> None:
    small = [np.ascontiguousarray(frame[:134, :170]) for frame in frames]
    source = write_video(tmp_path / "in.mp4", small, pix_fmt="yuv420p", matrix=1, span=1)
    by_cpu, _ = translated(source, in_torch, convert="cpu")
    by_device, _ = translated(source, in_torch, convert="device")
    assert shown(by_device).shape == (4, 134, 170, 3)
    assert psnr(shown(by_cpu), shown(by_device)) > 36


def test_the_preview_sees_rgb(clip: Clip, in_torch: Translator, tmp_path: Path) -> None:
    seen: list[Frames] = []
    options = VideoOptions(convert="device", part=FIRST)
    translate_video(
        clip("carphone_pristine"),
        tmp_path / "out.mp4",
        in_torch,
        options,
        show=lambda frame, seconds: seen.append(frame),
    )
    assert len(seen) > 3
    assert all(frame.shape == (144, 176, 3) and frame.dtype == np.uint8 for frame in seen)
    assert psnr(np.stack(seen), shown(tmp_path / "out.mp4")) > 30


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"compare": "side"}, "the result shows the source too"),
        ({"part": Part(size=(72, 88))}, "frames are scaled first"),
        ({"encoding": Encoding(lossless=True)}, "the result rgb24"),
        ({"encoding": Encoding(pixel_format="yuv444p")}, "the result yuv444p"),
    ],
)
def test_by_name_the_device_is_refused_with_the_reason(
    clip: Clip, in_torch: Translator, tmp_path: Path, options: dict[str, Any], why: str
) -> None:
    given = VideoOptions(convert="device", **options)
    with pytest.raises(VideoError, match=f"device: .*{why}.*auto or cpu"):
        translate_video(clip("carphone_pristine"), tmp_path / "out.mp4", in_torch, given)
    assert leftovers(tmp_path) == []


def test_backends_that_take_rgb_alone_say_so(
    clip: Clip, copies: Translator, tmp_path: Path
) -> None:
    options = VideoOptions(convert="device")
    with pytest.raises(VideoError, match="custom takes RGB frames alone"):
        translate_video(clip("carphone_pristine"), tmp_path / "out.mp4", copies, options)
    with pytest.raises(BackendError, match="custom takes RGB frames alone"):
        copies.submit_planes([])


def test_a_resumed_run_gives_the_frames_of_a_whole_one(
    clip: Clip, in_torch: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cyclegan.engine.segments.LENGTH", 3)
    source = clip("carphone_pristine")
    options = VideoOptions(convert="device", part=FIRST, encoding=LOSSLESS, resume=True)
    whole, broken = tmp_path / "whole.mp4", tmp_path / "broken.mp4"
    translate_video(source, whole, in_torch, options)

    def stop(done: int, expected: int | None) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        translate_video(source, broken, in_torch, options, progress=stop)
    stats = translate_video(source, broken, in_torch, options)
    assert stats.frames < 6
    np.testing.assert_array_equal(shown(whole), shown(broken))


class OnGpu(Copies):
    """A runner that says it has a GPU."""

    planes_on = "cuda:0"

    def begin_planes(self, slot: int, pictures: Any) -> None:
        raise AssertionError

    def finish_planes(self, slot: int) -> list[Planes]:
        raise AssertionError


def test_auto_takes_the_device_where_that_is_a_gpu(clip: Clip, in_torch: Translator) -> None:
    with VideoReader(clip("carphone_pristine")) as reader:
        reader.begin()
        layout = reader.layout
    assert layout is not None
    gpu = Translator(OnGpu(), GraphInfo(config=ResnetConfig()))

    def chosen(translator: Translator, of: Layout = layout, **options: Any) -> type:
        return type(choose_conversion(translator, of, "yuv420p", VideoOptions(**options), 8))

    assert chosen(gpu) is PlaneConversion
    assert chosen(gpu, convert="cpu") is RgbConversion
    assert chosen(gpu, compare="wipe") is RgbConversion
    assert chosen(gpu, replace(layout, width=171)) is RgbConversion
    unet = Translator(OnGpu(), GraphInfo(config=UnetConfig()))  # takes multiples of 256
    assert chosen(unet) is PlaneConversion
    assert chosen(unet, replace(layout, height=120)) is RgbConversion
    assert chosen(in_torch) is RgbConversion
    assert chosen(in_torch, convert="device") is PlaneConversion


def test_batches_of_planes_are_cut_and_keep_their_order(in_torch: Translator) -> None:
    from test_planes import HD, noise

    from cyclegan.engine.planes import PlaneLayout, planes_from_picture

    layout = PlaneLayout(format="nv12", colour=HD)
    sizes = [planes_from_picture(noise("nv12", HD), HD, layout, pinned=False) for _ in range(3)]
    given = [replace(planes, y=(planes.y.clone() // (i + 1))) for i, planes in enumerate(sizes)]
    together = in_torch.collect(in_torch.submit_planes(given))
    apart = [in_torch.collect(in_torch.submit_planes([planes]))[0] for planes in given]
    assert len(together) == 3
    for one, other in zip(together, apart):
        np.testing.assert_array_equal(one.y.numpy(), other.y.numpy())
        np.testing.assert_array_equal(one.uv.numpy(), other.uv.numpy())
    assert not np.array_equal(apart[0].y.numpy(), apart[1].y.numpy())


def test_an_unusual_time_base_is_kept(
    frames: np.ndarray, in_torch: Translator, tmp_path: Path
) -> None:
    base = Fraction(1, 90000)
    source = write_video(
        tmp_path / "in.mkv",
        list(frames),
        [0, 3003, 6006, 30030],
        time_base=base,
        pix_fmt="yuv420p",
        matrix=1,
        span=1,
    )
    target, stats = translated(source, in_torch, convert="device")
    assert stats.frames == 4
    with av.open(str(target)) as container:
        times = [float(picture.time) for picture in container.decode(video=0)]
    np.testing.assert_allclose(times, [0, 0.033, 0.067, 0.334], atol=0.002)
