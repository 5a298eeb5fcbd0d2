"""Results are never written onto what they are made from."""

import pytest

from cyclegan.errors import OutputError
from cyclegan.targets import check_pattern


@pytest.mark.parametrize(
    "source",
    [
        *("p/%04d.png", "p/*.png", "p/*.PNG", "p/*", "p/*.p*", "p/0*.[pP][nN][gG]", "p/../p/?"),
        *("p/*.{png,jpg}", "p/{a.jpg,*.png}", "p/*.pn\\g"),
    ],
)
def test_numbered_pictures_do_not_go_among_those_that_are_read(source: str) -> None:
    with pytest.raises(OutputError, match=r"p/%05d\.png could be one of the pictures p/"):
        check_pattern(source, "p/%05d.png")
    check_pattern(source, "q/%05d.png")


@pytest.mark.parametrize("source", ["p/%04d.png", "p/*.png"])
def test_pictures_of_another_kind_may_lie_beside_them(source: str) -> None:
    check_pattern(source, "p/%05d.jpg")
