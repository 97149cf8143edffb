"""The manifest's entry of one shard: its files, and the counts of its images, captions and generations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from recaption.types import CaptionFailure, Status
from recaption.write.columns import Columns

NAMED = 100  # failures that an entry lists


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationCounts:
    """Counts of one generation in a shard. Complete when asked = answered + rejected.

    They count requests: images for captions, units for other tasks. `skipped` are images without an answer that the
    generation reads; `unanswered` are units of the build without a stored answer, for example because their
    caption is split differently now. Neither is in `asked`.
    """

    asked: int = 0
    answered: int = 0
    rejected: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)  # of the rejected
    cleaned: int = 0  # answered captions from which a rule removed something
    rules: Mapping[str, int] = field(default_factory=dict)  # rule -> captions that it changed
    skipped: int = 0
    unanswered: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)  # of the task: `Rows.counts`

    def __add__(self, other: GenerationCounts) -> GenerationCounts:
        return GenerationCounts(
            asked=self.asked + other.asked,
            answered=self.answered + other.answered,
            rejected=self.rejected + other.rejected,
            reasons=_sums(self.reasons, other.reasons),
            cleaned=self.cleaned + other.cleaned,
            rules=_sums(self.rules, other.rules),
            skipped=self.skipped + other.skipped,
            unanswered=self.unanswered + other.unanswered,
            counts=_sums(self.counts, other.counts),
        )

    def to_json(self) -> dict[str, Any]:
        """The fields of the manifest. `skipped`, `unanswered` and `counts` are left out where there are none."""
        optional = ("skipped", "unanswered", "counts")
        fields = {name: n for name, n in asdict(self).items() if n or name not in optional}
        names = {"reasons": "rejects", "rules": "cleaned_by"}
        return {names.get(name, name): value for name, value in fields.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GenerationCounts:
        """Read from a manifest; counts that it does not have are 0."""
        counts = {name: data[name] for name in ("asked", "answered", "rejected")}
        counts |= {name: data.get(name, 0) for name in ("cleaned", "skipped", "unanswered")}
        return cls(**counts, reasons=data["rejects"], rules=data.get("cleaned_by", {}), counts=data.get("counts", {}))


def _sums(one: Mapping[str, int], other: Mapping[str, int]) -> Mapping[str, int]:
    if not other:
        return one
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """One file of a shard. `split` is None if the file holds all splits."""

    path: str  # relative to the build
    table: str  # data | tar_index | tokens | embeddings | a flat table | a table of a task | a custom table
    split: str | None
    rows: int  # of a table; samples of a tar, or of its tokens; embeddings
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardEntry:
    """A written shard.

    `counts` has images, the statuses, captions, sub_captions, tags, words and unparsed (captions on
    which a rule failed, since 1.3). `table_failures` counts by table the captions that have no rows,
    `token_failures` by tokenizer of `output.token_ids` the captions that have a text without ids. `failures` lists the
    first failures of all three kinds for the log and is not in the manifest. `splits` counts usable images (ok +
    partial). `distinct_texts` maps numbers of distinct texts to numbers of images. `composable` has for each tokenizer
    of `output.token_ids` whether ids of joined texts are those of the parts.
    """

    name: str
    files: tuple[FileEntry, ...]
    counts: Mapping[str, int]
    splits: Mapping[str, int]
    rejects: Mapping[str, int] = field(default_factory=dict)
    generations: Mapping[str, GenerationCounts] = field(default_factory=dict)
    distinct_texts: Mapping[int, int] = field(default_factory=dict)
    composable: Mapping[str, bool] = field(default_factory=dict)
    turned: int = 0  # usable images whose EXIF orientation was applied
    table_failures: Mapping[str, int] = field(default_factory=dict)
    token_failures: Mapping[str, int] = field(default_factory=dict)
    failures: tuple[CaptionFailure, ...] = ()
    inputs: str = ""  # identity of the shard's inputs; a shard with equal inputs is not built again

    @property
    def samples(self) -> int:
        """Usable images."""
        return self.counts["ok"] + self.counts["partial"]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """The entry in the manifest."""
        return {
            "name": self.name,
            "files": [asdict(file) for file in self.files],
            "counts": dict(self.counts),
            "splits": dict(self.splits),
            "rejects": dict(self.rejects),
            "generations": {name: asked.to_json() for name, asked in self.generations.items()},
            "distinct_texts": {str(n): images for n, images in self.distinct_texts.items()},
            **({"composable": dict(self.composable)} if self.composable else {}),
            **({"turned": self.turned} if self.turned else {}),
            **({"table_failures": dict(self.table_failures)} if self.table_failures else {}),
            **({"token_failures": dict(self.token_failures)} if self.token_failures else {}),
            "inputs": self.inputs,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ShardEntry:
        """The entry in a manifest."""
        return cls(
            name=data["name"],
            files=tuple(FileEntry(**file) for file in data["files"]),
            counts=data["counts"],
            splits=data["splits"],
            rejects=data["rejects"],
            generations={name: GenerationCounts.from_json(counts) for name, counts in data["generations"].items()},
            distinct_texts={int(n): images for n, images in data["distinct_texts"].items()},
            composable=data.get("composable", {}),
            turned=data.get("turned", 0),
            table_failures=data.get("table_failures", {}),
            token_failures=data.get("token_failures", {}),
            failures=tuple(CaptionFailure(**failure) for failure in data.get("failures", ())),
            inputs=data["inputs"],
        )


def tally(
    name: str,
    columns: Columns,
    files: Iterable[FileEntry],
    generations: Mapping[str, GenerationCounts],
    failures: Iterable[CaptionFailure] = (),
) -> ShardEntry:
    """Count a written shard: `columns` has its records, `failures` the failures of their annotation."""
    records = columns.records
    statuses = Counter(record.status for record in records)
    usable = [record for record in records if record.status in ("ok", "partial")]
    splits = Counter(record.split for record in usable)
    reasons = Counter(str(r.reason) for r in records if r.status in ("reject", "excluded"))
    texts = zip(records, columns.distinct_texts, strict=True)
    written = {record.key for record in usable}  # an image may be rejected after its annotation
    failed = [failure for failure in failures if failure.caption_id.partition("/")[0] in written]
    lost = Counter(failure.table for failure in failed if failure.table is not None)
    without_ids = Counter(failure.tokenizer for failure in failed if failure.tokenizer is not None)
    histogram = Counter(n for record, n in texts if record.status in ("ok", "partial"))
    return ShardEntry(
        name=name,
        files=tuple(files),
        counts={
            "images": len(records),
            **{status: statuses[status] for status in get_args(Status)},
            "captions": len(columns.captions_of),
            "sub_captions": len(columns.subs),
            "tags": sum(tag.kind == "object" for tag in columns.tags_of),
            "words": sum(columns.words),
            "unparsed": sum(sub.is_unparsed is True for sub in columns.subs),
        },
        splits={"train": splits["train"], "val": splits["val"]},
        rejects=dict(sorted(reasons.items())),
        generations=generations,
        distinct_texts=dict(sorted(histogram.items())),
        turned=sum(record.orientation is not None for record in usable),
        table_failures=dict(sorted(lost.items())),
        token_failures=dict(sorted(without_ids.items())),
        failures=tuple(failed[:NAMED]),
    )
