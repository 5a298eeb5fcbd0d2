"""The verbs of the command line, one function each, and the types that they share.

A verb imports what it needs when it runs, so that ``cyclegan doctor`` does not wait for PyTorch's
training half.
"""

from typing import Annotated, Literal

from tyro.conf import arg

Backend = Literal["auto", "openvino", "torch", "torch-compiled", "tensorrt"]
Model = Annotated[
    str,
    arg(metavar="MODEL", help="a model file, a training run's folder, or a shipped model's name"),
]
