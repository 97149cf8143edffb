"""Texts about scenes for the dual encoder, and of which scenes they are true.

A text has a key, and a scene has the keys of all texts that are true of it, so that every pair of an image and a text
of a batch has its true label, also where a text about one scene happens to be true of another.
"""

from __future__ import annotations

import random
from collections.abc import Hashable
from dataclasses import dataclass

from recaption.demo.scenes import COLOURS, FILLS, SHAPES, SIZES, Scene, SceneObject
from training.scene.captions import BACKGROUND_TEXT, describe_long, describe_short, phrase
from training.verify.statements import changed, true_sentences


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A text, its key, and its kind: long, short, sentence, phrase, name, noun."""

    text: str
    key: Hashable
    kind: str


def keys(scene: Scene) -> frozenset[Hashable]:
    """The keys of all texts that are true of `scene`."""
    sentences = (s for kind in true_sentences(scene).values() for s in kind)
    phrases = (phrase(o) for o in scene.objects)
    names = (o.name for o in scene.objects)
    nouns = (*(o.shape for o in scene.objects), BACKGROUND_TEXT[scene.background])
    return frozenset((*sentences, *phrases, *names, *nouns, describe_long(scene), describe_short(scene)))


def with_article(words: str, rng: random.Random) -> str:
    """`words` as they stand in captions and in lists of objects: with an article, or bare."""
    some = "an" if words[0] in "aeiou" else "a"
    start = rng.choice((some, some, "the", "", some.capitalize()))
    return f"{start} {words}".strip()


def changed_object(item: SceneObject, rng: random.Random) -> tuple[str, str]:
    """The phrase of `item` with one attribute changed, and its name with colour or shape changed."""
    values: list[tuple[str, ...]] = [SIZES, FILLS, COLOURS, SHAPES]
    words = phrase(item).split()
    at = rng.randrange(4)
    other = [*words]
    other[at] = rng.choice([v for v in values[at] if v != words[at]])
    at = rng.randrange(2, 4)
    name = words[2:]
    name[at - 2] = rng.choice([v for v in values[at] if v != words[at]])
    return " ".join(other), " ".join(name)


def changed_caption(scene: Scene, rng: random.Random) -> str:
    """The long caption of `scene` with one sentence about an object or relation changed, so that it is false."""
    caption = describe_long(scene)
    sentences = true_sentences(scene)
    kind = rng.choice(("object", "object", "relation"))
    some = [s for s in sentences[kind] if s in caption] or sentences["object"]
    kind = kind if some[0] in sentences[kind] else "object"
    sentence = rng.choice(some)
    claim = changed(sentence, kind, scene, rng)
    return caption.replace(sentence, claim.text) if claim else caption


def sample_texts(scene: Scene, rng: random.Random) -> list[Text]:
    """Texts about `scene`, true and false: captions, sentences, phrases and names of objects, shapes, backgrounds."""
    item = rng.choice(scene.objects)
    other_phrase, other_name = changed_object(item, rng)
    kind = rng.choice(("object", "object", "object", "relation", "count", "background"))
    sentences = true_sentences(scene)
    kind = kind if sentences[kind] else "object"
    sentence = rng.choice(sentences[kind])
    false = changed(sentence, kind, scene, rng)
    texts = [
        Text(text=describe_long(scene), key=describe_long(scene), kind="long"),
        Text(text=describe_short(scene), key=describe_short(scene), kind="short"),
        Text(text=sentence, key=sentence, kind="sentence"),
        Text(text=with_article(phrase(item), rng), key=phrase(item), kind="phrase"),
        Text(text=with_article(other_phrase, rng), key=other_phrase, kind="phrase"),
        Text(text=with_article(item.name, rng), key=item.name, kind="name"),
        Text(text=with_article(other_name, rng), key=other_name, kind="name"),
    ]
    shape = rng.choice(SHAPES)
    texts.append(Text(text=with_article(shape, rng), key=shape, kind="noun"))
    if rng.random() < 0.3:
        text = rng.choice(tuple(BACKGROUND_TEXT.values()))
        texts.append(Text(text=text, key=text, kind="noun"))
    if false:
        texts.append(Text(text=false.text, key=false.text, kind="sentence"))
    if rng.random() < 0.2:
        caption = changed_caption(scene, rng)
        texts.append(Text(text=caption, key=caption, kind="long"))
    return texts
