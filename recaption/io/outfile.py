"""A file that is written in one pass, hashed on the way, and appears in the store whole or not at all."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from recaption.errors import StoreError, in_words
from recaption.io.store import Store

_BUFFER = 1 << 20  # bytes; header, image and text of a sample leave in one write


class Sink(io.BufferedWriter):
    """A new file that is only appended to; `size` is what was written so far, `sha256()` its hash if it is `hashed`."""

    def __init__(self, path: str, *, hashed: bool = True) -> None:
        super().__init__(io.FileIO(path, "xb"), _BUFFER)
        self._hash = hashlib.sha256()
        self._hashed = hashed
        self.size = 0

    def write(self, data: bytes) -> int:  # type: ignore[override]
        written = super().write(data)
        if self._hashed:
            self._hash.update(data)
        self.size += written
        return written

    def sha256(self) -> str:
        assert self._hashed
        return self._hash.hexdigest()


@contextmanager
def outfile(store: Store, path: str, *, hashed: bool = True) -> Iterator[Sink]:
    """A sink whose bytes become the file `path` if the block succeeds. Otherwise, no file appears.

    Without `hashed`, the sink has no `sha256()`: hashing takes as long as writing.

    Raises StoreError with advice where the disk is full or cannot be written. Closing and removing the temporary file
    after a failure never hides the error that caused it.
    """
    temporary = store.scratch()
    try:
        sink = Sink(str(temporary), hashed=hashed)
        try:
            yield sink
            sink.close()
            store.adopt(temporary, path)
        finally:
            with suppress(OSError):  # after an error: buffered bytes that do not fit fail once more
                sink.close()
    except OSError as error:
        raise StoreError(f"cannot write {store.url}/{path}: {in_words(error)}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
