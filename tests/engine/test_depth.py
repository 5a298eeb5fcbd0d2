"""Films of more than 8 bits a channel, through generators that take 16."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from test_colour import rgb_by_formula
from videos import Copies, decoded, smooth, write_video

from cyclegan.config import ResnetConfig
from cyclegan.deep_pictures import write_deep
from cyclegan.engine.encoding import Encoding
from cyclegan.engine.frame_graph import FrameToFrame, frames_of_values
from cyclegan.engine.graph_info import GraphInfo, read_graph_info
from cyclegan.engine.model_source import open_source
from cyclegan.engine.options import VideoOptions
from cyclegan.engine.runners.depths import DepthRunner
from cyclegan.engine.stabilize import open_stabilized
from cyclegan.engine.tiling import open_tiled
from cyclegan.engine.translator import Translator
from cyclegan.engine.typed_graph import typed_graph
from cyclegan.engine.video import translate_video
from cyclegan.errors import BackendError, ModelError
from cyclegan.networks import Generator
from cyclegan.pictures import write_picture

BT709, LIMITED = 1, 1


@pytest.fixture
def deep() -> Translator:
    """Gives back what it gets, in both depths."""
    return Translator(Copies(depths=(8, 16)), GraphInfo(config=ResnetConfig()))


def deep_video(path: Path, pictures: list[np.ndarray], form: str = "yuv444p10le") -> Path:
    """A lossless video of planes, uint16 (3, H, W), tagged as limited BT.709."""
    height, width = pictures[0].shape[1:]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, form
        context = stream.codec_context
        context.colorspace, context.color_range = BT709, LIMITED
        for number, planes in enumerate(pictures):
            picture = av.VideoFrame(width, height, form)
            for plane, codes in zip(picture.planes, planes):
                rows = np.frombuffer(plane, np.uint16).reshape(height, -1)  # type: ignore[arg-type]
                rows[:, :width] = codes
            picture.colorspace, picture.color_range = BT709, LIMITED
            picture.pts, picture.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def codes(path: Path, count: int = 3) -> np.ndarray:
    """(N, count, H, W), the first planes of a video of 10 bits."""
    pictures = decoded(path)
    assert {part.bits for part in pictures[0].format.components} == {10}
    height, width = pictures[0].height, pictures[0].width
    rows = [
        np.frombuffer(plane, np.uint16).reshape(height, -1)[:, :width]  # type: ignore[arg-type]
        for picture in pictures
        for plane in picture.planes[:count]
    ]
    return np.stack(rows).reshape(len(pictures), count, height, width)


def luma(path: Path) -> np.ndarray:
    return codes(path, 1)[:, 0]


@pytest.fixture(scope="module")
def film(clip: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two frames of real 10-bit footage: each the sum of four consecutive frames of 8 bits."""
    with av.open(str(clip("carphone_pristine"))) as container:
        pictures = [picture for picture, _ in zip(container.decode(video=0), range(8))]
    eight = np.stack([picture.to_ndarray(format="yuv444p") for picture in pictures])
    sums = eight.reshape(2, 4, *eight.shape[1:]).sum(1).astype(np.uint16)
    return deep_video(tmp_path_factory.mktemp("film") / "film.mkv", list(sums))


def test_all_levels_of_ten_bits_survive(deep: Translator, tmp_path: Path) -> None:
    ramp = np.full((3, 16, 876), 512, np.uint16)
    ramp[0] = 64 + np.arange(876)
    source = deep_video(tmp_path / "in.mkv", [ramp])
    options = VideoOptions(encoding=Encoding(encoder="ffv1"))
    assert translate_video(source, tmp_path / "out.mkv", deep, options).notes == ()
    np.testing.assert_array_equal(luma(tmp_path / "out.mkv")[0], ramp[0])
    eight = replace(options, depth=8)
    translate_video(source, tmp_path / "eight.mkv", deep, eight)
    assert len(np.unique(luma(tmp_path / "eight.mkv"))) <= 256


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_a_film_of_ten_bits_is_translated_with_sixteen(
    backend: str, model: Path, generator: Generator, film: Path, tmp_path: Path
) -> None:
    planes = codes(film)
    rgb = [rgb_by_formula(picture / 4, BT709, LIMITED) / 127.5 - 1 for picture in planes]
    values = torch.from_numpy(np.stack(rgb)).float().permute(0, 3, 1, 2)
    with torch.no_grad():
        exact = (generator(values).permute(0, 2, 3, 1).numpy() + 1) * 32767.5
    whole = VideoOptions(encoding=Encoding(lossless=True))
    with Translator.open(model, backend=backend) as translator:
        translate_video(film, tmp_path / "film.mp4", translator)
        translate_video(film, tmp_path / "deep.mkv", translator, whole)
        assert "16 bits" in translator.description
        assert translator.description.endswith("32"), "bfloat16 has too few levels for films"
    with Translator.open(model, backend=backend, precision="float32") as translator:
        translate_video(film, tmp_path / "eight.mkv", translator, replace(whole, depth=8))
    assert len(np.unique(luma(tmp_path / "film.mp4"))) > 256
    made = [picture.to_ndarray(format="rgb48le") for picture in decoded(tmp_path / "deep.mkv")]
    eight = [picture.to_ndarray(format="rgb24") for picture in decoded(tmp_path / "eight.mkv")]
    error = np.abs(np.stack(made) - exact)
    assert error.max() < 0.2 * 257, "a fifth of a grey level: conversion and generator together"
    coarse = np.abs(np.stack(eight) * 257.0 - exact)
    assert coarse.mean() > 100 * error.mean()
    psnr = 10 * np.log10(65535**2 / np.square(np.stack(eight) * 257.0 - np.stack(made)).mean())
    assert 35 < psnr < 65, "8 bits alone: 59 dB at best"


def test_a_graph_says_its_depth_and_gives_rise_to_the_other(
    model: Path, frames: np.ndarray
) -> None:
    path = open_source(model).onnx(16)
    assert read_graph_info(path).depth == 16
    assert path != open_source(model).onnx()
    with Translator.open(path, precision="float32") as translator:
        assert translator.depths == (16, 8)
        made = translator(frames.astype(np.uint16) * np.uint16(257))
        assert made.dtype == np.uint16
        assert np.abs(made / 257 - translator(frames)).max() <= 0.51
    with pytest.raises(ModelError, match="16 bits a channel, which TensorRT does not"):
        typed_graph(path, "float16", "native")


def test_the_engine_of_a_depth_is_loaded_once_whoever_comes_first() -> None:
    loaded: list[int] = []

    def load(depth: int) -> Copies:
        loaded.append(depth)
        time.sleep(0.1)  # the other thread asks meanwhile
        return Copies()

    runner = DepthRunner(load, (8, 16))
    deep = np.zeros((1, 8, 8, 3), np.uint16)
    threads = [threading.Thread(target=runner.begin, args=(slot, deep)) for slot in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded == [8, 16]


def test_values_are_scaled_rounded_to_even_and_clamped() -> None:
    given = torch.tensor([[[[0, 1, 65535]]]], dtype=torch.uint16)
    assert FrameToFrame(torch.nn.Identity())(given).tolist() == given.tolist()
    # Zero is the one exact half.
    made = frames_of_values(torch.tensor([0, -1.1, 1.1]).reshape(1, 3, 1, 1), torch.uint16)
    assert made.flatten().tolist() == [32768, 0, 65535]


@pytest.mark.parametrize("mode", ["steady", "tiled"])
def test_steadied_and_tiled_frames_may_be_deep(mode: str, model: Path, frames: np.ndarray) -> None:
    if mode == "steady":
        opened = open_stabilized(model, steadiness=0.5, precision="float32")
    else:
        opened = open_tiled(model, "thumbnail", precision="float32")
    with opened as translator:
        shallow = translator(frames[0])
        made = translator(frames[0] * np.uint16(257))
    assert made.dtype == np.uint16
    assert np.abs(made / 257 - shallow).max() <= 0.51


def test_pipes_carry_deep_pictures(deep: Translator, film: Path, tmp_path: Path) -> None:
    assert translate_video(film, tmp_path / "out.y4m", deep).notes == ()
    assert decoded(tmp_path / "out.y4m")[0].format.name == "yuv444p10le"
    codes = np.random.default_rng(0).integers(0, 65536, (2, 38, 46, 3)).astype("<u2")
    (tmp_path / "in.raw").write_bytes(codes.tobytes())
    size = {"video_size": "46x38", "pixel_format": "rgb48le"}
    options = VideoOptions(
        source_format="raw",
        source_options=size,
        encoding=Encoding(container="raw", pixel_format="rgb48le"),
    )
    translate_video(tmp_path / "in.raw", tmp_path / "out.raw", deep, options)
    assert (tmp_path / "out.raw").read_bytes() == codes.tobytes()


def test_sources_and_results_of_eight_bits_are_translated_with_eight(
    deep: Translator, film: Path, tmp_path: Path
) -> None:
    runner: Copies = deep._runner  # type: ignore[assignment]
    eight = write_video(tmp_path / "in.mp4", smooth(2), pix_fmt="yuv420p")
    assert translate_video(eight, tmp_path / "out.mp4", deep).notes == ()
    coarse = VideoOptions(encoding=Encoding(encoder="mpeg4"))
    (note,) = translate_video(film, tmp_path / "coarse.mp4", deep, coarse).notes
    assert note == "the source has 10 bits a channel, the result 8; ffv1 in .mkv holds 16"
    assert runner.seen == {"uint8"}
    by_name = translate_video(film, tmp_path / "coarse.mp4", deep, replace(coarse, depth=16))
    assert by_name.notes == (note,), "translated with 16, and written with 8 all the same"
    assert not translate_video(film, tmp_path / "c.mp4", deep, replace(coarse, depth=8)).notes
    runner.seen.clear()
    translate_video(eight, tmp_path / "out.mp4", deep, VideoOptions(depth=16))
    assert runner.seen == {"uint16"}
    assert decoded(tmp_path / "out.mp4")[0].format.name == "yuv420p10le"


def test_a_film_of_twelve_bits_loses_two_by_default_and_is_said_to(
    deep: Translator, tmp_path: Path
) -> None:
    source = deep_video(tmp_path / "in.mkv", [np.full((3, 16, 16), 2048, np.uint16)], "yuv444p12le")
    (note,) = translate_video(source, tmp_path / "out.mkv", deep).notes
    assert note == "the source has 12 bits a channel, the result 10; ffv1 in .mkv holds 16"
    whole = VideoOptions(encoding=Encoding(encoder="ffv1"))
    assert not translate_video(source, tmp_path / "out.mkv", deep, whole).notes
    assert decoded(tmp_path / "out.mkv")[0].format.name == "yuv444p12le"


def test_a_backend_of_eight_bits_says_what_is_lost(
    copies: Translator, film: Path, tmp_path: Path
) -> None:
    (note,) = translate_video(film, tmp_path / "out.mp4", copies).notes
    assert "translated with 8: the generator, as it was opened (custom), takes no more" in note
    with pytest.raises(BackendError, match="takes frames of 8 bits a channel, not 16"):
        translate_video(film, tmp_path / "no.mp4", copies, VideoOptions(depth=16))
    assert not (tmp_path / "no.mp4").exists()


def test_bits_of_pictures_that_are_deeper_than_the_first_are_said_to_be_lost(
    deep: Translator, tmp_path: Path
) -> None:
    (first, second), source = smooth(2), tmp_path / "%d.png"
    write_picture(first, tmp_path / "0.png")
    write_deep(second * np.uint16(257), tmp_path / "1.png")
    (note,) = translate_video(source, tmp_path / "out.mkv", deep).notes
    assert note == (
        "pictures after the first have up to 16 bits a channel, not 8: all were translated with 8, "
        "and the result has 8"
    )
    assert not translate_video(source, tmp_path / "out.mkv", deep, VideoOptions(depth=8)).notes
    whole = VideoOptions(depth=16, encoding=Encoding(encoder="ffv1", pixel_format="gbrp16le"))
    assert not translate_video(source, tmp_path / "out.mkv", deep, whole).notes


def test_deep_pictures_stay_deep(deep: Translator, film: Path, tmp_path: Path) -> None:
    lossless = VideoOptions(encoding=Encoding(lossless=True))
    translate_video(film, tmp_path / "p/%02d.png", deep)
    translate_video(film, tmp_path / "film.mkv", deep, lossless)
    stored = av.open(str(tmp_path / "p/%02d.png"), format="image2")
    with stored as container:
        pictures = list(container.decode(video=0))
    assert pictures[0].format.name == "rgb48be"
    for one, two in zip(pictures, decoded(tmp_path / "film.mkv")):
        np.testing.assert_array_equal(
            one.to_ndarray(format="rgb48le"), two.to_ndarray(format="rgb48le")
        )
