"""Openers: words at the beginning of a sentence that would fit any picture and only introduce its content.

"The image shows", "A high-angle, close-up shot captures", "Captured from a low angle,", "The primary focus is on".
English only. Each pattern is anchored and cannot backtrack beyond a few dozen characters. Several may follow each
other: "Captured at eye-level, | the photograph shows | a view of | a town".

A picture that is itself in the scene has no opener: "A photo of a soldier lies on a desk" is about the photo.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from recaption.annotate.tagged_words import FINITE, Token

_PICTURE = r"""(?:image|picture|photo(?:graph)?|scene|snapshot|shot|painting|illustration|drawing|artwork|view|portrait
    |screenshot|sketch|watercolou?r|rendering|close-?up|composition|selfie|collage|print|visual|depiction|cartoon
    |engraving|scan|still|perspective|angle|panorama|frame|video|footage)"""
_THING = r"(?:chart|graph|diagram|plot|map|infographic|poster|logo|menu|receipt|page|document|flyer|form|table)"
_WORD = r"(?!(?:of|on|in|at|to|with|the|a|an|is|are|by|for|behind|under|near|beside|above|below)\b)[\w'’-]{1,20}"
_ADJ = rf"(?:{_WORD},?[ ]){{0,6}}?"  # "a close-up, black-and-white photo"
_DAY = r"""(?:day|night|morning|afternoon|evening|dusk|dawn|sunset|sunrise|twilight|daylight|sunlight|daytime
    |nighttime)"""
_CAMERA = rf"""(?:eye[ -]?level|{_PICTURE}|vantage(?:[ ]point)?|viewpoint|point[ ]of[ ]view|above|overhead|aloft
    |distance|lens|camera|bird['’]s[ -]eye|worm['’]s[ -]eye|high[ ]up|ground[ -]level)"""
_WHEN = rf"""(?:[ ](?:taken|captured|shot|photographed))?[ ](?:at[ ](?:{_DAY}|eye[ -]?level)|on[ ]an?[ ]{_ADJ}{_DAY}
    |in[ ](?:{_DAY}|black[ ]and[ ]white|a[ ]{_ADJ}style)|during[ ](?:the[ ])?{_ADJ}{_DAY}
    |from[ ](?:above|below|(?:a|an|the)[ ]{_ADJ}{_CAMERA}))"""
_SENT = r"[ ](?:that[ ])?(?:you|i|we)(?:[ ]have|['’]ve)?[ ](?:sent|shared|provided|uploaded|attached|gave|posted)"
_OF = r"[ ](?:of|showing|depicting|featuring|capturing|showcasing|that[ ](?:shows|depicts|features|captures))[ ]"
_GLIMPSE = r"an?[ ](?:\w+[ ])?(?:glimpse|view|look)[ ](?:of|at|into)"
_AT = r"""(?:[ ](?:in(?![ ]front[ ])|on|at(?![ ]night)|during)
    |(?=[ ](?:in[ ]front|outdoors|outside|indoors|inside)\b))"""
_SHOWS = rf"""(?:shows?|depicts?|features?|captures?|displays?|presents?|portrays?|illustrates?|showcases?|contains?
    |includes?|reveals?|highlights?|offers|provides|consists[ ]of|is[ ](?:a|an)[ ]{_ADJ}{_PICTURE}[ ](?:of|showing
    |depicting|featuring|capturing)|is[ ]of|is[ ]set(?:[ ]against|{_AT})|is[ ]dominated[ ]by
    |(?:is[ ]cent(?:ered|red)|cent(?:er|re)s)[ ](?:on|around)|revolves[ ]around
    |(?:appears?|seems?)[ ]to[ ](?:be[ ](?:set|taking[ ]place|taken){_AT}|show|be|depict|feature)
    |(?:takes[ ]place|is[ ]taking[ ]place|unfolds){_AT}
    |(?:is|was)[ ]taken[ ](?:in|at|on|inside)(?=[ ](?:an?|the)[ ](?![^,.]{{0,20}}(?:angle|distance|height)))
    |(?:focuses|zooms[ ]in)[ ]on
    |(?:takes|transports|brings|immerses|places)[ ](?:us|you|the[ ]viewer)[ ](?:in|on|back[ ])?(?:to)?
    |gives[ ](?:us|the[ ]viewer)[ ]{_GLIMPSE}
    |is(?=[ ](?:a|an)[ ](?:[a-z-]{{2,20}}[ ]){{0,3}}{_THING}\b))"""
_ALSO = r"(?:(?:also|prominently|clearly|vividly|mainly|primarily|beautifully|simply)[ ])?"
_SEE = r"""(?:we|you|one|i|viewers?|the[ ]viewer)[ ](?:can[ ]|could[ ]|may[ ])?(?:also[ ])?(?:clearly[ ])?
    (?:sees?|notices?|observes?|finds?|spot|make[ ]out|have)[ ](?:that[ ])?"""
_ASPECT = r"(?:setting|location|(?:primary|main|central|sole)?[ ]?(?:focus|subject)|focal[ ]point|cent(?:er|re)piece)"
_IS = r"(?:is|are|appears[ ]to[ ]be|seems[ ]to[ ]be)"
_NP = r"(?=(?:an?|the|one|two|three|four|five|his|her|its|several|some)[ ])"
_ASIDE = rf"""(?:
      (?:captured|photographed|shot|filmed|snapped)(?:[ ]in)?[ ]
        (?=[^,.;:]{{0,90}}?\b(?:{_CAMERA}|{_DAY}|indoors|outdoors|black[ ]and[ ]white)\b)
    | (?:taken|seen|viewed|framed|presented|rendered|looking|set)[ ]
        (?=(?:from|in|at|with|through)[ ][^,.;:]{{0,80}}?\b{_CAMERA}\b)
    )[^,.;:]{{3,110}}(?:,[ ](?:{_WORD}[ ]){{0,3}}{_CAMERA})*,[ ]
    | (?:in|from|at|with)[ ](?:(?:a|an|this|the)[ ])?(?:{_WORD},?[ ]){{0,5}}?(?:shot|perspective|angle|close-?up
        |eye[ -]level|vantage[ ]point|viewpoint|point[ ]of[ ]view)(?:{_WHEN})?,[ ]
    | (?:taken|captured|shot|photographed|filmed|snapped|painted|drawn|rendered|set)[ ][^,.;:]{{3,60}},[ ]
        (?=(?:the|this)[ ](?:{_WORD}[ ]){{0,3}}?{_PICTURE}[ ]{_ALSO}{_SHOWS}[ ])
    | (?:centered|centred)[ ]and[ ]in[ ](?:\w+[ ])?focus,[ ]"""
PARTS_OF_ANSWERS = r"""(?:description|caption|summary|narrative|breakdown|overview|analysis|noticed?|see|details
    |observations|points|look)"""
"""What "Here is" announces when the model speaks of its answer, not of the picture."""
_LABEL = re.compile(
    rf"""(?:caption|description|answer|image|photo|picture|alt[ ]text)[ ]?:[ ]+(?-i:(?=[^\s.]+[ ][a-z]))
    | (?:(?:sure|certainly|absolutely|of[ ]course)[!,.:][ ])?(?:here|below)(?:[ ]is|[ ]are|['’]s)
      (?:[ ][^:.\n]{{0,60}}\b{PARTS_OF_ANSWERS}\b[^:.\n]{{0,100}})?:\s*""",
    re.IGNORECASE | re.VERBOSE,
)
_ADVERB = re.compile(r"(?:overall|additionally|also|in[ ](?:summary|addition)),?[ ]", re.IGNORECASE | re.VERBOSE)
_OPENERS = re.compile(
    rf"""(?:
      (?P<aside>{_ASIDE})
    | (?:in|within)[ ](?:the|this)[ ]{_ADJ}{_PICTURE},?[ ](?:{_SEE}|there[ ](?:is|are)[ ])
    | (?:in|within)[ ](?:the|this)[ ]{_ADJ}{_PICTURE},[ ]
    | (?:(?:a|an|the|this|another)[ ])?{_ADJ}{_PICTURE}(?:{_WHEN}|,{_WHEN},|{_SENT})?
      (?:[ ]{_ALSO}{_SHOWS}[ ]|(?P<noun>{_OF}))
    | (?:this|it|here)(?:[ ]is|['’]s|[ ](?:appears|seems)[ ]to[ ]be)[ ](?:a|an)[ ]{_ADJ}{_PICTURE}{_OF}
    | (?:this|it|here)(?:[ ]is|['’]s)[ ](?=an?[ ](?:[\w-]{{2,20}}[ ]){{0,3}}{_THING}\b)
    | (?:pictured|presented|shown|seen|depicted|featured|displayed|visible)[ ]
      (?:(?:here|(?:in|within)[ ](?:the|this)[ ]{_ADJ}{_PICTURE})[ ])?(?:is|are)[ ]{_NP}
    | what[ ](?:we|you|i)[ ](?:can[ ])?(?:see|have|describe)[ ](?:here[ ])?(?:is|are)[ ]
    | as[ ](?:we|you|one)[ ]can[ ]see(?:[ ](?:in|from)[ ](?:the|this)[ ]{_ADJ}{_PICTURE})?,?[ ]
    | we(?:[ ]are|['’]re)[ ](?:looking[ ]at|immersed[ ]in|presented[ ]with|shown)[ ]
    | here,?[ ]{_SEE}
    | the[ ]viewer[ ]is[ ](?:offered|given|presented[ ]with|treated[ ]to)[ ](?:{_GLIMPSE}[ ])?
    | {_SEE}
    | (?:the|this|its)[ ](?:(?![\w-]+['’]s)(?:{_WORD})[ ]){{0,2}}?{_ASPECT}
      (?:[ ](?:of|in)[ ](?:the|this)[ ]{_ADJ}{_PICTURE})?[ ]
      (?:here[ ])?{_IS}[ ](?:(?:on|in)[ ])?{_NP}
    | (?:the|this)[ ]{_ADJ}scene[ ]is[ ](?=an?[ ])
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_AGAIN = re.compile(
    rf"""(?:a|an|the)[ ](?:{_WORD},?[ ]){{0,4}}?(?:{_PICTURE}{_OF}|(?:view|glimpse|look|details|beauty|essence|sight)
    [ ](?:of|at|into)[ ])""",
    re.IGNORECASE | re.VERBOSE,
)
_PICTURE_NEXT = re.compile(rf"(?:the|this)[ ]{_ADJ}{_PICTURE}\b", re.IGNORECASE | re.VERBOSE)
_RELATIVE = frozenset(
    ("that", "who", "which", "where", "while", "as", "whose", "because", "when", "what", "and", "but", ";")
)
_LONGEST = 260  # characters in which openers are looked for
_MOST = 4  # openers in a row


def content_start(text: str, words: Sequence[Token], start: int) -> int:
    """The offset after the openers of a sentence; 0 without one, or if nothing follows it.

    `words` are the tokens of the sentence, which begins at `start` in its caption.
    """
    head = text[:_LONGEST]
    match = _LABEL.match(head) if ":" in head else None
    at = match.end() if match else 0
    if (adverb := _ADVERB.match(head, at)) and _OPENERS.match(head, adverb.end()):
        at = adverb.end()
    for _ in range(_MOST):
        match = _OPENERS.match(head, at)
        if match and _is_content(match, head, words, start):
            match = None
        if match is None and at and (match := _AGAIN.match(head, at)) and _is_subject(words, start + match.end()):
            match = None
        if match is None:
            break
        at = match.end()
    return at if any(c.isalnum() for c in text[at:]) else 0


def _is_content(match: re.Match[str], head: str, words: Sequence[Token], start: int) -> bool:
    """Whether the match is not an opener: it is the subject of the sentence ("A photo of a soldier lies on a desk"), or
    it introduces only a statement about the picture ("Shot from a low angle, the picture emphasizes the height")."""
    end = match.end()
    if match["noun"]:  # "The composition of the photo is" is about the photo
        return _is_subject(words, start + end) or _PICTURE_NEXT.match(head, end) is not None
    return bool(match["aside"] and _PICTURE_NEXT.match(head, end) and not _OPENERS.match(head, end))


def _is_subject(words: Sequence[Token], begin: int) -> bool:
    """Whether the words before `begin` ("A photo of") are the subject of a later verb, and so name a thing in the
    picture: a finite verb follows, and no relative pronoun comes before it."""
    for i, word in enumerate(words):
        if word.start < begin:
            continue
        if word.text == "and" and i + 1 < len(words) and words[i + 1].tag == "VBG":
            continue  # "A painting of a man wearing a hat and holding a book hangs on the wall"
        if word.text in _RELATIVE:
            return False
        is_participle = word.tag == "VBD" and word.text not in ("was", "were", "had")  # it may be a participle
        if word.tag in FINITE and not is_participle:
            return True
    return False
