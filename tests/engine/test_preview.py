import http.client
import io
import json
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from videos import smooth, write_video

from cyclegan.engine.options import VideoOptions
from cyclegan.engine.preview import Preview
from cyclegan.engine.translator import Translator
from cyclegan.engine.video import translate_video
from cyclegan.errors import OutputError

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture
def preview() -> Iterator[Preview]:
    with Preview() as opened:
        yield opened


def get(preview: Preview, path: str, **headers: str) -> http.client.HTTPResponse:
    host, port = preview.address.removeprefix("http://").rstrip("/").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def parts(answer: http.client.HTTPResponse) -> Iterator[np.ndarray]:
    """The pictures of a stream, as they come."""
    while line := answer.readline():
        if match := re.match(rb"Content-Length: (\d+)", line):
            answer.readline()
            data = answer.read(int(match[1]))
            yield np.asarray(Image.open(io.BytesIO(data)))


def test_the_page_shows_the_latest_picture(preview: Preview) -> None:
    assert b'<img src="/stream"' in get(preview, "/").read()
    assert json.loads(get(preview, "/figures").read())["frames"] == 0
    first, second = smooth(2)
    preview.show(first, 0.010)
    stream = parts(get(preview, "/stream"))
    assert np.abs(next(stream).astype(int) - first).mean() < 4
    for _ in range(50):
        preview.show(first, 0.010)
        time.sleep(0.002)
    preview.show(255 - second, 0.010)
    for picture in stream:
        if np.abs(picture.astype(int) - (255 - second)).mean() < 4:
            break
    figures = json.loads(get(preview, "/figures").read())
    assert figures["frames"] == 52
    assert figures["rate"] > 50
    assert figures["latency_p95_ms"] == pytest.approx(10)


def test_the_last_picture_before_a_silence_comes_once_more(preview: Preview) -> None:
    """A browser shows it when another begins."""
    first, second = smooth(2)
    preview.show(first, 0.010)
    stream = parts(get(preview, "/stream"))
    assert np.array_equal(next(stream), next(stream))
    threading.Timer(0.5, preview.show, (255 - second, 0.010)).start()
    following = next(stream)
    assert np.abs(following.astype(int) - (255 - second)).mean() < 4, "once"


def test_the_rate_is_that_of_late(preview: Preview, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no frame comes any more."""
    monkeypatch.setattr("cyclegan.engine.preview._SECONDS", 0.2)
    for frame in smooth(10):
        preview.show(frame, 0.010)
        time.sleep(0.005)
    assert preview.figures()["rate"] > 0
    time.sleep(0.25)
    assert preview.figures() == {
        "frames": 10,
        "rate": 0.0,
        "latency_p50_ms": 0.0,
        "latency_p95_ms": 0.0,
        "ended": False,
    }


def connected(preview: Preview) -> socket.socket:
    port = int(preview.address.rstrip("/").rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def test_a_connection_that_breaks_off_is_not_worth_a_word(
    preview: Preview, capfd: pytest.CaptureFixture[str]
) -> None:
    threads = threading.active_count()
    with connected(preview) as connection:
        connection.sendall(b"GET / HT")
        while threading.active_count() == threads:
            time.sleep(0.01)
        # Closing it resets it.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    while threading.active_count() > threads:
        time.sleep(0.01)
    assert capfd.readouterr() == ("", "")


def test_silent_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cyclegan.engine.preview._SILENCE", 0.1)
    with Preview() as preview, connected(preview) as connection:
        assert connection.recv(1) == b""


def test_who_looks_slowly_holds_nobody_up_and_streams_end(preview: Preview) -> None:
    answer = get(preview, "/stream")
    begin = time.perf_counter()
    frame = np.random.default_rng(0).integers(0, 256, (360, 640, 3), np.uint8)
    for _ in range(300):
        preview.show(frame, 0.0)
    assert time.perf_counter() - begin < 2
    ended = threading.Timer(0.2, preview.__exit__, (None, None, None))
    ended.start()
    assert 1 <= len(list(parts(answer))) < 300
    ended.join()


def test_other_pages_and_other_sites_are_refused(preview: Preview) -> None:
    assert get(preview, "/etc/passwd").status == 404
    assert get(preview, "/figures", Host="evil.example").status == 403


def test_a_port_that_is_taken_is_an_error(preview: Preview) -> None:
    port = int(preview.address.rstrip("/").rsplit(":", 1)[1])
    with pytest.raises(OutputError, match=f"port {port}"):
        Preview(port)
    with pytest.raises(OutputError, match="port 70000"):
        Preview(70000)


def browse(preview: Preview, option: str, shown: Callable[[str], object]) -> None:
    """What the browser prints of the page must be ``shown`` sooner or later.

    The stream never ends, so that Chromium looks when its time is over: on a busy machine its
    script may not have run by then.
    """
    for seconds in (4, 8, 16):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            page = subprocess.run(
                [
                    str(BROWSER),
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--window-size=640,480",
                    f"--timeout={1000 * seconds}",
                    f"--user-data-dir={profile}",
                    option,
                    preview.address,
                ],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            ).stdout
        if shown(page):
            return
    pytest.fail(f"{option}: not there after {seconds} seconds: {page}")


def green_pixels(screenshot: Path) -> int:
    page = np.asarray(Image.open(screenshot).convert("RGB")).astype(int)
    return int((np.abs(page - (0, 200, 0)) < 30).all(-1).sum())


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here; the tests above speak HTTP")
def test_a_real_browser_shows_picture_rate_and_latency(copies: Translator, tmp_path: Path) -> None:
    """A live run behind, a headless Chromium in front, and its screenshot compared."""
    green = [np.full((240, 320, 3), (0, 200, 0), np.uint8)] * 400
    source = write_video(tmp_path / "in.mp4", green)
    stop = threading.Event()
    with Preview() as preview:
        run = threading.Thread(
            target=translate_video,
            args=(source, "/dev/null", copies, VideoOptions(live=True)),
            kwargs={"show": preview.show, "stop": stop},
        )
        run.start()
        try:
            shot = tmp_path / "page.png"
            browse(preview, f"--screenshot={shot}", lambda _: green_pixels(shot) > 0.7 * 320 * 240)
            browse(
                preview,
                "--dump-dom",
                lambda page: re.search(
                    r"\d+ frames, \d+\.\d frames/s, latency \d+ ms \(p50\), \d+ ms", page
                ),
            )
        finally:
            stop.set()
            run.join()
