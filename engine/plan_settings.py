"""What a plan is asked for: sizes, precision, target GPUs, and the builder's settings.

N batch, H height, W width. All of it is part of the cache's key.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

from cyclegan.engine.frames import SMALLEST_SIDE
from cyclegan.engine.typed_graph import BodyPrecision
from cyclegan.errors import ConfigError
from cyclegan.sizes import Size, size_from

Shape = tuple[int, int, int]
"""N, H, W."""
NormChoice = Literal["auto", "native", "float32"]
Flavour = Literal["tensorrt", "tensorrt-rtx"]
Tiling = Literal["none", "fast", "moderate", "full"]
LEAST_PSNR_DB = 40.0
MOST_EXTENT = MOST_STREAMS = 2**31 - 1
MOST_WORKSPACE_MIB = (2**64 - 1) >> 20
"""As large as TensorRT's interface has numbers: an int32, and a size in bytes."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The shapes that a plan takes: from ``least`` to ``most``, fastest at ``best``."""

    least: Shape
    best: Shape
    most: Shape

    def __post_init__(self) -> None:
        for low, middle, high in zip(self.least, self.best, self.most):
            if not 1 <= low <= middle <= high <= MOST_EXTENT:
                raise ConfigError(
                    f"profile {self}: expected 1 <= min <= opt <= max <= {MOST_EXTENT} in batch, "
                    "height and width"
                )

    def __str__(self) -> str:
        """As people write it; :meth:`parse` reads it."""
        return ",".join(f"{width}x{height}:{batch}" for batch, height, width in self)

    def __iter__(self) -> Iterator[Shape]:
        return iter((self.least, self.best, self.most))

    @classmethod
    def of(cls, height: int, width: int, batch: int = 1) -> "Profile":
        """Frames of one size, in batches of 1 to ``batch``."""
        most = (batch, height, width)
        return cls(least=(1, height, width), best=most, most=most)

    @classmethod
    def parse(cls, text: str) -> "Profile":
        """From ``min,opt,max``, each a size and a batch (else 1): ``256x256,256x256:4,1280x720:8``.

        Raises ConfigError.
        """
        try:
            least, best, most = map(_shape, text.split(","))
        except ValueError as error:
            raise ConfigError(
                f"got the profile {text!r}; expected min,opt,max, each WIDTHxHEIGHT or "
                "WIDTHxHEIGHT:BATCH, such as 256x256,256x256:4,1280x720:8"
            ) from error
        return cls(least=least, best=best, most=most)

    @classmethod
    def from_shapes(cls, text: str) -> "Profile":
        """From the text of :attr:`shapes`. Raises ValueError."""
        least, best, most = (map(int, shape.split("x")) for shape in text.split(","))
        return cls(least=_three(*least), best=_three(*best), most=_three(*most))

    @property
    def shapes(self) -> str:
        """Each NxHxW, as notes have it: ``1x256x256,4x256x256,8x720x1280``."""
        return ",".join("x".join(map(str, shape)) for shape in self)

    def takes(self, shape: Shape) -> bool:
        """Whether frames (N, H, W) lie within."""
        return all(a <= x <= b for a, x, b in zip(self.least, shape, self.most))

    def check_sides(self, multiple: int) -> None:
        """Raises ConfigError unless the generator takes every size: multiples, not too small."""
        for _, height, width in self:
            check_sides((height, width), multiple, "in the profile")


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """All that shapes a plan, besides the graph and the machine."""

    profile: Profile
    precision: BodyPrecision = "float16"
    """Of the body's tensors and arithmetic."""
    norm: NormChoice = "auto"
    """Norms in the body's precision, in float32, or (auto) in the first that passes the check."""
    targets: tuple[str, ...] = ()
    """Compute capabilities such as 8.9; none means the GPU of this machine. Whatever the spelling,
    they are kept in order, each once, as ``8.9``."""
    flavour: Flavour | None = None
    """Which TensorRT, where both are installed."""
    optimization_level: int = 3
    """From 0, which builds fastest, to 5, which searches longest."""
    tiling: Tiling = "none"
    """How hard the builder looks for tilings that stay in the cache."""
    max_aux_streams: int | None = None
    """Streams beside the main one; None leaves them to the builder."""
    workspace_mib: int | None = None
    """Scratch memory of the builder's choices at most; None leaves it to the builder."""
    refit: bool = False
    """Let other weights be put in without a build; its price is a slower engine."""
    timing_cache: bool = True
    """Keep kernel timings between builds; of the full flavour only."""
    check: bool = True
    """Compare the pictures with float32 before the plan is handed out."""
    least_psnr_db: float = LEAST_PSNR_DB
    """How close they must be: below it a plan is refused."""

    def __post_init__(self) -> None:
        if not 0 <= self.optimization_level <= 5:
            raise ConfigError(f"optimization level {self.optimization_level}; expected 0 to 5")
        if self.workspace_mib is not None and not 1 <= self.workspace_mib <= MOST_WORKSPACE_MIB:
            raise ConfigError(
                f"workspace of {self.workspace_mib} MiB; expected 1 to {MOST_WORKSPACE_MIB}"
            )
        if self.max_aux_streams is not None and not 0 <= self.max_aux_streams <= MOST_STREAMS:
            raise ConfigError(
                f"{self.max_aux_streams} auxiliary streams; expected 0 to {MOST_STREAMS}"
            )
        if not 0 <= self.least_psnr_db < math.inf:
            raise ConfigError(f"least PSNR {self.least_psnr_db:g} dB; expected 0 or more")
        targets = (self.targets,) if isinstance(self.targets, str) else self.targets
        spelled = sorted({_capability(target) for target in targets})
        object.__setattr__(self, "targets", tuple(f"{major}.{minor}" for major, minor in spelled))

    def as_key(self) -> dict[str, str | float | bool | None]:
        """Every setting as a plain value, but for the flavour, which is known by then."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        del values["flavour"]
        values["profile"] = self.profile.shapes
        values["targets"] = " ".join(self.targets) or None
        return values


def check_sides(size: Size, multiple: int, where: str) -> None:
    """Raises ConfigError unless the generator takes frames of ``size``, which stands ``where``."""
    height, width = size
    if height % multiple or width % multiple or min(height, width) < SMALLEST_SIDE:
        raise ConfigError(
            f"{width}x{height} {where}: this generator takes heights and widths that are multiples "
            f"of {multiple}, from {max(multiple, SMALLEST_SIDE)} up"
        )


def _three(*sides: int) -> Shape:
    batch, height, width = sides
    return batch, height, width


def capability_name(target: str) -> str:
    """``SM89`` for ``8.9``, ``89`` or ``sm_89``. Raises ConfigError for what is none of these."""
    return "SM{}{}".format(*_capability(target))


def _capability(target: object) -> tuple[int, int]:
    match = re.fullmatch(r"(?:sm_?)?(\d{1,2})\.?(\d)", str(target).lower())
    if match is None:
        raise ConfigError(f"target {target!r}: expected a compute capability such as 8.9 or sm_89")
    major, minor = match.groups()
    return int(major), int(minor)


def _shape(text: str) -> Shape:
    """Raises ValueError."""
    size, _, batch = text.partition(":")
    return int(batch or 1), *size_from(size)
