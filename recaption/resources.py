"""Files that ship with recaption (pipelines, prompts, schemas) and the search for one of them by name."""

from __future__ import annotations

from pathlib import Path

from recaption.errors import ConfigError


def shipped(kind: str) -> Path:
    """The folder of shipped `kind` ("pipelines", "prompts", "schemas").

    A wheel contains them as `recaption/_shipped/<kind>`; in a checkout they are top-level folders.
    """
    packaged = Path(__file__).parent / "_shipped" / kind
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / kind


def find(kind: str, name: str, suffix: str, folder: Path | None = None) -> Path:
    """The file that `name` selects: a path, else a name in `folder`, else the name of a shipped file.

    Raises ConfigError, which lists the folders searched and the known names.
    """
    as_path = Path(name).expanduser()
    if as_path.is_file():
        return as_path
    if folder is not None and (folder / name).is_file():
        return folder / name
    plain = "/" not in name and not name.endswith(suffix)
    places = [place for place in (folder, shipped(kind)) if place is not None]
    if plain:
        for place in places:
            if (place / f"{name}{suffix}").is_file():
                return place / f"{name}{suffix}"
    known = sorted({path.stem for place in places for path in place.glob(f"*{suffix}")})
    raise ConfigError(
        f"{kind[:-1]} {name!r} not found: there is no such file, and no {name}{suffix} in "
        f"{' or '.join(str(place) for place in places)}. Known names: {', '.join(known) or 'none'}"
    )
