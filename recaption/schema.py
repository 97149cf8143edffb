"""The tables on disk as Arrow schemas: the only place that names their columns. `schemas/*.json` is generated from it.

Every Parquet file carries `recaption.schema_version` and `recaption.table` in its metadata.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from recaption.errors import DatasetError
from recaption.types import SCHEMA_VERSION

FLAT = ("images", "captions", "sub_captions", "tags", "rejects")
"""The flat tables that every build has, one folder each. Tasks add tables, and a pipeline can add custom ones."""
BINARY = ("tar_index", "tokens", "embeddings")
"""What files of a build have that are neither data nor tables."""
RESERVED = frozenset((*FLAT, *BINARY, "data", "objects", "records", "shards", "answers", "runs", "index", "metrics"))
"""Names that no other table can have: those of folders and views."""
TABLE_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
VERSION_KEY = b"recaption.schema_version"
TABLE_KEY = b"recaption.table"

_STR, _I32, _I64, _BOOL = pa.string(), pa.int32(), pa.int64(), pa.bool_()


def _f(name: str, kind: pa.DataType, description: str, *, null: bool = False, since: str | None = None) -> pa.Field:
    """`since`: the schema version that added the column; None if all files of this major version have it."""
    metadata = {"description": description, **({"since": since} if since else {})}
    return pa.field(name, kind, nullable=null, metadata=metadata)


def _table(name: str, fields: Sequence[pa.Field]) -> pa.Schema:
    return pa.schema(fields, metadata={VERSION_KEY: SCHEMA_VERSION.encode(), TABLE_KEY: name.encode()})


_ROW = "row in the dataset shard, 0-based; equal to the row in the source shard unless output.samples_per_shard is set"
_ROW_OF_REJECT = "row in the source shard, 0-based; in a build with output.samples_per_shard, in the dataset shard"

_ORIENTATION = (
    "EXIF orientation, 2 to 8, that was applied to the source's image for the model; null: none. "
    "Images in the build are upright; readers of the source's files have to apply it"
)

INDEX = _table(
    "index",
    [
        _f("row", _I64, "position among the samples of the source shard, 0-based"),
        _f("key", _STR, "key in the dataset"),
        _f("source_key", _STR, "key in the source"),
        _f("sha256", _STR, "SHA-256 of the image's bytes, hexadecimal; empty if there are none"),
        _f("path", _STR, "file with the image's bytes"),
        _f("member", _STR, "tar member name", null=True),
        _f("offset", _I64, "offset of the first byte in the tar or file, in bytes"),
        _f("size", _I64, "size of the image, in bytes"),
        _f("file_row", _I64, "row in a Parquet file", null=True),
        _f("url", _STR, "URL of the image", null=True),
        _f("raw_caption", _STR, "caption that comes with the image, unchanged", null=True),
        _f("raw_captions", pa.list_(_STR), "all raw captions, if there are several", null=True, since="1.3"),
        _f("columns", _STR, "the other source columns, as a JSON object"),
        _f("reason", _STR, "why the source itself rejects the row", null=True),
        _f("detail", _STR, "explanation of the reason; without a reason, of missing columns", null=True),
        _f("format", _STR, "image format, detected from the content: jpeg, png, …", null=True, since="1.3"),
        _f("width", _I32, "width as stored, in pixels, from the header", null=True, since="1.3"),
        _f("height", _I32, "height as stored, in pixels, from the header", null=True, since="1.3"),
        _f("orientation", _I32, "EXIF orientation to apply, 2 to 8; null: none", null=True, since="1.3"),
    ],
)

_ATTEMPT = pa.struct(
    [
        _f("seed", _I64, "seed of the attempt"),
        _f("temperature", pa.float64(), "temperature of the attempt"),
        _f("finish_reason", _STR, "why generation ended"),
        _f("output_tokens", _I32, "generated tokens"),
        _f("detail", _STR, "error message, if any", null=True),
        _f("pixel_share", pa.float64(), "share of the image's pixels, if the attempt used fewer; null: all", null=True),
    ]
)

ANSWERS = _table(
    "answers",
    [
        _f("key", _STR, "key in the dataset"),
        _f("row", _I64, "row in the source shard"),
        _f("sha256", _STR, "SHA-256 of the image's bytes"),
        _f("text", _STR, "the model's string, changed only where it could not be stored"),
        _f("finish_reason", _STR, "stop | length | repetition | empty | refusal | error"),
        _f("prompt_tokens", _I32, "tokens of the prompt, including image tokens"),
        _f("output_tokens", _I32, "tokens of the kept answer"),
        _f("prompt_sha256", _STR, "SHA-256 of the rendered prompt"),
        _f("attempts", pa.list_(_ATTEMPT), "all attempts, the kept one last"),
        _f("engine_finish", _STR, "the engine's own finish reason; null: none, or written before 1.3", null=True),
        _f("unit", _STR, "what the request was about; null: the whole image", null=True, since="1.3"),
        _f("value", _STR, "what the task made of the answer, as JSON", null=True, since="1.3"),
        _f("logprobs", pa.binary(), "log-probabilities of the tokens of text", null=True, since="1.3"),
        _f("embedding", pa.binary(), "embedding of the unit: float16, little-endian", null=True, since="1.3"),
    ],
)

REJECTS = _table(
    "rejects",
    [
        _f("key", _STR, "key in the dataset"),
        _f("source_key", _STR, "key in the source"),
        _f("shard", _STR, "source shard; in a build, the dataset shard"),
        _f("row", _I64, _ROW_OF_REJECT),
        _f("sha256", _STR, "SHA-256 of the image's bytes; empty if there are none"),
        _f("stage", _STR, "source | decode | generate | build"),
        _f("generation", _STR, "generation; null: the image itself was rejected", null=True),
        _f("reason", _STR, "reason, from a closed list"),
        _f("detail", _STR, "explanation of the reason"),
        _f("attempts", _I32, "number of attempts"),
        _f("prompt_sha256", _STR, "SHA-256 of the rendered prompt; null: the image itself was rejected", null=True),
        _f("unit", _STR, "what the request was about; null: the whole image", null=True, since="1.3"),
    ],
)

_BOX = (
    "the part of the image that the model was shown: x0, y0, x1, y1 as shares of the upright image's width and height; "
    "null: all of it"
)

CAPTIONS = _table(
    "captions",
    [
        _f("caption_id", _STR, "<key>/<raw | generation>/<n>"),
        _f("key", _STR, "key of the image"),
        _f("shard", _STR, "dataset shard"),
        _f("split", _STR, "train | val"),
        _f("generation", _STR, "raw or the generation's id"),
        _f("source", _STR, "raw or <model>:<prompt>"),
        _f("granularity", _STR, "raw | short | long | region | aspect | fused"),
        _f("text", _STR, "cleaned and normalised text; spans are code points of it"),
        _f("n_words", _I32, "number of words"),
        _f("n_sub_captions", _I32, "number of sub-captions"),
        _f("finish_reason", _STR, "why generation ended; null for raw captions", null=True),
        _f("lang", _STR, "language, BCP 47", null=True),
        _f("translated_from", _STR, "caption that it translates; null: it is no translation", null=True, since="1.3"),
        _f("aspect", _STR, "aspect that it is about; null: the whole image", null=True, since="1.3"),
        _f("region_id", _STR, "region that it describes; null: it is about the image", null=True, since="1.3"),
        _f("box", pa.list_(pa.float64()), _BOX, null=True, since="1.3"),
        _f("cleaned", pa.list_(_STR), "cleaning rules that removed something from the answer; null: none", null=True),
    ],
)

IMAGES = _table(
    "images",
    [
        _f("key", _STR, "key, unique in the dataset"),
        _f("source_key", _STR, "key in the source"),
        _f("shard", _STR, "dataset shard"),
        _f("row", _I64, _ROW),
        _f("sha256", _STR, "SHA-256 of the image's bytes in the source"),
        _f("status", _STR, "ok | partial | reject | excluded"),
        _f("reason", _STR, "why the status is not ok", null=True),
        _f("split", _STR, "train | val"),
        _f("url", _STR, "URL of the image", null=True),
        _f("width", _I32, "width of the upright image, in pixels", null=True),
        _f("height", _I32, "height of the upright image, in pixels", null=True),
        _f("orientation", _I32, _ORIENTATION, null=True, since="1.3"),
        _f("n_captions", _I32, "number of captions, including raw ones"),
        _f("n_sub_captions", _I32, "number of sub-captions of all captions"),
        _f("n_texts", _I32, "number of distinct texts that a trainer can draw"),
    ],
)

TAGS = _table(
    "tags",
    [
        _f("sub_id", _STR, "sub-caption that contains the noun"),
        _f("key", _STR, "key of the image"),
        _f("lemma", _STR, "lemma of the head noun, with its compound"),
        _f("label", _STR, "label from annotate.vocabulary", null=True),
        _f("text", _STR, "text of the span"),
        _f("char_start", _I32, "start in the caption's text, in code points"),
        _f("char_end", _I32, "end in the caption's text, exclusive"),
        _f("attributes", pa.list_(_STR), "colour, size, material, state, as in the text"),
        _f("count", _I32, "number, if the text gives one", null=True),
        _f("plural", _BOOL, "grammatical plural"),
        _f("kind", _STR, "object, or why the noun is no object: absent | measure | meta | abstract | name"),
    ],
)

TAG_STRUCT = pa.struct([f for f in TAGS if f.name not in ("sub_id", "key")])

_SUB_HEAD = [
    _f("sub_id", _STR, "<caption_id>#<idx>"),
    _f("caption_id", _STR, "caption that contains it"),
    _f("key", _STR, "key of the image"),
    _f("shard", _STR, "dataset shard"),
    _f("generation", _STR, "raw or the generation's id"),
    _f("source", _STR, "raw or <model>:<prompt>"),
    _f("granularity", _STR, "granularity of the caption"),
    _f("idx", _I32, "position in the caption, 0-based"),
    _f("text", _STR, "caption.text[char_start:char_end]"),
    _f("char_start", _I32, "start in the caption's text, in code points"),
    _f("char_end", _I32, "end in the caption's text, exclusive"),
    _f("n_words", _I32, "number of words"),
]
_SUB_TAIL = [
    _f("tag_lemmas", pa.list_(_STR), "lemmas of its objects, in order"),
    _f("is_first", _BOOL, "first sub-caption of its caption"),
    _f("is_last", _BOOL, "last sub-caption of its caption"),
    _f("is_fragment", _BOOL, "cut off, or not a sentence"),
    _f("is_negation", _BOOL, "states what is absent"),
    _f("is_meta", _BOOL, "is about the picture or the description as such"),
    _f("is_boilerplate", _BOOL, "begins with an opener; content_start is the start of the content"),
    _f(
        "is_unparsed",
        _BOOL,
        "a rule failed: the whole caption as one sub-caption without tags; null: not recorded",
        null=True,
        since="1.3",
    ),
    _f("content_start", _I32, "start of the content in the caption's text, in code points"),
    _f("dup_of", _STR, "sub_id of an earlier sub-caption of the image that is almost equal", null=True),
    _f("lang", _STR, "language, BCP 47", null=True),
    _f("weight", pa.float64(), "weight in [0, 1], used by the policy weighted"),
    *(
        _f(
            f"lp_{name}",
            pa.float64(),
            f"{what} of the log-probabilities that the model gave to the tokens of its content words; null: not known",
            null=True,
            since="1.3",
        )
        for name, what in (("mean", "mean"), ("min", "minimum"), ("std", "standard deviation"))
    ),
]


def custom_table(name: str, columns: pa.Schema) -> pa.Schema:
    """A custom table (`annotate.tables`): `sub_id`, `key`, then `columns`."""
    head = [_f("sub_id", _STR, "sub-caption that the row is about"), _f("key", _STR, "key of the image")]
    return _table(name, [*head, *columns])


def column(name: str, kind: pa.DataType, description: str, *, null: bool = False) -> pa.Field:
    """A column of a task's table."""
    return _f(name, kind, description, null=null)


def task_table(name: str, columns: pa.Schema) -> pa.Schema:
    """The table of a task (`tasks.base.TableSpec`): `key`, `generation`, then `columns`."""
    head = [_f("key", _STR, "key of the image"), _f("generation", _STR, "generation that made the row")]
    return _table(name, [*head, *columns])


_SCALARS = {
    str(kind): kind
    for kind in (_STR, _BOOL, pa.int8(), pa.int16(), _I32, _I64, pa.float32(), pa.float64(), pa.binary())
}


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type whose `str` is `name`, for a column of a task's table.

    Allowed are strings, bytes, booleans, signed integers, float, double, and lists of these. Raises ValueError for
    other types.
    """
    if match := re.fullmatch(r"list<(?:item|element): (.*)>", name):
        return pa.list_(arrow_type(match[1]))
    if name not in _SCALARS:
        raise ValueError(f"type {name} is not allowed; allowed: {', '.join(_SCALARS)}, and lists of them")
    return _SCALARS[name]


def _token_fields(tokenizers: Sequence[str]) -> list[pa.Field]:
    return [
        _f(f"n_tokens_{name}", _I32, f"number of tokens of {name}, including start and end token")
        for name in tokenizers
    ]


def sub_captions(tokenizers: Sequence[str] = ()) -> pa.Schema:
    """The flat sub-caption table, with one `n_tokens_<name>` column per tokenizer of the pipeline."""
    return _table("sub_captions", [*_SUB_HEAD, *_token_fields(tokenizers), *_SUB_TAIL])


def _nested_captions(tokenizers: Sequence[str]) -> pa.DataType:
    outer = {"caption_id", "key", "shard", "generation", "source", "granularity"}
    sub = [f for f in sub_captions(tokenizers) if f.name not in outer]
    sub.append(_f("tags", pa.list_(TAG_STRUCT), "tags: objects, and nouns that are no objects (see kind)"))
    outer_only = {"key", "shard", "split", "n_words", "n_sub_captions"}
    fields = [field for field in CAPTIONS if field.name not in outer_only]
    return pa.list_(pa.struct([*fields, _f("sub_captions", pa.list_(pa.struct(sub)), "sub-captions, in order")]))


def records(tokenizers: Sequence[str] = (), *, image: bool = False) -> pa.Schema:
    """The nested table of `data/`, one row per sample. `image` adds the columns of format parquet with the image."""
    fields = [f for f in IMAGES if not f.name.startswith("n_")]
    fields.append(_f("captions", _nested_captions(tokenizers), "captions in pipeline order, raw captions first"))
    if image:
        stored = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
        # nullable, though never null: otherwise `datasets` does not read it as its Image feature
        fields.insert(0, _f("image", stored, "bytes and file name, as in Hugging Face's Image feature", null=True))
        fields += [
            _f("image_format", _STR, "format of the bytes in image: jpeg | png | webp"),
            _f("image_sha256", _STR, "SHA-256 of the bytes in image; equal to sha256 if they are unchanged"),
            _f("source_format", _STR, "format of the source's bytes: jpeg, png, webp, gif, …"),
        ]
    return _table("records", fields)


def flat(tokenizers: Sequence[str] = ()) -> dict[str, pa.Schema]:
    """The flat tables that every build has, by name, in the order of `FLAT`."""
    made = {
        "images": IMAGES,
        "captions": CAPTIONS,
        "sub_captions": sub_captions(tokenizers),
        "tags": TAGS,
        "rejects": REJECTS,
    }
    return {name: made[name] for name in FLAT}


def sample(tokenizers: Sequence[str] = (), generations: Sequence[str] = (), lists: Sequence[str] = ()) -> pa.Schema:
    """The `.json` member of a webdataset sample as a row of a table: `records`, and one string per generation or, with
    a profile, its sentence lists."""
    image = pa.struct([pa.field(n, _STR) for n in ("format", "sha256", "source_format", "source_sha256")])
    own = [_f("v", _STR, "schema_version"), _f("image", image, "the image member of the sample")]
    if lists:
        own += [_f(name, pa.list_(_STR), "sentences") for name in lists]
    else:
        flat = [f"caption_{name}" for name in generations]
        own += [_f(name, _STR, "text, if there is one", null=True) for name in ("raw_caption", *flat)]
    return _table("sample", [*own, *records(tokenizers)])


def as_of(fields: pa.Schema, version: str) -> pa.Schema:
    """The schema of a table in files of an earlier minor version: without the columns added later."""
    kept = [_as_of(field, minor(version)) for field in fields]
    return pa.schema([field for field in kept if field is not None], metadata=fields.metadata)


def _as_of(field: pa.Field, until: int) -> pa.Field | None:
    if minor((field.metadata or {}).get(b"since", b"").decode()) > until:
        return None
    kind = field.type
    if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
        below = (_as_of(one, until) for one in kind.value_type)
        return field.with_type(pa.list_(pa.struct([one for one in below if one is not None])))
    return field


def minor(version: str) -> int:
    """The minor number of a schema version; 0 if there is none."""
    _, _, number = version.partition(".")
    return int(number) if number.isdecimal() else 0


def check_version(schema: pa.Schema, path: str) -> None:
    """Raises DatasetError for a file of a newer major version, and for a file that recaption did not write."""
    version = (schema.metadata or {}).get(VERSION_KEY)
    if version is None:
        raise DatasetError(f"{path} was not written by recaption: its metadata has no {VERSION_KEY.decode()}")
    major, _, minor = version.partition(b".")
    if not (major.isdigit() and minor.isdigit() and len(version) < 20):
        raise DatasetError(f"{path} has an invalid schema version: {version[:20]!r}")
    if int(major) > int(SCHEMA_VERSION.split(".")[0]):
        raise DatasetError(
            f"{path} has schema version {version.decode()}; this version of recaption reads up to {SCHEMA_VERSION}. "
            "Upgrade recaption"
        )
