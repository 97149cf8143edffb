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
    query_images: Annotated[Path | None, typer.Option(metavar="DIR", help="Images of karpathy:PATH and so on")] = None,
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
    objective: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Train both towers from scratch, for a GPU, with siglip, clip, flair or dreamlip; without --encoder "
            "and --text",
        ),
    ] = None,
    side: Annotated[
        int | None,
        typer.Option(
            parser=positive, metavar="PX", help="With --objective: side of the images in pixels. Default: 160"
        ),
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option(parser=positive, metavar="N", help="With --objective: layers of the vision tower. Default: 12"),
    ] = None,
    images: Annotated[int, typer.Option(parser=positive, metavar="N", help="At most N images to train on")] = 50_000,
    seen: Annotated[
        int | None,
        typer.Option(
            parser=positive, metavar="N", help="Images seen by each run. Default: 32768; with --objective 12800000"
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(parser=positive, metavar="N", help="Images in a batch. Default: 64; with --objective 1024"),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            parser=positive, metavar="N", help="Words of a text that are read. Default: 32; with --objective 77"
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(
            parser=positive, metavar="N", help="Dimensions of the shared space. Default: 128; with --objective 384"
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(parser=positive, metavar="N", help="Runs of each arm; a verdict needs 5")] = 5,
    processes: Annotated[
        int | None, typer.Option(parser=positive, metavar="N", help="Runs at the same time. Default: one per core")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="For probe.json and runs.parquet. Default: OUT/probe")
    ] = None,
    exported: Annotated[
        Path | None,
        typer.Option(
            "--export-arms", metavar="DIR", help="Train nothing; write images, texts and commands for another trainer"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print probe.json")] = False,
) -> int:
    """Compare caption sets and sampling policies by what a small model learns from them."""
    from recaption.errors import UserError
    from recaption.probe import command
    from recaption.probe.scratch import DEFAULTS, Scratch
    from recaption.probe.settings import Training

    if objective and (encoder != "scene" or text != "trained"):
        raise UserError("--objective trains both towers from scratch; leave out --encoder and --text")
    sizes = {name: value for name, value in (("side", side), ("layers", layers)) if value is not None}
    if sizes and not objective:
        options_given = ", ".join(f"--{name}" for name in sizes)
        raise UserError(f"{options_given}: for --objective only. Add --objective NAME, or leave {options_given} out")
    scratch = Scratch(objective=objective, **sizes) if objective else None
    given = {"seen": seen, "batch": batch, "context": context, "width": width}
    defaults = DEFAULTS if scratch else {}
    options = command.Options(
        training=Training(**{**defaults, **{name: value for name, value in given.items() if value is not None}}),
        seeds=seeds,
        images=images,
        processes=processes or (1 if objective else command.cores()),
        scratch=scratch,
        folder=folder,
        as_json=as_json,
    )
    console, progress = Console(highlight=False), Console(stderr=True, highlight=False)
    if outs == ["demo"]:
        of_outputs: dict[str, object] = {"--queries": queries, "--query-images": query_images, "--policy": policies}
        of_outputs |= {"--export-arms": exported}
        of_outputs |= {"--encoder": encoder != "scene", "--text": text != "trained"}
        if given_ones := [name for name, value in of_outputs.items() if value]:
            raise UserError(f"demo uses its own captions, queries and encoders; leave out {', '.join(given_ones)}")
        return command.demo(options, console, progress)
    compared = command.Compared(
        queries=queries or (), query_images=query_images, policies=policies or (), encoder=encoder, text=text
    )
    if exported:
        return command.export_arms(outs, compared, options, exported, progress)
    return command.outputs(outs, compared, options, console, progress)
