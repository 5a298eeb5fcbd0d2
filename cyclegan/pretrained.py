"""The networks that a run begins with, where they are not new ones."""

import re
from pathlib import Path

from cyclegan.checkpoint import load_discriminator, load_generator
from cyclegan.errors import ConfigError, ModelError
from cyclegan.model import NETWORKS, CycleGAN

PUBLIC_NAMES = {
    "generator_ab": "G_A",
    "generator_ba": "G_B",
    "discriminator_a": "D_B",
    "discriminator_b": "D_A",
}
"""What the public implementation calls our networks; its ``D_A`` judges domain B."""
_PUBLIC_FILE = re.compile(r"(.+)_net_[GD]_[AB]\.pth")


def load_pretrained(model: CycleGAN, place: Path) -> None:
    """Give all four networks of ``model`` the weights that :func:`pretrained_files` finds.

    Optimizers and image pools stay as they are: none of these files holds them. Raises ModelError
    for a file that is missing or cannot be used, ConfigError for one of another architecture.
    """
    for name, path in pretrained_files(place).items():
        load = load_generator if name.startswith("generator") else load_discriminator
        network, loaded = getattr(model, name), load(path)
        try:
            network.load_state_dict(loaded.state_dict())
        except RuntimeError as error:
            raise ConfigError(
                f"{path} holds a network of {loaded.config}, and {name} is one of "
                f"{network.config}; set model.generator and model.discriminator to what the files "
                "hold"
            ) from error


def pretrained_files(place: Path) -> dict[str, Path]:
    """The files of all four networks, by our names.

    ``place`` is a run's folder, for what it saved last, or a folder of the public implementation's,
    for ``latest_net_G_A.pth`` and the three others; ``folder/50`` are those of epoch 50. Raises
    ModelError, saying what there is, where one is missing, and for one file.
    """
    if place.is_file():
        raise ModelError(
            f"{place} is one file; name the folder of all four networks, {place.parent}"
        )
    folder, epoch = (place, "latest") if place.is_dir() else (place.parent, place.name)
    found = {name: place / f"{name}.safetensors" for name in NETWORKS}
    if not any(path.is_file() for path in found.values()):
        found = {name: folder / f"{epoch}_net_{PUBLIC_NAMES[name]}.pth" for name in NETWORKS}
    missing = [str(path) for path in found.values() if not path.is_file()]
    if missing:
        raise ModelError(
            f"{place} lacks {', '.join(missing)}; a run begins with all four networks"
            f"{_other_epochs(folder)}"
        )
    return found


def _other_epochs(folder: Path) -> str:
    """Which epochs' files are in ``folder``, if it is there."""
    names = (path.name for path in folder.glob("*_net_*.pth"))
    epochs = sorted({found[1] for name in names if (found := _PUBLIC_FILE.fullmatch(name))})
    return f"; files of epochs are named as in {folder / epochs[0]}" if epochs else ""
