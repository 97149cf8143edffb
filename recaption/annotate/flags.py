"""Flags of sub-captions for sampling: openers, negations, sentences about the picture, fragments. English only.

Openers and negations are found by regular expressions over the beginning or the whole of one sub-caption, each written
so that it cannot backtrack beyond a few dozen characters; the other flags are derived from the words and their tags.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from recaption.annotate import lexicon as lex
from recaption.annotate.lexicon import word_set
from recaption.annotate.quotes import quoted
from recaption.annotate.tagged_words import FINITE, NOUNS, Token, lemma_of

_PICTURE = r"""(?:image|picture|photo(?:graph)?|scene|snapshot|shot|painting|illustration|drawing|artwork|view|portrait
    |screenshot|sketch|watercolou?r|rendering|close-?up|composition|selfie|collage|print|visual|depiction|cartoon
    |engraving|scan|still)"""
_THING = r"(?:chart|graph|diagram|plot|map|infographic|poster|logo|menu|receipt|page|document|flyer|form|table)"
_ADJ = r"(?:[a-z-]{2,20},?[ ]){0,4}?"  # "a close-up, black-and-white photo"
_OF = r"[ ](?:of|showing|depicting|featuring|capturing|that[ ](?:shows|depicts|features))[ ]"
_A_LOOK_AT = r"a[ ](?:glimpse|view|look)[ ](?:of|at|into)"
_SHOWS = rf"""(?:shows?|depicts?|features?|captures?|displays?|presents?|portrays?|illustrates?|showcases?|contains?
    |includes?|reveals?|offers|provides|consists[ ]of|is[ ](?:a|an)[ ]{_ADJ}{_PICTURE}[ ](?:of|showing|depicting
    |featuring)|is[ ]of|is[ ]set[ ](?:in|on|at|against)|is[ ]dominated[ ]by|is[ ]cent(?:ered|red)[ ](?:on|around)
    |appears?[ ]to[ ](?:show|be|depict|feature)|takes[ ]place[ ](?:in|on|at)|unfolds[ ](?:in|on|at)
    |(?:takes|transports|brings)[ ](?:us|you|the[ ]viewer)[ ](?:in|on|back[ ])?to
    |gives[ ](?:us|the[ ]viewer)[ ]{_A_LOOK_AT}
    |is(?=[ ](?:a|an)[ ](?:[a-z-]{{2,20}}[ ]){{0,3}}{_THING}\b))"""
_ALSO = r"(?:(?:also|prominently|clearly|vividly|mainly|primarily|beautifully|simply)[ ])?"
_SEE = r"""(?:we|you|one|i|viewers?|the[ ]viewer)[ ](?:can[ ]|could[ ]|may[ ])?(?:also[ ])?(?:clearly[ ])?
    (?:see|notice|observe|find|spot|make[ ]out|have)[ ](?:that[ ])?"""
_OPENER = re.compile(
    rf"""(?:
      (?:caption|description|answer|image|photo|picture|alt[ ]text)[ ]?:[ ]+(?-i:(?=[^\s.]+[ ][a-z]))
    | (?:sure|certainly|of[ ]course|here)[!,.:]?[ ](?:here[ ])?(?:is|are|'s)[ ][^:\n]{{0,80}}:\s*
    | (?:(?:overall|additionally|also|in[ ](?:summary|addition)),?[ ])?
      (?: (?:in|within)[ ](?:the|this)[ ]{_ADJ}{_PICTURE},[ ](?:{_SEE}|there[ ](?:is|are)[ ])?
        | (?:in|within)[ ](?:the|this)[ ]{_ADJ}{_PICTURE}[ ](?:{_SEE}|there[ ](?:is|are)[ ])
        | (?:the|this)[ ]{_ADJ}{_PICTURE}[ ]{_ALSO}{_SHOWS}[ ]
        | (?:this|it|here)[ ]is[ ](?:a|an)[ ]{_ADJ}{_PICTURE}{_OF}
        | (?:(?:a|an|the)[ ])?{_ADJ}{_PICTURE}{_OF}
        | (?:pictured|shown|seen|depicted|featured|displayed|visible)[ ](?:here|(?:in|within)[ ](?:the|this)[ ]{_ADJ}
          {_PICTURE})[ ](?:is|are)[ ]
        | what[ ](?:we|you|i)[ ](?:can[ ])?(?:see|have|describe)[ ](?:here[ ])?(?:is|are)[ ]
        | as[ ](?:we|you|one)[ ]can[ ]see(?:[ ](?:in|from)[ ](?:the|this)[ ]{_ADJ}{_PICTURE})?,?[ ]
        | we(?:[ ]are|'re|’re)[ ]looking[ ]at[ ]
        | here,?[ ]{_SEE}
        | the[ ]viewer[ ]is[ ](?:offered|given|presented[ ]with|treated[ ]to)[ ](?:{_A_LOOK_AT}[ ])?
        | {_SEE}
      )
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_SECOND_OPENER = re.compile(rf"(?:a|an)[ ]{_ADJ}{_PICTURE}{_OF}", re.IGNORECASE | re.VERBOSE)
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
      |without\ (?:a\ )?doubt|whether\ or\ not|if\ not|no\.\ ?\d|no\.(?=\s*\d)|no-?one\ else)""",
    re.IGNORECASE | re.VERBOSE,
)
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
    | .{0,100}\b(?:rule\ of\ thirds|off-cent(?:er|re)\b|leading\ lines|golden\ ratio|shallow\ depth\ of\ field)
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
    r"\b(?:blur\w*|out\ of\ focus|out-of-focus|unfocused|defocused|bokeh|in\ focus|soft\ focus)\b", re.X
)
_COMPLEMENT_TAGS = frozenset(("IN", "DT", "RP", "RB", "PRP$", "TO"))
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
_LIGHT_VERBS = word_set("""
    fall stream shine pour filter illuminate reflect cast flood hit enter come spill glow play dance glint sparkle gleam
    bounce glisten shimmer touch warm catch strike reach pass slip leak break glare drop
""")
_MAKERS = frozenset(("artist", "photographer", "painter", "illustrator", "cinematographer"))
_MAKER_VERBS = word_set("""
    uses used chooses chose chosen employs employed frames framed captures captured places placed conveys conveyed
    opted opts paints painted renders rendered strikes relies relied emphasizes emphasises draws invites shows manages
    balances
""")
_FACTS = frozenset(
    ("total", "number", "value", "price", "name", "title", "date", "sum", "average", "percentage", "result")
)
_HEADING_NOUNS = lex.DESCRIPTION | lex.ABOUT
_SHOW_VERBS = frozenset(("include", "show", "contain", "feature", "depict", "display"))
_MAX_ADVERBIAL = 14  # tokens of an adverbial before the subject
_MAX_COMPLEMENT = 16  # words read after the verb
_MAX_HEADING = 8


def _unquoted(text: str) -> str:
    """The text with quoted parts replaced by spaces, of the same length: a quotation is no statement of the caption."""
    inside = quoted(text)
    return text if inside is None else "".join(" " if hidden else c for c, hidden in zip(text, inside, strict=True))


def content_start(text: str) -> int:
    """The offset after a boilerplate opener ("The image shows …"); 0 without an opener or if nothing follows it."""
    match = _OPENER.match(text[:200])
    if match is None or not any(c.isalnum() for c in text[match.end() :]):
        return 0
    start = match.end()
    again = _SECOND_OPENER.match(text, start, start + 80)  # "What we have here is | a picture of | a river"
    return again.end() if again and any(c.isalnum() for c in text[again.end() :]) else start


def is_negation(text: str, words: Sequence[Token]) -> bool:
    """Whether the sentence states that something is absent or not the case. `words` are all words of the sentence."""
    if _NEGATIVE.isdisjoint([word.text for word in words]) and "n't" not in text and "n’t" not in text:
        return False  # the usual case
    return _NEGATION.search(_NOT_A_NEGATION.sub(" ", _unquoted(text))) is not None


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
    return any(word.text == "i" and after.tag in _AFTER_I for word, after in pairwise(words))


def is_meta(words: Sequence[Token], text: str, *, has_objects: bool, has_opener: bool, is_fragment: bool) -> bool:
    """Whether the sentence is about the picture, its making or the description, not about the content.

    The subject of the main clause decides. `words` are the words after an opener, outside quotes; `has_objects` states
    whether they name an object. Sentences that `is_assistant` accepts are not covered.
    """
    if _ABOUT_PICTURE.match(text[:160]) or (" be " in text and _UNDETERMINED.search(text)):
        return True
    if has_opener and has_objects:
        return False
    if is_fragment and len(words) <= _MAX_HEADING:
        return _is_heading(words)
    start = _main_clause(words)
    verb = next((i for i in range(start, len(words)) if words[i].tag in FINITE), len(words))
    if verb < len(words) and any(word.tag == "EX" for word in words[start:verb]):  # "There is a sense of calm"
        stated = _heads(words, verb + 1, len(words))[:1]
        if any(head in lex.ABOUT and head not in lex.PICTURES for head in stated):
            return True
        return not has_objects and any(head in lex.ABOUT or lex.is_abstract(head) for head in stated)
    heads = _heads(words, start, verb)
    if not heads:
        topic = _heads(words, 0, start)[:1]  # "As for the layout, it is clean"
        is_pronoun = start < len(words) and words[start].text in _PICTURE_PRONOUNS
        is_about = is_pronoun and any(head in lex.ABOUT for head in topic)
        return is_about or _states_picture(words, verb) or _has_effect(words, verb)
    first = words[start].text
    if first in _ALL:
        return any(_has_effect(words, i) for i in range(start, len(words)))
    if first in _PRONOUNS:
        return False
    if heads[0] in lex.PLACES:
        return words[start].tag != "IN" and _BLURRED.search(text) is not None
    if _is_about(words, start, verb, heads[0]):
        return True
    facts = heads[0] in lex.MEASURES or heads[0] in _FACTS or heads[0] in lex.PICTURES or first == "no"
    if lex.is_abstract(heads[0]) and not has_objects and not facts and verb < len(words):  # "The moment is full of joy"
        return words[verb].text in lex.COPULAS or _verb_lemma(words[verb]) in lex.EFFECTS
    return _has_effect(words, verb)


def _is_heading(words: Sequence[Token]) -> bool:
    """Whether the words only name a part of the description: "Notable Details", "Stock photo", "Lighting and mood:"."""
    nouns = [lemma_of(word) for word in words if word.tag in NOUNS]
    named = [word.text in _HEADING_NOUNS or lemma_of(word) in _HEADING_NOUNS for word in words if word.tag != ":"]
    if named[-1:] == [True] and all(word.tag != "IN" for word in words):
        return True
    return any(named) and all(noun in _HEADING_NOUNS for noun in nouns)


def _is_about(words: Sequence[Token], start: int, verb: int, head: str) -> bool:
    """Whether a sentence is about the picture whose subject is words[start:verb], with this head, before a verb."""
    first = words[start].text
    if head in _MAKERS:
        return any(word.text in _MAKER_VERBS for word in words[verb : verb + 4])
    if first in _INDEFINITE and (head in lex.PICTURES or head in _LIGHT or first == "no"):
        return False  # "A framed photograph on the wall shows the founder", "A light hangs", "No message is displayed"
    if head in _LIGHT:
        at = next((i for i in range(start, verb) if lemma_of(words[i]) == head), start)
        in_scene = at + 1 < len(words) and words[at + 1].tag == "VBG"  # "The light falling through the window"
        return not in_scene and verb < len(words) and _verb_lemma(words[verb]) not in _LIGHT_VERBS
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
            nouns = [lemma_of(word) for word in words[i:stop]]
            # "The composition draws the eye": the verb is wrongly tagged as a plural
            is_verb = len(nouns) > 1 and words[stop - 1].text.endswith("s") and nouns[-2] in lex.ABOUT
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
    """The base form of a verb in the third person singular: "reaches" -> "reach", "unifies" -> "unify"."""
    text = word.text
    if text.endswith(("ches", "shes", "sses", "xes", "zzes")):
        return text[:-2]
    if text.endswith("ies") and len(text) > 4:
        return text[:-3] + "y"
    return text.removesuffix("s")
