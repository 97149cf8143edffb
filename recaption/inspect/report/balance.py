"""The report's section about concept balance: images by object, before and after, if `balance.parquet` is there."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyarrow.parquet as pq
from markupsafe import Markup

from recaption.balance import About, read_about
from recaption.errors import DatasetError
from recaption.inspect.balance import lines
from recaption.inspect.paths import OutputPaths
from recaption.output.paths import BALANCE

_WIDTH, _HEIGHT, _SIDE, _TOP, _BOTTOM = 420, 190, 40, 22, 34


def section(output: OutputPaths, build: str) -> Markup | None:
    """The section as HTML; None without a readable file about this build."""
    path = output.out.local(BALANCE) if output.out else None
    try:
        with pq.ParquetFile(path) as parquet:
            about = read_about(parquet, str(path))
    except (OSError, TypeError, ValueError, DatasetError):  # TypeError: no local path
        return None
    if about.build != build:
        return None
    text = Markup("").join(Markup("<p>{}</p>").format(line) for line in lines(about))
    return Markup(
        '<section id="balance" aria-labelledby="h-balance"><h2 id="h-balance">Concept balance</h2>{}'
        "<figure><figcaption><h3>Images by object, from frequent to rare</h3></figcaption>{}</figure></section>"
    ).format(text, _curve(about))


def _curve(about: About) -> Markup:
    """Two lines over the rank of an object, both axes logarithmic: images before (dashed) and after."""
    top = max(about.curve[0][1], 2)
    right, floor = _WIDTH - _SIDE, _HEIGHT - _BOTTOM

    def points(values: Sequence[tuple[int, float]]) -> str:
        places = []
        for rank, number in values:
            across = math.log(rank) / math.log(max(about.objects, 2))
            up = math.log(max(number, 1)) / math.log(top)
            places.append(f"{_SIDE + across * (right - _SIDE):.1f},{floor - up * (floor - _TOP):.1f}")
        return " ".join(places)

    before = points([(rank, number) for rank, number, _ in about.curve])
    after = points([(rank, number) for rank, _, number in about.curve])
    level = floor - math.log(max(1, min(about.t, top))) / math.log(top) * (floor - _TOP)
    words = (
        f"Images that name an object, by its rank: the most frequent one {about.curve[0][1]:,} before and "
        f"{about.curve[0][2]:,.0f} after; t is {about.t:,}"
    )
    return Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-label="{words}">'
        '<line class="base" x1="{l}" y1="{f}" x2="{r}" y2="{f}"/>'
        '<line class="mark" x1="{l}" y1="{t:.1f}" x2="{r}" y2="{t:.1f}"/>'
        '<polyline class="line" stroke-dasharray="4 3" points="{before}"/><polyline class="line" points="{after}"/>'
        '<text class="top" x="{l}" y="{above}">{most:,} images</text>'
        '<text x="{r}" y="{y:.1f}" text-anchor="end">t = {limit:,}</text>'
        '<text x="{l}" y="{below}">object 1</text><text x="{r}" y="{below}" text-anchor="end">{objects:,}</text>'
        '<text x="{middle}" y="{below}" text-anchor="middle">dashed: before, solid: after</text></svg>'
    ).format(
        w=_WIDTH,
        h=_HEIGHT,
        l=_SIDE,
        r=right,
        f=floor,
        t=level,
        y=level - 4,
        above=_TOP - 6,
        below=_HEIGHT - 12,
        middle=_WIDTH / 2,
        words=words,
        before=before,
        after=after,
        most=about.curve[0][1],
        limit=about.t,
        objects=about.objects,
    )
