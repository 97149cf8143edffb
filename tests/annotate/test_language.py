"""The guessed language of a text."""

from __future__ import annotations

import pytest

from recaption.annotate.language import guess_language


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("Een hond in het gras is aan het spelen in de tuin.", "nl"),
        ("Uma mulher a cavalo a olhar para a praia e a rua.", "pt"),
        ("Un hombre con sombrero está a la orilla del mar en la tarde.", "es"),
        ("A dog in the grass is at play in a garden with a ball.", "en"),
    ],
)
def test_languages_in_latin_letters(text: str, lang: str) -> None:
    assert guess_language(text) == lang
