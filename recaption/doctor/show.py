"""Findings as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import recaption
from recaption.doctor.finding import Finding, exit_code
from recaption.formatting import printable
from recaption.scrub import Scrubber

if TYPE_CHECKING:
    from rich.console import Console

_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red"), "skipped": ("–", "dim")}


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """Print one line per finding, with the fix below. In a terminal, long text is wrapped within its column."""
    from rich.table import Table
    from rich.text import Text

    scrub = Scrubber()
    width = max(len(finding.name) for finding in findings)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        mark, style = _MARKS[finding.status]
        found, todo = (" ".join(printable(scrub.text(text)).split()) for text in (finding.found, finding.todo))
        advice = Text(f"\n→ {todo}" if todo else "", style=style)
        table.add_row(Text(mark, style=style), Text(finding.name, style="bold"), Text.assemble(found, advice))
        if not console.is_terminal:
            line = f"{finding.status:7}  {finding.name:{width}}  {found}"
            line += f"\n{'':7}  {'':{width}}  -> {todo}" if todo else ""
            console.print(Text(line), soft_wrap=True)
    if console.is_terminal:
        console.print(table)
    console.print()
    worst = next((status for status in ("error", "warning") if any(f.status == status for f in findings)), "ok")
    console.print(Text(total(findings), style=_MARKS[worst][1]))


def total(findings: Sequence[Finding]) -> str:
    """The counts of all findings."""
    counts = Counter(finding.status for finding in findings)
    if not counts["error"] + counts["warning"]:
        return f"no problems found ({counts['ok']} checks)"
    return f"errors: {counts['error']}, warnings: {counts['warning']}, passed: {counts['ok']}"


def as_json(findings: Sequence[Finding], pipeline: str | None) -> dict[str, Any]:
    """All findings as JSON values."""
    return {
        "recaption": recaption.__version__,
        "pipeline": pipeline,
        "exit_code": exit_code(findings),
        "checks": Scrubber()([asdict(finding) for finding in findings]),
    }
