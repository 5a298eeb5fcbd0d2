"""A run's gates and counts against the committed baseline, and the verdict on each.

    python -m bench.quick --output RESULTS.json
    python -m bench.compare RESULTS.json BASELINE.json

A gate fails where it is lower than its baseline by more than its band, the noise that was measured
when the baseline was accepted (``make bench-accept``). A count fails where it is higher. A baseline
of another kind of machine is refused for gates; counts are the same everywhere, and those of a
baseline that has none are in ``counts.json`` beside it.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.gates import Measured, Values
from bench.machine import Card, in_words, same
from cyclegan.files import write_whole

LEAST_BAND = 0.08
"""At least: two hosts of one kind may differ by more than one evening on one of them shows."""
SLOW_DOWN = 0.2
"""What must not go through: code that takes this much longer."""
WIDEST_BAND = 0.117
"""A wider band would let SLOW_DOWN through: 1 / 1.2 of the rate, with half the band as noise, is
below the band's edge only for 1 / 1.2 * (1 + band / 2) < 1 - band."""
COUNTS = "counts.json"
"""The baseline of all machines, beside those of each."""
COMPILED = ("registers of ", "spilled bytes of ")
"""How counts begin that belong to one version of Triton."""
NEEDS = {
    "Triton launches per forward": "triton",
    "convolutions per forward": "triton",
    "other operators per forward": "triton",
    "KiB copied per frame": "openvino",
    "KiB copied per frame decoded": "av",
    "KiB copied per frame encoded": "av",
}
"""Other counts that a machine without this library does not have."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """A gate in a baseline."""

    value: float
    band: float
    """Share of the value that it may fall by."""
    runs: tuple[float, ...] = ()
    """The values that it was measured from."""

    @property
    def gates(self) -> bool:
        """Whether its noise is low enough to tell a slow-down from it."""
        return self.band <= WIDEST_BAND


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What was accepted, on which machine, and why."""

    machine: Card
    why: str
    at: str
    gates: Mapping[str, Expected] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    measured: Mapping[str, Measured] = field(default_factory=dict)
    """Of one run: its gates with what a verdict takes beside their values."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A row of the table."""

    name: str
    found: str
    expected: str
    says: str
    """pass, FAIL, or why it does not gate."""

    @property
    def failed(self) -> bool:
        """Whether the change may not land like this."""
        return self.says.startswith("FAIL")


def read(path: Path) -> Baseline:
    """A committed baseline. Raises OSError, and ValueError for a file that is none."""
    try:
        plain = json.loads(path.read_text())
        gates = {
            name: Expected(**{**one, "runs": tuple(one["runs"])})
            for name, one in plain.pop("gates").items()
        }
        measured = {name: Measured(**one) for name, one in plain.pop("measured", {}).items()}
        return Baseline(**plain, gates=gates, measured=measured)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path} is no baseline: {error}; make one with make bench-accept"
        ) from error


def write(path: Path, baseline: Baseline) -> None:
    """Replace the file whole. Raises OutputError."""
    write_whole(path, json.dumps(asdict(baseline), indent=1) + "\n")
    print(f"wrote {path}")


def expected_from(runs: list[float]) -> Expected:
    """The middle of several runs' values; the band is twice their largest distance from it."""
    middle = sorted(runs)[len(runs) // 2]
    noise = 2 * max(abs(value - middle) for value in runs) / middle
    return Expected(value=middle, band=max(LEAST_BAND, noise), runs=tuple(runs))


def gate_verdicts(values: Values, baseline: Baseline) -> list[Verdict]:
    """One for each gate that was measured or should have been. The machines must be the same."""
    names = dict.fromkeys([*baseline.gates, *values])
    return [_gate(name, values.get(name), baseline.gates.get(name)) for name in names]


def _gate(name: str, found: Measured | None, expected: Expected | None) -> Verdict:
    return Verdict(
        name=name,
        found="" if found is None or found.absent else f"{found.value:.3f}",
        expected="" if expected is None else f"{expected.value:.3f} - {expected.band:.1%}",
        says=_says(found, expected),
    )


def _says(found: Measured | None, expected: Expected | None) -> str:
    if found is None:
        return "FAIL: no longer measured; if that is meant, make bench-accept"
    if found.absent:
        return f"absent: {found.absent}"
    if expected is None:
        return "new: not in the baseline; make bench-accept"
    if not expected.gates:
        return f"shown only: a noise of {expected.band:.0%} would hide a slow-down"
    change = found.value / expected.value - 1
    if abs(change) <= expected.band:
        return "pass"
    if change > 0:
        return f"pass: {change:.1%} faster; make bench-accept keeps it"
    if found.busy:
        others = "" if found.others is None else f", others used {found.others:.0%} of the CPU"
        return f"busy: {-change:.1%} slower, not judged: spread {found.spread:.2f}{others}"
    return f"FAIL: {-change:.1%} slower"


def count_verdicts(counts: Mapping[str, int], baseline: Baseline, card: Card) -> list[Verdict]:
    """One for each count that differs, and one for all others."""
    known = dict.fromkeys([*baseline.counts, *counts])
    names = [name for name in known if _judges(name, baseline.machine, card)]
    verdicts = [
        Verdict(
            name=name,
            found=str(counts.get(name, "")),
            expected=str(baseline.counts.get(name, "")),
            says=_count_says(counts.get(name), baseline.counts.get(name)),
        )
        for name in names
        if counts.get(name) != baseline.counts.get(name)
    ]
    same_as_ever = len(names) - len(verdicts)
    excused = len(known) - len(names)
    summary = Verdict(
        name="other counts",
        found=str(same_as_ever),
        expected=str(same_as_ever),
        says="pass" + f"; {excused} are another Triton's, or of what is missing" * bool(excused),
    )
    return [*verdicts, summary]


def _count_says(found: int | None, expected: int | None) -> str:
    if found is None:
        return "FAIL: no longer counted; if that is meant, make bench-accept"
    if expected is None:
        return "new: not in the baseline; make bench-accept"
    return (
        "pass: less than before; make bench-accept keeps it" if found < expected else "FAIL: more"
    )


def _judges(name: str, before: Card, here: Card) -> bool:
    """Whether a count of one machine says something on another."""
    accepted, versions = (card.get("versions", {}) for card in (before, here))
    if name.startswith(COMPILED):
        return bool(accepted.get("triton") == versions.get("triton"))
    return name not in NEEDS or versions.get(NEEDS[name]) is not None


def refusal(card: Card, baseline: Baseline) -> str | None:
    """Why a baseline's gates say nothing about this machine, with both cards; None if they do."""
    if same(card, baseline.machine):
        return None
    return (
        "the baseline is another machine's, whose ratios say nothing here\n"
        f"  baseline: {in_words(baseline.machine)}\n"
        f"  here:     {in_words(card)}\n"
        "make bench-accept WHY=... makes one of this machine"
    )


def show(verdicts: list[Verdict], title: str) -> None:
    """The table, on standard output."""
    from rich.console import Console
    from rich.table import Table

    view = Table("gate", "found", "baseline", "verdict", title=title)
    for verdict in verdicts:
        style = "red" if verdict.failed else None
        view.add_row(verdict.name, verdict.found, verdict.expected, verdict.says, style=style)
    Console(width=120).print(view)


def main(arguments: list[str] | None = None) -> int:
    """Compare two files; 1 where something fails, 2 where they cannot be compared."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 2:
        print("usage: python -m bench.compare RESULTS.json BASELINE.json", file=sys.stderr)
        return 2
    of_run, of_baseline = map(Path, given)
    beside = of_baseline.with_name(COUNTS)
    try:
        found, baseline = read(of_run), read(of_baseline)
        accepted = baseline if baseline.counts or not beside.exists() else read(beside)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if baseline.gates and (reason := refusal(found.machine, baseline)):
        print(f"refused: {reason}", file=sys.stderr)
        return 2
    of_gates = {name: Measured(value=one.value) for name, one in found.gates.items()}
    verdicts = gate_verdicts({**of_gates, **found.measured}, baseline)
    verdicts += count_verdicts(found.counts, accepted, found.machine)
    show(verdicts, f"{given[0]} against {given[1]}")
    return int(any(verdict.failed for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
