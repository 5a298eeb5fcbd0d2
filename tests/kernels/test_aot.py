"""Compiles every kernel ahead of time, without a GPU, and reads what the compiler says of it.

``python tests/kernels/test_aot.py`` writes ``registers.json``, the figures that the tests hold. A
figure belongs to one version of Triton, whose compiler allocates registers.
"""

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

triton = pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from cyclegan.kernels import (  # noqa: E402
    instance_norm_triton,
    instance_norm_whole_triton,
    launch,
    pixels_triton,
    reflection_pad_triton,
)

BACKWARD = (
    instance_norm_triton.in_bwd_reduce,
    instance_norm_triton.in_bwd_dx,
    reflection_pad_triton.pad_backward,
)
CAPABILITIES = (80, 89, 90, 100, 120)
FEWER = (80, 90)
"""For the variants that must compile and not spill, no more."""
REGISTERS = Path(__file__).with_name("registers.json")
CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"

MOST_REGISTERS = 168
"""For versions of Triton without figures of their own: 3 blocks of 128 threads a multiprocessor."""
OF_A_THREAD = 255
"""What holds a whole image in registers may take all that a thread can have."""
NARROW_STORES = ("in_stats", "in_stats_large", "in_bwd_reduce_relu")
"""These store sums alone, a few bytes a program."""

FLAGS = {"WEIGHT": False, "BIAS": False, "CHANNELS_LAST": True}
RELU, NONE = {"ACTIVATION": 1}, {"ACTIVATION": 0}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One kernel with the flags of one place in the networks."""

    kernel: Any
    flags: dict[str, Any]
    pixels: int = 0
    """H x W that block sizes are chosen for; 0 for kernels without a table."""
    channels: int = 64
    dtype: str = "fp16"
    """Of activations, as Triton spells it."""


VARIANTS = {
    "in_stats": Variant(kernel=instance_norm_triton.in_stats, flags={}, pixels=1 << 16),
    "in_stats_large": Variant(kernel=instance_norm_triton.in_stats, flags={}, pixels=1 << 20),
    "in_apply_relu": Variant(
        kernel=instance_norm_triton.in_apply,
        flags={**RELU, "RESIDUAL": False, "Z": True, "PADDED": False},
        pixels=1 << 20,
    ),
    "in_apply_relu_pad": Variant(
        kernel=instance_norm_triton.in_apply,
        flags={**RELU, "RESIDUAL": False, "Z": False, "PADDED": True},
        pixels=1 << 16,
    ),
    "in_apply_residual_both": Variant(
        kernel=instance_norm_triton.in_apply,
        flags={**NONE, "RESIDUAL": True, "Z": True, "PADDED": True},
        pixels=1 << 16,
    ),
    "in_bwd_reduce_relu": Variant(
        kernel=instance_norm_triton.in_bwd_reduce,
        flags={**RELU, "DZ": True, "DPADDED": False, "DY": False},
        pixels=1 << 20,
    ),
    "in_bwd_reduce_both": Variant(
        kernel=instance_norm_triton.in_bwd_reduce,
        flags={**NONE, "DZ": True, "DPADDED": True, "DY": True},
        pixels=1 << 16,
    ),
    "in_bwd_dx_relu": Variant(
        kernel=instance_norm_triton.in_bwd_dx,
        flags={**RELU, "DZ": True, "DPADDED": False},
        pixels=1 << 20,
    ),
    "in_bwd_dx_pad": Variant(
        kernel=instance_norm_triton.in_bwd_dx,
        flags={**RELU, "DZ": False, "DPADDED": True},
        pixels=1 << 16,
    ),
    "in_apply_residual_both_one_tile": Variant(
        kernel=instance_norm_triton.in_apply,
        flags={**NONE, "RESIDUAL": True, "Z": True, "PADDED": True},
        pixels=1 << 12,
        channels=256,
    ),
    "in_bwd_dx_pad_one_tile": Variant(
        kernel=instance_norm_triton.in_bwd_dx,
        flags={**RELU, "DZ": False, "DPADDED": True},
        pixels=1 << 12,
        channels=256,
    ),
    "in_whole_relu_pad": Variant(
        kernel=instance_norm_whole_triton.in_whole,
        flags={**RELU, "RESIDUAL": False, "Z": False, "PADDED": True},
        pixels=1 << 12,
        channels=256,
    ),
    "in_whole_residual_both": Variant(
        kernel=instance_norm_whole_triton.in_whole,
        flags={**NONE, "RESIDUAL": True, "Z": True, "PADDED": True},
        pixels=1 << 12,
        channels=256,
    ),
    "in_whole_leaky": Variant(
        kernel=instance_norm_whole_triton.in_whole,
        flags={"ACTIVATION": 2, "RESIDUAL": False, "Z": True, "PADDED": False},
        pixels=961,
        channels=512,
    ),
    "pad_forward": Variant(kernel=reflection_pad_triton.pad_forward, flags={}, pixels=1 << 16),
    "pad_backward": Variant(kernel=reflection_pad_triton.pad_backward, flags={}, pixels=1 << 16),
    "unpack_frames": Variant(
        kernel=pixels_triton.unpack_frames, flags={"BLOCK": pixels_triton.BLOCK}
    ),
    "pack_frames": Variant(kernel=pixels_triton.pack_frames, flags={"BLOCK": pixels_triton.BLOCK}),
}
"""Every kernel that promises 16 bytes an access, in half precision."""

OTHERS = {
    "in_merge": Variant(
        kernel=instance_norm_triton.in_merge, flags={"BLOCK_C": 8, "MOMENTS": True}
    ),
    "unpack_yuv": Variant(
        kernel=pixels_triton.unpack_yuv, flags={"SHIFT": 6, "P": pixels_triton.PIXELS}
    ),
    "pack_yuv": Variant(
        kernel=pixels_triton.pack_yuv, flags={"SHIFT": 0, "P": pixels_triton.PIXELS}
    ),
    "in_stats_nchw": Variant(
        kernel=instance_norm_triton.in_stats, flags={"CHANNELS_LAST": False}, pixels=1 << 16
    ),
}
"""Small or narrow by nature: they must compile and keep to their registers."""


def _apply(**changes: Any) -> Variant:
    return _variant(
        instance_norm_triton.in_apply,
        {**RELU, "RESIDUAL": False, "Z": True, "PADDED": False},
        changes,
    )


def _whole(**changes: Any) -> Variant:
    return _variant(
        instance_norm_whole_triton.in_whole,
        {**RELU, "RESIDUAL": False, "Z": True, "PADDED": False},
        {"pixels": launch.WHOLE, **changes},
    )


def _reduce(**changes: Any) -> Variant:
    return _variant(
        instance_norm_triton.in_bwd_reduce,
        {**RELU, "DZ": True, "DPADDED": False, "DY": False},
        changes,
    )


def _dx(**changes: Any) -> Variant:
    return _variant(instance_norm_triton.in_bwd_dx, {**RELU, "DZ": True, "DPADDED": False}, changes)


def _variant(kernel: Any, flags: dict[str, Any], changes: dict[str, Any]) -> Variant:
    """Changes in capitals are the kernel's flags, others fields of Variant."""
    fields = {name: value for name, value in changes.items() if name.islower()}
    flags = flags | {name: value for name, value in changes.items() if name.isupper()}
    return Variant(kernel=kernel, flags=flags, **{"pixels": 1 << 16, **fields})


AFFINE = {"WEIGHT": True, "BIAS": True}
LEAKY, NCHW = {"ACTIVATION": 2}, {"CHANNELS_LAST": False}
BOTH = {"RESIDUAL": True, "PADDED": True}
PADDED_GRADIENT = {"DZ": False, "DPADDED": True}

LEGAL = {
    "in_stats_c3": _variant(instance_norm_triton.in_stats, {}, {"channels": 3}),
    "in_stats_c513_fp32": _variant(
        instance_norm_triton.in_stats, {}, {"channels": 513, "dtype": "fp32"}
    ),
    "in_merge_sums": Variant(
        kernel=instance_norm_triton.in_merge, flags={"BLOCK_C": 8, "MOMENTS": False}
    ),
    "in_apply_nchw_both": _apply(**NCHW, **BOTH),
    "in_apply_c3_leaky": _apply(channels=3, **LEAKY),
    "in_apply_c513_affine_both": _apply(channels=513, **AFFINE, **BOTH),
    "in_apply_fp32_affine_both": _apply(dtype="fp32", **AFFINE, **BOTH),
    "in_apply_bf16_affine_leaky": _apply(dtype="bf16", **AFFINE, **LEAKY, pixels=1 << 20),
    "in_whole_nchw_both": _whole(**NCHW, **BOTH),
    "in_whole_nchw_fp32_affine_leaky": _whole(
        dtype="fp32", channels=513, **NCHW, **AFFINE, **LEAKY
    ),
    "in_whole_bf16_affine_both": _whole(dtype="bf16", **AFFINE, **BOTH),
    "in_whole_fp32_both": _whole(dtype="fp32", **BOTH),
    "in_whole_fp32_affine_both": _whole(dtype="fp32", **AFFINE, **BOTH),
    "in_whole_bf16_tiny": _whole(dtype="bf16", pixels=256, **BOTH),
    "in_bwd_reduce_nchw": _reduce(**NCHW, DPADDED=True, DY=True),
    "in_bwd_reduce_c3_pad": _reduce(channels=3, **PADDED_GRADIENT),
    "in_bwd_reduce_c513_affine": _reduce(channels=513, **AFFINE, **LEAKY),
    "in_bwd_reduce_fp32_both": _reduce(dtype="fp32", DPADDED=True, DY=True),
    "in_bwd_reduce_bf16_pad": _reduce(dtype="bf16", **PADDED_GRADIENT, **AFFINE),
    "in_bwd_dx_nchw_pad": _dx(**NCHW, **PADDED_GRADIENT),
    "in_bwd_dx_c3_affine": _dx(channels=3, **AFFINE),
    "in_bwd_dx_c513_pad": _dx(channels=513, **PADDED_GRADIENT),
    "in_bwd_dx_fp32_affine_both": _dx(dtype="fp32", **AFFINE, DPADDED=True),
    "in_bwd_dx_bf16_leaky": _dx(dtype="bf16", **LEAKY, pixels=1 << 20),
    "pad_forward_nchw_fp32": _variant(
        reflection_pad_triton.pad_forward, {**NCHW}, {"dtype": "fp32"}
    ),
    "pad_backward_c3_bf16": _variant(
        reflection_pad_triton.pad_backward, {}, {"channels": 3, "dtype": "bf16"}
    ),
}
"""What else the networks and the public functions can ask for."""

FLOAT32 = {
    "partial_ptr", "merged_ptr", "mean_ptr", "rstd_ptr", "sums_ptr", "weight_ptr", "bias_ptr",
}  # fmt: skip
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
FLOATS = {"eps", "kr", "kb", "y_black", "y_range", "c_zero", "c_range"}
BYTES = {"frames_ptr", "y_ptr", "uv_ptr"}


def compiled(variant: Variant, capability: int) -> Any:
    """The compiled kernel, with ``asm["ptx"]`` and ``asm["cubin"]``."""
    constants, warps = _constants(variant)
    names = variant.kernel.arg_names
    signature = {name: "constexpr" if name in constants else _type(variant, name) for name in names}
    aligned = {
        (i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if name.endswith("_ptr")
    }
    source = ASTSource(variant.kernel, signature, constants, aligned)
    target = GPUTarget("cuda", capability, 32)
    return triton.compile(source, target=target, options={"num_warps": warps})


def _constants(variant: Variant) -> tuple[dict[str, Any], int]:
    known = {"C": variant.channels, **FLAGS, **variant.flags}
    warps = 8 if variant.kernel is instance_norm_triton.in_merge else 4
    if variant.pixels:
        blocks = _blocks(variant, known["CHANNELS_LAST"])
        splits = launch.cdiv(variant.pixels, blocks.share)
        known |= {"P": blocks.pixels, "BLOCK_C": blocks.channels, "ONE_TILE": blocks.one_tile}
        known["MERGED"] = splits > launch.INLINE_SPLITS
        warps = blocks.warps
    return {name: known[name] for name in variant.kernel.arg_names if name in known}, warps


def _blocks(variant: Variant, channels_last: bool) -> launch.Blocks:
    if variant.kernel is not instance_norm_whole_triton.in_whole:
        backward = variant.kernel in BACKWARD
        padded = backward and bool(variant.flags.get("DPADDED"))
        return launch.default(variant.channels, variant.pixels, channels_last, backward, padded)
    x = torch.empty(1, variant.channels, 1, 1, dtype=DTYPES[variant.dtype])
    blocks = launch.whole_blocks(x, variant.pixels, channels_last)
    assert blocks
    return blocks


def _type(variant: Variant, name: str) -> str:
    if name.endswith("_ptr"):
        pad = variant.kernel in (
            reflection_pad_triton.pad_forward,
            reflection_pad_triton.pad_backward,
        )
        if name in FLOAT32:
            return "*fp32"
        if name in BYTES and not pad:
            return "*u16" if variant.flags.get("SHIFT") else "*u8"
        return f"*{variant.dtype}"
    return "fp32" if name in FLOATS else "i32"


def resources(cubin: bytes) -> dict[str, int]:
    """Registers, stack and local bytes, as the disassembler of the toolkit reads them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        text = subprocess.run(
            [CUOBJDUMP, "--dump-resource-usage", path], capture_output=True, text=True, check=True
        ).stdout
    return {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", text)}


def wide(ptx: str) -> tuple[bool, bool]:
    """Whether the kernel loads, and stores, 16 bytes at once."""

    def has(kind: str) -> bool:
        return re.search(rf"{kind}\.global\S*\.v(4\.b32|2\.b64|8\.b16)", ptx) is not None

    return has("ld"), has("st")


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("name", VARIANTS | OTHERS)
def test_keeps_to_its_registers_and_to_wide_accesses(name: str, capability: int) -> None:
    kernel = compiled((VARIANTS | OTHERS)[name], capability)
    used = resources(kernel.asm["cubin"])
    assert used["STACK"] == used["LOCAL"] == 0, "spills, or an array in local memory"
    committed = json.loads(REGISTERS.read_text())
    limit = OF_A_THREAD if name.startswith("in_whole") else MOST_REGISTERS
    if triton.__version__ == committed["triton"]:
        limit = committed["registers"][name][str(capability)]
    assert used["REG"] <= limit
    if name in VARIANTS:
        loads, stores = wide(kernel.asm["ptx"])
        assert loads
        assert stores or name in NARROW_STORES


@pytest.mark.parametrize("capability", FEWER)
@pytest.mark.parametrize("name", LEGAL)
def test_compiles_without_spills(name: str, capability: int) -> None:
    used = resources(compiled(LEGAL[name], capability).asm["cubin"])
    assert used["STACK"] == used["LOCAL"] == 0, "spills, or an array in local memory"


def main() -> None:
    found = {
        name: {
            str(capability): resources(compiled(variant, capability).asm["cubin"])["REG"]
            for capability in CAPABILITIES
        }
        for name, variant in (VARIANTS | OTHERS).items()
    }
    table = {"triton": triton.__version__, "registers": found}
    REGISTERS.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
