"""Modules beside the tests, which several of them share, are found; and the operators in Triton."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def operators() -> Any:
    """Those that are registered where a GPU is first seen, by their names."""
    pytest.importorskip("triton", reason="operators need Triton")
    import torch

    from cyclegan.kernels import launch

    for module in ("instance_norm_ops", "pixels_triton", "reflection_pad_triton"):
        assert launch.registered(module)
    return torch.ops.cyclegan
