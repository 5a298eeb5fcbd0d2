"""Instance norm and reflection padding: what a CycleGAN spends outside its convolutions."""

from cyclegan.kernels.instance_norm import InstanceNormAct, instance_norm
from cyclegan.kernels.reference import Activation, finish
from cyclegan.kernels.reflection_pad import ReflectionPad, reflection_pad2d

__all__ = [
    "Activation",
    "InstanceNormAct",
    "ReflectionPad",
    "finish",
    "instance_norm",
    "reflection_pad2d",
]
