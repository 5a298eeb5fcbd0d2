"""The history of generated images that a discriminator is shown (Shrivastava et al. 2017)."""

import random

import torch
from torch import Tensor


class ImagePool:
    """Up to ``size`` generated images; a full pool answers half of the time with an older one.

    ``rng`` decides which. Size 0 remembers nothing and returns what it is given. ``one_size``:
    images of another height or width than the newest are forgotten, in batches of one too.
    """

    def __init__(self, size: int, rng: random.Random, *, one_size: bool = False) -> None:
        self.size = size
        self.rng = rng
        self.one_size = one_size
        self.images: list[Tensor] = []

    def query(self, images: Tensor) -> Tensor:
        """As many images as in ``images`` (N, C, H, W), which must carry no gradient."""
        if self.size == 0:
            return images
        # What goes together is of one size, which a run that goes on may have changed.
        if self.one_size or len(images) > 1:
            self.images = [image for image in self.images if image.shape == images.shape[1:]]
        return torch.stack([self._exchanged(image) for image in images])

    def _exchanged(self, image: Tensor) -> Tensor:
        if len(self.images) < self.size:
            self.images.append(image.clone())
            return image
        if self.rng.uniform(0, 1) > 0.5:
            slot = self.rng.randint(0, self.size - 1)
            older, self.images[slot] = self.images[slot], image.clone()
            return older
        return image
