"""The result of a probe as an SVG: for each slice and metric, a dot per seed, the mean, and a band of noise."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from html import escape
from typing import Final

from recaption.probe.arms import CONTROLS
from recaption.probe.probe import Judged

_WIDTH, _LABEL, _ROW, _HEAD, _GAP = 640, 220, 18, 26, 14  # pixels


def dot_plot(judged: Sequence[Judged], arms: Sequence[str]) -> str:
    """One panel per slice and metric, one row per arm, controls below. The grey band is the mean of the first arm plus
    and minus its difference from the control `again`."""
    names = [*arms, *CONTROLS]
    height = len(judged) * (_HEAD + _ROW * len(names) + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
    ]
    top = 0
    for one in judged:
        parts += _panel(one, names, top)
        top += _HEAD + _ROW * len(names) + _GAP
    return "\n".join([*parts, "</svg>", ""])


def _panel(one: Judged, names: Sequence[str], top: int) -> list[str]:
    every = [value for name in names for value in one.values[name]]
    low, high = min(every), max(every)
    scale: Final = (_WIDTH - _LABEL - 60) / (high - low or 1)

    def x(value: float) -> float:
        return round(_LABEL + (value - low) * scale, 1)

    middle = statistics.fmean(one.values[names[0]])
    left, right = max(middle - one.controls.again, low), min(middle + one.controls.again, high)
    rows = top + _HEAD
    parts = [
        f'<text x="4" y="{top + 17}" font-weight="bold">{escape(one.slice)}, {escape(one.metric)}</text>',
        f'<rect x="{x(left)}" y="{rows}" width="{round(max(1, (right - left) * scale), 1)}" '
        f'height="{_ROW * len(names)}" fill="#dddddd"/>',
    ]
    for n, name in enumerate(names):
        y, mean = rows + n * _ROW + _ROW // 2, statistics.fmean(one.values[name])
        colour = "#777777" if name in CONTROLS else "#1f5fa8"
        parts.append(f'<text x="4" y="{y + 4}" fill="{colour}">{escape(name)}</text>')
        parts.append(f'<path d="M{x(mean)} {y - 7}v14" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x(v)}" cy="{y}" r="3" fill="{colour}" fill-opacity=".5"/>' for v in one.values[name]]
        parts.append(f'<text x="{_WIDTH - 52}" y="{y + 4}" fill="{colour}">{mean:.3f}</text>')
    return parts
