"""Finds what lies in an output folder: the build that is published, and the files of every table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recaption.errors import DatasetError, UserError
from recaption.schema import FLAT

MANIFEST = "manifest.json"
_RUN_FOLDERS = ("answers", "rejects", "index")


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """An output folder, a build within one, or a build that was copied elsewhere. At least one of the two is set."""

    given: str  # as the user wrote it
    out: Path | None  # the output folder: answers, rejects, index, metrics
    build: Path | None  # the build that is looked at; None while a run has not come that far

    @property
    def manifest(self) -> Path | None:
        return self.build / MANIFEST if self.build else None

    @property
    def roots(self) -> tuple[Path, ...]:
        return tuple(root for root in (self.out, self.build) if root is not None)

    def of_build(self, table: str) -> list[Path]:
        """The Parquet files of one of the build's tables, sorted by name."""
        return _files(self.build / table, ".parquet") if self.build else []

    def own_tables(self) -> list[str]:
        """Tables that annotators of the pipeline's own have added to the build."""
        known = {*FLAT, "data"}
        folders = _folders(self.build) if self.build else []
        return [f.name for f in folders if f.name.isidentifier() and f.name not in known and _files(f, ".parquet")]

    def of_run(self, kind: str) -> list[Path]:
        """The finished files of `answers` or `rejects` (a folder per generation) or of `index`, sorted."""
        if self.out is None:
            return []
        folders = [self.out / kind] if kind == "index" else _folders(self.out / kind)
        return [file for folder in folders for file in _files(folder, ".parquet")]

    def parts(self, kind: str) -> list[Path]:
        """The small files of `answers` or `rejects` that are not put together into one per shard yet."""
        if self.out is None:
            return []
        places = [place for folder in _folders(self.out / kind) for place in _folders(folder / ".parts")]
        return [file for place in places for file in _files(place, ".parquet")]

    def metrics(self) -> list[Path]:
        return _files(self.out / "metrics", ".json") if self.out else []


def find(path: str) -> Layout:
    """What is at `path`: an output folder, a build, or a run in progress.

    Raises UserError when there is nothing of ours at `path`, or several builds and none published; DatasetError when
    the published build is gone.
    """
    if "://" in path and not path.startswith("file://"):
        raise UserError(
            f"cannot inspect {path}: only local folders can be opened. Copy the build here (all of it but data/ is "
            f"small) and inspect the copy"
        )
    given = Path(path.removeprefix("file://")).expanduser().absolute()
    if not given.is_dir():
        what = "it is a file" if given.exists() else "there is no such folder"
        raise UserError(f"cannot inspect {path}: {what}. Give the folder that output.path of the pipeline names")
    given = given.resolve()  # OUT/dataset is a link to a build
    if (given / MANIFEST).is_file():
        out = given.parent.parent if given.parent.name == "builds" else None
        return Layout(given=path, out=out, build=given)
    build = _published(given, path)
    if build is None and not any((given / folder).is_dir() for folder in _RUN_FOLDERS):
        raise UserError(
            f"cannot inspect {path}: no dataset, build or run is in it (no dataset, {MANIFEST}, answers/ or index/). "
            f"Give the folder that output.path of the pipeline names"
        )
    return Layout(given=path, out=given, build=build)


def _published(out: Path, given: str) -> Path | None:
    link, current = out / "dataset", out / "CURRENT"
    if link.is_symlink() or link.is_dir():
        return _checked(link.resolve(), f"{given}/dataset")
    if current.is_file():  # copied from an object store, which has no links
        return _checked((out / "builds" / Path(current.read_text("utf-8").strip()).name).resolve(), f"{given}/CURRENT")
    builds = [folder for folder in _folders(out / "builds") if (folder / MANIFEST).is_file()]
    if len(builds) > 1:
        names = ", ".join(f"{given.rstrip('/')}/builds/{folder.name}" for folder in builds)
        raise UserError(f"cannot inspect {given}: it has {len(builds)} builds and none is published. Give one: {names}")
    return builds[0].resolve() if builds else None


def _checked(build: Path, by: str) -> Path:
    if not (build / MANIFEST).is_file():
        raise DatasetError(f"{by} names the build {build}, which has no {MANIFEST}. Build the dataset again")
    return build


def _files(folder: Path, suffix: str) -> list[Path]:
    # Names that begin with a dot are temporary: a run may be writing while we look.
    try:
        return sorted(p for p in folder.iterdir() if p.suffix == suffix and not p.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
