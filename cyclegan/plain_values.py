"""Settings as plain values and back: how they travel in TOML files and in model files' metadata,
and the types that they have.

A network's configuration names its class in the key ``kind``.
"""

import contextlib
import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

from cyclegan.errors import ConfigError


def as_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain values: strings, numbers, booleans and dictionaries of them.

    What is not set is left out, since TOML has no null.
    """
    values: dict[str, Any] = {"kind": config.kind} if hasattr(config, "kind") else {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if value is None:
            continue
        if dataclasses.is_dataclass(value):
            value = as_dict(value)
        values[item.name] = str(value) if isinstance(value, Path) else value
    return values


def from_dict(cls: Any, values: Mapping[str, Any], where: str = "") -> Any:
    """The configuration of class ``cls`` from plain values.

    ``cls`` is a dataclass, or a union of dataclasses told apart by ``kind``. Raises ConfigError for
    an unknown or missing key, naming the nearest known one, and for a value of the wrong type.
    """
    if isinstance(cls, types.UnionType):
        return _from_tagged(cls, values, where)
    hints = typing.get_type_hints(cls)
    known = {item.name: item for item in dataclasses.fields(cls)}
    given: dict[str, Any] = {}
    for key, value in values.items():
        if key == "kind" and hasattr(cls, "kind"):
            continue
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
            raise ConfigError(f"unknown setting {where}{key}{hint}")
        given[key] = _converted(hints[key], value, f"{where}{key}")
    for name, item in known.items():
        if name not in given and item.default is item.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}{name} is not set, and has no default")
    return cls(**given)


def _from_tagged(union: types.UnionType, values: Mapping[str, Any], where: str) -> Any:
    classes = {member.kind: member for member in typing.get_args(union)}
    kind = values.get("kind", next(iter(classes)))
    if not isinstance(kind, str) or kind not in classes:
        raise ConfigError(
            f"{where}kind is {kind!r}; expected one of {', '.join(map(repr, classes))}"
        )
    return from_dict(classes[kind], values, where)


def _converted(hint: Any, value: Any, where: str) -> Any:
    if all(map(dataclasses.is_dataclass, typing.get_args(hint) or [hint])):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} is {value!r}; expected a table of settings")
        return from_dict(hint, value, f"{where}.")
    return _checked(hint, value, where)


def take_types(config: Any) -> None:
    """Make the settings of a frozen ``config`` what its annotations say: paths of str, Python's
    numbers of NumPy's. Raises ConfigError for one of another type, or none of a Literal's."""
    hints = typing.get_type_hints(type(config))
    for item in dataclasses.fields(config):
        value = _checked(hints[item.name], getattr(config, item.name), item.name)
        object.__setattr__(config, item.name, value)


def one_of(choices: Any, **settings: object) -> None:
    """Raises ConfigError for a setting that is none of a Literal's ``choices``."""
    for name, value in settings.items():
        known = typing.get_args(choices)
        if value not in known:
            raise ConfigError(f"{name} is {value!r}; expected one of {', '.join(map(repr, known))}")


def _checked(hint: Any, value: Any, where: str) -> Any:
    members = typing.get_args(hint) or (hint,)
    if typing.get_origin(hint) is Literal:
        one_of(hint, **{where: value})
        return members[members.index(value)]
    if value is None and types.NoneType in members:
        return None
    if Path in members and isinstance(value, str) and value:
        return Path(value)  # no name would be the folder we run in
    if not isinstance(value, bool):
        if int in members and isinstance(value, Integral):
            return int(value)
        if float in members and isinstance(value, Real):
            with contextlib.suppress(OverflowError):  # whole numbers have no end
                return float(value)
    if not isinstance(value, members) or (isinstance(value, bool) and bool not in members):
        expected = (member.__name__ for member in members if member is not types.NoneType)
        raise ConfigError(f"{where} is {value!r}; expected {' or '.join(expected)}")
    return value
