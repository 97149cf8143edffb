"""The command probe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from recaption.cli.options import positive


def probe(
    outs: Annotated[
        list[str],
        typer.Argument(metavar="OUT...", help="Outputs of the same images; or demo: a check of the probe on scenes"),
    ],
    queries: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Texts about known images that are not from the compared captions: Parquet with image (key or "
            "sha256) or file, text, optionally wrong and slice; or karpathy:, urban1k:, docci: or sugarcrepe:PATH. "
            "Repeatable",
        ),
    ] = None,
    query_images: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, metavar="DIR", help="Images of karpathy:PATH and so on")
    ] = None,
    policies: Annotated[
        list[str] | None,
        typer.Option(
            "--policy", metavar="POLICY", help="A sampling policy, e.g. weighted:k=4,p_raw=0.1 or raw. Repeatable"
        ),
    ] = None,
    encoder: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Image features: scene (embedded), transformers:MODEL, open_clip:MODEL:TAG, or a .npz file",
        ),
    ] = "scene",
    text: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Text tower: trained (from scratch), or frozen: transformers:MODEL, open_clip:MODEL:TAG",
        ),
    ] = "trained",
    images: Annotated[int, typer.Option(parser=positive, metavar="N", help="At most N images to train on")] = 50_000,
    seen: Annotated[
        int | None, typer.Option(parser=positive, metavar="N", help="Images seen by each run. Default: 32768")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(parser=positive, metavar="N", help="Images in a batch. Default: 64")
    ] = None,
    context: Annotated[
        int | None, typer.Option(parser=positive, metavar="N", help="Words of a text that are read. Default: 32")
    ] = None,
    seeds: Annotated[int, typer.Option(parser=positive, metavar="N", help="Runs of each arm; a verdict needs 5")] = 5,
    processes: Annotated[
        int | None, typer.Option(parser=positive, metavar="N", help="Runs at the same time. Default: one per core")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="For probe.json and runs.parquet. Default: OUT/probe")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print probe.json")] = False,
) -> int:
    """Compare caption sets and sampling policies by what a small model learns from them."""
    from recaption.probe import command
    from recaption.probe.settings import Training

    given = {"seen": seen, "batch": batch, "context": context}
    options = command.Options(
        training=Training(**{name: value for name, value in given.items() if value is not None}),
        seeds=seeds,
        images=images,
        processes=processes or command.cores(),
        folder=folder,
        as_json=as_json,
    )
    console, progress = Console(highlight=False), Console(stderr=True, highlight=False)
    if outs == ["demo"]:
        return command.demo(options, console, progress)
    compared = command.Compared(
        queries=queries or (), query_images=query_images, policies=policies or (), encoder=encoder, text=text
    )
    return command.outputs(outs, compared, options, console, progress)
