"""Answers that exist already: captions in a column of the source (CC3M-recap, PixelProse). No model, no pixels."""

from __future__ import annotations

import orjson

from recaption.engine.base import Completion
from recaption.engine.completion import accept
from recaption.errors import RequestError
from recaption.tasks.output import TEXT, Output
from recaption.types import DROPPED, MAX_VALUE, Image


def read_column(image: Image, column: str, output: Output = TEXT) -> Completion:
    """The value in a column of the image as an answer, without tokens and without a finish reason of an engine.

    Null and a missing column are an empty text. With `output.json_schema`, the column may hold JSON values beside
    texts; the text is then their JSON. Raises RequestError for a value that is not a text, for one that is not of the
    form of `output`, and for one that the source could not keep.
    """
    value = image.columns.get(column)
    if value is None and column in image.columns.get(DROPPED, ()):
        what = f"the value of this image is not valid JSON, or takes more than {MAX_VALUE:,} bytes as JSON"
        raise RequestError(f"column {column!r}: {what}. Correct or shorten it")
    if output.json_schema is not None and not isinstance(value, str | None):
        try:
            value = orjson.dumps(value).decode()
        except TypeError as error:
            raise RequestError(f"column {column!r} holds {type(value).__name__}, not JSON: {error}") from None
    if not isinstance(value, str | None):
        raise RequestError(f"column {column!r} holds {type(value).__name__}, not a text")
    return accept(Completion(text=value or "", finish_reason=None, prompt_tokens=0, output_tokens=0), output)
