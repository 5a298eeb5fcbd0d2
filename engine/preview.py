"""A page on this machine that shows the picture as it is translated, its rate and its latency.

H height, W width. Pictures go out as JPEG in one endless answer (multipart/x-mixed-replace), which
every browser shows as a moving picture. Who looks slowly sees fewer pictures and holds nobody up.
"""

import io
import json
import secrets
import sys
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import numpy as np

from cyclegan.engine.frames import Frames, depth_of
from cyclegan.engine.live import latency_of
from cyclegan.errors import OutputError

HOST = "127.0.0.1"
_SECONDS = 2.0
"""That the rate and the latency are means over."""
_MOST_PER_SECOND = 30.0
_STILL = 0.2
"""Seconds without a new frame after which the last is sent once more: Chromium shows a picture when
the next one begins."""
_SILENCE = 60.0
"""Seconds that a connection may neither ask nor take anything: each holds a thread and a file."""
_BOUNDARY = secrets.token_hex(8)
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>cyclegan preview</title>
<meta name="viewport" content="width=device-width">
<style>
body { margin: 0; background: #111; color: #eee; font: 16px/1.5 system-ui, sans-serif; }
main { min-height: 100vh; display: flex; flex-direction: column; align-items: center; }
img { max-width: 100%; max-height: calc(100vh - 3em); margin: auto; }
p { margin: .5em; font-variant-numeric: tabular-nums; }
</style></head>
<body><main><img src="/stream" alt="the translated video">
<p id="figures" role="status">waiting for the first frame</p></main>
<script>
async function look() {
  const line = document.getElementById("figures");
  try {
    const s = await (await fetch("/figures")).json();
    if (s.frames) line.textContent = `${s.frames} frames, ${s.rate.toFixed(1)} frames/s, ` +
      `latency ${s.latency_p50_ms.toFixed(0)} ms (p50), ${s.latency_p95_ms.toFixed(0)} ms (p95)` +
      (s.ended ? ", ended" : "");
    if (!s.ended) setTimeout(look, 500);
  } catch { line.textContent = "the translation has ended"; }
}
look();
</script></body></html>
"""


class Preview:
    """Serves the page while it is open. Use it as a context manager."""

    def __init__(self, port: int = 0) -> None:
        """``port`` 0 takes a free one. Raises OutputError where the port cannot be had."""
        self._changed = threading.Condition()
        self._frame: Frames | None = None
        self._count = 0
        self._jpeg: tuple[int, bytes] = (0, b"")
        self._recent: deque[tuple[float, float]] = deque()
        self._ended = False
        try:
            self._server = _Server((HOST, port), _handler(self))
        except (OSError, OverflowError) as error:
            raise OutputError(f"cannot show the preview on port {port}: {error}") from error
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.address = f"http://{HOST}:{self._server.server_port}/"

    def __enter__(self) -> "Preview":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def show(self, frame: Frames, latency_seconds: float) -> None:
        """The next frame, (H, W, 3), which must not change. Returns at once."""
        now = time.perf_counter()
        with self._changed:
            self._frame, self._count = frame, self._count + 1
            self._recent.append((now, latency_seconds))
            self._forget(now)
            self._changed.notify_all()

    def _forget(self, now: float) -> None:
        """Let go of what is not of late any more."""
        while self._recent and self._recent[0][0] < now - _SECONDS:
            self._recent.popleft()

    def figures(self) -> dict[str, float | int | bool]:
        """Frames so far, and rate and latency of late."""
        with self._changed:
            self._forget(time.perf_counter())
            recent, count, ended = list(self._recent), self._count, self._ended
        latency = latency_of([seconds for _, seconds in recent])
        span = recent[-1][0] - recent[0][0] if recent else 0.0
        return {
            "frames": count,
            "rate": (len(recent) - 1) / span if span else 0.0,
            "latency_p50_ms": latency.p50 if latency else 0.0,
            "latency_p95_ms": latency.p95 if latency else 0.0,
            "ended": ended,
        }

    def next_jpeg(self, after: int, patience: float | None = None) -> tuple[int, bytes] | None:
        """The number and JPEG of the latest frame, when it is later than ``after``, or none has
        come in ``patience`` seconds; None: ended."""
        from PIL import Image

        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._count > after, patience)
            number, frame = self._count, self._frame
            if frame is None or (self._ended and number <= after):
                return None
            if self._jpeg[0] == number:
                return self._jpeg
        if depth_of(frame) == 16:
            frame = (frame >> 8).astype(np.uint8)
        encoded = io.BytesIO()
        Image.fromarray(frame).save(encoded, "JPEG", quality=85)
        jpeg = number, encoded.getvalue()
        with self._changed:
            self._jpeg = max(self._jpeg, jpeg)
        return jpeg


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Of browsers that break a connection off nothing is said."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _handler(preview: Preview) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _SILENCE

        def do_GET(self) -> None:
            answers = {"/": self._page, "/figures": self._figures, "/stream": self._stream}
            # Only this machine's own names: another site must not read it through the browser.
            host = (self.headers["Host"] or "").rsplit(":", 1)[0]
            if host not in (HOST, "localhost"):
                self.send_error(403)
            elif answer := answers.get(self.path):
                try:
                    answer()
                except OSError:  # the browser has gone
                    self.close_connection = True
            else:
                self.send_error(404)

        def _page(self) -> None:
            self._send("text/html; charset=utf-8", PAGE.encode())

        def _figures(self) -> None:
            self._send("application/json", json.dumps(preview.figures()).encode())

        def _send(self, kind: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            number, patience = 0, None
            while (found := preview.next_jpeg(number, patience)) is not None:
                patience = None if found[0] == number else _STILL
                number, jpeg = found
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}"
                self.wfile.write(f"{head}\r\n\r\n".encode() + jpeg + b"\r\n")
                time.sleep(1 / _MOST_PER_SECOND)
            self.wfile.write(f"--{_BOUNDARY}--\r\n".encode())

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler
