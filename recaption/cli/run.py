"""Commands that run a pipeline: run, generate, build, estimate, retry, reproduce."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

import recaption
from recaption.cli import summary
from recaption.cli.options import (
    JsonLines,
    Limit,
    MetricsHost,
    MetricsPort,
    Output,
    Pipeline,
    PipelineFile,
    Quiet,
    Set,
    Takeover,
    positive,
    price,
)
from recaption.cli.terminal import needs_run_extra, unfailing_console
from recaption.errors import UserError

if TYPE_CHECKING:
    from recaption import config
    from recaption.progress import Display, ProgressListener


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shown:
    """How a run is displayed, and where its metrics are served."""

    quiet: bool
    json: bool
    metrics_port: int | None
    metrics_host: str


def _pipeline_command(half: Literal["run", "generate", "build"], help: str) -> Callable[..., int]:
    """The command that runs this half of a pipeline. The three commands have the same options; only build can prune."""

    def command(
        context: typer.Context,
        pipeline: Pipeline,
        overrides: Set = None,
        limit: Limit = None,
        takeover: Takeover = False,
        prune: Annotated[bool, typer.Option("--prune", help="Then remove all other builds of the output")] = False,
        quiet: Quiet = False,
        as_json: JsonLines = False,
        metrics_port: MetricsPort = None,
        metrics_host: MetricsHost = "127.0.0.1",
    ) -> int:
        with needs_run_extra():
            from recaption.run import run
        shown = _Shown(quiet=quiet, json=as_json, metrics_port=metrics_port, metrics_host=metrics_host)
        with _displayed(context, half, shown) as (display, listeners):
            loaded, path = _loaded(pipeline, overrides)
            display.message(f"[bold]{loaded.name}[/]  {escape(f'{loaded.source.path} → {loaded.output.path}')}")
            outcome = run(
                loaded,
                path,
                display,
                half=half,
                limit=limit,
                takeover=takeover,
                prune_others=prune,
                listeners=listeners,
            )
            code = summary.exit_code(outcome, loaded)
            if as_json:
                display.summary({"exit_code": code, **summary.fields(outcome, loaded.name)})
        if not (quiet or as_json):
            summary.print_outcome(outcome, loaded.name, unfailing_console())
        summary.print_error(outcome, loaded)
        return code

    command.__name__, command.__doc__ = half, help
    if half != "build":
        signature = inspect.signature(command, eval_str=True)
        kept = [parameter for name, parameter in signature.parameters.items() if name != "prune"]
        command.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    return command


run = _pipeline_command("run", "Run a whole pipeline: caption, annotate and write. Run it again to continue.")
generate = _pipeline_command("generate", "Run the models only. Their answers are stored.")
build = _pipeline_command("build", "Annotate and write stored answers. Needs no GPU.")


def estimate(
    context: typer.Context,
    pipeline: Pipeline,
    overrides: Set = None,
    images: Annotated[int, typer.Option(parser=positive, metavar="N", help="Images of the pilot")] = 256,
    price: Annotated[float | None, typer.Option(parser=price, metavar="DOLLARS", help="Price of a GPU hour")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers as JSON")] = False,
) -> int:
    """Estimate time and cost with a pilot over the first images. Its answers are stored."""
    console = Console()
    loaded, path = _loaded(pipeline, overrides)
    with needs_run_extra():
        from recaption.progress import display_on
        from recaption.run import estimate as pilot
    with display_on(unfailing_console(), quiet=as_json) as display:
        context.obj.failed = display.failed
        found = pilot.estimate(loaded, path, display, images=images, price=price)
    if as_json:
        print(json.dumps(pilot.as_json(found, loaded), indent=2))
    else:
        pilot.print_estimate(found, loaded, console)
    return 0


def retry(
    context: typer.Context,
    out: Output,
    reasons: Annotated[
        list[str],
        typer.Option("--reason", metavar="REASON", help="Reason of rejects: refusal, repetition, poison, … Repeatable"),
    ],
    pipeline_file: PipelineFile = None,
    limit: Annotated[
        int | None,
        typer.Option(parser=positive, metavar="N", help="Only the first N images; default: the last run's limit"),
    ] = None,
    takeover: Takeover = False,
    quiet: Quiet = False,
    as_json: JsonLines = False,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
) -> int:
    """Send rejected requests again, with the output's own pipeline, and build the dataset."""
    with needs_run_extra():
        from recaption.run.retry_rejects import retry_rejects
    shown = _Shown(quiet=quiet, json=as_json, metrics_port=metrics_port, metrics_host=metrics_host)
    with _displayed(context, "retry", shown) as (display, listeners):
        result = retry_rejects(
            out, reasons, display, takeover=takeover, limit=limit, path=pipeline_file, listeners=listeners
        )
        outcome, pipeline = result.outcome, result.pipeline
        code = summary.exit_code(outcome, pipeline) if outcome is not None else 0
        if as_json:
            fields = summary.fields(outcome, pipeline.name) if outcome else {"name": pipeline.name, "changed": False}
            display.summary({"exit_code": code, "asked": result.retried, "now_answered": result.answered, **fields})
    if not (quiet or as_json):
        console = unfailing_console(highlight=False)
        if outcome is not None:
            summary.print_outcome(outcome, pipeline.name, console)
        console.print(result.sentence, markup=False)
    if outcome is not None:
        summary.print_error(outcome, pipeline)
    return code


def reproduce(
    out: Output,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key of an image, in the output or in the source")],
    pipeline_file: PipelineFile = None,
    generation: Annotated[str | None, typer.Option(metavar="ID", help="Only this generation; default: all")] = None,
) -> int:
    """Send the requests of one image again and compare with the stored answers. Stores nothing."""
    with needs_run_extra():
        from recaption.run.reproduce import print_reproduced
        from recaption.run.reproduce import reproduce as reproduced
    print_reproduced(reproduced(out, key, generation=generation, path=pipeline_file), Console())
    return 0


def _loaded(name: str, overrides: list[str] | None) -> tuple[config.Pipeline, Path]:
    with needs_run_extra():
        from recaption.run.check import load_checked
    from recaption.demo.shards import ensure_scenes

    pipeline, path = load_checked(name, tuple(overrides or ()))
    ensure_scenes(pipeline.source.path)
    return pipeline, path


@contextmanager
def _displayed(
    context: typer.Context, command: str, shown: _Shown
) -> Iterator[tuple[Display, tuple[ProgressListener, ...]]]:
    """The display of a run, and the other listeners of its progress. Raises UserError for a port that is taken."""
    if shown.quiet and shown.json:
        raise UserError("--quiet and --json exclude each other; give one of them")
    with needs_run_extra():
        from recaption.progress import display_on
        from recaption.run.monitor.prometheus import PrometheusExporter
    with ExitStack() as stack:
        display = display_on(unfailing_console(), quiet=shown.quiet, json=shown.json)
        context.obj.failed = display.failed
        stack.enter_context(display)
        listeners: list[ProgressListener] = []
        if shown.metrics_port:
            info = {"version": recaption.__version__, "command": command}
            listeners.append(stack.enter_context(PrometheusExporter(shown.metrics_port, shown.metrics_host, info)))
            display.message(f"metrics at http://{escape(shown.metrics_host)}:{shown.metrics_port}/metrics")
        yield display, tuple(listeners)
