"""`croissant.json` of a build: Croissant 1.1 metadata, provenance, RAI terms and files, made from the manifest alone.

Format: https://github.com/mlcommons/croissant, docs/croissant-spec-1.1.md and docs/croissant-rai-spec.md.
Files are listed as globs, so the document's size does not depend on the number of shards. The manifest has the hash of
each file, and this document has the hash of the manifest. There are no RecordSets: the Parquet files have their own
schemas, the Hub derives RecordSets from them, and mlcroissant 1.1.1 cannot open tars that are listed by a glob.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import orjson

from recaption.formatting import number_of
from recaption.imagefile import STORED_SUFFIXES
from recaption.output.paths import MANIFEST
from recaption.types import SCHEMA_VERSION
from recaption.write.card import LIMITS
from recaption.write.described import (
    Table,
    card_of,
    generations_of,
    models_of,
    prompts_of,
    software_of,
    source_of,
    tables,
)

CONTEXT: Final = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    "name": {"@container": "@language"},
    "description": {"@container": "@language"},
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "digitalSourceType": {"@id": "sc:digitalSourceType", "@type": "@vocab"},
    **{
        name: f"cr:{name}"
        for name in (
            *("annotation", "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "excludes"),
            *("extract", "field", "fileObject", "fileProperty", "fileSet", "format", "includes", "isArray"),
            *("isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "readLines", "recordSet", "references"),
            *("regex", "repeated", "replace", "samplingRate", "sdVersion", "separator", "source", "subField"),
            *("transform", "unArchive", "value"),
        )
    },
}
_MIME: Final = {"parquet": "application/x-parquet", "tar": "application/x-tar"}


def render(manifest: Mapping[str, Any], data: bytes) -> bytes:
    """The JSON-LD document for a manifest whose bytes on disk are `data`. The same manifest gives the same bytes."""
    body = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": manifest["name"],
        **_metadata(manifest),
        **_provenance(manifest),
        **_responsible(manifest),
        "distribution": [_manifest_file(data), *map(_file_set, tables(manifest)), *_tar_members(manifest)],
    }
    return orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _metadata(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Size of the dataset, and the fields of `output.card` that are set."""
    card, counts = card_of(manifest), manifest["counts"]
    usable = sum(manifest["splits"].values())
    size = (
        f"{number_of(usable, 'image')} with {number_of(counts['captions'], 'caption')}, split "
        f"into {number_of(counts['sub_captions'], 'sub-caption')} with {number_of(counts['tags'], 'object tag')}."
    )
    metadata: dict[str, Any] = {
        "description": f"{card['description']} {size}" if card.get("description") else size,
        "version": f"{card.get('version', '1.0.0')}+{manifest['build']}",
        "keywords": ["captions", "vision-language", *(["synthetic"] if models_of(manifest) else [])],
        "isLiveDataset": False,
        "sdVersion": f"{SCHEMA_VERSION}.0",
    }
    names = {
        "license": "license",
        "citation": "citeAs",
        "url": "url",
        "published": "datePublished",
        "language": "inLanguage",
    }
    metadata |= {name: card[key] for key, name in names.items() if card.get(key)}
    if card.get("creator"):
        metadata["creator"] = {"@type": "sc:Organization", "name": card["creator"]}
    if card.get("source_license"):
        metadata["usageInfo"] = card["source_license"]
    return metadata


def _provenance(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """W3C PROV-O terms: the source, and one activity per generation with its model."""
    prompts = prompts_of(manifest)
    made: dict[str, Any] = {}
    if source := source_of(manifest):
        made["prov:wasDerivedFrom"] = {"@type": "prov:Entity", "prov:label": source}
    made["prov:wasGeneratedBy"] = [
        {
            "@type": "prov:Activity",
            "prov:label": f"generation {g['id']}",
            "description": _asked(g, prompts),
            "prov:wasAssociatedWith": _agent(g, manifest),
        }
        for g in generations_of(manifest)
    ]
    software = " ".join(f"{name}={version}" for name, version in sorted(software_of(manifest).items()))
    made["prov:wasGeneratedBy"].append(
        {
            "@type": "prov:Activity",
            "prov:label": "splitting, tagging and writing of the dataset",
            "prov:wasAssociatedWith": {
                "@type": "prov:SoftwareAgent",
                "prov:label": "recaption",
                "description": software,
            },
        }
    )
    return made


def _asked(generation: Mapping[str, Any], prompts: Mapping[str, Mapping[str, Any]]) -> str:
    if generation["column"] is not None:
        return f"column {generation['column']} of the source"
    prompt, sampling = generation["prompt"], orjson.dumps(generation["sampling"]).decode()
    asked = f"prompt {prompt}, sha256 {prompts[prompt].get('sha256', 'unknown')}" if prompt else "no prompt"
    over = f"task {generation['task']} over {', '.join(generation['over'])}; " if generation.get("over") else ""
    return f"{over}{asked}; sampling {sampling}"


def _agent(generation: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    if generation["column"] is not None:
        return {"@type": "prov:Agent", "prov:label": "unknown: the source has the texts"}
    model = models_of(manifest)[generation["model"]]
    settings = {k: v for k, v in model.items() if k != "model"}
    return {
        "@type": "prov:SoftwareAgent",
        "prov:label": model["model"],
        **({"description": orjson.dumps(settings).decode()} if settings else {}),
    }


def _responsible(manifest: Mapping[str, Any]) -> dict[str, Any]:
    counts, usable = manifest["counts"], sum(manifest["splits"].values())
    tools = [f"{m['model']}@{m['commit']}" if m.get("commit") else m["model"] for m in models_of(manifest).values()]
    tools += [f"{name} {v}" for name, v in sorted(software_of(manifest).items()) if name in ("recaption", "spacy")]
    missing = (
        f"{number_of(counts['partial'], 'image lacks', 'images lack')} an answer, "
        f"{number_of(counts['reject'], 'was', 'were')} rejected, {counts['excluded']:,} excluded."
    )
    made: dict[str, Any] = {
        "rai:dataCollectionMissingData": f"{missing} The table rejects has the reasons.",
        "rai:dataAnnotationProtocol": "Captions are answers of the models to the prompts, one per generation. "
        "Sub-captions are spans of captions, split by rules; objects are tagged by a small model.",
        "rai:annotationsPerItem": f"{counts['captions'] / usable if usable else 0:.2f} captions per image",
        "rai:machineAnnotationTools": tools,
        "rai:dataUseCases": "Training of vision-language models on images and captions.",
    }
    if models_of(manifest):
        made["rai:dataLimitations"] = LIMITS
        made["rai:hasSyntheticData"] = True
    return made


def _manifest_file(data: bytes) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": MANIFEST,
        "name": MANIFEST,
        "description": "counts, and path, rows, bytes and sha256 of every file of the dataset",
        "contentUrl": MANIFEST,
        "contentSize": f"{len(data)} B",
        "encodingFormat": "application/json",
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _file_set(table: Table) -> dict[str, Any]:
    rows, described = sum(table.rows.values()), f"{table.description.rstrip('.')}. " if table.description else ""
    return {
        "@type": "cr:FileSet",
        "@id": f"{table.name}-files",
        "name": f"{table.name}-files",
        "description": f"{described}{number_of(table.files, 'file')}, {sum(table.bytes.values())} bytes, "
        f"{number_of(rows, 'row')}",
        "encodingFormat": _MIME[table.suffix],
        "includes": list(dict.fromkeys(table.patterns.values())),
    }


def _tar_members(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """FileSets of the images and JSON files inside the tars of format webdataset."""
    if manifest["format"] != "webdataset":
        return []
    formats = ["jpeg"] if manifest["images"] == "jpeg" else list(STORED_SUFFIXES)
    images = [f"image/{name}" for name in formats], [f"*.{STORED_SUFFIXES[name]}" for name in formats]
    return [
        {
            "@type": "cr:FileSet",
            "@id": name,
            "name": name,
            "description": "members of the tars, one per sample, named <key>.<suffix>",
            "containedIn": {"@id": "data-files"},
            "encodingFormat": types[0] if len(types) == 1 else types,
            "includes": patterns,
        }
        for name, (types, patterns) in {"data-images": images, "data-json": (["application/json"], ["*.json"])}.items()
    ]
