"""What happens to the cost as the work grows: size, batch, length of a stream, threads.

    python -m bench.run scaling

Each comparison is one engine at several scales, timed in turns, and ends in a row ``fit`` where
there are two or more: the exponent of seconds over scale, for all scales and for each step. Cost in
proportion to the work has exponent 1; a step above 1.15 is named in ``super_linear``. Threads that
all help have exponent -1.

N batch, H height, W width.
"""

import math
from collections.abc import Iterator

import torch

from bench.generators import new_generator
from bench.limits import frame_work
from bench.peers import settings_of
from bench.suite import Comparison, Options, Repeated
from bench.switches import without_kernels
from cyclegan.cpu import cpu_cores
from cyclegan.engine.frame_graph import FrameToFrame
from cyclegan.engine.frames import Frames
from cyclegan.engine.throughput import sample_frames, stream
from cyclegan.engine.translator import Translator
from cyclegan.networks import Generator

SIZES = ((128, 128), (256, 256), (512, 512), (720, 1280), (1080, 1920))
LENGTHS = (4, 8, 16, 32)
"""Frames of a stream."""


def comparisons(options: Options) -> Iterator[Comparison]:
    """Over sizes up to the largest asked for (1080p where 720p is), batches, lengths, threads."""
    generator = new_generator(options.width, options.blocks)
    yield from over_size(generator, options)
    yield from over_batch(generator, options)
    yield from over_length(generator, options)
    yield from over_threads(generator, options)


def over_size(generator: Generator, options: Options) -> Iterator[Comparison]:
    """One frame of each size; the translator takes every size."""
    largest = 2.3 * max(map(math.prod, options.sizes))
    sizes = [size for size in SIZES if math.prod(size) <= largest] or list(options.sizes)
    with Translator.open(generator) as translator:
        frames = {f"{w}x{h}": sample_frames(1, h, w) for h, w in sizes}
        yield Comparison(
            name="size, pixels of a frame",
            candidates={name: _streamed(translator, frame) for name, frame in frames.items()},
            scale={name: frame.size / 3 for name, frame in frames.items()},
            settings={"engine": translator.description},
        )


def over_batch(generator: Generator, options: Options) -> Iterator[Comparison]:
    """Frames in one call, for a translator at the first size."""
    size = options.sizes[0]
    with Translator.open(generator, size=size) as translator:
        yield Comparison(
            name="batch, frames of a call",
            candidates={
                str(batch): _streamed(translator, sample_frames(batch, *size))
                for batch in options.batches
            },
            unit="calls",
            scale={str(batch): float(batch) for batch in options.batches},
            settings=settings_of(generator, size, 1) | {"engine": translator.description},
        )


def over_length(generator: Generator, options: Options) -> Iterator[Comparison]:
    """Frames of a stream, submitted and collected one after another."""
    size = options.sizes[0]
    frame = sample_frames(1, *size)

    def of_length(translator: Translator, length: int) -> Repeated:
        return lambda count: [stream(translator, [frame] * length) for _ in range(count)]

    with Translator.open(generator, size=size) as translator:
        yield Comparison(
            name="length, frames of a stream",
            candidates={str(length): of_length(translator, length) for length in LENGTHS},
            unit="streams",
            scale={str(length): float(length) for length in LENGTHS},
            settings=settings_of(generator, size, 1) | {"engine": translator.description},
        )


def over_threads(generator: Generator, options: Options) -> Iterator[Comparison]:
    """Threads of eager float32 PyTorch: powers of two up to the cores, and all of them."""
    size, cores = options.sizes[0], cpu_cores()
    counts = sorted({1 << k for k in range(cores.bit_length()) if 1 << k <= cores} | {cores})
    network = FrameToFrame(generator.eval())
    frames = torch.from_numpy(sample_frames(1, *size))
    before = torch.get_num_threads()

    def with_threads(threads: int) -> Repeated:
        def run(count: int) -> None:
            torch.set_num_threads(threads)
            with without_kernels(), torch.inference_mode():
                for _ in range(count):
                    network(frames)

        return run

    try:
        yield Comparison(
            name="threads",
            candidates={str(threads): with_threads(threads) for threads in counts},
            scale={str(threads): float(threads) for threads in counts},
            settings=settings_of(generator, size, 1) | {"engine": "PyTorch eager, float32"},
            work=frame_work(generator, *size),
        )
    finally:
        torch.set_num_threads(before)


def _streamed(translator: Translator, frames: Frames) -> Repeated:
    return lambda count: stream(translator, [frames] * count)
