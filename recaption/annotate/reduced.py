"""The words of a sentence that state what can be seen: without effects, ornaments and frames. English only.

- Guesses, and effects on the viewer or the picture: "…, providing a stark contrast to the flowers", "adds charm to the
  room", "blurred to emphasize the subject", "takes center stage".
- Words that only praise ("pristine") and nouns that only frame the thing after "of" ("a lush tapestry of leaves").
- How the picture is rendered: "out of focus", "in the upper half of the frame".

Two sentences that differ in these only state the same. What is left is no grammatical sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from recaption.annotate import lexicon as lex
from recaption.annotate.lexicon import word_set
from recaption.annotate.stated import noun_heads
from recaption.annotate.stems import implied_by, stem
from recaption.annotate.tagged_words import NOUNS, Token, lemma_of

_EFFECT_LEMMAS: Final = (lex.EFFECTS - {"set", "reflect", "capture", "represent", "balance"}) | word_set("""
    accentuate underscore complete draw guide amplify elevate ensure allow serve
""")
"""Verbs that, before a word for an impression, state an effect."""
_IMPRESSIONS: Final = word_set("""
    ambience display feeling mood effect impression touch charm interest beauty appeal character element experience
    excitement elegance habitat energy creativity twist eye attention gaze focus viewer emphasis prominence appearance
    visibility stage presence dimension splash pop dash burst sense flair layer hint tone backdrop frame
""")
"""Nouns for an impression, besides those in `lexicon.ABOUT` and the abstract ones."""
HEDGES: Final = word_set("likely possibly perhaps presumably probably")
_GUESSES: Final = word_set("indicating suggesting implying hinting")
_PARTICIPLES: Final = HEDGES | word_set("""
    creating making adding providing giving ensuring enhancing contributing allowing emphasizing conveying evoking
    serving capturing
""")
_AFTER_WHICH: Final = word_set("""
    might may could would can likely possibly probably adds add gives give creates create makes make indicates indicate
    suggests suggest provides provide enhances enhance contributes contribute allows allow serves serve
""")
_SEEN: Final = word_set("seen observed spotted")
_CAN: Final = word_set("can could may might")
_MADE: Final = word_set("creating making")
_VISIBLE: Final = word_set("""
    shaped shape shapes shadow shadows reflection reflections splashes spray wake ripple ripples trail trails
    pattern patterns path paths wave waves smoke dust foam silhouette silhouettes
""")
"""What is made and can be seen: ", creating a heart-shaped design" is no effect on the viewer."""
_MOST_BEFORE_VISIBLE: Final = 6  # words
_SAY: Final = word_set("suggest suggests indicate indicates")
_MAIN_EFFECTS: Final = word_set("""
    creates create contributes contribute enhances enhance evokes evoke conveys convey adds add provides provide gives
    give
""")
"""Verbs of main clauses that tell the effect of the subject: "the boats create a lively scene"."""
_EFFECT_NOUNS: Final = word_set("""
    scene atmosphere ambiance ambience display sense contrast feeling feel mood setting environment look effect
    impression touch charm interest depth beauty appeal character element aesthetic backdrop experience warmth
    excitement elegance habitat vibe energy creativity
""")
_READY: Final = word_set("to for")  # "ready to be enjoyed", "ready for the guests"
_PURPOSES: Final = word_set("""
    emphasize emphasise highlight accentuate draw focus showcase create enhance add give make provide ensure allow bring
    convey evoke
""")
"""Verbs after "to" that state why something was done: "blurred to emphasize the subject"."""
_ORNAMENTS: Final = word_set("""
    lush vivid stark striking radiant majestic elegant exquisite stunning captivating mesmerizing
    breathtaking gorgeous magnificent splendid alluring enchanting whimsical delightful charming quaint tasteful rich
    intentionally deliberately artfully elegantly meticulously neatly gracefully majestically itself themselves
    otherwise prominent notable noticeable characteristic distinctive overall entire respective
    reveal reveals revealing showcases showcasing showcase boasts boasting exhibits exhibiting clad dressed attired
    sporting hue hues shade shades palette tapestry canvas bokeh blur blurred blurry unfocused softly
""")
"""Words that add nothing to what the others state."""
_KEPT_MEASURES: Final = lex.MEASURES_THAT_ARE_OBJECTS | word_set("""
    pair group row couple dozen hundred thousand trio quartet column line host piece slice layer stack part section
    portion majority
""")
_FRAMES_OF: Final = (lex.MEASURES - _KEPT_MEASURES) | word_set("""
    hue blur bokeh play mosaic symphony network
""")
"""Nouns that, before "of", state nothing: "a tapestry of green leaves"."""
_PICTURE: Final = word_set("image picture photo photograph frame scene shot composition")
_OF_PICTURE: Final = word_set("overall entire whole close-up close - up")
_IN_PICTURE: Final = word_set("of in within to from throughout for")
_FOCUS: Final = (
    (("out", "of"), (), ""),
    (("out", "-", "of", "-"), (), ""),
    (("in", "sharp"), (), ""),
    (("in", "soft"), (), ""),
    (("in", "clear"), (), ""),
    (("soft", "-"), (), ""),
    (("in",), (), ""),
)
_GAZE: Final = (
    ((), ("is", "directed"), "looking"),
    ((), ("directed",), "looking"),
    ((), ("is", "fixed"), "looking"),
    ((), ("fixed",), "looking"),
    ((), ("towards",), "looking"),
    ((), ("toward",), "looking"),
)
"""After the name of who looks."""
_TAGS: Final = {"clear": "JJ", "looking": "VBG"}
"""Tags of words that phrases are replaced by."""
_PHRASES: Final[dict[str, Sequence[tuple[tuple[str, ...], tuple[str, ...], str]]]] = {
    "focus": (*_FOCUS, (("central",), (), "")),
    "clouds": (
        (("devoid", "of", "any"), (), "clear"),
        (("devoid", "of"), (), "clear"),
        (("without", "any"), (), "clear"),
        (("without",), (), "clear"),
        (("free", "of"), (), "clear"),
        (("with", "no", "visible"), (), "clear"),
        (("with", "no"), (), "clear"),
    ),
    "top": ((("on",), ("of", "a"), "on"), (("on",), ("of", "the"), "on")),
    "stage": ((("center",), (), ""), (("centre",), (), "")),
    "focal": (((), ("point",), ""),),
    "subject": ((("main",), (), ""), (("primary",), (), ""), (("central",), (), "")),
    "subjects": ((("main",), (), ""), (("primary",), (), ""), (("central",), (), "")),
    "distance": ((("in", "the"), (), "background"),),
    "gaze": _GAZE,
    "action": ((("mid", "-"), (), ""), (("in",), (), "")),
    "art": ((("work", "of"), (), ""),),
    "hive": (((), ("of", "activity"), ""),),
    "trio": (((), ("of",), "three"),),
    "quartet": (((), ("of",), "four"),),
}
"""Word -> phrases with it, as the words before and after it, and the word that states the same."""
_DEGREES: Final = word_set("deep muted soft delicate subtle")
"""Degrees of colours."""
NEW_CLAUSE: Final = word_set("; while whereas")
_MAY_GUESS: Final = _GUESSES | _PARTICIPLES | _AFTER_WHICH | _READY | _MAIN_EFFECTS | {"that", "each", "addition"}
_VERBS: Final = frozenset(("VB", "VBG", "VBP", "VBZ"))
_FINITE: Final = frozenset(("VBP", "VBZ"))
_EFFECT_VERBS: Final = frozenset(
    form
    for verb in _EFFECT_LEMMAS
    for form in (verb, f"{verb}s", f"{verb.removesuffix('e')}ing", f"{verb.removesuffix('y')}ies", f"{verb}es")
)
_BEFORE_CLAUSES: Final = NEW_CLAUSE | word_set(", but though although which who that")
_CLAUSE_SUBJECTS: Final = word_set("there it he she they is are has have appears appear")
_ABOVE: Final = frozenset(("above", "overhead"))
_SKY: Final = frozenset(("sky", "skies", "clouds"))
_DETERMINERS: Final = word_set("a an the his her their its it them him two three several")
_STAND: Final = word_set("stand stands standing")
_STANDING_OUT: Final = word_set("out tall")
_PERFORM: Final = word_set("perform performs performing performed execute executes executing executed doing does")
_TRICKS: Final = word_set("trick tricks stunt stunts maneuver maneuvers manoeuvre")
_SCENES: Final = word_set("scene scenes moment moments atmosphere setting environment")
_MOODS: Final = word_set("""
    serene peaceful tranquil calm quiet nostalgic thrilling exciting tender intimate candid everyday lively cozy warm
    idyllic picturesque joyful playful dramatic intense romantic festive relaxing leisurely
""")
"""Adjectives that, before a word for a scene, state nothing."""
_SERVES: Final = word_set("serve serves serving")
_UNSPOILED: Final = frozenset(("pristine", "unblemished"))
"""Of a sky, these mean that it is clear."""
_SPECIAL: Final = (
    _MAY_GUESS
    | _UNSPOILED
    | (
        _ORNAMENTS
        | _FRAMES_OF
        | _PICTURE
        | _PHRASES.keys()
        | _DEGREES
        | {"to", "which", "against", "backdrop", "background", "painted", "scattered", "pair"}
        | _ABOVE
        | _PERFORM
        | _STANDING_OUT
        | _MOODS
    )
)
_BACKGROUND: Final = frozenset(("background", "backdrop"))
BACKGROUND_OF: Final = "BACKGROUND-OF"
"""Tag of "background" where what follows is in the background: "against a backdrop of trees", "against the sky"."""
_MAX_COMPLEMENT = 9  # words from a verb
_MAX_PHRASE = 8  # words from "against" to "backdrop"
_SET = word_set("set stark silhouetted stands standing contrasting contrasts")


def reduced(tokens: Sequence[Token]) -> list[Token]:
    """The tokens that state something, some of them in another form."""
    out: list[Token] = []
    end = 0
    for at, token in enumerate(tokens):
        word = token.text
        if at >= end and (word in _SPECIAL or (word in _EFFECT_VERBS and token.tag in _VERBS)):
            out += tokens[end:at]
            end = _reduce(tokens, at, out)
    out += tokens[end:]
    return out


def _reduce(tokens: Sequence[Token], at: int, out: list[Token]) -> int:
    """Add what the words at `at` state to `out`, the words before them, and return where they end."""
    token = tokens[at]
    word, after = token.text, tokens[at + 1].text if at + 1 < len(tokens) else ""
    if word in _MAY_GUESS and _begins_guess(tokens, at, out):
        if out and out[-1].text == "or":
            out.pop()
        return _guess_end(tokens, at)
    if token.tag in _VERBS and word in _EFFECT_VERBS and _is_effect(tokens, at):
        return _effect_end(tokens, at)
    if word == "to" and after in _PURPOSES and at and tokens[at - 1].tag in ("VBN", "VBD"):
        return _effect_end(tokens, at)
    is_of_pronoun = word == "gaze" and at > 0 and tokens[at - 1].tag != "POS"
    for before, behind, short in () if is_of_pronoun else _PHRASES.get(word, ()):
        if _is_phrase(tokens, at, out, before, behind):
            del out[len(out) - len(before) :]
            if short:
                out.append(replace(token, text=short, tag=_TAGS.get(short, token.tag)))
            return at + 1 + len(behind)
    if word in _UNSPOILED:
        if any(other.text == "sky" for other in tokens[at + 1 : at + 3]):
            out.append(replace(token, text="clear"))
        return at + 1
    if word == "against":
        phrase = [other.text for other in tokens[at + 1 : at + _MAX_PHRASE]]
        phrase = phrase[: next((i for i, other in enumerate(phrase) if other in (",", ".")), len(phrase))]
        if not _BACKGROUND.isdisjoint(phrase):
            return at + 1
        is_background = "sky" in phrase or (at > 0 and tokens[at - 1].text in _SET)
        out.append(replace(token, text="background", tag=BACKGROUND_OF) if is_background else token)
        return at + 1
    if word in _BACKGROUND:
        is_of_picture = any(other.text in _PICTURE for other in tokens[at + 2 : at + 4])
        is_of_thing = after == "of" and not is_of_picture
        out.append(replace(token, text="background", tag=BACKGROUND_OF if is_of_thing else "NN"))
        return at + 1 + is_of_thing
    if word in _FRAMES_OF and after == "of":
        return at + 2
    if word in _STANDING_OUT and out and out[-1].text in _STAND:  # "stands tall", "stands out against"
        if word == "out":
            out.pop()
        return at + 1
    if (n_left_out := _n_left_out(tokens, at, out)) > 0:
        return at + n_left_out
    if word in _ORNAMENTS or (word in _DEGREES and (after in lex.COLOURS or after == ",")):
        return at + 1
    if word in _PICTURE and _is_frame(out):
        while out.pop().text not in _IN_PICTURE:
            pass
        return at + 1
    out.append(token)
    return at + 1


def _n_left_out(tokens: Sequence[Token], at: int, out: Sequence[Token]) -> int:
    """How many words at `at` state nothing beside those around them: "above" in "the sky above"."""
    word, after = tokens[at].text, [token.text for token in tokens[at + 1 : at + 6]]
    if word in _ABOVE:
        if out and out[-1].text in _SKY and _DETERMINERS.isdisjoint(after[:1]):
            return 1
        return 2 if not out and after[:1] == [","] and not _SKY.isdisjoint(after) else 0  # "Above, the sky is gray"
    if word == "painted":
        return int(not lex.COLOURS.isdisjoint(after[:3]))
    if word == "scattered":
        return int(after[:1] == ["clouds"])
    if word == "pair":
        return 2 if after[:1] == ["of"] and _is_worn_in_pairs(tokens, at + 2) else 0
    if word in _PERFORM:
        return int(not _TRICKS.isdisjoint(after))
    if word in _MOODS:
        end = at + 1
        while end < len(tokens) and (tokens[end].text in _MOODS or tokens[end].text in (",", "and")):
            end += 1
        nouns = end
        while nouns < len(tokens) and tokens[nouns].tag in NOUNS:
            nouns += 1
        return end - at if nouns > end and tokens[nouns - 1].text in _SCENES else 0
    return 0


def _is_worn_in_pairs(tokens: Sequence[Token], start: int) -> bool:
    """Whether a plural of things that are not alive follows: "a pair of blue jeans"."""
    noun = next((token for token in tokens[start : start + 5] if token.tag in NOUNS), None)
    if noun is None or noun.tag != "NNS":
        return False
    found = stem(noun.text)
    return found not in implied_by("noun", "person") and found not in implied_by("noun", "animal")


def is_negation(token: Token) -> bool:
    return stem(token.text) == "no" or token.text in ("n't", "n’t")


def affirmed(tokens: Sequence[Token]) -> Sequence[Token]:
    """The tokens before the clause with the first negation: "The sky is gray" of "The sky is gray, with no clouds"."""
    start = 0
    for at, token in enumerate(tokens):
        if is_negation(token):
            return tokens[:start]
        after = tokens[at + 1].text if at + 1 < len(tokens) else ""
        if token.text in _BEFORE_CLAUSES or (token.text == "and" and after in _CLAUSE_SUBJECTS):
            start = at
    return tokens


def _begins_guess(tokens: Sequence[Token], at: int, out: Sequence[Token]) -> bool:
    """Whether a guess, or an effect with words that tell it by themselves, begins at `at`, after `out`."""
    word, before = tokens[at].text, tokens[at - 1].text if at else ""
    if word == "making" and any(after.text == "way" for after in tokens[at + 1 : at + 3]):
        return False  # "making his way down the hill"
    if _makes_visible(tokens, at):
        return False
    if word in _CAN and any(after.text in _SEEN for after in tokens[at + 2 : at + 3]):
        return False  # "which can be seen in the distance"
    return (
        word in _GUESSES
        or (before == "," and word in _PARTICIPLES)
        or (before == "which" and word in _AFTER_WHICH)
        or (before in _SAY and word == "that")
        or (before == "enjoying" and word == "each")
        or (before == "ready" and word in _READY)
        or (before == "or" and word in HEDGES)
        or (word in _MAIN_EFFECTS and bool(out) and any(other.text in _EFFECT_NOUNS for other in tokens[at:]))
        or (word == "addition" and before == "in" and at == 1)
    )


def _makes_visible(tokens: Sequence[Token], at: int) -> bool:
    """Whether the verb at `at` makes something that can be seen: "creating a heart-shaped design"."""
    after = (token.text for token in tokens[at + 1 : at + _MOST_BEFORE_VISIBLE])
    return tokens[at].text in _MADE and not _VISIBLE.isdisjoint(after)


def _guess_end(tokens: Sequence[Token], at: int) -> int:
    """Where a guess that begins at `at` ends: at another clause, and after a single adverb at a comma."""
    is_short = tokens[at].text in HEDGES or tokens[at].text == "addition"
    for i in range(at + 1, len(tokens)):
        word = tokens[i].text
        if word in NEW_CLAUSE or (word == "," and is_short):
            return i
        if word == "," and i + 1 < len(tokens):
            after = tokens[i + 1]
            if after.text in ("and", "with") or after.tag in _FINITE:  # "The cat, possibly asleep at last, lies there"
                return i
        if word == "as" and i + 2 < len(tokens) and tokens[i + 1].tag == "VBN" and tokens[i + 2].text == "by":
            return i + 3  # "as indicated by the logo on the wall"
    return len(tokens)


def _is_phrase(
    tokens: Sequence[Token], at: int, out: Sequence[Token], before: Sequence[str], behind: Sequence[str]
) -> bool:
    """Whether these words stand before and behind `at`. `out` has the words before it."""
    if tuple(token.text for token in out[len(out) - len(before) :]) != before:
        return False
    return tuple(token.text for token in tokens[at + 1 : at + 1 + len(behind)]) == behind


def _is_frame(before: Sequence[Token]) -> bool:
    """Whether "of the" or "in this close-up" ends `before`, before a word for the picture."""
    for token in before[:-5:-1]:
        if token.text in _IN_PICTURE:
            return True
        if token.tag != "DT" and token.text not in _OF_PICTURE:
            return False
    return False


def _is_effect(tokens: Sequence[Token], at: int) -> bool:
    """Whether the verb at `at` states an effect on the viewer or the picture."""
    if (not at and tokens[at].tag != "VBG") or _makes_visible(tokens, at):
        return False
    if tokens[at].text in _SERVES and tokens[at + 1 : at + 2] and tokens[at + 1].text not in ("as", "to"):
        return False  # "serving during a match"
    heads = noun_heads(tokens, at + 1, min(len(tokens), at + _MAX_COMPLEMENT))
    return any(map(is_impression, heads[:2]))


def _effect_end(tokens: Sequence[Token], at: int) -> int:
    """Where an effect that begins at `at` ends: at a comma, unless its list goes on, or before a clause."""
    for i in range(at + 1, len(tokens)):
        word = tokens[i].text
        if word in NEW_CLAUSE or (word == "," and not _is_listed(tokens, i)):
            return i
    return len(tokens)


def _is_listed(tokens: Sequence[Token], comma: int) -> bool:
    """Whether an impression follows the comma: "adding warmth, charm, and elegance to the room"."""
    for token in tokens[comma + 1 : comma + 5]:
        if token.tag in NOUNS:
            return is_impression(lemma_of(token))
        if token.tag not in ("DT", "JJ", "CC", "PRP$"):
            return False
    return False


def is_impression(noun: str) -> bool:
    """Whether a noun (its lemma) is about the viewer, the picture, or nothing that can be seen."""
    return noun != "way" and (noun in _IMPRESSIONS or noun in lex.ABOUT or lex.is_abstract(noun))


def tells_effect(words: Sequence[str]) -> bool:
    """Whether the main verb tells the effect of the subject: "the boats create a lively scene"."""
    found = _MAIN_EFFECTS.intersection(words)
    return bool(found) and not _EFFECT_NOUNS.isdisjoint(words[min(map(words.index, found)) :])


def may_have_effect(words: Sequence[str]) -> bool:
    """Whether there are words that `reduced` may remove together with others."""
    return not _MAY_GUESS.isdisjoint(words)
