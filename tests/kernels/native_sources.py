"""Kernels for CPUs compiled afresh, from other sources or for other CPUs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cyclegan import cpu
from cyclegan.kernels import native


@contextmanager
def afresh(folder: Path) -> Iterator[Path]:
    """An empty cache below ``folder``, in which everything is compiled again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CYCLEGAN_CACHE", str(folder / "cache"))
        native._made.cache_clear()
        yield folder / "cache" / "native"
    native._made.cache_clear()


OTHER_CPUS = {
    "no AVX": ("-march=x86-64", frozenset()),
    "AVX2": ("-march=haswell", frozenset({"avx2", "fma", "bmi2"})),
    "AVX512": ("-march=skylake-avx512", frozenset({"avx512f", "avx512bw", "avx512vl"})),
    "AVX512-BF16": ("-march=cooperlake", frozenset({"avx512_bf16", "avx512_vnni"})),
}
"""What to compile with, and what the CPU at hand must have to run it."""


@contextmanager
def compiled_for(name: str, folder: Path) -> Iterator[None]:
    """Kernels as for one of OTHER_CPUS; skips the test where they would not run."""
    flag, needed = OTHER_CPUS[name]
    if not needed <= cpu.cpu_flags():
        pytest.skip(f"this CPU cannot run what is compiled with {flag}")
    flags = tuple(flag if f == "-march=native" else f for f in native.FLAGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "FLAGS", flags)
        with afresh(folder):
            yield


@contextmanager
def mutated(source: str, old: str, new: str, folder: Path) -> Iterator[None]:
    """That source file with ``new`` instead of ``old``, in it or in what it includes."""
    files = [native.FOLDER / f"{source}.cpp", *native.FOLDER.glob("*.h")]
    texts = {path.name: path.read_text() for path in files}
    assert any(old in text for text in texts.values()), f"{old!r} is not there any more"
    for name, text in texts.items():
        (folder / name).write_text(text.replace(old, new))
    with afresh(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "FOLDER", folder)
        patch.setattr(native, "FLAGS", (*native.FLAGS, "-O0"))  # compiles faster
        assert native.library(source) is not None
        yield
