"""How good the generators of a run are, on pictures that it never trains on."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import nn

from cyclegan.config import TrainConfig
from cyclegan.errors import ConfigError, DataError, reason_of
from cyclegan.evaluate import (
    check_distances,
    check_side,
    distances,
    evaluate_pairs,
    import_metrics,
    translate_from_generator,
)
from cyclegan.pictures import Picture
from cyclegan.preprocess import manner, plain
from cyclegan.sizes import size_text
from cyclegan.sources import Item, fingerprint, list_items, names_to_pair

MOST = 200
"""Pictures of each domain that a scoring looks at."""


class Scorer:
    """Scores on ``test_a`` and ``test_b`` as the networks see them when tested.

    Where all names agree, and none comes twice, pictures are pairs: L1, SSIM and the share that
    came out inverted, both ways, and SSIM chooses the best. Else the sets are compared: FID and
    KID, which need the extra ``fid``, and KID chooses. Raises DataError for folders without
    pictures, sets of one, and pairs of two sizes or too small for SSIM, ImageError for a picture
    that cannot be read or is too small for the generator, and BackendError where the extra is
    missing or torchmetrics cannot be imported: all before the run begins.
    """

    def __init__(self, config: TrainConfig) -> None:
        data, generator = config.data, config.model.generator
        assert data.test_a is not None
        assert data.test_b is not None
        self.data = dataclasses.replace(data, depth=8)
        self.sides = generator.size_multiple, generator.smallest_side
        self.channels = generator.in_channels, generator.out_channels
        if not set(self.channels) <= {1, 3}:
            raise ConfigError(
                f"scores are of pictures with 1 or 3 channels, got {self.channels}; "
                "set score_every to 0"
            )
        a, b = list_items(data.test_a), list_items(data.test_b)
        named_a = dict(zip(names_to_pair(data.test_a, a), a))
        named_b = dict(zip(names_to_pair(data.test_b, b), b))
        self.paired = len(a) == len(named_a) == len(b) and named_a.keys() == named_b.keys()
        if self.paired:  # lists of the same pairs in any order are the same test pictures
            a, b = ([named[name] for name in sorted(named)] for named in (named_a, named_b))
        self.items = a[:MOST], b[:MOST]
        kind = "pairs" if self.paired else "sets"
        looked_at = fingerprint((data.test_a, self.items[0]), (data.test_b, self.items[1]))
        self.pictures = f"{kind} of {looked_at}"
        self.fingerprint = f"{self.pictures}, {manner(data)}"
        """What tells figures that compare from others."""
        self.inception: nn.Module | None = None
        if self.paired:
            import_metrics()
        else:
            self.inception = check_distances(len(a), len(b))
        pictures = self._pictures()
        if self.paired:
            for names, pair in zip(zip(*self.items), zip(*pictures)):
                _check_pair(names, pair)

    def scores(self, generator_ab: nn.Module, generator_ba: nn.Module) -> dict[str, float]:
        """Named figures; ``goodness`` is the one to choose by, higher is better.

        Raises DataError and ImageError for pictures that have changed since, or that the memory
        has no room for.
        """
        with _memory_watched():
            a, b = self._pictures()
            compare = _of_pairs if self.inception is None else partial(_of_sets, self.inception)
            ab, ba = compare(generator_ab, a, b), compare(generator_ba, b, a)
        return {
            "goodness": (ab.pop("goodness") + ba.pop("goodness")) / 2,
            **{f"ab_{name}": value for name, value in ab.items()},
            **{f"ba_{name}": value for name, value in ba.items()},
        }

    def _pictures(self) -> list[list[Picture]]:
        """Of each domain."""
        return [
            [plain(item, self.data, channels, *self.sides) for item in items]
            for items, channels in zip(self.items, self.channels)
        ]


@contextlib.contextmanager
def _memory_watched() -> Iterator[None]:
    """Raises DataError where there is too little memory: training may need less."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        has_class = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not has_class and "DefaultCPUAllocator" not in str(error):
            raise
        raise DataError(
            f"too little memory for the test pictures ({reason_of(error)}); give smaller ones, or "
            "choose a preprocess that scales or crops them"
        ) from error


def _check_pair(names: tuple[Item, Item], pair: tuple[Picture, Picture]) -> None:
    """Raises DataError where a translation of one cannot be compared with the other."""
    a, b = (picture.shape[:2] for picture in pair)
    if a != b:
        raise DataError(
            f"{names[0]} is scored against {names[1]}, at {size_text(a)} and {size_text(b)} "
            "pixels; expected one size; choose a preprocess with a crop, or other pairs"
        )
    check_side(pair[0])


def _of_pairs(
    generator: nn.Module, given: Sequence[Picture], truths: Sequence[Picture]
) -> dict[str, float]:
    scores = evaluate_pairs(translate_from_generator(generator), zip(given, truths))
    return {
        "goodness": scores.ssim,
        "l1": scores.l1,
        "ssim": scores.ssim,
        "inverted": scores.inverted,
    }


def _of_sets(
    inception: nn.Module, generator: nn.Module, given: Sequence[Picture], reals: Sequence[Picture]
) -> dict[str, float]:
    found = distances(map(translate_from_generator(generator), given), reals, inception)
    return {"goodness": -found.kid, "fid": found.fid, "kid": found.kid}
