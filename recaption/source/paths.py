"""Path patterns and shard ids: pure text, no file is touched.

A pattern is a path or URL with braces (`{00000..00063}`, `{a,b}`, nested), globs (`*`, `?`, `[…]`, `**`), and `::`
between alternatives, as WebDataset and Bash write them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence

from recaption.errors import SourceError

_GLOB = re.compile(r"[*?\[]")
_SPECIAL = re.compile(r"[*?\[{]")
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?")
_LETTERS = re.compile(r"([A-Za-z])\.\.([A-Za-z])")
_PLAIN = re.compile(r"[A-Za-z0-9-]+(_[A-Za-z0-9-]+)*")  # holds no "__", so that "__" can join folders unambiguously
_PART = re.compile(r"-\d{6}\Z")
_MAX_ID = 150  # characters; file systems take 255 bytes, and suffixes follow


def split_patterns(path: str) -> list[str]:
    """The alternatives of `a::b`. Raises SourceError for an empty one and for WebDataset's `pipe:` commands."""
    patterns = path.split("::")
    if not all(patterns):
        raise SourceError(f"source.path {path!r}: nothing on one side of '::'. Write pattern::pattern")
    for pattern in patterns:
        if pattern.startswith("pipe:"):
            raise SourceError(
                f"source.path {pattern!r}: shell commands are not run, because images are read again by byte range. "
                "Give a local path or a URL such as s3://bucket/{00000..00063}.tar"
            )
    return patterns


def is_pattern(path: str) -> bool:
    return _SPECIAL.search(path) is not None


def has_glob(path: str) -> bool:
    return _GLOB.search(path) is not None


def expand_braces(pattern: str) -> Iterator[str]:
    """All paths of a brace pattern, in the order in which they are written: the last brace turns fastest, as in Bash.

    `{000..010}` keeps its leading zeros, `{0..10..5}` has a step, `{a..e}` runs over letters. A brace with neither a
    comma nor a range is literal. Raises SourceError when a brace is not closed.
    """
    found = _first_brace(pattern)
    if found is None:
        yield pattern
        return
    start, end = found
    head, body = pattern[:start], pattern[start + 1 : end]
    for middle in _alternatives(body):
        for rest in expand_braces(pattern[end + 1 :]):
            yield f"{head}{middle}{rest}"


def _first_brace(pattern: str) -> tuple[int, int] | None:
    """Start and end of the first brace that expands to several texts."""
    start = pattern.find("{")
    while start >= 0:
        end = _closing(pattern, start)
        body = pattern[start + 1 : end]
        if "," in body or _RANGE.fullmatch(body) or _LETTERS.fullmatch(body):
            return start, end
        start = pattern.find("{", start + 1)
    return None


def _closing(pattern: str, start: int) -> int:
    depth = 0
    for i in range(start, len(pattern)):
        depth += (pattern[i] == "{") - (pattern[i] == "}")
        if depth == 0:
            return i
    raise SourceError(
        f"source.path {pattern!r}: the brace at character {start + 1} is not closed. "
        "Write {00000..00063} or {train,val}"
    )


def _alternatives(body: str) -> Iterator[str]:
    if match := _RANGE.fullmatch(body):
        low, high, step = match.groups()
        padded = any(len(n.lstrip("-")) > 1 and n.lstrip("-").startswith("0") for n in (low, high))
        width = max(len(low), len(high)) if padded else 0
        stride = max(1, abs(int(step))) if step else 1
        up = int(high) >= int(low)
        numbers = range(int(low), int(high) + 1, stride) if up else range(int(low), int(high) - 1, -stride)
        yield from (f"{n:0{width}d}" for n in numbers)
    elif match := _LETTERS.fullmatch(body):
        low_code, high_code = ord(match[1]), ord(match[2])
        codes = range(low_code, high_code + 1) if high_code >= low_code else range(low_code, high_code - 1, -1)
        yield from map(chr, codes)
    else:
        for option in _split_commas(body):
            yield from expand_braces(option)


def _split_commas(body: str) -> Iterator[str]:
    depth, last = 0, 0
    for i, char in enumerate(body):
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            yield body[last:i]
            last = i + 1
    yield body[last:]


def fixed_part(patterns: Sequence[str]) -> str:
    """The folder that contains all paths of the patterns, up to the first brace or glob."""
    folders = []
    for pattern in patterns:
        *parents, _ = pattern.split("/")
        special = next((i for i, part in enumerate(parents) if is_pattern(part)), len(parents))
        folders.append(parents[:special])
    common = folders[0]
    for folder in folders[1:]:
        same = (i for i, (a, b) in enumerate(zip(common, folder, strict=False)) if a != b)
        common = common[: next(same, min(len(common), len(folder)))]
    return "/".join(common)


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
    """Whether a plain id looks like that of a cut. Such a file gets a part number even if it has only one part."""
    return _PART.search(base) is not None
