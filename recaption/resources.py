"""Files that ship with recaption (pipelines, prompts, schemas) and the search for one of them by name."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from recaption.errors import ConfigError


def shipped(kind: str) -> Path:
    """The folder of shipped `kind` ("pipelines", "prompts", "schemas").

    A wheel contains them as `recaption/_shipped/<kind>`; in a checkout they are top-level folders.
    """
    packaged = Path(__file__).parent / "_shipped" / kind
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / kind


def names_in(folder: Path, suffix: str) -> list[str]:
    """The names of the files in a folder and its sub-folders, without the suffix: demo, seeds/flair."""
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob(f"*{suffix}"))


def find(kind: str, name: str, suffix: str, folder: Path | None = None) -> Path:
    """The file that `name` selects: a path, else a name in `folder`, else the name of a shipped file.

    A name may begin with a sub-folder: seeds/flair.

    Raises ConfigError, which lists the folders searched and the known names.
    """
    places = list(dict.fromkeys(place for place in (folder, shipped(kind)) if place is not None))
    tried = [Path(name).expanduser(), *([folder / name] if folder else [])]
    is_name = bool(re.fullmatch(r"[^./][^/]*(/[^./][^/]*)*", name)) and not name.endswith(suffix)
    if is_name:
        tried += [place / f"{name}{suffix}" for place in places]
    for path in tried:
        if path.is_file():
            return path
    known = sorted({name for place in places for name in names_in(place, suffix)})
    what = "it is a folder" if tried[0].is_dir() else "there is no such file"
    if is_name:
        what += f", and no {name}{suffix} in {' or '.join(map(str, places))}"
    close = difflib.get_close_matches(name, known, 1)
    hint = f"Did you mean {close[0]}? " if close else ""
    raise ConfigError(
        f"{kind[:-1]} {name!r} not found: {what}. {hint}Give the path of a file, or a name. Known names: "
        f"{', '.join(known) or 'none'}"
    )
