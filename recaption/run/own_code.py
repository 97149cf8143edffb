"""The user's own classes of a pipeline (engines, tasks, custom tables) and where Ray's processes find their modules."""

from __future__ import annotations

import importlib.util
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from recaption.config import Pipeline

_INSTALLED: Final = tuple(
    Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def modules_of(pipeline: Pipeline) -> dict[str, Path]:
    """The top-level modules of the user's own classes: name -> package folder or file.

    Installed packages are left out: they must be installed on all nodes. Nothing is imported.
    """
    names = [*(model.engine for model in pipeline.models.values()), *pipeline.annotate.tables]
    names += [generation.task for generation in pipeline.generate]
    top = dict.fromkeys(name.partition(":")[0].partition(".")[0] for name in names if ":" in name)
    found = {name: place for name in top if name != "recaption" and (place := _place(name)) is not None}
    return {name: place for name, place in found.items() if not _is_installed(place)}


def import_folders(pipeline: Pipeline) -> list[str]:
    """The folders from which these modules are imported, for PYTHONPATH of processes on this machine."""
    return list(dict.fromkeys(str(place.parent) for place in modules_of(pipeline).values()))


def staged(pipeline: Pipeline, folder: Path) -> Iterator[str]:
    """Copies of these modules below `folder`, as packages for Ray's `py_modules`: a single file becomes a package."""
    for name, place in modules_of(pipeline).items():
        copy = folder / name / name
        if place.is_dir():
            shutil.copytree(place, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            copy.mkdir(parents=True)
            shutil.copy(place, copy / "__init__.py")
        yield str(copy)


def _place(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin in ("built-in", "frozen"):
        return None
    folders = list(spec.submodule_search_locations or ())  # a package, also one without __init__.py
    return Path(folders[0] if folders else str(spec.origin)).resolve()


def _is_installed(place: Path) -> bool:
    return any(place.is_relative_to(folder) for folder in _INSTALLED)
