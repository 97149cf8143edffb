"""Runs SQL, a named question or a comparison, and prints or writes the result."""

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
from recaption.formatting import number_of, printable
from recaption.inspect import near_duplicates
from recaption.inspect.comparison import PARTS, diff, print_diff, sql_of
from recaption.inspect.connection import open_outputs
from recaption.inspect.image_page import known_key, print_image, unknown_key
from recaption.inspect.paths import OutputPaths, find_all, names
from recaption.inspect.query import SHOWN, Values, arrow_sql, run_sql
from recaption.inspect.questions import Question, check_tables, load
from recaption.inspect.similar import by_embedding
from recaption.inspect.stoppable import closing
from recaption.inspect.table import print_result
from recaption.inspect.writers import check_outside, format_of, head, open_bytes, open_text, write_batches

if TYPE_CHECKING:
    import duckdb

_ALL = 1_000_000  # rows of a table in a file or a pipe: the table is laid out in memory


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultFormat:
    """Format and destination of a result. `format` is one of `writers.FORMATS`, or None for a table on a terminal, else
    tab-separated lines. Without `file`, it goes to the console."""

    format: str | None = None
    file: Path | None = None
    limit: int | None = None
    unsafe: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class _Query:
    """A statement for one connection. `dataset` is the output's name where several outputs are queried one by one."""

    outputs: Sequence[OutputPaths]
    sql: str
    values: Values
    limit: int | None
    question: Question | None = None
    dataset: str | None = None


def output_sql(paths: Sequence[str], sql: str, form: ResultFormat, console: Console) -> None:
    """Run one statement over all outputs at `paths`. Raises UserError, DatasetError like `connect`, `run_sql`."""
    query = _Query(outputs=find_all(paths), sql=_stdin() if sql == "-" else sql, values={}, limit=form.limit)
    _write([query], form, console)


def output_question(paths: Sequence[str], words: Sequence[str], form: ResultFormat, console: Console) -> None:
    """Run a named question, given as name and key, on each output at `paths`.

    Format table prints one table per output. Other formats have one result for all outputs; with several outputs, its
    first column is `dataset`. Raises UserError for an unknown question, and for a key that is missing or superfluous.
    """
    question, given = parse_question(words, form.limit)
    outputs = find_all(paths)
    several = len(outputs) > 1
    queries = [
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
    _write(_with_key(queries, form) if question.takes_key else queries, form, console)


def _with_key(queries: Sequence[_Query], form: ResultFormat) -> list[_Query]:
    """Queries of the outputs that have the key, with the output's own key. Raises UserError if none has it."""
    found: list[_Query] = []
    given = str(queries[0].values["key"])
    for one in queries:
        with closing(open_outputs(*one.outputs, unsafe=form.unsafe)) as connection:
            if (key := known_key(connection, given)) is not None:
                found.append(replace(one, values={**one.values, "key": key}))
    if not found:
        more = f" and {number_of(len(queries) - 1, 'more output')}" if len(queries) > 1 else ""
        raise unknown_key(f"{queries[0].outputs[0].given}{more}", given)
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
    """Compare two outputs and print a page or, with format json, one JSON object; with `show`, print the SQL only.

    Raises UserError for other formats, and whatever `diff` raises.
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
    """The question and its parameters from words such as `similar 000000012`. Raises UserError."""
    question, rest = load(words[0]), list(words[1:])
    if len(rest) > question.takes_key:
        takes = "one key" if question.takes_key else "no key"
        raise UserError(f"--ask {question.name} takes {takes}, not {' '.join(rest)!r}")
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
    """Print a question's description and a table of up to `limit` rows or, without rows, the question's `if_empty`.

    `image` prints a page with the image. Raises UserError for an unknown key, and whatever `run_sql` raises.
    """
    if question.name == "image" and len(outputs) == 1:
        print_image(connection, outputs[0], str(values["key"]), out)
        return
    check_tables(connection, question)
    question = _computed(connection, outputs, question, values)
    out.print(Text(question.description, style="dim"))
    answer = run_sql(connection, question.sql, values=values, limit=limit)
    if answer.rows:
        print_result(answer, out)
    else:
        out.print(Text(question.if_empty))


def _computed(
    connection: duckdb.DuckDBPyConnection, outputs: Sequence[OutputPaths], question: Question, values: Values
) -> Question:
    """The question over the view that NumPy computes for it; unchanged if there is none."""
    if question.name == near_duplicates.NAME:
        return near_duplicates.near_duplicates(connection, outputs[0], question)
    return by_embedding(connection, outputs, question, values)


def show_sql(words: Sequence[str], limit: int | None, console: Console) -> None:
    """Print a question's SQL, ready to run; coloured on a terminal. Raises UserError like `output_question`."""
    question, given = parse_question(words, limit)
    _show(question.runnable(given), console)


def _show(sql: str, console: Console) -> None:
    if not console.is_terminal:
        console.file.write(sql)
        return
    from rich.syntax import Syntax

    safe = "\n".join(map(printable, sql.splitlines()))
    console.print(Syntax(safe, "sql", theme="ansi_dark", background_color="default", word_wrap=True))


def _write(queries: Sequence[_Query], form: ResultFormat, console: Console) -> None:
    seen = form.file is None and console.is_terminal
    if form.file is not None:
        check_outside(form.file, [output for one in queries for output in one.outputs])
    format = form.format or (format_of(form.file) if form.file else "table" if seen else "lines")
    if format == "parquet" and seen:
        raise UserError("Parquet cannot be printed on a terminal. Give a file with -o FILE, or use a pipe")
    if format == "table":
        with open_text(form.file, console) as out:
            _tables(queries, form, out, SHOWN if seen else _ALL)
        return
    with open_bytes(form.file, console) as sink, _batches(queries, form) as (schema, batches):
        write_batches(schema, head(batches, form.limit), sink, format, terminal=seen)


def _tables(queries: Sequence[_Query], form: ResultFormat, out: Console, limit: int) -> None:
    for place, one in enumerate(queries):
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
def _batches(queries: Sequence[_Query], form: ResultFormat) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """The batches of all queries in order, with a column `dataset` where there are several."""
    with ExitStack() as stack:

        def opened(one: _Query) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
            connection = stack.enter_context(closing(open_outputs(*one.outputs, unsafe=form.unsafe)))
            if one.question is None:
                return arrow_sql(connection, one.sql, values=one.values, unsafe=form.unsafe)
            check_tables(connection, one.question)
            question = _computed(connection, one.outputs, one.question, one.values)
            return arrow_sql(connection, question.sql, values=one.values, unsafe=form.unsafe)

        first_schema, first = opened(queries[0])
        if queries[0].dataset is None:
            yield first_schema, first
            return
        schema = first_schema.insert(0, pa.field("dataset", pa.string()))

        def all_of_them() -> Iterator[pa.RecordBatch]:
            for place, one in enumerate(queries):
                for batch in first if place == 0 else opened(one)[1]:
                    yield pa.record_batch([pa.repeat(one.dataset, batch.num_rows), *batch.columns], schema=schema)
                stack.close()

        yield schema, all_of_them()
