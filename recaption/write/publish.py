"""Publishing: which build is the dataset. One rename, so that a reader sees the old build or the new one, whole."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from recaption.errors import DatasetError, StoreError, in_words
from recaption.io.store import Store

LINK = "dataset"
CURRENT = "CURRENT"


def publish(store: Store, build: str) -> None:
    """Make `builds/<build>` the dataset: the symlink `dataset` locally, the file CURRENT on object stores.

    A reader that has the old build open is not disturbed; its files stay. Raises DatasetError for a build without a
    manifest, which is unfinished.
    """
    target = f"builds/{build}"
    if not store.exists(f"{target}/manifest.json"):
        raise DatasetError(f"{store.url}/{target} has no manifest.json: the build is not finished")
    link = store.local(LINK)
    if link is None:
        store.put(CURRENT, target.encode())
        return
    if link.exists() and not link.is_symlink():
        raise StoreError(f"{link} is not a symlink of ours; move it away, then run `recaption build` again")
    _switch(link, target)


def current_build(store: Store) -> str | None:
    """The build that is published; None when there is none yet."""
    link = store.local(LINK)
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
    if folder != "builds" or not build:
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
