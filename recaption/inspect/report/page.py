"""The page: one HTML file with its style sheet and script, which loads nothing from other hosts.

A content security policy allows exactly that style sheet, that script (by their hashes) and images in the page itself
or beside it. Jinja escapes all text, and scripts contain no text of the dataset.

The first page of samples and the script come first. The other pages follow, and the texts for the filters: browsers
show the first page before they have read these. They read the other pages as the text of <noscript> elements, which
costs little, and the script makes nodes of a page when it is shown. Without scripts all pages are shown.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from recaption.formatting import duration
from recaption.inspect.report import charts
from recaption.inspect.report.gallery import LONGEST, ORDER, WEIGHTS
from recaption.inspect.report.probed import Probed
from recaption.inspect.report.provenance import GenerationSource, RunRecord
from recaption.inspect.report.sample import visible
from recaption.inspect.report.statistics import WEIGHT_STEP, Statistics
from recaption.inspect.report.support import Support
from recaption.inspect.sql import Row
from recaption.inspect.statistics import RunProgress
from recaption.inspect.summary import Summary

_HERE = Path(__file__).parent
PAGE = 24  # samples
_MOST_TAGS = 400  # in the filter
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
    images: str | None = None  # the folder of the pictures, beside the page; None: they are in the page
    served: bool = False  # by `recaption inspect --open`, which adds the samples; then it has no statistics
    probe: Probed | None = None


Choices = dict[str, list[tuple[str, Any]]]
"""The choices of the gallery's filters by name: values, and how they are shown."""


def render(report: Report, choices: Choices | None = None) -> str:
    """The HTML of a report. `choices`: of the filters; None: those of all samples."""
    style, script = ((_HERE / name).read_text("utf-8") for name in ("report.css", "report.js"))
    pages = [report.samples[start : start + PAGE] for start in range(0, len(report.samples), PAGE)]
    return (
        _environment()
        .get_template("template.html.jinja")
        .render(
            r=report,
            style=style,
            script=script,
            policy=policy(style, script, served=report.served),
            limits=LIMITS,
            choices=choices or _choices(report.samples),
            first=pages[0] if pages else (),
            rest=pages[1:],
            index=list(map(_indexed, report.samples)),
            weight=lambda value: f"{value * WEIGHT_STEP:.2f}",
        )
    )


def render_cards(samples: Sequence[Row], before: int) -> str:
    """The HTML of the samples of one page. `before` is the number of samples on earlier pages."""
    card = _environment().get_template("gallery.html.jinja").module.card  # type: ignore[attr-defined]
    return "".join(card(sample, before + n) for n, sample in enumerate(samples, 1))


@cache
def _environment() -> Environment:
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
        "flag": flag_name,
        "duration": duration,
        "zip": zip,
    }
    environment.globals |= {"charts": charts, "step": WEIGHT_STEP, "weights": WEIGHTS}
    return environment


def policy(style: str, script: str, *, served: bool) -> str:
    """The content security policy: only this style sheet and script, and images of the page or beside it."""
    hashes = {"style-src": style, "script-src": script}
    allowed = "; ".join(f"{name} 'sha256-{_sha256(text)}'" for name, text in hashes.items())
    requests = "connect-src 'self'; " if served else ""
    return f"default-src 'none'; img-src data: 'self'; {requests}{allowed}; base-uri 'none'; form-action 'none'"


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _choices(samples: Sequence[Row]) -> Choices:
    captions = [caption for sample in samples for caption in sample.captions]
    lemmas = Counter(lemma for sample in samples for lemma in sample.lemmas)
    flags = {flag for sample in samples for flag in sample.flags}
    weights = {weight for sample in samples for weight in sample.weights}
    tags = sorted(lemmas.items(), key=lambda one: (-one[1], one[0]))[:_MOST_TAGS]
    return {
        "generations": _same(dict.fromkeys(caption.generation for caption in captions)),
        "models": _same(sorted({caption.model for caption in captions if caption.model})),
        "statuses": _same(dict.fromkeys(sample.status for sample in samples)),
        "flags": [(flag, flag_name(flag)) for flag in ORDER if flag in flags],
        "weights": [(name, words) for name, words in WEIGHTS.items() if name in weights],
        "tags": [(lemma, f"{lemma[:40]} ({count})") for lemma, count in tags],
        "chosen": list(Counter(sample.chosen for sample in samples).items()),
    }


def _same(values: Iterable[str]) -> list[tuple[str, str]]:
    return [(value, value) for value in values]


def _indexed(sample: Row) -> dict[str, Any]:
    """The data of a sample that the filters use, with texts as the page shows them."""
    lost = [f"{one.generation or 'image'} {one.reason.replace('_', ' ')} {one.detail or ''}" for one in sample.lost]
    head = [sample.key, sample.source_key, sample.url, sample.shard, *lost, *sample.lemmas]
    return {
        "head": visible(" ".join(filter(None, head))),
        "status": visible(sample.status),
        "flags": sample.flags,
        "weights": sample.weights,
        "tags": list(map(visible, sample.lemmas)),
        "captions": [list(map(visible, (c.generation, c.model, c.text[:LONGEST]))) for c in sample.captions],
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


def flag_name(name: str) -> str:
    """How the page names a flag."""
    return _FLAGS.get(name, name)
