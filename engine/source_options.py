"""Options of sources that FFmpeg would pass over in silence: it ignores the names that it does not
know, and a misspelt rate became 25 frames a second.
"""

import difflib
from collections.abc import Iterable

from cyclegan.errors import ConfigError

_V4L2 = (
    *("video_size", "framerate", "input_format", "pixel_format", "standard", "channel"),
    *("list_formats", "list_standards", "timestamps", "ts", "use_libv4l2"),
)
_OWN = {
    "rawvideo": ("video_size", "pixel_format", "framerate"),
    "yuv4mpegpipe": (),
    "video4linux2": _V4L2,
    "v4l2": _V4L2,
}
"""By FFmpeg's name of the demuxer: all that it takes beside what every one takes."""
_COMMON = (
    *("max_pixels", "probesize", "formatprobesize", "analyzeduration", "fpsprobesize"),
    *("max_probe_packets", "duration_probesize", "max_streams", "avioflags", "fflags", "fdebug"),
    *("err_detect", "f_err_detect", "f_strict", "strict", "seek2any", "skip_initial_bytes"),
    *("start_time_realtime", "use_wallclock_as_timestamps", "rtbufsize", "indexmem", "max_delay"),
    *("correct_ts_overflow", "max_ts_probe", "skip_estimate_duration_from_pts", "packetsize"),
    *("codec_whitelist", "format_whitelist", "protocol_whitelist", "protocol_blacklist"),
    *("cryptokey", "dump_separator", "rw_timeout"),
    *("follow", "seekable", "blocksize", "truncate", "pkt_size"),  # of files and pipes
)


def check_names(form: str | None, given: Iterable[str]) -> None:
    """Raises ConfigError for an option that the demuxer ``form`` does not have, as far as we know
    which it has.
    """
    if form not in _OWN:
        return
    own = (*_OWN[form], "max_pixels")
    for name in given:
        if name not in (*own, *_COMMON):
            near = difflib.get_close_matches(name, (*own, *_COMMON), n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(own)}"
            raise ConfigError(f"{form} has no source option {name}; {hint}")
