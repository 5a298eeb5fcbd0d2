"""The tables where every benchmark registers: suites, gates, counts.

A suite is ``module:function``; the function takes :class:`bench.suite.Options` and yields
comparisons, and is imported when it is run. To add one, write the function and add its line to
SUITES; a benchmark that is a program of its own gets a line in PROGRAMS. What it is to reach is a
line of ``bench/aims.py``. To have a ratio held on every change, add a line to GATES that names two
candidates of a suite's first comparison (all gates together must stay well under a minute). What is
counted, not timed, is a function that gives ``{name: count}``, and a line in COUNTS. After a new
gate or count: ``make bench-accept WHY=...``.
"""

from dataclasses import dataclass

from bench.gates import Gate


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of the table of suites."""

    where: str
    """``module:function``."""
    about: str


SUITES = {
    "translate": Entry(where="bench.translate:comparisons", about="our engines, uint8 to uint8"),
    "int8": Entry(where="bench.translate:in_int8", about="the shipped generator in 8 bits"),
    "peers": Entry(where="bench.peers:comparisons", about="other ways to run the same generator"),
    "load": Entry(where="bench.load:comparisons", about="start-up, and opening cached engines"),
    "kernels": Entry(where="bench.norms:comparisons", about="fused operations on the CPU"),
    "convolutions": Entry(where="bench.convolutions:comparisons", about="3x3 ones on the CPU"),
    "scaling": Entry(where="bench.scaling:comparisons", about="cost over size, batch, threads"),
}


@dataclass(frozen=True, kw_only=True)
class Program:
    """A benchmark with a command line of its own, in a process of its own.

    It takes ``--output FILE`` and appends to it by :func:`bench.harness.record`, under the name
    that it has in the table.
    """

    command: tuple[str, ...]
    """A module and arguments."""
    about: str
    by_name_alone: bool = False
    """Too long to be run where none is named."""


PROGRAMS = {
    "tensorrt": Program(command=("bench.tensorrt",), about="building plans, opening cached ones"),
    "train_step": Program(
        command=("bench.train_step",), about="a training step beside eager float32; the loader"
    ),
    "runtime": Program(command=("bench.runtime",), about="the C library"),
    "video": Program(command=("bench.video",), about="a video end to end and its stages; live"),
    "video-memory": Program(
        command=("bench.video", "--memory"), about="memory along 10,000 frames"
    ),
    "tiles": Program(command=("bench.tiles",), about="memory for one 3840x2160 frame"),
    "stability": Program(command=("bench.stability",), about="flicker, and what less of it costs"),
    "learning": Program(
        command=("bench.learning",),
        about="three runs of ten minutes, scored",
        by_name_alone=True,
    ),
}

GATES = {
    "OpenVINO runner of bare OpenVINO": Gate(
        where="bench.translate:engine_only", ours="openvino", reference="OpenVINO, bare"
    ),
    "OpenVINO runner of eager float32": Gate(
        where="bench.translate:engine_only", ours="openvino", reference="PyTorch eager, float32"
    ),
    "video of the translator alone": Gate(
        where="bench.clips:end_to_end", ours="end to end", reference="translator alone"
    ),
    "training step of a bare one": Gate(
        where="bench.bare_step:comparison", ours="CycleGAN.step", reference="bare step"
    ),
    "cached open of a bare import": Gate(
        where="bench.load:opening", ours="Translator.open, cached", reference="OpenVINO import"
    ),
    "norm, activation, pad of PyTorch's operators": Gate(
        where="bench.norms:gate", ours="ours", reference="PyTorch's operators"
    ),
    "3x3 convolution of PyTorch's": Gate(
        where="bench.convolutions:gate", ours="ours, prepared", reference="PyTorch's"
    ),
}

COUNTS = (
    "bench.counts:registers",
    "bench.counts:launches",
    "bench.counts:left_to_pytorch",
    "bench.counts:graph_breaks",
    "bench.counts:bytes_copied",
    "bench.counts:bytes_copied_by_videos",
)
