"""Frames in the host's memory, and how many bits their channels have.

N batch, H height, W width, C channels.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cyclegan.config import Depth

Frames = NDArray[np.uint8 | np.uint16]
"""(N, H, W, C): uint8 in [0, 255], or uint16 in [0, 65535]."""
SMALLEST_SIDE = 8
"""Below this side the reflections inside a generator find nothing to mirror."""
VideoDepth = Literal["auto", 8, 16]
"""Bits a channel that frames are translated with; "auto" goes by source, result and backend."""


def depth_of(frames: Frames) -> Depth:
    """The bits of a channel of ``frames``."""
    return 16 if frames.dtype == np.uint16 else 8
