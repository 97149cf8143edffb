"""The output at the end of a run, as text and as JSON, and the exit code."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from rich.console import Console

from recaption.cli.terminal import command_name, print_plain, short_path
from recaption.io.files import is_url
from recaption.stdio import Unfailing

if TYPE_CHECKING:
    from recaption.config import Pipeline
    from recaption.run import RunResult


def exit_code(outcome: RunResult, pipeline: Pipeline) -> int:
    """1 if more images were rejected than the pipeline allows, else 0."""
    return int(outcome.reject_share > pipeline.output.max_reject_share)


def fields(outcome: RunResult, name: str) -> dict[str, Any]:
    """The outcome as JSON fields, with the summary of the dataset if the build is on this machine."""
    from recaption.generate.progress import captions_per_second
    from recaption.inspect import summarise

    found = {"name": name, "out": outcome.store_url, **asdict(outcome)}
    del found["store_url"]
    found["captions_per_second"] = captions_per_second(outcome.answered, outcome.seconds)
    if outcome.build and not is_url(outcome.store_url):  # DuckDB reads local files
        found["dataset"] = asdict(summarise(outcome.store_url))
    return found


def print_error(outcome: RunResult, pipeline: Pipeline) -> None:
    """Print on standard error why a finished run has exit code 1."""
    if exit_code(outcome, pipeline):
        limit = pipeline.output.max_reject_share
        console = Console(file=cast(IO[str], Unfailing(sys.stderr)))
        console.print("[red]error:[/] ", end="")
        print_plain(
            console,
            f"{outcome.reject_share:.1%} of the images were rejected; output.max_reject_share is {limit:.1%}. The "
            f"causes: {command_name()} inspect {shlex.quote(short_path(outcome.store_url))} --ask rejects",
        )


def print_outcome(outcome: RunResult, name: str, console: Console) -> None:
    """Print the result of a run, the next commands, what was removed, and warnings."""
    out, command = short_path(outcome.store_url), command_name()
    if not outcome.changed:
        done = "is complete and published" if outcome.build else "has all its answers"
        console.print(f"Nothing to do: {name} {done} in {out}", markup=False, highlight=False)
    if outcome.build is not None and not is_url(outcome.store_url):
        _print_dataset(outcome, command, shlex.quote(out), console)
    else:  # the summary of a remote build would read all shards
        build = "recaption build, with the same arguments"
        look = f"{command} inspect {shlex.quote(out)}"
        for line in (*outcome.sums, f"next: {build if outcome.build is None else look}"):
            print_plain(console, line)
    if outcome.pruned is not None:
        print_plain(console, str(outcome.pruned))
    for text in outcome.unused:
        print_plain(console, f"not used: {text}")
    for warning in outcome.warnings:
        console.print("[yellow]warning:[/] ", end="")
        print_plain(console, warning)


def _print_dataset(outcome: RunResult, command: str, out: str, console: Console) -> None:
    from recaption.inspect import print_summary, summarise

    following = [
        f"{command} inspect {out}  # query it",
        f"{command} report {out}  # all of it on one page",
        f'{command} inspect {out} "SELECT lemma, count(*) FROM objects GROUP BY ALL ORDER BY 2 DESC"',
    ]
    if not Path("my-captions").exists():
        following.append(f"{command} init my-captions  # pipelines and prompts to start from")
    print_summary(summarise(outcome.store_url), console, following, (outcome.answered, outcome.seconds))
