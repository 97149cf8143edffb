"""Data files in WebDataset form: the members of a tar, its index, and the contents of JSON members."""

from __future__ import annotations

import re
import struct
import tarfile
from collections.abc import Iterator, Sequence
from typing import Any, Final, get_args

import orjson
import pyarrow as pa

from recaption import schema
from recaption.errors import ShardError, SourceError
from recaption.formatting import number_of
from recaption.imagefile import STORED_SUFFIXES
from recaption.io.tar import BrokenTarError, Member, TarReader
from recaption.problems import Problem
from recaption.text import fold
from recaption.types import SCHEMA_VERSION, FlairList
from recaption.validate.base import Shard, problem
from recaption.validate.data import check_image
from recaption.validate.files import stream, unreadable
from recaption.write.profile import FlairProfile
from recaption.write.webdataset import header

_MAX_TEXT: Final = 64 << 20  # bytes of a .txt or .json member
_MAX_IMAGE: Final = 1 << 30  # bytes of an image
_BATCH: Final = 256  # samples turned into columns at once
_NAME: Final = re.compile(r"([A-Za-z0-9_-]{1,128})\.([a-z]+)")
_AFTER_IMAGE: Final = ("txt", "json")
_HEADER_FIELDS: Final = ("mode", "mtime", "uid", "gid", "uname", "gname")


class TarChecker:
    """Checks one tar. `starts` are the offsets of its samples, `pieces` their records."""

    def __init__(self, shard: Shard, file: dict[str, Any]) -> None:
        self.path = str(file["path"])
        self.starts: list[int] = []
        self.whole = True  # every member belongs to a sample
        self._shard, self._file = shard, file
        self._schema = schema.records(shard.tokenizers)
        self._suffixes = {"jpg"} if shard.manifest["images"] == "jpeg" else set(STORED_SUFFIXES.values())
        self._keys = _Keys(shard.tokenizers, get_args(FlairList))
        self._profile = _profile_of(shard.manifest)
        self._sample: dict[str, Any] = {}  # the current sample: suffix -> sha256 of the image, bytes of the others
        self._key = ""
        self._image: list[Problem] = []  # problems of its image
        self._rows: list[dict[str, Any]] = []
        self.pieces: list[pa.Table] = []

    def run(self) -> Iterator[Problem]:
        """The problems of the tar. Raises ShardError, SourceError, BrokenTarError."""
        with stream(self._shard.build.store, self.path) as file:
            reader = TarReader(file, self.path)  # type: ignore[arg-type]
            start = 0
            for member in reader.members():
                yield from self._member(reader, member, start, file.tail)
                start = member.offset + member.size + -member.size % 512
            yield from self._end()
            yield from self._flush()
            yield from file.finish(self._file)
            self.size = file.size

    def _member(self, reader: TarReader, member: Member, start: int, read: bytes) -> Iterator[Problem]:
        """`read` ends with the member's headers, which begin at `start`."""
        match = _NAME.fullmatch(member.name)
        suffix = match[2] if match else ""
        if match and member.kind == "file" and suffix in self._suffixes:
            yield from self._end()
            yield from _check_header(self.path, member, start, read)
            digest, data = reader.hashed(member, _MAX_IMAGE)
            self._key, self._sample = match[1], {suffix: digest}
            self.starts.append(start)
            where = f"{self.path}, {self._key}"
            self._image = (
                [problem("pixels", where, f"has {member.size:,} bytes; the limit is {_MAX_IMAGE:,}")]
                if data is None
                else list(check_image(self._shard, data, where))
            )
            return
        present = list(self._sample)
        wanted = _AFTER_IMAGE[len(present) - 1] if 0 < len(present) <= len(_AFTER_IMAGE) else None
        if match is None or member.kind != "file" or suffix != wanted or match[1] != self._key:
            self.whole = False
            expected = f"expected {self._key}.{wanted}" if wanted else "expected an image"
            yield problem(
                "tar", f"{self.path}, {member.name!r}", f"is an unexpected member ({member.kind}); {expected}"
            )
            return
        yield from _check_header(self.path, member, start, read)
        if member.size > _MAX_TEXT:
            self.whole = False
            yield problem(
                "sample", f"{self.path}, {member.name}", f"has {member.size:,} bytes; the limit is {_MAX_TEXT:,}"
            )
            self._sample[suffix] = None
        else:
            self._sample[suffix] = b"".join(reader.pieces(member))

    def _end(self) -> Iterator[Problem]:
        """Check the current sample, which ends here."""
        sample, self._sample = self._sample, {}
        if not sample:
            return
        image = next(iter(sample))
        missing = [suffix for suffix in _AFTER_IMAGE if suffix not in sample]
        if missing:
            self.whole = False
            yield problem("tar", f"{self.path}, {self._key}", f"the sample lacks .{' and .'.join(missing)}")
            return
        if sample["txt"] is None or sample["json"] is None:
            return
        where = f"{self.path}, {self._key}"
        try:
            record = orjson.loads(sample["json"])
            if not isinstance(record, dict):
                raise ValueError("it is not an object")
        except ValueError as error:
            self.whole = False
            yield problem("sample", where, f".json cannot be parsed: {error}")
            return
        if wrong := self._keys.wrong(record, self._key):
            yield problem("sample", where, wrong)
        yield from list(_check_image(record, image, sample[image], where)) or self._image
        texts = {c.get("generation"): c.get("text") for c in reversed(_dicts(record.get("captions")))}
        yield from self._check_flat(record, texts, where)
        yield from self._check_txt(sample["txt"], texts, where)
        self._rows.append({name: record.get(name) for name in self._schema.names})
        if len(self._rows) == _BATCH:
            yield from self._flush()

    def _check_flat(self, record: dict[str, Any], texts: dict[Any, Any], where: str) -> Iterator[Problem]:
        """The flat strings, or the lists of `output.profile` in their place."""
        expected: dict[str, Any]
        if self._profile:
            captions = _dicts(record.get("captions"))
            subs = {c.get("generation"): _texts(c.get("sub_captions")) for c in reversed(captions)}
            first = captions[0].get("text") if captions else None
            expected = self._profile.lists_of(subs, first if isinstance(first, str) else "")
        else:
            expected = {"raw_caption" if name == "raw" else f"caption_{name}": text for name, text in texts.items()}
        found = {name: value for name, value in record.items() if name in expected or _is_flat(name)}
        if found != expected:
            names = sorted(n for n in {*found, *expected} if found.get(n) != expected.get(n))
            yield problem("sample", where, f"{', '.join(names)}: missing, or different from the captions")

    def _check_txt(self, data: bytes, texts: dict[Any, Any], where: str) -> Iterator[Problem]:
        order = [*self._shard.manifest["primary"], *reversed(texts)]
        chosen = next((texts[name] for name in order if name in texts), "")
        if isinstance(chosen, str) and data != fold(chosen).encode():
            yield problem("txt", where, ".txt is not the primary caption on one line")

    def _flush(self) -> Iterator[Problem]:
        rows, self._rows = self._rows, []
        try:
            self.pieces.append(pa.Table.from_pylist(rows, schema=self._schema))
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            self.whole = False
            for row in rows:
                try:
                    pa.Table.from_pylist([row], schema=self._schema)
                except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                    yield problem(
                        "sample", f"{self.path}, {row['key']}", f".json has a value of the wrong type: {error}"
                    )


def _profile_of(manifest: dict[str, Any]) -> FlairProfile | None:
    profile = manifest["provenance"].get("profile")
    lists = profile.get("lists") if isinstance(profile, dict) else None
    return FlairProfile(sources=lists) if isinstance(lists, dict) and set(lists) == set(get_args(FlairList)) else None


def _is_flat(name: str) -> bool:
    return name == "raw_caption" or name.startswith("caption_")


def _texts(sub_captions: Any) -> list[str]:
    return [text for sub in _dicts(sub_captions) if isinstance(text := sub.get("text"), str)]


class _Keys:
    """The fields that a sample's JSON may have, and those that its captions, sub-captions and tags must have."""

    def __init__(self, tokenizers: list[str], lists: Sequence[str]) -> None:
        records = schema.records(tokenizers)
        self._top = {*records.names, *lists, "v", "image"}
        self._caption = {f.name for f in records.field("captions").type.value_type}
        subs = records.field("captions").type.value_type.field("sub_captions").type.value_type
        self._sub, self._tag = {f.name for f in subs}, {f.name for f in schema.TAG_STRUCT}

    def wrong(self, record: dict[str, Any], key: str) -> str | None:
        version = record.get("v")
        if not isinstance(version, str) or version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
            return f"v is {version!r}; this version of recaption reads {SCHEMA_VERSION}"
        if record.get("key") != key:
            return f"key is {record.get('key')!r}"
        if nulls := sorted(name for name, value in record.items() if value is None):
            return f"{', '.join(nulls)}: null is not allowed; the field must be left out"
        flat = {name for name in record if _is_flat(name)}
        if version == SCHEMA_VERSION and (more := record.keys() - self._top - flat):
            return f"{', '.join(sorted(more))}: not part of the format"
        if version != SCHEMA_VERSION:
            return None
        for caption in _dicts(record.get("captions")):
            if caption.keys() != self._caption:
                return f"a caption has the fields {', '.join(sorted(caption))}"
            for sub in _dicts(caption["sub_captions"]):
                if sub.keys() != self._sub:
                    return f"a sub-caption has the fields {', '.join(sorted(sub))}"
                if any(tag.keys() != self._tag for tag in _dicts(sub["tags"])):
                    return f"a tag of {sub['sub_id']} does not have the fields of the format"
        return None


def read_tar(shard: Shard, file: dict[str, Any]) -> Iterator[Problem]:
    """Read a tar into `shard.found`, and compare its index."""
    checker = TarChecker(shard, file)
    try:
        yield from checker.run()
    except BrokenTarError as error:
        yield problem("unreadable", checker.path, str(error))
        return
    except (ShardError, SourceError) as error:
        yield unreadable(checker.path, error)
        return
    if not checker.whole:
        return
    if len(checker.starts) != file["rows"]:
        samples = number_of(len(checker.starts), "sample")
        yield problem("rows", checker.path, f"has {samples}; the manifest has {file['rows']}")
    shard.found[file["split"]] = pa.concat_tables(checker.pieces).replace_schema_metadata(None)
    yield from _check_index(shard, f"{checker.path}.idx", [*checker.starts, checker.size])


def _check_index(shard: Shard, path: str, offsets: list[int]) -> Iterator[Problem]:
    try:
        data = shard.build.store.get(path)
    except FileNotFoundError:
        return  # check._read reports a missing file
    if data != struct.pack(f"<{len(offsets)}Q", *offsets):
        yield problem(
            "tar index", path, f"does not have the offsets of the {len(offsets) - 1} samples and the tar's size"
        )


def _check_header(path: str, member: Member, start: int, read: bytes) -> Iterator[Problem]:
    """The headers must equal, byte for byte, those that recaption writes for this name and size."""
    expected = header(member.name, member.size)
    if member.offset - start == len(expected) and read.endswith(expected):
        return
    found = tarfile.TarInfo.frombuf(read[-512:], "utf-8", "backslashreplace")  # parsed by the reader before
    wanted = tarfile.TarInfo.frombuf(expected[-512:], "utf-8", "strict")
    differing = [f"{n} {getattr(found, n)!r}" for n in _HEADER_FIELDS if getattr(found, n) != getattr(wanted, n)]
    what = f"has {', '.join(differing)}" if differing else "has another layout"
    yield problem("header", f"{path}, {member.name}", f"its header {what}; expected time 0, mode 0644, no owner")


def _check_image(record: dict[str, Any], suffix: str, digest: str, where: str) -> Iterator[Problem]:
    image, source = record.get("image"), record.get("sha256")
    image = image if isinstance(image, dict) else {}
    if image.get("sha256") != digest:
        yield problem("image", where, "the sha256 of the image is not image.sha256 in .json")
    elif STORED_SUFFIXES.get(str(image.get("format"))) != suffix or not isinstance(image.get("source_format"), str):
        yield problem("image", where, f"is named .{suffix}, of format {image.get('format')!r}")
    elif image.get("source_sha256") != source:
        yield problem("image", where, "image.source_sha256 is not sha256")
    elif image["format"] == image["source_format"] and digest != source and "orientation" not in record:
        yield problem("image", where, "has the source's format, but not the source's bytes")


def _dicts(value: Any) -> list[dict[str, Any]]:
    """The objects in a list; other values are reported when they are converted to a column."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
