"""How a video is translated, and what that took."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields

from cyclegan.engine.comparison import Compare
from cyclegan.engine.cutting import Part
from cyclegan.engine.encoding import Encoding
from cyclegan.engine.endpoints import Retry
from cyclegan.engine.frames import Frames, VideoDepth
from cyclegan.engine.hardware import Decoder
from cyclegan.engine.live import Latency
from cyclegan.engine.planes import Convert
from cyclegan.errors import ConfigError
from cyclegan.plain_values import one_of

Show = Callable[[Frames, float], None]
"""Called with every frame that was written, and the seconds since it was decoded."""


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """How a video is translated; the defaults keep everything. Raises ConfigError for settings that
    there are not."""

    encoding: Encoding = field(default_factory=Encoding)
    part: Part = field(default_factory=Part)
    depth: VideoDepth = "auto"
    """Bits a channel that frames are translated with; "auto": 16 where the source and the result
    have more than 8, and the generator's backend takes them."""
    decoder: Decoder = "auto"
    """Of the source: "nvdec", "cpu", or "auto", the first where it opens."""
    convert: Convert = "auto"
    """Where pictures become RGB and back: "cpu"; "device", where PyTorch or TensorRT runs the
    generator, for 4:2:0 of 8 or 10 bits; or "auto", the device where that is a GPU and the video
    allows it."""
    compare: Compare = "none"
    """Source and translation in one picture, side by side or with a moving border."""
    live: bool = False
    """Drop frames that come too late, and play a file at its own speed."""
    resume: bool = False
    """Work in segments, and go on after the last one that an interrupted run finished."""
    source_format: str | None = None
    """How the source is to be read where it does not tell: y4m, raw, or FFmpeg's demuxer."""
    source_options: Mapping[str, str] = field(default_factory=dict)
    """For FFmpeg's demuxer, such as framerate and video_size."""
    retry: Retry = field(default_factory=Retry)
    """For cameras and streams that break off."""

    def __post_init__(self) -> None:
        one_of(Decoder, decoder=self.decoder)
        one_of(Convert, convert=self.convert)
        one_of(Compare, compare=self.compare)
        if self.live and self.resume:
            raise ConfigError("a live run cannot be resumed: give live or resume")

    def changed(self) -> list[str]:
        """The names of what is not as it is by default, those in ``encoding`` and ``part`` too, but
        not ``retry``."""
        usual, passed = VideoOptions(), ("encoding", "part", "retry")
        groups = ((self, usual), (self.encoding, usual.encoding), (self.part, usual.part))
        return [
            one.name
            for given, default in groups
            for one in fields(default)
            if one.name not in passed and getattr(given, one.name) != getattr(default, one.name)
        ]


@dataclass(frozen=True, kw_only=True)
class VideoStats:
    """What a translation took."""

    frames: int
    seconds: float
    first_frame_seconds: float
    """From the start until the first frame was given to the encoder."""
    decode_seconds: float
    """Time that decoding and conversion to RGB were at work."""
    translate_seconds: float
    """Time with at least one frame in the translator; too high where encoding is the bottleneck."""
    encode_seconds: float
    """Time that conversion from RGB, encoding and writing were at work."""
    means: str
    """What decoded, converted and encoded."""
    bound_by: str
    """The stage that the others waited for: decode, translate or encode."""
    dropped: int
    """Frames that came too late in live mode."""
    latency: Latency | None
    """In live mode."""
    notes: tuple[str, ...]
    """What of the source the result does not have, and why."""

    @property
    def frames_per_second(self) -> float:
        """End to end."""
        return self.frames / self.seconds

    def stage_rates(self) -> dict[str, float]:
        """Frames per second of each stage by itself."""
        stages = {
            "decode": self.decode_seconds,
            "translate": self.translate_seconds,
            "encode": self.encode_seconds,
        }
        return {name: self.frames / max(seconds, 1e-9) for name, seconds in stages.items()}
