"""What a source is, and what all kinds of sources share: keys, image suffixes, the check of bytes that were read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from recaption.config import Limits
from recaption.config import Source as SourceConfig
from recaption.errors import ImageError, SourceError
from recaption.io.files import stamp
from recaption.source import columns as values
from recaption.source.keys import KeyRule, assign_keys
from recaption.source.paths import SourceFile, list_files
from recaption.text import cut, storable
from recaption.types import DROPPED, Image, ImageLimits, Locator, Reason, SourceShard

if TYPE_CHECKING:
    from recaption.decode import ImageInfo

PART_SIZE: Final = 5_000
"""Images in a virtual cut of a folder or Parquet file, at most."""

INDEX_VERSION: Final = 2
"""Counts up when the same source gives another index, so that stored indexes are rebuilt."""


class Source(Protocol):
    """A source of images. It is picklable, because workers get a copy and read by locator."""

    kind: str  # "webdataset" | "parquet" | "folder" | "classes"
    has_images: bool  # False: rows without bytes, for tasks that read text only
    config: SourceConfig

    def shards(self) -> Iterator[SourceShard]:
        """All shards in a deterministic order, listed lazily. Raises SourceError, ShardError."""
        ...

    @property
    def key_rule(self) -> KeyRule:
        """The rule by which keys are made."""
        ...

    def files(self) -> frozenset[str]:
        """Ids of the source's files. Shards are named by them, with the suffix `-<number>` if a file is cut."""
        ...

    def columns(self) -> frozenset[str]:
        """Names of `Image.columns`, as found at the head of the first shard that has images."""
        ...

    def unused(self) -> Sequence[str]:
        """Messages about contents that are not used. Of tars and Parquet files, only the first file is inspected."""
        ...

    def signature(self, shard: SourceShard) -> str | None:
        """A short text that changes whenever the shard's index may change; None if only reading the shard shows a
        change."""
        ...

    def index(self, shard: SourceShard) -> list[Image]:
        """All rows of a shard in order, read once; rows without a usable image have a `reason`.

        Raises ShardError if the shard cannot be read (another attempt may succeed), SourceError if it does not match
        the pipeline.
        """
        ...

    def read(self, images: Sequence[Image]) -> Iterator[tuple[Image, bytes | ImageError]]:
        """The images' bytes as stored in the source. Yields each of `images` once, in order.

        Takes images of one shard in row order, none with a `reason`. An image that cannot be read, or whose bytes
        have changed since it was indexed, is yielded with an ImageError. Raises ShardError if the file is missing.
        """
        ...


class FileSource:
    """A source of files that match a pattern. Its shards are these files, or cuts of them."""

    has_images: bool = True
    suffixes: ClassVar[tuple[str, ...]]  # file suffixes that the id of a shard omits

    def __init__(self, config: SourceConfig) -> None:
        self.config = config

    def listed(self) -> list[SourceFile]:
        """The source's files, in order."""
        return list_files(self.config.path, self.suffixes)

    @property
    def key_rule(self) -> KeyRule:
        return self.config.keys

    def files(self) -> frozenset[str]:
        return frozenset(file.id for file in self.listed())

    def signature(self, shard: SourceShard) -> str | None:
        file = stamp(shard.path)
        return file and f"{file}-{config_stamp(self.config, shard)}"


@dataclass(kw_only=True, slots=True)
class Row:
    """A row of a source, from which an Image is made once its key is known."""

    source_key: str
    locator: Locator
    sha256: str = ""
    columns: dict[str, Any] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)  # names of columns that could not be kept
    lines: frozenset[str] = frozenset()  # names of columns that are text files, in which a line is a caption
    reason: Reason | None = None
    detail: str | None = None
    info: ImageInfo | None = None  # of an image with a usable header

    def read_header(self, data: bytes) -> None:
        """Read the header and check the end of the file, without limits. Sets `info`, or `reason` and `detail`."""
        from recaption.decode import read_header

        try:
            self.info = read_header(data)
        except ImageError as error:
            self.reason, self.detail = error.reason, error.args[0]


def images(
    shard: SourceShard, rows: Sequence[Row], config: SourceConfig, keys: Sequence[str] | None = None
) -> list[Image]:
    """The shard's index, with bounded columns, raw captions and URLs. Without `keys`, keys are assigned."""
    if keys is None:
        own = config.keys == "source"
        keys = assign_keys(shard.number, [row.source_key if own else "" for row in rows])
    made = []
    for position, (key, row) in enumerate(zip(keys, rows, strict=True)):
        columns = values.bounded(row.columns, row.dropped)
        info = row.info
        made.append(
            Image(
                key=key,
                source_key=row.source_key,
                shard=shard.id,
                row=position,
                sha256=row.sha256,
                locator=row.locator,
                url=values.url(columns),
                raw_captions=_raw_captions(row, columns, config),
                columns=columns,
                reason=row.reason,
                detail=row.detail,
                format=info.format.lower() if info else None,
                width=info.width if info else None,
                height=info.height if info else None,
                orientation=info.orientation if info and config.orientation == "exif" else None,
            )
        )
    return made


def _raw_captions(row: Row, columns: Mapping[str, Any], config: SourceConfig) -> tuple[str, ...]:
    """The raw captions of a row. A caption that is too large for a column is cut to its size, not lost."""
    found = values.raw_captions(columns, config.raw_caption, row.lines)
    if not found and DROPPED in columns:
        large = values.raw_captions(row.columns, config.raw_caption, row.lines)
        return tuple(cut(storable(text), values.MAX_VALUE) for text in large[:1])
    return found


def within_limits(images: Sequence[Image], limits: Limits) -> list[Image]:
    """The images; those outside of `limits` have a reason. Images for all engines are checked only here."""
    from recaption.decode import check_limits

    allowed = ImageLimits(min_side=limits.min_side, max_pixels=limits.max_pixels, max_aspect=limits.max_aspect)
    made = []
    for image in images:
        if image.reason is None and image.width is not None and image.height is not None:
            try:
                check_limits(str(image.format).upper(), image.width, image.height, allowed)
            except ImageError as error:
                image = replace(image, reason=error.reason, detail=error.args[0])
        made.append(image)
    return made


def checked(image: Image, data: bytes | None) -> bytes | ImageError:
    """The bytes, if they match the index."""
    if data is None or hashlib.sha256(data).hexdigest() != image.sha256:
        seen = "are missing" if data is None else f"({len(data)} of them) have another sha256"
        return ImageError(
            "changed",
            f"the image's bytes {seen} since {image.locator.path} was indexed",
            key=image.key,
            shard=image.shard,
        )
    return data


def unreadable(image: Image, error: BaseException) -> ImageError:
    """The row for an image whose bytes cannot be read from the store."""
    return ImageError("unreadable", str(error) or type(error).__name__, key=image.key, shard=image.shard)


def config_stamp(config: SourceConfig, shard: SourceShard) -> str:
    """A hash (8 hex digits) of the pipeline settings that a shard's index depends on, in addition to the files."""
    from recaption.decode import FORMATS, supported

    parts: Mapping[str, Any] = config.model_dump(
        include={"raw_caption", "image", "key", "keys", "captions", "orientation"}
    )
    # Images of a format whose reader was not installed are indexed again once it is installed.
    readable = tuple(kind for kind in FORMATS if supported(kind))
    text = repr((INDEX_VERSION, readable, sorted(parts.items()), shard.path, shard.number, shard.first, shard.count))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def check_caption(config: SourceConfig, names: Iterable[str], where: str) -> None:
    """Raises SourceError if `source.raw_caption` names a column, other than the default, that the source lacks."""
    name = config.raw_caption
    known = sorted(names)
    if name not in (None, values.CAPTION_COLUMNS[0], *known):
        raise SourceError(
            f"source.raw_caption: {where} has no column {name!r}; it has {', '.join(known) or 'none'}. "
            "Name one of them, or null for no captions"
        )
