"""Stems of words, and which words imply others."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path

from recaption.annotate import lexicon as lex
from recaption.annotate.lemma import singular
from recaption.annotate.lexicon import word_set, words

PLACES = word_set("""
    left right above below under behind front beside near top bottom inside outside over between against opposite center
    corner foreground background upper lower
""")
OPPOSITES = word_set("light dark open closed up down off")
CONTRASTS = PLACES | OPPOSITES | {"no"} | lex.COLOURS | (frozenset(lex.NUMBERS) - {"single"})
_SYNONYMS = dict(
    pair.split(":")
    for pair in words("""
    sat:sit sitting:sit stood:stand lain:lie lying:lie lies:lie rests:lie resting:lie rested:lie full:fill upward:up
    upwards:up downward:down downwards:down laid:lay held:hold hung:hang ran:run running:run written:write wrote:write
    drawn:draw drew:draw grey:gray colour:color centre:center middle:center central:center not:no isn:no aren:no
    wasn:no weren:no doesn:no don:no neither:no nor:no nothing:no without:no none:no nobody:no never:no cannot:no
    beneath:under underneath:under next:beside alongside:beside upon:on large:big couch:sofa bike:bicycle
    bikes:bicycle kid:child kids:child lady:woman ladies:woman automobile:car tv:television fridge:refrigerator
    rug:carpet cellphone:phone tiny:small little:small tranquil:calm serene:calm peaceful:calm cozy:cosy warmth:warm
    comfort:comfortable melancholy:melancholic brushwork:brushstroke firefighter:fireman nighttime:night
    sidewalk:pavement photograph:photo seated:sit meal:food cloudless:clear older:elderly men:man wooden:wood
    grassy:grass snowy:snow sandy:sand rocky:rock muddy:mud dusty:dust metallic:metal laying:lie backdrop:background
    """)
)
"""Irregular inflections, negations, and synonyms that often vary between the captions of one image."""
PLACE_WORDS = PLACES | {word for word, place in _SYNONYMS.items() if place in PLACES}


@lru_cache(maxsize=16384)
def stem(word: str) -> str:
    """The stem of a word in lower case, the same for inflections and for some synonyms."""
    word = _SYNONYMS.get(word, word)
    if len(word) <= 3 or word in CONTRASTS:
        return word
    word = singular(word)
    word = _SYNONYMS.get(word, word)
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            word = word[: -len(ending)]
            if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    return word.removesuffix("e")


_MORE_RELATIONS = {
    ("noun", "water"): words("lake river ocean sea pond pool stream bay"),
    ("noun", "child"): words("boy girl toddler baby infant"),
    ("verb", "spread"): words("scatter"),
    ("verb", "look"): words("watch observe gaze stare face"),
    ("verb", "fac"): words("look"),
    ("noun", "cow"): words("cattle"),
    ("verb", "observ"): words("look watch"),
    ("verb", "watch"): words("look observe"),
    ("verb", "rid"): words("surf ski skate skateboard snowboard cycle"),
    ("adj", "surfboard"): words("surf"),
    ("adj", "skateboard"): words("skateboard"),
    ("noun", "dinner"): words("food"),
    ("noun", "lin"): words("row"),
    ("noun", "row"): words("line"),
    ("verb", "travel"): words("ride drive"),
    ("noun", "tre"): words("forest"),
    ("noun", "greenery"): words("forest tree plant bush shrub foliage leaf vegetation"),
    ("noun", "foliag"): words("leaf greenery"),
    ("noun", "vegetation"): words("greenery foliage plant bush shrub"),
    ("noun", "hill"): words("slope"),
    ("noun", "slop"): words("hill hillside"),
    ("adj", "faint"): words("slight subtle"),
    ("adj", "slight"): words("faint subtle"),
    ("adj", "subtl"): words("faint slight"),
    ("adj", "clear"): words("pristine cloudless unblemished"),
    ("noun", "oven"): words("microwave"),
    ("noun", "animal"): words("creature"),
    ("verb", "scatter"): words("spread dot"),
    ("noun", "hillsid"): words("slope"),
    ("noun", "airplan"): words("aircraft"),
    ("noun", "plan"): words("aircraft"),
    ("noun", "bathroom"): words("restroom"),
    ("noun", "restroom"): words("bathroom"),
    ("noun", "sea"): words("ocean"),
    ("noun", "ocean"): words("sea"),
    ("verb", "perch"): words("stand sit"),
    ("noun", "surfboard"): words("surfer"),
    ("noun", "skateboard"): words("skateboarder"),
    ("noun", "snowboard"): words("snowboarder"),
    ("noun", "path"): words("trail pathway"),
    ("noun", "trail"): words("path pathway"),
    ("noun", "phon"): words("smartphone cellphone"),
    ("noun", "pants"): words("jeans trousers"),
    ("noun", "street"): words("road"),
    ("noun", "creatur"): words("animal"),
}
"""What WordNet does not have, by part of speech and stem."""


_PERSONS = word_set("person individual someone worker")
_RARELY_PERSONS = word_set("dog hound tiger worm loon")
"""Words that WordNet has as persons, too."""


@cache
def _relations() -> dict[str, dict[str, str]]:
    """Part of speech -> stem -> the words that imply it, from `data/word_relations.txt`."""
    out: dict[str, dict[str, str]] = {"noun": {}, "verb": {}, "adj": {}}
    for line in (Path(__file__).parent / "data" / "word_relations.txt").read_text("utf-8").splitlines():
        part, generals, implying = line.split(" ", 2)
        of_part = out[part]
        for word in generals.split(","):
            of_part[stem(word)] = implying
    return out


@lru_cache(maxsize=4096)
def implied_by(part: str, general: str) -> frozenset[str]:
    """Stems of the words that imply the word with the stem `general`: synonyms, and words with a narrower meaning.

    `part` is its part of speech: noun, verb or adj.
    """
    found = _relations()[part].get(general, "").split()
    implying = frozenset(map(stem, (*found, *_MORE_RELATIONS.get((part, general), ()))))
    return implying - _RARELY_PERSONS if general in _PERSONS else implying
