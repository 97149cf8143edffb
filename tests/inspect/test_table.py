from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from recaption.inspect import QueryResult, print_result
from recaption.inspect.table import shown


def printed(answer: QueryResult, width: int = 60) -> list[str]:
    file = io.StringIO()
    print_result(answer, Console(file=file, width=width))
    return file.getvalue().splitlines()


def answered(columns: dict[str, str], *rows: tuple[object, ...], total: int | None = -1) -> QueryResult:
    known = len(rows) if total == -1 else total
    return QueryResult(columns=tuple(columns), types=tuple(columns.values()), rows=rows, total=known)


def test_numbers_to_the_right_and_texts_to_the_left() -> None:
    rows = (("dog", 1200, 0.5), ("cat", 7, None))
    assert printed(answered({"lemma": "VARCHAR", "n": "BIGINT", "share": "DOUBLE"}, *rows)) == [
        "lemma     n  share",
        "──────────────────",
        "dog    1200    0.5",
        "cat       7   null",
        "2 rows",
    ]


@pytest.mark.parametrize("width", [20, 40, 80])
def test_long_texts_are_cut_to_the_width(width: int) -> None:
    rows = tuple((f"key{i}", "一只棕色的狗 " * 20, i) for i in range(5))
    lines = printed(answered({"key": "VARCHAR", "text": "VARCHAR", "n": "INTEGER"}, *rows), width)
    assert all(cell_len(line) <= width for line in lines)
    assert lines[2].startswith("key0  一只")
    assert "…" in lines[2]
    assert lines[2].endswith(" 0")


def test_columns_that_do_not_fit_are_named() -> None:
    names = {f"column_{i}": "VARCHAR" for i in range(9)}
    lines = printed(answered(names, *[tuple("a value that is long" for _ in names)] * 4), 50)
    assert lines[0].split() == ["column_0", "column_1", "column_2", "column_3"]
    assert "column_8" in " ".join(lines)
    assert lines[-1] == "4 rows"


def test_few_rows_that_do_not_fit_stand_upright() -> None:
    names = {f"column_{i}": "VARCHAR" for i in range(9)}
    lines = printed(answered(names, tuple(f"value {i}" for i in range(9))), 40)
    assert [line.split() for line in lines[:9]] == [[f"column_{i}", "value", str(i)] for i in range(9)]


def test_counts_of_rows() -> None:
    one = {"n": "BIGINT"}
    assert printed(answered(one, (1,)))[-1] == "1 row"
    assert printed(answered(one, (1,), (2,), total=1234567))[-1] == "first 2 of 1,234,567 rows"
    assert printed(answered(one, (1,), total=None))[-1] == "first 1 of more than 100,000 rows"
    assert printed(answered(one, total=0)) == ["n", "─", "0 rows"]


def test_hostile_values_and_names() -> None:
    out = "\n".join(printed(answered({"\x1b[31mna\u202eme": "VARCHAR"}, ("[red]a\x1b[2Jb\n\tc[/red]",))))
    assert "[red]ab c[/red]" in out
    assert out.startswith("name ")
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (3, "3"),
        (1 / 3, "0.333333"),
        (12345678.5, "12345678.5"),
        (float("nan"), "nan"),
        (b"abc", "<3 bytes>"),
        (["a", None, "\x1b[31mé"], '["a", null, "\\u001b[31mé"]'),
        ({"n": 1}, '{"n": 1}'),
    ],
)
def test_values(value: object, text: str) -> None:
    assert shown(value) == text
