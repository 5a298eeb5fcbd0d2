import dataclasses
import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from cyclegan import cpu
from cyclegan.engine import doctor
from cyclegan.engine.gpus import Gpu, nvidia_gpus
from cyclegan.engine.runners import BACKENDS
from cyclegan.engine.runners.openvino import openvino_module
from cyclegan.files import cache_folder


def test_the_diagnosis_is_of_this_machine() -> None:
    diagnosis = doctor.diagnose()
    assert diagnosis.cores == cpu.cpu_cores() >= 1
    assert diagnosis.libraries["openvino"] is not None
    assert diagnosis.libraries["openvino"] in openvino_module().get_version()
    assert any(device.startswith("CPU") for device in diagnosis.openvino_devices)
    assert "libx264" in diagnosis.video["video encoding"]
    opens = diagnosis.video["NVDEC"] == "opens"
    assert diagnosis.video["video decoding"].startswith("by NVDEC" if opens else "on the CPU")
    assert {"NVDEC", "h264_nvenc", "hevc_nvenc", "av1_nvenc"} <= diagnosis.video.keys()
    if not diagnosis.gpus:
        assert diagnosis.video["NVDEC"] == "there is no NVIDIA GPU with a driver"
        assert diagnosis.video["h264_nvenc"] == "there is no NVIDIA GPU with a driver"
    assert diagnosis.cpu_kernels
    assert diagnosis.cache.startswith(str(cache_folder()))
    assert diagnosis.missing["openvino"] is None
    assert set(diagnosis.missing) == set(BACKENDS)
    assert diagnosis.missing[diagnosis.choice.backend] is None


@pytest.mark.skipif(sys.platform == "win32", reason="makes a script for a POSIX shell")
def test_gpus_without_memory_of_their_own_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diagnosis = doctor.diagnose()  # here: what it finds out with the command below would be kept
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\necho 'Gx, large, [N/A], 5.1, 12.1'\necho 'Hx, 80, 5.1, 9.0'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    gpus = nvidia_gpus()
    assert [(gpu.name, gpu.memory_mib) for gpu in gpus] == [("Gx, large", None), ("Hx", 80)]
    assert gpus[0].compute_capability == "12.1"
    console = Console(width=100, file=io.StringIO())
    console.print(doctor.render(dataclasses.replace(diagnosis, gpus=gpus)))
    assert "memory unknown" in console.file.getvalue()


def test_a_device_that_openvino_cannot_open_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("the driver is broken")

    monkeypatch.setattr(doctor, "shared_core", broken)
    assert doctor._openvino_devices() == ()


@pytest.mark.parametrize("library", ["openvino", "av", "torch"])
def test_a_library_that_cannot_be_imported_is_told(library: str, tmp_path: Path) -> None:
    (tmp_path / library).mkdir()
    (tmp_path / library / "__init__.py").write_text("raise ImportError('no libx.so')")
    look = (
        "import sys; sys.path.insert(0, sys.argv[1]); from cyclegan.engine import doctor; "
        "from rich import print; print(doctor.render(doctor.diagnose()))"
    )
    told = subprocess.run(
        [sys.executable, "-c", look, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert "cannot be imported: no libx.so" in " ".join(told.stdout.split())


def test_the_cache_is_told_with_its_limit_and_nothing_is_left_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "new" / "cache"
    monkeypatch.setenv("CYCLEGAN_CACHE", str(cache))
    monkeypatch.setenv("CYCLEGAN_CACHE_GB", "2.5")
    assert doctor._cache() == f"{cache}, kept below 2.5 GB"
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("CYCLEGAN_CACHE", "{file}/cache", "set CYCLEGAN_CACHE to a folder that can be written"),
        ("CYCLEGAN_CACHE_GB", "much", "CYCLEGAN_CACHE_GB='much'; expected the cache's limit in GB"),
    ],
)
def test_a_cache_that_cannot_be_used_is_told(
    variable: str, value: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv(variable, value.format(file=file))
    assert says in doctor._cache()


def test_brackets_are_shown_as_they_are() -> None:
    diagnosis = dataclasses.replace(doctor.diagnose(), missing={"torch": "see [/usr] or [a]"})
    console = Console(width=100, file=io.StringIO())
    console.print(doctor.render(diagnosis))
    assert "see [/usr] or [a]" in console.file.getvalue()


def test_it_is_shown_with_reasons_and_advice() -> None:
    diagnosis = dataclasses.replace(
        doctor.diagnose(),
        gpus=(Gpu(name="Gx", memory_mib=1, driver="2", compute_capability="9.0"),),
        cache="cannot write [it]",
        advice=("do this",),
        missing={"torch": "needs a wizard"},
    )
    console = Console(width=100, file=io.StringIO())
    console.print(doctor.render(diagnosis))
    text = console.file.getvalue()
    for part in ("Gx", "compute capability 9.0", "do this", "needs a wizard", "auto takes"):
        assert part in text
    assert "cannot write [it]" in text
