"""Models by name: those that come with the package, those that runs leave, and any file."""

from pathlib import Path

from cyclegan.errors import ModelError, model_readable

FOLDER = Path(__file__).parent / "models"
DEFAULT = "relief2satellite"
OFFERED = ("_best", "_ema", "")
"""Suffixes of a run's generators, the one to use first."""


def names() -> list[str]:
    """Names of the shipped models."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def find_model(name: str) -> Path:
    """The file called ``name``, what a run offers under it, or the shipped model of that name.

    A run's folder offers its generator_ab, and ``folder/generator_ba`` names the other one: the
    best that it has kept, else the moving average, else the last. Raises ModelError if there is
    nothing, or the system does not let it be looked for.
    """
    with model_readable(name):
        return _found(name)


def _found(name: str) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    stem = path / "generator_ab" if path.is_dir() else path
    places = [stem.with_name(f"{stem.name}{suffix}.safetensors") for suffix in OFFERED]
    for place in [*places, FOLDER / f"{name}.safetensors"]:
        if place.is_file():
            return place
    if others := sorted(map(str, path.glob("*.pth"))):
        raise ModelError(
            f"{name} is no run's folder, and its .pth files are models each: give one of them, "
            f"such as {next((p for p in others if '_net_G' in p), others[0])}"
        )
    what = f"no generator in the folder {name}" if path.is_dir() else f"no model file {name}"
    raise ModelError(f"{what}; shipped models are {', '.join(names())}")
