"""Writes a report on an output: one self-contained HTML file, or one with a folder of pictures beside it."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import recaption
from recaption.errors import DatasetError, UserError
from recaption.inspect.connection import open_outputs
from recaption.inspect.images import IN_THE_PAGE, Pictures
from recaption.inspect.paths import OutputPaths, find
from recaption.inspect.report import balance, gallery, probed, prompts, provenance, statistics, support
from recaption.inspect.report.images_folder import ImagesFolder
from recaption.inspect.report.page import Report, render
from recaption.inspect.statistics import run_progress
from recaption.inspect.stoppable import closing
from recaption.inspect.summary import from_manifest, read_manifest
from recaption.inspect.writers import atomic_file
from recaption.output.paths import REPORT

SAMPLES = 60
LARGE = 1536  # pixels of the longer side of a picture that is a file of its own


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A report on disk. `images` is the folder of its pictures, if it has one.

    `without_thumbnail` counts the samples whose image is missing or cannot be decoded.
    """

    path: Path
    size: int  # bytes, with those of `images`
    samples: int
    without_thumbnail: int
    built: bool  # False for a run without a build
    images: Path | None = None


def write_report(
    path: str,
    file: Path | None = None,
    *,
    samples: int = SAMPLES,
    title: str | None = None,
    images_folder: bool = False,
) -> Written:
    """Write the report on the output, build or run at `path` to `file`, by default `OUT/report.html`.

    For a build that was copied from its output, or is in a store, the default is `report.html` in the current folder,
    because builds never change. Equal outputs give equal samples. With `images_folder` the pictures are files in the
    folder `report-images` beside the page, and the enlarged ones have more pixels. Raises UserError and DatasetError as
    `connect` does, UserError if the file cannot be written, StoreError if the disk is full.
    """
    output = find(path)
    target = file or ((output.out and output.out.local("")) or Path.cwd()) / REPORT
    _check(target)
    folder = ImagesFolder.beside(target) if images_folder else None
    pictures = Pictures(large=LARGE, put=folder.put) if folder else IN_THE_PAGE
    with folder.removed_on_failure() if folder else nullcontext():
        made = replace(
            gather(output, samples=samples, title=title, pictures=pictures), images=folder.path.name if folder else None
        )
        html = render(made).encode("utf-8")
        with atomic_file(target) as sink:
            sink.write(html)
    if folder:
        folder.remove_others()
    return Written(
        path=target,
        size=len(html) + (folder.size if folder else 0),
        images=folder.path if folder else None,
        samples=len(made.samples),
        without_thumbnail=sum(sample.thumbnail.url is None for sample in made.samples),
        built=output.build is not None,
    )


def gather(
    output: OutputPaths, *, samples: int = SAMPLES, title: str | None = None, pictures: Pictures = IN_THE_PAGE
) -> Report:
    """The content of a report. Raises DatasetError if files of the output cannot be read."""
    import duckdb

    try:
        return _gathered(output, samples, title, pictures)
    except duckdb.Error as error:
        again = "" if output.build else ". If a run is writing to it, try again"
        raise DatasetError(f"cannot read {output.given}: {error}{again}") from error


def _gathered(output: OutputPaths, samples: int, title: str | None, pictures: Pictures) -> Report:
    with closing(open_outputs(output)) as connection:
        if output.build is None:
            summary = found = verified = generations = None
            progress = run_progress(connection, output)
            sources = provenance.of_pipeline(output)
            shown = gallery.of_run(connection, output, samples, pictures)
            name = output.name
        else:
            manifest = read_manifest(output)
            summary, progress = from_manifest(manifest), None
            found = statistics.gather(connection)
            verified = support.gather(connection, output, manifest)
            generations = prompts.section(connection)
            sources = provenance.of_manifest(manifest)
            pairs = [(one.generation, one.fingerprint) for one in sources]
            shown = gallery.of_build(connection, output, summary.format, pairs, samples, pictures)
            name = summary.name
        rates = provenance.read_rates(connection, output)
    return Report(
        title=title or name,
        made=datetime.now(UTC),
        version=recaption.__version__,
        summary=summary,
        statistics=found,
        support=verified,
        generations=generations,
        balance=balance.section(output, summary.build) if summary else None,
        probe=probed.read(output),
        progress=progress,
        sources=sources,
        runs=provenance.read_runs(output),
        rates=rates,
        samples=shown,
    )


def _check(target: Path) -> None:
    """Called before the content is gathered. Raises UserError if the file cannot be written."""
    if target.is_dir():
        raise UserError(f"cannot write the report to {target}: it is a folder. Give a file: -o {target}/report.html")
    if not target.parent.is_dir():
        raise UserError(f"cannot write the report to {target}: there is no folder {target.parent}")
    if not os.access(target.parent, os.W_OK):
        raise UserError(f"cannot write the report to {target}: you cannot write in {target.parent}. Give -o FILE")
