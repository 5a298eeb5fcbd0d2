r"""Patterns as FFmpeg reads them: ``*``, ``?``, ``[ab]``, ``{a,b}``, ``\`` before any."""

import glob
import re
from collections.abc import Iterator
from pathlib import Path

_SIGNS = re.compile(r"[\\*?\[\]{}]")
_ALTERNATIVES = re.compile(r"(?<!\\)\{((?:[^\\{}]|\\.)*)\}")
"""The innermost."""


def pattern_for_ffmpeg(pattern: Path) -> str:
    """``pattern`` from the root on: as far as its folders are there, their signs mean nothing."""
    whole = pattern.absolute()
    folder = next(parent for parent in whole.parents if parent.is_dir())
    return str(Path(_SIGNS.sub(r"\\\g<0>", str(folder)), whole.relative_to(folder)))


def found(pattern: str) -> list[Path]:
    """The files that FFmpeg finds by ``pattern``."""
    names: list[str] = []
    for text in _spelled_out(pattern):
        escaped = re.sub(r"\\(.)", lambda sign: glob.escape(sign[1]), text)
        names += glob.glob(escaped)  # noqa: PTH207 (as FFmpeg, it passes over hidden ones)
    return [Path(name) for name in names]


def _spelled_out(pattern: str) -> Iterator[str]:
    """``pattern`` with each of the alternatives in its braces, which Python's globs do not know."""
    braces = _ALTERNATIVES.search(pattern)
    if not braces:
        yield pattern
        return
    for one in braces[1].split(","):
        yield from _spelled_out(pattern[: braces.start()] + one + pattern[braces.end() :])
