"""Charts as SVG: histograms, bars and a line.

Colours and fonts are set in the style sheet, by class. Every text is escaped; every chart has a text alternative.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count as count_up

from markupsafe import Markup

from recaption.inspect.report.statistics import Distribution, Weights
from recaption.inspect.sql import Row

_WIDTH, _LINE_WIDTH, _HEIGHT = 420, 1160, 150
_SIDE, _TOP, _BOTTOM = 8, 22, 22  # margins
_FLOOR = _HEIGHT - _BOTTOM
_ROOM = _FLOOR - _TOP
_BINS = 26
_WIDEST = 32  # width of a bar, at most


def histogram(
    spread: Distribution,
    what: str,
    *,
    marks: Sequence[int] = (),
    show: Callable[[int], str] = "{:,}".format,
) -> Markup:
    """A histogram of `what`. The last bar includes values beyond the axis; its title then ends in "or more".

    `marks` are limits, drawn if values reach them; `show` formats a value.
    """
    bars, step = bins(spread, marks)
    if not bars:
        return Markup("")
    low, high = bars[0][0], bars[-1][0] + step
    most = max(count for _, count in bars)
    scale = min((_WIDTH - 2 * _SIDE) / (high - low), _WIDEST / step)

    def x(value: float) -> float:
        return _SIDE + (value - low) * scale

    beyond = spread.above(high - 1) > 0
    drawn = []
    for start, count in bars:
        last = start + step - 1
        name = show(start) if step == 1 else f"{show(start)}–{show(last)}"
        if beyond and last + 1 == high:
            name = f"{show(start)} or more"
        tall = count / most * _ROOM
        drawn.append(
            _rect("bar", x(start) + 0.5, _FLOOR - tall, max(step * scale - 1, 0.5), tall, f"{name}: {count:,}")
        )
    for mark in marks:
        if low < mark < high:
            right = x(mark) > 0.8 * _WIDTH
            drawn.append(_line("mark", x(mark), _TOP - 8, x(mark), _FLOOR))
            drawn.append(_text("mark", x(mark) + (-4 if right else 4), _TOP, "end" if right else "start", f"{mark:,}"))
    peak = next(start for start, count in bars if count == most)
    drawn.append(_text("top", max(x(peak + step / 2), _SIDE + 14), _TOP - 5, "middle", f"{most:,}"))
    for start in {bars[0][0], bars[len(bars) // 2][0], bars[-1][0]}:
        plus = "+" if beyond and start + step == high else ""
        drawn.append(_text("", x(start + step / 2), _HEIGHT - 6, "middle", f"{show(start)}{plus}"))
    words = f"Histogram of {what}: median {show(spread.quantile(0.5))}, largest {show(spread.counts[-1][0])}"
    return _chart(drawn, words, _WIDTH)


def bins(spread: Distribution, marks: Sequence[int] = ()) -> tuple[list[tuple[int, int]], int]:
    """(first value, count) of bars of equal width, and the width, a round number.

    The axis ends at the 99.5 % quantile, or at a higher mark that values reach; the last bar includes the rest.
    """
    if not spread.counts:
        return [], 1
    top = spread.counts[-1][0]
    high = max([spread.quantile(0.995), *(mark for mark in marks if mark <= top)])
    low = min(spread.counts[0][0], high)
    step = _round((high - low + 1) / _BINS)
    low = low // step * step
    found = [0] * ((high - low) // step + 1)
    for value, count in spread.counts:
        found[min((value - low) // step, len(found) - 1)] += count
    return [(low + n * step, count) for n, count in enumerate(found)], step


def _round(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, … that is at least `least`."""
    return next(step for power in count_up() for step in (10**power, 2 * 10**power, 5 * 10**power) if step >= least)


def bar(share: float, kind: str = "") -> Markup:
    """A bar that fills `share` of a table cell; the number is printed next to it."""
    return Markup(
        '<svg class="inline {}" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        '<rect class="bar" width="{:.2f}" height="10"/></svg>'
    ).format(kind, min(max(share, 0.0), 1.0) * 100)


def stack(parts: Sequence[tuple[str, int]], what: str, names: Mapping[str, str] | None = None) -> Markup:
    """A bar of the parts of a whole. Each part is a class of the style sheet; `names` has its name, if it differs."""
    names = names or {}
    total = sum(count for _, count in parts) or 1
    drawn, at = [], 0.0
    for name, count in parts:
        drawn.append(_rect(f"part {name}", at, 0, count / total * 100, 10, f"{names.get(name, name)}: {count:,}"))
        at += count / total * 100
    words = ", ".join(f"{names.get(name, name)} {count:,}" for name, count in parts)
    return Markup(
        '<svg class="stack" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{}: {}">{}</svg>'
    ).format(what, words, Markup("").join(drawn))


def positions(rows: Sequence[Weights], what: str) -> Markup:
    """The mean weight and the share of low weights, two bars from 0 to 1 for each position in the caption."""
    if not rows:
        return Markup("")
    room = (_WIDTH - 2 * _SIDE) / 11
    drawn = [_line("grid", _SIDE, _TOP, _WIDTH - _SIDE, _TOP), _text("", _SIDE, _TOP - 6, "start", "1")]
    words = []
    for n, row in enumerate(rows):
        x, low = _SIDE + n * room, row.low / row.total
        words.append(f"position {row.position}: mean {row.mean:.2f}, {row.low:,} of {row.total:,} at most 0.1")
        for kind, left, width, share in (("bar", 0.1, 0.45, row.mean), ("bar low", 0.6, 0.3, low)):
            tall = share * _ROOM
            drawn.append(_rect(kind, x + left * room, _FLOOR - tall, width * room, tall, words[-1]))
        drawn.append(_text("", x + room / 2, _HEIGHT - 6, "middle", str(row.position)))
    return _chart(drawn, f"{what}. {'; '.join(words)}", _WIDTH)


def line(rates: Sequence[Row]) -> Markup:
    """Captions per second over time. The line has gaps where nothing was logged."""
    if len(rates) < 2:
        return Markup("")
    first, last = rates[0].at, rates[-1].at
    most = max(rate.captions_per_second for rate in rates) or 1.0
    pause = max(60.0, (last - first) / 40)
    pieces: list[list[str]] = []
    before = float("-inf")
    for rate in rates:
        if rate.at - before > pause:
            pieces.append([])
        before = rate.at
        x = _SIDE + (rate.at - first) / max(last - first, 1e-9) * (_LINE_WIDTH - 2 * _SIDE)
        pieces[-1].append(f"{x:.1f},{_FLOOR - rate.captions_per_second / most * _ROOM:.1f}")
    drawn = [Markup('<polyline class="line" points="{}"/>').format(" ".join(piece)) for piece in pieces]
    drawn.append(_line("grid", _SIDE, _TOP, _LINE_WIDTH - _SIDE, _TOP))
    drawn.append(_text("top", _SIDE, _TOP - 6, "start", f"{most:,.1f} captions/s"))
    begin, end = datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC)
    form = "%H:%M:%S" if begin.date() == end.date() else "%d %b %H:%M"
    drawn.append(_text("", _SIDE, _HEIGHT - 6, "start", begin.strftime(form)))
    drawn.append(_text("", _LINE_WIDTH - _SIDE, _HEIGHT - 6, "end", end.strftime(form)))
    words = f"Captions per second from {begin:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S} UTC, at most {most:,.1f}"
    return _chart(drawn, words, _LINE_WIDTH)


def _chart(drawn: Sequence[Markup], words: str, width: int) -> Markup:
    base = _line("base", _SIDE, _FLOOR + 0.5, width - _SIDE, _FLOOR + 0.5)
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}</svg>').format(
        width, _HEIGHT, words, Markup("").join(drawn), base
    )


def _rect(kind: str, x: float, y: float, width: float, height: float, title: str) -> Markup:
    return Markup(
        '<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"><title>{}</title></rect>'
    ).format(kind, x, y, width, height, title)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(kind, x1, y1, x2, y2)


def _text(kind: str, x: float, y: float, anchor: str, text: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(kind, x, y, anchor, text)
