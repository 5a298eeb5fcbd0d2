"""The arguments that benchmarks share."""

import argparse
from pathlib import Path


def parser_for(doc: str | None, *, turns: int) -> argparse.ArgumentParser:
    """A parser with the generator, the turns and the output, described by a module's docstring."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--width", type=int, default=64, help="channels of the generator")
    parser.add_argument("--blocks", type=int, default=9, help="its residual blocks")
    parser.add_argument("--turns", type=int, default=turns)
    parser.add_argument("--output", type=Path, help="append the result to this file of JSON lines")
    return parser
