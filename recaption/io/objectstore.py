"""The output on an object store, through fsspec: S3, Google Cloud Storage, and others without conditional writes.

Every put is one PUT or one completed multipart upload, so a file appears whole or not at all. An upload that a killed
process leaves incomplete is invisible but is charged for: give the bucket a lifecycle rule that aborts such uploads.

Conditional writes are `If-None-Match: *` on S3 and `ifGenerationMatch=0` on Google Cloud Storage, which fsspec's
`mode="create"` requests. https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

import inspect
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from recaption.errors import ConfigError, StoreError
from recaption.io.files import S3, filesystem
from recaption.io.retrying import retried
from recaption.threads import each

T = TypeVar("T")
BATCH = 1_000  # files that S3 deletes with one request
_THREADS = 16  # files that are removed at a time
_NO_BATCHES = ("NotImplemented", "MethodNotAllowed", "MissingContentMD5", "InvalidRequest")
"""Errors of stores that imitate S3, but do not delete several files with one request, or not in the form that botocore
sends."""
_CONDITIONAL = (*S3, "gs", "gcs", "memory")


class ObjectStore:
    """A prefix of a bucket. Failed calls are retried: all of them can be repeated safely."""

    ATTEMPTS = 7  # about 20 seconds of waiting in all
    FIRST_WAIT = 0.4  # seconds

    def __init__(self, url: str) -> None:
        """Raises ConfigError for an unknown kind of URL, MissingExtra where s3fs is not installed."""
        self.fs, root = filesystem(url, failure=ConfigError)
        self.root = root.rstrip("/")
        self.url = url.rstrip("/")
        protocol = url.split("://", 1)[0]
        self._is_s3 = protocol in S3
        if self._is_s3:
            # s3fs and botocore retry by themselves, five times each. With the retries here, a wrong endpoint would be
            # noticed after minutes. Three attempts remain, for a single part of a large upload.
            self.fs.retries = 1
            self.fs.config_kwargs.setdefault("retries", {"mode": "standard", "total_max_attempts": 3})
        # s3fs before 2024.12 passes `mode` on to S3, which refuses it.
        put = getattr(self.fs, "_pipe_file", self.fs.pipe_file)
        # Without this option, s3fs requests the size of a file before it reads it.
        cat = inspect.signature(getattr(self.fs, "_cat_file", self.fs.cat_file)).parameters
        self._whole: dict[str, Any] = {"max_concurrency": 1} if self._is_s3 and "max_concurrency" in cat else {}
        self._batches = self._is_s3  # whether one request deletes many files
        self.conditional = protocol in _CONDITIONAL and "mode" in inspect.signature(put).parameters

    def _at(self, path: str) -> str:
        return f"{self.root}/{path}".rstrip("/")

    def _retried(
        self, verb: str, path: str, call: Callable[[], T], expected: tuple[type[Exception], ...] = (FileNotFoundError,)
    ) -> T:
        what = f"{verb} {self.url}/{path}".rstrip("/")
        return retried(
            call,
            attempts=self.ATTEMPTS,
            first_wait=self.FIRST_WAIT,
            is_transient=_is_transient,
            failure=lambda error, tries: StoreError(f"cannot {what}{tries}: {type(error).__name__}: {error}"),
            expected=expected,
        )

    def local(self, path: str) -> Path | None:
        return None

    def put(self, path: str, data: bytes, *, if_absent: bool = False) -> bool:
        if if_absent:
            return self._create(path, data)
        self._retried("write", path, lambda: self.fs.pipe_file(self._at(path), data), expected=())
        return True

    def _create(self, path: str, data: bytes) -> bool:
        if self.exists(path):
            return False
        options: dict[str, Any] = {"mode": "create"} if self.conditional else {}

        def create() -> None:
            try:
                self.fs.pipe_file(self._at(path), data, **options)
            except Exception as error:
                if _is_refused(error):
                    raise FileExistsError(path) from error
                raise

        try:
            self._retried("write", path, create, expected=(FileExistsError,))
        except FileExistsError:
            # The file did not exist before. Another process wrote it, or our own first attempt (here or in the client)
            # did and its reply was lost. The content decides. If two processes write the same bytes at the same time,
            # both get True, which is correct: these bytes are stored. A caller that must be the only writer puts
            # something unique into the file, as a lease does.
            try:
                return self.get(path) == data
            except FileNotFoundError:
                return False
        return True

    def refuses_existing(self, path: str) -> bool:
        """Whether conditional writes work, tested on an existing file: a store may ignore the condition.

        Raises StoreError.
        """
        if not self.conditional:
            return False

        def create() -> bool:
            try:
                self.fs.pipe_file(self._at(path), self.fs.cat_file(self._at(path)), mode="create")
            except Exception as error:
                if _is_refused(error):
                    return True
                raise
            return False

        return self._retried("write", path, create)

    def scratch(self) -> Path:
        return Path(tempfile.gettempdir()) / f".tmp-recaption-{uuid.uuid4().hex}"

    def remove_temporaries(self) -> None:
        """There are none: an object appears whole, and scratch files are local."""

    def adopt(self, source: Path, path: str) -> None:
        try:
            self._retried("write", path, lambda: self.fs.put_file(str(source), self._at(path)), expected=())
        finally:
            source.unlink(missing_ok=True)

    def get(self, path: str) -> bytes:
        return self._retried("read", path, lambda: bytes(self.fs.cat_file(self._at(path), **self._whole)))

    def exists(self, path: str) -> bool:
        bucket, key = self.fs.split_path(self._at(path))[:2] if self._is_s3 else ("", "")

        def look() -> bool:
            self.fs.invalidate_cache(self._at(path))  # other processes write, too
            if self._is_s3 and key:  # `info` also lists the folder of this name if there is no file
                self.fs.call_s3("head_object", Bucket=bucket, Key=key)
                return True
            # Not `exists`: fsspec's default one returns False for any failure.
            return bool(self.fs.info(self._at(path))["type"] == "file")

        try:
            return self._retried("look up", path, look)
        except FileNotFoundError:
            return False

    def list(self, prefix: str) -> Iterator[str]:
        folder = prefix.rstrip("/")
        for name in self._s3_names(prefix, files=True) if self._is_s3 else sorted(self._names(prefix, "file")):
            yield f"{folder}/{name}" if folder else name

    def folders(self, prefix: str) -> Iterator[str]:
        # Sorted here: S3 orders them by their names with a slash at the end, which puts "a-b/" before "a/".
        yield from sorted(self._s3_names(prefix, files=False) if self._is_s3 else self._names(prefix, "directory"))

    def _s3_names(self, prefix: str, *, files: bool) -> Iterator[str]:
        """Names in a folder; S3 gives keys in the order of their UTF-8 bytes, which is Python's order of the names."""
        start = self._s3_start(prefix)
        for page in self._s3_pages(prefix, Delimiter="/"):
            found = (
                (entry["Key"] for entry in page.get("Contents", ()))
                if files
                else (entry["Prefix"].rstrip("/") for entry in page.get("CommonPrefixes", ()))
            )
            yield from (name for full in found if (name := full.removeprefix(start)))  # a "folder" object has no name

    def _s3_start(self, prefix: str) -> str:
        """The prefix of the keys of a folder's files."""
        _, key, _ = self.fs.split_path(self._at(prefix))
        return f"{key}/" if key else ""

    def _s3_pages(self, prefix: str, **options: Any) -> Iterator[dict[str, Any]]:
        """The objects below a folder, in pages of up to 1,000, so that a million keys take no memory."""
        bucket, _, _ = self.fs.split_path(self._at(prefix))
        request: dict[str, Any] = {"Bucket": bucket, "Prefix": self._s3_start(prefix), **options}
        while True:
            try:
                page = self._retried("list", prefix, lambda: self.fs.call_s3("list_objects_v2", **request))
            except FileNotFoundError:  # no such bucket
                return
            yield page
            if not page.get("IsTruncated"):
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def _names(self, prefix: str, kind: str) -> Sequence[str]:
        def entries() -> list[str]:
            self.fs.invalidate_cache(self._at(prefix))
            found = self.fs.ls(self._at(prefix), detail=True)
            return [str(e["name"]).rstrip("/").rpartition("/")[2] for e in found if e["type"] == kind]

        try:
            return self._retried("list", prefix, entries)
        except FileNotFoundError:
            return []

    def delete(self, path: str) -> None:
        self._delete(self._at(path))

    def delete_many(self, paths: Sequence[str]) -> None:
        self._delete_all([self._at(path) for path in paths])

    def remove(self, folder: str) -> int:
        size = 0
        for page in self._sizes(folder):
            self._delete_all(list(page))
            size += sum(page.values())
        return size

    def _delete_all(self, names: Sequence[str]) -> None:
        """Delete files by their names in the file system, on S3 `BATCH` with each request."""
        left = list(names)
        while left and self._batches:
            try:
                self._delete_batch(left[:BATCH])
            except NotImplementedError:
                self._batches = False
            else:
                del left[:BATCH]
        for _ in each(self._delete, left, _THREADS):
            pass

    def _delete_batch(self, names: Sequence[str]) -> None:
        """Raises NotImplementedError if the store has no such request."""
        bucket, *_ = self.fs.split_path(names[0])
        left = [self.fs.split_path(name)[1] for name in names]

        def delete() -> None:
            nonlocal left
            objects = [{"Key": key} for key in left]
            try:
                answer = self.fs.call_s3("delete_objects", Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
            except Exception as error:
                if _code(error) in _NO_BATCHES:
                    raise NotImplementedError from error
                raise
            if failed := answer.get("Errors"):
                left = [one["Key"] for one in failed]
                kind = PermissionError if failed[0].get("Code") == "AccessDenied" else OSError
                why = f"{failed[0].get('Code')} {failed[0].get('Message')}"
                raise kind(
                    f"files that were not deleted: {len(failed)} of {len(objects)}. The first is {left[0]}: {why}"
                )

        self._retried("delete files of", "", delete, expected=(NotImplementedError,))

    def _sizes(self, folder: str) -> Iterator[dict[str, int]]:
        """Name in the file system -> bytes, of all files below a folder, a page at a time."""
        if self._is_s3:
            bucket, _, _ = self.fs.split_path(self._at(folder))
            for page in self._s3_pages(folder):
                yield {f"{bucket}/{entry['Key']}": int(entry["Size"]) for entry in page.get("Contents", ())}
            return

        def find() -> dict[str, int]:
            self.fs.invalidate_cache(self._at(folder))
            return {name: int(info["size"]) for name, info in self.fs.find(self._at(folder), detail=True).items()}

        yield self._retried("list", folder, find)

    def _delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._retried("delete", name, lambda: self.fs.rm_file(name))


def _is_transient(error: Exception) -> bool:
    """Each client has its own errors, so all except known permanent ones count as transient."""
    # No such bucket, no permission, and what the client does not implement.
    return not isinstance(error, FileNotFoundError | PermissionError | NotImplementedError | TypeError)


def _is_refused(error: Exception) -> bool:
    """Whether a conditional write was refused. Stores that imitate S3 omit the error code that s3fs recognises; all of
    them reply with HTTP status 412."""
    status = _response(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    return isinstance(error, FileExistsError) or 412 in (status, getattr(error, "code", None))


def _code(error: Exception) -> str | None:
    """The error code of S3, if it responded with one."""
    code: str | None = _response(error).get("Error", {}).get("Code")
    return code


def _response(error: Exception) -> dict[str, Any]:
    response = getattr(error.__cause__, "response", None)
    return response if isinstance(response, dict) else {}
