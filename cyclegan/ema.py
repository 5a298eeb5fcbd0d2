"""The exponential moving average of a network's weights.

A GAN's weights circle around where they would rest; their mean over the last steps paints more
steadily than any one of them (Yazici et al. 2019, "The Unusual Effectiveness of Averaging in GAN
Training", section 3).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of ``network`` whose ``update_parameters(network)`` moves it towards what that is now.

    After n updates the old mean keeps min(decay, (1 + n) / (10 + n)) of its weight, so that a short
    run is not dragged down by its beginnings. Buffers are copied. The copy, ``.module``, is in
    evaluation mode.
    """

    @torch.no_grad()
    def move(means: Sequence[Tensor], values: Sequence[Tensor], updates: Tensor | int) -> None:
        # The number of updates is on the host, so that this waits for no device; on a GPU all
        # tensors are moved by a few kernels.
        kept = torch.clamp(torch.as_tensor((1 + updates) / (10 + updates)), max=decay)
        torch._foreach_lerp_(list(means), list(values), float(1 - kept))

    mean = AveragedModel(network, multi_avg_fn=move)
    mean.requires_grad_(False)
    return mean.eval()
