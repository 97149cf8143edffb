"""Expands patterns to existing files in a deterministic order, each with its shard id."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from recaption.errors import SourceError
from recaption.io import files
from recaption.source.paths import (
    expand_braces,
    fixed_part,
    has_glob,
    is_pattern,
    relative_to,
    shard_id,
    split_patterns,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """A file of the source. `id` is a pure function of its path relative to the fixed part of the pattern."""

    path: str
    id: str


def absolute_patterns(path: str) -> str:
    """The source's path with every local alternative made absolute."""
    return "::".join(files.absolute(pattern) for pattern in split_patterns(path))


def list_files(path: str, suffixes: Sequence[str]) -> list[SourceFile]:
    """Files of `path`, braces in the order written, globs sorted.

    Raises SourceError if nothing matches, if a file of a brace range is missing (a gap in a range is usually a mistake;
    use a glob to accept gaps), or if a file is listed twice.
    """
    patterns = split_patterns(path)
    folder = fixed_part(patterns)
    found: list[SourceFile] = []
    seen: dict[str, str] = {}
    for pattern in patterns:
        for file in _expand(pattern):
            name = shard_id(relative_to(file, folder), suffixes)
            if name in seen:
                raise SourceError(
                    f"source.path {path!r} lists {file} "
                    + ("twice" if seen[name] == file else f"and {seen[name]}, which get the same shard id {name}")
                    + ". List every file once"
                )
            seen[name] = file
            found.append(SourceFile(path=file, id=name))
    return found


def _expand(pattern: str) -> list[str]:
    if not is_pattern(pattern) or files.is_file(pattern):  # the name of a file may contain brackets
        alternatives = [pattern]
        globs = [False]
    else:
        alternatives = list(expand_braces(pattern))
        globs = [has_glob(alternative) for alternative in alternatives]
    missing = _missing(path for path, is_glob in zip(alternatives, globs, strict=True) if not is_glob)
    if missing:
        raise _not_found(pattern, missing, len(alternatives))
    found = []
    for path, is_glob in zip(alternatives, globs, strict=True):
        matches = files.matches(path) if is_glob else [path]
        if not matches:
            raise SourceError(f"source.path: no file matches {path!r}. Check the path, or list what there is")
        found.extend(matches)
    return found


def _not_found(pattern: str, missing: list[str], of: int) -> SourceError:
    if of == 1:
        return SourceError(
            f"source.path: there is no file {pattern!r}. Give a file, a folder, a glob (*.tar) or a brace pattern "
            "({00000..00063}.tar)"
        )
    shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
    return SourceError(
        f"source.path {pattern!r} names {of} files, of which {len(missing)} are missing: {shown}. "
        "Correct the range, or use a glob (*.tar) to take what there is"
    )


def _missing(paths: Iterable[str]) -> list[str]:
    missing = []
    for folder, group in itertools.groupby(paths, key=lambda path: path.rpartition("/")[0]):
        wanted = list(group)
        if not files.is_url(folder):
            missing += [path for path in wanted if not Path(path).is_file()]
        elif folder.startswith(("http://", "https://")):
            # Web servers list no folders, and a request for each of 10,000 shards takes minutes: look at the ends.
            missing += [path for path in dict.fromkeys((wanted[0], wanted[-1])) if not files.is_file(path)]
        elif len(wanted) < 3:
            missing += [path for path in wanted if not files.is_file(path)]
        else:
            there = set(_remote_names(folder))
            missing += [path for path in wanted if path.rpartition("/")[2] not in there]
    return missing


def _remote_names(folder: str) -> Iterator[str]:
    if files.is_folder(folder):
        yield from (path.rpartition("/")[2] for path in files.entries(folder))
