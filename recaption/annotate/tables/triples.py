"""Table `triples`: relations of two objects of a sub-caption, as in the scene graphs of Structure-CLIP.

One scan over the chunks of the sentence, without a parser. A preposition belongs to the phrase directly before it;
after a comma, it belongs to the subject of the clause.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from recaption.annotate.lemma import singular
from recaption.annotate.tables.chunks import PLACES, Chunk, chunks_of, is_english, simplified, words_of
from recaption.annotate.tagged_words import Token
from recaption.schema import column
from recaption.types import Caption, SubCaption, Tag

COLUMNS: Final = pa.schema(
    [
        column("caption_id", pa.string(), "caption of the sub-caption"),
        column("subject", pa.string(), "lemma of the subject, with its compound"),
        column("subject_start", pa.int32(), "start of the subject in the caption's text, in code points"),
        column("subject_end", pa.int32(), "its end, exclusive"),
        column("relation", pa.string(), "the relation in lower case: a verb, a preposition, or both"),
        column("relation_start", pa.int32(), "start of the relation in the caption's text, in code points"),
        column("relation_end", pa.int32(), "its end, exclusive"),
        column("object", pa.string(), "lemma of the object, with its compound"),
        column("object_start", pa.int32(), "start of the object in the caption's text, in code points"),
        column("object_end", pa.int32(), "its end, exclusive"),
    ]
)
_NEAREST: Final = frozenset(("of", "with"))
"""Prepositions that belong only to the last noun of a list: "a cat and a bowl of milk"."""
_MAX_LOOK: Final = 40  # chunks to look ahead, so that time is linear in the length of a sentence
_MAX_LIST: Final = 12  # nouns of a list that share a relation
_EACH: Final = frozenset(("each", "both", "all"))
_NO_RELATIONS: Final = frozenset(("including", "given", "regarding", "following", "based", "suggesting", "adding"))


@dataclass(frozen=True, slots=True)
class Triple:
    """Two objects, and the words `[start, end)` of their relation, by index."""

    subject: Tag
    start: int
    end: int
    object: Tag


class Triples:
    """Relations of two objects that the sentence states directly. Pronouns are not resolved."""

    name = "triples"
    version = "1"
    description = "relations of two objects of a sub-caption: subject, relation, object"
    columns = COLUMNS

    def rows(self, sub: SubCaption, words: Sequence[Token], caption: Caption) -> Iterator[dict[str, Any]]:
        if len(sub.objects) < 2 or not is_english(sub):
            return
        tokens = words_of(sub, words, caption)
        for triple in triples_of(tokens, sub.tags):
            start, end = tokens[triple.start].start, tokens[triple.end - 1].end
            yield {
                "caption_id": caption.caption_id,
                "subject": triple.subject.lemma,
                "subject_start": triple.subject.char_start,
                "subject_end": triple.subject.char_end,
                "relation": " ".join(caption.text[start:end].lower().split()),
                "relation_start": start,
                "relation_end": end,
                "object": triple.object.lemma,
                "object_start": triple.object.char_start,
                "object_end": triple.object.char_end,
            }


def triples_of(tokens: Sequence[Token], tags: Sequence[Tag]) -> list[Triple]:
    """The triples of a sentence in the order of their objects."""
    return _Scan(tokens, simplified(chunks_of(tokens, tags), tokens)).run()


@dataclass(slots=True)
class _Relation:
    """A relation whose object is not known yet, or is a list that may go on."""

    subjects: list[Tag]
    start: int
    end: int
    has_verb: bool = False  # a verb, or one with a preposition


@dataclass(slots=True)
class _Scan:
    tokens: Sequence[Token]
    chunks: Sequence[Chunk]
    found: list[Triple] = field(default_factory=list)
    clause: list[Tag] = field(default_factory=list)  # subjects of the clause
    subjects: list[Tag] = field(default_factory=list)  # the same, or those of a phrase such as "its arms raised"
    has_verb: bool = False  # the clause has its finite verb
    last: list[Tag] = field(default_factory=list)  # the newest list of nouns
    relation: _Relation | None = None  # waits for its object
    listed: _Relation | None = None  # of the objects in `last`; None: they are subjects
    fronted: list[tuple[_Relation, Tag]] = field(default_factory=list)  # "On the table, a cat": waits for its subject
    doers: list[Tag] = field(default_factory=list)  # subjects of the newest verb

    def run(self) -> list[Triple]:
        for i, chunk in enumerate(self.chunks):
            match chunk.kind:
                case "noun":
                    self._noun(i)
                case "verb":
                    self._verb(i)
                case "preposition":
                    self._preposition(i)
                case "comma":
                    self.relation, self.subjects = None, self.clause
                case "break":
                    self._new_clause([])
                    self.last, self.fronted = [], []
        return self.found

    def _before(self, i: int) -> str:
        """The kind of the chunk before `i`; "break" at the start."""
        return self.chunks[i - 1].kind if i else "break"

    def _after(self, i: int) -> Chunk | None:
        return self.chunks[i + 1] if i + 1 < len(self.chunks) else None

    def _new_clause(self, subjects: list[Tag]) -> None:
        self.clause = self.subjects = subjects
        self.has_verb, self.relation, self.listed = False, None, None

    # nouns

    def _noun(self, i: int) -> None:
        chunk = self.chunks[i]
        things = [chunk.tag] if chunk.tag is not None and chunk.tag.kind == "object" else []
        if self.relation is not None and not self._is_clause(i):
            self._object(chunk, things)
        elif self._joins(i):
            self.last = [*self.last, *things][-_MAX_LIST:]
            if self.listed is not None:
                self._emit(self.listed, things)
            else:
                self.clause = self.subjects = self.last
                self._front(things)
        elif self._is_apposition(i):
            self.last = self.clause if chunk.tag is None else self.last  # "two men, each holding a cup"
        elif chunk.is_owned and self.clause and self._before(i) == "comma" and not self._has_finite(i):
            self.subjects = self.last = things  # "its arms raised": the subject of the clause stays
            self.listed = None
        elif self._before(i) == "verb" and self.clause:
            self.last, self.listed = things, None  # "The centrepiece is a vase"
        else:
            self._new_clause(things)
            self.last = things
            self._front(things)

    def _is_clause(self, i: int) -> bool:
        """Whether the noun at `i`, directly after a verb, is the subject of another verb: "suggesting it was baked"."""
        after = self._after(i)
        return self._before(i) == "verb" and after is not None and after.kind == "verb" and after.is_finite

    def _object(self, chunk: Chunk, things: list[Tag]) -> None:
        relation, self.relation = self.relation, None
        assert relation is not None
        if things and things[0].lemma == "sky" and not relation.has_verb and self.clause:
            relation.subjects = self.clause  # "in a field under a grey sky"
        if not relation.subjects and not self.has_verb and not self.clause and not relation.has_verb:
            self.fronted = [*self.fronted, *((relation, thing) for thing in things)][-_MAX_LIST:]
        self._emit(relation, things)
        if things:
            self.last, self.listed = things, relation
        elif relation.has_verb or not self._is_passed_over(chunk):
            self.last, self.listed = [], relation

    def _is_passed_over(self, chunk: Chunk) -> bool:
        """Whether the words after this noun refer to the noun before it: "a car in the distance and two bicycles"."""
        return self.tokens[chunk.start].tag == "PRP" or singular(self.tokens[chunk.end - 1].text) in PLACES

    def _front(self, things: list[Tag]) -> None:
        for relation, place in self.fronted:
            self._emit(_Relation(things, relation.start, relation.end), [place])

    def _emit(self, relation: _Relation, things: Sequence[Tag]) -> None:
        self.found += [
            Triple(subject, relation.start, relation.end, thing)
            for subject in relation.subjects
            for thing in things
            if subject is not thing and (relation.has_verb or subject.text.lower() != thing.text.lower())
        ]  # "side by side" has no relation

    def _joins(self, i: int) -> bool:
        """Whether the noun at `i` continues a list: "a cat, a dog and a bird"."""
        j = i
        while j and self.chunks[j - 1].kind in ("comma", "and"):
            j -= 1
        if j == i or not j or self.chunks[j - 1].kind != "noun" or (not self.last and self.listed is None):
            return False
        if self.fronted and self.listed is not None and not self.clause and self._before(i) == "comma":
            return False  # "On the table, a cat"
        if self.has_verb and self._has_finite(i):
            return False
        is_last = any(chunk.kind == "and" for chunk in self.chunks[j:i])
        return is_last or (not self.chunks[i].is_owned and self._and_follows(i))

    def _and_follows(self, i: int) -> bool:
        """Whether "and" follows the noun at `i`, with only commas and nouns between."""
        for chunk in self.chunks[i + 1 : i + 1 + _MAX_LOOK]:
            if chunk.kind == "and":
                return True
            if chunk.kind not in ("comma", "noun"):
                return False
        return False

    def _has_finite(self, i: int) -> bool:
        """Whether a finite verb follows the noun at `i`, with at most phrases such as "with a red roof" between."""
        for chunk in self.chunks[i + 1 : i + 1 + _MAX_LOOK]:
            if chunk.kind == "verb":
                return chunk.is_finite
            if chunk.kind not in ("preposition", "noun"):
                return False
        return False

    def _is_apposition(self, i: int) -> bool:
        """Whether the noun at `i`, after a comma, renames the noun before it: "the tower, a tall structure"."""
        if self._before(i) != "comma" or i < 2 or self.chunks[i - 2].kind != "noun":
            return False
        if self.tokens[self.chunks[i].start].text in _EACH and self.clause:
            return True
        if self.fronted or not self.clause or self.has_verb:
            return False
        return not self.chunks[i].is_owned

    # verbs and prepositions

    def _verb(self, i: int) -> None:
        chunk = self.chunks[i]
        self.relation = None
        who = self._doers(i)
        if self.clause and chunk.is_finite:
            self.fronted = []
        self.has_verb = self.has_verb or (chunk.is_finite and self._before(i) != "relative")
        self.doers = who
        if self._before(i) == "relative":
            self.subjects = who
        if not chunk.is_denied and not chunk.is_bare:
            is_said = self.tokens[chunk.start].text not in _NO_RELATIONS
            self.relation = _Relation(who if is_said else [], chunk.start, self._end_of(i), has_verb=True)

    def _doers(self, i: int) -> list[Tag]:
        """The subjects of the verb at `i`."""
        before = self._before(i)
        if before == "relative" or (before == "noun" and not self.chunks[i].is_finite):
            return self._described(i)
        if before == "and":
            return self.doers or self.subjects
        return self.subjects or self.last

    def _described(self, i: int) -> list[Tag]:
        """The nouns of the list before `i` that the words at `i` describe.

        They are all nouns of a list of subjects, and of a list without determiners ("men and women"). Otherwise it is
        the last one ("a door and two eyes").
        """
        noun = next((chunk for chunk in self.chunks[max(0, i - 2) : i][::-1] if chunk.kind == "noun"), None)
        is_bare = noun is None or noun.end - noun.start == 1
        return self.last if self.listed is None or is_bare else self.last[-1:]

    def _end_of(self, i: int) -> int:
        """The end of a verb with its particles, and without adverbs if no preposition follows directly."""
        chunk, after = self.chunks[i], self._after(i)
        if after is not None and after.kind == "preposition" and after.start == chunk.end:
            return chunk.end
        end = chunk.end
        while end - 1 > chunk.start and self.tokens[end - 1].tag in ("RB", "RBR"):
            end -= 1
        return end

    def _preposition(self, i: int) -> None:
        chunk, before = self.chunks[i], self._before(i)
        if self.relation is not None and self.relation.has_verb and self.relation.end == chunk.start:
            self.relation.end = chunk.end
            return
        self.relation = _Relation(self._placed(i), chunk.start, chunk.end)
        if before == "break" or self._is_fronted(i):
            self._new_clause([])
            self.fronted = [] if before != "and" else self.fronted
            self.relation = _Relation([], chunk.start, chunk.end)

    def _is_fronted(self, i: int) -> bool:
        """Whether the preposition at `i`, after a comma, begins a new clause: ", and on the table, a cat sleeps"."""
        if self._before(i) not in ("comma", "and") or i + 3 >= len(self.chunks):
            return False
        kinds = [chunk.kind for chunk in self.chunks[i + 1 : i + 4]]
        return kinds == ["noun", "comma", "noun"] and self._has_finite(i + 3)

    def _placed(self, i: int) -> list[Tag]:
        """The subjects of the preposition at `i`."""
        chunk, before = self.chunks[i], self._before(i)
        if before == "noun":
            return self.last[-1:] if self.tokens[chunk.start].text in _NEAREST else self._described(i)
        if self.tokens[chunk.start].text == "of":
            return []
        if before == "comma":
            return self.clause or self.last
        if before == "and":
            return self.listed.subjects if self.listed is not None else self.subjects
        return self.subjects or self.last
