from pathlib import Path

import numpy as np
import pytest

from cyclegan.engine.frames import Frames
from cyclegan.engine.real_frames import built_in_frames, picture_frames
from cyclegan.errors import DataError
from cyclegan.pictures import write_picture


def test_pictures_of_a_folder_are_brought_to_their_median_size(
    tmp_path: Path, frames: Frames
) -> None:
    """One that was tiny made all of them so."""
    write_picture(frames[2][:5, :7], tmp_path / "c.png")
    assert picture_frames(tmp_path, 3, multiple=4).shape == (1, 8, 8, 3), "no less is taken"
    write_picture(frames[0], tmp_path / "a.png")
    large, tiny = picture_frames(tmp_path, 3, multiple=4)
    assert np.array_equal(large, frames[0])
    assert np.array_equal(tiny[:10, :7], np.concatenate([frames[2][:5, :7], frames[2][4::-1, :7]]))
    write_picture(frames[1][:101, :90], tmp_path / "b.png")
    cut = picture_frames(tmp_path, 3, multiple=4)
    assert cut.shape == (3, 100, 88, 3)
    assert np.array_equal(cut[0], frames[0][22:122, 44:132])
    assert np.array_equal(cut[1], frames[1][:100, 1:89])
    small = picture_frames(tmp_path, 3, multiple=128)  # more than they have: reflected
    assert small.shape == (3, 128, 128, 3)
    assert np.array_equal(small[1][:101, :90], frames[1][:101, :90])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no pictures under"):
        picture_frames(empty, 3, 4)


def test_of_larger_pictures_the_centre_is_taken(tmp_path: Path) -> None:
    """Whole photographs would take tens of gigabytes."""
    rows, columns = np.mgrid[:1001, :603]
    large = np.stack([rows % 256, columns % 256, rows // 256], axis=2).astype(np.uint8)
    write_picture(large, tmp_path / "a.png")
    (cut,) = picture_frames(tmp_path, 3, multiple=4)
    assert np.array_equal(cut, large[244:756, 45:557])
    assert picture_frames(tmp_path, 3, multiple=24).shape == (1, 504, 504, 3)
    assert picture_frames(tmp_path, 3, multiple=1024).shape == (1, 1024, 1024, 3)


def test_the_built_in_frames_fit_every_generator() -> None:
    for channels, multiple, side in ((3, 4, 256), (1, 256, 256), (4, 512, 512)):
        frames = built_in_frames(channels, multiple)
        assert frames.shape == (2, side, side, channels)
        assert frames.dtype == np.uint8
        assert frames.std() > 30
