"""A file or folder on an object store, with the part of `pathlib.Path` that inspecting an output needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias

from recaption.errors import DatasetError, MissingExtra, UserError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


@dataclass(frozen=True, order=True, slots=True)
class RemotePath:
    """`path` has no protocol; `kind` is "file", "directory", or None while unknown."""

    path: str
    fs: AbstractFileSystem = field(compare=False, repr=False)
    kind: str | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return str(self.fs.unstrip_protocol(self.path))

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self.path.rstrip('/')}/{name}", self.fs) if name else self

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.path).suffix

    @property
    def parent(self) -> RemotePath:
        return RemotePath(str(PurePosixPath(self.path).parent), self.fs)

    def resolve(self) -> RemotePath:
        """Itself: object stores have no links."""
        return self

    def is_symlink(self) -> bool:
        return False

    def is_file(self) -> bool:
        return self.kind == "file" if self.kind else self._call(self.fs.isfile)

    def is_dir(self) -> bool:
        return self.kind == "directory" if self.kind else self._call(self.fs.isdir)

    def iterdir(self) -> Iterator[RemotePath]:
        """Raises FileNotFoundError if there is nothing."""
        for entry in self._call(lambda path: self.fs.ls(path, detail=True)):
            if entry["name"].rstrip("/") != self.path.rstrip("/"):  # some stores list the folder itself
                yield RemotePath(entry["name"].rstrip("/"), self.fs, entry["type"])

    def read_bytes(self) -> bytes:
        return bytes(self._call(self.fs.cat_file))

    def read_text(self, encoding: str) -> str:
        return self.read_bytes().decode(encoding)

    def open(self, mode: str = "rb") -> Any:
        """For reading ranges: nothing is read ahead."""
        return self._call(lambda path: self.fs.open(path, mode, cache_type="none"))

    def _call(self, call: Any) -> Any:
        try:
            return call(self.path)
        except FileNotFoundError:
            raise
        except Exception as error:  # each store has different errors
            raise DatasetError(f"cannot read {self}: {type(error).__name__}: {error}") from error


AnyPath: TypeAlias = Path | RemotePath

_READING_METHODS = (
    "exists",
    "isfile",
    "isdir",
    "glob",
    "find",
    "ls",
    "info",
    "size",
    "modified",
    "cat_file",
    "cat_ranges",
)


def read_only(fs: AbstractFileSystem) -> AbstractFileSystem:
    """The same files for DuckDB, which has no setting for a file system that it may only read."""
    from fsspec import AbstractFileSystem

    class ReadOnly(AbstractFileSystem):
        protocol = fs.protocol
        cachable = False

        def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
            if mode not in ("r", "rb"):
                raise PermissionError(f"{path} is opened for reading only")
            return fs.open(path, mode, **options)

    for name in _READING_METHODS:
        setattr(ReadOnly, name, staticmethod(getattr(fs, name)))
    return ReadOnly()


def open_url(url: str) -> RemotePath:
    """Raises UserError for a protocol without an installed package, MissingExtra for S3 without s3fs."""
    import fsspec

    protocol = url.split("://", 1)[0]
    # DuckDB reads footers and column chunks; read-ahead would fetch megabytes for each.
    options = {"default_cache_type": "none"} if protocol in ("s3", "s3a") else {}
    try:
        if "::" in protocol:
            raise ValueError("chained URLs are not read")
        fs, path = fsspec.core.url_to_fs(url, **options)
    except (ImportError, ValueError) as error:
        if protocol in ("s3", "s3a") and isinstance(error, ImportError):
            raise MissingExtra("s3fs", "s3") from error
        raise UserError(f"cannot inspect {url}: {error}") from error
    fs.invalidate_cache()  # a run may have written since this process looked last
    return RemotePath(str(path).rstrip("/"), fs)
