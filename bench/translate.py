"""Frames per second of our engines: every backend and precision, over sizes and batches.

    python -m bench.run translate

uint8 frames in, uint8 frames out; results are checked against float32 PyTorch before they are
timed. The bare OpenVINO loop stands beside them on the same graph: what our runner costs.

N batch, H height, W width, C channels.
"""

import itertools
from collections.abc import Iterator

from bench.generators import new_generator
from bench.peer import Peer
from bench.peers import BARE, EAGER, PEERS, compared, in_ours
from bench.suite import Comparison, Options
from cyclegan.engine.model_source import open_source
from cyclegan.engine.runners import BACKENDS, Precision
from cyclegan.shipped import DEFAULT, find_model

OTHER_PRECISIONS: dict[str, tuple[Precision, ...]] = {"openvino": ("float32",)}
"""Beside the one that a backend takes by itself."""


def engines() -> dict[str, Peer]:
    """Eager float32 and bare OpenVINO, then every backend of ours."""
    ours = {
        f"{name}, {precision}": Peer(open=in_ours(name, precision), missing=backend.why_missing)
        for name, backend in BACKENDS.items()
        for precision in ("auto", *OTHER_PRECISIONS.get(name, ()))
    }
    return {EAGER: PEERS[EAGER], BARE: PEERS[BARE], **ours}


def comparisons(options: Options) -> Iterator[Comparison]:
    """Every engine at every size and batch size, small ones first."""
    generator = new_generator(options.width, options.blocks)
    for size, batch in itertools.product(options.sizes, options.batches):
        yield from compared(engines(), generator, size, batch)


def in_int8(options: Options) -> Iterator[Comparison]:
    """OpenVINO in 8 bits and otherwise, with the shipped generator: random weights lose more."""
    precisions: tuple[Precision, ...] = ("auto", "float32", "int8")
    ours = {f"openvino, {one}": Peer(open=in_ours("openvino", one)) for one in precisions}
    generator = open_source(find_model(DEFAULT)).generator()
    for size in options.sizes:
        yield from compared({EAGER: PEERS[EAGER], **ours}, generator, size, 1)


def engine_only(options: Options) -> Iterator[Comparison]:
    """The first size and batch alone, of our best CPU engine: short enough for every change."""
    few = {EAGER: PEERS[EAGER], BARE: PEERS[BARE], "openvino": engines()["openvino, auto"]}
    generator = new_generator(options.width, options.blocks)
    yield from compared(few, generator, options.sizes[0], options.batches[0])
