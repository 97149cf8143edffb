"""Named questions: each is an SQL file in `ask/` that begins with a comment about its result and its parameters.

The first line describes the result. The other comments are

    -- $name = 20: meaning of the parameter (required without `= …`)
    -- if empty: what a result without rows means
    -- needs: a table that not every build has, which …

Parameters are bound, never put into the text. The files run on plain DuckDB too: `duckdb -init views.sql`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from recaption.errors import UserError
from recaption.inspect.sql import has_view, quoted

if TYPE_CHECKING:
    import duckdb

_FOLDER = Path(__file__).parent / "ask"
_PARAMETER = re.compile(r"-- \$(\w+)(?: = (\d+))?: (.*)")
_EMPTY = "-- if empty: "
_NEEDS = re.compile(r"-- needs: (\w+), (.*)")
Value = str | int


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """`default` is None for a required parameter."""

    name: str
    meaning: str
    default: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """`sql` is the whole file, `description` its first line, `if_empty` the text for a result without rows.

    `needs` is a table that not every build has, and where it comes from; None if there is no such table.
    """

    name: str
    description: str
    if_empty: str
    parameters: tuple[Parameter, ...]
    sql: str
    needs: tuple[str, str] | None = None

    def values(self, given: Mapping[str, Value]) -> dict[str, Value]:
        """The parameters to bind: values of `given`, else defaults. Raises UserError for a missing parameter."""
        found: dict[str, Value] = {}
        for parameter in self.parameters:
            value = given.get(parameter.name, parameter.default)
            if value is None:
                raise UserError(
                    f"--ask {self.name} needs {parameter.meaning}: --ask {self.name} {parameter.name.upper()}"
                )
            found[parameter.name] = value
        return found

    @property
    def takes_key(self) -> bool:
        return any(parameter.name == "key" for parameter in self.parameters)

    def runnable(self, given: Mapping[str, Value]) -> str:
        """The SQL with known parameters as literals, ready to be copied and run."""
        known = {p.name: given.get(p.name, p.default) for p in self.parameters}

        def literal(match: re.Match[str]) -> str:
            value = known.get(match[1])
            if value is None:
                return match[0]
            return str(value) if isinstance(value, int) else quoted(value)

        body = [line if line.startswith("--") else re.sub(r"\$(\w+)", literal, line) for line in self.sql.splitlines()]
        return "\n".join(body) + "\n"


def check_tables(connection: duckdb.DuckDBPyConnection, question: Question) -> None:
    """Raises UserError if the output lacks a table that the question needs."""
    if question.needs is not None and not has_view(connection, question.needs[0]):
        table, origin = question.needs
        raise UserError(f"--ask {question.name} needs the table {table}, {origin}. This output has no such table")


def names() -> list[str]:
    """All questions, in alphabetical order."""
    return sorted(path.stem for path in _FOLDER.glob("*.sql"))


@cache
def load(name: str) -> Question:
    """The question `name`. If there is no such question, raises UserError that lists all questions."""
    known = names()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"Did you mean {near[0]}? " if near else ""
        width = max(map(len, known))
        listed = "".join(f"\n  {other:<{width}}  {load(other).description}" for other in known)
        raise UserError(f"there is no question {name!r}. {hint}Available questions:{listed}")
    sql = (_FOLDER / f"{name}.sql").read_text("utf-8")
    comments = []
    for line in sql.splitlines():
        if not line.startswith("--"):
            break
        comments.append(line)
    found = [match for line in comments if (match := _PARAMETER.fullmatch(line))]
    return Question(
        name=name,
        description=comments[0].removeprefix("-- "),
        if_empty=next((line.removeprefix(_EMPTY) for line in comments if line.startswith(_EMPTY)), "nothing"),
        parameters=tuple(Parameter(name=m[1], meaning=m[3], default=int(m[2]) if m[2] else None) for m in found),
        sql=sql,
        needs=next(((match[1], match[2]) for line in comments if (match := _NEEDS.fullmatch(line))), None),
    )
