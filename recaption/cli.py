"""The command line: parse, call, print.

Exit codes: 0 done; 1 done, but more was rejected than the pipeline allows, or a check failed; 2 the input was wrong;
3 infrastructure failed; 75 interrupted, run it again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

import recaption
from recaption.errors import Interrupted, MissingExtra, RecaptionError, UserError
from recaption.export import MODULES as FORMATS

if TYPE_CHECKING:
    from recaption.config import Pipeline
    from recaption.run import Outcome

Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Errors are one message on standard error, never a traceback."""
    arguments = parser().parse_args(argv)
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        return int(arguments.command(arguments))
    except (UserError, RecaptionError, MissingExtra) as error:
        style = "yellow" if isinstance(error, Interrupted) else "red"
        word = "interrupted" if isinstance(error, Interrupted) else "error"
        errors.print(f"[{style}]{word}:[/] ", end="")
        errors.print(str(error), markup=False)
        return error.exit_code
    except KeyboardInterrupt:
        errors.print("[yellow]interrupted:[/] stopped at once; run the same command again to continue")
        return Interrupted.exit_code
    except BrokenPipeError:  # `recaption inspect … | head`
        sys.stderr.close()
        return 0


def parser() -> argparse.ArgumentParser:
    """All commands and options."""
    top = argparse.ArgumentParser(
        prog="recaption",
        description="Images in, fine-grained captions out: sub-captions with object tags, in shards trainers read.",
        epilog="Start with: recaption init DIR, then recaption run DIR/pipelines/demo.yaml",
    )
    top.add_argument("--version", action="version", version=f"recaption {recaption.__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    for name, text in (
        ("run", "caption, annotate and write: the whole job; run it again and it continues"),
        ("generate", "only ask the models; answers are kept"),
        ("build", "only annotate and write, from answers that are there; needs no GPU"),
    ):
        command = _of_pipeline(_add(commands, name, _run, text))
        command.add_argument("--limit", type=_positive, metavar="N", help="only the first N images")
        command.add_argument("--takeover", action="store_true", help="take the output from a run that is surely dead")
        command.add_argument("--quiet", action="store_true", help="no progress and no summary")
        command.set_defaults(half=name, prune=False)
        if name == "build":
            command.add_argument("--prune", action="store_true", help="then remove all other builds of the output")

    text = "what a pipeline will cost: a pilot over its first images, whose answers are kept"
    command = _of_pipeline(_add(commands, "estimate", _estimate, text))
    command.add_argument("--images", type=_positive, default=256, metavar="N", help="of the pilot (256)")
    command.add_argument("--price", type=_price, metavar="DOLLARS", help="of a GPU-hour, for the cost of it all")
    command.add_argument("--json", action="store_true", help="all numbers, for programs")

    command = _add(commands, "status", _status, "how a run stands, from any machine that sees its output")
    command.add_argument("out", help="an output: a folder or a store's URL, as output.path names it")
    command.add_argument("--watch", action="store_true", help="look again every 2 s until the run ends")
    command.add_argument("--json", action="store_true", help="what the run has written, and how it looks from here")

    text = "ask again what was rejected, with the output's own pipeline, and build anew"
    command = _of_output(_add(commands, "redrive", _redrive, text))
    text = "why it was rejected (refusal, repetition, poison, …); may be given several times"
    command.add_argument("--reason", action="append", required=True, metavar="REASON", help=text)
    command.add_argument("--limit", type=_positive, metavar="N", help="only the first N images (as the last run)")
    command.add_argument("--takeover", action="store_true", help="take the output from a run that is surely dead")
    command.add_argument("--quiet", action="store_true", help="no progress and no summary")

    command = _of_output(_add(commands, "replay", _replay, "ask for a stored answer again and compare; stores nothing"))
    command.add_argument("key", help="key of an image, or its key in the source")
    command.add_argument("--generation", metavar="ID", help="only this question; without it: all of them")

    command = _add(commands, "download", _download, "fetch the images of a URL list with img2dataset")
    command.add_argument("urls", help="txt, csv, tsv, json, jsonl or parquet with URLs")
    command.add_argument("out", help="folder for the shards")
    command.add_argument("--user-agent-token", metavar="NAME", help="who you are, for the sites you ask (required)")
    command.add_argument("--url-column", default="url", metavar="NAME")
    command.add_argument("--caption-column", default="caption", metavar="NAME")
    command.add_argument("--format", choices=("webdataset", "parquet"), default="webdataset")
    command.add_argument("--samples-per-shard", type=_positive, default=5000, metavar="N")
    command.add_argument("--threads", type=_positive, default=64, metavar="N", help="requests at a time")
    command.add_argument("--timeout", type=_positive, default=10, metavar="SECONDS")
    command.add_argument("--ignore-opt-out", action="store_true", help="take images whose servers ask not to be used")

    command = _add(commands, "inspect", _inspect, "look into an output with DuckDB")
    command.add_argument("out", help="an output folder, of a finished run or one in progress")
    command.add_argument("sql", nargs="?", help="a query over the views; without it: a first look")

    command = _add(commands, "export", _export, "write a dataset in the form that a named trainer reads")
    command.add_argument("out", help="an output with a finished build, or a build: a folder or a store's URL")
    command.add_argument("dest", help="a new or empty folder, or a store's URL")
    command.add_argument("--to", required=True, choices=list(FORMATS), metavar="NAME", help=", ".join(FORMATS))
    text = "which generation stands where the trainer has that name; given once or more it is the whole map"
    command.add_argument("--map", action="append", default=[], type=_pair, metavar="NAME=GENERATION", help=text)
    command.add_argument("--split", choices=("train", "val", "all"), default="train")
    text = "what a place without a generation of its own gets: nothing, or one of its kind again"
    command.add_argument("--fill", choices=("empty", "repeat"), help=text)

    command = _add(commands, "validate", _validate, "check an output, or anybody's dataset for a named trainer")
    command.add_argument("path", help="an output; with --for: files or a folder, whoever wrote them")
    command.add_argument("--for", dest="name", choices=list(FORMATS), metavar="NAME", help=", ".join(FORMATS))
    command.add_argument("--workers", type=_positive, metavar="N", help="that load on each GPU, to see if tars suffice")
    command.add_argument("--gpus", type=_positive, metavar="N", help="that train, on all nodes")

    command = _add(commands, "init", _init, "copy the shipped pipelines and prompts, to start from")
    command.add_argument("dir", help="a new or empty folder")
    return top


def _add(commands: argparse._SubParsersAction, name: str, call: Command, text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + "."
    )
    command.set_defaults(command=call)
    return command


def _of_pipeline(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("pipeline", help="a pipeline file, or the name of a shipped one (demo, flair, replay)")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. output.path=out/x")
    return command


def _of_output(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("out", help="an output: a folder or a store's URL; its own pipeline.yaml is used")
    command.add_argument("--pipeline", type=_file, metavar="FILE", help="its file, where its prompts lie beside that")
    return command


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=GENERATION, such as longSV_captions=long")
    return name, value


def _price(text: str) -> float:
    try:
        value = float(text.removeprefix("$"))
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a price in dollars, such as 2.50")
    return value


def _file(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text!r}")
    return Path(text)


def _loaded(arguments: argparse.Namespace) -> tuple[Pipeline, Path]:
    from recaption.config import load

    pipeline, path = load(arguments.pipeline, tuple(arguments.set))
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


def _run(arguments: argparse.Namespace) -> int:
    console = Console()
    pipeline, path = _loaded(arguments)
    with _extra_named():
        from recaption.progress import Display
        from recaption.run import run
    with Display(console, quiet=arguments.quiet) as display:
        display.say(f"[bold]{pipeline.name}[/]  {escape(f'{pipeline.source.path} → {pipeline.output.path}')}")
        outcome = run(
            pipeline,
            path,
            display,
            half=arguments.half,
            limit=arguments.limit,
            takeover=arguments.takeover,
            prune_others=arguments.prune,
        )
    if not arguments.quiet:
        _report(outcome, pipeline.name, console)
    return _judged(outcome, pipeline)


def _judged(outcome: Outcome, pipeline: Pipeline) -> int:
    """The exit code of a run that ended well: 1 when too much was rejected."""
    limit = pipeline.output.max_reject_share
    if outcome.reject_share <= limit:
        return 0
    above = f"{outcome.reject_share:.1%} of the images were rejected; output.max_reject_share is {limit:.1%}"
    Console(stderr=True).print(f"[red]error:[/] {above}", highlight=False)
    return 1


def _report(outcome: Outcome, name: str, console: Console) -> None:
    """What came out, and what to type next."""
    from recaption.inspect import print_summary, summarise

    out, command = _short(outcome.store_url), _command()
    if not outcome.changed:
        done = "is complete and published" if outcome.build else "has all its answers"
        console.print(f"Nothing to do: {name} {done} in {out}", markup=False, highlight=False)
    if outcome.build is None:
        for line in (*outcome.sums, "next: recaption build, with the same arguments"):
            console.print(line, markup=False, highlight=False)
        return
    if "://" in outcome.store_url:  # DuckDB reads local files
        for line in outcome.sums:
            console.print(line, markup=False, highlight=False)
        console.print(f"next: {command} status {shlex.quote(out)}", markup=False, highlight=False)
        _report_beside(outcome, console)
        return
    rate = outcome.answered / outcome.seconds if outcome.answered and outcome.seconds else None
    summary = summarise(outcome.store_url, seconds=outcome.seconds if rate else None, captions_per_second=rate)
    print_summary(
        summary,
        console,
        (
            f"{command} inspect {shlex.quote(out)}  # a first look",
            f'{command} inspect {shlex.quote(out)} "SELECT lemma, count(*) FROM objects GROUP BY ALL ORDER BY 2 DESC"',
            f"{command} init my-captions  # pipelines and prompts to start from",
        ),
    )
    _report_beside(outcome, console)


def _report_beside(outcome: Outcome, console: Console) -> None:
    """What was removed, and what is not as it should be."""
    if outcome.pruned is not None:
        console.print(str(outcome.pruned), markup=False, highlight=False)
    for warning in outcome.warnings:
        console.print("[yellow]warning:[/] ", end="")
        console.print(warning, markup=False, highlight=False, soft_wrap=True)


def _estimate(arguments: argparse.Namespace) -> int:
    console = Console()
    pipeline, path = _loaded(arguments)
    with _extra_named():
        from recaption.progress import Display
        from recaption.run import estimate
    with Display(console, quiet=arguments.json) as display:
        found = estimate.estimate(pipeline, path, display, images=arguments.images, price=arguments.price)
    if arguments.json:
        print(json.dumps(estimate.as_json(found, pipeline), indent=2))
    else:
        estimate.print_estimate(found, pipeline, console)
    return 0


def _status(arguments: argparse.Namespace) -> int:
    with _extra_named():
        from recaption.run import show, status
    if arguments.json:
        print(json.dumps(status.as_json(status.read_status(arguments.out)), indent=2))
    elif arguments.watch:
        show.watch(lambda: status.read_status(arguments.out), Console())
    else:
        show.print_status(status.read_status(arguments.out), Console())
    return 0


def _redrive(arguments: argparse.Namespace) -> int:
    console = Console(highlight=False)
    with _extra_named():
        from recaption.progress import Display
        from recaption.run.redrive import redrive
    with Display(console, quiet=arguments.quiet) as display:
        result = redrive(
            arguments.out,
            arguments.reason,
            display,
            takeover=arguments.takeover,
            limit=arguments.limit,
            path=arguments.pipeline,
        )
    if result.outcome is not None and not arguments.quiet:
        _report(result.outcome, result.pipeline.name, console)
    if not arguments.quiet:
        console.print(result.words, markup=False)
    return _judged(result.outcome, result.pipeline) if result.outcome is not None else 0


def _replay(arguments: argparse.Namespace) -> int:
    with _extra_named():
        from recaption.run.replay import print_replay, replay
    found = replay(arguments.out, arguments.key, generation=arguments.generation, path=arguments.pipeline)
    print_replay(found, Console())
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


def _download(arguments: argparse.Namespace) -> int:
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


def _inspect(arguments: argparse.Namespace) -> int:
    from recaption import inspect

    console = Console()
    if arguments.sql is None:
        inspect.first_look(arguments.out, console)
    else:
        inspect.print_sql(inspect.connect(arguments.out), arguments.sql, console)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from recaption.export import load
    from recaption.export.base import Options
    from recaption.export.dataset import Dataset
    from recaption.export.show import print_exported, progress

    console = Console()
    exporter = load(arguments.to)
    dataset = Dataset.open(arguments.out)
    with progress(console) as report:
        options = Options(map=dict(arguments.map), split=arguments.split, fill=arguments.fill, progress=report)
        done = exporter.export(dataset, arguments.dest, options)
    print_exported(done, arguments.dest, console)
    return 0


def _validate(arguments: argparse.Namespace) -> int:
    from recaption.problems import print_problems

    loaders = None
    if arguments.workers or arguments.gpus:
        loaders = (arguments.workers or 1) * (arguments.gpus or 1)
    if arguments.name:
        from recaption.export import load

        problems = load(arguments.name).validate(arguments.path, loaders=loaders)
    else:
        from recaption.validate import validate_output

        problems = validate_output(arguments.path)
    console = Console(highlight=False)
    counts = print_problems(problems, console)
    if not counts:
        console.print("nothing wrong was found")
        return 0
    console.print(f"{counts['error']:,} errors, {counts['warning']:,} warnings")
    return 1 if counts["error"] else 0


def _init(arguments: argparse.Namespace) -> int:
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


if __name__ == "__main__":
    sys.exit(main())
