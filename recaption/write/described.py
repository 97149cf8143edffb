"""The parts of a manifest that the dataset card and Croissant need: tables with their files, models, prompts, software.
Their size does not depend on the number of shards."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recaption.schema import BINARY, FLAT

SUFFIX = {"sidecar": "parquet", "webdataset": "tar", "parquet": "parquet"}  # of files in data/, by format


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """One folder of a build. `rows` and `bytes` are by split; with None as split, each file holds all splits."""

    name: str  # data | a flat table | a table of a task | a custom table
    files: int
    bytes: Mapping[str | None, int]
    rows: Mapping[str | None, int]
    suffix: str
    description: str | None = None  # of a table of a task

    @property
    def patterns(self) -> dict[str | None, str]:
        """Glob of each split's files, relative to the build; `*` stays within a folder."""
        folders = {"val": f"{self.name}/val"}
        return {split: f"{folders.get(str(split), self.name)}/*.{self.suffix}" for split in self.rows}


def tables(manifest: Mapping[str, Any]) -> list[Table]:
    """The tables of a build: data, the flat ones in their usual order, then those of tasks and the custom ones."""
    files: Counter[str] = Counter()
    sizes: dict[str, Counter[str | None]] = defaultdict(Counter)
    rows: dict[str, Counter[str | None]] = defaultdict(Counter)
    for shard in manifest["shards"]:
        for file in shard["files"]:
            name, split = file["table"], file["split"]
            files[name] += 1
            sizes[name][split] += file["bytes"]
            rows[name][split] += file["rows"]
    known = ("data", *FLAT)
    described = {table["name"]: table["description"] for table in manifest.get("tables", ())}
    order = [*known, *sorted(set(files) - {*known, *BINARY})]
    return [
        Table(
            name=name,
            files=files[name],
            bytes=sizes[name],
            rows=rows[name],
            suffix=SUFFIX[manifest["format"]] if name == "data" else "parquet",
            description=described.get(name),
        )
        for name in order
        if name in files
    ]


def card_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `output.card` that are set."""
    return dict(manifest["provenance"].get("card") or {})


def source_of(manifest: Mapping[str, Any]) -> str | None:
    """The source of the images, as text."""
    given, path = card_of(manifest).get("source"), manifest["provenance"].get("source")
    return str(given) if given else _public(str(path)) if path else None


def _public(place: str) -> str:
    """A path or URL without private parts: the parents of an absolute path, the user and query of a URL."""
    if "://" in place:
        scheme, _, rest = place.partition("://")
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"
    return "/".join(place.split("/")[-2:]) if place.startswith(("/", "~")) else place


def generations_of(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All generations: those with captions, then those whose task makes none."""
    return [*manifest["generations"], *manifest.get("tasks", ())]


def models_of(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The models of the generations with their recorded settings; `model` (the id) is always set."""
    known = manifest["provenance"].get("models") or {}
    names = dict.fromkeys(g["model"] for g in generations_of(manifest) if g["column"] is None)
    recorded = {name: {"model": name, **{k: v for k, v in (known.get(name) or {}).items() if v}} for name in names}
    return {name: {**model, "model": _public(str(model["model"]))} for name, model in recorded.items()}


def prompts_of(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The prompts of the generations with version, sha256 and text, if recorded."""
    known = manifest["provenance"].get("prompts") or {}
    return {p: dict(known.get(p) or {}) for p in dict.fromkeys(g["prompt"] for g in generations_of(manifest)) if p}


def software_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Versions of the software that wrote the dataset: recaption, spacy, splitter, …"""
    provenance = manifest["provenance"]
    found = {k: v for k, v in provenance.items() if isinstance(v, str) and k not in ("source", "source_inputs")}
    return found | {k: str(v) for k, v in (provenance.get("annotate") or {}).items()}
