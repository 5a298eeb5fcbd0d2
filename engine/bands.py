"""A residual generator computed in bands of rows, layer by layer: exact, in little memory.

C channels, H height, W width. The statistics of an instance norm are those of the whole frame, so
no band can run through the network by itself. Instead every layer is computed for all bands before
the next norm needs its moments. What is large and cheap (the first and the last full-size layer) is
computed twice, once for its moments and once for what follows, and never stored.

The most that is stored at once is the layer after the first doubling: 2 width H/2 W/2 numbers, and
half of that beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan.engine.statistics import EPS, Moments
from cyclegan.errors import BackendError
from cyclegan.layers import BatchNorm, BeforeNorm, InstanceNorm, ResizeConv, TransposedConv
from cyclegan.networks import ResidualBlock, ResnetGenerator

BAND = 64
"""Rows that are computed at once."""


@dataclass(frozen=True)
class Rows:
    """A feature map that gives its rows when asked: ``take(a, b)`` is (1, C, b - a, W)."""

    height: int
    take: Callable[[int, int], Tensor]


class BandedResnet:
    """A :class:`ResnetGenerator`, run in bands."""

    def __init__(self, generator: nn.Module, band: int = BAND) -> None:
        """Raises BackendError for any other kind of generator."""
        if not isinstance(generator, ResnetGenerator):
            raise BackendError(
                f"a {type(generator).__name__} cannot be computed band by band; tile it with "
                "statistics of a thumbnail"
            )
        self._net, self._band = generator, band
        self.moments: list[Moments] = []
        """Of each instance norm of the last frame, in the order of the layers."""

    def __call__(self, x: Tensor) -> Tensor:
        """(1, C, H, W) in [-1, 1] -> (1, C', H, W) in [-1, 1], H and W multiples of 4."""
        net = self._net
        self.moments = []
        image = _stored(x)
        stem = _convolved(image, net.stem, 3, "reflect")
        first = self._normed(stem, net.stem_norm, "relu")
        down = self._store(_convolved(first, net.down1, 1, "zero"))
        down = self._normed(down, net.down1_norm, "relu")
        down = self._store(_convolved(down, net.down2, 1, "zero"))
        features = self._whole(self._normed(down, net.down2_norm, "relu"))
        del down
        for block in net.blocks:
            assert isinstance(block, ResidualBlock)
            self._add_block(features, block)
        up = self._store(_upsampled(_stored(features), net.up1))
        del features
        up = _upsampled(self._normed(up, net.up1_norm, "relu"), net.up2)
        last = self._normed(up, net.up2_norm, "relu")
        return torch.tanh(self._whole(_convolved(last, net.head, 3, "reflect")))

    def _add_block(self, x: Tensor, block: ResidualBlock) -> None:
        """The block's sum, in place of its input."""
        y = self._store(_convolved(_stored(x), block.conv1, 1, "reflect"))
        y = self._normed(y, block.norm1, "relu")
        y = self._store(_convolved(y, block.conv2, 1, "reflect"))
        y = self._normed(y, block.norm2, "none")
        for a, b in self._bands(y.height):
            x[:, :, a:b] += y.take(a, b)

    def _normed(self, rows: Rows, norm: Any, activation: Literal["none", "relu"]) -> Rows:
        scale, shift = self._scale_shift(rows, norm)

        def take(a: int, b: int) -> Tensor:
            z = rows.take(a, b)
            z = (z.float() * scale + shift).to(z.dtype)  # as :func:`normalise` has it
            return F.relu(z, inplace=True) if activation == "relu" else z

        return Rows(rows.height, take)

    def _scale_shift(self, rows: Rows, norm: Any) -> tuple[Tensor, Tensor]:
        """What the norm does to each channel, (1, C, 1, 1) float32 each, or one number for all."""
        if isinstance(norm, InstanceNorm):
            self.moments.append(self._moments(rows))
            mean, variance = self.moments[-1]
            scale = torch.rsqrt(variance + EPS)
            return scale, -mean * scale
        if isinstance(norm, BatchNorm):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            shift = norm.bias - norm.running_mean * scale
            return scale[None, :, None, None].float(), shift[None, :, None, None].float()
        return torch.ones(()), torch.zeros(())

    def _moments(self, rows: Rows) -> Moments:
        """Of all rows, from those of bands (Chan, Golub and LeVeque 1979), in float64."""
        count, mean, squares = 0, torch.zeros(()), torch.zeros(())  # without dimensions: any device
        for a, b in self._bands(rows.height):
            band = rows.take(a, b).float()
            size = band.shape[2] * band.shape[3]
            variance, middle = torch.var_mean(band, dim=(2, 3), correction=0, keepdim=True)
            variance, middle = variance.double(), middle.double()
            away = middle - mean
            squares = squares + variance * size + away**2 * (count * size / (count + size))
            mean = mean + away * (size / (count + size))
            count += size
        return mean.float(), (squares / count).float()

    def _store(self, rows: Rows) -> Rows:
        return _stored(self._whole(rows))

    def _whole(self, rows: Rows) -> Tensor:
        """All rows, computed band by band into one tensor."""
        whole: Tensor | None = None
        for a, b in self._bands(rows.height):
            band = rows.take(a, b)
            if whole is None:
                whole = band.new_empty((*band.shape[:2], rows.height, band.shape[3]))
            whole[:, :, a:b] = band
        assert whole is not None
        return whole

    def _bands(self, height: int) -> list[tuple[int, int]]:
        return [(a, min(a + self._band, height)) for a in range(0, height, self._band)]


def _stored(x: Tensor) -> Rows:
    return Rows(x.shape[2], lambda a, b: x[:, :, a:b])


def _window(rows: Rows, low: int, high: int, mode: Literal["reflect", "zero"]) -> Tensor:
    """Rows ``low`` to ``high``, of which some may lie beyond the edges."""
    above, below = max(-low, 0), max(high - rows.height, 0)
    inside = rows.take(max(low, 0), min(high, rows.height))
    if mode == "zero" or not (above or below):
        return F.pad(inside, (0, 0, above, below))
    # Mirrored rows are inside the window where it is high enough, which bands of few rows are not.
    top = [rows.take(n, n + 1) for n in range(above, 0, -1)]
    last = rows.height - 1
    bottom = [rows.take(last - n, last - n + 1) for n in range(1, below + 1)]
    return torch.cat([*top, inside, *bottom], dim=2)


def _convolved(rows: Rows, conv: Any, pad: int, mode: Literal["reflect", "zero"]) -> Rows:
    """What ``conv`` makes of the padded map."""
    size, stride = conv.kernel_size[0], conv.stride[0]

    def take(a: int, b: int) -> Tensor:
        x = _window(rows, a * stride - pad, (b - 1) * stride - pad + size, mode)
        kind = "reflect" if mode == "reflect" else "constant"
        x = F.pad(x, (pad, pad, 0, 0), mode=kind)
        return F.conv2d(x, conv.weight, _bias(conv, x), stride)

    return Rows((rows.height + 2 * pad - size) // stride + 1, take)


def _bias(layer: Any, x: Tensor) -> Tensor | None:
    """As the network itself has it: statistics of these rows may be used there."""
    bias: Tensor | None
    bias = layer.bias_for(x) if isinstance(layer, BeforeNorm) else layer.bias
    return bias


def _upsampled(rows: Rows, layer: Any) -> Rows:
    """Twice as high and wide, by either of the layers that do that."""
    if isinstance(layer, ResizeConv):
        return _convolved(_doubled(rows), layer, 1, "reflect")
    assert isinstance(layer, TransposedConv)

    def take(a: int, b: int) -> Tensor:
        low, high = a // 2, (b + 1) // 2
        x = _window(rows, low, high + 1, "zero")
        # Without padding in height, row r of this is row 2 low + r - 1 of the whole.
        y = F.conv_transpose2d(x, layer.weight, _bias(layer, x), 2, (0, 1), (0, 1))
        return y[:, :, a - 2 * low + 1 : b - 2 * low + 1]

    return Rows(2 * rows.height, take)


def _doubled(rows: Rows) -> Rows:
    def take(a: int, b: int) -> Tensor:
        low = a // 2
        x = rows.take(low, (b + 1) // 2)
        doubled = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return doubled[:, :, a - 2 * low : b - 2 * low]

    return Rows(2 * rows.height, take)
