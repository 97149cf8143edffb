"""Findings as text and as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rich.console import Console

from recaption.doctor import show
from recaption.doctor.finding import Finding, error, ok, skipped, warning

FINDINGS = [
    ok("python", "3.11.7"),
    warning("gpu", "none", "add one"),
    error("model m", "the key sk-abcdefgh12345678 is wrong\x1b[2J [bold]", "set another"),
    skipped("spacy", "not installed"),
]


def printed(terminal: bool, capsys: pytest.CaptureFixture[str], findings: list[Finding] = FINDINGS) -> str:
    show.print_findings(findings, Console(force_terminal=terminal, width=60, color_system=None, highlight=False))
    return capsys.readouterr().out


def test_findings_are_shown_with_their_fixes(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(False, capsys).splitlines() == [
        "ok       python   3.11.7",
        "warning  gpu      none",
        "                  -> add one",
        "error    model m  the key *** is wrong [bold]",
        "                  -> set another",
        "skipped  spacy    not installed",
        "",
        "errors: 1, warnings: 1, passed: 1",
    ]
    lines = [line.rstrip() for line in printed(True, capsys).splitlines()]
    assert lines[:4] == [
        "✓  python   3.11.7",
        "!  gpu      none",
        "            → add one",
        "✗  model m  the key *** is wrong [bold]",
    ]
    assert printed(False, capsys, [ok("a", ""), ok("b", "")]).endswith("no problems found (2 checks)\n")


def test_json_has_all_findings_and_no_secret() -> None:
    data: dict[str, Any] = json.loads(json.dumps(show.as_json(FINDINGS, "p.yaml")))
    assert (data["pipeline"], data["exit_code"], len(data["checks"])) == ("p.yaml", 3, 4)
    assert data["checks"][1] == {
        "name": "gpu", "status": "warning", "found": "none", "todo": "add one", "fault": "infrastructure"
    }  # fmt: skip
    assert "abcdefgh" not in json.dumps(data)
