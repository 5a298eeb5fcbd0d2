"""PyTorch's devices by their names."""

import torch

from cyclegan.errors import BackendError


def usual_device() -> str:
    """``cuda`` where there is a GPU, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def find_device(name: str) -> torch.device:
    """The device of that name, such as ``cpu``, ``cuda`` or ``cuda:1``. Raises BackendError for one
    that PyTorch has no device for here.
    """
    try:
        device = torch.device(str(name).lower())
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:
        known = ["cpu", *(f"cuda:{gpu}" for gpu in range(torch.cuda.device_count()))]
        said = str(error).partition("\n")[0]
        raise BackendError(
            f"PyTorch cannot use the device {name!r} ({said}); expected one of {', '.join(known)}"
        ) from error
    return device
