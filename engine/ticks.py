"""Times in units of another time base."""

import math
from fractions import Fraction


def nearest_tick(time: Fraction) -> int:
    """The whole unit nearest to ``time``, in units; of halves the later one.

    Python's ``round`` takes the even one, and times half a unit off would meet in pairs.
    """
    return math.floor(time + Fraction(1, 2))
