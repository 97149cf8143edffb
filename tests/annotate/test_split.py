"""Sentence spans: cases that are hard for splitters, and properties that hold for any text."""

from __future__ import annotations

import gc
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recaption.annotate.blocks import is_gap
from recaption.annotate.split import has_end, split, split_like_flair
from recaption.text import normalise

# name -> text, its expected sentences
CASES: dict[str, tuple[str, list[str]]] = {
    "bar in quotes": ('A door reads "yellow | jaune" here. It is shut.',
        ['A door reads "yellow | jaune" here.', "It is shut."]),
    "space before a closing quote": ('The sign reads "STOP. " The dog waits.',
        ['The sign reads "STOP. "', "The dog waits."]),
    "space before a closing quote goes on": ('It reads "STOP. " in red. Yes.', ['It reads "STOP. " in red.', "Yes."]),
    "glued quote": ('It has windows."TREASURE ISLAND" is written above. Yes.',
        ["It has windows.", '"TREASURE ISLAND" is written above.', "Yes."]),
    "glued behind a quote": ('It says "hello."And then it ends.', ['It says "hello."', "And then it ends."]),
    "table": ("| Object | Colour |\n|---|---|\n| Car | red |", ["Object", "Colour", "Car", "red"]),
    "plain": ("A dog sits. A cat lies!", ["A dog sits.", "A cat lies!"]),
    "no final stop": ("A dog sits. A cat lies", ["A dog sits.", "A cat lies"]),
    "question": ("What is it? A dog.", ["What is it?", "A dog."]),
    "interrobang": ("What?! No way. Yes!!", ["What?!", "No way.", "Yes!!"]),
    "two spaces": ("A dog.  A cat.", ["A dog.", "A cat."]),
    "title": ("Dr. Smith stands beside Mrs. Jones. They smile.",
        ["Dr. Smith stands beside Mrs. Jones.", "They smile."]),
    "saint": ("St. Mary's Church rises. It is old.", ["St. Mary's Church rises.", "It is old."]),
    "street": ("It is on Main St. The dog sits.", ["It is on Main St.", "The dog sits."]),
    "street goes on": ("The Elm St. Bakery is open. Yes.", ["The Elm St. Bakery is open.", "Yes."]),
    "company": ("An Acme Inc. truck and an Apple Inc. Store sign. It is red.",
                ["An Acme Inc. truck and an Apple Inc. Store sign.", "It is red."]),
    "company ends": ("The logo says Acme Inc. The truck is red.", ["The logo says Acme Inc.", "The truck is red."]),
    "latin": ("Fruit, e.g. Apples, i.e. Red ones, lie here. So what.",
              ["Fruit, e.g. Apples, i.e. Red ones, lie here.", "So what."]),
    "etc ends": ("There are cups, plates, etc. The table is full.",
        ["There are cups, plates, etc.", "The table is full."]),
    "etc goes on": ("Cups, plates, etc. are on it.", ["Cups, plates, etc. are on it."]),
    "versus": ("A sign says Bulls vs. Heat. It glows.", ["A sign says Bulls vs. Heat.", "It glows."]),
    "acronym": ("A U.S. flag hangs. It waves.", ["A U.S. flag hangs.", "It waves."]),
    "acronym before name": ("A U.S. Army truck parks. It is green.", ["A U.S. Army truck parks.", "It is green."]),
    "acronym ends": ("The map shows the U.S. The border is red.", ["The map shows the U.S.", "The border is red."]),
    "initials": ("A book by J.R.R. Tolkien and C. S. Lewis. It is old.",
                 ["A book by J.R.R. Tolkien and C. S. Lewis.", "It is old."]),
    "drive": ("The F.D.R. Drive runs along the river. Cars pass.",
        ["The F.D.R. Drive runs along the river.", "Cars pass."]),
    "letter ends": ("It is rich in vitamin C. The bottle is orange.",
        ["It is rich in vitamin C.", "The bottle is orange."]),
    "time": ("At 5 p.m. The shop closes. At 6 a.m. Monday it opens.",
             ["At 5 p.m.", "The shop closes.", "At 6 a.m. Monday it opens."]),
    "number": ("Bus No. 5 and Fig. 3 are here. Next.", ["Bus No. 5 and Fig. 3 are here.", "Next."]),
    "month": ("The date is Jan. 5 on it. Nice.", ["The date is Jan. 5 on it.", "Nice."]),
    "decimal": ("It is 3.5 m tall and costs $4.99. It is blue.", ["It is 3.5 m tall and costs $4.99.", "It is blue."]),
    "year ends": ("It was built in 1990. The roof is red.", ["It was built in 1990.", "The roof is red."]),
    "unit ends": ("The bag weighs 5 kg. The label is white.", ["The bag weighs 5 kg.", "The label is white."]),
    "unit goes on": ("It is approx. 6 ft. tall. Nice.", ["It is approx. 6 ft. tall.", "Nice."]),
    "feet and inches": ("A 12\" pipe beside a 5' 3\" man. He stands.",
        ["A 12\" pipe beside a 5' 3\" man.", "He stands."]),
    "url": ("The site www.example.com/a.b?c=d. is shown. Yes.",
        ["The site www.example.com/a.b?c=d. is shown.", "Yes."]),
    "url ends": ("It reads example.com. The rest is blue.", ["It reads example.com.", "The rest is blue."]),
    "email": ("Write to a.b@c.org today. Bye.", ["Write to a.b@c.org today.", "Bye."]),
    "file": ("A file named IMG_1.Final.JPG is open. Yes.", ["A file named IMG_1.Final.JPG is open.", "Yes."]),
    "glued": ("The cup is on the table.The dog sits.", ["The cup is on the table.", "The dog sits."]),
    "ellipsis goes on": ("The man... smiles. Yes.", ["The man... smiles.", "Yes."]),
    "ellipsis ends": ("Wait… The dog runs.", ["Wait…", "The dog runs."]),
    "spaced ellipsis": ("And then . . . the end. Yes.", ["And then . . . the end.", "Yes."]),
    "quote kept open": ("The sign reads \"STOP. Look. Go.\" in red. It is big.",
                        ["The sign reads \"STOP. Look. Go.\" in red.", "It is big."]),
    "quote ends": ("The sign reads \"STOP.\" The car waits.", ["The sign reads \"STOP.\"", "The car waits."]),
    "typographic quotes": ("It says “Open. Come in.” A man reads.", ["It says “Open. Come in.”", "A man reads."]),
    "single quotes": ("He says 'No. Go.' and leaves. She stays.", ["He says 'No. Go.' and leaves.", "She stays."]),
    "said": ("\"Stop!\" says the sign. It's red.", ["\"Stop!\" says the sign.", "It's red."]),
    "stray quote": ("The sign reads \"STOP. The car waits. It is red.",
                    ["The sign reads \"STOP.", "The car waits.", "It is red."]),
    "brackets": ("A dog (it is old. It sleeps.) sits. A cat.", ["A dog (it is old. It sleeps.) sits.", "A cat."]),
    "sentence in brackets": ("A dog. (It is old.) A cat.", ["A dog.", "(It is old.)", "A cat."]),
    "possessive": ("The dogs' bowls are full. The cats' are empty.",
        ["The dogs' bowls are full.", "The cats' are empty."]),
    "semicolon": ("A man sits; a dog lies. Yes.", ["A man sits; a dog lies.", "Yes."]),
    "colon": ("Three things: a cup, a hat. Yes.", ["Three things: a cup, a hat.", "Yes."]),
    "lines": ("A dog sits\nA cat lies", ["A dog sits", "A cat lies"]),
    "paragraphs": ("A dog sits.\n\nA cat lies.", ["A dog sits.", "A cat lies."]),
    "bullets": ("- A dog\n* A cat. It sits.\n• a cow", ["A dog", "A cat.", "It sits.", "a cow"]),
    "numbered": ("1. A dog.\n2. A cat.\n10) A cow.", ["A dog.", "A cat.", "A cow."]),
    "numbered in a line": ("1. A dog 2. A cat 3. A bird", ["A dog", "A cat", "A bird"]),
    "numbered after stops": ("It shows: 1. A dog. 2. A cat.", ["It shows:", "A dog.", "A cat."]),
    "numbered behind a colon": ("Food: 1) pancakes 2) coffee 3) hot sauce. Done.",
        ["Food:", "pancakes", "coffee", "hot sauce.", "Done."]),
    "numbered behind a colon, with stops": ("Seen here: 1. A dog 2. Two cats. It rains.",
        ["Seen here:", "A dog", "Two cats.", "It rains."]),
    "no enumeration": ("The score is: 1. Nothing else. Bus 2) is red.",
        ["The score is: 1.", "Nothing else.", "Bus 2) is red."]),
    "letters": ("a) a dog\n(b) a cat", ["a dog", "a cat"]),
    "heading": ("# Scene\nA dog sits.\n## Colours\nRed.", ["Scene", "A dog sits.", "Colours", "Red."]),
    "bold label": ("**Foreground:** A dog sits.", ["Foreground:", "A dog sits."]),
    "bold label, colon outside": ("**Foreground**: A dog sits.", ["Foreground", "A dog sits."]),
    "bullet with bold label": ("* **Sky:** Blue.\n* **Sea:** Grey.", ["Sky:", "Blue.", "Sea:", "Grey."]),
    "bold inside": ("The **red** car is **fast.** A cat.", ["The **red** car is **fast.**", "A cat."]),
    "bold around": ("**A dog sits.** A cat.", ["A dog sits.", "A cat."]),
    "rule and fence": ("A dog.\n---\n```\nA cat.\n```", ["A dog.", "A cat."]),
    "block quote": ("> A dog sits.\n> A cat.", ["A dog sits.", "A cat."]),
    "wrapped": ("The image shows a man walking along the beach with his\nold dog and a ball. Yes.",
                ["The image shows a man walking along the beach with his\nold dog and a ball.", "Yes."]),
    "short lines are things": ("red car\nblue house", ["red car", "blue house"]),
    "lower-case style": ("a dog sits. a cat lies. e.g. a cow", ["a dog sits.", "a cat lies.", "e.g. a cow"]),
    "chinese": ("一只狗坐着。一只猫躺着！还有吗？", ["一只狗坐着。", "一只猫躺着！", "还有吗？"]),
    "japanese quote": ("「こんにちは。」と言った。終わり", ["「こんにちは。」と言った。", "終わり"]),
    "hindi": ("एक कुत्ता बैठा है। एक बिल्ली है।", ["एक कुत्ता बैठा है।", "एक बिल्ली है।"]),
    "arabic and urdu": ("هل هذا كلب؟ نعم. یہ بلی ہے۔ ہاں", ["هل هذا كلب؟", "نعم.", "یہ بلی ہے۔", "ہاں"]),
    "emoji behind a stop": ("A dog runs! 🐕 The cat sleeps.", ["A dog runs! 🐕", "The cat sleeps."]),
    "emoji for a stop": ("The happy dog 🐶 A cat", ["The happy dog 🐶", "A cat"]),
    "emoji inside": ("I ❤️ dogs. Yes", ["I ❤️ dogs.", "Yes"]),
    "only emoji": ("🐶🐱", ["🐶🐱"]),
    "cut off": ("A dog sits. A cat is ly", ["A dog sits.", "A cat is ly"]),
    "empty": ("", []),
    "only markers": ("- \n* \n1.", []),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_sentences(name: str) -> None:
    text, expected = CASES[name]
    assert [text[a:b] for a, b in split(text)] == expected


def test_windows_line_ends_are_normalised_before() -> None:
    text = normalise("A dog sits.\r\nA cat lies\r\n\r\nA cow")
    assert [text[a:b] for a, b in split(text)] == ["A dog sits.", "A cat lies", "A cow"]


@pytest.mark.parametrize("text", ["Yes.", 'Yes!"', "(Yes.)", "是。", "Yes… ", "Yes. 🐶", "हाँ।", "**Yes.**", "🐶"])
def test_has_end(text: str) -> None:
    assert has_end(text)


@pytest.mark.parametrize("text", ["", "Yes", "Yes,", "A dog (old)", "a man and", "3.5", "Title:"])
def test_has_no_end(text: str) -> None:
    assert not has_end(text)


# Texts with many of the characters that the rules read, and any others.
_ODD = [*".!?…。\"'“”‘’()[]*_#>-•|:;, \n\t", "Dr", "e.g", "U.S", "A", "The", "dog", "3", "1.", "12", "🐶", "\ufe0f"]
_ODD += ["**", "\n\n", "</s>", "猫", "。」", "etc", "St", "(a)", "iv)", "\u200b", "\u202e", "\u00a0", "```", "---"]
_PIECES = st.sampled_from(_ODD)
_TEXTS = st.one_of(st.text(max_size=300), st.lists(_PIECES, max_size=80).map("".join))


@settings(max_examples=150)
@given(_TEXTS)
def test_spans_are_exact_ordered_and_cover_all_but_markers(raw: str) -> None:
    text = normalise(raw)
    end = 0
    for start, stop in split(text):
        assert end <= start < stop <= len(text)
        assert is_gap(text[end:start]), text[end:start]
        assert text[start:stop].strip() == text[start:stop] != ""
        end = stop
    assert is_gap(text[end:])


@settings(max_examples=30)
@given(_TEXTS)
def test_the_same_text_has_the_same_spans(raw: str) -> None:
    assert split(raw) == split(raw)


HARD = ["a. ", ".", "(", '"', "'a ", "**a", "1. A ", "- ", " ", "\n", "🐶 ", "🐶", "a.b.", "* \n", "__", "a\n", "Dr. A",
        "long enough to be wrapped lines and so on\n", "“", "。", "1) ", "|", "> ", "A 🐶 The ",
        "i)", "1. ", "x) "]  # fmt: skip


@pytest.mark.parametrize("piece", HARD)
def test_time_is_linear(piece: str) -> None:
    split(f"{piece * 50}dog")  # exponential backtracking shows after a few repetitions

    def seconds(length: int) -> float:
        text = (piece * (length // len(piece) + 1))[:length]
        gc.disable()  # a collection of what other tests left takes longer than the text
        try:
            start = time.thread_time()
            split(text)
            return time.thread_time() - start
        finally:
            gc.enable()

    for _ in range(3):  # on a busy machine, a single measurement can be too long; quadratic time fails every time
        small, large = seconds(3_000), seconds(30_000)
        if large < 0.05 + 30 * small:
            return
    pytest.fail(f"ten times the text took {large / max(small, 1e-9):.0f} times as long")


_FLAIR = re.compile(r"\n|</s>|[.]")


@settings(max_examples=200)
@given(
    st.lists(st.sampled_from([".", "\n", "</s>", " ", "A dog", "3.5", "!", "</", "\u3000"]), max_size=30).map("".join)
)
def test_pieces_are_those_of_flairs_code(text: str) -> None:
    expected = [piece.strip() for piece in _FLAIR.split(text) if piece.strip()]
    assert [text[a:b] for a, b in split_like_flair(text)] == expected
