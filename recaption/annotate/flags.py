"""What a trainer wants to know about a sentence before it draws it: openers, negations, talk about the picture.

All are regular expressions over the beginning or the whole of one sub-caption, English only; each is written so that it
cannot backtrack beyond a few dozen characters.
"""

from __future__ import annotations

import re

from recaption.annotate.quotes import pairs

_PICTURE = (
    r"(?:image|picture|photo(?:graph)?|scene|snapshot|shot|painting|illustration|drawing|artwork|view|screenshot)"
)
_SHOWS = r"""(?:shows?|depicts?|features?|captures?|displays?|presents?|portrays?|illustrates?|showcases?|contains?|
    includes?|reveals?|consists\ of|is\ (?:a|an)\ (?:[a-z-]{3,20},?\ ){0,3}?(?:image|picture|photo(?:graph)?|view|shot|
    painting|illustration|close-?up)\ (?:of|showing|depicting|featuring)|is\ of|is\ set\ (?:in|on|at|against)|
    is\ dominated\ by|is\ centered\ (?:on|around)|appears?\ to\ (?:show|be|depict|feature)
    |takes\ place\ (?:in|on|at))"""
_ADJ = r"(?:[a-z-]{3,20},?\ ){0,3}?"  # "a close-up, black-and-white photo"
_OF = r"\ (?:of|showing|depicting|featuring|that\ (?:shows|depicts))\ "
_SEE = r"(?:we|you|one|i)\ (?:can\ )?(?:also\ )?(?:clearly\ )?see\ (?:that\ )?"
_OPENER = re.compile(
    rf"""(?:
      (?:sure|certainly|of\ course|here)[!,.:]?\ (?:here\ )?(?:is|are|'s)\ [^:\n]{{0,80}}:\s*
    | (?:(?:overall|additionally|also|in\ (?:summary|addition)),?\ )?
      (?: (?:in|within)\ (?:the|this)\ {_ADJ}{_PICTURE},\ (?:{_SEE}|there\ (?:is|are)\ )?
        | (?:in|within)\ (?:the|this)\ {_ADJ}{_PICTURE}\ (?:{_SEE}|there\ (?:is|are)\ )
        | (?:the|this)\ {_ADJ}{_PICTURE}\ (?:(?:also|prominently|clearly|vividly|mainly|primarily)\ )?{_SHOWS}[ ]
        | (?:this|it|here)\ is\ (?:a|an)\ {_ADJ}{_PICTURE}{_OF}
        | (?:a|an|the)\ {_ADJ}{_PICTURE}{_OF}
        | {_SEE}
      )
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_META_NOUN = r"""(?:image|picture|photo(?:graph)?|scene|composition|style|atmosphere|mood|lighting|perspective|angle
    |camera|caption|description|color\ palette|colour\ palette|tone|aesthetic|overall\ \w{3,15}|depth\ of\ field|framing
    |focus|quality|use\ of\ \w{3,15}|contrast|viewer|viewer's\ \w{3,12}|photographer|artist|ambiance|ambience
    |vibe|setting|effect)"""
_META = re.compile(
    rf"""(?:
      (?:overall|in\ (?:summary|conclusion|essence)|altogether),?\ (?:the|this|it|its)\b
    | (?:the|this|its|it's)\ (?:[a-z-]{{3,20}},?\ (?:and\ )?){{0,3}}?{_META_NOUN}
      (?:\ (?:of|in|and)\ the\ [a-z-]{{3,20}}|\ as\ a\ whole)?[ ]
      (?:is|are|was|has|have|appears?|seems?|conveys?|evokes?|creates?|suggests?|gives?|exudes?|reflects?|adds?
        |contributes?
        |enhances?|draws?|provides?|emphasi[sz]es?|highlights?|invites?
        |captures\ (?:a|the)\ (?:moment|essence|sense|feeling)|allows?|makes?|combines?|focuses)\b
    | (?:the|this)\ (?:image|picture|photo(?:graph)?|description|caption)\b.{{0,40}}\b
      (?:taken|composed|focused|cropped|edited)\b
    | (?:i\ am|i'm)\ (?:sorry|unable|not\ able)\b
    | i\ (?:cannot|can't|do\ not|don't)\b
    | as\ an?\ (?:ai|language\ model)\b
    | (?:note|disclaimer)\ ?:
    | based\ on\ the\ (?:image|picture|photo|description)\b
    | (?:let\ me\ know|please)\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_LABEL = re.compile(r"[^.!?\n]{1,60}:\Z")
_NEGATION = re.compile(
    r"""\b(?:
      there(?:\ (?:is|are|was|were|appears?\ to\ be|seems?\ to\ be)|'s)
      \ (?:also\ )?(?:no|not|n't|nothing|none|nobody|neither)\b
    | (?:is|are|was|were)n't\b | (?:do|does|did)(?:\ not|n't)\b | (?:is|are|was|were)\ not\b(?!\ only)
    | can(?:not|'t|\ not)\b
    | (?:has|have|had|with|contains?|shows?|features?|displays?|includes?)\ no\b(?!\ (?:parking|smoking|entry))
    | no\ (?:[a-z-]{2,20}\ ){1,4}?(?:is|are|was|were|can|appears?|seems?)\b
    | (?:devoid|absence|lack)\ of\b | lack(?:s|ing)\b | (?:is|are)\ (?:absent|missing)\b
    | nothing\b | nobody\b | none\ of\b
    | neither\b | without\ (?:any|a\ single)\b | free\ of\ (?:any\ )?[a-z]+
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_NO_FIRST = re.compile(
    r"(?:no|without any)\ (?!one\ else|doubt|parking|smoking|entry|longer)[a-z]", re.IGNORECASE | re.VERBOSE
)


def unquoted(text: str) -> str:
    """The text with everything inside quotes blanked out, same length: what a sign says is not what is said."""
    out = text
    for start, end, is_quote in pairs(text):
        if is_quote:
            out = out[: start + 1] + " " * (end - start - 1) + out[end:]
    return out


def content_start(text: str) -> int:
    """Offset behind a boilerplate opener ("The image shows …"), 0 without one or with nothing behind it."""
    match = _OPENER.match(text[:200])
    if match is None or not any(c.isalnum() for c in text[match.end() :]):
        return 0
    return match.end()


def is_negation(text: str) -> bool:
    """Whether the sentence says what is not there."""
    bare = unquoted(text)
    return _NO_FIRST.match(bare) is not None or _NEGATION.search(bare) is not None


def is_meta(text: str, *, has_content: bool) -> bool:
    """Whether it speaks about the picture or the description instead of what is in it.

    `has_content`: behind an opener it names objects, so it is about them.
    """
    if _LABEL.fullmatch(text):
        return True
    return not has_content and _META.match(text[:240]) is not None
