"""FLAIR: tars whose `.json` has the seven sentence lists (`types.FlairList`), so that no second pass splits them.

Read by ExplainableML/flair, src/flair/data.py: samples without json or image are dropped without a word; `sample_dict`
adds the seven lists to one pool and draws from it, with no handler for errors, so one null or an empty pool ends the
run. Seven strings instead of lists add up as well: it then trains on single characters, without an error. Its own data
is made by img2dataset and preprocess/presplit_captions.py, and is checked here as well as ours.

A build with `output.profile: flair` has these lists in its own tars: it needs no export.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, get_args

import orjson

from recaption.export.base import Exported, Options, described
from recaption.export.dataset import Dataset
from recaption.export.tars import Found, export_tars, few, flags, walk
from recaption.problems import Problem
from recaption.types import FlairList
from recaption.write.profile import flair_profile

WRITES: Final = "tars: image, txt, and json with seven lists of sentences; sizes.json"
READ_BY: Final = "FLAIR"
LISTS: Final[tuple[str, ...]] = get_args(FlairList)
LEAST: Final = 4
"""Sentences in a pool below which most of the K texts that are drawn of an image are the same."""


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. `fill` is empty unless set: lists without a generation are []."""
    profile = flair_profile(dataset.kinds, options.map, options.fill or "empty")
    done = export_tars(dataset, dest, options, lambda record: profile.lists(record.captions), sub_captions=True)
    return replace(done, notes=(described(profile.sources), few(done), flags(dest, done)))


def validate(path: str, *, loaders: int | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`."""
    for found in walk(path, loaders=loaders):
        if isinstance(found, Problem):
            yield found
        else:
            yield from sample_problems(found)


def sample_problems(found: Found) -> Iterator[Problem]:
    """What is wrong with a sample."""
    if not found.has_image or "json" not in found.suffixes:
        yield Problem(
            where=found.where,
            what=f"the sample has {', '.join(found.suffixes)}; it needs json and one of jpg, png, jpeg, webp",
            advice="FLAIR drops such samples without a word; write both members, side by side",
            kind="incomplete sample",
        )
        return
    lists = json_of(found)
    if lists is None:
        yield Problem(
            where=found.where,
            what="its json cannot be read as a JSON object",
            advice="Write it again as UTF-8 JSON",
            kind="broken json",
        )
        return
    yield from _list_problems(found.where, lists)


def json_of(found: Found) -> dict[str, Any] | None:
    """The sample's `.json`; None for anything but a JSON object."""
    try:
        made = orjson.loads(found.texts.get("json", b""))
    except orjson.JSONDecodeError:
        return None
    return made if isinstance(made, dict) else None


def _list_problems(where: str, body: dict[str, Any]) -> Iterator[Problem]:
    missing = [name for name in LISTS if name not in body]
    if missing:
        yield Problem(
            where=where,
            what=f"its json lacks {', '.join(missing)}",
            advice="All seven lists have to be there (KeyError ends the training); a list may be empty: []",
            kind="missing list",
        )
    strings = [name for name in LISTS if isinstance(body.get(name), str)]
    if len(strings) == len(LISTS):
        yield Problem(
            where=where,
            what="all seven fields are strings: FLAIR would train on single characters, without an error",
            advice="Split them to lists: export with recaption, or run FLAIR's preprocess/presplit_captions.py",
            kind="strings, not lists",
        )
        return
    wrong = [name for name in LISTS if name in body and not isinstance(body[name], list)]
    if wrong:
        kinds = ", ".join(f"{name} is {'null' if body[name] is None else type(body[name]).__name__}" for name in wrong)
        yield Problem(
            where=where,
            what=f"not a list: {kinds}",
            advice="Write a list of strings, [] where there is no text (TypeError ends the training)",
            kind="null, not a list" if any(body[name] is None for name in wrong) else "mixed, not all lists",
        )
        return
    pool = [entry for name in LISTS for entry in body.get(name, [])]
    if not all(isinstance(entry, str) for entry in pool):
        yield Problem(
            where=where,
            what="a list has an entry that is no string",
            advice="Write strings only",
            kind="entry is no string",
        )
    elif not any(entry.strip() for entry in pool):
        if not missing:
            yield Problem(
                where=where,
                what="all seven lists are empty",
                advice="Leave the sample out (IndexError ends the training)",
                kind="empty pool",
            )
    elif len(pool) < LEAST:
        yield Problem(
            where=where,
            what=f"only {len(pool)} sentences in all lists",
            advice=f"With fewer than {LEAST} the texts drawn of an image are mostly the same; 8 and more are good",
            kind="small pool",
            severity="warning",
        )
