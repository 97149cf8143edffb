"""The manifest, and the files derived from it for other readers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import orjson
from jsonschema import Draft202012Validator, ValidationError, validators
from referencing import Registry, Resource

from recaption.io.store import Store
from recaption.output.paths import (
    CARD,
    CROISSANT,
    EMBEDDINGS,
    MANIFEST,
    VIEWS,
    data_file,
    embeddings_file,
    table_file,
    tokens_file,
)
from recaption.problems import Problem
from recaption.resources import shipped
from recaption.schema import BINARY, FLAT
from recaption.types import SCHEMA_VERSION
from recaption.validate.base import Manifest, problem
from recaption.write.described import generations_of
from recaption.write.entry import ShardEntry
from recaption.write.manifest import loader_files, views_of
from recaption.write.specs import specs_of

_SHARD: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")
_CUSTOM_TABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_VERSION: Final = re.compile(r"(\d{1,9})\.(\d{1,9})")
_DESCRIBING: Final = (VIEWS, CARD, CROISSANT)
_UNLISTED_FILES: Final = frozenset({MANIFEST, *_DESCRIBING})
_MAX_FAULTS: Final = 20  # violations of the schema that are reported; one mistake can be repeated in every shard
_MAX_SHOWN: Final = 300  # characters of a path or message


def read(store: Store) -> Iterator[Problem | Manifest]:
    """Problems of the manifest itself; the last item is the manifest, if there are none."""
    try:
        manifest = orjson.loads(store.get(MANIFEST))
    except FileNotFoundError:
        yield problem("manifest", MANIFEST, "is missing: the build is not finished")
        return
    except orjson.JSONDecodeError as error:
        yield problem("manifest", MANIFEST, f"is not JSON: {error}")
        return
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    match = _VERSION.fullmatch(version) if isinstance(version, str) else None
    major, minor = map(int, SCHEMA_VERSION.split("."))
    if match is None or int(match[1]) != major:
        yield problem(
            "version", MANIFEST, f"has schema version {version!r}; this version of recaption reads {SCHEMA_VERSION}"
        )
        return
    wrong = schema_errors(manifest, newer=int(match[2]) > minor)
    wrong = wrong or list(_table_faults(manifest))
    wrong = wrong or [f"{place} {what}" for place, what in _file_faults(manifest)]
    yield from (problem("manifest", MANIFEST, what) for what in wrong)
    if not wrong:
        yield manifest


def schema_errors(manifest: Any, *, newer: bool = False) -> list[str]:
    """The violations of `schemas/manifest.schema.json`, each as `path: message`; the first 20, shortened.

    newer: a later minor version wrote the manifest, so unknown fields are allowed.
    """
    errors = (e for e in _validator().iter_errors(manifest) if not (newer and e.validator == "additionalProperties"))
    try:
        found = [f"{_shortened(e.json_path)}: {_shortened(e.message)}" for e in islice(errors, _MAX_FAULTS + 1)]
    except RecursionError:
        return ["$: the values are nested too deeply"]
    return [*found[:_MAX_FAULTS], *(["$: more errors of this kind"] if len(found) > _MAX_FAULTS else [])]


@lru_cache
def json_schema(name: str) -> Any:
    """`schemas/<name>`."""
    return orjson.loads((shipped("schemas") / name).read_bytes())


@lru_cache
def _validator() -> Any:
    """Draft 2020-12, except that 1.0 is not an integer, and `$` in a pattern does not match before a line break."""

    def pattern(_: Any, expression: str, value: Any, schema: Any) -> Iterator[ValidationError]:
        if isinstance(value, str) and not re.search(re.sub(r"\$$", r"\\Z", expression), value):
            yield ValidationError(f"{value!r} does not match {expression}")

    def is_integer(_: Any, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", is_integer)
    strict = validators.extend(Draft202012Validator, {"pattern": pattern}, type_checker=types)
    names = [f"{name}.schema.json" for name in ("manifest", *FLAT)]
    registry = Registry().with_resources((name, Resource.from_contents(json_schema(name))) for name in names)
    return strict(json_schema(names[0]), registry=registry)


def _shortened(text: str) -> str:
    """A long text without its middle: the found value is at the start, the allowed ones are at the end."""
    half = _MAX_SHOWN // 2
    return text if len(text) <= _MAX_SHOWN else f"{text[:half]} … {text[-half:]}"


def _table_faults(manifest: Manifest) -> Iterator[str]:
    """Tables of tasks whose names or columns a build cannot have, or that are listed twice."""
    try:
        specs = specs_of(manifest)
    except ValueError as error:
        yield f"tables: {_shortened(str(error))}"
        return
    if len(specs) < len(manifest.get("tables", ())):
        yield "tables: a table is listed twice"


def _file_faults(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Names of shards and paths of files that the format does not allow, or that are listed twice."""
    seen: set[str] = set()
    for entry in manifest["shards"]:
        name = entry["name"]
        if not _SHARD.fullmatch(name):
            yield f"shard {name!r}", "is not an allowed shard name: letters, digits, _ and -"
            continue
        if name in seen:
            yield f"shard {name}", "is listed twice"
        seen.add(name)
        wanted = _paths(manifest, entry)
        found = Counter((file["table"], file["split"], file["path"]) for file in entry["files"])
        for table, split, path in sorted(found - wanted, key=str):
            yield f"shard {name}", f"lists {path!r} as table {table}, split {split}"
        for _, _, path in sorted(wanted - found, key=str):
            yield f"shard {name}", f"does not list {path}"


def _paths(manifest: Manifest, entry: dict[str, Any]) -> Counter[tuple[str, str | None, str]]:
    format, name = manifest["format"], entry["name"]
    custom = {file["table"] for file in entry["files"]} | {table["name"] for table in manifest.get("tables", ())}
    custom -= {*FLAT, *BINARY, "data"}
    paths: list[tuple[str, str | None, str]] = [
        (table, None, table_file(table, name)) for table in (*FLAT, *filter(_CUSTOM_TABLE.fullmatch, custom))
    ]
    suffix = "tar" if format == "webdataset" else "parquet"
    data: list[tuple[str, str | None, str]] = [("data", None, data_file(name, suffix))]
    if format != "sidecar":
        listed = {file["split"] for file in entry["files"] if file["table"] == "data"}  # a val file can have no samples
        kept = [split for split in ("train", "val") if split == "train" or entry["splits"][split] or split in listed]
        data = [("data", split, data_file(name, suffix, split)) for split in kept]
    paths += data
    if format == "webdataset":
        paths += [("tar_index", split, f"{path}.idx") for _, split, path in data]
    for facts in manifest.get("token_ids", ()):
        paths += [("tokens", split, tokens_file(path, facts["name"])) for _, split, path in data]
    paths += [(EMBEDDINGS, None, embeddings_file(generation, name)) for generation in manifest.get("embeddings", ())]
    return Counter(paths)


def check_sums(manifest: Manifest) -> Iterator[Problem]:
    """The sums of images and answers, in every shard and in total, and the totals as sums of the shards."""
    shards = manifest["shards"]
    generations = [generation["id"] for generation in generations_of(manifest)]
    for where, part in [(MANIFEST, manifest), *((f"{MANIFEST}, shard {s['name']}", s) for s in shards)]:
        counts = part["counts"]
        parts = sum(counts[status] for status in ("ok", "partial", "reject", "excluded"))
        if counts["images"] != parts:
            yield problem("sum", where, f"{counts['images']} images, but ok + partial + reject + excluded = {parts}")
        if sum(part["splits"].values()) != counts["ok"] + counts["partial"]:
            yield problem(
                "sum", where, f"{counts['ok'] + counts['partial']} usable images, but splits {part['splits']}"
            )
        asked = {g["id"]: g for g in generations_of(manifest)} if part is manifest else part["generations"]
        for name in generations:
            of = asked.get(name, dict.fromkeys(("asked", "answered", "rejected"), 0))
            if of["asked"] != of["answered"] + of["rejected"]:
                numbers = f"asked {of['asked']}, answered {of['answered']} + rejected {of['rejected']}"
                yield problem("sum", where, f"generation {name}: {numbers}")
    yield from _check_totals(manifest)


def _check_totals(manifest: Manifest) -> Iterator[Problem]:
    shards = manifest["shards"]
    totals: dict[str, Counter[str]] = {}
    for field in ("counts", "splits", "rejects", "distinct_texts"):
        totals[field] = sum((Counter(shard[field]) for shard in shards), Counter())
    totals["counts"]["bytes"] = sum(file["bytes"] for shard in shards for file in shard["files"])
    for field, total in totals.items():
        if Counter(manifest[field]) != total:  # Counters are equal where only zeros differ
            yield problem("count", MANIFEST, f"{field} of the build are not the sums of its shards")
    turned = sum(shard.get("turned", 0) for shard in shards)
    if "pixels" in manifest and manifest["pixels"]["turned"] != turned:
        yield problem("count", MANIFEST, f"pixels.turned is {manifest['pixels']['turned']}, but {turned} in the shards")
    for generation in generations_of(manifest):
        parts = [s["generations"][generation["id"]] for s in shards if generation["id"] in s["generations"]]
        for field in ("asked", "answered", "rejected", "skipped", "unanswered"):
            found = generation.get(field, 0)
            if found != (total_of := sum(part.get(field, 0) for part in parts)):
                what = f"generation {generation['id']}: {field} {found}, but {total_of} in the shards"
                yield problem("count", MANIFEST, what)


def check_loader_files(store: Store, manifest: Manifest) -> Iterator[Problem]:
    """`sizes.json` and `_info.json` agree with the manifest; the cards exist; `views.sql` has the views of a build."""
    for path, body in _loader_files(manifest).items():
        try:
            found = orjson.loads(store.get(path))
        except FileNotFoundError:
            yield problem("missing file", path, "is missing")
        except orjson.JSONDecodeError as error:
            yield problem("loader file", path, f"is not JSON: {error}")
        else:
            if found != body:
                yield problem("loader file", path, f"does not agree with {MANIFEST}")
    for path in _DESCRIBING:
        if not store.exists(path):
            yield problem("missing file", path, "is missing")
        elif path == VIEWS and manifest["schema_version"] == SCHEMA_VERSION:
            yield from _check_views(store, manifest)


def _check_views(store: Store, manifest: Manifest) -> Iterator[Problem]:
    """DuckDB runs the file, so it must have exactly the expected statements; comments and line breaks may differ."""
    found = _statements(store.get(VIEWS).decode("utf-8", "replace"))
    expected = _statements(views_of([ShardEntry.from_json(entry) for entry in manifest["shards"]]))
    more = [statement for statement in found if statement not in expected]
    if more:
        yield problem("views", VIEWS, f"has additional statements: {more[0][:100]!r}")
    elif found != expected:
        absent = next((statement for statement in expected if statement not in found), None)
        what = f"lacks {absent[:60]!r}" if absent else "the statements are in another order"
        yield problem("views", VIEWS, f"differs from the views of a build: {what}")


def _statements(sql: str) -> list[str]:
    """The statements, split at semicolons at line ends, without comments, white space folded."""
    lines = (line for line in sql.splitlines() if not line.lstrip().startswith("--"))
    folded = (" ".join(statement.split()) for statement in re.split(r";[ \t]*$", "\n".join(lines), flags=re.M))
    return [statement for statement in folded if statement]


def check_unlisted(store: Store, manifest: Manifest) -> Iterator[Problem]:
    """Files that are neither in the manifest nor part of the format. Names with a leading dot are work in progress."""
    listed = {file["path"] for entry in manifest["shards"] for file in entry["files"]} | _UNLISTED_FILES
    listed |= set(_loader_files(manifest))

    def walk(folder: str) -> Iterator[str]:
        yield from store.list(folder)
        for name in store.folders(folder):
            if not name.startswith("."):
                yield from walk(f"{folder}/{name}" if folder else name)

    for path in walk(""):
        if path not in listed and not path.rpartition("/")[2].startswith("."):
            yield problem("unlisted file", path, "is not listed in the manifest", warning=True)


def _loader_files(manifest: Manifest) -> dict[str, Any]:
    return loader_files([ShardEntry.from_json(entry) for entry in manifest["shards"]], manifest["format"])
