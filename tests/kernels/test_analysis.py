"""PyTorch is asked once for each kind of call of a kernel, and only about ours from memory."""

from types import SimpleNamespace
from typing import Any

import pytest
import sympy
import torch

from cyclegan.kernels.analysis import kind_of_call, remembered


class Ours:
    """In place of a kernel of this package."""

    __module__ = "cyclegan.kernels.some_triton"


KERNEL = Ours()
ARGUMENTS = {"x_ptr": torch.empty(3), "pixels": 12, "eps": 1e-5, "CHANNELS_LAST": True, "n": None}


def asked(*calls: tuple[Any, dict[str, Any]], descriptors: dict[str, Any] | None = None) -> int:
    """How often the analysis is asked of these calls; each has the answer of its own kind."""
    count = 0

    def analysis(kernel: Any, kwargs: dict[str, Any], descriptors: dict[str, Any]) -> object:
        nonlocal count
        count += 1
        return kernel, dict(kwargs), count

    ask = remembered(analysis)
    for kernel, kwargs in calls:
        answer = ask(kernel, kwargs, descriptors or {})
        assert kind_of_call(*answer[:2]) == kind_of_call(kernel, kwargs)
    return count


def changed(**changes: object) -> dict[str, Any]:
    return {**ARGUMENTS, **changes}


def test_the_same_kind_is_asked_once() -> None:
    other_shape = changed(x_ptr=torch.empty(4, 5))
    assert asked((KERNEL, ARGUMENTS), (KERNEL, other_shape), (KERNEL, ARGUMENTS)) == 1
    symbols = [changed(pixels=sympy.Symbol(name)) for name in "st"]
    assert asked(*[(KERNEL, kwargs) for kwargs in symbols]) == 1


@pytest.mark.parametrize(
    "other",
    [
        changed(x_ptr=torch.empty(3, dtype=torch.float16)),
        changed(x_ptr=SimpleNamespace(dtype=torch.float32)),  # as Inductor's own tensors
        changed(pixels=13),
        changed(pixels=12.0),
        changed(pixels=sympy.Symbol("s")),
        changed(CHANNELS_LAST=1),
        changed(n=0),
    ],
)
def test_what_the_analysis_could_tell_apart_is_asked_again(other: dict[str, Any]) -> None:
    assert asked((KERNEL, ARGUMENTS), (KERNEL, other), (KERNEL, other)) == 2


def test_warps_make_no_difference_and_several_choices_are_not_ours_to_answer() -> None:
    def tuned(*choices: dict[str, Any]) -> Any:
        configs = [SimpleNamespace(kwargs=choice) for choice in choices]
        return SimpleNamespace(fn=KERNEL, configs=configs)

    assert asked((KERNEL, ARGUMENTS), (tuned({}), ARGUMENTS), (tuned({}), ARGUMENTS)) == 1
    assert asked((tuned({"P": 8}), ARGUMENTS), (tuned({"P": 16}), ARGUMENTS)) == 2
    two = tuned({"P": 8}, {"P": 16})
    assert asked((two, ARGUMENTS), (two, ARGUMENTS)) == 2


def test_other_kernels_and_unknown_arguments_are_asked_every_time() -> None:
    theirs = type("Theirs", (), {"__module__": "cycleganlike.kernels"})()
    assert asked((theirs, ARGUMENTS), (theirs, ARGUMENTS)) == 2
    strange = changed(n=object())
    assert asked((KERNEL, strange), (KERNEL, strange)) == 2
    assert asked((KERNEL, ARGUMENTS), (KERNEL, ARGUMENTS), descriptors={"x_ptr": ()}) == 2
