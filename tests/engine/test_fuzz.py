"""Broken containers, made from real ones: an error or a result, but no crash and no hang."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from videos import smooth, write_video

SECONDS = 2
"""For each container."""

PROGRAM = textwrap.dedent("""
    import random, sys, time
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from videos import Copies
    from cyclegan.config import ResnetConfig
    from cyclegan.engine.graph_info import GraphInfo
    from cyclegan.engine.translator import Translator
    from cyclegan.engine.video import translate_video
    from cyclegan.errors import CycleGANError

    whole = Path({source!r}).read_bytes()
    folder, suffix = Path({folder!r}), Path({source!r}).suffix
    source, target = folder / ("broken" + suffix), folder / "out.mkv"
    chance = random.Random(7)
    translator = Translator(Copies(), GraphInfo(config=ResnetConfig()))
    ends = {{"whole": 0, "refused": 0}}
    slowest = 0.0
    began = time.monotonic()
    while time.monotonic() - began < {seconds}:
        data = bytearray(whole)
        for _ in range(chance.choice((1, 2, 8, 40))):
            at = chance.randrange(len(data))
            kind = chance.randrange(4)
            if kind == 0:
                data[at] = chance.randrange(256)
            elif kind == 1:
                data[at : at + 4] = chance.choice((b"\\xff" * 4, bytes(4), b"\\x7f\\xff\\xff\\xff"))
            elif kind == 2:
                del data[at : at + chance.randrange(1, 200)]
            else:
                data[at:at] = data[chance.randrange(len(data)) :][: chance.randrange(1, 200)]
        source.write_bytes(data)
        start = time.monotonic()
        try:
            translate_video(source, target, translator)
            ends["whole"] += 1
            assert target.exists()
        except CycleGANError as error:
            ends["refused"] += 1
            assert str(error) and not target.exists()
        target.unlink(missing_ok=True)
        (folder / "out.partial.mkv").unlink(missing_ok=True)
        slowest = max(slowest, time.monotonic() - start)
    print(ends["whole"], ends["refused"], slowest, *sorted(p.name for p in folder.iterdir()))
""")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_broken_containers_neither_crash_nor_hang(suffix: str, tmp_path: Path) -> None:
    source = write_video(tmp_path / f"whole{suffix}", smooth(12), pix_fmt="yuv420p")
    (tmp_path / "work").mkdir()
    code = PROGRAM.format(
        tests=str(Path(__file__).parent),
        source=str(source),
        folder=str(tmp_path / "work"),
        seconds=SECONDS,
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    whole, refused, slowest, *left = done.stdout.split()
    assert int(whole) + int(refused) > 10
    assert int(refused) > 0
    assert float(slowest) < 30
    assert left == [f"broken{suffix}"], "nothing half done lies about"
