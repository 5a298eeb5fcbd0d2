"""Modules beside the tests, which several of them share, are found; and the operators in Triton."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def operators() -> Any:
    """Those that builds of PyTorch for GPUs register at once, by their names."""
    pytest.importorskip("triton", reason="operators need Triton")
    import torch

    from cyclegan.kernels import launch

    launch.register_operators()
    return torch.ops.cyclegan
