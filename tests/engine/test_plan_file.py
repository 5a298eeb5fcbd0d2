import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from cyclegan.engine import plan_file
from cyclegan.engine.cache import Note, sidecar
from cyclegan.engine.flavours import TensorRT, load_tensorrt, why_missing
from cyclegan.engine.gpus import Gpu
from cyclegan.engine.model_source import open_source
from cyclegan.engine.plan import plan_from_onnx
from cyclegan.engine.plan_file import PlanFile, copy_plan, describe, read_plan
from cyclegan.engine.plan_settings import PlanSettings, Profile
from cyclegan.engine.translator import Translator
from cyclegan.errors import BackendError, ConfigError, ModelError, NewerFormatError

RTX = load_tensorrt("tensorrt-rtx")
ADA = Gpu(name="RTX 4090", memory_mib=24576, driver="580", compute_capability="8.9")


@pytest.fixture(scope="module")
def built(model: Path, tmp_path_factory: pytest.TempPathFactory) -> PlanFile:
    path = tmp_path_factory.mktemp("plan") / "small.plan"
    settings = PlanSettings(profile=Profile.of(64, 96), targets=("8.9", "12.0"), check=False)
    return plan_from_onnx(open_source(model).onnx(), path, settings=settings)


@pytest.fixture
def plan(built: PlanFile, tmp_path: Path) -> PlanFile:
    return copy_plan(built, tmp_path / "small.plan")


def with_key(plan: PlanFile, **changes: Any) -> PlanFile:
    note = Note(key={**plan.note.key, **changes}, sha256=plan.note.sha256, facts=plan.note.facts)
    return dataclasses.replace(plan, note=note)


def test_a_plan_tells_itself_without_being_read(plan: PlanFile) -> None:
    plan.path.write_bytes(b"")  # no content: the note is enough
    read = read_plan(plan.path)
    assert read.note == plan.note
    assert read.info.domains == ("phones", "cars")
    assert str(read.profile) == "96x64:1,96x64:1,96x64:1"


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_plan_that_is_not_what_was_built_is_never_handed_out(plan: PlanFile, damage: str) -> None:
    content = plan.verified()
    flipped = content[:100] + bytes([content[100] ^ 1]) + content[101:]
    plan.path.write_bytes({"flip": flipped, "truncate": content[:-1], "empty": b""}[damage])
    with pytest.raises(ModelError, match=r"is damaged.*was not loaded.*cyclegan build"):
        plan.verified()
    assert plan.path.exists()


def test_what_is_handed_out_is_what_was_verified(
    plan: PlanFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, digest_of = plan.verified(), plan_file.file_digest

    def replaced_meanwhile(path: Path) -> str:
        digest = digest_of(path)
        path.write_bytes(b"another plan")
        return digest

    monkeypatch.setattr(plan_file, "file_digest", replaced_meanwhile)
    assert plan.verified() == content


def test_a_plan_without_a_note_it_can_read(plan: PlanFile, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no plan"):
        read_plan(tmp_path / "none.plan")
    note, good = sidecar(plan.path), sidecar(plan.path).read_text()
    for text in ("{", "[]", '{"key": {}, "sha256": ""}', '{"key": {"format": 1}, "sha256": ""}'):
        note.write_text(text)
        with pytest.raises(ModelError, match=r"note on .* (cannot be read|is damaged)"):
            read_plan(plan.path)
    for wrong in ({"profile": 5}, {"profile": "1x64,1x64,1x64"}, {"format": float("inf")}):
        values = json.loads(good)
        values["key"].update(wrong)
        note.write_text(json.dumps(values))
        with pytest.raises(ModelError, match=r"note on .* (cannot be read|is damaged)"):
            read_plan(plan.path)
    values = json.loads(good)
    values["facts"]["graph"]["cyclegan.format_version"] = float("inf")
    note.write_text(json.dumps(values))
    with pytest.raises(ModelError, match=r"note on .* is damaged"):
        read_plan(plan.path)
    for part, item in (("key", "version"), ("facts", "graph")):
        values = json.loads(good)
        del values[part][item]
        note.write_text(json.dumps(values))
        with pytest.raises(ModelError, match=rf"note on .* is damaged: .*{item}"):
            read_plan(plan.path)
    values = json.loads(good)
    values["key"]["format"] = plan_file.PLAN_FORMAT + 1
    note.write_text(json.dumps(values))
    with pytest.raises(NewerFormatError, match=rf"plan format {plan_file.PLAN_FORMAT + 1}"):
        read_plan(plan.path)
    note.unlink()
    with pytest.raises(ModelError, match=r"no note small\.plan\.json beside it"):
        read_plan(plan.path)
    assert plan.path.exists()


def test_a_link_to_a_plan_is_that_plan_with_its_note(plan: PlanFile, tmp_path: Path) -> None:
    link = tmp_path / "links" / "current.plan"
    link.parent.mkdir()
    link.symlink_to(plan.path)
    assert read_plan(link).note == plan.note
    other = with_key(plan, driver="another")
    assert copy_plan(other, link).path == link
    assert link.is_symlink()
    assert read_plan(plan.path).note == read_plan(link).note == other.note
    assert list(link.parent.iterdir()) == [link]
    sidecar(link).write_text("{")  # of another plan: the note beside the file itself counts
    assert read_plan(link).note == other.note


def test_a_link_may_have_the_note_beside_itself(plan: PlanFile, tmp_path: Path) -> None:
    """As in stores that name files by their content."""
    blob = plan.path.rename(tmp_path / plan.note.sha256)
    plan.path.symlink_to(blob)
    assert read_plan(plan.path).note == plan.note


@pytest.mark.parametrize("lacks", ["norm", "layers", "inputs", "check", "package", "precision"])
def test_a_note_that_lacks_something_is_damaged(plan: PlanFile, lacks: str) -> None:
    note = json.loads(sidecar(plan.path).read_text())
    for part in (note["key"], note["facts"]):
        part.pop(lacks, None)
    sidecar(plan.path).write_text(json.dumps(note))
    with pytest.raises(ModelError, match=rf"note on .* is damaged: .*{lacks}.*; build it again"):
        describe(read_plan(plan.path))


def test_what_inspect_says_is_in_words(plan: PlanFile) -> None:
    said = describe(plan)
    assert said["precision"] == "float16, norms in float16"
    assert said["inputs"] == "frames: uint8 NxHxWx3"
    assert said["check"] == "not checked"
    assert said["content"] == "as it was built"


def test_each_reason_why_a_plan_cannot_run_here(plan: PlanFile) -> None:
    assert plan.why_unusable(RTX, ADA) is None
    assert plan.why_unusable(RTX, None) is None
    full = TensorRT(flavour="tensorrt", version=RTX.version, trt=None)
    assert "built by tensorrt-rtx, and tensorrt is installed" in str(plan.why_unusable(full, ADA))
    newer = dataclasses.replace(RTX, version="99.0")
    assert "and 99.0 is installed; build it again" in str(plan.why_unusable(newer, ADA))
    hopper = dataclasses.replace(ADA, name="H100", compute_capability="9.0")
    assert "H100 has 9.0; build it with --target 9.0" in str(plan.why_unusable(RTX, hopper))
    here = with_key(plan, targets=None, gpu="RTX 4080")
    assert "built on RTX 4080, and this is RTX 4090" in str(here.why_unusable(RTX, ADA))
    assert with_key(plan, targets=None, gpu="RTX 4090").why_unusable(RTX, ADA) is None


def test_other_backends_do_not_take_a_plan(plan: PlanFile) -> None:
    source = open_source(plan.path)
    assert source.plan is not None
    assert source.plan.path == plan.path
    assert source.info.precision == "float16"
    for backend in ("openvino", "torch"):
        with pytest.raises(BackendError, match="is a TensorRT plan, which no other backend runs"):
            Translator.open(plan.path, backend=backend)
    with pytest.raises(BackendError, match="the backend tensorrt cannot run here"):
        Translator.open(plan.path)


def test_flavours() -> None:
    assert RTX.is_rtx
    assert RTX.package == "tensorrt_rtx_cu13"
    assert why_missing() is None
    with pytest.raises(ConfigError, match="known are tensorrt, tensorrt-rtx"):
        load_tensorrt("tensorflow")


def test_no_flavour_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    from cyclegan.engine import flavours

    monkeypatch.setattr(flavours, "MODULES", {"tensorrt": "no_such_tensorrt"})
    assert "pip install 'cyclegan-engine[plan]' to build plans" in str(why_missing())
    with pytest.raises(BackendError, match="tensorrt is not installed; pip install tensorrt, with"):
        flavours.load_tensorrt.__wrapped__("tensorrt")
