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

from recaption.annotate.lemma import singular
from recaption.annotate.lexicon import VERBS, word_set

Sentence = list[tuple[str, str]]

_NN = """
dog cat car truck bus bicycle table chair bench lamp vase bottle cup plate bowl tree flower building house tower
bridge boat kite ball hat shirt jacket dress umbrella backpack phone laptop book clock mirror painting poster sign
fence wall roof window door street road path river lake mountain field beach horse cow sheep elephant zebra giraffe
bird pigeon pizza cake sandwich banana apple man woman boy girl child person player cyclist vendor light leaf branch
rug curtain pillow bed couch sofa television shelf drawer cabinet sink stove oven refrigerator candle basket box bag
suitcase surfboard skateboard motorcycle train plane helicopter tractor statue fountain awning balcony chimney circle
square triangle star heart tablecloth logo banner flag lantern necklace bracelet watch glove scarf boot sneaker helmet
apron blouse coat cap tie vest robe sweater sleeve collar pocket belt ring beard mustache ponytail hand arm leg foot
face eye nose mouth ear head shoulder tail paw wing beak horn mane feather petal stem trunk root bush shrub hedge lawn
meadow hill cliff valley waterfall stream pond shore sand rock stone boulder cloud sky moon sun rainbow puddle
snowbank icicle glacier dune island harbor pier dock ship sailboat canoe kayak ferry raft oar anchor mast sail rope
net buoy lighthouse barn silo windmill shed cottage cabin castle palace church temple mosque cathedral skyscraper
hotel restaurant cafe shop store market stall kiosk station platform tunnel highway sidewalk crosswalk curb driveway
parking-meter mailbox hydrant lamppost billboard pole wire railing staircase step ladder ramp elevator hallway lobby
kitchen bathroom bedroom office classroom library museum stadium arena court rink pool gym garden park playground
forest jungle desert swamp farm orchard vineyard greenhouse blanket quilt towel napkin sheet mattress headboard
nightstand dresser wardrobe closet bookcase desk stool armchair ottoman countertop island-counter backsplash faucet
dishwasher microwave toaster kettle pot pan skillet spatula ladle knife fork spoon tray jar pitcher glass mug teapot
saucer bottle-opener cork menu bill receipt pencil pen notebook folder keyboard monitor screen speaker printer cable
charger camera tripod microphone guitar piano violin drum trumpet stage curtain-rod spotlight chandelier fireplace
mantel log flame ashtray cigar pipe cane wheelchair crutch stroller crib toy doll teddy puzzle block balloon ribbon
bow wreath bouquet vine fern cactus orchid tulip rose sunflower daisy lily moss mushroom pumpkin carrot potato tomato
onion cucumber lettuce pepper broccoli corn lemon lime orange strawberry grape cherry peach pear pineapple melon bread
loaf roll bun bagel croissant muffin cupcake cookie donut pie pancake waffle omelet egg bacon sausage steak burger
taco burrito noodle soup stew salad sauce cheese butter rice sushi shrimp lobster crab fish salmon chicken turkey duck
goose swan owl eagle hawk parrot penguin seagull crow sparrow hummingbird butterfly bee spider lizard snake turtle
frog squirrel rabbit hamster mouse fox wolf bear deer moose goat pig donkey camel lion tiger leopard monkey gorilla
kangaroo koala panda dolphin whale seal shark jellyfish puppy kitten calf lamb foal chick chef waiter barista nurse
doctor farmer fisherman sailor soldier police-officer firefighter teacher student tourist pedestrian shopper customer
musician singer drummer dancer bride groom guest toddler baby teenager batter catcher umpire goalkeeper referee skier
snowboarder surfer swimmer runner jogger hiker climber skater rider jockey driver conductor pilot guard worker
carpenter painter photographer spectator crowd produce radish whistle jersey hoarding pillar lemonade comic
scaffolding crane bulldozer excavator forklift wheelbarrow shovel rake hoe hammer screwdriver wrench saw drill pliers
nail screw bolt chisel sander workbench toolbox pegboard vise anvil forge kiln loom spindle thread needle button
zipper buckle strap harness leash collar-tag saddle bridle stirrup rein hoof trough manger haystack bale plow
scarecrow coop nest hive burrow kennel cage aquarium terrarium birdhouse feeder perch pouch satchel purse wallet
briefcase duffel crate pallet barrel keg bucket pail tub basin washbasin shower toilet bathtub hamper clothesline iron
ironing-board vacuum broom mop dustpan sponge detergent soap shampoo toothbrush toothpaste comb hairbrush razor
lipstick mascara perfume locket brooch tiara crown scepter throne tapestry mosaic fresco mural sculpture bust pedestal
plinth column arch dome spire turret battlement moat drawbridge gatehouse courtyard cloister pergola gazebo trellis
arbor hammock swing seesaw sandbox slide trampoline scooter tricycle unicycle rickshaw carriage wagon sleigh sled
toboggan snowmobile gondola yacht tugboat barge trawler submarine paddle rudder propeller hull deck porthole gangway
jetty wharf breakwater lagoon reef estuary delta creek brook rapids geyser hot-spring volcano crater canyon gorge
ravine plateau ridge peak summit foothill prairie savanna tundra steppe oasis mirage horizon skyline alley boulevard
avenue roundabout intersection overpass viaduct aqueduct dam canal lock levee barricade cone bollard turnstile ticket
passport map compass binocular telescope microscope beaker flask syringe stethoscope bandage pill thermometer scale
calculator abacus ruler protractor globe chalkboard whiteboard eraser marker crayon paintbrush easel palette-knife
canvas-bag sketchbook envelope stamp postcard parcel package calendar magazine newspaper brochure leaflet flyer
pamphlet certificate trophy medal plaque ribbon-bow confetti firework sparkler balloon-arch cocktail smoothie
milkshake espresso cappuccino pastry eclair tart custard pudding jelly jam honey syrup cereal oatmeal granola yogurt
cream popcorn pretzel chip cracker dumpling ravioli lasagna spaghetti meatball kebab skewer curry stir-fry omelette
quiche casserole broth garnish parsley basil mint thyme rosemary sage cilantro garlic ginger onion-ring avocado
eggplant zucchini squash pea bean lentil almond walnut peanut cashew chestnut acorn pinecone clover thistle dandelion
poppy lupine marigold hydrangea lavender-bush jasmine magnolia willow birch oak maple cedar spruce palm bamboo-stalk
reed cattail seashell starfish coral sponge-cake urchin octopus squid clam oyster mussel snail slug worm caterpillar
moth dragonfly beetle ladybug grasshopper cricket ant wasp mosquito fly bat hedgehog raccoon skunk badger otter beaver
weasel chipmunk boar bison buffalo yak llama alpaca ostrich emu peacock flamingo heron stork pelican woodpecker robin
finch swallow raven falcon vulture turkey-hen chameleon iguana gecko crocodile alligator tortoise toad newt salamander
walrus manatee hippopotamus rhinoceros cheetah jaguar lynx hyena jackal coyote antelope gazelle mare stallion pony
mule ox bull heifer ewe ram piglet duckling gosling cub fawn kid grandmother grandfather mother father sister brother
aunt uncle cousin neighbor friend couple family infant twin passenger commuter steward captain crew engineer mechanic
plumber electrician welder blacksmith tailor cobbler butcher baker grocer cashier barber hairdresser florist gardener
janitor librarian scientist astronaut artist sculptor potter weaver model actor clown magician juggler acrobat gymnast
boxer wrestler fencer archer golfer bowler sprinter hurdler rower lifeguard coach defender striker midfielder opponent
teammate cheerleader mascot protester officer detective judge lawyer priest monk nun bishop pilgrim beggar
"""
_NNS = """
dogs cats cars trucks buses bicycles tables chairs benches lamps vases bottles cups plates bowls trees flowers
buildings houses boats kites balls hats shirts books clocks paintings posters signs windows doors mountains horses
cows elephants zebras birds pigeons apples bananas men women boys girls children people players pedestrians lights
leaves branches pillows shelves drawers candles baskets boxes bags lanterns flags stars hearts circles squares petals
clouds waves rocks shadows glasses headphones trousers jeans boots shoes tiles bricks stairs steps wheels headlights
gulls willows curtains awnings blinds cranes masts sails ropes nets oars stalls stands crates barrels sacks ladders
pipes cables wires poles posts columns arches domes spires towers chimneys roofs balconies railings banners ribbons
balloons bouquets roses tulips daisies ferns vines bushes hedges reeds lilies mushrooms pumpkins tomatoes carrots
peppers grapes berries lemons oranges noodles slices crumbs seeds nuts cookies cupcakes donuts forks knives spoons
napkins towels blankets cushions toys dolls blocks puzzles pencils notebooks papers screens monitors speakers guitars
drums spectators fans guests tourists shoppers customers workers soldiers students dancers musicians runners skiers
surfers cyclists ducks geese swans crows sparrows butterflies bees fish sheep goats pigs lambs calves deer wolves
bears lions tigers monkeys penguins seals whales puppies kittens paws wings feathers horns tails eyes hands arms legs
feet faces sleeves buttons pockets straps laces gloves mittens scarves ties necklaces earrings bracelets sunglasses
shorts leggings pajamas sandals sneakers heels skis paddles helmets bats rackets goals trails tracks rails lanes
cracks puddles shavings splinters scraps ashes flames sparks taxis pans pots radishes vegetables fruits peaches plums
figs dates olives peanuts acorns pinecones seashells pebbles planks beams rafters girders pallets wheelbarrows shovels
tools nails screws tires hoses buckets mops brooms racks hooks hangers garments uniforms jerseys vests aprons hoods
capes robes gowns veils tiaras crowns medals trophies certificates photographs frames mirrors chandeliers sconces
bulbs lampshades tapestries murals mosaics statues sculptures fountains gargoyles turrets battlements steeples bells
belfries gables dormers shutters sills ledges gutters downspouts bollards cones barriers umbrellas parasols tents
canopies hammocks swings slides scooters skateboards sleds kayaks canoes rafts buoys traps crabs lobsters oysters
clams mussels starfish corals dolphins otters beavers squirrels chipmunks rabbits hares foxes raccoons hedgehogs owls
hawks eagles herons flamingos pelicans ostriches antelopes gazelles giraffes hippos rhinos crocodiles lizards snakes
frogs turtles beetles ladybugs dragonflies ants spiders webs passers-by footballers defenders strikers opponents
teammates referees coaches cheerleaders protesters commuters passengers travelers hikers campers climbers anglers
fishermen farmers gardeners builders welders mechanics chefs waiters bakers butchers vendors buyers patrons diners
drinkers toddlers infants twins siblings parents grandparents friends couples families neighbors pilgrims monks nuns
priests acrobats jugglers clowns
"""
_JJ = """
red blue green yellow white black brown grey gray pink purple orange beige golden large small tall short round square
narrow wide bright dark wooden metallic metal plastic old young shiny rusty empty full modern vintage ornate striped
spotted checkered fluffy smooth rough blurry clear tiny huge colorful plain open closed leafy light pale overcast
hollow solid matte glossy sleepy grainy minimalist timeless weathered faded polished dusty muddy snowy rainy foggy
sunny cloudy misty wet dry icy sandy rocky grassy mossy lush barren bare sparse dense thick thin slender broad deep
shallow steep flat curved straight crooked jagged pointed sharp blunt soft hard stiff loose tight heavy lightweight
wrinkled crumpled torn broken cracked chipped dented worn clean dirty messy tidy neat cluttered spotless crisp fresh
ripe rotten raw burnt crispy creamy juicy steaming frozen melted transparent translucent opaque reflective floral
plaid paisley geometric abstract rustic elegant simple fancy luxurious antique contemporary traditional industrial
urban rural coastal tropical alpine cozy spacious cramped quiet busy crowded deserted lively calm serene playful
curious relaxed tired happy sad angry serious focused bored surprised elderly middle-aged adult juvenile bearded bald
blond curly wavy long-haired barefoot shirtless sleeveless hooded knitted woolen silken teal turquoise navy maroon
crimson scarlet burgundy ivory cream tan khaki olive emerald lavender violet magenta bluish reddish greenish yellowish
brownish multicolored two-tone oversized miniature life-sized twin matching parallel sturdy oily faint candid
dreamlike plump asleep alert airborne upright dim carefree fuzzy tranquil still harsh gentle fierce tender lean stout
chubby skinny muscular slim petite graceful clumsy lazy eager cheerful joyful gloomy solemn stern thoughtful pensive
attentive distracted excited exhausted weary energetic sleek rugged jumbled orderly symmetrical asymmetrical circular
oval rectangular triangular cylindrical spherical conical cubic hexagonal diagonal vertical horizontal tilted slanted
sloping upturned overturned outstretched folded twisted tangled braided matted shaggy furry hairy spiky prickly thorny
smoky sooty greasy sticky slimy slippery frosty chilly warm hot cold lukewarm fragrant tasty delicious savory sweet
sour spicy bitter salty crunchy chewy woody stony pebbled paved unpaved swampy marshy hilly mountainous forested
wooded sunlit moonlit shaded shadowy backlit neon fluorescent pastel muted vivid vibrant saturated iridescent speckled
mottled marbled swirling zigzag crosshatched quilted pleated frilly lacy sheer baggy tight-fitting fitted tailored
casual formal stylish trendy dated retro futuristic quaint charming picturesque scenic majestic grand imposing
towering squat stocky lofty cavernous airy stuffy dingy grimy filthy pristine immaculate unkempt overgrown wild tame
domestic feral stray injured wounded bandaged tattooed pierced freckled wrinkly rosy tanned bespectacled mustachioed
clean-shaven
"""
_ATTACHED = """
parked/VBN stacked/VBN framed/VBN painted/VBN folded/VBN paved/VBN tiled/VBN weathered/JJ lit/VBN carved/VBN rolled/VBN
crumpled/VBN
"""
_COMPOUNDS = """
traffic/NN light/NN;coffee/NN cup/NN;stop/NN sign/NN;street/NN lamp/NN;fire/NN hydrant/NN;tennis/NN
racket/NN;baseball/NN cap/NN;parking/NN lot/NN;dining/NN table/NN;kitchen/NN counter/NN;picture/NN frame/NN;wine/NN
glass/NN;cell/NN phone/NN;brick/NN wall/NN;stone/NN path/NN;glass/NN vase/NN;leather/NN jacket/NN;cowboy/NN
hat/NN;train/NN station/NN;street/NN scene/NN;T/NN -/HYPH shirt/NN;window/NN sill/NN;palm/NN tree/NN;night/NN
sky/NN;street/NN sign/NN;license/NN plate/NN;swimming/NN pool/NN;polka/NN dot/NN dress/NN;orange/NN cat/NN;table/NN
top/NN;railway/NN crossing/NN;wheel/NN arch/NN;cutting/NN board/NN;coping/NN saw/NN;feeding/NN trough/NN;sticky/JJ
note/NN;water/NN drop/NN;gas/NN pump/NN;remote/JJ control/NN;name/NN tag/NN;ticket/NN office/NN;departure/NN
board/NN;coffee/NN table/NN;ceiling/NN fan/NN;bean/NN bag/NN;hiking/NN boot/NN;running/NN shoe/NN;sleeping/NN
bag/NN;rocking/NN chair/NN;washing/NN machine/NN;shopping/NN cart/NN;walking/NN stick/NN;baking/NN sheet/NN;rolling/NN
pin/NN;tape/NN measure/NN;tool/NN box/NN;flower/NN bed/NN;picket/NN fence/NN;shop/NN window/NN;bus/NN stop/NN;life/NN
jacket/NN
"""
_PLACE = """
left/JJ side/NN;right/JJ side/NN;background/NN;foreground/NN;center/NN;middle/NN;top/JJ left/JJ corner/NN;bottom/JJ
right/JJ corner/NN;upper/JJ right/JJ corner/NN;distance/NN;far/JJ left/NN;far/JJ right/NN;lower/JJ left/NN
"""
_IMAGE = "image picture photo photograph scene painting illustration"
_CD = "two three four five six seven eight ten twelve"
_ED_IN = """
topped/VBN with/IN;filled/VBN with/IN;covered/VBN with/IN;covered/VBN in/IN;decorated/VBN with/IN;surrounded/VBN
by/IN;flanked/VBN by/IN;perched/VBN on/IN;parked/VBN near/IN;seated/VBN on/IN;dressed/VBN in/IN;made/VBN
of/IN;tied/VBN to/IN;attached/VBN to/IN;mounted/VBN on/IN;painted/VBN on/IN;stacked/VBN on/IN;arranged/VBN
on/IN;scattered/VBN across/IN;draped/VBN over/IN
"""
_MASS = """
water grass snow sand dirt mud gravel smoke steam mist fog dust ivy moss seaweed hay straw rust paint rice bread
cheese soup ramen coffee tea milk juice wine beer ice foliage vegetation traffic laundry luggage furniture equipment
jewelry lettuce corn
"""
THINGS = frozenset((*_NN.split(), *map(singular, _NNS.split()), *_MASS.split()))
"""What the templates name as things, singular."""
_DOUBLED = word_set("""
    sit run jog swim hop slip trip spin dip drop jut chop cut hit bat pin clip zip top trim sag flap nap wrap tap mop
""")


def _vbz(verb: str) -> str:
    if verb.endswith(("s", "sh", "ch", "x", "z")):
        return verb + "es"
    return verb[:-1] + "ies" if verb.endswith("y") and verb[-2] not in "aeiou" else verb + "s"


def _vbg(verb: str) -> str:
    if verb in ("lie", "tie"):
        return verb[:-2] + "ying"
    if verb in _DOUBLED:
        return verb + verb[-1] + "ing"
    return (verb[:-1] if verb.endswith("e") and not verb.endswith("ee") else verb) + "ing"


_VBP = sorted(VERBS)
_IN = "on in near behind beside above below under against inside around along across over by with"

_SLOTS: dict[str, list[str]] = {
    "n": [f"{w}/NN" for w in _NN.split() if "-" not in w],
    "ns": [f"{w}/NNS" for w in _NNS.split() if "-" not in w],
    "j": [f"{w}/JJ" for w in _JJ.split() if "-" not in w],
    "vbn": _ATTACHED.split(),
    "c": [" ".join(c.split()) for c in _COMPOUNDS.split(";")],
    "vbz": [f"{_vbz(w)}/VBZ" for w in _VBP],
    "vbp": [f"{w}/VBP" for w in _VBP],
    "vbg": [f"{_vbg(w)}/VBG" for w in _VBP],
    "vb": [f"{w}/VB" for w in _VBP],
    "edin": [" ".join(c.split()) for c in _ED_IN.split(";")],
    "mass": [f"{w}/NN" for w in _MASS.split()],
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
    "{ns} {vbp} {in} {np} ./.",
    "{j} {ns} {vbp} {np} ,/, and/CC {np} {vbz} {in} {np} ./.",
    "The/DT {ns} {vbp} {np} ;/: {sg} {vbz} {np} ./.",
    "{sg} {vbz} {np} ,/, and/CC its/PRP$ {n} {vbz} {in} {np} ./.",
    "{sg} in/IN {j} {ns} {vbz} {in} {np} while/IN {np} {vbz} ./.",
    "{sg} and/CC {sg} {vbp} {ns} while/IN {sg} {vbz} {in} {np} ./.",
    "{cd} {ns} {vbp} {in} {np} ,/, {vbg} {ns} ./.",
    "{sg} {vbz} and/CC {vbz} {np} ./.",
    "{mass} {vbz} {in} {np} ./.",
    "{sg} of/IN {mass} {vbz} {in} {np} ./.",
    "{np} ,/, {mass} ,/, and/CC {j} {ns} {vbp} {np} ./.",
    "{j} {mass} {vbz} {np} ./.",
    "{n} {edin} {ns} and/CC {mass} ,/, {j} {n} {in} {np}",
    "{n} {vbg} {in} {np}",
    "{ns} {edin} {mass}",
    "{j} {n} {edin} {np} {in} {np}",
    "{sg} {edin} {np} {vbz} {in} {np} ./.",
    "{ns} ,/, {j} {ns} ,/, and/CC {ns} ,/, as/RB well/RB as/IN {np}",
    "{n} of/IN {ns} with/IN {mass} and/CC {j} {mass} ,/, {n} {n}",
    "The/DT {n} is/VBZ {j} {j} ,/, and/CC its/PRP$ {n} {vbz} toward/IN {np} ./.",
    "The/DT {n} looks/VBZ {j} and/CC {j} ./.",
    "The/DT {ns} of/IN {np} are/VBP {j} and/CC {j} ./.",
    "The/DT {n} is/VBZ made/VBN of/IN {n} ,/, and/CC {np} {vbz} {in} it/PRP ./.",
    "{sg} ,/, {vbn} {j} ,/, {vbz} {in} {np} ,/, its/PRP$ {n} {vbg} {in} {np} ./.",
    "{sg} that/WDT {vbz} {in} {np} is/VBZ {j} ./.",
    "{np} that/WDT {vbp} {np} ./.",
    "{np} seem/VBP to/TO {vb} {in} {np} ./.",
    "{sg} seems/VBZ to/TO {vb} {np} ./.",
    "{np} to/TO {vb} and/CC {vb} ./.",
    "The/DT {n} and/CC {sg} {vb} {in} {np}",
    "{sg} is/VBZ {vbg} {np} {in} {np} ./.",
    "{ns} are/VBP {vbg} {in} {np} ./.",
    "Someone/NN 's/POS {n} {vbz} {in} {np} ./.",
    "There/EX are/VBP {np} ,/, some/DT {vbg} and/CC others/NNS {vbg} {in} {np} ./.",
    "{j} {n} {vbz} {in} {np} ./.",
    "{n} ,/, {n} ,/, {j} {n} and/CC {ns}",
    "{j} ,/, {j} {n}",
    "{j} ,/, {j}",
    "{n} :/:",
    "{j} {n} :/:",
    "{n} {n} :/:",
    "{ns} :/:",
    "{j} {ns}",
    "{n} {n}",
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
    "In/IN front/NN of/IN {np} {vbz} {sg} ,/, and/CC above/IN {np} {vbp} {pl} ./.",
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
