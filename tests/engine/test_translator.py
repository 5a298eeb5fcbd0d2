import copy
import importlib.metadata
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import cyclegan
from cyclegan.checkpoint import load_generator, save_generator
from cyclegan.config import ResnetConfig, UnetConfig
from cyclegan.cpu import has_fast_bfloat16
from cyclegan.engine import model_source
from cyclegan.engine.frame_graph import FrameToFrame
from cyclegan.engine.graph_info import read_graph_info
from cyclegan.engine.parity import compare, parity
from cyclegan.engine.runners import Settings, open_runner, openvino
from cyclegan.engine.translator import Translator
from cyclegan.errors import BackendError, ConfigError, FrameError, ModelError
from cyclegan.networks import Generator, ResnetGenerator, network_from_config
from cyclegan.shipped import DEFAULT, find_model


def exact(generator: Generator, frames: np.ndarray) -> np.ndarray:
    return FrameToFrame(generator)(torch.from_numpy(frames.copy())).detach().numpy()


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_float32_engines_equal_the_generator(
    backend: str, model: Path, generator: Generator, frames: np.ndarray
) -> None:
    with Translator.open(model, backend=backend, precision="float32") as translator:
        translated = translator(frames)
        assert translator.info.domains == ("phones", "cars")
        assert "32" in translator.description
    assert translated.shape == frames.shape
    score = compare(translated, exact(generator, frames))
    assert score.max_abs <= 1
    assert score.equal_share > 0.999


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_auto_precision_is_close_and_what_the_cpu_computes_fast(
    backend: str, model: Path, generator: Generator, frames: np.ndarray
) -> None:
    with Translator.open(model, backend=backend) as translator:
        sixteen = "bf16" in translator.description or "bfloat16" in translator.description
        assert sixteen == has_fast_bfloat16()
        score = parity(translator, generator, frames)
    assert score.frames == len(frames)
    assert score.psnr_db > 35
    assert score.mean_abs < 2


# PyTorch's compiler uses what PyTorch deprecates.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_compiled_engine_equals_the_generator(
    model: Path, generator: Generator, frames: np.ndarray
) -> None:
    with Translator.open(model, backend="torch-compiled", precision="float32") as translator:
        assert compare(translator(frames[0]), exact(generator, frames[:1])[0]).max_abs <= 1


def test_models_are_files_of_three_kinds_or_generators(
    model: Path, graph: Path, generator: Generator, frames: np.ndarray, tmp_path: Path
) -> None:
    unnamed = shutil.copy(graph, tmp_path / "graph")
    expected = exact(generator, frames[:1])[0]
    for given in (model, str(model), unnamed, generator):
        with Translator.open(given, precision="float32") as translator:
            assert compare(translator(frames[0]), expected).max_abs <= 1


def test_models_have_the_names_that_flags_give_them(
    model: Path, generator: Generator, frames: np.ndarray, tmp_path: Path
) -> None:
    """Those of shipped models, and a run's folder."""
    assert model_source.open_source(DEFAULT).name == str(find_model(DEFAULT))
    with Translator.open(DEFAULT, backend="torch", size=frames.shape[1:3]) as translator:
        assert translator(frames[0]).shape == frames[0].shape
    shutil.copy(model, tmp_path / "generator_ab_best.safetensors")
    with Translator.open(tmp_path, backend="torch", precision="float32") as translator:
        assert compare(translator(frames[0]), exact(generator, frames[:1])[0]).max_abs <= 1
    with pytest.raises(ModelError, match=f"no model file relief; shipped models are {DEFAULT}"):
        Translator.open("relief")


def test_no_length_of_a_header_makes_a_graph_of_a_model(
    generator: Generator, tmp_path: Path
) -> None:
    path, first_bytes = tmp_path / "model.safetensors", set()
    for length in range(1, 257, 8):  # headers are padded to multiples of 8 bytes
        save_generator(path, generator, ("a" * length, "b"))
        first_bytes.add(path.read_bytes()[:1])
        assert not model_source.is_onnx(path)
    assert b"\x08" in first_bytes, "as an ONNX file begins"


def test_opening_again_compiles_nothing_and_needs_no_pytorch(model: Path, tmp_path: Path) -> None:
    Translator.open(model).close()
    code = (
        "import sys; from cyclegan.engine.translator import Translator;"
        f"Translator.open({str(model)!r}, backend='openvino').close();"
        "print({'openvino', 'openvino_telemetry', 'torch'} & set(sys.modules))"
    )
    home = {**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    home.pop("CI", None)  # where OpenVINO tells nobody of itself
    done = subprocess.run(
        [sys.executable, "-c", code], env=home, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("{'openvino'}\n", "")
    assert not list(tmp_path.iterdir()), "what is told to others is counted in the user's folder"


def test_pytorch_needs_no_graph(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "cache"))
    with Translator.open(model, backend="torch", size=(32, 32)) as translator:
        assert translator.info.domains == ("phones", "cars")
    assert not (tmp_path / "cache").exists()


def test_a_graph_is_exported_again_when_the_code_that_shapes_it_changes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "cache"))
    package = shutil.copytree(Path(cyclegan.__file__).parent, tmp_path / "cyclegan")
    monkeypatch.setattr(model_source, "_PACKAGE", package)

    def graph() -> Path:
        model_source._code_digest.cache_clear()
        return model_source.open_source(model).onnx()

    try:
        first = graph()
        assert read_graph_info(first).domains == ("phones", "cars")
        assert graph() == first
        digests = {model_source._code_digest()}
        own = ("layers.py", "networks.py", "engine/frame_graph.py", "kernels/reference.py")
        names = (*own, "checkpoint.py", "reference.py", "reference_names.py")  # of the weights
        for name in names:
            with (package / name).open("a") as file:
                file.write("# changed\n")
            model_source._code_digest.cache_clear()
            digests.add(model_source._code_digest())
        assert len(digests) == 1 + len(names)
        assert graph() != first
    finally:
        model_source._code_digest.cache_clear()


def test_all_that_shapes_a_graph_is_in_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version
    keys = [
        model_source._export_key("1", 8),
        model_source._export_key("2", 8),
        model_source._export_key("1", 16),
    ]
    changes: list[tuple[Any, str, Any]] = [
        (cyclegan, "__version__", "99"),
        (model_source, "OPSET", 99),
        (model_source, "_code_digest", lambda: "99"),
    ]
    for name in ("torch", "onnx", "onnxscript"):
        other = {name: "99"}
        changed = lambda of, other=other: other.get(of) or version(of)  # noqa: E731
        changes.append((importlib.metadata, "version", changed))
    for change in changes:
        with monkeypatch.context() as patched:
            patched.setattr(*change)
            keys.append(model_source._export_key("1", 8))
    assert len({str(sorted(key.items())) for key in keys}) == 9


def test_openvino_compiles_for_each_size_and_precision(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str] = []

    def stop(name: str, key: dict[str, object], build: object) -> None:
        keys.append(str(sorted(key.items())))
        raise RuntimeError("far enough")

    monkeypatch.setattr(openvino, "cached", stop)
    hints = openvino._hints
    for hint in ("f32", "bf16"):
        monkeypatch.setattr(
            openvino, "_hints", lambda *a, h=hint: hints(*a) | {"INFERENCE_PRECISION_HINT": h}
        )
        for size in (None, (32, 64), (64, 32)):
            with pytest.raises(BackendError, match="far enough"):
                open_runner("openvino", model_source.open_source(graph), Settings(size=size))
    assert len(set(keys)) == 6


def test_openvino_goes_on_after_batches_that_failed(graph: Path, frames: np.ndarray) -> None:
    runner = open_runner("openvino", model_source.open_source(graph), Settings(precision="float32"))
    try:
        runner.begin(0, frames[:1, :2, :2])  # too small for the graph's reflections
        with pytest.raises(BackendError, match="failed on a batch"):
            runner.finish(0)
        with pytest.raises(BackendError, match="cannot begin"):
            runner.begin(0, frames[:1].astype(np.float32))
        runner.begin(0, frames[:1])
        assert runner.finish(0).shape == frames[:1].shape
    finally:
        runner.close()


@pytest.mark.parametrize("size", [(2, 3), (7, 90), (37, 61), (144, 174), (143, 175)])
def test_any_size_comes_back_as_it_went_in(
    size: tuple[int, int], translator: Translator, generator: Generator, frames: np.ndarray
) -> None:
    height, width = size
    frame = frames[0, :height, :width]
    translated = translator(frame)
    assert translated.shape == frame.shape
    below, right = ((-(-max(side, 8) // 4) * 4) - side for side in size)
    padded = np.pad(frame, ((0, below), (0, right), (0, 0)), mode="reflect")
    expected = exact(generator, padded[None])[0, :height, :width]
    assert compare(translated, expected).max_abs <= 1


@pytest.fixture
def one_thread_in_openvino() -> Iterator[None]:
    """Several would wait for each other, and for other workers', longer than they work."""
    core, name = openvino.shared_core(), "INFERENCE_NUM_THREADS"
    before = core.get_property("CPU", name)
    core.set_property("CPU", {name: 1})
    yield
    core.set_property("CPU", {name: before})


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.usefixtures("one_thread_in_openvino")
def test_pictures_of_ever_new_sizes_do_not_fill_the_memory(graph: Path) -> None:
    """OpenVINO keeps kernels for the sizes that it has seen."""

    def mebibytes() -> float:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 2**20

    taken = []
    with Translator.open(graph, backend="openvino", precision="float32") as opened:
        for height in range(16, 92, 4):
            for width in range(16, 92, 4):
                opened(np.zeros((height, width, 3), np.uint8))
            taken.append(mebibytes())
    assert taken[-1] - taken[9] < 90, "by itself about 145 of 171 more sizes"


def test_even_a_pixel_is_a_frame(translator: Translator, frames: np.ndarray) -> None:
    made = translator(frames[:2, :1, :1])
    assert made.shape == (2, 1, 1, 3)
    assert np.array_equal(made[0], made[1]), "of one colour alone instance norm leaves nothing"


def test_a_fixed_size_gives_the_same_and_refuses_others(
    model: Path, translator: Translator, frames: np.ndarray
) -> None:
    with Translator.open(model, size=(143, 175), precision="float32") as fixed:
        frame = frames[0, :143, :175]
        assert compare(fixed(frame), translator(frame)).max_abs <= 1
        with pytest.raises(FrameError, match="opened for another size"):
            fixed(frames[0, :100])


def test_batches_and_single_frames_agree(translator: Translator, frames: np.ndarray) -> None:
    together = translator(frames)
    assert together.shape == frames.shape
    for frame, expected in zip(frames, together):
        np.testing.assert_array_equal(translator(frame), expected)


def test_submitted_frames_may_be_overwritten_and_collected_in_any_order(
    translator: Translator, frames: np.ndarray
) -> None:
    expected = translator(frames)
    buffer = np.empty_like(frames[0])
    tickets = []
    for frame in frames:
        buffer[:] = frame
        tickets.append(translator.submit(buffer))
        buffer[:] = 0
    for index in (2, 0, 3, 1):
        np.testing.assert_array_equal(translator.collect(tickets[index]), expected[index])
    dropped = translator.submit(frames)
    translator.cancel(dropped)
    with pytest.raises(BackendError, match="cancelled"):
        translator.collect(dropped)


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_threads_share_a_translator(backend: str, model: Path, frames: np.ndarray) -> None:
    with Translator.open(model, backend=backend, precision="float32") as translator:
        small = frames[:, :32, :32]
        expected = translator(small)
        wrong: list[int] = []

        def client(index: int) -> None:
            for _ in range(10):
                if not np.array_equal(translator(small[index]), expected[index]):
                    wrong.append(index)

        threads = [threading.Thread(target=client, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), "frames are float32"),
        (np.zeros((8, 8, 4), np.uint8), r"shape \(8, 8, 4\)"),
        (np.zeros((8, 8), np.uint8), r"shape \(8, 8\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"shape \(0, 8, 8, 3\)"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)], "no array of one shape"),
        (torch.zeros(8, 8, 3, requires_grad=True), "no array of one shape: Can't call numpy"),
    ],
)
def test_wrong_frames_are_refused(frames: np.ndarray, message: str, translator: Translator) -> None:
    with pytest.raises(FrameError, match=message):
        translator(frames)


def test_other_channels_and_networks_run_too() -> None:
    config = UnetConfig(width=2, depth=5, in_channels=1, out_channels=2)
    network = network_from_config(config).eval()
    with Translator.open(network, precision="float32") as translator:
        frame = np.arange(40 * 50, dtype=np.int64).reshape(40, 50, 1).astype(np.uint8)
        assert translator(frame).shape == (40, 50, 2)
        with pytest.raises(FrameError, match=r"expected uint8 or uint16 \(N, H, W, 1\)"):
            translator(np.zeros((32, 32, 3), np.uint8))


def test_what_cannot_be_opened_says_why(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model file"):
        Translator.open(tmp_path / "missing.safetensors")
    with pytest.raises(ModelError, match="got a Linear as model"):
        Translator.open(torch.nn.Linear(1, 1))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="got a GraphInfo as network; expected a ResnetGenerator"):
        Translator.open(model_source.open_source(model).info)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"unknown backend \['openvino'\]; known are auto"):
        Translator.open(model, backend=["openvino"])  # type: ignore[arg-type]
    for device in (torch.device("cpu"), 0, ""):
        with pytest.raises(ConfigError, match=r"device is .*; expected its name, such as 'cpu'"):
            Translator.open(model, device=device)  # type: ignore[arg-type]
    with pytest.raises(BackendError, match=r"cannot use the device 'gpu' .*; expected one of cpu"):
        Translator.open(model, backend="torch", device="gpu")
    with pytest.raises(ConfigError, match="known are auto, openvino, torch"):
        Translator.open(model, backend="abacus")
    with pytest.raises(BackendError, match="cannot"):
        Translator.open(model, backend="openvino", device="NPU.7")
    with pytest.raises(ConfigError, match="precision is 'fp16'; expected one of 'auto', 'float32'"):
        Translator.open(model, precision="fp16")  # type: ignore[arg-type]
    for size in (64, (0, 5), (64, -4), (64,), (64, 64, 3), (64.5, 64), "64x64", "ab"):
        with pytest.raises(ConfigError, match=r"size is .*; expected \(height, width\) in pixels"):
            Translator.open(model, size=size)  # type: ignore[arg-type]
    (tmp_path / "cut.safetensors").write_bytes(model.read_bytes()[:500])
    with pytest.raises(ModelError):
        Translator.open(tmp_path / "cut.safetensors")


class Negative(ResnetGenerator):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -super().forward(x)


def _without_a_norm(generator: Generator) -> Generator:
    generator.up1_norm = torch.nn.Identity()
    return generator


def _hooked(generator: Generator) -> Generator:
    generator.register_forward_hook(lambda module, given, made: -made)
    return generator


def _patched(generator: Generator) -> Generator:
    generator.up1_norm.forward = torch.relu
    return generator


def _shortened(generator: Generator) -> Generator:
    del generator.blocks[-1]
    return generator


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_shortened, r"blocks\.0 is missing, expected .*ResidualBlock\(\)"),
        (lambda generator: Negative(generator.config), r"it is .*Negative\(\), expected .*ResnetG"),
        (_without_a_norm, r"up1_norm is .*Identity\(\), expected .*Norm"),
        (_hooked, "it is .* with 1 hooks, expected"),
        (_patched, "up1_norm is .* with a forward of its own, expected"),
    ],
)
def test_a_generator_is_not_taken_for_one_of_the_same_weights(
    change: Callable[[Generator], Generator], says: str
) -> None:
    altered = change(ResnetGenerator(ResnetConfig(width=2, blocks=1)))
    with pytest.raises(ModelError, match=f"not as its configuration says: {says}"):
        Translator.open(altered)


@pytest.mark.parametrize("backend", ["openvino", "torch"])
@pytest.mark.parametrize("device", ["cpu", "CPU"])
def test_a_device_has_its_name_in_any_letters(backend: str, device: str, model: Path) -> None:
    frame = np.zeros((8, 12, 3), np.uint8)
    with Translator.open(model, backend=backend, device=device) as translator:
        assert translator(frame).shape == frame.shape


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that even root cannot read")
def test_a_file_that_cannot_be_read_is_a_model_error(tmp_path: Path) -> None:
    unreadable = tmp_path / "model.safetensors"
    unreadable.symlink_to("/proc/self/mem")
    with pytest.raises(ModelError, match=r"cannot read .*model\.safetensors: Input/output error"):
        Translator.open(unreadable)
    with pytest.raises(ModelError, match=r"cannot read .*model\.safetensors: Input/output error"):
        _ = model_source.CheckpointSource(unreadable).info


@pytest.mark.parametrize("opening", [Translator.open, load_generator])
def test_a_name_that_the_system_refuses_is_a_model_error(opening: Callable[[str], object]) -> None:
    """Python 3.14 and later take one for a name of nothing."""
    with pytest.raises(ModelError, match=r"^(cannot read|no model file) x{300}"):
        opening(300 * "x")


def test_a_path_may_be_of_bytes(model: Path) -> None:
    with os.scandir(os.fsencode(model.parent)) as entries:
        (entry,) = (entry for entry in entries if entry.name == os.fsencode(model.name))
    assert model_source.open_source(entry).name == str(model)


def test_a_closed_translator_refuses(model: Path, frames: np.ndarray) -> None:
    translator = Translator.open(model)
    translator.close()
    translator.close()
    with pytest.raises(BackendError, match="closed"):
        translator(frames)


def test_translators_and_their_batches_are_not_mixed_up(
    model: Path, translator: Translator, frames: np.ndarray
) -> None:
    with Translator.open(model) as other:
        mine = translator.submit(frames[0])
        with pytest.raises(BackendError, match="submitted to another translator"):
            other.collect(mine)
        assert translator.collect(mine).shape == frames[0].shape
        nothing: Any = None
        with pytest.raises(BackendError, match=r"got a NoneType; expected what submit\(\) gave"):
            other.collect(nothing)
        with pytest.raises(TypeError, match="another process: open one there"):
            pickle.dumps(other)


def test_a_generator_in_training_is_left_alone(frames: np.ndarray) -> None:
    network = network_from_config(ResnetConfig(width=4, blocks=1, norm="batch")).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with Translator.open(network, backend="torch", precision="float32") as translator:
        translator(frames[0])
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_the_second_depth_has_the_weights_that_were_opened(
    generator: Generator, model: Path, frames: np.ndarray
) -> None:
    network = copy.deepcopy(generator)
    with Translator.open(network, backend="torch", precision="float32") as translator:
        first = translator(frames[0])
        with torch.no_grad():
            network.stem.weight.mul_(2)  # it is trained on
        deep = translator(frames[0] * np.uint16(257))
    assert np.abs(deep / 257 - first).max() <= 0.51


def test_a_model_file_that_was_replaced_is_not_read_on(
    generator: Generator, model: Path, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "cache"))
    paths = [tmp_path / "model.safetensors", tmp_path / "model.onnx"]
    shutil.copy(model, paths[0])
    shutil.copy(graph, paths[1])
    sources = [model_source.open_source(path) for path in paths]
    assert all(source.info.config == generator.config for source in sources)
    trained = copy.deepcopy(generator)
    with torch.no_grad():
        trained.stem.weight.mul_(2)
    save_generator(paths[0], trained)
    shutil.copy(model_source.open_source(paths[0]).onnx(), paths[1])
    model_source.open_source(paths[1]).onnx(16)  # is in the cache, too
    for source in sources:
        for ask in (source.generator, source.onnx, lambda: source.onnx(16)):  # noqa: B023
            with pytest.raises(ModelError, match=r"was replaced|does not hold"):
                ask()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda path: path.write_bytes(path.read_bytes()[:1000]),
            "was replaced since it was opened",
        ),
        (Path.unlink, "No such file"),
    ],
    ids=["truncated", "deleted"],
)
def test_a_graph_that_was_spoilt_is_told_when_its_other_depth_is_asked_for(
    spoil: Callable[[Path], object], said: str, graph: Path, frames: np.ndarray, tmp_path: Path
) -> None:
    path = Path(shutil.copy(graph, tmp_path / "model.onnx"))
    with Translator.open(path, backend="torch") as translator:
        spoil(path)
        with pytest.raises(ModelError, match=rf"model\.onnx.* ?{said}"):
            translator(frames[0].astype(np.uint16))


@pytest.mark.parametrize("suffix", [".onnx", ".safetensors"])
def test_a_model_of_relative_path_is_read_on_from_another_folder(
    suffix: str,
    model: Path,
    graph: Path,
    frames: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copy(graph if suffix == ".onnx" else model, tmp_path / f"small{suffix}")
    monkeypatch.chdir(tmp_path)
    with Translator.open(f"small{suffix}", backend="torch") as translator:
        monkeypatch.chdir(tmp_path.parent)
        assert translator(frames[0].astype(np.uint16)).dtype == np.uint16


def test_nothing_is_kept_of_a_graph_that_is_replaced_while_openvino_compiles_it(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shutil.copy(graph, tmp_path / "model.onnx")

    def replaced(name: str, key: dict[str, str], build: Callable[[Path], object]) -> Path:
        path.write_bytes(graph.read_bytes() + b"\x32\x01x")  # a doc_string
        build(tmp_path / name)
        return tmp_path / name

    monkeypatch.setattr(openvino, "cached", replaced)
    with pytest.raises(ModelError, match=r"model\.onnx was replaced since it was opened; open it"):
        open_runner("openvino", model_source.GraphSource(path), Settings())
    assert not (tmp_path / "openvino.blob").exists()


def test_ctrl_c_works_when_translators_came_and_went(graph: Path) -> None:
    """In a process of its own: OpenVINO leaves no thread a signal stack that is gone."""
    code = """
import gc, os, signal, sys, time
import numpy as np
from cyclegan.engine.doctor import diagnose
from cyclegan.engine.translator import Translator

first = Translator.open(sys.argv[1], backend="openvino")
second = Translator.open(sys.argv[1], backend="openvino", precision="float32")
diagnose()
for translator in (first, second):
    translator(np.zeros((16, 16, 3), np.uint8))
    translator.close()
del first, second, translator
gc.collect()
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)
except KeyboardInterrupt:
    print("interrupted")
"""
    command = [sys.executable, "-X", "faulthandler", "-c", code, str(graph)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.stdout == "interrupted\n", result.stderr


def test_a_process_ends_while_its_threads_translate(graph: Path) -> None:
    """In a thread that is in OpenVINO when the interpreter goes, the whole process was aborted."""
    code = """
import contextlib, sys, threading
import numpy as np
from cyclegan.engine.translator import Translator
from cyclegan.errors import BackendError

translator = Translator.open(sys.argv[1], backend="openvino")
frames = np.zeros((64, 64, 3), np.uint8)
translator.submit(frames)  # never collected

def translate():
    with contextlib.suppress(BackendError):  # the translator is closed
        while True:
            translator(frames)
            begun.set()

begun = threading.Event()
threading.Thread(target=translate, daemon=True).start()
begun.wait()
"""
    command = [sys.executable, "-c", code, str(graph)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
