"""What the manifest says about one shard: its files, counts and what came of each generation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from recaption.types import CaptionFailure, Status
from recaption.write.columns import Columns

NAMED = 100  # failures of a shard that its entry names


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What came of one generation in a shard. Complete when asked = answered + rejected."""

    asked: int = 0
    answered: int = 0
    rejected: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    cleaned: int = 0  # of the answered: captions of which a rule removed something
    rules: Mapping[str, int] = field(default_factory=dict)  # rule -> captions that it changed


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """One file of a shard. `split` is None where the file holds all of them."""

    path: str  # relative to the build
    table: str  # data | tar_index | tokens | images | captions | sub_captions | tags | rejects
    split: str | None
    rows: int  # of a table; samples of a tar, or of its tokens
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardEntry:
    """A written shard. `counts` has images, the statuses, captions, sub_captions, tags, words and unparsed (captions on
    which a rule failed, since 1.3); `table_failures` counts, per table of the pipeline's own, captions whose rows are
    missing; `token_failures`, per tokenizer of `output.token_ids`, captions with texts that have no ids; `failures`
    names the first of all three, for the log, and is not in the manifest. `splits` counts
    usable images (ok + partial); `distinct_texts` maps a number of different texts to the images that have so many;
    `composable` says of each tokenizer of `output.token_ids` whether the ids of joined texts are those of the parts."""

    name: str
    files: tuple[FileEntry, ...]
    counts: Mapping[str, int]
    splits: Mapping[str, int]
    rejects: Mapping[str, int] = field(default_factory=dict)
    generations: Mapping[str, Asked] = field(default_factory=dict)
    distinct_texts: Mapping[int, int] = field(default_factory=dict)
    composable: Mapping[str, bool] = field(default_factory=dict)
    turned: int = 0  # usable images whose EXIF orientation was applied
    table_failures: Mapping[str, int] = field(default_factory=dict)
    token_failures: Mapping[str, int] = field(default_factory=dict)
    failures: tuple[CaptionFailure, ...] = ()
    inputs: str = ""  # identity of what the shard was built from; equal inputs need no second build

    @property
    def samples(self) -> int:
        """Usable images."""
        return self.counts["ok"] + self.counts["partial"]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        generations = {
            name: {
                "asked": a.asked,
                "answered": a.answered,
                "rejected": a.rejected,
                "rejects": dict(a.reasons),
                "cleaned": a.cleaned,
                "cleaned_by": dict(a.rules),
            }
            for name, a in self.generations.items()
        }
        return {
            "name": self.name,
            "files": [asdict(file) for file in self.files],
            "counts": dict(self.counts),
            "splits": dict(self.splits),
            "rejects": dict(self.rejects),
            "generations": generations,
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
        generations = {
            name: Asked(
                asked=a["asked"],
                answered=a["answered"],
                rejected=a["rejected"],
                reasons=a["rejects"],
                cleaned=a.get("cleaned", 0),
                rules=a.get("cleaned_by", {}),
            )
            for name, a in data["generations"].items()
        }
        return cls(
            name=data["name"],
            files=tuple(FileEntry(**file) for file in data["files"]),
            counts=data["counts"],
            splits=data["splits"],
            rejects=data["rejects"],
            generations=generations,
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
    generations: Mapping[str, Asked],
    failures: Iterable[CaptionFailure] = (),
) -> ShardEntry:
    """Count what was written: `columns` are those of the shard's records, `failures` those of their annotation."""
    records = columns.records
    statuses = Counter(record.status for record in records)
    usable = [record for record in records if record.status in ("ok", "partial")]
    splits = Counter(record.split for record in usable)
    reasons = Counter(str(r.reason) for r in records if r.status in ("reject", "excluded"))
    texts = zip(records, columns.distinct_texts, strict=True)
    written = {caption.caption_id for caption in columns.captions_of}  # an image may be rejected after its annotation
    failed = [failure for failure in failures if failure.caption_id in written]
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
