"""Whether a sentence states nothing that an earlier one does not state, perhaps in other words.

Each word of the sentence that states something must be in the earlier one, or a word that implies it: a synonym, or a
word with a narrower meaning ("a person" after "a man"). Places and actions must be those of the same things. Guesses,
effects and ornaments are removed before (`reduced`). Nor does it matter how a thing that is not alive stands where it
is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

from recaption.annotate import lexicon as lex
from recaption.annotate.clauses import (
    FRAMES,
    POSES,
    Clause,
    Word,
    clauses_of,
    is_alive,
    is_implied,
    is_noun,
    is_person,
    word_of,
)
from recaption.annotate.lexicon import word_set, words
from recaption.annotate.stems import CONTRASTS, PLACES, implied_by, stem
from recaption.annotate.tagged_words import Token

_SIDES: Final = word_set("left right")
_ROLES: Final = frozenset(
    map(
        stem,
        words("""
    guest participant attendee onlooker spectator visitor beachgoer individual someone diner owner user bystander
    audience
    """),
    )
)
"""Persons who may be called so wherever there is a person."""
_NAMELESS: Final = frozenset(map(stem, words("cell mobile railroad railway airport")))
"""Modifiers without which the noun means the same: "cell phone"."""
_PROVED: Final = word_set("behind under background inside front")
"""Places for which the words do not count: `Statement.has_places_of` compares them."""
_OFTEN_WEAK: Final = (
    POSES
    | frozenset(map(stem, FRAMES))
    | _ROLES
    | _NAMELESS
    | _PROVED
    | {
        "hand",
        "man",
        "woman",
        "or",
        "clear",
        "beside",
        "two",
        stem("couple"),
        stem("year"),
        stem("old"),
        stem("little"),
    }
)
"""Stems that `_Known.implies` may accept though no word of the earlier sentence implies them, or that `clauses_of` may
leave out."""
_MASS: Final = frozenset(map(stem, words("foliage forest greenery vegetation grass fruit luggage traffic")))
"""Singular nouns for several things: "leaves" after "foliage"."""
_LIGHT: Final = frozenset(
    map(stem, words("light lighting tones colors hues shades palette brightness glow photo image picture"))
)
_GROUNDS: Final = frozenset(map(stem, words("grass sand snow dirt mud rock gravel soil")))
_GROUND_NOUNS: Final = frozenset(map(stem, words("field ground terrain surface land")))
"""What says no more than its material: "a grassy field" after "grass"."""
_MIN_BASE: Final = 4  # letters
_SPORTS_GEAR: Final = frozenset(map(stem, words("snowboard skateboard surfboard ski bike bicycle skate paddle")))
"""What names a person who is on it or has it: "skier". Other agent nouns need the verb."""
_SPORTS: Final = frozenset(map(stem, words("surf ski snowboard skateboard skate cycle kayak paddleboard")))
"""What those who are named after it do, unless something else is said of them."""
_OTHER_DEEDS: Final = frozenset(map(stem, words("stand sit lie walk hold wear carry wait pose look talk rest fall")))
_AGENT_ENDINGS: Final = ("er", "ist")
_CONVERSE: Final = {"behind": word_set("on from"), "under": word_set("on from in")}
"""Places -> prepositions of the converse: "the wall behind the sign" after "a sign on the wall"."""
_SHADES: Final = {"blue": word_set("azure"), "green": word_set("verdant greenery")}
"""Colours -> words that imply them."""
_AGENT: Final = word_set("by with")
_ON: Final = word_set("on in")
_RELATIONS: Final = word_set("near beside above below under behind front over outside opposite")
_SYMMETRIC: Final = word_set("beside near")
_IMPLYING: Final = {
    "noun": ("noun", "adj"),
    "modifier": ("noun", "adj"),
    "owner": ("noun",),
    "verb": ("verb", "adj"),
    "adj": ("adj",),
}
"""Part of a word -> parts of the words that may imply it."""


class Statement:
    """What a sentence states, by clause."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.clauses = [clause for clause in clauses_of(tokens) if clause]
        self.stems = {word.stem for clause in self.clauses for word in clause if word.part != "weak"}

    @cached_property
    def known(self) -> _Known:
        return _Known(self.clauses)

    @property
    def names_thing(self) -> bool:
        return any(word.part in ("noun", "owner") for clause in self.clauses for word in clause)

    @cached_property
    def n_stated(self) -> int:
        """How many words state something of a thing: not those of a first clause without one ("It is calm, …")."""
        first = self.clauses[0] if self.clauses else []
        if all(word.part == "adj" for word in first):
            return len({word.stem for clause in self.clauses[1:] for word in clause if word.part != "weak"})
        return len(self.stems)

    @property
    def is_of_light(self) -> bool:
        """Whether it only names light, colours or the picture: "this sparse use of light"."""
        nouns = {
            "lamp" if word.stem == "light" and word.plural else word.stem
            for clause in self.clauses
            for word in clause
            if word.part in ("noun", "modifier", "owner")
        }
        return bool(nouns) and nouns <= _LIGHT

    def is_entailed_by(self, other: Statement) -> bool:
        """Whether `other` states all that this sentence states."""
        return not self.missing(other) and self.agrees_with(other)

    def missing(self, other: Statement) -> list[Word]:
        """The words that `other` does not imply."""
        known = other.known
        nouns = {word.stem for clause in self.clauses for word in clause if is_noun(word)}
        return [
            word
            for clause in self.clauses
            for word in clause
            if not known.implies(word) or (word.is_new and known.is_second_of_kind(word.stem, nouns))
        ]

    def agrees_with(self, other: Statement) -> bool:
        """Whether what both state is said of the same things."""
        return (
            self.has_places_of(other)
            and not self._swaps_roles_of(other)
            and self._has_actions_of(other)
            and other.known.has_prepositions_of(self.clauses)
            and self._has_adjectives_of(other)
            and self._has_qualities_of(other)
        )

    def _has_adjectives_of(self, other: Statement) -> bool:
        """Whether a noun that is an adjective in `other` is said of the same thing: "snow" after "snowy stairs"."""
        nouns = {word.stem for clause in self.clauses for word in clause if is_noun(word)}
        known = {word.stem for clause in other.clauses for word in clause if word.part != "adj"}
        for clause in other.clauses:
            for at, word in enumerate(clause):
                if word.part == "adj" and word.stem in nouns and word.stem not in known:
                    head = next((after.stem for after in clause[at + 1 :] if is_noun(after)), "")
                    if head and not _any_same(nouns, {head}):
                        return False
        return True

    @cached_property
    def qualities(self) -> dict[str, set[str]]:
        """Stems of adjectives and colours -> the nouns that they may be said of."""
        out: dict[str, set[str]] = {}
        for clause in self.clauses:
            before: list[str] = []
            for at, word in enumerate(clause):
                if word.part == "adj" or word.stem in lex.COLOURS:
                    after = [w.stem for w in clause[at + 1 :] if _has_qualities(w)]
                    if after[:1] != [""]:  # "the black one"
                        out.setdefault(word.stem, set()).update(before[:1] + before[-1:] + after[:1])
                elif is_noun(word):
                    before.append(word.stem)
        return out

    def _has_qualities_of(self, other: Statement) -> bool:
        """Whether colours, and adjectives that `other` has in another word, are said of the same things."""
        for quality, nouns in self.qualities.items():
            if not nouns:
                continue
            known = other.qualities
            if quality in known:
                if quality in lex.COLOURS and known[quality] and not _any_same(nouns, known[quality]):
                    return False
                continue
            implying = known.keys() & implied_by("adj", quality)
            if implying and not any(not known[w] or _any_same(nouns, known[w]) for w in implying):
                return False
        return True

    def has_places_of(self, other: Statement) -> bool:
        """Whether `other` has each of its places, said of the same thing."""
        places = _places(self.clauses)
        known = _places(other.clauses) if places else []
        return not _are_swapped(places, known) and all(
            any(_same_place(place, other_place) for other_place in known)
            or other.is_on(place)
            or (place.place == "inside" and other.is_in(place))
            or (place.place == "background" and "sky" in place.nouns)  # where else
            for place in places
        )

    def is_on(self, place: _Place) -> bool:
        """Whether a place is known from its converse: "the wall behind the sign" after "a sign on the wall"."""
        if place.place not in _CONVERSE or not place.after:
            return False
        for clause in self.clauses:
            is_there = False
            for word in clause:
                if is_there and word.preposition in _CONVERSE[place.place] and _any_same(place.nouns, {word.stem}):
                    return True
                is_there = is_there or (is_noun(word) and _any_same({place.after}, {word.stem}))
        return False

    def is_in(self, place: _Place) -> bool:
        """Whether a thing is in `place.after`: "a dog inside a cage" after "a dog in a cage"."""
        for clause in self.clauses:
            is_there = not place.nouns
            for word in clause:
                if is_there and word.preposition in ("in", "inside") and _any_same({place.after}, {word.stem}):
                    return True
                is_there = is_there or (is_noun(word) and _any_same(place.nouns, {word.stem}))
        return False

    def is_of_background(self, other: Statement) -> bool:
        """Whether it only states colours of the background that `other` states, too."""
        return "background" in self.stems and self.stems <= set().union(*map(_of_background, other.clauses))

    @cached_property
    def roles(self) -> list[_Roles]:
        """Of the clauses that have them."""
        return [roles for clause in self.clauses if (roles := _roles(clause))]

    def _swaps_roles_of(self, other: Statement) -> bool:
        """Whether two things change places: "The cup is on the saucer" after "The saucer is on the cup", "A cat chases
        a dog" after "A dog chases a cat". Places such as "beside" are compared as places."""
        return any(_are_exchanged(roles, before) for roles in self.roles for before in other.roles)

    def _has_actions_of(self, other: Statement) -> bool:
        """Whether verbs that both have are said of the same things."""
        known: dict[str, list[_Action]] = {}
        for action in _actions(other.clauses):
            known.setdefault(action.verb, []).append(action)
        return all(
            action.verb not in known
            or any(_same_action(action, found, len(known[action.verb]) > 1) for found in known[action.verb])
            for action in _actions(self.clauses)
        )


class _Known:
    """The words of an earlier sentence."""

    def __init__(self, clauses: Iterable[Clause]) -> None:
        self.modifiers: set[str] = set()
        self.plurals: dict[str, set[bool]] = {}  # by stem, without modifiers
        self.by_part: dict[str, set[str]] = {"noun": set(), "verb": set(), "adj": set()}
        self.prepositions: dict[str, set[str]] = {}
        self.compounds: set[tuple[str, str]] = set()
        for clause in clauses:
            for at, word in enumerate(clause):
                if word.part == "modifier":
                    self.modifiers.add(word.stem)
                    if at + 1 < len(clause):
                        self.compounds.add((word.stem, clause[at + 1].stem))
                    continue
                self.plurals.setdefault(word.stem, set()).add(word.plural)
                part = "noun" if word.part == "owner" else word.part
                if part in self.by_part:
                    self.by_part[part].add(word.stem)
                if word.part == "noun":
                    self.prepositions.setdefault(word.stem, set()).add(word.preposition)
        self.by_part["adj"] |= self.by_part["verb"]

    def implies(self, word: Word) -> bool:
        found, part = word.stem, word.part
        if part == "weak" or found in _PROVED or (found in self.modifiers and part != "noun"):
            return True
        if found in self.plurals:
            return part != "noun" or not word.plural or self._has_several(found)
        if found in CONTRASTS or found.isdigit():
            return not self.plurals.keys().isdisjoint(_implying(found))
        if not self.plurals.keys().isdisjoint(_derived(found)):
            return True
        if part == "modifier" and found in _NAMELESS:
            return True
        if part == "verb" and found in _SPORTS and self._does(found):
            return True
        if part == "noun" and word.of in _GROUNDS and found in _GROUND_NOUNS and word.of in self.by_part["noun"]:
            return True
        if part == "noun" and (found, word.of) in self.compounds:
            return True
        if part in ("noun", "owner") and found.endswith(_AGENT_ENDINGS) and self._has_agent(found):
            return True
        if part == "noun" and found in _ROLES:
            persons = filter(is_person, self.by_part[part])
            return any(not word.plural or self._has_several(other) for other in persons)
        if part == "modifier" and not implied_by("noun", found).isdisjoint(self.modifiers):
            return True
        implying = {
            other for of_part in _IMPLYING.get(part, ()) for other in implied_by(of_part, found) & self.by_part[of_part]
        }
        return len(implying) > 1 or any(not word.plural or self._has_several(other) for other in implying)

    def is_second_of_kind(self, noun: str, nouns: set[str]) -> bool:
        """Whether a noun is implied only by `nouns` that the sentence has besides: "the microwave and an oven".

        A person or an animal may be named twice.
        """
        if noun in self.plurals or is_alive(noun):
            return False
        implying = implied_by("noun", noun) & self.by_part["noun"]
        return bool(implying) and implying <= nouns and not any(map(is_alive, implying))

    def _does(self, sport: str) -> bool:
        """Whether someone is named after the sport, and does nothing else: "a surfer on a wave"."""
        is_named = any(agent in self.by_part["noun"] for agent in _agents(sport))
        return is_named and self.by_part["verb"].isdisjoint(_OTHER_DEEDS)

    def _has_several(self, found: str) -> bool:
        return True in self.plurals[found] or found in _MASS

    def _has_agent(self, found: str) -> bool:
        """Whether it has a person, and what the agent noun `found` is derived from: "a man on a surfboard"."""
        base = found.removesuffix("er").removesuffix("ist")
        if (len(base) < _MIN_BASE and base not in _SPORTS_GEAR) or not is_person(found):
            return False
        has_base = any(
            word.startswith(base)
            for word in self.by_part["verb"] | ((self.plurals.keys() | self.modifiers) & _SPORTS_GEAR)
        )
        return has_base and any(map(is_person, self.by_part["noun"]))

    def has_prepositions_of(self, clauses: Iterable[Clause]) -> bool:
        """Whether nothing in `clauses` is on or in what it is only near to here."""
        nouns = (word for clause in clauses for word in clause if word.preposition in _ON)
        return not any(word.stem in self.prepositions and self.prepositions[word.stem] <= _RELATIONS for word in nouns)


@lru_cache(maxsize=4096)
def _agents(verb: str) -> tuple[str, ...]:
    """Stems of who does it: "surfer" for "surf"."""
    return (verb + "er", verb + verb[-1:] + "er", verb + "ist")


@lru_cache(maxsize=4096)
def _derived(found: str) -> tuple[str, ...]:
    """Stems of "grassy" for that of "grass", and of "wood" for that of "wooden"."""
    return (found + "y", found + "en", found.removesuffix("y"), found.removesuffix("en"))


def core(tokens: Sequence[Token]) -> set[str]:
    """Stems of the words that state something, found faster than by `Statement`: some of them may be weak."""
    return {word.stem for token in tokens if (word := word_of(token.text, token.tag, False)) is not None}


def may_imply(known: Collection[str], missing: Iterable[str]) -> bool:
    """Whether words with the stems `known` may imply those with the stems `missing`: a test before `Statement`."""
    return all(_is_often_weak(found) or not _implying(found).isdisjoint(known) for found in missing)


@lru_cache(maxsize=8192)
def _is_often_weak(found: str) -> bool:
    return (
        found in _OFTEN_WEAK
        or found[-2:] == "ly"
        or found.isdigit()
        or (found.endswith(_AGENT_ENDINGS) and is_person(found))
    )


@lru_cache(maxsize=8192)
def _implying(found: str) -> frozenset[str]:
    if found in CONTRASTS:
        return frozenset(map(stem, _SHADES.get(found, ())))
    return frozenset(_derived(found) + _agents(found)).union(
        *(implied_by(part, found) for part in ("noun", "verb", "adj"))
    )


def _of_background(clause: Clause) -> set[str]:
    """The stems of what a clause says of the background: "a blurred green backdrop", "a backdrop of green"."""
    at = next((i for i, word in enumerate(clause) if word.stem == "background"), None)
    if at is None:
        return set()
    out = {"background"}
    for word in clause[:at][::-1]:
        if word.part != "adj":
            break
        out.add(word.stem)
    for word in clause[at + 1 :]:
        out.add(word.stem)
        if word.part == "noun":
            break
    return out


class _Place(NamedTuple):
    place: str
    nouns: set[str]
    """What is there: the first noun of the clause, and the last one before the place."""
    after: str
    """The noun after it: "dog" of "left of the dog"."""
    qualities: frozenset[str] = frozenset()
    """What is said of a thing on one of two sides: "small" of "the one on the left is small"."""
    clause: frozenset[str] = frozenset()
    """All its words."""


def _places(clauses: Iterable[Clause]) -> list[_Place]:
    out = []
    clauses = list(clauses)
    has_sides = len({word.stem for clause in clauses for word in clause if word.stem in _SIDES}) > 1
    for clause in clauses:
        for at, word in enumerate(clause):
            if word.stem not in PLACES:
                continue
            before, after = _nouns(clause[:at]), _nouns(clause[at + 1 :])
            if word.preposition == "of" and word.stem == "background":
                out.append(_Place(word.stem, set(after), ""))
                continue
            nouns = {before[0], before[-1]} if before else set()
            if not before and at == 0:  # "Above the sink, there is a mirror"
                nouns = set(after[:2] if word.part == "area" else after[1:2] or after)
                after = after[:1] if len(after) > 1 else []
            qualities, of_clause = frozenset[str](), frozenset[str]()
            if has_sides and word.stem in _SIDES:
                of_clause = frozenset(w.stem for w in clause)
                qualities = frozenset(w.stem for w in clause if w.part != "weak" and w.preposition != "of")
                qualities -= PLACES | nouns
            noun = after[0] if after and word.part != "area" else ""
            out.append(_Place(word.stem, nouns, noun, qualities, of_clause))
    return out


def _are_swapped(places: Iterable[_Place], known: Sequence[_Place]) -> bool:
    """Whether something is said of a thing on one side that is said of that on the other side in `known`."""
    for place in places:
        if place.qualities:
            same, opposite = (
                frozenset[str]().union(*(other.clause for other in known if (other.place == place.place) == is_same))
                for is_same in (True, False)
            )
            if place.qualities & opposite - same:
                return True
    return False


def _same_place(place: _Place, other: _Place) -> bool:
    if {place.place, other.place} == {"behind", "front"}:
        return _any_same(place.nouns, {other.after}) and _any_same({place.after}, other.nouns)
    if place.place != other.place and (place.place, other.place) != ("behind", "background"):
        return False
    if place.place != other.place:
        return bool(place.nouns) and _any_same(place.nouns, other.nouns)
    if place.place in _SYMMETRIC and other.after and place.after:
        reverse = _any_same(place.nouns, {other.after}) and _any_same({place.after}, other.nouns)
        if reverse:
            return True
    is_of_same = not place.nouns or not other.nouns or _any_same(place.nouns, other.nouns)
    after = {other.after} if other.after else other.nouns  # "a bed with a laptop on top of it"
    return is_of_same and (not place.after or _any_same({place.after}, after))


class _Roles(NamedTuple):
    subject: str
    others: dict[str, str]
    """The other nouns -> their prepositions."""
    deeds: set[str]
    """Verbs and comparatives."""


def _roles(clause: Clause) -> _Roles | None:
    """Who or what the clause is about: its first noun without a preposition. None if it names a place or has no two
    nouns. In "A cat is chased by a dog", the dog is the subject."""
    nouns = [word for word in clause if is_noun(word)]
    if len(nouns) < 2 or any(word.stem in PLACES for word in clause):
        return None
    subject = next((noun for noun in nouns if not noun.preposition), None)
    if subject is None:
        return None
    others, deeds = dict[str, str](), set[str]()
    for before, word in pairwise(clause):
        if word.part == "verb" or (word.part == "adj" and word.stem.endswith("er")):
            deeds.add(word.stem)
        elif is_noun(word) and word is not subject and (word.preposition or deeds):  # not "a dog and a cat"
            others[word.stem] = word.preposition
            if word.preposition == "by" and before.part in ("verb", "adj") and before.stem not in POSES:
                others[subject.stem] = ""
                return _Roles(word.stem, {noun: "" for noun in others if noun != word.stem}, {before.stem})
    return _Roles(subject.stem, others, deeds)


def _are_exchanged(roles: _Roles, before: _Roles) -> bool:
    """Whether the subject of each is in the other what its own other noun is: after the same preposition or deed."""
    preposition = roles.others.get(before.subject)
    if roles.subject == before.subject or preposition is None or preposition != before.others.get(roles.subject):
        return False
    return bool(preposition or roles.deeds & before.deeds)


class _Action(NamedTuple):
    verb: str
    nouns: set[str]
    """Who does it: the first noun of the clause, and the last one before the verb."""
    after: list[str]
    """The nouns after it."""


def _actions(clauses: Iterable[Clause]) -> list[_Action]:
    out = []
    for clause in clauses:
        for at, word in enumerate(clause):
            if word.part != "verb":
                continue
            before = [word for word in clause[:at] if is_noun(word)]
            after = [word for word in clause[at + 1 :] if is_noun(word)]
            nouns = {before[0].stem, before[-1].stem} if before and clause[0].part != "weak" else set()
            is_reversed = before and after and (before[0].preposition or after[0].preposition in _AGENT)
            if is_reversed:  # "On the hill stands a barn", "The stall is covered by an awning"
                nouns.add(after[0].stem)
            out.append(_Action(word.stem, nouns, [word.stem for word in after]))
    return out


def _same_action(action: _Action, other: _Action, is_one_of_several: bool) -> bool:
    if action.nouns and other.nouns and not _any_same(action.nouns, other.nouns):
        return False
    return not is_one_of_several or all(_any_same({noun}, other.after) for noun in action.after)


def _nouns(words: Iterable[Word]) -> list[str]:
    return [word.stem for word in words if is_noun(word)]


def _has_qualities(word: Word) -> bool:
    """Whether an adjective may be said of it: it is a noun, or stands for one."""
    return (is_noun(word) and word.stem not in lex.COLOURS) or (word.part == "weak" and not word.stem)


def _any_same(nouns: Iterable[str], others: Iterable[str]) -> bool:
    return any(is_implied(noun, other) or _may_be_called(noun, other) for noun in nouns for other in others)


@lru_cache(maxsize=8192)
def _may_be_called(noun: str, other: str) -> bool:
    """Whether `other` is a person, and `noun` a role or an agent: "spectators", "snowboarder"."""
    return (noun in _ROLES or (noun.endswith(_AGENT_ENDINGS) and is_person(noun))) and is_person(other)
