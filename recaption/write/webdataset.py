"""Shards in webdataset form: `<shard>.tar`, its index `<shard>.tar.idx`, and the text members of a sample.

A sample is exactly `<key>.jpg`, `<key>.txt`, `<key>.json`, adjacent and in this order: Hugging Face's loader needs the
same suffixes in every sample, webdataset needs adjacent members. Headers have neither time nor owner, so that equal
samples give equal bytes.
"""

from __future__ import annotations

import struct
import sys
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson

from recaption.io.outfile import Sink, outfile
from recaption.io.store import Store
from recaption.text import fold
from recaption.types import SCHEMA_VERSION, Caption, Record, SubCaption
from recaption.write.profile import FlairProfile
from recaption.write.transcode import Stored

_PAD = bytes(512)
_LARGE = 1 << 14  # bytes; smaller data is cheaper to copy than to write separately
_USTAR_NAME = 100  # bytes; a longer name has no slash to split at, so its header is in pax form


class TarWriter:
    """Appends samples to one tar; memory holds one sample at a time."""

    def __init__(
        self, sink: Sink, tokenizers: Sequence[str], primary: Sequence[str], profile: FlairProfile | None = None
    ) -> None:
        self._sink, self._tokenizers, self._primary, self._profile = sink, tokenizers, primary, profile
        self._offsets = array("Q")

    def add(self, record: Record, image: Stored) -> None:
        self._offsets.append(self._sink.size)
        members = (
            (image.suffix, image.data),
            ("txt", primary_text(record, self._primary).encode()),
            ("json", sample_json(record, image, self._tokenizers, self._profile)),
        )
        for piece in pieces(record.key, members):
            self._sink.write(piece)

    def end(self) -> bytes:
        """Write the end mark. Returns the index: the offset of each sample, then the tar's size."""
        self._sink.write(end_mark(self._sink.size))
        offsets = array("Q", [*self._offsets, self._sink.size])
        if sys.byteorder == "big":
            offsets.byteswap()
        return offsets.tobytes()


@contextmanager
def tar_writer(
    store: Store,
    path: str,
    *,
    tokenizers: Sequence[str] = (),
    primary: Sequence[str] = (),
    profile: FlairProfile | None = None,
) -> Iterator[tuple[TarWriter, dict[str, Sink]]]:
    """A writer of `path` (a .tar) and `<path>.idx`. After the block has ended without an error, both exist.

    The dict then holds the closed sinks by path. The index is written last, so if it exists, the tar exists.
    """
    sinks: dict[str, Sink] = {}
    with outfile(store, path) as sink:
        writer = TarWriter(sink, tokenizers, primary, profile)
        yield writer, sinks
        index = writer.end()
    with outfile(store, f"{path}.idx") as index_sink:
        index_sink.write(index)
    sinks |= {path: sink, f"{path}.idx": index_sink}


def pieces(key: str, members: Sequence[tuple[str, bytes]]) -> Iterator[bytes]:
    """The members `<key>.<suffix>` of a sample with their headers and padding; large data is not copied."""
    small: list[bytes] = []
    for suffix, data in members:
        small.append(header(f"{key}.{suffix}", len(data)))
        if len(data) >= _LARGE:
            yield b"".join(small)
            yield data
            small = []
        else:
            small.append(data)
        small.append(_PAD[: -len(data) % 512])
    yield b"".join(small)


def end_mark(size: int) -> bytes:
    """The end of a tar whose members take `size` bytes: two empty blocks, then zeros up to a whole record."""
    end = size + 1024
    return bytes(1024 + -end % tarfile.RECORDSIZE)


def header(name: str, size: int) -> bytes:
    """The tar header of a regular file: ustar, mode 0644, no time or owner; pax for names over 100 bytes."""
    if len(name) > _USTAR_NAME or size >= 8**11:
        info = tarfile.TarInfo(name)
        info.size = size
        return info.tobuf(tarfile.PAX_FORMAT)
    first, digits = name.encode("ascii"), b"%011o" % size
    checksum = sum(first) + sum(digits) + _SAME_SUM
    return b"".join((first.ljust(_USTAR_NAME, b"\0"), _MODE, digits, _TIME, b"%06o\0 " % checksum, _REST))


# The rest is the same for every member: mode 0644, owner 0; time 0; type file; no link; ustar, version 00, no names.
_MODE = b"0000644\0" + b"0000000\0" * 2
_TIME = b"\0" + b"00000000000\0"  # after the digits of the size
_REST = struct.pack("<1s100s6s2s32s32s8s8s155s12x", b"0", b"", b"ustar\0", b"00", b"", b"", b"", b"", b"")
_SAME_SUM = sum(_MODE) + sum(_TIME) + sum(_REST) + 8 * 0x20  # the checksum field itself counts as spaces


def sample_json(
    record: Record, image: Stored, tokenizers: Sequence[str] = (), profile: FlairProfile | None = None
) -> bytes:
    """The `.json` member (`schemas/sample.schema.json`), UTF-8, keys in a fixed order, no white space.

    Flat strings (`raw_caption`, `caption_<generation>`) are for open_clip's `--json-text-key`. Like url, width, height,
    orientation and reason, they are left out if missing, never null or empty. With a profile, FLAIR's seven lists
    replace them.
    """
    made: dict[str, Any] = {
        "v": SCHEMA_VERSION,
        "key": record.key,
        "source_key": record.source_key,
        "shard": record.shard,
        "row": record.row,
        "sha256": record.sha256,
        "status": record.status,
    }
    if record.reason is not None:
        made["reason"] = record.reason
    made["split"] = record.split
    if record.url:
        made["url"] = record.url
    if record.width is not None and record.height is not None:
        made["width"], made["height"] = record.width, record.height
    if record.orientation is not None:
        made["orientation"] = record.orientation
    made["image"] = {
        "format": image.format,
        "sha256": image.sha256,
        "source_format": image.source_format,
        "source_sha256": image.source_sha256,
    }
    made |= profile.lists(record.captions) if profile else flat_texts(record)
    made["captions"] = [_caption(caption, tokenizers) for caption in record.captions]
    return orjson.dumps(made)


def flat_texts(record: Record) -> dict[str, str]:
    """The captions as flat strings, by the name of the field: `raw_caption`, `caption_<generation>`."""
    texts: dict[str, str] = {}
    for caption in record.captions:
        texts.setdefault(flat_name(caption.generation), caption.text)
    return texts


def flat_name(generation: str) -> str:
    """The field of a generation's flat string."""
    return "raw_caption" if generation == "raw" else f"caption_{generation}"


def primary_text(record: Record, primary: Sequence[str]) -> str:
    """The `.txt` member, on one line: the first existing text in the order of `primary`, else the first caption."""
    texts = record.texts()
    first = record.captions[0].text if record.captions else ""
    return fold(next((texts[name] for name in primary if name in texts), first))


def _caption(caption: Caption, tokenizers: Sequence[str]) -> dict[str, Any]:
    return {
        "caption_id": caption.caption_id,
        "generation": caption.generation,
        "source": caption.source,
        "granularity": caption.granularity,
        "text": caption.text,
        "finish_reason": caption.finish_reason,
        "lang": caption.lang,
        "translated_from": caption.translated_from,
        "aspect": caption.aspect,
        "region_id": caption.region_id,
        "box": caption.box,
        "cleaned": caption.cleaned,
        "sub_captions": [_sub_caption(sub, tokenizers) for sub in caption.sub_captions],
    }


def _sub_caption(sub: SubCaption, tokenizers: Sequence[str]) -> dict[str, Any]:
    return {
        "sub_id": sub.sub_id,
        "idx": sub.idx,
        "text": sub.text,
        "char_start": sub.char_start,
        "char_end": sub.char_end,
        "n_words": sub.n_words,
        **{f"n_tokens_{name}": sub.n_tokens[name] for name in tokenizers},
        "tag_lemmas": [tag.lemma for tag in sub.tags if tag.kind == "object"],
        "is_first": sub.is_first,
        "is_last": sub.is_last,
        "is_fragment": sub.is_fragment,
        "is_negation": sub.is_negation,
        "is_meta": sub.is_meta,
        "is_boilerplate": sub.is_boilerplate,
        "is_unparsed": sub.is_unparsed,
        "content_start": sub.content_start,
        "dup_of": sub.dup_of,
        "lang": sub.lang,
        "weight": sub.weight,
        "lp_mean": sub.lp_mean,
        "lp_min": sub.lp_min,
        "lp_std": sub.lp_std,
        # dicts: orjson takes twice as long over dataclasses with slots
        "tags": [
            {
                "lemma": tag.lemma,
                "label": tag.label,
                "text": tag.text,
                "char_start": tag.char_start,
                "char_end": tag.char_end,
                "attributes": tag.attributes,
                "count": tag.count,
                "plural": tag.plural,
                "kind": tag.kind,
            }
            for tag in sub.tags
        ],
    }
