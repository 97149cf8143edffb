"""Commands that export, check and publish a dataset: export, validate, push."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from recaption.cli.options import FilePreset, format_option, pair, positive
from recaption.errors import UserError
from recaption.formatting import number_of

if TYPE_CHECKING:
    from recaption.export.dataset import Dataset
    from recaption.types import Record


def export(
    out: Annotated[
        str, typer.Argument(metavar="OUT", help="An output with a finished build, or a build: a folder or a URL")
    ],
    destination: Annotated[str, typer.Argument(metavar="DEST", help="A new or empty folder, or a URL")],
    to: Annotated[str, format_option("--to")],
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            parser=pair,
            metavar="NAME=GENERATION",
            help="The generation for a name of the trainer. Repeatable; if given, replaces the whole default map",
        ),
    ] = None,
    split: Annotated[Literal["train", "val", "all"], typer.Option(help="The split to export")] = "train",
    fill: Annotated[
        Literal["empty", "repeat"] | None,
        typer.Option(help="For names without a generation: leave them empty, or repeat a text of the same granularity"),
    ] = None,
    samples_per_shard: Annotated[
        int | None,
        typer.Option(
            parser=positive,
            metavar="N",
            help="Samples per tar or Parquet file. Default: 5000 in tars, as in the build in Parquet",
        ),
    ] = None,
    images: Annotated[
        Literal["none", "jpg", "symlink"] | None,
        typer.Option(
            help="Image files for formats that name them: none, JPEGs, or links to those of a local folder. "
            "Default: jpg for txt, imagefolder and goal, none for others"
        ),
    ] = None,
    captions: Annotated[
        Literal["one", "lines", "tags"],
        typer.Option(
            help="With --to txt: one caption, lines that the dataset's sampling policy draws, or tags (the objects)"
        ),
    ] = "one",
    in_place: Annotated[
        bool,
        typer.Option(
            "--in-place", help="With --to txt: text files beside the images of a local folder, which DEST names"
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="With --in-place: replace text files that have other contents")
    ] = False,
    pipeline_file: Annotated[
        Path | None,
        typer.Option(
            "--pipeline",
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="For a sidecar with images on a host: the pipeline file whose source is read instead of the output's",
        ),
    ] = None,
    preset: FilePreset = None,
) -> int:
    """Write a dataset in the format of a trainer."""
    from recaption.export import load
    from recaption.export.base import Options, all_texts
    from recaption.export.dataset import Dataset
    from recaption.export.show import print_exported, progress

    console = Console()
    exporter = load(to)
    if captions != "one" and to != "txt":
        raise UserError(f"--captions {captions} is for --to txt; leave the option out")
    if in_place and to != "txt":
        raise UserError("--in-place is for --to txt; leave the option out")
    if overwrite and not in_place:
        raise UserError("--overwrite is for --in-place; leave the option out")
    dataset = Dataset.open(out, pipeline_file, preset)
    with progress(console) as report:
        options = Options(
            map={name: generation for name, _, generation in (text.partition("=") for text in mapping or ())},
            split=split,
            fill=fill,
            samples_per_shard=samples_per_shard,
            images=images,
            captions=captions,
            in_place=in_place,
            overwrite=overwrite,
            draw=_drawing(dataset) if captions == "lines" else all_texts,
            progress=report,
        )
        done = exporter.export(dataset, destination, options)
    print_exported(done, destination, console)
    return 0


def _drawing(dataset: Dataset) -> Callable[[Record], list[str]]:
    """A function that draws the texts of a record by the sampling policy of the dataset, always the same ones."""
    import numpy as np

    from recaption.load.policy import from_manifest

    draw = from_manifest(dataset.manifest["sampling"])
    return lambda record: [t.text for t in draw(record, np.random.default_rng(int(record.sha256[:16], 16)), 0)]


def validate(
    path: Annotated[str, typer.Argument(metavar="PATH", help="An output; with --for: any file or folder")],
    name: Annotated[str | None, format_option("--for")] = None,
    pixels: Annotated[
        bool,
        typer.Option("--pixels", help="Without --for: decode every image, instead of reading its header and end only"),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            parser=positive, metavar="N", help="With --for: loader workers per GPU; checks that there are enough tars"
        ),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(parser=positive, metavar="N", help="With --for: GPUs of the training run, on all nodes"),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="With --for: the folder with the images. Default: the folder images in PATH"
        ),
    ] = None,
) -> int:
    """Check an output, or any dataset for a trainer."""
    from recaption.problems import print_problems

    of_trainers = {"--workers": workers, "--gpus": gpus, "--images": images}
    if not name and (given := [option for option, value in of_trainers.items() if value is not None]):
        raise UserError(f"{', '.join(given)}: checked with --for NAME only. Add --for, or leave {', '.join(given)} out")
    if name and pixels:
        raise UserError("--pixels decodes the images of an output, without --for. Leave one of the two out")
    loaders = (workers or 1) * (gpus or 1) if workers or gpus else None
    if name:
        from recaption.export import load
        from recaption.export.base import refuse_missing
        from recaption.export.dataset import refuse_output
        from recaption.export.unfinished import unfinished

        refuse_missing(path, images)
        refuse_output(path, name)
        problems = unfinished(path)
        if (first := next(problems, None)) is not None:
            problems = iter([first])  # all others follow from it
        else:
            problems = load(name).validate(path, loaders=loaders, images=images)
    else:
        from recaption.validate import validate_output

        _refuse_datasets_of_trainers(path)
        problems = validate_output(path, pixels=pixels)
    console = Console(highlight=False)
    counts = print_problems(problems, console)
    if not counts:
        console.print("no problems found")
        return 0
    console.print(", ".join(number_of(n, kind) for kind, n in counts.items()))
    return 1 if counts["error"] else 0


def _refuse_datasets_of_trainers(path: str) -> None:
    """Raises UserError, with the command for them, for files that are neither an output nor a build."""
    from recaption.output.locate import locate
    from recaption.source.paths import is_pattern

    kind = locate(path).kind
    if kind in ("file", "folder") or (kind == "nothing" and is_pattern(path)):
        what = {"file": "it is a file", "folder": "no dataset of recaption is in it"}.get(kind, "it is a pattern")
        raise UserError(
            f"cannot open {path}: {what}. Give an output, its dataset, or a build. To check files for a trainer, such "
            f"as those of an export, name the trainer: recaption validate {shlex.quote(path)} --for NAME"
        )


def push(
    out: Annotated[str, typer.Argument(metavar="OUT", help="An output with a finished build, or a build")],
    repository: Annotated[
        str, typer.Argument(metavar="ORG/NAME", help="A dataset repository. It is created if it does not exist")
    ],
    build: Annotated[
        str | None, typer.Option("--build", metavar="B", help="A build of OUT. Default: the published one")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private")] = False,
) -> int:
    """Upload a build to the Hugging Face Hub, with its card. To continue after an interruption, run it again."""
    from rich.filesize import decimal

    from recaption.push import push as upload

    done = upload(out, repository, build=build, private=private)
    removed = f"; {number_of(done.removed, 'file')} of earlier builds removed" if done.removed else ""
    print(f"{number_of(done.files, 'file')} ({decimal(done.size)}) → {done.url}{removed}")
    return 0
