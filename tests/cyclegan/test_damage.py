"""Damaged model files and pictures, made from whole ones: a result or an error of ours."""

import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, features

from cyclegan.checkpoint import load_generator, read_info, save_generator
from cyclegan.config import ResnetConfig
from cyclegan.engine.image_files import is_picture, losses, read_image
from cyclegan.errors import CycleGANError
from cyclegan.networks import ResnetGenerator
from cyclegan.reference import import_reference
from cyclegan.resume import VERSION, load_checkpoint, save_checkpoint
from cyclegan.sources import read_item

FILES = 300
"""Of each kind: the same ones in each run."""


def damaged(whole: bytes, chance: random.Random) -> bytes:
    """``whole`` with some bytes changed, cut out, repeated or cut off, most often near its head."""
    data = bytearray(whole)
    for _ in range(chance.choice((1, 1, 2, 8, 40))):
        at = chance.randrange(len(data) if chance.random() < 0.5 else min(len(data), 600))
        match chance.randrange(5):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                data[at : at + 4] = chance.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"))
            case 2:
                del data[at + 1 : at + chance.randrange(2, 200)]
            case 3:
                data[at:at] = data[chance.randrange(len(data)) :][: chance.randrange(1, 200)]
            case 4:
                data[at] ^= 1 << chance.randrange(8)
    return bytes(data)


def survive(path: Path, read: Callable[[Path], object]) -> None:
    """Any other error than ours, of any such file, fails."""
    whole, chance = path.read_bytes(), random.Random(7)
    refused: list[str] = []
    for _ in range(FILES):
        path.write_bytes(damaged(whole, chance))
        try:
            read(path)
        except CycleGANError as error:
            refused.append(str(error))
    assert len(refused) > 20
    assert all(refused)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "pickle"])
def test_state_dicts_of_the_public_implementation(zipped: bool, tmp_path: Path) -> None:
    state = ResnetGenerator(ResnetConfig(width=4, blocks=1)).state_dict()
    torch.save(state, tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    survive(tmp_path / "net.pth", import_reference)


def test_generators(tmp_path: Path) -> None:
    network = ResnetGenerator(ResnetConfig(width=4, blocks=1))
    save_generator(tmp_path / "net.safetensors", network, ("horse", "zebra"))
    survive(tmp_path / "net.safetensors", lambda path: (read_info(path), load_generator(path)))


def test_checkpoints(tmp_path: Path) -> None:
    state = {"version": VERSION, "weight": torch.ones(8), "epoch": 3, "names": ["a", ("b", 0.5)]}
    path = save_checkpoint(tmp_path, 7, state, keep=1)

    survive(path, lambda path: load_checkpoint(path.parent))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of what it reads all the same
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "kind", ["AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", "animation"]
)
def test_pictures(kind: str, tmp_path: Path) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    colours = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    image, content = Image.fromarray(colours), io.BytesIO()
    if kind == "animation":
        image.save(content, "GIF", save_all=True, append_images=[image.rotate(90)])
    else:
        image.save(content, kind)

    def read(path: Path) -> None:
        is_picture(path)
        losses(path)
        read_item(path)
        read_image(path, keep_alpha=True, depth=16)

    path = tmp_path / "picture.png"  # Pillow goes by the content
    path.write_bytes(content.getvalue())
    survive(path, read)


def test_arrays(tmp_path: Path) -> None:
    path = tmp_path / "picture.npy"
    np.save(path, np.zeros((24, 20, 3), np.float32))
    survive(path, read_item)
