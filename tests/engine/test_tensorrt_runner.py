"""The runner around the CUDA calls, on a GPU made of NumPy; nothing here ran on a real one."""

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cyclegan.config import ResnetConfig
from cyclegan.engine import cuda as cuda_module
from cyclegan.engine import plan as plan_module
from cyclegan.engine.device_arrays import device_view
from cyclegan.engine.flavours import load_tensorrt
from cyclegan.engine.frames import Frames
from cyclegan.engine.graph_info import GraphInfo
from cyclegan.engine.model_source import open_source
from cyclegan.engine.plan import plan_from_onnx
from cyclegan.engine.plan_settings import PlanSettings, Profile
from cyclegan.engine.runners import BACKENDS, Settings, tensorrt
from cyclegan.engine.runners.kernel_cache import Contexts
from cyclegan.engine.runners.tensorrt import TensorRTRunner
from cyclegan.engine.runners.tensorrt_slot import Slot
from cyclegan.engine.translator import Translator
from cyclegan.errors import BackendError, ConfigError, FrameError
from tests.engine.fake_cuda import DeviceArray, FakeCuda, FakeEngine

RTX = load_tensorrt("tensorrt-rtx")
INFO = GraphInfo(config=ResnetConfig(width=8, blocks=1))
PROFILE = Profile.parse("8x8,16x16:2,32x32:4")


@pytest.fixture
def cuda() -> FakeCuda:
    return FakeCuda()


@pytest.fixture
def engine(cuda: FakeCuda) -> FakeEngine:
    return FakeEngine(cuda)


@pytest.fixture
def runner(cuda: FakeCuda, engine: FakeEngine) -> Iterator[TensorRTRunner]:
    runner = TensorRTRunner(RTX, cuda, engine, INFO, PROFILE)
    yield runner
    if not cuda.closed:
        runner.close()


def noise(*shape: int) -> Frames:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, np.uint8)


def test_frames_come_back_in_order_whatever_their_sizes(
    runner: TensorRTRunner, cuda: FakeCuda
) -> None:
    with Translator(runner, INFO) as translator:
        batches = [noise(n, 8 * n, 8 * m, 3) for n in (1, 2, 3, 4) for m in (4, 2, 1)]
        tickets = [translator.submit(batch) for batch in batches]
        for ticket, batch in zip(tickets, batches):
            assert np.array_equal(translator.collect(ticket), 255 - batch)
    assert cuda.closed
    assert cuda.depth == 0


def test_a_batch_may_be_overwritten_once_it_was_given(runner: TensorRTRunner) -> None:
    frames = noise(2, 16, 16, 3)
    expected = 255 - frames
    runner.begin(0, frames)
    frames[:] = 0
    made = runner.finish(0)
    runner.begin(0, noise(2, 16, 16, 3) // 2)
    runner.finish(0)
    assert np.array_equal(made, expected), "the result was overwritten by the next batch"


def test_a_graph_is_recorded_once_for_each_shape_and_slot(
    runner: TensorRTRunner, cuda: FakeCuda
) -> None:
    for _ in range(3):
        for slot in range(runner.slots):
            runner.begin(slot, noise(1, 8, 8, 3))
        for slot in range(runner.slots):
            runner.finish(slot)
    assert cuda.captures == runner.slots
    for _ in range(2):
        runner.begin(0, noise(1, 16, 8, 3))
        runner.finish(0)
    assert cuda.captures == runner.slots + 1


@pytest.mark.parametrize(
    ("batches", "captures"),
    [((1, 2, 1, 2, 1, 2), 0), ((2, 2, 2, 1), 1), ((1, 1, 2, 1, 2, 2, 2, 1, 1), 3)],
)
def test_the_network_runs_once_for_each_batch_whatever_their_sizes(
    batches: tuple[int, ...],
    captures: int,
    runner: TensorRTRunner,
    cuda: FakeCuda,
    engine: FakeEngine,
) -> None:
    """Another size costs no second run and no recording, until it comes again."""
    for done, count in enumerate(batches, 1):
        frames = noise(count, 16, 16, 3)
        runner.begin(0, frames)
        assert np.array_equal(runner.finish(0), 255 - frames)
        assert sum(context.runs for context in engine.contexts) == done
    assert cuda.captures == captures


def test_frames_on_the_device_between_batches_change_none(
    cuda: FakeCuda, engine: FakeEngine
) -> None:
    """A slot may do both; what it has recorded holds for its own buffers and shape."""
    with cuda.current():
        contexts = Contexts(RTX, engine)
    slot = Slot(cuda, contexts, PROFILE, (3, 3))
    other = device_view(DeviceArray(cuda, noise(1, 8, 8, 3), stream=None))
    for count in (1, 1, 1, 2, 2):
        slot.translate(other, 9)
        frames = noise(count, 8, 8, 3) // (count + 1)
        slot.begin(frames)
        assert np.array_equal(slot.finish(), 255 - frames)
    assert cuda.captures == 1, "of frames of one shape, whoever gave them"


def test_slots_share_no_stream_context_or_memory(
    engine: FakeEngine, runner: TensorRTRunner
) -> None:
    for slot in range(runner.slots):
        runner.begin(slot, noise(1, 8, 8, 3) // (slot + 1))
    made = [runner.finish(slot) for slot in reversed(range(runner.slots))]
    for slot, frames in zip(reversed(range(runner.slots)), made):
        assert np.array_equal(frames, 255 - noise(1, 8, 8, 3) // (slot + 1))
    used = [context.addresses for context in engine.contexts if context.addresses]
    addresses = [address for context in used for address in context.values()]
    assert len(addresses) == len(set(addresses)) == 2 * runner.slots


def test_threads_share_a_translator(runner: TensorRTRunner) -> None:
    wrong: list[object] = []

    def client(seed: int) -> None:
        try:
            for number in range(30):
                frames = noise(1 + seed % 2, 8, 8 * (1 + number % 3), 3) ^ np.uint8(seed)
                if not np.array_equal(translator(frames), 255 - frames):
                    wrong.append(seed)
        except BaseException as error:
            wrong.append(error)

    with Translator(runner, INFO) as translator:
        threads = [threading.Thread(target=client, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    assert wrong == []


def test_sizes_outside_the_profile_are_refused(runner: TensorRTRunner, cuda: FakeCuda) -> None:
    with Translator(runner, INFO) as translator:
        with pytest.raises(
            FrameError, match=r"8x40 in a batch of 1 .*outside.*8x8:1,16x16:2,32x32:4;.*--profile"
        ):
            translator(noise(40, 8, 3))
        assert translator(noise(9, 32, 32, 3)).shape == (9, 32, 32, 3)  # in batches of four


def test_frames_of_16_bits_are_refused_not_cut_to_8(runner: TensorRTRunner) -> None:
    with pytest.raises(FrameError, match="frames are uint16; expected uint8"):
        runner.begin(0, np.full((1, 8, 8, 3), 999, np.uint16))


def test_what_tensorrt_refuses_leaves_the_slot_usable(
    runner: TensorRTRunner, engine: FakeEngine
) -> None:
    engine.contexts[0].refuses = True
    with pytest.raises(FrameError, match="does not take frames of shape"):
        runner.begin(0, noise(1, 8, 8, 3))
    engine.contexts[0].refuses = False
    runner.begin(0, noise(1, 8, 8, 3))
    assert np.array_equal(runner.finish(0), 255 - noise(1, 8, 8, 3))


def test_an_engine_that_cannot_be_recorded_runs_without_a_graph(
    runner: TensorRTRunner, cuda: FakeCuda, engine: FakeEngine
) -> None:
    engine.contexts[0].refuses_recording = True
    for number in range(4):
        frames = noise(1, 8, 8, 3) ^ np.uint8(number)
        runner.begin(0, frames)
        assert np.array_equal(runner.finish(0), 255 - frames)
    assert cuda.captures == 0
    assert engine.contexts[0].runs == 4


def test_an_address_that_tensorrt_refuses_is_no_result(
    runner: TensorRTRunner, cuda: FakeCuda, engine: FakeEngine
) -> None:
    given = DeviceArray(cuda, noise(1, 8, 8, 3))
    runner.translate_on_device(given)
    engine.contexts[-1].refused_address = given.address
    with pytest.raises(BackendError, match="refuses the address 0x"):
        runner.translate_on_device(given)


def test_frames_that_lie_anywhere_on_the_device_are_translated(
    runner: TensorRTRunner, cuda: FakeCuda, engine: FakeEngine
) -> None:
    """A slice of a batch; TensorRT wants the addresses of whole allocations."""
    given = DeviceArray(cuda, noise(1, 8, 8, 3), offset=48)
    made = runner.translate_on_device(given, 9)
    with cuda.current():
        for stream in cuda.queues:
            cuda.synchronize(stream)
    assert np.array_equal(
        cuda.at(made.pointer, 8 * 8 * 3).reshape(1, 8, 8, 3), 255 - noise(1, 8, 8, 3)
    )


def test_frames_of_another_gpu_are_refused_and_results_say_whose_they_are(
    cuda: FakeCuda, engine: FakeEngine
) -> None:
    cuda.number = 1
    runner = TensorRTRunner(RTX, cuda, engine, INFO, PROFILE)
    given: Any = DeviceArray(cuda, noise(1, 8, 8, 3))
    assert runner.translate_on_device(given).__dlpack_device__() == (2, 1)
    given.__dlpack_device__ = lambda: (2, 1)
    assert runner.translate_on_device(given).__dlpack_device__() == (2, 1)
    given.__dlpack_device__ = lambda: (2, 0)
    with pytest.raises(FrameError, match=r"on cuda:0, and the plan runs on cuda:1; move"):
        runner.translate_on_device(given)
    runner.close()


def test_closing_waits_for_what_was_given_to_the_device(
    runner: TensorRTRunner, cuda: FakeCuda, engine: FakeEngine
) -> None:
    runner.translate_on_device(DeviceArray(cuda, noise(1, 8, 8, 3)))
    assert engine.contexts[-1].runs == 0
    runner.close()
    assert engine.contexts[-1].runs == 1
    assert not any(cuda.queues.values())


def test_a_full_gpu_is_reported_and_closed(engine: FakeEngine) -> None:
    with pytest.raises(BackendError, match="memory is full"):
        TensorRTRunner(RTX, FakeCuda(memory=100), engine, INFO, PROFILE)
    engine.out_of_memory = True
    with pytest.raises(BackendError, match=r"execution context.*smaller size or batch"):
        TensorRTRunner(RTX, FakeCuda(), engine, INFO, PROFILE)


def test_compiled_kernels_are_kept_for_the_next_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "kernels" / "some.bin"
    for known in (None, b"kernels", b"of another GPU"):
        if known is not None:
            path.write_bytes(known)
        cuda = FakeCuda()
        engine = FakeEngine(cuda)
        with caplog.at_level("INFO"):
            runner = TensorRTRunner(RTX, cuda, engine, INFO, PROFILE, kernels=path)
        assert engine.kernels.in_use
        assert engine.kernels.dynamic_shapes_kernel_specialization_strategy.name == "EAGER"
        assert engine.kernels.read == known
        runner.close()
        assert path.read_bytes() == b"kernels"
    assert "are of another GPU or version" in caplog.text
    path.unlink()
    path.parent.rmdir()
    path.parent.touch()  # no folder: the kernels cannot be kept, and the runner does not mind
    runner = TensorRTRunner(RTX, FakeCuda(), FakeEngine(FakeCuda()), INFO, PROFILE, kernels=path)
    runner.close()
    assert "were not kept" in caplog.text


def test_frames_on_the_device_stay_there_and_streams_are_ordered(
    runner: TensorRTRunner, cuda: FakeCuda, engine: FakeEngine
) -> None:
    given = DeviceArray(cuda, noise(2, 8, 8, 3), stream=7)
    made = Translator(runner, INFO).translate_on_device(given, stream=9)
    own = next(iter(stream for stream, queue in cuda.queues.items() if queue))
    # Both streams before and after: what is freed in the seventh may be used anew there.
    assert cuda.waits == [(own, 9), (own, 7), (9, own), (7, own)]
    with cuda.current():
        cuda.synchronize(own)
    assert made.shape == (2, 8, 8, 3)
    assert made.__cuda_array_interface__["stream"] == 9
    result = cuda.buffers[made.pointer][: 2 * 8 * 8 * 3].reshape(made.shape)
    assert np.array_equal(result, 255 - noise(2, 8, 8, 3))
    assert any(given.address in context.addresses.values() for context in engine.contexts)
    with pytest.raises(FrameError, match="outside"):
        runner.translate_on_device(DeviceArray(cuda, noise(1, 64, 8, 3)))


@pytest.mark.parametrize("shape", [(1, 18, 16, 3), (1, 16, 18, 3), (1, 16, 16, 1)])
def test_frames_on_the_device_that_the_generator_cannot_take_as_they_are_are_refused(
    shape: tuple[int, ...], runner: TensorRTRunner, cuda: FakeCuda, engine: FakeEngine
) -> None:
    _, height, width, channels = shape
    with pytest.raises(
        FrameError,
        match=rf"{width}x{height} with {channels} channels; expected 3 .* multiples of 4: pad",
    ):
        runner.translate_on_device(DeviceArray(cuda, noise(*shape)))
    assert not any(context.addresses for context in engine.contexts)


def test_other_backends_take_no_frames_of_a_gpu(translator: Translator) -> None:
    with pytest.raises(BackendError, match=r"frames of the host alone; .*tensorrt"):
        translator.translate_on_device(noise(1, 8, 8, 3))


def test_plans_that_cannot_run_here_say_why(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = open_source(model).onnx()
    opened: list[FakeCuda] = []

    def open_fake(device: str | None) -> FakeCuda:
        opened.append(FakeCuda())
        return opened[-1]

    monkeypatch.setattr(tensorrt, "open_cuda", open_fake)
    settings = PlanSettings(profile=Profile.of(64, 96), targets=("7.5",), check=False)
    other = plan_from_onnx(graph, tmp_path / "other.plan", settings=settings)
    with pytest.raises(BackendError, match=r"for compute capability 7\.5, and Fake 4090 has 8\.9"):
        tensorrt.runner_of(other, Settings())
    with pytest.raises(ConfigError, match="computes in float16, not in float32"):
        tensorrt.runner_of(other, Settings(precision="float32"))
    if cuda_module.why_missing() is None:
        pytest.skip("with a driver the plan may well be loaded")
    right = PlanSettings(profile=Profile.of(64, 96), targets=("8.9",), check=False)
    plan = plan_from_onnx(graph, tmp_path / "right.plan", settings=right)
    with pytest.raises(BackendError, match=r"does not load the plan: .*CUDA driver"):
        tensorrt.runner_of(plan, Settings())  # the real library, without a driver
    assert all(cuda.closed for cuda in opened)
    assert len(opened) == 2
    assert plan.path.exists()


def test_a_plan_that_is_checked_is_loaded_once_for_all_batches(
    cuda: FakeCuda, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[bytes] = []

    def load(tensorrt: object, plan: bytes, cuda: object) -> FakeEngine:
        loaded.append(plan)
        return engine

    opened: list[str | None] = []
    monkeypatch.setattr(tensorrt, "open_cuda", lambda device: opened.append(device) or cuda)
    monkeypatch.setattr(tensorrt, "deserialised", load)
    batches = [noise(2, 16, 16, 3), noise(2, 16, 16, 3) // 2]
    made, milliseconds = tensorrt.run_batches(RTX, b"plan", INFO, batches, device="cuda:1")
    assert opened == ["cuda:1"]
    assert loaded == [b"plan"]
    assert [frames.shape for frames in made] == [(2, 16, 16, 3)] * 2
    assert not np.array_equal(*made)
    assert milliseconds > 0
    assert cuda.closed


@pytest.mark.parametrize("fits", [True, False])
def test_other_weights_go_into_the_engine_that_runs(
    fits: bool, cuda: FakeCuda, engine: FakeEngine
) -> None:
    """The calls, in their order; what they do only a GPU can tell."""
    calls: list[object] = []

    class Trt:
        ILogger = RTX.trt.ILogger
        DynamicShapesKernelSpecializationStrategy = (
            RTX.trt.DynamicShapesKernelSpecializationStrategy
        )

        def Refitter(self, given: object, logger: object) -> "Trt":  # noqa: N802
            assert given is engine
            assert cuda.depth > 0, "no context is current"
            return self

        def OnnxParserRefitter(self, refitter: object, logger: Any) -> "Trt":  # noqa: N802
            self.logger = logger
            return self

        def refit_from_bytes(self, graph: bytes) -> bool:
            calls.append(graph)
            if not fits:
                self.logger.log(self.ILogger.Severity.ERROR, "weights stem.weight differ")
            return fits

        def refit_cuda_engine(self) -> bool:
            calls.append("refit")
            return True

    runner = TensorRTRunner(dataclasses.replace(RTX, trt=Trt()), cuda, engine, INFO, PROFILE)
    if fits:
        runner.refit(b"graph")
        assert calls == [b"graph", "refit"]
    else:
        with pytest.raises(BackendError, match=r"cannot be put in: .*stem\.weight.*--refit"):
            runner.refit(b"graph")
        assert calls == [b"graph"]
    runner.close()


def test_each_reason_against_a_plan_has_its_remedy() -> None:
    """Of the driver, the GPU and the plan, as the real flavour numbers them."""
    members = RTX.trt.EngineInvalidityDiagnostics.__members__
    assert set(tensorrt._REMEDIES) <= set(members)
    assert len(set(tensorrt._REMEDIES.values())) == len(tensorrt._REMEDIES)

    class Runtime:
        found = 0

        def get_engine_validity(self, plan: bytes) -> tuple[object, int]:
            return None, self.found

    runtime = Runtime()
    assert tensorrt._validity(RTX.trt, runtime, b"") == []
    assert tensorrt._validity(RTX.trt, object(), b"") == []
    for name, remedy in tensorrt._REMEDIES.items():
        runtime.found = int(members[name])
        assert tensorrt._validity(RTX.trt, runtime, b"") == [remedy]
    runtime.found = int(members["OLD_CUDA_DRIVER"]) | int(members["UNSUPPORTED_CC"])
    assert len(tensorrt._validity(RTX.trt, runtime, b"")) == 2
    assert "driver is too old for it; install a newer" in tensorrt._REMEDIES["OLD_CUDA_DRIVER"]


def test_each_absence_has_its_own_message(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    class Driver:
        def __init__(self, code: int) -> None:
            self.code = code

        def cuInit(self, flags: int) -> int:  # noqa: N802
            return self.code

    def none() -> Any:
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(cuda_module, "_driver", none)
    assert "no NVIDIA driver" in str(BACKENDS["tensorrt"].why_missing())
    with pytest.raises(BackendError, match=r"tensorrt cannot run here: there is no NVIDIA driver"):
        Translator.open(model, backend="tensorrt")
    monkeypatch.setattr(cuda_module, "_driver", lambda: Driver(100))
    assert "cuInit gives 100" in str(BACKENDS["tensorrt"].why_missing())
    monkeypatch.setattr(cuda_module, "_driver", lambda: Driver(0))
    assert "PyCUDA is not installed; pip install" in str(BACKENDS["tensorrt"].why_missing())
    monkeypatch.setattr(cuda_module.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(cuda_module, "why_missing", lambda: None)
    assert "TensorRT is not installed" in str(BACKENDS["tensorrt"].why_missing())
    with pytest.raises(ConfigError, match="expected cuda, or cuda:N"):
        cuda_module.open_cuda("gpu 1")


@pytest.mark.parametrize(("device", "asked"), [("cuda:1", "cuda:1"), (None, "cuda:0")])
def test_a_plan_is_built_for_the_gpu_that_runs_it(
    device: str | None, asked: str, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA may number them otherwise than nvidia-smi, which need not show the same ones."""

    def build(*_: object, **options: object) -> None:
        raise BackendError(f"for {options['device']}")

    monkeypatch.setattr(plan_module, "plan_from_onnx", build)
    with pytest.raises(BackendError, match=f"for {asked}"):
        tensorrt.open_runner(open_source(graph), Settings(device=device))


def test_what_is_built_for_a_translator() -> None:
    known = tensorrt.plan_settings(INFO, Settings(size=(64, 96)))
    assert str(known.profile) == "96x64:1,96x64:8,96x64:8"
    assert known.precision == "float16"
    large = tensorrt.plan_settings(INFO, Settings(size=(720, 1280)))
    assert large.profile.most == (1, 720, 1280)
    free = tensorrt.plan_settings(INFO, Settings(precision="bfloat16"))
    assert free.profile.takes((1, 1080, 1920))
    assert free.profile.takes((1, 1920, 1080))
    assert free.precision == "bfloat16"
