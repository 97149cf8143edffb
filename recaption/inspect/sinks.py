"""Where an answer goes: a file that appears whole or not at all, a pipe, a terminal."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from rich.console import Console

from recaption.errors import DISK_ERRORS, StoreError, UserError, in_words
from recaption.inspect.layout import Layout

_WIDTH = 200  # cells of a table in a file


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears at `path` when all of it is written, and not at all when anything fails.

    Raises StoreError where the disk is full or failing, UserError where it cannot be written for another reason.
    """
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        failed = StoreError if error.errno in DISK_ERRORS else UserError
        raise failed(f"cannot write {path}: {in_words(error)}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def keep_apart(file: Path, layouts: Sequence[Layout]) -> None:
    """Raises UserError where `file` is a folder, or lies in one of the outputs that are looked into."""
    if file.is_dir():
        raise UserError(f"{file} is a folder; name a file in it, such as {file}/answer.parquet")
    target = file.absolute().resolve()
    for root in (root for layout in layouts for root in layout.roots):
        if isinstance(root, Path) and target.is_relative_to(root):
            raise UserError(f"{file} lies in the output {root}, which inspect never changes; name a file elsewhere")


@contextmanager
def text_sink(file: Path | None, console: Console) -> Iterator[Console]:
    """What tables are printed to: the file, or the console."""
    if file is None:
        yield console
        return
    with whole_file(file) as raw:
        text = io.TextIOWrapper(raw, "utf-8", write_through=True)
        yield Console(file=text, width=_WIDTH)
        text.detach()  # the file is closed by whom it belongs to


@contextmanager
def byte_sink(file: Path | None, console: Console) -> Iterator[IO[bytes]]:
    """What rows are written to: the file, or what is behind the console."""
    if file is not None:
        with whole_file(file) as raw:
            yield raw
        return
    buffer = getattr(console.file, "buffer", None)
    if buffer is not None:
        yield buffer
        buffer.flush()
        return
    kept = io.BytesIO()  # a stream of text, as in notebooks
    yield kept
    console.file.write(kept.getvalue().decode())
