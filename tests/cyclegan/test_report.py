"""The report: whole, self-contained, escaped, and true to its figures."""

import base64
import builtins
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclegan import sample_data
from cyclegan.errors import DataError, OutputError
from cyclegan.evaluate import Scores
from cyclegan.loss_charts import read_losses, smoothed
from cyclegan.pictures import read_picture, write_picture
from cyclegan.report import (
    Figure,
    Gallery,
    Moments,
    Report,
    ScoreTable,
    Table,
    Video,
    best_rows,
    samples_over_time,
    verdict,
    write_report,
)

VOID = {"meta", "img", "link", "br", "path", "use", "rect"}


class Page(HTMLParser):
    """Collects what a browser would load and checks that elements nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[tuple[str, str]] = []
        self.headings: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.sources += [(tag, v or "") for k, v in attributes if k in ("src", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


def picture(seed: int, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (32, width, 3), np.uint8)


def scores(**changes: float) -> Scores:
    figures: dict[str, Any] = {"l1": 0.2, "psnr": 12.0, "ssim": 0.3, "gradient_correlation": 0.1}
    return Scores(**({"count": 8, "inverted": 0.5} | figures | changes))


def score_table(ours: Scores) -> ScoreTable:
    return ScoreTable(
        title="a to b", ours="run", rival="match", rows={"run": ours, "match": scores()}
    )


@pytest.fixture
def losses(tmp_path: Path) -> Path:
    path = tmp_path / "losses.csv"
    rows = [f"{step},{step / 5},{1 / step},{2 / step},{3 / step}" for step in range(1, 60)]
    path.write_text("\n".join(["step,seconds,cycle_a,cycle_b,total", *rows]))
    return path


@pytest.fixture
def full(tmp_path: Path, losses: Path) -> Report:
    write_picture(picture(9, 128), tmp_path / "sample.png")
    clip = sample_data.write_clip([picture(0)] * 3, tmp_path / "clip.mp4", 25)
    return Report(
        title="A <b> & B",
        subtitle="what was done",
        figures=[Figure(label="PSNR", value="15.0 dB", note="more than 12")],
        videos=[Video(path=clip, caption="a clip")],
        gallery=Gallery(columns=("in", "out"), rows=[(picture(1), picture(2))], title="Unseen"),
        scores=[score_table(scores(l1=0.1))],
        progress=[
            Moments(title="there", pictures=[(1000, tmp_path / "sample.png"), (2000, picture(3))])
        ],
        losses=losses,
        speed=Table(columns=("stage", "frames/s"), rows=[("decode", "<800>")]),
        parity=Table(columns=("runner", "PSNR"), rows=[("torch", "60")]),
        settings={"seed": "0"},
        machine={"CPU": "two cores"},
        command="cyclegan demo --seed 0",
        credits=["somebody & sons"],
    )


def test_a_full_page_holds_everything_and_loads_nothing(full: Report, tmp_path: Path) -> None:
    text = write_report(full, tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.headings == [
        *("A <b> & B", "Translated video", "Unseen", "Scores against the truth"),
        *("The same samples over training", "Losses", "Speed", "Parity", "How to repeat it"),
    ]
    assert [tag for tag, _ in page.sources] == ["video", "img", "img", "img", "img"]
    assert all(url.startswith("data:") for _, url in page.sources)
    assert "@import" not in text
    assert not re.search(r"(src|href)=\"https?:", text)


def test_pictures_and_videos_are_those_given(full: Report, tmp_path: Path) -> None:
    page = Page(write_report(full, tmp_path / "report.html").read_text(encoding="utf-8"))
    urls = [url for _, url in page.sources]
    parts = [base64.b64decode(url.partition(",")[2]) for url in urls]
    assert parts[0] == full.videos[0].path.read_bytes()
    assert parts[3] == (tmp_path / "sample.png").read_bytes()
    (tmp_path / "seen.jpg").write_bytes(parts[1])
    assert np.abs(read_picture(tmp_path / "seen.jpg").astype(int) - picture(1)).mean() < 12


def test_text_is_escaped(full: Report, tmp_path: Path) -> None:
    text = write_report(full, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "A &lt;b&gt; &amp; B" in text
    assert "<h3>there</h3>" in text
    assert "&lt;800&gt;" in text
    assert "somebody &amp; sons" in text


def test_charts_take_the_colour_of_the_page(full: Report, tmp_path: Path) -> None:
    text = write_report(full, tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count("<svg") == 2
    assert "currentColor" in text
    assert "#010203" not in text


def test_nothing_is_said_of_what_is_not_known(tmp_path: Path) -> None:
    text = write_report(Report(title="bare"), tmp_path / "report.html").read_text(encoding="utf-8")
    assert Page(text).headings == ["bare"]


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        (
            scores(l1=0.1, psnr=13, ssim=0.4, gradient_correlation=0.2, inverted=0),
            "run beats match on L1, PSNR, SSIM, gradient correlation and share inverted.",
        ),
        (scores(l1=0.3), "run falls short of match on L1."),
        (scores(l1=0.1, ssim=0.2), "run beats match on L1 and falls short of match on SSIM."),
        (scores(), "run equals match."),
    ],
)
def test_the_verdict_follows_from_the_figures(ours: Scores, expected: str) -> None:
    assert verdict(score_table(ours)) == expected


def test_equal_pictures_on_both_sides_are_no_falling_short() -> None:
    perfect = scores(psnr=math.inf)
    table = ScoreTable(title="", ours="run", rival="match", rows={"run": perfect, "match": perfect})
    assert verdict(table) == "run equals match."


def test_best_rows_know_which_way_is_better() -> None:
    winners = best_rows(score_table(scores(l1=0.1, psnr=11, ssim=0.3001)))
    assert (winners["l1"], winners["psnr"]) == ({"run"}, {"match"})
    assert winners["ssim"] == {"run", "match"}


def test_a_table_must_hold_those_it_compares() -> None:
    with pytest.raises(DataError, match="'match'"):
        ScoreTable(title="", ours="run", rival="match", rows={"run": scores()})


def test_losses_are_read_by_name(losses: Path) -> None:
    steps, columns = read_losses(losses)
    assert list(columns) == ["cycle_a", "cycle_b", "total"]
    assert steps.tolist() == list(range(1, 60))
    assert columns["cycle_b"] == pytest.approx(2 / steps)


@pytest.mark.parametrize("text", ["", "step,a\n", "step,a\n1,x\n", "step,a\n1\n", "a,b\n1,2\n"])
def test_what_is_no_table_of_losses_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(DataError, match=r"bad\.csv is no table of losses"):
        read_losses(tmp_path / "bad.csv")
    with pytest.raises(DataError, match="missing"):
        read_losses(tmp_path / "missing.csv")


def test_smoothing_keeps_constants_and_passes_over_gaps() -> None:
    assert smoothed(np.full(9, 3.0), 4) == pytest.approx(np.full(9, 3.0))
    assert smoothed(np.array([1, math.nan, 3]), 3) == pytest.approx([1, 2, 3])
    assert smoothed(np.array([5.0]), 1) == pytest.approx([5])


@given(
    values=st.lists(st.floats(-1e3, 1e3) | st.just(math.nan), min_size=1, max_size=40),
    span=st.integers(1, 60),
)
def test_running_means_are_those_of_what_lies_around(values: list[float], span: int) -> None:
    firsts = [number - span // 2 for number in range(len(values))]
    around = [values[max(first, 0) : first + span] for first in firsts]
    known = [[value for value in some if not math.isnan(value)] for some in around]
    expected = [np.mean(some) if some else math.nan for some in known]
    assert smoothed(np.array(values), span) == pytest.approx(expected, nan_ok=True, abs=1e-9)


def test_a_chart_of_broken_losses_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("step,seconds,a\n1,1,nan\n2,2,inf\n")
    path = write_report(Report(title="t", losses=tmp_path / "l.csv"), tmp_path / "report.html")
    assert "<svg" in path.read_text()


def test_a_missing_part_leaves_the_old_report(tmp_path: Path) -> None:
    path = write_report(Report(title="old"), tmp_path / "report.html")
    lost = Report(title="new", videos=[Video(path=tmp_path / "lost.mp4", caption="")])
    with pytest.raises(DataError, match=r"lost\.mp4"):
        write_report(lost, path)
    assert Page(path.read_text(encoding="utf-8")).headings == ["old"]


def test_a_missing_extra_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "jinja2":
            raise ModuleNotFoundError("No module named 'jinja2'", name=name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(OutputError, match=r"needs jinja2.*cyclegan-engine\[demo\]"):
        write_report(Report(title="t"), tmp_path / "report.html")


BOTH = {"ab": "photo to map", "ba": "map to photo"}


def test_samples_are_shown_at_a_few_steps_first_and_last_among_them(tmp_path: Path) -> None:
    for step in range(0, 5_000, 500):
        for direction in ("ab", "ba"):
            (tmp_path / f"{step:06d}_{direction}.png").touch()
    there, back = samples_over_time(tmp_path, BOTH)
    assert (there.title, back.title) == ("photo to map", "map to photo")
    for shown in (there, back):
        assert [step for step, _ in shown.pictures] == [0, 1_000, 2_000, 2_500, 3_500, 4_500]
    assert back.pictures[-1] == (4_500, tmp_path / "004500_ba.png")
    assert samples_over_time(tmp_path, {"ab": "photo to map"}) == [there]


def test_samples_of_which_one_was_never_written_are_passed_over(tmp_path: Path) -> None:
    for name in ("000000_ab", "000000_ba", "000500_ab", "000500_ba", "001000_ab", "mine_ab"):
        (tmp_path / f"{name}.png").touch()
    both, (one,) = (samples_over_time(tmp_path, titles) for titles in (BOTH, {"ab": "there"}))
    assert [[step for step, _ in found.pictures] for found in both] == [[0, 500]] * 2
    assert [step for step, _ in one.pictures] == [0, 500, 1_000]
    assert samples_over_time(tmp_path / "nowhere", BOTH) == []
