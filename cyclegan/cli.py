"""The command line: ``cyclegan VERB ...``, one function a verb.

What goes wrong is reported as one line on stderr and an exit status of 1; flags that cannot be
read, with what they should be and an exit status of 2.
"""

import inspect as introspection
import sys
from collections.abc import Callable, Sequence

import tyro

from cyclegan.errors import CycleGANError
from cyclegan.verbs.benchmarking import bench
from cyclegan.verbs.building import build
from cyclegan.verbs.flags import REGISTRY, refuse_two_numbers
from cyclegan.verbs.learning import demo, evaluate, train
from cyclegan.verbs.models import export, import_, inspect
from cyclegan.verbs.running import doctor, translate

VERBS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "train": train,
    "evaluate": evaluate,
    "import": import_,
    "export": export,
    "build": build,
    "translate": translate,
    "inspect": inspect,
    "doctor": doctor,
    "bench": bench,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    verb, *rest = [*(sys.argv[1:] if arguments is None else arguments), "--help"]
    if verb not in VERBS:
        return _overview(verb)
    rest.pop()
    try:
        if verb == "train":
            train(rest)
        else:
            refuse_two_numbers(rest)
            tyro.cli(VERBS[verb], prog=f"cyclegan {verb}", args=rest, registry=REGISTRY)
    except CycleGANError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


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
    for name, function in VERBS.items():
        summary = (introspection.getdoc(function) or "").split("\n")[0]
        print(f"  {name:<10} {summary}", file=out)
    return 2 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
