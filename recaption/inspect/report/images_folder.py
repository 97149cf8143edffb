"""The pictures of a report as files in a folder beside the page."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from recaption.errors import UserError
from recaption.inspect.writers import atomic_file

_DIGITS = 24
_NAME = re.compile(rf"[0-9a-f]{{{_DIGITS}}}\.webp")


class ImagesFolder:
    """The folder of a report's pictures. Files are named after their content, so the previous page keeps its
    pictures until it is replaced."""

    def __init__(self, path: Path, *, made: bool = False) -> None:
        self.path, self._made = path, made
        self._new: list[Path] = []  # files that this report added
        self.size = 0  # bytes
        self._names: set[str] = set()

    @classmethod
    def beside(cls, page: Path) -> ImagesFolder:
        """The folder `<name of the page>-images`. Raises UserError if it cannot be made."""
        path = page.with_name(f"{page.stem}-images")
        existed = path.is_dir()
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write images to {path}: {error.strerror}. Give another -o FILE") from error
        return cls(path, made=not existed)

    def put(self, webp: bytes) -> str:
        """Store a picture; returns its URL, relative to the page. Raises as `atomic_file`."""
        name = f"{hashlib.sha256(webp).hexdigest()[:_DIGITS]}.webp"
        if name not in self._names:
            if not (self.path / name).exists():
                self._new.append(self.path / name)
            with atomic_file(self.path / name) as sink:
                sink.write(webp)
            self._names.add(name)
            self.size += len(webp)
        return f"{quote(self.path.name)}/{name}"

    @contextmanager
    def removed_on_failure(self) -> Iterator[None]:
        """If the block fails, remove the pictures that it added: no page shows them."""
        try:
            yield
        except BaseException:
            with suppress(OSError):  # must not hide the first error
                for file in self._new:
                    file.unlink(missing_ok=True)
                if self._made:
                    self.path.rmdir()
            raise

    def remove_others(self) -> None:
        """Remove pictures of an earlier report. Other files in the folder stay."""
        for file in self.path.iterdir():
            if _NAME.fullmatch(file.name) and file.name not in self._names:
                with suppress(OSError):
                    file.unlink()
