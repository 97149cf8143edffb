"""What is at a path: an output, a build or neither; and which build of an output is the published one.

Readers share this module: it needs no more than `recaption.io`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from recaption.errors import DatasetError, UserError
from recaption.io.files import is_url
from recaption.io.store import LocalStore, Store, open_store
from recaption.output.paths import BUILDS, CURRENT, DATASET, INDEX, MANIFEST, STORED, build_folder
from recaption.types import SCHEMA_VERSION

_FOLDERS: Final = frozenset({BUILDS, INDEX, *STORED})  # an output has at least one of them


@dataclass(frozen=True, kw_only=True, slots=True)
class Location:
    """What `locate` found. If the path is neither an output nor a build, `kind` describes what is there."""

    kind: Literal["build", "output", "folder", "file", "nothing"]
    out: Store | None = None  # the output; None for a build that was copied elsewhere
    build: Store | None = None  # the given build, or the published one of the output; it may lack its manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """A build's folder, and the output that contains it; `out` is None for a build that was copied elsewhere."""

    store: Store
    out: Store | None


def locate(path: str) -> Location:
    """What is at `path`, a local path or an fsspec URL: OUT, OUT/dataset, a build's folder, or anything else.

    Links are resolved, so the result does not change when another build is published. Raises DatasetError when the
    output points at something that cannot be a build, StoreError when the store fails.
    """
    root = open_store(path)
    folder = root.local("")
    parent, _, name = root.url.rpartition("/")
    if folder is None:  # object stores have no links: OUT/dataset is the build that OUT/CURRENT names
        if name == DATASET and is_url(parent) and not root.exists(MANIFEST):
            root = open_store(parent)
    elif not folder.is_dir():
        return Location(kind="file" if folder.exists() else "nothing")
    else:
        root = LocalStore(folder.resolve())
    parent, _, name = root.url.rpartition("/")
    if parent.rpartition("/")[2] == BUILDS:  # without a manifest it is unfinished
        return Location(kind="build", out=open_store(parent.rpartition("/")[0]), build=root)
    if root.exists(MANIFEST):
        copied = name == DATASET and _is_output(out := open_store(parent))  # an output was copied with links followed
        return Location(kind="build", out=out if copied else None, build=root)
    build = _published(root)
    if build is not None or _is_output(root):
        return Location(kind="output", out=root, build=build)
    if folder is None and root.exists(""):
        return Location(kind="file")
    found = folder is not None or next(root.list(""), None) or next(root.folders(""), None)
    return Location(kind="folder" if found else "nothing")


def find_build(path: str) -> Build:
    """The build at `path`: OUT, OUT/dataset or a build's folder; a local path or a URL.

    Raises UserError when there is none, DatasetError and StoreError like `locate`.
    """
    found = locate(path)
    if found.build is not None:
        return Build(store=found.build, out=found.out)
    if found.kind in ("file", "nothing"):
        what = "it is a file" if found.kind == "file" else "there is no such folder"
        raise UserError(f"cannot open {path}: {what}. Give an output, its dataset, or a build")
    what = "no build is published yet" if found.out else "no dataset of recaption is in it"
    raise UserError(
        f"cannot open {path}: there is no finished build ({what}). Give an output that `recaption run` or `recaption "
        f"build` has finished, or the folder of a build (the one with {MANIFEST})"
    )


def read_manifest(store: Store, prefix: str = "") -> dict[str, Any]:
    """The manifest of the build in the store's folder `prefix`.

    Raises DatasetError for a build that is unfinished or of another major version of the schema, and for other content.
    """
    path = f"{prefix}/{MANIFEST}".lstrip("/")
    where = f"{store.url}/{path}"
    try:
        manifest = orjson.loads(store.get(path))
        version = str(manifest["schema_version"])
    except FileNotFoundError as error:
        raise DatasetError(f"{where} is missing: the build is not finished, or no longer there") from error
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise DatasetError(f"{where} is not a manifest: {type(error).__name__}: {error}") from error
    if version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
        raise DatasetError(
            f"{where} has schema version {version}; this version of recaption reads {SCHEMA_VERSION}. Upgrade recaption"
        )
    return dict(manifest)


def current_build(out: Store) -> str | None:
    """The name of the published build: the target of the link `dataset`, on object stores the content of CURRENT.

    None when no build is published yet. Raises DatasetError when the target is not in the output's `builds/`.
    """
    link = out.local(DATASET)
    if link is None:
        return _named(out)
    if not link.is_symlink():
        return None
    return _checked(out, str(link.readlink()))


def _published(out: Store) -> Store | None:
    if out.exists(f"{DATASET}/{MANIFEST}"):  # also a folder: a copy that followed the link
        link = out.local(DATASET)
        return open_store(f"{out.url}/{DATASET}") if link is None else LocalStore(link.resolve())
    name = current_build(out) or _named(out)  # a local copy of an object store has the file
    return open_store(f"{out.url}/{build_folder(name)}") if name else None


def _named(out: Store) -> str | None:
    """The build that the file CURRENT names."""
    try:
        target = out.get(CURRENT).decode().strip()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{out.url}/{CURRENT} is not text: {error}") from error
    return _checked(out, target if "/" in target else build_folder(target))


def _checked(out: Store, target: str) -> str:
    folder, _, build = target.rstrip("/").rpartition("/")
    if folder != BUILDS or build in ("", ".", ".."):
        raise DatasetError(f"{out.url} points at {target!r}, which is not a build of this output")
    return build


def _is_output(store: Store) -> bool:
    return not _FOLDERS.isdisjoint(store.folders(""))
