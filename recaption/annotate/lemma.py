"""The singular of English plural nouns, by exceptions, then by endings.

The list of exceptions is short because the function is called only for words that are tagged as plural.
"""

from __future__ import annotations

from functools import lru_cache

from recaption.annotate.lexicon import word_set, words

_IRREGULAR = dict(
    pair.split(":")
    for pair in words("""
    men:man women:woman children:child people:person feet:foot teeth:tooth geese:goose mice:mouse oxen:ox lice:louse
    knives:knife wives:wife lives:life leaves:leaf loaves:loaf halves:half calves:calf wolves:wolf shelves:shelf
    bookshelves:bookshelf scarves:scarf hooves:hoof thieves:thief elves:elf sheaves:sheaf selves:self dwarves:dwarf
    wharves:wharf cacti:cactus fungi:fungus octopi:octopus stimuli:stimulus alumni:alumnus radii:radius stadia:stadium
    media:medium criteria:criterion phenomena:phenomenon bacteria:bacterium data:data dice:die buses:bus
    minibuses:minibus trolleybuses:trolleybus gases:gas lenses:lens viruses:virus cactuses:cactus octopuses:octopus
    walruses:walrus campuses:campus canvases:canvas irises:iris crocuses:crocus hibiscuses:hibiscus atlases:atlas
    platypuses:platypus hippopotamuses:hippopotamus rhinoceroses:rhinoceros trellises:trellis christmases:christmas
    axes:axis crises:crisis bases:base oases:oasis analyses:analysis ellipses:ellipse quizzes:quiz topazes:topaz
    waltzes:waltz movies:movie cookies:cookie pies:pie ties:tie neckties:necktie bowties:bowtie zombies:zombie
    selfies:selfie brownies:brownie smoothies:smoothie hoodies:hoodie birdies:birdie veggies:veggie prairies:prairie
    calories:calorie lies:lie magpies:magpie eyries:eyrie genies:genie hippies:hippie aches:ache headaches:headache
    moustaches:moustache mustaches:mustache caches:cache avalanches:avalanche niches:niche porsches:porsche
    brioches:brioche
    quiches:quiche creches:creche psyches:psyche shoes:shoe horseshoes:horseshoe snowshoes:snowshoe toes:toe
    tiptoes:tiptoe canoes:canoe hoes:hoe oboes:oboe foes:foe does:doe floes:floe tyres:tyre passersby:passerby
    mothers-in-law:mother-in-law photos:photo skis:ski taxis:taxi
    """)
)
_UNCHANGED = word_set("""
    sheep deer fish moose bison aircraft spacecraft watercraft hovercraft series species scissors trousers pants jeans
    shorts sunglasses eyeglasses goggles binoculars tongs pliers tweezers pajamas pyjamas leggings tights overalls
    headphones earphones earbuds clothes dungarees knickers sweatpants khakis slacks shears clippers suspenders
    swimming-trunks handcuffs surroundings headquarters gallows barracks crossroads outskirts stairs premises
    groceries waders goods eaves
""")
_IN_MEN = word_set("specimen stamen abdomen omen acumen regimen semen cyclamen ramen lumen")
_MAX_IE = 4  # characters: the singular of pies, ties and dies ends in -ie, that of longer words in -y


@lru_cache(maxsize=8192)
def singular(word: str) -> str:
    """The lemma of a lower-case plural noun: "knives" -> "knife", "people" -> "person", "trousers" -> "trousers"."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in _UNCHANGED or not word.endswith("s") or word.endswith(("ss", "us", "is")) or len(word) <= 3:
        for ending in ("women", "men", "children"):  # policemen, grandchildren
            if word.endswith(ending) and len(word) > len(ending) and word not in _IN_MEN:
                return word[: -len(ending)] + _IRREGULAR[ending]
        return word
    if word.endswith("ies"):
        return word[:-1] if len(word) <= _MAX_IE else word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes", "zzes", "oes")):
        return word[:-2]
    return word[:-1]
