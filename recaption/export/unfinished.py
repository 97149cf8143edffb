"""Marks the folder of an export until the export ends, so that the files of a killed export are recognised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from recaption.errors import RecaptionError
from recaption.io import files
from recaption.io.store import Store
from recaption.problems import Problem

UNFINISHED: Final = ".unfinished-export"
"""A file in the folder of an export until it ends. It stays if the process is killed."""


@contextmanager
def removed_on_failure(store: Store) -> Iterator[None]:
    """If the block fails, remove what it wrote into `store`, which was empty, so that the command can run again.

    The file UNFINISHED exists from start to end, so that the files of a killed export are recognised.
    """
    try:
        store.put(UNFINISHED, b"This folder has a part of an export. Delete the folder.\n")
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
                    advice="Delete the folder, and export again",
                    kind="unfinished export",
                    severity="error",
                )
                return
