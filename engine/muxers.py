"""What containers are called, what they hold, and which times of frames they can tell.

Names are those of FFmpeg's muxers, unless it is said otherwise.
"""

CONTAINERS = {
    "y4m": "yuv4mpegpipe",
    "raw": "rawvideo",
    "mkv": "matroska",
    "ts": "mpegts",
    "images": "image2",
}
"""Short names for FFmpeg's; any other name is taken to be one of FFmpeg's own."""

SUFFIXES = frozenset(".avi .gif .m4v .mkv .mov .mp4 .mpg .ts .webm .y4m".split())  # noqa: SIM905
"""How the names of videos usually end."""

TIMELESS = frozenset({"yuv4mpegpipe", "rawvideo", "image2"})
"""Containers without times: every frame lasts as long as every other."""

SLOTTED = frozenset({"avi"})
"""Containers of one rate, where a frame's place tells its time: in the order of decoding, so that
they hold no frames that are shown out of it."""

OUT_OF_ORDER = frozenset({"mov", "mp4", "ipod", "3gp", "3g2", "psp", "f4v"})
"""Containers whose beginning is written last, which only files allow."""

_ALSO_HOLD = {
    "mpegts": frozenset(
        {"h264", "hevc", "aac", "mp3", "ac3", "eac3", "dts", "truehd", "opus", "dvb_subtitle"}
    ),
    "flv": frozenset({"h264", "aac"}),
    "rtsp": frozenset({"h264", "hevc", "vp8", "vp9", "mpeg4", "aac", "opus"}),
    "yuv4mpegpipe": frozenset({"rawvideo"}),
}
"""Codecs that a container can hold though its muxer does not list them."""


def holds(container: str, listed: set[str], names: set[str]) -> bool:
    """Whether ``container``, whose muxer lists these codecs, can hold one of ``names``."""
    return container == "null" or bool(names & (listed | _ALSO_HOLD.get(container, frozenset())))
