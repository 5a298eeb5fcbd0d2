"""What a runner must do on a real GPU: each check is a row, passed or with what went wrong."""

import functools
import threading
from collections.abc import Callable

import numpy as np
import torch

from bench.report import Report
from cyclegan.engine.frames import Frames
from cyclegan.engine.parity import compare
from cyclegan.engine.plan_settings import LEAST_PSNR_DB
from cyclegan.engine.runners.tensorrt import TensorRTRunner
from cyclegan.engine.translator import Translator

Check = Callable[[Translator, TensorRTRunner, Frames], None]


def order(translator: Translator, runner: TensorRTRunner, frame: Frames) -> None:
    """Many batches in flight come back each as its own: slots, graphs and streams do not mix."""
    shifted = [np.roll(frame, 7 * number, axis=1) for number in range(3 * runner.slots)]
    alone = [translator(frames) for frames in shifted]
    tickets = [translator.submit(frames) for frames in shifted]
    for number, (ticket, expected) in enumerate(zip(tickets, alone)):
        assert np.array_equal(translator.collect(ticket), expected), f"batch {number} differs"


def batches(translator: Translator, runner: TensorRTRunner, frame: Frames) -> None:
    """Every batch size of the profile, up and down again, gives what one frame alone gives."""
    expected = translator(frame)
    for count in [*range(1, runner.max_batch + 1), *range(runner.max_batch, 0, -1)]:
        made = translator(np.stack([frame] * count))
        near = np.abs(made.astype(int) - expected.astype(int)).max()
        assert near <= 2, f"batch of {count}: {near} grey levels off"


def threads(translator: Translator, runner: TensorRTRunner, frame: Frames) -> None:
    """Two threads on one translator."""
    wrong: list[object] = []
    expected = {turn: translator(np.roll(frame, turn, axis=0)) for turn in (0, 11)}

    def client(turn: int) -> None:
        for _ in range(20):
            if not np.array_equal(translator(np.roll(frame, turn, axis=0)), expected[turn]):
                wrong.append(turn)

    clients = [threading.Thread(target=client, args=(turn,)) for turn in expected]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    assert not wrong, f"{len(wrong)} wrong frames"


def on_device(translator: Translator, runner: TensorRTRunner, frame: Frames) -> None:
    """A PyTorch tensor in, a PyTorch tensor out, without a copy, in PyTorch's own stream."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        # Made in the same stream just before: the runner must wait for it.
        given = torch.from_numpy(frame[None]).cuda(non_blocking=True).add(0)
        made = runner.translate_on_device(given, stream=stream.cuda_stream)
        tensor = torch.from_dlpack(made)
        assert tensor.data_ptr() == made.pointer, "it was copied"
        result = tensor.cpu().numpy()[0]
    near = np.abs(result.astype(int) - translator(frame).astype(int)).max()
    assert near <= 1, f"{near} grey levels off"


def refitted(
    translator: Translator, runner: TensorRTRunner, frame: Frames, graph: bytes, expected: Frames
) -> None:
    """After the weights of ``graph`` were put in, the pictures are ``expected``, in its CUDA graph
    too, which was recorded before."""
    before = translator(frame)
    runner.refit(graph)
    score = compare(translator(frame), expected)
    assert score.psnr_db >= LEAST_PSNR_DB, (
        f"{score.psnr_db:.1f} dB from the new weights, {compare(before, expected).psnr_db:.1f} dB "
        "with the old ones"
    )


CHECKS: tuple[Check, ...] = (order, batches, threads, on_device)


def check_all(
    report: Report, name: str, translator: Translator, runner: TensorRTRunner, frame: Frames
) -> None:
    """One row for each check."""
    for one in CHECKS:
        check(report, name, one.__name__, functools.partial(one, translator, runner, frame))


def check(report: Report, name: str, what: str, call: Callable[[], None]) -> None:
    """A row with what became of one check."""
    try:
        call()
        result = "passed"
    except Exception as error:  # the other rows must not be lost with this one
        result = f"FAILED: {type(error).__name__}: {error}"
    report.add("tensorrt_checks", plan=name, check=what, result=result)
