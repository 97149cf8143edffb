"""Words for what is in a source and not used: said in the summary of a run and by `recaption doctor`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from recaption.config import Source as SourceConfig
from recaption.source.columns import CAPTION_COLUMNS

_SHOWN = 5
_LIKE_A_CAPTION = re.compile(r"caption|text|alt|descri|prompt|label|title|sentence", re.IGNORECASE)


def counted(suffixes: Counter[str]) -> str:
    """`12 .txt, 3 .json, 1 without suffix`."""
    shown = sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]
    words = [f"{count:,} {storable(suffix) or 'without suffix'}" for suffix, count in shown]
    rest = suffixes.total() - sum(count for _, count in shown)
    return ", ".join([*words, f"{rest:,} others"] if rest else words)


def storable(name: str) -> str:
    r"""A file's name with bytes that are not UTF-8 as `\xNN`."""
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def shortened(names: Sequence[str]) -> str:
    names = [storable(name) for name in names]
    more = [f"and {len(names) - _SHOWN:,} more"] if len(names) > _SHOWN else []
    return ", ".join([*names[:_SHOWN], *more])


def unused_captions(columns: Iterable[str], config: SourceConfig) -> list[str]:
    """Columns that may hold captions, where none of those is there that captions are taken from."""
    names = sorted(columns)
    if config.raw_caption != CAPTION_COLUMNS[0] or any(name in CAPTION_COLUMNS for name in names):
        return []
    like = [name for name in names if _LIKE_A_CAPTION.search(name)]
    if not like:
        return []
    return [
        f"columns that may hold captions: {shortened(like)} (raw captions are taken from {', '.join(CAPTION_COLUMNS)}, "
        "or from the column that source.raw_caption names)"
    ]
