"""The boxes in the answers of grounding models: one parser for each format, and their units.

In the format `detector`, the engine returns boxes and no text, so there is nothing to read.

Sources of formats and units: the cookbooks of Qwen2.5-VL and Qwen3-VL; InternVL, internvl_chat/eval/refcoco/
evaluate_grounding.py; transformers, models/florence2/processing_florence2.py (`dequantize`), models/paligemma/
processing_paligemma.py and models/kosmos2/processing_kosmos2.py (`patch_index_to_coordinate`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from recaption.tasks.output import TEXT, Output, value_of
from recaption.types import Box

BoxFormat = Literal["qwen2_5_vl", "qwen3_vl", "internvl", "florence2", "paligemma", "molmo", "kosmos2", "detector"]
OF_ONE_PHRASE: Final = frozenset({"internvl", "molmo", "kosmos2"})
"""Formats of models that are asked about one phrase in each request."""
_CORNERS: Final = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}
_ITEM: Final = {
    "type": "object",
    "properties": {"bbox_2d": _CORNERS, "label": {"type": "string"}},
    "required": ["bbox_2d", "label"],
    "additionalProperties": False,
}
QWEN_OUTPUT: Final = Output(json_schema=orjson.dumps({"type": "array", "items": _ITEM}))
_OF_SPECIAL_TOKENS: Final = frozenset({"florence2", "kosmos2"})  # not PaliGemma: its <loc…> are ordinary tokens
_LARGEST: Final = 1e6  # no coordinate is larger in any unit
_POINT: Final = 0.001  # side of the square around a point: the step of Molmo's percentages
_CELLS: Final = 32  # of Kosmos-2 along each side


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A box as the model wrote it. `numbers` are x0, y0, x1, y1 in the model's units; Molmo: x, y; Kosmos-2: the
    indices of two cells. None: they cannot be read."""

    label: str
    numbers: tuple[float, ...] | None


def output_of(form: BoxFormat) -> Output:
    """The form of the answers."""
    if form == "detector":
        return Output(boxes=True)
    if form in _OF_SPECIAL_TOKENS:
        return Output(special_tokens=True)
    return QWEN_OUTPUT if form.startswith("qwen") else TEXT


def read(form: BoxFormat, text: str) -> list[Found]:
    """The boxes of an answer, in order. Raises ValueError for a text that is not of this format."""
    found = list(_READERS[form](text))
    if not found and _READERS[form] is not _qwen and not (form == "paligemma" and not text.strip()):
        raise ValueError(f"the answer has no boxes of format {form}: {text[:100]!r}")
    return found


def normalised(form: BoxFormat, numbers: Sequence[float], shown: tuple[int, int] | None = None) -> Box | None:
    """The box as shares of the image's width and height, clipped to the image.

    None: it has no area inside the image, or its corners are reversed. `shown` is the size in pixels of the image that
    the model was given; only qwen2_5_vl needs it. A point becomes a square of 0.1 % of each side.
    """
    x0, y0, x1, y1 = (min(max(edge, 0.0), 1.0) for edge in _shares(form, numbers, shown))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def ends_beyond(form: BoxFormat, numbers: Sequence[float], shown: tuple[int, int] | None = None) -> bool:
    """Whether an edge is beyond the right or lower edge of the image by more than 0.1 % of its side.

    If many boxes of a model do, the model does not use the units of the format.
    """
    return max(_shares(form, numbers, shown)) > 1 + _POINT


def _shares(form: BoxFormat, numbers: Sequence[float], shown: tuple[int, int] | None) -> Sequence[float]:
    if form == "kosmos2":
        return _of_cells(int(numbers[0]), int(numbers[1]))
    if form == "molmo":
        x, y = numbers[0] / 100, numbers[1] / 100
        return x - _POINT / 2, y - _POINT / 2, x + _POINT / 2, y + _POINT / 2
    if form == "florence2":  # the centres of bins
        return [(number + 0.5) / 1000 for number in numbers]
    if form == "qwen2_5_vl":
        assert shown is not None
        return [number / side for number, side in zip(numbers, shown * 2, strict=True)]
    unit = {"paligemma": 1024, "detector": 1}.get(form, 1000)
    return [number / unit for number in numbers]


def _of_cells(first: int, last: int) -> Sequence[float]:
    x0, y0, x1, y1 = first % _CELLS, first // _CELLS, last % _CELLS, last // _CELLS
    if x0 == x1 or y0 == y1:  # whole cells
        return x0 / _CELLS, y0 / _CELLS, (x1 + 1) / _CELLS, (y1 + 1) / _CELLS
    return [(cell + 0.5) / _CELLS for cell in (x0, y0, x1, y1)]


def _qwen(text: str) -> Iterator[Found]:
    for item in value_of(QWEN_OUTPUT, text):
        yield Found(label=item["label"], numbers=_numbers(item["bbox_2d"]))


def _internvl(text: str) -> Iterator[Found]:
    label = ""
    for before, numbers in re.findall(r"([^\[\]]*)(?:\[\s*)?\[([^\[\]]*)\]", re.sub(r"</?(?:ref|box)>", " ", text)):
        label = before.strip(" ,;:\n") or label
        yield Found(label=label, numbers=_numbers(numbers.split(",")))


def _florence2(text: str) -> Iterator[Found]:
    for label, tokens in re.findall(r"([^<>]*)((?:<loc_\d+>)+)", re.sub(r"</?s>|<pad>", "", text)):
        numbers = re.findall(r"\d+", tokens)
        for start in range(0, len(numbers), 4):
            yield Found(label=label.strip(), numbers=_numbers(numbers[start : start + 4], 999))


def _paligemma(text: str) -> Iterator[Found]:
    for tokens, label in re.findall(r"((?:<loc\d+>)+)([^<;]*)", text):
        numbers = _numbers(re.findall(r"\d+", tokens), 1023)
        in_order = None if numbers is None else (numbers[1], numbers[0], numbers[3], numbers[2])
        yield Found(label=label.strip(), numbers=in_order)


def _molmo(text: str) -> Iterator[Found]:
    for attributes, label in re.findall(r"<points?\s([^<>]*)>([^<>]*)</points?>", text):
        values = dict(re.findall(r'(\w+)\s*=\s*"([^"]*)"', attributes))
        for name in [name for name in values if re.fullmatch(r"x\d*", name)]:
            point = [values[name], values.get(f"y{name[1:]}", "")]
            yield Found(label=label.strip() or values.get("alt", ""), numbers=_numbers(point, count=2))


def _kosmos2(text: str) -> Iterator[Found]:
    """The phrase may be missing if it is at the end of the prompt: the answer continues the prompt."""
    for label, cells in re.findall(r"(?:<phrase>([^<]*)</phrase>\s*)?<object>(.*?)</object>", text, re.DOTALL):
        for pair in cells.split("</delimiter_of_multi_objects/>"):
            indices = re.findall(r"<patch_index_(\d+)>", pair)
            yield Found(label=label.strip(), numbers=_numbers(indices, _CELLS**2 - 1, count=2))


def _numbers(values: Sequence[Any], largest: float = _LARGEST, count: int = 4) -> tuple[float, ...] | None:
    try:
        numbers = tuple(map(float, values))
    except (ValueError, OverflowError):
        return None
    return numbers if len(numbers) == count and all(abs(number) <= largest for number in numbers) else None


_READERS: Final[Mapping[BoxFormat, Callable[[str], Iterator[Found]]]] = {
    "qwen2_5_vl": _qwen,
    "qwen3_vl": _qwen,
    "internvl": _internvl,
    "florence2": _florence2,
    "paligemma": _paligemma,
    "molmo": _molmo,
    "kosmos2": _kosmos2,
}
