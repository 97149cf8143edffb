"""Finds sentences of one image that repeat an earlier one, within a caption or across captions.

A sentence repeats an earlier one if it is nearly equal to it, or if the earlier one states all that it states, in other
words or among other things (`entailment`). In doubt, a sentence is not a repetition.

Nearly equal sentences are compared by their content words, reduced to stems, and by the places that they name ("left of
the dog"). Word order, articles, openers and inflection are ignored. Most content words must occur in the earlier
sentence.

In both cases all that distinguishes things must agree: the new sentence adds no number, colour, place, time of day,
negation, object or attribute, no "another", "third" or "the only person" and no other quotation; places and actions
are of the same things; and it is not about "her" where the earlier one is about "him". A pronoun that begins the
earlier sentence may stand for the name that begins the new one. A sentence that begins with a pronoun repeats an
earlier one of its caption only if the sentence before it does, too, so that the pronoun stands for the same thing.

Of an earlier sentence with a negation, only the clauses before it state something. A sentence on the mood, the light or
the focus of the picture repeats no other one in other words.

A sentence is compared with at most `_MAX_COMPARED` earlier ones for each of its words, so the time is linear.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from typing import Final, NamedTuple

from recaption.annotate import entailment
from recaption.annotate import lexicon as lex
from recaption.annotate.clauses import TELLING_ADVERBS
from recaption.annotate.content_words import STOP_WORDS, WORD
from recaption.annotate.distinctions import (
    described_nouns,
    has_numbers_of,
    has_view_of,
    have_same_directions,
    have_same_shares,
    is_towards,
)
from recaption.annotate.lexicon import word_set, words
from recaption.annotate.reduced import affirmed, is_negation, may_have_effect, reduced, tells_effect
from recaption.annotate.stems import CONTRASTS, OPPOSITES, PLACES, stem
from recaption.annotate.tagged_words import FINITE, PLURAL, Token
from recaption.types import Tag

_PRONOUNS = word_set("he she it they them one its his her their")
_FEMALE, _MALE = word_set("she her hers herself"), word_set("he him his himself")
_WOMEN = word_set("woman women girl girls lady ladies female")
_MEN = word_set("man men boy boys gentleman guy guys male")
_PLURAL = word_set("they them their theirs themselves")
_SOME_OF_THEM = ["some", "of", "them"]
_THEIRS = (False, False, True)
_SEVERAL = _PLURAL | {"and", "both"}
_OTHERS = word_set("""
    another other others second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth
    fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth last additional extra different separate
    more
""")
_DIRECTING = word_set("by from into onto before after")
_AFTER_ONLY = word_set("person one individual human animal object item thing vehicle visible other")
_AFTER_OTHER = word_set("each addition")
_AGAIN = word_set("also too likewise similarly")
_THIS = word_set("this these")
_QUOTED = re.compile(r"[\"“«]([^\"“”«»]+)[\"”»]|(?<![\w])['‘]([^'‘’]+)['’](?!\w)|\b([A-Z]{3,}(?: [A-Z]{2,})*)\b")
"""A text in the picture: in quotation marks, or in capitals."""
_BEGIN = 3  # words among which a pronoun begins a sentence: "The black one"
_ADDS = word_set("adds add adding provides provide providing")
_TOUCHES = word_set("touch backdrop element pop splash")
_FEW = word_set("few scattered")
_SCENES = word_set("scene setting")
_SUBJECTS = word_set("subject subjects")
_MOODS = word_set("atmosphere ambiance ambience mood vibe feeling")
_BEFORE_MOOD = 10  # words
_MIN_SHARED = 0.75  # share of a sentence's features (content words, places) that the earlier sentence has
_MIN_COVERED = 0.35  # number of features, as a share of the earlier sentence's
_ALL_SHARED_BELOW = 4  # sentences with fewer features must share all of them
_NOT_DESCRIPTIVE = STOP_WORDS | lex.NOT_ATTRIBUTES
_LONG = 9  # features
_EXACT_BELOW = 2  # sentences with fewer features repeat only sentences with the same stems
_MAX_COMPARED = 32
_MOST_CANDIDATES = 4
_MIN_SHARED_CORE = 0.3  # share of the words that state something that the earlier sentence has as they are
_MIN_KNOWN = 0.25  # share of its features that earlier sentences have
_MIN_KNOWN_BESIDE_EFFECTS = 0.1  # where words that `reduced` may remove lower the share
_DIRECTIONS = word_set("together away off out into")
_MAX_TOKENS = 256
_PRESENCE = stem("presence")
_FRAME = stem("frame")  # of the picture: "the left side of the frame"
_ENDS = (".", "!", "?")
_ACTIONS = frozenset(
    map(
        stem,
        words("""
    sit stand lie walk run ride jump leap kneel crouch squat sleep eat drink swim fly climb hold throw catch kick
    carry push pull drive read write smile laugh cry talk sing dance play cook wave pose
    """),
    )
)
"""Verbs that never mean the same."""
_DISTINCT = (
    (CONTRASTS - {"no"})
    | set(map(stem, lex.MEASURE_COUNTS))
    | set(map(stem, words("night sunset sunrise dusk dawn evening morning indoors outdoors")))
    | set(map(stem, TELLING_ADVERBS))
)
"""Words that are new even if the rest is nearly equal."""
_REPLACEABLE = ("noun", "adj")
"""Parts of words that are new unless they replace one of the same part."""
_STAND_OR_LIE = {"stand", "lie"}
_POSES = _STAND_OR_LIE | {"sit", "park"}
_FLY = set(map(stem, ("fly", "soar", "hover")))
_NOT_FINITE = ("VB", "VBG", "VBN")
_MOST_NAMED = 2  # names that pronouns of the earlier sentence may stand for
_Numbers = tuple[set[int], set[bool]]


class Repetition(NamedTuple):
    """How far a sentence repeats earlier sentences of its image."""

    dup_of: str | None
    """sub_id of the earlier sentence that it repeats, if there is one."""
    known_share: float
    """Share of its content words that occur in earlier sentences, in [0, 1]."""


NO_REPETITION: Final = Repetition(None, 0.0)


def known_shares(contents: Iterable[str]) -> list[float]:
    """`Repetition.known_share` of each of these sentences of one image, in order."""
    known, shares = set[str](), list[float]()
    for content in contents:
        stems = frozenset(_content_stems(WORD.findall(content.casefold())))
        shares.append(len(stems & known) / len(stems) if stems else 0.0)
        known |= stems
    return shares


@dataclass(frozen=True)
class _Compared:
    """A sentence, prepared for comparison. What only `_agree` needs is computed on demand, because few sentences need
    it."""

    sub_id: str
    stems: tuple[str, ...]
    features: frozenset[str]
    words: list[str]
    content: str
    objects: Sequence[Tag]
    tokens: Sequence[Token]
    before: str | None  # sub_id of the sentence before it in its caption, or of what the latter repeats

    @cached_property
    def stated(self) -> list[Token]:
        """The tokens that state something (`reduced`)."""
        return reduced(self.tokens)

    @cached_property
    def negates(self) -> bool:
        """Whether it states a negation: not "a sky without clouds", which is clear."""
        return "no" in self.stems and any(map(is_negation, self.stated))

    def modified(self) -> dict[str, set[str]]:
        """Stems of attributes and counts -> stems of the heads that they modify."""
        out: dict[str, set[str]] = {}
        for tag in self.objects:
            counts = (str(tag.count),) if tag.count is not None and tag.count > 1 else ()
            for word in (*map(stem, tag.attributes), *counts):
                out.setdefault(word, set()).add(_head(tag))
        return out

    def numbers(self) -> dict[str, _Numbers]:
        """Stems of heads -> the counts given for them, and whether they are plural."""
        out: dict[str, _Numbers] = {}
        stated = {token.start for token in self.stated} if self.can_be_parsed else frozenset()
        for tag in self.objects:
            if stated and stated.isdisjoint(range(tag.char_start, tag.char_end)):
                continue  # in an effect
            counts, plurals = out.setdefault(_head(tag), (set(), set()))
            counts |= {tag.count} if tag.count is not None else set()
            plurals.add(tag.plural)
        return out

    def descriptive(self) -> set[str]:
        """Stems of its adjectives and of the participles of its phrases, not of "is walking"."""
        out: set[str] = set()
        after_be = False
        for token in self.tokens:
            word = token.text
            if (token.tag == "JJ" or (token.tag == "VBG" and not after_be)) and word not in _NOT_DESCRIPTIVE:
                out.add(stem(word))
            after_be = word in lex.COPULAS
        return out

    @property
    def can_be_parsed(self) -> bool:
        """Whether it has tags, and is short enough for comparisons in quadratic time."""
        return 0 < len(self.tokens) <= _MAX_TOKENS

    def is_clause(self) -> bool:
        """Whether it has a verb, or is what an opener introduces ("a blue door."). A heading or an item of a list is
        not."""
        has_end = self.content[-1:] in _ENDS
        tags = {token.tag for token in self.tokens}
        return not tags.isdisjoint(FINITE) or (
            has_end and (self.content[:1].islower() or not tags.isdisjoint(_NOT_FINITE))
        )

    def ends(self) -> tuple[str, str]:
        """Stems of the heads of the first and the last object; "" if there is none."""
        return (_head(self.objects[0]), _head(self.objects[-1])) if self.objects else ("", "")

    def pronouns(self) -> tuple[bool, bool]:
        """Whether it begins and whether it ends with a pronoun."""
        return not _PRONOUNS.isdisjoint(self.words[:_BEGIN]), self.words[-1] in _PRONOUNS

    def persons(self) -> tuple[bool, bool, bool]:
        """Whether it has a female, a male and a plural pronoun."""
        female, male, plural = (not pronouns.isdisjoint(self.words) for pronouns in (_FEMALE, _MALE, _PLURAL))
        return female, male, plural

    def others(self) -> frozenset[str]:
        """Words that distinguish things: "another", "third", "also"."""
        found = (_OTHERS | _AGAIN).intersection(self.words)
        return found if _AFTER_OTHER.isdisjoint(self.words) else found - {"other"}  # "next to each other"

    def is_only(self) -> bool:
        """Whether it says that something is the only one: "the only person in the room"."""
        return any(word == "only" and after in _AFTER_ONLY for word, after in pairwise(self.words))

    def is_another(self) -> bool:
        """Whether it begins with "another" or the like."""
        return not _OTHERS.isdisjoint(self.words[:_BEGIN])

    def only_names(self) -> bool:
        """Whether it only says that a thing is there: "The trees provide a backdrop", "Lines are clearly visible"."""
        if not self.objects:
            return False
        if _PRESENCE in self.features and tells_effect(self.words):
            return True
        found = next((at for at, word in enumerate(self.words) if word in _ADDS), -1)
        if found > 0 and not _TOUCHES.isdisjoint(self.words[found + 1 : found + 5]):
            return True
        if "scene" in self.words[:_BEGIN] or not _SUBJECTS.isdisjoint(self.words[_BEGIN:]):
            return True
        return any(pair == ("clearly", "visible") for pair in pairwise(self.words))

    def tells_mood(self) -> bool:
        """Whether it sums up the picture, or is on its mood: "Overall, …", "The scene has a lively atmosphere, …"."""
        if "overall" in self.words[:2]:
            return True
        if "focus" in self.words and "with" in self.words[self.words.index("focus") :]:
            return True  # "The dog is the main focus, with the other elements as context"
        return not _SCENES.isdisjoint(self.words[:2]) and not _MOODS.isdisjoint(self.words[2:_BEFORE_MOOD])

    def emphasizes(self) -> bool:
        """Whether it is on where the focus is: "The focus is on the dog"."""
        if "focus" not in self.words[:_BEGIN]:
            return False
        verb = next((at for at, word in enumerate(self.words) if word in lex.COPULAS), len(self.words))
        return "on" in self.words[verb + 1 : verb + 3]

    def quotations(self) -> frozenset[str]:
        found = ("".join(groups) for groups in _QUOTED.findall(self.content))
        return frozenset(text.casefold().strip(" .,") for text in found)

    def directions(self) -> list[str]:
        """In order, the stop words that tell who does what to whom, where from, and when."""
        return [word for word in self.words if word in _DIRECTING]

    def places(self) -> tuple[str, ...]:
        """In order."""
        return tuple(word for word in self.stems if word in PLACES)

    def opposites(self) -> tuple[str, ...]:
        """In order."""
        return tuple(word for word in self.stems if word in OPPOSITES)

    def colours(self) -> tuple[frozenset[str], ...]:
        """In order; those of one list ("red, blue and white") together."""
        runs = groupby(self.stems, lambda word: word in lex.COLOURS)
        return tuple(frozenset(run) for is_colour, run in runs if is_colour)


class EarlierSentences:
    """The sentences of one image so far."""

    def __init__(self) -> None:
        self._exact: dict[tuple[str, ...], int] = {}  # stems -> index in `_sentences` of the last one with these
        self._by_feature: dict[str, list[int]] = defaultdict(list)  # indices in `_sentences`
        self._sentences: list[_Compared] = []
        self._original: list[str] = []  # sub_ids of what these repeat, or of themselves
        self._statements: dict[tuple[int, bool], entailment.Statement] = {}  # of some of `_sentences`
        self._before: str | None = None  # sub_id of the last sentence, or of what it repeats
        self._caption = ""  # caption_id of the last sentence

    def add(self, sub_id: str, content: str, objects: Sequence[Tag] = (), tokens: Sequence[Token] = ()) -> Repetition:
        """How far the sentence `content` (without its opener) repeats the sentences added before it.

        `objects` are the objects that it names, `tokens` its words with their tags; without `tokens`, as in other
        languages than English, only nearly equal sentences are found.
        """
        caption = _caption_of(sub_id)
        before = self._before if caption == self._caption else None
        repetition = self._compare(sub_id, content, objects, tokens, before)
        self._caption, self._before = caption, repetition.dup_of or sub_id
        return repetition

    def _compare(
        self, sub_id: str, content: str, objects: Sequence[Tag], tokens: Sequence[Token], before: str | None
    ) -> Repetition:
        found = WORD.findall(content.casefold())
        stems = _content_stems(found)
        if not stems:
            return NO_REPETITION
        distinct = frozenset(stems)
        known = distinct & self._by_feature.keys()
        known_share = len(known) / len(distinct)
        features = distinct
        if not distinct.isdisjoint(PLACES):
            features |= _places(stems)
            known = features & self._by_feature.keys()
        new = _Compared(sub_id, stems, features, found, content, objects, tokens, before)
        dup_of = self._repeated(new, known)
        if dup_of is None or stems not in self._exact:
            self._original.append(dup_of or sub_id)
            self._exact[stems] = len(self._sentences)
            at = len(self._sentences)
            for feature in features:
                self._by_feature[feature].append(at)
            self._sentences.append(new)
        return Repetition(dup_of, known_share)

    def _repeated(self, new: _Compared, known: frozenset[str]) -> str | None:
        """The sub_id of the earlier sentence that `new` repeats; `known` are its features that earlier ones have."""
        exact = self._exact.get(new.stems)
        if (
            exact is not None
            and new.directions() == self._sentences[exact].directions()
            and _agree(new, self._sentences[exact])
        ):
            return self._original[exact]
        features = new.features
        needed = len(features) if len(features) < _ALL_SHARED_BELOW else _MIN_SHARED * len(features)
        may_be_equal = len(features) >= _EXACT_BELOW and len(known) + _MOST_NAMED >= needed
        if known and may_be_equal:
            shared = self._shared(known)
            most = max(shared.values())
            if most + _MOST_NAMED >= needed:
                best = min([at for at, n_shared in shared.items() if n_shared == most])
                if self._is_nearly_equal(new, best, most, needed):
                    return self._original[best]
        if known and new.can_be_parsed:
            least = _MIN_KNOWN_BESIDE_EFFECTS if may_have_effect(new.words) else _MIN_KNOWN
            if len(known) >= least * len(new.features):
                return self._entailing(new)
        return None

    def _shared(self, features: Iterable[str]) -> dict[int, int]:
        """How many of `features` earlier sentences have, by index."""
        shared: dict[int, int] = {}
        for feature in features:
            for at in self._by_feature[feature][-_MAX_COMPARED:]:
                shared[at] = shared.get(at, 0) + 1
        return shared

    def _entailing(self, new: _Compared) -> str | None:
        """The sub_id of the first of the earlier sentences that states all that `new` states."""
        core = entailment.core(new.stated)
        known = core & self._by_feature.keys()
        least = _MIN_SHARED_CORE * len(core)
        if not known or len(known) < least:
            return None
        shared = self._shared(known)
        likely = ((at, self._sentences[at].features) for at, n_shared in shared.items() if n_shared >= least)
        candidates = [at for at, features in likely if entailment.may_imply(features, core - features)]
        if not candidates or not new.is_clause():
            return None
        statement = entailment.Statement(new.stated)
        if statement.is_of_light:
            return None
        is_background = "background" in statement.stems and not statement.names_thing
        if not statement.names_thing and not is_background and (new.pronouns()[0] or new.colours()):
            return None
        n_stated = statement.n_stated if statement.names_thing else len(statement.stems)
        if n_stated < _EXACT_BELOW and not (n_stated and statement.names_thing and new.only_names()):
            return None
        candidates = sorted(candidates, key=lambda at: (-shared[at], at))[:_MOST_CANDIDATES]
        emphasizes, negates = new.emphasizes(), new.negates
        if statement.names_thing and new.tells_mood():
            return None
        for at in candidates:
            other = self._sentences[at]
            if (
                other.can_be_parsed
                and (not negates or other.negates)
                and not _differ_in_clouds(new, other)
                and _agree_in_persons(new, other)
                and (not emphasizes or other.emphasizes())
                and statement.is_entailed_by(self._statement(at, is_affirmed=not negates))
                and (not is_background or statement.is_of_background(self._statement(at)))
                and _agree(new, other, in_other_words=True, is_same_person=self._is_same_person(new, at))
                and not _moved(new, other)
                and not _in_other_pose(new, other)
            ):
                return self._original[at]
        return None

    def _is_same_person(self, new: _Compared, at: int) -> bool:
        """Whether "she" or "he" at the beginning of `new` is who it is in the sentence `at`: no sentence since names
        another such person."""
        female, male, several = new.persons()
        if several or female == male or not self._sentences[at].pronouns()[0]:
            return False
        if len(self._sentences) - at > _MAX_COMPARED:
            return False
        named = _WOMEN if female else _MEN
        return all(named.isdisjoint(other.words) for other in (*self._sentences[at + 1 :], new))

    def _statement(self, at: int, is_affirmed: bool = False) -> entailment.Statement:
        """What a sentence states; `is_affirmed`: only before its first negation."""
        sentence = self._sentences[at]
        is_affirmed = is_affirmed and sentence.negates
        found = self._statements.get((at, is_affirmed))
        if found is None:
            stated = affirmed(sentence.stated) if is_affirmed else sentence.stated
            found = self._statements[at, is_affirmed] = entailment.Statement(stated)
        return found

    def _is_nearly_equal(self, new: _Compared, at: int, n_shared: int, needed: float) -> bool:
        other = self._sentences[at]
        features = new.features
        if len(features) < _MIN_COVERED * len(other.features):
            return False
        pronouns = other.pronouns() if n_shared < len(features) else (False, False)
        if n_shared + sum(pronouns) < needed:
            return False
        added = set(new.stems) - other.features
        object_stems = {stem(word) for tag in new.objects for word in _words_of(tag)} if added else set()
        for named, is_pronoun, also in zip(new.ends(), pronouns, new.pronouns(), strict=True):
            if is_pronoun and not also and added & object_stems == {named} and named in self._by_feature:
                added, n_shared = added - {named}, n_shared + 1
        if n_shared < needed:
            return False
        if added & CONTRASTS or added & object_stems or any(word.isdigit() for word in added):
            return False
        if not _agree(new, other) or _swapped(new, other):
            return False
        if not (new.can_be_parsed and other.can_be_parsed):
            return not _replaced(new, other, added)
        if (
            ("no" in new.stems) != ("no" in other.stems)
            or not _agree_in_persons(new, other)
            or _in_other_pose(new, other)
        ):
            return False
        statement, known = entailment.Statement(new.stated), self._statement(at)
        if not statement.agrees_with(known):
            return False
        missing_words = statement.missing(known)
        missing = {word.stem for word in missing_words}
        news = [word for word in missing_words if word.stem in added]
        if new.negates and any(word.part == "noun" for word in news):
            return False
        deeds = {word.stem for word in news if word.part == "verb"}
        is_added = bool(deeds) and known.known.by_part["verb"] <= statement.stems  # "covered" may only be another word
        if is_added and len(features) < _LONG and any(w.endswith("ing") and stem(w) in deeds for w in new.words):
            return False
        replaced = {word.part for word in known.missing(statement)} if news else set()
        if any(word.part in _REPLACEABLE and word.part not in replaced for word in news):
            return False  # "…, and the room is dark": an added word, and no other one for the same
        if any(word.stem in _ACTIONS and word.part != "verb" for word in news):
            return False  # "…, and it is sleeping", tagged as a noun
        if missing & _DISTINCT:  # those of the earlier sentence are in a guess or an effect
            return False
        heads = {_head(tag) for tag in new.objects} - {_head(tag) for tag in other.objects}
        if missing & _DIRECTIONS or missing & heads & known.known.modifiers:  # "bus" and "bus stop"
            return False
        return not _replaced(new, other, added & missing)


def _agree(new: _Compared, other: _Compared, in_other_words: bool = False, is_same_person: bool = False) -> bool:
    """Whether the sentences agree in all that distinguishes things, besides the words themselves."""
    same_caption = _caption_of(new.sub_id) == _caption_of(other.sub_id)
    begins_with_pronoun, _ = new.pronouns()
    persons, other_persons = new.persons(), other.persons()
    if persons != other_persons and any(persons) and any(other_persons):
        is_of_one = (persons == _THEIRS) != (other_persons == _THEIRS) and (sum(persons), sum(other_persons)) == (1, 1)
        is_of_one = is_of_one and "they" not in (*new.words, *other.words)
        if same_caption or not in_other_words or not is_of_one:
            return False
    others = new.others() - other.others()
    if (
        others & _OTHERS
        or (new.is_another() and not other.is_another())
        or (others and same_caption and (begins_with_pronoun or not _THIS.isdisjoint(new.words[:1])))
    ):
        return False
    if not new.quotations() <= other.quotations() or (new.is_only() and not other.is_only()):
        return False
    numbers, other_numbers = new.numbers(), other.numbers()
    for head in numbers.keys() & other_numbers.keys():
        if _differ(numbers[head], other_numbers[head]):
            return False
        if in_other_words and not numbers[head][1] <= other_numbers[head][1]:
            return False
    places, other_places = new.places(), other.places()
    rest = iter(other_places)
    if not in_other_words and not all(place in rest for place in places):
        return False
    colours, other_colours = new.colours(), other.colours()
    if colours != other_colours and Counter(colours) == Counter(other_colours):
        return False  # "yellow with pink flowers" and "pink with yellow flowers"
    opposites, other_opposites = new.opposites(), other.opposites()
    if opposites != other_opposites and Counter(opposites) == Counter(other_opposites):
        return False  # "the left door is open, the right one closed" and "the left door is closed, the right one open"
    if not (
        has_numbers_of(new.content, other.content)
        and have_same_directions(new.tokens, other.tokens)
        and have_same_shares(new.tokens, other.tokens)
        and (not is_towards(new.tokens) or is_towards(other.tokens))
        and has_view_of(new.words, other.words)
        and not _describes_further(new, other)
    ):
        return False
    if begins_with_pronoun and same_caption and not other.sub_id.endswith("#0"):
        if new.before in (other.sub_id, other.before):
            return True
        return is_same_person and persons == other_persons and places == other_places
    return True


def _agree_in_persons(new: _Compared, other: _Compared) -> bool:
    """Whether a pronoun of `new` can stand for what `other` is about."""
    female, male, _ = new.persons()
    known = frozenset(other.words)
    if female != male:
        same, opposite = (_FEMALE | _WOMEN, _MALE | _MEN) if female else (_MALE | _MEN, _FEMALE | _WOMEN)
        if known.isdisjoint(same):
            if not known.isdisjoint(opposite):
                return False
            if known.isdisjoint(_PLURAL) and not any(entailment.is_person(_head(tag)) for tag in other.objects):
                return _caption_of(new.sub_id) == _caption_of(other.sub_id)
    if new.words[:_BEGIN] == _SOME_OF_THEM:
        return any(token.tag in PLURAL for token in other.tokens)
    if "they" in new.words[:_BEGIN]:
        return not known.isdisjoint(_SEVERAL) or any(token.tag in PLURAL for token in other.tokens)
    return True


def _differ_in_clouds(new: _Compared, other: _Compared) -> bool:
    """Whether there are no or few clouds in one sentence only: "a clear sky with no clouds", "an overcast sky"."""
    if "cloud" not in new.features:
        return False
    if "no" in new.stems:
        return "cloud" in other.features and "no" not in other.stems
    return not _FEW.isdisjoint(new.words) and "overcast" in other.features


def _differ(a: _Numbers, b: _Numbers) -> bool:
    """Whether two sentences give different numbers for things of one name: "a white plate" and "two white plates"."""
    (counts, plurals), (other_counts, other_plurals) = a, b
    return plurals.isdisjoint(other_plurals) or bool(counts and other_counts and counts.isdisjoint(other_counts))


def _content_stems(found: list[str]) -> tuple[str, ...]:
    """Stems of the words that are no stop words; of all words if there are no others."""
    return tuple([stem(word) for word in found if word not in STOP_WORDS] or found)


def _caption_of(sub_id: str) -> str:
    return sub_id.rpartition("#")[0]


def _replaced(new: _Compared, other: _Compared, added: set[str]) -> bool:
    """Whether a verb, a participle or an adjective takes the place of another: "standing in a field" and "walking in a
    field".

    A single replaced word in a long sentence is taken for a synonym.
    """
    if len(added) == 1 and len(new.features) >= _LONG:
        return False
    known = set(new.stems)
    if added & new.descriptive() and other.descriptive() - known:
        return True
    return bool(added & _ACTIONS and _ACTIONS & set(other.stems) - known)


def _in_other_pose(new: _Compared, other: _Compared) -> bool:
    """Whether something stands in one sentence and lies in the other: "a motorcycle lies on the road"."""
    poses, other_poses = _STAND_OR_LIE & new.features, _STAND_OR_LIE & other.features
    if poses and other_poses:
        return poses.isdisjoint(other_poses)
    return not _POSES.isdisjoint(new.features) and bool(_FLY & other.features - new.features)


def _swapped(new: _Compared, other: _Compared) -> bool:
    """Whether the same words apply to other things: "left of the dog" and "left of the cat", "a blue car and a red
    truck" and "a red car and a blue truck", "the man bites the dog" and "the dog bites the man"."""
    if any(" " in feature for feature in new.features - other.features):
        return True
    if len(new.stems) > 2 and new.stems == other.stems[::-1]:
        return True
    moved = _moved(new, other)
    if len(moved) > 1:
        return True  # a single word may be the tagger's mistake, unless it distinguishes: "dark-colored"
    return any(part in CONTRASTS for word in moved for part in word.split("-"))


def _moved(new: _Compared, other: _Compared) -> list[str]:
    """The attributes and counts that both have, but of other things."""
    known = other.modified()
    return [
        word
        for word, heads in new.modified().items()
        if word in known and not any(entailment.is_implied(head, of) for head in heads for of in known[word])
    ]


def _describes_further(new: _Compared, other: _Compared) -> bool:
    """Whether an attribute that both have is said of a further thing that both have: "black pants and black shoes"
    after "black pants and blue sneakers"."""
    described, known = described_nouns(new.tokens), other.modified()
    objects = {_head(tag) for tag in other.objects}
    return any(
        word in known
        and not any(entailment.is_implied(noun, of) for noun in nouns for of in known[word])
        and any(entailment.is_implied(noun, thing) for noun in nouns for thing in objects)
        for word, nouns in described
    )


def _head(tag: Tag) -> str:
    return stem(tag.lemma.rpartition(" ")[2].rpartition("-")[2])


def _words_of(tag: Tag) -> tuple[str, ...]:
    return (*tag.lemma.split(), tag.text.casefold().rpartition(" ")[2], *tag.attributes)  # "person", "people"


def _places(stems: tuple[str, ...]) -> set[str]:
    """Place words with the stem after them: "left of the dog" gives "left dog". They distinguish "the dog left of the
    cat" from "the cat left of the dog"."""
    return {f"{a} {b}" for a, b in pairwise(word for word in stems if word != _FRAME) if a in PLACES}
