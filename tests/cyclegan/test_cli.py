"""The command line: in this process, and where that may matter as a user starts it."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch
from PIL import Image

from cyclegan import load_generator, save_generator, training, training_report
from cyclegan.checkpoint import read_info
from cyclegan.cli import VERBS, _call, main
from cyclegan.config import (
    CycleGANConfig,
    DataConfig,
    PixelConfig,
    ResnetConfig,
    TrainConfig,
    UnetConfig,
    as_dict,
)
from cyclegan.engine.images import ImageStats
from cyclegan.engine.model_source import open_source
from cyclegan.networks import PatchDiscriminator, ResnetGenerator
from cyclegan.pictures import read_picture
from cyclegan.reference import export_reference
from cyclegan.sample_data import clip, evaluation_pairs, write_clip
from cyclegan.training import TrainResult
from cyclegan.verbs.public_options import EQUIVALENTS, OLDER, equivalents
from cyclegan.verbs.translating import tell


def started(*arguments):
    """In a process of its own."""
    command = [sys.executable, "-m", "cyclegan.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("arguments", [["--help"], ["translate", "--help"], ["doctor"]])
def test_a_reader_that_leaves_is_no_error(arguments):
    """As in ``cyclegan doctor | head -1``."""
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "cyclegan", *arguments]
    done = subprocess.run(
        command, stdout=theirs, stderr=subprocess.PIPE, text=True, timeout=120, check=False
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.fixture
def cyclegan(capsys):
    """In this process."""

    def run(*arguments):
        try:
            status = main([*map(str, arguments)])
        except SystemExit as left:
            status = left.code
        return subprocess.CompletedProcess(arguments, status, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_generator(path, ResnetGenerator(ResnetConfig(width=4, blocks=1)), ("horse", "zebra"))
    return path


def test_processes_of_tests_leave_the_users_cache_alone(cache):
    code = "from cyclegan.files import cache_folder; print(cache_folder())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(cache)


def test_overview_names_every_verb():
    result = started("--help")
    assert result.returncode == 0
    for verb in ["demo", "train", "evaluate", "import", "export", "translate", "inspect", "doctor"]:
        assert f"  {verb} " in result.stdout


def test_unknown_verb(cyclegan):
    result = cyclegan("translat")
    assert result.returncode == 2
    assert "no verb 'translat'" in result.stderr


def test_is_a_module_too():
    command = [sys.executable, "-m", "cyclegan", "--version"]
    assert subprocess.run(command, capture_output=True, check=True).stdout.strip()


def test_settings_of_a_network_whose_kind_is_not_named(cyclegan):
    given = ("--data.a", "x", "--data.b", "y", "--model.generator.blocks", "6")
    result = cyclegan("train", *given)
    assert result.returncode == 2
    hint = "model.generator:resnet-config --model.generator.blocks ..."
    assert f"name the generator's kind before its settings: {hint}" in result.stderr
    assert "kind before" not in cyclegan("train", "--model.generator.blocks", "--help").stderr


@pytest.mark.parametrize("flag", ["--config", "--resume"])
def test_the_kind_to_name_is_that_of_the_settings_that_are_changed(flag, cyclegan, tmp_path):
    model = CycleGANConfig(generator=UnetConfig(depth=5), discriminator=PixelConfig())
    settings = TrainConfig(data=DataConfig(a=tmp_path / "a", b=tmp_path / "b"), model=model)
    path = tmp_path / "config.toml"
    path.write_text(tomli_w.dumps(as_dict(settings)))
    begun = ("train", flag, path if flag == "--config" else tmp_path)
    for network, setting in (("generator", "width"), ("discriminator", "norm")):
        given = f"--model.{network}.{setting}"
        said = cyclegan(*begun, given, "8").stderr
        kind = f"{getattr(model, network).kind}-config"
        assert f"kind before its settings: model.{network}:{kind} {given} ..." in said
    # What is said works, and changes nothing else.
    said = cyclegan(*begun, "model.generator:unet-config", "--model.generator.width", "8")
    assert 'kind = "unet"' in said.stdout
    assert "width = 8\ndepth = 5" in said.stdout


def test_settings_may_begin_with_a_byte_order_mark_and_must_be_utf_8(cyclegan, tmp_path):
    settings = TrainConfig(data=DataConfig(a=tmp_path / "ä", b=tmp_path / "b"), output=tmp_path)
    text, path = tomli_w.dumps(as_dict(settings)), tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8-sig")
    assert f"error: {tmp_path / 'ä'} does not exist" in cyclegan("train", "--config", path).stderr
    path.write_text(text, encoding="latin-1")
    result = cyclegan("train", "--config", path)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {path}: 'utf-8' codec can't decode")


def test_a_run_that_goes_on_takes_no_flag_that_it_would_ignore(cyclegan, tmp_path):
    settings = TrainConfig(data=DataConfig(a=tmp_path / "a", b=tmp_path / "b"), output=tmp_path)
    (tmp_path / "config.toml").write_text(tomli_w.dumps(as_dict(settings)))
    result = cyclegan("train", "--resume", tmp_path, "--output", tmp_path / "other")
    assert f"--resume goes on in {tmp_path}: leave out --output" in result.stderr
    result = cyclegan("train", "--resume", tmp_path, "--overwrite")
    assert "leave out --overwrite" in result.stderr
    # Its own kinds of networks may be named again, after all other flags.
    kind = ("model.generator:resnet-config", "--model.generator.width", "8")
    result = cyclegan("train", "--resume", tmp_path, "--output", f"{tmp_path}/", *kind)
    assert f'output = "{tmp_path}"' in result.stdout
    assert f"error: {tmp_path / 'a'} does not exist" in result.stderr


def test_a_folder_of_networks_is_no_run(cyclegan, tmp_path):
    result = cyclegan("train", "--resume", tmp_path)
    assert result.returncode == 1
    assert f"{tmp_path} holds no run to go on with" in result.stderr
    assert f"--pretrained {tmp_path}" in result.stderr


def test_a_page_that_cannot_be_made_does_not_fail_the_run(cyclegan, tmp_path, monkeypatch):
    """As where its log found no room: the networks are there."""
    place = tmp_path / "generator.safetensors"
    result = TrainResult(steps=7, seconds=1.0, generator_ab=place, generator_ba=place, skipped={})
    monkeypatch.setattr(training, "train", lambda config, resume: result)
    done = cyclegan("train", "--data.a", "a", "--data.b", "b", "--output", tmp_path)
    assert done.returncode == 0
    assert f"no report: {tmp_path / 'losses.csv'} is no table of losses" in done.stderr


@pytest.mark.parametrize("leaves", ["at once", "during the run"])
def test_a_run_that_nobody_watches_to_its_end_has_its_report(leaves, tmp_path, monkeypatch):
    """As in ``cyclegan train ... | head``."""
    ours, theirs = os.pipe()
    if leaves == "at once":
        os.close(ours)
    place, page = tmp_path / "generator.safetensors", tmp_path / "report.html"
    result = TrainResult(steps=7, seconds=1.0, generator_ab=place, generator_ba=place, skipped={})

    def train(config, resume):
        if leaves != "at once":
            os.close(ours)
        return result

    def write_report(config, result):
        page.touch()
        return page

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(training_report, "write_training_report", write_report)
    with os.fdopen(theirs, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        arguments = ["train", "--data.a", "a", "--data.b", "b", "--output", str(tmp_path)]
        assert main(arguments) == 0
    assert page.exists()


def test_public_names_of_options_are_answered_with_ours(cyclegan):
    result = cyclegan("train", "--dataroot", "x", "--n_epochs=50", "--netG", "resnet_6blocks")
    assert result.returncode == 2
    assert "--dataroot is here: --data.a DATAROOT/trainA --data.b DATAROOT/trainB" in result.stderr
    assert "--n_epochs is here: --epochs\n" in result.stderr
    assert "--netG is here: model.generator:resnet-config --model.generator.blocks" in result.stderr
    assert "is here" not in cyclegan("train", "--dataroof", "x").stderr


def test_public_names_of_options_of_a_test_are_answered_by_translate(cyclegan):
    public = "--dataroot d/testA --name horse --model test --no_dropout --results_dir r"
    result = cyclegan("translate", *public.split())
    assert result.returncode == 2
    for name, said in (
        ("dataroot", "SOURCE"),
        ("name", "--model CHECK"),
        ("results_dir", "TARGET"),
    ):
        assert f"--{name} is here: {said}" in result.stderr
    assert "--no_dropout is here: leave it out" in result.stderr
    assert "is here" not in cyclegan("bench", *public.split()).stderr


@pytest.mark.parametrize(
    "kinds",
    [
        ("--netG=unet_128", "--netD", "pixel"),
        ("model.generator:unet-config", "model.discriminator:pixel-config"),
    ],
)
def test_public_names_are_answered_for_the_networks_that_are_asked_for(kinds):
    network, _, judge, *_ = equivalents(("--ngf", "32", "--no_dropout", "--ndf", "32", *kinds))
    assert network == "--ngf is here: model.generator:unet-config --model.generator.width"
    assert judge == "--ndf is here: model.discriminator:pixel-config --model.discriminator.width"


def test_older_names_are_answered_as_those_that_came_after_them():
    older = equivalents(("--which_model_netG=resnet_6blocks", "--which_model_netD", "--nThreads=4"))
    now = equivalents(("--netG=resnet_6blocks", "--netD", "--num_threads=4"))
    assert len(now) == 3
    assert [line.partition(" ")[2] for line in older] == [line.partition(" ")[2] for line in now]


def test_both_kinds_stay_in_an_answer_that_names_both():
    for answer in equivalents(("--netG=unet_128", "--netD=pixel", "--n_layers_D=3")):
        assert "resnet-config" in answer or "patch-config" in answer


@pytest.mark.parametrize(
    ("given", "flag"),
    [("--learning-rate", "--model.learning-rate"), ("--norm", "--model.discriminator.norm")],
)
def test_a_wrong_flag_is_answered_with_a_command_that_lists_the_right_one(given, flag, cyclegan):
    said = cyclegan("train", "--data.a", "x", "--data.b", "y", given, "1").stderr
    meant = said.partition(f"{flag} ")[2]
    command = re.search(r" in cyclegan (.*--help)", meant)[1].split()
    assert f"{flag} " in cyclegan(*command).stdout


def pages_of_training(cyclegan):
    """What ``cyclegan train --help`` says, and what it says of each kind of network."""
    data = ("--data.a", "a", "--data.b", "b")
    yield cyclegan("train", "--help").stdout
    for generator, judge in (("resnet", "patch"), ("unet", "pixel")):
        kinds = (f"model.generator:{generator}-config", f"model.discriminator:{judge}-config")
        yield cyclegan("train", kinds[0], "--help").stdout
        yield cyclegan("train", *data, *kinds, "--help").stdout


def test_the_help_of_training_says_where_the_settings_of_networks_are(cyclegan):
    general = cyclegan("train", "--help").stdout
    generator, discriminator = "model.generator:resnet-config", "model.discriminator:patch-config"
    for said in (f"cyclegan train {generator} --help", f"{discriminator} before the --help"):
        assert said in general
    assert "--model.generator.blocks" in cyclegan("train", generator, "--help").stdout
    page = cyclegan("train", generator, discriminator, "--help").stdout
    assert "--model.discriminator.layers" in page


def test_what_public_names_are_answered_with_exists(cyclegan):
    known = "".join(pages_of_training(cyclegan))
    for name, answer in EQUIVALENTS.items():
        for flag in re.findall(r"--[a-z][\w.-]*|model\.\w+:[\w-]+", answer):
            assert flag in known or flag == "--resume", (name, flag)


def test_the_table_of_options_names_all_that_are_answered():
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    table = text.partition("## Moving from the public implementation")[2].partition("\n## ")[0]
    now = [name for name in EQUIVALENTS if name not in OLDER]
    assert [name for name in now if not re.search(rf"--{name}\b", table)] == []


def test_a_file_of_settings_without_data_is_completed_by_flags(cyclegan, tmp_path):
    file = tmp_path / "shared.toml"
    file.write_text("epochs = 1\n")
    result = cyclegan("train", "--config", file)
    assert result.returncode == 1
    assert f"{file}: data.a is not set" in result.stderr
    result = cyclegan("train", "--config", file, "--data.a", "nowhere", "--data.b=elsewhere")
    assert "epochs = 1\n" in result.stdout
    assert "error: nowhere does not exist" in result.stderr


def test_names_that_begin_with_a_dash_are_taken(cyclegan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = cyclegan("train", "--data.a=-photos", "--data.b", "./-x", "--output", "./-run")
    assert 'output = "-run"' in result.stdout, result.stderr
    assert "error: -photos does not exist" in result.stderr


@pytest.mark.parametrize(
    ("given", "flag"),
    [("--data.a x --data.b --output y", "--data.b"), ("--dataroot x --resume", "--resume")],
)
def test_a_value_that_was_forgotten_is_told_in_one_line(given, flag, cyclegan):
    result = cyclegan("train", *given.split())
    line, *public = result.stderr.splitlines()
    assert result.returncode == 2
    assert line.startswith(f"error: no value follows {flag}; expected a name")
    assert "cyclegan train --help" in line
    assert public == equivalents(given.split())


@pytest.mark.parametrize("content", [b"a = " + b"[" * 10_000, b"\xff", b"epochs = " + b"9" * 5_000])
def test_a_file_that_cannot_be_settings_is_named(content, cyclegan, tmp_path):
    file = tmp_path / "odd.toml"
    file.write_bytes(content)
    result = cyclegan("train", "--config", file)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {file}: ")


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux")
@pytest.mark.parametrize("closed", ["", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full"])
def test_where_the_text_goes_costs_no_result(closed, model, tmp_path):
    """Standard streams that are closed or full, and a name that is no text in a strict locale."""
    open_source(model).onnx()  # exported here once: the process below then needs no PyTorch
    Image.new("RGB", (16, 16)).save(tmp_path / "in.png")
    target = os.path.join(os.fsencode(tmp_path), b"\xff.png")  # noqa: PTH118
    command = [sys.executable, "-m", "cyclegan", "translate", tmp_path / "in.png", target]
    command += ["--model", model, "--backend", "openvino"]
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *command],
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode == (closed == ">/dev/full"), done.stderr
    if closed == ">/dev/full":
        assert b"error: [Errno 28] No space left on device" in done.stderr
    if closed in ("", "2>/dev/full"):
        assert done.stdout.endswith(b"\\udcff.png: 1 pictures, 0 skipped\n")
    with Image.open(target) as image:
        assert image.size == (16, 16)


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/fd is Linux's")
@pytest.mark.parametrize("target", ["-", "/dev/fd/1", "/proc/self/fd/1"])
def test_the_summary_is_kept_out_of_results_on_standard_output(target, capsys):
    tell(target, ImageStats(pictures=1, skipped=()))
    assert capsys.readouterr() == ("", f"{target}: 1 pictures, 0 skipped\n")


@pytest.mark.parametrize("target", ["out.png", "rtsp://127.0.0.1/", "/dev/null"])
def test_the_summary_is_on_standard_output_where_results_go_elsewhere(target, monkeypatch, capsys):
    """Also where both are thrown away."""
    monkeypatch.setattr(os, "fstat", lambda number: Path(os.devnull).stat())
    tell(target, ImageStats(pictures=1, skipped=()))
    assert capsys.readouterr() == (f"{target}: 1 pictures, 0 skipped\n", "")


@pytest.mark.parametrize("verb", ["train", "translate", "evaluate"])
def test_help(verb, cyclegan):
    result = cyclegan(verb, "--help")
    assert result.returncode == 0
    assert f"cyclegan {verb}" in result.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory as Linux does")
@pytest.mark.parametrize("arguments", [["inspect", "--help"], ["train", "--help"]])
def test_a_terminal_of_one_column_gets_its_text(arguments):
    """For which tyro wrapped without end, and took all memory."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30)); "
        "from cyclegan.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"COLUMNS": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"usage: cyclegan {arguments[0]}" in done.stdout


def test_a_verb_runs_on_the_terminal_as_it_is(monkeypatch):
    seen = []

    def verb(place: str) -> None:
        """Look at the terminal."""
        seen.append((place, os.environ["COLUMNS"]))

    monkeypatch.setenv("COLUMNS", "1")
    _call(verb, "verb", ["--place", "here"])
    assert seen == [("here", "1")]
    assert os.environ["COLUMNS"] == "1"


def test_every_option_is_explained(cyclegan):
    verbs = [verb for verb in VERBS if verb != "train"]
    pages = [*(cyclegan(verb, "--help").stdout for verb in verbs), *pages_of_training(cyclegan)]
    for page in pages:
        text = "\n".join(line.strip("│ ") for line in page.splitlines())
        options = re.split(r"\n(?=--?[a-z])", text)[1:]
        assert options
        for option in options:
            flags, said = re.fullmatch(r"(.*?)(?:  |\n|$)\s*(.*)", option, re.DOTALL).groups()
            assert re.match(r"[^(]", said), f"{flags} is not explained"


def test_help_names_the_places_that_its_text_is_about(cyclegan):
    assert " SOURCE [TRUTH]\n" in cyclegan("evaluate", "--help").stdout
    assert " SOURCE TARGET " in cyclegan("import", "--help").stdout
    assert " MODEL TARGET\n" in cyclegan("export", "--help").stdout
    assert " MODEL [PLAN]\n" in cyclegan("build", "--help").stdout


def test_reference_files_both_ways(model, tmp_path, cyclegan):
    given = load_generator(model)
    assert cyclegan("export", model, tmp_path / "net.pth", "--reference").returncode == 0
    result = cyclegan("import", tmp_path / "net.pth", tmp_path / "back.safetensors")
    assert result.returncode == 0, result.stderr
    x = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(load_generator(tmp_path / "back.safetensors")(x), given(x))


def test_a_discriminator_is_imported_too(tmp_path, cyclegan):
    export_reference(tmp_path / "d.pth", PatchDiscriminator())
    assert cyclegan("import", tmp_path / "d.pth", tmp_path / "d.safetensors").returncode == 0
    result = cyclegan("inspect", tmp_path / "d.safetensors")
    assert "PatchConfig" in result.stdout


@pytest.mark.parametrize("name", ["own.safetensors", "own.pth"])
def test_what_is_ours_already_is_not_imported(name, model, tmp_path, cyclegan):
    (tmp_path / name).write_bytes(model.read_bytes())
    done = cyclegan("import", tmp_path / name, tmp_path / "new.safetensors")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"{name} is a .safetensors file of ours already" in done.stderr
    (tmp_path / name).write_bytes(b"none at all")
    done = cyclegan("import", tmp_path / name, tmp_path / "new.safetensors")
    assert "neither a safetensors file nor a PyTorch state_dict" in done.stderr


@pytest.mark.parametrize(
    ("name", "domains"),
    [
        ("latest_net_G_A.pth", "horse -> zebra"),
        ("latest_net_G_B.pth", "zebra -> horse"),
        ("5_net_D_A.pth", "zebra"),
        ("5_net_D_B.pth", "horse"),
    ],
)
def test_domains_follow_the_public_names(name, domains, model, tmp_path, cyclegan):
    network = PatchDiscriminator() if "_D_" in name else load_generator(model)
    export_reference(tmp_path / name, network)
    own = domains.replace("horse", "A").replace("zebra", "B")
    assert re.search(rf"^domains +{own}$", cyclegan("inspect", tmp_path / name).stdout, re.M)
    target = tmp_path / "imported.safetensors"
    result = cyclegan("import", tmp_path / name, target, "--domains", "horse", "zebra")
    assert result.returncode == 0, result.stderr
    assert " -> ".join(read_info(target).domains) == domains


def test_a_graph_keeps_the_names_of_its_domains(model, tmp_path, cyclegan):
    """A and B of the whole CycleGAN would name the way from B to A backwards."""
    graph, target = tmp_path / "g.onnx", tmp_path / "back.safetensors"
    save_generator(tmp_path / "ba.safetensors", load_generator(model), ("zebra", "horse"))
    assert cyclegan("export", tmp_path / "ba.safetensors", graph).returncode == 0
    done = cyclegan("import", graph, target, "--domains", "horse", "zebra")
    assert (done.returncode, target.exists()) == (1, False)
    assert f"{graph} has the names of its domains already: leave out --domains" in done.stderr
    assert cyclegan("import", graph, target).returncode == 0
    assert read_info(target).domains == ("zebra", "horse")


def test_inspect_knows_all_three_kinds(model, tmp_path, cyclegan):
    result = cyclegan("inspect", model)
    assert "horse -> zebra" in result.stdout
    assert "width=4" in result.stdout
    assert cyclegan("export", model, tmp_path / "g.onnx").returncode == 0
    result = cyclegan("inspect", tmp_path / "g.onnx")
    assert "frame-to-frame ONNX graph" in result.stdout
    assert re.search(r"^inputs +frames: uint8 NxHxWx3$", result.stdout, re.M)
    assert re.search(r"^outputs +translated: uint8 NxHxWx3$", result.stdout, re.M)
    assert "horse -> zebra" in result.stdout
    assert "width=4" in result.stdout
    export_reference(tmp_path / "net.pth", load_generator(model))
    result = cyclegan("inspect", tmp_path / "net.pth")
    assert ".pth of the public CycleGAN" in result.stdout
    # An exported graph is a whole model: it becomes any of the others again.
    assert main(["import", str(tmp_path / "g.onnx"), str(tmp_path / "back.safetensors")]) == 0
    again, given = (load_generator(p).state_dict() for p in (tmp_path / "back.safetensors", model))
    assert all(torch.equal(again[name], given[name]) for name in given)
    assert read_info(tmp_path / "back.safetensors") == read_info(model)
    assert main(["export", str(tmp_path / "g.onnx"), str(tmp_path / "b.pth"), "--reference"]) == 0
    x = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(load_generator(tmp_path / "b.pth")(x), load_generator(model)(x))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--plan a.plan", "add --triton-repository"),
        ("--name a", "add --triton-repository"),
        ("--triton-repository --half", "leave out --half, --int8 and --depth"),
        ("--reference --depth 16", "leave out --half, --int8 and --depth"),
        ("--int8 --depth 16", "leave out --half and --depth"),
        ("--pictures .", "add that, or leave them out"),
        ("--reference --triton-repository", "not both"),
    ],
)
def test_no_flag_of_export_is_ignored(flags, says, model, tmp_path, capsys):
    assert main(["export", str(model), str(tmp_path / "out"), *flags.split()]) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_models_are_not_written_over(model, tmp_path, capsys):
    own, net = tmp_path / "own.safetensors", tmp_path / "net.pth"
    own.write_bytes(model.read_bytes())
    export_reference(net, load_generator(model))
    before = net.read_bytes()
    for verb, path in (("export", own), ("import", net)):
        assert main([verb, str(path), str(path)]) == 1
        assert "is the source itself" in capsys.readouterr().err
    assert (own.read_bytes(), net.read_bytes()) == (model.read_bytes(), before)


@pytest.mark.parametrize(
    ("verb", "name", "flags", "says"),
    [
        ("export", "g.pth", [], "an ONNX graph, or with --reference a .pth by its content"),
        ("export", "g.onnx", ["--reference"], "ends with .pth or .pt"),
        ("import", "g.onnx", [], "ends with .safetensors"),
        ("import", "clip.mp4", [], "ends with .safetensors"),
    ],
)
def test_no_result_bears_the_name_of_another_kind(verb, name, flags, says, model, tmp_path, capsys):
    (tmp_path / name).write_text("kept")
    net = tmp_path / "net.pth"
    export_reference(net, load_generator(model))
    source = model if verb == "export" else net
    assert main([verb, str(source), str(tmp_path / name), *flags]) == 1
    assert says in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "kept"


def test_translate_and_evaluate(model, tmp_path, cyclegan):
    relief, satellite = evaluation_pairs(2, 64)
    for folder, pictures in (("relief", relief), ("satellite", satellite)):
        (tmp_path / folder).mkdir()
        for i, picture in enumerate(pictures):
            Image.fromarray(picture).save(tmp_path / folder / f"{i}.png")
    result = started("translate", tmp_path / "relief", tmp_path / "fake", "--model", model)
    assert result.returncode == 0, result.stderr
    assert "2 pictures, 0 skipped" in result.stdout
    assert sorted(path.name for path in (tmp_path / "fake").iterdir()) == ["0.png", "1.png"]
    result = cyclegan("evaluate", model, tmp_path / "relief", tmp_path / "satellite")
    assert result.returncode == 0, result.stderr
    scores = dict(line.split() for line in result.stdout.splitlines())
    assert 0 < float(scores["l1"]) < 1
    fake = np.stack([read_picture(tmp_path / "fake" / f"{i}.png") for i in range(2)])
    expected = np.abs(fake / 255 - satellite / 255).mean()
    assert float(scores["l1"]) == pytest.approx(expected, abs=1e-4)


def test_shipped_model_translates_at_once(tmp_path, cyclegan):
    Image.fromarray(evaluation_pairs(1, 128)[0][0]).save(tmp_path / "map.png")
    result = cyclegan("translate", tmp_path / "map.png", tmp_path / "satellite.png")
    assert result.returncode == 0, result.stderr
    assert read_picture(tmp_path / "satellite.png").shape == (128, 128, 3)


def test_video(model, tmp_path, cyclegan):
    source = clip("carphone_pristine")
    result = cyclegan("translate", source, tmp_path / "out.mp4", "--model", model)
    assert result.returncode == 0, result.stderr
    assert "frames/s end to end" in result.stdout
    assert (tmp_path / "out.mp4").stat().st_size > 1000


def test_a_video_that_cannot_be_read_to_its_end_is_not_scored(model, tmp_path, cyclegan):
    parts = []
    for width in (48, 64):
        part = write_clip([np.zeros((32, width, 3), np.uint8)] * 3, tmp_path / f"{width}.ts", 25)
        parts.append(part.read_bytes())
    changes, empty = tmp_path / "changes.ts", tmp_path / "empty.mp4"
    changes.write_bytes(b"".join(parts))
    whole = write_clip([np.zeros((32, 48, 3), np.uint8)] * 3, tmp_path / "whole.mp4", 25)
    head, coded = whole.read_bytes().split(b"mdat")
    index = coded.index(b"moov") - 4  # where its length stands
    empty.write_bytes(head + b"mdat" + bytes(index) + coded[index:])
    for source, says in ((changes, "is damaged: "), (empty, "has no frames that can be decoded; ")):
        result = cyclegan("evaluate", model, source, "--backend", "torch")
        assert (result.returncode, result.stdout) == (1, "")
        assert f"{source} {says}" in result.stderr


def test_missing_weights_of_the_inception_network_are_told(model, tmp_path, cyclegan, monkeypatch):
    for name in ("one", "two"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    monkeypatch.setattr(
        "cyclegan.engine.translator.Translator.open", lambda *_, **__: pytest.fail("it was opened")
    )
    result = cyclegan("evaluate", model, tmp_path, tmp_path, "--unpaired")
    assert result.returncode == 1
    assert "pip install 'cyclegan-engine[fid]'" in result.stderr


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`:UserWarning")
def test_sets_are_scored_by_one_inception_network(model, tmp_path, cyclegan, monkeypatch):
    made = []

    class Mean(torch.nn.Module):
        """A stand-in that needs no weights: the mean colour."""

        def __init__(self, layer):
            super().__init__()
            made.append(layer)

        def forward(self, pictures):
            return pictures.float().mean((2, 3))

    monkeypatch.setattr("cyclegan.evaluate._inception", Mean)
    for name, colour in (("one", "red"), ("two", "blue"), ("three", "white")):
        Image.new("RGB", (32, 32), colour).save(tmp_path / f"{name}.png")
    folders = [tmp_path, tmp_path]
    done = cyclegan("evaluate", model, *folders, "--unpaired", "--backend", "torch")
    assert re.search(r"^count +3\nfid +\d.*\nkid +[-\d].*\nkid_std +\d", done.stdout)
    assert made == [2048]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["inspect", "missing"], "no model file missing; shipped models are relief2satellite"),
        (["translate", "missing.png", "out.png"], "missing.png"),
        (["evaluate", "relief2satellite", "clip.mp4", "--unpaired"], "name the folder TRUTH"),
        (["train", "--config", "missing.toml"], "cannot read missing.toml"),
        (["train", "--data.a", "nowhere", "--data.b", "nowhere"], "nowhere"),
    ],
)
def test_errors_are_told_with_an_exit_status(arguments, says, cyclegan):
    result = cyclegan(*arguments)
    assert result.returncode == 1
    assert says in result.stderr


def test_errors_of_a_process_are_one_line():
    result = started("inspect", "missing")
    assert result.returncode == 1
    assert result.stderr.startswith("error: no model file missing")
    assert result.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a folder in use cannot be removed there")
def test_a_folder_that_is_gone_is_told(model, tmp_path, cyclegan, monkeypatch):
    """In which MKL ended the process with a line of its own."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    done = cyclegan("inspect", model)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "change into another one" in done.stderr


def test_config_file(tmp_path, cyclegan):
    (tmp_path / "run.toml").write_text('epochz = 3\n[data]\na = "x"\nb = "y"\n')
    result = cyclegan("train", "--config", tmp_path / "run.toml")
    assert result.returncode == 1
    assert "unknown setting epochz; did you mean 'epochs'" in result.stderr
    (tmp_path / "run.toml").write_text('[data]\na = "x"\nb = "y"\n')
    result = cyclegan("train", "--config", tmp_path / "run.toml", "--data.b", "elsewhere")
    assert "x" in result.stderr


def test_doctor(cyclegan):
    result = cyclegan("doctor")
    assert result.returncode == 0
    assert "openvino" in result.stdout


def test_what_files_say_does_not_steer_the_terminal(model, tmp_path, cyclegan):
    """Names of domains, of settings and of files come from whoever made them."""
    forged = tmp_path / "forged.safetensors"
    save_generator(forged, load_generator(model), ("\x1b]0;title\x07\x9b31m", "B\nformat  ours"))
    result = cyclegan("inspect", forged)
    assert "\nformat  ours" not in result.stdout
    assert r"\x1b]0;title\x07\x9b31m -> B\nformat  ours" in result.stdout
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "\x1b[31m.png").write_text("no picture")
    (folder / "\x1b[32m.png").symlink_to(folder)  # a folder that is named as a picture
    result = cyclegan("translate", folder, tmp_path / "out", "--model", model, "--skip-bad")
    assert "skipped cannot read" in result.stderr
    assert r"\x1b[31m.png" in result.stderr
    assert "\x1b" not in result.stdout + result.stderr
    result = cyclegan("translate", folder, tmp_path / "out", "--model", model)
    assert result.returncode == 1
    assert r"\x1b[31m.png" in result.stderr
    assert "\x1b" not in result.stderr
    record = logging.makeLogRecord({"msg": "cannot read %s", "args": ("\x1b[31m.png",)})
    assert logging.lastResort.format(record) == r"cannot read \x1b[31m.png"


def test_a_source_that_is_not_there_is_told_before_the_generator_is_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "cyclegan.verbs.running.open_translator", lambda run: pytest.fail("it was opened")
    )
    missing = tmp_path / "mapp.png"
    assert main(["translate", str(missing), str(tmp_path / "out.png")]) == 1
    assert f"there is no file or folder {missing}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["missing.mp4"], "missing.mp4 is no video"),
        (["missing", "truth"], "missing does not exist"),
        (["truth", "missing", "--unpaired"], "missing does not exist"),
        (
            ["truth", "truth", "--unpaired"],
            "sets of pictures, got 1 and 1; expected at least 2 each",
        ),
    ],
)
def test_what_cannot_be_scored_is_told_before_the_generator_is_opened(
    given: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        "cyclegan.engine.translator.Translator.open", lambda *_, **__: pytest.fail("it was opened")
    )
    monkeypatch.chdir(tmp_path)
    Path("truth").mkdir()
    Image.new("RGB", (8, 8)).save("truth/0.png")
    assert main(["evaluate", "relief2satellite", *given]) == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("flags", [[], ["--unpaired"]])
def test_metrics_that_cannot_be_imported_are_told_before_the_generator_is_opened(
    flags, tmp_path, cyclegan, monkeypatch, unimportable_metrics
):
    monkeypatch.setattr(
        "cyclegan.engine.translator.Translator.open", lambda *_, **__: pytest.fail("it was opened")
    )
    for name in ("one", "two"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    done = cyclegan("evaluate", "relief2satellite", tmp_path, tmp_path, *flags)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert unimportable_metrics in done.stderr


@pytest.mark.parametrize(("takes", "gives"), [(4, 3), (3, 2)])
def test_a_generator_whose_channels_pictures_do_not_have_is_not_scored(
    takes, gives, tmp_path, cyclegan, monkeypatch
):
    monkeypatch.setattr("cyclegan.evaluate.check_distances", lambda *_: None)
    config = ResnetConfig(width=4, blocks=1, in_channels=takes, out_channels=gives)
    save_generator(tmp_path / "g.safetensors", ResnetGenerator(config))
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (32, 32)).save(tmp_path / name / "0.png")
    told = f"error: this generator takes {takes} channels and gives {gives}; "
    folders = [tmp_path / "in", tmp_path / "out"]
    for given in (folders, [*folders, "--unpaired"], [clip("carphone_pristine")]):
        flags = ["--backend", "torch"]
        done = cyclegan("evaluate", tmp_path / "g.safetensors", *given, *flags)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert done.stderr.startswith(told)
