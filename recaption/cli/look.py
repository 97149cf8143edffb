"""Commands that show an output: status, inspect, report."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from recaption.cli.options import Output, port, positive, share
from recaption.cli.terminal import needs_run_extra, print_plain, short_path
from recaption.errors import UserError
from recaption.formatting import number_of


def status(
    out: Output,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every 2 s until the run ends")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the state of the run as JSON")] = False,
) -> int:
    """Show the progress of a run, from any machine that can read its output."""
    with needs_run_extra():
        from recaption.run.monitor import status as progress
    errors = Console(stderr=True, highlight=False)

    def read() -> progress.Status:
        say = partial(errors.print, markup=False)
        return progress.read_patiently(out, say, with_builds=not watch)  # builds: every manifest is read

    if as_json:
        print(json.dumps(progress.as_json(read()), indent=2))
    elif watch:
        progress.watch(read, Console())
    else:
        progress.print_status(read(), Console())
    return 0


def inspect(
    out: Annotated[
        str,
        typer.Argument(metavar="OUT", help="An output, finished or in progress: a folder, a URL, or a quoted pattern"),
    ],
    sql: Annotated[
        str | None,
        typer.Argument(
            metavar="SQL",
            help="A query over the views; - reads it from standard input; with --ask: the KEY. "
            "Default: a shell, or an overview without a terminal",
        ),
    ] = None,
    others: Annotated[
        list[str] | None, typer.Option("--with", metavar="OUT", help="Another output to query. Repeatable")
    ] = None,
    ask: Annotated[
        str | None,
        typer.Option(
            metavar="NAME [KEY]",
            help="A named query: overview, lengths, tags, …, similar KEY, image KEY; an unknown name prints the list",
        ),
    ] = None,
    show_sql: Annotated[bool, typer.Option("--show-sql", help="Print the SQL of --ask or --diff, run nothing")] = False,
    other: Annotated[
        str | None, typer.Option("--diff", metavar="OTHER", help="Compare with another output of the same images")
    ] = None,
    form: Annotated[
        Literal["table", "csv", "json", "parquet"] | None,
        typer.Option(
            "--format",
            help="Format of the result; json has one object per line. Default: by the suffix of -o, else a table, "
            "or tab-separated lines in a pipe",
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option("-o", metavar="FILE", help="Write the result to this file")] = None,
    limit: Annotated[int | None, typer.Option(parser=positive, metavar="N", help="At most N rows")] = None,
    unsafe: Annotated[
        bool,
        typer.Option("--unsafe", help="Allow SQL to read, write, attach and install without limits"),
    ] = False,
    in_browser: Annotated[
        bool, typer.Option("--open", help="Serve a page with all images, search and SQL to this machine")
    ] = False,
    at_port: Annotated[
        int | None, typer.Option("--port", parser=port, metavar="PORT", help="Port of --open; default: any free one")
    ] = None,
) -> int:
    """Query an output with DuckDB."""
    from recaption import inspect as views

    console = Console()
    answer = views.ResultFormat(format=form, file=file, limit=limit, unsafe=unsafe)
    _check_inspect(sql, ask, other, others, show_sql)
    if at_port and not in_browser:
        raise UserError("--port is the port of --open; give both")
    if in_browser:
        if sql or ask or other or others or form or file or limit or show_sql or unsafe:
            raise UserError("--open serves one output and takes no other option than --port; the page runs SQL")
        from recaption.inspect.viewer import serve

        serve(out, console, port=at_port or 0)
    elif other:
        views.output_diff(out, other, answer, console, show=show_sql)
    elif ask:
        words = (ask,) if sql is None else (ask, sql)
        if show_sql:
            views.show_sql(words, limit, console)
        else:
            views.output_question((out, *(others or ())), words, answer, console)
    elif sql is not None:
        views.output_sql((out, *(others or ())), sql, answer, console)
    elif form or file:
        raise UserError("--format and -o need a query: give SQL, --ask or --diff")
    elif console.is_terminal and sys.stdin.isatty():
        views.Shell((out, *(others or ())), console, unsafe=unsafe).run()
    else:
        views.print_overviews((out, *(others or ())), console)
    return 0


def _check_inspect(
    sql: str | None, ask: str | None, other: str | None, others: list[str] | None, show_sql: bool
) -> None:
    """Raises UserError for options that exclude each other."""
    from recaption.inspect.questions import load

    has_key = bool(ask) and load(str(ask)).takes_key  # then the second argument is the key
    if sum((bool(ask), bool(other), sql is not None and not has_key)) > 1:
        raise UserError("--ask, --diff and SQL exclude each other; give one of them")
    if show_sql and not (ask or other):
        raise UserError("--show-sql shows the SQL of --ask NAME or --diff OTHER; give one of them")
    if other and others:
        raise UserError("--diff compares two outputs; leave out --with")


def report(
    out: Annotated[str, typer.Argument(metavar="OUT", help="An output folder, finished or in progress")],
    file: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Default: report.html in the output folder"),
    ] = None,
    samples: Annotated[int, typer.Option(parser=positive, metavar="N", help="Images in the gallery")] = 60,
    title: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Title of the page; default: the pipeline's name")
    ] = None,
    images: Annotated[
        Literal["page", "folder"],
        typer.Option(help="folder: pictures are files in a folder beside the page, for thousands of samples"),
    ] = "page",
) -> int:
    """Write one HTML page about an output, with samples. Needs no network."""
    from recaption.inspect.report import write_report

    console = Console(highlight=False)
    made = write_report(out, file, samples=samples, title=title, images_folder=images == "folder")
    size = f"{made.size / 1e6:.1f} MB, {number_of(made.samples, 'sample')}"
    print_plain(console, f"{short_path(made.path.absolute())}  {size}")
    if made.images:
        print_plain(console, f"Keep the folder {made.images.name} beside the page: it has the pictures")
    if not made.built:
        print_plain(console, "This run has no build yet: the page shows what exists so far")
    if made.without_thumbnail:
        print_plain(console, f"samples without an image: {made.without_thumbnail:,}; the page names the reasons")
    return 0


def balance(
    out: Output,
    t: Annotated[
        int | None, typer.Option(parser=positive, metavar="N", help="Thin out objects that are in more than N images")
    ] = None,
    tail: Annotated[
        float | None,
        typer.Option(
            parser=share,
            metavar="SHARE",
            help="Choose N so that rarer objects have this share of mentions. Default: 0.1",
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("-o", metavar="FILE", help="Default: balance.parquet in the output folder")
    ] = None,
) -> int:
    """Compute how often each training image is kept, so that frequent objects do not dominate (MetaCLIP)."""
    from recaption.inspect.balance import lines, write_balance

    if t is not None and tail is not None:
        raise UserError("--t and --tail exclude each other; give one of them")
    console = Console(highlight=False)
    path, about = write_balance(out, file, t=t, tail=tail)
    for line in lines(about):
        print_plain(console, line)
    print_plain(console, short_path(path.absolute()))
    return 0
