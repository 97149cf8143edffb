"""Whether a sentence only judges what is known: "The scene captures the bond between the mother and her baby". English
only.

A thing is known if it is definite. Nothing else may be told of it: no look, no name, no place in the picture, and no
verb but of feeling. Each pattern is a way in which captions judge; its other words are then looked at one by one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from itertools import pairwise

from recaption.annotate import lexicon as lex
from recaption.annotate.lexicon import word_set
from recaption.annotate.stated import is_known, verb_lemma
from recaption.annotate.tagged_words import NOUNS, Token


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.VERBOSE)


def _listed(name: str) -> str:
    """A pattern for up to five words in a list: "warm and inviting"."""
    return rf"(?P<{name}>(?:[\w-]+(?:,|,?\ and)?\ ){{0,4}}?[\w-]+)"


_SUBJECT = r"(?:overall,\ )?(?:the|this)\ (?:overall\ )?"
_IS = r"(?:is|seems|appears|looks|feels)\ (?:to\ be\ )?"
_CAPTURED = _compiled(
    rf"""{_SUBJECT}(?:scene|image|picture|photo|photograph|moment|composition(?:\ of\ the\ image)?)\ (?:also\ )?
    (?:captures|conveys|showcases|highlights|celebrates|evokes|reflects|depicts|portrays|emphasizes
      |(?:is|seems\ to\ be|appears\ to\ be)(?=\ an?\ [\w, ]*\b(?:moment|experience)\b))
    \ (?:(?:the|a|an|both)\ {_listed("list")}\ (?:of|between|shared|among|in|as|for)
      |(?:the|this)\ \w+(?:['’]s|s['’])\ {_listed("list2")}\ (?:and|as|in))\ """
)
_MOOD = _compiled(
    rf"""{_SUBJECT}(?:scene|atmosphere|mood|ambiance|ambience|vibe)(?:\ (?:of|in)\ the\ [\w ]{{1,30}}?)?\ (?:
      {_IS}(?:one\ of\ (?P<sense>)|an?\ )?{_listed("list")}(?:\ (?:environment|atmosphere|setting|moment))?
        (?:\ and\ full\ of\ (?:energy|life|joy|excitement))?
      |(?:suggests|conveys|evokes|exudes|creates)\ a\ sense\ of\ (?P<sense2>){_listed("list2")}
      |(?:gives\ off|suggests|conveys|evokes|exudes|creates)\ an?\ {_listed("list3")}
        \ (?:atmosphere|mood|feel|vibe|environment))
    (?:,\ (?:showcasing|highlighting|capturing|emphasizing|with\ (?:a|the)\ focus\ on)(?P<composed>)
      |,\ with|,?\ as(?P<supposed>\ if)?)\ """
)
_SUITED = _compiled(
    rf"""{_SUBJECT}(?:scene|setting|atmosphere|environment|room|space|area|mood)
    \ (?:is|seems\ to\ be|appears\ to\ be|suggests)\ an?
    \ {_listed("list")}\ (?:environment|setting|space|atmosphere|place|spot)\ for\ (?:the|this|these)\ """
)
_PRESENCE = _compiled(
    r"""the\ presence\ of\ (?:these|those|this|such)\ (?:\w+\ ){1,3}?
    (?:suggest|indicate|implie|imply|add|contribute|highlight|enhance|give|create|make|bring)s?\b"""
)
_SUPPOSED = re.compile(r"\b(?:suggest|indicate|implie|imply)s?\b.*\b(?:may|might|could)\b")
_ARRANGED = _compiled(
    r"""the\ (?:overall\ )?(?:arrangement|presentation|placement)\ of\ (?:the|these|this)\ (?:(?!and\b)\w+\ ){1,6}?
    (?:creates?|adds?|makes?)\ """
)
_PLACED = _compiled(
    r"""the\ (?:\w+\ )?(?:positions|positioning|arrangement|placement)\ of\ (?:the|these|this)\ (?:(?!and\b)\w+\ ){1,4}?
    (?:suggests?|creates?|gives?)\ an?\ """
)
_DESIGNED = _compiled(
    rf"""the\ overall\ (?:appearance|design|look|presentation|style|impression)\ of\ (?:the|this)\ [\w ]{{1,40}}?
    \ (?:{_IS}{_listed("list")}|gives\ it\ an?\ {_listed("list2")}\ (?:look|feel|appearance))
    (?:\Z|[.]|,\ (?:with\ a\ focus|making|giving))"""
)
_SERVED = _compiled(
    rf"""(?:the|this)\ (?:\w+\ ){{1,2}}?{_IS}(?:an?\ )?(?:{_listed("list")},?\ (?:and\ )?)?
    ready\ to\ be\ (?:enjoyed|eaten|served|consumed|savou?red)\b"""
)
_OTHERS = _compiled(
    r"""(?:in\ addition\ to\ (?:the|these|this)\ [\w ,]+,\ )?there\ are\ (?:also\ )?
    (?:a\ few|several|some|various|many|numerous|a\ couple\ of)?\ ?other\ (?:objects|items|elements|things|details)
    (?:\ (?:present|visible|scattered))?\ (?:in|around|throughout)\ the\ (?:scene|image|room|area|background)[.]?\Z"""
)
_FOCUS = _compiled(
    r"""(?:the|this)\ (?:\w+\ ){1,3}?(?:is|are)\ (?:clearly\ )?the\ (?:main|central|primary)
    \ (?:focus|subject|focal\ point)\ (?:of|in)\ (?:the|this)\ (?:scene|image|picture|photo|photograph|composition)
    (?:[.]|\Z|,\ (?:occupying|taking|filling|drawing|showcasing|demonstrating|displaying)\b)"""
)
_ATTENTION = _compiled(
    r"""(?:the|its|their|his|her)\ (?:[\w'’-]+\ ){0,3}?
    (?:position|placement|(?:is|are)\ (?:positioned|placed|located|situated))\ in\ the
    \ (?:center|centre|middle|foreground)
    (?:\ of\ the\ (?:image|picture|photo|photograph|frame|scene|composition))?,?\ (?:also\ )?
    (?:draw|captur|command)(?:s|es|ing)\ (?:(?:the|our)\ )?(?:viewer['’]?s?['’]?\ )?(?:attention|eye|gaze|focus)\b"""
)
_PHOTOGRAPH = _compiled(
    r"""(?:the\ (?:overall\ )?style\ of\ )?(?:the|this)\ (?:image|picture|photo)\ is\ an?\ (?:[\w-]+,?\ ){0,4}?
    (?:photograph|photo|shot)\ with\ a\ focus\ on\ the\ """
)
_PLACED_CENTRAL = _compiled(
    r"""(?:the|this)\ (?:overall\ )?composition\ (?:of\ the\ (?:image|picture|photo|photograph|scene)\ )?
    (?:places|positions|puts|sets|frames)\ the\ (?:\w+\ ){1,4}?as\ the\ (?:\w+\ )?
    (?:focus|subject|focal\ point|figure|element)\b"""
)
_CENTRAL = (_ATTENTION, _PHOTOGRAPH, _PLACED_CENTRAL)
_FRAMES = (_CAPTURED, _MOOD, _SUITED, _PRESENCE, _ARRANGED, _PLACED, _DESIGNED, _SERVED, _OTHERS, _FOCUS)
_ANY_FRAME = _compiled("|".join(re.sub(r"\?P<\w+>", "?:", frame.pattern) for frame in _FRAMES))
_TOGETHER = re.compile(
    r"""(?:enjoy|spend|shar|interact|bond|engag|participat)\w*\ (?:[\w' ]+\ )?
    (?:(?:their|his|her|its)\ (?:\w+\ )?(?:time|company|experience|day|activity|surroundings)
      |with\ (?:each\ other|one\ another|its|their)|each\ other['’]s|together)\b""",
    re.VERBOSE,
)
"""What is felt rather than seen to be done: "enjoying their time", "interact with each other"."""
_QUALITIES = word_set("""
    bond beauty essence spirit moment relationship connection camaraderie joy excitement elegance charm grace thrill
    atmosphere mood love affection companionship friendship intimacy passion skill talent dedication determination
    sense feeling habitat behavior behaviour nature interaction majesty prominence grandeur
    strength intelligence power gracefulness
""")
JUDGING = word_set("""
    relaxed relaxing calm peaceful serene tranquil lively energetic cheerful casual friendly social warm inviting cozy
    fun playful joyful joyous festive happy intimate tender romantic exciting thrilling vibrant pleasant enjoyable
    leisurely comfortable welcoming charming elegant attractive appealing eye-catching stylish beautiful striking
    pleasing impressive sophisticated inspiring picturesque idyllic heartwarming mysterious melancholic nostalgic
    modern sleek minimalist minimalistic contemporary clean tidy simple functional organized balanced harmonious
    well-prepared well-balanced well-presented delicious appetizing fresh healthy tasty mouthwatering satisfying
    interesting engaging dynamic tense competitive carefree laid-back upbeat hectic solemn formal informal quiet
    bright dramatic safe adventurous amusing awe-inspiring breathtaking captivating celebratory chaotic delightful
    easygoing eerie enchanting energizing fast-paced gentle homely homey hopeful humorous intense intriguing jovial
    light-hearted lighthearted loving magical meditative memorable moody ominous optimistic orderly passionate positive
    practical professional quaint quirky refreshing restful reverent rustic secure serious sociable somber soothing
    spirited spontaneous supportive surreal sweet timeless touching unique uplifting wholesome whimsical luxurious
    adorable affectionate artistic cohesive creative cute efficient well-designed well-organized
""")
"""Words that judge: "elegant and eye-catching"."""
_JUDGED = frozenset(("meal", "sight", "dish"))
_IN_LISTS = word_set("and very quite visually somewhat both") | _JUDGED
_LOOKS = word_set("""
    small large big tiny tall short long wide narrow thick thin round square rectangular oval circular triangular wooden
    weathered worn torn framed painted carved mounted hung hanging larger smaller taller shorter wider narrower rusty
    peeling faded cracked dirty clean shiny wrinkled crinkled creased crumpled folded ripped stained
""")
SEEN = (lex.COLOURS, lex.MATERIALS, _LOOKS)
"""Words for a look."""
_FELT_VERBS = word_set("""
    be is are was been being have has seem seems appear appears may might could can filled surrounded enjoyed
    enjoy enjoying enjoys share sharing shares shared interact interacting interacts participate participating engage
    engages engaging engaged appreciate appreciating bond bonding spend spending relax relaxed relaxing
""")
_EFFECTS = lex.EFFECTS | {"showcase", "highlight", "emphasize"}
_CAPTURING = frozenset(("convey", "evoke", "emphasize"))
_SUPPOSING = frozenset(("likely", "seemingly", "apparently", "presumably", "perhaps"))
_FIRST_LETTERS = frozenset("TtOoIi")  # of the frames
_MAX_LENGTH = 400  # characters: the patterns take quadratic time
_MAX_NAMED = 3  # things in a statement of a mood
_SIDES = frozenset(("left", "right"))


def is_judged(words: Sequence[Token], text: str, visible: Sequence[int]) -> bool:
    """Whether the sentence only judges things that are known already. `visible` has the offsets in the caption of the
    things that it names."""
    if len(text) > _MAX_LENGTH or text[:1] not in _FIRST_LETTERS:
        return False
    if not visible:
        return (text[:4] == "The " and _PLACED.match(text) is not None) or _is_central(words, text)
    if not _ANY_FRAME.match(text) and not _is_central(words, text):
        return False
    if _OTHERS.match(text):
        return True
    if found := _DESIGNED.match(text):
        return _are_judging(found)
    if any(word.tag == "NNP" or word.text in seen for word in words for seen in SEEN):
        return False
    if _PRESENCE.match(text) and _SUPPOSED.search(text):
        return is_known(words, visible[0])
    new = [at for at in visible if not is_known(words, at)]
    if found := _SERVED.match(text):
        return _are_judging(found) and len(new) <= sum(word in _JUDGED for word in _list_of(found).split())
    return not new and _are_known_judged(words, text, len(visible))


def _are_known_judged(words: Sequence[Token], text: str, named: int) -> bool:
    """Whether the sentence only judges the things that it names. There are `named` of them, and all are known."""
    if _FOCUS.match(text):
        acts = any(word.tag == "CD" or word.text.endswith("ing") for word in words[:4])
        return named == 1 and not acts and all(word.text not in _SIDES for word in words)
    if _PRESENCE.match(text):
        return _is_felt(words, lex.EFFECTS)
    if found := _CAPTURED.match(text):
        quality = _list_of(found).rpartition(" ")[2]
        if quality == "moment" and any(
            noun.tag in NOUNS and word.text.endswith("ing") for noun, word in pairwise(words)
        ):
            return False  # "a moment of the bear interacting with its cub"
        forms = (quality, quality.removesuffix("s"))
        return any(form in _QUALITIES or lex.is_abstract(form) for form in forms) and _is_felt(words, _CAPTURING)
    if named <= _MAX_NAMED and (found := _MOOD.match(text)):
        if found["sense"] is None and found["sense2"] is None and not _are_judging(found):
            return False
        if found["supposed"]:  # "as if the dog is smiling"
            return True
        is_felt = found["composed"] is not None or _TOGETHER.search(text) is not None
        return (is_felt or any(word.text in _SUPPOSING for word in words)) and _is_felt(words)
    if _is_central(words, text):
        return True
    if found := _SUITED.match(text):
        return " and " in found["list"] and _are_judging(found)
    return _ARRANGED.match(text) is not None or _PLACED.match(text) is not None


def _is_central(words: Sequence[Token], text: str) -> bool:
    """Whether a thing is only said to be central: "The fox is positioned in the center, drawing the viewer's eye". Not
    "with a focus on the fox running"."""
    if "draw" not in text and "focus" not in text and " as the " not in text:  # the usual case
        return False
    comma = next((i for i, word in enumerate(words) if word.text == ","), len(words))
    acts = any(noun.tag in NOUNS and word.tag == "VBG" for noun, word in pairwise(words[:comma]))
    return not acts and any(frame.match(text) for frame in _CENTRAL)


def _is_felt(words: Sequence[Token], besides: Set[str] = frozenset()) -> bool:
    """Whether the verbs only tell what is felt, or are one of those `besides`."""
    for before, word, after in zip(words, words[1:], words[2:], strict=False):
        if not word.tag.startswith("V") or word.text in _FELT_VERBS or word.text in JUDGING:
            continue
        if (word.tag == "VBG" and before.text in ("and", "the") and after.tag in NOUNS) or before.tag == "JJ":
            continue  # "the nurturing nature", or a noun with a wrong tag: "its unique features"
        verb = verb_lemma(word)
        if verb not in besides and not (before.text == "," and verb in _EFFECTS):
            return False  # but "…, showcasing": not "with the boats adding"
    return True


def _list_of(found: re.Match[str]) -> str:
    """The list of words that was found."""
    return next((text.lower() for name, text in found.groupdict().items() if name.startswith("list") and text), "")


def _are_judging(found: re.Match[str]) -> bool:
    """Whether all words of the list are judgements."""
    return all(word.strip(",") in JUDGING or word.strip(",") in _IN_LISTS for word in _list_of(found).split())
