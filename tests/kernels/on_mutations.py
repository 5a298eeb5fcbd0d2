"""Broken kernels, broken one line at a time: the checks must notice each.

A mutation replaces a piece of a kernel file's text; the file's kernels, built from that text, take
the places of the real ones. Run by ``test_interpreted.py``: only the interpreter takes them so.
"""

import importlib.util
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch
from checks import (
    Case,
    blocks,
    check_clamped,
    check_frames,
    check_norm,
    check_pad,
    check_yuv,
)

from cyclegan.kernels import (
    instance_norm_ops,
    instance_norm_triton,
    instance_norm_whole_triton,
    launch,
    pixels_triton,
    reflection_pad_triton,
)

pytestmark = pytest.mark.skipif(not launch.INTERPRETED, reason="mutates kernels in the interpreter")


@cache
def norm(**changes: object) -> Callable[[], None]:
    """The same function for the same case."""
    return lambda: check_norm(Case(**changes))  # type: ignore[arg-type]


def pad() -> None:
    check_pad((1, 2, 4, 5), (2, 1, 1, 2))


def large_image() -> None:
    check_pad((1, 1, 7, 16), (2, 1, 1, 2))


def frames() -> None:
    check_frames((1, 16, 16, 3), torch.float32)


def video() -> None:
    check_yuv("bt709", 8, full_range=False)


def full_range_10_bits() -> None:
    check_yuv("bt2020", 10, full_range=True)


RESIDUAL = norm(residual=True, pad=1, unpadded=True)
WHOLE = norm(shape=(1, 8, 6, 7), residual=True, pad=1, unpadded=True)
MUTATIONS = {
    "a fixed eps": ("norm", "m2 / pixels + eps", "m2 / pixels + 1e-5", norm(eps=0.5)),
    "eps outside the root": (
        "norm", "tl.rsqrt(m2 / pixels + eps)", "1 / (tl.sqrt(m2 / pixels) + eps)", norm(eps=0.5)
    ),
    "unbiased variance": ("norm", "m2 / pixels + eps", "m2 / (pixels - 1) + eps", norm()),
    "splits merged without their distance": (
        "norm", "m2 += some_m2 + delta * delta", "m2 += some_m2 + 0 * delta", norm(
            shape=(1, 1, 27, 20), mean=0.5
        ),
    ),
    "rows merged without their distance": (
        "norm", "tl.sum(m2 + apart * weighed", "tl.sum(m2 + 0 * weighed", norm()
    ),
    "the last tile's mask forgotten": (
        "norm", "delta = tl.where(mask, x - mean, 0.0)", "delta = x - mean", norm(mean=3.0)
    ),
    "a wrong slope": ("norm", "tl.where(y > 0, y, y * SLOPE)",
        "tl.where(y > 0, y, y * 0.1)", norm(activation="leaky_relu")),
    "activation forgotten in backward": (
        "norm", "dy = tl.where(y > 0, dy, 0.0)", "dy = dy", norm(activation="relu")
    ),
    "beta forgotten in backward's mask": (
        "norm", "y = xhat * gamma[None, :] + beta[None, :]", "y = xhat * gamma[None, :]",
        norm(activation="relu", affine=True),
    ),
    "sum of g x^ forgotten": (
        "norm", " - xhat * (s2 / pixels)[None, :]", "", norm()
    ),
    "gamma forgotten in dx": ("norm", "(rstd * gamma)", "(rstd)", norm(affine=True)),
    "residual forgotten": ("norm", "y += residual", "y += 0 * residual", RESIDUAL),
    "dz forgotten beside dpadded": (
        "norm", "dy += tl.load(dz_ptr", "dy += 0 * tl.load(dz_ptr", RESIDUAL
    ),
    "z written over by the border": (
        "norm", "mask & ((h >= 0) & (h < H)", "mask & ((h >= 1) & (h < H)", RESIDUAL
    ),
    "a fixed eps in one launch": (
        "whole", "/ pixels + eps)", "/ pixels + 1e-5)", norm(shape=(1, 8, 6, 7), eps=0.5)
    ),
    "the last place of the mean forgotten": (
        "whole", "near + tl.sum(apart, 0) / pixels", "near", norm(shape=(1, 4, 40, 41), mean=1e3)
    ),
    "pixels beyond the image counted": (
        "whole", "tl.where(mask, x - near[None, :], 0.0)", "x - near[None, :]",
        norm(shape=(1, 8, 6, 7), mean=3.0),
    ),
    "residual forgotten in one launch": (
        "whole", "y += tl.load(residual_ptr", "y += 0 * tl.load(residual_ptr", WHOLE
    ),
    "residual forgotten around it": (
        "whole", "mirrored += residual", "mirrored += 0 * residual", WHOLE
    ),
    "the rows below taken for those above": (
        "whole", "tl.where(above < pad, above, above + H)", "tl.where(above < pad, above, above)",
        WHOLE,
    ),
    "the columns right taken for those left": (
        "whole", "tl.where(left < pad, left, left + W)", "tl.where(left < pad, left, left)",
        WHOLE,
    ),
    "the border's last pixels forgotten": (
        "whole", "for start in range(0, wide * high - pixels, BORDER)",
        "for start in range(0, wide * high - pixels - BORDER, BORDER)", WHOLE,
    ),
    "edge pixels repeated": (
        "pad", "size - 1 - tl.abs(size - 1 - tl.abs(i))",
        "tl.minimum(tl.maximum(i, 0), size - 1)", pad,
    ),
    "a corner missing in the gradient": (
        "pad", "(h_valid & w_valid)", "(h_valid & w_valid & (row * column == 0))", pad
    ),
    "the far edge missing in the gradient": ("pad", "i >= size - 1 - after", "i >= size - after",
        pad),
    "an edge taken for the inside": ("pad", "w0 + P > W - 1 - right", "w0 + P > W", large_image),
    "the far column missing between the edges": (
        "pad", "tl.static_range(1, 3)", "tl.static_range(1, 2)", large_image
    ),
    "an edge row taken for one between them": (
        "pad", "h1 < H - 1 - bottom", "h1 < H - bottom", large_image
    ),
    "bytes rounded down": ("pixels", "(value + 0.5).to(tl.uint8)", "value.to(tl.uint8)",
        check_clamped),
    "bytes not clamped": ("pixels",
        "tl.minimum(tl.maximum(x.to(tl.float32) * 127.5 + 127.5, 0), 255)",
        "x.to(tl.float32) * 127.5 + 127.5", check_clamped),
    "a byte's range one too wide": ("pixels", "(2 / 255)", "(2 / 256)", frames),
    "the last block of frames forgotten": ("pixels", "mask = at < numbers\n        tl.store(x_ptr",
        "mask = at < 0\n        tl.store(x_ptr", frames),
    "red and blue exchanged": ("pixels", "tl.store(x_ptr + at + 2, (2 * tl.minimum(tl.maximum(b",
        "tl.store(x_ptr + at + 2, (2 * tl.minimum(tl.maximum(r", video),
    "chroma of the pixel, not of its group": (
        "pixels", "(pixel // W // 2) * (W // 2) + pixel % W // 2", "pixel // 4", video
    ),
    "black at zero": ("pixels", "luma * y_range + y_black + 0.5", "luma * y_range + 0.5", video),
    "chroma of one pixel alone": ("pixels", "u += (b - luma) / (2 * (1 - kb)) / 4",
        "u = (b - luma) / (2 * (1 - kb))", video),
    "10 bits in the low end of the word": ("pixels", "(code << SHIFT)", "(code << 0)",
        full_range_10_bits),
    "full range beyond the last code": ("pixels", "top = 2 * c_zero - 1", "top = 4 * c_zero",
        full_range_10_bits),
}  # fmt: skip
FILES = {
    "norm": instance_norm_triton,
    "whole": instance_norm_whole_triton,
    "pad": reflection_pad_triton,
    "pixels": pixels_triton,
}


def text_of(file: str) -> str:
    """Of the kernels of a file; operators, which follow them, are left out."""
    return Path(FILES[file].__file__ or "").read_text().split("@triton_op")[0]


def built(text: str, folder: Path) -> ModuleType:
    path = folder / "built.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("built", path)
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def replaced(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts these kernels wherever the real ones of the same name are used."""
    for module in (instance_norm_ops, *FILES.values()):
        for name, kernel in vars(kernels).items():
            if hasattr(kernel, "fn") and name in vars(module):
                monkeypatch.setattr(module, name, kernel)


CHECKS = list(dict.fromkeys((file, check) for file, _, _, check in MUTATIONS.values()))


def run_on(
    file: str, kernels: ModuleType, check: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    tiles = (8, 2, 16) if check is not large_image else (4, 1, 16)
    replaced(kernels, monkeypatch)
    with blocks(*tiles) if file != "whole" else nullcontext():
        check()


@pytest.mark.parametrize(("file", "check"), CHECKS)
def test_kernels_built_from_their_unchanged_text_pass(
    file: str, check: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run_on(file, built(text_of(file), tmp_path), check, monkeypatch)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_kernel_is_noticed(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file, old, new, check = MUTATIONS[name]
    text = text_of(file)
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {file}"
    kernels = built(text.replace(old, new), tmp_path)
    with pytest.raises(AssertionError):
        run_on(file, kernels, check, monkeypatch)
