"""Answers SQL or a named question in the form that was asked for: a table, lines, or a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pyarrow as pa
from rich.console import Console
from rich.text import Text

from recaption.errors import UserError
from recaption.inspect.comparison import PARTS, diff, print_diff, sql_of
from recaption.inspect.connection import open_outputs
from recaption.inspect.image_page import known_key, print_image, unknown_key
from recaption.inspect.paths import OutputPaths, find_all, names
from recaption.inspect.query import SHOWN, Values, arrow_sql, run_sql
from recaption.inspect.questions import Question, load
from recaption.inspect.stoppable import closing
from recaption.inspect.table import print_result
from recaption.inspect.terminal import printable
from recaption.inspect.writers import check_outside, format_of, head, open_bytes, open_text, write_batches

if TYPE_CHECKING:
    import duckdb

_ALL = 1_000_000  # rows of a table that goes into a file or a pipe: it is laid out in memory


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultFormat:
    """How an answer is given: `output.FORMATS`, or None for a table on a terminal and tab-separated lines elsewhere."""

    format: str | None = None
    file: Path | None = None
    limit: int | None = None
    unsafe: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class _Query:
    """One statement, of the user or of a question, for one connection. `dataset` is a name where several are asked."""

    outputs: Sequence[OutputPaths]
    sql: str
    values: Values
    limit: int | None
    question: Question | None = None
    dataset: str | None = None


def output_sql(paths: Sequence[str], sql: str, form: ResultFormat, console: Console) -> None:
    """Put one statement to all outputs at `paths` together. Raises UserError, DatasetError as `connect`, `run_sql`."""
    asked = _Query(outputs=find_all(paths), sql=_stdin() if sql == "-" else sql, values={}, limit=form.limit)
    _answer([asked], form, console)


def output_question(paths: Sequence[str], words: Sequence[str], form: ResultFormat, console: Console) -> None:
    """Ask the question that `words` name (and its key) of each output at `paths`, one after the other.

    In files and lines the answers stand in one, with a column `dataset` first if there are several outputs. Raises
    UserError for a question that there is not, or a key that is missing or too much.
    """
    question, given = parse_question(words, form.limit)
    outputs = find_all(paths)
    several = len(outputs) > 1
    asked = [
        _Query(
            outputs=[output],
            sql=question.sql,
            values=question.values(given),
            limit=form.limit,
            question=question,
            dataset=name if several else None,
        )
        for output, name in zip(outputs, names(outputs), strict=True)
    ]
    _answer(_with_key(asked, form) if question.takes_key else asked, form, console)


def _with_key(asked: Sequence[_Query], form: ResultFormat) -> list[_Query]:
    """Those whose outputs know the key, with the key that they have for it. Raises UserError where none does."""
    found: list[_Query] = []
    given = str(asked[0].values["key"])
    for one in asked:
        with closing(open_outputs(*one.outputs, unsafe=form.unsafe)) as connection:
            if (key := known_key(connection, given)) is not None:
                found.append(replace(one, values={**one.values, "key": key}))
    if not found:
        more = f" and {len(asked) - 1:,} more outputs" if len(asked) > 1 else ""
        raise unknown_key(f"{asked[0].outputs[0].given}{more}", given)
    return found


def _stdin() -> str:
    raw = getattr(sys.stdin, "buffer", None)
    if raw is None:  # a stream of text
        return sys.stdin.read()
    try:
        return str(raw.read(), "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"the SQL on standard input is not UTF-8: {error}") from error


def output_diff(one: str, other: str, form: ResultFormat, console: Console, *, show: bool = False) -> None:
    """Compare two outputs, as a page or (format json) as one JSON object; with `show`, print the SQL that does it.

    Raises UserError for other formats, and as `diff`.
    """
    if show:
        for part in PARTS:
            _show(sql_of(part), console)
        return
    format = form.format or (format_of(form.file) if form.file else "table")
    if format not in ("table", "json"):
        raise UserError(f"--diff is printed as table or json, not as {format}")
    found = diff(one, other, limit=form.limit or 8)
    if form.file is not None:
        check_outside(form.file, find_all([one, other]))
    if format == "table":
        with open_text(form.file, console) as out:
            print_diff(found, out)
        return
    with open_bytes(form.file, console) as sink:
        data = orjson.dumps(found.as_json(), default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        sink.write(data)


def parse_question(words: Sequence[str], limit: int | None = None) -> tuple[Question, dict[str, str | int]]:
    """The question and what was given for it: `similar 000000012`, with a limit. Raises UserError."""
    question, rest = load(words[0]), list(words[1:])
    if len(rest) > question.takes_key:
        takes = "one key" if question.takes_key else "no key"
        raise UserError(f"--ask {question.name} takes {takes}, and {' '.join(rest)!r} was given")
    given: dict[str, str | int] = {"key": rest[0]} if rest else {}
    return question, given | ({"limit": limit} if limit else {})


def print_question_result(
    connection: duckdb.DuckDBPyConnection,
    outputs: Sequence[OutputPaths],
    question: Question,
    values: Values,
    out: Console,
    *,
    limit: int = SHOWN,
) -> None:
    """One question's answer for people: what it means, then a table of up to `limit` rows, or that there is nothing.

    Of an image it is a page with the picture. Raises UserError as `run_sql`, and for the key of no image.
    """
    if question.name == "image" and len(outputs) == 1:
        print_image(connection, outputs[0], str(values["key"]), out)
        return
    out.print(Text(question.says, style="dim"))
    answer = run_sql(connection, question.sql, values=values, limit=limit)
    if answer.rows:
        print_result(answer, out)
    else:
        out.print(Text(question.if_empty))


def show_sql(words: Sequence[str], limit: int | None, console: Console) -> None:
    """The SQL of a question, coloured on a terminal, ready to be run. Raises UserError as `output_question`."""
    question, given = parse_question(words, limit)
    _show(question.runnable(given), console)


def _show(sql: str, console: Console) -> None:
    if not console.is_terminal:
        console.file.write(sql)
        return
    from rich.syntax import Syntax

    safe = "\n".join(map(printable, sql.splitlines()))
    console.print(Syntax(safe, "sql", theme="ansi_dark", background_color="default", word_wrap=True))


def _answer(asked: Sequence[_Query], form: ResultFormat, console: Console) -> None:
    seen = form.file is None and console.is_terminal
    if form.file is not None:
        check_outside(form.file, [output for one in asked for output in one.outputs])
    format = form.format or (format_of(form.file) if form.file else "table" if seen else "lines")
    if format == "parquet" and seen:
        raise UserError("Parquet is nothing for a terminal: name a file with -o FILE, or send it into a pipe")
    if format == "table":
        with open_text(form.file, console) as out:
            _tables(asked, form, out, SHOWN if seen else _ALL)
        return
    with open_bytes(form.file, console) as sink, _batches(asked, form) as (schema, batches):
        write_batches(schema, head(batches, form.limit), sink, format, terminal=seen)


def _tables(asked: Sequence[_Query], form: ResultFormat, out: Console, limit: int) -> None:
    for place, one in enumerate(asked):
        if one.dataset is not None:
            out.print(Text(("\n" if place else "") + printable(one.dataset), style="bold"))
        with closing(open_outputs(*one.outputs, unsafe=form.unsafe)) as connection:
            if one.question:
                most = int(one.values.get("limit", one.limit or limit))
                print_question_result(connection, one.outputs, one.question, one.values, out, limit=most)
            else:
                found = run_sql(connection, one.sql, limit=one.limit or limit, unsafe=form.unsafe)
                print_result(found, out)


@contextmanager
def _batches(asked: Sequence[_Query], form: ResultFormat) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """Of all that is asked, one after the other; with a column `dataset` where there are several."""
    with ExitStack() as stack:

        def opened(one: _Query) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
            connection = stack.enter_context(closing(open_outputs(*one.outputs, unsafe=form.unsafe)))
            return arrow_sql(connection, one.sql, values=one.values, unsafe=form.unsafe)

        first_schema, first = opened(asked[0])
        if asked[0].dataset is None:
            yield first_schema, first
            return
        schema = first_schema.insert(0, pa.field("dataset", pa.string()))

        def all_of_them() -> Iterator[pa.RecordBatch]:
            for place, one in enumerate(asked):
                for batch in first if place == 0 else opened(one)[1]:
                    yield pa.record_batch([pa.repeat(one.dataset, batch.num_rows), *batch.columns], schema=schema)
                stack.close()

        yield schema, all_of_them()
