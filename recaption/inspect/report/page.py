"""The page: one HTML file with its style sheet and script, which loads nothing from other hosts.

A content security policy allows exactly that style sheet, that script (by their hashes) and images in the page itself.
Jinja escapes all text, and scripts contain no text of the dataset.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from recaption.formatting import duration
from recaption.inspect.report import charts
from recaption.inspect.report.gallery import ORDER
from recaption.inspect.report.provenance import GenerationSource, RunRecord
from recaption.inspect.report.sample import visible
from recaption.inspect.report.statistics import WEIGHT_STEP, Statistics
from recaption.inspect.report.support import Support
from recaption.inspect.sql import Row
from recaption.inspect.statistics import RunProgress
from recaption.inspect.summary import Summary

_HERE = Path(__file__).parent
LIMITS = (77, 248)
"""Maximum tokens of CLIP (openai/CLIP, clip/model.py) and Long-CLIP (beichenzbc/Long-CLIP, model/longclip.py)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The content of the page. Without a build, `summary` and `statistics` are None and `progress` is set."""

    title: str
    made: datetime
    version: str  # of recaption
    summary: Summary | None
    statistics: Statistics | None
    progress: RunProgress | None
    sources: tuple[GenerationSource, ...]
    runs: tuple[RunRecord, ...]
    rates: Sequence[Row]
    samples: tuple[Row, ...]  # see `gallery`
    support: Support | None = None  # None: no sub-caption is verified
    generations: Markup | None = None  # a section, as the next one
    balance: Markup | None = None


def render(report: Report) -> str:
    """The HTML of a report."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "visible": visible,
        "n": _number,
        "share": share,
        "flag": _flag,
        "duration": duration,
        "zip": zip,
    }
    environment.globals |= {"charts": charts, "step": WEIGHT_STEP}
    style, script = ((_HERE / name).read_text("utf-8") for name in ("report.css", "report.js"))
    return environment.get_template("template.html.jinja").render(
        r=report,
        style=style,
        script=script,
        policy=_policy(style, script),
        limits=LIMITS,
        choices=_choices(report.samples),
        weight=lambda value: f"{value * WEIGHT_STEP:.2f}",
    )


def _policy(style: str, script: str) -> str:
    hashes = {"style-src": style, "script-src": script}
    allowed = "; ".join(f"{name} 'sha256-{_sha256(text)}'" for name, text in hashes.items())
    return f"default-src 'none'; img-src data:; {allowed}; base-uri 'none'; form-action 'none'"


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _choices(samples: Sequence[Row]) -> dict[str, list[Any]]:
    """The choices of the gallery's filters."""
    lemmas = Counter(lemma for sample in samples for lemma in sample.lemmas)
    generations = dict.fromkeys(caption.generation for sample in samples for caption in sample.captions)
    flags = {flag for sample in samples for flag in sample.flags}
    chosen = Counter(sample.chosen for sample in samples)
    return {
        "generations": list(generations),
        "statuses": list(dict.fromkeys(sample.status for sample in samples)),
        "flags": [flag for flag in ORDER if flag in flags],
        "tags": sorted(lemmas.items(), key=lambda one: (-one[1], one[0])),
        "chosen": list(chosen.items()),
    }


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def share(part: float, whole: float) -> str:
    """A share in percent. Small shares are not rounded to 0 %, large ones not to 100 %."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    if 0 < percent < 0.05 or 99.95 < percent < 100:
        return "< 0.1 %" if percent < 1 else "> 99.9 %"
    return f"{percent:.1f} %" if 0 < percent < 100 else f"{percent:.0f} %"


_FLAGS = {"meta": "about the image", "boilerplate": "opener", "unparsed": "not parsed"}


def _flag(name: str) -> str:
    return _FLAGS.get(name, name)
