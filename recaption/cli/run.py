"""Commands that run a pipeline: run, generate, build, estimate, retry, reproduce."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape

import recaption
from recaption.cli import summary
from recaption.cli.options import (
    FilePreset,
    JsonLines,
    Limit,
    MetricsHost,
    MetricsPort,
    Output,
    Pipeline,
    PipelineFile,
    Preset,
    Quiet,
    Set,
    Takeover,
    positive,
    price,
    token_price,
)
from recaption.cli.terminal import needs_run_extra, unfailing_console
from recaption.errors import UserError

if TYPE_CHECKING:
    from recaption import config
    from recaption.progress import Display, ProgressListener
    from recaption.run import RunResult


@dataclass(frozen=True, kw_only=True, slots=True)
class _Result:
    """What a command has done: its run, if there was one, further fields of its summary, and its last line."""

    outcome: RunResult | None
    pipeline: config.Pipeline
    fields: Mapping[str, Any] = field(default_factory=dict)
    sentence: str = ""


def _run_command(
    work: Callable[..., _Result], name: str, help: str, without: tuple[str, ...] = ()
) -> Callable[..., int]:
    """The command `name`: `work(display, listeners, …)` with the options of all commands that run a pipeline.

    `without`: parameters of `work` that the command does not have.
    """

    def command(
        context: typer.Context,
        quiet: Quiet = False,
        as_json: JsonLines = False,
        metrics_port: MetricsPort = None,
        metrics_host: MetricsHost = "127.0.0.1",
        **own: Any,
    ) -> int:
        if quiet and as_json:
            raise UserError("--quiet and --json exclude each other; give one of them")
        with needs_run_extra():
            from recaption.progress import display_on
            from recaption.run.monitor.prometheus import PrometheusExporter
        with ExitStack() as stack:
            display = display_on(unfailing_console(), quiet=quiet, json=as_json)
            context.obj.failed = display.failed
            stack.enter_context(display)
            listeners: list[ProgressListener] = []
            if metrics_port:
                info = {"version": recaption.__version__, "command": name}
                listeners.append(stack.enter_context(PrometheusExporter(metrics_port, metrics_host, info)))
                display.message(f"metrics at http://{escape(metrics_host)}:{metrics_port}/metrics")
            result = work(display, tuple(listeners), **own)
            outcome, pipeline = result.outcome, result.pipeline
            code = summary.exit_code(outcome, pipeline) if outcome else 0
            if as_json:
                known = summary.fields(outcome, pipeline.name) if outcome else {"name": pipeline.name, "changed": False}
                display.summary({"exit_code": code, **result.fields, **known})
        if not (quiet or as_json):
            console = unfailing_console()
            if outcome:
                summary.print_outcome(outcome, pipeline.name, console)
            if result.sentence:
                console.print(result.sentence, markup=False, highlight=False)
        if outcome:
            summary.print_error(outcome, pipeline)
        return code

    late: dict[str, Any] = {"Display": Any, "ProgressListener": Any}  # types that are imported with the command's work
    given = inspect.signature(work, eval_str=True, locals=late).parameters
    hidden = {"display", "listeners", *without}
    own = [parameter for each, parameter in given.items() if each not in hidden]
    context, *shared, _ = inspect.signature(command, eval_str=True).parameters.values()
    command.__signature__ = inspect.Signature([context, *own, *shared])  # type: ignore[attr-defined]
    command.__name__, command.__doc__ = name, help
    return command


def _pipeline_command(half: Literal["run", "generate", "build"], help: str) -> Callable[..., int]:
    """The command `run`, or one of its halves `generate` and `build`. Only build can prune, or build again."""

    def work(
        display: Display,
        listeners: Sequence[ProgressListener],
        pipeline: Pipeline,
        preset: Preset = None,
        overrides: Set = None,
        limit: Limit = None,
        takeover: Takeover = False,
        prune: Annotated[bool, typer.Option("--prune", help="Then remove all other builds of the output")] = False,
        again: Annotated[bool, typer.Option("--again", help="Write a new build even if nothing has changed")] = False,
    ) -> _Result:
        from recaption.run import run

        loaded, path = _loaded(pipeline, overrides, preset)
        display.message(f"[bold]{loaded.name}[/]  {escape(f'{loaded.source.path} → {loaded.output.path}')}")
        outcome = run(
            loaded,
            path,
            display,
            half=half,
            limit=limit,
            takeover=takeover,
            prune_others=prune,
            again=again,
            listeners=listeners,
        )
        return _Result(outcome=outcome, pipeline=loaded)

    return _run_command(work, half, help, without=() if half == "build" else ("prune", "again"))


run = _pipeline_command("run", "Run a whole pipeline: caption, annotate and write. Run it again to continue.")
generate = _pipeline_command("generate", "Run the models only. Their answers are stored.")
build = _pipeline_command("build", "Annotate and write stored answers. Needs no GPU.")


def estimate(
    context: typer.Context,
    pipeline: Pipeline,
    preset: Preset = None,
    overrides: Set = None,
    images: Annotated[int, typer.Option(parser=positive, metavar="N", help="Images of the pilot")] = 256,
    price: Annotated[float | None, typer.Option(parser=price, metavar="DOLLARS", help="Price of a GPU hour")] = None,
    token_prices: Annotated[
        list[Any] | None,
        typer.Option(
            "--token-price",
            parser=token_price,
            metavar="[MODEL=]IN,OUT",
            help="Dollars per million tokens of prompts and of answers, for models with engine openai. Repeatable",
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(metavar="A,B,…", help="Compare these prompts on the same images, in an output OUT-prompts"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers as JSON")] = False,
) -> int:
    """Estimate time and cost with a pilot over the first images. Its answers are stored."""
    console = Console()
    loaded, path = _loaded(pipeline, overrides, preset)
    with needs_run_extra():
        from recaption.progress import display_on
        from recaption.run import estimate as pilot
    with display_on(unfailing_console(), quiet=as_json) as display:
        context.obj.failed = display.failed
        prices = {name: pilot.TokenPrice(input=into, output=out) for name, into, out in token_prices or ()}
        if prompts is None:
            found = pilot.estimate(loaded, path, display, images=images, price=price, token_prices=prices)
        else:
            from recaption.compare.prompts import compare_prompts, print_prompts

            named = [name.strip() for name in prompts.split(",") if name.strip()]
            compared = compare_prompts(loaded, path, named, display, images=images, price=price, token_prices=prices)
    if prompts is not None:
        print_prompts(compared, console, as_json=as_json)
    elif as_json:
        print(json.dumps(pilot.as_json(found, loaded), indent=2))
    else:
        pilot.print_estimate(found, loaded, console)
    return 0


def _retry(
    display: Display,
    listeners: Sequence[ProgressListener],
    out: Output,
    reasons: Annotated[
        list[str],
        typer.Option("--reason", metavar="REASON", help="Reason of rejects: refusal, repetition, poison, … Repeatable"),
    ],
    pipeline_file: PipelineFile = None,
    preset: FilePreset = None,
    limit: Annotated[
        int | None,
        typer.Option(parser=positive, metavar="N", help="Only the first N images; default: the last run's limit"),
    ] = None,
    takeover: Takeover = False,
) -> _Result:
    from recaption.run.retry_rejects import retry_rejects

    done = retry_rejects(
        out,
        reasons,
        display,
        takeover=takeover,
        limit=limit,
        path=pipeline_file,
        preset=preset,
        listeners=listeners,
    )
    fields = {"asked": done.retried, "now_answered": done.answered}
    return _Result(outcome=done.outcome, pipeline=done.pipeline, fields=fields, sentence=done.sentence)


retry = _run_command(
    _retry, "retry", "Send rejected requests again, with the output's own pipeline, and build the dataset."
)


def reproduce(
    out: Output,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key of an image, in the output or in the source")],
    pipeline_file: PipelineFile = None,
    preset: FilePreset = None,
    generation: Annotated[str | None, typer.Option(metavar="ID", help="Only this generation; default: all")] = None,
) -> int:
    """Send the requests of one image again and compare with the stored answers. Stores nothing."""
    with needs_run_extra():
        from recaption.run.reproduce import print_reproduced
        from recaption.run.reproduce import reproduce as reproduced
    found = reproduced(out, key, generation=generation, path=pipeline_file, preset=preset)
    print_reproduced(found, Console())
    return 0


def _loaded(name: str, overrides: list[str] | None, preset: str | None) -> tuple[config.Pipeline, Path]:
    with needs_run_extra():
        from recaption.run.check import load_checked
    from recaption.demo.shards import ensure_scenes

    pipeline, path = load_checked(name, tuple(overrides or ()), preset)
    ensure_scenes(pipeline.source.path)
    return pipeline, path
