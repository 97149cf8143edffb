"""An image of the gallery and all that is known of it, as the page shows it."""

from __future__ import annotations

from dataclasses import dataclass

from recaption.inspect.report.facts import FLAGS
from recaption.inspect.report.pictures import Picture
from recaption.inspect.report.spans import Run

ORDER = (*(flag.removeprefix("is_") for flag in FLAGS), "repeat")
"""Flags in the order in which they are shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownTag:
    """What a tag says, in words: attributes and count as said."""

    lemma: str
    label: str | None
    attributes: tuple[str, ...]
    count: int | None
    kind: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownSub:
    """A sub-caption's row. `flags` are without is_."""

    number: int  # from 1
    n_words: int
    tokens: tuple[tuple[str, int | None], ...]
    weight: float
    flags: tuple[str, ...]
    dup_of: str | None
    tags: tuple[ShownTag, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One time that the question was asked."""

    seed: int
    temperature: float
    finish_reason: str
    output_tokens: int
    detail: str | None
    pixel_share: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownAnswer:
    """What the answer store says of a caption."""

    fingerprint: str
    prompt_tokens: int
    output_tokens: int
    prompt_sha256: str
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownCaption:
    """A caption, cut into runs for the page; `cut_off` counts the characters that are not shown."""

    caption_id: str
    generation: str
    source: str
    n_words: int
    lang: str | None
    finish_reason: str | None
    runs: tuple[Run, ...]
    cut_off: int
    subs: tuple[ShownSub, ...]
    tags: tuple[ShownTag, ...]  # in the order of `Part.tag`
    answer: ShownAnswer | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """Why an image or an answer could not be used."""

    generation: str | None
    stage: str
    reason: str
    detail: str
    attempts: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """An image of the gallery. `chosen` says why it is there: random, or what is wrong with it."""

    key: str
    source_key: str
    sha256: str
    shard: str | None
    row: int | None
    split: str
    status: str  # of the image; "in progress" without a build
    reason: str | None
    url: str | None
    width: int | None
    height: int | None
    chosen: str
    picture: Picture
    captions: tuple[ShownCaption, ...]
    lost: tuple[Lost, ...]

    @property
    def flags(self) -> tuple[str, ...]:
        found = {flag for caption in self.captions for sub in caption.subs for flag in sub.flags}
        return tuple(flag for flag in ORDER if flag in found)

    @property
    def lemmas(self) -> tuple[str, ...]:
        """Objects that are said to be there, as they come."""
        tags = (tag for caption in self.captions for sub in caption.subs for tag in sub.tags)
        return tuple(dict.fromkeys(tag.lemma for tag in tags if tag.kind == "object"))
