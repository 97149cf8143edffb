"""Whether a sentence only tells what the picture as a whole is like: "The mood is one of quiet joy", "The composition
and the lighting contribute to a sense of calm". English only.

The subject is a mood, the style or the lighting, and not a thing. What another clause states makes the sentence content
(`stated.is_stated_at`).
"""

from __future__ import annotations

from collections.abc import Sequence

from recaption.annotate import lexicon as lex
from recaption.annotate.lexicon import word_set
from recaption.annotate.stated import (
    INDEFINITE,
    is_stated_at,
    main_clause,
    names_absent,
    names_place,
    names_sport,
    noun_heads,
    stated_things,
    verb_lemma,
    word_at,
)
from recaption.annotate.tagged_words import FINITE, NOUNS, Token, lemma_of

_MOODS = word_set("atmosphere mood ambiance ambience vibe feeling effect impression")
_QUALITIES = word_set("quality feel look atmosphere mood")
_JOINT_VERBS = word_set("contribute combine work conspire")
_PARTS = word_set("matter detail element relationship")
"""Nouns for parts of a composition, beside those in `lex.ABOUT`."""
_EARLY = _MOODS | _QUALITIES | _JOINT_VERBS | {"style"}
"""A quick search for what `is_impression` decides by."""
_NAMES = frozenset(form for noun in lex.ABOUT for form in (noun, f"{noun}s"))
_NOT_DEFINITE = INDEFINITE | {"these", "those"}
_DASHES = frozenset(("–", "—", "-", "--"))
_BREAKS = _DASHES | {","}
_WEATHER = word_set("""
    sun sunlight sunshine sky day daylight daytime morning afternoon evening night noon midday dawn dusk twilight sunset
    sunrise weather condition cloud overcast hour time setting overhead horizon
""")
"""What lighting tells about the light outside the picture: "suggesting midday sun"."""
_CLAUSES = frozenset(("as", "and"))
_ASKING = word_set("what how which would can could do")
_EARLY_TEXT = 90  # characters in which the subject stands
_PHRASE = 8  # words of a noun phrase
_SUBJECT = 14  # words in which the verb of several properties stands


def is_impression(words: Sequence[Token], text: str, visible: Sequence[int]) -> bool:
    """Whether the sentence only tells of a mood, of what properties of the picture do together, or asks about the
    picture. `visible` has the offsets, in the caption, of the things it names."""
    if text[-1:] == "?" and not visible and words and words[0].text in _ASKING:
        return True
    if _EARLY.isdisjoint(text[:_EARLY_TEXT].replace(",", "").split(" ")):
        return False
    return _is_joint(words) or _is_mood(words, visible)


def things_told(words: Sequence[Token], text: str, visible: Sequence[int]) -> Sequence[int]:
    """The visible things that a sentence about the picture tells of: not those in an apposition that only repeats the
    judgement ("…, a moment of reflection", "— a study in grey"), nor, if it is about the lighting, the weather and the
    time of the day."""
    if not visible or _NAMES.isdisjoint(text[:_EARLY_TEXT].split(" ")):
        return visible
    end = _apposition(words)
    if end is not None:
        visible = [at for at in visible if at < words[end].start]
    if is_about_lighting(words, text):
        return [at for at in visible if not _is_weather_at(words, at) or _begins_clause(words, at)]
    return visible


def is_about_lighting(words: Sequence[Token], text: str) -> bool:
    """Whether the subject of the main clause is the lighting."""
    return "ighting" in text[:_EARLY_TEXT] and _subject(words)[0] == "lighting"


def _apposition(words: Sequence[Token]) -> int | None:
    """The index of the comma or dash before an apposition about the picture."""
    for i in range(4, len(words) - 2):
        if words[i].text in _BREAKS and words[i + 1].text in ("a", "an"):
            noun = next((j for j in range(i + 2, min(i + 7, len(words))) if words[j].tag in NOUNS), len(words))
            while noun + 1 < len(words) and words[noun + 1].tag in NOUNS:
                noun += 1
            head = lemma_of(words[noun]) if noun < len(words) else ""
            if head in lex.ABOUT or lex.is_abstract(head):
                return i
    return None


def _subject(words: Sequence[Token]) -> tuple[str, int]:
    """The head of the subject of the main clause, if it is definite, and the index of its verb."""
    start = main_clause(words)
    verb = next((i for i in range(start, len(words)) if words[i].tag in FINITE), len(words))
    if verb == len(words) or words[start].text in _NOT_DEFINITE or words[start].tag == "PRP$":
        return "", verb
    return next(iter(noun_heads(words, start, verb)), ""), verb


def _is_joint(words: Sequence[Token]) -> bool:
    """Whether properties of the picture do something together: "The colors and the lighting combine to create …"."""
    verb = next((i for i, word in enumerate(words[:_SUBJECT]) if word.text in _JOINT_VERBS), 0)  # whatever its tag
    start = main_clause(words)
    if any(word.tag in FINITE and word.text not in _PARTS for word in words[start:verb]):
        return False
    if verb and words[verb].text == "work" and all(word.text != "together" for word in words[verb + 1 : verb + 2]):
        return False  # "The setting is a work of art"
    heads = noun_heads(words, start, verb)
    return bool(heads) and all(head in lex.ABOUT or head in _PARTS for head in heads)


def _is_mood(words: Sequence[Token], visible: Sequence[int]) -> bool:
    """Whether the sentence describes a mood: "The atmosphere is one of calm", "The image has a candid quality"."""
    subject, verb = _subject(words)
    if verb == len(words) or any(at < words[verb].start for at in visible) or names_absent(words):
        return False  # "The atmosphere of the garage is tidy"
    if subject in lex.PICTURES:
        behind = noun_heads(words, verb, min(verb + 9, len(words)))
        is_told = words[verb].text == "has" and bool(behind) and behind[0] in _QUALITIES
    elif subject == "style":
        is_told = words[verb].text in lex.COPULAS and any(word.text in lex.PICTURES for word in words[:verb])
    else:
        told = words[verb].text in lex.COPULAS or verb_lemma(words[verb]) in lex.EFFECTS
        is_told = subject in _MOODS and told
    if not is_told:
        return False
    end = next((i for i in range(verb, len(words)) if words[i].text in _DASHES), len(words))
    things = [at for at in stated_things(words, visible) if at < words[end - 1].end]
    complement = [word.text for word in words[verb + 1 : verb + 4]]
    if complement[:2] != ["one", "of"] or (things and complement[2:] in (["a"], ["an"])):
        if things and not {"of", "that"}.isdisjoint(complement[:2]):
            return False  # "The impression is of a harbor", "is reminiscent of a forest"
        if names_place(words[:end]) or names_sport(words[:end]):
            return False
    return not any(is_stated_at(words, at) for at in things)


def _is_weather_at(words: Sequence[Token], at: int) -> bool:
    """Whether the phrase at this offset names the weather or a time of the day."""
    first = word_at(words, at)
    noun = next((word for word in words[first : first + _PHRASE] if word.tag in NOUNS), None)
    return noun is not None and lemma_of(noun) in _WEATHER


def _begins_clause(words: Sequence[Token], at: int) -> bool:
    """Whether a clause begins with the phrase at this offset: "as the sun is low"."""
    i = word_at(words, at)
    return any(word.text in _CLAUSES for word in words[max(i - 2, 0) : i])
