"""A camera that speaks RTSP, as far as a player asks: pictures as RTP inside the one connection."""

import socket
import threading
from fractions import Fraction

import av
from videos import smooth

SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n"
    "a=control:track\r\n"
)


class Camera:
    """Serves one caller after the other; hangs up after ``frames`` of each."""

    def __init__(self, callers: int, frames: int) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://127.0.0.1:{self._server.getsockname()[1]}/live"
        self._callers, self._frames = callers, frames
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with self._server:
            for _ in range(self._callers):
                caller, _ = self._server.accept()
                with caller:
                    self._talk(caller)

    def _talk(self, caller: socket.socket) -> None:
        with caller.makefile("r", newline="\r\n") as asked:
            while line := asked.readline():
                fields: dict[str, str] = {}
                while field := asked.readline().strip():
                    name, _, text = field.partition(": ")
                    fields[name.lower()] = text
                verb = line.split()[0]
                more, body = "", ""
                if verb == "OPTIONS":
                    more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
                elif verb == "DESCRIBE":
                    body = SDP
                    more = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
                elif verb == "SETUP":
                    more = f"Transport: {fields['transport']}\r\nSession: 1\r\n"
                head = f"RTSP/1.0 200 OK\r\nCSeq: {fields['cseq']}\r\n{more}\r\n"
                caller.sendall((head + body).encode())
                if verb == "PLAY":
                    self._send(caller)
                    return

    def _send(self, caller: socket.socket) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            taken.settimeout(0.02)
            port = taken.getsockname()[1]
            with av.open(f"rtp://127.0.0.1:{port}", "w", format="rtp") as made:
                out = made.add_stream("libx264", rate=25, options={"tune": "zerolatency"})
                out.width, out.height, out.pix_fmt = 64, 48, "yuv420p"
                out.codec_context.gop_size = 5
                out.codec_context.time_base = Fraction(1, 25)
                for number in range(self._frames):
                    frame = av.VideoFrame.from_ndarray(smooth(1)[0], format="rgb24")
                    frame.pts = number
                    made.mux(out.encode(frame))
                    self._forward(taken, caller)

    def _forward(self, taken: socket.socket, caller: socket.socket) -> None:
        try:
            while packet := taken.recv(2048):
                caller.sendall(b"$\0" + len(packet).to_bytes(2) + packet)
        except TimeoutError:
            return
