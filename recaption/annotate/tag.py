"""Objects named in a sub-caption: heads of noun phrases found from Penn tags alone, by one scan from left to right.

A parser does not improve the result (head F1 .93 with or without it) and halves the speed. It is more important to
exclude words that are not objects: words about the picture, places in it, abstractions, measures ("a pair of shoes").

Counts are literal: "two dogs" 2, "a dog" 1, "the dog" and "dogs" None. Nouns that do not name an object, or name one
that the sentence denies, are tagged too, with a different `kind`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from recaption.annotate import lexicon as lex
from recaption.annotate.kinds import (
    ADJECTIVE,
    ADJECTIVES,
    DETERMINER,
    FINITE,
    NEGATORS,
    NOUN,
    NOUNS,
    NUMBER,
    OTHER,
    PLURAL,
    Token,
    as_plural,
    join_hyphens,
    kinds_of,
    lemma_of,
)
from recaption.annotate.lemma import singular
from recaption.types import Tag, TagKind

_PROPER = frozenset(("NNP", "NNPS"))
_BEHIND_A_VERB = frozenset(("IN", "DT", "RB", "PRP$", "CD", "TO", "JJ", "RP", "VBG"))
_BEFORE_A_PREDICATE = frozenset(("which", "that", "who"))
_CLAUSE = frozenset((";", ":", "while", "whereas", "but", "although", "though", "because", "(", "—", "–"))
_LISTS = frozenset((",", "or", "nor", "/", "and"))
_MADE = frozenset(("made", "built", "constructed", "crafted", "carved", "woven", "fashioned", "formed"))
_LIGHT = frozenset(("and", "a", "little", "bit", "but", "yet", "also"))
_JOINS = frozenset(("and", "but", "yet", ","))
_ODD = re.compile(r"[^\w'’. -]|[\w-]\.\w|_")  # file names, addresses, hashtags
_NOBODY = frozenset(("nobody", "none", "nothing", "never", "one"))
_NOT_GOVERNING = frozenset(("while", "whereas", "although", "though", "because", "as", "that", "like"))
_CONTRASTING = frozenset(("neither", "nor"))
_TELLING = (
    NEGATORS | lex.COPULAS | _CLAUSE | _LISTS | _NOBODY | _NOT_GOVERNING | _CONTRASTING | {"painted", "of", "from"}
)
"""Words whose text, not only their tag, affects the words after them."""
_TELLING_TAGS = frozenset((",", "CC", "WDT", "WP"))
_MAX_COUNT = 1000
_SUBJECTS = 12  # of one predicate


@dataclass(slots=True)
class _Phrase:
    """The current noun phrase: the words before its nouns."""

    attributes: list[Token] = field(default_factory=list)
    count: int | None = None
    denied: bool = False
    bare: bool = True  # no determiner yet


@dataclass(slots=True)
class _Found:
    """A complete noun phrase. Its Tag is made at the end, when all its attributes are known."""

    nouns: list[Token]
    attributes: list[str]
    start: int
    count: int | None
    kind: TagKind
    lemma: str


def tags(tokens: Sequence[Token], text: str) -> tuple[Tag, ...]:
    """Tags of one sub-caption. `tokens` are its words outside quotes, in order; `text` is the whole caption's."""
    joined = join_hyphens(tokens)
    return tuple(_Scan([as_plural(t) if t.tag == "NN" and t.text[-1] == "s" else t for t in joined], text).run())


class _Scan:
    def __init__(self, tokens: list[Token], text: str) -> None:
        self.tokens = tokens
        self.text = text
        self.found: list[_Found] = []
        self.kinds = kinds_of(tokens)
        self.finite = any(token.tag in FINITE for token in tokens)
        self.negative = False  # a "not" or "without" was read, and no noun since
        self.governed = False  # a preposition precedes the phrase
        self.verb = False  # the clause has its verb
        self.nobody = False  # its subject is "nobody", "none of …"
        self.subjects: list[int] = []  # of the clause, in `found`
        self.measured: int | None = None  # count carried over "of": "a pair of shoes"
        self.drinks: bool | None = None  # whether the sentence is about drinks; computed only for "glasses"
        self.material = -1  # index in `found` of a phrase directly followed by "made of"

    def run(self) -> list[Tag]:
        tokens, kinds = self.tokens, self.kinds
        phrase, i, n = _Phrase(), 0, len(tokens)
        while i < n:
            kind = kinds[i]
            if kind == NOUN:
                end = i + 1
                while end < n and kinds[end] == NOUN:
                    end += 1
                if end - i > 1:
                    end = self._without_verb(i, end, phrase)
                denied = self._close(phrase, i, end)
                phrase = _Phrase(denied=denied and end < n and tokens[end].text in _LISTS)
                i = end
                continue
            if kind == ADJECTIVE:
                phrase.attributes.append(tokens[i])
            elif kind == DETERMINER:
                phrase = self._determiner(i, phrase)
            elif kind == NUMBER:
                phrase.count = _number(tokens[i].text)
            elif kind == OTHER:
                phrase = self._other(i, phrase)
            i += 1
        return [self._made(found) for found in self.found]

    def _determiner(self, i: int, phrase: _Phrase) -> _Phrase:
        word = self.tokens[i].text
        count = 1 if word in ("a", "an", "another") else 2 if word == "both" else None
        negative = (self.negative or self.nobody) and word in ("a", "an", "any")
        denied = word == "no" or negative or phrase.denied
        return _Phrase(count=count, denied=denied, bare=False)

    def _other(self, i: int, phrase: _Phrase) -> _Phrase:
        """Handle a word that ends the phrase: its effect on the words after it."""
        token = self.tokens[i]
        text, tag = token.text, token.tag
        if text not in _TELLING and tag not in _TELLING_TAGS:  # two words of three
            self.governed, self.measured = tag == "IN", None
            if tag in FINITE:
                self.verb = True
            return _Phrase()
        if text in NEGATORS:
            following = self.tokens[i + 1].text if i + 1 < len(self.tokens) else ""
            self.negative = following not in ("only", "just", "merely")
        if text in _CONTRASTING:
            self.negative = True
        elif text in _NOBODY and (text != "one" or (i and self.tokens[i - 1].text == "no")):
            self.nobody = True
        if text in lex.COPULAS:
            self._predicate(i)
        elif text == "painted" and self.found:
            is_said = i > 0 and self.tokens[i - 1].text in lex.COPULAS and self.subjects
            self._say(self.subjects if is_said else [len(self.found) - 1], self._colours(i + 1))
        if tag == "IN":
            self.governed = text not in _NOT_GOVERNING
            made = self.tokens[i - 1].text if i else ""
            if text in ("of", "from") and made in _MADE and self.found:
                before = self.tokens[i - 2].text if i > 1 else ""
                said = before in lex.COPULAS or before in ("and", ",", "entirely", "partly", "mostly")
                self.material = self.subjects[-1] if said and self.subjects else len(self.found) - 1
        elif tag not in (",", "CC"):
            self.governed = False
        if tag in FINITE:
            self.verb = True
        if text in _CLAUSE or (self.verb and tag == "CC" and i and self.tokens[i - 1].text == ","):
            self.verb, self.subjects, self.governed, self.nobody = False, [], False, False
        elif tag in ("WDT", "WP") and text in _BEFORE_A_PREDICATE and self.found:
            self.subjects = [len(self.found) - 1]
        if text != "of":
            self.measured = None
        bare = i + 1 < len(self.kinds) and self.kinds[i + 1] in (NOUN, ADJECTIVE)
        denied = text == "without" or (bare and text in _CONTRASTING)
        return _Phrase(denied=denied or (phrase.denied and text in _LISTS))

    def _without_verb(self, i: int, end: int, phrase: _Phrase) -> int:
        """The end of the noun run tokens[i:end], without a final verb that was tagged as a noun."""
        tokens = self.tokens
        last, before = tokens[end - 1], tokens[end - 2]
        following = tokens[end].tag if end < len(tokens) else ""
        is_verb = False
        if phrase.count == 1 and last.tag == "NNS" and before.tag == "NN" and last.lemma == "":
            is_verb = singular(last.text) != last.text  # "a horse grazes": after "a" no plural can follow
        if not is_verb and not self.finite and (following in _BEHIND_A_VERB or not following.isalpha()):
            base = last.text[:-1] if last.text.endswith("s") and last.tag == "NNS" else ""
            base = base[:-1] if base.endswith("e") and base not in lex.VERBS else base
            if last.tag == "NNS" and before.tag == "NN":
                is_verb = base in lex.VERBS and following in _BEHIND_A_VERB  # "The lamp hangs from"
            elif last.tag == "NN" and before.tag == "NNS":
                is_verb = last.text in lex.VERBS  # "Gulls circle above"
        if not is_verb:
            return end
        self.kinds[end - 1] = OTHER
        self.finite = self.verb = True
        return end - 1

    def _close(self, phrase: _Phrase, i: int, end: int) -> bool:
        """Note the phrase whose nouns are tokens[i:end]; returns whether it is denied."""
        tokens = self.tokens
        nouns, attributes = tokens[i:end], phrase.attributes
        measured, self.measured = self.measured, None
        material, self.material = self.material, -1
        self.negative = False
        following = tokens[end].text if end < len(tokens) else ""
        fixed = ""
        if attributes and f"{attributes[-1].text} {nouns[0].text}" in lex.FIXED_NAMES:
            fixed, attributes = attributes[-1].text, attributes[:-1]
        elif len(nouns) > 1 and (attributes or len(nouns) > 2):
            front = [*attributes[-1:], *nouns[:1]] if nouns[0].text == "steel" else nouns[:2]
            behind = [noun for noun in nouns if noun not in front]
            if behind and [word.text for word in front] == ["stainless", "steel"]:
                attributes = [a for a in attributes if a not in front]
                attributes.append(Token("stainless steel", "JJ", front[0].start, front[1].end))
                nouns = behind
        while len(nouns) > 1 and not fixed and (_describes(nouns[0]) or nouns[0].text in lex.META):
            if " ".join(noun.text for noun in nouns[:2]) in lex.FIXED_NAMES or nouns[1].text in lex.GROWN:
                break  # "oak trees"
            first, *nouns = nouns
            if _describes(first):
                attributes = [*attributes, first]
        if material >= 0 and nouns[-1].text in lex.MATERIALS and phrase.bare:
            said = " ".join(noun.text for noun in nouns)
            if attributes and f"{attributes[-1].text} {said}" == "stainless steel":
                said, attributes = "stainless steel", attributes[:-1]
            self._say([material], [*(a.text for a in attributes), said])
            return phrase.denied
        head = lemma_of(nouns[-1])
        if len(nouns) == 1 and head in lex.MEASURES and following == "of":
            self.measured = lex.MEASURE_COUNTS.get(head)
            if head not in lex.MEASURES_THAT_ARE_OBJECTS:
                self._note(phrase, nouns, attributes, None, "measure", head)
                return phrase.denied
            self.measured = None
        elif (
            len(nouns) > 1 and head in lex.META and head not in lex.PHYSICAL and _name(nouns) not in lex.KEPT_COMPOUNDS
        ):
            nouns, head = nouns[:-1], lemma_of(nouns[-2])  # "street scene": the street is there to be seen
        lemma = f"{fixed} {_name(nouns)}" if fixed else self._lemma_of(nouns)
        kind = self._kind_of(nouns, head, phrase, attributes, following)
        if kind is None:
            return phrase.denied
        if kind == "object" and phrase.denied:
            kind = "absent"
        if fixed:
            attributes = [*attributes, phrase.attributes[-1]]
        self._note(phrase, nouns, attributes, measured, kind, lemma, fixed)
        return phrase.denied

    def _lemma_of(self, nouns: list[Token]) -> str:
        name = _name(nouns)
        if name != "glass" or nouns[-1].text != "glasses":
            return name
        if self.drinks is None:
            self.drinks = any(token.text in lex.DRINKWARE for token in self.tokens)
        return name if self.drinks else "glasses"

    def _note(
        self,
        phrase: _Phrase,
        nouns: list[Token],
        attributes: list[Token],
        measured: int | None,
        kind: TagKind,
        lemma: str,
        fixed: str = "",
    ) -> None:
        start, said = nouns[0].start, []
        count = phrase.count if phrase.count is not None else measured
        for attribute in attributes:
            if attribute.text not in lex.NOT_ATTRIBUTES:
                start = min(start, attribute.start)
                said.append(attribute.text)
            elif attribute.text == "single":
                count = 1
        if fixed and said:
            del said[-1]
        plural = nouns[-1].tag in PLURAL
        if count is not None and (count == 1) == plural and not (measured and plural):
            count = None  # "a few dogs", "2010 model"
        self.found.append(_Found(nouns, said, start, count, kind, lemma))
        at = len(self.found) - 1
        if self.governed or self.verb:
            return
        self.subjects = [*self.subjects[-_SUBJECTS:], at] if self._joined(start) else [at]

    def _joined(self, start: int) -> bool:
        """Whether "and" directly precedes the phrase, which is then a further subject."""
        return bool(self.subjects) and self.text[max(0, start - 12) : start].rstrip().lower().endswith(
            ("and", "and a", "and the", "and an", "and its", "and his", "and her", ",")
        )

    def _predicate(self, i: int) -> None:
        """ "The car is red and shiny": predicate adjectives of the subject are attributes too."""
        if not self.found:
            return
        newest = len(self.found) - 1
        adjacent = i > 0 and self.tokens[i - 1].end == self.found[newest].nouns[-1].end and not self.governed
        about = [newest] if adjacent and newest not in self.subjects else self.subjects
        said: list[str] = []
        j, tokens = i + 1, self.tokens
        while j < len(tokens) and tokens[j].text not in NEGATORS:
            light = tokens[j].tag in ("RB", ",") or tokens[j].text in _LIGHT
            if not light and not self._is_said(j):
                break
            if not light:
                said.append(tokens[j].text)
            j += 1
        stop = tokens[j] if j < len(tokens) else None
        goes_on = tokens[j - 1].text in _JOINS  # "is clean, but nobody …": that noun belongs to the next clause
        if stop is None or not ((stop.tag in NOUNS and not goes_on) or stop.text in ("of", "to")):
            self._say(about, said)

    def _is_said(self, j: int) -> bool:
        """An adjective, colour or participle after a copula; no participle with a complement ("covered with snow")."""
        token = self.tokens[j]
        if token.tag in ADJECTIVES or (token.text in lex.COLOURS and token.tag in ("NN", "NNS", "VBD")):
            return True
        after = self.tokens[j + 1].tag if j + 1 < len(self.tokens) else ""
        return token.tag == "VBN" and after not in ("IN", "TO", "RP", "VBG")

    def _colours(self, i: int) -> list[str]:
        """The colours at `i`: "painted pale green"."""
        said = []
        while i < len(self.tokens):
            token = self.tokens[i]
            if token.text in lex.COLOURS or token.tag in ADJECTIVES:
                said.append(token.text)
            elif not (said and token.tag in (",", "CC")):
                break
            i += 1
        following = self.tokens[i].tag if i < len(self.tokens) else ""
        return said if said and said[-1] in lex.COLOURS and following not in NOUNS else []

    def _say(self, about: Sequence[int], attributes: Sequence[str]) -> None:
        for at in about:
            if self.found[at].kind in ("object", "absent"):
                known = self.found[at].attributes
                known.extend(a for a in attributes if a not in lex.NOT_ATTRIBUTES and a not in known)

    def _kind_of(
        self, nouns: list[Token], head: str, phrase: _Phrase, attributes: list[Token], following: str
    ) -> TagKind | None:
        """The kind of tag for the nouns; None if they are not words."""
        last = nouns[-1]
        if len(head) < 2 or not head[0].isalpha() or (not head.isalpha() and _ODD.search(head)):
            return None
        if self.text[last.start - 1 : last.start] in ("#", "@"):
            return None
        if head in ("nobody", "none", "nothing"):
            self.nobody = True
            return "abstract"
        if last.tag in _PROPER and self._is_name(nouns, phrase):
            return "name"
        if head == "light" and not self._is_lamp(nouns, phrase):
            return "meta"
        if head in lex.META:
            if _name(nouns) in lex.KEPT_COMPOUNDS:
                return "object"
            looks = any(a.text not in lex.NOT_ATTRIBUTES for a in attributes)
            described = phrase.count is not None or last.tag in PLURAL or looks or len(nouns) > 1
            if head == "back":
                described = following == "of" or self._is_owned(nouns[0])
            return "object" if head in lex.PHYSICAL and described and last.text != "focus" else "meta"
        if head in lex.COLOURS and len(nouns) == 1 and head not in lex.COLOURED_THINGS:
            return "meta"  # "a palette of greens and greys"
        if head in lex.NUMBERS or (head == "hand" and self._follows(nouns[0], "on the other")):
            return None
        if (head == "field" and self._follows(nouns[0], "depth of")) or (
            head == "eye" and self._follows(nouns[0], "the")
        ):
            return "meta"  # "draws the eye"
        if head == "heart" and following == "of":
            return "meta"
        if phrase.bare and len(nouns) == 1 and head in lex.MATERIALS and self._follows(nouns[0], "of"):
            return "abstract"
        return "abstract" if lex.is_abstract(head) else "object"

    def _follows(self, noun: Token, words: str) -> bool:
        before = self.text[max(0, noun.start - len(words) - 2) : noun.start].lower().rstrip()
        return before.endswith(words) and not before[: -len(words)][-1:].isalpha()

    def _is_owned(self, noun: Token) -> bool:
        return any(self._follows(noun, owner) for owner in ("its", "his", "her", "their", "'s", "’s", "s'"))

    def _is_name(self, nouns: list[Token], phrase: _Phrase) -> bool:
        """A person's, a place's or a day's name; "the Eiffel Tower" and "a Toyota" can be pointed at."""
        if not phrase.bare or phrase.count is not None or phrase.attributes:
            return False
        return all(self.text[noun.start].isupper() for noun in nouns) and (self.governed or nouns[0].text.endswith("."))

    def _is_lamp(self, nouns: list[Token], phrase: _Phrase) -> bool:
        return len(nouns) > 1 or nouns[-1].tag in PLURAL or (phrase.count is not None and not phrase.attributes)

    def _made(self, found: _Found) -> Tag:
        end = found.nouns[-1].end
        return Tag(
            lemma=found.lemma,
            text=self.text[found.start : end],
            char_start=found.start,
            char_end=end,
            attributes=tuple(dict.fromkeys(found.attributes)),
            count=found.count,
            plural=found.nouns[-1].tag in PLURAL,
            kind=found.kind,
        )


def _describes(token: Token) -> bool:
    """A noun before a noun that names a colour or material, or a hyphenated one: "wood table", "three-story house"."""
    return token.text in lex.COLOURS or token.text in lex.MATERIALS or "-" in token.text[2:]


def _name(nouns: Sequence[Token]) -> str:
    if len(nouns) == 1:
        return lemma_of(nouns[0])
    return " ".join([*(noun.text for noun in nouns[:-1]), lemma_of(nouns[-1])])


def _number(word: str) -> int | None:
    if word.isascii() and word.isdigit() and len(word) <= 4:
        return int(word) if 0 < int(word) <= _MAX_COUNT else None
    return lex.NUMBERS.get(word)
