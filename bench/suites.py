"""The tables where every benchmark registers: suites, gates, counts.

A suite is ``module:function``; the function takes :class:`bench.suite.Options` and yields
comparisons, and is imported when it is run. To add one, write the function and add its line to
SUITES; a benchmark that is a program of its own gets a line in PROGRAMS. To have a ratio held on
every change, add a line to GATES that names two candidates of a suite's first comparison (all gates
together must stay well under a minute). What is counted, not timed, is a function that gives
``{name: count}``, and a line in COUNTS. After a new gate or count: ``make bench-accept WHY=...``.
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
    "peers": Entry(where="bench.peers:comparisons", about="other ways to run the same generator"),
    "load": Entry(where="bench.load:comparisons", about="start-up, and opening cached engines"),
    "kernels": Entry(where="bench.norms:comparisons", about="fused operations on the CPU"),
    "scaling": Entry(where="bench.scaling:comparisons", about="cost over size, batch, threads"),
}

PROGRAMS = {
    "tensorrt": ("bench.tensorrt",),
    "train_step": ("bench.train_step",),
    "runtime": ("bench.runtime",),
    "video": ("bench.video",),
    "video-memory": ("bench.video", "--memory"),
    "tiles": ("bench.tiles",),
    "stability": ("bench.stability",),
}
"""Benchmarks with a command line of their own: a module and arguments. They take ``--output FILE``
and append to it by :func:`bench.harness.record`, under the name that they have here."""

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
}

COUNTS = (
    "bench.counts:registers",
    "bench.counts:launches",
    "bench.counts:graph_breaks",
    "bench.counts:bytes_copied",
)
