from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from videos import decoded, smooth, times, write_video

from cyclegan.demuxing import open_container
from cyclegan.engine.comparison import wipe
from cyclegan.engine.containers import VideoReader
from cyclegan.engine.cutting import LATEST, Part
from cyclegan.engine.encoding import Encoding
from cyclegan.engine.layout import lost_of
from cyclegan.engine.options import VideoOptions
from cyclegan.engine.translator import Translator
from cyclegan.engine.video import translate_video
from cyclegan.errors import ConfigError, OutputError, VideoError
from cyclegan.side_data import display_matrix
from cyclegan.sources import list_items, read_item

Clip = Callable[[str], Path]


def encoded(**settings: object) -> VideoOptions:
    return VideoOptions(encoding=Encoding(**settings))  # type: ignore[arg-type]


def rgb(path: Path) -> np.ndarray:
    return np.stack([picture.to_ndarray(format="rgb24") for picture in decoded(path)])


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize(
    "matrix",
    [
        (-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30),  # mirrored left to right
        (0, 65536, 0, 65536, 0, 0, 0, 0, 1 << 30),  # turned and mirrored
        (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30),  # turned
    ],
)
def test_turns_and_mirrors_stay(
    matrix: tuple[int, ...], suffix: str, copies: Translator, tmp_path: Path
) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(2), matrix_of_display=matrix)
    target = tmp_path / f"out{suffix}"
    assert translate_video(source, target, copies).notes == ()
    for path in (source, target):
        side = decoded(path)[0].side_data["DISPLAYMATRIX"]
        assert tuple(np.frombuffer(bytes(side), np.int32)) == matrix


def test_side_data_that_goes_by_its_names_is_found() -> None:
    # As PyAV has it since 19; before, it gives the data themselves one after the other.
    turned = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    sides = {"A53_CC": b"words", "DISPLAYMATRIX": np.array(turned, np.int32).tobytes()}
    picture: Any = SimpleNamespace(interlaced_frame=False, side_data=sides)
    assert display_matrix(picture) == turned
    (lost,) = lost_of(picture)
    assert "closed captions" in lost


def test_a_container_that_cannot_turn_pictures_says_so(copies: Translator, tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(2), rotation=90)
    (note,) = translate_video(source, tmp_path / "out.ts", copies).notes
    assert "turned" in note


@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(1)])
@pytest.mark.parametrize(
    ("name", "encoder", "kept"),
    [
        ("out.mp4", "libvpx-vp9", True),
        ("out.mkv", "libx264", True),
        ("out.mkv", "libx265", True),
        ("out.avi", "mpeg4", True),
        ("out.webm", "auto", False),
        ("out.mkv", "ffv1", False),
        ("out.mkv", "libsvtav1", False),
        ("out.y4m", "auto", False),
    ],
)
def test_the_shape_of_pixels_stays_or_its_loss_is_told(
    name: str, encoder: str, kept: bool, aspect: Fraction, copies: Translator, tmp_path: Path
) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(5, 96, 80), aspect=aspect)
    notes = translate_video(source, tmp_path / name, copies, encoded(encoder=encoder)).notes
    with av.open(str(tmp_path / name)) as container:
        next(container.decode(video=0))
        seen = container.streams.video[0].sample_aspect_ratio
    assert (seen or 1) == (aspect if kept else 1)
    if kept or aspect == 1:
        assert notes == ()
    else:
        (note,) = notes
        assert note.startswith("the shape of the pixels, 4:3, was left out")


def test_a_shape_of_pixels_that_is_not_known_is_none(tmp_path: Path) -> None:
    # PyAV gives FFmpeg's 0/1 for it since 19, and None before.
    source = write_video(tmp_path / "in.mkv", smooth(1))
    with VideoReader(source) as reader:
        rate = Fraction(25)
        reader.video = SimpleNamespace(average_rate=rate, sample_aspect_ratio=Fraction(0))
        assert reader._layout(decoded(source)[0]).pixel_aspect is None


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_ten_bits_stay_ten(suffix: str, copies: Translator, tmp_path: Path) -> None:
    tags = {"matrix": 9, "span": 1, "primaries": 9, "transfer": 14}
    source = write_video(tmp_path / "in.mp4", smooth(3), pix_fmt="yuv422p10le", **tags)
    translate_video(source, tmp_path / f"out{suffix}", copies)
    before, after = decoded(source), decoded(tmp_path / f"out{suffix}")
    assert {picture.format.name for picture in after} == {"yuv422p10le"}
    for old, new in zip(before, after):
        # This engine takes 8 bits: half a step of four is lost, and coding.
        difference = old.to_ndarray().astype(int) - new.to_ndarray()
        assert np.abs(difference).mean() < 4
    translate_video(source, tmp_path / "eight.mp4", copies, encoded(pixel_format="yuv420p"))
    assert decoded(tmp_path / "eight.mp4")[0].format.name == "yuv420p"


@pytest.mark.parametrize(
    ("suffix", "form"),
    [(".png", "PNG"), (".jpg", "JPEG"), (".bmp", "BMP"), (".tif", "TIFF"), (".webp", "WEBP")],
)
@pytest.mark.parametrize("size", [(64, 48), (45, 37)])
def test_numbered_pictures_are_what_their_names_say(
    suffix: str, form: str, size: tuple[int, int], copies: Translator, tmp_path: Path
) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(2, *size))
    translate_video(source, tmp_path / f"%d{suffix}", copies)
    with Image.open(tmp_path / f"2{suffix}") as image:
        assert image.format == form
        seen = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(seen - smooth(2, *size)[1]).mean() < 4


def test_numbered_pictures_of_other_names_need_an_encoder(
    copies: Translator, tmp_path: Path
) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(2))
    with pytest.raises(OutputError, match=r"end in \.exr have no encoder .* are \.png, \.jpg"):
        translate_video(source, tmp_path / "%d.exr", copies)
    assert not list(tmp_path.glob("*.exr"))
    translate_video(source, tmp_path / "%d.exr", copies, encoded(encoder="exr"))
    assert (tmp_path / "1.exr").read_bytes()[:4] == b"v/1\x01"
    with pytest.raises(VideoError, match="mjpeg in image2 files cannot be lossless"):
        translate_video(source, tmp_path / "%d.jpg", copies, encoded(lossless=True))


@pytest.mark.parametrize(
    "name",
    [
        "out.mp4",
        "out.mov",
        "out.mkv",
        "out.webm",
        "%03d.png",
        "%03d.bmp",
        "%03d.tif",
        "%03d.webp",
    ],
)
def test_lossless_files_hold_the_very_frames(name: str, copies: Translator, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 38, 46, 3), np.uint8)
    (tmp_path / "in").mkdir()
    for number, frame in enumerate(noise, 1):
        av.VideoFrame.from_ndarray(frame, format="rgb24").save(tmp_path / f"in/{number:03}.png")
    assert (rgb(tmp_path / "in/001.png")[0] == noise[0]).all()
    target = tmp_path / name
    stats = translate_video(tmp_path / "in/%03d.png", target, copies, encoded(lossless=True))
    assert stats.frames == 3
    if "%" in name:
        assert [rgb(tmp_path / (name % n)).tolist() for n in (1, 2, 3)] == [
            [frame.tolist()] for frame in noise
        ]
    else:
        np.testing.assert_array_equal(rgb(target), noise)


@pytest.mark.parametrize(
    ("form", "codec", "name"),
    [
        ("yuva420p", "ffv1", "in.mkv"),
        ("rgba", "png", "in.mov"),
        ("yuva420p", "libvpx-vp9", "in.webm"),
    ],
)
def test_transparency_is_left_out_and_said(
    form: str, codec: str, name: str, copies: Translator, tmp_path: Path
) -> None:
    source = tmp_path / name
    with av.open(str(source), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, form
        for frame in smooth(2):
            shown = av.VideoFrame.from_ndarray(frame, format="rgb24")
            container.mux(stream.encode(shown.reformat(format=form)))
        container.mux(stream.encode(None))
    target = tmp_path / f"out{source.suffix}"
    (note,) = translate_video(source, target, copies).notes
    assert note == "the transparency of the source was left out"
    with av.open(str(target)) as made:
        assert "alpha_mode" not in {key.lower() for key in made.streams.video[0].metadata}


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("palette", "png"), ("later", "png"), ("opaque", "png"), ("opaque", "bmp"), ("opaque", "tga")],
)
def test_transparency_of_numbered_pictures_is_said_wherever_it_is(
    kind: str, suffix: str, copies: Translator, tmp_path: Path
) -> None:
    for number, frame in enumerate(smooth(3)):
        picture = Image.fromarray(frame)
        if kind != "later":
            picture = picture.quantize(16)
        elif number == 2:
            picture.putalpha(128)
        clear = {"transparency": 0} if kind == "palette" else {}
        picture.save(tmp_path / f"{number}.{suffix}", **clear)
    notes = translate_video(tmp_path / f"%d.{suffix}", tmp_path / "out.mp4", copies).notes
    assert notes == ("the transparency of the source was left out",) * (kind != "opaque")


@pytest.mark.parametrize(
    ("encoder", "options", "notes"),
    [
        (
            "libx265",
            {
                "x265-params": "log-level=error:max-cll=1000,400:master-display="
                "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
            },
            ["HDR metadata: the display that it was made for", "HDR metadata: how bright it is"],
        ),
        ("libx264", {"flags": "+ildct", "x264-params": "tff=1"}, ["the order of fields"]),
    ],
)
def test_what_pictures_lose_is_told(
    encoder: str, options: dict[str, str], notes: list[str], copies: Translator, tmp_path: Path
) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream(encoder, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 80, "yuv420p"
        for frame in smooth(5, 96, 80):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    said = translate_video(source, tmp_path / "out.mp4", copies).notes
    for note, text in zip(said, notes, strict=True):
        assert note.startswith(f"left out: {text}")


def test_closed_captions_are_left_out_and_said(copies: Translator, tmp_path: Path) -> None:
    """As ATSC A/53 has them (part 4, section 6.2.3), in an SEI message before the first slice."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.time_base = 96, 80, Fraction(1, 25)  # type: ignore[attr-defined]
    encoder.pix_fmt = "yuv420p"  # type: ignore[attr-defined]
    frames = [av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in smooth(3, 96, 80)]
    for number, frame in enumerate(frames):
        frame.pts = number
    packets = [packet for frame in (*frames, None) for packet in encoder.encode(frame)]  # type: ignore[attr-defined]
    stream = b"".join(bytes(packet) for packet in packets)
    caption = b"\xb5\x00\x31GA94\x03\xc1\xff\xfc\x94\x20\xff"
    message = b"\x00\x00\x00\x01\x06\x04" + bytes([len(caption)]) + caption + b"\x80"
    slice_at = stream.index(b"\x00\x00\x01\x65")
    (tmp_path / "in.h264").write_bytes(stream[:slice_at] + message + stream[slice_at:])
    said = translate_video(tmp_path / "in.h264", tmp_path / "out.mp4", copies).notes
    assert [note for note in said if "closed captions (CEA-608" in note]
    (tmp_path / "in.h264").write_bytes(stream)
    said = translate_video(tmp_path / "in.h264", tmp_path / "out.mp4", copies).notes
    assert not [note for note in said if "captions" in note]


@pytest.mark.parametrize(("end", "frames"), [(0.04, 1), (0.28, 7), (0.29, 8), (0.31, 8), (0.32, 8)])
def test_a_part_has_the_frames_before_its_end(
    end: float, frames: int, copies: Translator, tmp_path: Path
) -> None:
    """In a container whose times are those of frames, 1/25 s."""
    film, source = write_video(tmp_path / "in.mp4", smooth(12)), tmp_path / "in.y4m"
    translate_video(film, source, copies)
    options = VideoOptions(part=Part(end=end))
    assert translate_video(source, tmp_path / "out.mkv", copies, options).frames == frames


def test_an_animation_stays_one(copies: Translator, tmp_path: Path) -> None:
    first, *others = [Image.fromarray(frame) for frame in smooth(4)]
    lasting = [80, 80, 80, 2000]
    first.save(tmp_path / "in.gif", save_all=True, append_images=others, duration=lasting)
    notes = translate_video(tmp_path / "in.gif", tmp_path / "out.gif", copies).notes
    assert any("256 fixed" in note for note in notes)
    assert times(tmp_path / "out.gif") == [Fraction(8 * n, 100) for n in range(4)]
    with Image.open(tmp_path / "out.gif") as image:
        shown = [(image.seek(n), image.info["duration"])[1] for n in range(4)]
    assert shown == lasting, "milliseconds; the last frame's too"
    assert np.abs(rgb(tmp_path / "out.gif")[3].astype(int) - smooth(4)[3]).mean() < 24


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("suffix", "encoder"),
    [
        (".mp4", "auto"),
        (".mov", "libx265"),
        (".mp4", "mpeg4"),
        (".mp4", "libsvtav1"),
        (".mkv", "auto"),
        (".webm", "auto"),
    ],
)
def test_a_pause_at_the_end_of_an_animation_stays_in_a_video(
    suffix: str, encoder: str, resume: bool, copies: Translator, tmp_path: Path
) -> None:
    """Frames are decoded in the order in which they are shown, or not; encoders know of times."""
    first, *others = [Image.fromarray(frame) for frame in smooth(12)]
    lasting = [80] * 11 + [1500]
    first.save(tmp_path / "in.gif", save_all=True, append_images=others, duration=lasting)
    options = VideoOptions(resume=resume, encoding=Encoding(encoder=encoder))
    target = tmp_path / f"out{suffix}"
    translate_video(tmp_path / "in.gif", target, copies, options)
    assert times(target) == [Fraction(8 * n, 100) for n in range(12)]
    with av.open(str(target)) as container:
        assert container.duration == sum(lasting) * 1000


def test_lossless_leaves_nothing_to_choose() -> None:
    with pytest.raises(ConfigError, match="nothing to choose"):
        Encoding(lossless=True, quality=3)


@pytest.mark.parametrize("source_kind", ["even", "odd"])
def test_webm_is_vp9_with_the_same_times(
    source_kind: str, copies: Translator, tmp_path: Path
) -> None:
    size = (64, 48) if source_kind == "even" else (45, 37)
    uneven = [540, 581, 600, 930, 1660]
    source = write_video(tmp_path / "in.mkv", smooth(5, *size), uneven)
    assert translate_video(source, tmp_path / "out.webm", copies).notes == ()
    assert times(tmp_path / "out.webm") == times(source)
    with av.open(str(tmp_path / "out.webm")) as container:
        video = container.streams.video[0]
        assert (video.codec_context.name, video.width, video.height) == ("libvpx-vp9", *size) or (
            video.codec_context.codec.canonical_name,
            video.width,
            video.height,
        ) == ("vp9", *size)


@pytest.mark.parametrize(
    ("name", "settings", "codec", "pixels"),
    [
        ("out.mkv", {"encoder": "ffv1"}, "ffv1", "yuv444p"),
        ("out.mp4", {"encoder": "libx265", "quality": 30}, "hevc", "yuv444p"),
        ("out.mp4", {"encoder": "libsvtav1"}, "av1", "yuv420p"),
        ("out.mov", {"encoder": "prores_ks"}, "prores", "yuv444p12le"),  # as its decoder has it
        ("out.avi", {"encoder": "mpeg4"}, "mpeg4", "yuv420p"),
        ("out.bin", {"container": "mkv", "pixel_format": "yuv420p"}, "h264", "yuv420p"),
        ("out.ts", {}, "h264", "yuv444p"),
        ("out.avi", {}, "h264", "yuv444p"),
        ("out.mkv", {"encoder": "mjpeg"}, "mjpeg", "yuvj444p"),
    ],
)
def test_encoder_container_and_pixels_can_be_chosen(
    name: str, settings: dict[str, str], codec: str, pixels: str, copies: Translator, tmp_path: Path
) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(4, 96, 80))
    assert translate_video(source, tmp_path / name, copies, encoded(**settings)).frames == 4
    with av.open(str(tmp_path / name)) as container:
        video = container.streams.video[0]
        assert video.codec_context.codec.canonical_name == codec
        assert video.pix_fmt == pixels
    back = rgb(tmp_path / name)
    assert len(back) == 4
    assert np.abs(back[0].astype(int) - smooth(1, 96, 80)[0]).mean() < 12


@pytest.mark.parametrize(
    ("name", "encoder", "best", "worst"),
    [
        ("out%01d.jpg", "auto", 1, 31),
        ("out%01d.webp", "auto", 100, 10),
        ("out.avi", "mjpeg", 2, 20),
        ("out.mkv", "mpeg2video", 2, 20),
        ("out.mp4", "mpeg4", 2, 20),
        ("out.mp4", "libx264", 10, 40),
        ("out.mp4", "libx265", 10, 40),
        ("out.webm", "auto", 10, 50),
        ("out.mp4", "libsvtav1", 10, 50),
    ],
)
def test_quality_shows(
    name: str, encoder: str, best: int, worst: int, copies: Translator, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    grainy = [np.clip(f + rng.normal(0, 20, f.shape), 0, 255).astype(np.uint8) for f in smooth(2)]
    source = write_video(tmp_path / "in.mkv", grainy)
    errors, sizes = [], []
    for quality in (best, worst):
        settings = {"encoder": encoder, "quality": quality}
        translate_video(source, tmp_path / name, copies, encoded(**settings))
        written = tmp_path / name.replace("%01d", "0")
        written = written if written.exists() else tmp_path / name.replace("%01d", "1")
        errors.append(np.abs(rgb(written)[0].astype(float) - rgb(source)[0]).mean())
        sizes.append(written.stat().st_size)
    assert errors[0] < 0.9 * errors[1]
    assert sizes[0] > 2 * sizes[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pixel_format": "bgr24"}, "libx264 takes no bgr24; it takes yuv420p"),
        ({"encoder": "prores_ks", "quality": 3}, "no quality to set"),
        ({"encoder": "mpeg4", "lossless": True}, "cannot be lossless"),
        ({"encoder": "mpeg4", "quality": 40}, "a quality of 1, the best, to 31; got 40"),
    ],
)
def test_what_an_encoder_cannot_do_is_told(
    settings: dict[str, object], message: str, clip: Clip, copies: Translator, tmp_path: Path
) -> None:
    with pytest.raises(VideoError, match=message):
        translate_video(
            clip("carphone_pristine"), tmp_path / "out.mov", copies, encoded(**settings)
        )
    assert list(tmp_path.iterdir()) == []


def with_extras(path: Path, frames: int = 50) -> Path:
    """A video with chapters, titles, languages and an attached font."""
    silent = write_video(path.with_suffix(".mp4"), smooth(frames))
    with av.open(str(silent)) as a, av.open(str(path), "w") as b:
        stream = b.add_stream_from_template(a.streams.video[0])
        stream.metadata["language"] = "nld"
        b.metadata["title"] = "A walk"
        b.add_attachment("letters.ttf", "font/ttf", b"not much of a font")
        milli = Fraction(1, 1000)
        b.set_chapters(
            [
                {"id": 1, "start": 0, "end": 800, "time_base": milli, "metadata": {"title": "Go"}},
                {"id": 2, "start": 800, "end": 2000, "time_base": milli, "metadata": {}},
            ]
        )
        for packet in a.demux():
            if packet.dts is not None:
                packet.stream = stream
                b.mux(packet)
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_chapters_titles_and_attachments_stay(
    suffix: str, copies: Translator, tmp_path: Path
) -> None:
    source, target = with_extras(tmp_path / "in.mkv"), tmp_path / f"out{suffix}"
    notes = translate_video(source, target, copies).notes
    with av.open(str(target)) as container:
        assert container.metadata["title"] == "A walk"
        assert container.streams.video[0].language == "nld"
        marks = [
            (float(c["start"] * c["time_base"]), float(c["end"] * c["time_base"]))
            for c in container.chapters()
        ]
        assert marks[0] == (0, 0.8)
        assert marks[1] == (0.8, pytest.approx(2.0, abs=0.04))  # .mp4 ends them with the frames
        assert container.chapters()[0]["metadata"]["title"] == "Go"
        if suffix == ".mkv":
            (font,) = [s for s in container.streams if s.type == "attachment"]
            assert (font.mimetype, font.data) == ("font/ttf", b"not much of a font")
            assert notes == ()
        else:
            assert ["attachment stream" in note for note in notes] == [True]
            # .mp4 keeps the names of chapters in a stream of its own.
            assert translate_video(target, tmp_path / "again.mp4", copies).notes == ()


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".avi"])
def test_titles_that_are_no_utf8_stay_byte_for_byte(
    suffix: str, copies: Translator, tmp_path: Path
) -> None:
    """As old files have them, of which nothing tells the encoding."""
    source, target = with_extras(tmp_path / "in.mkv", 5), tmp_path / f"out{suffix}"
    whole = source.read_bytes()
    source.write_bytes(whole.replace(b"A walk", b"A w\xe4lk").replace(b"Go", b"\xf6!"))
    translate_video(source, target, copies)
    with open_container(str(target)) as container:
        assert container.metadata["title"].encode(errors="surrogateescape") == b"A w\xe4lk"
        if suffix != ".avi":
            mark = container.chapters()[0]["metadata"]["title"]
            assert mark.encode(errors="surrogateescape") == b"\xf6!"
    frames = list_items(source)
    assert len(frames) == 5, "a domain's frames can be drawn from it, too"
    assert read_item(frames[0]).shape == (48, 64, 3)


def test_chapters_are_cut_to_the_part(copies: Translator, tmp_path: Path) -> None:
    source, target = with_extras(tmp_path / "in.mkv"), tmp_path / "out.mkv"

    def marks(start: float, end: float) -> list[tuple[float, float]]:
        options = VideoOptions(part=Part(start=start, end=end))
        translate_video(source, target, copies, options)
        with av.open(str(target)) as container:
            spans = [(c["start"], c["end"], c["time_base"]) for c in container.chapters()]
        return [(float(a * base), pytest.approx(float(b * base))) for a, b, base in spans]

    assert marks(0.4, 1.2) == [(0, 0.4), (0.4, 0.8)]
    assert marks(1.0, 1.4) == [(0, 0.4)], "the other one is over by then"
    assert marks(0.8, 1.2) == [(0, 0.4)], "the other one is just over"


@pytest.mark.parametrize("suffix", [".mp4", ".y4m"])
def test_the_number_of_frames_is_known_before(
    suffix: str, copies: Translator, tmp_path: Path
) -> None:
    source = tmp_path / f"in{suffix}"
    translate_video(write_video(tmp_path / "a.mp4", smooth(50)), source, copies)
    for part, expected in [
        (Part(), 50),
        (Part(end=1), 25),
        (Part(start=0.5), 38),
        (Part(start=0.4, end=1.2), 20),
        (Part(start=0.4, end=9), 40),
    ]:
        with VideoReader(source, part) as reader:
            assert reader.expected_frames == expected


def test_a_part_is_cut_exactly_and_begins_at_zero(
    clip: Clip, copies: Translator, tmp_path: Path
) -> None:
    source, target = clip("bigbuckbunny"), tmp_path / "out.mp4"
    options = VideoOptions(part=Part(start=2.0, end=3.0, size=(90, 160)))
    stats = translate_video(source, target, copies, options)
    expected = [t - 2 for t in times(source) if 2 <= t < 3]
    assert stats.frames == len(expected) == 25
    assert times(target) == expected
    picture = decoded(target)[0]
    assert (picture.width, picture.height) == (160, 90)
    before = next(p for p in decoded(source) if p.pts * p.time_base >= 2)
    small = before.reformat(160, 90, "rgb24").to_ndarray().astype(float)
    assert np.abs(small - picture.to_ndarray(format="rgb24")).mean() < 6
    with av.open(str(target)) as container:
        sound = [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.size]
        assert 0 <= sound[0] < 0.03
        assert 0.95 < sound[-1] < 1


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_a_part_is_the_same_with_and_without_an_index(
    suffix: str, copies: Translator, tmp_path: Path
) -> None:
    source = write_video(tmp_path / f"in{suffix}", smooth(60))
    assert len(times(source)) == 60
    stats = translate_video(
        source,
        tmp_path / "out.mkv",
        copies,
        VideoOptions(part=Part(start=float(times(source)[20]), end=float(times(source)[30]))),
    )
    assert stats.frames == 10


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
def test_a_part_behind_the_end_is_told(
    suffix: str, resume: bool, copies: Translator, tmp_path: Path
) -> None:
    source = write_video(tmp_path / f"in{suffix}", smooth(25))
    options = VideoOptions(part=Part(start=50), resume=resume)
    with pytest.raises(VideoError, match=r"no frames from 50 s on: it ends after [12]\.\d\d s"):
        translate_video(source, tmp_path / "out.mp4", copies, options)


def test_the_latest_part_can_be_looked_for(copies: Translator, tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(2))
    with pytest.raises(VideoError, match="it ends after"):
        translate_video(source, tmp_path / "out.mp4", copies, VideoOptions(part=Part(start=LATEST)))


@pytest.mark.parametrize(
    "part",
    [{"start": -1}, {"start": 1e30}, {"start": 2, "end": 1}, {"end": 0}, {"size": (0, 4)}],
)
def test_parts_that_cannot_be_are_refused(part: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        Part(**part)  # type: ignore[arg-type]


def test_another_size_keeps_the_shape_on_the_screen(copies: Translator, tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(2, 64, 48))
    options = VideoOptions(part=Part(size=(48, 48)))
    translate_video(source, tmp_path / "out.mp4", copies, options)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


def test_source_and_translation_can_be_seen_together(copies: Translator, tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(5))
    translate_video(source, tmp_path / "out.mp4", copies, VideoOptions(compare="side"))
    for picture in rgb(tmp_path / "out.mp4"):
        assert picture.shape == (48, 128, 3)
        assert np.abs(picture[:, :64].astype(int) - picture[:, 64:]).mean() < 3
    before, after = np.zeros((4, 100, 3), np.uint8), np.full((4, 100, 3), 9, np.uint8)
    assert (wipe(before, after, 0.0)[:, 1:] == 9).all()
    assert (wipe(before, after, 2.0)[:, :99] == 0).all()
    middle = wipe(before, after, 1.0)[0, :, 0]
    assert (middle[:48] == 0).all()
    assert (middle[52:] == 9).all()


def test_the_border_moves_by_the_times_of_the_frames(copies: Translator, tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", smooth(4), [0, 500, 1000, 2000])
    translate_video(source, tmp_path / "out.mp4", copies, VideoOptions(compare="wipe"))
    for picture, edge in zip(rgb(tmp_path / "out.mp4"), (0, 9, 32, 64)):
        white = picture.min(axis=(0, 2)) > 200
        assert np.flatnonzero(white).tolist() == [n for n in (edge - 1, edge) if 0 <= n < 64]


def test_palette_pictures_and_absurd_rates_are_translated(
    copies: Translator, tmp_path: Path
) -> None:
    frames = smooth(3)
    path = tmp_path / "palette.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=90_000)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "pal8"
        for number, frame in enumerate(frames):
            indices = (frame[..., 0] // 16).astype(np.uint8)
            palette = np.zeros((256, 4), np.uint8)
            palette[:16] = [[255, n * 16, 255 - n * 16, n * 4] for n in range(16)]
            picture = av.VideoFrame.from_ndarray((indices, palette), format="pal8")
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    stats = translate_video(path, tmp_path / "out.mkv", copies)
    assert stats.frames == 3
    seen, expected = rgb(tmp_path / "out.mkv")[0], rgb(path)[0]
    assert len(np.unique(expected.reshape(-1, 3), axis=0)) > 5
    assert np.abs(seen.astype(int) - expected).mean() < 12


def test_webm_without_room_for_the_sound_says_so(
    clip: Clip, copies: Translator, tmp_path: Path
) -> None:
    options = VideoOptions(part=Part(end=0.2, size=(36, 64)))
    (note,) = translate_video(clip("bigbuckbunny"), tmp_path / "out.webm", copies, options).notes
    assert "aac" in note
    assert ".mkv can" in note


def test_codecs_that_a_container_cannot_hold_are_refused(
    clip: Clip, copies: Translator, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="cannot hold ffv1"):
        translate_video(
            clip("carphone_pristine"), tmp_path / "out.webm", copies, encoded(encoder="ffv1")
        )
