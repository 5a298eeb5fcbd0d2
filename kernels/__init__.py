"""Instance norm and reflection padding: what a CycleGAN spends outside its convolutions."""

from cyclegan.kernels.instance_norm import Activation, finish, instance_norm
from cyclegan.kernels.reflection_pad import reflection_pad2d

__all__ = ["Activation", "finish", "instance_norm", "reflection_pad2d"]
