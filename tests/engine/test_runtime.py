"""The C library: built, tested, installed, used by other projects, and compared with Python."""

import hashlib
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import bench.runtime
from cyclegan.config import ResnetConfig
from cyclegan.engine.cache import Note, write_note
from cyclegan.engine.graph_info import GraphInfo
from cyclegan.engine.int8 import int8_graph
from cyclegan.engine.model_source import open_source
from cyclegan.engine.onnx_header import GRAPH_DIGEST
from cyclegan.engine.plan_file import PLAN_FORMAT
from cyclegan.engine.plan_settings import PlanSettings, Profile
from cyclegan.engine.translator import Translator
from cyclegan.errors import ModelError
from cyclegan.kernels.pixels import tensor_to_yuv, yuv_to_tensor
from cyclegan.shipped import DEFAULT, find_model

from .nv12 import nv12_from_rgb, rgb_from_nv12
from .runtime_project import ROOT, RUNTIME, build, must, run

pytestmark = pytest.mark.xdist_group("C library")  # one process, so that it is built once
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]


@pytest.fixture(scope="module")
def graph(model: Path) -> Path:
    """The small generator as a frame-to-frame graph."""
    return open_source(model).onnx()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a target as one, in half the time; `test_add_subdirectory` compiles each alone."""
    options = ["-DCYCLEGAN_OPENVINO=ON", "-DCMAKE_UNITY_BUILD=ON"]
    return build(tmp_path_factory.mktemp("runtime"), *options)


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installed, and then moved to where it is used from."""
    folder = tmp_path_factory.mktemp("install")
    must(["cmake", "--install", built, "--prefix", folder / "first", "--strip"])
    return Path(shutil.move(folder / "first", folder / "moved"))


def library(prefix: Path) -> Path:
    (path,) = prefix.rglob("libcyclegan.so")
    return path


def test_c_suite(built: Path, graph: Path) -> None:
    must(["ctest", "--test-dir", built, "--output-on-failure"], CYCLEGAN_TEST_MODEL=str(graph))


@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_c_suite_under(sanitizers: str, graph: Path, tmp_path: Path) -> None:
    options = ["-DCMAKE_UNITY_BUILD=ON", "-DCMAKE_BUILD_TYPE=None", "-DCYCLEGAN_EXAMPLES=OFF"]
    build(tmp_path, f"-DCYCLEGAN_SANITIZE={sanitizers}", *options)
    must(["ctest", "--test-dir", tmp_path, "--output-on-failure"], CYCLEGAN_TEST_MODEL=str(graph))


@pytest.mark.parametrize("size", [(144, 176), (50, 70), (5, 3)])
def test_ctypes_example_gives_the_bytes_of_the_python_translator(
    size: tuple[int, int], built: Path, graph: Path, frames: np.ndarray, tmp_path: Path
) -> None:
    photo = frames[0, : size[0], : size[1]]
    np.save(tmp_path / "photo.npy", photo)
    example = [RUNTIME / "examples" / "translate.py", library(built), graph]
    must(["python", *example, tmp_path / "photo.npy", tmp_path / "painting.npy"])
    with Translator.open(graph, backend="openvino") as translator:
        assert np.array_equal(np.load(tmp_path / "painting.npy"), translator(photo))


def test_a_graph_in_8_bits_gives_the_bytes_of_the_python_translator(
    built: Path, frames: np.ndarray
) -> None:
    eight = int8_graph(open_source(find_model(DEFAULT)).onnx())
    height, width = frames.shape[1:3]
    program = [built / "bin" / "live_loop", eight, str(width), str(height), "0"]
    with Translator.open(eight, size=(height, width)) as translator:
        paintings = [translator(frame).tobytes() for frame in frames[:2]]
    assert must(program, stdin=frames[:2].tobytes()) == b"".join(paintings)


@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("full", [False, True])
def test_nv12_is_what_the_kernels_take_it_for(matrix: str, full: bool, frames: np.ndarray) -> None:
    coded = {"matrix": matrix, "full_range": full}
    luma, chroma = nv12_from_rgb(frames[0], matrix, full)
    tensors = torch.from_numpy(luma[None]), torch.from_numpy(chroma[None])
    pictures = yuv_to_tensor(*tensors, dtype=torch.float32, **coded)  # type: ignore[arg-type]
    rgb = ((pictures[0].permute(1, 2, 0).numpy() + 1) * 127.5).astype(np.float64)
    assert np.abs(rgb_from_nv12(luma, chroma, matrix, full) - rgb).max() < 0.51
    exact = torch.from_numpy(frames[:1]).permute(0, 3, 1, 2) / 127.5 - 1
    for ours, theirs in zip((luma, chroma), tensor_to_yuv(exact, **coded)):  # type: ignore[arg-type]
        assert np.abs(ours.astype(int) - theirs[0].numpy().astype(int)).max() <= 1


def y4m(pictures: list[tuple[np.ndarray, np.ndarray]], tags: str) -> bytes:
    height, width = pictures[0][0].shape
    frames = [
        b"FRAME\n" + luma.tobytes() + chroma[..., 0].tobytes() + chroma[..., 1].tobytes()
        for luma, chroma in pictures
    ]
    return f"YUV4MPEG2 W{width} H{height} F30000:1001{tags}\n".encode() + b"".join(frames)


@pytest.mark.parametrize(
    ("size", "tags", "full", "shared"),
    [
        ((144, 176), " Ip A128:117 C420mpeg2", False, (2, 2)),
        ((75, 101), " C420jpeg XYSCSS=420JPEG XCOLORRANGE=FULL", True, (2, 2)),
        ((33, 47), " C420paldv", False, (2, 2)),
        ((33, 47), " C422 XYSCSS=422 XCOLORRANGE=LIMITED", False, (1, 2)),
        ((33, 47), " C444 XYSCSS=444 XCOLORRANGE=FULL", True, (1, 1)),
    ],
)
def test_translate_y4m_gives_the_bytes_of_the_python_translator(
    size: tuple[int, int],
    tags: str,
    full: bool,
    shared: tuple[int, int],
    built: Path,
    graph: Path,
    frames: np.ndarray,
) -> None:
    cropped = frames[:, : size[0], : size[1]]
    clip = [nv12_from_rgb(frame, full=full, shared=shared) for frame in cropped]
    translated = must([built / "bin" / "translate_y4m", graph], stdin=y4m(clip, tags))
    with Translator.open(graph, backend="openvino", size=size) as translator:
        paintings = [
            translator(rgb_from_nv12(*picture, full=full, shared=shared)) for picture in clip
        ]
    wanted = [nv12_from_rgb(rgb, full=full, shared=shared) for rgb in paintings]
    assert translated == y4m(wanted, tags)


@pytest.mark.parametrize(
    ("tags", "full"), [(" Ip A1:1 Cmono", True), (" Cmono XCOLORRANGE=LIMITED", False)]
)
def test_translate_y4m_takes_grey(
    tags: str, full: bool, built: Path, graph: Path, frames: np.ndarray
) -> None:
    grey = [nv12_from_rgb(frame, full=full)[0] for frame in frames[:, :75, :101]]
    none = np.zeros((0, 0, 2), np.uint8)
    stream = y4m([(luma, none) for luma in grey], tags)
    translated = must([built / "bin" / "translate_y4m", graph], stdin=stream)
    neutral = np.full((38, 51, 2), 128, np.uint8)
    with Translator.open(graph, backend="openvino", size=(75, 101)) as translator:
        paintings = [translator(rgb_from_nv12(luma, neutral, full=full)) for luma in grey]
    assert translated == y4m([(nv12_from_rgb(rgb, full=full)[0], none) for rgb in paintings], tags)


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        (b"FRAME\nxyz", b"ends in the middle of a frame"),
        (b"FRA", b"ends in the middle of a frame"),
        (b"FRAGE\n", b"got: FRAGE"),
        (b"FRAME" + 2000 * b"x", b"got: FRAMEx"),
    ],
    ids=["its planes", "its line", "another word", "a line without end"],
)
def test_translate_y4m_keeps_what_came_before_a_break(
    rest: bytes, reason: bytes, built: Path, graph: Path, frames: np.ndarray
) -> None:
    clip = y4m([nv12_from_rgb(frame) for frame in frames], " C420")
    program = [built / "bin" / "translate_y4m", graph]
    whole, cut = must(program, stdin=clip), run(program, stdin=clip + rest)
    assert cut.returncode == 1
    assert reason in cut.stderr
    assert cut.stdout == whole


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"", "no y4m stream"),
        (b"RIFF....AVI \n", "no y4m stream"),
        (b"YUV4MPEG2 W0 H5\n", "no size"),
        (b"YUV4MPEG2 W8 H8 C420p10\n", "420p10; give the first ffmpeg -pix_fmt yuv420p"),
        (b"YUV4MPEG2 W8 H8 C422p16\n", "422p16; give the first ffmpeg -pix_fmt yuv422p"),
        (b"YUV4MPEG2 W8 H8 C444alpha\n", "444alpha; give the first ffmpeg -pix_fmt yuv444p"),
        (b"YUV4MPEG2 W8 H8 Cmono9\n", "mono9; give the first ffmpeg -pix_fmt gray"),
        (b"YUV4MPEG2 W8 H8 C411\n", "411; give the first ffmpeg -pix_fmt yuv420p"),
        (b"YUV4MPEG2 W8 H8 C420\nFRAGE\n", "got: FRAGE"),
        (b"YUV4MPEG2 " + 2000 * b"x", "does not end"),
    ],
)
def test_translate_y4m_refuses(stream: bytes, reason: str, built: Path, graph: Path) -> None:
    done = run([built / "bin" / "translate_y4m", graph], stdin=stream)
    assert done.returncode == 1
    assert reason in done.stderr.decode()


def test_live_loop_shows_translated_frames(built: Path, graph: Path, frames: np.ndarray) -> None:
    height, width = frames.shape[1:3]
    program = [built / "bin" / "live_loop", graph, str(width), str(height)]
    with Translator.open(graph, backend="openvino", size=(height, width)) as translator:
        paintings = [translator(frame).tobytes() for frame in frames]
    assert must([*program, "0"], stdin=frames.tobytes()) == b"".join(paintings)
    # A camera that is faster than the network: what is shown is right, and the rest is dropped.
    live = run([*program, "2000"], stdin=10 * frames.tobytes())
    shown, dropped = (int(word) for word in live.stderr.split() if word.isdigit())
    assert live.returncode == 0
    assert shown + dropped == 10 * len(frames)
    one = len(paintings[0])
    seen = [live.stdout[i : i + one] for i in range(0, len(live.stdout), one)]
    assert len(seen) == shown >= 1
    assert set(seen) <= set(paintings)


def test_live_loop_does_not_end_well_where_pictures_are_lost(
    built: Path, graph: Path, frames: np.ndarray
) -> None:
    height, width = frames.shape[1:3]
    program = [built / "bin" / "live_loop", graph, str(width), str(height), "0"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(program, input=frames.tobytes(), stdout=full, check=False)
    assert done.returncode != 0


def test_the_benchmark_runs(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--width", "4", "--blocks", "1", "--size", "32", "--turns", "1", "--frames", "8"]
    result = bench.runtime.main([*small, "--library", str(library(built))])
    assert set(result["timings"]) == {"bare OpenVINO", "Python translator", "C library"}
    assert json.loads(capsys.readouterr().out)["of_bare"] == result["of_bare"] > 0


def test_ctypes_example_says_what_it_takes() -> None:
    done = run(["python", RUNTIME / "examples" / "translate.py"])
    assert done.returncode == 1
    assert done.stderr.startswith(b"usage: python translate.py libcyclegan.so model.onnx")


def test_ctypes_example_reports(built: Path, tmp_path: Path) -> None:
    example = [RUNTIME / "examples" / "translate.py", library(built), tmp_path / "none.onnx"]
    done = run(["python", *example, "photo.npy", "painting.npy"])
    assert done.returncode == 1
    assert b"none.onnx: No such file" in done.stderr


@pytest.mark.parametrize("damage", ["a weight", "its end"])
def test_both_languages_refuse_a_damaged_graph_in_the_same_words(
    damage: str, built: Path, graph: Path, tmp_path: Path
) -> None:
    data = bytearray(graph.read_bytes())
    if damage == "a weight":
        data[len(data) // 2] ^= 1
    else:
        del data[-100:]
    path = tmp_path / "damaged.onnx"
    path.write_bytes(data)
    example = [RUNTIME / "examples" / "translate.py", library(built), path]
    done = run(["python", *example, "photo.npy", "painting.npy"])
    with pytest.raises(ModelError) as refused:
        Translator.open(path)
    assert done.stderr.decode().strip() == str(refused.value)


@pytest.mark.parametrize("more", [b"", b"\x3a\x00"], ids=["one graph", "and an empty one"])
def test_both_languages_refuse_weights_in_another_file_in_the_same_words(
    more: bytes, built: Path, graph: Path, tmp_path: Path
) -> None:
    """OpenVINO would look for it in the folder that the process is in."""
    model = onnx.load(graph)
    weight = model.graph.initializer[0]
    (tmp_path / "w.bin").write_bytes(weight.raw_data)
    onnx.external_data_helper.set_external_data(weight, "w.bin")
    weight.ClearField("raw_data")
    path = tmp_path / "graph.onnx"
    path.write_bytes(model.SerializeToString() + more)
    example = [RUNTIME / "examples" / "translate.py", library(built), path]
    done = run(["python", *example, "photo.npy", "painting.npy"], cwd=tmp_path)
    with pytest.raises(ModelError, match=r"another file, 'w\.bin'") as refused:
        Translator.open(path)
    assert done.stderr.decode().strip() == str(refused.value)


def test_a_graph_that_makes_fewer_pixels_than_it_takes_is_an_error(
    built: Path, graph: Path, tmp_path: Path
) -> None:
    """One that others changed, and left our description in."""
    model = onnx.load(graph)
    kept = [p for p in model.metadata_props if p.key != GRAPH_DIGEST]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    (output,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = ["whole" if name == output.name else name for name in node.output]
    ends = {"from": [0], "to": [1], "along": [2]}
    for name, values in ends.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(values), name))
    model.graph.node.append(onnx.helper.make_node("Slice", ["whole", *ends], [output.name]))
    output.type.tensor_type.shape.dim[2].dim_value = 1
    onnx.save(model, tmp_path / "narrow.onnx")
    picture = np.zeros((16, 24, 3), np.uint8)
    np.save(tmp_path / "photo.npy", picture)
    example = [RUNTIME / "examples" / "translate.py", library(built), tmp_path / "narrow.onnx"]
    done = run(["python", *example, tmp_path / "photo.npy", tmp_path / "painting.npy"])
    assert done.returncode == 1
    assert b"the graph makes 48 bytes of a frame of 1152" in done.stderr


@pytest.mark.parametrize(
    ("compiler", "standard", "header"),
    [("cc", "c99", "h"), ("cc", "c17", "h"), ("c++", "c++17", "h"), ("c++", "c++17", "hpp")],
)
def test_a_header_alone(compiler: str, standard: str, header: str, tmp_path: Path) -> None:
    source = tmp_path / f"alone.{'c' if compiler == 'cc' else 'cpp'}"
    source.write_text(f"#include <cyclegan/cyclegan.{header}>\n")
    command = [compiler, f"-std={standard}", *STRICT, "-I", RUNTIME / "include"]
    must([*command, "-fsyntax-only", source])


def test_find_package(installed: Path, graph: Path, tmp_path: Path) -> None:
    build(tmp_path, f"-DCMAKE_PREFIX_PATH={installed}", source=RUNTIME / "tests" / "consumer")
    for program in ("consumer-c", "consumer-cpp"):
        assert must([tmp_path / program, graph]) == b"phones to cars\n"


def test_add_subdirectory(graph: Path, tmp_path: Path) -> None:
    sources = tmp_path / "sources, of ours"  # a path may have commas and spaces
    sources.symlink_to(ROOT)
    consumer = RUNTIME / "tests" / "consumer" / "main.c"
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.22)\nproject(app C CXX)\n"
        f'add_subdirectory("{sources}" cyclegan EXCLUDE_FROM_ALL)\n'
        f'add_executable(app "{consumer}")\n'
        "target_link_libraries(app PRIVATE cyclegan::cyclegan)\n"
    )
    built = build(tmp_path / "build", source=tmp_path)
    assert must([built / "app", graph]) == b"phones to cars\n"
    # What is the other project's to decide is left to it.
    cache = (built / "CMakeCache.txt").read_text()
    assert "CMAKE_BUILD_TYPE:STRING=\n" in cache
    assert "BUILD_TESTING" not in cache


def test_backends_stand_beside_the_library_in_every_configuration(tmp_path: Path) -> None:
    options = ["-DCYCLEGAN_OPENVINO=ON", f"-DPython3_EXECUTABLE={sys.executable}"]
    must(["cmake", "-G", "Ninja Multi-Config", "-S", ROOT, "-B", tmp_path, *options])
    made = (tmp_path / "CMakeFiles" / "impl-Debug.ninja").read_text()
    assert "build lib/Debug/libcyclegan.so.0.1.0" in made
    assert "build lib/Debug/cyclegan/libcyclegan-openvino.so" in made


def test_a_backend_is_auto_on_or_off(tmp_path: Path) -> None:
    def configured(openvino: str) -> tuple[int, str]:
        options = [f"-DCYCLEGAN_OPENVINO={openvino}", "-DCYCLEGAN_TENSORRT=OFF", "-G", "Ninja"]
        done = run(["cmake", "-S", ROOT, "-B", tmp_path, "-DCYCLEGAN_TESTS=OFF", *options])
        return done.returncode, " ".join((done.stdout + done.stderr).decode().split())

    for typo in ("OF", "", "autp"):
        status, said = configured(typo)
        assert status != 0
        assert f'CYCLEGAN_OPENVINO is "{typo}"; expected AUTO, ON or OFF' in said
    status, said = configured("off")
    assert status == 0
    assert "no backend is built" in said


def test_find_package_refuses_another_version(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.22)\nproject(c)\nfind_package(cyclegan 0.2 REQUIRED)\n"
    )
    done = run(["cmake", "-S", tmp_path, "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={installed}"])
    assert done.returncode != 0
    assert b"version: 0.1.0" in done.stderr


def test_pkg_config(installed: Path, graph: Path, tmp_path: Path) -> None:
    (folder,) = installed.rglob("pkgconfig")
    flags = must(["pkg-config", "--cflags", "--libs", "cyclegan"], PKG_CONFIG_PATH=str(folder))
    program = tmp_path / "consumer"
    source = RUNTIME / "tests" / "consumer" / "main.c"
    rpath = f"-Wl,-rpath,{library(installed).parent}"
    must(["cc", source, "-o", program, *shlex.split(flags.decode()), rpath])
    assert must([program, graph]) == b"phones to cars\n"


def test_pkg_config_knows_an_absolute_folder(tmp_path: Path) -> None:
    """As distributions give it: the prefix stood before it."""
    options = ["-DCYCLEGAN_OPENVINO=OFF", "-DCYCLEGAN_TENSORRT=OFF", "-DCYCLEGAN_TESTS=OFF"]
    folder = f"-DCMAKE_INSTALL_LIBDIR={tmp_path}/lib64"
    must(["cmake", "-G", "Ninja", "-S", ROOT, "-B", tmp_path, *options, folder])
    (found,) = tmp_path.rglob("cyclegan.pc")
    flags = must(["pkg-config", "--libs", "cyclegan"], PKG_CONFIG_PATH=str(found.parent))
    assert flags.split() == [f"-L{tmp_path}/lib64".encode(), b"-lcyclegan"]


def test_a_program_may_have_addresses_of_its_own_for_functions(
    installed: Path, graph: Path, tmp_path: Path
) -> None:
    """As one has that is not position-independent and keeps a pointer to a function."""
    source = (RUNTIME / "tests" / "consumer" / "main.c").read_text()
    path, program = tmp_path / "consumer.c", tmp_path / "consumer"
    path.write_text(f"{source}\nuint32_t (*const version)(void) = cyclegan_version;\n")
    folder = library(installed).parent
    flags = ["-I", installed / "include", "-L", folder, "-lcyclegan", f"-Wl,-rpath,{folder}"]
    must(["cc", "-no-pie", "-fno-pic", path, "-o", program, *flags])
    assert must([program, graph]) == b"phones to cars\n"


SHIPPED = (
    "libopenvino.so.*",
    "libopenvino_intel_cpu_plugin.so",
    "libopenvino_onnx_frontend.so.*",
    "libtbb.so.*",
)
"""What docs/embedding.md says that an application ships of OpenVINO."""


def test_an_application_ships_a_handful_of_files(
    installed: Path, graph: Path, tmp_path: Path
) -> None:
    document = (ROOT / "docs" / "embedding.md").read_text()
    shutil.copytree(library(installed).parent, tmp_path, dirs_exist_ok=True, symlinks=True)
    wheel = Path(must(["python", "-c", "import openvino; print(openvino.__path__[0])"]).decode())
    libraries = Path(str(wheel).strip()) / "libs"
    for pattern in SHIPPED:
        (path,) = libraries.glob(pattern)
        shutil.copy(path, tmp_path / "cyclegan")
        assert pattern.removesuffix(".*") in document
    program = tmp_path / "consumer"
    source = RUNTIME / "tests" / "consumer" / "main.c"
    flags = ["-I", installed / "include", "-L", tmp_path, "-lcyclegan", "-Wl,-rpath,$ORIGIN"]
    must(["cc", source, "-o", program, *flags])
    done = run([program, graph], LD_DEBUG="files")
    assert done.stdout == b"phones to cars\n"
    assert b"libopenvino_intel_cpu_plugin.so" in done.stderr
    assert str(libraries).encode() not in done.stderr


def open_elsewhere(path: str, folder: Path, graph: Path) -> bytes:
    """Status and error of a process that loads the library at ``path`` from ``folder``, and leaves
    that before it opens ``graph``."""
    program = (
        f"import ctypes, os; library = ctypes.CDLL({path!r}); os.chdir('/');"
        "library.cyclegan_last_error.restype = ctypes.c_char_p; handle = ctypes.c_void_p();"
        f"status = library.cyclegan_open(ctypes.byref(handle), {str(graph)!r}.encode(), None);"
        "print(status, library.cyclegan_last_error(None).decode())"
    )
    return must(["python", "-c", program], cwd=folder)


def test_a_process_may_go_elsewhere_before_it_opens_a_model(built: Path, graph: Path) -> None:
    assert open_elsewhere("lib/libcyclegan.so", built, graph) == b"0 \n"


def test_a_link_to_the_library_finds_its_backends(
    installed: Path, graph: Path, tmp_path: Path
) -> None:
    (tmp_path / "painter.so").symlink_to(library(installed))
    assert open_elsewhere("./painter.so", tmp_path, graph) == b"0 \n"
    (tmp_path / "cyclegan").mkdir()  # of somebody else
    assert open_elsewhere("./painter.so", tmp_path, graph) == b"0 \n"


def exported(path: Path) -> set[str]:
    lines = must(["nm", "-D", "--defined-only", path]).decode().splitlines()
    return {line.split()[-1] for line in lines}


def test_the_library_shows_the_functions_of_its_header_alone(installed: Path) -> None:
    header = (RUNTIME / "include" / "cyclegan" / "cyclegan.h").read_text()
    declared = {
        words.split("(")[0].split()[-1].lstrip("*") for words in header.split("CYCLEGAN_API ")[2:]
    }
    declared = {name for name in declared if name.startswith("cyclegan_")}
    assert len(declared) == 14
    versioned = {f"{name}@@CYCLEGAN_0.1" for name in declared}
    assert exported(library(installed)) - {"CYCLEGAN_0.1"} == versioned
    assert b"Library soname: [libcyclegan.so.0.1]" in must(["readelf", "-d", library(installed)])


def test_the_library_needs_no_backend_to_load(installed: Path) -> None:
    needed = must(["readelf", "-d", library(installed)])
    assert b"openvino" not in needed
    (module,) = installed.rglob("libcyclegan-openvino.so")
    assert exported(module) == {"cyclegan_module_version", "cyclegan_module_open"}


def patched(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda module: module.unlink(), "cannot open shared object file"),
        (lambda module: shutil.rmtree(module.parent), 'keep the folder "cyclegan" beside'),
        (
            lambda module: patched(module, b"libopenvino.so.", b"libOpenVino.so."),
            "libOpenVino.so.",
        ),
        (lambda module: patched(module, b"0.1.0 (", b"0.9.0 ("), "is of version 0.9.0"),
        (lambda module: module.write_bytes(b"no library"), "too short"),
    ],
    ids=["no module", "no folder", "no OpenVINO", "another version", "damaged"],
)
def test_a_backend_that_cannot_be_loaded_is_an_error(
    break_it: Callable[[Path], None], reason: str, installed: Path, graph: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "lib"
    shutil.copytree(library(installed).parent, folder, symlinks=True)
    break_it(folder / "cyclegan" / "libcyclegan-openvino.so")
    example = [RUNTIME / "examples" / "translate.py", folder / "libcyclegan.so", graph]
    done = run(["python", *example, "photo.npy", "painting.npy"])
    assert done.returncode == 1
    assert reason in done.stderr.decode()


@pytest.mark.parametrize(
    ("plan", "reason"),
    [(b"a plan", "the backend tensorrt cannot be loaded"), (b"A plan", "its SHA-256 is")],
)
def test_the_note_of_a_plan_is_read_as_python_writes_it(
    plan: bytes, reason: str, installed: Path, tmp_path: Path
) -> None:
    path = tmp_path / "phones.plan"
    path.write_bytes(plan)
    key = PlanSettings(profile=Profile.of(64, 64)).as_key()
    built = {"format": PLAN_FORMAT, "flavour": "tensorrt", "version": "11.1.0.106"}
    facts = {"graph": GraphInfo(config=ResnetConfig(width=4)).to_metadata()}
    digest = hashlib.sha256(b"a plan").hexdigest()
    write_note(path, Note(key={**built, **key}, sha256=digest, facts=facts))
    example = [RUNTIME / "examples" / "translate.py", library(installed), path]
    done = run(["python", *example, "photo.npy", "painting.npy"])
    assert done.returncode == 1
    assert reason in done.stderr.decode()


def test_headers_of_tensorrt_without_its_library_add_no_folder(tmp_path: Path) -> None:
    headers = tmp_path / "include"
    headers.mkdir()
    for name in ("NvInferRuntime.h", "cuda_runtime_api.h"):
        (headers / name).touch()
    parts = zip(("MAJOR", "MINOR", "PATCH"), (99, 1, 0))
    version = "".join(f"#define TRT_{part}_ENTERPRISE {number}\n" for part, number in parts)
    (headers / "NvInferVersion.h").write_text(version)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.22)\nproject(a NONE)\nfind_package(TensorRT REQUIRED)\n"
        'message(STATUS "${TensorRT_VERSION} in [${TensorRT_LIBRARY_DIR}]")\n'
    )
    found = [f"-DTensorRT_ROOT={tmp_path}", f"-DCUDAToolkit_ROOT={tmp_path}"]
    modules = f"-DCMAKE_MODULE_PATH={RUNTIME / 'cmake'}"
    said = must(["cmake", "-S", tmp_path, "-B", tmp_path / "build", modules, *found])
    assert b"99.1.0 in []" in said


def test_a_backend_that_is_asked_for_and_not_found_stops_the_configuration(tmp_path: Path) -> None:
    options = ["-DCYCLEGAN_TENSORRT=ON", "-DCYCLEGAN_OPENVINO=OFF", "-G", "Ninja"]
    done = run(["cmake", "-S", ROOT, "-B", tmp_path, *options, "-DTensorRT_ROOT=/nowhere"])
    assert done.returncode != 0
    assert b"set TensorRT_ROOT" in done.stderr
