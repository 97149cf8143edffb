"""WebDataset tars, such as img2dataset writes: files with the same name up to the first dot are one sample.

Naming and grouping follow `base_plus_ext` and `group_by_keys` of webdataset/tariterators.py; the fields of `.json` are
those of img2dataset/downloader.py. Indexing a warm local tar of 100 kB images takes about
1.6 times the CPU of its sha256 alone (290 MB/s where sha256 runs at 450 MB/s), JSON and captions included.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from recaption.errors import ImageError, ShardError
from recaption.formatting import number_of
from recaption.imagefile import SOURCE_SUFFIXES
from recaption.io.files import Unreachable, is_url, open_stream, read_range
from recaption.io.tar import NAME, BrokenTarError, Member, TarReader, split_name
from recaption.source import columns as values
from recaption.source.base import FileSource, Row, check_caption, checked, images, unreadable
from recaption.source.columns import counted, shortened, unused_captions
from recaption.types import DROPPED, Image, Locator, SourceShard

_MOST_BYTES = 1 << 30  # of an image; larger images are rejected
_HEAD = 64  # samples that are read for the names of columns
MAX_RANGE = 64 << 20  # bytes read at once; a larger image is read alone
LOCAL_RANGE = 16 << 20  # the same for local files: memory of smaller buffers is reused, which halves the time
MAX_GAP = 1 << 20  # bytes between two images up to which the gap is read, not skipped


@dataclass(kw_only=True, slots=True)
class _Sample:
    """The members of one sample, collected while the tar is read."""

    key: str
    suffixes: list[str] = field(default_factory=list)
    pictures: dict[str, Row] = field(default_factory=dict)  # by suffix
    problems: dict[str, str] = field(default_factory=dict)  # suffix -> why it holds no image
    texts: values.Texts = field(default_factory=values.Texts)


class WebDatasetSource(FileSource):
    """Tars by pattern. Locators are byte ranges of image members."""

    kind = "webdataset"
    suffixes = (".tar",)

    def shards(self) -> Iterator[SourceShard]:
        for number, file in enumerate(self.listed()):
            yield SourceShard(id=file.id, number=number, path=file.path)

    def columns(self) -> frozenset[str]:
        for shard in self.shards():
            rows = itertools.islice(_rows(shard), _HEAD)
            made = images(shard, list(rows), self.config)
            if any(image.columns for image in made):
                names = frozenset(name for image in made for name in image.columns) - {DROPPED}
                check_caption(self.config, names, shard.path)
                return names
            if any(image.reason is None for image in made):
                break  # images without any other members
        check_caption(self.config, (), self.config.path)
        return frozenset()

    def unused(self) -> list[str]:
        shard = next(self.shards())
        suffixes: Counter[str] = Counter()
        pictures: Counter[str] = Counter()  # image members by sample
        twice: set[str] = set()  # keys of JSON members
        with open_stream(shard.path) as file:
            reader = TarReader(file, shard.path)
            with suppress(BrokenTarError):
                for member in itertools.islice(reader.members(), _HEAD * 4):
                    split = split_name(member.name)
                    suffix = split[1] if split else ""
                    if split and suffix in SOURCE_SUFFIXES:
                        pictures[split[0]] += 1
                    elif member.kind == "file" and not (split and values.is_text(suffix)):
                        suffixes[f".{suffix}" if suffix else ""] += 1
                    elif member.kind == "file" and suffix.endswith("json") and member.size <= values.MAX_JSON:
                        with suppress(ValueError):
                            values.parse_json(b"".join(reader.pieces(member)), twice)
        found = [f"members of {shard.id} that are neither images nor text: {counted(suffixes)}"] if suffixes else []
        if several := sum(count > 1 for count in pictures.values()):
            found.append(
                f"images after the first of a sample ({', '.join(SOURCE_SUFFIXES[:3])}, …): "
                f"{number_of(several, 'sample')}"
            )
        if twice:
            found.append(f"all but the last value of keys that a JSON member repeats: {shortened(sorted(twice))}")
        return found + unused_captions(self.columns(), self.config)

    def index(self, shard: SourceShard) -> list[Image]:
        """Rows for all samples. A broken archive keeps the rows before the break and gets one `unreadable` row."""
        return images(shard, list(_rows(shard)), self.config)

    def read(self, images: Sequence[Image]) -> Iterator[tuple[Image, bytes | ImageError]]:
        return read_ranges(images)


def _rows(shard: SourceShard) -> Iterator[Row]:
    seen: set[str] = set()  # keys, to report a sample whose members are not adjacent
    sample: _Sample | None = None
    with open_stream(shard.path) as file:
        reader = TarReader(file, shard.path)
        try:
            for member in reader.members():
                split = split_name(member.name)
                if split is None or not _counts(member, split[1]):
                    continue
                key, suffix = split
                # A repeated suffix begins a new sample as well: webdataset raises here, but no image may be lost here.
                if sample is None or key != sample.key or suffix in sample.suffixes:
                    if sample is not None:
                        yield _row(sample, shard, seen)
                    sample = _Sample(key=key)
                _add(sample, suffix, member, reader, shard)
        except BrokenTarError as broken:
            # The sample being read is kept if the member that was cut belongs to another sample, or if that member is
            # unknown and the sample has an image.
            cut = NAME.fullmatch(broken.name) if broken.name else None
            cut_key = cut[1] if cut else None
            if sample is not None and (cut_key == sample.key or (cut_key is None and not sample.pictures)):
                cut_key = sample.key
            elif sample is not None:
                yield _row(sample, shard, seen)
            yield Row(
                source_key=cut_key or "",
                locator=Locator(path=shard.path, size=0),
                reason="unreadable",
                detail=f"{broken}; the samples after this point are not read",
            )
            return
    if sample is not None:
        yield _row(sample, shard, seen)


def _counts(member: Member, suffix: str) -> bool:
    """Whether the member is part of a sample: a file, or another kind of member with an image's name."""
    return member.kind == "file" or (suffix in SOURCE_SUFFIXES and member.kind != "other")


def _add(sample: _Sample, suffix: str, member: Member, reader: TarReader, shard: SourceShard) -> None:
    if suffix in SOURCE_SUFFIXES:
        if member.kind != "file":
            sample.problems[suffix] = f"{member.name} is a {member.kind}, which has no bytes in the tar"
        else:
            row = Row(
                source_key=sample.key,
                locator=Locator(path=shard.path, member=member.name, offset=member.offset, size=member.size),
            )
            row.sha256, data = reader.hashed(member, _MOST_BYTES)
            if data:
                row.read_header(data)
            elif data is None:
                row.reason, row.detail = "undecodable", f"{member.size:,} bytes: at most {_MOST_BYTES:,} are allowed"
            else:
                row.sha256, row.reason, row.detail = "", "empty", f"{member.name} has no bytes"
            sample.pictures[suffix] = row
    elif values.is_text(suffix):
        sample.texts.add(suffix, b"".join(reader.pieces(member)) if member.size <= values.MAX_JSON else None)
    sample.suffixes.append(suffix)


def _row(sample: _Sample, shard: SourceShard, seen: set[str]) -> Row:
    apart = sample.key in seen
    seen.add(sample.key)
    chosen = next((suffix for suffix in SOURCE_SUFFIXES if suffix in sample.pictures), None)
    row = Row(source_key=sample.key, locator=Locator(path=shard.path, size=0))
    if chosen is not None:
        row = sample.pictures[chosen]
    row.columns, row.dropped, row.lines = sample.texts.merged(), sample.texts.dropped, sample.texts.lines()
    if chosen is not None:
        return row
    row.reason = "missing_image"
    if sample.problems:
        row.detail = next(iter(sample.problems.values()))
    elif apart:
        row.detail = (
            f"the members of {sample.key} are not adjacent, so this part ({', '.join(sample.suffixes)}) has no "
            "image. Sort the tar by name (tar --sort=name)"
        )
    else:
        listed = ", ".join(sample.suffixes[:5]) + (", …" if len(sample.suffixes) > 5 else "")
        row.detail = f"the sample has {listed} and none of {', '.join(SOURCE_SUFFIXES)} (a key ends at its first dot)"
    return row


def read_ranges(images: Sequence[Image]) -> Iterator[tuple[Image, bytes | ImageError]]:
    """Every image once, in order. Raises ShardError if the file is missing or none of several images can be read."""
    for group in group_ranges(images):
        yield from zip(group, _read_group(group), strict=True)


def group_ranges(images: Sequence[Image]) -> Iterator[list[Image]]:
    """Runs of images that are read at once: one file, ascending offsets, and not too many bytes from end to end."""
    group: list[Image] = []
    for image in images:
        assert image.reason is None, f"{image.key} has no bytes: {image.reason}"
        here = image.locator
        if group:
            first, last = group[0].locator, group[-1].locator
            gap = here.offset - (last.offset + last.size)
            most = MAX_RANGE if is_url(here.path) else min(LOCAL_RANGE, MAX_RANGE)
            fits = here.offset + here.size - first.offset <= most
            if here.path != first.path or not 0 <= gap <= MAX_GAP or not fits:
                yield group
                group = []
        group.append(image)
    if group:
        yield group


def _read_group(group: list[Image]) -> Iterator[bytes | ImageError]:
    start = group[0].locator.offset
    end = group[-1].locator.offset + group[-1].locator.size
    try:
        data = read_range(group[0].locator.path, start, end)
    except Unreachable:
        raise
    except ShardError:
        yield from _read_singly(group)
        return
    for image in group:  # copies of single images, one at a time: their memory is used again
        at = image.locator.offset - start
        yield checked(image, data[at : at + image.locator.size])


def _read_singly(group: list[Image]) -> list[bytes | ImageError]:
    """Read images one by one after an error, so that a bad sector affects one image. If all fail, the shard fails."""
    found: list[bytes | ImageError] = []
    last: ShardError | None = None
    for image in group:
        place = image.locator
        try:
            found.append(checked(image, read_range(place.path, place.offset, place.offset + place.size)))
        except Unreachable:
            raise
        except ShardError as error:
            last = error
            found.append(unreadable(image, error))
    if last is not None and len(group) > 1 and all(isinstance(item, ImageError) for item in found):
        raise last
    return found
