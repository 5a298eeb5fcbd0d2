"""Adam, as fast on a CPU for weights that are channels last as for others."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Adam(torch.optim.Adam):
    """PyTorch's, to the bit.

    Its fused kernel for CPUs goes over numbers in the order of the memory, whatever the strides,
    but first copies each gradient that is not contiguous, and then does not use the copy. Giving it
    contiguous views of the same memory spares that copy. ``_init_group`` is PyTorch's own: if a
    later version no longer calls it, steps are slower again, and their results the same.
    """

    def _init_group(self, group: dict[str, Any], *lists: Any) -> bool:
        complex_numbers: bool = super()._init_group(group, *lists)  # type: ignore[no-untyped-call]
        weights, gradients, *moments, _, _ = lists
        for i, together in enumerate(zip(weights, gradients, *moments)):
            if all(map(_is_channels_last, together)):
                for tensors in (weights, gradients, *moments):
                    tensors[i] = tensors[i].permute(0, 2, 3, 1)
        return complex_numbers

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """PyTorch's, but averages get the memory layout of their weights.

        PyTorch keeps the layout that they were saved in. Its fused kernels go over weights and
        averages in the order of the memory, and the weights' layout follows the precision, which
        may have changed since.
        """
        super().load_state_dict(dict(state_dict))
        for weight, kept in self.state.items():
            for name, value in kept.items():
                if value.shape == weight.shape:
                    kept[name] = torch.empty_like(weight).copy_(value)


def _is_channels_last(x: Tensor) -> bool:
    last = torch.channels_last
    return x.device.type == "cpu" and x.dim() == 4 and x.is_contiguous(memory_format=last)
