"""Flags of sub-captions for sampling: negations, fragments, what the model says about itself. English only.

Negations are found by regular expressions that cannot backtrack beyond a few dozen characters. What is about the
picture is decided in `meta`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from recaption.annotate.lexicon import word_set
from recaption.annotate.openers import PARTS_OF_ANSWERS
from recaption.annotate.tagged_words import FINITE, NOUNS, Token
from recaption.quotes import quoted

_NEGATION = re.compile(
    r"""\b(?:no|not|never|none|nobody|nothing|neither|nor|nowhere|without|cannot|lack(?:s|ing)?|absent|missing|devoid
      |absence|unable)\b | n['’]t\b | \bfree\ of\b""",
    re.IGNORECASE | re.VERBOSE,
)
_NEGATIVE = word_set("""
    no not never none nobody nothing neither nor nowhere without cannot can lack lacks lacking absent missing devoid
    absence unable n't n’t free
""")
"""Every negation has one of these words. The tokenizer splits "cannot" and "isn't" into two tokens."""
_NOT_A_NEGATION = re.compile(
    r"""\b(?:not\ (?:only|just|merely|simply)|nothing\ (?:but|other\ than|less\ than)|none\ other
      |no\ (?:[a-z]{2,12}er|more|less|fewer)\ than|no\ (?:doubt|matter|parking|smoking|entry|trespassing)
      |no\ (?:left\ |right\ |u-?)turns?\b
      |(?:an?|the|two|three|several)\ (?:[a-z]{2,12}\ )?["“']?(?:no|do\ not)[ -](?:[a-z-]{2,20}["”']?\ ){1,3}?
       (?:signs?|signals?|symbols?|placards?|notices?|boards?|posters?|stickers?)\b
      |without\ (?:a\ )?doubt|whether\ or\ not|if\ not|no\.\ ?\d|no\.(?=\s*\d)|no-?one\ else)""",
    re.IGNORECASE | re.VERBOSE,
)
_UNCLEAR_END = re.compile(
    r"""(?:,|\ but|\ though|\ although|\ and|\ while|\ that|\ which|\ whose|;)
      \ [^,;]{0,60}?(?:\bnot|n['’]t|\bcannot)\ (?:be\ )?(?:\w+ly\ )?
      (?:be\ )?(?:visible|seen|discernible|legible|readable|clear|identifiable|recogni[sz]able|shown|in\ view|in\ focus)
      \b[^,;]{0,40}\Z""",
    re.IGNORECASE | re.VERBOSE,
)
"""A last clause that limits what can be seen: "…, but its rider is not clearly visible"."""
_CONTENT_WORDS = 4  # of the content before such a clause
_ASSISTANT = re.compile(
    rf"""(?:[-–—*]+\ +)?(?:however,?\ |but\ |unfortunately,?\ |and\ |so\ |below,?\ |sorry,?\ (?:but\ )?)?(?:
      (?:i|i'm|i'd|i'll|i've|i’m|i’d|i’ll)\b(?![-.])
    | (?:sure|certainly|absolutely|of\ course)[!,.]
    | (?:here|below)(?:'s|’s|\ is|\ are)\ (?:a|an|the|my|some|what|how)\b.{{0,60}}\b{PARTS_OF_ANSWERS}\b
    | (?:let\ me|feel\ free|would\ you|do\ you|could\ you|hope\ this|apologies)\b | sorry\b(?!-)
    | please\ (?:note\ that|let|consult|feel|be|keep|upload|provide|share|check|refer|contact|tell|give|try|see)\b
    | thank(?:s\b|\ you(?:[.!,]|\ for\b)) | if\ you(?:'d|’d|\ (?:have|need|want|would|can|could|upload|share|provide))\b
    | is\ there\ anything\b
    | (?:photo(?:graph)?|image|picture|illustration)(?:(?:\ (?:credit|courtesy))?\ ?:|\ by|\ ?©)(?=\ )
    | (?:credit|source|courtesy)s?(?:\ ?:|\ of)(?=\ )
    | ©|\(c\)(?=\ )
    | as\ an?\ (?:ai|language|large)\b
    | (?:note|disclaimer)\ ?:(?=\ )
    | (?:note|keep\ in\ mind)\ that\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_SPEECH = re.compile(r"""(?<!\w)["“](?=\w)""")
"""The start of a quotation that does not end in the sentence: "shouting, “I don't know."."""
_I = re.compile(r"\bi\b", re.IGNORECASE)
_COMPLEMENT_TAGS = frozenset(("IN", "DT", "RP", "RB", "PRP$", "TO"))
_AFTER_I = frozenset(("MD", "VBP", "VBD", "VB", "RB"))


def _unquoted(text: str) -> str:
    """The text with quoted parts replaced by spaces, of the same length: the caption does not state what it quotes."""
    inside = quoted(text)
    return text if inside is None else "".join(" " if hidden else c for c, hidden in zip(text, inside, strict=True))


def is_negation(text: str, words: Sequence[Token]) -> bool:
    """Whether the sentence states that something is absent or not the case. `words` are all words of the sentence.

    Not the name of a sign ("a no left turn sign"), nor content that ends in "…, but its rider is not clearly visible".
    """
    if _NEGATIVE.isdisjoint([word.text for word in words]) and "n't" not in text and "n’t" not in text:
        return False  # the usual case
    said = _unquoted(text)
    if (end := _UNCLEAR_END.search(said)) and len(said[: end.start()].split()) >= _CONTENT_WORDS:
        said = said[: end.start()]
    return _NEGATION.search(_NOT_A_NEGATION.sub(" ", said)) is not None


def is_fragment(words: Sequence[Token], *, has_end: bool, is_cut: bool) -> bool:
    """Whether the sentence has no end and is cut off or has no verb. Participles are verbs, except before their noun.

    `words` are all words of the sentence, `has_end` and `is_cut` whether it ends with a full stop and whether the
    token limit ended it.
    """
    if has_end:
        return False
    is_label = bool(words) and (len(words) <= 2 or (words[-1].text == ":" and len(words) <= 4))
    return is_cut or is_label or not _has_verb(words)


def _has_verb(words: Sequence[Token]) -> bool:
    for i, word in enumerate(words):
        before = words[i - 1].tag if i else ""
        following = words[i + 1].tag if i + 1 < len(words) else ""
        if word.tag in FINITE or (word.tag == "VB" and before in ("TO", "MD")):
            return True
        if word.tag not in ("VBG", "VBN"):
            continue
        if following in NOUNS or following.startswith("JJ") or following == "HYPH":
            if word.tag == "VBG" and before in NOUNS:
                return True  # "a man riding waves"
        elif before in NOUNS or before in ("RB", ",", "CC") or (not before and following in _COMPLEMENT_TAGS):
            return True
    return False


def is_assistant(words: Sequence[Token], text: str) -> bool:
    """Whether the model writes about itself or the file, or addresses the reader.

    Objects named in such a sentence are not in the picture. `words` are the words of `text` outside quotes.
    """
    if _ASSISTANT.match(text[:160]) is not None:
        return True
    if "i" not in [word.text for word in words]:
        return False  # the usual case
    if (speech := _SPEECH.search(_unquoted(text))) and not _I.search(text[: speech.start()]):
        return False
    return any(word.text == "i" and after.tag in _AFTER_I for word, after in pairwise(words))
