"""CycleGAN, trained and run as fast as the machine allows.

The public names load on first use, so that ``import cyclegan`` stays cheap.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "CycleGAN": "model",
    "CycleGANConfig": "config",
    "CycleGANError": "errors",
    "PatchDiscriminator": "networks",
    "ResnetGenerator": "networks",
    "TrainConfig": "config",
    "Translator": "engine.translator",
    "UnetGenerator": "networks",
    "export_reference": "reference",
    "import_reference": "reference",
    "load_generator": "checkpoint",
    "onnx_from_generator": "engine.export",
    "parity": "engine.parity",
    "plan_from_onnx": "engine.plan",
    "save_generator": "checkpoint",
    "train": "training",
    "translate_video": "engine.video",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
