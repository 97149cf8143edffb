"""Word lists that decide what is an object and what is an attribute.

Written for this project, but for `data/abstract_nouns.txt`: nouns none of whose senses in WordNet 3.0 is physical
(`data/LICENSE-wordnet.txt`), kept where MASC or the English Web Treebank use them at least twice.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from recaption.annotate.words import words

META: Final = frozenset(
    words("""
    image picture photo photograph photography snapshot scene background foreground backdrop midground side top bottom
    left right center centre middle corner front rear view shot composition style atmosphere mood perspective angle
    focus frame area part section portion region space place position location direction distance setting environment
    arrangement detail element feature subject object item thing something anything everything nothing one other rest
    kind type sort way manner description caption text_box overview impression sense feeling depth tone hue color
    colour shade pattern texture theme contrast lighting brightness illumination daylight ambiance ambience vibe
    aesthetic mix combination majority edge end half quarter surface level line row column height width length size
    shape form design art artwork effect display presence appearance condition activity action event moment time day
    night evening morning afternoon season weather example instance layout viewer camera lens photographer artist
    observer scenery format context content visual visuals point closeup close-up highlight medium interior exterior
    upper lower front-left front-right p.m. a.m. pm am resolution quality letter word number digit text writing
    inscription caption lettering message title name note style look touch glow blur hint mention addition
    front-facing bit overlay eye-level tableau vignette spot back outline accent reflection
    """)
)
"""Nouns about the picture, about places in it, or too general: never objects. A compound's other nouns still are."""

KEPT_COMPOUNDS: Final = frozenset(
    """traffic light|picture frame|photo frame|window frame|door frame|bed frame|photo album|picture book|street art
    |wall art|chess piece|parking lot|parking space|play area|image sensor|license plate|sewing pattern|camera lens
    |bus stop|rest area|power line|clothes line|railway line|fishing line|eyeglass frame|bicycle frame|word art
    |shop front|store front|night stand|video camera|security camera|digital camera""".replace("\n    ", "").split("|")
)
"""Objects although their head is a meta word."""

PHYSICAL: Final = frozenset(
    words("""
    camera lens frame letter reflection text writing lettering inscription
    """)
)
"""Meta words that are objects when they are counted or described: "two cameras", "white letters"."""

MEASURES: Final = frozenset(
    words("""
    pair group row bunch variety number lot lots series couple set array range collection assortment cluster plenty
    selection dozen hundred thousand trio quartet multitude handful mixture combination line column host piece slice
    amount majority part section portion layer patch strip touch hint sort kind type style mix pile stack crowd herd
    flock swarm
    """)
)
"""Before "of" they only measure what follows."""
MEASURES_THAT_ARE_OBJECTS: Final = frozenset(words("pile stack crowd herd flock slice piece patch strip swarm"))
MEASURE_COUNTS: Final = {"pair": 2, "couple": 2, "trio": 3, "quartet": 4, "dozen": 12}

NUMBERS: Final = {
    word: number
    for number, word in enumerate(
        words("""
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty
    """)
    )
} | {"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "hundred": 100, "dozen": 12, "both": 2, "single": 1}

COLOURS: Final = frozenset(
    words("""
    red orange yellow green blue purple pink brown black white grey gray gold silver beige tan cream ivory maroon navy
    teal turquoise cyan magenta violet lavender indigo crimson scarlet burgundy khaki olive bronze copper golden rose
    peach coral mint charcoal mustard aqua lilac amber
    """)
)
MATERIALS: Final = frozenset(
    words("""
    wood metal stone brick glass plastic leather cotton wool silk denim paper cardboard concrete marble granite steel
    iron aluminum aluminium brass ceramic porcelain clay rubber bamboo wicker straw velvet linen lace fur tile chrome
    cobblestone asphalt gravel dirt canvas fabric mesh wire
    """)
)

NOT_ATTRIBUTES: Final = frozenset(
    words("""
    several many few various numerous multiple other same different own such certain main first second third last next
    previous visible left right top bottom upper lower central overall additional more most whole entire only similar
    prominent distinct respective particular specific possible clear evident present further another much less least
    single double countless key primary secondary nearby adjacent surrounding opposite far near close front rear
    middle able likely typical general common notable apparent noticeable located positioned situated placed seen
    shown depicted featured displayed captured
    """)
)
"""Adjectives that count, order or place, and so say nothing about how the object looks."""

CAPTION_VERBS: Final = frozenset(
    words("""
    grazes rises burns shines glows sleeps swims flies hovers dangles perches emerges approaches crosses floats adorns
    occupies dominates overlooks surrounds contrasts complements hangs sits stands rests lies leans features shows
    displays faces towers looms stretches extends holds wears carries covers lines frames flanks walks runs rides
    plays looks gazes smiles waits drinks eats depicts captures reads
    """)
)
"""Taken for plural nouns by taggers."""

COPULAS: Final = frozenset(words("is are was were appears appear looks look seems seem 's"))

_MORE_ABSTRACT = frozenset(
    words("""
    peace calm serenity tranquility harmony nostalgia elegance charm beauty simplicity drama excitement mystery comfort
    leisure style character fun love fashion nature culture history
    """)
)
_ABSTRACT_ENDINGS = ("ness", "ism", "ship", "hood", "ility", "ivity", "osity")
_NOT_ABSTRACT = frozenset(
    words("""
    ship spaceship airship battleship warship facility university neighborhood hood harness
    """)
)


@cache
def abstract_nouns() -> frozenset[str]:
    """Nouns without a physical sense."""
    return frozenset((Path(__file__).parent / "data" / "abstract_nouns.txt").read_text("utf-8").split())


def is_abstract(lemma: str) -> bool:
    """Whether a noun names nothing that can be seen as a thing."""
    if lemma in abstract_nouns() or lemma in _MORE_ABSTRACT:
        return True
    return lemma.endswith(_ABSTRACT_ENDINGS) and len(lemma) > 6 and lemma not in _NOT_ABSTRACT
