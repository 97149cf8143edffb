"""A strict reader of YAML. Values that YAML 1.1 silently drops or converts are errors or stay text.

- A duplicate key is an error that names both lines. Keys are always text.
- `no`, `010`, `1:30`, `2024-01-31` and similar values become `Ambiguous`, which only fields of that type accept (a
  boolean, a date).
- NUL and lone surrogates, which YAML can escape, are errors.
- Nesting and repeated aliases are limited; encodings other than UTF-8 are errors.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from recaption.errors import ConfigError
from recaption.text import without_surrogates

DEPTH: Final = 64
NODES: Final = 100_000  # every use of an alias counts

_TAG = "tag:yaml.org,2002:"
_PLAIN_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_BOMS = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16"}
_BOMS |= {codecs.BOM_UTF16_BE: "UTF-16"}


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """A plain text that YAML 1.1 reads as another type: `text` as `value`."""

    text: str
    value: Any

    def __str__(self) -> str:
        read = _shown(self.value)
        return f'{self.text}, which YAML reads as {read}; for a text, put it in quotes: "{self.text}"'


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"the {'number' if isinstance(value, int | float) else 'date'} {value}"


def decoded(data: bytes, where: str) -> str:
    """The text of a file. Raises ConfigError if it is not UTF-8."""
    for bom, name in _BOMS.items():
        if data.startswith(bom):
            raise ConfigError(f"{where} is encoded in {name}; save it as UTF-8")
    if b"\0" in data[:4]:
        raise ConfigError(f"{where} is not UTF-8 text (it has NUL bytes and may be UTF-16); save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{where} is not UTF-8 (line {line}, byte {error.start}); save it as UTF-8") from error


def read(text: str, where: str, first_line: int = 1, *, whole: bool = False) -> Any:
    """The YAML document in `text`, which begins in line `first_line` of the file `where`. Raises ConfigError.

    With `whole`, nothing may follow the value, not even a comment.
    """
    reader = _Reader(where, first_line)
    try:
        reader.check_depth(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f", {reader.line(mark)}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{where} is not YAML{at}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not YAML: {error}") from error
    if node is None:
        return None
    if whole and node.end_mark.index < len(text):
        rest = text[node.end_mark.index :]
        raise ConfigError(f"{where}: {rest!r} follows the value; quote the whole value, or remove that")
    return reader.value(node)


def scalar(text: str) -> Any:
    """The value of a plain text, in which `#`, `@`, `%` and `: ` have no special meaning."""
    tag = yaml.SafeLoader("").resolve(yaml.ScalarNode, text, (True, False))
    return _scalar(yaml.ScalarNode(tag=tag, value=text, style=None))


class _Reader:
    def __init__(self, where: str, first_line: int) -> None:
        self._where, self._first = where, first_line
        self._open: set[int] = set()
        self._left = NODES

    def line(self, mark: Any) -> str:
        return f"line {mark.line + self._first}"

    def check_depth(self, text: str) -> None:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEPTH:
                raise self._error(event, f"is nested more than {DEPTH} levels deep; use fewer levels")

    def value(self, node: yaml.Node) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ConfigError(
                f"{self._where} has more than {NODES:,} values (those of an alias count at each use); write fewer"
            )
        if isinstance(node, yaml.ScalarNode):
            if not node.tag.startswith(_TAG) or node.tag[len(_TAG) :] not in _SCALARS:
                raise self._error(node, f"has a value of type {node.tag}; allowed: text, numbers, booleans and null")
            self._check_text(node)
            try:
                return _scalar(node)
            except ValueError as error:
                raise self._error(node, f"has {node.value!r}, which does not fit its type: {error}") from error
        if id(node) in self._open:
            raise self._error(node, "has an alias that contains itself")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
                return [self.value(item) for item in node.value]
            if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
                return self._mapping(node)
            raise self._error(node, f"has a value of type {node.tag}; allowed: mappings and lists")
        finally:
            self._open.discard(id(node))

    def _check_text(self, node: yaml.ScalarNode) -> None:
        """An escape such as \\0 or \\ud83d makes a text that neither a file name nor a request can contain."""
        if without_surrogates(node.value) != node.value or "\0" in node.value:
            raise self._error(node, f"has {node.value!r}, with a NUL or a lone surrogate; remove it")

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, yaml.Node] = {}
        merged: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(key, "has a mapping or list as a key; a key is text")
            self._check_text(key)
            name = key.value
            if name in lines:
                both = f"{self.line(lines[name].start_mark)} and {self.line(key.start_mark)}"
                raise ConfigError(f"{self._where} has the key {name!r} twice, in {both}; keep one of them")
            lines[name] = key
            if key.tag == _TAG + "merge":
                for other in self._merged(value):
                    merged = {**other, **merged}
            else:
                found[name] = self.value(value)
        return {**merged, **found}

    def _merged(self, node: yaml.Node) -> Iterator[dict[str, Any]]:
        for each in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            made = self.value(each)
            if not isinstance(made, dict):
                raise self._error(each, "merges (<<) a value that is not a mapping")
            yield made

    def _error(self, at: Any, text: str) -> ConfigError:
        return ConfigError(f"{self._where}, {self.line(at.start_mark)}, {text}")


_SCALARS = ("str", "int", "float", "bool", "null", "timestamp", "value", "merge")


def _scalar(node: yaml.ScalarNode) -> Any:
    kind, text, plain = node.tag[len(_TAG) :], node.value, node.style is None
    if kind in ("str", "value", "merge"):
        return text
    value = getattr(yaml.SafeLoader(""), f"construct_yaml_{kind}")(node)
    if not plain:
        return value
    if kind == "bool":
        return value if text.lower() in ("true", "false") else Ambiguous(text, value)
    if kind == "int":
        return value if _PLAIN_INT.fullmatch(text) else Ambiguous(text, value)
    if kind == "float":
        return Ambiguous(text, value) if ":" in text or "_" in text else value
    return Ambiguous(text, value) if kind == "timestamp" else value
