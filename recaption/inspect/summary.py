"""The summary of a build, from its manifest; printed at the end of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from recaption.errors import DatasetError, UserError
from recaption.formatting import duration, number_of, printable
from recaption.inspect.connection import open_outputs
from recaption.inspect.paths import OutputPaths, find
from recaption.output import locate

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationSummary:
    """The images of one generation by result; units, if its task makes no captions. Figures: docs/figures.md."""

    generation: str
    asked: int
    answered: int
    rejected: int
    rejects: tuple[tuple[str, int], ...]  # by reason, most frequent first
    cleaned: int = 0  # captions of which something was removed
    cleaned_by: tuple[tuple[str, int], ...] = ()  # by rule, most frequent first
    skipped: int = 0  # images without an answer that the generation reads
    unanswered: int = 0  # units of the build without an answer

    @property
    def sum(self) -> str:
        not_asked = {"images skipped": self.skipped, "units without an answer": self.unanswered}
        more = "".join(f"; {what}: {n:,}" for what, n in not_asked.items() if n)
        if not self.asked and not self.unanswered:  # rules
            return f"{self.generation}: no requests{more}"
        return (
            f"{self.generation}: asked {self.asked:,} = answered {self.answered:,} + rejected {self.rejected:,}{more}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """A build in numbers. images = ok + partial + rejected + excluded; per generation asked = answered + rejected."""

    name: str
    schema_version: str
    build: str
    format: str
    images: int
    ok: int
    partial: int
    rejected: int
    excluded: int
    captions: int  # raw ones included
    sub_captions: int
    tags: int  # those that name an object
    generations: tuple[GenerationSummary, ...]  # in pipeline order
    rejects: tuple[tuple[str, int], ...]  # rejected and excluded images by reason, most frequent first
    top_tags: tuple[tuple[str, int], ...]  # objects: (lemma, mentions), most frequent first, up to three
    captions_of: tuple[tuple[str, int], ...] = ()  # (generation, captions), raw ones first
    tables: tuple[tuple[str, int, str], ...] = ()  # of tasks: name, rows, description

    @property
    def counts(self) -> str:
        """What the build holds, on one line."""
        return (
            f"{number_of(self.images, 'image')} · {number_of(self.captions, 'caption')} · "
            f"{number_of(self.sub_captions, 'sub-caption')} · {number_of(self.tags, 'object')}"
        )

    @property
    def sum(self) -> str:
        return (
            f"images in {self.images:,} = ok {self.ok:,} + partial {self.partial:,} + rejected {self.rejected:,} "
            f"+ excluded {self.excluded:,}"
        )


_COUNTS = ("images", "ok", "partial", "excluded", "captions", "sub_captions", "tags")  # as the manifest names them


def summarise(path: str) -> Summary:
    """Read the manifest of the build at `path` (an output folder or a build).

    Raises UserError when there is no build, DatasetError when its manifest is broken, newer than this version, or its
    sums do not hold.
    """
    output = find(path)
    manifest = read_manifest(output)
    with open_outputs(output) as connection:
        objects = "SELECT lemma, count(*) AS n FROM objects GROUP BY lemma ORDER BY n DESC, lemma LIMIT 3"
        captions = "SELECT generation, count(*) FROM captions GROUP BY generation ORDER BY generation <> 'raw', 1"
        return replace(
            from_manifest(manifest),
            top_tags=tuple(connection.execute(objects).fetchall()),
            captions_of=tuple(connection.execute(captions).fetchall()),
        )


def read_manifest(output: OutputPaths) -> dict[str, Any]:
    """The build's manifest. Raises UserError without a build, DatasetError like `locate.read_manifest`."""
    if output.build is None:
        raise UserError(f"{output.given} has no build yet. Make one with recaption run or recaption build")
    return locate.read_manifest(output.build)


def from_manifest(manifest: dict[str, Any]) -> Summary:
    """The numbers of a manifest (schemas/manifest.schema.json). Raises DatasetError when the sums do not hold."""
    try:
        counts = manifest["counts"]
        summary = Summary(
            **{name: manifest[name] for name in ("name", "schema_version", "build", "format")},
            **{name: counts[name] for name in _COUNTS},
            rejected=counts["reject"],
            generations=tuple(
                GenerationSummary(
                    generation=g["id"],
                    **{name: g[name] for name in ("asked", "answered", "rejected")},
                    rejects=_ranked(g["rejects"]),
                    cleaned=g.get("cleaned", 0),  # not before 1.3
                    cleaned_by=_ranked(g.get("cleaned_by", {})),
                    skipped=g.get("skipped", 0),
                    unanswered=g.get("unanswered", 0),
                )
                for g in [*manifest["generations"], *manifest.get("tasks", ())]
            ),
            rejects=_ranked(manifest["rejects"]),
            top_tags=(),
            tables=tuple((t["name"], _rows(manifest, t["name"]), t["description"]) for t in manifest.get("tables", ())),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"the manifest is broken: {type(error).__name__}: {error}") from error
    if summary.images != summary.ok + summary.partial + summary.rejected + summary.excluded:
        raise DatasetError(f"the manifest's sum does not hold: {summary.sum}")
    for g in summary.generations:
        if g.asked != g.answered + g.rejected:
            raise DatasetError(f"the manifest's sum does not hold: {g.sum}")
    return summary


def print_summary(
    summary: Summary, console: Console, next_steps: Sequence[str], this_run: tuple[int, float] | None = None
) -> None:
    """Print the summary, the sums and the next steps. A step is a command, optionally followed by `  # comment`.

    `this_run`: answers and generation seconds of the run that just ended; the build does not contain them.
    """
    from rich.table import Table
    from rich.text import Text

    build = f" · {printable(summary.format)} build {printable(summary.build)}"
    console.print(Text.assemble((printable(summary.name), "bold"), build))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column()
    grid.add_column(justify="right")
    grid.add_column()
    for name, number, remark in _lines(summary, this_run):
        grid.add_row(Text(name), Text(number, style="bold"), Text(remark, style="dim"))
    console.print(grid)
    console.print()
    for line in (summary.sum, *(g.sum for g in summary.generations)):
        console.print(Text(line))
    if next_steps:
        console.print()
        console.print(Text("next", style="bold"))
    for step in next_steps:
        command, mark, remark = step.partition("  #")
        # One line each, however narrow the terminal: they are meant to be copied.
        console.print(Text.assemble("  ", (command, "cyan"), (mark + remark, "dim")), soft_wrap=True)


def _lines(s: Summary, this_run: tuple[int, float] | None) -> list[tuple[str, str, str]]:
    usable = s.ok + s.partial
    lines = [
        ("images", f"{s.images:,}", f"{usable:,} usable"),
        ("captions", f"{s.captions:,}", listed(s.captions_of)),
        *(
            (f"  cleaned, of {printable(g.generation)}", f"{g.cleaned:,}", listed(g.cleaned_by))
            for g in s.generations
            if g.cleaned
        ),
        ("sub-captions", f"{s.sub_captions:,}", f"{s.sub_captions / usable:.1f} per usable image" if usable else ""),
        ("objects", f"{s.tags:,}", listed(s.top_tags)),
        ("unusable images", f"{s.rejected + s.excluded:,}", listed(s.rejects)),
    ]
    lines += [
        (f"rejected, {printable(g.generation)}", f"{g.rejected:,}", listed(g.rejects))
        for g in s.generations
        if g.rejected
    ]
    if this_run and this_run[0]:
        answers, seconds = this_run
        rate = f"{answers / seconds:,.1f} a second, in {duration(seconds)}" if seconds else ""
        lines.append(("answers of this run", f"{answers:,}", rate))
    return lines


def listed(counts: Sequence[tuple[str, int]]) -> str:
    """`truncated 3 · undecodable 1`, safe to print."""
    return " · ".join(f"{printable(name)} {n:,}" for name, n in counts)


def _rows(manifest: dict[str, Any], table: str) -> int:
    return sum(file["rows"] for shard in manifest["shards"] for file in shard["files"] if file["table"] == table)


def _ranked(counts: dict[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
