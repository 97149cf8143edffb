"""The colours and shapes of scenes in other languages, for translations by rule.

Each language has a sentence with {} for the list of objects, what joins two of them, the phrase of an object, and the
words for `scenes.COLOURS` and `scenes.SHAPES`, in the forms that these phrases need.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from recaption.demo.scenes import COLOURS, SHAPES


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """The words of a language, separated by bars, in the order of the scenes' lists."""

    sentence: str
    joint: str
    phrase: str
    colours: str
    shapes: str

    def of(self, colour: str, shape: str) -> str:
        """An object, such as "red circle"."""
        colours, shapes = self.colours.split("|"), self.shapes.split("|")
        return self.phrase.format(colour=colours[COLOURS.index(colour)], shape=shapes[SHAPES.index(shape)])


# circle, square, triangle, diamond, star, heart; red, orange, yellow, green, blue, purple, pink, brown
WORDS: Final = {
    "zh": Words(
        sentence="图中有{}。",
        joint="和",
        phrase="{colour}{shape}",
        colours="红色的|橙色的|黄色的|绿色的|蓝色的|紫色的|粉色的|棕色的",
        shapes="圆形|正方形|三角形|菱形|星形|心形",
    ),
    "ja": Words(
        sentence="この絵には{}があります。",
        joint="と",
        phrase="{colour}{shape}",
        colours="赤色の|オレンジ色の|黄色の|緑色の|青色の|紫色の|ピンク色の|茶色の",
        shapes="円|正方形|三角形|ひし形|星|ハート",
    ),
    "ru": Words(
        sentence="На картинке есть {}.",
        joint=" и ",
        phrase="{shape} {colour} цвета",
        colours="красного|оранжевого|жёлтого|зелёного|синего|фиолетового|розового|коричневого",
        shapes="круг|квадрат|треугольник|ромб|звезда|сердце",
    ),
    "ar": Words(
        sentence="في الصورة {}.",
        joint=" و",
        phrase="{shape} باللون {colour}",
        colours="الأحمر|البرتقالي|الأصفر|الأخضر|الأزرق|الأرجواني|الوردي|البني",
        shapes="دائرة|مربع|مثلث|معين|نجمة|قلب",
    ),
    "hi": Words(
        sentence="इस चित्र में {} है।",
        joint=" और ",
        phrase="{colour} रंग का {shape}",
        colours="लाल|नारंगी|पीले|हरे|नीले|बैंगनी|गुलाबी|भूरे",
        shapes="वृत्त|वर्ग|त्रिभुज|समचतुर्भुज|तारा|दिल",
    ),
    "fr": Words(
        sentence="Voici une image avec {}.",
        joint=" et ",
        phrase="{shape} de couleur {colour}",
        colours="rouge|orange|jaune|verte|bleue|violette|rose|brune",
        shapes="un cercle|un carré|un triangle|un losange|une étoile|un cœur",
    ),
    "es": Words(
        sentence="En la imagen hay {}.",
        joint=" y ",
        phrase="{shape} de color {colour}",
        colours="rojo|naranja|amarillo|verde|azul|morado|rosa|marrón",
        shapes="un círculo|un cuadrado|un triángulo|un rombo|una estrella|un corazón",
    ),
}
_OBJECT: Final = re.compile(rf"\b({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})\b")


def translated(text: str, lang: str) -> str:
    """A sentence in `lang` that names the objects of an English text about a scene, each once, in their order.

    Nothing else is translated. Raises ValueError for a text without objects; KeyError for an unknown language.
    """
    words = WORDS[lang]
    found = dict.fromkeys(words.of(*match.groups()) for match in _OBJECT.finditer(text))
    if not found:
        raise ValueError(f"no object of a scene in {text!r}")
    return words.sentence.format(words.joint.join(found))
