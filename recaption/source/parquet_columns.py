"""The roles of a Parquet file's columns: the image, the columns to keep, and the marks of failed rows.

img2dataset/writer.py (ParquetSampleWriter) writes a binary column named by its encode_format (`jpg`) next to `status`
and `error_message`; Hugging Face's Image feature (datasets/features/image.py) is `struct<bytes: binary, path: string>`.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.types as kinds

from recaption.config import Source as SourceConfig
from recaption.errors import SourceError

_IMAGE = ("image", "jpg", "jpeg", "png", "webp")  # in this order, where source.image names none
_KEY = ("key", "__key__")
_ALLOWED = "binary (img2dataset's jpg) or struct<bytes: binary, path: string> (Hugging Face's Image)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Roles:
    """Names of a Parquet file's columns by role."""

    image: str
    nested: bool  # image is struct<bytes, path>
    has_path: bool
    key: str | None
    others: tuple[str, ...]  # kept in Image.columns
    has_status: bool  # img2dataset's status and error_message

    @property
    def bytes_leaf(self) -> str:
        """What to select so that only the bytes are read."""
        return f"{self.image}.bytes" if self.nested else self.image

    @property
    def image_leaves(self) -> list[str]:
        return [self.bytes_leaf, f"{self.image}.path"] if self.has_path else [self.bytes_leaf]


def find_roles(schema: pa.Schema, config: SourceConfig, path: str) -> Roles:
    """The roles of a file's columns. Raises SourceError, which names the columns, their types and what is allowed."""
    image = _image_column(schema, config.image, path)
    kind = schema.field(image).type
    nested = kinds.is_struct(kind)
    others = tuple(f.name for f in schema if f.name != image and not _holds_bytes(f.type))
    if config.key is not None and config.key not in others:
        raise SourceError(f"source.key: {path} has no text column {config.key!r}; it has {_listed(schema)}")
    key = config.key or next((name for name in _KEY if name in others), None)
    texts = [name for name in ("status", "error_message") if name in others and _is_text(schema.field(name).type)]
    return Roles(
        image=image,
        nested=nested,
        has_path=nested and kind.get_field_index("path") >= 0,
        key=key,
        others=others,
        has_status=len(texts) == 2,
    )


def has_image(schema: pa.Schema, config: SourceConfig) -> bool:
    names = (config.image,) if config.image else _IMAGE
    return any(name in schema.names and _is_image(schema.field(name).type) for name in names)


def _image_column(schema: pa.Schema, wanted: str | None, path: str) -> str:
    twice = {name for name in schema.names if schema.names.count(name) > 1}
    if twice:
        raise SourceError(f"{path} has several columns named {', '.join(sorted(twice))}. Rename all but one")
    present = [name for name in ((wanted,) if wanted else _IMAGE) if name in schema.names]
    for name in present:
        if _is_image(schema.field(name).type):
            return name
    if present:
        raise SourceError(
            f"{path}: column {present[0]!r} is {schema.field(present[0]).type}, which holds no images. "
            f"Allowed: {_ALLOWED}. Its columns are {_listed(schema)}; name the one with the images in source.image. "
            "If it holds URLs, download them first (recaption download)"
        )
    names = ", ".join(map(repr, (wanted,) if wanted else _IMAGE))
    raise SourceError(
        f"{path} has no image column {names}; its columns are {_listed(schema)}. "
        f"Name the one with the images in source.image; allowed: {_ALLOWED}"
    )


def _listed(schema: pa.Schema) -> str:
    return ", ".join(f"{f.name} ({f.type})" for f in schema)


def _is_bytes(kind: pa.DataType) -> bool:
    return kinds.is_binary(kind) or kinds.is_large_binary(kind) or kinds.is_binary_view(kind)


def _is_text(kind: pa.DataType) -> bool:
    if kinds.is_dictionary(kind):
        kind = kind.value_type
    return kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind)


def _is_image(kind: pa.DataType) -> bool:
    if kinds.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _is_bytes(kind.field(at).type)
    return _is_bytes(kind)


def _holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column cannot be JSON: bytes at any depth."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if _is_bytes(kind) or kinds.is_fixed_size_binary(kind):
        return True
    if kinds.is_dictionary(kind):
        return _holds_bytes(kind.value_type)
    return any(_holds_bytes(kind.field(i).type) for i in range(kind.num_fields)) if kinds.is_nested(kind) else False
