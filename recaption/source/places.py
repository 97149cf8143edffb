"""The locations from which images may be read if a dataset, not the user, names them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from recaption.config import Source
from recaption.source.paths import expand_braces

_OBJECT_STORES: Final = frozenset({"s3", "gs", "gcs", "az", "abfs", "hf", "file"})


def is_plain_place(url: str) -> bool:
    """Whether images may be read there without a pipeline file: a local path, or an object store."""
    parts = [part.partition("://") for part in url.split("::")]
    return all(not separator or scheme in _OBJECT_STORES for scheme, separator, _ in parts)


def hosts_of(source: Source) -> Iterator[str]:
    """A line for each key of a source that reaches a host, or a file system other than those of object stores."""
    for key in ("path", "captions", "exclude"):
        value = getattr(source, key)
        if value and not is_plain_place(value):
            yield f"source.{key}: {value} (a host, or a file system other than those of object stores)"


def is_on_a_host_of(url: str, source: str) -> bool:
    """Whether images of a source whose path is `source` may be read at `url`: a plain place, or a host of that path."""
    if is_plain_place(url):
        return True
    named = {_host(path) for pattern in source.split("::") for path in expand_braces(pattern)}
    return all(is_plain_place(part) or _host(part) in named for part in url.split("::"))


def _host(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
