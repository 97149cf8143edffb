"""What a sentence states that can be seen, beside a statement about the picture: "The mood is festive, as the guests
are dancing", "The scene captures the thrill of snowboarding". English only."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter

from recaption.annotate import lexicon as lex
from recaption.annotate.lexicon import word_set
from recaption.annotate.tagged_words import FINITE, NOUNS, Token, lemma_of

BLURRED = re.compile(
    r"\b(?:blur\w*|pixelat\w+|out\ of\ focus|out-of-focus|unfocused|defocused|bokeh|in\ focus|soft\ focus)\b", re.X
)
ADVERBIAL_TAGS = frozenset(("IN", "RB", "TO", "JJ", "VBN", "VBG"))
DEFINITE = frozenset(("the", "these", "those", "this", "that", "both", "their", "its", "his", "her"))
INDEFINITE = frozenset(("a", "an", "one", "two", "three", "several", "no"))
LIGHT = frozenset(("light", "sunlight", "moonlight", "daylight", "glow"))
_BACKGROUNDS = frozenset(("background", "backdrop", "foreground"))
LIGHT_VERBS = word_set("""
    fall stream shine pour filter illuminate reflect cast flood hit enter come spill glow play dance glint sparkle gleam
    bounce bathe glisten shimmer touch warm catch strike reach pass slip leak break glare drop
""")
_LIGHT_EFFECTS = frozenset(
    form for noun in LIGHT | {"shadow", "highlight", "ray", "beam"} for form in (noun, f"{noun}s")
)
_LAMPS = frozenset(("light", "lights", "beam", "beams"))
_DESCRIBING_TAGS = frozenset(("JJ", "JJR", "JJS", "VBN", "VBG"))
_EFFECT_VERBS = (lex.EFFECTS - {"set", "reflect", "capture", "give", "make", "bring", "suggest"}) | {
    "draw",
    "guide",
    "accentuate",
    "underscore",
}
_EFFECT_FORMS = {f"{verb.removesuffix('e')}ing" for verb in _EFFECT_VERBS} | word_set("which making so perfect ideal")
"""Words that begin an effect on the viewer or the picture."""
_SIZED = re.compile(
    r"making (?:the|it|them) .*\b(?:appear|look|seem) (?:\w+ )?(?:small|large|tall|big|short|tiny|huge|long)(?:er)?\b"
)
"""An effect that is a look of things: "making the zebra appear small"."""
_NAMING_EFFECTS = frozenset(("highlighting", "emphasizing"))
_CASTS = frozenset(("cast", "casts", "casting", "leaving", "throwing", "throws"))
_ONTO = frozenset(("on", "onto", "beneath", "under", "across", "over", "behind", "through", "by"))
_LISTED_TAGS = frozenset(("JJ", "VBG", "VBN"))
_NO_OBJECT_TAGS = frozenset((",", ".", ":", "CC"))
_CONJUNCTIONS = frozenset(("as", "because", "since", "while", "and", "but", "that"))
_PHRASE_TAGS = NOUNS | {"DT", "PDT", "PRP$", "CD", "POS", "HYPH", "JJ", "JJR", "JJS", "VBN"}
_INTRODUCES = (
    lex.COPULAS
    | {"be"}
    | word_set("""
    suggests suggest indicates indicate reveals reveal resembles resemble has have features feature see shows show
    depicts showing depicting featuring revealing displaying suggesting indicating
""")
)
"""Verbs whose object is what the sentence states: "The atmosphere suggests a train station"."""
_NAMED_PLACES = word_set("environment setting space area location landscape region scene activity")
_PURPOSES = word_set("""
    urban suburban rural outdoor winter wintry alpine mountainous coastal skiing surfing
    dining living working work parking meeting camping waiting training shopping seating cooking business
""")
_SPORTS = word_set("""
    skiing snowboarding surfing skateboarding windsurfing kiteboarding kitesurfing parasailing paragliding wakeboarding
    kayaking rafting sailing skating sledding hiking cycling fishing golfing bowling tennis soccer baseball
""")
_WEATHER = frozenset(("foggy", "misty", "snowy", "rainy", "smoky", "sunny", "cloudy"))
_TOWNS = frozenset(("city", "cityscape", "town", "village", "downtown"))
_EDITS = frozenset(("filter", "edit", "watermark", "staging", "artifact"))
_INDOORS = frozenset(("indoors", "outdoors"))
_SKY = frozenset(("sky", "skies"))
_FAR = frozenset(("background", "foreground", "distance"))
_FOCUS = (["focus"], ["point"], ["subject"], ["center"], ["centre"], ["star"])
_KINDS_OF_PLACES = frozenset(("environment", "space", "area", "scene"))
_PICTURE_MADE = word_set("""
    taken shot captured photographed filmed snapped composed framed painted drawn rendered created made done achieved
    edited
""")
_INWARD = word_set("""
    enjoy appreciate savor savour feel seem appear share have participate engage make take provide serve create
    demonstrate showcase
""")
"""Verbs that tell how a scene is felt, not what is seen: "with people enjoying the music"."""
_DONE_BY_SOMEONE = word_set("enjoy appreciate savor savour share participate engage take demonstrate showcase")
"""Those that say what their subject does: "as the cat engages in its fun activity"."""
_STANDS_OUT = word_set("""
    being standing taking drawing dominating occupying filling leading contrasting complementing anchoring guiding
    blending
""")
"""Verbs of a thing in the composition: "with the bird taking center stage"."""
_FULL = word_set("full bustling busy buzzing alive teeming packed crowded brimming")
_TAKEN = word_set("taken shot captured photographed filmed set")
_SCENERY = word_set("scene view landscape setting environment area space place")
_ANYONE = frozenset(("person", "individual", "group", "crowd", "viewer", "visitor"))
_IN_E = frozenset(verb for verb in LIGHT_VERBS | _INWARD | lex.EFFECTS if verb.endswith("e"))
_SUBJECT_TAGS = frozenset(("DT", "PRP", "PRP$", "EX", "NN", "NNS", "NNP", "JJ"))
_MAX_ADVERBIAL = 14  # tokens of an adverbial before the subject
_MAX_COMPLEMENT = 16  # words read after the verb
_START = attrgetter("start")


def word_at(words: Sequence[Token], at: int) -> int:
    """The index of the first word that begins at this offset of the caption or after it."""
    return bisect_left(words, at, key=_START)


def names_place(words: Sequence[Token]) -> bool:
    """Whether a town, the sky or a kind of place is named ("a casual dining setting"), the weather ("the foggy
    atmosphere"), or the color of the background ("is set against a light brown background")."""
    for i, (word, place) in enumerate(pairwise(words)):
        if word.text in _TOWNS and place.text != "life":
            return True
        if word.text == "under" and any(after.text in _SKY for after in words[i + 1 : i + 6]):
            return True
        if word.tag == "JJ" and place.text in _SKY:  # "with clear skies above"
            return True
        is_taken = word.text == "sunny" and any(before.text in _TAKEN for before in words[max(i - 3, 0) : i])
        if word.text in _WEATHER and not is_taken:  # "taken on a sunny day"
            return True
        if word.text in _INDOORS and words[i - 1].text in lex.COPULAS:
            return True
        if place.text in _BACKGROUNDS and word.text in lex.COLOURS:
            return True
        is_named = place.text in _NAMED_PLACES and word.text in _PURPOSES
        if (
            is_named
            and any(
                article.text in ("a", "an") and noun.text != "sense"  # "a sense of leisure and outdoor activity"
                for article, noun in pairwise(words[max(i - 5, 0) : i + 1])
            )
        ):
            return True
    return False


def names_absent(words: Sequence[Token]) -> bool:
    """Whether a thing is said to be absent: "is devoid of people", "with no visible pedestrians"."""
    for i, word in enumerate(words):
        if word.text in ("no", "devoid"):
            noun = next((j for j in range(i + 1, min(i + 4, len(words))) if words[j].tag in NOUNS), None)
            head = "" if noun is None else lemma_of(words[noun])
            if lex.is_thing(head) and head not in _EDITS and head not in lex.ABOUT:
                return True
    return False


def names_sport(words: Sequence[Token]) -> bool:
    """Whether a sport is what the picture shows: "the thrill of snowboarding", "engage in this water sport". Not "the
    boy's passion for skateboarding", "the excitement of the sport"."""
    for i, word in enumerate(words):
        is_kind = word.text in ("sport", "sports") and words[i - 1].tag in NOUNS
        if is_kind or word.text in _SPORTS:
            before = [w.text for w in words[max(i - 4, 0) : i]]
            if "of" in before or "in" in before:
                return True
    return False


def stated_things(words: Sequence[Token], visible: Sequence[int]) -> Sequence[int]:
    """The visible things that the sentence states: not those in an effect ("…, enhancing the details of the mural"),
    and not shadows and light."""
    texts = [word.text for word in words]
    if not _LIGHT_EFFECTS.isdisjoint(texts):
        things = [at for at in visible if not _is_light_at(words, at)]
        visible = visible if things and "shadow" in texts else things  # "a shadow on the plate", but "soft shadows"
    if _EFFECT_FORMS.isdisjoint(texts[1:]):
        return visible  # the usual case
    start = effect_start(words)
    if start is None:
        return visible
    end = words[start].start
    if words[start].text in _NAMING_EFFECTS:  # "highlighting the textures of bark and pavement": more than an effect
        behind = [at for at in visible if at > end]
        if len(behind) > 1 and not all(is_known(words, at) for at in behind):
            return visible
    return [at for at in visible if at < end or _is_event_at(words, at)]


def _is_light_at(words: Sequence[Token], at: int) -> bool:
    """Whether the phrase at this offset is light or a shadow: "long shadows". Not "a light-colored room"."""
    first = noun = word_at(words, at)
    while noun < len(words) and (words[noun].tag in _DESCRIBING_TAGS or words[noun].text in ("and", ",")):
        noun += 1
    if noun == len(words) or words[noun].text not in _LIGHT_EFFECTS or words[noun].tag not in NOUNS:
        return False
    is_described = noun > first  # "bright white lights", "wooden beams", "by the long shadows"
    if is_described and (words[noun].text in _LAMPS or words[max(first - 1, 0)].text == "the"):
        return False
    return noun + 1 == len(words) or words[noun + 1].tag not in ("HYPH", "NN", "NNS")


def is_lit(words: Sequence[Token], visible: Sequence[int]) -> bool:
    """Whether light or a shadow is cast on a visible thing: "casts a shadow beneath the cup". Not "casting a glow
    over the scene"."""
    for i, word in enumerate(words):
        if word.text in _CASTS:
            at = next((j for j in range(i + 1, min(i + 6, len(words))) if words[j].text in _ONTO), len(words))
        elif word.text.endswith("ing") and [w.text for w in words[i + 1 : i + 2]] == ["through"]:
            at = i + 1  # "with light filtering through the leaves"
        else:
            continue
        start = next((j for j in range(at + 1, min(at + 7, len(words))) if words[j].tag in NOUNS), len(words))
        if start < len(words):
            end = _phrase(words, start)[0]
            if any(words[at].end < thing < words[end - 1].end for thing in visible):
                return True
    return False


def effect_start(words: Sequence[Token]) -> int | None:
    """The index of the word that begins an effect on the picture or its viewer: "…, enhancing", "…, which". None: there
    is no effect."""
    of_light = any(word.text in LIGHT for word in words)  # "The light is low, so the boats throw long shadows"
    return next((i for i in range(1, len(words)) if _is_effect_form(words, i, of_light=of_light)), None)


def _is_event_at(words: Sequence[Token], at: int) -> bool:
    """Whether the phrase at this offset names an event: "…, showcasing the excitement of a tennis match". Not "…,
    making it perfect for a wedding"."""
    noun = word_at(words, at)
    before = [word.text for word in words[max(noun - 2, 0) : noun]]
    return "of" in before and lex.is_event(_phrase(words, noun)[1])


def _phrase(words: Sequence[Token], start: int) -> tuple[int, str]:
    """The end of the noun phrase at `start`, and the lemma of its head. An event may be tagged as a verb ("a tennis
    match")."""
    end, head = start, ""
    while end < len(words):
        word = words[end]
        is_event = end > start and word.tag in ("VB", "VBP") and word.text in lex.EVENTS
        if not is_event and word.tag not in _PHRASE_TAGS:
            break
        if is_event or word.tag in NOUNS:
            head = lemma_of(word)
        end += 1
    return end, head


def _is_effect_form(words: Sequence[Token], at: int, *, of_light: bool) -> bool:
    """Whether an effect begins at this word: "…, making", "…, which". Not "is inviting and calm", "so many kites"."""
    word, before = words[at], words[at - 1]
    if word.text not in _EFFECT_FORMS or before.tag == "DT":  # "a drawing of a spider"
        return False
    if word.text == "so":
        return before.text == "," and not of_light
    if word.text == "making" and _SIZED.match(" ".join(w.text for w in words[at : at + 8])):
        return False
    if word.text == "which":
        return before.tag != "IN"
    if word.text in ("perfect", "ideal"):  # "…, perfect for sharing a pizza with friends"
        return before.text == "," and at + 1 < len(words) and words[at + 1].text == "for"
    return at + 1 < len(words) and words[at + 1].tag not in _NO_OBJECT_TAGS


def is_stated_at(words: Sequence[Token], at: int) -> bool:
    """Whether a clause other than the main one, or its complement, states the visible thing at this offset.

    "…, as the people chat", "…, and the man is in mid-air", "…, with many birds in the air", "The mood is that of a
    rock concert". Not "…, with the red coat as the only accent": a thing that is known already.
    """
    noun = word_at(words, at)
    if noun == len(words):
        return False
    start = _phrase_start(words, noun)
    end, head = _phrase(words, noun)
    if not start:
        return False
    if (head in lex.META or head in lex.ABOUT or head in lex.LOOK_NOUNS) and head not in _KINDS_OF_PLACES:
        return False  # "with clean lines"
    while end < len(words) and words[end].tag == "RB":
        end += 1
    before, verb = words[start - 1].text, words[end] if end < len(words) else None
    is_effect = verb is not None and (_is_inward(verb, head) or has_effect(words, end))
    is_effect = is_effect and not _names_deed(words, end + 1)
    if [word.text for word in words[end + 1 : end + 3]] == ["to", "be"] and words[end + 3 : end + 4]:
        is_effect = is_effect and words[end + 3].tag != "VBG"  # "and the child appears to be looking at the camera"
    if verb is not None and verb.text in lex.COPULAS and noun_heads(words, end, min(len(words), end + 7))[:1] in _FOCUS:
        return False  # "and the toilet is the focal point"
    if before in _CONJUNCTIONS:
        if start < 2 or verb is None or verb.tag not in FINITE or is_effect:
            return False
        return not any(BLURRED.match(word.text) for word in words[end + 1 : end + 4])
    is_new = words[start].tag not in ("DT", "PRP$") or words[start].text in INDEFINITE
    verb_before = words[start - 2].text if start > 1 else ""
    if before in ("by", "with") and start > 1 and words[start - 2].tag == "VBN":  # "is filled with people"
        return is_new and verb_before not in _PICTURE_MADE
    if before in ("with", "of") and is_new and verb_before in _FULL:
        return True  # "is bustling with people"
    if before in ("in", "at", "on", "inside", "outside") and verb_before in _TAKEN:
        return True  # "was taken at a zoo"
    if before == "with":
        is_dressed = is_new and words[end - 1].tag == "VBN"  # "with people dressed in bright colors"
        is_clause = is_dressed or (start > 1 and words[start - 2].text == ",")
        is_clause = is_clause or (verb is not None and verb.tag in ("VBG", "VBN"))
        is_coloured = any(word.text in lex.COLOURS for word in words[end + 1 : end + 8])  # "the sky being a deep blue"
        is_described = any(w.tag == "JJ" and w.text not in lex.NOT_ATTRIBUTES for w in words[start:end])
        if is_described and _is_far(words, end):
            return True  # "with the snowy mountains in the distance adding to the mood"
        if verb is not None and verb.text == "adding" and is_clause:
            return True  # "with the boats adding a touch of movement"
        acts = verb is not None and verb.tag == "VBG" and verb.text not in _STANDS_OUT  # "with the cat sleeping"
        is_lit = verb is not None and verb.text == "by" and words[end - 1].tag == "VBN"  # "with the court lit by lamps"
        is_scenery = is_new and start > 1 and words[start - 2].text in _SCENERY  # "a calm scene with mountains"
        return is_scenery or ((is_new or is_coloured or acts or is_lit) and is_clause and not is_effect)
    is_scene = head in _KINDS_OF_PLACES or lex.is_event(head)
    if is_scene and before in ("of", "in", "on", "at", "during", "from") and words[start].tag == "DT":
        return True  # "the excitement of a baseball game"
    if before == "at" and words[start - 2].tag in NOUNS:  # "the joy of a day at the beach"
        return True
    if words[start - 1].tag == "VB" and lex.is_event(head):
        return head != "event"  # "as everyone is gathered to witness the ceremony"
    if before == "for":  # "an environment for the bears to rest"
        return verb is not None and verb.text == "to" and head not in _ANYONE
    if before in ("of", "from", "in") and verb_before.rstrip("s") in lex.COLOURS:
        return True  # "the browns of the reeds"
    if before == "of" and verb_before == "moment" and words[start].text in INDEFINITE and not lex.is_abstract(head):
        return True  # "a moment of a dog at play"
    if verb_before in ("visible", "seen") and head not in lex.PICTURES:
        return True  # "with small lights visible along the shore"
    if before == "of":
        return start > 1 and words[start - 2].text in (
            "that",
            "typical",
            "presence",
            "impression",
            "reminiscent",
            "one",
        )
    return before in _INTRODUCES


def is_known(words: Sequence[Token], at: int) -> bool:
    """Whether the sentence treats the thing at this offset as known already: "the dog", "these two cats", "his hat"."""
    noun = word_at(words, at)
    start = _phrase_start(words, noun)
    first = words[start : start + 2]
    if first and (first[0].tag == "PRP$" or first[0].text in DEFINITE):
        return True
    if [word.text for word in first] == ["each", "other"]:  # "each other's company"
        return True
    is_listed = start > 1 and words[start - 1].text == "and" and words[start - 2].tag in NOUNS
    return is_listed and is_known(words, words[start - 2].start)  # "the people and elephants"


def _phrase_start(words: Sequence[Token], noun: int) -> int:
    """The index of the first word of the noun phrase that `noun` belongs to."""
    start = noun
    while start and (words[start - 1].tag in _PHRASE_TAGS or _continues(words, start)):
        start -= 1
    return start


def _continues(words: Sequence[Token], at: int) -> bool:
    """Whether the word before `at` belongs to the same phrase: "a group of people", "a playful and relaxing beach"."""
    if _is_measure_of(words, at):
        return True
    word, of = words[at - 1], words[at - 2].tag if at > 1 else ""
    if word.tag == "VBG":
        return words[at].tag in NOUNS and of in ("CC", ",", "DT", "JJ")
    return word.text in ("and", ",") and of in _LISTED_TAGS and words[at].tag in _LISTED_TAGS


def _is_inward(verb: Token, subject: str) -> bool:
    """Whether a verb with this subject only tells how the scene is felt."""
    lemma = verb_lemma(verb)
    return lemma in _INWARD and (lemma not in _DONE_BY_SOMEONE or subject in _ANYONE)


def _names_deed(words: Sequence[Token], at: int) -> bool:
    """Whether examples of what is done follow: "engaging in various activities, such as talking or reading"."""
    return any(
        word.text == "such" and words[i + 1].text == "as" and words[i + 2].text.endswith("ing")
        for i, word in enumerate(words[at:-2], at)
    )


def _is_far(words: Sequence[Token], at: int) -> bool:
    """Whether "in the distance" or the like stands at `at`, and not of something that is blurred."""
    texts = [word.text for word in words[at : at + 7]]
    return texts[:2] == ["in", "the"] and not _FAR.isdisjoint(texts[2:3]) and not any(map(BLURRED.match, texts))


def _is_measure_of(words: Sequence[Token], at: int) -> bool:
    """Whether "of" before `at` belongs to a measure: "a group of people"."""
    return at > 1 and words[at - 1].text == "of" and lemma_of(words[at - 2]) in lex.MEASURES


def noun_heads(words: Sequence[Token], start: int, end: int) -> list[str]:
    """The lemmas of the heads of the noun phrases in words[start:end]."""
    heads: list[str] = []
    i = start
    while i < end:
        if words[i].tag in NOUNS:
            stop = i
            while stop < end and words[stop].tag in NOUNS:
                stop += 1
            if stop < end and words[stop].tag == "HYPH":  # "light-colored"
                i = stop + 2
                continue
            nouns = [lemma_of(word) for word in words[i:stop]]
            # "The composition draws the eye", "The road angles to the left": the verb is wrongly tagged as a plural
            follows = stop < len(words) and words[stop].tag in ADVERBIAL_TAGS and nouns[-1] in lex.ABOUT
            ends_in_s = len(nouns) > 1 and words[stop - 1].text.endswith("s")
            is_verb = ends_in_s and (nouns[-2] in lex.ABOUT or (follows and words[stop - 2].tag == "NN"))
            is_lamp = nouns[-1] == "light" and (len(nouns) > 1 or words[stop - 1].tag == "NNS")
            heads.append(nouns[-2] if is_verb else "lamp" if is_lamp else nouns[-1])
            i = stop
        else:
            i += 1
    return heads


def has_effect(words: Sequence[Token], verb: int) -> bool:
    """Whether the main verb states an effect on the picture: "The plants add a natural touch to the room"."""
    if verb >= len(words) or verb_lemma(words[verb]) not in lex.EFFECTS:
        return False
    complements = noun_heads(words, verb + 1, min(len(words), verb + _MAX_COMPLEMENT))
    return any(head in lex.ABOUT or lex.is_abstract(head) for head in complements[:2])


def main_clause(words: Sequence[Token]) -> int:
    """The index of the first word of the main clause: after "Overall,", "Bright and airy," and similar phrases."""
    start = 0
    if words and (words[0].tag in ADVERBIAL_TAGS or words[0].text.endswith("ly")):
        for i, word in enumerate(words[:_MAX_ADVERBIAL]):
            if word.text == "," and i + 1 < len(words) and words[i + 1].tag in _SUBJECT_TAGS:
                start = i + 1
            elif word.tag in FINITE:
                break
    return start


def verb_lemma(word: Token) -> str:
    """The base form of a verb in -s or -ing: "reaches" -> "reach", "unifies" -> "unify", "falling" -> "fall"."""
    text = word.text
    if text.endswith("ing") and len(text) > 5:
        return f"{text[:-3]}e" if f"{text[:-3]}e" in _IN_E else text[:-3]
    if text.endswith(("ches", "shes", "sses", "xes", "zzes")):
        return text[:-2]
    if text.endswith("ies") and len(text) > 4:
        return text[:-3] + "y"
    return text.removesuffix("s")
