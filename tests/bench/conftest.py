"""What several tests of benchmarks share."""

from collections.abc import Callable
from typing import Any

import pytest

from bench import aims


@pytest.fixture
def aims_found() -> Callable[..., int]:
    """How many aims find their figure in a program's result, were it of the paper's generator.

    A figure whose name an aim has wrong would be "not measured" for ever.
    """

    def count(result: dict[str, Any], **settings: Any) -> int:
        row = result | {"settings": result["settings"] | aims.PAPER | settings}
        place = aims.Place(title="here", rows={result["benchmark"]: [row]}, has=())
        return sum(aim.found(place) is not None for aim in aims.AIMS)

    return count
