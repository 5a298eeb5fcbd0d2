import pytest

from cyclegan import cpu
from cyclegan.engine.runners.openvino import shared_core


def test_openvino_agrees_on_what_the_cpu_computes_in() -> None:
    able = shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert cpu.has_fast_bfloat16() == ("BF16" in able)


@pytest.mark.parametrize(
    ("flags", "names", "fast"),
    [
        ({"avx2"}, ("AVX2",), False),
        ({"avx2", "avx512f"}, ("AVX512", "AVX2"), False),
        ({"avx2", "avx512f", "avx512_bf16"}, ("AVX512-BF16", "AVX512", "AVX2"), True),
        ({"amx_tile", "amx_bf16"}, ("AMX",), True),
        ({"amx_tile"}, (), False),
        (set(), (), False),
    ],
)
def test_instruction_sets_follow_from_flags(
    flags: set[str], names: tuple[str, ...], fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "cpu_flags", lambda: frozenset(flags))
    assert cpu.instruction_sets() == names
    assert cpu.has_fast_bfloat16() == fast
