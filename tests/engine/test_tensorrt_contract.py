"""Everything that the code takes from TensorRT exists in the real module, and is called as it asks.

The code is read, not run: what needs a driver is checked too. The names below say which variables
hold which of TensorRT's objects; whatever attribute the code uses of them must be there, and every
call must fit a signature. The full flavour is checked as well where it can be imported.
"""

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

import cyclegan
from cyclegan.engine import audit
from cyclegan.engine.flavours import MODULES
from cyclegan.engine.plan_settings import Tiling
from cyclegan.engine.runners import tensorrt as runner

ENGINE = Path(cyclegan.__file__).parent / "engine"
OBJECTS = {
    "flavours.py": {},
    "audit.py": {"network": "INetworkDefinition", "layer": "ILayer", "t": "ITensor"},
    "plan_builder.py": {
        "builder": "Builder",
        "parser": "OnnxParser",
        "config": "IBuilderConfig",
        "profile": "IOptimizationProfile",
        "cache": "ITimingCache",
        "e": "ParserError",
    },
    "runners/tensorrt.py": {
        "runtime": "Runtime",
        "engine": "ICudaEngine",
        "inspector": "EngineInspector",
        "refitter": "Refitter",
        "reader": "OnnxParserRefitter",
    },
    "runners/tensorrt_slot.py": {"_context": "IExecutionContext"},
    "runners/kernel_cache.py": {
        "engine": "ICudaEngine",
        "_engine": "ICudaEngine",
        "config": "IRuntimeConfig",
        "cache": "IRuntimeCache",
    },
}
ONLY_RTX = {
    "ComputeCapability",
    "DynamicShapesKernelSpecializationStrategy",
    "EngineInvalidityDiagnostics",
    "create_runtime_cache",
    "dynamic_shapes_kernel_specialization_strategy",
    "get_engine_validity",
    "num_compute_capabilities",
    "set_compute_capability",
    "set_runtime_cache",
}


def importable() -> Iterator[Any]:
    """The flavours here. The RTX one must be: it comes with the development environment."""
    for name, module in MODULES.items():
        if importlib.util.find_spec(module) is None and name != "tensorrt-rtx":
            continue
        yield pytest.param(importlib.import_module(module), id=name)


WITHOUT_MODULE = ("tensorrt_slot",)
FLAVOURS = list(importable())


def tree(file: str) -> ast.Module:
    return ast.parse((ENGINE / file).read_text())


def chains(file: str) -> set[tuple[str, ...]]:
    """``("BuilderFlag", "REFIT")`` for every ``trt.BuilderFlag.REFIT``."""
    found = set()
    for node in ast.walk(tree(file)):
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.insert(0, node.attr)
            node = node.value
        if isinstance(node, ast.Name) and names:
            whole = [node.id, *names]
            if "trt" in whole[:2]:
                found.add(tuple(whole[whole.index("trt") + 1 :]))
    return {chain for chain in found if chain and not chain[0].startswith("__")}


def uses(file: str) -> set[tuple[str, str, int | None]]:
    """(class, attribute, positional arguments of its call, or None) of the objects in OBJECTS."""
    found: set[tuple[str, str, int | None]] = set()
    called = {id(node.func): node for node in ast.walk(tree(file)) if isinstance(node, ast.Call)}
    for node in ast.walk(tree(file)):
        if not isinstance(node, ast.Attribute):
            continue
        holder = node.value
        name = getattr(holder, "id", None) or getattr(holder, "attr", None)
        if name in OBJECTS[file]:
            found.add((OBJECTS[file][name], node.attr, None))
    for call in called.values():
        if isinstance(call.func, ast.Attribute):
            holder = call.func.value
            name = getattr(holder, "id", None) or getattr(holder, "attr", None)
            starred = any(isinstance(argument, ast.Starred) for argument in call.args)
            if name in OBJECTS[file] and not starred:
                found.add((OBJECTS[file][name], call.func.attr, len(call.args)))
    return found


def arities(function: Any) -> list[range]:
    """How many arguments besides ``self`` each overload takes, from pybind11's docstring."""
    found = []
    for parameters in re.findall(rf"{function.__name__}\(self: (.*?)\) ->", function.__doc__ or ""):
        flat = re.sub(r"\[[^\[\]]*\]", "", re.sub(r"\[[^\[\]]*\]", "", parameters))
        given = flat.split(", ")[1:]
        needed = sum(" = " not in parameter for parameter in given)
        found.append(range(needed, len(given) + 1))
    return found


@pytest.mark.parametrize("trt", FLAVOURS)
@pytest.mark.parametrize("file", OBJECTS)
def test_names_of_the_module_exist(trt: Any, file: str) -> None:
    rtx = trt.__name__ == MODULES["tensorrt-rtx"]
    assert chains(file) or file in ("audit.py", *(f"runners/{n}.py" for n in WITHOUT_MODULE))
    for chain in chains(file):
        if not rtx and not ONLY_RTX.isdisjoint(chain):
            continue
        value = trt
        for name in chain:
            assert hasattr(value, name), f"trt.{'.'.join(chain)} is gone"
            value = getattr(value, name)


@pytest.mark.parametrize("trt", FLAVOURS)
@pytest.mark.parametrize("file", [file for file, objects in OBJECTS.items() if objects])
def test_attributes_and_calls_fit(trt: Any, file: str) -> None:
    rtx = trt.__name__ == MODULES["tensorrt-rtx"]
    found = uses(file)
    assert {kind for kind, _, _ in found} == set(OBJECTS[file].values()), "OBJECTS is out of date"
    for kind, attribute, count in found:
        if not rtx and (attribute in ONLY_RTX or kind == "IRuntimeCache"):
            continue
        holder = getattr(trt, kind)
        assert hasattr(holder, attribute), f"{kind}.{attribute} is gone"
        if count is not None:
            able = arities(getattr(holder, attribute))
            assert able, f"{kind}.{attribute} has no signature that can be read"
            assert any(count in numbers for numbers in able), f"{kind}.{attribute}: {able}"


@pytest.mark.parametrize("trt", FLAVOURS)
def test_names_that_are_looked_up_by_text(trt: Any) -> None:
    assert set(audit.TYPES.values()) | {"UINT8"} <= set(trt.DataType.__members__)
    assert {"CONVOLUTION", "DECONVOLUTION", "NORMALIZATION"} <= set(trt.LayerType.__members__)
    levels = {level.upper() for level in get_args(Tiling)}
    assert levels == set(trt.TilingOptimizationLevel.__members__)
    if trt.__name__ == MODULES["tensorrt-rtx"]:
        assert set(runner._REMEDIES) == set(trt.EngineInvalidityDiagnostics.__members__)
        assert {"SM75", "SM89", "SM120"} <= set(trt.ComputeCapability.__members__)


@pytest.mark.parametrize("trt", FLAVOURS)
def test_what_is_overridden_is_asked_for(trt: Any) -> None:
    for name in ("phase_start", "step_complete", "phase_finish"):
        assert hasattr(trt.IProgressMonitor, name)
    assert hasattr(trt.ILogger, "log")


def test_a_change_of_the_interface_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader finds what it should, so that a clean result means something."""
    import tensorrt_rtx as trt

    assert ("BuilderFlag", "REFIT") in chains("plan_builder.py")
    assert ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED") in chains("plan_builder.py")
    assert ("Runtime", "deserialize_cuda_engine", 1) in uses("runners/tensorrt.py")
    assert ("IExecutionContext", "execute_async_v3", 1) in uses("runners/tensorrt_slot.py")
    assert ("Builder", "build_serialized_network", 2) in uses("plan_builder.py")
    assert arities(trt.IBuilderConfig.set_compute_capability) == [range(2, 3)]
    assert arities(trt.OnnxParser.parse) == [range(1, 3)]
    monkeypatch.setitem(OBJECTS, "plan_builder.py", {"builder": "ILayer", "config": "ILayer"})
    with pytest.raises(AssertionError, match=r"ILayer\.\w+ is gone"):
        test_attributes_and_calls_fit(trt, "plan_builder.py")
