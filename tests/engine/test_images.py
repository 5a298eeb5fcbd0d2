import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, features
from videos import Copies

from cyclegan.config import ResnetConfig
from cyclegan.deep_pictures import read_deep, write_deep
from cyclegan.engine.cutting import Part
from cyclegan.engine.encoding import Encoding
from cyclegan.engine.frames import Frames
from cyclegan.engine.graph_info import GraphInfo
from cyclegan.engine.image_files import is_picture, read_image, write_image
from cyclegan.engine.images import ImageStats, translate_folder, translate_image, translate_path
from cyclegan.engine.options import VideoOptions, VideoStats
from cyclegan.engine.translator import Translator
from cyclegan.engine.video import translate_video
from cyclegan.errors import (
    BackendError,
    ConfigError,
    DataError,
    DepthError,
    ImageError,
    OutputError,
    VideoError,
)
from cyclegan.pictures import write_picture


class Negatives:
    """A runner that gives the negative."""

    slots = 2
    max_batch = 1

    def __init__(self) -> None:
        self.frames: dict[int, Frames] = {}

    def begin(self, slot: int, frames: Frames) -> None:
        self.frames[slot] = 255 - frames

    def finish(self, slot: int) -> Frames:
        return self.frames.pop(slot)

    def close(self) -> None:
        pass


@pytest.fixture
def negatives() -> Translator:
    return Translator(Negatives(), GraphInfo(config=ResnetConfig()))


@pytest.fixture
def photo(frames: np.ndarray) -> Image.Image:
    return Image.fromarray(frames[0, :99, :131])


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_real_engine_translates_a_picture(
    photo: Image.Image, translator: Translator, tmp_path: Path
) -> None:
    photo.save(tmp_path / "in.png")
    stats = translate_path(tmp_path / "in.png", tmp_path / "deep" / "out.png", translator)
    assert stats == ImageStats(pictures=1, skipped=())
    expected = translator(np.asarray(photo))
    np.testing.assert_array_equal(pixels(tmp_path / "deep" / "out.png"), expected)


def test_progress_is_told_of_a_single_picture_too(
    photo: Image.Image, negatives: Translator, tmp_path: Path
) -> None:
    photo.save(tmp_path / "in.png")
    told: list[tuple[int, int | None]] = []
    translate_path(
        tmp_path / "in.png",
        tmp_path / "out.png",
        negatives,
        progress=lambda done, expected: told.append((done, expected)),
    )
    assert told == [(1, 1)]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_every_format_is_written(
    suffix: str, photo: Image.Image, negatives: Translator, tmp_path: Path
) -> None:
    photo.save(tmp_path / "in.png")
    translate_image(tmp_path / "in.png", tmp_path / f"out{suffix}", negatives)
    difference = pixels(tmp_path / f"out{suffix}").astype(int) - (255 - np.asarray(photo))
    assert np.abs(difference).mean() < (4 if suffix in (".jpg", ".webp") else 1e-9)


def test_modes_become_rgb_by_the_stated_rules(photo: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    grey = np.asarray(photo.convert("L"))
    deep = grey.astype(np.uint16) * 257
    for image, expected in [
        (photo.convert("L"), np.stack([grey] * 3, -1)),
        (Image.fromarray(deep), np.stack([grey] * 3, -1)),
        (photo.convert("CMYK"), np.asarray(photo.convert("CMYK").convert("RGB"))),
        (photo.quantize(64), np.asarray(photo.quantize(64).convert("RGB"))),
        (photo.convert("1"), np.asarray(photo.convert("1").convert("RGB"))),
    ]:
        image.save(path)
        frame, alpha = read_image(path)
        assert alpha is None
        assert frame.dtype == np.uint8
        np.testing.assert_array_equal(frame, expected)


def test_pictures_are_turned_upright(photo: Image.Image, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # Turn by 90 degrees clockwise to see it upright.
    photo.save(tmp_path / "in.png", exif=exif)
    frame, _ = read_image(tmp_path / "in.png")
    np.testing.assert_array_equal(frame, np.rot90(np.asarray(photo), -1))


def test_transparency_stays_or_is_laid_on_white(
    photo: Image.Image, negatives: Translator, tmp_path: Path
) -> None:
    alpha = np.zeros((99, 131), np.uint8)
    alpha[20:60] = 255
    transparent = photo.copy()
    transparent.putalpha(Image.fromarray(alpha))
    transparent.save(tmp_path / "in.png")
    translate_image(tmp_path / "in.png", tmp_path / "out.png", negatives)
    result = pixels(tmp_path / "out.png")
    np.testing.assert_array_equal(result[..., 3], alpha)
    np.testing.assert_array_equal(result[..., :3], 255 - np.asarray(photo))
    (tmp_path / "in").mkdir()
    transparent.save(tmp_path / "in/a.png")
    translate_folder(tmp_path / "in", tmp_path / "folder", negatives)
    np.testing.assert_array_equal(pixels(tmp_path / "folder/a.png"), result)
    translate_image(tmp_path / "in.png", tmp_path / "out.bmp", negatives)
    flat = pixels(tmp_path / "out.bmp")
    assert (flat[:20] == 0).all()
    np.testing.assert_array_equal(flat[20:60], 255 - np.asarray(photo)[20:60])


def test_transparency_costs_no_quality(photo: Image.Image, tmp_path: Path) -> None:
    frame = np.asarray(photo)
    write_image(tmp_path / "opaque.webp", frame)
    write_image(tmp_path / "clear.webp", frame, np.full(frame.shape[:2], 200, np.uint8))
    errors = [
        np.abs(pixels(tmp_path / name)[..., :3].astype(int) - frame).mean()
        for name in ("opaque.webp", "clear.webp")
    ]
    assert errors[1] < 1.1 * errors[0]


def test_a_folder_keeps_its_names_and_goes_on_after_bad_pictures_if_told(
    photo: Image.Image, negatives: Translator, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    for name in ("a.png", "b/c.PNG", "b/d.bmp"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        photo.save(source / name)
    (source / "notes.txt").write_text("no picture")
    calls: list[tuple[int, int | None]] = []
    stats = translate_folder(
        source, tmp_path / "out", negatives, progress=lambda n, of: calls.append((n, of))
    )
    assert stats == ImageStats(pictures=3, skipped=())
    assert calls == [(1, 3), (2, 3), (3, 3)]
    for name in ("a.png", "b/c.PNG", "b/d.bmp"):
        np.testing.assert_array_equal(pixels(tmp_path / "out" / name), 255 - np.asarray(photo))
    cut = source / "b" / "a.png"
    cut.write_bytes((source / "a.png").read_bytes()[:300])
    with pytest.raises(ImageError, match=r"b/a\.png"):
        translate_folder(source, tmp_path / "out2", negatives)
    stats = translate_folder(source, tmp_path / "out3", negatives, skip_bad=True)
    assert stats.pictures == 3
    assert len(stats.skipped) == 1
    assert str(cut) in stats.skipped[0]


def test_paths_are_told_apart_by_content(
    photo: Image.Image, negatives: Translator, frames: np.ndarray, tmp_path: Path
) -> None:
    import av

    photo.save(tmp_path / "picture.dat", format="png")
    with av.open(str(tmp_path / "video.dat"), "w", format="mpeg") as container:
        stream = container.add_stream("mpeg1video", rate=25)
        stream.height, stream.width, stream.pix_fmt = 144, 176, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode(None))
    photo.save(tmp_path / "film.gif", save_all=True, append_images=[photo.rotate(90)])
    assert is_picture(tmp_path / "picture.dat")
    assert not is_picture(tmp_path / "video.dat")
    assert not is_picture(tmp_path / "film.gif")
    stats = translate_path(tmp_path / "video.dat", tmp_path / "out.mp4", negatives)
    assert isinstance(stats, VideoStats)
    assert stats.frames == len(frames)


def test_file_before_a_name_means_the_path(
    photo: Image.Image, copies: Translator, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    photo.save(tmp_path / "photos" / "a.png")
    before = f"file://{tmp_path}"
    translate_path(f"{before}/photos/a.png", f"{before}/b.png", copies)
    translate_path(f"{before}/photos", f"{before}/paintings", copies)
    assert (tmp_path / "b.png").exists()
    assert (tmp_path / "paintings" / "a.png").exists()


@pytest.mark.parametrize("is_folder", [False, True])
def test_settings_of_videos_are_refused_for_pictures(
    is_folder: bool, photo: Image.Image, negatives: Translator, tmp_path: Path
) -> None:
    source, target = tmp_path / "in" / "a.png", tmp_path / "out" / "a.png"
    source.parent.mkdir()
    photo.save(source)
    if is_folder:
        source, target = source.parent, target.parent
    for options, show, named in [
        (VideoOptions(part=Part(size=(8, 8)), compare="side"), None, "compare, size: for videos"),
        (VideoOptions(encoding=Encoding(pixel_format="rgb24")), None, "pixel-format: for videos"),
        (VideoOptions(), lambda frame, seconds: None, "preview: for videos"),
    ]:
        with pytest.raises(ConfigError, match=named):
            translate_path(source, target, negatives, options=options, show=show)
    assert not target.exists()
    with pytest.raises(BackendError, match="takes frames of 8 bits a channel, not 16"):
        translate_path(source, target, negatives, options=VideoOptions(depth=16))
    assert not target.exists()
    translate_path(source, target, negatives, options=VideoOptions(depth=8))
    assert target.exists()


@pytest.fixture
def copies() -> Translator:
    """Gives back what it gets, in both depths."""
    return Translator(Copies(depths=(8, 16)), GraphInfo(config=ResnetConfig()))


def deep_picture(channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 1 << 16, (20, 30, channels), np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_of_sixteen_bits_stay_so(
    channels: int, suffix: str, copies: Translator, tmp_path: Path
) -> None:
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    write_deep(deep_picture(channels), source)
    assert translate_path(source, target, copies) == ImageStats(pictures=1, skipped=())
    expected = deep_picture(channels)
    np.testing.assert_array_equal(
        read_deep(target), expected.repeat(3, axis=2) if channels == 1 else expected
    )


def test_sixteen_bits_are_kept_by_a_real_engine(translator: Translator, tmp_path: Path) -> None:
    write_deep(deep_picture(3), tmp_path / "in.png")
    translate_image(tmp_path / "in.png", tmp_path / "out.png", translator)
    np.testing.assert_array_equal(read_deep(tmp_path / "out.png"), translator(deep_picture(3)))


def test_lost_bits_are_told(copies: Translator, negatives: Translator, tmp_path: Path) -> None:
    write_deep(deep_picture(4), tmp_path / "in" / "a.png")
    stats = translate_image(tmp_path / "in" / "a.png", tmp_path / "a.webp", copies)
    assert stats.notes == (
        "the source has more than 8 bits a channel, .webp holds 8; .png holds 16",
    )
    by_name = translate_image(tmp_path / "in" / "a.png", tmp_path / "a.webp", copies, depth=16)
    assert by_name.notes == stats.notes
    write_deep(deep_picture(3), tmp_path / "in" / "b.tif")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "in" / "c.png")
    stats = translate_folder(tmp_path / "in", tmp_path / "out", negatives)
    (note,) = stats.notes
    assert note.startswith("the source has more than 8 bits a channel, and was translated with 8: ")
    assert note.endswith("takes no more (2 pictures)")
    upper = (deep_picture(3) >> 8).astype(np.uint8)
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "b.tif"), 255 - upper)
    assert not translate_folder(tmp_path / "in", tmp_path / "out", negatives, depth=8).notes


def test_a_form_whose_sixteen_bits_are_not_read_is_translated_with_eight(
    copies: Translator, tmp_path: Path
) -> None:
    """A TIFF whose fourth band is of no kind that is told."""
    write_deep(deep_picture(4), tmp_path / "known.tif")
    known = struct.pack("<HHII", 338, 3, 1, 2)
    unknown = struct.pack("<HHII", 338, 3, 1, 0)
    content = (tmp_path / "known.tif").read_bytes()
    assert content.count(known) == 1
    (tmp_path / "in.tif").write_bytes(content.replace(known, unknown))
    stats = translate_image(tmp_path / "in.tif", tmp_path / "out.tif", copies)
    (note,) = stats.notes
    assert note.endswith("of its form no more are read; store it as a plain PNG")
    upper = (deep_picture(4)[..., :3] >> 8).astype(np.uint8)
    np.testing.assert_array_equal(pixels(tmp_path / "out.tif"), upper)
    with pytest.raises(DepthError, match="a band of an unknown kind"):
        translate_image(tmp_path / "in.tif", tmp_path / "out.tif", copies, depth=16)


@pytest.mark.parametrize(
    ("suffix", "feature", "encoder", "shallow", "deep"),
    [
        ("jp2", "jpg_2000", "jpeg2000", "rgb24", "rgb48le"),
        ("avif", "avif", "libsvtav1", "yuv420p", "yuv420p10le"),
    ],
)
def test_bits_of_formats_that_are_read_with_eight_are_told(
    suffix: str, feature: str, encoder: str, shallow: str, deep: str, tmp_path: Path
) -> None:
    if encoder not in av.codec.codecs_available or not features.check(feature):
        pytest.skip(f"no {suffix} is written or read here")
    takes_both = Translator(Copies(depths=(8, 16)), GraphInfo(config=ResnetConfig()))
    grey = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 99, np.uint8), format="rgb24")
    source, target = tmp_path / f"in.{suffix}", tmp_path / "out.png"
    for pixels in (shallow, deep):
        with av.open(str(source), "w", options={"update": "1"} if suffix == "jp2" else {}) as made:
            stream = made.add_stream(encoder, rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 64, pixels
            made.mux([*stream.encode(grey.reformat(format=pixels)), *stream.encode(None)])
        notes = translate_image(source, target, takes_both).notes
        if pixels == shallow:
            assert not notes
    (note,) = notes
    assert note.startswith("the source has more than 8 bits a channel, and was translated with 8")
    with pytest.raises(DepthError, match="bits a channel: of its format no more are read"):
        translate_image(source, target, takes_both, depth=16)


def test_what_pictures_lose_is_told(photo: Image.Image, copies: Translator, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    exif, upright = Image.Exif(), Image.Exif()
    exif[ExifTags.Base.Make] = "Camera"
    upright[ExifTags.Base.Orientation] = 1
    known = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    photo.save(source / "a.jpg", exif=exif)
    photo.save(source / "b.jpg", exif=upright, icc_profile=known)
    photo.save(source / "c.png", icc_profile=other)
    photo.save(source / "d.png", icc_profile=b"no profile")
    photo.save(source / "e.gif", save_all=True, append_images=[photo.rotate(90)])
    photo.save(source / "f.tif", save_all=True, append_images=[photo.rotate(90)] * 2)
    photo.save(source / "g.jpg", format="mpo", save_all=True, append_images=[photo.rotate(90)])
    stats = translate_folder(source, tmp_path / "out", copies)
    assert stats.pictures == 7
    assert set(stats.notes) == {
        "EXIF data were left out (1 pictures)",
        "the colour profile Lab identity built-in was left out: colours were taken for sRGB "
        "(1 pictures)",
        "the colour profile without a name was left out: colours were taken for sRGB (1 pictures)",
        "of an animation the first picture; by itself it is translated as a video (1 pictures)",
        "of several pictures in a file the first (1 pictures)",
    }


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_exif_data_that_are_left_out_are_told(
    suffix: str, photo: Image.Image, copies: Translator, tmp_path: Path
) -> None:
    """Not of a TIFF, whose tags are EXIF's, what says how it is stored."""
    described = {
        ExifTags.Base.Make: "Camera",
        ExifTags.Base.Copyright: "A photographer",
        ExifTags.IFD.Exif: {ExifTags.Base.ExposureTime: 0.01},
        ExifTags.IFD.GPSInfo: {ExifTags.GPS.GPSLatitudeRef: "N"},
    }
    source = tmp_path / f"in{suffix}"

    def notes(exif: Image.Exif) -> tuple[str, ...]:
        photo.save(source, exif=exif.tobytes(), dpi=(300, 300))
        return translate_image(source, tmp_path / "out.png", copies).notes

    for tag, value in described.items():
        exif = Image.Exif()
        exif[tag] = value
        assert notes(exif) == ("EXIF data were left out",)
    upright = Image.Exif()
    upright[ExifTags.Base.Orientation] = 1
    assert notes(upright) == ()


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_a_depth_can_be_asked_for(
    suffix: str, photo: Image.Image, copies: Translator, tmp_path: Path
) -> None:
    photo.putalpha(Image.fromarray(np.asarray(photo)[..., 0]))
    photo.save(tmp_path / "in.png")
    frame, _ = read_image(tmp_path / "in.png", keep_alpha=suffix == ".png")
    target = tmp_path / f"out{suffix}"
    assert not translate_image(tmp_path / "in.png", target, copies, depth=16).notes
    if suffix == ".bmp":
        np.testing.assert_array_equal(pixels(target), frame)
        return
    np.testing.assert_array_equal(read_deep(target)[..., :3], frame * np.uint16(257))
    opacity = np.asarray(photo)[..., 3] * np.uint16(257)
    np.testing.assert_array_equal(read_deep(target)[..., 3], opacity)


@pytest.mark.parametrize("format", ["mpo", "tiff"])
def test_pages_and_previews_do_not_make_a_video(
    format: str, photo: Image.Image, negatives: Translator, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    photo.save(source, format=format, save_all=True, append_images=[photo.rotate(90)])
    with Image.open(source) as image:
        assert (image.format or "").lower() == format
        assert image.n_frames == 2  # type: ignore[attr-defined]
        first = np.asarray(image.convert("RGB"))
    translate_path(source, tmp_path / "out.png", negatives)
    np.testing.assert_array_equal(pixels(tmp_path / "out.png"), 255 - first)


@pytest.mark.parametrize("format", ["png", "webp", "gif", "avif"])
def test_animations_are_no_pictures(format: str, photo: Image.Image, tmp_path: Path) -> None:
    if format == "avif" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    photo.save(tmp_path / "still", format=format)
    photo.save(tmp_path / "film", format=format, save_all=True, append_images=[photo.rotate(90)])
    assert is_picture(tmp_path / "still")
    assert not is_picture(tmp_path / "film")


def test_a_picture_of_absurd_size_is_an_error(
    photo: Image.Image, negatives: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo.save(tmp_path / "in.dat", format="png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for translate in (translate_path, translate_image):
        with pytest.raises(ImageError, match=r"in\.dat.*decompression bomb"):
            translate(tmp_path / "in.dat", tmp_path / "out.png", negatives)


def test_what_cannot_be_read_or_written_says_why(
    photo: Image.Image, negatives: Translator, tmp_path: Path
) -> None:
    photo.save(tmp_path / "in.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out.png"
    out.write_bytes(b"old")
    for name, message in [
        ("missing.png", "no file or folder"),
        ("text.png", "cannot read"),
        ("empty", "no pictures under"),
    ]:
        with pytest.raises(DataError, match=message):
            translate_path(tmp_path / name, out, negatives)
    with pytest.raises(OutputError, match="by the name's ending"):
        translate_image(tmp_path / "in.png", tmp_path / "out.xyz", negatives)
    with pytest.raises(OutputError, match="cannot write"):
        write_image(tmp_path / "in.png" / "out.png", np.asarray(photo))
    assert out.read_bytes() == b"old"


def test_a_folder_does_not_go_to_standard_output(
    photo: Image.Image,
    negatives: Translator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It became a folder called -."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    photo.save(tmp_path / "in" / "one.png")
    with pytest.raises(OutputError, match=r"in is a folder of pictures, .* give the name of a fol"):
        translate_path("in", "-", negatives)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_folder_does_not_become_one_that_is_called_as_a_video(
    photo: Image.Image, negatives: Translator, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    photo.save(tmp_path / "in" / "a.png")
    target = tmp_path / "out.MP4"
    with pytest.raises(OutputError, match=r"out\.MP4 is called as a video.*in.\*\.png'$"):
        translate_path(tmp_path / "in", target, negatives)
    assert not target.exists()
    target.mkdir()  # by somebody who wants it so
    translate_path(tmp_path / "in", target, negatives)
    assert (target / "a.png").exists()


def test_an_animated_webp_is_a_video_where_ffmpeg_decodes_it(
    photo: Image.Image, negatives: Translator, tmp_path: Path
) -> None:
    """FFmpeg does from 9.0 on, with PyAV 19; before, the error tells it apart from damage."""
    source, target = tmp_path / "in.webp", tmp_path / "out.mkv"
    photo.save(source, save_all=True, append_images=[photo.rotate(180)], duration=[100, 300])
    if "webp_anim" not in av.codec.codecs_available:
        with pytest.raises(VideoError, match=r"FFmpeg decodes animated WebP from 9\.0 .*a \.gif"):
            translate_path(source, target, negatives)
        return
    translate_path(source, target, negatives)
    with av.open(str(target)) as video:
        frames = [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in video.decode()]
    assert [time for time, _ in frames] == pytest.approx([0, 0.1])
    for (_, frame), turned in zip(frames, (photo, photo.rotate(180)), strict=True):
        assert np.abs(255.0 - frame - np.asarray(turned)).mean() < 6


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow writes no AVIF")
def test_an_animated_avif_is_a_video_beside_whose_still_picture_nothing_is_left_out(
    photo: Image.Image, negatives: Translator, tmp_path: Path
) -> None:
    source, target = tmp_path / "in.avif", tmp_path / "out.mkv"
    photo.save(source, save_all=True, append_images=[photo.rotate(180)], duration=[100, 300])
    stats = translate_path(source, target, negatives)
    assert isinstance(stats, VideoStats)
    assert (stats.frames, stats.notes) == (2, ())


@pytest.mark.parametrize("decodes", [False, True])
def test_a_damaged_webp_may_be_an_animation_only_where_ffmpeg_decodes_none(
    decodes: bool,
    photo: Image.Image,
    negatives: Translator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photo.save(tmp_path / "in.webp")
    damaged = bytearray((tmp_path / "in.webp").read_bytes())
    damaged[12:] = bytes(len(damaged) - 12)
    (tmp_path / "in.webp").write_bytes(damaged)
    monkeypatch.setattr(av.codec, "codecs_available", {"webp_anim"} if decodes else set())
    with pytest.raises(VideoError, match="no frames that can be decoded") as caught:
        translate_video(tmp_path / "in.webp", tmp_path / "out.mp4", negatives)
    assert ("animated WebP" in str(caught.value)) != decodes


def test_a_generator_of_one_channel_sees_grey(photo: Image.Image, tmp_path: Path) -> None:
    config = ResnetConfig(in_channels=1, out_channels=1)
    photo.save(tmp_path / "in.png")
    translate_image(
        tmp_path / "in.png",
        tmp_path / "out.png",
        Translator(Negatives(), GraphInfo(config=config)),
    )
    expected = 255 - np.asarray(photo.convert("L"))
    np.testing.assert_array_equal(pixels(tmp_path / "out.png"), expected)


def test_sources_are_never_written_over(
    photo: Image.Image, negatives: Translator, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    names = ("a.png", "in/a.png")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        photo.save(folder / name)
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "hard.png").hardlink_to(folder / "a.png")
    for source, target, message in [
        (folder, folder, "is the source itself"),
        (folder, tmp_path / "link", "is the source itself"),
        (folder, folder / "out", "lies inside the source folder"),
        (folder, tmp_path / "link" / "out", "lies inside the source folder"),
        (folder, tmp_path, "is a source itself"),
        (folder / "a.png", folder / "a.png", "is the source itself"),
        (folder / "a.png", tmp_path / "hard.png", "is the source itself"),
    ]:
        with pytest.raises(OutputError, match=message):
            translate_path(source, target, negatives)
        assert sorted(p.name for p in folder.rglob("*")) == ["a.png", "a.png", "in"]
        for name in names:
            np.testing.assert_array_equal(pixels(folder / name), np.asarray(photo))
    (tmp_path / "new").mkdir()
    assert translate_path(folder, tmp_path / "new", negatives).pictures == 2  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "translate", [translate_video, translate_path, translate_folder, translate_image]
)
def test_a_model_is_no_translator(translate: Any, tmp_path: Path) -> None:
    """Said before anything is read or written."""
    given = tmp_path / "in"
    if translate is translate_image:
        given = given / "a.png"
    write_picture(np.zeros((8, 8, 3), np.uint8), tmp_path / "in/a.png")
    for wrong in ("painter.onnx", None):
        with pytest.raises(ConfigError, match=f"got {wrong!r} as translator; .*Translator.open"):
            translate(given, tmp_path / "out.png", wrong)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
