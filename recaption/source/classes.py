"""A list of classes: rows without images, for tasks that read text only."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from recaption import strictyaml
from recaption.errors import ConfigError, ImageError, ShardError, SourceError
from recaption.io.files import read_all
from recaption.source.base import FileSource, Row, images
from recaption.source.columns import clean, parse_json
from recaption.source.table import csv_rows, parquet_rows, separator_hint
from recaption.text import fold, normalise, sha256
from recaption.types import Image, Locator, SourceShard

SUFFIXES = (".txt", ".csv", ".json", ".yaml", ".yml", ".parquet")
_NAMES = ("name", "class", "class_name", "label")  # in this order, where source.key names none
_Found = Iterator[tuple[str, dict[str, Any]]]


class ClassSource(FileSource):
    """Lists of classes, one shard for each file. A class has a name, and columns that prompts may use.

    A `.txt` file has a name in each line. JSON and YAML have a list of names or objects, or an object that maps names
    to their columns. CSV and Parquet have a column with the names. The name of a class is its `source_key` and its raw
    caption, and `sha256` is the hash of the name. There are no image bytes.
    """

    kind = "classes"
    has_images = False
    suffixes = SUFFIXES

    def shards(self) -> Iterator[SourceShard]:
        for number, file in enumerate(self.listed()):
            yield SourceShard(id=file.id, number=number, path=file.path)

    def columns(self) -> frozenset[str]:
        return frozenset(name for row in self._rows(next(self.shards()).path) for name in row.columns)

    def unused(self) -> list[str]:
        return []

    def index(self, shard: SourceShard) -> list[Image]:
        """A row for each class. No class is rejected."""
        made = images(shard, self._rows(shard.path), self.config)
        return [replace(image, raw_captions=(image.source_key,)) for image in made]

    def read(self, images: Sequence[Image]) -> Iterator[tuple[Image, bytes | ImageError]]:
        """Each row with empty bytes."""
        for image in images:
            yield image, b""

    def _rows(self, path: str) -> list[Row]:
        """Raises SourceError for a malformed file, and for classes without a name or with the same name."""
        rows, places = list[Row](), dict[str, str]()
        for number, (where, columns) in enumerate(self._found(path)):
            name = _text(columns[self._name(list(columns), f"{path}, {where}")])
            if not name:
                raise SourceError(f"{path}, {where}: the class has no name. Give one, or remove the row")
            if (other := places.setdefault(name, where)) != where:
                raise SourceError(f"{path}, {where}: the class {name!r} is also in {other}. Remove one of them")
            locator = Locator(path=path, size=0, row=number)
            rows.append(Row(source_key=name, locator=locator, sha256=sha256(name), columns=columns))
        if not rows:
            raise SourceError(f"{path} has no classes. Give one name per line, or a list of names")
        return rows

    def _found(self, path: str) -> _Found:
        suffix = posixpath.splitext(path)[1].lower()
        if suffix not in SUFFIXES:
            raise SourceError(
                f"source.path {path!r}: source.format classes reads files with the suffixes {', '.join(SUFFIXES)}"
            )
        try:
            data = read_all(path)
        except ShardError as error:
            raise SourceError(f"source.path: {error}") from error
        if suffix in (".csv", ".parquet"):
            return (csv_rows if suffix == ".csv" else parquet_rows)(data, path, self._check_names)
        try:
            text = strictyaml.decoded(data, path)
            if suffix == ".txt":
                lines = enumerate(text.splitlines(), 1)
                return ((f"line {n}", {_NAMES[0]: line}) for n, line in lines if line.strip())
            value = parse_json(data) if suffix == ".json" else clean(_as_written(strictyaml.read(text, path)))
        except ConfigError as error:
            raise SourceError(str(error)) from error
        except ValueError as error:
            raise SourceError(f"{path} is not JSON: {error}") from error
        return _listed(value, self.config.key or _NAMES[0], path)

    def _check_names(self, columns: Sequence[str], path: str) -> None:
        self._name(columns, path)

    def _name(self, columns: Sequence[str], where: str) -> str:
        """The column with the names."""
        key = self.config.key
        found = next((name for name in ((key,) if key else _NAMES) if name in columns), None)
        if found is None:
            wanted = repr(key) if key else " or ".join(_NAMES)
            raise SourceError(
                f"{where}: no column {wanted}; it has {', '.join(columns)}{separator_hint(columns)}. "
                "Set source.key to the column with the names of the classes"
            )
        return found


def _listed(value: Any, name: str, path: str) -> _Found:
    """The rows of a JSON or YAML document. `name` is the column for names that are given without columns."""
    if isinstance(value, dict):
        value = [{name: key, **(columns if isinstance(columns, dict) else {})} for key, columns in value.items()]
    if not isinstance(value, list):
        raise SourceError(f"{path}: expected a list of class names, or an object of names with their columns")
    for number, item in enumerate(value):
        if not isinstance(item, dict) and not _text(item):
            raise SourceError(f"{path}, item {number}: expected a name or an object, got {item!r:.100}")
        yield f"item {number}", item if isinstance(item, dict) else {name: item}


def _as_written(value: Any) -> Any:
    """The values of a YAML file, with texts such as `no` and `010` as they are written."""
    if isinstance(value, list):
        return [_as_written(item) for item in value]
    if isinstance(value, dict):
        return {name: _as_written(item) for name, item in value.items()}
    return value.text if isinstance(value, strictyaml.Ambiguous) else value


def _text(value: Any) -> str:
    """A name in one line, also of a number; "" for other values."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return fold(normalise(str(value))) if isinstance(value, str) or is_number else ""
