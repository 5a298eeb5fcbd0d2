import dataclasses
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

import onnx
import pytest
from google.protobuf import text_format

from cyclegan.cli import main
from cyclegan.config import UnetConfig
from cyclegan.engine.cache import Note
from cyclegan.engine.graph_info import GraphInfo, read_graph_info
from cyclegan.engine.model_source import open_source
from cyclegan.engine.plan import plan_from_onnx
from cyclegan.engine.plan_file import PlanFile, copy_plan
from cyclegan.engine.plan_settings import PlanSettings, Profile
from cyclegan.engine.triton_repository import triton_repository
from cyclegan.errors import ConfigError, ModelError, OutputError


@pytest.fixture(scope="module")
def schema() -> Any:
    """The server's published model_config.proto, compiled, as its client package carries it."""
    path = importlib.metadata.distribution("tritonclient").locate_file(
        "tritonclient/grpc/model_config_pb2.py"  # alone: its package would want gRPC
    )
    spec = importlib.util.spec_from_file_location("model_config_pb2", str(path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def plan(graph: Path, tmp_path: Path) -> PlanFile:
    """A plan of tensorrt-rtx whose note says that the full flavour made it: the server's kind."""
    settings = PlanSettings(profile=Profile.of(64, 96, batch=4), targets=("8.9",), check=False)
    made = plan_from_onnx(graph, tmp_path / "model.plan", settings=settings)
    key = {**made.note.key, "flavour": "tensorrt"}
    note = Note(key=key, sha256=made.note.sha256, facts=made.note.facts)
    return copy_plan(dataclasses.replace(made, note=note), tmp_path / "full.plan")


def noted(plan: PlanFile, **changes: Any) -> PlanFile:
    """``plan`` with another note."""
    return dataclasses.replace(plan, note=dataclasses.replace(plan.note, **changes))


def read(schema: Any, folder: Path) -> Any:
    text = (folder / "config.pbtxt").read_text()
    return text_format.Parse(text, schema.ModelConfig())  # raises for what is not in the schema


def test_configurations_follow_the_published_schema(
    schema: Any, graph: Path, plan: PlanFile, tmp_path: Path
) -> None:
    folders = triton_repository(graph, tmp_path / "models", name="relief", plan=plan, instances=3)
    assert [folder.name for folder in folders] == ["relief_onnx", "relief_tensorrt"]
    for folder in folders:
        config = read(schema, folder)
        assert config.name == folder.name
        (given,), (made,) = config.input, config.output
        assert (given.name, made.name) == ("frames", "translated")
        assert given.data_type == made.data_type == schema.TYPE_UINT8
        assert config.HasField("dynamic_batching")
        assert config.dynamic_batching.max_queue_delay_microseconds > 0
        assert max(config.dynamic_batching.preferred_batch_size) <= config.max_batch_size
        assert config.parameters["domains"].string_value == "phones -> cars"
    portable, built = (read(schema, folder) for folder in folders)
    assert portable.platform == "onnxruntime_onnx"
    assert list(portable.input[0].dims) == [-1, -1, 3]
    assert (folders[0] / "1/model.onnx").read_bytes() == graph.read_bytes()
    assert built.platform == "tensorrt_plan"
    assert list(built.output[0].dims) == [64, 96, 3]
    assert built.max_batch_size == 4
    (group,) = built.instance_group
    assert (group.count, group.kind) == (3, schema.ModelInstanceGroup.KIND_GPU)
    assert (folders[1] / "1/model.plan").read_bytes() == plan.verified()


def test_each_model_is_described_by_its_own(
    schema: Any, graph: Path, plan: PlanFile, tmp_path: Path
) -> None:
    """A plan takes frames of 8 bits, beside a graph of 16 too, and of any size in its profile."""
    key = {**plan.note.key, "profile": "1x64x64,2x64x96,6x128x256"}
    wide = noted(plan, key=key)
    deep, changed = tmp_path / "deep.onnx", onnx.load(graph)
    dataclasses.replace(read_graph_info(graph), depth=16).describe(changed)
    onnx.save(changed, deep)
    folders = triton_repository(deep, tmp_path / "models", plan=wide)
    portable, built = (read(schema, folder) for folder in folders)
    for config, kind in ((portable, schema.TYPE_UINT16), (built, schema.TYPE_UINT8)):
        assert config.input[0].data_type == config.output[0].data_type == kind
        assert list(config.input[0].dims) == [-1, -1, 3]
    assert portable.parameters["value_range"].string_value == "uint16 0..65535 RGB"
    assert built.parameters["value_range"].string_value == "uint8 0..255 RGB"
    assert built.max_batch_size == 6
    assert list(built.dynamic_batching.preferred_batch_size) == [1, 2, 4]


def test_any_domain_name_and_channels_can_be_told(schema: Any, tmp_path: Path) -> None:
    from cyclegan.config import ResnetConfig
    from cyclegan.engine.triton_repository import _onnx_model

    config = ResnetConfig(in_channels=1, out_channels=2)
    info = GraphInfo(config=config, domains=('"\\\n', "Größe"))
    (tmp_path / "config.pbtxt").write_text(_onnx_model("x", tmp_path, info).config())
    made = read(schema, tmp_path)
    assert (made.input[0].dims[2], made.output[0].dims[2]) == (1, 2)
    assert made.parameters["domains"].string_value == '"\\\n -> Größe'


def test_what_the_server_cannot_run_is_refused(graph: Path, plan: PlanFile, tmp_path: Path) -> None:
    rtx = {**plan.note.key, "flavour": "tensorrt-rtx"}
    with pytest.raises(ConfigError, match="full TensorRT alone"):
        triton_repository(graph, tmp_path / "models", plan=noted(plan, key=rtx))
    with pytest.raises(ConfigError, match="model name"):
        triton_repository(graph, tmp_path / "models", name="a/b")
    half = tmp_path / "half.onnx"
    assert main(["export", str(graph), str(half), "--half"]) == 0
    with pytest.raises(ConfigError, match="in float16, and a repository holds the float32 one"):
        triton_repository(half, tmp_path / "models")
    twos = {**plan.note.key, "profile": "2x64x96,4x64x96,4x64x96"}
    with pytest.raises(ConfigError, match=r"takes batches from 2 frames up.*96x64:2,96x64:4"):
        triton_repository(graph, tmp_path / "models", plan=noted(plan, key=twos))
    plan.path.write_bytes(b"vtrt")
    with pytest.raises(ModelError, match="damaged"):
        triton_repository(graph, tmp_path / "models", plan=plan)
    assert not (tmp_path / "models").exists()


def test_models_of_one_name_are_of_one_generator(
    graph: Path, plan: PlanFile, tmp_path: Path
) -> None:
    """One that was changed has no digest of its weights: then its configuration is compared."""
    own = plan.info
    for other in (
        dataclasses.replace(own, weights_sha256="0" * 64),
        dataclasses.replace(own, weights_sha256="", config=UnetConfig()),
    ):
        another = noted(plan, facts={**plan.note.facts, "graph": other.to_metadata()})
        with pytest.raises(ConfigError, match=r"is of another generator than .*\.onnx"):
            triton_repository(graph, tmp_path / "models", plan=another)
    changed = dataclasses.replace(own, weights_sha256="").to_metadata()
    unknown = noted(plan, facts={**plan.note.facts, "graph": changed})
    assert len(triton_repository(graph, tmp_path / "models", plan=unknown)) == 2


def test_the_command_line_replaces_no_model(
    schema: Any, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "models"
    assert main(["export", str(model), str(target), "--triton-repository"]) == 0
    assert capsys.readouterr().out.strip() == str(target / "small_onnx")
    assert read(schema, target / "small_onnx").platform == "onnxruntime_onnx"
    assert main(["export", str(model), str(target), "--triton-repository"]) == 1
    assert "exists; give another name (--name)" in capsys.readouterr().err
    named = ["export", str(model), str(target), "--triton-repository", "--name", "painter"]
    assert main(named) == 0
    assert read(schema, target / "painter_onnx").name == "painter_onnx"
    assert main([*named[:-1], "a/b"]) == 1
    assert "model name 'a/b': expected letters" in capsys.readouterr().err
    with pytest.raises(OutputError):
        triton_repository(open_source(model).onnx(), target, name="small")
