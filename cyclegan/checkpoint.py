"""Model files: one network with everything needed to run it.

Our format is a safetensors file whose metadata holds, as text,

    format          "cyclegan-generator" or "cyclegan-discriminator"
    format_version  "1"
    config          the network's configuration, as JSON
    domains         what it translates from and to, as JSON; for a discriminator, what it judges
    value_range     "[-1, 1]", the range of input and output values
    scored          of the best generators of a run: how good it is, and on what, as JSON

The public implementation's ``.pth`` files (see ``reference``) are read wherever a model is
expected: a file is told by its content, never by its name. No code found in a file is executed.
"""

import json
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cyclegan import reference
from cyclegan.config import (
    DiscriminatorConfig,
    GeneratorConfig,
    as_dict,
    from_dict,
)
from cyclegan.errors import ModelError, NewerFormatError, OutputError, model_readable
from cyclegan.files import replacing
from cyclegan.network_config import check_domains
from cyclegan.networks import (
    Discriminator,
    Generator,
    check_kind,
    check_unaltered,
    empty,
    to_be_filled,
)
from cyclegan.reference_domains import domains_of

FORMAT_VERSION = 1
GENERATOR = "cyclegan-generator"
DISCRIMINATOR = "cyclegan-discriminator"
_CONFIGS: dict[str, Any] = {GENERATOR: GeneratorConfig, DISCRIMINATOR: DiscriminatorConfig}


@dataclass(frozen=True, kw_only=True)
class Scored:
    """How good a generator was found to be."""

    goodness: float
    """Higher is better, among those of the same pictures."""
    pictures: str
    """Which it was scored on, as ``Scorer.fingerprint`` tells them."""


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What a model file says of its network."""

    config: GeneratorConfig | DiscriminatorConfig
    domains: tuple[str, ...]
    """Source and target of a generator; the judged domain of a discriminator."""
    format_version: int
    """0 for a file of the public implementation."""
    parameters: int
    """Numbers in the network's weights."""
    scored: Scored | None = None
    """None where a run did not keep it for its score."""

    @property
    def is_generator(self) -> bool:
        """Whether the file holds a generator, not a discriminator."""
        return not isinstance(self.config, DiscriminatorConfig)


def save_generator(
    path: str | os.PathLike[str],
    generator: Generator,
    domains: tuple[str, str] = ("A", "B"),
    scored: Scored | None = None,
) -> None:
    """Write ``generator`` to ``path``, which keeps its old content until the new one is whole.

    Raises ModelError for what is no generator, and for one whose modules, forward or hooks were
    changed, since the file holds a configuration and weights; ConfigError for domains that are not
    two names, OutputError when the file cannot be written.
    """
    check_kind(generator, Generator)
    check_unaltered(generator)
    check_domains(domains, 2)
    _save(Path(path), generator, GENERATOR, domains, scored)


def save_discriminator(
    path: str | os.PathLike[str], discriminator: Discriminator, domain: str
) -> None:
    """Write ``discriminator``, the judge of ``domain``, to ``path``, as ``save_generator`` does."""
    check_kind(discriminator, Discriminator)
    check_domains((domain,), 1)
    _save(Path(path), discriminator, DISCRIMINATOR, (domain,))


def load_generator(path: str | os.PathLike[str]) -> Generator:
    """The generator in ``path``: ours, or the public implementation's ``.pth``.

    Returns it in float32, on the CPU, in evaluation mode. Raises ModelError (UnknownModelError,
    NewerFormatError) when the file is missing, unreadable, truncated, or holds something else.
    """
    generator: Generator = _load(path, "generator")
    return generator


def load_discriminator(path: str | os.PathLike[str]) -> Discriminator:
    """The discriminator in ``path``; otherwise as ``load_generator``."""
    discriminator: Discriminator = _load(path, "discriminator")
    return discriminator


def read_info(path: str | os.PathLike[str]) -> ModelInfo:
    """What the model file ``path`` says of its network. Raises as ``load_generator`` does."""
    return _read(Path(path), with_tensors=False)[0]


def _save(
    path: Path,
    network: Generator | Discriminator,
    kind: str,
    domains: tuple[str, ...],
    scored: Scored | None = None,
) -> None:
    metadata = {
        "format": kind,
        "format_version": str(FORMAT_VERSION),
        "config": json.dumps(as_dict(network.config)),
        "domains": json.dumps(domains),
        "value_range": "[-1, 1]",
    }
    if scored is not None:
        metadata["scored"] = json.dumps(as_dict(scored))
    # Copies, since layers may share their weights, which safetensors refuses.
    tensors = {
        name: (tensor.float() if tensor.is_floating_point() else tensor)
        .detach()
        .cpu()
        .clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:
            raise OutputError(f"cannot write {path}: {error}") from error


def _load(path: str | os.PathLike[str], expected: str) -> Any:
    """The network in ``path``, a generator or a discriminator as ``expected``."""
    info, tensors = _read(Path(path), with_tensors=True)
    held = "generator" if info.is_generator else "discriminator"
    if held != expected:
        raise ModelError(f"{path} holds a {held}; expected a {expected}")
    _check_fits(info.config, tensors, Path(path))
    network = to_be_filled(info.config)
    network.load_state_dict(tensors)
    return network.eval()


def _check_fits(
    config: GeneratorConfig | DiscriminatorConfig, tensors: Mapping[str, Tensor], path: Path
) -> None:
    """Raises ModelError unless these are the network's tensors; before memory is taken for it."""
    try:
        empty(config).requires_grad_(False).load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise ModelError(f"{path}: its tensors do not fit its configuration: {error}") from error


def _read(path: Path, *, with_tensors: bool) -> tuple[ModelInfo, dict[str, Tensor]]:
    with model_readable(path):
        if not path.is_file():
            raise ModelError(f"no model file {path}")
        is_ours = _is_safetensors(path)
    if not is_ours:
        config, tensors = reference.read(path)
        source, target = domains_of(path)
        info = ModelInfo(
            config=config,
            domains=(target,) if isinstance(config, DiscriminatorConfig) else (source, target),
            format_version=0,
            parameters=sum(tensor.numel() for tensor in tensors.values()),
        )
        return info, tensors
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            info = _info_from_metadata(path, metadata, file)
            keys = list(file.keys())
            tensors = {key: file.get_tensor(key) for key in keys} if with_tensors else {}
    except SafetensorError as error:
        raise ModelError(f"{path} is damaged or truncated: {error}") from error
    return info, tensors


def _is_safetensors(path: Path) -> bool:
    """Whether the file begins as safetensors do: a header's length, then its opening brace."""
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and struct.unpack("<Q", start[:8])[0] < 1 << 27


def _info_from_metadata(path: Path, metadata: Mapping[str, str], file: Any) -> ModelInfo:
    kind = metadata.get("format")
    if kind not in _CONFIGS:
        raise ModelError(
            f"{path} says its format is {kind!r}; expected {' or '.join(map(repr, _CONFIGS))}"
        )
    try:
        version = int(metadata["format_version"])
        if version > FORMAT_VERSION:
            raise NewerFormatError(
                f"{path} has format {version}; this version reads up to {FORMAT_VERSION}; "
                "install a newer cyclegan-engine"
            )
        config = from_dict(_CONFIGS[kind], json.loads(metadata["config"]), "config.")
        domains = tuple(map(str, json.loads(metadata["domains"])))
        if len(domains) != (wanted := 2 if kind == GENERATOR else 1):
            raise ValueError(f"it names {len(domains)} domains; expected {wanted}")
        told = metadata.get("scored")
        scored = None if told is None else from_dict(Scored, json.loads(told), "scored.")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path}: its metadata cannot be used: {error}") from error
    parameters = sum(math.prod(file.get_slice(key).get_shape()) for key in list(file.keys()))
    return ModelInfo(
        config=config,
        domains=domains,
        format_version=version,
        parameters=parameters,
        scored=scored,
    )
