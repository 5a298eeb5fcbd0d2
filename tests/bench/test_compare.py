"""Gates and counts against a baseline: what fails, what passes, what does not judge."""

import json
import os
import random
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bench import accept, bare_step, compare, counts, gates, prove, quick
from bench import others as others_module
from bench.compare import LEAST_BAND, SLOW_DOWN, WIDEST_BAND, Baseline, Expected, expected_from
from bench.gates import QUICK, Gate, Measured, Values
from bench.harness import Timing
from bench.machine import ROOT, Card, cores_in_words, machine, slug
from bench.others import watching_others
from bench.suite import TINY, Comparison, Options

GATE = {"fast of slow": Gate(where="simulated:suite", ours="fast", reference="slow")}


class Machine:
    """Simulated seconds: noise of every turn, weather that all turns of a while share."""

    def __init__(self, seed: int, noise: float = 0.03, slow_down: float = 0.0) -> None:
        self.random, self.noise, self.slow_down = random.Random(seed), noise, slow_down
        self.weather, self.bursts = 1.0, 0.0
        """The second: share of turns that take three times as long."""

    def seconds(self, of: float, count: int) -> float:
        burst = 3.0 if self.random.random() < self.bursts else 1.0
        return of * count * self.weather * burst * self.random.lognormvariate(0, self.noise)

    def slow(self, count: int) -> float:
        self.weather = 1 + 0.3 * self.random.random()  # the turns of one round share it
        return self.seconds(0.02, count)

    def suite(self, options: Options) -> Iterator[Comparison]:
        yield Comparison(
            name="simulated",
            candidates={
                "slow": self.slow,
                "fast": lambda count: self.seconds(0.01 * (1 + self.slow_down), count),
            },
            clock=lambda run: float(run()),  # type: ignore[arg-type]
        )


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch) -> Any:
    def on(simulated: Machine) -> Machine:
        module = types.ModuleType("simulated")
        module.suite = simulated.suite  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "simulated", module)
        return simulated

    return on


def accepted(runs: int = 10) -> Baseline:
    return accept.baseline_from(accept.measured_often(GATE, QUICK, runs), "test")


@pytest.mark.parametrize("seed", range(5))
def test_ten_unchanged_runs_pass_and_a_slow_down_of_a_fifth_is_caught(
    simulate: Any, seed: int
) -> None:
    now = simulate(Machine(seed))
    baseline = accepted()
    assert baseline.gates["fast of slow"].gates
    for _ in range(10):
        _, verdicts = quick.judged(GATE, baseline)
        assert [v.says for v in verdicts if not v.says.startswith("pass")] == []
    now.slow_down = SLOW_DOWN
    _, verdicts = quick.judged(GATE, baseline)
    assert prove.missed(verdicts, baseline) == []
    assert verdicts[0].says.startswith("FAIL: 1"), verdicts


def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quick, "counted", lambda: pytest.fail("was measured"))
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="2"):
        quick.main(["--output", str(tmp_path / "file" / "deep" / "run.json")])
    assert "run.json: Not a directory" in capsys.readouterr().err


def test_accept_quick_and_prove_from_end_to_end(
    simulate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The three commands, on a simulated machine and one count."""
    now, counted = simulate(Machine(1)), {"launches": 5}
    slower = lambda run, share: lambda count: run(count) * (1 + share)  # noqa: E731
    monkeypatch.setattr(gates, "_slower", slower)
    for module in (accept, quick, prove):
        monkeypatch.setattr(module, "GATES", GATE)
    for module in (accept, quick):
        monkeypatch.setattr(module, "BASELINES", tmp_path)
        monkeypatch.setattr(module, "counted", lambda: counted)
    monkeypatch.setattr(quick.baseline_of, "__defaults__", (tmp_path,))
    assert prove.main([]) == 2, "there is no baseline yet"
    assert accept.main(["--why", "first"]) == 0
    assert compare.read(tmp_path / f"{slug(HERE)}.json").why == "first"
    assert quick.main(["--output", str(tmp_path / "run.json")]) == 0
    assert list(compare.read(tmp_path / "run.json").gates) == list(GATE)
    assert prove.main(["--runs", "2"]) == 0
    assert "0 of 2 unchanged runs failed; the slow-down was missed by []" in capsys.readouterr().out
    now.slow_down = SLOW_DOWN
    assert quick.main([]) == 1
    assert prove.main(["--runs", "1"]) == 1
    counts = tmp_path / "counts.json"
    assert accept.main(["--counts-only", "--why", "nothing"]) == 0
    assert compare.read(counts).why == "first", "the reason of what did not change"
    now.slow_down, counted["launches"] = 0.0, 6
    assert quick.main([]) == 1
    assert "FAIL: more" in capsys.readouterr().out
    assert accept.main(["--counts-only", "--why", "one more"]) == 0
    assert (compare.read(counts).why, compare.read(counts).counts) == ("one more", counted)
    for path in (counts, tmp_path / f"{slug(HERE)}.json"):
        path.write_text("<<<<<<< HEAD\n")
    assert accept.main(["--why", "first"]) == 0, "what a merge left is replaced"
    assert compare.read(counts).counts == counted
    now.bursts = 0.5
    with pytest.raises(SystemExit, match="disturbed"):
        accept.main(["--why", "on a busy machine"])
    assert compare.read(tmp_path / f"{slug(HERE)}.json").why == "first", "what stood there stays"


def test_a_busy_machine_is_marked_and_does_not_judge(simulate: Any) -> None:
    now = simulate(Machine(0))
    baseline = accepted()
    now.bursts, now.slow_down = 0.4, SLOW_DOWN
    values, verdicts = quick.judged(GATE, baseline)
    assert values["fast of slow"].busy
    assert not verdicts[0].failed
    now.slow_down = 0.0
    for _ in range(10):
        _, verdicts = quick.judged(GATE, baseline)
        assert not verdicts[0].failed, verdicts


def test_a_busy_machine_is_spared_what_is_left(
    simulate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(GATE["fast of slow"], where="simulated.suite")
    both = {**GATE, "again": other}  # the same suite by another name: measured apart
    now = simulate(Machine(0))
    monkeypatch.setattr(gates, "BUDGET", 0.0)
    assert gates.measure(both)["again"].absent is None, "slow code on a quiet machine is judged"
    now.bursts = 0.5
    assert gates.measure(both)["again"].absent == gates.SPARED


def test_a_real_slow_down_is_caught_on_a_real_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real turns, on a machine that may be busy: work that takes its time without a processor."""
    import time

    def suite(options: Options) -> Iterator[Comparison]:
        candidates = {name: lambda count: time.sleep(0.03 * count) for name in ("fast", "slow")}
        yield Comparison(name="asleep", candidates=candidates)

    module = types.ModuleType("simulated")
    module.suite = suite  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "simulated", module)
    # Whether late wake-ups spread too wide, or others compute, is not the question here.
    monkeypatch.setattr(Timing, "busy", False)
    expected = Expected(value=1.0, band=LEAST_BAND)
    baseline = Baseline(machine=HERE, why="", at="", gates={"fast of slow": expected})
    options = replace(QUICK, turns=9, seconds=0.0)
    _, (unchanged,) = quick.judged(GATE, baseline, options)
    assert not unchanged.failed, unchanged
    _, (slowed,) = quick.judged(GATE, baseline, options, SLOW_DOWN)
    assert slowed.failed, slowed


def test_every_registered_gate_can_be_measured() -> None:
    from bench.suites import GATES

    values = gates.measure(GATES, TINY)
    assert list(values) == list(GATES)
    for name, value in values.items():
        assert value.absent or value.value > 0, name


def test_the_bare_step_is_the_training_step(monkeypatch: pytest.MonkeyPatch) -> None:
    assert next(bare_step.comparison(TINY)).candidates.keys() == {"CycleGAN.step", "bare step"}
    monkeypatch.setattr(bare_step, "CYCLE", 10.1)
    with pytest.raises(AssertionError, match="the steps differ"):
        next(bare_step.comparison(TINY))


def test_every_registered_suite_can_be_imported() -> None:
    import pkgutil

    from bench.suites import COUNTS, GATES, PROGRAMS, SUITES

    for table in (SUITES, GATES):
        for name, row in table.items():
            assert callable(pkgutil.resolve_name(row.where)), name
    for where in (*COUNTS, *(f"{p.command[0]}:main" for p in PROGRAMS.values())):
        assert callable(pkgutil.resolve_name(where)), where


HERE: dict[str, Any] = machine()


def baseline_with(**gates_: Expected) -> Baseline:
    return Baseline(machine=HERE, why="test", at="", gates=gates_)


def says(found: Measured | None, expected: Expected | None) -> str:
    values: Values = {} if found is None else {"g": found}
    baseline = baseline_with(**({} if expected is None else {"g": expected}))
    return compare.gate_verdicts(values, baseline)[0].says


def test_what_each_verdict_is_for() -> None:
    one = Expected(value=2.0, band=0.1)
    assert says(Measured(value=1.81), one) == "pass"
    assert says(Measured(value=2.3), one).startswith("pass: 15.0% faster")
    assert says(Measured(value=1.79), one) == "FAIL: 10.5% slower"
    busy = says(Measured(value=1.0, busy=True, spread=1.6, others=0.4), one)
    assert busy == "busy: 50.0% slower, not judged: spread 1.60, others used 40% of the CPU"
    assert says(Measured(absent="no OpenVINO"), one) == "absent: no OpenVINO"
    assert says(None, one).startswith("FAIL: no longer measured")
    assert says(Measured(value=1.0), None).startswith("new")
    noisy = Expected(value=2.0, band=WIDEST_BAND + 0.01)
    assert says(Measured(value=1.0), noisy).startswith("shown only")


def test_the_widest_band_still_shows_a_slow_down() -> None:
    slowed = (1 / (1 + SLOW_DOWN)) * (1 + WIDEST_BAND / 2)
    assert slowed < 1 - WIDEST_BAND
    assert (1 / (1 + SLOW_DOWN)) * (1 + (WIDEST_BAND + 0.002) / 2) > 1 - (WIDEST_BAND + 0.002)


def test_bands_are_the_noise_that_was_measured() -> None:
    assert expected_from([1.0, 1.01, 0.99]).band == LEAST_BAND
    found = expected_from([1.0, 1.02, 0.95, 1.01, 0.99])
    assert (found.value, found.band) == (1.0, pytest.approx(0.1))
    assert found.runs == (1.0, 1.02, 0.95, 1.01, 0.99)


def test_only_what_fails_is_measured_again_and_its_best_counts() -> None:
    asked: list[set[str]] = []

    def again(names: Any) -> Values:
        asked.append(set(names))
        return {name: Measured(value=0.7 + 0.2 * len(asked)) for name in names}

    first = {"good": Measured(value=1.0), "bad": Measured(value=0.5)}
    failing = lambda values: {n for n, m in values.items() if m.value < 1.0}  # noqa: E731
    values = gates.settled(again, first, failing)
    assert asked == [{"bad"}, {"bad"}]
    assert (values["good"].value, values["bad"].value) == (1.0, pytest.approx(1.1))


@pytest.mark.parametrize(
    ("repeat", "verdict"), [(0.71, "FAIL: 30.0% slower"), (0.95, "pass")], ids=["slow", "passes"]
)
def test_a_busy_repeat_takes_a_failure_back_only_where_it_passes(
    repeat: float, verdict: str
) -> None:
    baseline = replace(baseline_with(), gates={"a": Expected(value=1.0, band=0.1)})

    def failing(values: Values) -> set[str]:
        return {v.name for v in compare.gate_verdicts(values, baseline) if v.failed}

    def again(names: Any) -> Values:
        return {name: Measured(value=repeat, busy=True) for name in names}

    values = gates.settled(again, {"a": Measured(value=0.7)}, failing)
    assert [v.says for v in compare.gate_verdicts(values, baseline)] == [verdict]


def test_more_of_what_is_counted_fails_and_less_is_news() -> None:
    baseline = replace(baseline_with(), counts={"a": 1, "b": 2, "c": 3, "d": 4})
    found = compare.count_verdicts({"a": 1, "b": 3, "c": 2, "e": 1}, baseline, HERE)
    told = {verdict.name: verdict.says.split(":")[0] for verdict in found}
    assert told == {"b": "FAIL", "c": "pass", "d": "FAIL", "e": "new", "other counts": "pass"}


def test_registers_are_compared_for_one_triton_alone() -> None:
    baseline = replace(baseline_with(), counts={"registers of k": 10, "launches": 5})
    other = HERE | {"versions": {**HERE["versions"], "triton": "0.1"}}
    counts_ = {"registers of k": 99, "launches": 6}
    assert [v.failed for v in compare.count_verdicts(counts_, baseline, HERE)] == [
        True,
        True,
        False,
    ]
    judged = compare.count_verdicts(counts_, baseline, other)
    assert [v.name for v in judged] == ["launches", "other counts"]
    assert "another Triton" in judged[-1].says


def test_spills_under_another_triton_and_what_needs_a_missing_library_do_not_judge() -> None:
    accepted = compare.read(quick.BASELINES / compare.COUNTS)
    assert set(compare.NEEDS) < set(accepted.counts), "a name that nothing is counted by"
    spilled = next(name for name in accepted.counts if name.startswith("spilled"))
    other = {**HERE["versions"], "triton": "0.1"}
    more = accepted.counts | {spilled: 8}  # type: ignore[operator]
    assert not failing(more, accepted, HERE | {"versions": other})
    missing = dict.fromkeys(("triton", "openvino", "av"))
    left = {
        name: count
        for name, count in accepted.counts.items()
        if not name.startswith(compare.COMPILED) and name not in compare.NEEDS
    }
    bare = HERE | {"versions": {**HERE["versions"], **missing}}
    assert not failing(left, accepted, bare)
    assert failing({}, accepted, bare) == set(left)


def failing(counts_: Mapping[str, int], baseline: Baseline, card: Card) -> set[str]:
    return {v.name for v in compare.count_verdicts(counts_, baseline, card) if v.failed}


def test_what_is_counted_without_triton_needs_none_of_it() -> None:
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'triton' else find(name, *a)\n"
        "from bench import counts\n"
        "print(counts.registers(), counts.launches())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{} {}\n"


def test_counts_judge_beside_the_gates_of_a_machine_and_on_every_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, all_, run = (tmp_path / name for name in ("mine.json", compare.COUNTS, "run.json"))
    theirs = HERE | {"cpu": "Another CPU"}
    compare.write(mine, baseline_with(g=Expected(value=1.0, band=0.1)))
    compare.write(all_, replace(baseline_with(), machine=theirs, counts={"launches": 5}))
    for launches, status in ((5, 0), (6, 1)):
        values = {"g": Measured(value=1.0)}
        compare.write(run, quick.this_run(HERE, values, {"launches": launches}, "one run"))
        for baseline in (mine, all_):
            assert compare.main([str(run), str(baseline)]) == status
            assert ("FAIL: more" in capsys.readouterr().out) == bool(status)


def test_a_baseline_of_another_machine_is_refused_with_both_cards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = replace(baseline_with(g=Expected(value=1.0, band=0.1)), counts={"a": 1})
    theirs = replace(mine, machine=HERE | {"cpu": "Another CPU", "cores": 96})
    for name, one in (("mine", mine), ("theirs", theirs)):
        compare.write(tmp_path / f"{name}.json", one)
    paths = [str(tmp_path / "mine.json"), str(tmp_path / "theirs.json")]
    assert compare.main(paths) == 2
    told = capsys.readouterr().err
    assert "Another CPU, 96 cores" in told
    assert f"{HERE['cpu']}, {cores_in_words(HERE)}" in told
    assert compare.main([paths[0], paths[0]]) == 0
    slower = replace(mine, gates={"g": Expected(value=0.85, band=0.0)})
    compare.write(tmp_path / "slower.json", slower)
    assert compare.main([str(tmp_path / "slower.json"), paths[0]]) == 1
    assert "FAIL" in capsys.readouterr().out
    for odd in (b"{}", b"<<<<<<< HEAD", b"\xff"):
        (tmp_path / "odd.json").write_bytes(odd)
        assert compare.main([paths[0], str(tmp_path / "odd.json")]) == 2
        assert "odd.json is no baseline" in capsys.readouterr().err, odd


def test_a_run_that_was_written_is_judged_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {
        "gone": Measured(absent="no OpenVINO"),
        "shared": Measured(value=0.7, busy=True, spread=1.6, others=0.4),
    }
    baseline = baseline_with(**dict.fromkeys(values, Expected(value=1.0, band=0.1)))
    run = quick.this_run(HERE, values, {}, "one run")
    paths = [tmp_path / "run.json", tmp_path / "baseline.json"]
    for path, one in zip(paths, (run, baseline)):
        compare.write(path, one)
    assert compare.main([*map(str, paths)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "absent: no OpenVINO" in told
    assert "others used 40%" in told


def test_what_was_written_before_runs_told_how_they_were_measured_is_read(tmp_path: Path) -> None:
    before = asdict(baseline_with(g=Expected(value=1.0, band=0.1)))
    del before["measured"]
    path = tmp_path / "before.json"
    path.write_text(json.dumps(before))
    assert compare.main([str(path), str(path)]) == 0


def test_a_machine_without_a_baseline_is_told_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = replace(baseline_with(), machine=HERE | {"cpu": "Another CPU"})
    compare.write(tmp_path / f"{slug(theirs.machine)}.json", theirs)
    assert quick.baseline_of(HERE, tmp_path).gates == {}
    told = capsys.readouterr().out
    assert "Another CPU" in told
    assert HERE["cpu"] in told
    compare.write(tmp_path / f"{slug(HERE)}.json", baseline_with(g=Expected(value=1, band=0.1)))
    assert list(quick.baseline_of(HERE, tmp_path).gates) == ["g"]


def test_a_reason_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        accept.main(["--why", "  "])
    assert "say why" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt" or not shutil.which("make"), reason="there is no make")
def test_make_hands_over_a_reason_with_quotes_as_it_is(tmp_path: Path) -> None:
    """Within the recipe's own quotes the shell would run what stands in backticks."""
    installed = tmp_path / ".installed"
    installed.touch()
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\nfor last; do :; done\nprintf %s "$last" > "$0.told"\n')
    python.chmod(0o755)
    why = """`Translator.open` is "cheap" now, isn't it"""
    command = ["make", "-o", str(installed), "bench-accept", f"VENV={tmp_path}", f"WHY={why}"]
    subprocess.run(command, cwd=ROOT, check=True)
    assert python.with_suffix(".told").read_text() == why


def test_a_disturbed_run_is_no_baseline() -> None:
    quiet, busy = Measured(value=1.0), Measured(value=1.0, busy=True)
    assert accept.busy_share([{"a": quiet, "b": busy}, {"a": busy, "b": busy}]) == 0.75
    assert accept.busy_share([{"a": Measured(absent="none")}]) == 0.0


def test_a_run_that_was_spared_a_gate_says_nothing_of_it() -> None:
    """Its 0 would be a noise of 200 %, under which the gate never judges again."""
    spared = {"a": Measured(absent=gates.SPARED), "b": Measured(absent="no OpenVINO")}
    runs = [{"a": Measured(value=value), "b": spared["b"]} for value in (1.0, 1.01)]
    for order in ([spared, *runs], [*runs, spared]):
        found = accept.baseline_from(order, "test").gates
        assert set(found) == {"a"}
        assert found["a"].runs == (1.0, 1.01)
        assert found["a"].gates


def test_others_are_seen_at_work() -> None:
    spin = [sys.executable, "-c", "import time; t = time.time() + 1.4\nwhile time.time() < t: pass"]
    import time

    with watching_others() as others:
        time.sleep(0.1)
    assert others.share is None, "too short to tell"
    # A process whose parent has gone is another's; one that runs meanwhile as our child is not.
    subprocess.run(["sh", "-c", '"$@" &', "sh", *spin], check=True)
    with watching_others() as others, subprocess.Popen(spin) as own:
        time.sleep(1.2)
        used = others_module._living_children()
    assert own.returncode == 0
    if others.share is None:
        pytest.skip("this system does not tell")
    assert others.share > 0.5 / HERE["cores"]
    assert used > 0.05


@pytest.mark.parametrize("own", [0.0, 3.0])
def test_our_own_work_is_not_anothers(
    own: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine's account: of 4 seconds in a second on all its cores, ours are subtracted."""
    hertz, cores = os.sysconf("SC_CLK_TCK"), HERE["cores"]
    monkeypatch.setattr(others_module, "STAT", tmp_path / "stat")
    monkeypatch.setattr(others_module, "_cpu_seconds", lambda who: used / 2)
    monkeypatch.setattr("time.perf_counter", lambda: now)

    def account(seconds: int) -> None:
        # user nice system idle iowait irq softirq steal guest; guests are in user already
        columns = [seconds * hertz, 0, 0, 777 * seconds, 5 * seconds, 0, 0, 0, 999 * seconds]
        total = " ".join(map(str, columns))
        (tmp_path / "stat").write_text(f"cpu {total}\n" + f"cpu0 {total}\n" * cores + "intr 1\n")

    now, used = 100.0, 50.0
    account(10)
    with watching_others() as others:
        account(14)
        now, used = 102.0, 50.0 + own
    assert others.share == pytest.approx((4.0 - own) / (2.0 * cores))
    assert others.busy == (others.share > others_module.MOST)
    monkeypatch.setattr(others_module, "cpu_cores", lambda: cores + 1)
    with watching_others() as others:
        now += 5
    assert others.share is None, "the account is of another machine than ours"


def test_counts_are_what_the_network_is_made_of() -> None:
    """24 convolutions (stem, 2 down, 18 in blocks, 2 up, last), 23 norms, a pad. The four norms of
    more than 64x64 pixels are two launches each, the others one.

    Others: a fourth channel of picture and weight, the last weight and bias for blocks of pixels (3
    and 1), those blocks as a picture, a tanh.
    """
    found = counts.launches()
    assert found["convolutions per forward"] == 24
    assert found["other operators per forward"] == 8
    assert found["Triton launches per forward"] == 2 * 4 + 19 + 1


def test_a_copy_more_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    from cyclegan.engine.runners.openvino import OpenVINORunner

    frame = 256 * 256 * 3 // 1024
    ours, torchs = "KiB copied per frame", "KiB copied per frame, PyTorch"
    assert counts.bytes_copied() == {ours: 2 * frame, torchs: frame}
    finish = OpenVINORunner.finish

    def wasteful(self: OpenVINORunner, slot: int) -> Any:
        kept = finish(self, slot)
        return kept.copy()

    monkeypatch.setattr(OpenVINORunner, "finish", wasteful)
    assert counts.bytes_copied() == {ours: 3 * frame, torchs: frame}


def test_a_copy_more_of_a_videos_frame_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    from cyclegan.config import Depth
    from cyclegan.engine.containers import Decoded
    from cyclegan.engine.layout import TimedFrame

    decoding, frame = "KiB copied per frame decoded", 256 * 256 * 3 // 1024
    before = counts.bytes_copied_by_videos()
    assert before[decoding] <= frame
    picture = Decoded.picture

    def wasteful(self: Decoded, depth: Depth) -> TimedFrame:
        kept = picture(self, depth)
        return replace(kept, frame=kept.frame.copy())

    monkeypatch.setattr(Decoded, "picture", wasteful)
    assert counts.bytes_copied_by_videos() == before | {decoding: before[decoding] + frame}


@pytest.mark.filterwarnings("ignore")
def test_a_graph_break_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from cyclegan.networks import PatchDiscriminator

    assert set(counts.graph_breaks().values()) == {0}
    forward = PatchDiscriminator.forward

    def broken(self: PatchDiscriminator, x: torch.Tensor) -> torch.Tensor:
        judged = forward(self, x)
        torch._dynamo.graph_break()
        return judged * 1

    monkeypatch.setattr(PatchDiscriminator, "forward", broken)
    assert counts.graph_breaks()["graph breaks in the discriminator"] >= 1
