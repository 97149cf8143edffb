"""Images and rejects of one shard: what became of every image, and that the manifest counts what is there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, get_args

from recaption.problems import Problem
from recaption.types import Status
from recaption.validate.kinds import problem
from recaption.validate.shard import USABLE, Shard


def check_order(shard: Shard) -> Iterator[Problem]:
    """images in the source's order, the others sorted by key; every row names this shard."""
    rows = shard.column("images", "row")
    if any(a >= b for a, b in pairwise(rows)):
        yield problem("order", shard.path("images"), "row does not ascend")
    for table in shard.tables:
        if table not in ("images", "rejects"):
            keys = shard.column(table, "key")
            if any(a > b for a, b in pairwise(keys)):
                yield problem("order", shard.path(table), "is not sorted by key, as its readers are told")
    if set(shard.column("images", "shard")) - {shard.name}:
        yield problem("status", shard.path("images"), f"has images that name another shard than {shard.name}")


def check_statuses(shard: Shard) -> Iterator[Problem]:
    """status against the captions that are there, and the numbers that an image's row has."""
    generations = {generation["id"] for generation in shard.manifest["generations"]}
    required = set(shard.manifest["require"])
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
        elif status in USABLE and (status == "partial") != bool(missing):
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
    """The shard's entry in the manifest, counted again."""
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
        said = shard.entry[field]
        for name in sorted({*said, *expected}):
            if said.get(name, 0) != expected.get(name, 0):
                what = f"{field}.{name} is {said.get(name, 0)}, counted {expected.get(name, 0)}"
                yield problem("count", f"manifest.json, shard {shard.name}", what)


def _turns(shard: Shard) -> Iterator[int | None]:
    """The orientations of the usable images; before 1.3 there was no such column."""
    if "orientation" not in shard.tables["images"].column_names:
        return iter(())
    pairs = shard.columns("images", "orientation", "status")
    return (orientation for orientation, status in pairs if status in USABLE)


def check_rejects(shard: Shard) -> Iterator[Problem]:
    """Every image that cannot be used has its reject, and the sums of each generation are those of the table."""
    images = {key: (status, reason) for key, status, reason in shard.columns("images", "key", "status", "reason")}
    by_key: dict[str, set[str]] = defaultdict(set)
    by_generation: dict[str, Counter[str]] = defaultdict(Counter)
    not_asked: set[str] = set()
    path = shard.path("rejects")
    for key, stage, generation, reason in shard.columns("rejects", "key", "stage", "generation", "reason"):
        by_key[key].add(reason)
        if key not in images:
            yield problem("reject", f"{path}, {key}", "is of an image that the shard does not have")
        if generation is not None:
            by_generation[generation][reason] += 1
        elif stage != "build" or reason == "decontaminated":
            not_asked.add(key)
    for key, (status, why) in images.items():
        if status not in USABLE and why not in by_key[key]:
            yield problem("reject", f"{path}, {key}", f"the image is {status} for {why}, of which there is no reject")
    answered = Counter(shard.column("captions", "generation"))
    for generation in shard.manifest["generations"]:
        name = generation["id"]
        where = f"manifest.json, shard {shard.name}, generation {name}"
        said = shard.entry["generations"].get(name)
        if said is None:
            yield problem("count", where, "is not counted")
            continue
        if said["asked"] != len(images) - len(not_asked):
            yield problem("count", where, f"asked {said['asked']}, but {len(images) - len(not_asked)} could be asked")
        if said["answered"] < answered[name]:  # answers of images that lack another, required one are in no table
            yield problem("count", where, f"answered {said['answered']}, but {answered[name]} captions are there")
        if said["rejects"] != dict(by_generation[name]) or said["rejected"] != by_generation[name].total():
            what = f"rejected {said['rejected']} {said['rejects']}, counted {dict(by_generation[name])}"
            yield problem("count", where, what)


def _distinct_texts(shard: Shard) -> dict[str, set[str]]:
    """By key, as `Record.distinct_texts` has it."""
    texts: dict[str, set[str]] = defaultdict(set)
    for key, text, dup_of, weight in shard.columns("sub_captions", "key", "text", "dup_of", "weight"):
        if dup_of is None and weight > 0:
            texts[key].add(text)
    for key, text, n in shard.columns("captions", "key", "text", "n_sub_captions"):
        if not n:
            texts[key].add(text)
    return texts
