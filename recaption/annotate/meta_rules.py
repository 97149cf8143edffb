"""Whether a sentence is about the picture, its making or the description, and states nothing that can be seen.

The subject of the main clause decides (`_is_about_picture`). What the sentence states besides, in another clause or as
a complement, makes it content (`stated`); what is known already does not (`judged`). English only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from recaption.annotate import lexicon as lex
from recaption.annotate.impressions import is_about_lighting, is_impression, things_told
from recaption.annotate.judged import JUDGING, SEEN, is_judged
from recaption.annotate.lexicon import word_set
from recaption.annotate.rendered import is_rendered, may_be_rendered
from recaption.annotate.stated import (
    ADVERBIAL_TAGS,
    BLURRED,
    INDEFINITE,
    LIGHT,
    LIGHT_VERBS,
    has_effect,
    is_lit,
    is_stated_at,
    main_clause,
    names_absent,
    names_place,
    names_sport,
    noun_heads,
    stated_things,
    verb_lemma,
)
from recaption.annotate.tagged_words import FINITE, NOUNS, PLURAL, Token, lemma_of

_ABOUT_PICTURE = re.compile(
    r"""(?:however,?\ |but\ |unfortunately,?\ |and\ |so\ )?(?:
      what\ (?:makes|gives|sets|lends|stands|strikes|draws|catches)\b
    | (?:you|one|viewers?|the\ viewer|we)\ (?:can|could|might|may|would)\ (?:almost|easily|only|just|imagine|sense|feel
      |smell|hear|taste|read|interpret|infer|assume|conclude|guess)\b
    | no\ (?:edits?|filters?)\b
    | (?:taken|shot|captured|photographed|snapped|filmed)\ (?:by|with|from|using|on)\b[^,]*\Z
    | (?:taken|shot|captured|photographed|snapped|filmed)\ [^,]{1,60},\ (?:the|this)
      \ (?:\w+\ )?(?:image|picture|photo|shot|photograph|scene)\b
    | .{0,100}\b(?:rule\ of\ thirds|framed\ off-cent(?:er|re)\b|leading\ lines|golden\ ratio|shallow\ depth\ of\ field)
    | (?:the|this)\ (?:image|picture|photo(?:graph)?)\ (?:does\ not|doesn['’]t)\ (?:provide|give|offer)\b
    | based\ on\ the\ (?:image|picture|photo|description|visual)
    | it(?:\ is|'s|’s)\ (?:also\ )?(?:not\ |hard\ |difficult\ |impossible\ |un|im)
      (?:clear|possible|known|certain|to\ (?:tell|say|see|read|determine|make|identify|know))
    | it\ isn['’]t\ (?:clear|possible|known|certain|easy)
    | (?:the|this)\ (?:image|picture|photo(?:graph)?|description|caption|shot)\b.{0,40}\b
      (?:taken|composed|focused|cropped|edited|captured|shot|generated|rendered)\b(?!\ (?:by|from\ behind)\ a)
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_FOCUS_ON = re.compile(r"(?:the|its) (?:\w+ )?(?:focus|focal point|emphasis)\b", re.IGNORECASE)
_UNDETERMINED = re.compile(
    r"\bc(?:an(?:not|'t|’t)|ould(?: not|n't|n’t)) be (?:determined|verified|confirmed|established|inferred|known)\b"
    r"|\bnot possible to (?:determine|tell|say|know|identify)\b",
    re.IGNORECASE,
)
_FROM_WHERE = re.compile(r"\blooking (?:up|down) (?:(?:at|on) the \w+ from (?:above|below)|into an?)\b")
"""The place of a thing, seen from the camera: "taken from a low angle, looking up at the woman from below"."""
_EXCEPT = re.compile(r"\b(?:except for|apart from) (?:the|an?|his|her|its|their|two|one)\b", re.IGNORECASE)
"""A thing that differs from the rest: "is in black and white, except for the red umbrella"."""
_BLACK_AND_WHITE = re.compile(r"\bblack[ -]and[ -]white\b", re.IGNORECASE)
_PICTURE_PRONOUNS = frozenset(("it", "this", "that"))
_ALL = frozenset(("everything", "all", "every", "together"))
_PRONOUNS = frozenset(
    ("he", "she", "they", "none", "one", "nothing", "nobody", "everyone", "everything", "some", "others")
)
_LAMP_COLOURS = frozenset(("red", "green", "blue", "amber"))
_HUNG = word_set("painting portrait artwork engraving drawing print poster")
_BE = frozenset(("is", "are", "was", "were", "'s"))
_WRITING = re.compile(
    r"""["“][^"“”]*[A-Z0-9][^"“”]*["”]
    |(?:signed|reads?|reading|says?|labell?ed|written|inscribed|titled|watermark|logo|text|words?)\ ["“]""",
    re.VERBOSE,
)
"""A text in the picture: a quotation with a capital or a digit, or after "reads" or "watermark"."""
_MADE = word_set("made crafted constructed built carved woven fashioned formed sculpted molded moulded")
_ASPECTS = word_set("color colour hue shade texture shape pattern tone size material")
"""What can be seen of a thing: "the color of the surface"."""
_TOPICS = word_set("atmosphere mood ambiance ambience vibe feel lighting brightness aesthetic")
"""What a place has as a whole: "the lighting in the room"."""
_MOODS = _TOPICS - {"lighting", "brightness"}
_HAS_VERBS = word_set("has have had exudes exude radiates radiate")
_STATES = word_set("""
    clean dirty tidy messy neat cluttered organized organised maintained hygienic spacious empty full crowded modern
    dark dim
""")
"""What such a statement says of the place itself: "the atmosphere of the bathroom is clean and tidy"."""
_EACH = frozenset(("each", "every", "both"))
_SHOWN = word_set("seen visible shown displayed positioned located situated angled tilted")
_SIDES = frozenset(("left", "right", "top", "bottom", "middle", "upper", "lower"))
_ONE_OF = _SIDES | {"first", "second", "third"}
_OBJECTS_TOO = frozenset(("piece", "frame", "graphic"))
_MAKERS = frozenset(("artist", "photographer", "painter", "illustrator", "cinematographer"))
_MAKER_VERBS = word_set("""
    uses used chooses chose chosen employs employed frames framed captures captured places placed conveys conveyed
    opted opts paints painted renders rendered strikes relies relied emphasizes emphasises draws invites shows manages
    balances
""")
_FACTS = frozenset(
    ("weather", "total", "number", "value", "price", "name", "title", "date", "sum", "average", "percentage", "result")
)
_LABEL_NOUNS = word_set("text title timestamp")  # "Visible text", but not "alt text of picture 0"
_HEADING_NOUNS = lex.DESCRIPTION | lex.ABOUT
_STUDIES = word_set("study harmony blend mix interplay sense moment symphony contrast palette")
_CHANGES = word_set("shift transition change fade range vary deepen")
_SHOW_VERBS = frozenset(("include", "show", "contain", "feature", "depict", "display"))
_MAX_HEADING = 8


def is_meta_by_rules(
    words: Sequence[Token], text: str, *, visible: Sequence[int], has_opener: bool, is_fragment: bool
) -> bool:
    """Whether the sentence states nothing that can be seen, but is about the picture, its making or the description.

    The subject of the main clause decides; a sentence that states two visible things is not meta. `words` are the words
    after an opener, outside quotes; `visible` has the offsets, in the caption, of the objects and events they name.
    Sentences that `is_assistant` accepts are not covered.
    """
    if not words:
        return False
    if is_judged(words, text, visible):
        return True
    is_focus = has_opener and _FOCUS_ON.match(text) is not None
    if (is_focus or (not has_opener and may_be_rendered(text))) and is_rendered(words, visible, is_focus=is_focus):
        return True
    if is_impression(words, text, visible):
        return _WRITING.search(text) is None
    if has_opener and visible:
        return False
    if "looking" in text and _FROM_WHERE.search(text):
        return False
    if visible and _may_be_lit(text) and is_lit(words, visible):
        return False
    visible = stated_things(words, visible)
    visible = things_told(words, text, visible)
    if len(visible) > 1 or not _is_about_picture(words, text, visible, is_fragment=is_fragment):
        return False
    if visible and _EXCEPT.search(text):
        return False
    if not visible and is_about_lighting(words, text):
        return not names_absent(words)
    if _WRITING.search(text) or names_place(words) or names_sport(words) or names_absent(words):
        return False
    return not any(is_stated_at(words, at) for at in visible)


def _is_about_picture(words: Sequence[Token], text: str, visible: Sequence[int], *, is_fragment: bool) -> bool:
    """Whether the main clause is about the picture. At most one thing is `visible`."""
    is_undetermined = (" be " in text or " not possible " in text) and _UNDETERMINED.search(text) is not None
    if is_undetermined or _ABOUT_PICTURE.match(text[:160]):
        return True
    if is_fragment and len(words) <= _MAX_HEADING:
        return _is_heading(words)
    start = main_clause(words)
    verb = next((i for i in range(start, len(words)) if words[i].tag in FINITE), len(words))
    if verb < len(words) and any(word.tag == "EX" for word in words[start:verb]):  # "There is a sense of calm"
        if [word.text for word in words[verb + 1 : verb + 3]] == ["no", "other"]:
            return False
        stated = noun_heads(words, verb + 1, len(words))[:1]
        if any(head in lex.ABOUT and head not in lex.PICTURES for head in stated):
            return True
        return not visible and any(head in lex.ABOUT or lex.is_abstract(head) for head in stated)
    if _has_mood(words, start, verb):
        return True
    if verb < len(words) and any(at < words[verb].start for at in visible) and not _is_topic(words, start, verb):
        return False  # "A red door adds a pop of colour": a thing with an effect is seen
    if visible and (words[0].tag in ADVERBIAL_TAGS or words[0].text.endswith("ing")) and _is_inverted(words):
        return False  # "Dominating the scene is a lighthouse"
    heads = noun_heads(words, start, verb)
    if not heads and start < len(words) and words[start].text in _PRONOUNS:
        return False  # "They give the impression …": of things named before
    if not heads:
        topic = noun_heads(words, 0, start)[:1]  # "As for the layout, it is clean"
        is_pronoun = start < len(words) and words[start].text in _PICTURE_PRONOUNS
        is_about = is_pronoun and any(head in lex.ABOUT for head in topic)
        return is_about or _states_picture(words, verb) or has_effect(words, verb)
    first = words[start].text
    if first in _ALL:
        return any(has_effect(words, i) for i in range(start, len(words)))
    if first in _PRONOUNS or heads[0] == "one" or words[start].tag == "PRP$":
        return False  # "Its texture is rough": a property of a thing
    if heads[0] == "third" and _is_coloured(words):
        return False
    if heads[0] in lex.PLACES:  # not "a blurred green"
        return not visible and not _is_coloured(words) and words[start].tag != "IN" and _is_unclear(words, text)
    if (heads[0] in lex.PICTURES and _is_in_scene(words, start, verb, text)) or (heads[0] in _HUNG and visible):
        return False
    if heads[0] == "arrangement" and any(word.text == "arrangements" for word in words[start:verb]):
        return False  # of flowers
    if heads[0] in _ASPECTS and (_is_of_thing(words, start, verb) or _is_told(words, start, verb, heads[0])):
        return False
    if first in ("these", "those") and heads[0] in lex.COLOUR_NOUNS and visible and not has_effect(words, verb):
        return False  # "These hues are broken by a bright flame"
    if (first in INDEFINITE or heads[0] not in lex.ABOUT) and first != "no" and _is_shown(words, verb):
        return False
    if _is_about(words, start, verb, heads[0]):
        return True
    facts = heads[0] in lex.MEASURES or heads[0] in _FACTS or heads[0] in lex.PICTURES or first == "no"
    if lex.is_abstract(heads[0]) and not visible and not facts and verb < len(words):  # "The moment is full of joy"
        return words[verb].text in lex.COPULAS or verb_lemma(words[verb]) in lex.EFFECTS
    return (heads[0] in lex.ABOUT or lex.is_abstract(heads[0])) and has_effect(words, verb)


def _may_be_lit(text: str) -> bool:
    """A quick search for what `is_lit` looks for."""
    return "shadow" in text or " cast" in text or "ing through " in text


def _is_coloured(words: Sequence[Token]) -> bool:
    return any(word.text in lex.COLOURS for word in words)


def _is_unclear(words: Sequence[Token], text: str) -> bool:
    """Whether a place in the picture is only blurred or lit. Not "is blurred, but it appears to be a kitchen"."""
    is_told = BLURRED.search(text) is not None or "well-lit" in text
    return is_told and all(word.text != "but" for word in words)


def _has_mood(words: Sequence[Token], start: int, verb: int) -> bool:
    """Whether a mood is all that a thing has: "The room has a cozy and relaxed atmosphere"."""
    if verb >= len(words) or words[verb].text not in _HAS_VERBS or words[start].text in INDEFINITE:
        return False
    behind = noun_heads(words, verb + 1, len(words))
    return len(behind) == 1 and behind[0] in _MOODS and not any(word.text in seen for word in words for seen in SEEN)


def _is_topic(words: Sequence[Token], start: int, verb: int) -> bool:
    """Whether a place as a whole is judged: "The overall atmosphere of the living room is inviting"."""
    of = next((i for i in range(start, verb) if words[i].tag == "IN"), verb)
    is_topic = start < of < verb and words[of].text in ("of", "in") and words[of - 1].text in _TOPICS
    is_topic = is_topic or (start + 2 < verb and words[verb - 2].tag == "POS" and words[verb - 1].text in _TOPICS)
    if not is_topic or words[verb].text not in lex.COPULAS:
        return False
    behind = words[verb + 1 : verb + 6]
    end = next((i for i, word in enumerate(behind) if word.text in (",", ".")), len(behind))
    if words[of - 1].text == "lighting" or words[verb - 1].text == "lighting":
        return True
    told = [word.text in _STATES for word in behind[:end] if word.tag in ("JJ", "VBG", "VBN", "NN")]
    return not told or not all(told)  # "is tidy and inviting", but not "is clean and tidy"


def _is_inverted(words: Sequence[Token]) -> bool:
    """Whether the first verb is a form of "be" with its subject after it."""
    verb = next((i for i, word in enumerate(words) if word.tag in FINITE), len(words))
    return verb + 1 < len(words) and words[verb].text in _BE and words[verb + 1].tag in ("DT", "CD", "PRP$")


def _is_in_scene(words: Sequence[Token], start: int, verb: int, text: str) -> bool:
    """Whether the subject, a word for a picture, is a thing in the picture: one of several ("Four pieces hang"), of a
    material ("The ceramic piece"), or described by its look ("The frame is weathered", "The piece is carved from")."""
    if any(word.text in ("hanging", "hung", "mounted", "pinned") for word in words[verb + 1 : verb + 4]):
        return True
    if _BLACK_AND_WHITE.search(text) or "sepia" in text:
        return verb < len(words) and words[verb].text in lex.COPULAS and noun_heads(words, start, verb)[0] == "scene"
    head = next(i for i in range(start, verb) if words[i].tag in NOUNS and lemma_of(words[i]) in lex.PICTURES)
    is_plural = words[head].tag in PLURAL and words[start].tag in ("DT", "CD")  # but "Few pictures convey"
    is_one_of_several = is_plural or words[start].text in _EACH or any(w.text in _ONE_OF for w in words[start:verb])
    if lemma_of(words[head]) in _OBJECTS_TOO and any(word.text in lex.COLOURS for word in words[start:verb]):
        return True
    if is_one_of_several or any(word.text in lex.MATERIALS for word in words[start:head]):
        return True
    if verb >= len(words) or words[verb].text not in lex.COPULAS:
        return False
    behind = words[verb + 1 : verb + 5]
    is_made = any(word.text in _MADE and after.text in ("of", "from") for word, after in pairwise(behind))
    looks = any(word.text in seen for word in behind for seen in SEEN)
    return is_made or looks


def _is_shown(words: Sequence[Token], verb: int) -> bool:
    """Whether the predicate is a position: "A design is seen on the right", "The component is angled to the left"."""
    behind = words[verb + 1 : verb + 4]
    return verb < len(words) and words[verb].text in lex.COPULAS and any(word.text in _SHOWN for word in behind)


def _is_of_thing(words: Sequence[Token], start: int, verb: int) -> bool:
    """Whether a subject such as "the color of the surface" is a property of a thing, not of the picture."""
    pairs = zip(range(start, verb), range(start + 1, verb), strict=False)
    at = next((j for i, j in pairs if words[j].text == "of" and lemma_of(words[i]) in _ASPECTS), verb)
    owner = noun_heads(words, at, verb)[:1]
    return bool(owner) and owner[0] not in lex.ABOUT and owner[0] not in lex.PICTURES


def _is_told(words: Sequence[Token], start: int, verb: int, aspect: str) -> bool:
    """Whether a sentence tells which colour or texture is seen where: "The color shifts to a deep blue", "The primary
    color is brown", "The texture is smooth". Not "The colors are warm"."""
    if words[start].text not in ("the", "visible", "key"):
        return False
    if any(verb_lemma(word) in _CHANGES for word in words[start + 1 : start + 4]):  # often tagged as a noun
        return True
    if verb >= len(words):
        return False
    if words[verb].text in lex.COPULAS:
        is_singular = all(word.tag != "NNS" for word in words[start:verb])
        is_coloured = any(word.text in lex.COLOURS for word in words[verb + 1 : verb + 4])
        is_of_picture = any(word.text in lex.PICTURES for word in words[start:verb])
        return (aspect in ("texture", "shape") and not is_of_picture) or (is_singular and is_coloured)
    return words[verb].text == "include"


def _is_heading(words: Sequence[Token]) -> bool:
    """Whether the words only name a part of the description: "Notable Details", "Stock photo", "Lighting and mood:"."""
    has_preposition = any(word.tag == "IN" for word in words)
    names = _HEADING_NOUNS if has_preposition else _HEADING_NOUNS | _LABEL_NOUNS
    nouns = [lemma_of(word) for word in words if word.tag in NOUNS]
    named = [word.text in names or lemma_of(word) in names for word in words if word.text[:1].isalnum()]
    if named[-1:] == [True] and not has_preposition:
        return True
    return any(named) and all(noun in names for noun in nouns)


def _is_about(words: Sequence[Token], start: int, verb: int, head: str) -> bool:
    """Whether a sentence is about the picture: its subject is words[start:verb], with this head, and a verb follows."""
    first = words[start].text
    if head in _MAKERS:
        return any(word.text in _MAKER_VERBS for word in words[verb : verb + 4])
    if first in INDEFINITE and (head in lex.PICTURES or head in LIGHT or first == "no"):
        return False  # "A framed photograph on the wall shows the founder", "A light hangs", "No message is displayed"
    if head in LIGHT:
        at = next((i for i in range(start, verb) if lemma_of(words[i]) == head), start)
        in_scene = at + 1 < len(words) and words[at + 1].tag == "VBG"  # "The light falling through the window"
        in_scene = in_scene or words[at - 1].text in lex.PLACES | _ONE_OF  # "The left light is brighter"
        behind = [word.text for word in words[at + 1 : at + 4]]
        in_scene = in_scene or (behind[:1] == ["on"] and not _SIDES.isdisjoint(behind))  # "The light on the right"
        in_scene = in_scene or any(word.text in _LAMP_COLOURS for word in words[verb + 1 : verb + 4])
        return not in_scene and not any(verb_lemma(word) in LIGHT_VERBS for word in words[verb : verb + 3])
    if head in lex.PICTURES and _shows_kind(words, verb):
        return False
    if head in lex.COLOURS and head not in lex.COLOURED_THINGS and words[start].tag != "DT":
        return True  # "Cool blues and greys dominate"
    if head in lex.PICTURES and (
        verb == len(words) - 1 or any(word.text in _SHOW_VERBS for word in words[verb : verb + 4])
    ):
        return False  # "The painting does not include any land", "The image shows" without an object
    return head in lex.ABOUT


def _shows_kind(words: Sequence[Token], verb: int) -> bool:
    """Whether a kind of scene is shown: "The image depicts an equestrian scene". Not "a lively scene"."""
    if verb >= len(words) or words[verb].text not in ("depicts", "shows", "features", "presents", "portrays"):
        return False
    is_kind = False
    for word in words[verb + 1 : verb + 8]:
        if word.tag in NOUNS:
            return is_kind and word.text not in _STUDIES
        if word.text in JUDGING:
            continue
        is_kind = is_kind or (word.tag == "JJ" and word.text not in lex.NOT_ATTRIBUTES)
    return False


def _states_picture(words: Sequence[Token], verb: int) -> bool:
    """Whether the main clause is a pronoun, a copula and a word for the picture: "It is a quiet portrayal …"."""
    if verb >= len(words) or not (words[verb].text in lex.COPULAS or words[verb].text in ("feels", "reads")):
        return False
    if not verb or words[verb - 1].text not in _PICTURE_PRONOUNS:
        return False
    complements = noun_heads(words, verb + 1, min(len(words), verb + 10))
    return bool(complements) and (complements[0] in lex.PICTURES or complements[0] in ("setting", "environment"))
