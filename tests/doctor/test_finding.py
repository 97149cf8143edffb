"""Checks run in parallel: one that crashes or hangs affects no other."""

from __future__ import annotations

import threading
from collections.abc import Callable

from recaption.doctor import finding
from recaption.doctor.finding import Check, Finding, error, examine, exit_code, ok, skipped, warning
from recaption.errors import ConfigError, MissingExtra, StoreError


def raising(problem: BaseException) -> Callable[[], Finding]:
    def look() -> Finding:
        raise problem

    return look


def test_a_check_that_raises_becomes_an_error_and_the_others_are_shown() -> None:
    checks = [
        Check("a", lambda: ok("a", "fine"), ""),
        Check("b", raising(ZeroDivisionError("division by zero")), "hint of b"),
        Check("c", raising(SystemExit(3)), "hint of c"),
        Check("d", raising(ConfigError("no such key")), "hint of d"),
        Check("e", raising(StoreError("out of reach")), "hint of e"),
        Check("f", raising(MissingExtra("ray", "run")), "hint of f"),
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
        ("g", "ok", "infrastructure"),
        ("g2", "warning", "infrastructure"),
    ]
    assert found[1].found == "the check itself failed: ZeroDivisionError: division by zero"
    assert (found[5].found, found[5].todo) == ("ray is not installed", "pip install 'recaption[run]'")
    assert all(f.todo for f in found if f.status in ("warning", "error")), "each problem has a fix"


def test_a_check_that_hangs_does_not_delay_the_others() -> None:
    over = threading.Event()
    checks = [
        Check("slow", lambda: [ok("slow", "")] if over.wait(600) else [], "hint"),
        Check("a", lambda: ok("a", ""), ""),
    ]
    slow, fine = examine(checks, seconds=3)
    assert (slow.status, slow.found) == ("warning", "not finished within 3 s"), "a slow check is no error"
    assert slow.todo == "run doctor again when this machine is less busy. If it is late again: hint"
    assert exit_code([slow]) == 0
    assert fine.status == "ok"
    over.set()


def test_the_exit_code_is_2_for_input_and_3_for_infrastructure() -> None:
    fine, warned = ok("a", ""), warning("b", "", "do")
    broken, mistaken = error("c", "", "do"), error("d", "", "do", "input")
    assert exit_code([fine, warned, skipped("e", "")]) == 0
    assert exit_code([fine, broken]) == 3
    assert exit_code([broken, mistaken, fine]) == 2


def test_all_checks_together_take_less_than_ten_seconds() -> None:
    assert finding.SECONDS < 10
