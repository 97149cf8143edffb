"""Problems that a check finds in a dataset, and how to print them. Checks yield `Problem`s one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from recaption.formatting import printable

if TYPE_CHECKING:
    from rich.console import Console

Severity = Literal["error", "warning"]
SHOWN: Final = 5
"""Number of problems of a kind that are printed; the others are only counted."""
_WIDEST = 200  # characters of a location or message, which may contain texts of any length


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A problem. `kind` is a short name, by which equal problems are counted."""

    where: str  # file, and the row or key in it
    what: str
    advice: str  # the fix
    kind: str
    severity: Severity = "error"


def print_problems(problems: Iterable[Problem], console: Console) -> Counter[Severity]:
    """Print the first problems of each kind as they are found, then the number of the others. Returns the counts.

    Only the counts are kept in memory.
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
                (f"{problem.severity:<8}", style), (_shortened(problem.where), "bold"), "  ", _shortened(problem.what)
            ),
            soft_wrap=True,
        )
        if kinds[of_kind] == 1:  # all problems of a kind have the same advice
            console.print(Text(f"        {_shortened(problem.advice)}", style="dim"), soft_wrap=True)
    counts: Counter[Severity] = Counter()
    for (severity, kind), n in kinds.items():
        counts[severity] += n
        if n > SHOWN:
            console.print(Text(f"{severity:<8}{kind}: {n:,} in all, {n - SHOWN:,} of them not shown"), soft_wrap=True)
    return counts


def _shortened(text: str) -> str:
    return printable(text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…")
