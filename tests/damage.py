"""Ways to damage a dataset on disk or its records, and the problems that validate then finds."""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from recaption.problems import Problem
from recaption.types import Caption, Record, SubCaption
from recaption.validate import validate_output

KITE, TAXI = "000000000", "000000005"
"""Keys of the golden set: an image with status ok, and one with status partial."""


def found(path: Path | str) -> list[Problem]:
    return list(validate_output(str(path)))


def kinds(path: Path | str) -> set[str]:
    return {problem.kind for problem in found(path)}


def check_found(kind: str, format: str, damage: Callable[[Path], Any], out: Path) -> None:
    """Damage the build of this format; validate must find exactly these kinds of problems ("a+b" for two)."""
    damage(out / "builds" / format)
    problems = found(out / "builds" / format)
    assert {problem.kind for problem in problems} == set(kind.split("+")), problems
    warning = kind in ("unlisted file", "no answers", "no source")
    assert {problem.severity for problem in problems} == {"warning" if warning else "error"}


def edit_json(path: Path, change: Callable[[Any], Any]) -> None:
    body = orjson.loads(path.read_bytes())
    change(body)
    path.write_bytes(orjson.dumps(body))


def edit_rows(path: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Change the rows of a Parquet file; `change` changes the list or returns another."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    result = change(rows)
    rows = result if isinstance(result, list) else rows
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def edit_table(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def seal(build: Path, *, rows: bool = False) -> None:
    """Update the sizes and hashes in the manifest; with `rows`, the row counts of tables, too."""

    def change(manifest: dict[str, Any]) -> None:
        for file in (file for shard in manifest["shards"] for file in shard["files"]):
            if not (build / file["path"]).exists():
                continue
            data = (build / file["path"]).read_bytes()
            file["bytes"], file["sha256"] = len(data), hashlib.sha256(data).hexdigest()
            if rows and file["path"].endswith(".parquet"):
                file["rows"] = pq.read_metadata(build / file["path"]).num_rows
        total = sum(file["bytes"] for shard in manifest["shards"] for file in shard["files"])
        manifest["counts"]["bytes"] = total

    edit_json(build / "manifest.json", change)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


def with_captions(change: Callable[[Caption], Caption]) -> Callable[[Record], Record]:
    """Changes each caption of one image."""

    def of(record: Record) -> Record:
        return replace(record, captions=tuple(map(change, record.captions))) if record.key == KITE else record

    return of


def is_long(caption: Caption) -> bool:
    return caption.generation == "long"


def with_first_sub(**changes: Any) -> Callable[[Record], Record]:
    """Changes the first sub-caption of the long caption; a value may be a function of the sub-caption."""

    def sub(old: SubCaption) -> SubCaption:
        return replace(old, **{n: v(old) if callable(v) else v for n, v in changes.items()})

    def caption(old: Caption) -> Caption:
        return replace(old, sub_captions=(sub(old.sub_captions[0]), *old.sub_captions[1:])) if is_long(old) else old

    return with_captions(caption)


def in_manifest(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    return lambda build: edit_json(build / "manifest.json", change)


def counts(**changes: int) -> Callable[[dict[str, Any]], None]:
    """Changes counts of the first shard and of the build."""

    def change(body: dict[str, Any]) -> None:
        for name, by in changes.items():
            body["shards"][0]["counts"][name] += by
            body["counts"][name] += by

    return change


def first_row(**changes: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda items: items[0].update(changes)


def in_rows(path: str, change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[Path], None]:
    """Changes rows of a table, and updates the manifest."""

    def damage(build: Path) -> None:
        edit_rows(build / path, change)
        seal(build, rows=True)

    return damage


def in_table(path: str, change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    def damage(build: Path) -> None:
        edit_table(build / path, change)
        seal(build)

    return damage


def in_tar(change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], Any]) -> Callable[[Path], None]:
    """Changes the members of the train tar, and updates its index and the manifest."""

    def damage(build: Path) -> None:
        path = build / "data/00000.tar"
        with tarfile.open(path) as opened:
            members = [(m, opened.extractfile(m).read()) for m in opened]  # type: ignore[union-attr]
        result = change(members)
        members = result if isinstance(result, list) else members
        starts = []
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as made:
            for info, data in members:
                if info.name.endswith(".jpg"):
                    starts.append(made.offset)
                info.size = len(data) if info.isreg() else 0
                made.addfile(info, io.BytesIO(data))
        offsets = [*starts, path.stat().st_size]
        (build / "data/00000.tar.idx").write_bytes(struct.pack(f"<{len(offsets)}Q", *offsets))
        seal(build)

    return damage


def first_tag(record: dict[str, Any]) -> dict[str, Any]:
    tag: dict[str, Any] = record["captions"][1]["sub_captions"][0]["tags"][0]
    return tag


def in_sample(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Changes the JSON of the first sample."""

    def members(items: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        body = orjson.loads(items[2][1])
        change(body)
        items[2] = items[2][0], orjson.dumps(body)

    return in_tar(members)


def replaced_by(path: str, data: bytes) -> Callable[[Path], None]:
    def damage(build: Path) -> None:
        (build / path).write_bytes(data)
        seal(build)

    return damage


def truncated(path: str, end: int) -> Callable[[Path], None]:
    def damage(build: Path) -> None:
        (build / path).write_bytes((build / path).read_bytes()[:end])
        seal(build)

    return damage


def output_of(build: Path) -> Path:
    """The output that contains the build."""
    return build.parent.parent


def in_text(path: str, old: str, new: str) -> Callable[[Path], None]:
    """Replaces a part of a text file."""

    def damage(build: Path) -> None:
        content = (build / path).read_text()
        assert old in content
        (build / path).write_text(content.replace(old, new))

    return damage
