"""Word lists that decide what is an object, what is an attribute and what a sentence is about.

Written for this project, except `data/abstract_nouns.txt` and `data/word_classes.txt`, which
`scripts/abstract_nouns.py` and `scripts/word_classes.py` derive from WordNet 3.0 (`data/LICENSE-wordnet.txt`).
"""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import Final


def words(text: str) -> list[str]:
    """The words of a list that is written as text."""
    return text.split()


def word_set(text: str) -> frozenset[str]:
    """The set of these words."""
    return frozenset(text.split())


def _phrases(text: str) -> frozenset[str]:
    """The set of these phrases, separated by `|`."""
    return frozenset(phrase.strip() for phrase in text.split("|"))


META: Final = word_set("""
    image picture photo photograph photography snapshot scene background foreground backdrop midground side top bottom
    left right center centre middle corner front rear view shot composition style atmosphere mood perspective angle
    focus frame area part section portion region space place position location direction distance setting environment
    arrangement detail element feature subject object item thing something anything everything nothing one other rest
    kind type sort way manner description caption overview impression sense feeling depth tone hue color
    colour shade pattern texture theme contrast lighting brightness illumination daylight ambiance ambience vibe
    aesthetic mix combination majority edge end half quarter surface level line row column height width length size
    shape form design art artwork effect display presence appearance condition activity action event moment time day
    night evening morning afternoon season weather example instance layout viewer camera lens photographer artist
    observer scenery format context content visual visuals point closeup close-up highlight medium interior
    upper lower front-left front-right p.m. a.m. pm am resolution quality letter word number digit text writing
    inscription caption lettering message title name note style look touch glow blur hint mention addition
    front-facing bit overlay eye-level tableau vignette spot back outline accent palette brushwork
    brushstroke bokeh portrayal portrait drawing sketch illustration print work midst scheme selfie interplay grain
    framing blend observation conclusion analysis summary nobody somebody everybody anyone someone anybody everyone
    source reading entry label footage screenshot chiaroscuro pastel diagonal vanishing version vibes rendering
    depiction appeal serif material font typeface spectrum sunlight sunshine moonlight lamplight glare motion rule
    quadrant
    underside interface spacing hierarchy impact underneath upper-left upper-right lower-left lower-right
    off-center off-centre mid-motion phrase vantage viewpoint grandeur intrigue whimsy edginess
""")
"""Nouns about the picture, places in it, or too general: never objects. The other nouns of a compound may be."""

KEPT_COMPOUNDS: Final = _phrases("""
    traffic light|picture frame|photo frame|window frame|door frame|bed frame|photo album|picture book|
    street art|wall art|chess piece|parking lot|parking space|play area|image sensor|license plate|
    sewing pattern|camera lens|bus stop|rest area|power line|clothes line|railway line|fishing line|
    eyeglass frame|bicycle frame|word art|shop front|store front|fire escape|hearing aid|flower arrangement|
    floral arrangement|floor plan|nail polish|display case|escape hatch|tank top|table top|art piece|
    night stand|video camera|security camera|digital camera
""")
"""Objects although their head is a meta word."""

PHYSICAL: Final = word_set("""
    camera lens frame letter text writing lettering inscription line spot outline digit label note column
    photographer artist back area surface space design border reading entry portrait drawing
    sketch illustration print edge section photograph image picture top center centre shade
""")
"""Meta words that are objects when they are counted or described: "two cameras", "white letters"."""

PICTURED: Final = word_set("photograph image picture")
"""Pictures that are objects only when they are framed or have a colour: "a black and white photograph"."""

OUTLINES: Final = word_set("edge top center centre")
"""Places that are objects only when they have a look: "serrated edges", "yellow centres"."""

COLOUR_NOUNS: Final = word_set("color colour hue shade tone tint")
BLENDS: Final = word_set("blend mix mixture combination palette shade canvas expanse")
"""Nouns that, before "of", introduce the colours of what was named before."""

COLOURED_SURFACES: Final = word_set("canvas expanse")
"""Nouns that may stand for what has a colour: "the sky, a clear blue canvas"."""

LOOK_NOUNS: Final = COLOUR_NOUNS | word_set(
    "pattern font typeface texture finish style scheme design effect shape quality"
)
"""Nouns for a look. The nouns in front of them describe it, and are no objects: "a checkerboard pattern"."""

BURSTS: Final = word_set("pop splash spray burst dash riot drop spark jolt")
"""Nouns that are figurative before "of" and a word for the picture: "a splash of colour"."""

PARTICIPLES: Final = word_set("clad laden bathed strewn bound set lit sprinkled")
"""Participles that taggers take for adjectives."""

MEASURES: Final = word_set("""
    pair group row bunch variety number lot lots series couple set array range collection assortment cluster plenty
    selection dozen hundred thousand trio quartet multitude handful mixture combination line column host piece slice
    amount majority part section portion layer patch strip touch hint sort kind type style mix pile stack crowd herd
    flock swarm sea wealth myriad abundance body riot spectrum medley smattering sprinkling scattering burst pop blend
    gradient carpet blanket tapestry expanse array canvas
""")
"""Nouns that, before "of", only measure the noun after it."""
MEASURES_THAT_ARE_OBJECTS: Final = word_set("pile stack crowd herd flock slice patch strip swarm")
PORTIONS: Final = word_set("sheet slip scrap pane block slab roll bundle strip ball bit load heap mound bag sack")
"""Things that, before "of", consist of the material after it, which is then an object, too: "a sheet of paper"."""
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

COLOURS: Final = word_set("""
    red orange yellow green blue purple pink brown black white grey gray gold silver beige tan cream ivory maroon navy
    teal turquoise cyan magenta violet lavender indigo crimson scarlet burgundy khaki olive bronze copper golden rose
    peach coral mint charcoal mustard aqua lilac amber emerald taupe slate ochre sepia rust ginger azure chartreuse
    mauve fuchsia cobalt sapphire ruby blond blonde brunette off-white
""")
MATERIALS: Final = word_set("""
    wood metal stone brick glass plastic leather cotton wool silk denim paper cardboard concrete marble granite steel
    iron aluminum aluminium brass ceramic porcelain clay rubber bamboo wicker straw velvet linen lace fur tile chrome
    cobblestone asphalt gravel dirt canvas fabric mesh wire pearl tin oak walnut pine teak mahogany cedar birch maple
    crystal slate satin suede fleece rattan vinyl chiffon tulle nylon polyester pewter terracotta adobe plywood timber
    tweed corduroy flannel burlap felt cork lacquer enamel acrylic stucco limestone sandstone titanium nickel cashmere
    hemp jute spandex lycra mosaic
""")

LOOKS: Final = word_set("baby vintage plaid paisley tartan gradient floral patchwork checkerboard herringbone sepia")
"""Nouns that, before another noun, describe its look."""

GROWN: Final = word_set("""
    tree trees forest forests wood woods grove groves leaf leaves branch branches cone cones needle needles syrup nut
    nuts trunk trunks sapling saplings bark field fields stalk stalks log logs
""")
"""Nouns before which the name of a plant is not a material: "oak trees", "maple leaves"."""

NOT_ATTRIBUTES: Final = word_set("""
    several many few various numerous multiple other same different own such certain main first second third last next
    previous visible left right top bottom upper lower central overall additional more most whole entire only similar
    prominent distinct respective particular specific possible evident present further another much less least
    single double countless key primary secondary nearby adjacent surrounding opposite far near close front rear
    middle able likely typical general common notable apparent noticeable located positioned situated placed seen
    shown depicted featured displayed captured labelled labeled affixed switched fourth fifth sixth seventh eighth ninth
    tenth distinctive unique overhead former latter front-facing neighbouring neighboring fully partially
    lone remaining real actual absent present sole distant
""")
"""Adjectives that count, order or locate, and do not describe the look of an object."""

VERBS: Final = word_set("""
    add admire adorn aim alight amble anchor announce appear applaud arch arrange ascend bake balance bark bask batter
    beckon beep bend berth billow bite bleat blink block bloom blossom bob boil boo border bow branch brandish break
    bring browse brush bubble buckle buffet burn button buy buzz canter cap carry cascade cast catalog catch celebrate
    chant char chase cheer chew chirp chop circle clap clasp climb cling clip close cluster clutch coast coil comb
    command contain convey cook cover crash crawl crease create creep crest cross crouch crowd crown cruise crumple
    crush curl curtsy curve cut dance dangle dash date daydream decorate depict descend dip disappear disembark
    display dive divide dock dodge dominate doodle dot doze drag drain drape draw drench dribble drift drink drip
    droop drop drum dry dunk eat eddy edge elbow emerge empty encircle enclose engulf envelop evoke examine extend
    extinguish face fade fall fasten feature feed festoon fill flank flap flash flatten flee flex flicker fling float
    flock flood flow flutter fly foam fold frame freeze froth fry gallop gape garnish gather gaze gesture give glance
    gleam glide glint glisten glitter glow grace grapple graze grill grin grip grow growl gush hang haul heap heave
    hide hike hiss hit hoist hold honk hop hover howl huddle hug hum hurl ignite include indicate inspect intercept
    intersect jab jeer jog jump jut kick knead kneel knock land lap lash laugh launch lead leak lean leap lend lick
    lie lift line list litter load lob lock loll look loom lounge lunge lurch march meander meditate melt meow merge
    migrate mirror mix moo moor mop name nap neigh nest nibble nudge observe occupy offer ooze open overlook pace pack
    paddle paint parade park pass pat pave peak peek peel peep peer pepper perch perform photograph pile pin pitch
    play pleat plunge point poke polish ponder pose pounce pound pour prance pray press prop protrude pull punch purr
    push putt race ramble reach read recline reflect rest return ride rim ripple rise roam roll roost row rub ruffle
    run rush sag sail salute saunter scan scatter scratch scribble scroll scrub seep sell serve shelve shimmer shine
    shoot shop shove show shroud sign signal simmer sing sit sizzle skate sketch ski skip slant sleep slice slide slip
    slither slope slouch slump smear smile smoke smolder snake sniff snooze soak soar sort spar sparkle spatter speed
    spill spin splash splatter split sprawl spray spread sprinkle sprint sprout squash squat squeeze squirt stack
    stagger stain stalk stand stare steam steer stick stir stomp stoop streak stream stretch strike stroke stroll
    strum study stumble suggest sunbathe support surf surge surround survey suspend sway sweep swell swerve swim swing
    swirl swoop tackle tap tether throw tie tile tilt tiptoe toast top toss tow tower trail trample tread trickle trip
    trot tuck tug tumble turn tweet twist type unload unlock unpack unwrap vanish veer volley waddle wade wait walk
    wander wash watch wave wear weave wheel whisk wield wilt wind wipe wobble worship wrap wrestle write yawn zigzag
    zip
""")
"""Verbs in captions that taggers often tag as nouns: "gulls circle", "the lamp hangs"."""

PICTURES: Final = word_set("""
    image picture photo photograph photography snapshot shot scene view painting portrait portrayal illustration
    drawing sketch artwork art work piece composition rendering render depiction tableau vignette still screenshot
    collage print watercolor watercolour selfie close-up closeup video frame graphic cartoon engraving masterpiece
    study landscape still-life representation reminder moment glimpse testament celebration blend mix description
    caption summary
""")
"""Names for the picture or the description."""

PLACES: Final = word_set("""
    background foreground backdrop midground middle side top bottom left right center centre corner front rear edge
    area part section portion region half distance surroundings rest middle-ground
""")
"""Places in the picture. A statement about a place is mostly about the things in it."""

ABOUT: Final = PICTURES | word_set("""
    style atmosphere mood perspective angle focus impression feel feeling sense tone hue palette colour color scheme
    shade contrast lighting brightness illumination ambiance ambience vibe aesthetic aesthetics framing depth
    resolution quality exposure saturation sharpness clarity grain noise bokeh blur texture brushwork brushstroke
    technique medium genre theme subject symmetry asymmetry balance harmony simplicity minimalism realism interplay
    juxtaposition combination contrast use detail detailing layout design arrangement setting environment overall
    viewer viewpoint vantage aperture format ratio crop orientation narrative message mystery beauty elegance
    charm serenity tranquility calm calmness peace energy emotion warmth intimacy nostalgia drama tension movement
    motion rhythm contrast character personality spirit essence significance symbolism meaning purpose intention
    intent context presence absence attention effect touch shutter speed interface spacing typography hierarchy
    distortion vignetting watermark aberration flare artifact
""")
"""Nouns for the picture and its properties. A sentence with such a subject is about the picture."""

DESCRIPTION: Final = (
    PICTURES
    | PLACES
    | word_set("""
    lighting mood atmosphere setting style color colors colour colours tone tones palette composition perspective
    focus impression overview analysis observation observations conclusion detail details note notes element elements
    subject subjects theme context summary description technique texture textures feature features interpretation
    condition layout location environment overall emotion emotions ambiance ambience vibe aesthetic ground quality
    angle grain action activity activities scenery feel credit caveat limitation limitations type takeaway takeaways
    presentation structure cleanliness organization key highlight highlights appearance object objects decor
    """)
)
"""Headings and labels that name a part or an aspect of the description."""

EFFECTS: Final = word_set("""
    give lend add bring create evoke convey contribute enhance make impart infuse provide suggest exude emphasize
    emphasise highlight reinforce heighten set invite reflect capture celebrate symbolize symbolise represent dominate
    strengthen soften balance unify
""")
"""Verbs that, before a noun in `ABOUT`, state an effect on the picture."""

SINGULAR_IN_S: Final = word_set("""
    lens gas canvas atlas christmas chaos news physics mathematics cosmos rhinoceros thermos asbestos pancreas texas
    paris athletics gymnastics ceramics electronics graphics series species headquarters crossroads barracks dais
""")
"""Singular nouns that end in -s, besides those in -ss, -us and -is."""

NEVER_NOUNS: Final = word_set("""
    laden upright asleep sharper shorter larger smaller bigger taller closer brighter darker lighter wider longer
    denser greener narrower softer weaker rougher smoother paler deeper thicker thinner
    moody within without overhead throughout beneath upward upwards downward downwards alongside nearby outside inside
    approx etc vs versus slung strewn flung strung onto upon atop amid amidst neither nor
""")
"""Words that are never nouns, even if tagged as such."""

COLOURED_THINGS: Final = word_set(
    "orange rose peach olive lime plum violet lavender copper bronze gold silver lilac rust ruby emerald slate"
)
"""Colours that are also objects."""

UNITS: Final = word_set("""
    cm mm km m ft oz lb lbs kg g mg ml l inch inches foot feet meter meters metre metres centimeter centimeters
    centimetre centimetres kilometer kilometers kilometre kilometres mile miles yard yards gallon gallons liter liters
    litre litres ounce ounces pound pounds mph kph percent degrees yen euro euros dollar dollars cents pixels min mins
    hr hrs sec yrs
""")
"""Nouns that measure after a number."""

FIXED_NAMES: Final = _phrases("""
    living room|dining room|waiting room|fitting room|changing room|dressing room|dining table|dining chair|
    high chair|rocking chair|folding chair|folding table|swivel chair|easy chair|swimming pool|
    swimming trunks|parking lot|parking meter|parking garage|parking space|remote control|remote controls|
    stuffed animal|teddy bear|polar bear|grizzly bear|hot dog|hot dogs|hot tub|hot air|high heel|
    high heels|french fries|french fry|soft drink|ice cream|double bed|double oven|sticky note|sticky notes|
    white board|bulletin board|cutting board|chopping board|ironing board|diving board|skipping rope|
    jumping rope|frying pan|baking sheet|baking dish|baking tray|mixing bowl|measuring cup|measuring tape|
    rolling pin|washing machine|sewing machine|vending machine|slot machine|running shoe|running shoes|
    hiking boot|hiking boots|hiking trail|riding boots|walking stick|fishing rod|fishing boat|fishing net|
    fishing harbor|fishing harbour|fishing vessel|rowing boat|sailing boat|sailing ship|sleeping bag|
    shopping bag|shopping bags|shopping cart|shopping mall|wedding dress|wedding cake|wedding ring|
    playing card|playing cards|playing field|coping saw|feeding trough|watering can|lawn mower|
    pressure washer|golden retriever|german shepherd|great dane|border collie|jack russell|guinea pig|
    killer whale|bald eagle|flying saucer|shooting star|spiral staircase|spiral notebook|solar panel|
    solar panels|electric guitar|acoustic guitar|grand piano|french horn|musical instrument|
    musical instruments|medical equipment|digital clock|digital display|cellular phone|mobile phone|
    mobile home|convertible car|fire truck|christmas tree|ferris wheel|public transport|pedestrian crossing|
    zebra crossing|railroad crossing|racing car|racing bike|training wheels|steering wheel|spinning wheel|
    carving knife|wrapping paper|writing desk|reading glasses|reading lamp|lighting fixture|lighting fixtures|
    building block|building blocks|landing gear|chewing gum|drinking fountain|drinking glass|drinking straw|
    serving tray|serving dish|serving bowl|boxing glove|boxing gloves|bathing suit|tracking shot|
    crossing guard|climbing wall|climbing frame|human being|
    human beings|common area|cherry tomato|cherry tomatoes|mashed potatoes|orange juice|
    red panda|black bear|blue jay|blue whale|green tea|green bean|green beans|
    black hole|brown bear|wild boar|prickly pear|pendant light|pendant lights|olive oil|maple syrup|
    sunny-side egg
""")
"""Names whose first word is tagged as an adjective, or has another meaning alone.

Written for captions; three quarters are entries of WordNet 3.0. Its other compounds are not taken: of 1,600 names
("-ing" and an artifact, an adjective and an animal), 17 change a tag in 1,066 real captions, some of them wrongly
("white tail", "webbed foot"), and no score improves.
"""
FIXED_FIRST: Final = frozenset(name.partition(" ")[0] for name in FIXED_NAMES)

DRINKWARE: Final = word_set("""
    wine beer champagne water juice milk cocktail whiskey drink drinks beverage beverages bottle bottles table plate
    plates cup cups tray bar shelf cabinet pitcher bartender waiter toast dishes dish ice
""")
"""Words that show that "glasses" in the same sentence are drinking glasses."""

COPULAS: Final = word_set("is are was were appears appear looks look seems seem 's ’s")

EVENTS: Final = word_set("""
    match game race parade wedding reception ceremony concert festival celebration party meeting picnic dance
    performance show play competition championship event gathering trick stunt protest demonstration march rally
    procession fight battle auction conference lecture interview class lesson funeral graduation exhibition fair
    carnival rodeo tournament marathon regatta banquet feast dinner lunch breakfast conversation discussion embrace kiss
    handshake
""")
"""Nouns for what can be seen to happen. They are content, but not objects."""

OF_PLACES: Final = word_set("""
    coastal urban suburban rural pastoral industrial residential domestic agricultural tropical alpine arctic
    mountainous underwater wintry autumnal
""")
"""Adjectives that tell what kind of place a view shows."""

_MORE_ABSTRACT = word_set("""
    peace calm serenity tranquility harmony nostalgia elegance charm beauty simplicity drama excitement mystery
    comfort leisure style character fun love fashion nature culture history energy price cost value date year month
    week weekend hour minute decade century moment autumn spring summer winter dawn dusk sunrise sunset noon midnight
    holiday vacation game match race parade wedding reception ceremony concert festival celebration party meeting
    gathering event picnic trick stunt gesture smile gaze glance embrace conversation discussion tension solitude
    reminder forecast temperature speed pace sight source progress hurry sale craft labor labour skill patience
    dignity effort care attention air wind breeze weather storm background knowledge information data name number
    total sum average percentage percent degree fact idea plan story message meaning purpose reason result cause life
    death journey adventure trip travel vacation tourism business trade work job career routine habit
    tradition heritage identity community society diversity unity friendship companionship joy happiness
    sadness anger fear surprise curiosity interest boredom fatigue relaxation rest sleep silence noise sound music
    melody song dance performance show act play sport football soccer baseball basketball hockey golf volleyball
    cricket rugby exercise training practice competition championship victory defeat world universe civilization
    technology science education health safety security freedom hope dream memory imagination fantasy illusion
    indication evidence proof possibility probability chance opportunity choice decision solution problem
    issue question answer mid-air midair january february april june july august september october
    november december monday tuesday wednesday thursday friday saturday sunday fraction third
    youth order daring possession country estimate amount turn version origin identity age level quality bustle league
    interest expert advice bloom expression gender industry spectacle marvel protest urbanity
    vibrancy anonymity artistry testament essence complexion positioning disarray presentation third camaraderie
    north south east west midwest
    melancholy desolation quietude impermanence dormancy duality subtlety entropy dissolution resignation magnificence
    splendor splendour introspection quiescence languor longing yearning hush whisper sigh echo farewell promise elegy
    lullaby symphony poem ode hymn dialogue communion surrender secret coloration gradation diffusion layering aftermath
    dynamism drabness bleakness gloom monotony ambiguity opulence austerity
""")
_ABSTRACT_ENDINGS = ("ness", "ism", "ship", "hood", "ility", "ivity", "osity")
_NOT_ABSTRACT = word_set("""
    case character opener extinguisher relief
    ship spaceship airship battleship warship facility university neighborhood hood harness dealership
""")


def _word_classes() -> list[frozenset[str]]:
    lines = (Path(__file__).parent / "data" / "word_classes.txt").read_text("utf-8").splitlines()
    return [word_set(line) for line in lines]


ADJECTIVES, ADVERBS, OTHER_ADJECTIVES, ONLY_VERBS = _word_classes()
"""From `data/word_classes.txt`: adjectives and adverbs (without those in -ly) that are practically never nouns,
adjectives that may be nouns, and verbs that are nothing else."""
ADJECTIVES |= {"agape", "ajar", "brittle", "plush"}

NOUNS_IN_LY: Final = word_set("""
    ally anomaly assembly belly potbelly underbelly butterfly dragonfly damselfly firefly horsefly housefly mayfly fly
    brolly bully doily dolly family filly folly gully hillbilly holly homily italy jelly jolly july lily waterlily
    lolly melancholy molly monopoly ply panoply potbelly rally reply supply tally telly trolly tully
""")


@cache
def abstract_nouns() -> frozenset[str]:
    """Nouns without a physical sense in WordNet, from `data/abstract_nouns.txt`."""
    return frozenset((Path(__file__).parent / "data" / "abstract_nouns.txt").read_text("utf-8").split())


def is_event(lemma: str) -> bool:
    """Whether a noun (its lemma, with its compound) names an event."""
    return lemma.rpartition(" ")[2] in EVENTS


@lru_cache(maxsize=8192)
def is_abstract(lemma: str) -> bool:
    """Whether a noun (its lemma) names nothing that can be seen."""
    if lemma in _NOT_ABSTRACT:
        return False
    if lemma in abstract_nouns() or lemma in _MORE_ABSTRACT:
        return True
    return lemma.endswith(_ABSTRACT_ENDINGS) and len(lemma) > 6


IN_CONTEXT: Final = word_set("nobody none nothing light hand field eye stage character heart scale shadow")
"""Nouns that are objects in some contexts only; `tag.py` decides."""
_NOT_ALWAYS_THINGS = META | COLOURS | NUMBERS.keys() | BURSTS | MATERIALS | IN_CONTEXT


@lru_cache(maxsize=8192)
def is_thing(lemma: str) -> bool:
    """Whether a noun (its lemma) names an object in every context."""
    return len(lemma) > 1 and lemma.isalpha() and lemma not in _NOT_ALWAYS_THINGS and not is_abstract(lemma)
