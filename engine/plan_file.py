"""A plan on disk: the serialised engine, and beside it a note (JSON) that says what it is.

The note holds what the plan was built for, the plan's SHA-256, its inputs and outputs, and how far
its pictures were from float32. Reading it needs neither TensorRT nor a GPU. A plan is executable
code: it is loaded only if its content is what the note says, and a plan that cannot be used here is
reported, never deleted.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclegan.engine.cache import Note, file_digest, read_note, sidecar, write_note
from cyclegan.engine.flavours import TensorRT
from cyclegan.engine.gpus import Gpu
from cyclegan.engine.graph_info import GraphInfo
from cyclegan.engine.plan_settings import Profile, capability_name
from cyclegan.engine.typed_graph import norm_type
from cyclegan.errors import ModelError, NewerFormatError, OutputError, reason_of
from cyclegan.files import LONGEST_NAME, behind_link, check_writable, write_whole
from cyclegan.targets import check_ending, check_target

PLAN_FORMAT = 1
"""Of the note; a reader refuses what is newer."""
SUFFIXES = (".plan", ".engine")
_AMISS = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
"""What reading a note raises that lacks something, or has something else in its place."""
DAMAGED = "DAMAGED"
"""With what `cyclegan inspect` begins to say that the content is not what it was."""


@dataclass(frozen=True, kw_only=True)
class PlanFile:
    """A plan and its note."""

    path: Path
    note: Note

    @property
    def info(self) -> GraphInfo:
        """The generator's configuration and domains. Raises ModelError."""
        return GraphInfo.from_metadata(self.note.facts["graph"], self.path)

    @property
    def profile(self) -> Profile:
        """The shapes that it takes."""
        return Profile.from_shapes(self.note.key["profile"])

    @property
    def flavour(self) -> str:
        """``tensorrt`` or ``tensorrt-rtx``."""
        return str(self.note.key["flavour"])

    def verified(self) -> bytes:
        """The plan's bytes. Raises ModelError unless they are what was built."""
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise ModelError(f"cannot read {self.path}: {reason_of(error)}") from error
        digest = hashlib.sha256(content).hexdigest()
        if digest == self.note.sha256:  # of these very bytes: the file may be replaced meanwhile
            return content
        raise ModelError(
            f"{self.path} is damaged: its SHA-256 is {digest[:12]}..., and its note says "
            f"{self.note.sha256[:12]}...; it was not loaded. Build it again with `cyclegan build`"
        )

    def why_unusable(self, tensorrt: TensorRT, gpu: Gpu | None) -> str | None:
        """Why this TensorRT on this GPU cannot run the plan, and what to do; or None."""
        key = self.note.key
        again = "build it again here with `cyclegan build`"
        if key["flavour"] != tensorrt.flavour:
            return (
                f"it was built by {key['flavour']}, and {tensorrt.flavour} is installed, which "
                f"cannot read it; pip install {key['flavour']}, or {again}"
            )
        if key["version"] != tensorrt.version:
            return (
                f"it was built by {key['flavour']} {key['version']}, and {tensorrt.version} is "
                f"installed; {again}"
            )
        if gpu is None:
            return None
        if targets := key.get("targets"):
            if capability_name(gpu.compute_capability) not in map(capability_name, targets.split()):
                return (
                    f"it was built for compute capability {targets}, and {gpu.name} has "
                    f"{gpu.compute_capability}; build it with --target {gpu.compute_capability}"
                )
        elif key.get("gpu") != gpu.name:
            return f"it was built on {key.get('gpu')}, and this is {gpu.name}; {again}"
        return None


def read_plan(path: Path) -> PlanFile:
    """The plan at ``path`` with its note; the plan itself is not read. Raises ModelError."""
    if not path.is_file():
        raise ModelError(f"there is no plan {path}")
    try:
        note = read_note(_noted(path))
        version = int(note.key["format"])
    except FileNotFoundError as error:
        raise ModelError(
            f"{path} has no note {sidecar(path).name} beside it, so that nothing is known of it; "
            "copy both files, or build it with `cyclegan build`"
        ) from error
    except (OSError, *_AMISS) as error:
        raise ModelError(f"the note on {path} cannot be read: {error}; build it again") from error
    if version > PLAN_FORMAT:
        raise NewerFormatError(
            f"{path} has plan format {version}; this version reads up to {PLAN_FORMAT}; "
            "install a newer cyclegan-engine"
        )
    plan = PlanFile(path=path, note=note)
    try:
        _ = plan.profile, plan.flavour, plan.info, note.key["version"]
    except _AMISS as error:
        raise _damaged(path, error) from error
    return plan


def _noted(path: Path) -> Path:
    """What the note on ``path`` stands beside: the file behind a link, where it was written.

    Or the link itself, as in stores that name files by their content.
    """
    behind = behind_link(path)
    return behind if sidecar(behind).exists() else path


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(f"the note on {path} is damaged: {error!r}; build it again")


def copy_plan(plan: PlanFile, target: Path) -> PlanFile:
    """Copy the plan and its note to ``target``. Raises OutputError, and ModelError if damaged.

    Where that is a link, to what it leads to, which is replaced and whose own note must follow.
    """
    write_whole(target, plan.verified())
    write_note(behind_link(target), plan.note)
    return PlanFile(path=target, note=plan.note)


def check_plan_target(source: Path, target: Path) -> None:
    """Raises OutputError where a plan of ``source`` must not or cannot be written to ``target``."""
    check_target(source, target)
    check_ending(target, "a plan", *SUFFIXES)
    note = len(os.fsencode(sidecar(behind_link(target)).name))
    if note > LONGEST_NAME:
        raise OutputError(
            f"{target} cannot have its note beside it, whose name would be {note} bytes long; "
            f"expected at most {LONGEST_NAME}: give the plan a shorter name"
        )
    check_writable(target)


def describe(plan: PlanFile) -> dict[str, Any]:
    """What `cyclegan inspect` says of it. Raises ModelError where the note lacks something."""
    try:
        return _described(plan)
    except _AMISS as error:
        raise _damaged(plan.path, error) from error


def _described(plan: PlanFile) -> dict[str, Any]:
    key, facts = plan.note.key, plan.note.facts
    where = key.get("targets") or key.get("gpu")
    norms = norm_type(facts["norm"], key["precision"])
    digest = file_digest(plan.path) == plan.note.sha256
    return {
        "file": plan.path,
        "format": f"plan of {plan.flavour} {key['version']} ({key['package']})",
        "network": plan.info.config,
        "domains": " -> ".join(plan.info.domains),
        "built for": f"compute capability {where}" if key.get("targets") else where,
        "sizes": plan.profile,
        "precision": f"{key['precision']}, norms in {norms}",
        "layers": ", ".join(f"{count} {kind}" for kind, count in facts["layers"].items()),
        "inputs": _ports(facts["inputs"]),
        "outputs": _ports(facts["outputs"]),
        "check": _check_line(facts["check"]),
        "content": "as it was built" if digest else f"{DAMAGED}: it will not be loaded",
        "sha256": plan.note.sha256,
    }


def _ports(ports: list[dict[str, Any]]) -> str:
    return ", ".join(f"{p['name']}: {p['dtype']} {'x'.join(map(str, p['shape']))}" for p in ports)


def _check_line(check: dict[str, Any]) -> str:
    words = {
        "psnr_db": "{:.1f} dB from float32",
        "max_abs": "largest difference {}",
        "milliseconds": "{:.2f} ms a batch",
    }
    known = [text.format(check[item]) for item, text in words.items() if check[item] is not None]
    return ", ".join([*known, check["how"]])


def looks_like_plan(path: Path) -> bool:
    """Whether ``path`` is named as a plan."""
    return path.suffix.lower() in SUFFIXES
