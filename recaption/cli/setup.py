"""Commands that set things up: init, doctor, download."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from recaption.cli.options import PIPELINE, Preset, Set, positive
from recaption.cli.terminal import command_name, print_plain
from recaption.errors import UserError


def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder")]) -> int:
    """Copy the shipped pipelines, prompts and schemas into a folder."""
    from recaption.resources import shipped

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not an empty folder; name a new one, so that nothing of yours is overwritten")
    for kind in ("pipelines", "prompts", "schemas"):
        shutil.copytree(shipped(kind), folder / kind)
    console, command = Console(highlight=False), command_name()
    demo = shlex.quote(str(folder / "pipelines" / "demo.yaml"))
    print_plain(console, f"{folder} has the shipped pipelines, prompts and schemas. Run the demo:")
    print_plain(console, f"  {command} run {demo}")
    print_plain(
        console,
        "Its model describes rendered scenes only. For your own images, edit source.path and output.path of flair.yaml "
        "(a model on GPUs), openai.yaml (a model on a server) or column.yaml (captions that exist) in the same folder. "
        "Check a pipeline before its first run:",
    )
    print_plain(console, f"  {command} doctor {demo}")
    return 0


def doctor(
    pipeline: Annotated[str | None, PIPELINE] = None,
    preset: Preset = None,
    overrides: Set = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all findings as JSON")] = False,
) -> int:
    """Diagnose problems of this machine, and of a pipeline if one is given. Changes nothing."""
    from recaption.doctor import diagnose, exit_code, show

    if preset and not pipeline:
        raise UserError("--preset needs a pipeline: recaption doctor PIPELINE --preset NAME")
    findings = diagnose(pipeline, tuple(overrides or ()), preset)
    if as_json:
        print(json.dumps(show.as_json(findings, pipeline), indent=2))
    else:
        show.print_findings(findings, Console(highlight=False))
    return exit_code(findings)


def download(
    urls: Annotated[
        str, typer.Argument(metavar="URLS", help="A txt, csv, tsv, json, jsonl or parquet file, or a folder of them")
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder for the shards")],
    user_agent_token: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of your project or group, sent to the servers. Required"),
    ] = None,
    url_column: Annotated[str, typer.Option(metavar="NAME", help="Column with the URLs")] = "url",
    caption_column: Annotated[str, typer.Option(metavar="NAME", help="Column with the captions")] = "caption",
    form: Annotated[
        Literal["webdataset", "parquet"], typer.Option("--format", help="Format of the shards")
    ] = "webdataset",
    samples_per_shard: Annotated[
        int, typer.Option(parser=positive, metavar="N", help="URLs per shard, including failed ones")
    ] = 5000,
    threads: Annotated[
        int,
        typer.Option(
            parser=positive, metavar="N", help="Requests at the same time, per process (one process per core)"
        ),
    ] = 64,
    timeout: Annotated[int, typer.Option(parser=positive, metavar="SECONDS", help="Longest wait for data")] = 10,
    ignore_opt_out: Annotated[
        bool, typer.Option("--ignore-opt-out", help="Also take images whose servers opt out of their use")
    ] = False,
) -> int:
    """Download the images of a URL list with img2dataset."""
    from recaption.source.download import job

    console = Console()
    settings = job.Settings(
        user_agent_token=user_agent_token,
        url_column=url_column,
        caption_column=caption_column,
        format=form,
        samples_per_shard=samples_per_shard,
        threads=threads,
        timeout=timeout,
        respect_opt_out=not ignore_opt_out,
    )
    summary = job.download(urls, out, settings, report=lambda line: print_plain(console, line))
    console.print()
    for line in summary.lines():
        print_plain(console, line)
    return 0
