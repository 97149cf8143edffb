"""The guessed language of a text."""

from __future__ import annotations

import pytest
from short_captions import ENGLISH, OTHERS

from recaption.language import LANGUAGES, guess_language, in_language


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


TEXTS = {
    "ar": "كلب أحمر في الحديقة.",
    "de": "Ein roter Drachen fliegt über dem Strand und der Hund rennt.",
    "en": "A red kite flies over the beach and a dog runs.",
    "es": "Una cometa roja vuela por la playa y un perro corre.",
    "fr": "Un cerf-volant rouge vole sur la plage et un chien court.",
    "he": "כלב אדום בגן.",
    "hi": "एक लाल पतंग उड़ रही है।",
    "ja": "赤い凧が浜辺の上を飛んでいる。",
    "ko": "빨간 연이 해변 위를 날고 있다.",
    "nl": "Een rode vlieger vliegt op het strand en de hond is er.",
    "pl": "Czerwony latawiec leci nad plażą i pies biegnie obok.",
    "pt": "Uma pipa vermelha voa na praia e um cão corre com uma bola.",
    "ru": "Красный змей летит над пляжем.",
    "tr": "Kırmızı bir uçurtma plajın üzerinde uçuyor ve köpek koşuyor.",
    "zh": "一只红色的风筝在海滩上方飞翔。",
}
LATIN = {"de", "es", "fr", "nl", "pl", "pt", "tr"}
UNKNOWN = {"pl", "tr"}  # in Latin script; any text in it that is not English may be in them


@pytest.mark.parametrize("lang", TEXTS)
def test_a_text_is_in_its_own_language_only(lang: str) -> None:
    found = {other for other in TEXTS if in_language(TEXTS[lang], other)}
    assert found == {lang} | (UNKNOWN if lang in LATIN else set())


@pytest.mark.parametrize(
    ("text", "lang", "expected"),
    [
        ("Un chien.", "fr", True),  # too short for a guess
        ("A dog.", "fr", True),
        ("The dog is on the mat.", "sv", False),
        ("En hund ligger på mattan.", "sv", True),
        ("1234.", "fr", False),
        ("", "zh", False),
        ("Червоний змій.", "uk", True),
        ("一只 dog 在海滩上。", "zh", True),
        ("A dog on a beach, 狗 in Chinese letters.", "zh", False),
    ],
)
def test_texts_that_are_short_mixed_or_of_the_wrong_script(text: str, lang: str, expected: bool) -> None:
    assert in_language(text, lang) == expected


CAPTIONS = {
    "de": (
        "Großer roter Kreis neben kleinem blauen Quadrat.",
        "Mehrere Menschen gehen bei Regen spazieren.",
        "Mann trägt schwarzen Hut, lächelt freundlich.",
    ),
    "es": ("Un perro marrón corre sobre hierba verde.", "Tres manzanas rojas junto a un cuchillo."),
    "fr": (
        "Trois pommes rouges posées près d'un couteau.",
        "Un cercle rouge se trouve au-dessus d\u2019un carré bleu.",
        "Assiette de pâtes, verre de vin, table rustique.",
        "Chien brun assis devant porte bleue ouverte.",
        "De nombreux oiseaux volent au-dessus de la mer.",
        "On voit deux chiens bruns assis devant un mur.",
        "Homme assis, il a une chemise bleue et un chapeau.",
    ),
    "it": (
        "Uomo sorridente davanti alla sua auto rossa.",
        "Un cane marrone corre sull'erba verde bagnata.",
        "Uomo a cavallo in camicia a righe rosse.",
    ),
    "nl": ("Meerdere mensen lopen onder paraplu's in regen.", "Drie rode appels naast een mes liggen."),
    "pt": ("Homem sorridente em frente ao carro vermelho.", "Várias pessoas caminham sob a chuva."),
}
"""Correct captions with few articles and verbs, or with words of other languages, such as de, un and se."""


@pytest.mark.parametrize(("lang", "text"), [(lang, text) for lang, texts in CAPTIONS.items() for text in texts])
def test_captions_with_few_or_shared_function_words_are_in_their_language(lang: str, text: str) -> None:
    assert in_language(text, lang)


@pytest.mark.parametrize("lang", ["de", "es", "fr", "it", "nl", "pt"])
@pytest.mark.parametrize(
    "text",
    [
        "A brown dog runs across green grass.",
        "Small boat in blue water at sunset.",
        "Two men with hats on a bench.",
        "A man in a red hat holding a small dog.",
        "A woman sitting on a bench on a street.",
        "In a long outdoor shot, a tall grey skyscraper stands in thick grey fog.",
        "A large wooden letter stands upright on a light wooden floor.",
    ],
)
def test_english_captions_without_the_most_frequent_words_are_in_no_other_language(lang: str, text: str) -> None:
    assert not in_language(text, lang)


@pytest.mark.parametrize("text", ENGLISH)
def test_short_english_captions_are_in_english_only(text: str) -> None:
    """Many have words such as hat, was, die, door and come, which are function words of other languages."""
    assert [lang for lang in ("en", *OTHERS, "pt") if in_language(text, lang)] == ["en"]


@pytest.mark.parametrize(("lang", "text"), [(lang, text) for lang, texts in OTHERS.items() for text in texts])
def test_short_captions_are_in_their_language(lang: str, text: str) -> None:
    assert in_language(text, lang)


def test_few_short_captions_without_words_of_their_language_pass_as_english() -> None:
    """Without function words, nothing tells "Laptop offen, Kaffee kalt, Sofa leer" from English with other nouns."""
    total = sum(map(len, OTHERS.values()))
    passed = [text for texts in OTHERS.values() for text in texts if in_language(text, "en")]
    assert len(passed) <= total // 6


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("These sections are labeled Nürnberg, Würzburg, München and Köln.", "en"),  # letters of names
        ("Ein Mann hält ein Schild mit den Worten no parking on this street.", "de"),
        ("Une femme regarde un panneau sur lequel est écrit open every day.", "fr"),
        ("Die Frau war in Berlin, die Katze war da.", "de"),  # its only function words are English words, too
    ],
)
def test_names_and_quotations_do_not_change_the_language(text: str, lang: str) -> None:
    assert in_language(text, lang)


def test_each_language_has_a_name() -> None:
    assert all(name[0].isupper() for name, _ in LANGUAGES.values()) and list(LANGUAGES) == sorted(LANGUAGES)
