"""Which stored texts a drawn one is made of: its ids are those of the text, or it is tokenised."""

from __future__ import annotations

import numpy as np
import pytest
import tokenizer_files
from few_words import caption, record, sub
from hypothesis import given, settings
from hypothesis import strategies as st

from recaption.io.store import LocalStore
from recaption.load import policy
from recaption.load.encoding import compose, shortened, text_offsets
from recaption.load.policy import WHOLE, DrawnText
from recaption.tokenids import LOSES_STOP, TAKES_STOP, Piece, TokenIds, texts_of
from recaption.types import Record
from recaption.write import Encoder
from recaption.write.tokens import write_tokens

LINES = ("A dog.", "Two cats!", "no end", "A dog.")
PLACED = [sub(line, n, char_end=len(" ".join(LINES[: n + 1]))) for n, line in enumerate(LINES)]
OF = record(caption("raw", "a thing", cut=False), caption("long", *PLACED))


@pytest.mark.parametrize(
    ("text", "parts", "expected"),
    [
        ("A dog.", ((1, 0),), [(1, 0)]),
        ("A dog", ((1, 0),), [(1, LOSES_STOP)]),
        ("A dog. Two cats!. no end", ((1, 0), (1, 1), (1, 2)), [(1, 0), (2, TAKES_STOP), (3, 0)]),
        ("no end. A dog", ((1, 2), (1, 3)), [(3, TAKES_STOP), (4, LOSES_STOP)]),
        ("A dog. A dog", ((1, 0), (1, 0)), [(1, 0), (1, LOSES_STOP)]),
        ("a thing", ((0, WHOLE),), [(0, 0)]),
        ("A dog. Two cats! no end A dog.", ((1, WHOLE),), [(1, 0), (2, 0), (3, 0), (4, 0)]),
        ("a dog.", ((1, 0),), None),
        ("A photo of A dog.", ((1, 0),), None),
        ("A dog.,", ((1, 0),), None),
        ("A dog.  Two cats!", ((1, 0), (1, 1)), None),
        ("A dog", ((1, 9),), None),
        ("A dog. a thing", ((1, 0), (0, WHOLE)), [(1, 0), (0, 0)]),
        ("", (), None),
    ],
)
def test_a_text_is_held_against_its_parts(
    text: str, parts: tuple[tuple[int, int], ...], expected: list[Piece] | None
) -> None:
    assert text_offsets(OF) == [0, 1, 5]
    assert compose(OF, DrawnText(text=text, parts=parts), text_offsets(OF)) == expected


def test_texts_are_numbered_as_they_are_written() -> None:
    assert texts_of(OF) == ["a thing", "A dog.", "Two cats!", "no end", "A dog."]


@pytest.mark.parametrize(
    ("text", "parts", "expected"),
    [
        ("A dog. Two cats! no end", ((1, 0), (1, 1), (1, 2)), ["A dog. Two cats!", "A dog."]),
        ("A dog. Two cats!. no end", ((1, 0), (1, 1), (1, 2)), ["A dog. Two cats!", "A dog"]),
        ("no end. A dog", ((1, 2), (1, 3)), ["no end"]),
        ("A dog. Two cats! no end A dog.", ((1, WHOLE),), ["A dog. Two cats! no end", "A dog. Two cats!", "A dog."]),
        ("a thing", ((0, WHOLE),), []),
        ("A dog.", ((1, 0),), []),
        ("Look: A dog. Two cats!", ((1, 0), (1, 1)), []),
        ("Look: A dog.", ((1, WHOLE),), []),
        ("A dog. a thing", ((1, 0), (0, WHOLE)), []),
    ],
)
def test_sentences_are_dropped_from_the_end(text: str, parts: tuple[tuple[int, int], ...], expected: list[str]) -> None:
    given = DrawnText(text=text, parts=parts, weight=0.5)
    assert [one.text for one in shortened(OF, given)] == expected
    for one in shortened(OF, given):
        assert one.parts == parts[: len(one.parts)] and one.caption == given.caption


SENTENCES = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("aB9.!?,'\"- \n\u0301\u03a3")), max_size=12
).map(str.strip)


@pytest.fixture(scope="module")
def clip_like(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder(str(tokenizer_files.clip_like(tmp_path_factory.mktemp("tokenizers"))))


@settings(max_examples=80)
@given(st.lists(st.lists(SENTENCES.filter(bool), min_size=1, max_size=4), min_size=1, max_size=3), st.integers(0, 9))
def test_composed_ids_are_those_of_the_text(
    tmp_path_factory: pytest.TempPathFactory, clip_like: Encoder, captions: list[list[str]], seed: int
) -> None:
    """Whatever the sentences, of every policy: or the text is left to the tokenizer."""
    of = record(*(caption("raw" if n == 0 else "long", *texts, cut=n > 0) for n, texts in enumerate(captions)))
    store = LocalStore(tmp_path_factory.getbasetemp() / "composed")
    write_tokens(store, "x.bin", [of], clip_like)
    stored = TokenIds.open(store.root / "x.bin").of(0)
    for draw in (policy.flair(8), policy.weighted(8), policy.cosmos(4), policy.dreamlip(3, 2), policy.long(2)):
        for drawn in _drawn(of, draw, seed):
            for one in (drawn, *shortened(of, drawn)):
                made = compose(of, one, text_offsets(of))
                ids = None if made is None else stored.joined(made)
                assert ids is None or ids.tolist() == clip_like.encode([one.text])[0], one


def _drawn(of: Record, draw: policy.Policy, seed: int) -> list[DrawnText]:
    return draw(of, np.random.default_rng(seed), 0) if any(c.text.strip() for c in of.captions) else []


@pytest.mark.parametrize("name", ["flair", "weighted", "cosmos", "long"])
def test_common_texts_compose(clip_like: Encoder, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """Of plain sentences all of them: else stored ids would be of no use."""
    lines = ["A red kite flies.", "Two dogs run along the beach.", "There is no boat.", "The sky is grey"]
    of = record(caption("raw", "kite on a beach", cut=False), caption("long", *lines), caption("short", "A red kite."))
    store = LocalStore(tmp_path_factory.getbasetemp() / "common")
    write_tokens(store, "x.bin", [of], clip_like)
    stored = TokenIds.open(store.root / "x.bin").of(0)
    draw: policy.Policy = getattr(policy, name)(4)
    for seed in range(30):
        for one in _drawn(of, draw, seed):
            made = compose(of, one, text_offsets(of))
            assert made is not None, one
            ids = stored.joined(made)
            assert ids is not None and ids.tolist() == clip_like.encode([one.text])[0], one


def test_a_mark_as_a_sub_caption(clip_like: Encoder) -> None:
    of = record(caption("long", sub(".")), caption("long", "x."))
    assert compose(of, DrawnText(text="", parts=((0, 0),)), text_offsets(of)) == [(0, LOSES_STOP)]
