"""FLAIR: tars whose `.json` has the seven sentence lists (`types.FlairList`).

Read by ExplainableML/flair, src/flair/data.py: samples without json or image are dropped silently; `sample_dict` joins
the seven lists to one pool and draws from it, with --caption-sampling-mode diverse_sampling alone: the default of this
option ends the training (NotImplementedError). It handles no errors, so a null or an empty pool ends the run. Seven
strings instead of lists can be joined, too: FLAIR then trains on single characters, without an error. Data made by
img2dataset and preprocess/presplit_captions.py are checked, too.

A build with `output.profile: flair` has these lists in its tars and needs no export.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, get_args

import orjson

from recaption.export.base import Exported, Finding, Options, Usage, described
from recaption.export.dataset import SUB_CAPTIONS, Dataset, Select
from recaption.export.rows import ExportSample
from recaption.export.tars import Found, arguments, export_tars, loading_limit, problems_in
from recaption.formatting import number_of
from recaption.problems import Problem
from recaption.types import Caption, FlairList
from recaption.write.profile import flair_profile

WRITES: Final = "tars with image, txt, and json with seven lists of sentences; sizes.json"
READ_BY: Final = "FLAIR"
PROGRAM: Final = "FLAIR (main since 2025-02-27; before, it had no code for training)"
LISTS: Final[tuple[str, ...]] = get_args(FlairList)
LEAST: Final = 4
"""Sentences of a pool. With fewer, most of the K texts drawn for an image are equal."""


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. `fill` is empty unless set: a list without a generation is []."""
    done = export_lists(dataset, dest, options)
    tars = arguments(dest, done, dataset_type="--train-dataset-type")
    usage = Usage(program=PROGRAM, arguments=f"{tars} --caption-sampling-mode diverse_sampling")
    return replace(done, usage=(usage,))


def export_lists(dataset: Dataset, dest: str, options: Options) -> Exported:
    """Write tars with the seven lists of sentences."""
    profile = flair_profile(dataset.granularities, options.map, options.fill or "empty")

    replaced = 0

    def lists(sample: ExportSample) -> Mapping[str, list[str]]:
        nonlocal replaced
        first: dict[str, Caption] = {}
        for caption in sample.record.captions:
            first.setdefault(caption.generation, caption)
        of_captions: dict[str, list[str]] = {caption.caption_id: [] for caption in first.values()}
        for row in sample.tables[SUB_CAPTIONS]:
            if row["caption_id"] in of_captions:
                of_captions[row["caption_id"]].append(row["text"])
        subs = {generation: of_captions[caption.caption_id] for generation, caption in first.items()}
        made = profile.lists_of(subs, "")
        if any(made.values()):
            return made
        replaced += 1
        return profile.lists_of(subs, sample.record.captions[0].text)

    used = {generation for generation in profile.sources.values() if generation}
    tables = {SUB_CAPTIONS: Select(columns=("caption_id", "text"), generations=used)}
    done = export_tars(dataset, dest, options, lists, tables=tables)
    notes = [described(profile.sources), loading_limit(done)]
    if replaced:
        notes.append(
            f"samples without a sentence in the seven lists: {replaced:,} of {done.samples:,}; raw_caption has their "
            "first caption instead, because an empty pool ends the training"
        )
    return replace(done, notes=tuple(notes))


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`."""
    yield from problems_in(path, sample_findings, loaders=loaders)


def sample_findings(found: Found) -> Iterator[Finding]:
    """The problems of a sample."""
    if not found.has_image or "json" not in found.suffixes:
        what = f"the sample has {', '.join(found.suffixes)}; it needs json and one of jpg, png, jpeg, webp"
        yield what, "FLAIR drops such samples silently; write both members next to each other", "incomplete sample"
    elif (lists := json_of(found)) is None:
        yield "its json is not a JSON object", "Write it as a UTF-8 JSON object", "broken json"
    else:
        yield from _list_findings(lists)


def json_of(found: Found) -> dict[str, Any] | None:
    """The sample's `.json`; None if it is not a JSON object."""
    try:
        made = orjson.loads(found.texts.get("json", b""))
    except orjson.JSONDecodeError:
        return None
    return made if isinstance(made, dict) else None


def _list_findings(body: dict[str, Any]) -> Iterator[Finding]:
    missing = [name for name in LISTS if name not in body]
    if missing:
        advice = "Write all seven lists (KeyError ends the training); a list may be empty: []"
        yield f"its json lacks {', '.join(missing)}", advice, "missing list"
    strings = [name for name in LISTS if isinstance(body.get(name), str)]
    if len(strings) == len(LISTS):
        what = "all seven fields are strings: FLAIR trains on single characters, without an error"
        advice = "Split them into lists: export with recaption, or run FLAIR's preprocess/presplit_captions.py"
        yield what, advice, "strings, not lists"
        return
    wrong = [name for name in LISTS if name in body and not isinstance(body[name], list)]
    if wrong:
        kinds = ", ".join(f"{name} is {'null' if body[name] is None else type(body[name]).__name__}" for name in wrong)
        kind = "null, not a list" if any(body[name] is None for name in wrong) else "mixed, not all lists"
        yield f"not a list: {kinds}", "Write a list of strings, [] without texts (TypeError ends the training)", kind
        return
    pool = [entry for name in LISTS for entry in body.get(name, [])]
    if not all(isinstance(entry, str) for entry in pool):
        yield "a list has an entry that is not a string", "Write strings only", "entry is not a string"
    elif not any(entry.strip() for entry in pool):
        if not missing:
            yield "all seven lists are empty", "Leave the sample out (IndexError ends the training)", "empty pool"
    elif len(pool) < LEAST:
        advice = f"With fewer than {LEAST}, most texts drawn for an image are equal; 8 or more are good"
        yield f"only {number_of(len(pool), 'sentence')} in all lists", advice, "small pool", "warning"
