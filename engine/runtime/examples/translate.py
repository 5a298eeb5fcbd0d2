"""Translate a picture through the C library, with nothing but the standard library and NumPy.

python translate.py libcyclegan.so model.onnx photo.npy painting.npy      (uint8 H, W, 3)
"""

import ctypes
import os
import sys

import numpy as np


class Frame(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t)]
    _fields_ += [(name, ctypes.c_int32) for name in ("width", "height", "format", "matrix")]
    _fields_ += [("full_range", ctypes.c_int32), ("reserved0", ctypes.c_int32)]
    _fields_ += [("data", ctypes.c_void_p * 2), ("stride", ctypes.c_size_t * 2)]
    _fields_ += [("reserved", ctypes.c_size_t * 4)]


def frame(rgb: np.ndarray) -> Frame:
    sizes = {"struct_size": ctypes.sizeof(Frame), "width": rgb.shape[1], "height": rgb.shape[0]}
    return Frame(**sizes, data=(rgb.ctypes.data, None), stride=(rgb.strides[0], 0))


def check(status: int, handle: ctypes.c_void_p | None) -> None:
    if status:
        sys.exit(library.cyclegan_last_error(handle).decode(errors="replace"))


if len(sys.argv) != 5:
    sys.exit("usage: python translate.py libcyclegan.so model.onnx photo.npy painting.npy")
library, translator = ctypes.CDLL(sys.argv[1]), ctypes.c_void_p()
library.cyclegan_last_error.restype = ctypes.c_char_p
check(library.cyclegan_open(ctypes.byref(translator), os.fsencode(sys.argv[2]), None), None)
photo = np.ascontiguousarray(np.load(sys.argv[3]))
if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
    sys.exit(f"expected uint8 (H, W, 3), got {photo.dtype} {photo.shape}")
painting = np.empty_like(photo)
source, target = frame(photo), frame(painting)
arguments = translator, ctypes.byref(source), ctypes.byref(target)
check(library.cyclegan_translate(*arguments), translator)
library.cyclegan_close(ctypes.byref(translator))
np.save(sys.argv[4], painting)
