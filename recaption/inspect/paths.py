"""Finds the outputs to inspect, and the files of every table in them."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from recaption.errors import DatasetError, ShardError, UserError
from recaption.io.files import absolute, is_folder, matches, open_stream
from recaption.io.store import ObjectStore, Store, open_store
from recaption.output.locate import Location, locate
from recaption.output.paths import BUILDS, DATA, INDEX, MANIFEST, METRICS, build_folder, parts_folder
from recaption.schema import FLAT


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputPaths:
    """An output folder, a build within one, or a build that was copied elsewhere. At least one of the two is set.

    Files are local paths or URLs.
    """

    given: str  # as the user wrote it
    out: Store | None  # the output folder: answers, rejects, index, metrics
    build: Store | None  # the build to read; None before the first build is published

    @property
    def name(self) -> str:
        """The folder's name, which distinguishes it from other outputs."""
        return self.roots[0].url.rpartition("/")[2]

    @property
    def manifest(self) -> str | None:
        return f"{self.build.url}/{MANIFEST}" if self.build else None

    @property
    def roots(self) -> tuple[Store, ...]:
        return tuple(root for root in (self.out, self.build) if root is not None)

    def of_build(self, table: str) -> list[str]:
        """The Parquet files of one of the build's tables, sorted by name."""
        return list(_files(self.build, table, ".parquet"))

    def first_of_build(self, table: str) -> str | None:
        """The first of `of_build`. All of a build's files of a table have the same columns."""
        return next(_files(self.build, table, ".parquet"), None)

    def custom_tables(self) -> list[str]:
        """Names of the additional tables of the build: those of tasks and of `annotate.tables`."""
        known = {*FLAT, DATA}
        folders = self.build.folders("") if self.build else ()
        return [name for name in folders if name.isidentifier() and name not in known and self.first_of_build(name)]

    def of_run(self, kind: str) -> list[str]:
        """The finished files of `answers` or `rejects` (a folder per generation) or of `index`, sorted."""
        folders = [kind] if kind == INDEX else [f"{kind}/{generation}" for generation in self._generations(kind)]
        return [file for folder in folders for file in _files(self.out, folder, ".parquet")]

    def parts(self, kind: str) -> list[str]:
        """The parts of `answers` or `rejects` that are not compacted into one file per shard yet."""
        if self.out is None:
            return []
        folders = [parts_folder(kind, generation) for generation in self._generations(kind)]
        shards = [f"{folder}/{shard}" for folder in folders for shard in self.out.folders(folder)]
        return [file for shard in shards for file in _files(self.out, shard, ".parquet")]

    def metrics(self) -> list[str]:
        return list(_files(self.out, METRICS, ".json"))

    def logs(self) -> list[str]:
        """One file; on object stores, which cannot append, pieces."""
        return list(_files(self.out, METRICS, ".jsonl"))

    def _generations(self, kind: str) -> list[str]:
        return list(self.out.folders(kind)) if self.out else []


def find_all(paths: Sequence[str]) -> list[OutputPaths]:
    """The outputs at `paths`; a pattern (`out/*`, also in a URL) is replaced by the outputs that match it.

    Raises UserError if a pattern matches no output, and whatever `find` raises.
    """
    return [output for given in paths for output in _expanded(given)]


def names(outputs: Sequence[OutputPaths]) -> list[str]:
    """A unique name for each output: its folder's name, or the given path where several share a folder name."""
    own = [output.name for output in outputs]
    return [output.given if own.count(output.name) > 1 else output.name for output in outputs]


def find(path: str) -> OutputPaths:
    """The output, build or run in progress at `path`, a folder or an fsspec URL such as s3://bucket/out.

    Raises UserError when `path` has no output, or several builds of which none is published; DatasetError when the
    published build is missing, StoreError when the store fails.
    """
    if "::" in path.partition("://")[0]:
        raise UserError(f"cannot inspect {path}: DuckDB reads no chained URLs. Give the URL behind ::")
    return _output(path, locate(path))


def footer(file: str) -> pq.FileMetaData:
    """The metadata of a Parquet file: its rows and columns. Raises DatasetError if it cannot be read."""
    try:
        with open_stream(file, sequential=False) as opened:
            return pq.read_metadata(opened)
    except (pa.ArrowInvalid, OSError, ShardError) as error:
        raise DatasetError(f"{file} cannot be read as Parquet: {error}") from error


def _output(given: str, found: Location) -> OutputPaths:
    if found.kind in ("file", "nothing"):
        what = "it is a file" if found.kind == "file" else "there is no such folder"
        raise UserError(f"cannot inspect {given}: {what}. Give the folder that output.path of the pipeline names")
    if found.kind == "folder" or (found.kind == "build" and not _is_finished(found.build)):
        raise UserError(
            f"cannot inspect {given}: no dataset, build or run is in it (no dataset, {MANIFEST}, answers/ or index/). "
            f"Give the folder that output.path of the pipeline names"
        )
    build = found.build
    if build is None:
        build = _only_build(given, found.out)
    elif not _is_finished(build):
        raise DatasetError(f"{given} names the build {build.url}, which has no {MANIFEST}. Build the dataset again")
    return OutputPaths(given=given, out=_for_duckdb(found.out), build=_for_duckdb(build))


def _only_build(given: str, out: Store | None) -> Store | None:
    """The output's build where none is published. Raises UserError for several."""
    assert out is not None
    builds = [name for name in out.folders(BUILDS) if out.exists(f"{build_folder(name)}/{MANIFEST}")]
    if len(builds) > 1:
        listed = ", ".join(f"{given.rstrip('/')}/{build_folder(name)}" for name in builds)
        raise UserError(
            f"cannot inspect {given}: it has {len(builds)} builds and none is published. Give one: {listed}"
        )
    return open_store(f"{out.url}/{build_folder(builds[0])}") if builds else None


def _for_duckdb(store: Store | None) -> Store | None:
    """The store with the URL that its file system gives to listed files, as DuckDB has them: memory:///x, not memory://x."""
    return ObjectStore(store.fs.unstrip_protocol(store.root)) if isinstance(store, ObjectStore) else store


def _is_finished(build: Store | None) -> bool:
    return build is not None and build.exists(MANIFEST)


def _expanded(given: str) -> list[OutputPaths]:
    pattern = absolute(given)
    if not glob.has_magic(given) or is_folder(pattern):  # a folder's name may have brackets
        return [find(given)]
    found = ((path, locate(path)) for path in matches(pattern, folders=True))
    outputs = [_output(path, location) for path, location in found if location.kind in ("build", "output")]
    if not outputs:
        raise UserError(
            f"cannot inspect {given}: it matches no output. Give folders that output.path of a pipeline names"
        )
    return outputs


def _files(store: Store | None, folder: str, suffix: str) -> Iterator[str]:
    """Full paths, sorted. Names that begin with a dot are temporary: a run may be writing at the same time."""
    for path in store.list(folder) if store else ():
        if path.endswith(suffix) and not path.rpartition("/")[2].startswith("."):
            yield f"{store.url}/{path}"  # type: ignore[union-attr]
