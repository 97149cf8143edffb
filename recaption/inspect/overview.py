"""The overview that `recaption inspect OUT` prints without SQL."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from recaption.errors import DatasetError
from recaption.formatting import bar, printable
from recaption.inspect.connection import open_outputs
from recaption.inspect.paths import OutputPaths, find, find_all, names
from recaption.inspect.sql import Row
from recaption.inspect.statistics import RunProgress, Statistics, gather, listed, run_progress
from recaption.inspect.stoppable import closing
from recaption.inspect.summary import Summary, from_manifest, read_manifest
from recaption.inspect.terminal import grid, section
from recaption.inspect.views import VIEWS

_COLOURS = ("cyan", "yellow")  # of sub-captions, alternately; both are readable on dark and light backgrounds
_NUMERALS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_LONGEST = 1200  # characters of a caption; SQL prints all
_TRIES_OVER_SEVERAL = (
    "SELECT dataset, generation, count(*) AS n, avg(n_words) AS words FROM captions GROUP BY ALL ORDER BY ALL",
    "SELECT dataset, reason, count(*) AS n FROM rejects GROUP BY ALL ORDER BY n DESC",
)
_TRIES = (
    "SELECT lemma, count(*) AS n FROM objects GROUP BY ALL ORDER BY n DESC LIMIT 20",
    "SELECT key, text FROM sub_captions WHERE list_contains(tag_lemmas, '{tag}') LIMIT 20",
    "SELECT reason, count(*) AS n, any_value(detail) AS example FROM rejects GROUP BY ALL ORDER BY n DESC",
    "SUMMARIZE sub_captions",
)


def print_overviews(paths: Sequence[str], console: Console) -> None:
    """Print the overview of one output, or a line for each of several. Raises as `print_overview`.

    A broken output among several affects only its own line.
    """
    outputs = find_all(paths)
    if len(outputs) == 1:
        print_overview(outputs[0].given, console)
        return
    table = grid("", *_COLUMNS, "format", "schema", right=range(1, 1 + len(_COLUMNS)), widest=32)
    totals = [0] * len(_COLUMNS)
    errors: list[str] = []
    for name, output in zip(names(outputs), outputs, strict=True):
        try:
            counts, form = _line(output)
        except DatasetError as error:
            errors.append(str(error))
            counts, form = (None,) * len(_COLUMNS), (Text("cannot be read", style="red"),)
        totals = [total + (count or 0) for total, count in zip(totals, counts, strict=True)]
        numbers = ("" if count is None else f"{count:,}" for count in counts)
        table.add_row(Text(printable(name)), *numbers, *form)
    table.add_row(Text("all", style="bold"), *(Text(f"{total:,}", style="bold") for total in totals))
    console.print(Text(f"{len(outputs):,} outputs", style="bold"))
    console.print()
    console.print(table)
    for message in errors:
        console.print(Text(printable(message), style="red"), soft_wrap=True)
    _print_commands([_command(paths, sql) for sql in _TRIES_OVER_SEVERAL] + [_command([outputs[0].given])], console)


_COLUMNS = ("images", "captions", "sub-captions", "objects", "rejected")


def _line(output: OutputPaths) -> tuple[tuple[int | None, ...], tuple[Text, ...]]:
    """The counts of an output, named in `_COLUMNS`, and the build's format and schema. Raises DatasetError."""
    if output.build is None:
        return (listed(output), *(None,) * (len(_COLUMNS) - 1)), (Text("no build yet", style="dim"),)
    s = from_manifest(read_manifest(output))
    counts = (s.images, s.captions, s.sub_captions, s.tags, s.rejected + s.excluded)
    return counts, (Text(printable(s.format), style="dim"), Text(printable(s.schema_version), style="dim"))


def print_overview(path: str, console: Console) -> None:
    """Print counts, statistics and a few samples of the output at `path`, and suggested commands.

    A run without a build is shown with its progress. Raises UserError and DatasetError as `connect` and
    `summarise` do.
    """
    output = find(path)
    with closing(open_outputs(output)) as connection:
        if output.build is None:
            _print_progress(run_progress(connection, output), output, console)
            tag = "dog"
        else:
            summary, statistics = from_manifest(read_manifest(output)), gather(connection)
            _print_build(summary, statistics, console)
            # The command may be pasted into a shell, and tags are a model's words, so only letters are allowed.
            tag = next((lemma for lemma, _ in statistics.top_tags if lemma.replace(" ", "").isalpha()), "dog")
    _print_next(path, tag, console, built=output.build is not None)


def _print_build(summary: Summary, statistics: Statistics, console: Console) -> None:
    title = Text.assemble(
        (printable(summary.name), "bold"),
        printable(f" · {summary.format} · build {summary.build} · schema {summary.schema_version}"),
    )
    console.print(title)
    pipeline = " · ".join(
        f"{printable(w.generation)} ← {printable(w.source)}" for w in statistics.words if w.generation != "raw"
    )
    if pipeline:
        console.print(Text(pipeline, style="dim"))
    console.print()
    console.print(Text(summary.counts, style="bold"))
    console.print(Text(summary.sum))
    for generation in summary.generations:
        console.print(Text(generation.sum))
    section(console, "words per caption", _words(statistics.words))
    section(console, "sub-captions per image", _histogram(statistics.subs_per_image, console))
    section(console, "objects, most frequent first", _bars(statistics.top_tags, "green", console))
    section(console, "rejected and excluded images, by reason", _bars(summary.rejects, "red", console))
    lost = [(f"{a.generation}: {reason}", n) for a in summary.generations for reason, n in a.rejects]
    section(console, "rejected answers, by reason", _bars(lost, "red", console))
    section(console, "tables of tasks", _tables(summary))
    if statistics.samples:
        section(console, f"{len(statistics.samples)} of the images", Group(*map(_sample, statistics.samples)))


def _tables(summary: Summary) -> Table | None:
    table = grid("", "rows", "", right=(1,))
    for name, rows, description in summary.tables:
        table.add_row(Text(printable(name)), Text(f"{rows:,}"), Text(printable(description), style="dim"))
    return table if summary.tables else None


def _print_progress(done: RunProgress, output: OutputPaths, console: Console) -> None:
    console.print(Text.assemble((printable(output.given), "bold"), " · a run that has no build yet"))
    console.print()
    console.print(Text(f"images listed so far: {done.listed:,}"))
    section(console, "answers", _bars(done.answers, "green", console, out_of=done.listed))
    section(console, "rejects, by reason", _bars(done.rejects, "red", console))


def _words(words: Sequence[Row]) -> Table:
    table = grid("", "captions", "median", "middle 90 %", right=(1, 2), widest=24)
    for w in words:
        median = Text(f"{w.median:.0f}", style="bold")
        table.add_row(Text(printable(w.generation)), f"{w.captions:,}", median, f"{w.low:.0f}–{w.high:.0f}")
    return table


def _histogram(counts: Sequence[tuple[int, int]], console: Console) -> Table | None:
    """At most eight rows: if the numbers have a wider range, neighbouring ones share a row."""
    if not counts:
        return None
    low, high = counts[0][0], counts[-1][0]
    step = -(-(high - low + 1) // 8)
    rows: dict[str, int] = {}
    for first in range(low, high + 1, step):
        last = min(first + step - 1, high)
        name = f"{first}" if first == last else f"{first}–{last}"
        rows[name] = sum(n for value, n in counts if first <= value <= last)
    return _bars(list(rows.items()), "blue", console, right=True)


def _bars(
    counts: Sequence[tuple[str, int]], style: str, console: Console, *, out_of: int = 0, right: bool = False
) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, overflow="ellipsis", max_width=28, justify="right" if right else "left")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True, overflow="crop")
    longest = max(out_of, *(n for _, n in counts), 1)
    room = max(0, min(40, console.width - 44))
    for name, n in counts:
        number = f"{n:,} of {out_of:,}" if out_of else f"{n:,}"
        grid.add_row(Text(printable(name)), number, Text(bar(n / longest, room).rstrip(), style=style))
    return grid


def _sample(sample: Row) -> Group:
    return Group(Text(printable(sample.key), style="bold"), sample_grid(sample), Text())


def sample_grid(sample: Row) -> Table:
    """The captions, coloured by `caption_text`, and the tags."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", no_wrap=True, overflow="ellipsis", max_width=12, style="dim")
    grid.add_column()
    for caption in sample.captions:
        grid.add_row(Text(printable(caption.generation)), caption_text(caption))
    if sample.tags:
        tags = Text()
        for i, (lemma, attributes) in enumerate(sample.tags):
            tags.append(" · " if i else "", style="dim")
            tags.append(printable(lemma), style="underline")
            tags.append(f" ({', '.join(map(printable, attributes))})" if attributes else "")
        grid.add_row(Text("tags"), tags)
    return grid


def caption_text(caption: Row) -> Text:
    """The caption with numbered, coloured sub-captions and underlined tags; text outside sub-captions is dim.

    Offsets refer to the stored text, so it is cut first and each piece is made printable.
    """
    line = Text()
    at, end = 0, min(len(caption.text), _LONGEST)
    for i, (start, stop) in enumerate(caption.spans):
        if start >= end:
            break
        line.append(printable(caption.text[at:start]), style="dim")
        colour = _COLOURS[i % 2]
        if len(caption.spans) > 1:
            line.append(str(i + 1).translate(_NUMERALS), style="dim")
        at = start
        for tag_start, tag_stop in sorted(t for t in caption.tags if start <= t[0] and t[1] <= min(stop, end)):
            if tag_start >= at:  # tags may overlap: the first is underlined whole
                line.append(printable(caption.text[at:tag_start]), style=colour)
                line.append(printable(caption.text[tag_start:tag_stop]), style=f"{colour} underline")
                at = tag_stop
        line.append(printable(caption.text[at : min(stop, end)]), style=colour)
        at = stop
    line.append(printable(caption.text[at:end]), style="dim")
    line.append("…" if end < len(caption.text) else "", style="dim")
    return line


def _print_next(path: str, tag: str, console: Console, *, built: bool) -> None:
    tries = [sql.replace("{tag}", tag) for sql in _TRIES]
    if not built:
        tries = [
            "SELECT generation, finish_reason, count(*) AS n FROM answers GROUP BY ALL",
            "SELECT key, text FROM answers LIMIT 5",
            tries[2],
        ]
    _print_commands([_command([path], sql) for sql in tries], console)


def _command(paths: Sequence[str], sql: str | None = None) -> str:
    outs = [shlex.quote(path) if printable(path) == path else "OUT" for path in paths]
    return f"recaption inspect {' --with '.join(outs)}" + (f' "{sql}"' if sql else "")


def _print_commands(commands: Sequence[str], console: Console) -> None:
    console.print()
    console.print(Text("next", style="bold"))
    for command in commands:
        console.print(Text(f"  {command}", style="cyan"), soft_wrap=True)  # one line each: they are meant to be copied
    console.print(Text(f"views: {', '.join(VIEWS)}", style="dim"))
