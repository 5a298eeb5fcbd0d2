"""What the inspector says is read from JSON of its documented form; no engine was loaded here."""

import json

import pytest

from cyclegan.engine.audit import audit_engine, listed
from cyclegan.errors import BackendError


def layers(*kinds: str) -> str:
    made = [{"Name": "n", "Outputs": [{"Name": "t", "Format/Datatype": kind}]} for kind in kinds]
    return json.dumps({"Layers": made, "Bindings": ["frames", "translated"]})


def test_an_engine_without_a_16_bit_layer_is_an_error() -> None:
    assert audit_engine(layers("Half", "Half", "UInt8"), "float16") == {"Half": 2, "UInt8": 1}
    with pytest.raises(BackendError, match=r"float16, and its layers give \{'Float': 2\} alone"):
        audit_engine(layers("Float", "Float"), "float16")
    with pytest.raises(BackendError, match="bfloat16"):
        audit_engine(layers("Half"), "bfloat16")
    assert audit_engine(layers("Float"), "float32") == {"Float": 1}


def test_an_engine_that_tells_no_types_is_no_proof_of_a_fault() -> None:
    names_only = json.dumps({"Layers": ["one", "two"]})
    assert audit_engine(names_only, "float16") == {}


def test_long_lists_are_cut() -> None:
    assert listed(["a"] * 3, most=2) == "a; a; and 1 more"
    assert listed(["a", "b"]) == "a; b"
