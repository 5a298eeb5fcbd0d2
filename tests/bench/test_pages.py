"""What the pages say is what was measured, and nothing else."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import charts, pages
from bench.machine import RESULTS, machine
from bench.runner import FORMS


def test_what_is_committed_is_what_the_results_say() -> None:
    for path, text in pages.written().items():
        assert path.read_text() == text, f"{path.name} is stale: python -m bench.pages"


def test_no_two_committed_results_of_a_machine_share_a_title_and_a_name() -> None:
    for name, rows in pages.by_machine(pages.read(RESULTS)).items():
        told = [(pages._section(one), one.get("candidate")) for one in rows]
        assert [one for one, times in Counter(told).items() if times > 1] == [], name


TEST_CPU = machine() | {"cpu": "Test CPU", "cores": 7, "revision": "9-8-7"}


def row(candidate: str, **changes: Any) -> dict[str, Any]:
    one: dict[str, Any] = {
        "benchmark": "peers", "comparison": "256x256, batch 1", "unit": "frames",
        "settings": {"width": 64, "blocks": 9}, "candidate": candidate,
        "p20_ms": 240.0, "p50_ms": 250.0, "p80_ms": 260.0, "per_second": 4.0, "to_first": 2.5,
        "psnr_db": 42.26, "of_limit": 0.336, "busy": False,
        "machine": TEST_CPU, "at": "2026-01-02T03:04:05Z",
    }  # fmt: skip
    return one | changes


def absent(candidate: str, reason: str) -> dict[str, Any]:
    kept = ("benchmark", "comparison", "unit", "settings", "candidate", "machine", "at")
    plain = row(candidate)
    return {name: plain[name] for name in kept} | {"absent": reason}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rows = [
        row("eager", to_first=1.0, per_second=1.6, p20_ms=600.0, p50_ms=625.0, p80_ms=650.0),
        row("cyclegan-engine, auto", per_second=9.87, p20_ms=100.0, p50_ms=101.3),
        row("cyclegan-engine, auto", at="2026-02-02T03:04:05Z"),
        row("slow", busy=True),
        absent("TensorRT", "needs a GPU"),
        {
            "benchmark": "video", "settings": {"width": 64, "blocks": 9, "size": "256x256"},
            "of_slowest_stage": 0.973, "live_p95_in_frames": 2.75,
            "timings": {"decode alone": {"per_second": 1100.4, "busy": True}},
            "rows": [{"steadiness": 0.5, "sure": True, "psnr_db": None}],
            "machine": TEST_CPU, "at": "2026-01-02T03:04:05Z",
        },
    ]  # fmt: skip
    results = tmp_path / "bench/results"
    results.mkdir(parents=True)
    (results / "test.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    readme = f"before\n{pages.BEGIN}\nold\n{pages.END}\nafter\n"
    (tmp_path / "README.md").write_text(readme)
    return tmp_path


def test_the_latest_row_counts_with_its_machine_its_marks_and_its_reasons(root: Path) -> None:
    written = pages.written(root)
    page = written[root / "docs/performance.md"]
    line = "| cyclegan-engine, auto | 4 | 250 | 240 to 260 | 2.50 | 42.3 | 34% |  |"
    assert line in page
    assert "9.87" not in page, "an older row"
    assert "| slow | 4 | 250 | 240 to 260 | 2.50 | 42.3 | 34% | **busy** |" in page
    assert "Absent: TensorRT: needs a GPU." in page
    assert "## Test CPU (9-8-7), 7 cores" in page
    assert "Measured 2026-01-02 to 2026-02-02" in page
    assert "### video, 256x256, 64 channels, 9 blocks" in page
    assert "- of slowest stage: 0.973" in page
    assert "| steadiness | sure | psnr db |\n| --: | --: | --: |\n| 0.5 | yes |  |" in page
    assert "| decode alone | 1,100 | 0.909 | **busy** |" in page
    assert "Any GPU: `make gpu`" in page
    missing = page.partition("What was not measured")[2]
    assert "translate, int8, load, kernels, convolutions, scaling" in missing
    assert not {"peers", "video"} & set(missing.replace(".", ",").split(", "))
    readme = written[root / "README.md"]
    assert readme.startswith("before\n")
    assert readme.endswith("after\n")
    assert "old" not in readme
    assert "| cyclegan-engine, auto | 4 (2.50) |" in readme
    assert r"| slow | 4 (2.50) \* |" in readme
    assert "disturbed" in readme
    assert f"(docs/{pages.CHART})" in readme


def test_a_run_on_another_engine_or_other_threads_takes_the_place_of_the_one_before(
    root: Path,
) -> None:
    """In its section, which says what it ran on, and before the aims."""
    path = root / "bench/results/test.jsonl"
    of = {"width": 64, "blocks": 9}
    video = {"benchmark": "video", "machine": TEST_CPU}
    rows = [
        video | {"at": "1", "first_frame_in_frames": 4.5, "settings": of | {"engine": "OpenVINO"}},
        video | {"at": "2", "first_frame_in_frames": 1.5, "settings": of | {"engine": "PyTorch"}},
        row("eager", at="1", per_second=9.87, settings=of | {"threads": 7}),
        row("eager", at="2", settings=of | {"threads": 2}),
    ]
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    page = pages.written(root)[root / "docs/performance.md"]
    assert "64 channels, 9 blocks\n\nEngine: PyTorch.\n\n- first frame in frames: 1.5\n" in page
    assert "| at most 3 frames | 1.5 | Test CPU (9-8-7), 7 cores | met |" in page
    assert "64 channels, 9 blocks\n\nThreads: 2.\n\n| | frames/s |" in page
    assert not any(older in page for older in ("OpenVINO.", "4.5", "9.87"))


def test_a_run_with_other_turns_takes_the_place_of_the_one_before(root: Path) -> None:
    """And one of other variants; a batch of another size is another question."""
    path = root / "bench/results/test.jsonl"
    step = {"benchmark": "train_step", "machine": TEST_CPU}
    of = {"size": 128, "turns": 5, "repeats": 1, "variants": None}
    changes: list[dict[str, Any]] = [{"turns": 9}, {"repeats": 3}, {"variants": ["ours"]}]
    for change in changes:
        rows = [
            step | {"at": "1", "gflop": 9.87, "settings": of},
            step | {"at": "2", "gflop": 1.5, "settings": of | change},
        ]
        path.write_text("".join(json.dumps(one) + "\n" for one in rows))
        page = pages.written(root)[root / "docs/performance.md"]
        assert "### train_step, 128x128\n\n- gflop: 1.5\n\n" in page, change
        assert "9.87" not in page


def test_a_table_is_of_one_run_where_its_first_line_was_measured_again(root: Path) -> None:
    """As a run of fewer sizes leaves it: ratios are to the line that stands there."""

    def scaled(at: str, sizes: list[str], side: int) -> list[dict[str, Any]]:
        first = row(sizes[0], to_first=1.0)
        fit = {"candidate": "fit", "exponent": len(sizes), "steps": {}, "super_linear": []}
        of = {"height_px": side, "width_px": side}
        same = {"benchmark": "scaling", "comparison": "batch", "at": at, "settings": of}
        kept = {name: first[name] for name in ("unit", "machine")}
        timed = [first, *(row(size, to_first=0.25) for size in sizes[1:]), kept | fit]
        return [one | same for one in timed]

    path = root / "bench/results/test.jsonl"
    all_sizes = ["1", "2", "4"]
    rows = [*scaled("1", all_sizes, 256), *scaled("2", all_sizes[:2], 256)]
    path.write_text("".join(json.dumps(one) + "\n" for one in [*rows, *scaled("3", ["8"], 512)]))
    page = pages.written(root)[root / "docs/performance.md"]
    here = page.partition("### scaling: batch, 256x256\n")[2].partition("###")[0]
    named = [line.split(" | ")[0] for line in here.splitlines()]
    assert [name for name in ("| 1", "| 2", "| 4") if name in named] == ["| 1", "| 2"]
    assert "Exponent 2.00" in here
    assert "| 8 |" in page.partition("### scaling: batch, 512x512\n")[2], "another question"


def test_a_candidate_that_came_later_stands_in_its_comparisons_section(root: Path) -> None:
    rows = [row("eager"), row("eager", comparison="512x512, batch 1"), row("later")]
    path = root / "bench/results/test.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    page = pages.written(root)[root / "docs/performance.md"]
    assert page.count("### peers: 256x256, batch 1, 64 channels, 9 blocks\n") == 1
    assert "### peers: 512x512, batch 1" in page.partition("| later |")[2]


def test_a_failure_of_a_program_stays_until_it_has_run(root: Path) -> None:
    path = root / "bench/results/test.jsonl"
    video = next(row for row in pages.read(path.parent) if row["benchmark"] == "video")

    def page(*rows: dict[str, Any]) -> str:
        path.write_text("".join(json.dumps(one) + "\n" for one in rows))
        return pages.written(root)[root / "docs/performance.md"]

    failure = {"benchmark": "video", "absent": "no ffmpeg", "machine": TEST_CPU}
    later = page(video, failure | {"at": "2026-02-02T03:04:05Z"})
    assert "no ffmpeg" in later
    assert "0.973" in later
    earlier = page(failure | {"at": "2025-02-02T03:04:05Z"}, video)
    assert "no ffmpeg" not in earlier
    assert "0.973" in earlier


def test_each_machine_has_a_column_and_a_panel(root: Path) -> None:
    other = machine() | {"cpu": "Another", "cores": 1, "revision": "6-5-4"}
    rows = [row("eager", machine=other), row("only here", machine=other)]
    (root / "bench/results/other.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    written = pages.written(root)
    readme, chart = written[root / "README.md"], written[root / "docs" / pages.CHART]
    assert "Another, 1 core, " in readme
    assert "| only here | 4 (2.50) |  |" in readme
    assert "| cyclegan-engine, auto |  | 4 (2.50) |" in readme
    for text in ("Another, 1 core", "Test CPU, 7 cores", "only here", "cyclegan-engine, auto"):
        assert text in chart


def test_machines_that_were_measured_at_something_else_have_a_table_of_their_own(
    root: Path,
) -> None:
    gpu = machine() | {"cpu": "Host", "cores": 2, "gpu": {"name": "A GPU"}}
    other = row("eager", machine=gpu, comparison="512x512, batch 4")
    (root / "bench/results/other.jsonl").write_text(json.dumps(other) + "\n")
    readme = pages.written(root)[root / "README.md"]
    assert "| peers: 512x512, batch 4, 64 channels, 9 blocks | Host, 2 cores, A GPU |" in readme
    assert "| peers: 256x256, batch 1, 64 channels, 9 blocks | Test CPU, 7 cores, " in readme
    assert "| cyclegan-engine, auto | 4 (2.50) |" in readme


def test_nothing_is_drawn_of_nothing(root: Path) -> None:
    (root / "bench/results/test.jsonl").write_text("")
    assert set(pages.written(root)) == {root / "docs/performance.md", root / "README.md"}


def test_the_chart_is_the_same_at_every_drawing(root: Path) -> None:
    rows = pages.by_machine(pages.read(root / "bench/results"))
    (drawn,) = map(charts.draw, rows.values())
    assert drawn == charts.draw(next(iter(rows.values())))
    for text in ("cyclegan-engine, auto", "frames/s", "Test CPU, 7 cores"):
        assert text in drawn
    assert charts.draw([]) == ""


def test_a_readme_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="must have the lines"):
        pages.with_table("no marks", "table")


def test_half_a_row_is_told_with_its_place(root: Path) -> None:
    results = root / "bench/results"
    with (results / "test.jsonl").open("a") as file:
        file.write('{"benchm')
    lines = len((results / "test.jsonl").read_text().splitlines())
    with pytest.raises(ValueError, match=rf"test\.jsonl, line {lines} is no row.*take that line"):
        pages.read(results)


def test_half_a_report_of_a_gpu_is_told_with_its_place(root: Path) -> None:
    (root / "bench/results/some-gpu").mkdir()
    (root / "bench/results/some-gpu/gpu.json").write_text("{")
    with pytest.raises(ValueError, match=r"some-gpu.gpu\.json is no report: Expecting"):
        pages.written(root)


def test_a_gpu_that_was_measured_is_named(root: Path) -> None:
    (root / "bench/results/some-gpu").mkdir()
    (root / "bench/results/some-gpu/gpu.json").write_text("{}")
    page = pages.written(root)[root / "docs/performance.md"]
    assert "## some-gpu" in page
    assert "Any GPU" not in page


def test_what_a_gpu_does_is_told_of_networks_and_of_frames(root: Path) -> None:
    """In the README of one picture alone; what failed is no figure, and what was measured again
    stands at the end of the file, but not of its table."""
    models = [
        {"task": task, "size": size, "variant": variant, "ms": ms}
        for task, size, variant, ms in (
            ("forward", "1x256x256", "NCHW compiled", 2.0), ("forward", "16x256x256", "ours", 5.0),
            ("step", "1x256x256", "bfloat16 eager, ours", 12.3456),
            ("step", "1x256x256", "float32 eager, public order", 120.0),
            ("step", "1x256x256", "broken", None),
        )
    ]  # fmt: skip
    runner = [
        {"size": "8x256x256", "compiled": True, "form": form, "frames_per_s": 2945.1,
         "of_network": 0.98}
        for form in FORMS
    ]  # fmt: skip
    runner.append({"size": "1x720x1280", "compiled": True, "form": "", "frames_per_s": None})
    runner.append(runner[-2] | {"compiled": False, "of_network": None})
    facts = {"gpu": "Some GPU", "date": "2026-01-02", "torch": "2.11.0"}
    (root / "bench/results/some-gpu").mkdir()
    (root / "bench/results/some-gpu/gpu.json").write_text(
        json.dumps({"facts": facts, "models": models, "runner": runner})
    )
    written = pages.written(root)
    page, readme = written[root / "docs/performance.md"], written[root / "README.md"]
    for text in (page, readme):
        assert "\nSome GPU (2026-01-02, PyTorch 2.11.0)" in text
        assert (
            "| float32 eager, public order | 120 | 1.00 |\n| bfloat16 eager, ours | 12.3 | 9.72 |"
        ) in text
        assert "| compiled, 8x256x256, RGB frames | 2,945 | 0.98 |" in text
        assert "| not compiled, 8x256x256, NV12 planes | 2,945 |  |" in text
        assert "broken" not in text
        assert "network alone |\n" in text
        assert "8x256x256, network alone" not in text
    assert "generator, half precision, 16x256x256" in page
    assert "| ours | 5 |  |" in page, "what its ratio is to failed"
    assert "16x256x256" not in readme
    assert "](../bench/results/some-gpu/gpu.md)" in page
    assert "](bench/results/some-gpu/gpu.md)" in readme


def test_pages_that_do_not_fit_leave_those_before(
    root: Path, monkeypatch: pytest.MonkeyPatch, small_disk: Callable[[int], None]
) -> None:
    readme, said = root / "README.md", (root / "README.md").read_text()
    monkeypatch.setattr(pages, "written", lambda: {readme: "longer than it may be"})
    small_disk(10)
    with pytest.raises(OSError, match="File too large"):
        pages.main([])
    assert readme.read_text() == said


def test_who_asks_for_help_gets_no_pages(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme, said = root / "README.md", (root / "README.md").read_text()
    monkeypatch.setattr(pages, "written", lambda: {readme: "new"})
    with pytest.raises(SystemExit) as ended:
        pages.main(["--help"])
    assert ended.value.code == 0
    assert "Writes docs/performance.md" in capsys.readouterr().out
    assert readme.read_text() == said
