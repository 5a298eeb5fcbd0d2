"""Real plans, built by tensorrt-rtx, which needs no GPU for it."""

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from filelock import FileLock

import cyclegan
from cyclegan.cli import main
from cyclegan.engine import cache, gate, plan, plan_builder
from cyclegan.engine.export import seal
from cyclegan.engine.flavours import load_tensorrt, messages
from cyclegan.engine.frames import Frames
from cyclegan.engine.gpus import Gpu
from cyclegan.engine.graph_info import read_graph_info
from cyclegan.engine.model_source import open_source
from cyclegan.engine.plan import plan_from_onnx
from cyclegan.engine.plan_builder import build_plan
from cyclegan.engine.plan_file import check_plan_target
from cyclegan.engine.plan_settings import (
    LEAST_PSNR_DB,
    MOST_STREAMS,
    MOST_WORKSPACE_MIB,
    PlanSettings,
    Profile,
)
from cyclegan.engine.real_frames import built_in_frames
from cyclegan.engine.rounding import run_on_cpu
from cyclegan.engine.runners import tensorrt
from cyclegan.engine.typed_graph import typed_graph
from cyclegan.errors import BackendError, ConfigError, ModelError, OutputError
from cyclegan.pictures import write_picture
from cyclegan.shipped import find_model
from tests.engine.fake_cuda import FakeCuda

RTX = load_tensorrt("tensorrt-rtx")
ADA = Gpu(name="RTX 4090", memory_mib=24576, driver="580", compute_capability="8.9")
HALF = {"float16": "HALF", "bfloat16": "BF16", "float32": "FLOAT"}


def settings(**changes: Any) -> PlanSettings:
    values = {"profile": Profile.of(64, 96), "targets": ("8.9",), "flavour": "tensorrt-rtx"}
    return PlanSettings(**(values | changes))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each norm route was built."""
    from cyclegan.engine import plan

    counts: Counter[str] = Counter()

    def counting(*arguments: Any, **options: Any) -> Any:
        counts[arguments[3]] += 1
        return build_plan(*arguments, **options)

    monkeypatch.setattr(plan, "build_plan", counting)
    return counts


def damaged(graph: Path, target: Path, stem: float) -> Path:
    """The same generator with its first convolution's values ``stem`` times as large.

    The norm behind it takes the factor out again: in float32 the pictures stay the same.
    """
    model = onnx.load(graph)
    for tensor in model.graph.initializer:
        if tensor.name.startswith("generator.stem."):
            values = onnx.numpy_helper.to_array(tensor) * np.float32(stem)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    seal(model)
    onnx.save(model, target)
    return target


@pytest.mark.parametrize(
    ("precision", "norm"),
    [
        ("float16", "native"),
        ("float16", "float32"),
        ("float32", "native"),
    ],
)
def test_layers_compute_in_what_was_asked_for(graph: Path, precision: Any, norm: Any) -> None:
    made = settings(precision=precision)
    typed = typed_graph(graph, precision, norm).SerializeToString()
    built = build_plan(RTX, typed, made, norm, channels=3)
    kinds = Counter(node.op_type for node in onnx.load(graph).graph.node)
    half, norms = HALF[precision], HALF["float32" if norm == "float32" else precision]
    assert built.layers == {
        f"convolution {half}": kinds["Conv"],
        f"deconvolution {half}": kinds["ConvTranspose"],
        f"normalization {norms}": kinds["InstanceNormalization"],
    }
    assert built.plan[:4] == b"vtrt"


def test_the_shipped_generator_in_16_bits() -> None:
    """Its aim is 40 dB in float16; bfloat16 is coarser."""
    onnx_path = open_source(find_model("relief2satellite")).onnx()
    scores = {}
    crops = built_in_frames(3, 4)[:, :128, :128]
    for precision, frames in (("float16", None), ("bfloat16", crops)):
        plan = plan_from_onnx(onnx_path, settings=settings(precision=precision), frames=frames)
        assert plan.note.facts["norm"] == "native"
        assert plan.note.facts["layers"][f"convolution {HALF[precision]}"] == 14
        scores[precision] = plan.note.facts["check"]["psnr_db"]
    assert scores["float16"] > scores["bfloat16"] > LEAST_PSNR_DB == 40


@pytest.mark.parametrize("bias", [False, True])
def test_transposed_convolutions_in_bfloat16_are_refused_with_a_way_out(
    bias: bool, graph: Path
) -> None:
    """A layer with a bias, as trained ones have, is one of another name to TensorRT."""
    typed = typed_graph(graph, "bfloat16", "native")
    weights = {tensor.name: tensor for tensor in typed.graph.initializer}
    for node in typed.graph.node:
        if bias and node.op_type == "ConvTranspose":
            kernel, node.input[2:] = weights[node.input[1]], [f"{node.name}.bias"]
            count = kernel.dims[1]
            typed.graph.initializer.append(
                onnx.helper.make_tensor(node.input[2], kernel.data_type, [count], [1.0] * count)
            )
    made = settings(precision="bfloat16")
    with pytest.raises(BackendError, match="no transposed convolution in bfloat16; use float16"):
        build_plan(RTX, typed.SerializeToString(), made, "native", channels=3)


def test_a_profile_that_fills_the_memory_is_told_what_to_lower() -> None:
    """In TensorRT's own words, of a machine without a GPU."""
    said = "Error Code 2: OutOfMemory (Requested size was 68719494176 bytes.)"
    hint = "; the memory here is too small for this profile: lower its max, or --workspace-mib"
    assert plan_builder._reason([said], settings()) == said + hint


def test_a_network_that_came_out_in_float32_is_an_error(graph: Path) -> None:
    whole = typed_graph(graph, "float32", "native").SerializeToString()
    with pytest.raises(BackendError, match=r"conv.*is FLOAT, not HALF.*and \d+ more"):
        build_plan(RTX, whole, settings(), "native", channels=3)
    native = typed_graph(graph, "float16", "native").SerializeToString()
    with pytest.raises(BackendError, match=r"\(normalization\) is HALF, not FLOAT"):
        build_plan(RTX, native, settings(), "float32", channels=3)


def test_one_convolution_left_in_float32_is_an_error(graph: Path) -> None:
    typed = typed_graph(graph, "float16", "native")
    node = next(node for node in typed.graph.node if node.op_type == "Conv")
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    position = list(typed.graph.node).index(node)
    source, output = node.input[0], node.output[0]
    casts = [
        onnx.helper.make_node("Cast", [name], [f"{name}.up"], to=single) for name in node.input
    ]
    node.input[:] = [f"{name}.up" for name in node.input]
    node.output[0] = f"{output}.up"
    down = onnx.helper.make_node("Cast", [f"{output}.up"], [output], to=half)
    for number, cast in enumerate(casts):
        typed.graph.node.insert(position + number, cast)
    typed.graph.node.insert(position + len(casts) + 1, down)
    assert source
    with pytest.raises(BackendError, match=f"{node.name} .*is FLOAT, not HALF"):
        build_plan(RTX, typed.SerializeToString(), settings(), "native", channels=3)


def test_what_the_parser_refuses_is_named_by_node(graph: Path) -> None:
    typed = typed_graph(graph, "float16", "native")
    for node in typed.graph.node:
        if node.op_type == "Tanh":
            node.op_type, node.domain, node.name = "Crochet", "com.example", "the odd one"
    typed.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    with pytest.raises(BackendError, match=r"refuses the graph: node the odd one \(Crochet\): "):
        build_plan(RTX, typed.SerializeToString(), settings(), "native", channels=3)
    with pytest.raises(BackendError, match="refuses the graph"):
        build_plan(RTX, b"no graph", settings(), "native", channels=3)


def test_progress_is_reported_and_cancels(graph: Path) -> None:
    typed = typed_graph(graph, "float16", "native").SerializeToString()
    seen: list[tuple[int, int | None]] = []
    cuda, depths = FakeCuda(), set[int]()
    build_plan(
        RTX, typed, settings(), "native", channels=3, current=cuda.current,
        progress=lambda done, announced: seen.append((done, announced)) or depths.add(cuda.depth),
    )  # fmt: skip
    assert depths == {2}, "in the thread that asks and in the one that builds"
    done = [step for step, _ in seen]
    assert done == list(range(1, len(seen) + 1))
    assert len(seen) > 50
    assert all(announced is not None and done <= announced for done, announced in seen)

    class EnoughError(Exception):
        pass

    def stop(done: int, announced: int | None) -> None:
        if done == 20:
            raise EnoughError
        assert done < 25, "went on after the error"

    with pytest.raises(EnoughError):
        build_plan(RTX, typed, settings(), "native", channels=3, progress=stop)


def test_an_interrupt_cancels_the_build(graph: Path) -> None:
    """Ctrl-C arrives in the main thread while the builder runs in another."""
    typed = typed_graph(graph, "float16", "native").SerializeToString()
    steps: list[int] = []

    def slow(done: int, announced: int | None) -> None:
        steps.append(done)
        if done == 10:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)  # by then the main thread has seen it

    with pytest.raises(KeyboardInterrupt):
        build_plan(RTX, typed, settings(), "native", channels=3, progress=slow)
    assert steps[-1] < 30
    assert not [thread for thread in threading.enumerate() if "build plan" in thread.name]


def test_an_interrupt_while_the_builder_starts_leaves_nothing_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started, stop = threading.Event(), threading.Event()

    class Monitor:
        pass

    Monitor.stop = stop  # type: ignore[attr-defined]
    original = threading.Thread.start

    def start(self: threading.Thread) -> None:
        original(self)
        started.wait()
        raise KeyboardInterrupt

    def build() -> None:
        started.set()
        assert stop.wait(20), "it was never told to stop"

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(KeyboardInterrupt):
        plan_builder._in_thread(build, Monitor)
    assert not [thread for thread in threading.enumerate() if thread.name == "build plan"]


@pytest.mark.parametrize("changes", [{"targets": ("7.5",)}, {"targets": ("8.6", "12.0")}])
def test_plans_for_gpus_that_are_not_here(graph: Path, changes: Any) -> None:
    typed = typed_graph(graph, "float16", "native").SerializeToString()
    assert build_plan(RTX, typed, settings(**changes), "native", channels=3).plan


def test_targets_that_cannot_be_built_for(graph: Path, own_cache: Path) -> None:
    typed = typed_graph(graph, "float16", "native").SerializeToString()
    with pytest.raises(ConfigError, match=r"target 9\.0: .* builds for 7\.5, 8\.0, 8\.6, 8\.9"):
        build_plan(RTX, typed, settings(targets=("9.0",)), "native", channels=3)
    with pytest.raises(BackendError, match=r"no NVIDIA GPU here.*--target 8\.9"):
        plan_from_onnx(graph, settings=settings(targets=()))
    with pytest.raises(BackendError, match="refitted needs a GPU and its driver"):
        build_plan(RTX, typed, settings(refit=True), "native", channels=3)


def test_sizes_within_a_profile(graph: Path) -> None:
    profile = Profile.parse("64x64,96x64:2,256x128:4")
    typed = typed_graph(graph, "float16", "float32").SerializeToString()
    every = settings(
        profile=profile, optimization_level=1, tiling="fast", max_aux_streams=0, workspace_mib=256
    )
    assert build_plan(RTX, typed, every, "float32", channels=3).plan
    with pytest.raises(BackendError, match="--workspace-mib is too small: raise it"):
        build_plan(RTX, typed, replace(every, workspace_mib=1), "float32", channels=3)
    with pytest.raises(ConfigError, match="multiples of 4"):
        plan_from_onnx(graph, settings=settings(profile=Profile.of(66, 96)))


def test_a_plan_is_built_once_and_says_what_it_is(
    graph: Path, own_cache: Path, builds: Counter[str], tmp_path: Path
) -> None:
    plan = plan_from_onnx(graph, settings=settings())
    again = plan_from_onnx(graph, tmp_path / "mine.plan", settings=settings())
    assert builds == {"native": 1}
    assert plan.path.is_relative_to(own_cache)
    assert again.path == tmp_path / "mine.plan"
    assert again.note == plan.note
    assert again.verified() == plan.path.read_bytes()
    check = plan.note.facts["check"]
    assert check["how"] == gate.NOT_RUN
    assert check["psnr_db"] >= 40
    assert check["overflow"] is None
    assert plan.info.precision == "float16"
    assert plan.info.domains == ("phones", "cars")
    note = json.loads((tmp_path / "mine.plan.json").read_text())
    assert note["key"]["profile"] == "1x64x96,1x64x96,1x64x96"
    assert note["key"]["targets"] == "8.9"
    assert {"onnx", "driver", "gpu", "version", "tiling", "package", "code"} <= note["key"].keys()


def job(graph: Path, **changes: Any) -> plan._Job:
    values: dict[str, Any] = {
        "onnx": graph,
        "info": read_graph_info(graph),
        "settings": settings(targets=()),
        "tensorrt": RTX,
        "gpu": ADA,
        "device": None,
        "frames": None,
        "progress": None,
    }
    return plan._Job(**(values | changes))


def test_all_that_shapes_a_plan_is_in_its_key(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.onnx").write_bytes(b"another graph")
    installed = {name: getattr(RTX, name) for name in ("flavour", "version", "package")}
    others: list[dict[str, Any]] = [
        {"onnx": tmp_path / "other.onnx"},
        {"settings": settings(targets=(), refit=True)},
        {"frames": np.zeros((1, 8, 8, 3), np.uint8)},
        *({"tensorrt": SimpleNamespace(**(installed | {name: "99"}))} for name in installed),
        *({"gpu": replace(ADA, **{n: "9"})} for n in ("name", "driver", "compute_capability")),
    ]
    keys = [job(graph, **change).key() for change in ({}, *others)]
    for module, name, value in (
        (cyclegan, "__version__", "99"),
        (plan, "PLAN_FORMAT", 99),
        (plan, "_code_digest", lambda: "99"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, value)
            keys.append(job(graph).key())
    assert len({str(key) for key in keys}) == 13
    monkeypatch.setattr(tensorrt, "why_missing", lambda: "no PyCUDA")
    named = [job(graph, settings=settings(), gpu=gpu).key() for gpu in (ADA, None)]
    assert named[0] == named[1], "a plan for named targets depends on no GPU here"


def test_a_plan_that_was_never_run_is_another_where_it_can_be(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As once PyCUDA was installed."""
    made = {
        "here": settings(targets=()),
        "named": settings(),
        "for another GPU": settings(targets=("9.0",)),
        "not checked": settings(check=False),
    }
    monkeypatch.setattr(tensorrt, "why_missing", lambda: "no PyCUDA")
    before = {name: job(graph, settings=asked).key() for name, asked in made.items()}
    monkeypatch.setattr(tensorrt, "why_missing", lambda: None)
    after = {name: job(graph, settings=asked).key() for name, asked in made.items()}
    assert {name for name in made if after[name] != before[name]} == {"here", "named"}


def test_no_plan_is_kept_of_a_graph_that_is_replaced_meanwhile(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shutil.copy(graph, tmp_path / "model.onnx")
    made = job(path)
    made.key()

    def replaced(*_: object) -> Any:
        path.write_bytes(b"another graph")
        return SimpleNamespace(), (SimpleNamespace(plan=b"plan"), made.info)

    monkeypatch.setattr(gate, "choose", replaced)
    with pytest.raises(ModelError, match=r"model\.onnx was replaced since it was opened; open it"):
        made.build(tmp_path / "model.plan")
    assert not (tmp_path / "model.plan").exists()


def test_a_plan_is_for_the_gpu_at_hand_and_run_where_it_can_be(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[dict[str, Any]] = []

    def stop(name: str, key: dict[str, Any], build: Any, waiting: Any) -> None:
        keys.append(key)
        raise BackendError("far enough")

    monkeypatch.setattr(plan, "nvidia_gpus", lambda: [ADA])
    monkeypatch.setattr(plan, "cached", stop)
    with pytest.raises(BackendError, match="far enough"):
        plan_from_onnx(graph, settings=settings(targets=()))
    assert (keys[0]["targets"], keys[0]["gpu"]) == ("8.9", None)
    monkeypatch.setattr(tensorrt, "why_missing", lambda: None)
    for targets, runs in (((), True), (("8.6", "8.9"), True), (("9.0",), False)):
        assert (job(graph, settings=settings(targets=targets))._executes() is not None) == runs
    assert job(graph, gpu=None)._executes() is None


@pytest.mark.parametrize(("name", "asked"), [("cuda:1", "cuda:1"), (None, "cuda:0")])
def test_a_plan_is_for_the_gpu_that_cuda_calls_so_and_checked_on_it(
    name: str | None, asked: str, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for that of nvidia-smi, which counts otherwise and shows those that CUDA may not use."""
    keys: list[dict[str, Any]] = []
    opened: list[FakeCuda] = []

    def stop(name: str, key: dict[str, Any], build: Any, waiting: Any) -> None:
        keys.append(key)
        raise BackendError("far enough")

    def open_second(device: str | None) -> FakeCuda:
        assert device == asked
        cuda = FakeCuda()
        cuda.gpu = replace(ADA, name="RTX 3090", driver="CUDA 13.0", compute_capability="8.6")
        opened.append(cuda)
        return cuda

    monkeypatch.setattr(plan, "nvidia_gpus", lambda: [ADA])
    monkeypatch.setattr(plan, "why_missing", lambda: None)
    monkeypatch.setattr(plan, "open_cuda", open_second)
    monkeypatch.setattr(plan, "cached", stop)
    with pytest.raises(BackendError, match="far enough"):
        plan_from_onnx(graph, settings=settings(targets=()), device=name)
    assert (keys[0]["targets"], keys[0]["gpu"]) == ("8.6", None)
    full = SimpleNamespace(flavour="tensorrt", version="1", package="t", is_rtx=False)
    monkeypatch.setattr(plan, "load_tensorrt", lambda flavour: full)
    with pytest.raises(BackendError, match="far enough"):
        plan_from_onnx(graph, settings=settings(targets=()), device=name)
    assert (keys[1]["gpu"], keys[1]["driver"]) == ("RTX 3090", ADA.driver)

    def built(*_: Any, current: Any, **options: Any) -> Any:
        with current():
            raise BackendError(f"at depth {opened[-1].depth}")

    monkeypatch.setattr(plan, "build_plan", built)
    monkeypatch.setattr(tensorrt, "why_missing", lambda: None)
    second = job(graph, tensorrt=full, device=asked)
    with pytest.raises(BackendError, match="at depth 1"):
        second._attempt("native")
    assert all(cuda.closed for cuda in opened)
    assert second._executes().keywords == {"device": asked}


def test_the_builder_is_told_every_setting() -> None:
    made = settings(
        targets=("8.6", "12.0"),
        optimization_level=4,
        tiling="moderate",
        max_aux_streams=2,
        workspace_mib=3,
        refit=True,
    )
    trt, log = RTX.trt, messages(RTX)
    config = trt.Builder(log.logger).create_builder_config()
    plan_builder._configure(RTX, config, made)
    assert config.builder_optimization_level == 4
    assert config.tiling_optimization_level == trt.TilingOptimizationLevel.MODERATE
    assert config.max_aux_streams == 2
    assert config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) == 3 << 20
    assert config.get_flag(trt.BuilderFlag.REFIT)
    capabilities = [config.get_compute_capability(n) for n in range(2)]
    assert capabilities == [trt.ComputeCapability.SM86, trt.ComputeCapability.SM120]


def test_the_largest_numbers_are_those_that_the_builder_takes() -> None:
    trt, config = RTX.trt, RTX.trt.Builder(messages(RTX).logger).create_builder_config()
    most = settings(max_aux_streams=MOST_STREAMS, workspace_mib=MOST_WORKSPACE_MIB)
    plan_builder._configure(RTX, config, most)
    assert config.max_aux_streams == MOST_STREAMS
    given = config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE)
    assert given == MOST_WORKSPACE_MIB << 20
    for name, number in (("max_aux_streams", MOST_STREAMS), ("workspace_mib", MOST_WORKSPACE_MIB)):
        with pytest.raises(ConfigError, match=rf"{number + 1} .*; expected \d to {number}"):
            settings(**{name: number + 1})


class _Timings(bytes):
    """A timing cache: one measurement more after each build."""

    def serialize(self) -> bytes:
        return self + b"+1"


class _TimedConfig:
    """A builder's configuration of the full flavour, which this machine cannot build with."""

    def __init__(self) -> None:
        self.used: _Timings | None = None

    def create_timing_cache(self, content: bytes) -> _Timings | None:
        return None if content == b"damaged" else _Timings(content)

    def set_timing_cache(self, cache: _Timings, ignore_mismatch: bool) -> bool:
        if cache == b"of another GPU" and not ignore_mismatch:
            return False
        self.used = cache
        return True

    def get_timing_cache(self) -> _Timings | None:
        return self.used


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, b"+1"), (b"+1", b"+1+1"), (b"damaged", b"+1"), (b"of another GPU", b"+1")],
)
def test_kernel_timings_are_kept_and_those_that_are_refused_begin_anew(
    before: bytes | None, after: bytes, tmp_path: Path
) -> None:
    path, full = tmp_path / "timings", replace(RTX, flavour="tensorrt")
    if before is not None:
        path.write_bytes(before)
    with plan_builder._timing_cache(full, _TimedConfig(), path):
        pass
    assert path.read_bytes() == after


def test_timings_that_cannot_be_written_cost_no_plan(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    full = replace(RTX, flavour="tensorrt")
    with plan_builder._timing_cache(full, _TimedConfig(), tmp_path / "file" / "timings"):
        pass
    assert "the kernel timings were not kept" in caplog.text


def test_another_setting_is_another_plan(
    graph: Path, own_cache: Path, builds: Counter[str]
) -> None:
    paths = {
        plan_from_onnx(graph, settings=settings(check=False, **changes)).path
        for changes in ({}, {"tiling": "fast"}, {"targets": ("8.6",)}, {"optimization_level": 2})
    }
    assert len(paths) == 4
    assert builds.total() == 4


def test_a_damaged_plan_is_built_again(
    graph: Path, own_cache: Path, builds: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    plan = plan_from_onnx(graph, settings=settings(check=False))
    content = bytearray(plan.path.read_bytes())
    content[len(content) // 2] ^= 1
    plan.path.write_bytes(content)
    with pytest.raises(ModelError, match="is damaged: its SHA-256"):
        plan.verified()
    with caplog.at_level("INFO"):
        plan_from_onnx(graph, settings=settings(check=False)).verified()
    assert builds.total() == 2
    assert "is damaged" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO"):
        plan_from_onnx(graph, settings=settings(check=False, targets=("8.6",)))
    assert "the nearest differs in targets (8.9, now 8.6)" in caplog.text


def test_norms_go_to_float32_when_squares_overflow(
    graph: Path, own_cache: Path, builds: Counter[str], tmp_path: Path
) -> None:
    """Values of some thousands fit float16, and their squares do not."""
    onnx_path = damaged(graph, tmp_path / "large.onnx", stem=2e4)
    plan = plan_from_onnx(onnx_path, settings=settings())
    assert builds == {"native": 1, "float32": 1}
    assert plan.note.facts["norm"] == "float32"
    assert plan.note.facts["layers"]["normalization FLOAT"] > 0
    with pytest.raises(BackendError, match=r"norms in float16: overflow: .*square reaches"):
        plan_from_onnx(onnx_path, settings=settings(norm="native"))


def test_a_plan_whose_pictures_are_wrong_is_refused(
    graph: Path, own_cache: Path, tmp_path: Path
) -> None:
    onnx_path = damaged(graph, tmp_path / "larger.onnx", stem=1e8)
    with pytest.raises(BackendError, match=r"norms in float16: .*norms in float32: .*--precision"):
        plan_from_onnx(onnx_path, settings=settings())
    assert not list(own_cache.rglob("*.plan"))
    assert plan_from_onnx(onnx_path, settings=settings(precision="float32"))
    with pytest.raises(BackendError, match=r"dB from float32 .*at least 90 dB"):
        plan_from_onnx(graph, settings=settings(least_psnr_db=90.0))
    assert plan_from_onnx(graph, settings=settings(least_psnr_db=90.0, check=False))


def test_what_is_no_number_is_an_overflow_too() -> None:
    """Infinities that were subtracted."""
    peaks = {"fine": 1.0, "lost": float("nan")}
    assert gate._overflow(peaks, 65504.0) == "lost reaches nan, beyond 6.55e+04"
    assert gate._overflow({"fine": 65504.0}, 65504.0) is None


def test_the_fastest_route_that_passes_is_taken_where_it_can_be_timed() -> None:
    times = {"native": 2.0, "float32": 1.0}

    def attempt(norm: Any, psnr_db: float = 50.0) -> gate.Attempt:
        check = gate.Check(how=gate.RUN, norm=norm, psnr_db=psnr_db, milliseconds=times[norm])
        return check, norm

    assert gate.choose(("native", "float32"), attempt, settings())[1] == "float32"
    times["float32"] = 3.0
    assert gate.choose(("native", "float32"), attempt, settings())[1] == "native"
    with pytest.raises(BackendError, match="nan dB from float32"):
        gate.choose(("native",), lambda norm: attempt(norm, float("nan")), settings())


def test_frames_of_ones_own_are_checked(graph: Path, own_cache: Path, frames: Frames) -> None:
    own = plan_from_onnx(graph, settings=settings(), frames=frames[:1])
    assert own.note.facts["check"]["frames"] == 1
    for others in (frames[1:2], frames[:1].reshape(1, 72, 352, 3)):  # the same bytes, reshaped
        assert own.path != plan_from_onnx(graph, settings=settings(), frames=others).path


def test_an_engine_that_runs_is_compared_itself(graph: Path, frames: Frames) -> None:
    """What runs the plan is a stand-in; the comparison is real."""
    given: list[Frames] = []

    def execute(plan: bytes, info: Any, batches: Sequence[Frames]) -> tuple[list[Frames], float]:
        (batch,) = batches
        given.append(batch)
        made, _ = run_on_cpu(onnx.load(graph), batch)
        made[0, 0, 0, 0] ^= 128
        return [made], 1.5

    made = settings(profile=Profile.parse("64x64,160x96:3,176x144:4"))
    info = read_graph_info(graph)
    check = gate.check_engine(graph, execute, b"", info, made, "native", frames[:2])
    assert given[0].shape == (3, 96, 160, 3), "at the plan's best shape"
    assert (check.how, check.milliseconds, check.frames) == (gate.RUN, 1.5, 2)
    assert check.max_abs == 128
    assert check.failure(40.0) is None
    assert "90 dB" in str(check.failure(90.0))


def test_all_pictures_are_compared_whatever_the_batch_of_the_plan(
    graph: Path, frames: Frames
) -> None:
    """In batches of two, of which the last is half filled with a picture that does not count."""
    three = frames[:3]
    given: list[Frames] = []

    def execute(plan: bytes, info: Any, batches: Sequence[Frames]) -> tuple[list[Frames], float]:
        given.extend(batches)
        made = [run_on_cpu(onnx.load(graph), batch)[0] for batch in batches]
        for number, painted in enumerate(made, 1):
            painted[0, 0, 0, 0] ^= 16 * number
        made[-1][-1] ^= 255
        return made, 1.0

    made = settings(profile=Profile.parse("64x64,96x64:2,176x144:4"))
    check = gate.check_engine(graph, execute, b"", read_graph_info(graph), made, "native", three)
    assert [batch.shape for batch in given] == [(2, 64, 96, 3)] * 2
    assert np.array_equal(np.concatenate(given)[:3], three[:, 40:104, 40:136]), "the centres"
    assert (check.frames, check.max_abs, check.milliseconds) == (3, 32, 1.0)


def test_pictures_that_no_check_would_compare_are_refused(
    graph: Path, own_cache: Path, frames: Frames
) -> None:
    with pytest.raises(ConfigError, match=r"leave out .*--pictures.*--no-check"):
        plan_from_onnx(graph, settings=settings(check=False), frames=frames)
    assert not own_cache.exists()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (np.zeros((64, 64, 3), np.uint8), r"uint8 of shape \(64, 64, 3\); expected uint8 \(N, H"),
        (np.zeros((1, 64, 64, 3), np.float32), "float32 of shape"),
        (np.zeros((1, 64, 64, 1), np.uint8), r"expected uint8 \(N, H, W, 3\)"),
        (np.zeros((0, 64, 64, 3), np.uint8), "none empty"),
        (np.zeros((1, 4, 4, 3), np.uint8), "4x4 in the frames .* from 8 up"),
        (np.zeros((1, 66, 64, 3), np.uint8), "64x66 in the frames .* multiples of 4"),
    ],
)
def test_frames_that_the_generator_does_not_take_are_refused_before_the_build(
    wrong: Any, says: str, graph: Path, builds: Counter[str]
) -> None:
    with pytest.raises(ConfigError, match=says):
        plan_from_onnx(graph, settings=settings(), frames=wrong)
    assert not builds


def _build(graph: Path, builders: Path) -> None:
    def note(done: int, announced: int | None) -> None:
        if done:  # a step of its own build: who waits is at 0
            (builders / str(os.getpid())).touch()

    plan_from_onnx(graph, settings=settings(check=False), progress=note).verified()


def test_processes_that_want_one_plan_build_it_once(
    graph: Path, own_cache: Path, tmp_path: Path
) -> None:
    builders = tmp_path / "builders"
    builders.mkdir()
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_build, args=(graph, builders)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(list(builders.iterdir())) == 1, "both built it"
    (note,) = own_cache.rglob("model.plan.json")
    assert json.loads(note.read_text())["facts"]["bytes"] > 0


def test_a_wait_for_anothers_build_of_the_plan_is_cancelled_as_a_build_is(
    graph: Path, own_cache: Path
) -> None:
    made = settings(check=False)
    path, _ = cache._entry(plan.NAME, job(graph, settings=made, gpu=None).key())
    path.parent.mkdir(parents=True)

    def stop(done: int, announced: int | None) -> None:
        raise BackendError(f"stopped at {done} of {announced}")

    with (
        FileLock(path.parent / "lock"),
        pytest.raises(BackendError, match="stopped at 0 of None"),
    ):
        plan_from_onnx(graph, settings=made, progress=stop)


def test_a_plan_replaces_no_model_and_is_named_as_one(
    model: Path, graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.safetensors"
    own.write_bytes(model.read_bytes())
    flags = ["--size", "96x64", "--target", "8.9"]
    assert main(["build", str(own), str(own), *flags]) == 1
    assert "is the source itself" in capsys.readouterr().err
    assert own.read_bytes() == model.read_bytes()
    with pytest.raises(OutputError, match="is the source itself"):
        plan_from_onnx(graph, graph, settings=settings())
    assert main(["build", str(own), str(tmp_path / "small"), *flags]) == 1
    assert "ends with .plan or .engine" in capsys.readouterr().err
    assert not (tmp_path / "small").exists()
    long = tmp_path / f"{'n' * 248}.plan"
    with pytest.raises(OutputError, match=r"note beside it, .* 258 bytes .* 255: .* shorter name"):
        plan_from_onnx(graph, long, settings=settings())
    assert not long.exists()
    check_plan_target(graph, tmp_path / f"{'n' * 245}.plan")
    with pytest.raises(OutputError, match="within"):  # at once, not after the building
        check_plan_target(graph, graph / "within.plan")


def test_the_command_line(
    model: Path,
    frames: Frames,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # no lines are broken
    target = tmp_path / "small.plan"
    sizes = ["--size", "96x64", "--target", "8.9"]
    assert main(["build", str(model), str(target), *sizes, "--precision", "mixed"]) == 0
    said, beside = capsys.readouterr()
    assert "building model.plan: " in beside
    assert main(["build", str(model), *sizes, "--norm", "float32"]) == 0
    assert "model.plan is in the cache" in capsys.readouterr().err
    assert "float16, norms in float32" in said
    assert "dB from float32, largest difference" in said
    assert "compute capability 8.9" in said
    write_picture(frames[0], tmp_path / "pictures/a.png")
    own = ["--pictures", str(tmp_path / "pictures")]
    assert main(["build", str(model), *sizes, *own]) == 0
    assert "dB from float32" in capsys.readouterr().out
    target.write_bytes(b"vtrt")
    assert main(["inspect", str(target)]) == 1
    said = capsys.readouterr()
    assert "DAMAGED" in said.out
    assert "build it again" in said.err
    assert main(["build", str(model), *sizes, "--precision", "mixed", "--norm", "native"]) == 1
    assert "leave out --norm native" in capsys.readouterr().err
    for wrong, says in (
        ([], "stated sizes"),
        (["--size", "64", "--profile", "64"], "leave --size"),
    ):
        with pytest.raises(SystemExit):
            main(["build", str(model), *wrong])
        assert says in capsys.readouterr().err
