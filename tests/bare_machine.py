"""This machine as if it had what a GPU machine has for ``python -m bench.gpu``, and no more.

Imported before anything else, or given to pytest as a plugin (``-p bare_machine``): packages that
are installed here and would not be there can no longer be imported.
"""

import importlib.metadata
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

THERE = (
    "torch", "triton", "numpy", "opencv-python-headless", "onnx", "onnxruntime", "pytest",
    "pytest-benchmark",
)  # fmt: skip
"""Distributions, and with each what it asks for."""


def absent() -> frozenset[str]:
    """Top-level modules of all other distributions."""
    there: set[str] = set()
    found = list(THERE)
    while found:
        if (name := _normalised(found.pop())) in there:
            continue
        there.add(name)
        try:
            asked = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # such as CUDA's libraries
        found += [re.match(r"[\w.-]+", line)[0] for line in asked if "extra ==" not in line]  # type: ignore[index]
    modules = importlib.metadata.packages_distributions()
    return frozenset(
        module for module, names in modules.items() if there.isdisjoint(map(_normalised, names))
    ) - {"cyclegan"}  # an editable installation of this very project


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class Bare:
    """Finds what others find, but for what is absent."""

    def __init__(self, finders: Sequence[Any]) -> None:
        self._finders, self._absent = finders, absent()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name.partition(".")[0] in self._absent:
            return None
        specs = (finder.find_spec(name, path, target) for finder in self._finders)
        return next(filter(None, specs), None)

    find_distributions = staticmethod(PathFinder.find_distributions)


sys.meta_path[:] = [Bare(sys.meta_path[:])]
