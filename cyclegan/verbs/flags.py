"""How tyro reads the flags of the verbs: what it knows of our types."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from types import NoneType
from typing import get_args, get_origin

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from cyclegan.errors import ConfigError
from cyclegan.sizes import Size, size_from, size_text

REGISTRY = ConstructorRegistry()
"""In force where a verb's flags are read."""
_LEAST_COLUMNS = 40


@REGISTRY.primitive_rule
def _size(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Size | None] | None:
    """A pair of whole numbers, or None, is a size: one message for what is no size."""
    kinds = get_args(info.type)
    kind = kinds[0] if kinds[1:] == (NoneType,) else info.type
    if get_origin(kind) is not tuple or get_args(kind) != get_args(Size):
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="WIDTHxHEIGHT",
        instance_from_str=lambda words: size_from(words[0]),
        is_instance=lambda value: value is None or isinstance(value, tuple),
        str_from_instance=lambda size: ["None" if size is None else size_text(size)],
    )


class Program(str):
    """The command of a verb with subcommands, kept whole: tyro would name the first word alone
    where it says which command has a flag."""

    def partition(self, separator: str, /) -> tuple[str, str, str]:
        return self, "", ""


@contextlib.contextmanager
def wide_enough() -> Iterator[None]:
    """A terminal of 40 columns or more, for tyro: on one of five or fewer it wraps without end."""
    given = os.environ.get("COLUMNS")
    if shutil.get_terminal_size().columns < _LEAST_COLUMNS:
        os.environ["COLUMNS"] = str(_LEAST_COLUMNS)
    try:
        yield
    finally:
        os.environ.pop("COLUMNS", None)
        if given is not None:
            os.environ["COLUMNS"] = given


_SHORT = {"fp16": "float16", "half": "float16", "bf16": "bfloat16", "fp32": "float32"}
"""What others call a precision."""


def spelled_out(arguments: Sequence[str]) -> list[str]:
    """``arguments`` with our names for the precisions that are asked for by short ones."""
    words = []
    for before, word in zip(["", *arguments], arguments):
        flag, equals, value = word.partition("=")
        if equals and _names_precision(flag):
            word = f"{flag}={_SHORT.get(value, value)}"
        elif _names_precision(before):
            word = _SHORT.get(word, word)
        words.append(word)
    return words


def _names_precision(flag: str) -> bool:
    return flag.startswith("--") and flag.removeprefix("--").split(".")[-1] == "precision"


def refuse_empty(arguments: Sequence[str]) -> None:
    """Raises ConfigError for an empty word: as a path it would be the folder that we run in."""
    for before, word in zip(["", *arguments], arguments):
        flag, equals, value = word.partition("=")
        if not word or (equals and not value and flag.startswith("--")):
            named = flag or before
            place = f"what follows {named}" if named.startswith("--") else "one of the arguments"
            raise ConfigError(
                f"{place} is empty; expected a name or a value; set the variable of the shell that "
                "it comes from, or leave it out"
            )


def refuse_two_numbers(arguments: Sequence[str]) -> None:
    """Raises ConfigError for ``--size 272 640``, which does not say which is the width."""
    for flag, one, two in zip(arguments, arguments[1:], arguments[2:]):
        if flag == "--size" and one.isdecimal() and two.isdecimal():
            size_from(f"{one} {two}")
