"""Where results may go: never onto what they are made from."""

from collections.abc import Iterable
from pathlib import Path

from cyclegan.errors import OutputError


def check_target(source: Path, target: Path) -> None:
    """Raises OutputError where ``target`` is ``source``, or lies inside the folder ``source``."""
    if source.exists() and target.exists() and target.samefile(source):
        raise OutputError(f"{target} is the source itself; give the result another name")
    if source.is_dir() and target.resolve().is_relative_to(source.resolve()):
        raise OutputError(
            f"{target} lies inside the source folder {source}, where the next run would take "
            "results for sources; write them outside of it"
        )


def check_run(source: Path, output: Path) -> None:
    """Raises OutputError where a run in ``output`` would write among the pictures that it reads, or
    these lie where its samples go."""
    check_target(source, output)
    if not source.exists():
        return
    given, samples = source.resolve(), (output / "samples").resolve()
    if given.is_relative_to(samples) or samples.is_relative_to(given):
        raise OutputError(
            f"{source} lies where a run in {output} writes its samples, which the next run would "
            "take for sources; choose another output"
        )


def check_ending(target: Path, kind: str, *endings: str) -> None:
    """Raises OutputError where a file of ``kind`` would go by another name than one of these."""
    if target.suffix.lower() not in endings:
        raise OutputError(
            f"{target} would be {kind} by its content; give it a name that ends with "
            f"{' or '.join(endings)}"
        )


def check_pattern(source: str, target: str, found: Iterable[Path] = ()) -> None:
    """Raises OutputError where numbered pictures could be written among those that are read.

    ``found``: pictures of ``source``, whose folders it may have a pattern for too.
    """
    here, there = Path(source), Path(target)
    could_be_any = not here.suffix or any(sign in here.suffix for sign in "*?[]{}\\")
    same_kind = could_be_any or here.suffix.lower() == there.suffix.lower()
    folders = {here.parent, *(path.parent for path in found)}
    if same_kind and there.parent.resolve() in {folder.resolve() for folder in folders}:
        raise OutputError(
            f"{target} could be one of the pictures {source}; write the results into another folder"
        )


def check_targets(sources: Iterable[Path], targets: Iterable[Path]) -> None:
    """Raises OutputError where one of ``targets`` is one of ``sources``, in whatever order."""
    taken = {path.resolve() for path in sources}
    if path := next((path for path in targets if path.resolve() in taken), None):
        raise OutputError(f"{path} is a source itself; write the results into another folder")
