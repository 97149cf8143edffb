"""Checks side by side: one that crashes or hangs costs its own finding, nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from recaption.doctor import finding, show
from recaption.doctor.finding import Check, Finding, error, examine, exit_code, ok, skipped, warning
from recaption.errors import ConfigError, MissingExtra, StoreError


def raising(problem: BaseException) -> Callable[[], Finding]:
    def look() -> Finding:
        raise problem

    return look


def test_checks_that_crash_are_errors_of_their_own() -> None:
    checks = [
        Check("a", lambda: ok("a", "fine"), ""),
        Check("b", raising(ZeroDivisionError("division by zero")), "hint of b"),
        Check("c", raising(SystemExit(3)), "hint of c"),
        Check("d", raising(ConfigError("no such key")), "hint of d"),
        Check("e", raising(StoreError("out of reach")), "hint of e"),
        Check("f", raising(MissingExtra("ray", "run")), "hint of f"),
        Check("f2", raising(ModuleNotFoundError("No module named 'ray'", name="ray")), "hint of f2"),
        Check("g", lambda: [ok("g", "1"), warning("g2", "2", "")], "hint of g"),
    ]
    found = examine(checks)
    assert [(f.name, f.status, f.fault) for f in found] == [
        ("a", "ok", "infrastructure"),
        ("b", "error", "infrastructure"),
        ("c", "error", "infrastructure"),
        ("d", "error", "input"),
        ("e", "error", "infrastructure"),
        ("f", "error", "input"),
        ("f2", "error", "input"),
        ("g", "ok", "infrastructure"),
        ("g2", "warning", "infrastructure"),
    ]
    assert found[1].found == "the check itself failed: ZeroDivisionError: division by zero"
    assert [(f.found, f.todo) for f in found[5:7]] == [
        ("ray is not installed", "pip install 'recaption[run]'"),
        ("ray cannot be imported", "pip install 'recaption[run]'"),
    ]
    assert all(f.todo for f in found if f.status in ("warning", "error")), "each problem says what to do"


def test_a_check_that_hangs_is_left_behind() -> None:
    over = threading.Event()
    checks = [
        Check("slow", lambda: [ok("slow", "")] if over.wait(60) else [], "hint"),
        Check("a", lambda: ok("a", ""), ""),
    ]
    checks.append(Check("import", checks[0].look, "ask again", late="warning"))
    slow, fine, imported = examine(checks, seconds=0.2)
    assert (imported.status, imported.todo) == ("warning", "ask again"), "a slow machine is not a broken one"
    assert (slow.status, slow.found, slow.todo) == ("error", "no answer within 0.2 s", "hint")
    assert fine.status == "ok"
    over.set()


def test_the_exit_code_says_whose_fault_it_is() -> None:
    fine, warned = ok("a", ""), warning("b", "", "do")
    broken, mistaken = error("c", "", "do"), error("d", "", "do", "input")
    assert exit_code([fine, warned, skipped("e", "")]) == 0
    assert exit_code([fine, broken]) == 3
    assert exit_code([broken, mistaken, fine]) == 2


FINDINGS = [
    ok("python", "3.11.7"),
    warning("gpu", "none", "borrow one"),
    error("model m", "the key sk-abcdefgh12345678 is wrong\x1b[2J [bold]", "mend it"),
    skipped("spacy", "not installed"),
]


def printed(terminal: bool, capsys: pytest.CaptureFixture[str], findings: list[Finding] = FINDINGS) -> str:
    show.print_findings(findings, Console(force_terminal=terminal, width=60, color_system=None, highlight=False))
    return capsys.readouterr().out


def test_findings_are_shown_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(False, capsys).splitlines() == [
        "ok       python   3.11.7",
        "warning  gpu      none",
        "                  -> borrow one",
        "error    model m  the key *** is wrong [2J [bold]",
        "                  -> mend it",
        "skipped  spacy    not installed",
        "",
        "1 error and 1 warning; 1 check passed",
    ]
    lines = [line.rstrip() for line in printed(True, capsys).splitlines()]
    assert lines[:4] == [
        "✓  python   3.11.7",
        "!  gpu      none",
        "            → borrow one",
        "✗  model m  the key *** is wrong [2J [bold]",
    ]
    assert printed(False, capsys, [ok("a", ""), ok("b", "")]).endswith("no problems found (2 checks)\n")


def test_programs_get_all_of_it_and_no_secret() -> None:
    data: dict[str, Any] = json.loads(json.dumps(show.as_json(FINDINGS, "p.yaml")))
    assert (data["pipeline"], data["exit_code"], len(data["checks"])) == ("p.yaml", 3, 4)
    assert data["checks"][1] == {
        "name": "gpu", "status": "warning", "found": "none", "todo": "borrow one", "fault": "infrastructure"
    }  # fmt: skip
    assert "abcdefgh" not in json.dumps(data)


def test_all_checks_together_are_quick() -> None:
    assert finding.SECONDS < 10
