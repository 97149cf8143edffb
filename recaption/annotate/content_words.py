"""The words of a text that state something, as opposed to articles, auxiliaries and words about the picture."""

from __future__ import annotations

import re
from typing import Final

from recaption.annotate.lexicon import word_set

STOP_WORDS: Final = word_set("""
    a an the and also is are was were be been being it its this that these those there here which who whose of to has
    have having had very quite some can could may seen see sees visible appear appears seems seem we image picture
    photo as at by with their his her they he she them him while so such do does then than too both other another each
    one well just only additionally overall additional furthermore moreover located positioned situated placed any t
    wear wears wearing worn wore s in on for from into onto about around round roughly approximately bit slightly made
    various different single atmosphere mood feeling ambiance ambience vibe sense scene conveys convey conveying
    creates create creating gives give giving adds add evokes evoke exudes exude lends lend impression feel feels
    whole due
""")
"""English words that are no content words."""
WORD: Final = re.compile(r"[^\W_]+")


def content_words(text: str) -> list[tuple[int, int]]:
    """The spans of the content words of a text, in code points; of all its words if it has no content words."""
    found = [match.span() for match in WORD.finditer(text)]
    return [span for span in found if text[slice(*span)].casefold() not in STOP_WORDS] or found
