"""What the inspector says is read from JSON of its documented form; no engine was loaded here.

Of networks that TensorRT itself parsed, ``test_plan.py`` has more.
"""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from cyclegan.engine.audit import audit_engine, audit_network, listed
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


class Network:
    """As TensorRT tells of one: a convolution, a norm, and frames on both sides."""

    num_layers, num_inputs, num_outputs = 3, 1, 1

    def __init__(self, **types: str) -> None:
        self._types = {"deconv": "HALF", "norm": "HALF", "given": "UINT8", "made": "UINT8"} | types

    def _named(self, name: str) -> Any:
        return SimpleNamespace(name=name, dtype=SimpleNamespace(name=self._types[name]))

    def get_layer(self, number: int) -> Any:
        kind, name = (("DECONVOLUTION", "deconv"), ("NORMALIZATION", "norm"), ("CAST", "made"))[
            number
        ]
        return SimpleNamespace(
            name=name, type=SimpleNamespace(name=kind), get_output=lambda _: self._named(name)
        )

    def get_input(self, number: int) -> Any:
        return self._named("given")

    def get_output(self, number: int) -> Any:
        return self._named("made")


@pytest.mark.parametrize("wrong", ["deconv", "norm", "given", "made"])
def test_every_type_of_a_network_counts(wrong: str) -> None:
    counts = {"deconvolution HALF": 1, "normalization HALF": 1}
    assert audit_network(Network(), "float16", "native") == counts
    with pytest.raises(BackendError, match=rf"{wrong}\b.* is FLOAT, not"):
        audit_network(Network(**{wrong: "FLOAT"}), "float16", "native")


def test_long_lists_are_cut() -> None:
    assert listed(["a"] * 3, most=2) == "a; a; and 1 more"
    assert listed(["a", "b"]) == "a; b"
