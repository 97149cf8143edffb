"""The list of trainers, and what is said of all of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from recaption.errors import UserError
from recaption.export import MODULES, load
from recaption.export.base import Exported
from recaption.write.profile import FLAIR_KINDS, places

FORMATS = Path(__file__).parent.parent.parent / "docs" / "formats.md"


def test_the_table_in_the_readme_is_the_list_of_trainers() -> None:
    section = FORMATS.read_text("utf-8").split("## Exports", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", section, re.MULTILINE)
    assert rows == [(name, load(name).WRITES, load(name).READ_BY) for name in MODULES]


def test_every_exporter_says_where_its_format_is_from() -> None:
    for name, module in MODULES.items():
        text = load(name).__doc__ or ""
        assert re.search(r"\w+/[\w-]+, \S+\.py|huggingface\.co/datasets/", text), f"{module} names no source"


def test_unknown_trainers_are_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"'clip'; there are flair, cosmos"):
        load("clip")


@pytest.mark.parametrize(
    ("kinds", "given", "fill", "expected"),
    [
        ({"s": "short", "l": "long"}, {}, "empty", "raw s l - - - -"),
        ({"s": "short", "l": "long"}, {}, "repeat", "raw s l s l s l"),
        ({"a": "long", "b": "long", "c": "long", "d": "long"}, {}, "repeat", "raw - a - b - c"),
        ({"a": "short", "b": "short"}, {}, "repeat", "raw a - b - a -"),
        ({"s": "short", "l": "long"}, {"shortSV_captions": "l"}, "empty", "- - - l - - -"),
        ({"s": "short", "l": "long"}, {"shortSV_captions": "l", "longIB_captions": "s"}, "repeat", "- l s l s l s"),
        ({}, {}, "repeat", "raw - - - - - -"),
    ],
)
def test_generations_find_their_places(kinds: Any, given: Any, fill: Any, expected: str) -> None:
    assert [generation or "-" for generation in places(FLAIR_KINDS, kinds, given, fill).values()] == expected.split()


def test_what_was_exported_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from recaption.export.show import print_exported

    done = Exported(samples=12_345, files=1, left_out={"[bold]too long": 2}, notes=("--train-data '[x]'",))
    print_exported(done, "dest", Console(width=20))
    assert capsys.readouterr().out.splitlines() == [
        "12,345 samples in 1 file → dest",
        "left out: 2 ([bold]too long)",
        "--train-data '[x]'",
    ]
