"""The flat tables: values of columns, order, counts and rejects of one shard; keys and splits of all shards."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.compute as pc

from recaption.formatting import number_of
from recaption.problems import Problem
from recaption.schema import FLAT
from recaption.types import Status
from recaption.validate.base import USABLE, Shard, problem
from recaption.validate.manifest import json_schema
from recaption.write.described import generations_of


def check_values(shard: Shard) -> Iterator[Problem]:
    """The first invalid value of each column of every flat table, and the number of further ones."""
    for name, table in shard.tables.items():
        rules_of = json_schema(f"{name}.schema.json")["properties"] if name in FLAT else {}
        for column, rules in rules_of.items():
            if column in table.column_names:
                yield from _check(table, column, rules, shard.path(name))
        for column in table.column_names:
            if column.startswith("n_tokens_"):
                yield from _check(table, column, {"minimum": 2}, shard.path(name))


def _check(table: pa.Table, column: str, rules: dict[str, Any], path: str) -> Iterator[Problem]:
    values = table[column]
    bad = []
    if "enum" in rules:
        allowed = pa.array([v for v in rules["enum"] if v is not None], pa.string())
        bad.append(pc.invert(pc.is_in(values, allowed)))
    if "pattern" in rules:
        bad.append(pc.invert(pc.match_substring_regex(values, rules["pattern"])))
    if "minimum" in rules:
        bad.append(pc.less(values, rules["minimum"]))
    if "maximum" in rules:
        bad.append(pc.or_(pc.greater(values, rules["maximum"]), pc.is_nan(values)))
    for wrong in bad:
        rows = pc.indices_nonzero(pc.and_(pc.fill_null(wrong, False), pc.is_valid(values)))
        if len(rows):
            row = rows[0].as_py()
            what = f"column {column} has the invalid value {values[row].as_py()!r}"
            more = f", and invalid in {number_of(len(rows) - 1, 'more row')}" if len(rows) > 1 else ""
            yield problem("value", f"{path}, row {row}", what + more)


def check_order(shard: Shard) -> Iterator[Problem]:
    """images are in source order, the other tables sorted by key; every row has this shard's name."""
    rows = shard.column("images", "row")
    if any(a >= b for a, b in pairwise(rows)):
        yield problem("order", shard.path("images"), "the column row is not strictly ascending")
    for table in shard.tables:
        if table not in ("images", "rejects"):
            keys = shard.column(table, "key")
            if any(a > b for a, b in pairwise(keys)):
                yield problem("order", shard.path(table), "is not sorted by key")
    if set(shard.column("images", "shard")) - {shard.name}:
        yield problem("status", shard.path("images"), f"has images of another shard than {shard.name}")


def check_statuses(shard: Shard) -> Iterator[Problem]:
    """Compare the status of each image with its captions, and the counts in its row."""
    generations = {generation["id"] for generation in shard.manifest["generations"]}
    # Tasks other than caption may have answers for some images only: without them, an image can be ok or partial.
    optional = {g["id"] for g in shard.manifest["generations"] if "task" in g or "over" in g}
    tasks = {generation["id"] for generation in shard.manifest.get("tasks", ())}
    required = set(shard.manifest["require"]) - tasks
    have: dict[str, set[str]] = defaultdict(set)
    captions, subs = Counter(shard.column("captions", "key")), Counter(shard.column("sub_captions", "key"))
    for key, generation in shard.columns("captions", "key", "generation"):
        have[key].add(generation)
    texts = _distinct_texts(shard)
    names = ("key", "status", "reason", "n_captions", "n_sub_captions", "n_texts")
    for key, status, reason, *numbers in shard.columns("images", *names):
        where = f"{shard.path('images')}, {key}"
        missing = generations - have[key]
        if status in USABLE and (required - have[key] or not have[key]):
            yield problem("status", where, f"is {status}, but has no {', '.join(required - have[key]) or 'captions'}")
        elif status not in USABLE and have[key]:
            yield problem("status", where, f"is {status}, but has captions of {', '.join(sorted(have[key]))}")
        elif (status == "ok" and missing - optional) or (status == "partial" and not missing):
            yield problem("status", where, f"is {status}; answers missing: {', '.join(sorted(missing)) or 'none'}")
        elif (
            (status == "ok" and reason)
            or (status not in USABLE and not reason)
            or (status == "excluded") != (reason == "decontaminated")
        ):
            yield problem("status", where, f"is {status}, with reason {reason}")
        counted = [captions[key], subs[key], len(texts[key])]
        if numbers != counted:
            yield problem("count", where, f"n_captions, n_sub_captions, n_texts are {numbers}, counted {counted}")


def check_counts(shard: Shard) -> Iterator[Problem]:
    """The counts of the shard's entry in the manifest."""
    statuses = Counter(shard.column("images", "status"))
    usable = [split for split, status in shard.columns("images", "split", "status") if status in USABLE]
    reasons = Counter(r for r, status in shard.columns("images", "reason", "status") if status not in USABLE)
    texts = _distinct_texts(shard)
    counted: dict[str, dict[str, Any]] = {
        "counts": {
            "images": shard.tables["images"].num_rows,
            **{status: statuses[status] for status in get_args(Status)},
            "captions": shard.tables["captions"].num_rows,
            "sub_captions": shard.tables["sub_captions"].num_rows,
            "tags": Counter(shard.column("tags", "kind"))["object"],
            "words": sum(shard.column("captions", "n_words")),
        },
        "splits": {split: usable.count(split) for split in ("train", "val")},
        "rejects": {str(reason): n for reason, n in reasons.items()},
        "distinct_texts": {str(n): images for n, images in Counter(len(texts[k]) for k in shard.usable).items()},
    }
    turned = sum(orientation is not None for orientation in _turns(shard))
    if shard.entry.get("turned", 0) != turned:
        what = f"turned is {shard.entry.get('turned', 0)}, counted {turned}"
        yield problem("count", f"manifest.json, shard {shard.name}", what)
    for field, expected in counted.items():
        recorded = shard.entry[field]
        for name in sorted({*recorded, *expected}):
            if recorded.get(name, 0) != expected.get(name, 0):
                what = f"{field}.{name} is {recorded.get(name, 0)}, counted {expected.get(name, 0)}"
                yield problem("count", f"manifest.json, shard {shard.name}", what)


def _turns(shard: Shard) -> Iterator[int | None]:
    """The orientations of the usable images; the column exists since 1.3."""
    if "orientation" not in shard.tables["images"].column_names:
        return iter(())
    pairs = shard.columns("images", "orientation", "status")
    return (orientation for orientation, status in pairs if status in USABLE)


def check_rejects(shard: Shard) -> Iterator[Problem]:
    """Every unusable image has a reject, and the sums of each generation are those of the table."""
    images = {key: (status, reason) for key, status, reason in shard.columns("images", "key", "status", "reason")}
    by_key: dict[str, set[str]] = defaultdict(set)
    by_generation: dict[str, Counter[str]] = defaultdict(Counter)
    not_requested: set[str] = set()
    path = shard.path("rejects")
    for key, stage, generation, reason in shard.columns("rejects", "key", "stage", "generation", "reason"):
        by_key[key].add(reason)
        if key not in images:
            yield problem("reject", f"{path}, {key}", "its image is not in the shard")
        if generation is not None:
            by_generation[generation][reason] += 1
        elif stage != "build" or reason == "decontaminated":
            not_requested.add(key)
    for key, (status, why) in images.items():
        if status not in USABLE and why not in by_key[key]:
            yield problem(
                "reject", f"{path}, {key}", f"the image is {status} for {why}, but has no reject with this reason"
            )
    answered = Counter(shard.column("captions", "generation"))
    for generation in generations_of(shard.manifest):
        name = generation["id"]
        where = f"manifest.json, shard {shard.name}, generation {name}"
        recorded = shard.entry["generations"].get(name)
        if recorded is None:
            yield problem("count", where, "is not counted")
            continue
        if "task" not in generation and recorded["asked"] != len(images) - len(not_requested):
            yield problem(
                "count",
                where,
                f"asked {recorded['asked']}, but {len(images) - len(not_requested)} images could be requested",
            )
        # Captions of images without a required caption are in no table. An answer of another task may give several.
        if "task" not in generation and recorded["answered"] < answered[name]:
            yield problem(
                "count", where, f"answered {recorded['answered']}, but the table has {answered[name]} captions"
            )
        if not _agree(recorded, by_generation[name], units="task" in generation):
            what = f"rejected {recorded['rejected']} {recorded['rejects']}, counted {dict(by_generation[name])}"
            yield problem("count", where, what)


def _agree(recorded: Mapping[str, Any], counted: Counter[str], *, units: bool) -> bool:
    """Whether the rejects of a generation are those of the table. Equal units of an image share a row there."""
    reasons = recorded["rejects"]
    if recorded["rejected"] != sum(reasons.values()):
        return False
    if units:
        return reasons.keys() == counted.keys() and all(n <= reasons[reason] for reason, n in counted.items())
    return bool(reasons == dict(counted))


def _distinct_texts(shard: Shard) -> dict[str, set[str]]:
    """The distinct texts of each image by key, as in `Record.distinct_texts`."""
    texts: dict[str, set[str]] = defaultdict(set)
    for key, text, dup_of, weight in shard.columns("sub_captions", "key", "text", "dup_of", "weight"):
        if dup_of is None and weight > 0:
            texts[key].add(text)
    for key, text, n in shard.columns("captions", "key", "text", "n_sub_captions"):
        if not n:
            texts[key].add(text)
    return texts


class Keys:
    """Finds duplicate keys across all shards. The keys are in a DuckDB file in `folder`, so that memory is bounded."""

    def __init__(self, folder: Path) -> None:
        import duckdb

        self._db = duckdb.connect(folder / "keys.duckdb", config={"threads": 1, "memory_limit": "1GB"})
        self._db.execute('CREATE TABLE keys (key VARCHAR, shard VARCHAR, "row" BIGINT)')

    def add(self, shard: Shard) -> None:
        """Add the keys of a shard."""
        images = shard.tables["images"].select(["key"])
        self._db.register("images", images)
        self._db.execute("INSERT INTO keys SELECT key, ?, row_number() OVER () - 1 FROM images", [shard.name])
        self._db.unregister("images")

    def problems(self) -> Iterator[Problem]:
        """The locations of keys that occur more than once."""
        repeated = "SELECT key FROM keys GROUP BY key HAVING count(*) > 1"
        places = """shard || '.parquet, row ' || "row" """
        found = self._db.execute(f"SELECT key, {places} FROM keys WHERE key IN ({repeated}) ORDER BY key, rowid")
        for (key, first), (other, again) in pairwise(iter(found.fetchone, None)):
            if key == other:
                yield problem("duplicate key", f"images/{again}", f"has the key of images/{first}")
        self._db.close()


class Splits:
    """Checks that val is a fixed share of all images: every val sha256 is below every train sha256 (first 64 bits).

    See `recaption.write.split_of`. If the manifest has the share (`holdout`), the hashes are compared with it.
    """

    def __init__(self, holdout: float | None) -> None:
        self._holdout = holdout
        self._val: tuple[int, str] = (-1, "")  # the highest hash of val, and its location
        self._train: tuple[int, str] = (1 << 64, "")  # the lowest hash of train

    def add(self, shard: Shard) -> None:
        """Add the images of a shard."""
        for key, sha256, split in shard.columns("images", "key", "sha256", "split"):
            try:
                place = int(sha256[:16], 16), f"{shard.path('images')}, {key}"
            except ValueError:
                continue  # no sha256: check_values reports it
            if split == "val":
                self._val = max(self._val, place)
            else:
                self._train = min(self._train, place)

    def problems(self) -> Iterator[Problem]:
        if self._holdout is not None:
            limit, share = self._holdout * 2.0**64, f"the manifest's holdout of {self._holdout:g}"
            if self._val[0] >= limit:
                yield problem("split", self._val[1], f"is val, though its sha256 is not within {share}")
            if self._train[0] < limit:
                yield problem("split", self._train[1], f"is train, though its sha256 is within {share}")
        elif self._val[0] >= self._train[0]:
            yield problem("split", self._val[1], f"is val, though {self._train[1]}, which is train, has a lower sha256")
