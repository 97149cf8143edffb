"""Charts as SVG: histograms, bars and one line, drawn here because they are rectangles with labels.

Colours and fonts are the style sheet's, by class. Every text is escaped; every chart says in words what it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from markupsafe import Markup, escape

from recaption.inspect.report.facts import Distribution
from recaption.inspect.report.runs import Rate

_WIDTH, _HEIGHT = 420, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 8, 8, 22, 22
_BINS = 26
_STEPS = (1, 2, 5)


def histogram(
    spread: Distribution,
    what: str,
    *,
    marks: Sequence[int] = (),
    show: Callable[[int], str] = lambda value: f"{value:,}",
) -> Markup:
    """`what` by its value. The last bar has what lies beyond the axis as well, and then says so.

    `marks` are limits to draw where values come near them; `show` writes a value.
    """
    bars, step = bins(spread, marks)
    if not bars:
        return Markup("")
    low, high = bars[0][0], bars[-1][0] + step
    most = max(count for _, count in bars)
    scale = (_WIDTH - _LEFT - _RIGHT) / (high - low)
    room = _HEIGHT - _TOP - _BOTTOM

    def x(value: float) -> float:
        return _LEFT + (value - low) * scale

    beyond = spread.above(high - 1)
    parts = []
    for start, count in bars:
        tall = count / most * room
        last = start + step == high and beyond
        name = f"{show(start)} or more" if last else show(start) if step == 1 else f"{show(start)}–{show(start + step - 1)}"
        parts.append(
            Markup('<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}: {:,}</title></rect>')
            .format(x(start) + 0.5, _HEIGHT - _BOTTOM - tall, max(step * scale - 1, 0.5), tall, name, count)
        )  # fmt: skip
    for mark in marks:
        if low < mark <= high:
            at = x(mark)
            end = at > _WIDTH * 0.8
            parts.append(
                Markup('<line class="mark" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/><text class="mark" x="{3:.1f}" y="{4}" text-anchor="{5}">{6}</text>')
                .format(at, _TOP - 6, _HEIGHT - _BOTTOM, at + (-4 if end else 4), _TOP - 2, "end" if end else "start", f"{mark:,}")
            )  # fmt: skip
    ends = ((low, "start", show(low)), (high, "end", f"{show(high - step)}+" if beyond else show(high - 1)))
    middle = low + (high - low) // 2 // step * step
    ends += ((middle, "middle", show(middle)),) if low < middle < high else ()
    for value, anchor, text in ends:
        parts.append(
            Markup('<text x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(x(value), _HEIGHT - 6, anchor, text)
        )
    peak = next(start for start, count in bars if count == most)
    at = min(max(x(peak + step / 2), _LEFT + 16), _WIDTH - _RIGHT - 16)
    parts.append(Markup('<text class="top" x="{:.1f}" y="{}" text-anchor="middle">{:,}</text>').format(at, _TOP - 6 + 2, most))
    words = f"Histogram of {what}: median {show(spread.quantile(0.5))}, largest {show(spread.counts[-1][0])}"
    return _svg(parts, words, baseline=True)


def bins(spread: Distribution, marks: Sequence[int] = ()) -> tuple[list[tuple[int, int]], int]:
    """(first value, count) of bars of equal width, and that width: a round number, so that there are at most 26 bars.

    The axis ends where 99.5 % lie below, or at a mark beyond that which values reach; the last bar takes the rest.
    """
    if not spread.counts:
        return [], 1
    top = spread.counts[-1][0]
    high = max([spread.quantile(0.995), *(mark for mark in marks if mark <= top)])
    low = min(spread.counts[0][0], high)
    step = _step((high - low + 1) / _BINS)
    low = low // step * step
    found = [0] * (high // step - low // step + 1)
    for value, count in spread.counts:
        found[min((value - low) // step, len(found) - 1)] += count
    return [(low + n * step, count) for n, count in enumerate(found)], step


def _step(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, … that is not below."""
    power = 1
    while True:
        for step in _STEPS:
            if step * power >= least:
                return step * power
        power *= 10


def bar(share: float, kind: str = "") -> Markup:
    """A bar of `share` of its cell, for tables; the number stands beside it."""
    return Markup(
        '<svg class="inline {}" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        '<rect class="bar" width="{:.2f}" height="10"/></svg>'
    ).format(kind, min(max(share, 0.0), 1.0) * 100)


def stack(parts: Sequence[tuple[str, int]], what: str) -> Markup:
    """Parts of a whole side by side; their names are classes of the style sheet."""
    total = sum(count for _, count in parts)
    if not total:
        return Markup("")
    drawn, at = [], 0.0
    for name, count in parts:
        wide = count / total * 100
        drawn.append(
            Markup('<rect class="part {0}" x="{1:.3f}" width="{2:.3f}" height="10"><title>{0}: {3:,}</title></rect>').format(
                name, at, wide, count
            )
        )
        at += wide
    words = f"{what}: " + ", ".join(f"{name} {count:,}" for name, count in parts)
    return Markup(
        '<svg class="stack" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(words, Markup("").join(drawn))


def line(rates: Sequence[Rate]) -> Markup:
    """Captions per second over time; the line is broken where nothing was logged for a while."""
    if len(rates) < 2:
        return Markup("")
    width, first, last = 860, rates[0].at, rates[-1].at
    most = max(rate.captions_per_second for rate in rates) or 1.0
    gap = max(60.0, (last - first) / 40)
    room = _HEIGHT - _TOP - _BOTTOM
    runs: list[list[str]] = []
    before = float("-inf")
    for rate in rates:
        if rate.at - before > gap:
            runs.append([])
        before = rate.at
        x = _LEFT + (rate.at - first) / max(last - first, 1e-9) * (width - _LEFT - _RIGHT)
        runs[-1].append(f"{x:.1f},{_HEIGHT - _BOTTOM - rate.captions_per_second / most * room:.1f}")
    parts = [Markup('<polyline class="line" points="{}"/>').format(" ".join(run)) for run in runs]
    same_day = _utc(first).date() == _utc(last).date()
    form = "%H:%M:%S" if same_day else "%d %b %H:%M"
    for at, anchor, when in ((_LEFT, "start", first), (width - _RIGHT, "end", last)):
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(at, _HEIGHT - 6, anchor, _utc(when).strftime(form))
        )
    parts.append(Markup('<text class="top" x="{}" y="{}">{:,.1f} captions/s</text>').format(_LEFT, _TOP - 8, most))
    parts.append(
        Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(_LEFT, width - _RIGHT, _TOP, _TOP)
    )
    words = f"Captions per second from {_utc(first):%Y-%m-%d %H:%M:%S} to {_utc(last):%Y-%m-%d %H:%M:%S} UTC, at most {most:,.1f}"
    return _svg(parts, words, baseline=True, width=width)


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _svg(parts: Sequence[Markup], words: str, *, baseline: bool, width: int = _WIDTH) -> Markup:
    base = Markup('<line class="base" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
        _LEFT, width - _RIGHT, _HEIGHT - _BOTTOM + 0.5, _HEIGHT - _BOTTOM + 0.5
    )
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}</svg>').format(
        width, _HEIGHT, escape(words), Markup("").join(parts), base if baseline else ""
    )
