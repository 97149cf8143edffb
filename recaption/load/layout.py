"""Finds the data to load at a path: a build of recaption, or other tars."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from recaption.errors import DatasetError, UserError
from recaption.io.files import absolute, is_folder, is_url, matches
from recaption.io.store import Store
from recaption.load.files import Expected, Files, join
from recaption.output.locate import locate, read_manifest
from recaption.output.paths import INDEX, MANIFEST

Format = Literal["webdataset", "sidecar", "parquet", "tars"]
Verify = Literal["size", "sha256"]
_READ_BY_RANGES = ("data", "tar_index", "tokens")  # tables of the manifest's files
_COMPRESSED = re.compile(r"\.(tar\.(gz|bz2|xz|zst)|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFile:
    """A file with samples. `samples` is None if they have to be counted (tars without a manifest)."""

    shard: str
    path: str
    samples: int | None  # usable samples of the split
    rows: int | None  # all rows; more than `samples` in a sidecar
    identity: str  # its sha256, or its size if the sha256 is unknown


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The data to load. `manifest` is the build's, without its shards; empty for tars without a manifest."""

    format: Format
    root: str
    out: str | None  # the build's output folder, if it has the index of the source
    files: tuple[DataFile, ...]
    manifest: Mapping[str, Any]
    expected: Mapping[str, Expected]
    """Size and sha256 of each file that is read by ranges (data, tar indexes, token ids)."""

    def fingerprint(self, split: str, samples: Sequence[int]) -> int:
        """A number below 2^63 that identifies the samples and their order: it changes when a file changes."""
        digest = hashlib.sha256(f"{self.format}\n{split}\n".encode())
        for file, count in zip(self.files, samples, strict=True):
            digest.update(f"{file.shard}\t{count}\t{file.identity}\n".encode())
        return int.from_bytes(digest.digest()[:8], "big") >> 1


def find(path: str | Sequence[str], split: str, files: Files, *, verify: Verify = "size") -> Layout:
    """The data at `path`: an output, `OUT/dataset`, a build's folder, or tars (a file, a folder, a pattern or a list).

    `verify`: see `LoaderConfig`. With "sha256", tars without a manifest are read whole here.

    Raises UserError if there is nothing to load, DatasetError for a build that is unfinished or newer.
    """
    if isinstance(path, str):
        found = locate(path)
        if found.build is not None:
            return _of_build(found.build, found.out, split, verify)
        root = absolute(path)
        tars = list(_tars(root))
        if not tars:
            raise UserError(
                f"nothing to load at {path}: there is no finished build (manifest.json) and no .tar. Give the "
                "folder that output.path of the pipeline names, a folder of tars, or a pattern such as "
                "data/{00000..00063}.tar"
            )
    else:
        root, tars = "", [one for given in path for one in _tars(given.removeprefix("file://"))]
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


def find_all(path: str | Sequence[str], files: Files, *, verify: Verify = "size") -> dict[str, Layout]:
    """The data of each split that has samples, train first: see `find`. Tars without a manifest are of split train."""
    build = locate(path).build if isinstance(path, str) else None
    counts = {"train": 1} if build is None else read_manifest(build).get("splits", {})
    used = [split for split in ("train", "val") if counts.get(split)] or ["train"]
    return {split: find(path, split, files, verify=verify) for split in used}


def _of_build(build: Store, out: Store | None, split: str, verify: Verify) -> Layout:
    root = build.url
    try:
        manifest = read_manifest(build)
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
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{join(root, MANIFEST)} is not a manifest: {error!r}") from error
    if not made:
        listed = ", ".join(f"{name} {count}" for name, count in manifest["splits"].items())
        raise UserError(f"{root} has no sample in split {split!r}; it has {listed}")
    return Layout(
        format=manifest["format"],
        root=root,
        out=out.url if out and INDEX in out.folders("") else None,
        files=made,
        manifest=manifest,
        expected=expected,
    )


def _data_files(root: str, format: str, shards: Sequence[Mapping[str, Any]], split: str) -> Iterator[DataFile]:
    if format not in ("webdataset", "sidecar", "parquet"):
        raise DatasetError(f"{root} has format {format!r}, which this version of recaption does not know. Upgrade it")
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


def _tars(given: str) -> Iterator[str]:
    """The tars of a file, a folder or a pattern with ranges in braces and globs, in order."""
    for path in _ranges(given):
        if any(char in path for char in "*?["):
            found = _visible(path)
            _refuse_compressed(found)
            yield from found
        elif _COMPRESSED.search(path) and not is_folder(path):
            _refuse_compressed([path])
        elif path.endswith(".tar"):
            yield path
        elif is_folder(path):
            found = _visible(join(path, "*"))
            plain = [one for one in found if one.endswith(".tar")]
            _refuse_compressed([one for one in found if _COMPRESSED.sub(".tar", one) not in plain])
            yield from plain
        elif is_url(path) or "{" in path:
            raise UserError(f"{given}: neither a .tar nor a folder. Ranges are written {{00000..00063}}")


def _visible(pattern: str) -> list[str]:
    """The files that match; names that begin with a dot are unfinished files."""
    return [path for path in matches(pattern) if not path.rpartition("/")[2].startswith(".")]


def _refuse_compressed(paths: Sequence[str]) -> None:
    """Raises UserError for compressed tars: samples are read in random order, which compression prevents."""
    found = [path for path in paths if _COMPRESSED.search(path)]
    if found:
        more = f" and {len(found) - 1:,} more" if len(found) > 1 else ""
        raise UserError(
            f"{found[0]}{more}: compressed tars are not supported, because samples are read in random order. "
            "Decompress them (for gzip: gunzip FILE.tar.gz; a .tgz becomes a .tar) and give the .tar files"
        )


def _ranges(pattern: str) -> Iterator[str]:
    found = _BRACES.search(pattern)
    if found is None:
        yield pattern
        return
    low, high = found.groups()
    for number in range(int(low), int(high) + 1):
        yield from _ranges(f"{pattern[: found.start()]}{number:0{len(low)}d}{pattern[found.end() :]}")
