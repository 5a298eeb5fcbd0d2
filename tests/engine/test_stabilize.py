from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from videos import decoded, smooth, write_video

from cyclegan.config import ResnetConfig
from cyclegan.engine import stabilize
from cyclegan.engine.containers import VideoReader
from cyclegan.engine.cutting import Part
from cyclegan.engine.encoding import Encoding
from cyclegan.engine.images import translate_folder, translate_image
from cyclegan.engine.layout import TimedFrame
from cyclegan.engine.model_source import GeneratorSource
from cyclegan.engine.options import VideoOptions
from cyclegan.engine.runners.settings import Settings
from cyclegan.engine.stabilize import StabilizedRunner, open_stabilized
from cyclegan.engine.tiling import open_tiled
from cyclegan.engine.translator import Translator
from cyclegan.engine.video import translate_video
from cyclegan.errors import BackendError, ConfigError
from cyclegan.flicker import flicker
from cyclegan.networks import Generator, initialise, network_from_config
from cyclegan.pictures import read_picture, write_picture

Clip = Callable[[str], Path]


@pytest.fixture(scope="module")
def network() -> Generator:
    torch.manual_seed(0)
    generator = network_from_config(ResnetConfig(width=4, blocks=2))
    initialise(generator, gain=0.1)
    return generator.eval()


@pytest.fixture(scope="module")
def scene(clip: Clip) -> list[np.ndarray]:
    """Frames 20 to 40 of a real clip, small; frame 30 begins another scene."""
    with VideoReader(clip("bikes"), Part(size=(136, 320), end=1.6)) as reader:
        return [item.frame for item in reader.items() if isinstance(item, TimedFrame)][20:]


def opened(network: Generator, steadiness: float) -> tuple[Translator, StabilizedRunner]:
    source = GeneratorSource(network)
    runner = StabilizedRunner(source, Settings(precision="float32"), steadiness=steadiness)
    return Translator(runner, source.info, "torch"), runner


def plain(network: Generator, frames: list[np.ndarray]) -> list[np.ndarray]:
    with Translator.open(network, backend="torch", precision="float32") as translator:
        return [translator(frame) for frame in frames]


def test_no_steadiness_changes_nothing(network: Generator, scene: list[np.ndarray]) -> None:
    translator, runner = opened(network, 0.0)
    with translator:
        for frame, expected in zip(scene, plain(network, scene)):
            assert np.abs(translator(frame).astype(int) - expected).max() <= 1
    assert (runner.cuts, runner.duplicates) == (1, 0)


def test_steadiness_lowers_flicker_and_a_cut_begins_anew(
    network: Generator, scene: list[np.ndarray]
) -> None:
    # Light that comes and goes: what instance norm turns into flicker of everything else.
    lit = [scene[number].copy() for number in (4, 16) for _ in range(6)]
    for number, frame in enumerate(lit):
        frame[:40, :80] = np.minimum(frame[:40, :80].astype(int) + 90 * (number % 2), 255)
    free = plain(network, lit)
    translator, runner = opened(network, 0.9)
    with translator:
        steady = [translator(frame) for frame in lit]
    assert runner.cuts == 1

    def rest(frames: list[np.ndarray]) -> list[np.ndarray]:
        return [frame[90:] for frame in frames]

    loose = flicker(zip(rest(lit), rest(free)))
    held = flicker(zip(rest(lit), rest(steady)))
    assert held.source == loose.source == 0
    assert held.translation < 0.4 * loose.translation
    for first in (0, 6):
        assert np.abs(steady[first].astype(int) - free[first]).max() <= 1


def test_a_repeated_frame_is_not_translated_again(
    network: Generator, scene: list[np.ndarray]
) -> None:
    translator, runner = opened(network, 0.9)
    with translator:
        first = translator(scene[0])
        again = translator(scene[0].copy())
        again[:] = 0  # the caller's own
        third = translator(scene[0])
    assert (third == first).all()
    assert runner.duplicates == 2


def test_a_frame_that_repeats_one_that_failed_is_translated(
    network: Generator, scene: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    translator, runner = opened(network, 0.9)
    with translator:
        first = translator(scene[0])
        with monkeypatch.context() as patched:
            patched.setattr(runner, "_network", None)
            with pytest.raises(TypeError):
                translator(scene[5])
        assert not np.array_equal(translator(scene[5]), first)
    assert runner.duplicates == 0


def test_a_slow_fade_does_not_pass_for_repetitions(
    network: Generator, scene: list[np.ndarray]
) -> None:
    """Each frame is nearly the one before, but soon no longer the one that was translated."""
    fade, rows = [scene[0]], len(scene[0]) // 5
    for number in range(2):
        fade.append(fade[-1].copy())
        fade[-1][number * rows : (number + 1) * rows] ^= 1
    translator, runner = opened(network, 0.9)
    with translator:
        for frame in fade:
            translator(frame)
    assert runner.duplicates == 1


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("row", [40, 134], ids=["within", "at the edge"])
@pytest.mark.parametrize("side", [3, 1])
def test_what_is_small_and_moves_is_no_repetition(
    side: int, row: int, kind: type[np.uint8 | np.uint16], scene: list[np.ndarray]
) -> None:
    night = (scene[0] // 16)[:135, :318].astype(kind) * kind(np.iinfo(kind).max // 255)
    ways = []
    for column in (0, 100, 317):
        ways.append(night.copy())
        ways[-1][row : row + side, column : column + side] = np.iinfo(kind).max
    assert not any(stabilize._repeats(x[None], y[None]) for x, y in pairwise(ways))


def test_a_repeated_frame_is_found_in_a_film_that_was_encoded(
    network: Generator, scene: list[np.ndarray], tmp_path: Path
) -> None:
    twice = [frame for frame in scene[:6] for _ in range(2)]
    film = write_video(tmp_path / "in.mkv", twice, pix_fmt="yuv420p", quality=23)
    shown = [picture.to_ndarray(format="rgb24") for picture in decoded(film)]
    assert any(not np.array_equal(*pair) for pair in zip(shown[::2], shown[1::2]))
    translator, runner = opened(network, 0.9)
    with translator:
        for frame in shown:
            translator(frame)
    assert runner.duplicates == 6


def test_frames_of_16_bits_are_judged_as_those_of_8(scene: list[np.ndarray]) -> None:
    cuts = []
    for pair in pairwise(scene):
        x, y = (frame[None] for frame in pair)
        deep = [frame.astype(np.uint16) * np.uint16(257) for frame in (x, y)]
        np.testing.assert_allclose(stabilize._differences(*deep), stabilize._differences(x, y))
        cuts.append(stabilize._is_cut(x, y))
        assert stabilize._is_cut(*deep) == cuts[-1]
    assert sum(cuts) == 1


def test_frames_of_another_size_begin_anew(network: Generator, scene: list[np.ndarray]) -> None:
    translator, _ = opened(network, 0.9)
    small = np.ascontiguousarray(scene[1][:64, :64])
    with translator:
        translator(scene[0])
        assert np.abs(translator(small).astype(int) - plain(network, [small])[0]).max() <= 1


def test_what_cannot_be_steadied_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 <= steadiness < 1"):
        opened(network_from_config(ResnetConfig(width=4, blocks=1)), 1.0)
    with pytest.raises(BackendError, match="no instance norm"):
        opened(network_from_config(ResnetConfig(width=4, blocks=1, norm="batch")), 0.5)


def opened_to_remember(way: str, network: Generator) -> Translator:
    if way == "steadied":
        return open_stabilized(network, precision="float32")
    return open_tiled(network, "frozen", precision="float32")


@pytest.mark.parametrize("way", ["steadied", "frozen"])
def test_a_video_is_translated_as_if_no_other_had_been_before(
    way: str, network: Generator, tmp_path: Path
) -> None:
    frames = smooth(3)
    first = write_video(tmp_path / "first.mkv", frames)
    for frame in frames:
        frame[:4] = 255  # too little for a cut
    second = write_video(tmp_path / "second.mkv", frames)
    lossless = VideoOptions(encoding=Encoding(lossless=True))
    with opened_to_remember(way, network) as fresh:
        translate_video(second, tmp_path / "expected.mkv", fresh, lossless)
    with opened_to_remember(way, network) as used:
        for source in (first, second):
            translate_video(source, tmp_path / "made.mkv", used, lossless)
        with (
            used.one_video(),
            pytest.raises(ConfigError, match="remembers the frames of the video"),
        ):
            translate_video(second, tmp_path / "refused.mkv", used, lossless)
    with pytest.raises(BackendError, match="closed"):
        translate_video(second, tmp_path / "refused.mkv", used, lossless)
    expected, made = (
        [picture.to_ndarray(format="rgb24") for picture in decoded(tmp_path / name)]
        for name in ("expected.mkv", "made.mkv")
    )
    assert np.array_equal(expected, made)


@pytest.mark.parametrize("is_folder", [False, True])
@pytest.mark.parametrize("way", ["steadied", "frozen"])
def test_pictures_are_translated_as_if_no_others_had_been_before(
    way: str, is_folder: bool, network: Generator, tmp_path: Path
) -> None:
    def translate(name: str, translator: Translator, to: str) -> np.ndarray:
        source, target = (tmp_path / place / "picture.png" for place in (name, to))
        if is_folder:
            translate_folder(source.parent, target.parent, translator)
        else:
            translate_image(source, target, translator)
        return read_picture(target)

    (first,) = smooth(1)
    second = first.copy()
    second[:4] = 255  # too little for a cut
    for name, frame in (("first", first), ("second", second)):
        (tmp_path / name).mkdir()
        write_picture(frame, tmp_path / name / "picture.png")
    with opened_to_remember(way, network) as fresh:
        expected = translate("second", fresh, "expected")
    with opened_to_remember(way, network) as used:
        translate("first", used, "made")
        np.testing.assert_array_equal(translate("second", used, "made"), expected)
        with (
            used.one_video(),
            pytest.raises(ConfigError, match="remembers the frames of the video"),
        ):
            translate("second", used, "refused")
