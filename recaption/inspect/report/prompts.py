"""The report's section with generations of captions side by side: the question `generations` as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from recaption.inspect import questions
from recaption.inspect.report.sample import visible
from recaption.inspect.sql import fetch, fetch_rows, has_view

if TYPE_CHECKING:
    import duckdb

_MEASURES: Final = {
    "captions": "captions",
    "words": "words, median",
    "sub_captions": "sub-captions per caption",
    "objects": "objects per caption",
    "cut": "cut at max_tokens, %",
    "meta": "about the image or opener, %",
    "hedged": "hedged, %",
    "negation": "negations, %",
    "fragment": "fragments, %",
    "repeats": "repeats, %",
    "unsupported": "unsupported, %",
    "rejected": "rejected",
    "refused": "refusals",
    "looped": "repetitions",
}

_UNSUPPORTED: Final = """
SELECT generation, 100 * avg((p_true < 0.5)::INT)
FROM sub_captions JOIN (SELECT sub_id, avg(p_true) AS p_true FROM verifications GROUP BY sub_id) USING (sub_id)
GROUP BY generation
"""


def section(connection: duckdb.DuckDBPyConnection) -> Markup | None:
    """A column for each generation, a row for each measure; None for fewer than two generations."""
    question = questions.load("generations")
    rows = [row for row in fetch_rows(connection, question.sql, question.values({})) if row.generation != "raw"]
    if len(rows) < 2:
        return None
    verified = has_view(connection, "verifications")
    unsupported = dict(fetch(connection, _UNSUPPORTED)) if verified else {}
    for row in rows:
        row.unsupported = unsupported.get(row.generation)
    heads = Markup("").join(Markup('<th scope="col" class="num">{}</th>').format(visible(r.generation)) for r in rows)
    lines = Markup("").join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            label, Markup("").join(Markup('<td class="num">{}</td>').format(_number(getattr(r, name))) for r in rows)
        )
        for name, label in _MEASURES.items()
        if verified or name != "unsupported"
    )
    return Markup(
        '<section id="generations" aria-labelledby="h-generations"><h2 id="h-generations">Generations side by side</h2>'
        '<div class="scroll" tabindex="0" role="region" aria-label="Measures of each generation"><table>'
        '<thead><tr><th scope="col">measure</th>{}</tr></thead><tbody>{}</tbody></table></div></section>'
    ).format(heads, lines)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}".removesuffix(".0")
