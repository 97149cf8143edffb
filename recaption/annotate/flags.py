"""Flags of sub-captions for sampling: negations, sentences about the picture, fragments. English only.

Negations are found by regular expressions that cannot backtrack beyond a few dozen characters; the other flags are
derived from the words and their tags.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from recaption.annotate import lexicon as lex
from recaption.annotate.lexicon import word_set
from recaption.annotate.tagged_words import FINITE, NOUNS, PLURAL, Token, lemma_of
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
    r"""(?:however,?\ |but\ |unfortunately,?\ |and\ |so\ |below,?\ |sorry,?\ (?:but\ )?)?(?:
      (?:i|i'm|i'd|i'll|i've|i’m|i’d|i’ll)\b(?![-.])
    | (?:sure|certainly|absolutely|of\ course)[!,.]
    | (?:here|below)(?:'s|’s|\ is|\ are)\ (?:a|an|the|my|some|what|how)\b.{0,60}
      \b(?:description|caption|summary|breakdown|overview|analysis|noticed?|see|details|observations|points|look)\b
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
    | based\ on\ the\ (?:image|picture|photo|description|visual)
    | it(?:\ is|'s|’s)\ (?:also\ )?(?:not\ |hard\ |difficult\ |impossible\ |un|im)
      (?:clear|possible|known|certain|to\ (?:tell|say|see|read|determine|make|identify|know))
    | it\ isn['’]t\ (?:clear|possible|known|certain|easy)
    | (?:the|this)\ (?:image|picture|photo(?:graph)?|description|caption|shot)\b.{0,40}\b
      (?:taken|composed|focused|cropped|edited|captured|shot|generated|rendered)\b(?!\ (?:by|from\ behind)\ a)
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_UNDETERMINED = re.compile(
    r"\bc(?:an(?:not|'t|’t)|ould(?: not|n't|n’t)) be (?:determined|verified|confirmed|established|inferred|known)\b",
    re.IGNORECASE,
)
_BLURRED = re.compile(
    r"\b(?:blur\w*|pixelat\w+|out\ of\ focus|out-of-focus|unfocused|defocused|bokeh|in\ focus|soft\ focus)\b", re.X
)
_COMPLEMENT_TAGS = frozenset(("IN", "DT", "RP", "RB", "PRP$", "TO"))
_BLACK_AND_WHITE = re.compile(r"\bblack[ -]and[ -]white\b", re.IGNORECASE)
_ADVERBIAL_TAGS = frozenset(("IN", "RB", "TO", "JJ", "VBN", "VBG"))
_SUBJECT_TAGS = frozenset(("DT", "PRP", "PRP$", "EX", "NN", "NNS", "NNP", "JJ"))
_PICTURE_PRONOUNS = frozenset(("it", "this", "that"))
_INDEFINITE = frozenset(("a", "an", "one", "two", "three", "several", "no"))
_ALL = frozenset(("everything", "all", "every", "together"))
_PRONOUNS = frozenset(
    ("he", "she", "they", "none", "one", "nothing", "nobody", "everyone", "everything", "some", "others")
)
_AFTER_I = frozenset(("MD", "VBP", "VBD", "VB", "RB"))
_LIGHT = frozenset(("light", "sunlight", "moonlight", "daylight", "glow"))
_BACKGROUNDS = frozenset(("background", "backdrop"))
_LAMP_COLOURS = frozenset(("red", "green", "blue", "amber"))
_LIGHT_VERBS = word_set("""
    fall stream shine pour filter illuminate reflect cast flood hit enter come spill glow play dance glint sparkle gleam
    bounce bathe glisten shimmer touch warm catch strike reach pass slip leak break glare drop
""")
_HUNG = word_set("painting portrait artwork engraving drawing print poster")
_BE = frozenset(("is", "are", "was", "were", "'s"))
_LOOKS = word_set("""
    small large big tiny tall short long wide narrow thick thin round square rectangular oval circular triangular wooden
    weathered worn torn framed painted carved mounted hung hanging larger smaller taller shorter wider narrower rusty
    peeling faded cracked dirty clean shiny wrinkled crinkled creased crumpled folded ripped stained
""")
_LIGHT_EFFECTS = frozenset(
    form for noun in _LIGHT | {"shadow", "highlight", "ray", "beam"} for form in (noun, f"{noun}s")
)
_WRITING = re.compile(
    r"""["“][^"“”]*[A-Z0-9][^"“”]*["”]|(?:signed|reads?|reading|says?|labell?ed|written|inscribed|titled)\ ["“]"""
)
"""A text in the picture: a quotation with a capital or a digit, or after "reads"."""
_MADE = word_set("made crafted constructed built carved woven fashioned formed sculpted molded moulded")
_ASPECTS = word_set("color colour hue shade texture shape pattern tone size material")
"""What can be seen of a thing: "the color of the surface"."""
_EFFECT_VERBS = (lex.EFFECTS - {"set", "reflect", "capture", "give", "make", "bring"}) | {
    "draw",
    "guide",
    "accentuate",
    "underscore",
}
_EFFECT_FORMS = {f"{verb.removesuffix('e')}ing" for verb in _EFFECT_VERBS} | {"which", "making", "so"}
"""Words that begin an effect on the viewer or the picture."""
_CONJUNCTIONS = frozenset(("as", "because", "since", "while", "and", "but", "that"))
_PHRASE_TAGS = NOUNS | {"DT", "PDT", "PRP$", "CD", "POS", "HYPH", "JJ", "JJR", "JJS", "VBN"}
_INTRODUCES = (
    lex.COPULAS
    | {"be"}
    | word_set("""
    suggests suggest indicates indicate reveals reveal resembles resemble has have features feature
""")
)
"""Verbs whose object is what the sentence states: "The atmosphere suggests a train station"."""
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
_EACH = frozenset(("each", "every", "both"))
_SHOWN = word_set("seen visible shown displayed positioned located situated angled tilted")
_SIDES = frozenset(("left", "right", "top", "bottom", "middle", "upper", "lower"))
_OBJECTS_TOO = frozenset(("piece", "frame", "graphic"))
_MAKERS = frozenset(("artist", "photographer", "painter", "illustrator", "cinematographer"))
_MAKER_VERBS = word_set("""
    uses used chooses chose chosen employs employed frames framed captures captured places placed conveys conveyed
    opted opts paints painted renders rendered strikes relies relied emphasizes emphasises draws invites shows manages
    balances
""")
_FACTS = frozenset(
    ("total", "number", "value", "price", "name", "title", "date", "sum", "average", "percentage", "result")
)
_LABEL_NOUNS = word_set("text title")  # "Visible text", but not "alt text of picture 0"
_HEADING_NOUNS = lex.DESCRIPTION | lex.ABOUT
_SHOW_VERBS = frozenset(("include", "show", "contain", "feature", "depict", "display"))
_MAX_ADVERBIAL = 14  # tokens of an adverbial before the subject
_MAX_COMPLEMENT = 16  # words read after the verb
_MAX_HEADING = 8


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
    return any(word.text == "i" and after.tag in _AFTER_I for word, after in pairwise(words))


def is_meta(words: Sequence[Token], text: str, *, visible: Sequence[int], has_opener: bool, is_fragment: bool) -> bool:
    """Whether the sentence states nothing that can be seen, but is about the picture, its making or the description.

    The subject of the main clause decides; a sentence that states two visible things is not meta. `words` are the words
    after an opener, outside quotes; `visible` has the offsets, in the caption, of the objects and events they name.
    Sentences that `is_assistant` accepts are not covered.
    """
    if has_opener and visible:
        return False
    visible = _stated(words, visible)
    if len(visible) > 1 or _WRITING.search(text) or _names_coloured_place(words):
        return False
    is_about = _is_about_picture(words, text, visible, is_fragment=is_fragment)
    return is_about and not any(_is_stated_at(words, at) for at in visible)


def _is_about_picture(words: Sequence[Token], text: str, visible: Sequence[int], *, is_fragment: bool) -> bool:
    """Whether the main clause is about the picture. At most one thing is `visible`."""
    if _ABOUT_PICTURE.match(text[:160]) or (" be " in text and _UNDETERMINED.search(text)):
        return True
    if is_fragment and len(words) <= _MAX_HEADING:
        return _is_heading(words)
    start = _main_clause(words)
    verb = next((i for i in range(start, len(words)) if words[i].tag in FINITE), len(words))
    if verb < len(words) and any(word.tag == "EX" for word in words[start:verb]):  # "There is a sense of calm"
        stated = _heads(words, verb + 1, len(words))[:1]
        if any(head in lex.ABOUT and head not in lex.PICTURES for head in stated):
            return True
        return not visible and any(head in lex.ABOUT or lex.is_abstract(head) for head in stated)
    if verb < len(words) and any(at < words[verb].start for at in visible):
        return False  # "A red door adds a pop of colour": a thing with an effect is seen
    if visible and (words[0].tag in _ADVERBIAL_TAGS or words[0].text.endswith("ing")) and _is_inverted(words):
        return False  # "Dominating the scene is a lighthouse"
    heads = _heads(words, start, verb)
    if not heads and start < len(words) and words[start].text in _PRONOUNS:
        return False  # "They give the impression …": of things named before
    if not heads:
        topic = _heads(words, 0, start)[:1]  # "As for the layout, it is clean"
        is_pronoun = start < len(words) and words[start].text in _PICTURE_PRONOUNS
        is_about = is_pronoun and any(head in lex.ABOUT for head in topic)
        return is_about or _states_picture(words, verb) or _has_effect(words, verb)
    first = words[start].text
    if first in _ALL:
        return any(_has_effect(words, i) for i in range(start, len(words)))
    if first in _PRONOUNS or heads[0] == "one" or words[start].tag == "PRP$":
        return False  # "Its texture is rough": a property of a thing
    if heads[0] in lex.PLACES:
        is_coloured = any(word.text in lex.COLOURS for word in words)  # "a blurred green"
        return not visible and not is_coloured and words[start].tag != "IN" and _BLURRED.search(text) is not None
    if (heads[0] in lex.PICTURES and _is_in_scene(words, start, verb, text)) or (heads[0] in _HUNG and visible):
        return False
    if heads[0] in _ASPECTS and _is_of_thing(words, start, verb):
        return False
    if (first in _INDEFINITE or heads[0] not in lex.ABOUT) and first != "no" and _is_shown(words, verb):
        return False
    if _is_about(words, start, verb, heads[0]):
        return True
    facts = heads[0] in lex.MEASURES or heads[0] in _FACTS or heads[0] in lex.PICTURES or first == "no"
    if lex.is_abstract(heads[0]) and not visible and not facts and verb < len(words):  # "The moment is full of joy"
        return words[verb].text in lex.COPULAS or _verb_lemma(words[verb]) in lex.EFFECTS
    return (heads[0] in lex.ABOUT or lex.is_abstract(heads[0])) and _has_effect(words, verb)


def _is_inverted(words: Sequence[Token]) -> bool:
    """Whether the first verb is a form of "be" with its subject after it."""
    verb = next((i for i, word in enumerate(words) if word.tag in FINITE), len(words))
    return verb + 1 < len(words) and words[verb].text in _BE and words[verb + 1].tag in ("DT", "CD", "PRP$")


def _is_in_scene(words: Sequence[Token], start: int, verb: int, text: str) -> bool:
    """Whether the subject, a word for a picture, is a thing in the picture: one of several ("Four pieces hang"), of a
    material ("The ceramic piece"), or described by its look ("The frame is weathered", "The piece is carved from")."""
    if any(word.text in ("hanging", "hung", "mounted", "pinned") for word in words[verb + 1 : verb + 4]):
        return True
    if _BLACK_AND_WHITE.search(text):
        return False
    head = next(i for i in range(start, verb) if words[i].tag in NOUNS and lemma_of(words[i]) in lex.PICTURES)
    is_plural = words[head].tag in PLURAL and words[start].tag in ("DT", "CD")  # but "Few pictures convey"
    is_one_of_several = is_plural or words[start].text in _EACH or any(w.text in _SIDES for w in words[start:verb])
    if lemma_of(words[head]) in _OBJECTS_TOO and any(word.text in lex.COLOURS for word in words[start:verb]):
        return True
    if is_one_of_several or any(word.text in lex.MATERIALS for word in words[start:head]):
        return True
    if verb >= len(words) or words[verb].text not in lex.COPULAS:
        return False
    behind = words[verb + 1 : verb + 5]
    is_made = any(word.text in _MADE and after.text in ("of", "from") for word, after in pairwise(behind))
    looks = any(word.text in lex.COLOURS or word.text in lex.MATERIALS or word.text in _LOOKS for word in behind)
    return is_made or looks


def _is_shown(words: Sequence[Token], verb: int) -> bool:
    """Whether the predicate is a position: "A design is seen on the right", "The component is angled to the left"."""
    behind = words[verb + 1 : verb + 4]
    return verb < len(words) and words[verb].text in lex.COPULAS and any(word.text in _SHOWN for word in behind)


def _is_of_thing(words: Sequence[Token], start: int, verb: int) -> bool:
    """Whether a subject such as "the color of the surface" is a property of a thing, not of the picture."""
    pairs = zip(range(start, verb), range(start + 1, verb), strict=False)
    at = next((j for i, j in pairs if words[j].text == "of" and lemma_of(words[i]) in _ASPECTS), verb)
    owner = _heads(words, at, verb)[:1]
    return bool(owner) and owner[0] not in lex.ABOUT and owner[0] not in lex.PICTURES


def _names_coloured_place(words: Sequence[Token]) -> bool:
    """Whether a color is said of the background: "is set against a light brown background"."""
    return any(word.text in lex.COLOURS and place.text in _BACKGROUNDS for word, place in pairwise(words))


def _stated(words: Sequence[Token], visible: Sequence[int]) -> Sequence[int]:
    """The visible things that the sentence states: not those in an effect ("…, enhancing the details of the mural"),
    and not shadows and light."""
    texts = [word.text for word in words]
    if not _LIGHT_EFFECTS.isdisjoint(texts):
        light = {
            word.start
            for word, after in pairwise(words)
            if word.text in _LIGHT_EFFECTS and word.tag in NOUNS and after.tag != "HYPH"  # not "a light-colored room"
        }
        things = [at for at in visible if at not in light]
        visible = visible if things and "shadow" in texts else things  # "a shadow on the plate", but "soft shadows"
    if _EFFECT_FORMS.isdisjoint(texts[1:]):
        return visible  # the usual case
    of_light = not _LIGHT.isdisjoint(texts)  # "The light is low, so the boats throw long shadows"
    end = next(
        (
            w.start
            for v, w in pairwise(words)
            if w.text in _EFFECT_FORMS
            and not (of_light and w.text == "so")
            and not (w.text == "which" and v.tag == "IN")
        ),
        None,
    )
    return [at for at in visible if end is None or at < end]


def _is_stated_at(words: Sequence[Token], at: int) -> bool:
    """Whether a clause other than the main one, or its complement, states the visible thing at this offset.

    "…, as the people chat", "…, and the man is in mid-air", "…, with many birds in the air", "The mood is that of a
    rock concert". Not "…, with the red coat as the only accent": a thing that is known already.
    """
    noun = next((i for i, word in enumerate(words) if word.start >= at), len(words))
    start = noun
    while start and (words[start - 1].tag in _PHRASE_TAGS or _is_measure_of(words, start)):
        start -= 1
    end = noun
    while end < len(words) and words[end].tag in _PHRASE_TAGS:
        end += 1
    if not start or noun == len(words):
        return False
    head = next((lemma_of(word) for word in reversed(words[noun:end]) if word.tag in NOUNS), "")
    if (head in lex.META or head in lex.ABOUT or head in lex.LOOK_NOUNS) and head not in _KINDS_OF_PLACES:
        return False  # "with clean lines"
    while end < len(words) and words[end].tag == "RB":
        end += 1
    before, verb = words[start - 1].text, words[end] if end < len(words) else None
    is_effect = verb is not None and (_verb_lemma(verb) in _INWARD or _has_effect(words, end))
    if verb is not None and verb.text in lex.COPULAS and _heads(words, end, min(len(words), end + 7))[:1] in _FOCUS:
        return False  # "and the toilet is the focal point"
    if before in _CONJUNCTIONS:
        if start < 2 or verb is None or verb.tag not in FINITE or is_effect:
            return False
        return not any(_BLURRED.match(word.text) for word in words[end + 1 : end + 4])
    is_new = words[start].tag not in ("DT", "PRP$") or words[start].text in _INDEFINITE
    if before in ("by", "with") and start > 1 and words[start - 2].tag == "VBN":  # "is filled with people"
        return is_new and words[start - 2].text not in _PICTURE_MADE
    if before == "with":
        is_clause = (start > 1 and words[start - 2].text == ",") or (verb is not None and verb.tag == "VBG")
        is_coloured = any(word.text in lex.COLOURS for word in words[end + 1 : end + 8])  # "the sky being a deep blue"
        return (is_new or is_coloured) and is_clause and not is_effect
    is_scene = head in _KINDS_OF_PLACES or lex.is_event(head)
    if is_scene and before in ("of", "in", "on", "at", "during") and words[start].tag == "DT":
        return True  # "the excitement of a baseball game"
    if before == "of":
        return start > 1 and words[start - 2].text in ("that", "typical", "presence", "impression")
    return before in _INTRODUCES


def _is_measure_of(words: Sequence[Token], at: int) -> bool:
    """Whether "of" before `at` belongs to a measure: "a group of people"."""
    return at > 1 and words[at - 1].text == "of" and lemma_of(words[at - 2]) in lex.MEASURES


def _is_heading(words: Sequence[Token]) -> bool:
    """Whether the words only name a part of the description: "Notable Details", "Stock photo", "Lighting and mood:"."""
    has_preposition = any(word.tag == "IN" for word in words)
    names = _HEADING_NOUNS if has_preposition else _HEADING_NOUNS | _LABEL_NOUNS
    nouns = [lemma_of(word) for word in words if word.tag in NOUNS]
    named = [word.text in names or lemma_of(word) in names for word in words if word.tag != ":"]
    if named[-1:] == [True] and not has_preposition:
        return True
    return any(named) and all(noun in names for noun in nouns)


def _is_about(words: Sequence[Token], start: int, verb: int, head: str) -> bool:
    """Whether a sentence is about the picture: its subject is words[start:verb], with this head, and a verb follows."""
    first = words[start].text
    if head in _MAKERS:
        return any(word.text in _MAKER_VERBS for word in words[verb : verb + 4])
    if first in _INDEFINITE and (head in lex.PICTURES or head in _LIGHT or first == "no"):
        return False  # "A framed photograph on the wall shows the founder", "A light hangs", "No message is displayed"
    if head in _LIGHT:
        at = next((i for i in range(start, verb) if lemma_of(words[i]) == head), start)
        in_scene = at + 1 < len(words) and words[at + 1].tag == "VBG"  # "The light falling through the window"
        in_scene = in_scene or words[at - 1].text in lex.PLACES  # "The left light is brighter"
        in_scene = in_scene or any(word.text in _LAMP_COLOURS for word in words[verb + 1 : verb + 4])
        return not in_scene and not any(_verb_lemma(word) in _LIGHT_VERBS for word in words[verb : verb + 3])
    if head in lex.COLOURS and head not in lex.COLOURED_THINGS and words[start].tag != "DT":
        return True  # "Cool blues and greys dominate"
    if head in lex.PICTURES and (
        verb == len(words) - 1 or any(word.text in _SHOW_VERBS for word in words[verb : verb + 4])
    ):
        return False  # "The painting does not include any land", "The image shows" without an object
    return head in lex.ABOUT


def _main_clause(words: Sequence[Token]) -> int:
    """The index of the first word of the main clause: after "Overall,", "Bright and airy," and similar phrases."""
    start = 0
    if words and (words[0].tag in _ADVERBIAL_TAGS or words[0].text.endswith("ly")):
        for i, word in enumerate(words[:_MAX_ADVERBIAL]):
            if word.text == "," and i + 1 < len(words) and words[i + 1].tag in _SUBJECT_TAGS:
                start = i + 1
            elif word.tag in FINITE:
                break
    return start


def _heads(words: Sequence[Token], start: int, end: int) -> list[str]:
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
            follows = stop < len(words) and words[stop].tag in _ADVERBIAL_TAGS and nouns[-1] in lex.ABOUT
            ends_in_s = len(nouns) > 1 and words[stop - 1].text.endswith("s")
            is_verb = ends_in_s and (nouns[-2] in lex.ABOUT or (follows and words[stop - 2].tag == "NN"))
            is_lamp = nouns[-1] == "light" and (len(nouns) > 1 or words[stop - 1].tag == "NNS")
            heads.append(nouns[-2] if is_verb else "lamp" if is_lamp else nouns[-1])
            i = stop
        else:
            i += 1
    return heads


def _states_picture(words: Sequence[Token], verb: int) -> bool:
    """Whether the main clause is a pronoun, a copula and a word for the picture: "It is a quiet portrayal …"."""
    if verb >= len(words) or not (words[verb].text in lex.COPULAS or words[verb].text in ("feels", "reads")):
        return False
    if not verb or words[verb - 1].text not in _PICTURE_PRONOUNS:
        return False
    complements = _heads(words, verb + 1, min(len(words), verb + 10))
    return bool(complements) and complements[0] in lex.PICTURES


def _has_effect(words: Sequence[Token], verb: int) -> bool:
    """Whether the main verb states an effect on the picture: "The plants add a natural touch to the room"."""
    if verb >= len(words) or _verb_lemma(words[verb]) not in lex.EFFECTS:
        return False
    complements = _heads(words, verb + 1, min(len(words), verb + _MAX_COMPLEMENT))
    return any(head in lex.ABOUT or lex.is_abstract(head) for head in complements[:2])


def _verb_lemma(word: Token) -> str:
    """The base form of a verb in -s or -ing: "reaches" -> "reach", "unifies" -> "unify", "falling" -> "fall"."""
    text = word.text
    if text.endswith("ing") and len(text) > 5:
        return f"{text[:-3]}e" if f"{text[:-3]}e" in _LIGHT_VERBS else text[:-3]
    if text.endswith(("ches", "shes", "sses", "xes", "zzes")):
        return text[:-2]
    if text.endswith("ies") and len(text) > 4:
        return text[:-3] + "y"
    return text.removesuffix("s")
