"""Marks the folder of an export until the export ends, so that the files of a killed export are recognised."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from recaption.errors import RecaptionError, UserError
from recaption.io import files
from recaption.io.store import Store
from recaption.problems import Problem

UNFINISHED: Final = ".unfinished-export"
"""A file in the folder of an export until it ends. It stays if the process is killed."""


def in_use(dest: str) -> str:
    """The message about a folder that has the file UNFINISHED."""
    return (
        f"{dest} has a part of an export that is still running or was killed. If it was killed, delete the folder and "
        "run the same command again; else name another folder"
    )


@contextmanager
def removed_on_failure(store: Store) -> Iterator[None]:
    """If the block fails, remove what it wrote into `store`, which was empty, so that the command can run again.

    The file UNFINISHED exists from start to end, so that the files of a killed export are recognised. Raises UserError
    if it exists already: of two exports that start at the same time, one ends here, before it writes anything.
    """
    text = (
        "This folder has a part of an export that is still running or was killed. In the second case, delete it.\n"
        f"export {uuid.uuid4().hex}\n"  # a put whose reply was lost is repeated and then finds its own file
    ).encode()
    if not store.put(UNFINISHED, text, if_absent=True) and store.get(UNFINISHED) != text:
        raise UserError(in_use(store.url))
    try:
        yield
        store.delete(UNFINISHED)
    except BaseException:
        with suppress(RecaptionError):  # must not hide the first error
            for folder in list(store.folders("")):
                store.remove(folder)
            for path in sorted(store.list(""), key=lambda path: path == UNFINISHED):  # the mark is the last one
                store.delete(path)
        raise


def unfinished(path: str) -> Iterator[Problem]:
    """The problem of a dataset at `path`, a file or folder, whose export was killed.

    If looking up the mark fails, no problem is reported: the folder above a dataset may be unreadable, such as that of
    hf://datasets/ORG/NAME.
    """
    here = path.rstrip("/")
    for folder in (here, here.rpartition("/")[0] or "."):
        with suppress(RecaptionError):
            if files.is_file(f"{folder}/{UNFINISHED}"):
                yield Problem(
                    where=folder,
                    what="its export did not end",
                    advice="Wait for it if it is still running; else delete the folder, and export again",
                    kind="unfinished export",
                    severity="error",
                )
                return
