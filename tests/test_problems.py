from __future__ import annotations

import pytest
from rich.console import Console

from recaption.problems import SHOWN, Problem, print_problems


def problem(n: int, kind: str = "bad", **more: str) -> Problem:
    return Problem(where=f"file: row {n}", what=f"it is {kind}", advice=f"Mend {kind}", kind=kind, **more)  # type: ignore[arg-type]


def test_problems_are_counted_and_the_first_of_each_kind_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    found = [problem(n) for n in range(SHOWN + 1_000)] + [problem(7, "odd", severity="warning")]
    counts = print_problems(iter(found), Console(width=40))
    out = capsys.readouterr().out
    assert counts == {"error": SHOWN + 1_000, "warning": 1}
    assert out.count("it is bad") == SHOWN and out.count("Mend bad") == 1
    assert "bad: 1,005 in all, 1,000 of them not shown" in out
    assert "warning file: row 7  it is odd" in out and "odd: " not in out


def test_without_problems_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_problems([], Console()) == {} and capsys.readouterr().out == ""


def test_control_characters_are_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    bad = "\x1b]0;title\x07\u202e[red]x" + "long" * 1000
    print_problems([Problem(where=bad, what=bad, advice=bad, kind="k")], Console(width=40))
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\x07" not in out and "\u202e" not in out
    assert "[red]x" in out and len(out) < 800
