"""Replaces tags that cannot be right. The tagger guesses rare words from their context, and calls "intricate" a noun,
"walkways" an adverb and "pancakes" a verb; the word classes of WordNet (`lexicon.py`) correct these tags."""

from __future__ import annotations

from collections.abc import Sequence

from recaption.annotate import lexicon as lex
from recaption.annotate.lemma import singular
from recaption.annotate.tagged_words import ADJECTIVES, BE, FINITE, NOUNS, Token, coordinates, is_plural, tag_at

_ADJECTIVE_ENDINGS = ("ed", "ing", "est", "ly", "ish", "less", "wide", "ian", "ese", "like", "free")
_AFTER_PHRASE = frozenset(("IN", "VBZ", "VBD", "VBP", "MD", ".", "WDT"))  # tags that can follow a complete phrase
_AFTER_EVENT = frozenset((".", ",", "IN", "CC", ""))
_AUXILIARIES = frozenset(("has", "have", "be", "do", "does"))
_NO_ATTRIBUTES = lex.META | lex.COLOURS | lex.NOT_ATTRIBUTES | lex.NUMBERS.keys()
_BEHIND_FIRST_NOUN = frozenset(("IN", "CC", ",", ":", ""))
_IMPERATIVES = frozenset(("look", "note", "see", "notice", "sorry", "please", "think", "based"))
_LONGEST_DETERMINER = len("another")
_CONTEXTUAL = ("VBN", "VBZ", "VB", "VBP", "UH", "CC")
_MAX_CACHED = 8192  # words of one tag
_IN_CONTEXT = ""  # the neighbours of the word decide


def corrected(tokens: Sequence[Token]) -> list[Token]:
    """The tokens with the tags that cannot be right replaced. Tokens of a pipeline with a lemmatizer, which may be of
    another language, are left alone."""
    out = list(tokens)
    if not out or out[0].lemma:
        return out
    for i, token in enumerate(tokens):
        verdicts = _VERDICTS.get(token.tag)
        if verdicts is None or (right := verdicts[token.text]) == token.tag:
            continue
        right = right or _by_context(tokens, i, out[i - 1] if i else None)
        if right != token.tag:
            out[i] = Token(token.text, right, token.start, token.end)
    return out


class _Verdicts(dict[str, str]):
    """What `_by_word` returns for the words of one tag. A bounded cache that is faster than `lru_cache`."""

    def __init__(self, tag: str) -> None:
        super().__init__()
        self.tag = tag

    def __missing__(self, text: str) -> str:
        if len(self) >= _MAX_CACHED:
            self.clear()
        self[text] = found = _by_word(text, self.tag)
        return found


def _by_word(text: str, tag: str) -> str:
    """The tag of a word that the tagger gives this tag, or `_IN_CONTEXT`."""
    if tag == "NN":
        if text in lex.ADJECTIVES:
            return "JJ"
        if text in lex.ADVERBS or (text.endswith("ly") and text not in lex.NOUNS_IN_LY):
            return "RB"
        if "-" in text:
            return "JJ" if text.rpartition("-")[2] in lex.COLOURS else _IN_CONTEXT
        if text in lex.ONLY_VERBS:
            return "VBP"
        return _IN_CONTEXT if text == "light" or text in lex.COLOURS else _noun(text)
    if tag == "JJ":
        if text.endswith("ly") and text not in lex.ADJECTIVES and text not in lex.OTHER_ADJECTIVES:
            return "RB"
        if _is_noun(text):
            return _IN_CONTEXT if text in lex.LOOKS or text in lex.MATERIALS else _noun(text)
        return _IN_CONTEXT if text in lex.OTHER_ADJECTIVES and text not in _NO_ATTRIBUTES else tag
    if tag == "NNS":
        return "VBZ" if singular(text) in lex.ONLY_VERBS else tag
    if tag == "RB":
        if text in lex.ADJECTIVES:
            return _IN_CONTEXT
        is_known = len(text) < 6 or text in lex.NEVER_NOUNS or text in lex.ONLY_VERBS
        return tag if is_known or not _is_noun(text) else _noun(text)
    if tag == "JJS":
        return tag if text.endswith("st") or not _is_noun(text) else _noun(text)
    if tag == "DT":
        return "NN" if len(text) > _LONGEST_DETERMINER else tag  # "extinguisher"
    if tag == "NNP":
        return _IN_CONTEXT if text in lex.ADJECTIVES or text in lex.ADVERBS or text in lex.COLOURS else tag
    if tag == "VBN":
        if text in lex.MATERIALS and text != "felt":
            return "NN"
        return "JJ" if "-" in text else _IN_CONTEXT
    if tag in ("VBZ", "VB", "VBP", "UH"):
        return tag if text in lex.COPULAS or text in _AUXILIARIES else _IN_CONTEXT
    if tag == "VBG":
        return _IN_CONTEXT if text in lex.EVENTS else tag
    return _IN_CONTEXT if text == "both" and tag == "CC" else tag


_VERDICTS = {tag: _Verdicts(tag) for tag in ("NN", "JJ", "NNS", "NNP", "RB", "JJS", "DT", "VBG", *_CONTEXTUAL)}
"""By tag. Words with other tags are left alone."""


def _by_context(tokens: Sequence[Token], i: int, before: Token | None) -> str:
    """The tag of the word at `i`; `before` is the word before it, corrected."""
    text, tag = tokens[i].text, tokens[i].tag
    if tag in _CONTEXTUAL and tag not in ("VBN", "CC"):
        if before is None:
            base = singular(text) if tag == "VBZ" else text
            ends = tag_at(tokens, 1) in _BEHIND_FIRST_NOUN and not (base in lex.VERBS or base in lex.ONLY_VERBS)
            return _noun(text) if ends and base not in _IMPERATIVES else tag  # "Pancakes with syrup"
        if _precedes_noun(before, tokens[i]) or (text in lex.EVENTS and _is_compound(tokens, i, before)):
            return "NNS" if tag == "VBZ" else "NN"
        return tag
    following = tokens[i + 1] if i + 1 < len(tokens) else None
    next_tag = following.tag if following is not None else ""
    if tag == "NN":
        if text == "light":
            is_adjective = following is not None and following.text in lex.COLOURS
        elif text in lex.COLOURS:
            is_adjective = next_tag == "JJ"  # "bright white fluffy clouds"
        else:  # "a loose-fitting white shirt", "a high-angle, close-up shot"
            is_adjective = next_tag == "JJ" or (next_tag == "," and coordinates(tokens, i + 1))
        return "JJ" if is_adjective else _noun(text)
    if tag == "JJ":
        is_noun = next_tag not in NOUNS if _is_noun(text) else _ends_phrase(tokens, i)
        return _noun(text) if is_noun else tag
    if tag == "NNP":
        if before is None:
            return "RB" if text in lex.ADVERBS else "JJ" if text in lex.ADJECTIVES else tag
        return "JJ" if next_tag in ("NN", "NNS", "JJ") and text not in lex.ADVERBS else tag
    if tag == "RB":
        copula = tokens[i - (2 if tag_at(tokens, i - 1) == "RB" else 1)].text if i > 1 else ""
        return "JJ" if copula in lex.COPULAS and next_tag in (".", ",", "CC") else tag  # "are still wobbly"
    if tag == "VBG":
        is_noun = before is not None and before.tag in ("JJ", "PRP$") and next_tag not in NOUNS
        return "NN" if is_noun else tag  # "a social gathering"
    if tag == "CC":
        return "DT" if next_tag == "NNS" else tag  # "both hands"
    if tag != "VBN" or before is None:
        return tag
    if before.text in ("has", "have") and next_tag == "NNS" and text in lex.ADJECTIVES:
        return "JJ"  # "has serrated edges"
    return "NN" if before.text in ("a", "an") and next_tag in FINITE else tag  # "a moped is parked"


def _is_compound(tokens: Sequence[Token], i: int, before: Token) -> bool:
    """Whether the event at `i`, tagged as a verb, is a noun: "a soccer match". After one singular noun, no verb stands
    in the plural."""
    if tokens[i].tag not in ("VB", "VBP") or before.tag != "NN" or tag_at(tokens, i + 1) not in _AFTER_EVENT:
        return False
    j = i - 1
    while j > 0 and (tokens[j].tag in NOUNS or tokens[j].tag in ADJECTIVES):
        j -= 1
    return tokens[j].tag == "DT" and tag_at(tokens, j - 1) != "CC"  # not "the dog and the horse race"


def _noun(text: str) -> str:
    return "NNS" if is_plural(text) else "NN"


def _ends_phrase(tokens: Sequence[Token], i: int) -> bool:
    """Whether the adjective at `i`, which may be a noun, is the noun of its phrase: "a graphic on its hood", "the
    exterior of"."""
    following = tokens[i + 1] if i + 1 < len(tokens) else Token("", ".", 0, 0)
    after = tag_at(tokens, i + 2)
    ends = following.tag in _AFTER_PHRASE or following.text in BE
    ends = ends or (following.tag in ("VBN", "VBG") and after not in NOUNS and after not in ADJECTIVES)
    ends = ends or (following.tag == "," and not coordinates(tokens, i + 1))
    if not ends:  # "a young adult waits": after "a" no plural can follow
        article = tokens[i - 2 if tag_at(tokens, i - 1) == "JJ" and i > 1 else i - 1].text if i else ""
        is_verb = following.tag == "NNS" and singular(following.text) in lex.VERBS
        return is_verb and article in ("a", "an")
    j = i - 1
    while j >= 0 and tokens[j].tag in ("JJ", "JJR"):
        j -= 1
    return j >= 0 and (tokens[j].tag in ("PRP$", "POS") or tokens[j].text in ("a", "an", "the"))


def _is_noun(text: str) -> bool:
    """Whether a word that is tagged as an adjective or adverb is a noun."""
    if text in lex.ADJECTIVES or text in lex.OTHER_ADJECTIVES or text in lex.ADVERBS:
        return False
    if text in lex.COLOURS or text in lex.NUMBERS:
        return False
    if text.endswith("er") and any(stem in lex.ADJECTIVES or stem in lex.OTHER_ADJECTIVES for stem in _positives(text)):
        return False
    return len(text) > 2 and text.isascii() and text.isalpha() and not text.endswith(_ADJECTIVE_ENDINGS)


def _positives(comparative: str) -> tuple[str, ...]:
    """The adjectives of which a word in -er may be the comparative."""
    return comparative[:-2], comparative[:-1], comparative[:-3], comparative[:-3] + "y"


def _precedes_noun(before: Token, token: Token) -> bool:
    """Whether `token`, which is tagged as a finite verb or an infinitive, is a noun: no verb directly follows an
    article, a possessive, "of" or an adjective such as "golden"."""
    if before.tag == "PRP$" or before.text in ("a", "an", "the", "of"):
        return True
    if before.tag != "JJ" or token.tag != "VBZ" or singular(token.text) in lex.VERBS:
        return False
    return before.text in lex.ADJECTIVES or before.text in lex.COLOURS
