"""The arguments that benchmarks share."""

import argparse
from pathlib import Path

from bench.harness import check_output
from cyclegan.errors import ConfigError, OutputError
from cyclegan.sizes import Size, size_from


def parser_for(doc: str | None, *, turns: int) -> argparse.ArgumentParser:
    """A parser with the generator, the turns and the output, described by a module's docstring."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument(
        "--width", type=count_argument, default=64, help="channels of the generator"
    )
    parser.add_argument("--blocks", type=count_argument, default=9, help="its residual blocks")
    parser.add_argument(
        "--turns", type=count_argument, default=turns, help="how often each candidate is timed"
    )
    parser.add_argument(
        "--output", type=output_argument, help="append the result to this file of JSON lines"
    )
    return parser


def count_argument(text: str) -> int:
    """A number from 1 up, for ``add_argument``."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a number from 1 up")
    return int(text)


def output_argument(text: str) -> Path | None:
    """A file that can be written, or None, standard output, for ``-``; for ``add_argument``."""
    path = None if text == "-" else Path(text)
    try:
        check_output(path)
    except OutputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return path


def size_argument(text: str) -> Size:
    """(height, width) of WIDTHxHEIGHT, for ``add_argument``."""
    try:
        return size_from(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
