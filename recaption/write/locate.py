"""Where a build lies: an output names it, or it is given itself, perhaps as a copy away from its output."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from recaption.errors import DatasetError, UserError
from recaption.io.store import LocalStore, Store, open_store
from recaption.write.publish import CURRENT, LINK, current_build

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """A build's folder and the output around it, which has the answers; None where the build was copied elsewhere."""

    store: Store
    out: Store | None


def locate(path: str) -> Build:
    """The build at `path`: OUT, OUT/dataset or a build's folder; local, or a URL.

    Raises UserError when there is none, and DatasetError when what the output points at cannot be one.
    """
    store = _open(path)
    above, _, _ = store.url.rpartition("/")
    if above.rpartition("/")[2] == "builds":  # with or without a manifest: one without is unfinished
        return Build(store=store, out=open_store(above.rpartition("/")[0]))
    if store.exists(MANIFEST):
        return Build(store=store, out=None)
    name = _published(store)
    if name is not None:
        return Build(store=open_store(f"{store.url}/{name}"), out=store)
    ours = any(folder in ("builds", "answers", "index") for folder in store.folders(""))
    what = "no build of it is published yet" if ours else "no dataset of recaption is in it"
    raise UserError(
        f"cannot open {path}: there is no finished build, {what}. Give an output that `recaption run` or `recaption "
        f"build` has finished, or the folder of a build (the one with {MANIFEST})"
    )


def _open(path: str) -> Store:
    store = open_store(path)
    folder = store.local("")
    if folder is None:  # object stores have no links: OUT/dataset is the build that OUT/CURRENT names
        parent, _, last = store.url.rpartition("/")
        return open_store(parent) if last == LINK and not store.exists(MANIFEST) else store
    if not folder.is_dir():
        what = "it is a file" if folder.exists() else "there is no such folder"
        raise UserError(f"cannot open {path}: {what}. Give an output, its dataset, or a build")
    return LocalStore(folder.resolve())


def _published(out: Store) -> str | None:
    """The published build's folder, as seen from the output."""
    if out.exists(f"{LINK}/{MANIFEST}") and not _is_link(out):  # copied with links followed
        return LINK
    try:
        name = current_build(out)
        if name is None and out.exists(CURRENT):  # copied from an object store
            name = PurePosixPath(out.get(CURRENT).decode().strip()).name
    except UnicodeDecodeError as error:
        raise DatasetError(f"{out.url}/{CURRENT} is not text: {error}") from error
    if name in (".", ".."):
        raise DatasetError(f"{out.url} points at {name!r}, which is not a build of this output")
    return f"builds/{name}" if name else None


def _is_link(out: Store) -> bool:
    link = out.local(LINK)
    return link is not None and link.is_symlink()
