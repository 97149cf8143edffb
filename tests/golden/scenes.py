"""The texts of the golden dataset, written by hand: what each of its 20 images shows, and what a model might say of it.

Every line of a caption is a sub-caption, its tags are `surface=lemma`, with attributes before a colon and a count
behind a hash: `red:red kites=kite#2`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """One image: how it is drawn, how its file is stored, and its texts by generation; None: no answer."""

    shape: str  # ellipse | rectangle
    colour: str
    suffix: str = "jpg"
    raw: str | None = None
    long: tuple[str, ...] | None = None
    short: str | None = None
    tags: tuple[str, ...] = ()
    rejects: str | None = None  # reason: of the image where nothing was asked, else of the missing generation
    same_as: int | None = None  # the same bytes as another image


SCENES = (
    Scene(
        shape="ellipse",
        colour="red",
        raw="red kite over the dunes",
        long=("Two red kites fly above pale dunes.", "No people are visible."),
        short="Two red kites above dunes.",
        tags=("red:red kites=kite#2", "pale:pale dunes=dune", "red:red kite=kite#1", "dunes=dune", "people=person"),
    ),
    Scene(
        shape="rectangle",
        colour="blue",
        raw="old blue door, Lisbon",
        long=("The image shows a blue wooden door in a white wall.", "A brass knocker hangs at its centre."),
        short="A blue door in a white wall.",
        tags=("blue,wooden:a blue wooden door=door#1", "blue:blue door=door", "white:a white wall=wall#1"),
    ),
    Scene(
        shape="ellipse",
        colour="orange",
        suffix="png",
        raw="ORANGES  for\r\nsale",
        long=("Three oranges lie on a grey plate.", "Their skin is bright and pitted."),
        short="Three oranges on a plate.",
        tags=("Three oranges=orange#3", "grey:a grey plate=plate#1", "bright,pitted:Their skin=skin"),
    ),
    Scene(
        shape="rectangle",
        colour="green",
        suffix="webp",
        long=("A small green tent stands at the edge of a lake.", "Its flap is open.", "Mist covers the far shore."),
        short="A green tent by a lake.",
        tags=("small,green:A small green tent=tent#1", "a lake=lake#1", "green:A green tent=tent#1"),
    ),
    Scene(shape="ellipse", colour="grey", raw="IMG_2041", rejects="too_small"),
    Scene(
        shape="rectangle",
        colour="yellow",
        raw="taxi",
        long=("A yellow taxi waits at a crossing.", "The traffic light above it is red."),
        tags=("yellow:A yellow taxi=taxi#1", "a crossing=crossing#1", "The traffic light=traffic light#1"),
        rejects="empty_answer",
    ),
    Scene(
        shape="ellipse",
        colour="brown",
        raw="chestnut horse",
        short="A brown horse in a field.",
        tags=("brown:A brown horse=horse#1",),
        rejects="repetition",
    ),
    Scene(
        shape="rectangle",
        colour="black",
        raw="</script><b>piano</b> \u202eonaip\u202c 🎹",
        long=("A black grand piano fills the room.", 'The lid says "Bösendorfer" in gold.', "Naïve 東京 🎹 notes."),
        short="A black piano.",
        tags=("black:A black grand piano=grand piano#1", "The lid=lid#1", "black:A black piano=piano#1"),
    ),
    Scene(
        shape="ellipse",
        colour="white",
        raw="snowball",
        long=("A white snowball rests on a glove.",),
        short="A snowball on a glove.",
        tags=("white:A white snowball=snowball#1", "a glove=glove#1", "A snowball=snowball#1"),
    ),
    Scene(shape="ellipse", colour="white", raw="snowball again", tags=("A snowball=snowball#1",), same_as=8),
    Scene(
        shape="rectangle",
        colour="purple",
        raw="scarf",
        long=("A purple scarf is folded on a chair.", "The chair has four thin legs."),
        short="A folded purple scarf.",
        tags=("purple:A purple scarf=scarf#1", "a chair=chair#1", "thin:four thin legs=leg#4"),
    ),
    Scene(shape="rectangle", colour="navy", raw="test set image", rejects="decontaminated"),
    Scene(
        shape="ellipse",
        colour="pink",
        raw="flamingo",
        long=("One pink flamingo stands on one leg in shallow water.", "Its reflection is broken by ripples."),
        short="A pink flamingo in water.",
        tags=("pink:One pink flamingo=flamingo#1", "shallow:shallow water=water", "ripples=ripple"),
    ),
    Scene(
        shape="rectangle",
        colour="maroon",
        suffix="png",
        raw="brick wall",
        long=("A maroon brick wall is half covered by ivy.",),
        short="A brick wall with ivy.",
        tags=("maroon:A maroon brick wall=brick wall#1", "ivy=ivy", "A brick wall=brick wall#1"),
    ),
    Scene(shape="ellipse", colour="lime", raw="", rejects="undecodable"),
    Scene(
        shape="rectangle",
        colour="teal",
        raw="boat",
        long=("A teal rowing boat is tied to a post.", "Two oars lie inside.", "Two oars lie inside."),
        short="A teal boat.",
        tags=("teal:A teal rowing boat=rowing boat#1", "a post=post#1", "Two oars=oar#2", "teal:A teal boat=boat#1"),
    ),
    Scene(
        shape="ellipse",
        colour="gold",
        raw="brass bell",
        long=("A golden bell hangs from a beam.", "The photo has a calm atmosphere."),
        short="A golden bell.",
        tags=("golden:A golden bell=bell#1", "a beam=beam#1"),
    ),
    Scene(
        shape="rectangle",
        colour="olive",
        raw="backpack",
        long=("An olive backpack leans against a rock, its straps",),
        short="An olive backpack.",
        tags=("olive:An olive backpack=backpack#1", "a rock=rock#1", "its straps=strap"),
    ),
    Scene(
        shape="ellipse",
        colour="silver",
        raw="spoon",
        long=("A silver spoon lies beside a cup of tea.", "Steam rises from the cup."),
        short="A spoon beside a cup.",
        tags=("silver:A silver spoon=spoon#1", "a cup=cup#1", "Steam=steam", "A spoon=spoon#1"),
    ),
    Scene(
        shape="rectangle",
        colour="cyan",
        raw="swimming pool",
        long=("A cyan pool is empty.", "Three white chairs stand around it."),
        short="An empty pool with chairs.",
        tags=("cyan:A cyan pool=pool#1", "white:Three white chairs=chair#3", "empty:An empty pool=pool#1"),
    ),
)
