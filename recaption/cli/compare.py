"""The command compare."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from recaption.cli.options import PIPELINE, Preset, Set, Takeover, positive
from recaption.cli.terminal import needs_run_extra, print_plain, unfailing_console


def compare(
    context: typer.Context,
    a: Annotated[str, typer.Argument(metavar="A", help="An output")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another output of the same images, or the same output")],
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Folder or URL for the judge's answers")],
    pipeline: Annotated[
        str,
        typer.Option(
            metavar="PIPELINE",
            autocompletion=PIPELINE.autocompletion,
            help="A pipeline with the judge: one or more generations with task: compare",
        ),
    ] = "judge",
    preset: Preset = None,
    overrides: Set = None,
    generation_a: Annotated[
        str | None, typer.Option("--a", metavar="ID", help="Generation of A; default: the first with long captions")
    ] = None,
    generation_b: Annotated[
        str | None, typer.Option("--b", metavar="ID", help="Generation of B; default: the first with long captions")
    ] = None,
    images: Annotated[
        int, typer.Option(parser=positive, metavar="N", help="Images to judge at most, chosen by their sha256")
    ] = 500,
    takeover: Takeover = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print compare.json")] = False,
) -> int:
    """Let a model judge which of two outputs describes the same images better. Run it again to continue."""
    with needs_run_extra():
        from recaption.compare import command
        from recaption.progress import display_on
    options = command.Options(
        out=out,
        pipeline=pipeline,
        preset=preset,
        overrides=overrides or (),
        generations=(generation_a, generation_b),
        images=images,
        takeover=takeover,
    )
    with display_on(unfailing_console(), quiet=as_json) as display:
        context.obj.failed = display.failed
        found = command.compare(a, b, options, display)
    if as_json:
        print(json.dumps(command.as_json(found), indent=2))
    else:
        for line in command.text(found, out):
            print_plain(unfailing_console(), line)
    return 0 if all(judge.a_better.of for judge in found.judges.values()) else 1
