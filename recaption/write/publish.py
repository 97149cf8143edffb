"""Publishes a build as the dataset of an output with one rename, finds the published build, removes the others."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from recaption.errors import DatasetError, StoreError, UserError, in_words
from recaption.io.store import LocalStore, Store, open_store
from recaption.output.paths import ANSWERS, BUILDS, CURRENT, DATASET, INDEX, MANIFEST, build_folder
from recaption.write.shard import forget_shards


def publish(store: Store, build: str) -> None:
    """Make `builds/<build>` the dataset: the symlink `dataset` locally, the file CURRENT on object stores.

    Open readers of the old build are not affected, because its files stay. Raises DatasetError for a build without a
    manifest, which is unfinished.
    """
    target = build_folder(build)
    if not store.exists(f"{target}/{MANIFEST}"):
        raise DatasetError(f"{store.url}/{target} has no manifest.json: the build is not finished")
    link = store.local(DATASET)
    if link is None:
        store.put(CURRENT, target.encode())
        return
    if link.exists() and not link.is_symlink():
        raise StoreError(f"{link} is not a symlink of recaption. Move it away, then run `recaption build` again")
    _switch(link, target)


def current_build(store: Store) -> str | None:
    """The published build; None if there is none."""
    link = store.local(DATASET)
    if link is None:
        try:
            target = store.get(CURRENT).decode()
        except FileNotFoundError:
            return None
    elif link.is_symlink():
        target = str(link.readlink())
    else:
        return None
    folder, _, build = target.rstrip("/").rpartition("/")
    if folder != BUILDS or not build:
        raise DatasetError(f"{store.url} points at {target!r}, which is not a build of this output")
    return build


def _switch(link: Path, target: str) -> None:
    """Point `link` at the relative path `target` in one rename, and make the rename durable."""
    temporary = link.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        temporary.symlink_to(target, target_is_directory=True)
        try:
            temporary.replace(link)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        folder = os.open(link.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StoreError(f"cannot publish {link}: {in_words(error)}") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned:
    """The removed builds."""

    builds: int
    bytes: int

    def __str__(self) -> str:
        if not self.builds:
            return "pruned: there is no other build"
        return f"pruned: {self.builds:,} other build{'s' * (self.builds > 1)}, {self.bytes / 1e6:,.1f} MB"


def prune(store: Store) -> Pruned:
    """Remove all builds except the published one, including unfinished ones. Without a published build, remove nothing.

    Links among the builds and their targets are kept. The caller must hold the output's lease, because a build in
    progress looks like an abandoned one.
    The manifest is removed first, so that after a kill the rest of a build is not mistaken for a finished one. The
    entries of its finished shards are removed next, so that the rest is not continued.
    """
    kept = current_build(store)
    builds = bytes_ = 0
    for build in list(store.folders(BUILDS)) if kept else ():
        folder = build_folder(build)
        if build == kept or ((local := store.local(folder)) is not None and local.is_symlink()):
            continue
        bytes_ += _size(store, f"{folder}/{MANIFEST}")
        store.delete(f"{folder}/{MANIFEST}")
        bytes_ += forget_shards(store, folder) + store.remove(folder)
        builds += 1
    return Pruned(builds=builds, bytes=bytes_)


def _size(store: Store, path: str) -> int:
    try:
        return len(store.get(path))
    except FileNotFoundError:
        return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """A build's folder, and the output that contains it; `out` is None for a build that was copied elsewhere."""

    store: Store
    out: Store | None


def locate(path: str) -> Build:
    """The build at `path`, which is OUT, OUT/dataset or a build's folder, local or a URL.

    Raises UserError if there is none, and DatasetError if the output points at something that is not a build.
    """
    store = _open(path)
    above, _, _ = store.url.rpartition("/")
    if above.rpartition("/")[2] == BUILDS:  # without a manifest it is unfinished
        return Build(store=store, out=open_store(above.rpartition("/")[0]))
    if store.exists(MANIFEST):
        return Build(store=store, out=None)
    name = _published(store)
    if name is not None:
        return Build(store=open_store(f"{store.url}/{name}"), out=store)
    ours = any(folder in (BUILDS, ANSWERS, INDEX) for folder in store.folders(""))
    what = "no build is published yet" if ours else "it has no dataset of recaption"
    raise UserError(
        f"cannot open {path}: there is no finished build, {what}. Give an output that `recaption run` or `recaption "
        f"build` has finished, or the folder of a build (the one with {MANIFEST})"
    )


def _open(path: str) -> Store:
    store = open_store(path)
    folder = store.local("")
    if folder is None:  # object stores have no links: OUT/dataset is the build that OUT/CURRENT names
        parent, _, last = store.url.rpartition("/")
        return open_store(parent) if last == DATASET and not store.exists(MANIFEST) else store
    if not folder.is_dir():
        what = "it is a file" if folder.exists() else "there is no such folder"
        raise UserError(f"cannot open {path}: {what}. Give an output, its dataset, or a build")
    return LocalStore(folder.resolve())


def _published(out: Store) -> str | None:
    """The published build's folder, as seen from the output."""
    if out.exists(f"{DATASET}/{MANIFEST}") and not _is_link(out):  # copied with links followed
        return DATASET
    try:
        name = current_build(out)
        if name is None and out.exists(CURRENT):  # copied from an object store
            name = PurePosixPath(out.get(CURRENT).decode().strip()).name
    except UnicodeDecodeError as error:
        raise DatasetError(f"{out.url}/{CURRENT} is not text: {error}") from error
    if name in (".", ".."):
        raise DatasetError(f"{out.url} points at {name!r}, which is not a build of this output")
    return build_folder(name) if name else None


def _is_link(out: Store) -> bool:
    link = out.local(DATASET)
    return link is not None and link.is_symlink()
