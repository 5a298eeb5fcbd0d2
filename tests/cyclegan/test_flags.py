"""Flags become the settings that the engine takes."""

import re
from pathlib import Path

import pytest
import tyro
from tyro.conf import OmitArgPrefixes

from cyclegan.cli import main
from cyclegan.engine.cutting import Part
from cyclegan.engine.encoding import Encoding
from cyclegan.engine.options import VideoOptions
from cyclegan.engine.plan_settings import PlanSettings, Profile
from cyclegan.verbs.building import Settings
from cyclegan.verbs.flags import REGISTRY, spelled_out
from cyclegan.verbs.translating import Options

ROOT = Path(__file__).parents[2]


def read(kind, *flags):
    return tyro.cli(kind, args=list(flags), registry=REGISTRY, config=(OmitArgPrefixes,))


def plain(settings):
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


def test_without_flags_the_defaults_are_the_engines():
    assert plain(read(Options)) == plain(VideoOptions())
    assert plain(read(Settings, "--size", "64")) == plain(PlanSettings(profile=Profile.of(64, 64)))


def test_every_flag_of_a_video_arrives():
    flags = (
        "--container mkv --encoder ffv1 --quality 3 --pixel-format rgb24 --start 1 --end 2.5 "
        "--size 640x272 --compare wipe --resume --source-format raw "
        "--source-option video_size=64x48 --source-option a=b=c"
    )
    assert plain(read(Options, *flags.split())) == plain(
        VideoOptions(
            encoding=Encoding(container="mkv", encoder="ffv1", quality=3, pixel_format="rgb24"),
            part=Part(start=1.0, end=2.5, size=(272, 640)),
            compare="wipe",
            resume=True,
            source_format="raw",
            source_options={"video_size": "64x48", "a": "b=c"},
        )
    )


def test_every_flag_of_a_plan_arrives():
    flags = (
        "--profile 64,640x272:2,1280x720:4 --norm native --target 8.9 12.0 --flavour tensorrt "
        "--optimization-level 5 --tiling full --max-aux-streams 2 --workspace-mib 64 --refit "
        "--no-timing-cache --no-check --least-psnr-db 30"
    )
    assert plain(read(Settings, *flags.split())) == plain(
        PlanSettings(
            profile=Profile(least=(1, 64, 64), best=(2, 272, 640), most=(4, 720, 1280)),
            norm="native",
            targets=("8.9", "12.0"),
            flavour="tensorrt",
            optimization_level=5,
            tiling="full",
            max_aux_streams=2,
            workspace_mib=64,
            refit=True,
            timing_cache=False,
            check=False,
            least_psnr_db=30.0,
        )
    )


def test_the_flags_that_documents_build_plans_with_are_taken():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    commands = [
        command.split()
        for page in pages
        for command in re.findall(r"cyclegan build (\S+ \S+\.plan[^`#\n]*)", page.read_text())
    ]
    assert len(commands) > 3
    for _, _, *flags in commands:
        read(Settings, *flags)


def test_the_help_of_size_says_that_a_plan_needs_it(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # no lines are broken
    with pytest.raises(SystemExit):
        read(Settings, "--help")
    assert "required, unless --profile is given" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--lossless --quality 3", "lossless leaves nothing to choose"),
        ("--live --resume", "a live run cannot be resumed"),
        ("--source-option rate", "'rate'; expected NAME=VALUE"),
        ("--stabilize 0.9 --tiles exact", "steadied or tiled, not both"),
        ("--tiles exact --backend openvino", "run in PyTorch: leave out --backend openvino"),
    ],
)
def test_flags_that_contradict_are_told(flags, says, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # no lines are broken
    with pytest.raises(SystemExit) as left:
        main(["translate", "a.mp4", "b.mp4", *flags.split()])
    assert left.value.code == 2
    assert says in capsys.readouterr().err
    assert not Path("b.mp4").exists()


@pytest.mark.parametrize(
    ("given", "place"),
    [
        (["train", "--config", "run.toml", "--data.a", ""], "what follows --data.a"),
        (["train", "--resume", "run", "--data.b="], "what follows --data.b"),
        (["train", "--data.a", "x", "--data.b", "y", "--data.test-a", ""], "follows --data.test-a"),
        (["train", "--resume", ""], "what follows --resume"),
        (["translate", "", "out"], "one of the arguments"),
        (["evaluate", "model", "photos", ""], "one of the arguments"),
        (["export", "model", "--precision="], "what follows --precision"),
    ],
)
def test_an_empty_word_is_not_the_folder_that_we_run_in(
    given, place, capsys, tmp_path, monkeypatch
):
    """As the shell has it where a variable is not set."""
    monkeypatch.chdir(tmp_path)
    assert main(given) == 1
    assert f"{place} is empty; expected a name or a value; set the" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("--precision fp16", "--precision float16"),
        ("--precision=bf16", "--precision=bfloat16"),
        ("--model.precision fp32 --data.a half", "--model.precision float32 --data.a half"),
        ("fp16 --model fp16 --precision mixed", "fp16 --model fp16 --precision mixed"),
        ("--source-option precision=fp16", "--source-option precision=fp16"),
    ],
)
def test_precisions_have_short_names_too(given, taken):
    assert spelled_out(given.split()) == taken.split()


@pytest.mark.parametrize("verb", ["build", "bench", "translate", "train"])
def test_every_verb_takes_the_short_names_of_precisions(verb, capsys):
    with pytest.raises(SystemExit):
        main([verb, "--model.precision" if verb == "train" else "--precision", "fp32"])
    shown = capsys.readouterr().err
    assert "required" in shown.lower()
    assert "fp32" not in shown
