"""Answers that exist already: captions in a column of the source (CC3M-recap, PixelProse). No model, no pixels."""

from __future__ import annotations

from recaption.engine.base import Completion
from recaption.engine.completion import accept
from recaption.errors import RequestError
from recaption.types import DROPPED, Image


def read_column(image: Image, column: str) -> Completion:
    """The text in a column of the image, without tokens and without a finish word of an engine.

    Null and a missing column are an empty text. Raises RequestError for a value that is not a string, and for one that
    the source could not keep.
    """
    value = image.columns.get(column)
    if value is None and column in image.columns.get(DROPPED, ()):
        what = "too large or not valid JSON for this image, so the source did not keep it"
        raise RequestError(f"column {column!r} is {what}. Shorten or correct it")
    if not isinstance(value, str | None):
        raise RequestError(f"column {column!r} holds {type(value).__name__}, not a text")
    return accept(Completion(text=value or "", finish_reason=None, prompt_tokens=0, output_tokens=0))
