"""open_clip: tars with a text in `.txt`, and flat strings in `.json`, which are drawn by weight.

Read by mlfoundations/open_clip, src/open_clip_train/data.py: `--json-text-key 'a;b;c'` uses the first field that is a
non-empty string; `--json-text-key-probs` first draws their order by weight (JsonCaptionExtractor). A sample without any
of these strings is trained with the text "" or dropped, depending on the pipeline. These two options are on main since
2026-06; the releases up to 3.3.0 read `.txt` only.

The tars of a build in format webdataset have these fields already. An export is only needed for another tar size or
other field names.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from recaption.errors import UserError
from recaption.export.base import Exported, Finding, Options, Usage, described, free_names, of_images
from recaption.export.dataset import Dataset
from recaption.export.formats.flair import json_of
from recaption.export.rows import ExportSample
from recaption.export.tars import Found, arguments, export_tars, loading_limit, problems_in
from recaption.problems import Problem
from recaption.write.webdataset import flat_name

WRITES: Final = "tars with image, txt, and json with one string per text; sizes.json; the flags for training"
READ_BY: Final = "open_clip"
_IDENTITY: Final = frozenset(("key", "sha256", "url", "width", "height"))


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. `map` maps a field of the json to a generation."""
    names = _names(dataset, options)
    missing: Counter[str] = Counter()

    def texts(sample: ExportSample) -> dict[str, str]:
        made = sample.record.texts()
        missing.update(name for name, generation in names.items() if generation not in made)
        return {name: made[generation] for name, generation in names.items() if generation in made}

    done = export_tars(dataset, dest, options, texts)
    present = {name: generation for name, generation in names.items() if missing[name] < done.samples}
    weights = suggested(dataset, present)
    probs = " ".join(f"{weights[name]:.3g}" for name in present)
    notes = [described(present), loading_limit(done)]
    if dataset.format == "webdataset" and not dataset.manifest["provenance"].get("profile"):
        notes.append(f"the build's own tars have the same fields and can be used, too: {dataset.file('data')}")
    tars = arguments(dest, done)
    drawn = f"{tars} --json-text-key {shlex.quote(';'.join(present))} --json-text-key-probs {probs}"
    usage = (
        Usage(program="open_clip (main since 2026-06; draws one of these texts)", arguments=drawn),
        Usage(program="open_clip (3.2, 3.3; reads the primary text in .txt)", arguments=tars),
    )
    return replace(done, notes=tuple(notes), usage=usage)


def suggested(dataset: Dataset, names: Mapping[str, str]) -> dict[str, float]:
    """Suggested probabilities: p_raw of the manifest for raw, the rest by the weights of the sources."""
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
    """The generation of each json field: the map, or else raw and every generation with its own name."""
    names = free_names(dataset, options)
    for name, generation in names.items():
        if name in _IDENTITY or ";" in name or not name.strip():
            raise UserError(f"map {name}={generation}: {name!r} is not allowed as a field's name; choose another")
    return names or {flat_name(generation): generation for generation in ("raw", *of_images(dataset))}


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`."""
    yield from problems_in(path, _sample_findings, loaders=loaders)


def _sample_findings(found: Found) -> Iterator[Finding]:
    if not found.has_image or not {"json", "txt"}.intersection(found.suffixes):
        what = f"the sample has {', '.join(found.suffixes)}; it needs txt or json, and one of jpg, png, jpeg, webp"
        advice = "open_clip drops such samples silently; write the members next to each other, and no dot in a key"
        yield what, advice, "incomplete sample"
        return
    body = json_of(found)
    if "json" in found.suffixes and body is None:
        advice = "Write it as a UTF-8 JSON object; open_clip reads an empty text"
        yield "its json is not a JSON object", advice, "broken json"
    text = found.texts.get("txt", b"")
    try:
        text.decode()
    except UnicodeDecodeError:
        yield "its txt is not UTF-8", "Write it as UTF-8; the error ends the training", "txt is not UTF-8"
    if "txt" in found.suffixes and not text.strip():
        yield "its txt is empty", "Leave the sample out, or train with --json-text-key", "empty txt"
    if "txt" not in found.suffixes and body is not None:
        strings = [name for name, value in body.items() if name not in _IDENTITY and isinstance(value, str) and value]
        if not strings:
            advice = "Write texts as strings: --json-text-key reads neither lists nor nested fields"
            yield "neither a txt nor a field of the json has a text", advice, "no text"
