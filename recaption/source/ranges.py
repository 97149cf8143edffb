"""Reads byte ranges of tars: consecutive images are read together, up to a maximum size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from recaption.errors import ImageError, ShardError
from recaption.io.files import Unreachable, read_range
from recaption.source.base import checked, unreadable
from recaption.types import Image

MAX_RANGE = 64 << 20  # bytes read at once; a larger image is read alone
MAX_GAP = 1 << 20  # bytes between two images up to which the gap is read, not skipped


def read_ranges(images: Sequence[Image]) -> Iterator[tuple[Image, bytes | ImageError]]:
    """Every image once, in order. Raises ShardError if the file is missing or none of several images can be read."""
    for group in group_ranges(images):
        yield from zip(group, _read_group(group), strict=True)


def group_ranges(images: Sequence[Image]) -> Iterator[list[Image]]:
    """Runs of images that are read at once: one file, ascending offsets, at most `MAX_RANGE` from end to end."""
    group: list[Image] = []
    for image in images:
        assert image.reason is None, f"{image.key} has no bytes: {image.reason}"
        here = image.locator
        if group:
            first, last = group[0].locator, group[-1].locator
            gap = here.offset - (last.offset + last.size)
            fits = here.offset + here.size - first.offset <= MAX_RANGE
            if here.path != first.path or not 0 <= gap <= MAX_GAP or not fits:
                yield group
                group = []
        group.append(image)
    if group:
        yield group


def _read_group(group: list[Image]) -> list[bytes | ImageError]:
    start = group[0].locator.offset
    end = group[-1].locator.offset + group[-1].locator.size
    try:
        data = read_range(group[0].locator.path, start, end)
    except Unreachable:
        raise
    except ShardError:
        return _read_singly(group)
    if len(group) == 1:
        return [checked(group[0], data)]
    found = []
    for image in group:
        at = image.locator.offset - start
        found.append(checked(image, data[at : at + image.locator.size]))
    return found


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
