"""Problems that a check finds in a dataset, and how to print them. Checks yield `Problem`s one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from rich.console import Console

Severity = Literal["error", "warning"]
SHOWN: Final = 5
"""Problems of a kind that are printed one by one; the others are counted."""
_WIDEST = 200  # characters of a place or a message: a key or a text from the web may be of any length


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong. `kind` names what is wrong in a word or two, so that equal ones can be counted."""

    where: str  # file, and the row or key in it
    what: str
    advice: str  # what to do about it
    kind: str
    severity: Severity = "error"


def print_problems(problems: Iterable[Problem], console: Console) -> Counter[Severity]:
    """Print problems as they are found, the first few of each kind, then a line for each kind. Returns their counts.

    Nothing but the counts is kept, so there may be any number of them.
    """
    from rich.text import Text

    kinds: Counter[tuple[Severity, str]] = Counter()
    for problem in problems:
        of_kind = problem.severity, problem.kind
        kinds[of_kind] += 1
        if kinds[of_kind] > SHOWN:
            continue
        style = "red" if problem.severity == "error" else "yellow"
        console.print(
            Text.assemble(
                (f"{problem.severity:<8}", style), (printable(problem.where), "bold"), "  ", printable(problem.what)
            ),
            soft_wrap=True,
        )
        if kinds[of_kind] == 1:  # the advice is the same for all of a kind
            console.print(Text(f"        {printable(problem.advice)}", style="dim"), soft_wrap=True)
    counts: Counter[Severity] = Counter()
    for (severity, kind), n in kinds.items():
        counts[severity] += n
        if n > SHOWN:
            console.print(Text(f"{severity:<8}{kind}: {n:,} in all, {n - SHOWN:,} of them not shown"), soft_wrap=True)
    return counts


def printable(text: str) -> str:
    """On one line, without anything that moves a cursor or turns the direction of writing, and not endless."""
    cut = text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"
    return cut if cut.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in cut)
