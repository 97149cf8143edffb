"""Finds the data to load at a path: a build of recaption, or any other tars."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from recaption.errors import DatasetError, UserError
from recaption.io.files import is_url
from recaption.load.files import Expected, Files, join
from recaption.output.paths import CURRENT, DATASET, INDEX, MANIFEST, build_folder
from recaption.types import SCHEMA_VERSION

Format = Literal["webdataset", "sidecar", "parquet", "tars"]
Verify = Literal["size", "sha256"]
_READ_BY_RANGES = ("data", "tar_index", "tokens")  # tables of the manifest's files
_COMPRESSED = re.compile(r"\.(tar\.(gz|bz2|xz|zst)|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFile:
    """A file with samples. `samples` is None if it has to be counted (tars of others)."""

    shard: str
    path: str
    samples: int | None  # usable ones of the split
    rows: int | None  # all; more than `samples` in a sidecar
    identity: str  # changes when the file does: its sha256, or its size where no more is known


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The data to load. `manifest` is that of the build without its shards; empty for tars without a manifest."""

    format: Format
    root: str
    out: str | None  # the output folder that contains the build and the source's index
    files: tuple[DataFile, ...]
    manifest: Mapping[str, Any]
    expected: Mapping[str, Expected]
    """Of each file that is read by ranges (data, tar indexes, token ids): what it has to be when it is opened."""

    def fingerprint(self, split: str, samples: Sequence[int]) -> int:
        """A hash of the samples and their order, below 2^63. It changes when any file does."""
        digest = hashlib.sha256(f"{self.format}\n{split}\n".encode())
        for file, count in zip(self.files, samples, strict=True):
            digest.update(f"{file.shard}\t{count}\t{file.identity}\n".encode())
        return int.from_bytes(digest.digest()[:8], "big") >> 1


def find(path: str | Sequence[str], split: str, files: Files, *, verify: Verify = "size") -> Layout:
    """The layout of `path`: an output, `OUT/dataset`, a build's folder, or tars (a file, folder, pattern or list).

    `verify`: see `CaptionDataset`. With "sha256", tars without a manifest are read whole here.

    Raises UserError if there is nothing to load, DatasetError for a build that is unfinished or of a newer format.
    """
    if isinstance(path, str):
        root = _resolved(path)
        build = _build(root, files)
        if build is not None:
            return _of_build(build, split, files, verify)
        tars = list(_tars(root, files))
        if not tars:
            raise UserError(
                f"nothing to load at {path}: no manifest.json of a finished build and no .tar is there. Give the "
                "folder that output.path of the pipeline names, a folder of tars, or a pattern such as "
                "data/{00000..00063}.tar"
            )
    else:
        root, tars = "", [one for given in path for one in _tars(given.removeprefix("file://"), files)]
        if not tars:
            raise UserError(f"nothing to load: no .tar is at {', '.join(path) or 'an empty list of paths'}")
    made, expected = [], {}
    for tar in tars:
        try:
            size = files.size(tar)
            sha256 = files.sha256(tar) if verify == "sha256" else None
        except OSError as error:
            raise UserError(f"{tar} cannot be read: {error}") from error
        name = tar.rpartition("/")[2].removesuffix(".tar")
        made.append(DataFile(shard=name, path=tar, samples=None, rows=None, identity=sha256 or str(size)))
        expected[tar] = Expected(size=size)
    return Layout(format="tars", root=root, out=None, files=tuple(made), manifest={}, expected=expected)


def _resolved(path: str) -> str:
    """The path without links: when OUT/dataset is switched to another build, current readers continue with this one."""
    given = path.removeprefix("file://")
    if is_url(given) or not Path(given).expanduser().exists():
        return given.rstrip("/")
    return str(Path(given).expanduser().resolve())


def _build(root: str, files: Files) -> str | None:
    """The folder of the build at `root` that is published, or `root` itself if it is a build."""
    for folder in (root, join(root, DATASET)):
        if files.exists(join(folder, MANIFEST)):
            return _resolved(folder)
    try:
        current = files.read(join(root, CURRENT)).decode().strip()
    except OSError:
        return None
    return join(root, build_folder(current.rpartition("/")[2]))


def _of_build(root: str, split: str, files: Files, verify: Verify) -> Layout:
    where = join(root, MANIFEST)
    try:
        manifest = orjson.loads(files.read(where))
        version = str(manifest["schema_version"])
        if version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
            raise DatasetError(
                f"{where} has schema version {version}; this recaption reads {SCHEMA_VERSION}. Upgrade it"
            )
        shards = manifest.pop("shards")
        made = tuple(_data_files(root, manifest["format"], shards, split))
        expected = {
            join(root, file["path"]): Expected(
                size=int(file["bytes"]), sha256=str(file["sha256"]) if verify == "sha256" else None
            )
            for shard in shards
            for file in shard["files"]
            if file["table"] in _READ_BY_RANGES
        }
    except FileNotFoundError as error:
        raise DatasetError(f"{where} is missing: the build is not finished, or no longer there") from error
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{where} is not a manifest: {error!r}") from error
    if not made:
        there = ", ".join(f"{name} {count}" for name, count in manifest["splits"].items())
        raise UserError(f"{root} has no sample in split {split!r}; it has {there}")
    return Layout(
        format=manifest["format"],
        root=root,
        out=_output_of(root, files),
        files=made,
        manifest=manifest,
        expected=expected,
    )


def _data_files(root: str, format: str, shards: Sequence[Mapping[str, Any]], split: str) -> Iterator[DataFile]:
    if format not in ("webdataset", "sidecar", "parquet"):
        raise DatasetError(f"{root} has format {format!r}, which this recaption does not know. Upgrade it")
    for shard in shards:
        for file in shard["files"]:
            if file["table"] != "data" or file["split"] not in (None, split):
                continue
            samples = shard["splits"][split] if file["split"] is None else file["rows"]
            if samples:
                yield DataFile(
                    shard=shard["name"],
                    path=join(root, file["path"]),
                    samples=samples,
                    rows=file["rows"],
                    identity=file["sha256"],
                )


def _output_of(root: str, files: Files) -> str | None:
    """OUT of OUT/builds/<build> or OUT/dataset."""
    parent = root.rpartition("/")[0]
    for folder in (parent, parent.rpartition("/")[0]):
        if folder and files.is_folder(join(folder, INDEX)):
            return folder
    return None


def _tars(given: str, files: Files) -> Iterator[str]:
    """The tars of a file, a folder or a pattern with ranges in braces and globs, in order."""
    for path in _ranges(given):
        if any(char in path for char in "*?["):
            found = files.glob(path)
            _refuse_compressed(found)
            yield from found
        elif _COMPRESSED.search(path) and not files.is_folder(path):
            _refuse_compressed([path])
        elif path.endswith(".tar"):
            yield path
        elif files.is_folder(path):
            found = files.glob(join(path, "*"))
            plain = [one for one in found if one.endswith(".tar")]
            _refuse_compressed([one for one in found if _COMPRESSED.sub(".tar", one) not in plain])
            yield from plain
        elif is_url(path) or "{" in path:
            raise UserError(f"{given}: neither a .tar nor a folder. Ranges are written {{00000..00063}}")


def _refuse_compressed(paths: Sequence[str]) -> None:
    """Raises UserError for compressed tars: samples are read in random order, which compression prevents."""
    found = [path for path in paths if _COMPRESSED.search(path)]
    if found:
        more = f" and {len(found) - 1:,} more" if len(found) > 1 else ""
        raise UserError(
            f"{found[0]}{more}: compressed tars are not supported, because samples are read at random. Decompress them "
            "(for gzip: gunzip FILE.tar.gz; a .tgz becomes a .tar) and give the .tar files"
        )


def _ranges(pattern: str) -> Iterator[str]:
    found = _BRACES.search(pattern)
    if found is None:
        yield pattern
        return
    low, high = found.groups()
    for number in range(int(low), int(high) + 1):
        yield from _ranges(f"{pattern[: found.start()]}{number:0{len(low)}d}{pattern[found.end() :]}")
