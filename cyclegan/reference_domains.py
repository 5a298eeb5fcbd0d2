"""What the public implementation's ``.pth`` files translate, read off their names."""

import os
import re
from pathlib import Path


def domains_of(
    path: str | os.PathLike[str], domains: tuple[str, str] = ("A", "B")
) -> tuple[str, str]:
    """What the generator in ``path`` translates from and to; a discriminator judges the second.

    ``domains`` are A and B of the whole CycleGAN. The file does not say which of its networks it
    holds, its name does, such as latest_net_G_B.pth; by any other name it is taken for G_A or D_A.
    """
    a, b = domains
    return (b, a) if re.search("_net_[GD]_B", Path(path).name) else (a, b)
