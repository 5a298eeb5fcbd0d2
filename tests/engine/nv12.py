"""NV12 <-> RGB in whole numbers, as the C library's pixels.cpp defines it, written anew in NumPy.

H height, W width. RGB is uint8 (H, W, 3); luma uint8 (H, W); chroma uint8 (ceil H/2, ceil W/2, 2).
``shared`` is the number of rows and columns of pixels that share chroma: (1, 2) makes it NV16.
Coefficients have 16 binary digits behind the point, and green has what the others leave.
"""

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}


def fixed(value: float) -> int:
    return int(np.floor(abs(value) * 65536 + 0.5)) * (1 if value >= 0 else -1)


def levels(full: bool) -> tuple[int, int, int]:
    """Black, and the spans of luma and chroma."""
    return (0, 255, 255) if full else (16, 219, 224)


def rgb_from_nv12(
    luma: Bytes,
    chroma: Bytes,
    matrix: str = "bt601",
    full: bool = False,
    shared: tuple[int, int] = (2, 2),
) -> Bytes:
    (kr, kb), (black, span, chroma_span) = WEIGHTS[matrix], levels(full)
    red, blue = 2 * (1 - kr), 2 * (1 - kb)
    scale, kg = 255 / chroma_span, 1 - kr - kb
    height, width = luma.shape
    wide = chroma.repeat(shared[0], 0).repeat(shared[1], 1)[:height, :width].astype(np.int64) - 128
    cb, cr = wide[..., 0], wide[..., 1]
    y = (luma.astype(np.int64) - black) * fixed(255 / span)
    r = y + fixed(scale * red) * cr
    g = y + fixed(-scale * red * kr / kg) * cr + fixed(-scale * blue * kb / kg) * cb
    b = y + fixed(scale * blue) * cb
    rgb = np.stack([r, g, b], -1)
    return ((rgb + 32768) >> 16).clip(0, 255).astype(np.uint8)


def nv12_from_rgb(
    rgb: Bytes, matrix: str = "bt601", full: bool = False, shared: tuple[int, int] = (2, 2)
) -> tuple[Bytes, Bytes]:
    (kr, kb), (black, span, chroma_span) = WEIGHTS[matrix], levels(full)
    whole, half = fixed(span / 255), fixed(chroma_span / 255 / 2)
    y_r, y_b = fixed(kr * span / 255), fixed(kb * span / 255)
    cb_r = -fixed(kr / (1 - kb) / 2 * chroma_span / 255)
    cr_b = -fixed(kb / (1 - kr) / 2 * chroma_span / 255)
    r, g, b = np.moveaxis(rgb.astype(np.int64), -1, 0)
    luma = (black << 16) + y_r * r + (whole - y_r - y_b) * g + y_b * b
    missing = [-side % count for side, count in zip(rgb.shape, shared)]
    whole_blocks = np.pad(rgb, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    rows, columns = (side // count for side, count in zip(whole_blocks.shape, shared))
    blocks = whole_blocks.reshape(rows, shared[0], columns, shared[1], 3)
    r, g, b = np.moveaxis(blocks.astype(np.int64).sum((1, 3)), -1, 0)
    cb = cb_r * r + (-cb_r - half) * g + half * b
    cr = half * r + (-cr_b - half) * g + cr_b * b
    one = 65536 * shared[0] * shared[1]
    chroma = ((np.stack([cb, cr], -1) + 128 * one + one // 2) // one).clip(0, 255)
    return ((luma + 32768) >> 16).clip(0, 255).astype(np.uint8), chroma.astype(np.uint8)
