"""Byte ranges of files, on local disks and behind fsspec URLs. A few files are kept open in each process."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from recaption.io.files import is_url
from recaption.load.cache import Cache

_OPEN: Final = 128  # files kept open; a full shuffle reads all shards, and opening one takes about 10 us


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """The expected state of a file when opened: `size` in bytes, and `sha256` (hex) if the content is checked too."""

    size: int
    sha256: str | None = None


class Files:
    """Reads whole files and ranges. All methods raise OSError, or FileNotFoundError if the file does not exist.

    A file that `expect` names is checked when it is opened: its size always, and its content once per process if a
    sha256 is given.

    With a cache, the first read of a remote file fetches the whole file. Without one, ranges are requested.
    May be pickled and forked: each process opens its files itself.
    """

    def __init__(self, cache: Cache | None = None) -> None:
        self.cache = cache
        self._expected: Mapping[str, Expected] = {}
        self._forget()

    def expect(self, expected: Mapping[str, Expected]) -> None:
        """Set the expected states of the files at these paths."""
        self._expected = expected

    def read(self, path: str) -> bytes:
        """The whole file."""
        self._check(path)
        if is_url(path):
            return self._remote(path, lambda fs, name: fs.cat_file(name))
        return Path(path).read_bytes()

    def pread(self, path: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`, or fewer if the file ends before that."""
        if is_url(path) and self.cache is None:
            self._check(path)
            return self._remote(path, lambda fs, name: fs.cat_file(name, start=offset, end=offset + size))
        file = self._opened(path)
        data = os.pread(file, size, offset)
        while 0 < len(data) < size and (more := os.pread(file, size - len(data), offset + len(data))):
            data += more
        return data

    def size(self, path: str) -> int:
        """In bytes."""
        if is_url(path):
            return int(self._remote(path, lambda fs, name: fs.size(name)))
        return Path(path).stat().st_size

    def open(self, path: str) -> BinaryIO:
        """A file to read and seek in; remote ones are read ahead. The caller closes it."""
        self._check(path)
        return self._unchecked(path)

    def _unchecked(self, path: str) -> BinaryIO:
        if is_url(path) and self.cache is not None:
            return open(self.local(path), "rb")
        if is_url(path):
            made: BinaryIO = self._remote(path, lambda fs, name: fs.open(name, "rb", block_size=4 << 20))
            return made
        return open(path, "rb")

    def exists(self, path: str) -> bool:
        if is_url(path):
            return bool(self._remote(path, lambda fs, name: fs.exists(name)))
        return Path(path).exists()

    def is_folder(self, path: str) -> bool:
        if is_url(path):
            return bool(self._remote(path, lambda fs, name: fs.isdir(name)))
        return Path(path).is_dir()

    def glob(self, pattern: str) -> list[str]:
        """Paths that match, sorted; as URLs where the pattern is one. Names that begin with a dot are left out: they
        are work in progress."""
        if is_url(pattern):
            found = self._remote(pattern, lambda fs, name: [fs.unstrip_protocol(path) for path in fs.glob(name)])
        else:
            import glob

            found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute patterns
        return sorted(path for path in found if not path.rpartition("/")[2].startswith("."))

    def stamp(self, path: str) -> str:
        """Changes when the file does, as far as can be seen without reading it."""
        if is_url(path):
            return str(self._remote(path, lambda fs, name: fs.ukey(name)))
        found = Path(path).stat()
        return f"{found.st_size}-{found.st_mtime_ns}"

    def close(self) -> None:
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    def _opened(self, path: str) -> int:
        if self._process != os.getpid():
            self._forget()  # the parent's are the parent's to close
        file = self._files.get(path)
        if file is None:
            if len(self._files) >= _OPEN:
                os.close(self._files.popitem(last=False)[1])
            self._checked.discard(path)
            self._check(path)
            file = self._files[path] = os.open(self.local(path), os.O_RDONLY | os.O_CLOEXEC)
        else:
            self._files.move_to_end(path)
        return file

    def local(self, path: str) -> str:
        """The path of the file on a local disk. Remote files are fetched whole, which needs a cache."""
        if self.cache is None or not is_url(path):
            return path
        return self.cache.file(
            path,
            lambda: self.size(path),
            lambda to: self._remote(path, lambda fs, name: fs.get_file(name, to)),
        )

    def _check(self, path: str) -> None:
        """Raises OSError if a file differs from its expected state."""
        expected = self._expected.get(path)
        if expected is None or path in self._checked:
            return
        size = Path(self.local(path)).stat().st_size if self.cache or not is_url(path) else self.size(path)
        if size != expected.size:
            raise OSError(
                f"{path} has {size:,} bytes, and {expected.size:,} were expected: it was cut off or replaced. Copy it "
                "again, or open the dataset anew if the change is meant"
            )
        if expected.sha256 is not None and path not in self._verified:
            if self.sha256(path) != expected.sha256:
                raise OSError(
                    f"{path} has the expected size, but not the expected sha256: it was changed. Copy it again"
                )
            self._verified.add(path)
        self._checked.add(path)

    def sha256(self, path: str) -> str:
        """The sha256 of the whole content, in hex."""
        digest = hashlib.sha256()
        with self._unchecked(path) as opened:
            while piece := opened.read(1 << 20):
                digest.update(piece)
        return digest.hexdigest()

    def _remote(self, path: str, ask: Callable[[Any, str], Any]) -> Any:
        import fsspec

        try:
            fs, name = fsspec.core.url_to_fs(path)  # which keeps file systems, one per process
            return ask(fs, name)
        except OSError:
            raise
        except ImportError:
            raise
        except Exception as error:  # each back end has different errors
            raise OSError(f"{type(error).__name__}: {error}") from error

    def _forget(self) -> None:
        self._process = os.getpid()
        self._files: OrderedDict[str, int] = OrderedDict()
        self._checked: set[str] = set()  # files found as expected since they were opened
        self._verified: set[str] = set()  # and whose content was read to see that

    def __getstate__(self) -> dict[str, Any]:
        return {"cache": self.cache, "expected": self._expected}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.cache, self._expected = state["cache"], state["expected"]
        self._forget()

    def __del__(self) -> None:
        if os is not None and self._process == os.getpid():  # at the very end modules are None, and files closed
            self.close()


def join(folder: str, *names: str) -> str:
    """A path below a folder or URL."""
    return "/".join([folder.rstrip("/") or "/", *names]) if folder != "/" else "/" + "/".join(names)
