"""The types that an engine computes in, read back rather than believed.

A builder that is asked for float16 and quietly makes float32 is the commonest fault of TensorRT
programs. Without a driver the strongly typed network tells every layer's type; with one, so does
the engine's inspector.
"""

import json
from collections import Counter
from typing import Any

from cyclegan.engine.typed_graph import BodyPrecision, NormRoute, norm_type
from cyclegan.errors import BackendError

TYPES = {"float16": "HALF", "bfloat16": "BF16", "float32": "FLOAT"}
_INSPECTED = {"float16": ("Half", "FP16"), "bfloat16": ("BFloat16", "BF16")}
_CONVOLUTIONS = ("CONVOLUTION", "DECONVOLUTION")


def audit_network(network: Any, precision: BodyPrecision, norm: NormRoute) -> dict[str, int]:
    """How many layers compute in which type, as ``{"convolution HALF": 14, ...}``.

    Raises BackendError unless every convolution is in ``precision``, every norm in the type of its
    route, and frames are uint8 on both sides.
    """
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    expected = dict.fromkeys(_CONVOLUTIONS, TYPES[precision])
    expected["NORMALIZATION"] = TYPES[norm_type(norm, precision)]
    for layer in (network.get_layer(i) for i in range(network.num_layers)):
        kind, dtype = layer.type.name, layer.get_output(0).dtype.name
        if kind in expected:
            counts[f"{kind.lower()} {dtype}"] += 1
            if dtype != expected[kind]:
                wrong.append(f"{layer.name} ({kind.lower()}) is {dtype}, not {expected[kind]}")
    edges = [network.get_input(i) for i in range(network.num_inputs)]
    edges += [network.get_output(i) for i in range(network.num_outputs)]
    wrong += [f"{t.name} is {t.dtype.name}, not UINT8" for t in edges if t.dtype.name != "UINT8"]
    if not any(name.startswith(kind.lower()) for name in counts for kind in _CONVOLUTIONS):
        wrong.append("there is no convolution")
    if wrong:
        raise BackendError(
            f"the network is not what was asked for ({precision}, norms {norm}): {listed(wrong)}"
        )
    return dict(sorted(counts.items()))


def audit_engine(information: str, precision: BodyPrecision) -> dict[str, int]:
    """How many layers of a built engine give which type, from its inspector's JSON.

    Raises BackendError when 16 bits were asked for and no layer has them: fused layers carry names
    of their own, so that convolutions cannot be told apart here.
    """
    layers = json.loads(information).get("Layers", [])
    counts = Counter(
        str(output.get("Format/Datatype", "unknown"))
        for entry in layers
        if isinstance(entry, dict)
        for output in entry.get("Outputs", [])
    )
    wanted = _INSPECTED.get(precision)
    if wanted and counts and not any(name in kind for kind in counts for name in wanted):
        raise BackendError(
            f"the engine was asked for in {precision}, and its layers give {dict(counts)} alone"
        )
    return dict(counts)


def listed(problems: list[str], most: int = 8) -> str:
    """The first few problems, and how many more there are."""
    more = f"; and {len(problems) - most} more" if len(problems) > most else ""
    return "; ".join(problems[:most]) + more
