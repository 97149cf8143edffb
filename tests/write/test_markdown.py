"""What users, models and the web wrote is text in the card, never markup. Judged by a Markdown parser."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from recaption.write.markdown import code, fenced, plain, table

CONTROL = "[\x00-\x08\x0b-\x1f\x7f\u0085\u2028\u2029]"
HOSTILE = st.text(st.sampled_from(list("ab 1.-+=#*_`~<>[]()!|\\&;$@:/\n\r\x00\u2028\t")) | st.characters(), max_size=40)


def parse(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").enable("strikethrough").parse(text)


def folded(text: str) -> str:
    return " ".join(re.sub(CONTROL, " ", text).split())


@given(HOSTILE)
@example("# heading")
@example("1. list")
@example("1) list")
@example("- rule\n---")
@example("=== ")
@example("<script>alert(1)</script> ![x](http://x) | cell")
@example("a\\\nb &amp; &#35;")
def test_plain_text_stays_text(text: str) -> None:
    tokens = parse(f"{plain(text)}\n")
    if not folded(text):
        assert tokens == []
        return
    assert [t.type for t in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    children = tokens[1].children or []
    assert {child.type for child in children} <= {"text", "text_special"}
    assert "".join(child.content for child in children) == folded(text)


@given(HOSTILE)
@example("`")
@example("a ``` b")
@example("\\")
@example("` `")
def test_a_code_span_holds_what_it_was_given(text: str) -> None:
    (inline,) = [t for t in parse(f"x {code(text)} y") if t.type == "inline"]
    spans = [child for child in inline.children or [] if child.type == "code_inline"]
    if folded(text):
        assert [span.content.strip(" ") for span in spans] == [folded(text).replace("|", "\\|")]
    assert {child.type for child in inline.children or []} <= {"text", "code_inline"}


@given(HOSTILE)
@example("```\nout\n```")
@example("~~~~\n````")
@example("    indented")
def test_nothing_leaves_a_fence(text: str) -> None:
    tokens = parse(f"before\n\n{fenced(text)}\n\nafter\n")
    around = ["paragraph_open", "inline", "paragraph_close"]
    assert [t.type for t in tokens] == [*around, "fence", *around]
    (fence,) = [t for t in tokens if t.type == "fence"]
    assert fence.content == re.sub(CONTROL, " ", text.replace("\r\n", "\n").replace("\r", "\n")) + "\n"


@given(HOSTILE, HOSTILE)
def test_cells_stay_in_their_columns(left: str, right: str) -> None:
    tokens = parse(table(["a", "b:"], [[code(left), plain(right)]]))
    assert [t.type for t in tokens].count("tr_open") == 2
    cells = [tokens[i + 1] for i, t in enumerate(tokens) if t.type == "td_open"]
    assert len(cells) == 2
    assert folded(right) == "".join(child.content for child in cells[1].children or [])


def test_numbers_are_aligned_to_the_right() -> None:
    assert table(["name", "rows:"], [["a", "1"]]) == "| name | rows |\n| --- | ---: |\n| a | 1 |"
