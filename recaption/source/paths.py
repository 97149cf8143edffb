"""The paths of a source: patterns, the files that they match, and ids of shards.

A pattern is a path or URL with braces (`{00000..00063}`, `{a,b}`, nested), globs (`*`, `?`, `[…]`, `**`), and `::`
between alternatives, as WebDataset and Bash write them.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from recaption.config import Source
from recaption.errors import SourceError
from recaption.formatting import number_of
from recaption.io import files

_GLOB = re.compile(r"[*?\[]")
_SPECIAL = re.compile(r"[*?\[{]")
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?")
_LETTERS = re.compile(r"([A-Za-z])\.\.([A-Za-z])")
_PLAIN = re.compile(r"[A-Za-z0-9-]+(_[A-Za-z0-9-]+)*")  # holds no "__", so that "__" can join folders unambiguously
_PART = re.compile(r"-\d{6}\Z")
_MAX_ID = 150  # characters; file systems take 255 bytes, and suffixes follow
_OBJECT_STORES: Final = frozenset({"s3", "gs", "gcs", "az", "abfs", "hf", "file"})


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
    is_plain = not is_pattern(pattern) or files.is_file(pattern)  # the name of a file may contain brackets
    alternatives = [pattern] if is_plain else list(expand_braces(pattern))
    globs = set() if is_plain else set(filter(_GLOB.search, alternatives))
    missing = _missing(path for path in alternatives if path not in globs)
    if missing:
        raise _not_found(pattern, missing, len(alternatives))
    found = []
    for path in alternatives:
        matches = files.matches(path) if path in globs else [path]
        if not matches:
            raise SourceError(f"source.path: no file matches {path!r}. Check the path")
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
        f"source.path {pattern!r} names {number_of(of, 'file')}; {len(missing):,} of them missing: {shown}. "
        "Correct the range, or use a glob (*.tar) to read the existing files"
    )


def _missing(paths: Iterable[str]) -> list[str]:
    missing = []
    for folder, group in itertools.groupby(paths, key=lambda path: path.rpartition("/")[0]):
        wanted = list(group)
        if not files.is_url(folder):
            missing += [path for path in wanted if not Path(path).is_file()]
        elif folder.startswith(("http://", "https://")) or len(wanted) < 3:
            # Web servers list no folders, and a request for each of 10,000 shards takes minutes: check both ends.
            missing += [path for path in dict.fromkeys((wanted[0], wanted[-1])) if not files.is_file(path)]
        else:
            entries = files.entries(folder) if files.is_folder(folder) else []
            present = {path.rpartition("/")[2] for path in entries}
            missing += [path for path in wanted if path.rpartition("/")[2] not in present]
    return missing


def split_patterns(path: str) -> list[str]:
    """The alternatives of `a::b`. Raises SourceError for an empty one and for WebDataset's `pipe:` commands."""
    patterns = path.split("::")
    if not all(patterns):
        raise SourceError(f"source.path {path!r}: one side of '::' is empty. Write pattern::pattern")
    for pattern in patterns:
        if pattern.startswith("pipe:"):
            raise SourceError(
                f"source.path {pattern!r}: shell commands are not run, because images are read again by byte range. "
                "Give a local path or a URL such as s3://bucket/{00000..00063}.tar"
            )
    return patterns


def is_pattern(path: str) -> bool:
    return _SPECIAL.search(path) is not None


def expand_braces(pattern: str) -> Iterator[str]:
    """All paths of a brace pattern, in the order in which they are written: the last brace turns fastest, as in Bash.

    `{000..010}` keeps its leading zeros, `{0..10..5}` has a step, `{a..e}` runs over letters. A brace with neither a
    comma nor a range is literal. Raises SourceError when a brace is not closed.
    """
    start = pattern.find("{")
    while start >= 0:
        end, parts = _brace(pattern, start)
        if (options := _alternatives(parts)) is not None:
            for middle in options:
                for rest in expand_braces(pattern[end + 1 :]):
                    yield f"{pattern[:start]}{middle}{rest}"
            return
        start = pattern.find("{", start + 1)
    yield pattern


def _brace(pattern: str, start: int) -> tuple[int, list[str]]:
    """The end of the brace that opens at `start`, and its parts between commas."""
    depth, parts, last = 0, list[str](), start + 1
    for i in range(start, len(pattern)):
        depth += (pattern[i] == "{") - (pattern[i] == "}")
        if depth == 0 or (depth == 1 and pattern[i] == ","):
            parts.append(pattern[last:i])
            last = i + 1
        if depth == 0:
            return i, parts
    raise SourceError(
        f"source.path {pattern!r}: the brace at character {start + 1} is not closed. "
        "Write {00000..00063} or {train,val}"
    )


def _alternatives(parts: Sequence[str]) -> Iterable[str] | None:
    """The texts that a brace with these parts stands for; None for a literal brace."""
    if len(parts) > 1:
        return (text for part in parts for text in expand_braces(part))
    if match := _RANGE.fullmatch(parts[0]):
        low, high, step = match.groups()
        padded = any(len(n.lstrip("-")) > 1 and n.lstrip("-").startswith("0") for n in (low, high))
        width = max(len(low), len(high)) if padded else 0
        return (f"{n:0{width}d}" for n in _range(int(low), int(high), max(1, abs(int(step or 1)))))
    if match := _LETTERS.fullmatch(parts[0]):
        return map(chr, _range(ord(match[1]), ord(match[2]), 1))
    return None


def _range(low: int, high: int, step: int) -> range:
    """From `low` to `high` inclusive, in either direction."""
    sign = 1 if high >= low else -1
    return range(low, high + sign, sign * step)


def fixed_part(patterns: Sequence[str]) -> str:
    """The folder that contains all paths of the patterns, up to the first brace or glob."""
    folders = []
    for pattern in patterns:
        *parents, _ = pattern.split("/")
        special = next((i for i, part in enumerate(parents) if is_pattern(part)), len(parents))
        folders.append(parents[:special])
    return "/".join(commonprefix(folders))  # noqa: RUF071 - of lists: whole names are compared


def relative_to(path: str, folder: str) -> str:
    """The path as seen from the fixed part of its pattern."""
    return path[len(folder) :].lstrip("/") if folder and path.startswith(f"{folder}/") else path.lstrip("/")


def shard_id(relative: str, suffixes: Sequence[str] = ()) -> str:
    """The id of a source shard: a pure, injective function of its path relative to the pattern's fixed part.

    `a/00000.tar` is `a__00000`. An id that would not be a plain file name, or could equal that of another path, is
    sanitised and ends in 8 hex digits of the path's sha256.
    """
    suffix = next((s for s in suffixes if relative.endswith(s)), "")
    stem = relative.removesuffix(suffix)
    parts = stem.split("/")
    plain = "__".join(parts)
    if (suffix or not suffixes) and len(plain) <= _MAX_ID and all(map(_PLAIN.fullmatch, parts)):
        return plain
    digest = hashlib.sha256(relative.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    readable = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9_-]+", "-", stem)).strip("_-")
    return f"{readable[: _MAX_ID - 50] or 'shard'}-{digest}"


def part_id(base: str, part: int) -> str:
    """The id of a virtual cut of a file or folder."""
    return f"{base}-{part:06d}"


def looks_like_part(base: str) -> bool:
    """Whether a file's id ends like that of a cut. Such a file gets a part number even if it has only one part."""
    return _PART.search(base) is not None


def is_plain_place(url: str) -> bool:
    """Whether images may be read there without a pipeline file: a local path, or an object store."""
    parts = [part.partition("://") for part in url.split("::")]
    return all(not separator or scheme in _OBJECT_STORES for scheme, separator, _ in parts)


def hosts_of(source: Source) -> Iterator[str]:
    """A line for each key of a source that reaches a host, or a file system other than those of object stores."""
    for key in ("path", "captions", "exclude"):
        value = getattr(source, key)
        if value and not is_plain_place(value):
            yield f"source.{key}: {value} (a host, or a file system other than those of object stores)"


def is_on_a_host_of(url: str, source: str) -> bool:
    """Whether images of a source whose path is `source` may be read at `url`: a plain place, or a host of that path."""
    if is_plain_place(url):
        return True
    named = {_host(path) for pattern in source.split("::") for path in expand_braces(pattern)}
    return all(is_plain_place(part) or _host(part) in named for part in url.split("::"))


def _host(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
