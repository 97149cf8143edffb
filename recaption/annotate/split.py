"""Splits a caption into sentence-level spans by rules, in linear time.

First the text is divided into blocks (`blocks.py`): lines, list items, headings and Markdown labels, without their
markers. Then each block is divided into sentences: every run of full stops is a candidate, and its context decides.

Spans are exact (`text[start:end]`), ordered and disjoint; only white space and list markers (`is_gap`) are outside
them. A model would help only with texts without punctuation: on long captions, the rules make a sixth as many errors
as a trained sentence splitter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from recaption.annotate.blocks import blocks, trim
from recaption.annotate.lexicon import word_set, words
from recaption.quotes import enclosed

VERSION = "3"
"""Version of `split`. Enters the build fingerprint: raise it whenever a span may change."""

Span = tuple[int, int]

WIDE_STOPS = "。！？｡．।॥؟۔።။។︒"  # always end a sentence
_STOP = re.compile(rf"[.!?…‥]+[{WIDE_STOPS}]*|[{WIDE_STOPS}]+[.!?…]*|[؛]|‼|⁉")
_CLOSERS = re.compile(r"(?:[\"'”’»›」』）】》\)\]\}]|\*{1,3}|__?){0,6}")
_FACES = "\u2600-\u27bf\u2b50\u2b55\U0001f000-\U0001faff"
_FACE = f"[{_FACES}][\ufe0f\u200d\U0001f3fb-\U0001f3ff]*"
_EMOJI = re.compile(f"{_FACE}(?: ?{_FACE})*")
_CANDIDATE = re.compile(
    f"{_STOP.pattern}|(?P<emoji>{_EMOJI.pattern})|(?P<bar>(?<=\\s)\\|(?=\\s|$))|(?P<item>(?<!\\S)\\d{{1,2}}\\)(?=\\s))"
)
_CANDIDATE_START = re.compile(rf"[.!?…‥{WIDE_STOPS}؛‼⁉{_FACES}|\d]")  # found much faster than a candidate
_FOLLOWING_EMOJI = re.compile(f" ?{_EMOJI.pattern}")
_SPACE = re.compile(r"\s*")
_OPENERS = re.compile(r"(?:[\"'“‘«‹「『（【《\(\[\{]|\*{1,3}|__?){0,6}")
_SPACED_QUOTE = re.compile(r" [\"”’»›](?!\w)")
_GLUED_QUOTE = re.compile(r"[\"“«](?=[^\W\d_])")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_WORD_BEFORE = re.compile(r"[\w.&'’-]+\Z")
_NUMBER_ITEM = re.compile(r"(\d{1,2})[.)]\s+(?=[\"“(*]*[^\W\d_])")
_SECOND_ITEM = {".": re.compile(r"\s2\.\s"), ")": re.compile(r"\s2\)\s")}
_MAX_ITEM = 400  # characters
_MAX_BEFORE = 40  # characters; abbreviations and numbers are shorter

_STARTERS = word_set("""
    A Above Across Additionally Adjacent All Along Alongside Also Although Among And Another Around As At Atop Because
    Behind Below Beneath Beside Besides Between Beyond Both But By Despite Directly During Each Every Everything Far
    Farther Few Finally First Five For Four From Further Furthermore He Her Here His How However If In Inside Into It
    Its Just Lastly Many Meanwhile Moreover Most Multiple My Near Nearby Next No Nobody None Not Nothing Notably
    Numerous On One Only Onto Opposite Or Other Others Our Out Outside Over Overall People Perhaps Second Several She
    Similarly Since Six So Some Such Surrounding That The Their Then There These They Third This Those Though Three
    Through Throughout To Together Toward Towards Two Under Underneath Until Up Upon Various Visible We What When
    Where Which While Who With Within Without Yet You Your An
""")
"""Words that, capitalised, begin a sentence even after an abbreviation."""

_TITLES = word_set("""
    mr mrs ms mx dr prof st mt ft gen sgt capt lt col maj cmdr adm rev hon pres gov sen rep fr sra messrs mlle mme
    sgts drs supt insp
""")
"""Abbreviations that never end a sentence before a name."""

_CONTINUES = word_set("e.g i.e eg ie cf vs v.s viz incl esp resp aka a.k.a w.r.t approx")
"""Abbreviations that never end a sentence."""

_NUMBERED = word_set("""
    no nos nr fig figs vol vols p pp ch chap sec sect art eq ca c circa est rte hwy rt max min ver ed pt apt
""")
"""Abbreviations that do not end a sentence before a number."""

_DAYS = word_set("""
    monday tuesday wednesday thursday friday saturday sunday mon tue wed thu fri sat sun january february march april
    may june july august september october november december est edt pst pdt cst cet gmt utc bst
""")
"""Words that continue the sentence after "a.m." and "p.m."."""

_MONTHS = word_set("""
    jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri
""")
"""Abbreviations that do not end a sentence before a number, nor before another word unless it is a starter."""

_UNCERTAIN: dict[str, bool] = {
    **dict.fromkeys(
        words("""
    inc ltd co corp bros jr sr u.s u.k u.s.a d.c ph.d m.d b.a m.a dept univ assn
    """),
        True,
    ),
    **dict.fromkeys(words("ave blvd rd ln pkwy sq hts bldg r.i.p a.d b.c b.c.e c.e ltda gmbh"), True),
    **dict.fromkeys(
        words("""
    etc et al in cm mm km kg lb lbs oz ml hr hrs sec mins mph gal qt yd yds
    """),
        False,
    ),
}
"""Abbreviations that may end a sentence. True: the sentence continues unless a starter follows. False: it ends before
any capital letter."""


def split(text: str) -> list[Span]:
    """The spans of the sentences of `text`, in order, as (start, end) code points, half-open."""
    lower_style = _is_lower_style(text)
    inside = enclosed(text)
    spans: list[Span] = []
    for start, end in blocks(text):
        for a, b in _sentences(text, start, end, inside, lower_style):
            a, b = trim(text, a, b)
            if a < b:
                spans.append((a, b))
    return spans


def has_end(text: str) -> bool:
    """Whether the text ends with a full stop of any script, possibly followed by closing marks or emoji."""
    tail = text[-48:].rstrip()
    if tail.endswith((".", "!", "?")):
        return True  # the usual case
    emoji = None
    for match in _EMOJI.finditer(tail):
        emoji = match
    if emoji is not None and emoji.end() == len(tail):
        tail = tail[: emoji.start()].rstrip() or "."  # emoji close a sentence
    return tail.rstrip("\"'”’»›」』）】》)]}*_ ").endswith((".", "!", "?", "…", "‥", "‼", "⁉", "؛", *WIDE_STOPS))


def _is_lower_style(text: str) -> bool:
    """Whether sentences start without a capital letter, as in alt texts and the output of some models. In such a text,
    a lower-case word does not show that a sentence continues."""
    first = re.search(r"[^\W\d_]", text[:200])
    return first is not None and first[0].islower()


def _sentences(text: str, start: int, end: int, inside: bytearray, lower_style: bool) -> Iterator[Span]:
    item = 2  # the next number of an enumeration within a line: "1. A dog 2. A cat"
    begin = pos = start
    numbered = re.match(r"\s*1[.)]\s", text[max(0, start - 4) : start][-4:]) is not None
    while pos < end:
        match = _candidate(text, pos, end)
        if match is None:
            break
        pos = match.end()
        if match.lastgroup == "emoji":
            if _starter_follows(text, pos, end) and begin < match.start():
                yield begin, pos
                begin = pos
            continue
        if match.lastgroup == "bar":  # "A kitchen | Stock photo", but not "yellow | jaune" in quotes
            if inside[match.start()]:
                continue
            yield begin, match.start()
            begin = pos
            continue
        is_item = match.lastgroup == "item"  # "2)"
        if numbered and (match[0] == f"{item})" if is_item else _is_next_item(text, match.start(), end, item)):
            yield begin, match.start() - (0 if is_item else len(str(item)))
            begin, item = pos, item + 1
            continue
        first = match.start() if is_item else match.start() - 1
        if (
            text.startswith(("1.", "1)"), first)
            and text[max(begin, first - 8) : first].rstrip().endswith(":")
            and _SECOND_ITEM[text[first + 1]].search(text, pos, min(end, pos + _MAX_ITEM))
        ):
            yield begin, first  # "Three things: 1. A dog 2. A cat"
            begin, item, numbered = pos, 2, True
            continue
        if is_item:
            continue
        boundary = _boundary(text, match, end, inside, lower_style)
        if boundary is None:
            continue
        yield begin, boundary
        begin = pos = boundary
        listed = _NUMBER_ITEM.match(text, _SPACE.match(text, pos, end).end(), end)  # type: ignore[union-attr]
        if listed:  # a marker after a sentence end: "A dog. 2. A cat."
            begin = pos = listed.end()
    if begin < end:
        yield begin, end


def _candidate(text: str, pos: int, end: int) -> re.Match[str] | None:
    while (first := _CANDIDATE_START.search(text, pos, end)) is not None:
        if (match := _CANDIDATE.match(text, first.start(), end)) is not None:
            return match
        pos = first.end()
    return None


def _is_next_item(text: str, stop: int, end: int, item: int) -> bool:
    digits = str(item)
    at = stop - len(digits)
    return (
        text[at:stop] == digits
        and text[at - 1 : at].isspace()
        and text[stop + 1 : stop + 2].isspace()
        and bool((after := text[stop + 2 : min(end, stop + 3)]) and (after.isupper() or after in '"“*('))
    )


def _starter_follows(text: str, at: int, end: int) -> bool:
    """Whether a space and a capitalised sentence starter come after `at`. Then emoji before `at` end a sentence."""
    after = _SPACE.match(text, at, end).end()  # type: ignore[union-attr]
    word = _WORD.match(text, after, min(end, after + 24))
    return after > at and word is not None and word[0] in _STARTERS


def _boundary(text: str, stop: re.Match[str], end: int, inside: bytearray, lower_style: bool) -> int | None:
    """Where the sentence ends, if it ends at `stop`; None if it continues."""
    at = stop.end()
    if stop[0] == "." and at + 1 < end and text[at] == " " and text[at + 1].isupper() and not inside[at - 1]:
        capital = _WORD.match(text, at + 1, min(end, at + 25))  # most stops: ". The"
        is_abbreviation = _is_abbreviation(text, at - 1, text[at + 1], capital[0] if capital else "", lower_style)
        return None if is_abbreviation else at
    closed = _CLOSERS.match(text, stop.end(), end).end()  # type: ignore[union-attr]
    closed = _drop_openers(text, stop.end(), closed, end)
    if closed == stop.end() and inside[stop.start()] and _SPACED_QUOTE.match(text, closed, end):
        closed += 0 if inside[closed + 1] else 2  # `"Stop. " The dog`
    if closed == stop.end() < end - 1 and text[closed] in '"”»' and inside[stop.start()] > inside[closed]:
        glued = _WORD.match(text, closed + 1, min(end, closed + 24))
        if glued and glued[0] in _STARTERS and glued[0] != "A":
            return closed + 1  # `"Stop."The dog`
    if inside[stop.start()] and not (closed > stop.end() and not inside[min(closed, len(text) - 1)]):
        return None
    if closed >= end:
        return end
    if any(c in WIDE_STOPS for c in stop[0]):
        continues = closed > stop.end() and not text[closed].isspace()  # 「…。」と言った
        return None if continues else _with_emoji(text, closed, end)
    if not text[closed].isspace() and not _EMOJI.match(text, closed, end):
        return closed if closed == stop.end() and _is_glued(text, stop, end) else None
    after = _with_emoji(text, closed, end)
    nxt = _SPACE.match(text, after, end).end()  # type: ignore[union-attr]
    nxt = _OPENERS.match(text, nxt, end).end()  # type: ignore[union-attr]
    if nxt >= end:
        return end
    head = text[nxt]
    word_match = _WORD.match(text, nxt, min(end, nxt + 24))
    word = word_match[0] if word_match else ""
    if head.islower() and not lower_style and after == closed:
        return None
    if stop[0] == "." and closed == stop.end() and _is_abbreviation(text, stop.start(), head, word, lower_style):
        return None
    if lower_style and head.islower() and (word in _CONTINUES or len(stop[0]) > 1 or "…" in stop[0]):
        return None
    if head in ",;:)]}%/&=.!?…" or (head in "-–—" and text[nxt + 1 : nxt + 2].isspace()):
        return None
    return after


def _drop_openers(text: str, start: int, closed: int, end: int) -> int:
    """The end of the closing marks text[start:closed]; `start` if they open the next sentence: `Stop."Go`."""
    return (
        start if closed < end and closed > start and text[closed].isalnum() and text[closed - 1] in "\"'*_" else closed
    )


def _with_emoji(text: str, at: int, end: int) -> int:
    match = _FOLLOWING_EMOJI.match(text, at, end)
    return match.end() if match else at


def _is_glued(text: str, stop: re.Match[str], end: int) -> bool:
    """Whether two sentences meet at `stop` without a space: a lower-case word before, and right after it a capitalised
    sentence starter or a quote that begins with a capital, as in `on the table.The dog` or `windows."TREASURE" is`."""
    word = _WORD.match(text, stop.end(), min(end, stop.end() + 24))
    before = text[max(0, stop.start() - 3) : stop.start()]
    if _GLUED_QUOTE.match(text, stop.end(), end) and text[stop.end() + 1].isupper():
        return len(before) == 3 and before.isalpha() and before.islower()
    if not (word and word[0] in _STARTERS and text[stop.end()].isupper()):
        return False
    return len(before) == 3 and before.isalpha() and before.islower() and text[word.end() : word.end() + 1].isspace()


def _is_abbreviation(text: str, stop: int, head: str, word: str, lower_style: bool) -> bool:
    """Whether the full stop at `stop` belongs to an abbreviation or initial and `word` continues the sentence."""
    begin = max(0, stop - _MAX_BEFORE)
    match = _WORD_BEFORE.search(text, max(begin, text.rfind(" ", begin, stop)), stop)
    if match is None:
        return False
    before = match[0].lstrip("'’-&.")
    low = before.lower()
    starter = word in _STARTERS if not lower_style else word.lower() in _LOWER_STARTERS
    if low in _TITLES:
        return not (starter and low in ("st", "mt", "ft") and _capital_before(text, match.start()))
    if low in _CONTINUES:  # e.g. i.e. cf. vs.
        return True
    if head.isdigit() and (low in _NUMBERED or low in _MONTHS):
        return True
    if low in _MONTHS:
        return not starter and not lower_style
    if low in ("a.m", "p.m"):
        return word.lower() in _DAYS or head.isdigit()
    if low in _UNCERTAIN:
        return _UNCERTAIN[low] and not starter
    if len(before) == 1 and before.isalpha():
        # "J. Smith" continues, "vitamin C. The" does not, "I." is the pronoun
        return not starter and (not lower_style or before.isupper())
    if "." in before and all(len(part) <= 1 for part in before.split(".")) and before[0].isalpha():
        return not starter  # U.S. Army, J.R.R. Tolkien
    return False


_LOWER_STARTERS = frozenset(word.lower() for word in _STARTERS)


def _capital_before(text: str, at: int) -> bool:
    """Whether the word before `at` is capitalised and no starter: in `Main St. The`, "St." means street and may end the
    sentence."""
    words = text[max(0, at - _MAX_BEFORE) : at].split()
    return bool(words) and words[-1][:1].isupper() and words[-1] not in _STARTERS


FLAIR_VERSION = "1"
"""Version of `split_like_flair`. Enters the build fingerprint."""
_FLAIR_BREAK = re.compile(r"\n|</s>|[.]")


def split_like_flair(text: str) -> list[Span]:
    """The spans of the pieces that FLAIR's own splitter returns, in order, as (start, end) code points, half-open.

    Source: `split_caption` in src/data.py of github.com/ExplainableML/flair: `re.split(r'\\n|</s>|[.]', text)`,
    stripped, without empty pieces. It drops full stops, cuts decimals and abbreviations, and ignores ! and ?. Use it to
    compare a dataset with the published ones.
    """
    spans: list[Span] = []
    start = 0
    for end, following in [*(match.span() for match in _FLAIR_BREAK.finditer(text)), (len(text), len(text))]:
        piece = text[start:end]
        left = start + len(piece) - len(piece.lstrip())
        right = left + len(piece.strip())
        if left < right:
            spans.append((left, right))
        start = following
    return spans
