"""Which sentences of an image repeat earlier ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recaption.annotate import Annotator
from recaption.types import Caption, SubCaption

Subs = Callable[..., tuple[SubCaption, ...]]
Make = Callable[..., Caption]


def test_a_sentence_repeats_one_of_another_caption_of_the_image(subs: Subs) -> None:
    first, other, again = subs("The red dog sits on the mat. A cat lies.", "the red dog, sits on a mat!")
    assert (first.dup_of, other.dup_of) == (None, None)
    assert again.dup_of == first.sub_id
    assert again.weight == 0


def test_sentences_with_other_places_are_no_duplicates(subs: Subs) -> None:
    done = subs(
        "The dog is to the left of the cat. The dog is to the right of the cat. The cat is to the left of the dog."
    )
    assert [s.dup_of for s in done] == [None, None, None]


def test_a_nearly_equal_sentence_is_a_duplicate(subs: Subs) -> None:
    text = "A tall man in a dark blue coat walks two small white dogs along the narrow muddy path beside the river"
    a, b = subs(f"{text}. {text} slowly.")
    assert b.dup_of == a.sub_id


def test_a_sentence_of_another_image_is_no_duplicate(annotator: Annotator, make: Make) -> None:
    images = annotator.annotate([[make("A dog sits.")], [make("A dog sits.")]])
    assert images[1][0].sub_captions[0].dup_of is None


SWAPPED = {
    "colours": "A red car and a blue truck stand here. A blue car and a red truck stand here.",
    "counts": "Two dogs and three cats run. Three dogs and two cats run.",
    "attributes": "The red dog chases the black cat. The black dog chases the red cat.",
    "who does it": "The dog bites the man. The man bites the dog.",
}


@pytest.mark.parametrize("what", SWAPPED)
def test_the_same_words_about_other_objects_are_no_duplicate(subs: Subs, what: str) -> None:
    assert [sub.dup_of for sub in subs(SWAPPED[what])] == [None, None]


SET_APART = {
    "another colour": "Next to her, a man in a green robe stands, his hands clasped together in front of him. "
    "Next to her, a man in a brown robe stands, his hands clasped together in front of him.",
    "a compound colour of another thing": "The white houses have dark-colored doors on the roofs and dark-colored "
    "chimneys. The houses are white with dark-colored roofs.",
    "another person": "He wears a black shirt with a white collar. She wears a black shirt with a white collar.",
    "third": "The second musician, on the right, is dressed in a brown shirt and black pants. "
    "The third musician, on the right, is dressed in a brown shirt and black pants.",
    "ninth": "The seventh carriage is red with a white stripe and blue doors. "
    "The ninth carriage is red with a white stripe and blue doors.",
    "another": "A man in a blue coat stands at the door. Another man in a blue coat stands at the door.",
    "left and right": "His right hand rests on the keys, while his left hand rests on the pedals. "
    "His left hand rests on the keys, while his right hand rests on the pedals.",
    "colours in turn": "It is bright yellow with a few pink flowers behind it. "
    "It is bright pink with a few yellow flowers behind it.",
    "a quotation": 'The word "Swedish" is written on the side. The word "Airlines" is written on the side.',
    "also, of someone else": "His arms are bent at the elbows. A boy sits there. His arms are also bent at the elbows.",
    "a pronoun for someone else": "A man stands at the gate. He has short gray hair. "
    "A woman walks by with a boy. He has short gray hair.",
    "another posture": "Two goats standing in a stony field. Two goats grazing in a stony field.",
    "another number": "There is a white cup on the tray. There are two white cups on the tray.",
    "another number in digits": "At least 14 boats lie in the harbour. At least 13 boats lie in the harbour.",
    "one and several": "A rider waits at the old gate. Several riders wait at the old gate.",
    "they and he": "They are wearing white uniforms. He is wearing a white uniform.",
    "people and horses": "Two people are pulling a cart. Two horses are pulling a cart.",
    "another look": "He faces the window with a serious expression. He faces the window with a puzzled expression.",
    "further ones": "A bicycle leans against the wall. An additional bicycle leans against the wall.",
    "a quotation in capitals": "Below is the word EXIT in tall letters. Below is the word ENTER in tall letters.",
    "a quotation in single quotes": "The text 'STOP' is on the board. The text 'GO' is on the board.",
    "another that was counted": "There are many lamps, with another one further down the street. "
    "Another lamp stands further down the street.",
    "central": "The figure on the left has a round face. The central figure has a round face.",
}


@pytest.mark.parametrize("what", SET_APART)
def test_what_sets_things_apart_makes_another_sentence(subs: Subs, what: str) -> None:
    assert {sub.dup_of for sub in subs(SET_APART[what])} == {None}


def test_a_repeated_pair_of_sentences_is_repeated_as_a_whole(subs: Subs) -> None:
    text = "A man in a red coat stands at the gate. He has short gray hair. "
    assert [sub.dup_of for sub in subs(text + text)] == [None, None, "k/long/0#0", "k/long/0#1"]


def test_colours_of_one_thing_may_change_places(subs: Subs) -> None:
    a, b = subs(
        "The lighthouse at the end of the pier is red and white.", "The lighthouse at the pier's end is white and red."
    )
    assert b.dup_of == a.sub_id


IN_OTHER_WORDS = {
    "passive": ("A dog chases a cat.", "A cat is chased by a dog."),
    "passive with a place": ("A man is riding a horse on the beach.", "The horse is ridden by a man on the beach."),
    "place first": ("A cup is on the table.", "On the table, there is a cup."),
    "two subjects": ("A man and a woman walk on the beach.", "A woman and a man walk on the beach."),
    "owner": ("A large clock is mounted on the tower.", "The tower has a large clock mounted on it."),
    "a couple": (
        "The image depicts a man and a woman standing in a kitchen, preparing food together.",
        "The couple appears to be enjoying their time together while preparing a meal.",
    ),
    "a person, named twice": (
        "A woman is painting a fence in the garden.",
        "A woman is painting a fence, as a person would in the garden.",
    ),
    "a road that is a street": (
        "The image features a yellow taxi driving down a busy street in the city.",
        "The image depicts a busy city street with a yellow taxi driving down the road.",
    ),
    "a more general word": (
        "A man is riding a motorcycle down a road.",
        "A person is riding a motorcycle down a road.",
    ),
    "vehicle": ("A car is parked next to a brick building.", "A vehicle is parked next to a brick building."),
    "says less": (
        "The image features a man wearing a gray jacket and black gloves, standing on a yellow paddleboard.",
        "A man is standing on a paddleboard.",
    ),
    "another frame": (
        "The image features a large elephant standing in a field.",
        "There is a large elephant standing in a field.",
    ),
    "order": (
        "The toilet is on the right side of the room, while the sink is on the left side.",
        "The sink is on the left side of the room, while the toilet is on the right side.",
    ),
    "order of an and": ("A mouse and a keyboard are on the desk.", "A keyboard and a mouse are on the desk."),
    "beside": ("A woman is standing next to a horse.", "A woman is standing beside a horse."),
    "relation turned around": ("The sink is near the window.", "The window is near the sink."),
    "above first": ("There is a mirror above the sink.", "Above the sink, there is a mirror."),
    "hedge": ("The dog is looking at the camera.", "The dog appears to be looking at the camera."),
    "guess at the end": (
        "A boy is holding a kite on the beach.",
        "A boy is holding a kite on the beach, possibly waiting for the wind.",
    ),
    "effect at the end": (
        "There are several trees in the background.",
        "There are trees in the background, adding to the wintery atmosphere.",
    ),
    "which effect": (
        "The woman is wearing a long wetsuit and gloves.",
        "The woman is wearing a wetsuit, which provides her with protection.",
    ),
    "indicating": (
        "There are many wine glasses around the pizza.",
        "There are many wine glasses around the pizza, indicating that it might be a celebration.",
    ),
    "suggests": (
        "A green jeep is parked on a wet road.",
        "The wet road suggests that it has rained recently, but a green jeep is parked.",
    ),
    "in addition to": (
        "In the room, there are books scattered around the desk.",
        "In addition to the laptop, there are books scattered around the desk.",
    ),
    "grassy": ("Cows are grazing in a grassy field.", "Cows are grazing in a field of grass."),
    "wooden": ("The stairs have a wooden handrail.", "The stairs have a handrail made of wood."),
    "massive": ("A massive clock hangs on the wall.", "A large clock hangs on the wall."),
    "couch": ("A boy and his dog are lying on the sofa.", "A boy is lying on the couch."),
    "spread": ("Umbrellas are scattered across the sand.", "Umbrellas are spread across the sand."),
    "watch": ("The cat is watching the bird on the screen.", "The cat is looking at the bird on the screen."),
    "water": ("A small boat sails on the lake.", "A small boat sails on the water."),
    "child": ("A boy in a red cap holds an apple.", "A child in a red cap holds an apple."),
    "pronoun": ("A man wearing a white shirt is holding a phone.", "He is wearing a white shirt and holding a phone."),
    "elderly": (
        "An elderly woman is sitting on a wooden bench in a park.",
        "An older woman is sitting on a wooden bench in a park.",
    ),
    "airplane": ("A small airplane is flying in the cloudy sky.", "A small plane is flying in the cloudy sky."),
    "side by side": (
        "Two zebras are standing next to each other in a field.",
        "Two zebras are standing side by side in a field.",
    ),
    "animals": ("A giraffe is eating leaves from a tree.", "An animal is eating leaves from a tree."),
    "enjoying": (
        "A woman is sitting on a bench at the beach.",
        "The woman is enjoying her time on a bench at the beach.",
    ),
    "laptop computer": ("A laptop computer and a cup stand on the desk.", "A laptop stands on the desk."),
    "backdrop": ("A red biplane is flying in a clear blue sky.", "The biplane is flying against a blue sky backdrop."),
    "street": ("A man is riding a skateboard down a city street.", "A man is riding a skateboard down a street."),
    "possibly a": (
        "A black bird stands on a rock near the water.",
        "A black bird, possibly a crow, stands on a rock near the water.",
    ),
    "effect as the main verb": (
        "There are several boats in the small harbor.",
        "The boats in the small harbor create a lively scene.",
    ),
    "presence with an effect": (
        "Several birds are flying above the elephants.",
        "The presence of birds adds a dynamic atmosphere to the image.",
    ),
    "combination with an effect": (
        "A statue stands near a pond with plants.",
        "The combination of the statue, pond, and plants creates a picturesque environment.",
    ),
    "pose of a thing": (
        "There are three cupcakes on a wooden board.",
        "Three cupcakes are sitting on a wooden board.",
    ),
    "agent": ("A man on a snowboard is moving down a steep slope.", "A snowboarder is moving down a steep slope."),
    "role": ("Several people are standing near the ring.", "The spectators are standing near the ring."),
    "side of the scene": (
        "A sheep is on the left side of the picture.",
        "A sheep is positioned on the left side of the field.",
    ),
    "name for a pronoun": (
        "She is holding a cup and looking at her phone.",
        "The woman is looking at her phone.",
    ),
    "ready": ("A pizza with olives lies on a plate.", "A pizza with olives is on a plate, ready to be enjoyed."),
    "or possibly": (
        "Two men are looking at the truck.",
        "The men seem to be looking at the truck or possibly discussing it.",
    ),
    "cell phone": ("A girl holds a phone in the park.", "A girl holds a cell phone in the park."),
    "other items in addition": (
        "The items on the table include a fork and a cup next to the pizza.",
        "In addition to the pizza, there are a cup and other items on the table.",
    ),
    "main subject": ("A brown goat stands on a stone wall.", "In the image, a brown goat is the main subject."),
    "sky above": ("The sky is clear and blue.", "The sky above is a clear blue, suggesting a warm day."),
    "no clouds": ("The sky is clear and blue.", "The sky is clear, with no visible clouds."),
    "scattered clouds": ("Above, the sky is gray with a few clouds.", "The sky is gray with a few scattered clouds."),
    "who does it and what is done": (
        "A surfer is riding a wave near a pier.",
        "A person is surfing on a wave near a pier.",
    ),
    "gear": (
        "A young man is captured in a daring skateboard trick on a ramp.",
        "A skateboarder performs a trick on a ramp.",
    ),
    "in the midst of": (
        "A young girl is painting a picture on a porch.",
        "A young girl is captured in the midst of a playful moment.",
    ),
    "mood of a scene": ("A quiet, peaceful park scene with two benches.", "A serene park scene with two benches."),
    "material of the ground": ("A boy stands on grass in red boots.", "A boy stands on a grassy field."),
    "snow-covered": ("The snow-covered ground is flat and wide.", "The ground is covered with snow."),
    "in the distance": (
        "In the background, there are rocky cliffs and a lighthouse.",
        "In the distance, there are rocky cliffs, suggesting a coast.",
    ),
    "behind and in front of": (
        "A girl is standing in front of a green hedge.",
        "The hedge is located behind the girl, adding a touch of nature.",
    ),
    "inside": ("A parrot stands in a large cage.", "A parrot is inside a cage."),
    "gaze": ("A fox is looking towards the camera.", "The fox's gaze is directed towards the camera."),
    "painted": ("The barn has a red door and a white wall.", "The wall of the barn is painted white."),
    "pair": ("He wears blue jeans and black boots.", "He is dressed in a pair of blue jeans."),
    "at": ("A bus waits in front of a station entrance.", "A bus waits at the entrance of a station."),
    "both": ("Both women are sitting on a sofa.", "Two women are sitting on a sofa."),
    "compound turned around": ("A helicopter is on an airport runway.", "A helicopter is on the runway of an airport."),
    "negation in a later clause": (
        "The fisherman holds a net in his hands and looks at a boat, which is not fully visible.",
        "The fisherman holds a net.",
    ),
    "only that it is there": (
        "Behind the pond stand tall trees.",
        "The trees provide a natural backdrop for the scene.",
    ),
    "scene at a place": (
        "The image shows a market with many people.",
        "The image depicts a dynamic scene at a market.",
    ),
    "t-shirt": ("A boy wears a yellow t-shirt with a tiger.", "A boy wears a yellow shirt."),
    "one on the left": (
        "The horse on the left is smaller, while the one on the right is larger.",
        "The horse on the right is larger, while the one on the left is smaller.",
    ),
    "next to each other": (
        "Two owls are sitting together on a branch.",
        "Two owls are sitting next to each other on a branch.",
    ),
    "completes": ("The sky is a clear blue.", "The clear blue sky completes the picture."),
    "stands tall": ("A stone tower stands on a hill.", "The stone tower stands tall on a hill."),
    "the same view": (
        "The camera angle is a high angle, looking down upon the street from an elevated vantage point.",
        "The camera angle is a high angle, likely taken from an elevated position looking down at the street.",
    ),
    "towards the same": ("A man walks towards the blue sea.", "The man is walking towards the sea."),
    "where it hangs": ("Old tires dangle from hooks in the ceiling.", "Old tires hang from the ceiling."),
    "a splash of colour": (
        "The surfboard is red with a pattern, and it is partially submerged in the water.",
        "The surfboard is red and partially submerged, creating a splash of color against the water.",
    ),
    "without where from": ("A man walks from the house into the garden.", "A man walks into the garden."),
    "a part of all": ("All of the people in the picture wear hats.", "The people wear hats."),
    "a score again": ("The scoreboard shows 3-0.", "The scoreboard in the picture shows 3-0."),
    "a focus": (
        "A flower is sharply in focus before leaves on a branch.",
        "The leaves on the branch are slightly out of focus.",
    ),
    "pose of a bird": ("A crow is standing on a wire.", "A crow is perched on a wire."),
}


@pytest.mark.parametrize("what", IN_OTHER_WORDS)
def test_a_sentence_repeats_one_in_other_words(subs: Subs, what: str) -> None:
    first, second = subs(*IN_OTHER_WORDS[what])
    assert second.dup_of == first.sub_id


SAYS_MORE = {
    "the colour of a further thing": (
        "The woman on the left is wearing a white t-shirt, black pants, and blue sneakers.",
        "The person on the left is wearing a white T-shirt, black pants, and black shoes.",
    ),
    "a colour for a further thing": (
        "The skier is wearing a beige jacket, black pants, and black gloves, along with a helmet and ski goggles.",
        "The skier is wearing a beige jacket, black pants, and a black helmet with goggles.",
    ),
    "towards what": (
        "The image depicts a man walking along a sandy beach next to the ocean.",
        "The man is walking towards the water, likely preparing to enjoy some time in the ocean.",
    ),
    "what is made": (
        "The image features a bed with two towels arranged in the shape of two swans.",
        "The towels are placed on top of the bed, creating a heart-shaped design.",
    ),
    "what comes after a guess": (
        "They are scattered evenly nearer to the surface of the water.",
        "The surface of the water, which can be seen looking upward, is even lighter blue with many ripples.",
    ),
    "some of them at a table": (
        "The image features a large pizza with a lot of sauce and cheese, sitting on a dining table.",
        "Some of them appear to be sitting at the table where the pizza is placed.",
    ),
    "another view": (
        "The camera angle appears to be a direct overhead shot, providing a clear view of the items.",
        "The camera angle is a level angle, providing a clear and direct view of the items.",
    ),
    "a slightly higher view": (
        "The camera angle is slightly above level, offering a clear view of the lens.",
        "The camera angle is a level angle, providing a clear and straightforward view of the lens.",
    ),
    "where from and where to": (
        "The man walks from the house into the garden.",
        "The man walks from the garden into the house.",
    ),
    "out of and onto": ("A boy climbs out of the car onto the roof.", "A boy climbs out of the roof onto the car."),
    "from and on": (
        "A man takes a bottle from the table and puts it on the shelf.",
        "A man takes a bottle from the shelf and puts it on the table.",
    ),
    "all and some": ("All of the people wear hats.", "Some of the people wear hats."),
    "some and all": ("Some of the people wear hats.", "All of the people wear hats."),
    "most and all": ("Most of the windows are closed.", "All of the windows are closed."),
    "half and all": ("Half of the seats are empty.", "All of the seats are empty."),
    "a score": ("The scoreboard shows 3-0 for the home team.", "The scoreboard shows 0-3 for the home team."),
    "a part of a number": ("The scoreboard shows 10 of 12.", "The scoreboard shows 12 of 10."),
    "which door is open": (
        "The left door is open and the right one is closed.",
        "The left door is closed and the right one is open.",
    ),
    "places, swapped": ("The cup is on the saucer.", "The saucer is on the cup."),
    "who looks at whom": ("The boy looks at the girl.", "The girl looks at the boy."),
    "who does it to whom": ("A police officer arrests a protester.", "A protester arrests a police officer."),
    "active and passive": ("A dog chases a cat.", "A dog is chased by a cat."),
    "which is larger": ("The dog is larger than the cat.", "The cat is larger than the dog."),
    "an added pose": (
        "The cat is placed in the middle of the sofa, while the lamp is located on the left side of the room.",
        "The cat is placed in the middle of the sofa, and it appears to be sleeping.",
    ),
    "an added place": (
        "The suitcase is on a tiled floor, which has a gray tone.",
        "The suitcase is placed on a tiled floor, and the scene appears to be indoors.",
    ),
    "an added look": (
        "This is a black and white photograph of an old man wearing a dark coat and hat.",
        "The image is a black and white photograph of an old man wearing a dark coat and hat, looking serious.",
    ),
    "a time of the day": (
        "The image features a basketball court with three people playing a game of basketball.",
        "This image shows three people playing basketball on a court at night.",
    ),
    "another thing of the kind": (
        "There are mugs hanging from the wall and a microwave on the shelf.",
        "A microwave is placed on the shelf, along with an oven located nearby.",
    ),
    "another thing of the kind, with a modifier": (
        "There are mugs hanging from the wall and a microwave on the shelf.",
        "A microwave is placed on the shelf, along with a wall oven located nearby.",
    ),
    "a happy couple": (
        "People are walking along a beach with umbrellas.",
        "A lovely couple is walking along the beach.",
    ),
    "a pose for the camera": (
        "A group of young girls is standing on a field.",
        "A group of young girls is posing on a field.",
    ),
    "some of them": (
        "The image features a large, freshly baked cake with cream and berries, placed on a dining table.",
        "Some of them appear to be sitting at the table where the cake is placed.",
    ),
    "two of the group": (
        "This image shows a group of people standing around a kitchen counter, laughing.",
        "The image features a couple standing at a counter in a kitchen.",
    ),
    "the only person": (
        "This image shows a woman in a green shirt and jeans jumping up to catch a ball in the air.",
        "The woman is the only person in the scene.",
    ),
    "a direction": (
        "The skier is wearing a blue jacket and is skillfully navigating the snowy terrain.",
        "She is skillfully navigating the snowy terrain, making her way down the mountain.",
    ),
    "how it lies": (
        "The image features a man wearing a black wetsuit, sitting on a surfboard in the ocean.",
        "The surfboard is positioned horizontally, with the man sitting on it.",
    ),
    "how much is seen": (
        "A wide shot of a person climbing up a steep cliff next to a waterfall.",
        "The person climbing is barely visible.",
    ),
    "another person": (
        "A man in a red jacket is riding a bicycle down the street.",
        "A woman in a red jacket is riding a bicycle down the street.",
    ),
    "a narrower word": ("A person is standing next to a vehicle.", "A man is standing next to a truck."),
    "sibling": ("A cat is sleeping on the wooden chair.", "A dog is sleeping on the wooden chair."),
    "another colour": ("The woman is wearing a blue dress and a hat.", "The woman is wearing a green dress."),
    "colour added": ("A bus is parked on the street near a shop.", "A yellow bus is parked on the street."),
    "number": ("There are two bowls and a spoon on the table.", "There are three bowls on the table."),
    "one and many": (
        "There is a chair in the corner of the room near a lamp.",
        "There are several chairs in the corner of the room.",
    ),
    "side": (
        "The sink is on the left side of the room, and the toilet is on the right side.",
        "The sink is on the right side of the room.",
    ),
    "sides swapped": (
        "The cat is positioned on the left side of the scene, while the dog is on the right side.",
        "The dog is positioned on the left side of the scene, while the cat is on the right side.",
    ),
    "relation": ("The lamp is near the table in the room.", "The lamp is on the table in the room."),
    "relation reversed": ("A cup is above the shelf in the kitchen.", "A shelf is above the cup in the kitchen."),
    "above and below": ("A mirror hangs above the sink.", "A mirror hangs below the sink."),
    "front and behind": ("A dog sits in front of the tall fence.", "A dog sits behind the tall fence."),
    "posture": ("The man is sitting on a bench in the park.", "The man is standing on a bench in the park."),
    "who does it": (
        "The girl is sitting on the couch, and the boy is standing near the window.",
        "The boy is sitting on the couch.",
    ),
    "action": ("A man is holding a frisbee in the park.", "A man is throwing a frisbee in the park."),
    "negation": ("There are no people on the beach.", "There are people on the beach."),
    "negated later": ("There are people and umbrellas on the beach.", "There are no umbrellas on the beach."),
    "another": ("A man holds a surfboard on the beach.", "Another man holds a surfboard on the beach."),
    "quotation": (
        'A red sign that reads "Stop" stands at the corner.',
        'A red sign that reads "Yield" stands at the corner.',
    ),
    "thing added": ("The man is wearing a black jacket.", "The man is wearing a black jacket and a cap."),
    "place added": ("A boat floats on the water.", "A boat floats on the water near the bridge."),
    "he and she": ("A woman is holding a red umbrella and a bag.", "He is holding a red umbrella."),
    "they and he": ("The player is wearing a blue helmet and gloves.", "They are wearing blue helmets."),
    "material": ("The house has a wooden fence and a garden.", "The house has a metal fence."),
    "opposite adjective": ("A large bowl of soup stands on the table.", "A small bowl of soup stands on the table."),
    "size of another thing": ("A small dog sits next to a large tree.", "A large dog sits next to a tree."),
    "a compound is another thing": ("A bus stop is visible on the street.", "A bus is visible on the street."),
    "clock tower": (
        "The image shows a clock tower with a pointed roof.",
        "The image shows a clock with a pointed hand.",
    ),
    "facing each other": (
        "Two horses are standing in a grassy field.",
        "Two horses are standing in a grassy field, facing each other.",
    ),
    "black and white": (
        "The image shows a bed with a laptop on it.",
        "The image is a black and white photograph of a bed with a laptop on it.",
    ),
    "up and down": ("A man is skateboarding down a steep ramp.", "A man is skateboarding up a steep ramp."),
    "open and closed": ("The laptop on the desk is open.", "The laptop on the desk is closed."),
    "inside": ("Two birds are sitting outside the cage.", "Two birds are sitting inside the cage."),
    "third": ("The first skater wears a blue helmet.", "The third skater wears a blue helmet."),
    "whose": ("The woman's dog is sitting on the couch.", "The woman is sitting on the couch with her dog."),
    "heading": ("The kitchen has a stove, a sink and black coffee on the counter.", "Black coffee"),
    "background and foreground": (
        "A tree stands in the foreground and a house in the background.",
        "A house stands in the foreground.",
    ),
    "owner": ("A man is holding the leash of a dog.", "A dog is holding the leash of a man."),
    "beneath": ("The cat lies under the table and the dog lies on the rug.", "The dog lies under the table."),
    "opposite in a clause": ("The woman holds a red cup, and the man holds a blue plate.", "The man holds a red cup."),
    "number of legs": ("A stool with three legs stands in the barn.", "A stool with four legs stands in the barn."),
    "walk away": ("A woman walks towards the old house.", "A woman walks away from the old house."),
    "adds a thing": (
        "The old cook is standing at the wooden table.",
        "The old cook adds milk to a bowl on the wooden table.",
    ),
    "presence of another thing": (
        "Several birds are flying above the elephants.",
        "The presence of boats adds a dynamic atmosphere to the image.",
    ),
    "pose of a thing": (
        "A motorcycle is standing on the wet road in front of a shop.",
        "A motorcycle is lying on the wet road.",
    ),
    "no agent": ("The image shows a news report about a man in a jacket.", "The reporter wears a jacket."),
    "no person for a role": ("Several dogs are standing near the ring.", "The spectators are standing near the ring."),
    "one person for several": ("A boy is standing near the ring.", "The spectators are standing near the ring."),
    "name for another pronoun": ("He is holding a cup and looking at a phone.", "The woman is looking at a phone."),
    "close to": (
        "A woman with a racket jumps, and a ball is in the air.",
        "A ball is in the air, close to the woman's racket.",
    ),
    "colours of nothing": (
        "The hydrant has a black and white stripe.",
        "The scene appears to be in black and white, giving it a timeless feel.",
    ),
    "with no clouds": ("The sky is blue with white clouds.", "The sky is blue with no clouds."),
    "with without": ("A man with a hat is crossing the road.", "A man without a hat is crossing the road."),
    "attribute of a word that states nothing": (
        "She wears a green coat, black trousers, and white gloves.",
        "Her gloves are white with black details.",
    ),
    "focus": (
        "A kitten sits on a windowsill in front of a blurred background.",
        "The focus of the image is on the kitten, and the background is blurred.",
    ),
    "focus with context": (
        "A truck is parked between other vehicles.",
        "The truck is the main focus, with the other vehicles serving as context.",
    ),
    "mood of another thing": (
        "A quiet forest scene with two tents on the ground.",
        "The overall atmosphere is quiet, with the tents adding a human touch.",
    ),
    "down and on": (
        "A person holds red ski poles, which are planted in the snow, indicating a pause on the way down the slope.",
        "A person is skiing down a snowy slope.",
    ),
    "both hands": ("A girl is holding a rope of a swing.", "She is holding the rope of a swing with both hands."),
    "close together": ("Two cows are standing in a field.", "The cows are standing close together."),
    "what a guess is drawn from": (
        "In the background, there is a green wall with text.",
        "There is a green wall with text, suggesting a tournament, as indicated by the crown on the wall.",
    ),
    "light": (
        "The soft lighting casts gentle shadows on the floor.",
        "This gentle light evokes a feeling of nostalgia.",
    ),
    "colour of another thing": (
        "Yellow light falls on the leaves, and the deep brown of the trunks is cool.",
        "The leaves are brown and yellow.",
    ),
    "adjective of another thing": (
        "A rainy day on a street with two cats.",
        "Both cats appear to be wet from the rain.",
    ),
    "an animal is no person": (
        "A leash is attached to the dog's collar near the water.",
        "The person and the dog are in the water.",
    ),
    "this, also": (
        "The dog is standing on a rug. A cat sleeps.",
        "A bowl is on the floor. The goat is standing on a mat. This goat is also standing on a mat.",
    ),
    "sides of what is compared": (
        "The vase on the left is smaller, while the one on the right is larger.",
        "The vase on the right is smaller, while the one on the left is larger.",
    ),
    "sides of what is compared by things": (
        "The bun on the right side of the tray is filled with jam, while the one on the left is filled with nuts.",
        "The bun on the left side of the tray is filled with jam, while the bun on the right side of the tray is "
        "filled with nuts.",
    ),
    "no clouds and some": (
        "The sky is clear, and there are a few clouds.",
        "The sky is clear, with no visible clouds.",
    ),
    "few clouds and many": ("The sky is overcast with clouds.", "A few scattered clouds are present in the sky."),
    "gaze of another": ("Both goats are facing the camera.", "Her gaze is directed towards the camera."),
    "blurred background": (
        "Some ducks are further in the background.",
        "The background is slightly blurred, emphasizing the swan as the main subject.",
    ),
    "a player who does not play": (
        "The player is wearing a blue tennis outfit.",
        "A person is playing tennis.",
    ),
    "a surfer who does not surf": ("A surfer is standing on a beach.", "A person is surfing at a beach."),
    "in the air": ("The ball is visible in the air, close to the girl's hand.", "The girl is in mid-air."),
    "they": (
        "The girl is looking to her left, and her right arm is raised.",
        "They are both facing to the right.",
    ),
    "kind of photograph": (
        "It is a candid photograph of a cook.",
        "The style of the image is a candid photograph, capturing a moment at sea.",
    ),
    "serving": ("A tennis player is on a court during a match.", "A tennis player is serving during a match."),
    "she is no animal": ("The pony has a coat of long brown hair.", "She has long brown hair."),
    "other things are absent": ("There are no people or other objects.", "There are no texts or other objects."),
    "inside and near": ("A parrot stands near a large cage.", "A parrot is inside a cage."),
    "behind and in front of, reversed": (
        "A girl is standing in front of a hedge.",
        "The hedge is in front of the girl.",
    ),
    "negation first": ("No dogs, cats or children are on the beach.", "Children are on the beach."),
    "negated by a short form": ("The dog isn't sitting on the mat.", "The dog is sitting on the mat."),
    "negated in the same clause": ("A man without a hat is crossing a road.", "A man is crossing a road."),
    "who does something else": ("A surfer is walking with a dog near a pier.", "A person is cycling near a pier."),
    "no gear": ("A young man performs a magic trick on a ramp.", "A skateboarder performs a trick on a ramp."),
    "ground of another material": ("A boy stands on sand in red boots.", "A boy stands on a grassy field."),
    "the grass is elsewhere": ("A boy in a grass skirt stands on a stage.", "A boy stands on a grassy field."),
    "what is above": ("The sky is gray.", "The sky above the mountains is gray."),
    "pair of animals": ("Geese swim on a lake.", "A pair of geese swim on a lake."),
    "gaze elsewhere": ("A fox is looking towards the camera.", "The fox's gaze is directed towards the hens."),
    "compound of another thing": (
        "A bus waits in front of a station entrance.",
        "A bus waits at the station of a town.",
    ),
    "their and her": (
        "The woman holds a phone in her hand.",
        "They hold phones in their hands.",
    ),
    "adds a touch and more": (
        "Behind the pond stand tall trees.",
        "The bare trees provide a backdrop for the scene.",
    ),
    "main subject of another colour": (
        "A brown goat stands on a wall.",
        "In the image, a white goat is the main subject.",
    ),
    "stands": ("A man is sitting on a hill.", "The man stands tall on a hill."),
}


@pytest.mark.parametrize("what", SAYS_MORE)
def test_a_sentence_that_differs_in_one_thing_is_no_duplicate(subs: Subs, what: str) -> None:
    assert {sub.dup_of for sub in subs(*SAYS_MORE[what])} == {None}


def test_a_repeat_of_a_repeat_names_the_first_sentence(subs: Subs) -> None:
    first, second, third = subs(
        "A man in a red coat is riding a motorcycle down a city street.",
        "A man is riding a motorcycle down a street.",
        "A person is riding a motorcycle.",
    )
    assert (second.dup_of, third.dup_of) == (first.sub_id, first.sub_id)
