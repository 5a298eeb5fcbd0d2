"""Pictures that stay as decoders and encoders hold them keep their very numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch.utils.dlpack import from_dlpack

from cyclegan.colour import (
    BT601,
    BT601_625,
    BT709,
    BT2020,
    FULL,
    LIMITED,
    Colour,
    picture_from_rgb,
    rgb_from_picture,
    tag,
)
from cyclegan.engine.plane_network import PlanesToPlanes
from cyclegan.engine.planes import (
    FORMATS,
    PlaneLayout,
    picture_from_planes,
    planes_from_picture,
    why_not_planes,
)
from cyclegan.errors import TensorError

HD = Colour(matrix=BT709, range=LIMITED, primaries=BT709, transfer=BT709)


def coloured(matrix: int, span: int) -> Colour:
    return Colour(matrix=matrix, range=span, primaries=2, transfer=2)


def plane(picture: av.VideoFrame, number: int) -> np.ndarray:
    """A view of a picture's plane, without its padding."""
    view: np.ndarray = from_dlpack(picture.planes[number]).numpy()
    return view


def noise(form: str, colour: Colour, size: tuple[int, int] = (54, 70)) -> av.VideoFrame:
    """A picture of every code, in a width that FFmpeg pads."""
    picture = av.VideoFrame(size[1], size[0], form)
    deep = "10" in form
    rng = np.random.default_rng(0)
    for number in range(len(picture.planes)):
        view = plane(picture, number)
        codes = rng.integers(0, 1024 if deep else 256, view.shape, dtype=view.dtype)
        view[...] = codes << 6 if form == "p010le" else codes
    tag(picture, colour)
    return picture


every_kind = pytest.mark.parametrize(
    ("form", "span"),
    # FFmpeg takes yuvj420p to be full range, whatever is said.
    [
        (form, span)
        for form in FORMATS
        for span in (LIMITED, FULL)
        if (form[3], span) != ("j", LIMITED)
    ],
)


@every_kind
def test_planes_hold_the_numbers_of_the_picture(form: str, span: int) -> None:
    colour = coloured(BT709, span)
    picture = noise(form, colour)
    layout = PlaneLayout(format=FORMATS[form], colour=colour)
    planes = planes_from_picture(picture, colour, layout, pinned=False)
    shift = 6 if form == "yuv420p10le" else 0
    assert planes.depth == (16 if "10" in form else 8)
    np.testing.assert_array_equal(planes.y.numpy(), plane(picture, 0) << shift)
    chroma = [plane(picture, 1)[..., i] for i in (0, 1)] if form in ("nv12", "p010le") else None
    chroma = chroma or [plane(picture, i) << shift for i in (1, 2)]
    for i in (0, 1):
        np.testing.assert_array_equal(planes.uv.numpy()[..., i], chroma[i])


@every_kind
def test_a_picture_comes_back_unchanged_and_tagged(form: str, span: int) -> None:
    colour = coloured(BT2020, span)
    picture = noise(form, colour)
    layout = PlaneLayout(format=FORMATS[form], colour=colour)
    made = picture_from_planes(
        planes_from_picture(picture, colour, layout, pinned=False), form, colour
    )
    assert made.format.name == form
    assert (made.colorspace, made.color_range) == (BT2020, span)
    for number in range(len(picture.planes)):
        np.testing.assert_array_equal(plane(made, number), plane(picture, number))


def test_a_picture_outlives_the_planes_that_it_was_made_of() -> None:
    planes = planes_from_picture(
        noise("nv12", HD), HD, PlaneLayout(format="nv12", colour=HD), pinned=False
    )
    wanted = planes.y.numpy().copy()
    picture = picture_from_planes(planes, "nv12", HD)
    del planes
    others = [torch.full((54, 70), 7, dtype=torch.uint8) for _ in range(50)]
    np.testing.assert_array_equal(plane(picture, 0), wanted)
    assert others


@pytest.mark.parametrize(
    ("form", "colour"),
    [
        ("yuv420p", coloured(BT601, LIMITED)),
        ("yuv420p", coloured(BT709, FULL)),
        ("yuv444p", coloured(BT709, LIMITED)),
    ],
)
def test_a_picture_unlike_the_video_is_made_like_it(
    frames: np.ndarray, form: str, colour: Colour
) -> None:
    given = av.VideoFrame.from_ndarray(frames[0], format="rgb24").reformat(
        format=form, dst_colorspace=colour.matrix, dst_color_range=colour.range
    )
    layout = PlaneLayout(format="nv12", colour=HD)
    planes = planes_from_picture(given, colour, layout, pinned=False)
    assert planes.colour == HD
    shown = rgb_from_picture(picture_from_planes(planes, "nv12", HD), HD)
    error = shown.astype(float) - rgb_from_picture(given, colour)
    assert np.sqrt((error**2).mean()) < 3.0  # 30 and more under the wrong matrix or range


@pytest.mark.parametrize("form", ["nv12", "yuv420p"])
def test_a_result_of_other_colours_than_the_video_is_made_with_them(
    frames: np.ndarray, form: str
) -> None:
    given = picture_from_rgb(frames[0], "nv12", HD)
    planes = planes_from_picture(given, HD, PlaneLayout(format="nv12", colour=HD), pinned=False)
    colour = coloured(BT601, FULL)
    shown = rgb_from_picture(picture_from_planes(planes, form, colour), colour)
    error = shown.astype(float) - rgb_from_picture(given, HD)
    assert np.sqrt((error**2).mean()) < 2


class OnGpu:
    """A picture as NVDEC leaves it, but that its planes are here: PyAV's refuse a stream."""

    class Plane:
        def __init__(self, held: Any) -> None:
            self._held = held

        def __dlpack__(self, *, stream: int | None = None) -> Any:
            if stream is not None:
                raise NotImplementedError("CUDA stream synchronization is not supported")
            return self._held.__dlpack__()

    def __init__(self, picture: av.VideoFrame) -> None:
        self.sw_format, self.format = picture.format, av.VideoFormat("cuda")
        self.planes = [self.Plane(held) for held in picture.planes]


def test_pictures_of_nvdec_are_copied_before_they_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []

    class Stream:
        def synchronize(self) -> None:
            waited.append(True)

    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream())
    picture = noise("nv12", HD)
    wanted = [plane(picture, number).copy() for number in (0, 1)]
    layout = PlaneLayout(format="nv12", colour=HD)
    planes: Any = planes_from_picture(OnGpu(picture), HD, layout, pinned=True)  # type: ignore[arg-type]
    assert waited
    for number in (0, 1):
        plane(picture, number)[...] = 0  # the decoder writes its next picture
    np.testing.assert_array_equal(planes.y.numpy(), wanted[0])
    np.testing.assert_array_equal(planes.uv.numpy(), wanted[1])


@pytest.mark.parametrize(
    ("source", "result", "size", "matrix", "depth", "why"),
    [
        ("yuv420p", "yuv420p", (144, 176), BT709, 8, None),
        ("yuvj420p", "nv12", (144, 176), BT601, 8, None),
        ("nv12", "yuv420p", (16, 16), 5, 8, None),
        ("yuv420p10le", "yuv420p10le", (144, 176), BT2020, 16, None),
        ("yuv420p10le", "yuv420p", (144, 176), BT709, 8, "from 8 bits"),
        ("yuv420p", "yuv420p10le", (144, 176), BT709, 16, "the result yuv420p10le"),
        ("yuv420p", "yuv420p", (144, 176), BT709, 16, "from 16 bits"),
        ("yuv420p", "yuv444p", (144, 176), BT709, 8, "the result yuv444p"),
        ("yuv444p", "yuv444p", (144, 176), BT709, 8, "the source is yuv444p"),
        ("yuv420p12le", "yuv420p12le", (144, 176), BT709, 16, "the source is yuv420p12le"),
        ("yuv420p", "yuv420p", (145, 176), BT709, 8, "frames are 176x145"),
        ("yuv420p", "yuv420p", (144, 175), BT709, 8, "frames are 175x144"),
        ("yuv420p", "yuv420p", (144, 8), BT709, 8, "frames are 8x144"),
        ("yuv420p", "yuv420p", (144, 176), 8, 8, "number 8 of H.273"),
    ],
)
def test_what_stays_planes_and_why_others_do_not(
    source: str, result: str, size: tuple[int, int], matrix: int, depth: Any, why: str | None
) -> None:
    said = why_not_planes(source, result, size, coloured(matrix, LIMITED), depth, multiple=4)
    assert said is None if why is None else why in str(said)


@pytest.mark.parametrize("multiple", [4, 32, 256])
def test_every_side_that_stays_planes_can_be_mirrored(multiple: int) -> None:
    network = PlanesToPlanes(torch.nn.Identity(), torch.float32, multiple)
    sides = range(2, multiple + 32, 2)
    kept = [
        side
        for side in sides
        if why_not_planes("nv12", "nv12", (side, 256), coloured(BT709, LIMITED), 8, multiple)
        is None
    ]
    assert kept == [side for side in sides if side >= max(16, multiple // 2 + 2)]
    for side in kept:
        y = torch.zeros(1, side, 256, dtype=torch.uint8)
        uv = torch.zeros(1, side // 2, 128, 2, dtype=torch.uint8)
        assert network(y, uv)[0].shape == y.shape


class Seeing(torch.nn.Module):
    """Gives back what it gets, and remembers it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = x
        return x


@pytest.mark.parametrize("form", ["nv12", "p010le"])
@pytest.mark.parametrize("span", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", [BT601, BT601_625, BT709, BT2020])
def test_the_generator_sees_the_colours_that_a_player_shows(
    form: str, span: int, matrix: int
) -> None:
    colour = coloured(matrix, span)
    picture = noise(form, colour)
    unit = 64 << 2 if form == "p010le" else 1
    plane(picture, 0)[...] = 120 * unit  # one colour: nothing to interpolate
    plane(picture, 1)[..., 0], plane(picture, 1)[..., 1] = 100 * unit, 150 * unit
    layout = PlaneLayout(format=form, colour=colour)
    planes = planes_from_picture(picture, colour, layout, pinned=False)
    network = PlanesToPlanes(Seeing(), torch.float32, 4)
    network(planes.y[None], planes.uv[None], **planes.coding)
    seen = (network.generator.seen[0, :, 9, 9] + 1) * 127.5
    np.testing.assert_allclose(seen, rgb_from_picture(picture, colour)[9, 9], atol=1.1)


@pytest.mark.parametrize(("bits", "step"), [(8, 1), (10, 64)])
@pytest.mark.parametrize("size", [(144, 176), (134, 176), (144, 170)])
def test_a_network_that_changes_nothing_keeps_pictures(
    clip: Callable[[str], Path], bits: int, step: int, size: tuple[int, int]
) -> None:
    with av.open(str(clip("carphone_pristine"))) as container:
        picture = next(container.decode(video=0))
    form = "nv12" if bits == 8 else "p010le"
    colour = coloured(BT601, LIMITED)
    layout = PlaneLayout(format=form, colour=colour)
    planes = planes_from_picture(picture, colour, layout, pinned=False)
    y = planes.y[None, : size[0], : size[1]].clone()
    uv = planes.uv[None, : size[0] // 2, : size[1] // 2].clone()
    network = PlanesToPlanes(Seeing(), torch.float32, 4)
    made = network(y, uv, **planes.coding)
    assert network.generator.seen.shape[2:] == tuple(-(-side // 4) * 4 for side in size)
    for got, given in zip(made, (y, uv)):
        assert got.shape == given.shape
        assert got.dtype == given.dtype
        off = (got.to(torch.int32) - given.to(torch.int32)).abs() // step
        # Colours outside RGB's cube are clamped, and change.
        assert off.float().quantile(0.98) <= 1


def test_a_network_refuses_odd_planes() -> None:
    network = PlanesToPlanes(Seeing(), torch.float32, 4)
    y, uv = torch.zeros(1, 15, 16, dtype=torch.uint8), torch.zeros(1, 7, 8, 2, dtype=torch.uint8)
    with pytest.raises((TensorError, ValueError), match="even"):
        network(y, uv, matrix="bt709", full_range=False)
