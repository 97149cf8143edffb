"""What a check finds. Checks run in parallel, and a check that fails or hangs does not affect the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from recaption.errors import MissingExtra, RecaptionError, UserError

Status = Literal["ok", "warning", "error", "skipped"]
Fault = Literal["input", "infrastructure"]
SECONDS = 8.0  # for all checks together


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The result of a check: `found` is the observed state, `todo` the fix in one line."""

    name: str
    status: Status
    found: str
    todo: str = ""
    fault: Fault = "infrastructure"  # of an error: whether a run would end with exit code 2 or 3


@dataclass(frozen=True, slots=True)
class Check:
    """`look` returns one or several findings, or raises; the message of a UserError or RecaptionError is shown."""

    name: str
    look: Callable[[], Finding | Sequence[Finding]]
    hint: str  # the fix when `look` raises or does not return in time


def ok(name: str, found: str) -> Finding:
    return Finding(name=name, status="ok", found=found)


def skipped(name: str, found: str) -> Finding:
    return Finding(name=name, status="skipped", found=found)


def warning(name: str, found: str, todo: str) -> Finding:
    return Finding(name=name, status="warning", found=found, todo=todo)


def error(name: str, found: str, todo: str, fault: Fault = "infrastructure") -> Finding:
    return Finding(name=name, status="error", found=found, todo=todo, fault=fault)


def examine(checks: Sequence[Check], seconds: float = SECONDS) -> list[Finding]:
    """The findings of all checks, in order, after at most `seconds`. A check that takes longer is a warning, because
    imports, file systems and servers may only be slow.

    Each check runs in a separate thread. A thread that does not finish is abandoned, because a blocked call to the
    network or the file system cannot be cancelled.
    """
    found: dict[int, Sequence[Finding]] = {}

    def run(number: int, check: Check) -> None:
        found[number] = _findings(check)

    threads = [threading.Thread(target=run, args=numbered, daemon=True) for numbered in enumerate(checks)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    findings: list[Finding] = []
    for number, check in enumerate(checks):
        todo = f"run doctor again when this machine is less busy. If it is late again: {check.hint}"
        late = warning(check.name, f"not finished within {seconds:g} s", todo)
        findings += found.get(number, [late])
    return findings


def exit_code(findings: Sequence[Finding]) -> int:
    """0 without errors; 2 for an error in the user's input; 3 for an error of the machine, a store or a server."""
    faults = {finding.fault for finding in findings if finding.status == "error"}
    return 2 if "input" in faults else 3 if faults else 0


def _findings(check: Check) -> Sequence[Finding]:
    """What a check returns, or its exception as an error."""
    try:
        found = check.look()
    except UserError as problem:
        return [error(check.name, str(problem), check.hint, "input")]
    except MissingExtra as problem:
        message, _, todo = str(problem).partition(". Install it with: ")
        return [error(check.name, message, todo, "input")]
    except RecaptionError as problem:
        return [error(check.name, str(problem), check.hint)]
    except BaseException as problem:  # noqa: BLE001 - some packages exit when they are imported
        return [error(check.name, f"the check itself failed: {type(problem).__name__}: {problem}", check.hint)]
    findings = [found] if isinstance(found, Finding) else found
    return [replace(f, todo=f.todo or check.hint) if f.status in ("warning", "error") else f for f in findings]
