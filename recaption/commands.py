"""What the commands do once their arguments are parsed: call, print, and return the exit code."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from rich.console import Console
from rich.markup import escape

import recaption
from recaption.errors import MissingExtra, UserError
from recaption.stdio import Unfailing

if TYPE_CHECKING:
    from recaption.config import Pipeline
    from recaption.progress import Display, Watcher
    from recaption.run import RunResult


def _loaded(arguments: argparse.Namespace) -> tuple[Pipeline, Path]:
    with _extra_named():
        from recaption.run.check import load_checked

    pipeline, path = load_checked(arguments.pipeline, tuple(arguments.set))
    if arguments.pipeline == "demo":
        from recaption.demo.shards import ensure_shards

        ensure_shards(Path(pipeline.source.path).parent)
    return pipeline, path


@contextmanager
def _extra_named() -> Iterator[None]:
    """Turns the import of a package that is not installed into the line that installs it."""
    try:
        yield
    except ImportError as error:
        if error.name and error.name.split(".")[0] == "recaption":
            raise
        raise MissingExtra(error.name or "a package", "run") from error


@contextmanager
def _watched(arguments: argparse.Namespace) -> Iterator[tuple[Display, tuple[Watcher, ...]]]:
    """The display of a run, and who else is told how far it is. A port that is taken is said before all else."""
    with _extra_named():
        from recaption.progress import Display
        from recaption.run.monitor.prometheus import PrometheusExporter
    with ExitStack() as stack:
        display = Display(_console(), quiet=arguments.quiet, json=arguments.json)
        arguments.failed = display.failed  # for the one that reports how it ended
        stack.enter_context(display)
        beside: list[Watcher] = []
        if arguments.metrics_port:
            info = {"version": recaption.__version__, "command": getattr(arguments, "half", "retry")}
            exposition = PrometheusExporter(arguments.metrics_port, arguments.metrics_host, info)
            beside.append(stack.enter_context(exposition))
            display.say(f"metrics at http://{escape(arguments.metrics_host)}:{arguments.metrics_port}/metrics")
        yield display, tuple(beside)


def _console(**options: Any) -> Console:
    """A console on standard output that no closed terminal or pipe makes raise: a run goes on without a display."""
    return Console(file=cast(IO[str], Unfailing(sys.stdout)), **options)


def run(arguments: argparse.Namespace) -> int:
    with _extra_named():
        from recaption.run import run
    with _watched(arguments) as (display, beside):
        pipeline, path = _loaded(arguments)
        display.say(f"[bold]{pipeline.name}[/]  {escape(f'{pipeline.source.path} → {pipeline.output.path}')}")
        outcome = run(
            pipeline,
            path,
            display,
            half=arguments.half,
            limit=arguments.limit,
            takeover=arguments.takeover,
            prune_others=arguments.prune,
            beside=beside,
        )
        code = _judged(outcome, pipeline)
        if arguments.json:
            display.summary({"exit_code": code, **_fields(outcome, pipeline.name)})
    if not (arguments.quiet or arguments.json):
        _report(outcome, pipeline.name, _console())
    _complain(outcome, pipeline)
    return code


def _fields(outcome: RunResult, name: str) -> dict[str, Any]:
    """What came out, for programs."""
    from recaption.generate.progress import captions_per_second
    from recaption.inspect import summarise

    fields = {"name": name, "out": outcome.store_url, **asdict(outcome)}
    del fields["store_url"]
    fields["captions_per_second"] = captions_per_second(outcome.answered, outcome.seconds)
    if outcome.build and "://" not in outcome.store_url:  # DuckDB reads local files
        fields["dataset"] = asdict(summarise(outcome.store_url))
    return fields


def _judged(outcome: RunResult, pipeline: Pipeline) -> int:
    """The exit code of a run that ended well: 1 when too much was rejected."""
    return int(outcome.reject_share > pipeline.output.max_reject_share)


def _complain(outcome: RunResult, pipeline: Pipeline) -> None:
    """Say why a run that ended well did not succeed."""
    if _judged(outcome, pipeline):
        limit = pipeline.output.max_reject_share
        above = f"{outcome.reject_share:.1%} of the images were rejected; output.max_reject_share is {limit:.1%}"
        Console(file=cast(IO[str], Unfailing(sys.stderr))).print(f"[red]error:[/] {above}", highlight=False)


def _report(outcome: RunResult, name: str, console: Console) -> None:
    """What came out, and what to type next."""
    from recaption.inspect import print_summary, summarise

    out, command = _short(outcome.store_url), _command()
    if not outcome.changed:
        done = "is complete and published" if outcome.build else "has all its answers"
        console.print(f"Nothing to do: {name} {done} in {out}", markup=False, highlight=False)
    if outcome.build is None:
        for line in (*outcome.sums, "next: recaption build, with the same arguments"):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        _report_beside(outcome, console)
        return
    if "://" in outcome.store_url:  # the summary's objects are in all shards: nobody asked for that much traffic
        for line in outcome.sums:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        console.print(f"next: {command} inspect {shlex.quote(out)}", markup=False, highlight=False)
        _report_beside(outcome, console)
        return
    print_summary(
        summarise(outcome.store_url),
        console,
        (
            f"{command} inspect {shlex.quote(out)}  # look into it",
            f"{command} report {shlex.quote(out)}  # all of it on one page",
            f'{command} inspect {shlex.quote(out)} "SELECT lemma, count(*) FROM objects GROUP BY ALL ORDER BY 2 DESC"',
            f"{command} init my-captions  # pipelines and prompts to start from",
        ),
        (outcome.answered, outcome.seconds),
    )
    _report_beside(outcome, console)


def _report_beside(outcome: RunResult, console: Console) -> None:
    """What was removed, and what is not as it should be."""
    if outcome.pruned is not None:
        console.print(str(outcome.pruned), markup=False, highlight=False)
    for words in outcome.unused:
        console.print(f"not used: {words}", markup=False, highlight=False, soft_wrap=True)
    for warning in outcome.warnings:
        console.print("[yellow]warning:[/] ", end="")
        console.print(warning, markup=False, highlight=False, soft_wrap=True)


def estimate(arguments: argparse.Namespace) -> int:
    console = Console()
    pipeline, path = _loaded(arguments)
    with _extra_named():
        from recaption.progress import Display
        from recaption.run import estimate
    with Display(_console(), quiet=arguments.json) as display:
        arguments.failed = display.failed
        found = estimate.estimate(pipeline, path, display, images=arguments.images, price=arguments.price)
    if arguments.json:
        print(json.dumps(estimate.as_json(found, pipeline), indent=2))
    else:
        estimate.print_estimate(found, pipeline, console)
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    from recaption.doctor import diagnose, exit_code, show

    findings = diagnose(arguments.pipeline, tuple(arguments.set))
    if arguments.json:
        print(json.dumps(show.as_json(findings, arguments.pipeline), indent=2))
    else:
        show.print_findings(findings, Console(highlight=False))
    return exit_code(findings)


def status(arguments: argparse.Namespace) -> int:
    with _extra_named():
        from recaption.run.monitor import status
    errors = Console(stderr=True, highlight=False)

    def read() -> status.Status:
        return status.read_patiently(arguments.out, lambda text: errors.print(text, markup=False))

    if arguments.json:
        print(json.dumps(status.as_json(read()), indent=2))
    elif arguments.watch:
        status.watch(read, Console())
    else:
        status.print_status(read(), Console())
    return 0


def retry(arguments: argparse.Namespace) -> int:
    with _extra_named():
        from recaption.run.retry_rejects import retry_rejects
    with _watched(arguments) as (display, beside):
        result = retry_rejects(
            arguments.out,
            arguments.reason,
            display,
            takeover=arguments.takeover,
            limit=arguments.limit,
            path=arguments.pipeline,
            beside=beside,
        )
        outcome, pipeline = result.outcome, result.pipeline
        code = _judged(outcome, pipeline) if outcome is not None else 0
        if arguments.json:
            came = _fields(outcome, pipeline.name) if outcome else {"name": pipeline.name, "changed": False}
            display.summary({"exit_code": code, "asked": result.asked, "now_answered": result.answered, **came})
    if not (arguments.quiet or arguments.json):
        console = _console(highlight=False)
        if outcome is not None:
            _report(outcome, pipeline.name, console)
        console.print(result.words, markup=False)
    if outcome is not None:
        _complain(outcome, pipeline)
    return code


def reproduce(arguments: argparse.Namespace) -> int:
    with _extra_named():
        from recaption.run.reproduce import print_reproduced, reproduce
    found = reproduce(arguments.out, arguments.key, generation=arguments.generation, path=arguments.pipeline)
    print_reproduced(found, Console())
    return 0


def _command() -> str:
    """How this command is called from here: its bare name only where the shell would find it."""
    if shutil.which("recaption"):
        return "recaption"
    script = Path(sys.executable).parent / "recaption"
    return shlex.quote(_short(str(script))) if script.is_file() else "python -m recaption"


def _short(path: str) -> str:
    """A local path below the current folder as one would type it."""
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path


def download(arguments: argparse.Namespace) -> int:
    from recaption.source.download import download

    console = Console()
    summary = download(
        arguments.urls,
        arguments.out,
        user_agent_token=arguments.user_agent_token,
        url_column=arguments.url_column,
        caption_column=arguments.caption_column,
        format=arguments.format,
        samples_per_shard=arguments.samples_per_shard,
        threads=arguments.threads,
        timeout=arguments.timeout,
        respect_opt_out=not arguments.ignore_opt_out,
        report=lambda line: console.print(line, markup=False, highlight=False),
    )
    console.print()
    for line in summary.lines():
        console.print(line, markup=False, highlight=False)
    return 0


def inspect(arguments: argparse.Namespace) -> int:
    from recaption import inspect

    console = Console()
    outs = (arguments.out, *arguments.others)
    form = inspect.Form(format=arguments.format, file=arguments.file, limit=arguments.limit, unsafe=arguments.unsafe)
    if sum(bool(asked) for asked in (arguments.ask, arguments.diff, arguments.sql is not None)) > 1:
        raise UserError("--ask and --diff ask questions of their own; give one of them, or SQL")
    if arguments.show_sql and not (arguments.ask or arguments.diff):
        raise UserError("--show-sql shows what is behind --ask NAME or --diff OTHER; give one of them")
    if arguments.diff and arguments.others:
        raise UserError("--diff compares two outputs; leave out --with")
    if arguments.diff:
        inspect.answer_diff(arguments.out, arguments.diff, form, console, show=arguments.show_sql)
    elif arguments.ask and arguments.show_sql:
        inspect.show_sql(arguments.ask, arguments.limit, console)
    elif arguments.ask:
        inspect.answer_question(outs, arguments.ask, form, console)
    elif arguments.sql is not None:
        inspect.answer_sql(outs, arguments.sql, form, console)
    elif arguments.format or arguments.file:
        raise UserError("--format and -o are for an answer: give SQL, --ask or --diff")
    elif console.is_terminal and sys.stdin.isatty():
        inspect.Shell(outs, console, unsafe=arguments.unsafe).run()
    else:
        inspect.look_at(outs, console)
    return 0


def report(arguments: argparse.Namespace) -> int:
    from recaption.inspect.report import write_report

    console = Console(highlight=False)
    made = write_report(arguments.out, arguments.output, samples=arguments.samples, title=arguments.title)
    size = f"{made.size / 1e6:.1f} MB, {made.samples:,} sample{'s' * (made.samples != 1)}"
    console.print(f"{_short(str(made.path.absolute()))}  {size}", markup=False, soft_wrap=True)
    if not made.built:
        console.print("This run has no build yet: the page says what there is so far", markup=False)
    if made.without_picture:
        pictures = f"{made.without_picture:,} of the samples have no picture; the page says why"
        console.print(pictures, markup=False)
    return 0


def export(arguments: argparse.Namespace) -> int:
    from recaption.export import load
    from recaption.export.base import Options
    from recaption.export.dataset import Dataset
    from recaption.export.show import print_exported, progress

    console = Console()
    exporter = load(arguments.to)
    dataset = Dataset.open(arguments.out, arguments.pipeline)
    with progress(console) as report:
        options = Options(
            map=dict(arguments.map),
            split=arguments.split,
            fill=arguments.fill,
            samples_per_shard=arguments.samples_per_shard,
            progress=report,
        )
        done = exporter.export(dataset, arguments.dest, options)
    print_exported(done, arguments.dest, console)
    return 0


def validate(arguments: argparse.Namespace) -> int:
    from recaption.problems import print_problems

    loaders = None
    if arguments.workers or arguments.gpus:
        loaders = (arguments.workers or 1) * (arguments.gpus or 1)
    if arguments.name:
        from recaption.export import load
        from recaption.export.ours import refuse_output

        refuse_output(arguments.path, arguments.name)
        problems = load(arguments.name).validate(arguments.path, loaders=loaders)
    else:
        from recaption.validate import validate_output

        problems = validate_output(arguments.path, pixels=arguments.pixels)
    console = Console(highlight=False)
    counts = print_problems(problems, console)
    if not counts:
        console.print("nothing wrong was found")
        return 0
    said = (f"{n:,} {kind}{'s' * (n != 1)}" for kind, n in counts.items())
    console.print(", ".join(said))
    return 1 if counts["error"] else 0


def init(arguments: argparse.Namespace) -> int:
    from recaption.resources import shipped

    target = Path(arguments.dir)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} is not an empty folder; name a new one, so that nothing of yours is overwritten")
    for kind in ("pipelines", "prompts", "schemas"):
        shutil.copytree(shipped(kind), target / kind)
    console = Console(highlight=False)
    console.print(f"{target} has the shipped pipelines, prompts and schemas. Edit one and run it:")
    console.print(f"  recaption run {target / 'pipelines' / 'demo.yaml'}", markup=False)
    return 0
