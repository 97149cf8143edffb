"""The tables on disk as Arrow schemas: the one place where their columns are named. `schemas/*.json` says the same.

Every Parquet file carries `recaption.schema_version` and `recaption.table` in its metadata.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from recaption.errors import DatasetError
from recaption.types import SCHEMA_VERSION

FLAT = ("images", "captions", "sub_captions", "tags", "rejects")
"""The flat tables that every build has, a folder each; a pipeline's own may stand beside them."""
VERSION_KEY = b"recaption.schema_version"
TABLE_KEY = b"recaption.table"

_STR, _I32, _I64, _BOOL = pa.string(), pa.int32(), pa.int64(), pa.bool_()


def _f(name: str, kind: pa.DataType, description: str, *, null: bool = False, since: str | None = None) -> pa.Field:
    """`since`: the schema version that added the column; None for those that all files of this major version have."""
    metadata = {"description": description, **({"since": since} if since else {})}
    return pa.field(name, kind, nullable=null, metadata=metadata)


def _table(name: str, fields: Sequence[pa.Field]) -> pa.Schema:
    return pa.schema(fields, metadata={VERSION_KEY: SCHEMA_VERSION.encode(), TABLE_KEY: name.encode()})


_ROW = "in the dataset shard, 0-based: the row in the source shard, unless output.samples_per_shard has cut shards anew"
_ROW_OF_REJECT = "in the source shard, 0-based; in a build that output.samples_per_shard has cut, in the dataset shard"

_ORIENTATION = (
    "EXIF orientation of the source's bytes, 2 to 8, that the model saw applied; null: none. "
    "Images in the build stand upright; who reads the source's own files has to apply it"
)

INDEX = _table(
    "index",
    [
        _f("row", _I64, "position among the samples of the source shard, 0-based"),
        _f("key", _STR, "key in the dataset"),
        _f("source_key", _STR, "key as the source has it"),
        _f("sha256", _STR, "hex, of the image's bytes; empty where there are none"),
        _f("path", _STR, "file that holds the bytes"),
        _f("member", _STR, "tar member name", null=True),
        _f("offset", _I64, "of the first byte in a tar or file, in bytes"),
        _f("size", _I64, "bytes of the image"),
        _f("file_row", _I64, "row in a Parquet file", null=True),
        _f("url", _STR, "where the image came from", null=True),
        _f("raw_caption", _STR, "caption that came with the image, as the source has it", null=True),
        _f("raw_captions", pa.list_(_STR), "all of them, where there are several", null=True, since="1.3"),
        _f("columns", _STR, "the other source columns, a JSON object"),
        _f("reason", _STR, "why the source itself rejects the row", null=True),
        _f("detail", _STR, "the reason in words; without a reason, why there are no columns", null=True),
        _f("format", _STR, "of the image, by its content: jpeg, png, …", null=True, since="1.3"),
        _f("width", _I32, "pixels as stored, from the header", null=True, since="1.3"),
        _f("height", _I32, "pixels as stored, from the header", null=True, since="1.3"),
        _f("orientation", _I32, "EXIF orientation to apply, 2 to 8; null: none", null=True, since="1.3"),
    ],
)

_ATTEMPT = pa.struct(
    [
        _f("seed", _I64, "seed of the attempt"),
        _f("temperature", pa.float64(), "temperature of the attempt"),
        _f("finish_reason", _STR, "how it ended"),
        _f("output_tokens", _I32, "tokens made"),
        _f("detail", _STR, "error text, if any", null=True),
        _f("pixel_share", pa.float64(), "of the image's usual pixels, where fewer were shown; null: all", null=True),
    ]
)

ANSWERS = _table(
    "answers",
    [
        _f("key", _STR, "key in the dataset"),
        _f("row", _I64, "row in the source shard"),
        _f("sha256", _STR, "of the image that was shown"),
        _f("text", _STR, "the model's own string, only made storable"),
        _f("finish_reason", _STR, "stop | length | repetition | empty | refusal | error"),
        _f("prompt_tokens", _I32, "tokens of the prompt, image tokens included"),
        _f("output_tokens", _I32, "tokens of the answer that was kept"),
        _f("prompt_sha256", _STR, "of the filled-in prompt"),
        _f("attempts", pa.list_(_ATTEMPT), "every time the question was asked, the kept one last"),
        _f("engine_finish", _STR, "the engine's own finish word; null: none, or from before 1.3", null=True),
    ],
)

REJECTS = _table(
    "rejects",
    [
        _f("key", _STR, "key in the dataset"),
        _f("source_key", _STR, "key as the source has it"),
        _f("shard", _STR, "source shard id; in a build the dataset shard"),
        _f("row", _I64, _ROW_OF_REJECT),
        _f("sha256", _STR, "of the image's bytes; empty where there are none"),
        _f("stage", _STR, "source | decode | generate | build"),
        _f("generation", _STR, "generation asked; null: the image itself", null=True),
        _f("reason", _STR, "from the closed list in types.Reason"),
        _f("detail", _STR, "the reason in words"),
        _f("attempts", _I32, "times asked"),
        _f("prompt_sha256", _STR, "of the filled-in prompt; null: the image itself is to blame", null=True),
    ],
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
        _f("text", _STR, "cleaned and normalised text; spans count code points in it"),
        _f("n_words", _I32, "words"),
        _f("n_sub_captions", _I32, "sub-captions"),
        _f("finish_reason", _STR, "how the model ended; null for raw captions", null=True),
        _f("lang", _STR, "language, BCP 47", null=True),
        _f("cleaned", pa.list_(_STR), "rules that removed something from the answer; null: none did", null=True),
    ],
)

IMAGES = _table(
    "images",
    [
        _f("key", _STR, "key, unique in the dataset"),
        _f("source_key", _STR, "key as the source has it"),
        _f("shard", _STR, "dataset shard"),
        _f("row", _I64, _ROW),
        _f("sha256", _STR, "of the image's bytes as they lie in the source"),
        _f("status", _STR, "ok | partial | reject | excluded"),
        _f("reason", _STR, "why not ok", null=True),
        _f("split", _STR, "train | val"),
        _f("url", _STR, "where the image came from", null=True),
        _f("width", _I32, "pixels, upright", null=True),
        _f("height", _I32, "pixels, upright", null=True),
        _f("orientation", _I32, _ORIENTATION, null=True, since="1.3"),
        _f("n_captions", _I32, "captions, raw included"),
        _f("n_sub_captions", _I32, "sub-captions of all captions"),
        _f("n_texts", _I32, "distinct texts that can be drawn: see Record.distinct_texts"),
    ],
)

TAGS = _table(
    "tags",
    [
        _f("sub_id", _STR, "sub-caption that names the object"),
        _f("key", _STR, "key of the image"),
        _f("lemma", _STR, "head lemma, compounds whole"),
        _f("label", _STR, "label of the pipeline's vocabulary", null=True),
        _f("text", _STR, "surface span"),
        _f("char_start", _I32, "into the caption's text, code points"),
        _f("char_end", _I32, "half-open"),
        _f("attributes", pa.list_(_STR), "colour, size, material, state, as said"),
        _f("count", _I32, "number as said", null=True),
        _f("plural", _BOOL, "grammatically plural"),
        _f("kind", _STR, "object, or why it is none: absent | measure | meta | abstract | name"),
    ],
)

TAG_STRUCT = pa.struct([f for f in TAGS if f.name not in ("sub_id", "key")])

_SUB_HEAD = [
    _f("sub_id", _STR, "<caption_id>#<idx>"),
    _f("caption_id", _STR, "caption that it is a span of"),
    _f("key", _STR, "key of the image"),
    _f("shard", _STR, "dataset shard"),
    _f("generation", _STR, "raw or the generation's id"),
    _f("source", _STR, "raw or <model>:<prompt>"),
    _f("granularity", _STR, "of the caption"),
    _f("idx", _I32, "position in the caption, 0-based"),
    _f("text", _STR, "caption.text[char_start:char_end]"),
    _f("char_start", _I32, "code points, half-open"),
    _f("char_end", _I32, "code points, half-open"),
    _f("n_words", _I32, "words"),
]
_SUB_TAIL = [
    _f("tag_lemmas", pa.list_(_STR), "lemmas of the objects in it, in order"),
    _f("is_first", _BOOL, "first of its caption"),
    _f("is_last", _BOOL, "last of its caption"),
    _f("is_fragment", _BOOL, "cut off, or no sentence"),
    _f("is_negation", _BOOL, "says what is not there"),
    _f("is_meta", _BOOL, "speaks about the picture or the description"),
    _f("is_boilerplate", _BOOL, "begins with an opener; content_start says where the content begins"),
    _f(
        "is_unparsed",
        _BOOL,
        "the whole caption, without tags: a rule failed on it; null: not recorded",
        null=True,
        since="1.3",
    ),
    _f("content_start", _I32, "into the caption's text, code points"),
    _f("dup_of", _STR, "sub_id of an earlier, nearly equal one of the image", null=True),
    _f("lang", _STR, "language, BCP 47", null=True),
    _f("weight", pa.float64(), "in [0, 1]; what the weighted policy draws by"),
]


def own(name: str, columns: pa.Schema) -> pa.Schema:
    """A flat table that an annotator of the pipeline's own adds: its columns behind `sub_id` and `key`."""
    head = [_f("sub_id", _STR, "sub-caption that it is about"), _f("key", _STR, "key of the image")]
    return _table(name, [*head, *columns])


def _token_fields(tokenizers: Sequence[str]) -> list[pa.Field]:
    return [_f(f"n_tokens_{name}", _I32, f"tokens under {name}, start and end included") for name in tokenizers]


def sub_captions(tokenizers: Sequence[str] = ()) -> pa.Schema:
    """The flat sub-caption table; one `n_tokens_<name>` column per tokenizer of the pipeline."""
    return _table("sub_captions", [*_SUB_HEAD, *_token_fields(tokenizers), *_SUB_TAIL])


def _nested_captions(tokenizers: Sequence[str]) -> pa.DataType:
    outer = {"caption_id", "key", "shard", "generation", "source", "granularity"}
    sub = [f for f in sub_captions(tokenizers) if f.name not in outer]
    sub.append(_f("tags", pa.list_(TAG_STRUCT), "objects, and nouns that are none (kind)"))
    keep = ("caption_id", "generation", "source", "granularity", "text", "finish_reason", "lang", "cleaned")
    fields = [CAPTIONS.field(name) for name in keep]
    return pa.list_(pa.struct([*fields, _f("sub_captions", pa.list_(pa.struct(sub)), "in order")]))


def records(tokenizers: Sequence[str] = (), *, image: bool = False) -> pa.Schema:
    """The nested table of `data/`: a row per sample. With `image`, the bytes and what a reader of pixels needs."""
    fields = [f for f in IMAGES if not f.name.startswith("n_")]
    fields.append(_f("captions", _nested_captions(tokenizers), "in pipeline order, raw first"))
    if image:
        stored = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
        # nullable, though never null: else `datasets` does not take it for its Image feature
        fields.insert(0, _f("image", stored, "bytes and file name, as Hugging Face's Image feature has it", null=True))
        fields += [
            _f("image_format", _STR, "of the bytes in image: jpeg | png | webp"),
            _f("image_sha256", _STR, "of the bytes in image; equal to sha256 where they are the source's"),
            _f("source_format", _STR, "of the source's bytes: jpeg, png, webp, gif, …"),
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
    """The `.json` member of a webdataset sample as a table's row: `records` and the flat strings of generations, or
    the sentence lists that a profile writes in their place."""
    image = pa.struct([pa.field(n, _STR) for n in ("format", "sha256", "source_format", "source_sha256")])
    own = [_f("v", _STR, "schema_version"), _f("image", image, "the image member beside this one")]
    if lists:
        own += [_f(name, pa.list_(_STR), "sentences") for name in lists]
    else:
        flat = [f"caption_{name}" for name in generations]
        own += [_f(name, _STR, "text, where there is one", null=True) for name in ("raw_caption", *flat)]
    return _table("sample", [*own, *records(tokenizers)])


def as_of(fields: pa.Schema, version: str) -> pa.Schema:
    """A table's schema as files of an earlier minor version have it: without the columns that were added since."""
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
    """The minor number of a schema version; 0 where there is none."""
    _, _, number = version.partition(".")
    return int(number) if number.isdecimal() else 0


def check_version(schema: pa.Schema, path: str) -> None:
    """Raises DatasetError when a file was written by a newer major version, or is not ours."""
    version = (schema.metadata or {}).get(VERSION_KEY)
    if version is None:
        raise DatasetError(f"{path} was not written by recaption: its metadata has no {VERSION_KEY.decode()}")
    major, _, minor = version.partition(b".")
    if not (major.isdigit() and minor.isdigit() and len(version) < 20):
        raise DatasetError(f"{path} has schema version {version[:20]!r}, which is none")
    if int(major) > int(SCHEMA_VERSION.split(".")[0]):
        raise DatasetError(
            f"{path} has schema version {version.decode()}; this recaption reads up to {SCHEMA_VERSION}. Upgrade it"
        )
