"""Unpaired batches: what they hold, that they repeat, and what bad data says."""

import contextlib
import gc
import multiprocessing
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cyclegan.config import DataConfig
from cyclegan.cpu import cpu_cores
from cyclegan.data import (
    UnpairedPictures,
    _leave_signals_to_the_parent,
    batches,
    pictures_from_tensor,
    readers_watched,
    tensor_from_pictures,
)
from cyclegan.distributed import World
from cyclegan.errors import ConfigError, DataError, ImageError
from cyclegan.pictures import write_picture
from cyclegan.preprocess import augmented, plain, scale
from cyclegan.transfer import Cut, batch_from_cuts


def gradient(height: int, width: int, blue: int = 0) -> np.ndarray:
    """A picture whose red is the row, green the column: crops show where they come from."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, blue)], 2).astype(np.uint8)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Five pictures of A and three of B; blue is the number of the picture."""
    for domain, count in (("a", 5), ("b", 3)):
        for number in range(count):
            write_picture(gradient(40, 48, number), tmp_path / domain / f"{number}.png")
    return tmp_path


def config(folder: Path, **changes: Any) -> DataConfig:
    settings: dict[str, Any] = {"preprocess": "crop", "load_size": 36, "crop_size": 32}
    return DataConfig(a=folder / "a", b=folder / "b", **(settings | changes))


def epoch(dataset: UnpairedPictures, number: int = 0, **how: Any) -> list[Any]:
    return list(batches(dataset, **({"batch_size": 1, "workers": 0, "epoch": number} | how)))


def numbers(found: list[Any], domain: int) -> list[int]:
    return [round((pair[domain][0, 2, 0, 0].item() + 1) * 127.5) for pair in found]


def test_an_epoch_shows_every_picture_of_the_larger_domain_once(folders: Path) -> None:
    found = epoch(UnpairedPictures(config(folders)))
    assert sorted(numbers(found, 0)) == [0, 1, 2, 3, 4]
    for pair in found:
        for real in pair:
            assert real.shape == (1, 3, 32, 32)
            assert real.dtype == torch.float32
            assert real.is_contiguous(memory_format=torch.channels_last)
            assert -1 <= real.min() < real.max() <= 1


def test_the_smaller_a_repeats(folders: Path) -> None:
    swapped = DataConfig(a=folders / "b", b=folders / "a", preprocess="crop", crop_size=32)
    assert sorted(numbers(epoch(UnpairedPictures(swapped)), 0)) == [0, 0, 1, 1, 2]


def test_order_and_partners_change_between_epochs_and_seeds(folders: Path) -> None:
    dataset, other = UnpairedPictures(config(folders)), UnpairedPictures(config(folders), seed=1)
    runs = [epoch(dataset, 0), epoch(dataset, 1), epoch(other, 0)]
    orders = [numbers(run, 0) for run in runs]
    partners = [tuple(sorted(zip(numbers(run, 0), numbers(run, 1)))) for run in runs]
    assert len({tuple(order) for order in orders}) == 3
    assert len(set(partners)) == 3


def test_partners_are_drawn_from_all_of_b(folders: Path) -> None:
    dataset = UnpairedPictures(config(folders))
    drawn = [number for e in range(8) for number in numbers(epoch(dataset, e), 1)]
    assert set(drawn) == {0, 1, 2}


@pytest.mark.parametrize("workers", [1, 2])
def test_samples_do_not_depend_on_workers(folders: Path, workers: int) -> None:
    dataset = UnpairedPictures(config(folders, preprocess="resize_and_crop"), seed=3)
    for alone, beside in zip(epoch(dataset, 2), epoch(dataset, 2, workers=workers)):
        assert torch.equal(alone[0], beside[0])
        assert torch.equal(alone[1], beside[1])


def test_nothing_is_collected_where_no_process_inherits_it(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected: list[None] = []
    monkeypatch.setattr(gc, "collect", lambda: collected.append(None))
    dataset = UnpairedPictures(config(folders))
    assert len(epoch(dataset)) == 5
    assert not collected
    assert len(epoch(dataset, workers=1)) == 5
    assert collected


def test_an_epoch_goes_on_where_it_stopped(folders: Path) -> None:
    dataset = UnpairedPictures(config(folders))
    rest = epoch(dataset, batch_size=2, first=1)
    for whole, resumed in zip(epoch(dataset, batch_size=2)[1:], rest, strict=True):
        assert torch.equal(whole[0], resumed[0])
        assert torch.equal(whole[1], resumed[1])
    assert [len(pair[0]) for pair in rest] == [2, 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_follow_each_other_without_a_break(folders: Path, workers: int) -> None:
    dataset = UnpairedPictures(config(folders))
    each = [*epoch(dataset, 3, batch_size=2)[1:], *epoch(dataset, 4, batch_size=2)]
    found = epoch(dataset, 3, batch_size=2, first=1, epochs=2, workers=workers)
    for expected, pair in zip(each, found, strict=True):
        assert torch.equal(expected[0], pair[0])
        assert torch.equal(expected[1], pair[1])
    endless = batches(dataset, batch_size=5, workers=workers, epoch=0, epochs=None)
    assert [len(next(endless)[0]) for _ in range(7)] == [5] * 7


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_pictures_are_mirrored_on_the_device(kind: Any) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, np.iinfo(kind).max, (3, 8, 12, 5), dtype=kind, endpoint=True)
    mirrored = (False, True, True)
    cuts = [Cut(picture, flag) for picture, flag in zip(pictures, mirrored)]
    seen = [picture[:, ::-1] if flag else picture for picture, flag in zip(pictures, mirrored)]
    expected = np.stack(seen).transpose(0, 3, 1, 2).astype(np.float32)
    expected = expected / np.float32(np.iinfo(kind).max / 2) - np.float32(1)
    found = batch_from_cuts(cuts).on(torch.device("cpu"))
    assert np.array_equal(found.numpy(), expected)


def test_crops_and_flips_are_random_and_independent(folders: Path) -> None:
    dataset = UnpairedPictures(config(folders))
    tops: set[tuple[int, int]] = set()
    mirrored: set[tuple[bool, bool]] = set()
    for number in range(12):
        for pair in epoch(dataset, number):
            corner = [pictures_from_tensor(real)[0] for real in pair]
            tops.add((int(corner[0][0, 0, 0]), int(corner[1][0, 0, 0])))
            mirrored.add(tuple(bool(c[0, 0, 1] > c[0, 1, 1]) for c in corner))  # type: ignore[arg-type]
    assert {a for a, _ in tops} == {b for _, b in tops} == set(range(9))
    assert len(tops) > 20
    assert len(mirrored) == 4


def test_every_other_picture_is_mirrored(folders: Path) -> None:
    path, wanted = folders / "a" / "0.png", config(folders)
    flags = [augmented(path, wanted, np.random.default_rng(seed)).mirrored for seed in range(400)]
    assert abs(sum(flags) - 200) < 4 * 10, "four standard deviations"


def test_no_flip_when_not_asked_for(folders: Path) -> None:
    dataset = UnpairedPictures(config(folders, flip=False))
    for number in range(4):
        for real_a, real_b in epoch(dataset, number):
            assert (real_a[0, 1].diff(dim=-1) > 0).all()
            assert (real_b[0, 1].diff(dim=-1) > 0).all()


def test_values_are_those_of_the_picture(folders: Path) -> None:
    path = folders / "a" / "0.png"
    rng = np.random.default_rng(5)
    cut = augmented(path, config(folders, flip=False), rng).pixels
    top, left = cut[0, 0, :2]
    assert np.array_equal(cut, gradient(40, 48)[top : top + 32, left : left + 32])


def test_resize_and_crop_is_bicubic_of_the_whole_picture(folders: Path) -> None:
    picture = gradient(40, 48, 7)
    expected = Image.fromarray(picture).resize((36, 36), Image.Resampling.BICUBIC)
    scaled = scale(picture, config(folders, preprocess="resize_and_crop"))
    assert np.array_equal(scaled, np.asarray(expected))


@pytest.mark.parametrize(("kind", "channels"), [(np.uint16, 1), (np.uint16, 3), (np.uint8, 5)])
def test_what_pillow_does_not_scale_as_a_whole_is_scaled_by_channels(
    folders: Path, kind: Any, channels: int
) -> None:
    rng = np.random.default_rng(0)
    peak = np.iinfo(kind).max
    picture = rng.choice(np.array([0, peak], kind), (40, 48, channels))  # bicubic overshoots both
    planes = [
        Image.fromarray(plane.astype(np.float32)).resize((36, 36), Image.Resampling.BICUBIC)
        for plane in np.moveaxis(picture, 2, 0)
    ]
    expected = np.stack([np.asarray(plane) for plane in planes], 2).clip(0, peak)
    scaled = scale(picture, config(folders, preprocess="resize_and_crop"))
    assert scaled.dtype == kind
    assert np.abs(scaled - expected).max() <= 0.5


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    mode=st.sampled_from(["scale_width", "none"]),
    multiple=st.sampled_from([4, 16]),
)
def test_uncropped_pictures_fit_the_network(
    height: int, width: int, mode: Any, multiple: int
) -> None:
    wanted = DataConfig(
        a=Path("a"), b=Path("b"), preprocess=mode, load_size=multiple * 3, crop_size=8
    )
    scaled = scale(gradient(height, width), wanted, multiple)
    assert scaled.shape[0] % multiple == 0
    assert scaled.shape[1] % multiple == 0
    assert min(scaled.shape[:2]) > 0
    if mode == "none":
        assert abs(scaled.shape[0] - height) <= max(multiple / 2, multiple - height)


@pytest.mark.parametrize(
    ("mode", "size"),
    [
        ("resize_and_crop", (32, 32)),
        ("crop", (32, 32)),
        ("scale_width_and_crop", (32, 32)),
        ("scale_width", (32, 36)),
        ("none", (40, 48)),
    ],
)
def test_sizes_of_every_mode(folders: Path, mode: Any, size: tuple[int, int]) -> None:
    wanted = config(folders, preprocess=mode)
    path = folders / "a" / "1.png"
    assert augmented(path, wanted, np.random.default_rng(0)).pixels.shape == (*size, 3)
    assert plain(path, wanted).shape == (*size, 3)
    assert np.array_equal(plain(path, wanted), plain(path, wanted))


@pytest.mark.parametrize("mode", ["resize_and_crop", "crop", "scale_width_and_crop"])
def test_crops_may_be_rectangles(folders: Path, mode: Any) -> None:
    wanted = config(folders, preprocess=mode, load_size=44, load_height=34, crop_height=20)
    path = folders / "a" / "1.png"
    for seed in range(9):
        cut = augmented(path, wanted, np.random.default_rng(seed)).pixels
        assert cut.shape == (20, 32, 3)
    assert plain(path, wanted).shape == (20, 32, 3)
    real_a, real_b = epoch(UnpairedPictures(wanted))[0]
    assert real_a.shape == real_b.shape == (1, 3, 20, 32)


def test_a_picture_without_chance_is_whole_in_a_rectangle(folders: Path) -> None:
    wanted = config(folders, preprocess="resize_and_crop", load_height=34, crop_height=20)
    expected = Image.fromarray(gradient(40, 48, 1)).resize((32, 20), Image.Resampling.BICUBIC)
    assert np.array_equal(plain(folders / "a" / "1.png", wanted), np.asarray(expected))


def test_a_rectangle_covers_the_whole_picture(folders: Path) -> None:
    wanted = config(folders, crop_height=16, flip=False)
    corners = {
        tuple(
            augmented(folders / "a" / "0.png", wanted, np.random.default_rng(seed)).pixels[0, 0, :2]
        )
        for seed in range(300)
    }
    assert {int(top) for top, _ in corners} == set(range(40 - 16 + 1))
    assert {int(left) for _, left in corners} == set(range(48 - 32 + 1))


def test_a_rectangle_that_does_not_fit_is_named(folders: Path) -> None:
    with pytest.raises(DataError, match=r"48x40 pixels, smaller than crop_size 32x44"):
        epoch(UnpairedPictures(config(folders, crop_height=44)))
    with pytest.raises(ConfigError, match="crop is 40 high, expected at most the 36"):
        config(folders, preprocess="resize_and_crop", crop_height=40)


def test_more_workers_than_cores_are_no_warning(folders: Path) -> None:
    dataset = UnpairedPictures(config(folders))
    assert len(epoch(dataset, workers=cpu_cores() + 1)) == 5


def test_processes_share_an_epoch_without_overlap(folders: Path) -> None:
    dataset = UnpairedPictures(config(folders))
    parts = [numbers(epoch(dataset, world=World(rank=rank, size=2)), 0) for rank in (0, 1)]
    whole = numbers(epoch(dataset), 0)
    assert parts == [whole[0:4:2], whole[1:4:2]]


def test_plain_crop_is_the_centre(folders: Path) -> None:
    cut = plain(folders / "a" / "1.png", config(folders))
    assert np.array_equal(cut, gradient(40, 48, 1)[4:36, 8:40])


def test_width_scaling_never_falls_below_the_crop(tmp_path: Path) -> None:
    flat = config(tmp_path, preprocess="scale_width_and_crop")
    for width in (200, flat.load_size):
        assert scale(gradient(10, width), flat).shape == (32, 36, 3)


def test_a_height_that_follows_the_width_is_rounded_down(tmp_path: Path) -> None:
    """As the public implementation does."""
    wanted = config(tmp_path, preprocess="scale_width_and_crop", crop_size=16)
    assert scale(gradient(40, 47), wanted).shape == (30, 36, 3)  # 30.6


def test_a_strip_that_a_width_makes_too_large_is_named(tmp_path: Path) -> None:
    write_picture(gradient(2000, 1), tmp_path / "strip.png")
    wanted = config(tmp_path, preprocess="scale_width_and_crop", load_size=286)
    with pytest.raises(
        ImageError, match=r"strip\.png is 1x2000 pixels, .* 286x572000; .* load_size"
    ):
        augmented(tmp_path / "strip.png", wanted, np.random.default_rng(0))


def test_small_pictures_say_what_to_change(folders: Path) -> None:
    with pytest.raises(DataError, match=r"png is 48x40 pixels.*crop_size 64"):
        epoch(UnpairedPictures(config(folders, crop_size=64)))


def test_gray_models_get_one_channel(folders: Path) -> None:
    dataset = UnpairedPictures(config(folders), channels_a=1)
    real_a, real_b = epoch(dataset)[0]
    assert (real_a.shape[1], real_b.shape[1]) == (1, 3)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_picture_is_named(folders: Path, workers: int) -> None:
    (folders / "a" / "2.png").write_bytes((folders / "a" / "2.png").read_bytes()[:80])
    with pytest.raises(ImageError, match=r"2\.png") as caught:
        epoch(UnpairedPictures(config(folders)), workers=workers)
    assert "Traceback" not in str(caught.value)
    assert not multiprocessing.active_children(), "they end with the batches"


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_pictures_are_passed_over_and_named(folders: Path, workers: int) -> None:
    (folders / "a" / "2.png").write_bytes((folders / "a" / "2.png").read_bytes()[:80])
    dataset = UnpairedPictures(config(folders, skip_bad=True))
    found = epoch(dataset, workers=workers)
    assert sorted(numbers(found, 0)) == [0, 1, 3, 3, 4]
    assert list(dataset.bad) == [str(folders / "a" / "2.png")]
    assert "truncated" in next(iter(dataset.bad.values()))


def test_nothing_but_bad_pictures_is_an_error(folders: Path) -> None:
    for path in (folders / "b").iterdir():
        path.write_text("no picture")
    with pytest.raises(DataError, match="none of the 3 pictures"):
        epoch(UnpairedPictures(config(folders, skip_bad=True)))


def test_an_empty_domain_is_named(folders: Path) -> None:
    (folders / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        UnpairedPictures(DataConfig(a=folders / "a", b=folders / "empty"))


@pytest.mark.parametrize("skip", [False, True])
def test_a_picture_that_goes_bad_in_the_middle_of_an_epoch(folders: Path, skip: bool) -> None:
    dataset = UnpairedPictures(config(folders, skip_bad=skip))
    found = batches(dataset, batch_size=1, workers=0, epoch=0)
    seen = numbers([next(found)], 0)
    for path in (folders / "a").iterdir():
        if int(path.stem) not in seen:
            path.write_bytes(path.read_bytes()[:80])
    if skip:
        assert numbers(list(found), 0) == 4 * seen
        assert len(dataset.bad) == 4
    else:
        with pytest.raises(ImageError, match="skip_bad goes on without it"):
            next(found)


@pytest.mark.parametrize("workers", [0, 1])
def test_mixed_sizes_do_not_fit_a_batch(folders: Path, workers: int) -> None:
    write_picture(gradient(40, 60), folders / "a" / "9.png")  # as high as the others
    dataset = UnpairedPictures(config(folders, preprocess="none"))
    with pytest.raises(DataError, match=r"of 48x40, 60x40 pixels do not .* batch_size to 1"):
        epoch(dataset, batch_size=6, workers=workers)
    assert len(epoch(dataset)) == 6


READING = """
import sys
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from cyclegan.config import DataConfig
from cyclegan.data import UnpairedPictures, batches

if __name__ == "__main__":
    config = DataConfig(a=Path({a!r}), b=Path({b!r}), preprocess="crop", load_size=36, crop_size=32)
    reading = batches(UnpairedPictures(config), batch_size=1, workers=2, epoch=0, epochs=None)
    next(reading), next(reading)  # of each reader, which so has begun
    import multiprocessing
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    sys.stdin.readline()
    raise RuntimeError("kept")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("killed", [False, True])
def test_readers_end_with_who_has_started_them(folders: Path, killed: bool) -> None:
    """Also where nobody has told the loader: after an error that is kept, and after kill -9."""
    code = READING.format(a=str(folders / "a"), b=str(folders / "b"))
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        readers = [int(pid) for pid in process.stdout.readline().split()]
        assert len(readers) == min(2, cpu_cores())
        for reader in readers:
            os.kill(
                reader, signal.SIGTERM
            )  # to a whole group, perhaps: the parent is to save first
        time.sleep(0.2)
        assert all(_runs(reader) for reader in readers)
        if killed:
            process.kill()
        try:
            process.communicate("\n", timeout=30)
            assert process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    deadline = time.monotonic() + 10
    while any(_runs(reader) for reader in readers):
        assert time.monotonic() < deadline, "readers stay behind"
        time.sleep(0.1)


@pytest.mark.skipif(sys.platform == "win32", reason="uses signals of POSIX")
@pytest.mark.parametrize("asked", [True, False])
def test_a_reader_that_is_killed_is_told_where_the_next_batch_is_asked_for(
    folders: Path, asked: bool
) -> None:
    """And nowhere else: neither between batches nor where their end is not waited for."""
    dataset = UnpairedPictures(config(folders))
    reading = batches(dataset, batch_size=1, workers=2, epoch=0, epochs=None)
    next(reading)
    reader = multiprocessing.active_children()[0]
    reader.kill()
    multiprocessing.connection.wait([reader.sentinel])
    time.sleep(0.1)  # for the signal
    if asked:
        with pytest.raises(DataError, match="reads pictures was killed"), readers_watched():
            next(reading)
    del reading


@pytest.mark.skipif(sys.platform == "win32", reason="uses signals of POSIX")
def test_readings_side_by_side_leave_the_handler_of_ended_processes_as_it_was(
    folders: Path,
) -> None:
    dataset = UnpairedPictures(config(folders))
    one, two = (batches(dataset, batch_size=1, workers=1, epoch=0) for _ in range(2))
    next(one)
    held = signal.getsignal(signal.SIGCHLD)
    next(two)
    assert signal.getsignal(signal.SIGCHLD) is held
    one.close()
    before = signal.getsignal(signal.SIGCHLD)
    assert before is not held
    next(two)
    assert signal.getsignal(signal.SIGCHLD) is not before
    two.close()
    assert signal.getsignal(signal.SIGCHLD) is before


@pytest.mark.skipif(sys.platform == "win32", reason="uses signals of POSIX")
def test_reading_in_this_process_touches_no_handler_of_ended_processes(folders: Path) -> None:
    """One of the program that Python runs in, which is not of Python, could not be given back."""

    def own(number: int, frame: FrameType | None) -> None: ...

    before = signal.signal(signal.SIGCHLD, own)
    try:
        reading = batches(UnpairedPictures(config(folders)), batch_size=1, workers=0, epoch=0)
        next(reading)
        assert signal.getsignal(signal.SIGCHLD) is own
        reading.close()
    finally:
        signal.signal(signal.SIGCHLD, before)


def _runs(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_tensor_and_back_is_exact() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, 3)
    tensor = tensor_from_pictures(list(every))
    assert (tensor.min().item(), tensor.max().item()) == (-1, 1)
    assert np.array_equal(pictures_from_tensor(tensor), every)
    assert np.array_equal(pictures_from_tensor(tensor * 2).min(), 0)


class NoThread:
    """What Python gives where the system allows a process no more threads."""

    def __init__(self, **how: Any) -> None:
        pass

    def start(self) -> None:
        raise RuntimeError("can't start new thread")


def test_a_reader_without_a_thread_ends_when_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parent that failed as well waits for it before it goes."""
    monkeypatch.setattr("cyclegan.data.threading", SimpleNamespace(Thread=NoThread))
    context = multiprocessing.get_context("fork")
    began = context.Event()

    def read() -> None:
        with contextlib.suppress(RuntimeError):
            _leave_signals_to_the_parent(0)
        began.set()
        time.sleep(60)

    reader = context.Process(target=read, daemon=True)
    reader.start()
    assert began.wait(30)
    reader.terminate()
    reader.join(10)
    try:
        assert reader.exitcode == -signal.SIGTERM
    finally:
        reader.kill()


def test_too_few_threads_for_readers_are_told(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cyclegan.data.threading", SimpleNamespace(Thread=NoThread))
    with pytest.raises(DataError, match="allows no more threads or processes"), readers_watched():
        epoch(UnpairedPictures(config(folders)), workers=1)
