"""PyTorch's devices by their names."""

import torch

from cyclegan.errors import BackendError


def find_device(name: str | None = None) -> torch.device:
    """The device of that name, such as ``cpu``, ``cuda`` or ``cuda:1``; without one a GPU where
    there is one, else the CPU. Raises BackendError for a name that PyTorch has no device for here.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
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
