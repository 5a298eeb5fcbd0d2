"""docs/architecture.md beside the tree that it describes."""

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def described(room: str) -> str:
    """What the page says of a top-level folder."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    rooms = page.partition("\n## Rooms\n")[2].partition("\n\nIn the C library")[0]
    return re.split(r"^    \w+/ +", rooms.partition(f"\n    {room}/ ")[2], flags=re.M)[0]


@pytest.mark.parametrize("room", ["cyclegan", "kernels", "engine", "bench"])
def test_every_module_has_its_place_on_the_page(room: str) -> None:
    names = re.findall(r"[\w*]*\w", described(room))  # such as *_triton
    folders = [ROOT / room, *(ROOT / room).glob("runners")]
    modules = [path.stem for folder in folders for path in folder.glob("[!_]*.py")]
    assert modules
    assert [m for m in modules if not any(fnmatchcase(m, name) for name in names)] == []
