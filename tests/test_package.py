"""The package as a user gets it: what the wheel holds, and what importing it costs."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

# Two builds at once would write to one folder.
pytestmark = pytest.mark.xdist_group("wheel")

ROOT = Path(__file__).parents[1]


def test_one_worker_runs_all_of_this_file(request):
    if not hasattr(request.config, "workerinput"):
        pytest.skip("not under pytest-xdist")
    # By this suffix pytest-xdist keeps a group together; without it these tests race.
    assert request.node.nodeid.endswith("@wheel")


@pytest.mark.parametrize("name", ["engine", "kernels"])
def test_links_are_relative_and_lead_to_the_top_level(name):
    link = ROOT / "cyclegan" / name
    assert link.is_symlink()
    assert str(link.readlink()) == f"../{name}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The names in the wheel that this tree builds."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(build, check=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_wheel_holds_one_import_package(wheel):
    assert {name.split("/")[0] for name in wheel if "dist-info" not in name} == {"cyclegan"}


def test_wheel_holds_every_module(wheel):
    folders = (
        ("cyclegan", ROOT / "cyclegan"),
        ("cyclegan/engine", ROOT / "engine"),
        ("cyclegan/kernels", ROOT / "kernels"),
    )
    for prefix, folder in folders:
        for path in folder.rglob("*.py"):
            relative = path.relative_to(folder)
            if relative.parts[0] in ("engine", "kernels"):
                continue  # reached through its own folder
            if "runtime" in relative.parts:
                continue  # no module: the C library's
            assert f"{prefix}/{relative}" in wheel
    assert "cyclegan/py.typed" in wheel


def test_wheel_holds_the_kernels_that_are_compiled_where_they_are_needed(wheel):
    sources = [path for path in (ROOT / "kernels").iterdir() if path.suffix in (".cpp", ".h")]
    assert {".cpp", ".h"} == {path.suffix for path in sources}
    assert {f"cyclegan/kernels/{path.name}" for path in sources} <= wheel


def test_wheel_holds_the_shipped_model_and_the_report_template(wheel):
    for folder in ("models", "templates"):
        for path in (ROOT / "cyclegan" / folder).iterdir():
            assert f"cyclegan/{folder}/{path.name}" in wheel


def test_wheel_leaves_the_c_library_out(wheel):
    assert not [name for name in wheel if "runtime" in name]


@pytest.fixture(scope="module")
def source_distribution(tmp_path_factory):
    """The names in the source distribution that this tree builds."""
    folder = tmp_path_factory.mktemp("sdist")
    build = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(build, check=True)
    (path,) = folder.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def test_source_distribution_holds_the_c_library(source_distribution):
    sources = [path for path in (ROOT / "engine" / "runtime").rglob("*") if path.is_file()]
    assert len(sources) > 30
    assert {
        "CMakeLists.txt",
        *(str(path.relative_to(ROOT)) for path in sources),
    } <= source_distribution


def test_source_distribution_leaves_the_tests_of_python_out(source_distribution):
    assert not [name for name in source_distribution if name.startswith("tests")]


def test_source_distribution_holds_what_the_readme_leads_to(source_distribution):
    links = set(re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text()))
    assert "docs/training.md" in links
    assert links <= source_distribution


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )


def test_importing_is_cheap_and_silent():
    code = "import sys, cyclegan; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    result = run(code)
    loaded = set(result.stdout.split())
    assert not loaded & {"torch", "numpy", "av", "openvino", "PIL", "onnx", "triton"}
    assert result.stderr == ""


def test_every_public_name_loads():
    run("import cyclegan; [getattr(cyclegan, name) for name in cyclegan.__all__]")


def test_unknown_public_name():
    code = "import cyclegan\ntry: cyclegan.Cyclegan\nexcept AttributeError as e: print(e)"
    assert "has no attribute 'Cyclegan'" in run(code).stdout
