"""The images, answers and rejects of one shard become its records: status, split and captions of every image."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from recaption.scrub import Scrubber, public_text, public_url
from recaption.tasks.cleaning import published
from recaption.text import cut, normalise, without_surrogates
from recaption.types import Answer, Caption, Generation, Image, Reason, Record, Reject, Stage, stage_of
from recaption.write.entry import GenerationCounts

log = logging.getLogger(__name__)
_SCRUB = Scrubber({})  # without the environment, so that builds have the same bytes everywhere

Answers = Mapping[str, Mapping[str, Answer]]
"""generation id -> image key -> answer. Images with equal bytes and equal prompts share one answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordRules:
    """The settings that determine the records of all shards of a build.

    `require` names generations (or `raw`): an image without one of them is rejected. `excluded` has the sha256 of
    images that are left out on purpose. Images whose sha256 falls below `holdout_fraction` are in split val.
    """

    generations: Sequence[Generation]
    require: AbstractSet[str]
    holdout_fraction: float = 0.0
    excluded: AbstractSet[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Assembled:
    """A shard before annotation. `rejects` are those of this build, in row order: the given ones, without those of
    generations that have an answer, and the rejects that the build adds."""

    records: tuple[Record, ...]
    rejects: tuple[Reject, ...]
    asked: Mapping[str, GenerationCounts]


def assemble_shard(
    images: Sequence[Image], answers: Answers, rejects: Sequence[Reject], rules: RecordRules, *, shard_name: str
) -> Assembled:
    """The records of a shard, one per image in the given order; captions are raw first, then in pipeline order.

    `rejects` are those of generations, each with the key of its image. An answer is only used for the image whose
    sha256 it carries. The text of an answer is cleaned (`tasks.cleaning`); an answer without visible text becomes a
    reject of the build.
    """
    shard = _Shard(answers, rejects, rules, shard_name)
    records = tuple(shard.record(image) for image in images)
    return Assembled(records=records, rejects=tuple(shard.kept), asked=dict(shard.asked))


def split_of(sha256: str, holdout_fraction: float) -> str:
    """val for the given share of all images, a pure function of their bytes; train if there are none."""
    if holdout_fraction <= 0 or not sha256:
        return "train"
    return "val" if int(sha256[:16], 16) < holdout_fraction * 2.0**64 else "train"


class _Shard:
    """Looks up and counts the answers and rejects of images. One instance per call of `assemble_shard`."""

    def __init__(self, answers: Answers, rejects: Sequence[Reject], rules: RecordRules, name: str) -> None:
        self.answers, self.rules, self.name = answers, rules, name
        self.rejects = {(r.generation, r.key): r for r in reversed(rejects)}  # the first of each wins
        self.kept: list[Reject] = []
        self.asked = {generation.id: GenerationCounts() for generation in rules.generations}

    def record(self, image: Image) -> Record:
        if image.sha256 and image.sha256 in self.rules.excluded:
            self._reject(image, None, "build", "decontaminated", "listed in source.exclude")
            return self._made(image, "excluded", "decontaminated")
        if image.reason is not None:
            self._reject(image, None, stage_of(image.reason), image.reason, image.detail or "")
            return self._made(image, "reject", image.reason)
        raw = self._raw(image)
        generated = {g.id: self._caption(image, g) for g in self.rules.generations}
        present = (*raw, *(caption for caption in generated.values() if caption is not None))
        missing = [name for name, caption in generated.items() if caption is None]
        lacking = [name for name in (*(() if raw else ("raw",)), *missing) if name in self.rules.require]
        if lacking or not present:
            known = [found.reason for name in lacking or missing if (found := self._found(image, name)) is not None]
            reason: Reason = known[0] if known else "missing_required"
            if not known:
                names = lacking or ["raw", *generated]
                self._reject(image, None, "build", "missing_required", f"no text of {', '.join(names)}")
            return self._made(image, "reject", reason)
        if not missing:
            return self._made(image, "ok", None, present)
        first = self._found(image, missing[0])
        return self._made(image, "partial", first.reason if first else None, present)

    def _raw(self, image: Image) -> tuple[Caption, ...]:
        texts = [text for raw in image.raw_captions if (text := cut(normalise(public_text(raw))).rstrip())]
        return tuple(
            Caption(caption_id=f"{image.key}/raw/{n}", generation="raw", source="raw", granularity="raw", text=text)
            for n, text in enumerate(texts)
        )

    def _caption(self, image: Image, generation: Generation) -> Caption | None:
        assert generation.granularity is not None
        answer = self.answers.get(generation.id, {}).get(image.key)
        if answer is not None and answer.sha256 != image.sha256:
            log.warning("shard %s, key %s: ignored an answer about another image", self.name, image.key)
            answer = None
        cleaned = published(answer.text) if answer is not None else None
        if answer is not None and cleaned is not None and cleaned.text:
            removed = dict.fromkeys(cleaned.removed, 1)
            self.asked[generation.id] += GenerationCounts(
                asked=1, answered=1, cleaned=int(bool(removed)), rules=removed
            )
            return Caption(
                caption_id=f"{image.key}/{generation.id}/0",
                generation=generation.id,
                source=f"{generation.model}:{generation.prompt or generation.column}",
                granularity=generation.granularity,
                text=cleaned.text,
                finish_reason="length" if "cut" in cleaned.removed else answer.finish_reason,
                cleaned=cleaned.removed or None,
            )
        found = self._found(image, generation.id)
        if found is not None:
            self._reject(image, found.generation, found.stage, found.reason, found.detail, found.attempts)
        elif answer is not None:
            found = self._reject(image, generation.id, "build", "empty_answer", "nothing visible is left once cleaned")
            self.rejects[generation.id, image.key] = found
        reasons: dict[str, int] = {} if found is None else {found.reason: 1}  # none: the sum is wrong
        self.asked[generation.id] += GenerationCounts(asked=1, rejected=len(reasons), reasons=reasons)
        return None

    def _found(self, image: Image, generation: str) -> Reject | None:
        found = self.rejects.get((generation, image.key))
        return found if found is not None and found.sha256 == image.sha256 else None

    def _reject(
        self, image: Image, generation: str | None, stage: Stage, reason: Reason, detail: str, attempts: int = 0
    ) -> Reject:
        made = Reject.of(image, stage=stage, generation=generation, reason=reason, detail=detail, attempts=attempts)
        source_key = without_surrogates(public_text(image.source_key))
        made = replace(made, source_key=source_key, detail=without_surrogates(_SCRUB.text(detail)))
        self.kept.append(made)
        return made

    def _made(self, image: Image, status: str, reason: Reason | None, captions: tuple[Caption, ...] = ()) -> Record:
        width, height = image.upright_size
        return Record(
            key=image.key,
            source_key=without_surrogates(public_text(image.source_key)),
            shard=self.name,
            row=image.row,
            sha256=image.sha256,
            status=status,  # type: ignore[arg-type]
            split=split_of(image.sha256, self.rules.holdout_fraction),
            reason=reason,
            url=without_surrogates(public_url(image.url)) if image.url else None,
            width=width,
            height=height,
            orientation=image.orientation,
            captions=captions,
        )
