"""What a peer is: another way to run a generator, on the same frames and weights as ours.

N batch, H height, W width, C channels. Frames are uint8 (N, H, W, C), RGB.
"""

import importlib.util
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from bench.suite import Repeated
from cyclegan.engine.frames import Frames
from cyclegan.networks import Generator


@dataclass(frozen=True, kw_only=True)
class Given:
    """What every peer gets."""

    generator: Generator
    frames: Frames
    opened: ExitStack
    """Closes what a peer leaves in it."""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A peer that is loaded."""

    once: Callable[[], Frames]
    """Translates the frames and returns the result, to be compared."""
    repeated: Repeated
    """Translates them so many times over."""
    about: str = ""
    """Versions that the machine's card does not have."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A row of the table."""

    open: Callable[[Given], Ready]
    missing: Callable[[], str | None] = lambda: None
    """Why it cannot run here, or None."""


def again(once: Callable[[], Frames]) -> Ready:
    """A peer whose calls do not overlap."""

    def repeated(count: int) -> None:
        for _ in range(count):
            once()

    return Ready(once=once, repeated=repeated)


def needs(module: str, advice: str = "") -> Callable[[], str | None]:
    """Says that a module is not installed."""

    def missing() -> str | None:
        if importlib.util.find_spec(module) is not None:
            return None
        return f"{module} is not installed{advice}"

    return missing
