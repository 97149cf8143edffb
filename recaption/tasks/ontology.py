"""An ontology: aspects of images, and the values that an aspect can have. It is a YAML file:

aspects:
  look: {description: what it looks like}          # a text
  diagnosis:                                        # values of this list only
    description: the skin condition
    values:
      melanoma: [skin cancer]                       # a value with its parents
      skin cancer: []
"""

from __future__ import annotations

import graphlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from recaption import strictyaml
from recaption.errors import ConfigError
from recaption.section import OneOrMore, Section, explain

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Parents = Annotated[tuple[str, ...], OneOrMore]


class Aspect(Section):
    """One aspect. Without `values`, the answer about it is a text."""

    description: str = Field(min_length=1, description="What the aspect is about, for the prompt")
    values: dict[str, Parents] = Field(default_factory=dict, description="Allowed values, each with its parents")
    most: int = Field(5, ge=1, le=50, description="Largest number of values of a caption")
    none: str = Field("[none]", min_length=1, description="The answer if the caption states nothing about the aspect")

    def ancestors(self, value: str) -> tuple[str, ...]:
        """The parents of a value and their parents, the nearest first."""
        found: dict[str, None] = {}
        level = [value]
        while level:
            level = [above for one in level for above in self.values[one] if above not in found]
            found |= dict.fromkeys(level)
        return tuple(found)


class Ontology(Section):
    """All aspects, in order."""

    aspects: dict[Name, Aspect] = Field(min_length=1)


def load(path: str) -> Ontology:
    """Read an ontology. Raises ValueError with all problems of the file, such as unknown keys and cycles of parents."""
    try:
        text = strictyaml.decoded(Path(path).expanduser().read_bytes(), path)
        read = strictyaml.read(text, path)
    except OSError as error:
        raise ValueError(f"ontology: {path} cannot be read: {error.strerror or error}. Name a YAML file") from None
    except ConfigError as error:
        raise ValueError(f"ontology: {error}") from None
    try:
        made = Ontology.model_validate(read)
    except ValidationError as error:
        problems = explain(error.errors(), Ontology)
        raise ValueError(f"ontology: {path}: {'; '.join(problems)}") from None
    if wrong := [f"aspects.{name}: {problem}" for name, aspect in made.aspects.items() for problem in _wrong(aspect)]:
        raise ValueError(f"ontology: {path}: {'; '.join(wrong)}")
    return made


def _wrong(aspect: Aspect) -> Iterator[str]:
    values = aspect.values
    for value, parents in values.items():
        if not value.strip() or value.strip() != value:
            yield f"value {value!r} is blank, or begins or ends with white space"
        if unknown := [parent for parent in parents if parent not in values]:
            yield f"value {value!r} has the unknown parent {', '.join(map(repr, unknown))}; add it to the values"
    folded = [value.casefold() for value in (*values, aspect.none)]
    if len(set(folded)) < len(folded):
        twice = sorted({value for value in folded if folded.count(value) > 1})
        yield f"{', '.join(map(repr, twice))} occurs twice among the values and `none`, ignoring case; remove one"
    try:
        known: Mapping[str, Any] = {value: [p for p in parents if p in values] for value, parents in values.items()}
        graphlib.TopologicalSorter(known).prepare()
    except graphlib.CycleError as error:
        yield f"the parents form a cycle: {' has parent '.join(map(repr, error.args[1][::-1]))}; remove one of them"
