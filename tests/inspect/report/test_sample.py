from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recaption.inspect.report.sample import Span, TextRun, cut, visible


def drawn(runs: tuple[TextRun, ...]) -> str:
    """Sub-captions in square brackets with their number where they begin, tags in braces, openers in parentheses."""
    out = ""
    for run in runs:
        body = ""
        for part in run.parts:
            text = f"({part.text})" if part.opener else part.text
            body += text if part.tag is None else f"{{{text}}}"
        number = "" if run.sub is None else f"{run.sub + 1 if run.first else ''}"
        out += body if run.sub is None else f"[{number}:{body}]"
    return out


def test_sub_captions_and_tags_are_marked() -> None:
    text = "A dog sits. It is brown."
    subs = [Span(start=0, end=11), Span(start=12, end=24)]
    assert drawn(cut(text, subs, [Span(start=0, end=5)])) == "[1:{A dog} sits.] [2:It is brown.]"


def test_offsets_count_code_points() -> None:
    text = "👩‍👩‍👧 𝒜 kite. كلب بني."
    kite, end, dog = text.index("kite"), text.index(".") + 1, text.index("كلب")
    subs = [Span(start=0, end=end), Span(start=end + 1, end=len(text))]
    tags = [Span(start=kite, end=kite + 4), Span(start=dog, end=dog + 3)]
    assert drawn(cut(text, subs, tags)) == "[1:👩‍👩‍👧 𝒜 {kite}.] [2:{كلب} بني.]"


@pytest.mark.parametrize(
    ("subs", "tags", "expected"),
    [
        ([], [], "abcdefgh"),
        ([Span(start=0, end=8), Span(start=2, end=4)], [], "[1:ab][2:cd][:efgh]"),  # one within the other
        ([Span(start=0, end=5), Span(start=3, end=8)], [], "[1:abc][2:defgh]"),  # overlapping, equally long
        ([Span(start=3, end=3)], [], "abcdefgh"),
        ([Span(start=-4, end=99)], [], "[1:abcdefgh]"),
        ([Span(start=6, end=2)], [], "abcdefgh"),
        ([Span(start=0, end=4)], [Span(start=3, end=6)], "[1:abc{d}]{ef}gh"),  # a tag that leaves its sub-caption
        ([Span(start=0, end=8)], [Span(start=1, end=5), Span(start=2, end=3)], "[1:a{b}{c}{de}fgh]"),
        ([Span(start=0, end=8, content=3)], [], "[1:(abc)defgh]"),
        ([Span(start=2, end=8, content=99)], [], "ab[1:(cdefgh)]"),
    ],
)
def test_overlapping_and_invalid_spans_are_handled(subs: list[Span], tags: list[Span], expected: str) -> None:
    made = cut("abcdefgh", subs, tags)
    assert drawn(made).replace("}{", "") == expected.replace("}{", "")
    assert "".join(part.text for run in made for part in run.parts) == "abcdefgh"


def test_the_longest_of_overlapping_tags_is_marked() -> None:
    (run,) = cut("traffic light", [], [Span(start=8, end=13), Span(start=0, end=13)])
    assert {part.tag for part in run.parts} == {1}


def test_an_empty_caption_has_no_runs() -> None:
    assert cut("", [Span(start=0, end=0)], []) == ()


offsets = st.integers(-3, 30)
spans = st.lists(st.builds(lambda a, b, c: Span(start=a, end=b, content=c), offsets, offsets, offsets), max_size=6)


@given(text=st.text(max_size=24), subs=spans, tags=spans)
def test_the_runs_contain_the_text_exactly_once(text: str, subs: list[Span], tags: list[Span]) -> None:
    made = cut(text, subs, tags)
    assert "".join(part.text for run in made for part in run.parts) == text
    firsts = [run.sub for run in made if run.first]
    assert len(firsts) == len(set(firsts))
    assert set(firsts) == {run.sub for run in made if run.sub is not None}


def test_invisible_characters_are_made_visible() -> None:
    assert visible("a\u202eb\x1b[31m\u200b") == "a⟨U+202E⟩b⟨U+001B⟩[31m⟨U+200B⟩"
    assert visible("👩‍👧 کتاب‌ها\nx") == "👩‍👧 کتاب‌ها\nx"  # joiners stay: emoji and Persian need them
