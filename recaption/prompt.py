"""Prompts: Markdown files with YAML front matter and a Jinja template that is filled in with an image's columns."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import jinja2
import jinja2.meta
from pydantic import Field, ValidationError

from recaption import legacy, sandbox, strictyaml
from recaption.errors import ConfigError, RequestError
from recaption.resources import find
from recaption.section import OneOrMore, Section, explain
from recaption.types import WholeImage

_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)\r?\n---\r?\n(.*)\Z", re.DOTALL)

_SOURCE = re.compile(rb"^source[ \t]*:.*\n(?:[ \t]+\S.*\n|[ \t\r]*\n)*", re.MULTILINE)
"""The key `source` in lines of YAML, with the lines that continue its value."""

# The errors that a template raises on a value of the wrong type.
_VALUE_ERRORS = (TypeError, ValueError, ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError)
# A TypeError of a Python function that got an absent value.
_ABSENT = re.compile(rf"\ATypeError: .*\b(?:{sandbox.Absent.__name__}|NoneType)\b")


class FrontMatter(Section):
    """The YAML head of a prompt file."""

    id: str = Field(pattern=r"^[a-z0-9_]+$")
    version: int = Field(ge=1)
    granularity: WholeImage | None = None
    stop: Annotated[tuple[str, ...], OneOrMore] = ()
    notes: str | None = None
    source: str | None = None  # the paper or model card that it follows; not part of the identity


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A prompt file. `sha256` is the hash of its bytes (see `legacy.prompt_identity`) and part of the fingerprint."""

    id: str
    version: int
    granularity: WholeImage | None  # of the captions; None: its answers are no captions
    stop: tuple[str, ...]
    template: str
    sha256: str
    path: Path

    def __getstate__(self) -> dict[str, Any]:
        """The fields, without caches: a compiled template cannot be pickled."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def columns(self) -> frozenset[str]:
        """The columns that the template uses."""
        return frozenset(jinja2.meta.find_undeclared_variables(sandbox.ENVIRONMENT.parse(self.template)))

    @cached_property
    def _names(self) -> frozenset[str]:
        return sandbox.names(self.template)

    @cached_property
    def _compiled(self) -> jinja2.Template:
        return sandbox.ENVIRONMENT.from_string(self.template)

    def fill_in(self, columns: Mapping[str, Any]) -> str:
        """The text that is sent to the model. It depends on the columns alone.

        Null, missing, NaN and blank columns are absent. Raises RequestError if the template does not handle an absent
        column (`{{ caption or "…" }}`, `{% if caption %}`, `default`), fails on a value, gives no visible text, needs
        more than `sandbox.STEPS` steps or gives more than `sandbox.TEXT` characters.
        """
        text = self._rendered(columns)
        if _is_blank(text):
            raise RequestError(
                f"prompt {self.id} cannot be filled in: the text is empty for this image. Add text that does not "
                "depend on columns, or a default"
            )
        return text

    def is_empty(self, columns: Mapping[str, Any]) -> bool:
        """Whether the text for these columns has nothing visible. False if the prompt cannot be filled in."""
        try:
            return _is_blank(self._rendered(columns))
        except RequestError:
            return False

    def _rendered(self, columns: Mapping[str, Any]) -> str:
        return self._without_columns if self._names.isdisjoint(columns) else self._filled_in(columns)

    @cached_property
    def _without_columns(self) -> str:
        """The text for images that have none of the template's columns."""
        return self._filled_in({})

    def _filled_in(self, columns: Mapping[str, Any]) -> str:
        values: dict[str, Any] = dict.fromkeys(self.columns)
        values |= {name: columns[name] for name in self._names if name in columns}
        try:
            return sandbox.render(self._compiled, values).strip()
        except jinja2.TemplateError as error:
            raise RequestError(f"prompt {self.id} cannot be filled in: {error}") from error
        except RecursionError as error:
            raise RequestError(f"prompt {self.id} cannot be filled in: a macro calls itself endlessly") from error
        except _VALUE_ERRORS as error:
            what = f"{type(error).__name__}: {error}"
            if _ABSENT.search(what):
                what = "it uses a value that is null, missing or blank for this image; give a default or use {% if %}"
            raise RequestError(f"prompt {self.id} cannot be filled in: {what}") from error

    def fill_in_as_before(self, columns: Mapping[str, Any], now: str | None = None) -> str | None:
        """The text that versions before schema 1.3 sent for these columns; None if it is the same as now.

        They replaced null by "None", kept blanks, and sent texts without visible characters. Stored answers to such
        prompts are looked up by this text; it is never sent. `now` is the result of `fill_in`, if it did not raise.
        """
        values = {name: columns[name] for name in self._names if name in columns}
        if not any(map(sandbox.holds_absent, values.values())):
            return self._rendered(columns) if now is None and self.is_empty(columns) else None
        try:
            return sandbox.render(self._compiled, values, as_before=True).strip()
        except (jinja2.TemplateError, *_VALUE_ERRORS):
            return None

    def missing(self, available: Iterable[str]) -> list[str]:
        """The template's columns that are not in `available`, sorted."""
        return sorted(self.columns - set(available))


def _is_blank(text: str) -> bool:
    """Whether a text has nothing but white space, control characters and characters without width."""
    return not any(character.isprintable() and not character.isspace() for character in text)


def load(name: str, folder: Path | None = None) -> Prompt:
    """Read a prompt by path or by name (`prompts/<name>.md` beside the pipeline, else a shipped one).

    Raises ConfigError, which lists the prompts that exist.
    """
    path = find("prompts", name, ".md", folder)
    data = path.read_bytes()
    match = _FRONT_MATTER.match(strictyaml.decoded(data, f"prompt {path}"))
    if match is None:
        raise ConfigError(
            f"prompt {path} has no front matter: begin the file with ---, id, version, granularity (of captions), ---"
        )
    try:
        head = FrontMatter.model_validate(_front_matter(match[1], path))
        template = match[2].strip()
        with sandbox.bounded():
            sandbox.ENVIRONMENT.from_string(template)
    except ValidationError as error:
        problems = "; ".join(explain(error.errors(), FrontMatter))
        raise ConfigError(f"front matter of prompt {path}: {problems}") from error
    except jinja2.TemplateSyntaxError as error:
        raise ConfigError(f"prompt {path}, line {error.lineno} of its text: {error.message}") from error
    except (RecursionError, MemoryError, SyntaxError) as error:
        raise ConfigError(f"prompt {path}: the template is nested too deeply; use fewer levels") from error
    if not template:
        raise ConfigError(f"prompt {path} has no text below its front matter")
    prompt = Prompt(
        id=head.id,
        version=head.version,
        granularity=head.granularity,
        stop=head.stop,
        template=template,
        sha256=_identity(data),
        path=path,
    )
    if not prompt.columns and prompt.is_empty({}):
        raise ConfigError(f"prompt {path} gives an empty text for every image: write a question")
    return prompt


def _front_matter(text: str, path: Path) -> Any:
    found = strictyaml.read(text, f"front matter of prompt {path}", 2) or {}
    return legacy.front_matter(found) if isinstance(found, dict) else found


def _identity(data: bytes) -> str:
    """sha256 of a prompt file with the keys of schema 1.2, and without `source`."""
    head, separator, text = data.partition(b"\n---")
    head = _SOURCE.sub(b"", legacy.prompt_identity(head) + b"\n")[:-1]
    return hashlib.sha256(head + separator + text).hexdigest()
