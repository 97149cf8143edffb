"""Reading and listing files on local disks and behind fsspec URLs. Everything that fails here is a ShardError."""

from __future__ import annotations

import glob
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from recaption.errors import ShardError, SourceError

ATTEMPTS = 3  # of a remote range; connections drop in runs that take days
_BLOCK = 8 << 20  # bytes per request of a remote stream
_STAMPS = ("ETag", "etag", "LastModified", "last_modified", "mtime", "updated", "generation", "md5Hash", "created")


class Unreachable(ShardError):
    """The file as a whole cannot be opened: it is gone, or access is denied."""


def is_url(path: str) -> bool:
    return "://" in path


def absolute(path: str) -> str:
    """A local path as an absolute one (workers may stand in another folder); URLs as they are."""
    if path.startswith("file://"):
        path = path.removeprefix("file://")
    return path if is_url(path) else os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - keeps globs


def filesystem(path: str) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path within. Raises SourceError for an unknown or uninstalled one."""
    import fsspec

    try:
        return cast("tuple[Any, str]", fsspec.core.url_to_fs(path))
    except (ImportError, ValueError) as error:
        raise SourceError(f"cannot open {path!r}: {error}") from error


def unstrip(path: str, like: str) -> str:
    """A path as the file system lists it, as a URL again."""
    return path if is_url(path) else f"{like.split('://', 1)[0]}://{path.lstrip('/')}"


def failed(path: str, error: BaseException) -> ShardError:
    """What an exception of the operating system or of an fsspec back end means."""
    kind = Unreachable if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError) else ShardError
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return kind(f"cannot read {path}: {reason}")


def open_stream(path: str, *, sequential: bool = True) -> BinaryIO:
    """A binary file to be read from front to back (or, if not `sequential`, in large pieces anywhere)."""
    try:
        if not is_url(path):
            return open(path, "rb", buffering=1 << 20)
        fs, inner = filesystem(path)
        cache = "readahead" if sequential else "none"
        return cast("BinaryIO", fs.open(inner, "rb", block_size=_BLOCK, cache_type=cache))
    except SourceError:
        raise
    except Exception as error:
        raise failed(path, error) from error


def read_range(path: str, start: int, end: int) -> bytes:
    """Bytes `[start, end)`; fewer when the file ends before. Raises ShardError after `ATTEMPTS` tries."""
    if not is_url(path):
        try:
            with open(path, "rb", buffering=0) as file:
                file.seek(start)
                return _read_fully(file, end - start)
        except OSError as error:
            raise failed(path, error) from error
    return cast("bytes", _remote(path, lambda fs, inner: fs.cat_file(inner, start=start, end=end)))


def read_all(path: str) -> bytes:
    """The whole file. Raises ShardError."""
    if not is_url(path):
        try:
            if not stat.S_ISREG(Path(path).stat().st_mode):  # a pipe would be waited for, a device read for ever
                raise OSError("it is no regular file")
            return Path(path).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise failed(path, error) from error
    return cast("bytes", _remote(path, lambda fs, inner: fs.cat_file(inner)))


def _read_fully(file: Any, size: int) -> bytes:
    """An unbuffered read may stop at 2 GiB or at a signal."""
    pieces = []
    while size > 0 and (piece := file.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _remote(path: str, call: Any) -> Any:
    fs, inner = filesystem(path)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call(fs, inner)
        except Exception as error:  # each back end has errors of its own
            problem = failed(path, error)
            if attempt == ATTEMPTS or isinstance(problem, Unreachable):
                raise problem from error
            time.sleep(0.2 * 2**attempt)
    raise AssertionError("unreachable")


def is_file(path: str) -> bool:
    if is_url(path):
        return bool(_remote(path, lambda fs, inner: fs.isfile(inner)))
    return Path(path).is_file()


def is_folder(path: str) -> bool:
    if is_url(path):
        return bool(_remote(path, lambda fs, inner: fs.isdir(inner)))
    return Path(path).is_dir()


def stamp(path: str) -> str | None:
    """A text that changes when the file does (size and time, or what an object store offers); None if there is none."""
    if not is_url(path):
        try:
            status = Path(path).stat()
        except OSError as error:
            raise failed(path, error) from error
        return f"{status.st_size}-{status.st_mtime_ns}"
    info = _remote(path, lambda fs, inner: fs.info(inner))
    known = [str(info[name]) for name in _STAMPS if info.get(name)]
    return f"{info.get('size')}-{'-'.join(known)}" if known else None


def entries(folder: str) -> list[str]:
    """Full paths of the files directly in the folder, sorted, hidden ones left out."""
    if is_url(folder):
        found = _remote(folder, lambda fs, inner: [e["name"] for e in fs.ls(inner) if e["type"] == "file"])
        paths = [unstrip(name, folder) for name in found]
    else:
        try:
            with os.scandir(folder) as scan:
                paths = [entry.path for entry in scan if entry.is_file()]
        except OSError as error:
            raise failed(folder, error) from error
    return sorted(path for path in paths if not path.rsplit("/", 1)[-1].startswith("."))


def matches(pattern: str) -> list[str]:
    """Full paths of the files that a glob matches, sorted. Raises ShardError."""
    if not is_url(pattern):
        found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - takes absolute patterns
        return sorted(path for path in found if Path(path).is_file())
    return sorted(unstrip(path, pattern) for path in _remote(pattern, lambda fs, inner: fs.glob(inner)))


def walk(folder: str) -> Iterator[str]:
    """Paths of all files below the folder, relative to it, in no order.

    Hidden files and folders are left out, links to folders are not followed.
    """
    if is_url(folder):
        _, inner = filesystem(folder)
        inner = inner.rstrip("/")
        for path in _remote(folder, lambda fs, inner: fs.find(inner)):
            relative = path[len(inner) :].lstrip("/")
            if not any(part.startswith(".") for part in relative.split("/")):
                yield relative
        return
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = "" if parent == folder else os.path.relpath(parent, folder).replace(os.sep, "/") + "/"
        yield from (f"{relative}{name}" for name in names if not name.startswith("."))
