"""Finds the published build of an output folder and the files of every table."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recaption.errors import DatasetError, UserError
from recaption.inspect.remote import AnyPath, RemotePath, open_url
from recaption.io.files import is_url
from recaption.output.paths import BUILDS, CURRENT, DATA, DATASET, INDEX, MANIFEST, METRICS, PARTS, STORED
from recaption.schema import FLAT

_RUN_FOLDERS = (*STORED, INDEX)


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputPaths:
    """An output folder, a build within one, or a build that was copied elsewhere. At least one of the two is set."""

    given: str  # as the user wrote it
    out: AnyPath | None  # the output folder: answers, rejects, index, metrics
    build: AnyPath | None  # the build to read; None before the first build is published

    @property
    def name(self) -> str:
        """The folder's name, which distinguishes it from other outputs."""
        folder = self.out or self.build
        return folder.name if folder else self.given

    @property
    def manifest(self) -> AnyPath | None:
        return self.build / MANIFEST if self.build else None

    @property
    def roots(self) -> tuple[AnyPath, ...]:
        return tuple(root for root in (self.out, self.build) if root is not None)

    def of_build(self, table: str) -> list[AnyPath]:
        """The Parquet files of one of the build's tables, sorted by name."""
        return _files(self.build / table, ".parquet") if self.build else []

    def first_of_build(self, table: str) -> AnyPath | None:
        """The first of `of_build`. All of a build's files of a table have the same columns."""
        if self.build is None:
            return None
        folder = self.build / table
        return next((folder / name for name in _names(folder, ".parquet")), None)

    def custom_tables(self) -> list[str]:
        """Names of the custom tables (`annotate.tables`) of the build."""
        known = {*FLAT, DATA}
        folders = _folders(self.build) if self.build else []
        return [f.name for f in folders if f.name.isidentifier() and f.name not in known and _files(f, ".parquet")]

    def of_run(self, kind: str) -> list[AnyPath]:
        """The finished files of `answers` or `rejects` (a folder per generation) or of `index`, sorted."""
        if self.out is None:
            return []
        folders = [self.out / kind] if kind == INDEX else _folders(self.out / kind)
        return [file for folder in folders for file in _files(folder, ".parquet")]

    def parts(self, kind: str) -> list[AnyPath]:
        """The parts of `answers` or `rejects` that are not compacted into one file per shard yet."""
        if self.out is None:
            return []
        places = [place for folder in _folders(self.out / kind) for place in _folders(folder / PARTS)]
        return [file for place in places for file in _files(place, ".parquet")]

    def metrics(self) -> list[AnyPath]:
        return _files(self.out / METRICS, ".json") if self.out else []

    def logs(self) -> list[AnyPath]:
        """One file; on object stores, which cannot append, pieces."""
        return _files(self.out / METRICS, ".jsonl") if self.out else []


def find_all(paths: Sequence[str]) -> list[OutputPaths]:
    """The outputs at `paths`; a pattern (`out/*`, also in a URL) is replaced by the outputs that match it.

    Raises UserError if a pattern matches no output, and as `find`.
    """
    return [find(path) for given in paths for path in _expanded(given)]


def names(outputs: Sequence[OutputPaths]) -> list[str]:
    """A unique name for each output: its folder's name, or the given path where several share a folder name."""
    own = [output.name for output in outputs]
    return [output.given if own.count(output.name) > 1 else output.name for output in outputs]


def find(path: str) -> OutputPaths:
    """The output, build or run in progress at `path`, a folder or an fsspec URL such as s3://bucket/out.

    Raises UserError when `path` has no output, or several builds and none is published; DatasetError when the
    published build is missing or the store does not respond.
    """
    given: AnyPath = _opened(path)
    if not given.is_dir():
        what = "it is a file" if given.is_file() else "there is no such folder"
        raise UserError(f"cannot inspect {path}: {what}. Give the folder that output.path of the pipeline names")
    given = given.resolve()  # OUT/dataset is a link to a build
    if (given / MANIFEST).is_file():
        out = given.parent.parent if given.parent.name == BUILDS else None
        return OutputPaths(given=path, out=out, build=given)
    build = _published(given, path)
    if build is None and not any((given / folder).is_dir() for folder in _RUN_FOLDERS):
        raise UserError(
            f"cannot inspect {path}: no dataset, build or run is in it (no dataset, {MANIFEST}, answers/ or index/). "
            f"Give the folder that output.path of the pipeline names"
        )
    return OutputPaths(given=path, out=given, build=build)


def _opened(path: str) -> AnyPath:
    return open_url(path) if is_url(path) else Path(path.removeprefix("file://")).expanduser().absolute()


def _expanded(given: str) -> list[str]:
    if not glob.has_magic(given):
        return [given]
    place = _opened(given)
    if place.is_dir():  # a folder's own name may have brackets in it
        return [given]
    if isinstance(place, RemotePath):
        found: list[AnyPath] = [RemotePath(str(path), place.fs) for path in place.fs.glob(place.path)]
    else:
        found = [Path(path) for path in glob.glob(str(place))]  # noqa: PTH207 - Path.glob takes no absolute pattern
    outputs = sorted(str(path) for path in found if path.is_dir() and _is_output(path))
    if not outputs:
        raise UserError(f"cannot inspect {given}: no output matches it. Give folders that output.path names")
    return outputs


def _is_output(folder: AnyPath) -> bool:
    files, folders = (CURRENT, MANIFEST), (DATASET, BUILDS, *_RUN_FOLDERS)
    return any((folder / name).is_file() for name in files) or any((folder / name).is_dir() for name in folders)


def _published(out: AnyPath, given: str) -> AnyPath | None:
    link, current = out / DATASET, out / CURRENT
    if link.is_symlink() or link.is_dir():
        return _checked(link.resolve(), f"{given}/{DATASET}")
    if current.is_file():  # copied from an object store, which has no links
        return _checked((out / BUILDS / Path(current.read_text("utf-8").strip()).name).resolve(), f"{given}/{CURRENT}")
    builds = [folder for folder in _folders(out / BUILDS) if (folder / MANIFEST).is_file()]
    if len(builds) > 1:
        names = ", ".join(f"{given.rstrip('/')}/{BUILDS}/{folder.name}" for folder in builds)
        raise UserError(f"cannot inspect {given}: it has {len(builds)} builds and none is published. Give one: {names}")
    return builds[0].resolve() if builds else None


def _checked(build: AnyPath, by: str) -> AnyPath:
    if not (build / MANIFEST).is_file():
        raise DatasetError(f"{by} names the build {build}, which has no {MANIFEST}. Build the dataset again")
    return build


def _files(folder: AnyPath, suffix: str) -> list[AnyPath]:
    return [folder / name for name in _names(folder, suffix)]


def _names(folder: AnyPath, suffix: str) -> list[str]:
    # Names that begin with a dot are temporary: a run may be writing at the same time.
    try:
        names = os.listdir(folder) if isinstance(folder, Path) else [path.name for path in folder.iterdir()]  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(name for name in names if name.endswith(suffix) and not name.startswith("."))


def _folders(folder: AnyPath) -> list[AnyPath]:
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
