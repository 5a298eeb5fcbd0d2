"""How a result is encoded: encoder, quality and pixel format, with a default for each.

A container is chosen by ``Encoding.container`` or the target's suffix, the encoder by the
container, the quality by the encoder, and the pixel format by the source: its chroma and depth are
kept where the encoder can.
"""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cyclegan.colour import bits_of
from cyclegan.cpu import instruction_sets
from cyclegan.engine.frames import VideoDepth
from cyclegan.engine.hardware import NVENC, why_no_encoder
from cyclegan.errors import ConfigError, OutputError, VideoError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How the result is encoded; auto and None leave it to rules that go by target and source."""

    container: str = "auto"
    """Of the result: y4m, raw, mkv, ts or FFmpeg's name of a muxer; auto goes by the suffix."""
    encoder: str = "auto"
    """FFmpeg's name of an encoder, such as libx265, libvpx-vp9, libsvtav1, ffv1."""
    quality: int | None = None
    """On the encoder's own scale: mostly a rate factor or a quantiser, of which less is better."""
    pixel_format: str = "auto"
    """FFmpeg's name, such as yuv444p or yuv420p10le; auto keeps the source's chroma and depth."""
    lossless: bool = False
    """The result decodes to the very frames that were translated."""

    def __post_init__(self) -> None:
        if self.lossless and (self.quality is not None or self.pixel_format != "auto"):
            raise ConfigError("lossless leaves nothing to choose: give no quality or pixel format")


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """How one encoder of FFmpeg is told what we want."""

    quality: tuple[str, int] | None = None
    """The option that sets the quality, and what we set it to; or ``_QUANTISER``."""
    options: Mapping[str, str] = field(default_factory=dict)
    live: Mapping[str, str] = field(default_factory=dict)
    """For frames that must not wait inside the encoder."""
    lossless: tuple[str, Mapping[str, str]] | None = None
    """The pixel format and options under which it loses nothing of 8-bit RGB."""
    lossless_deep: str | None = None
    """The pixel format under which it loses nothing of 16-bit RGB."""


_QUANTISER = "qscale"
"""One quantiser for all frames: an option of FFmpeg's program, whose library has bounds instead."""

_X26_LIVE = {"tune": "zerolatency", "preset": "veryfast"}
_OF_MPEG = Encoder(quality=(_QUANTISER, 2))
_NVENC = Encoder(quality=("cq", 19), options={"rc": "vbr"}, live={"tune": "ull", "delay": "0"})

ENCODERS: dict[str, Encoder] = {
    "libx264": Encoder(quality=("crf", 18), live=_X26_LIVE),
    "libx264rgb": Encoder(quality=("crf", 18), live=_X26_LIVE, lossless=("rgb24", {"qp": "0"})),
    "libx265": Encoder(
        quality=("crf", 20),
        options={"x265-params": "log-level=error"},
        live=_X26_LIVE,
        lossless=("gbrp", {"x265-params": "lossless=1:log-level=error"}),
    ),
    "libvpx-vp9": Encoder(
        quality=("crf", 24),
        options={"b": "0", "row-mt": "1", "cpu-used": "4"},
        live={"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"},
        lossless=("gbrp", {"lossless": "1"}),
    ),
    "libsvtav1": Encoder(quality=("crf", 28), options={"preset": "8"}),
    "ffv1": Encoder(options={"level": "3"}, lossless=("bgr0", {}), lossless_deep="gbrp16le"),
    "png": Encoder(lossless=("rgb24", {}), lossless_deep="rgb48be"),
    "mjpeg": _OF_MPEG,
    "libwebp": Encoder(quality=("quality", 95), lossless=("bgra", {"lossless": "1"})),
    "bmp": Encoder(lossless=("bgr24", {})),
    "tiff": Encoder(lossless=("rgb24", {}), lossless_deep="rgb48le"),
    "mpeg1video": _OF_MPEG,
    "mpeg2video": _OF_MPEG,
    "mpeg4": _OF_MPEG,
    "rawvideo": Encoder(lossless=("rgb24", {})),
    "h264_nvenc": _NVENC,
    "hevc_nvenc": _NVENC,
    "av1_nvenc": _NVENC,
}
"""Others can be named too, and then take no quality."""

_DEFAULT = {
    "webm": "libvpx-vp9",
    "gif": "gif",
    "asf": "mpeg4",  # FFmpeg reads the times of H.264 wrongly there
    "yuv4mpegpipe": "wrapped_avframe",
    "rawvideo": "rawvideo",
    "null": "wrapped_avframe",
}
_DEFAULT_LOSSLESS = {
    "mp4": "libx264rgb",
    "mov": "libx264rgb",
    "webm": "libvpx-vp9",
    "rawvideo": "rawvideo",
}
_RAW_PIXELS = {
    "avi": ("bgr24", "bgra", "yuv420p", "yuv422p"),
    "mov": ("bgr24", "bgra", "rgb48be"),
}
"""Of raw pictures, by container, where others are written without a word and read as one of these;
the first is what auto takes. FFmpeg reads rgb24 back from .mov with its rows askew, at some widths.
"""
_BY_SUFFIX = {
    ".png": "png",
    ".jpg": "mjpeg",
    ".jpeg": "mjpeg",
    ".bmp": "bmp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".webp": "libwebp",
}
"""Of numbered pictures."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What one result is encoded with."""

    encoder: str
    canonical: str
    """Of its codec, as containers list them."""
    options: dict[str, str]
    pixel_format: str


def choose(
    encoding: Encoding,
    container: str,
    suffix: str,
    source_format: Any,
    *,
    size: tuple[int, int],
    live: bool,
    depth: VideoDepth = "auto",
) -> Chosen:
    """Fill the gaps of ``encoding`` for FFmpeg's muxer ``container`` and a target's ``suffix``.

    ``source_format`` is PyAV's format of the source's pictures; ``size``: width and height;
    ``depth``: asked for translated frames. H.264 is coded by NVENC where that opens for such frames
    and keeps their chroma and depth.
    Raises VideoError for an encoder that this FFmpeg or machine does not have, that takes no
    quality, or that cannot be lossless, OutputError for numbered pictures of an unknown suffix.
    """
    codec = _codec(_encoder_name(encoding, container, suffix), size)
    if encoding.lossless and codec.name == "libx264":  # which knows RGB under another name
        codec = _codec("libx264rgb", size)
    name = codec.name  # of the encoder, where a codec was named, such as h264
    known = ENCODERS.get(name, Encoder())
    options = dict(known.options) | (dict(known.live) if live else {})
    bits = bits_of(source_format)
    if depth == 16:
        bits = max(bits, 10)
    formats = [entry.name for entry in codec.video_formats or ()]
    if name == "rawvideo":
        formats = list(_RAW_PIXELS.get(container, ()))
    if encoding.lossless:
        more, pixel_format = _without_loss(name, container, deep=bits > 8 and depth != 8)
        if name == "rawvideo" and formats:
            pixel_format = formats[0]
        return _chosen(name, codec, options | more, pixel_format)
    options |= _of_quality(name, encoding.quality)
    if name in ("libx264", "libx264rgb") and "AVX512" in instruction_sets():
        # What its code in AVX-512 makes of some widths depends on what was in memory before:
        # pictures take more bytes than they need, and no two runs need be alike.
        options["x264-params"] = "asm=avx2"
    pixel_format = encoding.pixel_format
    if pixel_format == "auto":
        even = size[0] % 2 == size[1] % 2 == 0
        if name == "rawvideo" and suffix != ".yuv":
            pixel_format = formats[0] if formats else "rgb24"
        else:
            pixel_format = _pixel_format(name, formats, source_format, bits, even)
    elif formats and pixel_format not in formats:
        raise VideoError(f"{name} takes no {pixel_format}; it takes {', '.join(formats)}")
    if name == "libx264" and encoding.encoder == "auto" and pixel_format == "yuv420p":
        reason = why_no_encoder("h264_nvenc", *size)
        if reason is None:
            on_gpu = dataclasses.replace(encoding, encoder="h264_nvenc")
            return choose(
                on_gpu, container, suffix, source_format, size=size, live=live, depth=depth
            )
        _log.info("encoding on the CPU: %s", reason)
    return _chosen(name, codec, options, pixel_format)


def _codec(name: str, size: tuple[int, int]) -> Any:
    """FFmpeg's encoder of that name, which works here for frames of this width and height."""
    import av

    if name in NVENC and (reason := why_no_encoder(name, *size)):
        raise VideoError(f"{name} cannot be used here: {reason}; take libx264, libx265, libsvtav1")
    try:
        codec = av.Codec(name, "w")
    except av.codec.codec.UnknownCodecError as error:
        raise VideoError(
            f"this FFmpeg has no encoder {name!r}; use libx264, or another of those that "
            "`python -m av --codecs` lists"
        ) from error
    if codec.type != "video":
        raise VideoError(f"{name} encodes {codec.type}; use libx264, or another encoder of video")
    return codec


def _without_loss(name: str, container: str, *, deep: bool) -> tuple[dict[str, str], str]:
    """Options and pixel format; ``deep`` for frames of more than 8 bits."""
    known = ENCODERS.get(name, Encoder())
    if known.lossless is None:
        raise VideoError(
            f"{name} in {container} files cannot be lossless; .mkv takes ffv1, .mp4 and .mov "
            "take libx264rgb"
        )
    pixel_format, options = known.lossless
    return dict(options), (deep and known.lossless_deep) or pixel_format


def _of_quality(name: str, asked: int | None) -> dict[str, str]:
    """The option that sets the quality, where the encoder has one."""
    quality = ENCODERS.get(name, Encoder()).quality
    if quality is None:
        if asked is not None:
            raise VideoError(f"{name} has no quality to set; leave it out")
        return {}
    option, default = quality
    wanted = default if asked is None else asked
    if option == _QUANTISER:
        if not 1 <= wanted <= 31:
            raise VideoError(f"{name} takes a quality of 1, the best, to 31; got {wanted}")
        return {"qmin": str(wanted), "qmax": str(wanted)}
    return {option: str(wanted)}


def _chosen(name: str, codec: Any, options: dict[str, str], pixel_format: str) -> Chosen:
    return Chosen(
        encoder=name, canonical=codec.canonical_name, options=options, pixel_format=pixel_format
    )


def _encoder_name(encoding: Encoding, container: str, suffix: str) -> str:
    if encoding.encoder != "auto":
        return encoding.encoder
    if container == "image2" and suffix not in _BY_SUFFIX:
        raise OutputError(
            f"numbered pictures that end in {suffix or 'nothing'} have no encoder that is known "
            f"here; known endings are {', '.join(_BY_SUFFIX)}; for others name the encoder, or the "
            "container where a %d in the name is no number"
        )
    if container == "image2":
        return _BY_SUFFIX[suffix]
    if encoding.lossless:
        return _DEFAULT_LOSSLESS.get(container, "ffv1")
    return _DEFAULT.get(container, "libx264")


def _pixel_format(name: str, formats: Sequence[str], source: Any, bits: int, even: bool) -> str:
    """The nearest that the encoder has to the source's chroma and to ``bits``."""
    depths = next(ladder for most, ladder in _LADDERS if bits <= most)
    chroma = _chroma(source) if even else "444"
    if name in ("rawvideo", "wrapped_avframe"):
        return f"yuv{chroma}p{depths[0]}"
    if not formats:
        return "yuv420p" if even else "yuv444p"
    wanted = []
    for depth in depths:
        if depth == "" and bits > 8:
            wanted += ["rgb48be", "rgb48le"]  # of pictures
        wanted += [
            f"{kind}{layout}p{depth}" for kind in ("yuv", "yuvj") for layout in _NEAREST[chroma]
        ]
    if name == "mjpeg":
        wanted = ["yuvj444p"]
    if name in ("tiff", "jpeg2000"):  # readers differ in what Y'CbCr means there
        wanted = ["rgb24" if bits <= 8 else "rgb48le"]
    if not even:
        wanted = [entry for entry in wanted if "444" in entry or "rgb" in entry]
    found = next((entry for entry in wanted if entry in formats), None)
    return found or next(filter(_has_colour, formats), formats[0])


def _has_colour(pixel_format: str) -> bool:
    from av import VideoFormat

    form = VideoFormat(pixel_format)
    return form.has_palette or len(form.components) >= 3


_LADDERS = (
    (8, ("", "10le")),
    (10, ("10le", "")),
    (12, ("12le", "10le", "")),
    (99, ("16le", "12le", "10le", "")),
)
"""Bits of a channel up to which these endings of pixel formats are tried, best first."""


_NEAREST = {
    "420": ("420", "422", "444"),
    "422": ("422", "444", "420"),
    "444": ("444", "422", "420"),
}
"""The chroma that is tried for a source's: what holds all of it and the least beside first."""


def _chroma(source: Any) -> str:
    """ "420", "422" or "444"; RGB is stored as 4:2:0, which every player takes."""
    if source.is_rgb or source.has_palette or len(source.components) < 3:
        return "420"
    chroma = source.components[1]
    across, down = source.width / chroma.width, source.height / chroma.height
    if across < 1.5:
        return "444" if down < 1.5 else "420"
    return "422" if down < 1.5 else "420"
