"""The ``.pth`` files of the public PyTorch CycleGAN (junyanz, pytorch-CycleGAN-and-pix2pix).

Such a file is a bare state_dict: it does not say what network it belongs to. Here the network is
read off its keys and shapes: each architecture known looks at the file and proposes a
configuration; the proposal counts when its whole list of keys, with shapes, is what the file holds.

Its names: ``G_A`` translates A to B (our generator_ab), ``G_B`` B to A. ``D_A`` judges domain **B**
(our discriminator_b), ``D_B`` judges A.
"""

import io
import os
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from cyclegan.config import (
    Norm,
    PatchConfig,
    PixelConfig,
    ResnetConfig,
    UnetConfig,
)
from cyclegan.errors import ConfigError, ModelError, UnknownModelError
from cyclegan.files import write_whole
from cyclegan.networks import (
    Discriminator,
    Generator,
    check_kind,
    empty,
    to_be_filled,
)
from cyclegan.reference_names import NetworkConfig, keys

_TELLING = (
    SafetensorError,  # torch.load goes by the ending, we do not
    RuntimeError,
    EOFError,
    ValueError,
    OSError,
)
"""Errors of torch.load that say what is wrong with a file. Of what it does not unpickle it says how
to run it all the same, which we do not, and the rest are the bytes' of a damaged file, which its
unpickler takes for instructions: anything can come of them."""
_MOST_FROM_ONE_BYTE = 4
"""Bytes of tensors. PyTorch saves them as they are, but reads what was compressed, and one number
that stands for many: a file much smaller than its tensors is meant to fill the memory."""
_WRAPPERS = re.compile(r"^(module\.|_orig_mod\.)+")
"""What DataParallel and torch.compile put before the names of the network that they wrap."""


def read(path: str | os.PathLike[str]) -> tuple[NetworkConfig, dict[str, Tensor]]:
    """The network's configuration and its tensors under our names, float32.

    Raises ModelError when the file is no state_dict, UnknownModelError when no network fits it.
    """
    given = _cleaned(_state_dict(Path(path)))
    tried = []
    for propose in _PROPOSALS:
        try:
            config = propose(given)
        except (ConfigError, IndexError, ValueError) as error:
            tried.append(f"{propose.__name__.removeprefix('_propose_')}: {error}")
            continue
        if config is None:
            continue
        wanted = {theirs: ours for ours, theirs in keys(config)}
        shapes = {key: tuple(t.shape) for key, t in empty(config).state_dict().items()}
        problems = _problems(given, wanted, shapes)
        if not problems:
            return config, {ours: given[theirs].float() for theirs, ours in wanted.items()}
        tried.append(f"{config}: {'; '.join(problems)}")
    raise UnknownModelError(_unknown(Path(path), given, tried))


def import_reference(path: str | os.PathLike[str]) -> Generator | Discriminator:
    """The network in the ``.pth`` file ``path``, in evaluation mode. Raises as ``read``."""
    config, tensors = read(path)
    network: Generator | Discriminator = to_be_filled(config)
    network.load_state_dict(tensors)
    return network.eval()


def export_reference(path: str | os.PathLike[str], network: Generator | Discriminator) -> None:
    """Write ``network`` to ``path`` as the public implementation saves it, atomically.

    Raises ModelError when that implementation has no such network or it is none of ours,
    OutputError when ``path`` cannot be written.
    """
    check_kind(network, Generator | Discriminator)
    if getattr(network.config, "upsample", "transposed") != "transposed":
        raise ModelError(
            "the public implementation has no resize-convolutions (upsample='resize'); "
            "only networks with upsample='transposed' can be exported to it"
        )
    state = network.state_dict()
    tensors = {theirs: state[ours].detach().cpu().clone() for ours, theirs in keys(network.config)}
    content = io.BytesIO()  # a file that cannot be written is no OSError of torch.save's
    torch.save(tensors, content)
    write_whole(Path(path), content.getvalue())  # Python 3.12.1 crashes on views that are garbage


def _state_dict(path: Path) -> Mapping[str, Tensor]:
    _check_unpacked(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # of a damaged file we say it ourselves
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        said = str(error).partition("\n")[0] if isinstance(error, _TELLING) else ""
        reason = said or (
            "it holds something else than tensors (of a whole network save the state_dict()), or "
            "is damaged; nothing was loaded"
        )
        raise ModelError(
            f"{path} is neither a safetensors file nor a PyTorch state_dict: {reason}"
        ) from error
    if not isinstance(loaded, Mapping) or not loaded:
        raise ModelError(f"{path} holds a {type(loaded).__name__}; expected a state_dict")
    if not all(isinstance(key, str) and isinstance(t, Tensor) for key, t in loaded.items()):
        raise ModelError(
            f"{path} holds a dictionary of more than tensors, with keys such as "
            f"{', '.join(map(str, list(loaded)[:4]))}; expected a bare state_dict of one network"
        )
    if odd := [key for key, tensor in loaded.items() if not _is_plain(tensor)]:
        raise ModelError(
            f"{path} holds tensors that are sparse, quantised, complex or without numbers, where "
            f"plain ones were expected: {_some(odd)}"
        )
    _check_size(path, sum(tensor.numel() * tensor.element_size() for tensor in loaded.values()))
    return loaded


def _is_plain(tensor: Tensor) -> bool:
    """Whether every number of ``tensor`` is there, and is one."""
    held = tensor.device.type == "cpu" and tensor.layout == torch.strided and not tensor.is_nested
    return held and not tensor.is_quantized and not tensor.is_complex()


def _check_unpacked(path: Path) -> None:
    """Raises ModelError for an archive that says it would fill the memory; before it does."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        # Another format, or damaged: loading it will tell.
        return
    _check_size(path, unpacked)


def _check_size(path: Path, unpacked: int) -> None:
    """Raises ModelError where a file is too small to hold so many bytes of tensors."""
    if unpacked > (size := path.stat().st_size) * _MOST_FROM_ONE_BYTE:
        raise ModelError(
            f"{path} has {size:,} bytes, and says that its tensors have {unpacked:,}; expected no "
            f"more than {_MOST_FROM_ONE_BYTE} times as many; save the state_dict() again"
        )


def _cleaned(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As PyTorch saves a bare network today.

    Without the prefixes of DataParallel and torch.compile and the statistics that old instance
    norms saved; with the counts of batches that batch norms did not save before PyTorch 0.4.1.
    """
    state = {_WRAPPERS.sub("", key): tensor for key, tensor in state.items()}
    norms = {key.rpartition(".")[0] for key in state if key.endswith(".running_mean")}
    norms_with_weights = {norm for norm in norms if f"{norm}.weight" in state}
    counts = {f"{norm}.num_batches_tracked": torch.tensor(0) for norm in norms_with_weights}
    kept = {
        key: tensor
        for key, tensor in state.items()
        if not re.search(r"\.(running_mean|running_var|num_batches_tracked)$", key)
        or key.rpartition(".")[0] in norms_with_weights
    }
    return counts | kept


# What each architecture makes of a file: a configuration, or None when it is plainly another.


def _propose_resnet(given: Mapping[str, Tensor]) -> NetworkConfig | None:
    blocks = {m[1] for key in given if (m := re.match(r"model\.(\d+)\.conv_block\.", key))}
    first, last = given.get("model.1.weight"), _last_weight(given)
    if not blocks or first is None or last is None:
        return None
    return ResnetConfig(
        in_channels=first.shape[1],
        out_channels=last.shape[0],
        width=first.shape[0],
        blocks=len(blocks),
        norm=_norm(given, "model.1", "model.2"),
        dropout="model.10.conv_block.6.weight" in given
        and given["model.10.conv_block.6.weight"].dim() == 4,
    )


def _propose_unet(given: Mapping[str, Tensor]) -> NetworkConfig | None:
    first, head = given.get("model.model.0.weight"), given.get("model.model.3.weight")
    if first is None or head is None:
        return None
    depth = 1 + max(key.count(".model") - 1 for key in given if key.endswith("model.1.weight"))
    return UnetConfig(
        in_channels=first.shape[1],
        out_channels=head.shape[1],
        width=first.shape[0],
        depth=max(depth, 5),
        norm=_norm(given, "model.model.1.model.1", "model.model.1.model.2"),
    )


def _propose_patch(given: Mapping[str, Tensor]) -> NetworkConfig | None:
    first = given.get("model.0.weight")
    if first is None or first.dim() != 4:
        return None
    convs = sum(tensor.dim() == 4 for tensor in given.values())
    return PatchConfig(
        in_channels=first.shape[1],
        width=first.shape[0],
        layers=max(convs - 2, 1),
        norm=_norm(given, "model.2", "model.3"),
    )


def _propose_pixel(given: Mapping[str, Tensor]) -> NetworkConfig | None:
    first = given.get("net.0.weight")
    if first is None or first.dim() != 4:
        return None
    return PixelConfig(
        in_channels=first.shape[1], width=first.shape[0], norm=_norm(given, "net.2", "net.3")
    )


_PROPOSALS = (_propose_resnet, _propose_unet, _propose_patch, _propose_pixel)


def _norm(given: Mapping[str, Tensor], conv: str, norm: str) -> Norm:
    """Batch norm has weights; before instance norm, and there alone, convolutions have a bias."""
    if f"{norm}.running_mean" in given:
        return "batch"
    return "instance" if f"{conv}.bias" in given else "none"


def _last_weight(given: Mapping[str, Tensor]) -> Tensor | None:
    outer = {int(m[1]): t for k, t in given.items() if (m := re.match(r"model\.(\d+)\.weight$", k))}
    return outer[max(outer)] if outer else None


# What to say of a file that fits none.


def _problems(
    given: Mapping[str, Tensor], wanted: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]
) -> list[str]:
    problems = []
    if missing := [key for key in wanted if key not in given]:
        problems.append(f"missing {_some(missing)}")
    if extra := [key for key in given if key not in wanted]:
        problems.append(f"left over {_some(extra)}")
    wrong = [
        f"{key} {tuple(given[key].shape)} instead of {shapes[ours]}"
        for key, ours in wanted.items()
        if key in given and tuple(given[key].shape) != shapes[ours]
    ]
    if wrong:
        problems.append(f"other shapes: {_some(wrong)}")
    return problems


def _unknown(path: Path, given: Mapping[str, Tensor], tried: list[str]) -> str:
    if tried:
        return f"{path} fits no network known here. Tried:\n  " + "\n  ".join(tried)
    return (
        f"{path} fits no network known here: nothing in it looks like a ResNet or U-Net generator, "
        f"a patch or a pixel discriminator. Its keys: {_some(list(given))}"
    )


def _some(items: list[str], most: int = 6) -> str:
    rest = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + rest
