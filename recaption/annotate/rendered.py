"""Whether a sentence only tells how known things are rendered: "The flowers, in sharp focus, contrast with the blurred
background, creating a striking image", "The focus is on the child". English only.

Every word before an effect ("…, creating") has to be about sharpness, about the focal point, or name something that is
known. A number, an attribute, a side or any other verb makes the sentence content.
"""

from __future__ import annotations

from collections.abc import Sequence

from recaption.annotate.lexicon import word_set
from recaption.annotate.stated import effect_start, is_known
from recaption.annotate.tagged_words import BE, FINITE, NOUNS, Token, lemma_of

_SHARPNESS = word_set("blurred blurry blur blurs unfocused defocused bokeh focus focal subject subjects")
"""Each such sentence has one of these words."""
_RENDERING = (
    _SHARPNESS
    | BE
    | word_set("""
    sharp sharper sharply soft softly softer crisp clear clearly slight fuzzy hazy hard difficult make out
    to in into on of from with against between while and as rather than for
    background backdrop image picture photo photograph shot frame scene composition depth field surroundings
    environment context setting element elements detail details attention
    point star center centre main primary central secondary sole immediate surrounding
    remain remains remaining appear appears fade fades contrast contrasts blend set kept rendered captured
    centrally indicating serving serve serves provide places framing
    less distinct approximately emphasize draw thirds majority entire whole most other rest overall
    """)
)
"""Words that tell nothing that can be seen of a thing."""
_BACKGROUNDS = word_set("background backdrop foreground role element")
_BEING = frozenset(("background", "surroundings", "environment", "rest"))
_NEUTRAL_TAGS = frozenset(("DT", "PRP$", "POS", "HYPH", ",", "."))
_NOT_NEUTRAL = word_set("no those these")
_OWNED = frozenset(("PRP$", "POS"))
_FINITE_TEXTS = word_set("fade contrast blend")  # often tagged as nouns
_SHAPES = frozenset(("edge", "outline", "foreground"))  # blurred edges are a look, and "in the foreground" is a place
_SHOWN = frozenset(("capturing", "showcasing"))
_PICTURED = _SHOWN | {"demonstrating", "displaying", "taking", "filling", "occupying"}
"""Words that begin what the picture shows of the thing: "…, showcasing her skill"."""
_PLACES_OR_ACTS = frozenset(("being", "left", "right"))
_MAX_WORDS = 60


def may_be_rendered(text: str) -> bool:
    """A quick search for the words of `_SHARPNESS`."""
    return "foc" in text or "blur" in text or "subject" in text or "bokeh" in text


def is_rendered(words: Sequence[Token], visible: Sequence[int], *, is_focus: bool) -> bool:
    """Whether the sentence only tells how known things are rendered, or which of them is the focal point. `visible` has
    the offsets, in the caption, of the things it names; `is_focus`: `words` are what an opener calls the focus."""
    if len(words) > _MAX_WORDS or not (is_focus or any(word.text in _SHARPNESS for word in words)):
        return False
    effect = effect_start(words)
    effect = len(words) if effect is None else effect
    if effect < len(words) and words[effect - 1].tag not in (",", "CC"):
        return False  # "with the woman guiding the horse"
    end = next((i for i in range(1, effect) if words[i].text in _PICTURED and words[i - 1].text == ","), effect)
    end = next((i for i in range(1, end - 2) if [w.text for w in words[i : i + 3]] == [",", "with", "no"]), end)
    if not is_focus and not any(word.tag in FINITE or word.text in _FINITE_TEXTS for word in words[:end]):
        return False
    if not all(_is_neutral(words, i, is_focus=is_focus) for i in range(end)):
        return False
    if any(word.text in _PLACES_OR_ACTS for word in words[end:]):
        return False
    behind = [at for at in visible if end < len(words) and at >= words[end].start]
    is_told = end < effect and words[end].text not in _SHOWN  # "…, demonstrating her skill with the ball"
    return not any(is_told or not is_known(words, at) for at in behind)


def _is_neutral(words: Sequence[Token], i: int, *, is_focus: bool) -> bool:
    """Whether this word adds nothing that can be seen."""
    word, before, after = words[i], words[max(i - 1, 0)], words[min(i + 1, len(words) - 1)]
    if word.text in ("a", "an"):  # "a softly blurred background"
        return any(noun.text in _BACKGROUNDS for noun in words[i + 1 : i + 8])
    if word.tag == "CD":  # "two-thirds of the frame", "the two players"
        return after.tag == "HYPH" or (is_focus and before.text == "the")
    if word.text in _NOT_NEUTRAL or (word.text == "with" and after.tag == "PRP$"):  # "the woman with her skis"
        return False
    if word.text == "focus" and before.tag in _OWNED:  # "the woman's focus is on the bear"
        return False
    if word.text == "being":  # "with the background being less distinct"
        return before.text in _BEING
    if word.text == "positioned":
        return after.text == "centrally"
    if word.text in _RENDERING or word.tag in _NEUTRAL_TAGS or (word.tag == "RB" and word.text.endswith("ly")):
        return True
    if word.text.endswith("ing") and before.tag in NOUNS:  # "the man surfing"
        return False
    return word.tag in NOUNS and lemma_of(word) not in _SHAPES and is_known(words, word.start)
