import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cyclegan import layers
from cyclegan.config import ResnetConfig, UnetConfig
from cyclegan.engine import tiling
from cyclegan.engine.bands import BandedResnet, Rows
from cyclegan.engine.model_source import GeneratorSource
from cyclegan.engine.runners.settings import Settings
from cyclegan.engine.statistics import moments, normalise
from cyclegan.engine.tiling import OVERLAP, TiledRunner
from cyclegan.engine.translator import Translator
from cyclegan.errors import BackendError, ConfigError
from cyclegan.networks import Generator, initialise, network_from_config


def network(**settings: object) -> Generator:
    torch.manual_seed(0)
    generator = network_from_config(ResnetConfig(width=4, blocks=2, **settings))  # type: ignore
    initialise(generator, gain=0.2)
    return generator.eval()


def picture(height: int, width: int) -> np.ndarray:
    """Dark at the left, coloured at the right: every piece of it has other statistics."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9) * x, np.cos(y / 7) * y, np.sin((x + y) / 5) * (x - y)]
    noise = np.random.default_rng(0).normal(0, 12, (height, width, 3))
    return (
        (np.stack(waves, -1) * 0.5 + 100 + noise + x[..., None] / 4).clip(0, 255).astype(np.uint8)
    )


def opened(generator: Generator, mode: tiling.Tiles, tile: int = 192) -> Translator:
    source = GeneratorSource(generator)
    runner = TiledRunner(source, Settings(precision="float32"), mode, tile=tile)
    return Translator(runner, source.info, "torch")


def untiled(generator: Generator, frame: np.ndarray) -> np.ndarray:
    with Translator.open(generator, backend="torch", precision="float32") as translator:
        return translator(frame)


@given(
    height=st.integers(2, 20).map(lambda n: 4 * n),
    width=st.integers(2, 12).map(lambda n: 4 * n),
    band=st.integers(1, 40),
    upsample=st.sampled_from(["transposed", "resize"]),
    norm=st.sampled_from(["instance", "batch", "none"]),
)
def test_bands_give_what_the_whole_gives(
    height: int, width: int, band: int, upsample: str, norm: str
) -> None:
    generator = network(upsample=upsample, norm=norm)
    x = torch.randn(1, 3, height, width).clamp(-1, 1)
    with torch.inference_mode():
        torch.testing.assert_close(
            BandedResnet(generator, band)(x), generator(x), atol=1e-4, rtol=1e-3
        )


def test_exact_tiles_are_equal_to_rounding() -> None:
    generator, frame = network(), picture(150, 214)  # no multiples of 4
    with opened(generator, "exact") as translator:
        difference = translator(frame).astype(int) - untiled(generator, frame)
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 0.001


def test_statistics_of_bands_are_right_where_biases_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a GPU: frozen tiles are computed with the statistics of another module's bands."""
    generator, frame = network(), picture(160, 160)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("bias") and "head" not in name:
                parameter.add_(1.0)
    expected = untiled(generator, frame)
    monkeypatch.setattr(layers.BeforeNorm, "bias_for", lambda self, x: None)
    with opened(generator, "frozen") as translator:
        difference = translator(frame).astype(int) - expected
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_its_digits_where_means_are_large(dtype: torch.dtype) -> None:
    x = (torch.randn(1, 4, 96, 40) + 50).to(dtype)
    expected = torch.nn.functional.instance_norm(x.double())
    rows = Rows(96, lambda first, last: x[:, :, first:last])
    banded = BandedResnet(network())._normed(rows, layers.InstanceNorm(4), "none")
    for made in (normalise(x, moments(x)), banded.take(0, 96)):
        assert made.dtype == dtype
        error = (made.double() - expected).norm() / expected.norm()
        assert error < torch.finfo(dtype).eps


def test_moments_are_biased_as_those_of_instance_norm() -> None:
    x = torch.tensor([0.0, 2.0, 4.0, 6.0]).reshape(1, 1, 2, 2)
    mean, variance = moments(x)
    assert (mean.shape, mean.item(), variance.item()) == ((1, 1, 1, 1), 3, 5)
    torch.testing.assert_close(normalise(x, (mean, variance)), torch.nn.functional.instance_norm(x))


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_bands_stay_on_the_device(norm: str) -> None:
    generator = network(norm=norm).to("meta")
    made = BandedResnet(generator, 8)(torch.zeros(1, 3, 16, 12, device="meta"))
    assert made.device.type == "meta"


@pytest.fixture(scope="module")
def wide() -> tuple[Generator, np.ndarray, np.ndarray]:
    generator, frame = network(), picture(320, 560)
    return generator, frame, untiled(generator, frame)


def psnr(x: np.ndarray, y: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.square(x.astype(float) - y).mean(), 1e-9)))


def naive(generator: Generator, frame: np.ndarray, tile: int) -> np.ndarray:
    """Each tile under its own statistics, as it should not be done."""
    made = np.zeros_like(frame)
    for top in range(0, frame.shape[0], tile):
        for left in range(0, frame.shape[1], tile):
            piece = frame[top : top + tile, left : left + tile]
            made[top : top + tile, left : left + tile] = untiled(generator, piece)
    return made


def test_frozen_tiles_are_near_and_without_seams(
    wide: tuple[Generator, np.ndarray, np.ndarray],
) -> None:
    generator, frame, expected = wide
    with opened(generator, "frozen") as translator:
        made = translator(frame)
        again = translator(255 - frame)
        small = translator(frame[:100, :120])
    assert psnr(made, expected) > 45, "under its own statistics, tiles differ at their edges alone"
    assert psnr(made, expected) > psnr(naive(generator, frame, 192), expected) + 15
    assert psnr(again, untiled(generator, 255 - frame)) < 45, "the first frame's were kept"
    difference = small.astype(int) - untiled(generator, frame[:100, :120])
    assert np.abs(difference).max() <= 1, "a frame of another size begins anew"


def test_frames_after_one_that_failed_are_measured_again() -> None:
    """Its size is all that frozen statistics are known by."""
    source = GeneratorSource(network())
    runner = TiledRunner(source, Settings(precision="float32"), "frozen", tile=192)
    frame = picture(96, 96)[None]
    expected = runner.translate(frame)
    with pytest.raises(RuntimeError, match="Padding size"):
        runner.translate(frame[:, :4, :4])  # too small to be mirrored
    np.testing.assert_array_equal(runner.translate(frame), expected)


def test_thumbnail_tiles_beat_naive_ones(wide: tuple[Generator, np.ndarray, np.ndarray]) -> None:
    generator, frame, expected = wide
    with opened(generator, "thumbnail") as translator:
        made = translator(frame)
        small = translator(frame[:100, :120])
    assert psnr(made, expected) > psnr(naive(generator, frame, 192), expected) + 3
    # A frame no larger than its thumbnail, in one tile, is exact.
    assert np.abs(small.astype(int) - untiled(generator, frame[:100, :120])).max() <= 1


def test_a_thumbnail_is_no_larger_than_it_may_be() -> None:
    source = GeneratorSource(network())
    runner = TiledRunner(source, Settings(precision="float32"), "thumbnail", tile=192)
    for size, small in (((320, 560), (292, 512)), ((2048, 1024), (512, 256)), ((96, 8), (96, 8))):
        assert runner._thumbnail(np.zeros((1, *size, 3), np.uint8)).shape[2:] == small
    striped = np.zeros((1, 2048, 1024, 3), np.uint8)
    striped[:, ::4] = 255
    made = runner._thumbnail(striped)
    assert (made[..., 4:-4, :] + 0.5).abs().max() < 0.05, "means of all pixels"


@pytest.mark.parametrize("size", [(8, 1200), (1200, 3)])
def test_a_long_strip_has_a_thumbnail_that_a_generator_can_mirror(size: tuple[int, int]) -> None:
    with opened(network(), "thumbnail") as translator:
        assert translator(picture(*size)).shape == (*size, 3)


def test_tiles_that_agree_are_joined_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = TiledRunner(
        GeneratorSource(network()), Settings(precision="float32"), "thumbnail", tile=192
    )
    monkeypatch.setattr(runner, "_generator", lambda x: x)
    frame = picture(300, 404)[None]
    np.testing.assert_array_equal(runner.translate(frame), frame)


def test_u_nets_take_thumbnails_but_no_bands() -> None:
    torch.manual_seed(0)
    generator = network_from_config(UnetConfig(width=4, depth=5))
    frame = picture(64, 64)
    with opened(generator, "thumbnail") as translator:
        difference = translator(frame).astype(int) - untiled(generator, frame)
    assert np.abs(difference).max() <= 1
    with pytest.raises(BackendError, match="cannot be computed band by band"):
        opened(generator, "exact")


@pytest.mark.parametrize("mode", ["exact", "thumbnail", "frozen"])
def test_tiles_have_the_channels_of_the_generator(mode: tiling.Tiles) -> None:
    frame = picture(200, 256)[..., :1]
    with opened(network(in_channels=1, out_channels=2), mode) as translator:
        assert translator(frame).shape == (200, 256, 2)


def test_tiles_that_their_overlaps_fill_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected at least 192, and a multiple of 4"):
        opened(network(), "frozen", tile=OVERLAP)
    with pytest.raises(ConfigError, match=r"tiles of 194 pixels; .* a multiple of 4"):
        opened(network(), "frozen", tile=194)
    deep = network_from_config(UnetConfig(width=2, depth=9))
    with pytest.raises(ConfigError, match="expected at least 576, and a multiple of 512"):
        opened(deep, "thumbnail", tile=512)  # none could begin before the one beside it ends


@given(
    kind=st.sampled_from([(4, 200), (4, 512), (128, 512), (256, 512), (512, 1024)]),
    share=st.floats(0, 1),
)
def test_tiles_cover_all_with_weights_above_zero(kind: tuple[int, int], share: float) -> None:
    multiple, tile = kind
    length = multiple * (1 + int(share * 6 * tile / multiple))
    total = np.zeros(length)
    for start, weight in tiling._places(length, tile, multiple):
        assert start % multiple == 0
        assert np.abs(np.diff(weight)).max(initial=0) < 0.04, "the one fades into the other"
        total[start : start + len(weight)] += weight
    assert start + len(weight) == length
    assert total.min() > 0.009


def test_tiles_are_as_large_as_a_very_deep_u_net_needs_them() -> None:
    deep = GeneratorSource(network_from_config(UnetConfig(width=2, depth=9)).eval())
    settings = Settings(precision="float32")
    frame = picture(1100, 600)
    with Translator(TiledRunner(deep, settings, "thumbnail"), deep.info, "torch") as translator:
        assert translator(frame).shape == frame.shape
    with pytest.raises(BackendError, match="cannot be computed band by band"):
        TiledRunner(deep, settings, "exact")
