"""Reading and listing files on local disks and behind fsspec URLs. Everything that fails here is a ShardError."""

from __future__ import annotations

import errno
import glob
import os
import posixpath
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from recaption.errors import ShardError, SourceError

ATTEMPTS = 3  # of a remote range; connections drop in runs that take days
_BLOCK = 8 << 20  # bytes per request of a remote stream
_NOT_READABLE = {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
_STAMPS = ("ETag", "etag", "LastModified", "last_modified", "mtime", "updated", "generation", "md5Hash", "created")


class Unreachable(ShardError):
    """The file as a whole cannot be opened: it is missing, or access is denied."""


def is_url(path: str) -> bool:
    """Whether fsspec has to open it: not a local path, also not one written as file://."""
    return "://" in path and not path.startswith("file://")


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
        except Exception as error:  # each back end has different errors
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
                paths = [entry.path for entry in scan if _true(entry.is_file)]
        except OSError as error:
            raise failed(folder, error) from error
    return sorted(path for path in paths if not path.rsplit("/", 1)[-1].startswith("."))


def matches(pattern: str) -> list[str]:
    """Full paths of the files that a glob matches, sorted. What `**` matches ends as in `walk`. Raises ShardError."""
    if not is_url(pattern):
        found = [path for path in glob.glob(pattern, recursive=True) if Path(path).is_file()]  # noqa: PTH207
        if "**" in pattern:
            known: dict[str, tuple[Any, ...] | None] = {}
            top = posixpath.dirname(pattern.partition("**")[0]) or "/"
            if os.path.isdir(top):  # noqa: PTH112 - else it is a pattern itself; what is above it was named on purpose
                known[top] = (_identity(top), ())
            found = [path for path in found if _chain(posixpath.dirname(path), known) is not None]
        return sorted(found)
    return sorted(unstrip(path, pattern) for path in _remote(pattern, lambda fs, inner: fs.glob(inner)))


@dataclass(kw_only=True, slots=True)
class LeftOut:
    """What a walk passed by."""

    hidden: int = 0  # files and folders whose name begins with a dot
    links: int = 0  # to a folder: back into a folder above them, or any of them where links are not followed
    unreadable: list[str] = field(default_factory=list)  # folders with the reason


def walk(folder: str, *, follow: bool = True, left_out: LeftOut | None = None) -> Iterator[str]:
    """Paths of all files below the folder, relative to it, in no order. Hidden files and folders are left out.

    Links to folders are followed as `find -L` follows them: a folder is read under each of its names, but not again
    below itself. Raises ShardError if the folder itself cannot be read, or the disk fails.
    """
    left_out = left_out if left_out is not None else LeftOut()
    if is_url(folder):
        _, inner = filesystem(folder)
        inner = inner.rstrip("/")
        for path in _remote(folder, lambda fs, inner: fs.find(inner)):
            relative = path[len(inner) :].lstrip("/")
            if any(part.startswith(".") for part in relative.split("/")):
                left_out.hidden += 1
            else:
                yield relative
        return
    waiting: list[tuple[str, tuple[Any, ...]]] = [("", ())]  # folder, and the folders above it: (identity, above)
    while waiting:
        relative, above = waiting.pop()
        path = f"{folder}/{relative}"
        try:
            identity = _identity(path)
            if _is_above(identity, above):
                left_out.links += 1
                continue
            with os.scandir(path) as scan:
                for entry in scan:
                    if entry.name.startswith("."):
                        left_out.hidden += 1
                    elif not _true(entry.is_dir):
                        yield f"{relative}{entry.name}"
                    elif follow or not entry.is_symlink():
                        waiting.append((f"{relative}{entry.name}/", (identity, above)))
                    else:
                        left_out.links += 1
        except OSError as error:
            if not relative or error.errno not in _NOT_READABLE:
                raise failed(path, error) from error
            left_out.unreadable.append(f"{relative.rstrip('/')} ({error.strerror})")


def _true(look: Callable[[], bool]) -> bool:
    """False for a link that leads to itself, where the system raises."""
    try:
        return look()
    except OSError:
        return False


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)  # noqa: PTH116 - of very many
    return status.st_dev, status.st_ino


def _chain(folder: str, known: dict[str, tuple[Any, ...] | None]) -> tuple[Any, ...] | None:
    """A folder and those above it, by identity; None if one of them is below itself. `known` holds results."""
    if folder not in known:
        above = _chain(posixpath.dirname(folder), known) if folder != "/" else ()
        identity = _identity(folder)
        known[folder] = None if above is None or _is_above(identity, above) else (identity, above)
    return known[folder]


def _is_above(identity: tuple[int, int], above: tuple[Any, ...]) -> bool:
    while above:
        if above[0] == identity:
            return True
        above = above[1]
    return False
