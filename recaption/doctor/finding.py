"""What one check found, and how many checks are run at once without one of them ending or holding up the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from recaption.errors import MissingExtra, RecaptionError, UserError

Status = Literal["ok", "warning", "error", "skipped"]
Fault = Literal["input", "infrastructure"]
SECONDS = 8.0  # that all checks together may take


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The result of a check. `found` says what is there, `todo` in one line what to do where that is not well."""

    name: str
    status: Status
    found: str
    todo: str = ""
    fault: Fault = "infrastructure"  # of an error: what a run that meets it would end with, exit 2 or 3


@dataclass(frozen=True, slots=True)
class Check:
    """`look` may return several findings, and may raise: UserError and RecaptionError say what is wrong in words."""

    name: str
    look: Callable[[], Finding | Sequence[Finding]]
    hint: str  # what to do where `look` raises, or says nothing in time
    late: Status = "error"  # what it is to say nothing in time: on a slow machine, imports may take that long


def ok(name: str, found: str) -> Finding:
    return Finding(name=name, status="ok", found=found)


def skipped(name: str, found: str) -> Finding:
    return Finding(name=name, status="skipped", found=found)


def warning(name: str, found: str, todo: str) -> Finding:
    return Finding(name=name, status="warning", found=found, todo=todo)


def error(name: str, found: str, todo: str, fault: Fault = "infrastructure") -> Finding:
    return Finding(name=name, status="error", found=found, todo=todo, fault=fault)


def examine(checks: Sequence[Check], seconds: float = SECONDS) -> list[Finding]:
    """The findings of all checks, in their order, after at most `seconds`.

    Each runs in a thread of its own, which is left behind if it says nothing: what hangs in a network's or a file
    system's call cannot be ended otherwise.
    """
    found: dict[int, Sequence[Finding]] = {}

    def run(number: int, check: Check) -> None:
        found[number] = _looked(check)

    threads = [
        threading.Thread(target=run, args=(number, check), name=f"doctor: {check.name}", daemon=True)
        for number, check in enumerate(checks)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    findings: list[Finding] = []
    for number, check in enumerate(checks):
        late = Finding(name=check.name, status=check.late, found=f"no answer within {seconds:g} s", todo=check.hint)
        findings += found.get(number, [late])
    return findings


def exit_code(findings: Sequence[Finding]) -> int:
    """0 without an error; 2 where the user's input is wrong; 3 where the machine, a store or a server is not well."""
    faults = {finding.fault for finding in findings if finding.status == "error"}
    return 2 if "input" in faults else 3 if faults else 0


def _looked(check: Check) -> Sequence[Finding]:
    try:
        found = check.look()
    except UserError as problem:
        return [error(check.name, str(problem), check.hint, "input")]
    except MissingExtra as problem:
        words, _, todo = str(problem).partition(". Install it with: ")
        return [error(check.name, words, todo, "input")]
    except ImportError as problem:
        return [
            error(check.name, f"{problem.name or problem} cannot be imported", "pip install 'recaption[run]'", "input")
        ]
    except RecaptionError as problem:
        return [error(check.name, str(problem), check.hint)]
    except BaseException as problem:  # noqa: BLE001 - also a package that exits when it is imported
        return [error(check.name, f"the check itself failed: {type(problem).__name__}: {problem}", check.hint)]
    findings = [found] if isinstance(found, Finding) else list(found)
    return [replace(f, todo=f.todo or check.hint) if f.status in ("warning", "error") else f for f in findings]
