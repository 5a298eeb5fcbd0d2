"""The exponential moving average of a network's weights.

A GAN's weights circle around where they would rest; their mean over the last steps paints more
steadily than any one of them (Yazici et al. 2019, "The Unusual Effectiveness of Averaging in GAN
Training", section 3).
"""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class _Average(AveragedModel):
    """PyTorch's, whose own update sends the number of updates to the GPU and waits for it."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network)
        self._decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        updates = int(self.n_averaged)  # lies on the host
        kept = min(self._decay, (1 + updates) / (10 + updates)) if updates else 0.0
        # On a GPU all tensors are moved by a few kernels.
        means: list[Tensor] = list(self.module.parameters())
        torch._foreach_lerp_(means, list[Tensor](model.parameters()), 1 - kept)
        for mean, value in zip(self.module.buffers(), model.buffers()):
            mean.copy_(value)
        self.n_averaged += 1


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of ``network`` whose ``update_parameters(network)`` moves it towards what that is now.

    After n updates the old mean keeps min(decay, (1 + n) / (10 + n)) of its weight, so that a short
    run is not dragged down by its beginnings. Buffers are copied. The copy, ``.module``, is in
    evaluation mode.
    """
    mean = _Average(network, decay)
    mean.requires_grad_(False)
    return mean.eval()
