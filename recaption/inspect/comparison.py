"""Compares two datasets of the same images, for example of two models or prompts.

Each part is an SQL file in `compare/`, over the views of both (`connect(one, other)`), with their names as $one and
$other. `--format json` prints the rows of all parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from recaption.errors import UserError
from recaption.formatting import changes, number_of, printable
from recaption.inspect.connection import open_outputs
from recaption.inspect.paths import find_all, names
from recaption.inspect.query import run_sql
from recaption.inspect.sql import has_view
from recaption.inspect.stoppable import closing
from recaption.inspect.terminal import grid, section

_FOLDER = Path(__file__).parent / "compare"
SUPPORT = "support"
"""The part about verifications; left out if neither dataset has any."""
PARTS = ("images", "lengths", "flags", "rejects", "tags", "samples")
_WIDE = 110  # terminal width from which texts are printed side by side
_MEASURES = {"captions": "captions", "words": "words", "sub_captions_per_image": "sub-captions per image"}
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Diff:
    """`parts` has the rows of each of `PARTS`, and of `SUPPORT` if there are verifications.

    A column is named `one…` or `other…` after the dataset that it describes.
    """

    one: str
    other: str
    parts: dict[str, list[Row]]

    def as_json(self) -> dict[str, Any]:
        (images,) = self.parts["images"]
        return {"one": self.one, "other": self.other} | self.parts | {"images": images}


def diff(one: str, other: str, *, limit: int = 8) -> Diff:
    """Compare the outputs at two paths.

    `limit` applies to each of: lost objects, gained objects, most changed images, random images.

    Raises UserError when a path is not one output, or has no build; UserError and DatasetError as `connect`.
    """
    outputs = find_all([one, other])
    if len(outputs) != 2:
        raise UserError(f"--diff compares two outputs; {one} and {other} match {len(outputs)}")
    for output in outputs:
        if output.build is None:
            raise UserError(f"{output.given} has no build yet. Make one with recaption build, then compare")
    first, second = names(outputs)
    if first == second:
        raise UserError(f"--diff compares two outputs; {one} was given twice")
    parts: dict[str, list[Row]] = {}
    with closing(open_outputs(*outputs)) as connection:
        more = (SUPPORT,) if has_view(connection, "verifications") else ()
        for part in (*PARTS, *more):
            sql = sql_of(part)
            values: dict[str, str | int] = {"one": first, "other": second}
            values |= {"limit": limit} if "$limit" in sql else {}
            answer = run_sql(connection, sql, values=values, limit=None)
            parts[part] = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    return Diff(one=first, other=second, parts=parts)


def sql_of(part: str) -> str:
    """The SQL behind a part."""
    return (_FOLDER / f"{part}.sql").read_text("utf-8")


def print_diff(found: Diff, console: Console) -> None:
    """Print the comparison; on a wide terminal in two columns."""
    console.print(Text.assemble((printable(found.one), "bold red"), " → ", (printable(found.other), "bold green")))
    (images,) = found.parts["images"]
    counts = f"{number_of(images['in_both'], 'image')} in both · {images['only_one']:,} only in {printable(found.one)}"
    console.print(Text(f"{counts} · {images['only_other']:,} only in {printable(found.other)}"))
    if not images["in_both"]:
        console.print(Text("They have no image in common, neither by bytes nor by key.", style="yellow"))
        return
    section(console, "captions of the images in both", _measures(found))
    section(console, "flags, in percent of sub-captions", _changes(found, "flags", "generation", "flag"))
    if SUPPORT in found.parts:
        title = "unsupported sub-captions, in percent of the verified ones, with 95 % intervals"
        section(console, title, _support(found))
    section(console, "rejected", _changes(found, "rejects", "of", "reason"))
    tags = found.parts["tags"]
    lost = _tags([row for row in reversed(tags) if row["change"] < 0], "red")
    gained = _tags([row for row in tags if row["change"] > 0], "green")
    section(console, "objects lost and gained, in percent of images", _side_by_side([lost, gained], console))
    for why in ("most changed", "at random"):
        shown = [row for row in found.parts["samples"] if row["why"] == why]
        section(console, f"images, {why}", Group(*_samples(shown, console)) if shown else None)


def _measures(found: Diff) -> Table:
    table = grid("", "", found.one, found.other, "", right=(2, 3, 4), widest=28)
    for row in found.parts["lengths"]:
        names = (row["generation"], "", "", "")
        for name, text in zip(names, _MEASURES, strict=False):
            one, other = row[f"one_{text}"], row[f"other_{text}"]
            table.add_row(
                *map(Text, (printable(name), _MEASURES[text], _number(one), _number(other))), _change(one, other)
            )
            if text == "words":
                ranges = (_range(row, "one"), _range(row, "other"))
                table.add_row("", Text("middle 90 %", style="dim"), *(Text(part, style="dim") for part in ranges), "")
    return table


def _changes(found: Diff, part: str, *columns: str) -> Table:
    """The rows of a part: two columns of text, the numbers of both outputs, and the change."""
    table = grid("", "", found.one, found.other, "", right=(2, 3, 4), widest=28)
    for row in found.parts[part]:
        one, other = row["one"], row["other"]
        texts = (*(printable(row[column]) for column in columns), _number(one), _number(other))
        table.add_row(*map(Text, texts), _change(one, other))
    return table


def _support(found: Diff) -> Table:
    table = grid("", found.one, "", found.other, "", "", right=(1, 3, 5), widest=28)
    for row in found.parts[SUPPORT]:
        cells = []
        for side in ("one", "other"):
            low, high = row[f"{side}_low"], row[f"{side}_high"]
            interval = "" if low is None else f"{low:.1f}–{high:.1f} of {row[f'{side}_verified']:,}"
            cells += [Text(_number(row[side])), Text(interval, style="dim")]
        table.add_row(Text(printable(row["generation"])), *cells, _change(row["one"], row["other"]))
    return table


def _tags(rows: list[Row], style: str) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, overflow="ellipsis", max_width=24)
    grid.add_column(justify="right")
    grid.add_column(justify="right")
    for row in rows:
        from_to = f"{row['one_percent']:g} → {row['other_percent']:g}"
        grid.add_row(
            Text(printable(row["lemma"])), Text(f"{row['change']:+g}", style=style), Text(from_to, style="dim")
        )
    return grid


def _samples(rows: list[Row], console: Console) -> list[RenderableType]:
    shown: list[RenderableType] = []
    key = None
    for row in rows:
        if row["key"] != key:
            key = row["key"]
            head = Text(("\n" if shown else "") + printable(key), style="bold")
            if row["other_key"] != key:
                head.append(f" / {printable(row['other_key'])}")
            for sign, style in (("lost", "red"), ("gained", "green")):
                head.append(
                    f"  {'−' if sign == 'lost' else '+'} {printable(', '.join(row[sign]))}" if row[sign] else "",
                    style,
                )
            shown.append(head)
        shown.append(_pair(row, console))
    return shown


def _pair(row: Row, console: Console) -> Table:
    """Two texts side by side; on a narrow terminal one below the other, or once if they are equal."""
    one, other = _marked(row["one"] or "", row["other"] or "")
    name = Text(printable(row["generation"]), style="dim")
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, overflow="ellipsis", width=min(12, max(len(name), 5)))
    if console.width >= _WIDE:
        grid.add_column(ratio=1)
        grid.add_column(ratio=1)
        grid.expand = True
        grid.add_row(name, one, other)
    else:
        grid.add_column()
        grid.add_column()
        same = one.plain == other.plain
        grid.add_row(name, "=" if same else Text("−", "red"), one)
        if not same:
            grid.add_row("", Text("+", "green"), other)
    return grid


def _marked(one: str, other: str) -> tuple[Text, Text]:
    """Both texts; words that are missing in the other one are coloured."""
    left, right = Text(), Text()
    for kind, words in changes(printable(one), printable(other)):
        if kind != "added":
            left.append(words, style="" if kind == "same" else "red")
        if kind != "removed":
            right.append(words, style="" if kind == "same" else "green")
    return left, right


def _side_by_side(parts: list[Table], console: Console) -> RenderableType | None:
    found = [part for part in parts if part.row_count]
    if not found:
        return None
    return Columns(found, padding=(0, 4)) if console.width >= _WIDE else Group(*found)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value == int(value) else f"{value:,.2f}".rstrip("0")


def _range(row: Row, side: str) -> str:
    low, high = row[f"{side}_p5"], row[f"{side}_p95"]
    return "" if low is None else f"{low:.0f}–{high:.0f}"


def _change(one: float | None, other: float | None) -> Text:
    if one is None or other is None or one == other:
        return Text("")
    sign = "+" if other > one else "−"
    return Text(sign + _number(abs(round(other - one, 2))), style="dim")
