"""Reads and lists files on local disks and behind fsspec URLs. Failures are ShardErrors.

All uses of fsspec for reading go through `filesystem` and `remote`.
"""

from __future__ import annotations

import errno
import glob
import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from recaption.errors import MissingExtra, ShardError, SourceError, UserError
from recaption.io.retrying import retried

ATTEMPTS = 3  # of a remote call; connections drop in runs that take days
FIRST_WAIT = 0.4  # seconds
S3 = ("s3", "s3a")  # protocols
REQUESTS = 16  # at a time, of one task that reads whole small files from an object store
_BLOCK = 8 << 20  # bytes per request of a remote stream
T = TypeVar("T")
_Identity = tuple[int, int]  # of a folder: device and inode
_NOT_READABLE = {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
_STAMPS = (
    "ETag",
    "etag",
    "LastModified",
    "last_modified",
    "mtime",
    "updated",
    "generation",
    "md5Hash",
    "created",
    "blob_id",
)


class Unreachable(ShardError):
    """The file as a whole cannot be opened: it is missing, or access is denied."""


def is_url(path: str) -> bool:
    """Whether fsspec opens it: the path has a protocol other than `file`."""
    return "://" in path and not path.startswith("file://")


def absolute(path: str) -> str:
    """A local path as an absolute one, because workers may run in another folder; URLs are unchanged."""
    if path.startswith("file://"):
        path = path.removeprefix("file://")
    return path if is_url(path) else os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - keeps globs


def filesystem(url: str, *, failure: type[UserError] = SourceError, **options: Any) -> tuple[Any, str]:
    """The fsspec file system of a URL (one per process and `options`), and the path in it.

    Raises `failure` for an unknown protocol or one without its package, MissingExtra for S3 without s3fs.
    """
    import fsspec

    try:
        return cast("tuple[Any, str]", fsspec.core.url_to_fs(url, **options))
    except (ImportError, ValueError) as error:
        if isinstance(error, ImportError) and url.split("://", 1)[0] in S3:
            raise MissingExtra("s3fs", "s3") from error
        raise failure(f"cannot open {url!r}: {error}") from error


def unstrip(path: str, like: str) -> str:
    """The URL of a path that the file system of the URL `like` has listed."""
    return path if is_url(path) else f"{like.split('://', 1)[0]}://{path.lstrip('/')}"


def failed(path: str, error: BaseException) -> ShardError:
    """The ShardError for an exception of the operating system or of an fsspec back end."""
    kind = Unreachable if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError) else ShardError
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return kind(f"cannot read {path}: {reason}")


def open_stream(path: str, *, sequential: bool = True, buffering: int = 1 << 20) -> BinaryIO:
    """Open a file for binary reading, from start to end or, if not `sequential`, in large pieces anywhere.

    `buffering` is in bytes, and only for local files. With 0, pieces are not copied on the way.
    """
    try:
        if not is_url(path):
            return cast("BinaryIO", open(path, "rb", buffering=buffering))
        fs, inner = filesystem(path)
        cache = "readahead" if sequential else "none"
        return cast("BinaryIO", fs.open(inner, "rb", block_size=_BLOCK, cache_type=cache))
    except (UserError, MissingExtra):
        raise
    except Exception as error:
        raise failed(path, error) from error


def read_range(path: str, start: int, end: int) -> bytes:
    """Bytes `[start, end)`; fewer where the file ends before `end`. Raises ShardError."""
    if not is_url(path):
        try:
            with open(path, "rb") as file:
                file.seek(start)
                return file.read(max(0, end - start))
        except OSError as error:
            raise failed(path, error) from error
    return bytes(remote(path, lambda fs, inner: fs.cat_file(inner, start=start, end=end)))


def read_all(path: str) -> bytes:
    """The whole file. Raises ShardError."""
    if not is_url(path):
        try:
            if not stat.S_ISREG(Path(path).stat().st_mode):  # reading a pipe or a device may never end
                raise OSError("it is not a regular file")
            return Path(path).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise failed(path, error) from error
    return bytes(remote(path, lambda fs, inner: fs.cat_file(inner)))


def remote(url: str, call: Callable[[Any, str], T]) -> T:
    """The result of `call(file system, path in it)`, tried up to ATTEMPTS times. Raises ShardError."""
    fs, inner = filesystem(url)
    return retried(
        lambda: call(fs, inner),
        attempts=ATTEMPTS,
        first_wait=FIRST_WAIT,
        is_transient=lambda error: not isinstance(failed(url, error), Unreachable),
        failure=lambda error, _: failed(url, error),
    )


def size(path: str) -> int:
    """The file's size in bytes. Raises ShardError."""
    if is_url(path):
        return int(remote(path, lambda fs, inner: fs.size(inner)))
    try:
        return Path(path).stat().st_size
    except OSError as error:
        raise failed(path, error) from error


def is_file(path: str) -> bool:
    if is_url(path):
        return bool(remote(path, lambda fs, inner: fs.isfile(inner)))
    return Path(path).is_file()


def is_folder(path: str) -> bool:
    if is_url(path):
        return bool(remote(path, lambda fs, inner: fs.isdir(inner)))
    return Path(path).is_dir()


def stamp(path: str) -> str | None:
    """A text that changes when the file changes: its size, and its time or ETag. None if
    unknown."""
    if not is_url(path):
        try:
            status = Path(path).stat()
        except OSError as error:
            raise failed(path, error) from error
        return f"{status.st_size}-{status.st_mtime_ns}"
    info = remote(path, lambda fs, inner: fs.info(inner))
    known = [str(info[name]) for name in _STAMPS if info.get(name)]
    return f"{info.get('size')}-{'-'.join(known)}" if known else None


def entries(folder: str) -> list[str]:
    """Full paths of the files directly in the folder, sorted, without hidden ones. Raises ShardError."""
    if is_url(folder):
        found = remote(folder, lambda fs, inner: [e["name"] for e in fs.ls(inner) if e["type"] == "file"])
        paths = [unstrip(name, folder) for name in found]
    else:
        try:
            with os.scandir(folder) as scan:
                paths = [entry.path for entry in scan if _true(entry.is_file)]
        except OSError as error:
            raise failed(folder, error) from error
    return sorted(path for path in paths if not path.rsplit("/", 1)[-1].startswith("."))


def matches(pattern: str, *, folders: bool = False) -> list[str]:
    """Full paths of the files, or of the folders, that a glob matches, sorted. Raises ShardError.

    `**` follows links to folders as `walk` does.
    """
    if not is_url(pattern):
        wanted = Path.is_dir if folders else Path.is_file
        found = [path for path in glob.glob(pattern, recursive=True) if wanted(Path(path))]  # noqa: PTH207
        if "**" in pattern:
            known: dict[str, frozenset[_Identity] | None] = {}
            top = posixpath.dirname(pattern.partition("**")[0]) or "/"
            if os.path.isdir(top):  # noqa: PTH112 - otherwise it is a pattern itself; the folders above it were given explicitly
                known[top] = frozenset({_identity(top)})
            found = [path for path in found if _chain(posixpath.dirname(path), known) is not None]
        return sorted(found)
    kind = "directory" if folders else "file"
    listed = remote(pattern, lambda fs, inner: fs.glob(inner, detail=True))
    return sorted(unstrip(path, pattern) for path, info in listed.items() if info["type"] == kind)


@dataclass(kw_only=True, slots=True)
class LeftOut:
    """What a walk left out."""

    hidden: int = 0  # files and folders whose name begins with a dot
    links: int = 0  # links to a folder above the link, or all links to folders where they are not followed
    unreadable: list[str] = field(default_factory=list)  # folders, each with the reason


def walk(folder: str, *, follow: bool = True, left_out: LeftOut | None = None) -> Iterator[str]:
    """Paths of all files below the folder, relative to it, in no particular order, without hidden files and folders.

    Links to folders are followed as `find -L` follows them: a folder is read under each of its names, but not again
    below itself. Raises ShardError if the folder itself cannot be read, or if the disk fails.
    """
    left_out = left_out if left_out is not None else LeftOut()
    if is_url(folder):
        _, inner = filesystem(folder)
        inner = inner.rstrip("/")
        for path in remote(folder, lambda fs, inner: fs.find(inner)):
            relative = path[len(inner) :].lstrip("/")
            if any(part.startswith(".") for part in relative.split("/")):
                left_out.hidden += 1
            else:
                yield relative
        return
    waiting: list[tuple[str, frozenset[_Identity]]] = [("", frozenset())]  # folder, and those above it
    while waiting:
        relative, above = waiting.pop()
        path = f"{folder}/{relative}"
        try:
            identity = _identity(path)
            if identity in above:
                left_out.links += 1
                continue
            above |= {identity}
            with os.scandir(path) as scan:
                for entry in scan:
                    if entry.name.startswith("."):
                        left_out.hidden += 1
                    elif not _true(entry.is_dir):
                        yield f"{relative}{entry.name}"
                    elif follow or not entry.is_symlink():
                        waiting.append((f"{relative}{entry.name}/", above))
                    else:
                        left_out.links += 1
        except OSError as error:
            if not relative or error.errno not in _NOT_READABLE:
                raise failed(path, error) from error
            left_out.unreadable.append(f"{relative.rstrip('/')} ({error.strerror})")


def _true(look: Callable[[], bool]) -> bool:
    """False for a link to itself, for which the system raises an error."""
    try:
        return look()
    except OSError:
        return False


def _identity(folder: str) -> _Identity:
    status = os.stat(folder)  # noqa: PTH116 - of very many
    return status.st_dev, status.st_ino


def _chain(folder: str, known: dict[str, frozenset[_Identity] | None]) -> frozenset[_Identity] | None:
    """A folder and those above it; None if one of them is below itself. `known` caches results."""
    if folder not in known:
        above = _chain(posixpath.dirname(folder), known) if folder != "/" else frozenset()
        identity = _identity(folder)
        known[folder] = None if above is None or identity in above else above | {identity}
    return known[folder]
