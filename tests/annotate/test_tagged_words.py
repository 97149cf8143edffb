"""Tokens with Penn tags."""

from __future__ import annotations

from recaption.annotate.tagged_words import Token, join_hyphens


def test_hyphens_join_only_what_touches() -> None:
    def token(text: str, tag: str, start: int) -> Token:
        return Token(text, tag, start, start + len(text))

    touching = [token("t", "NN", 0), token("-", "HYPH", 1), token("shirt", "NN", 2)]
    assert [t.text for t in join_hyphens(touching)] == ["t-shirt"]
    apart = [token("dog", "NN", 0), token("-", ":", 4), token("cat", "NN", 6)]
    assert [t.text for t in join_hyphens(apart)] == ["dog", "-", "cat"]
