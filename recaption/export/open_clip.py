"""open_clip: tars with flat strings in `.json`, drawn from by weight.

Read by mlfoundations/open_clip, src/open_clip_train/data.py: `--json-text-key 'a;b;c'` takes the first field that is a
string and not empty; `--json-text-key-probs` draws their order by weight first (JsonCaptionExtractor). A sample whose
fields are all missing or no strings is trained on with the text "", or dropped, depending on the pipeline.

The tars of a build in format webdataset have these fields already: it needs no export, unless tars of another size or
names of fields are wanted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from recaption.errors import UserError
from recaption.export.base import Exported, Options, described, refuse_fill
from recaption.export.dataset import Dataset
from recaption.export.flair import json_of
from recaption.export.tars import Found, export_tars, few, flags, walk
from recaption.problems import Problem
from recaption.types import Record
from recaption.write.webdataset import flat_name

WRITES: Final = "tars: image, txt, and json with a string for each text; sizes.json; the flags to train with"
READ_BY: Final = "open_clip"
_IDENTITY: Final = frozenset(("key", "sha256", "url", "width", "height"))


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. `map` renames: field of the json -> generation."""
    names = _names(dataset, options)
    missing: Counter[str] = Counter()

    def texts(record: Record) -> dict[str, str]:
        made = record.texts()
        missing.update(name for name, generation in names.items() if generation not in made)
        return {name: made[generation] for name, generation in names.items() if generation in made}

    done = export_tars(dataset, dest, options, texts)
    there = {name: generation for name, generation in names.items() if missing[name] < done.samples}
    weights = suggested(dataset, there)
    probs = " ".join(f"{weights[name]:.3g}" for name in there)
    notes = [
        described(there),
        few(done),
        f"{flags(dest, done)} --json-text-key '{';'.join(there)}' --json-text-key-probs {probs}",
    ]
    if dataset.format == "webdataset" and not dataset.manifest["provenance"].get("profile"):
        notes.append(f"the build's own tars can be trained from in the same way: {dataset.file('data')}")
    return replace(done, notes=tuple(notes))


def suggested(dataset: Dataset, names: Mapping[str, str]) -> dict[str, float]:
    """How often each text is best drawn: raw as the manifest's p_raw says, the others by their sources' weights."""
    advice = dataset.manifest["sampling"]
    weights: Mapping[str, float] = advice.get("weights") or {}
    sources = {g["id"]: f"{g['model']}:{g['prompt'] or g['column']}" for g in dataset.manifest["generations"]}
    others = {n: weights.get(sources[g], 1.0) for n, g in names.items() if g != "raw"}
    p_raw = float(advice["p_raw"]) if "raw" in names.values() else 0.0
    total = sum(others.values())
    if not total:
        return dict.fromkeys(names, 1.0)
    return {n: p_raw if g == "raw" else (1 - p_raw) * others[n] / total for n, g in names.items()}


def _names(dataset: Dataset, options: Options) -> dict[str, str]:
    """Field of the json -> generation: the map, else every generation under its own name, and raw."""
    refuse_fill(options)
    known = ("raw", *dataset.kinds)
    if not options.map:
        return {flat_name(generation): generation for generation in known}
    for name, generation in options.map.items():
        if generation not in known:
            raise UserError(
                f"map {name}={generation}: there is no generation {generation!r}; there are {', '.join(known)}"
            )
        if name in _IDENTITY or ";" in name or not name.strip():
            raise UserError(f"map {name}={generation}: a field cannot be named {name!r}; choose another name")
    return dict(options.map)


def validate(path: str, *, loaders: int | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`."""
    for found in walk(path, loaders=loaders):
        if isinstance(found, Problem):
            yield found
        else:
            yield from _sample_problems(found)


def _sample_problems(found: Found) -> Iterator[Problem]:
    if not found.has_image or not {"json", "txt"}.intersection(found.suffixes):
        yield Problem(
            where=found.where,
            what=f"the sample has {', '.join(found.suffixes)}; it needs txt or json, and one of jpg, png, jpeg, webp",
            advice="open_clip drops such samples without a word; write the members side by side, and no dot in a key",
            kind="incomplete sample",
        )
        return
    body = json_of(found)
    if "json" in found.suffixes and body is None:
        yield Problem(
            where=found.where,
            what="its json cannot be read as a JSON object",
            advice="Write it again as UTF-8 JSON; open_clip takes its text for empty",
            kind="broken json",
        )
    text = found.texts.get("txt", b"")
    try:
        text.decode()
    except UnicodeDecodeError:
        yield Problem(
            where=found.where,
            what="its txt is not UTF-8",
            advice="Write it again as UTF-8; decoding it ends the training",
            kind="txt is not UTF-8",
        )
    if "txt" in found.suffixes and not text.strip():
        yield Problem(
            where=found.where,
            what="its txt is empty",
            advice="Leave the sample out, or train with --json-text-key",
            kind="empty txt",
        )
    if "txt" not in found.suffixes and body is not None:
        strings = [name for name, value in body.items() if name not in _IDENTITY and isinstance(value, str) and value]
        if not strings:
            yield Problem(
                where=found.where,
                what="neither a txt nor a field of the json has a text",
                advice="Write texts as strings: --json-text-key takes no lists and no nested fields",
                kind="no text",
            )
