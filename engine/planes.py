"""Pictures that stay as decoders and encoders hold them: NV12, or P010 for 10 bits.

H height, W width. Such a picture is 1.5 numbers a pixel on its way to the generator and back, and
becomes RGB where the generator runs (:mod:`cyclegan.kernels.pixels`), so that no CPU has to turn
colours. What that way cannot do, RGB frames can: other chroma than 4:2:0, more than 10 bits, odd or
other sizes, pictures that show something else beside the translation. There FFmpeg's scaler
interpolates chroma; here a pixel takes that of its 2x2 pixels.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cyclegan.colour import BT601, BT601_625, BT709, BT2020, FULL, Colour, exact, tag
from cyclegan.config import Depth

if TYPE_CHECKING:
    from av import VideoFrame
    from torch import Tensor

    from cyclegan.kernels.pixels import Matrix

Convert = Literal["auto", "cpu", "device"]
"""Where pictures become RGB and back."""

FORMATS = {
    "nv12": "nv12",
    "yuv420p": "nv12",
    "yuvj420p": "nv12",
    "p010le": "p010le",
    "yuv420p10le": "p010le",
}
"""Pixel formats that hold the same numbers as NV12 or P010, but for their order."""
MATRICES: "dict[int, Matrix]" = {
    BT709: "bt709",
    BT601_625: "bt601",
    BT601: "bt601",
    BT2020: "bt2020",
}
SMALLEST_LUMA_SIDE = 16
"""Pixels of a side that the network's own padding can mirror."""


@dataclass(frozen=True, kw_only=True)
class Planes:
    """One picture of even height and width."""

    y: "Tensor"
    """Luma, (H, W), uint8 for NV12, uint16 for P010, whose 10 bits are the high ones."""
    uv: "Tensor"
    """Chroma, (H/2, W/2, 2), on the same device."""
    colour: Colour

    @property
    def depth(self) -> Depth:
        """Of the frames that it stands for: 16 where there are more than 8 bits."""
        return 8 if self.y.element_size() == 1 else 16

    @property
    def format(self) -> str:
        """FFmpeg's name of it."""
        return "nv12" if self.depth == 8 else "p010le"

    @property
    def coding(self) -> dict[str, Any]:
        """The kernels' words for its colours."""
        return {
            "matrix": MATRICES[self.colour.matrix],
            "full_range": self.colour.range == FULL,
        }


@dataclass(frozen=True, kw_only=True)
class PlaneLayout:
    """What all pictures of a video have in common."""

    format: str
    """nv12 or p010le."""
    colour: Colour

    def fits(self, pixel_format: Any, colour: Colour) -> bool:
        """Whether pictures of PyAV's ``pixel_format`` and ``colour`` are laid out so already."""
        mine, other = ((each.matrix, each.range) for each in (self.colour, colour))
        return bool(pixel_format.name == self.format) and mine == other


def why_not_planes(
    source: str,
    result: str,
    size: tuple[int, int],
    colour: Colour,
    depth: Depth,
    multiple: int,
) -> str | None:
    """What keeps a video's pictures from staying planes, or None.

    ``source`` and ``result`` are FFmpeg's names of pixel formats, ``size`` height and width,
    ``depth`` what frames are translated with, ``multiple`` what the generator wants height and
    width to be multiples of: no side can be mirrored by more than its own length.
    """
    kind = FORMATS.get(source)
    if kind is None:
        return f"the source is {source}, not 4:2:0 of 8 or 10 bits"
    if FORMATS.get(result) != kind or depth != (8 if kind == "nv12" else 16):
        return f"the source is {source}, and the result {result} from {depth} bits"
    smallest = max(SMALLEST_LUMA_SIDE, multiple // 2 + 2)
    if any(side % 2 or side < smallest for side in size):
        return f"frames are {size[1]}x{size[0]}, and sides must be even, {smallest} at least"
    if colour.matrix not in MATRICES:
        return f"the colour matrix is number {colour.matrix} of H.273, not BT.601, 709 or 2020"
    return None


def planes_from_picture(
    picture: "VideoFrame", colour: Colour, wanted: PlaneLayout, *, pinned: bool
) -> Planes:
    """The planes of a decoded picture, as ``wanted``; a video may change on its way.

    In page-locked memory if ``pinned``; on the GPU where NVDEC left the picture there.
    """
    import torch
    from torch.utils.dlpack import from_dlpack

    if picture.sw_format is not None and wanted.fits(picture.sw_format, colour):
        # Copied at once, since the decoder has few pictures of its own to write into. PyAV's planes
        # know no streams; NVDEC works in the default one, as this thread does.
        y, uv = (from_dlpack(plane.__dlpack__()).clone() for plane in picture.planes)
        torch.cuda.current_stream(y.device).synchronize()  # the picture goes back to the decoder
        return Planes(y=y, uv=uv, colour=wanted.colour)
    if not wanted.fits(picture.format, colour):
        picture = _converted(picture, wanted.format, colour, wanted.colour)
    y, uv = map(from_dlpack, picture.planes)
    if pinned:
        y, uv = y.pin_memory(), uv.pin_memory()
    return Planes(y=y, uv=uv, colour=wanted.colour)


def picture_from_planes(planes: Planes, pixel_format: str, colour: Colour) -> "VideoFrame":
    """A picture in ``pixel_format``, one of ``FORMATS``, tagged with ``colour``.

    The planes are in the host's memory. They are copied: encoders keep pictures for as long as they
    like, and let go of them in threads that know nothing of Python.
    """
    from av import VideoFrame
    from torch.utils.dlpack import from_dlpack

    height, width = planes.y.shape
    picture = VideoFrame(width, height, planes.format)
    for target, plane in zip(picture.planes, (planes.y, planes.uv)):
        from_dlpack(target).copy_(plane)
    if pixel_format != planes.format or colour != planes.colour:
        picture = _converted(picture, pixel_format, planes.colour, colour)
    tag(picture, colour)
    return picture


def _converted(
    picture: "VideoFrame", pixel_format: str, colour: Colour, wanted: Colour
) -> "VideoFrame":
    """In another order; only where colours or chroma differ, with other numbers."""
    return picture.reformat(
        format=pixel_format,
        src_colorspace=colour.matrix,
        dst_colorspace=wanted.matrix,
        src_color_range=colour.range,
        dst_color_range=wanted.range,
        interpolation=exact(),
        threads=1,
    )
