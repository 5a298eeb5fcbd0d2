"""Execution contexts, and the kernels that tensorrt-rtx compiles for them.

That flavour finishes a plan for the GPU at hand when it is loaded. What it compiled is kept in a
file between processes; it looks at the file itself, and refuses one of another GPU, driver or
version. The full flavour has nothing to compile.
"""

import contextlib
import logging
from pathlib import Path
from typing import Any

from cyclegan.engine.flavours import TensorRT
from cyclegan.errors import BackendError, OutputError
from cyclegan.files import write_whole

_log = logging.getLogger(__name__)


class Contexts:
    """Makes the contexts of one engine. Needs the GPU's context to be current."""

    def __init__(self, tensorrt: TensorRT, engine: Any, path: Path | None = None) -> None:
        self._engine, self._path = engine, path
        self._config = self._cache = None
        if not tensorrt.is_rtx:
            return
        self._config = config = engine.create_runtime_config()
        # By itself it would run slower kernels, of any size, while it compiles those of a size in
        # the background; and a graph recorded meanwhile would keep them.
        eager = tensorrt.trt.DynamicShapesKernelSpecializationStrategy.EAGER
        config.dynamic_shapes_kernel_specialization_strategy = eager
        if path is not None:
            self._cache = cache = config.create_runtime_cache()
            with contextlib.suppress(OSError):  # there is none yet, or it cannot be read
                if not cache.deserialize(path.read_bytes()):
                    _log.info("the kernels in %s are of another GPU or version", path)
            config.set_runtime_cache(cache)

    def create(self) -> Any:
        """A new context. Raises BackendError when memory is short."""
        if self._config is None:
            context = self._engine.create_execution_context()
        else:
            context = self._engine.create_execution_context(self._config)
        if context is None:
            raise BackendError(
                "TensorRT cannot make an execution context: the GPU's memory is too small or full; "
                "build for a smaller size or batch"
            )
        return context

    def close(self) -> None:
        """Keep what was compiled; a file that cannot be written is only a slower start."""
        cache, self._cache, self._config, self._engine = self._cache, None, None, None
        if cache is None or self._path is None:
            return
        try:
            write_whole(self._path, bytes(cache.serialize()))
        except OutputError as error:
            _log.warning("the compiled kernels were not kept: %s", error)
