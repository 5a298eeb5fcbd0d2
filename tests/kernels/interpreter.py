"""Triton's interpreter with less to do, for tests on a CPU: ``checks.py`` has it.

This looks into Triton 3.7.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any


def patch_language_once_a_launch() -> None:
    """The interpreter puts its own functions in place of Triton's language for each launch, and
    again for each call of one function from another, which changes nothing more."""
    import triton.language as tl
    from triton.runtime import interpreter

    patch, run = interpreter._patch_lang, interpreter.GridExecutor.__call__
    patched: set[int] = set()

    @cache
    def names(function: Callable[..., Any]) -> frozenset[int]:
        """The modules of the language that it knows."""
        known = function.__globals__.values()
        return frozenset(id(module) for module in known if module is tl or module is tl.core)

    def patch_the_rest(function: Callable[..., Any]) -> Any:
        if names(function) <= patched:
            return None  # nobody restores what such a call has patched
        patched.update(names(function))
        return patch(function)

    def launch(self: Any, *args: Any, **kwargs: Any) -> Any:
        patched.clear()
        return run(self, *args, **kwargs)

    interpreter._patch_lang, interpreter.GridExecutor.__call__ = patch_the_rest, launch


def leave_out_discarded_checks() -> None:
    """Whether each sum and product of integers overflows is worked out by ten operations, for an
    assertion that the interpreter passes over."""
    from triton.runtime.interpreter import interpreter_builder

    options = interpreter_builder.options
    assert not options.debug, "the assertions count"
    interpreter_builder.options = replace(options, sanitize_overflow=False)


def look_up_dtypes_once() -> None:
    """A table of all of NumPy's is made anew for each cast and constant."""
    from triton.runtime import interpreter

    look_up = interpreter._get_np_dtype
    known: dict[str, Any] = {}

    def known_or_looked_up(dtype: Any) -> Any:
        found = known.get(dtype.name)
        if found is None:
            found = known[dtype.name] = look_up(dtype)
        return found

    interpreter._get_np_dtype = known_or_looked_up
