"""Caption sentences with Penn tags, filled from templates: what treebanks lack.

Written for this project, so free of anybody's licence. They cover what a tagger trained on news and web text gets wrong
in captions: bare noun openers, caption verbs that look like plural nouns ("hangs", "features"), nouns that look like
verbs ("leaves", "lights"), colour nouns before nouns, lists of objects. They are made by rule and therefore silver: the
model's card says so, and they are never used to measure anything.

Format of a template: tokens as spaCy's English tokenizer cuts them, `word/TAG` or `{slot}`. So are fillers.
"""

from __future__ import annotations

import random
import re

Sentence = list[tuple[str, str]]

_NN = """
dog cat car truck bus bicycle table chair bench lamp vase bottle cup plate bowl tree flower building house tower
bridge boat kite ball hat shirt jacket dress umbrella backpack phone laptop book clock mirror painting poster sign
fence wall roof window door street road path river lake mountain field beach horse cow sheep elephant zebra giraffe
bird pigeon pizza cake sandwich banana apple man woman boy girl child person player cyclist vendor light leaf branch
rug curtain pillow bed couch sofa television shelf drawer cabinet sink stove oven refrigerator candle basket box bag
suitcase surfboard skateboard motorcycle train plane helicopter tractor statue fountain awning balcony chimney
circle square triangle star heart tablecloth logo banner flag lantern necklace bracelet watch glove scarf boot
sneaker
"""
_NNS = """
dogs cats cars trucks buses bicycles tables chairs benches lamps vases bottles cups plates bowls trees flowers
buildings houses boats kites balls hats shirts books clocks paintings posters signs windows doors mountains horses
cows elephants zebras birds pigeons apples bananas men women boys girls children people players pedestrians lights
leaves branches pillows shelves drawers candles baskets boxes bags lanterns flags stars hearts circles squares
petals clouds waves rocks shadows glasses headphones trousers jeans boots shoes shelves tiles bricks stairs steps
wheels headlights
"""
_JJ = """
red blue green yellow white black brown grey gray pink purple orange beige golden large small tall short round
square narrow wide bright dark wooden metallic metal plastic old young shiny rusty empty full modern vintage ornate
striped spotted checkered fluffy smooth rough blurry clear tiny huge colorful plain open closed green leafy light
pale overcast hollow solid
"""
_ATTACHED = "parked/VBN stacked/VBN framed/VBN painted/VBN folded/VBN paved/VBN tiled/VBN weathered/JJ lit/VBN"
_COMPOUNDS = """
traffic/NN light/NN;coffee/NN cup/NN;stop/NN sign/NN;street/NN lamp/NN;fire/NN hydrant/NN;tennis/NN
racket/NN;baseball/NN cap/NN;parking/NN lot/NN;dining/NN table/NN;kitchen/NN counter/NN;picture/NN frame/NN;wine/NN
glass/NN;cell/NN phone/NN;brick/NN wall/NN;stone/NN path/NN;glass/NN vase/NN;leather/NN jacket/NN;cowboy/NN
hat/NN;train/NN station/NN;street/NN scene/NN;T/NN -/HYPH shirt/NN;window/NN sill/NN;palm/NN tree/NN;night/NN
sky/NN;street/NN sign/NN;license/NN plate/NN;swimming/NN pool/NN;polka/NN dot/NN dress/NN;orange/NN cat/NN;table/NN
top/NN
"""
_VBZ = "hangs sits stands rests lies leans features faces towers looms stretches extends shows holds wears carries"
_VBP = "hang sit stand rest lie lean feature face tower stretch extend line dot cover flank frame hold wear carry"
_VBG = "standing sitting lying hanging leaning resting walking running holding wearing facing looking playing riding"
_IN = "on in near behind beside above below under against inside around along across over by with"
_PLACE = """
left/JJ side/NN;right/JJ side/NN;background/NN;foreground/NN;center/NN;middle/NN;top/JJ left/JJ corner/NN; bottom/JJ
right/JJ corner/NN;upper/JJ right/JJ corner/NN;distance/NN;far/JJ left/NN;far/JJ right/NN;lower/JJ left/NN
"""
_IMAGE = "image picture photo photograph scene painting illustration"
_CD = "two three four five six seven eight ten twelve"

_SLOTS: dict[str, list[str]] = {
    "n": [f"{w}/NN" for w in _NN.split()],
    "ns": [f"{w}/NNS" for w in _NNS.split()],
    "j": [f"{w}/JJ" for w in _JJ.split()],
    "vbn": _ATTACHED.split(),
    "c": [" ".join(c.split()) for c in _COMPOUNDS.split(";")],
    "vbz": [f"{w}/VBZ" for w in _VBZ.split()],
    "vbp": [f"{w}/VBP" for w in _VBP.split()],
    "vbg": [f"{w}/VBG" for w in _VBG.split()],
    "in": [f"{w}/IN" for w in _IN.split()],
    "place": [" ".join(p.split()) for p in _PLACE.split(";")],
    "image": [f"{w}/NN" for w in _IMAGE.split()],
    "cd": [f"{w}/CD" for w in _CD.split()],
    "np": [
        "a/DT {n}",
        "the/DT {n}",
        "a/DT {j} {n}",
        "a/DT {j} {j} {n}",
        "the/DT {j} {n}",
        "{cd} {ns}",
        "{cd} {j} {ns}",
        "{j} {ns}",
        "a/DT {c}",
        "the/DT {c}",
        "a/DT {j} {c}",
        "several/JJ {ns}",
        "a/DT {vbn} {n}",
        "the/DT {ns}",
        "a/DT {j} and/CC {j} {n}",
        "a/DT {j} ,/, {j} {n}",
        "a/DT pair/NN of/IN {ns}",
        "a/DT row/NN of/IN {ns}",
        "its/PRP$ {n}",
        "their/PRP$ {ns}",
        "a/DT {n} 's/POS {n}",
        "a/DT {n} with/IN {j} {ns}",
    ],
    "sg": ["a/DT {n}", "the/DT {n}", "a/DT {j} {n}", "the/DT {j} {n}", "a/DT {c}", "the/DT {j} {c}", "another/DT {n}"],
    "pl": ["{cd} {ns}", "{j} {ns}", "the/DT {ns}", "several/JJ {j} {ns}", "many/JJ {ns}", "some/DT {ns}", "{ns}"],
}

_TEMPLATES = (
    "{j} {n} {vbg} {in} {np} ./.",
    "{j} {ns} {vbg} {in} {np} ./.",
    "{cd} {ns} {vbg} {in} {np} ./.",
    "{n} {in} {np}",
    "{c} {in} {np} ./.",
    "Busy/JJ {c} with/IN {ns} {vbg} {in} {np} ./.",
    "Close/JJ -/HYPH up/NN of/IN {np} {in} {np} ./.",
    "Aerial/JJ view/NN of/IN {np} with/IN {np} and/CC {np} ./.",
    "{j} and/CC {j} {n} {in} {np} ./.",
    "{sg} {vbz} {in} {np} ./.",
    "{sg} {vbz} {in} {np} ,/, and/CC {np} {in} {np} ./.",
    "{sg} {vbz} {np} and/CC {np} ./.",
    "{pl} {vbp} {in} {np} ./.",
    "{pl} {vbp} {np} ./.",
    "{sg} hangs/VBZ from/IN {np} ,/, casting/VBG a/DT {j} glow/NN ./.",
    "{sg} features/VBZ {np} with/IN {np} ./.",
    "{sg} sits/VBZ atop/IN {np} ./.",
    "The/DT {image} features/VBZ {np} {in} {np} ./.",
    "The/DT {image} shows/VBZ {np} {vbg} {in} {np} ./.",
    "The/DT {image} depicts/VBZ {np} ,/, {np} and/CC {np} ./.",
    "This/DT {image} captures/VBZ {np} {vbg} {in} {np} ./.",
    "The/DT {image} is/VBZ set/VBN in/IN {np} with/IN {np} ./.",
    "In/IN the/DT {place} ,/, there/EX is/VBZ {sg} ./.",
    "In/IN the/DT {place} ,/, there/EX are/VBP {pl} {in} {np} ./.",
    "On/IN the/DT {place} ,/, we/PRP see/VBP {np} ./.",
    "To/IN the/DT left/NN of/IN {np} stands/VBZ {sg} ./.",
    "To/IN the/DT right/NN of/IN the/DT {n} ,/, {sg} {vbz} {in} {np} ./.",
    "At/IN the/DT top/NN of/IN {np} hangs/VBZ {sg} ./.",
    "In/IN front/NN of/IN {np} ,/, {pl} {vbp} ./.",
    "Behind/IN {np} ,/, {sg} {vbz} ./.",
    "Above/IN {np} hang/VBP {pl} ./.",
    "There/EX is/VBZ {sg} {in} {np} ./.",
    "There/EX are/VBP {pl} {vbg} {in} {np} ./.",
    "There/EX are/VBP no/DT {ns} in/IN the/DT {image} ./.",
    "The/DT {n} is/VBZ {j} and/CC {j} ./.",
    "The/DT {n} is/VBZ {j} ,/, while/IN the/DT {n} is/VBZ {j} ./.",
    "The/DT {ns} are/VBP {j} ./.",
    "The/DT {n} is/VBZ wearing/VBG {np} and/CC {np} ./.",
    "She/PRP wears/VBZ {np} and/CC holds/VBZ {np} ./.",
    "He/PRP leans/VBZ against/IN {np} ,/, holding/VBG {np} ./.",
    "A/DT man/NN in/IN {np} and/CC a/DT woman/NN in/IN {np} {vbp} {in} {np} ./.",
    "The/DT leaves/NNS of/IN the/DT {n} are/VBP {j} ./.",
    "{j} leaves/NNS cover/VBP {np} ./.",
    "{j} lights/NNS hang/VBP above/IN {np} ./.",
    "Light/NN streams/VBZ through/IN {np} onto/IN {np} ./.",
    "Soft/JJ light/NN falls/VBZ on/IN {np} ./.",
    "The/DT sign/NN reads/VBZ ``/`` {n} ''/'' in/IN {j} letters/NNS ./.",
    "A/DT cup/NN of/IN coffee/NN rests/VBZ on/IN {np} ./.",
    "{np} is/VBZ visible/JJ in/IN the/DT {place} ./.",
    "{np} can/MD be/VB seen/VBN in/IN the/DT {place} ./.",
    "{np} ,/, {np} ,/, {np}",
    "{np} and/CC {np} {in} {np}",
    "The/DT background/NN is/VBZ {j} ./.",
    "The/DT background/NN features/VBZ {np} ./.",
    "The/DT room/NN has/VBZ {np} ,/, {np} and/CC {np} ./.",
    "The/DT walls/NNS are/VBP painted/VBN {j} ./.",
    "The/DT {j} {n} contrasts/VBZ with/IN the/DT {j} {n} ./.",
    "The/DT {n} casts/VBZ a/DT {j} shadow/NN on/IN the/DT {n} ./.",
    "{sg} faces/VBZ {np} ,/, and/CC {pl} line/VBP the/DT {n} ./.",
    "The/DT cake/NN is/VBZ decorated/VBN with/IN {np} and/CC {np} ./.",
)

_SLOT = re.compile(r"\{(\w+)\}")


def _fill(template: str, rng: random.Random) -> str:
    while "{" in template:
        template = _SLOT.sub(lambda match: rng.choice(_SLOTS[match[1]]), template)
    return template


def sentences(count: int, seed: int) -> list[Sentence]:
    """`count` sentences as (word, Penn tag) lists, templates in turn, fillers drawn from `seed`."""
    rng = random.Random(f"captions/{seed}")
    out: list[Sentence] = []
    for i in range(count):
        tokens = [token.rpartition("/") for token in _fill(_TEMPLATES[i % len(_TEMPLATES)], rng).split()]
        sentence = [(word, tag) for word, _, tag in tokens]
        sentence = [(_quote(word), tag) for word, tag in sentence]
        first, tag = sentence[0]
        out.append([(first[:1].upper() + first[1:], tag), *sentence[1:]])
    return out


def _quote(word: str) -> str:
    return '"' if word in ("``", "''") else word
