"""Every error this project raises on purpose.

    CycleGANError
    ├── ConfigError            a setting is unknown, out of range, or contradicts another
    ├── DataError              training or evaluation data cannot be used
    │   └── ImageError         one picture cannot be read or converted
    │       └── DepthError     it can with 8 bits a channel at most
    ├── ModelError             a model file cannot be used
    │   ├── UnknownModelError  its tensors match no network known here
    │   └── NewerFormatError   it was written by a later version of this project
    ├── DivergedError          a training run has come to numbers that nothing can be learned from
    ├── BackendError           an inference backend is missing or refuses the model
    ├── TensorError            a tensor of a shape, dtype or device that an operation cannot take
    ├── FrameError             frames of a shape, dtype or size that cannot be translated
    ├── VideoError             a video cannot be decoded or encoded
    │   └── StoppedEarlyError  a stop came before there was anything to keep
    └── OutputError            a result cannot be written where it was asked for

A message says what was got, what was expected, and what to do about it.
"""

import contextlib
import os
import unicodedata
from collections.abc import Iterator


class CycleGANError(Exception):
    """Base of all errors of this package: catch it to catch them all."""


class ConfigError(CycleGANError, ValueError):
    """A setting is unknown, out of range, or contradicts another."""


class DataError(CycleGANError):
    """Training or evaluation data cannot be used."""


class ImageError(DataError):
    """One picture cannot be read or converted."""


class DepthError(ImageError):
    """One picture cannot be read with 16 bits a channel, though perhaps with 8."""


class ModelError(CycleGANError):
    """A model file cannot be used."""


class UnknownModelError(ModelError):
    """The tensors of a model file match no network known here."""


class NewerFormatError(ModelError):
    """A model file was written by a later version of this project."""


class DivergedError(CycleGANError, ArithmeticError):
    """A training run has come to numbers that nothing can be learned from."""


class BackendError(CycleGANError, RuntimeError):
    """An inference backend is missing or refuses the model."""


class TensorError(CycleGANError, ValueError):
    """A tensor of a shape, dtype or device that an operation cannot take."""


class FrameError(CycleGANError, ValueError):
    """Frames of a shape, dtype or size that cannot be translated."""


class VideoError(CycleGANError):
    """A video cannot be decoded or encoded."""


class StoppedEarlyError(VideoError):
    """A run was asked to stop before there was anything to keep."""


class OutputError(CycleGANError, OSError):
    """A result cannot be written where it was asked for."""


UNIMPORTABLE = (ImportError, OSError)
"""What the import of a library raises that was installed for another system, or only in part."""


def printable(text: object) -> str:
    """``text`` with what steers a terminal escaped: control characters but tabs and ends of lines.

    Names of files and what files say of themselves may hold them.
    """
    return "".join(
        character
        if character in "\t\n" or unicodedata.category(character) != "Cc"
        else character.encode("unicode_escape").decode()
        for character in str(text)
    )


def one_line(text: object) -> str:
    """``text`` as :func:`printable` has it, the ends of lines escaped too."""
    return printable(text).replace("\n", "\\n")


def reason_of(error: Exception) -> str:
    """What the system or a library says went wrong, without the name and the number of it."""
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


@contextlib.contextmanager
def model_readable(path: str | os.PathLike[str]) -> Iterator[None]:
    """Says in our terms that the system does not let the model file be read, or looked for."""
    try:
        yield
    except OSError as error:
        raise ModelError(f"cannot read {path}: {reason_of(error)}") from error
