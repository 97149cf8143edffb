"""Answers that exist already: captions in a column of the source (CC3M-recap, PixelProse). No model, no pixels."""

from __future__ import annotations

from collections.abc import Sequence

from recaption.tasks.caption import clean
from recaption.tasks.question import column_sha256
from recaption.text import fitted, storable
from recaption.types import Answer, Image, Reason, Reject


def from_column(images: Sequence[Image], column: str, generation: str) -> list[Answer | Reject]:
    """One answer or reject for each image, in order: the text in its `column` as the source has it, made storable.

    Such an answer has finish reason stop, no tokens and no attempts; `column_sha256` takes the place of a filled-in
    prompt's hash. A column that is missing or null, or of which cleaning leaves nothing, is an `empty_answer`; what is
    not a text is a `request_error`. The caller leaves out images that the source itself rejects (`Image.reason`).
    """
    results: list[Answer | Reject] = []
    for image in images:
        value = image.columns.get(column)
        if value is None:
            what = f"column {column!r} {'is null' if column in image.columns else 'is missing'}"
            if not image.columns and image.detail:  # such as an image that no table names
                what = f"{image.detail}, so it has no column {column!r}"
            results.append(_reject(image, column, generation, "empty_answer", what))
        elif not isinstance(value, str):
            detail = f"column {column!r} holds {type(value).__name__}, not a text"
            results.append(_reject(image, column, generation, "request_error", detail))
        elif not clean(value).text:
            results.append(_reject(image, column, generation, "empty_answer", f"column {column!r} holds no caption"))
        else:
            text, was_cut = fitted(storable(value))
            results.append(
                Answer(
                    key=image.key,
                    sha256=image.sha256,
                    row=image.row,
                    text=text,
                    finish_reason="length" if was_cut else "stop",
                    prompt_tokens=0,
                    output_tokens=0,
                    prompt_sha256=column_sha256(image, column),
                )
            )
    return results


def _reject(image: Image, column: str, generation: str, reason: Reason, detail: str) -> Reject:
    return Reject.of(
        image,
        stage="generate",
        generation=generation,
        reason=reason,
        detail=detail,
        prompt_sha256=column_sha256(image, column),
    )
