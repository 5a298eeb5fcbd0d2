"""The command line: ``cyclegan VERB ...``, one function a verb.

What goes wrong is reported as one line on stderr and an exit status of 1; flags that cannot be
read, with what they should be and an exit status of 2. SIGTERM and SIGHUP end a verb as Ctrl-C
does, with 143 and 129: nothing half-written stays.
"""

import contextlib
import functools
import importlib
import inspect as introspection
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cyclegan.errors import CycleGANError, printable, reason_of
from cyclegan.signals import leaving
from cyclegan.streams import give_up_unwritten

VERBS = {
    "demo": "learning",
    "train": "learning",
    "evaluate": "learning",
    "import": "models",
    "export": "models",
    "build": "building",
    "translate": "running",
    "inspect": "models",
    "doctor": "running",
    "bench": "benchmarking",
}
"""The module of ``cyclegan.verbs`` that has each verb's function; it is loaded when it is asked."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    _prepare_streams()
    try:
        try:
            return _run(sys.argv[1:] if arguments is None else arguments)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        # What reads our text, such as head, may have seen enough.
        if not isinstance(error, BrokenPipeError):
            with contextlib.suppress(OSError):  # it may be standard error that is full
                print(f"error: {printable(error)}", file=sys.stderr)
        return 1  # as rich does
    finally:
        give_up_unwritten()


def _prepare_streams() -> None:
    """Make up for standard streams that are closed, and print names that are no text, escaped."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # else the next file that is opened gets this number, and what is printed
            os.open(os.devnull, os.O_RDWR)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error has it
    if logging.lastResort is not None:  # what shows the log where nobody has said how
        logging.lastResort.setFormatter(_Printable())


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _run(arguments: Sequence[str]) -> int:
    verb, *rest = [*arguments, "--help"]
    try:
        with leaving():
            if verb not in VERBS:
                return _overview(verb)
            rest.pop()
            _check_folder()
            function = _function(verb)
            _check_words(rest)
            if verb == "train":
                function(rest)
            else:
                _call(function, verb, rest)
    except CycleGANError as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _check_folder() -> None:
    """Raises CycleGANError where the folder that we run in is gone: MKL would end the process."""
    try:
        Path.cwd()
    except OSError as error:
        raise CycleGANError(
            f"the folder that this was started in cannot be found ({reason_of(error)}); change "
            "into another one"
        ) from error


def _check_words(arguments: Sequence[str]) -> None:
    """Raises ConfigError for words that tyro would take for something else."""
    from cyclegan.verbs.flags import refuse_empty, refuse_two_numbers

    refuse_empty(arguments)
    refuse_two_numbers(arguments)


def _call(function: Callable[..., None], verb: str, arguments: Sequence[str]) -> None:
    """``function`` with what tyro reads in the flags; ends the program for wrong ones."""
    import tyro
    from tyro.conf import OmitArgPrefixes

    from cyclegan.verbs.flags import REGISTRY, spelled_out, wide_enough
    from cyclegan.verbs.public_options import tell_equivalents

    @functools.wraps(function)
    def asked(*given: Any, **named: Any) -> Callable[[], None]:
        return functools.partial(function, *given, **named)

    prog, config = f"cyclegan {verb}", (OmitArgPrefixes,)
    arguments = spelled_out(arguments)
    try:
        with wide_enough():  # not while it runs: bars have the terminal as it is
            run = tyro.cli(asked, prog=prog, args=arguments, config=config, registry=REGISTRY)
    except SystemExit as stopped:
        if stopped.code:
            tell_equivalents(verb, arguments)
        raise
    run()


def _function(verb: str) -> Callable[..., None]:
    module = importlib.import_module(f"cyclegan.verbs.{VERBS[verb]}")
    function: Callable[..., None] = getattr(module, "import_" if verb == "import" else verb)
    return function


def _overview(given: str) -> int:
    from cyclegan import __version__

    if given == "--version":
        print(__version__)
        return 0
    wrong = given not in ("--help", "-h")
    out = sys.stderr if wrong else sys.stdout
    if wrong:
        print(f"error: no verb {given!r}", file=out)
    print("usage: cyclegan VERB ...  (cyclegan VERB --help tells more)\n", file=out)
    for name in VERBS:
        summary = (introspection.getdoc(_function(name)) or "").split("\n")[0]
        print(f"  {name:<10} {summary}", file=out)
    return 2 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
