r"""Patterns as FFmpeg reads them: ``*``, ``?``, ``[ab]``, ``[^a]``, ``{a,b}``, ``\`` before any."""

import glob
import re
from collections.abc import Iterator
from pathlib import Path

_SIGNS = re.compile(r"[\\*?\[\]{}]")
_ESCAPED_OR_BRACKET = re.compile(r"\\.|\[[!^]?\]?(?:\[([:.=]).*?\1\]|\\.|[^\]\\/])*\]")
_ALTERNATIVES = re.compile(r"(?<!\\)\{((?:[^\\{}]|\\.)*)\}")
"""The innermost."""


def pattern_for_ffmpeg(pattern: Path) -> str:
    """``pattern`` from the root on: as far as its folders are there, their signs mean nothing."""
    whole = pattern.absolute()
    folder = next(parent for parent in whole.parents if parent.is_dir())
    return str(Path(_SIGNS.sub(r"\\\g<0>", str(folder)), whole.relative_to(folder)))


def found(pattern: str) -> list[Path]:
    """The files that FFmpeg finds by ``pattern``, and others where brackets say more than Python's
    globs know: what may be a source is not to be written over."""
    names: list[str] = []
    for text in _spelled_out(pattern):
        known = _ESCAPED_OR_BRACKET.sub(_for_python, text)
        names += glob.glob(known)  # noqa: PTH207 (as FFmpeg, it passes over hidden ones)
    return [Path(name) for name in names]


def _for_python(sign: re.Match[str]) -> str:
    """What is escaped in FFmpeg's way, or in brackets, as Python writes it."""
    text = sign[0]
    if text.startswith("\\"):
        return glob.escape(text[1:])
    if re.search(r"\\|\[[:.=]", text):  # classes such as [:digit:], and escaped signs
        return "?"
    return f"[!{text[2:]}" if text.startswith("[^") else text


def _spelled_out(pattern: str) -> Iterator[str]:
    """``pattern`` with each of the alternatives in its braces, which Python's globs do not know."""
    braces = _ALTERNATIVES.search(pattern)
    if not braces:
        yield pattern
        return
    for one in braces[1].split(","):
        yield from _spelled_out(pattern[: braces.start()] + one + pattern[braces.end() :])
