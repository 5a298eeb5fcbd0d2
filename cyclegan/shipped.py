"""Models that come with the package, by name."""

from pathlib import Path

from cyclegan.errors import ModelError

FOLDER = Path(__file__).parent / "models"
DEFAULT = "relief2satellite"


def names() -> list[str]:
    """Names of the shipped models."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def find_model(name: str) -> Path:
    """The file called ``name``, or the shipped model of that name. Raises ModelError if neither."""
    path = Path(name)
    shipped = FOLDER / f"{name}.safetensors"
    if path.exists() or not shipped.exists():
        if not path.is_file():
            raise ModelError(f"no model file {name}; shipped models are {', '.join(names())}")
        return path
    return shipped
