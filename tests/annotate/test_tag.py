"""Tags of hand-labelled sentences in the style of long captions, with the shipped tagger."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recaption.demo.scenes import sample_scene
from recaption.types import SubCaption
from training.scene.captions import describe_long

Subs = Callable[..., tuple[SubCaption, ...]]

# sentence -> its objects as "lemma", "lemma:attribute+attribute", "lemma*count"
LABELLED = {
    "Two brown dogs sit on a wooden bench.": "dog:brown*2 bench:wooden*1",
    "A man in a red and white striped shirt stands by a parked car.": "man*1 shirt:red+white+striped*1 car:parked*1",
    "A cat, a dog and two birds share the rug.": "cat*1 dog*1 bird*2 rug",
    "Red and white flags hang from the balcony.": "flag:red+white balcony",
    "A pair of shoes lies beside a cup of coffee.": "shoe*2 cup*1 coffee",
    "A coffee cup and a traffic light are visible.": "coffee_cup*1 traffic_light*1",
    "A group of people walks along the beach.": "person beach",
    "The sky is blue and clear.": "sky:blue+clear",
    "A large, brown horse grazes in the field.": "horse:large+brown*1 field",
    "The woman's hat is made of straw.": "woman hat:straw",
    "A lamp hangs from the ceiling.": "lamp*1 ceiling",
    "In the background, three children play with a kite.": "child*3 kite*1",
    "On the left side of the image, there is a stone wall.": "wall:stone*1",
    "At the top of the stairs stands a small girl.": "stairs girl:small*1",
    "An orange cat sleeps on the sofa.": "cat:orange*1 sofa",
    "He wears glasses and holds an umbrella.": "glasses umbrella*1",
    "The sign reads \"BEWARE of the dog\".": "sign",
    "A white T-shirt hangs on the fence.": "t-shirt:white*1 fence",
    "A double-decker bus passes a brick building.": "bus:double-decker*1 building:brick*1",
    "Several knives and forks lie on the table.": "knife fork table",
    "Fallen leaves cover the path.": "leaf:fallen path",
    "The tall tower rises above the trees.": "tower:tall tree",
    "There are no people in the street.": "street",
    "A bowl without any fruit stands on the shelf.": "bowl*1 shelf",
    "The mood is calm and the atmosphere conveys a sense of peace.": "",
    "A dozen eggs are stacked in a basket.": "egg*12 basket*1",
    "A busy street scene with many cars.": "street:busy*1 car",
    "She leans against a wooden door.": "door:wooden*1",
    "A single candle burns on the cake.": "candle*1 cake",
    "Green plants line the window sill.": "plant:green window_sill",
    "The boy is riding a blue bicycle.": "boy bicycle:blue*1",
    "Both women carry black handbags.": "woman*2 handbag:black",
    "The sink is made of brushed stainless steel.": "sink:brushed+stainless_steel",
    "The refrigerator is shiny stainless steel.": "refrigerator stainless_steel:shiny",
    "A pot in shiny stainless steel.": "pot*1 stainless_steel:shiny",
    "The toaster is black and stainless steel.": "toaster:black stainless_steel",
    "Shiny stainless steel appliances line the wall.": "appliance:shiny+stainless_steel wall",
}  # fmt: skip
LABELLED |= {
    # adjectives, adverbs and verbs that the tagger calls nouns
    "Adjacent to the bench stands a man clad in black, his mouth agape.": "bench man*1 mouth:agape",
    "An intricate, captivating carving adds a pop of color and a touch of whimsy.": "carving:intricate+captivating*1",
    "A lion statue commands attention in the square.": "lion_statue*1 square",
    "A man walking a dog passes a fence.": "man*1 dog*1 fence*1",
    "Small waves roll onto the shore.": "wave:small shore",
    "Gulls circle overhead.": "gull",
    "A bride and a groom clasp hands.": "bride*1 groom*1 hand",
    "A red square lies on the table.": "square:red*1 table",
    "A young adult waits at the station.": "adult:young*1 station",
    "A colorfully painted car passes.": "car:painted*1",
    # figurative measures, fonts, patterns and places
    "A splash of color brightens the visually striking room.": "room:striking",
    "A splash of water hits the floor.": "splash*1 water floor",
    "The word is written in a white serif font in a checkerboard pattern.": "",
    "In the upper-left, two-thirds of the wall is bare.": "wall",
    # parts and reflections
    "The exterior of the house has serrated edges.": "exterior house edge:serrated",
    "A graphic on its hood shows a locomotive.": "graphic*1 hood locomotive*1",
    "The reflection of the trees is visible in the ocean.": "reflection tree ocean",
    # nouns that the tagger calls adjectives, adverbs, participles or determiners
    "A moped is parked by the walkways.": "moped*1 walkway",
    "A fire extinguisher hangs beside the fire escape.": "fire_extinguisher*1 fire_escape",
    "Both walkways lead to the chalet.": "walkway*2 chalet",
    "A roller coaster with a curved track is visible.": "roller_coaster*1 track:curved*1",
    "Seaweed, graffiti and goods cover the dock.": "seaweed graffiti goods dock",
    # measures and portions
    "A piece of paper and a sheet of paper lie on piles of bricks.": "paper sheet*1 paper pile brick",
    # attributes in lists
    "A red, double-decker bus passes.": "bus:red+double-decker*1",
    "She has long, flowing red hair.": "hair:long+flowing+red",
    "An old, rusted, green truck is parked in the yard.": "truck:old+rusted+green*1 yard",
    "A stack of large, irregularly shaped rocks.": "stack*1 rock:large+shaped",
    "The shirt has red, orange, blue, and white stripes.": "shirt stripe:red+orange+blue+white",
    "The table is small, round, and rectangular.": "table:small+round+rectangular",
    "His short, dark hair and beard are wet.": "hair:short+dark+wet beard:short+dark+wet",
    # colours in appositions and predicates
    "The needles, a vibrant green with yellow tips, are long.": "needle:vibrant+green+long tip:yellow",
    "Its fur, a blend of gray and brown, contrasts with its black eyes.": "fur:gray+brown eye:black",
    "The rocks, mostly gray, are wet.": "rock:gray+wet",
    "The color of the car is red.": "car:red",
    "Two cars, one orange and one blue, are parked.": "car:orange+blue+parked*2",
    "Two balls lie on the floor, one orange and one blue.": "ball:orange+blue*2 floor",
    "There are two mugs, one white and the other black.": "mug:white+black*2",
    "Two chairs stand by the door, one wooden and one metal.": "chair:wooden+metal*2 door",
    "There are two birds on the roof, a large one and a small one.": "bird:large+small*2 roof",
    "The cat's color is orange.": "cat:orange",
    "The house has a white color.": "house:white",
    "There is an umbrella present in the room.": "umbrella*1 room",
    "The walls, painted in a light gray hue, are bare.": "wall:light+gray+bare",
    "The sky, a clear blue, is dotted with clouds.": "sky:clear+blue cloud",
    "The sky is a soft light blue.": "sky:soft+light+blue",
    "The dirt is reddish brown, and white lines mark the path.": "dirt:reddish+brown line:white path",
    "The syrup is not only dark but also glossy.": "syrup:dark+glossy",
    # no attributes
    "The men are holding flowers and wearing black hats.": "man flower hat:black",
    "The cat is larger than the dog.": "cat dog",
    "The men are clad in kimonos.": "man kimono",
    "It stands on a stone and brick pedestal.": "pedestal:stone+brick*1",
    "The sky is devoid of clouds.": "sky",
    # no attributes in lemmas
    "A turbulent river runs in varying shades of blue.": "river:turbulent*1",
    "A glass of red wine.": "glass*1 wine:red",
    "A red carpet leads to the potted plant.": "carpet:red*1 plant:potted",
    # materials
    "The building is made of brick and stone.": "building:brick+stone",
}  # fmt: skip
"""Kinds that long captions by models showed."""


def _labels(sub: SubCaption) -> list[str]:
    out = []
    for tag in sub.objects:
        label = tag.lemma.replace(" ", "_")
        label += ":" + "+".join(tag.attributes).replace(" ", "_") if tag.attributes else ""
        out.append(label + (f"*{tag.count}" if tag.count is not None else ""))
    return out


@pytest.mark.parametrize("text", LABELLED)
def test_objects_of_labelled_sentences(subs: Subs, text: str) -> None:
    (sub,) = subs(text)
    assert _labels(sub) == LABELLED[text].split()


KINDS = {
    "A group of people stands on the left side of a street.": "group:measure person:object side:meta street:object",
    "There are no people or cars in the street.": "person:absent car:absent street:object",
    "He is not wearing a hat, and nobody holds an umbrella.": "hat:absent umbrella:absent",
    "The mare wears neither a saddle nor a bridle.": "mare:object saddle:absent bridle:absent",
    "Neither the kiosk nor the office is open.": "kiosk:object office:object",
    "The atmosphere conveys a sense of joy.": "atmosphere:meta sense:meta joy:abstract",
    "The light is soft, and a light hangs from the ceiling.": "light:meta light:object ceiling:object",
    "The street is in Paris near the Eiffel Tower.": "street:object paris:name eiffel tower:object",
    "The palette is made up of greens and greys.": "palette:meta green:meta grey:meta",
    "A man leans on the back of a chair in the back.": "man:object back:object chair:object back:meta",
}


@pytest.mark.parametrize("text", KINDS)
def test_nouns_that_are_no_objects_are_tagged_with_their_kind(subs: Subs, text: str) -> None:
    (sub,) = subs(text)
    found = " ".join(f"{tag.lemma}:{tag.kind}" for tag in sub.tags if tag.lemma != "nobody")
    assert found == KINDS[text]


def test_an_assistants_sentence_names_no_objects(subs: Subs) -> None:
    (sub,) = subs("I'm sorry, but I can't read the label on the bottle.")
    assert sub.is_meta and sub.is_negation
    assert not sub.objects and {tag.kind for tag in sub.tags} <= {"meta", "abstract"}


@pytest.mark.parametrize(
    ("text", "plural"), [("two dogs", True), ("a dog", False), ("blue jeans", True), ("some umbrellas", True)]
)
def test_plural(subs: Subs, text: str, plural: bool) -> None:
    (sub,) = subs(f"She has {text}.")
    assert [tag.plural for tag in sub.objects] == [plural]


def test_offsets_refer_to_the_caption(subs: Subs) -> None:
    text = "🐶 A dog. Two small red cars stand by the old stone bridge."
    for sub in subs(text):
        for tag in sub.tags:
            assert text[tag.char_start : tag.char_end] == tag.text
            assert sub.char_start <= tag.char_start < tag.char_end <= sub.char_end
    assert [tag.text for tag in subs(text)[-1].tags] == ["small red cars", "old stone bridge"]


@pytest.mark.parametrize("seed", range(12))
def test_every_object_of_a_scene_is_found(subs: Subs, seed: int) -> None:
    scene = sample_scene(seed)
    found = {(tag.lemma, tag.attributes) for sub in subs(describe_long(scene)) for tag in sub.objects}
    for item in scene.objects:
        assert (item.shape, (item.size, item.fill, item.colour)) in found
    extra = {lemma for lemma, _ in found} - {item.shape for item in scene.objects}
    assert extra <= {"tablecloth", "table"}
