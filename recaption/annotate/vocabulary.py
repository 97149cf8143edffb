"""A closed set of labels for objects, with synonyms, read from the user's JSON file.

The file has one of three forms:

- a list of labels: `["person", "traffic light"]`
- labels with synonyms: `{"person": ["man", "woman"], "traffic light": ["stop light"]}`
- categories as in COCO and LVIS: a list of objects with `name` and optional `synonyms`, alone or under `categories`.
  Underscores stand for spaces; a part in brackets ("bow_(weapon)") only distinguishes two names and is ignored.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from recaption import strictyaml
from recaption.annotate.lemma import singular
from recaption.errors import ConfigError

_ALLOWED = (
    'a list of labels, an object {"label": ["synonym", …]}, or categories with name and synonyms (COCO, LVIS); '
    "labels and synonyms are strings with a letter in them"
)
_JSON = re.compile(r'[{}\[\]]|(?P<key>"(?:[^"\\]|\\.)*")\s*:|"(?:[^"\\]|\\.)*"')
_BRACKETED = re.compile(r"\s*\([^()]*\)")


class Vocabulary:
    """Maps objects to labels.

    Raises ConfigError if the file cannot be read, has none of the three forms, or has a key twice in an object.
    """

    def __init__(self, path: str) -> None:
        try:
            data = Path(path).expanduser().read_bytes()
            text = strictyaml.decoded(data, f"annotate.vocabulary: {path}")
            read = orjson.loads(text)
            if duplicate := _duplicate_key(text):
                raise ConfigError(f"annotate.vocabulary: {path} has {duplicate}; keep one of them")
            entries = list(_entries(read))
        except ConfigError:
            raise
        except OSError as error:
            raise ConfigError(f"annotate.vocabulary: {path} cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise ConfigError(f"annotate.vocabulary: {path}: {error}; allowed: {_ALLOWED}") from error
        self.sha256 = hashlib.sha256(data).hexdigest()
        self._label_of: dict[str, str] = {}
        # precedence: the form as written before its singular, a label's name before a synonym, earlier before later
        names = [(label, label) for label, _ in entries]
        synonyms = [(label, synonym) for label, others in entries for synonym in others]
        for form in (_plain, _normal):
            for label, name in (*names, *synonyms):
                self._label_of.setdefault(form(name), label)

    def label(self, lemma: str, attributes: Sequence[str] = ()) -> str | None:
        """The label of an object's whole name, or of the longest end of it ("coffee cup" -> "cup"), or None.

        Before that, the name is looked up with each of `attributes` in front of it: "polar bear" may be a label.
        """
        words = _plain(lemma).split()
        names = [" ".join([attribute, *words]) for attribute in reversed(attributes)]
        for name in (*names, *(" ".join(words[start:]) for start in range(len(words)))):
            found = self._label_of.get(name) or self._label_of.get(_normal(name))
            if found is not None:
                return found
        return None


def _duplicate_key(text: str) -> str:
    """A description of the first key that occurs twice in an object of the valid JSON `text`, with both lines; empty if
    there is none."""
    keys: list[dict[str, int]] = []  # keys of each open object, with their offsets; empty for a list
    for match in _JSON.finditer(text):
        token = match[0]
        if token in "{[":
            keys.append({})
        elif token in "}]":
            keys.pop()
        elif match["key"] is not None:
            key = orjson.loads(match["key"])
            if (first := keys[-1].setdefault(key, match.start())) != match.start():
                lines = [text.count("\n", 0, at) + 1 for at in (first, match.start())]
                return f"the key {key!r} twice, in line {lines[0]} and line {lines[1]}"
    return ""


def _plain(name: str) -> str:
    return " ".join(_BRACKETED.sub("", name.replace("_", " ")).lower().split())


def _normal(name: str) -> str:
    """The name with its last word in the singular, except "glasses": eyeglasses are not a glass."""
    words = _plain(name).split()
    return " ".join([*words[:-1], words[-1] if words[-1] == "glasses" else singular(words[-1])]) if words else ""


def _entries(data: Any) -> Iterator[tuple[str, list[str]]]:
    """Each label with its synonyms. Raises ValueError if `data` has none of the three forms."""
    if isinstance(data, dict) and isinstance(data.get("categories"), list):
        data = data["categories"]
    if isinstance(data, dict):
        data = [{"name": label, "synonyms": synonyms} for label, synonyms in data.items()]
    if not isinstance(data, list) or not data:
        raise ValueError("it has no labels")
    for entry in data:
        category = {"name": entry} if isinstance(entry, str) else entry if isinstance(entry, dict) else {}
        names = [category.get("name"), *_synonyms(category)]
        if not all(isinstance(name, str) and any(map(str.isalpha, _normal(name))) for name in names):
            raise ValueError(f"{orjson.dumps(entry)[:80].decode('utf-8', 'replace')} is not a label")
        yield str(names[0]), list(map(str, names[1:]))


def _synonyms(category: dict[str, Any]) -> list[Any]:
    found = category.get("synonyms")
    return [] if found is None else found if isinstance(found, list) else [None]
