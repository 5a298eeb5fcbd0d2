"""Broken containers, made from real ones: an error or a result, but no crash and no hang."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from videos import smooth, write_video

BROKEN = 200
"""Files of each container: the same ones in each run."""

PROGRAM = textwrap.dedent("""
    import random, sys, time
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from videos import Copies, peak_kib
    from cyclegan.config import ResnetConfig
    from cyclegan.engine.graph_info import GraphInfo
    from cyclegan.engine.translator import Translator
    from cyclegan.engine.video import translate_video
    from cyclegan.errors import CycleGANError

    whole = Path({source!r}).read_bytes()
    folder, suffix = Path({folder!r}), Path({source!r}).suffix
    source, target = folder / ("broken" + suffix), folder / "out.mkv"
    chance = random.Random({seed})
    translator = Translator(Copies(), GraphInfo(config=ResnetConfig()))
    ends = {{"whole": 0, "refused": 0}}
    slowest = 0.0
    for _ in range({broken}):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 2, 8, 40))):
            at = chance.randrange(len(data))
            kind = chance.randrange(5)
            if kind == 0:
                data[at] = chance.randrange(256)
            elif kind == 1:
                data[at : at + 4] = chance.choice((b"\\xff" * 4, bytes(4), b"\\x7f\\xff\\xff\\xff"))
            elif kind == 2:
                del data[at : at + chance.randrange(1, 200)]
            elif kind == 3:
                size = chance.choice((60000, 16000, 9000)).to_bytes(2) * 2
                data = data.replace((64).to_bytes(2) + (48).to_bytes(2), size)
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
    left = sorted(path.name for path in folder.iterdir())
    print(ends["whole"], ends["refused"], slowest, peak_kib(), *left)
""")

ABSURD = textwrap.dedent(r"""
    import sys, zlib
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from videos import Copies, peak_kib
    from cyclegan.config import ResnetConfig
    from cyclegan.engine.graph_info import GraphInfo
    from cyclegan.engine.options import VideoOptions
    from cyclegan.engine.translator import Translator
    from cyclegan.engine.video import translate_video
    from cyclegan.errors import VideoError

    def picture(side):
        def chunk(name, data):
            checked = name + data
            return len(data).to_bytes(4) + checked + zlib.crc32(checked).to_bytes(4)
        head = side.to_bytes(4) * 2 + bytes((8, 2, 0, 0, 0))
        body = zlib.compress(bytes(1000))
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body)

    folder = Path({folder!r})
    sources = dict()
    for side in (16000, 60000):
        (folder / f"{{side}}_1.png").write_bytes(picture(side))
        sources[folder / f"{{side}}_%d.png"] = VideoOptions()
        named = folder / f"{{side}}.y4m"
        named.write_bytes(f"YUV4MPEG2 W{{side}} H{{side}} F25:1\nFRAME\n".encode() + bytes(9999))
        sources[named] = VideoOptions()
        raw = folder / f"{{side}}.rgb"
        raw.write_bytes(bytes(9999))
        size = dict(video_size=f"{{side}}x{{side}}", pixel_format="rgb24")
        sources[raw] = VideoOptions(source_format="raw", source_options=size)
    translator = Translator(Copies(), GraphInfo(config=ResnetConfig()))
    before = peak_kib()
    for source, options in sources.items():
        try:
            translate_video(source, folder / "out.mkv", translator, options)
        except VideoError as error:
            print(source.name, error)
    print((peak_kib() - before) // 1024)
""")


def run(program: str, **values: object) -> str:
    code = program.format(tests=str(Path(__file__).parent), **values)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_absurd_sizes_are_refused_in_little_memory(tmp_path: Path) -> None:
    *errors, grown = run(ABSURD, folder=str(tmp_path)).splitlines()
    assert len(errors) == 6
    said = dict(line.split(" ", 1) for line in errors)
    assert "says that its frames are 16000x16000; expected at most" in said["16000.y4m"]
    for name in ("16000.rgb", "16000_%d.png"):
        assert "or their frames have over 67,108,864 pixels" in said[name]
    assert int(grown) < 100, "megabytes; a frame of 16000x16000 has 768"
    assert not (tmp_path / "out.mkv").exists()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_broken_containers_neither_crash_nor_hang(suffix: str, tmp_path: Path) -> None:
    source = write_video(tmp_path / f"whole{suffix}", smooth(12), pix_fmt="yuv420p")
    (tmp_path / "work").mkdir()
    said = run(PROGRAM, source=str(source), folder=str(tmp_path / "work"), seed=7, broken=BROKEN)
    whole, refused, slowest, peak, *left = said.split()
    assert int(whole) + int(refused) == BROKEN
    assert int(refused) > 0
    assert float(slowest) < 30
    assert int(peak) < 2_000_000, "KiB, of which what is imported takes most"
    assert left == [f"broken{suffix}"], "nothing half done lies about"
