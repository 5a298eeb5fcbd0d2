"""Domains that are lists and videos."""

import io
import math
import os
import struct
import subprocess
import sys
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from PIL import Image, features

from cyclegan.config import DataConfig
from cyclegan.data import UnpairedPictures, batches, tensor_from_pictures
from cyclegan.deep_pictures import write_deep
from cyclegan.errors import DataError, ImageError
from cyclegan.pictures import write_picture
from cyclegan.preprocess import augmented, plain
from cyclegan.sample_data import clip, write_clip
from cyclegan.sources import Frame, _opened, list_items, read_item

FRAMES = 30


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """Frame n is of one gray, 8 n."""
    frames = [np.full((48, 64, 3), 8 * n, np.uint8) for n in range(FRAMES)]
    return write_clip(frames, tmp_path_factory.mktemp("video") / "grays.mp4", 25)


def test_frames_are_drawn_in_any_order(video):
    items = list_items(video)
    assert len(items) == FRAMES
    for n in (17, 3, 29, 0, 4, 5, 28):
        picture = read_item(items[n])
        assert picture.shape == (48, 64, 3)
        assert picture.mean() == pytest.approx(8 * n, abs=3)
    assert read_item(items[9], 1).shape == (48, 64, 1)


def test_frames_before_a_cut_are_none_of_the_pictures(video, tmp_path):
    """They stay in the file, for others to refer to, where the cut is not at a key frame."""
    cut = tmp_path / "cut.mp4"
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(video)) as given, av.open(str(cut), "w", options=options) as made:
        source = given.streams.video[0]
        target = made.add_stream_from_template(source)
        begin = round(7 / 25 / source.time_base)
        for packet in given.demux(source):
            if packet.size:
                packet.pts, packet.dts, packet.stream = (
                    packet.pts - begin,
                    packet.dts - begin,
                    target,
                )
                made.mux(packet)
    items = list_items(cut)
    assert len(items) == FRAMES - 7
    for n in (0, 1, 12, -1):
        assert read_item(items[n]).mean() == pytest.approx(8 * (range(7, FRAMES)[n]), abs=3)


def test_a_video_may_have_a_colon_in_its_name(video, tmp_path, monkeypatch):
    (tmp_path / "a:b.mp4").write_bytes(video.read_bytes())
    monkeypatch.chdir(tmp_path)
    items = list_items(Path("a:b.mp4"))
    assert len(items) == FRAMES
    assert read_item(items[3]).mean() == pytest.approx(24, abs=3)


def test_frames_of_a_real_clip_differ():
    items = list_items(clip("bikes"))
    assert len(items) > 200
    first, last = read_item(items[0]).astype(int), read_item(items[-1]).astype(int)
    assert np.abs(first - last).mean() > 5


def written(
    path: Path,
    pictures: list[np.ndarray],
    matrix: tuple[int, ...] | None = None,
    encoder: str = "libx264",
    b_frames: int = 2,
    plain_until: int = 0,
    **options: str,
) -> Path:
    """With frames that refer to later ones, from one on, and key frames one second apart."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(encoder, rate=25, options={"g": "25", "bf": str(b_frames)})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if matrix:
            stream.set_display_matrix(matrix)
        for n, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = n
            if 0 < n < plain_until:
                frame.pict_type = PictureType.P
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.ts", {}), ("late.ts", {"output_ts_offset": "100"}), ("a.flv", {}), ("a.mov", {})],
)
def test_containers_whose_seeking_is_rough(name, options, tmp_path):
    grays = [np.full((48, 64, 3), 3 * n, np.uint8) for n in range(70)]
    items = list_items(written(tmp_path / name, grays, **options))
    assert len(items) == len(grays)
    for n in (69, 0, 1, 24, 25, 26, 60, 12, 48):
        assert read_item(items[n]).mean() == pytest.approx(3 * n, abs=1.4), n


@pytest.mark.parametrize("name", ["a.avi", "a.flv", "a.mkv", "a.mp4", "a.ts"])
def test_frames_are_found_from_the_beginning_of_any_container(name, tmp_path, monkeypatch):
    monkeypatch.setattr("cyclegan.sources.EARLIER", (math.inf,))
    grays = [np.full((48, 64, 3), 8 * n, np.uint8) for n in range(FRAMES)]
    items = list_items(written(tmp_path / name, grays, b_frames=0))
    for n in (29, 0, 26, 3):
        assert read_item(items[n]).mean() == pytest.approx(8 * n, abs=3), n


@pytest.mark.parametrize("name", ["a.h264", "a.mpg"])
def test_a_container_that_does_not_tell_times_is_refused(name, tmp_path):
    grays = [np.full((48, 64, 3), 3 * n, np.uint8) for n in range(30)]
    with pytest.raises(DataError, match=r"times of \d+ of its \d+ frames.*ffmpeg -i"):
        list_items(written(tmp_path / name, grays))


@pytest.mark.parametrize("plain_until", [0, 300])
@pytest.mark.parametrize("name", ["a.avi", "a.asf"])
def test_a_container_that_has_but_the_times_of_decoding_is_refused(name, plain_until, tmp_path):
    """Be it that frames refer to later ones from the start, or only late."""
    grays = [np.full((48, 64, 3), n % 85 * 3, np.uint8) for n in range(plain_until + 30)]
    with pytest.raises(DataError, match=r"those of decoding its frames.*ffmpeg -i IN OUT\.mkv"):
        list_items(written(tmp_path / name, grays, plain_until=plain_until))


@pytest.mark.parametrize(("name", "encoder"), [("a.avi", "libx264"), ("a.ts", "mpeg2video")])
def test_times_in_the_order_of_packets_may_be_true(name, encoder, tmp_path):
    """By its head MPEG-2 reorders frames, whether it has such as refer to later ones or not."""
    grays = [np.full((48, 64, 3), 8 * n, np.uint8) for n in range(30)]
    items = list_items(written(tmp_path / name, grays, encoder=encoder, b_frames=0))
    assert len(items) == len(grays)
    for n in (0, 1, 2, 3, 17, 29):
        assert read_item(items[n]).mean() == pytest.approx(8 * n, abs=3), n


def test_a_video_that_nothing_decodes_is_refused(tmp_path):
    source = written(tmp_path / "in.mkv", [np.zeros((48, 64, 3), np.uint8)])
    source.write_bytes(source.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ"))
    with pytest.raises(DataError, match="holds video that this FFmpeg has no decoder for; encode"):
        list_items(source)


def test_recordings_that_were_joined_are_refused(tmp_path):
    """Of those that are equally long, each frame of one has the time of one of the other."""
    for begin in (0, 30):
        grays = [np.full((48, 64, 3), 3 * n, np.uint8) for n in range(begin, begin + 30)]
        written(tmp_path / f"{begin}.ts", grays)
    joined = tmp_path / "joined.ts"
    joined.write_bytes((tmp_path / "0.ts").read_bytes() + (tmp_path / "30.ts").read_bytes())
    with pytest.raises(DataError, match=r"the times of .*joined\.ts step back.*ffmpeg -i"):
        list_items(joined)


def test_times_of_decoding_that_ffmpeg_guesses_may_step_back(tmp_path):
    """Matroska has none; and H.264 that does not tell by how many frames it reorders them, until
    the first such frame comes, looks as if it did not."""
    grays = [np.full((48, 64, 3), 8 * n, np.uint8) for n in range(FRAMES)]
    source = written(tmp_path / "a.mkv", grays, plain_until=10)
    content = source.read_bytes()
    restriction, none = b"\xf1\x22\x59\x60", b"\x40\0\0\0"  # the ends of the head
    assert content.count(restriction) == 1
    source.write_bytes(content.replace(restriction, none))
    assert steps_back(source)
    items = list_items(source)
    assert len(items) == FRAMES
    for n in (0, 1, 11, 12, 13, 29):
        assert read_item(items[n]).mean() == pytest.approx(8 * n, abs=3), n


@pytest.mark.parametrize("parts", [((10, 30), (10, 30)), ((10, 5), (20, 45))])
def test_an_edit_list_may_have_several_parts(parts, tmp_path):
    grays = [np.full((48, 64, 3), 3 * n, np.uint8) for n in range(70)]
    source = written(tmp_path / "a.mp4", grays)
    edit(source, parts)
    assert steps_back(source)
    items = list_items(source)
    shown = [n for length, begin in parts for n in range(begin, begin + length)]
    assert len(items) == len(shown)
    for item, n in zip(items, shown, strict=True):
        assert read_item(item).mean() == pytest.approx(3 * n, abs=1.4), n


def steps_back(video: Path) -> bool:
    """Whether times of decoding do, of the packets that are shown."""
    with av.open(str(video)) as container:
        packets = [p for p in container.demux(video=0) if p.size and not p.is_discard]
    times = [packet.dts for packet in packets if packet.dts is not None]
    return times != sorted(times)


def edit(video: Path, parts: tuple[tuple[int, int], ...]) -> None:
    """Has an .mp4 show parts of itself: how many frames, from which one on."""
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        frame = round(1 / 25 / stream.time_base)
        first = 2 * frame  # those that refer to later ones come two frames late
    entries = [(40 * length, first + begin * frame, 1 << 16) for length, begin in parts]
    content = bytearray(video.read_bytes())
    moov = content.rindex(b"moov")
    (count,) = struct.unpack_from(">I", content, content.index(b"elst", moov) + 8)
    grown = 12 * (len(parts) - count)
    for name in (b"moov", b"trak", b"edts", b"elst"):
        at = content.index(name, moov) - 4
        (size,) = struct.unpack_from(">I", content, at)
        struct.pack_into(">I", content, at, size + grown)
    body = content.index(b"elst", moov) + 8
    listed = b"".join(struct.pack(">IiI", *entry) for entry in entries)
    content[body : body + 4 + 12 * count] = struct.pack(">I", len(parts)) + listed
    video.write_bytes(content)


@pytest.mark.parametrize("down", [1, -1])
@pytest.mark.parametrize("right", [1, -1])
@pytest.mark.parametrize("aside", [False, True])
def test_frames_are_turned_and_mirrored_as_players_show_them(aside, right, down, tmp_path):
    """All eight ways: a pixel's place, as a row, times the matrix is where it is shown."""
    rows, columns = np.mgrid[:48, :64]
    stored = np.repeat((2 * rows + columns)[..., None], 3, 2).astype(np.uint8)
    numbers = (0, right, 0, down, 0) if aside else (right, 0, 0, 0, down)
    matrix = (*(n << 16 for n in numbers), 0, 0, 0, 1 << 30)
    (item,) = list_items(written(tmp_path / "phone.mp4", [stored], matrix))
    wanted = stored.transpose(1, 0, 2) if aside else stored
    # Aside, what went to the right goes down.
    wanted = wanted[::right, ::down] if aside else wanted[::down, ::right]
    shown = read_item(item)
    assert shown.shape == wanted.shape
    assert np.abs(shown.astype(int) - wanted).mean() < 5


def test_frames_may_lean(tmp_path):
    """Mirrored left to right, then turned by 45 degrees, counterclockwise."""
    stored = np.zeros((64, 64, 3), np.uint8)
    stored[:16, 28:36] = 255  # at the top
    half = round(2**-0.5 * 65536)
    matrix = (-half, half, 0, half, half, 0, 0, 0, 1 << 30)
    (item,) = list_items(written(tmp_path / "phone.mp4", [stored], matrix))
    shown = read_item(item)
    assert shown.shape[0] == shown.shape[1] == pytest.approx(64 * 2**0.5, abs=2)
    assert np.argwhere(shown[..., 0] > 128).mean(0) == pytest.approx([27, 27], abs=5)


def coloured(path: Path, lines: int, matrix: int, span: int) -> Path:
    """One frame with a luma of 90, and with 110 and 190 for chroma, tagged so."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "0"})
        stream.height, stream.width, stream.pix_fmt = lines, 16, "yuv444p"
        context = stream.codec_context
        context.colorspace, context.color_range = matrix, span
        planes = np.full((3, lines, 16), 90, np.uint8)
        planes[1], planes[2] = 110, 190
        frame = av.VideoFrame.from_ndarray(planes, format="yuv444p")
        frame.colorspace, frame.color_range = matrix, span
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return path


@pytest.mark.parametrize(
    ("lines", "matrix", "span", "wanted"),
    [
        (48, 2, 0, (185.12, 42.81, 49.85)),  # untagged: BT.601, limited range
        (720, 2, 0, (197.31, 56.96, 48.14)),  # BT.709
        (48, 1, 1, (197.31, 56.96, 48.14)),
        (48, 1, 2, (187.64, 64.35, 56.60)),
    ],
)
def test_frames_have_the_colours_that_players_show(lines, matrix, span, wanted, tmp_path):
    """By the formula of ITU-T H.273."""
    (item,) = list_items(coloured(tmp_path / "a.mkv", lines, matrix, span))
    assert np.abs(read_item(item).astype(float) - wanted).max() < 1


def test_frames_of_colours_that_are_not_converted_are_named(tmp_path):
    (item,) = list_items(coloured(tmp_path / "a.mkv", 48, 8, 1))
    with pytest.raises(ImageError, match=r"a\.mkv at 0: .* coded as YCgCo .*make BT\.709"):
        read_item(item)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_video_and_a_list_are_domains(video, workers, tmp_path):
    for n in range(3):
        write_picture(np.full((40, 40, 3), n, np.uint8), tmp_path / "sub" / f"{n}.png")
    names = tmp_path / "list.txt"
    names.write_text("\ufeff# two of three, with a mark of byte order\nsub/2.png\n\nsub/0.png\n")
    data = UnpairedPictures(DataConfig(a=video, b=names, preprocess="crop", crop_size=32))
    found = list(batches(data, batch_size=1, workers=workers, epoch=0))
    grays = sorted(round((a.mean().item() + 1) * 127.5 / 8) for a, _ in found)
    assert grays == list(range(FRAMES))
    assert {round((b.mean().item() + 1) * 127.5) for _, b in found} == {0, 2}


FORKED = """
import gc, os, sys, av
from pathlib import Path
from cyclegan.config import DataConfig
from cyclegan.data import UnpairedPictures, batches
from cyclegan.sources import list_items, read_item
video, other = map(Path, sys.argv[1:])
gc.disable()
left = av.open(str(video))
next(left.decode(video=0)).to_ndarray(format="rgb24")  # has threads now, as its converter has
del left  # but for the cycles it is in
read_item(list_items(video)[3])  # stays open
os.register_at_fork(after_in_child=gc.collect)
data = UnpairedPictures(DataConfig(a=video, b=other, preprocess="crop", crop_size=32))
print(len(list(batches(data, batch_size=1, workers=2, epoch=0))))
"""


FORKED_DEEP = """
import sys
from pathlib import Path
from cyclegan.config import DataConfig
from cyclegan.data import UnpairedPictures, batches
from cyclegan.sources import list_items, read_item
folder = Path(sys.argv[1])
read_item(list_items(folder)[0], 3, 16)
data = UnpairedPictures(DataConfig(a=folder, b=folder, preprocess="none", depth=16))
print(len(list(batches(data, batch_size=1, workers=1, epoch=0))))
"""


def test_processes_that_read_wait_for_no_threads_that_deep_pictures_left(tmp_path):
    """PyAV 19 keeps what converts pictures, with its threads, of which a fork has none."""
    deep = np.random.default_rng(0).integers(0, 1 << 16, (64, 64, 3)).astype(np.uint16)
    write_deep(deep, tmp_path / "deep.png")
    done = subprocess.run(
        [sys.executable, "-c", FORKED_DEEP, tmp_path], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "1\n", done.stderr


def test_processes_that_read_leave_decoders_alone_that_they_inherit(video, tmp_path):
    other = write_clip([np.zeros((48, 64, 3), np.uint8)] * 3, tmp_path / "b.mp4", 25)
    done = subprocess.run(
        [sys.executable, "-c", FORKED, video, other], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == f"{FRAMES}\n", done.stderr


def test_sixteen_bits_are_kept(tmp_path):
    """Gray PNG files and arrays, through scaling, to the network's values."""
    ramp = np.linspace(0, 65535, 40 * 40).astype(np.uint16).reshape(40, 40)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    np.save(tmp_path / "ramp.npy", ramp)
    png, npy = list_items(tmp_path)[1], list_items(tmp_path)[0]
    for item in (png, npy):
        deep = read_item(item, 1, 16)
        assert deep.dtype == np.uint16
        assert np.array_equal(deep[..., 0], ramp)
        assert np.array_equal(read_item(item, 1)[..., 0], np.rint(ramp / 257))
    tensor = tensor_from_pictures([read_item(npy, 1, 16)])
    assert (tensor.min().item(), tensor.max().item()) == (-1, 1)
    assert len(tensor.unique()) == 40 * 40
    config = DataConfig(a=tmp_path, b=tmp_path, depth=16, load_size=20, crop_size=20)
    assert augmented(npy, config, np.random.default_rng(0), 1).pixels.dtype == np.uint16
    half = plain(npy, config, 1)
    assert half.dtype == np.uint16
    assert (
        np.abs(half[2:-2, 2:-2, 0] - ramp.reshape(20, 2, 20, 2).mean((1, 3))[2:-2, 2:-2]).max() < 9
    )


def test_eight_bits_are_stretched_to_sixteen(tmp_path, video):
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    write_picture(every, tmp_path / "all.png")
    assert np.array_equal(read_item(tmp_path / "all.png", 3, 16), every.astype(np.uint16) * 257)
    assert read_item(list_items(video)[3], 3, 16).dtype == np.uint16


@pytest.mark.skipif(
    not features.check("jpg_2000") or "jpeg2000" not in av.codec.codecs_available,
    reason="no JPEG 2000 is read or written here",
)
def test_eight_bits_are_taken_where_no_more_can_be_read_and_that_is_said_once(
    tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr("cyclegan.sources._TOLD", set())
    grey = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 99 * 257, np.uint16), format="rgb48le")
    for name in ("a.jp2", "b.jp2"):
        with av.open(str(tmp_path / name), "w", options={"update": "1"}) as made:
            stream = made.add_stream("jpeg2000", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb48le"
            made.mux([*stream.encode(grey), *stream.encode(None)])
        read = read_item(tmp_path / name, 3, 16)
        assert np.array_equal(read, read_item(tmp_path / name).astype(np.uint16) * 257)
        assert read.dtype == np.uint16
    (said,) = caplog.messages
    assert said.startswith(
        f"cannot read {tmp_path / 'a.jp2'} with 16 bits a channel: of its format"
    )


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((8, 8, 2), np.uint8), r"has shape \(8, 8, 2\); expected \(height, width, 5\)"),
        (np.full((8, 8, 5), 2.0), "expected uint8, uint16 or floats in"),
        (np.zeros((8, 8, 5), np.int64), "holds int64"),
        (np.zeros((0, 8, 5)), r"has shape \(0, 8, 5\)"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, array, says):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ImageError, match=says):
        read_item(tmp_path / "x.npy", 5)


def test_frames_that_would_fill_the_memory_are_refused(video, tmp_path, monkeypatch):
    huge = tmp_path / "huge.y4m"
    huge.write_bytes(b"YUV4MPEG2 W16000 H16000 F25:1\nFRAME\n" + bytes(9999))
    with pytest.raises(DataError, match="says that its frames are 16000x16000; expected at most"):
        list_items(huge)
    item = list_items(video)[0]
    # As of a stream whose pictures are larger than the container says.
    monkeypatch.setattr("cyclegan.sources._LIMITS", {"max_pixels": "100"})
    _opened.cache_clear()
    try:
        with pytest.raises(ImageError, match="cannot decode"):
            read_item(item)
    finally:
        _opened.cache_clear()


def head_of(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"shape": shape, "fortran_order": False, "descr": "|u1"}
    )
    return file.getvalue()


def headed(head: bytes) -> bytes:
    return b"\x93NUMPY\x01\0" + len(head).to_bytes(2, "little") + head


@pytest.mark.parametrize(
    "content",
    [
        b"\x93NUMPY",
        head_of((10**12, 8, 5)),
        head_of((10**20, 8, 5)),
        b"PK\x05\x06" + 18 * b"\0",
        headed(b"{'descr': '|u1', 'fortran_order': False, 'shape': (8, 8, 5"),
        headed(b"{{}: 1}"),
    ],
)
def test_arrays_that_are_damaged_are_named(tmp_path, content):
    """Cut off, of sizes that no memory or machine has, archives of arrays, heads that are none."""
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(ImageError, match=r"cannot read .*x\.npy as an array"):
        read_item(tmp_path / "x.npy", 5)


def test_floats_are_a_share_of_the_range(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[0.0, 0.5, 1.0]]))
    assert read_item(tmp_path / "x.npy", 1).ravel().tolist() == [0, 128, 255]
    assert read_item(tmp_path / "x.npy", 1, 16).ravel().tolist() == [0, 32768, 65535]


def test_a_list_says_what_is_missing(tmp_path):
    names = tmp_path / "LIST.TXT"
    names.write_text("gone.png\n")
    with pytest.raises(DataError, match=r"names .*gone\.png, which is no file"):
        list_items(names)
    names.write_text("x" * 5000 + "\n")  # longer than any name may be
    with pytest.raises(DataError, match="x, which is no file"):
        list_items(names)
    names.write_text("# nothing\n")
    with pytest.raises(DataError, match="names no picture"):
        list_items(names)


def test_a_list_may_lose_pictures_where_bad_ones_are_passed_over(tmp_path):
    for n in range(3):
        write_picture(np.full((40, 40, 3), n, np.uint8), tmp_path / f"{n}.png")
    names = tmp_path / "list.txt"
    names.write_text("0.png\n1.png\n2.png\n")
    kept = DataConfig(a=names, b=names, preprocess="crop", crop_size=32, skip_bad=True)
    before = UnpairedPictures(kept)
    (tmp_path / "1.png").unlink()
    data = UnpairedPictures(kept)
    assert data.paths_a == before.paths_a  # a run that goes on draws in the same order
    found = list(batches(data, batch_size=1, workers=0, epoch=0))
    assert sorted(round((a.mean().item() + 1) * 127.5) for a, _ in found) == [0, 2, 2]
    assert list(data.bad) == [str(tmp_path / "1.png")]
    with pytest.raises(DataError, match=r"names .*1\.png, which is no file"):
        UnpairedPictures(DataConfig(a=names, b=names))


def test_a_list_that_names_nothing_but_missing_pictures_is_refused_in_any_case(tmp_path):
    names = tmp_path / "list.txt"
    names.write_text("elsewhere/0.png\nelsewhere/1.png\n")
    with pytest.raises(DataError, match=r"elsewhere/0\.png, which is no file"):
        list_items(names, skip_bad=True)


def test_what_a_list_names_and_is_no_file_is_not_read(tmp_path):
    """Reading a pipe might never end."""
    write_picture(np.zeros((8, 8, 3), np.uint8), tmp_path / "0.png")
    os.mkfifo(tmp_path / "pipe")
    names = tmp_path / "list.txt"
    names.write_text("0.png\npipe\n")
    with pytest.raises(DataError, match="pipe, which is no file"):
        list_items(names, skip_bad=True)


def test_names_in_a_list_may_hold_blanks_and_whatever_else_ends_no_line(tmp_path):
    plain, odd = "0.png", [" blank.png", "next\x85line.png", "line\u2028separator.png"]
    for name in (plain, *odd):
        (tmp_path / name).touch()
    names = tmp_path / "list.txt"
    text = f"{odd[0]}\r\n  {plain}\t\r{odd[1]}\n\n \n # a comment\n{odd[2]}"
    names.write_bytes(text.encode())
    assert list_items(names) == [tmp_path / name for name in (odd[0], plain, *odd[1:])]


@pytest.mark.parametrize("order", ["le", "be"])
def test_a_list_may_be_in_utf_16(order, tmp_path):
    write_picture(np.zeros((8, 8, 3), np.uint8), tmp_path / "grün.png")
    names = tmp_path / "list.txt"
    names.write_bytes("\ufeffgrün.png\r\n".encode(f"utf-16-{order}"))
    assert list_items(names) == [tmp_path / "grün.png"]


def test_a_list_in_another_encoding_says_what_is_wanted(tmp_path):
    names = tmp_path / "list.txt"
    names.write_bytes("grün.png\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"not in UTF-8 .*; save it as that"):
        list_items(names)


def test_what_is_neither(tmp_path):
    other = tmp_path / "notes.doc"
    other.write_text("no video")
    with pytest.raises(DataError, match=r"no list \(\.txt\) and no video .* read: Invalid data"):
        list_items(other)
    with wave.open(str(tmp_path / "song.wav"), "wb") as song:
        song.setparams((1, 2, 8000, 0, "NONE", ""))
        song.writeframes(bytes(16000))
    with pytest.raises(DataError, match=r"no video that can be read: it has no pictures"):
        list_items(tmp_path / "song.wav")
    with pytest.raises(DataError, match=r"cannot read xxx.*: File name too long"):
        list_items(Path("x" * 5000))


def test_a_video_that_loses_its_end(video, tmp_path):
    broken = tmp_path / "grays.mkv"
    frames = [np.full((48, 64, 3), 8 * n, np.uint8) for n in range(FRAMES)]
    write_clip(frames, broken, 25)
    items = list_items(broken)
    os.truncate(broken, broken.stat().st_size // 3)
    with pytest.raises(ImageError, match=r"cannot decode .*grays\.mkv at"):
        read_item(items[-1])
    with pytest.raises(ImageError, match="ends before"):
        read_item(Frame(video, 10**9))
