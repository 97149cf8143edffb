"""Formatting of numbers and text for people: durations, shares, bars, histograms."""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections.abc import Sequence

_BLOCKS = " ▏▎▍▌▋▊▉█"
_SPARKS = "▁▂▃▄▅▆▇█"
_WORDS = re.compile(r"\s*\S+")
# ECMA-48: CSI (ESC [ … final byte), OSC/DCS/APC/PM/SOS (… until BEL or ST), and two-character escapes; C1 forms too.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]"
)
_KEPT_FORMAT = "\u200c\u200d"  # joiners: scripts and emoji need them
_BREAKS = re.compile("[\r\n\t\x0b\x0c\x85\u2028\u2029]+")


def duration(seconds: float) -> str:
    """`8 s`, `12 min`, `3 h 20 min`, `2 d 4 h`: rounded to what a reader needs."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"


def percent(share: float) -> str:
    """`0.4 %`, `61 %`. Shares below 1 are never rounded to 100 %, and shares above 0 never to 0 %."""
    value = share * 100
    if value in (0, 100) or 10 <= value < 99:
        return f"{value:.0f} %"
    digits = min(value, 99.9) if value < 100 else value
    return "<0.1 %" if value < 0.05 else f"{digits:.1f} %"


def amount(count: float) -> str:
    """`950`, `12.3 k`, `7.0 M`: for columns that show the order of magnitude."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f}"


def bar(share: float, width: int = 20) -> str:
    """`share` of `width` cells filled, to an eighth of a cell."""
    eighths = math.floor(max(0.0, min(1.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return (_BLOCKS[8] * full + (_BLOCKS[rest] if rest else "")).ljust(width)


def quantile(values: Sequence[float], q: float) -> float:
    """The smallest of `values` that at least a share `q` of them does not exceed. Raises ValueError without any."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]


def histogram(values: Sequence[float], bins: int = 24, top: float | None = None) -> list[int]:
    """Counts of equal bins over [0, top], the last one closed; `top` is the largest value if not given."""
    counts = [0] * bins
    end = max(values, default=0) if top is None else top
    for value in values:
        counts[min(bins - 1, int(value / end * bins)) if end > 0 else 0] += 1
    return counts


def sparks(counts: Sequence[int]) -> str:
    """One character per count, with a height relative to the largest; a blank for 0."""
    most = max(counts, default=0)
    return "".join(" " if not count else _SPARKS[math.ceil(count / most * len(_SPARKS)) - 1] for count in counts)


def number_of(count: int, one: str, many: str | None = None) -> str:
    """`1 image`, `1,234 images`, or with a verb: `number_of(n, "image is", "images are")`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def listed(counts: Sequence[tuple[str, int]] | dict[str, int]) -> str:
    """`refusal 3, undecodable 1`, the most frequent first."""
    pairs = counts.items() if isinstance(counts, dict) else counts
    return ", ".join(f"{name} {n:,}" for name, n in sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def printable(text: str) -> str:
    """The text on one line, without escapes, control characters, direction overrides and invisible format characters.

    Texts of models and of the web can contain them, and they move the cursor or set the window's title. Line ends and
    tabs become a space. The result is never longer than `text`; offsets into `text` do not hold in it.
    """
    text = _BREAKS.sub(" ", _ESCAPES.sub("", text))
    if text.isascii() and text.isprintable():
        return text
    return "".join(c for c in text if c in _KEPT_FORMAT or unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Cn"})


def printable_lines(text: str) -> str:
    """As `printable`, line by line."""
    return "\n".join(map(printable, text.split("\n")))


def changes(before: str, after: str) -> list[tuple[str, str]]:
    """Word diff of `before` and `after`: pieces that are "same", "removed" or "added", in reading order."""
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    pieces: list[tuple[str, str]] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces.append(("same", "".join(old[a:b])))
            continue
        pieces += [("removed", "".join(old[a:b]))] if b > a else []
        pieces += [("added", "".join(new[c:d]))] if d > c else []
    return pieces
