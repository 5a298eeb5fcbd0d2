"""Recordings: when they are made, what they give, and what happens where they fail."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from cyclegan.engine.runners.replays import MOST, PIXELS, Replays, cuda_graphs

Tensors = tuple[Tensor, ...]


class Recorder:
    """In place of CUDA graphs: fixed tensors to read from and to write to, and nothing between."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, run: Callable[..., Tensors], inputs: Sequence[Tensor]) -> Any:
        self.recorded += 1
        outputs = tuple(tensor.clone().zero_() for tensor in run(*inputs))

        def again() -> Tensors:
            self.replayed += 1
            for target, made in zip(outputs, run(*inputs)):
                target.copy_(made)
            return outputs

        return again


def picture(value: int, batch: int = 1, side: int = 8) -> Tensor:
    return torch.full((batch, side, side, 3), value, dtype=torch.uint8)


def negative(x: Tensor) -> Tensors:
    return (255 - x,)


def test_what_comes_again_is_recorded_and_gives_what_it_is_given() -> None:
    recorder = Recorder()
    replays = Replays(recorder)
    for value in (10, 20, 30, 40):
        (made,) = replays("negative", negative, picture(value))
        assert torch.equal(made, picture(255 - value))
    assert recorder.recorded == 1
    assert recorder.replayed == 3, "once to be looked at, then for the third and the fourth"


def test_what_is_given_is_not_written_to() -> None:
    replays = Replays(Recorder())
    given = [picture(value) for value in (10, 20, 30, 40)]
    for x in given:
        replays("negative", negative, x)
    assert [int(x[0, 0, 0, 0]) for x in given] == [10, 20, 30, 40]


def test_what_differs_is_told_apart() -> None:
    recorder = Recorder()
    replays = Replays(recorder)

    def same(x: Tensor) -> Tensors:
        return (x + 0,)

    for _ in range(3):
        for batch in (1, 2):
            x = picture(9, batch)
            assert torch.equal(replays("negative", negative, x)[0], 255 - x)
            assert torch.equal(replays("same", same, x)[0], x)
            wide = x.to(torch.int16)
            assert torch.equal(replays("same", same, wide)[0], wide)
    assert recorder.recorded == 6


def test_ever_new_sizes_are_not_recorded_and_others_only_so_many() -> None:
    recorder = Recorder()
    replays = Replays(recorder)
    for side in (*range(8, 40), *range(8, 40)):
        replays("negative", negative, picture(1, side=side))
    assert recorder.recorded == 0
    for side in range(8, 30):
        for _ in range(2):
            replays("negative", negative, picture(1, side=side))
    assert recorder.recorded == MOST


def test_large_batches_are_launched_one_by_one() -> None:
    recorder = Recorder()
    replays = Replays(recorder)
    side = int(PIXELS**0.5) + 1
    for _ in range(3):
        replays("negative", negative, picture(1, side=side))
    assert recorder.recorded == 0


@pytest.mark.parametrize("how", ["fails", "differs"])
def test_a_recording_that_is_no_good_is_left_with_a_word(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "cyclegan.engine.runners.replays")
    tries = []

    def record(run: Callable[..., Tensors], inputs: Sequence[Tensor]) -> Any:
        tries.append(how)
        if how == "fails":
            raise RuntimeError("operation not permitted when stream is capturing")
        return lambda: (picture(0),)

    replays = Replays(record)
    for value in (10, 20, 30, 40):
        assert torch.equal(replays("negative", negative, picture(value))[0], picture(255 - value))
    assert tries == [how]
    (line,) = caplog.messages
    assert line.startswith("batches are launched kernel by kernel: ")
    assert ("not permitted" if how == "fails" else "other pictures") in line


def test_runners_of_one_process_record_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch begins a capture with a wait for the device, which must not meet another capture."""
    capturing: list[object] = []
    inside = threading.Event()

    class Capture:
        def __init__(self, graph: object, **_: object) -> None: ...

        def __enter__(self) -> None:
            if capturing:
                raise RuntimeError("operation not permitted when stream is capturing")
            capturing.append(self)

        def __exit__(self, *_: object) -> None:
            capturing.remove(self)

    class Graph:
        def replay(self) -> None: ...

    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: 0)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", Capture)

    def slow(x: Tensor) -> Tensors:
        inside.set()
        time.sleep(0.2)
        return negative(x)

    one, other = (cuda_graphs(stream) for stream in (1, 2))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(one, slow, [picture(1)])
        assert inside.wait(10)
        (made,) = other(negative, [picture(2)])()
        (before,) = first.result()()
    assert torch.equal(before, picture(254))
    assert torch.equal(made, picture(253))
