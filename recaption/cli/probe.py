"""The command probe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from recaption.cli.options import positive

# Parameters without effect: in the demo, and where nothing is trained.
_OF_DEMO: Final = ("queries", "query_images", "policies", "encoder", "text", "images", "exported")
_OF_TRAINING: Final = (
    *("encoder", "text", "objective", "side", "layers", "words", "width", "processes", "folder", "as_json"),
)


def probe(
    context: typer.Context,
    outs: Annotated[
        list[str],
        typer.Argument(metavar="OUT...", help="Outputs of the same images; or demo: a check of the probe on scenes"),
    ],
    queries: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Texts about known images that are not from the compared captions: Parquet with image (key or "
            "sha256) or file, text, optionally wrong and slice; or karpathy:, urban1k:, docci:, sugarcrepe: or "
            "scenes:PATH. Repeatable",
        ),
    ] = None,
    query_images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with the images of named queries such as karpathy:PATH")
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
    objective: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Train both towers from scratch, for a GPU, with siglip, clip, flair, dreamlip or sparc; without "
            "--encoder and --text",
        ),
    ] = None,
    side: Annotated[
        int, typer.Option(parser=positive, metavar="PX", help="With --objective: side of the images in pixels")
    ] = 160,
    layers: Annotated[
        int, typer.Option(parser=positive, metavar="N", help="With --objective: layers of the vision tower")
    ] = 12,
    images: Annotated[int, typer.Option(parser=positive, metavar="N", help="At most N images to train on")] = 50_000,
    seen: Annotated[
        int | None,
        typer.Option(
            parser=positive,
            metavar="N",
            help="Images seen by each run. Default: 32768; with --objective or --export-arms 12800000",
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            parser=positive,
            metavar="N",
            help="Images in a batch. Default: 64; with --objective or --export-arms 1024",
        ),
    ] = None,
    words: Annotated[
        int | None,
        typer.Option(
            "--context",
            parser=positive,
            metavar="N",
            help="Words of a text that are read. Default: 32; with --objective 77",
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
    from recaption.probe import adaptors, command
    from recaption.probe.scratch import DEFAULTS, Scratch
    from recaption.probe.settings import Training
    from recaption.probe.workers import TRAINED

    of_demo = outs == ["demo"]
    if of_demo:
        _refuse(context, _OF_DEMO, "with demo, which has its own images, captions, queries and encoder")
    if exported:
        _refuse(context, _OF_TRAINING, "with --export-arms, which trains nothing")
    if objective:
        _refuse(context, ("encoder", "text"), "with --objective, which trains both towers from scratch")
    else:
        _refuse(context, ("side", "layers"), "without --objective")
    if text != TRAINED:
        _refuse(context, ("words",), "with --text, whose encoder reads as many words as it can")
    if not any(map(adaptors.has_images, queries or ())):
        _refuse(context, ("query_images",), "without --queries NAME:PATH, such as karpathy:dataset_coco.json")
    scratch = Scratch(objective=objective, side=side, layers=layers) if objective else None
    given = {"seen": seen, "batch": batch, "context": words, "width": width}
    defaults = DEFAULTS if scratch or exported else {}
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
    if of_demo:
        return command.demo(options, console, progress)
    compared = command.Compared(
        queries=queries or (), query_images=query_images, policies=policies or (), encoder=encoder, text=text
    )
    if exported:
        return command.export_arms(outs, compared, options, exported, progress)
    return command.outputs(outs, compared, options, console, progress)


def _refuse(context: typer.Context, names: Sequence[str], when: str) -> None:
    """Raise UserError if one of these parameters is given: it has no effect."""
    from recaption.errors import UserError

    source: Any = context.get_parameter_source  # its enum is typer's or click's, depending on typer's version
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in names and source(parameter.name).name == "COMMANDLINE"
    ]
    if given:
        have = "has" if len(given) == 1 else "have"
        raise UserError(f"{', '.join(given)} {have} no effect {when}. Leave {'it' if len(given) == 1 else 'them'} out")
