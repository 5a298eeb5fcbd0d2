"""Convolutions in 8 bits: what they cost in fidelity, and that nothing goes further unsaid."""

import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnx
import onnxruntime
import pytest

import cyclegan
from cyclegan.cli import main
from cyclegan.engine import int8
from cyclegan.engine.export import onnx_from_generator
from cyclegan.engine.graph_info import read_graph_info
from cyclegan.engine.int8 import quantized_onnx
from cyclegan.engine.model_source import open_source
from cyclegan.engine.parity import compare
from cyclegan.engine.runners import openvino
from cyclegan.engine.stabilize import open_stabilized
from cyclegan.engine.translator import Translator
from cyclegan.errors import BackendError, ConfigError, FrameError, ModelError
from cyclegan.networks import Generator
from cyclegan.shipped import DEFAULT, find_model

SHIPPED = find_model(DEFAULT)


@pytest.fixture(scope="module")
def exact() -> Translator:
    return Translator.open(SHIPPED, backend="openvino", precision="float32")


@pytest.fixture(scope="module")
def eight() -> Translator:
    return Translator.open(SHIPPED, precision="int8")


def test_real_frames_are_close_to_float32(
    eight: Translator, exact: Translator, frames: np.ndarray, clip: Callable[[str], Path]
) -> None:
    assert (eight.backend, eight.description) == ("openvino", "OpenVINO, int8")
    assert eight.depths == (8,)
    assert compare(eight(frames), exact(frames)).psnr_db > 44
    # A film's first pictures are dark: a norm magnifies whatever rounding there is.
    with av.open(str(clip("bikes"))) as container:
        picture = next(container.decode(video=0))
        dark = picture.to_ndarray(format="rgb24", width=320, height=136)
    assert dark.std() < 60
    assert compare(eight(dark), exact(dark)).psnr_db > 40


def test_little_light_in_the_dark_is_not_cut_off(eight: Translator, exact: Translator) -> None:
    night = np.zeros((256, 256, 3), np.uint8)
    night[85:101, 128:144] = 255
    for frame in (night, 255 - night):
        assert compare(eight(frame), exact(frame)).psnr_db > 33, "27 by real frames' ranges alone"


def test_a_graph_in_8_bits_is_a_file_like_others(
    eight: Translator, frames: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i, frame in enumerate(frames[:2]):
        av.VideoFrame.from_ndarray(frame).to_image().save(pictures / f"{i}.png")
    path = tmp_path / "eight.onnx"
    arguments = ["export", DEFAULT, str(path), "--int8", "--pictures", str(pictures)]
    assert main(arguments) == 0
    assert "dB from float32 over 2 pictures" in capsys.readouterr().out
    assert read_graph_info(path).precision == "int8"
    model = onnx.load(path)
    nodes = model.graph.node
    kinds = [node.op_type for node in nodes]
    assert kinds.count("QuantizeLinear") == kinds.count("Conv") - 2, "not the first, not the last"
    makers = {name: node.op_type for node in nodes for name in node.output}
    rounded = {makers[node.input[0]] for node in nodes if node.op_type == "QuantizeLinear"}
    assert rounded == {"Relu", "Add"}, "before what pads and doubles, which then copies bytes"
    held = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    kernels = [node for node in nodes if len(held.get(node.input[0], ())) == 4]
    assert len(kernels) == kinds.count("Conv") - 2
    for node in kernels:
        assert held[node.input[1]] == held[node.input[0]][:1], "a scale for each output channel"
    with Translator.open(path) as translator:
        assert translator.description == "OpenVINO, int8"
        assert compare(translator(frames), eight(frames)).psnr_db > 40
    with pytest.raises(BackendError, match="its weights were rounded to int8"):
        Translator.open(path, backend="torch")


def test_an_entry_of_the_cache_names_all_that_shapes_the_graph(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[dict[str, Any]] = []
    monkeypatch.setattr(int8, "cached", lambda name, key, build: keys.append(key))
    version = importlib.metadata.version
    changes: list[tuple[Any, str, Any]] = [
        (cyclegan, "__version__", "99"),
        (onnxruntime, "__version__", "99"),
        (importlib.metadata, "version", lambda name: "99" if name == "onnx" else version(name)),
        (int8, "PICTURE", graph),  # other frames
    ]
    int8.int8_graph(graph)
    for change in changes:
        with monkeypatch.context() as patched:
            patched.setattr(*change)
            int8.int8_graph(graph)
    assert len({str(sorted(key.items())) for key in keys}) == 1 + len(changes)


def test_a_generator_that_loses_too_much_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "LEAST_PSNR_DB", 90.0)
    with pytest.raises(BackendError, match=r"in 8 bits this generator is .* at least 90 dB"):
        Translator.open(model, precision="int8")
    target = tmp_path / "eight.onnx"
    assert main(["export", str(model), str(target), "--int8"]) == 1
    assert not target.exists()


@pytest.mark.parametrize("far", [0, 1])
def test_built_in_frames_and_ones_own_are_both_compared(
    far: int, graph: Path, frames: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What makes the graph and runs it is a stand-in; the comparison is real."""

    def translated(path: Path, batches: list[np.ndarray]) -> list[np.ndarray]:
        made = [batch.copy() for batch in batches]
        if path != graph:
            made[far] = 255 - made[far]
        return made

    monkeypatch.setattr(int8, "_write", lambda *arguments: None)
    monkeypatch.setattr(int8, "_translated", translated)
    with pytest.raises(BackendError, match="dB from float32"):
        quantized_onnx(graph, tmp_path / "eight.onnx", frames)


def test_what_int8_is_not_for_is_refused(
    model: Path, generator: Generator, frames: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="PyTorch does not compute in int8"):
        Translator.open(model, backend="torch", precision="int8")
    with pytest.raises(ConfigError, match="steadied frames"):
        open_stabilized(model, precision="int8")
    half = onnx_from_generator(generator, tmp_path / "half.onnx", precision="float16")
    with pytest.raises(ModelError, match="in float16, for frames of 8 bits a channel; expected"):
        quantized_onnx(half, tmp_path / "eight.onnx")


def test_films_are_translated_with_8_bits(eight: Translator, frames: np.ndarray) -> None:
    with pytest.raises(FrameError, match="frames are uint16; expected uint8"):
        eight(frames.astype(np.uint16))


def test_without_the_quantiser_it_says_what_to_install(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError, match="pip install onnxruntime"):
        Translator.open(model, precision="int8")
    with pytest.raises(BackendError, match="pip install onnxruntime"):
        quantized_onnx(open_source(model).onnx(), tmp_path / "eight.onnx")


def test_what_the_quantiser_refuses_is_an_error_of_ours(
    graph: Path, frames: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(BackendError, match="ONNX Runtime cannot run the graph: "):
        quantized_onnx(graph, tmp_path / "eight.onnx", frames[..., :2])


@pytest.mark.parametrize("error", [ImportError, OSError])
def test_an_openvino_that_cannot_be_imported_is_told_before_the_work(
    error: type[Exception], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def openvino_module() -> None:
        raise error("libopenvino.so: cannot open")

    monkeypatch.setattr(openvino, "openvino_module", openvino_module)
    with pytest.raises(BackendError, match="OpenVINO cannot be imported: libopenvino"):
        quantized_onnx(open_source(model).onnx(), tmp_path / "eight.onnx")
    assert not (tmp_path / "eight.onnx").exists()


def test_nothing_is_kept_of_a_graph_that_is_replaced_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "cache"))
    (path := tmp_path / "model.onnx").write_bytes(b"one graph")

    def replaced(graph: Path, target: Path) -> None:
        target.write_bytes(b"of another graph")
        path.write_bytes(b"another graph")

    monkeypatch.setattr(int8, "quantized_onnx", replaced)
    with pytest.raises(ModelError, match=r"model\.onnx was replaced since it was opened; open it"):
        int8.int8_graph(path)
    assert not list(tmp_path.rglob("int8.onnx"))
