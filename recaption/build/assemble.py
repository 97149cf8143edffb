"""The images, answers and rejects of one shard become its records: status, split and captions of every image."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

import pyarrow as pa

from recaption.build.results import Result
from recaption.scrub import Scrubber, public_text, public_url
from recaption.tasks.base import WHOLE_IMAGE, UnitAnswer
from recaption.tasks.caption import caption_of, raw_captions
from recaption.text import without_surrogates
from recaption.types import Answer, Caption, CaptionFailure, Generation, Image, Reason, Record, Reject, Stage, stage_of
from recaption.write.entry import GenerationCounts

log = logging.getLogger(__name__)
_SCRUB = Scrubber({})  # without the environment, so that builds have the same bytes everywhere

Answers = Mapping[str, Mapping[str, Answer]]
"""generation id -> image key -> answer. Images with equal bytes and equal prompts share one answer."""
Results = Mapping[str, Mapping[str, Result]]
"""generation id -> image key -> result, of generations that are not one caption per image."""
_NO_RESULTS: Results = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordRules:
    """The settings that determine the records of all shards of a build.

    `require` names generations (or `raw`): an image without one of them is rejected. `excluded` has the sha256 of
    images that are left out on purpose. Images whose sha256 falls below `holdout_fraction` are in split val.
    """

    generations: Sequence[Generation]  # if not one caption per image, they have `Results`
    require: AbstractSet[str]
    holdout_fraction: float = 0.0
    excluded: AbstractSet[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Assembled:
    """A shard before annotation. `rejects` are those of this build, in row order: the given ones without those whose
    generation has an answer about the image, plus those that the build adds. `tables` and `embeddings` are those of
    tasks; they may be about more images than `records`, or about rejected ones."""

    records: tuple[Record, ...]
    rejects: tuple[Reject, ...]
    asked: Mapping[str, GenerationCounts]
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    embeddings: Mapping[str, Mapping[str, Mapping[str, bytes]]] = field(default_factory=dict)  # generation, key, id
    failures: tuple[CaptionFailure, ...] = ()  # of tasks
    confident: Mapping[str, Answer] = field(default_factory=dict)  # caption_id -> its answer with log-probabilities


def assemble_shard(
    images: Sequence[Image],
    answers: Answers,
    rejects: Sequence[Reject],
    rules: RecordRules,
    *,
    shard_name: str,
    results: Results = _NO_RESULTS,
) -> Assembled:
    """The records of a shard, one per image in the given order; captions are raw first, then in pipeline order.

    `rejects` are those of generations, each with the key of its image. An answer is only used for the image whose
    sha256 it carries. The text of an answer is cleaned (`tasks.cleaning`); an answer without visible text becomes a
    reject of the build. Generations in `results` are not looked up in `answers`; without such a result, an image is
    rejected only if `require` names the generation.
    """
    shard = _Shard(answers, rejects, rules, shard_name, results)
    records = tuple(shard.record(image) for image in images)
    return Assembled(
        records=records,
        rejects=tuple(shard.kept),
        asked=shard.counts(),
        failures=tuple(shard.failures),
        confident=dict(shard.confident),
    )


def split_of(sha256: str, holdout_fraction: float) -> str:
    """val for the given share of all images, else train: a function of the sha256 alone. Without a sha256: train."""
    if holdout_fraction <= 0 or not sha256:
        return "train"
    return "val" if int(sha256[:16], 16) < holdout_fraction * 2.0**64 else "train"


class _Shard:
    """Looks up and counts the answers and rejects of images. One instance per call of `assemble_shard`."""

    def __init__(
        self, answers: Answers, rejects: Sequence[Reject], rules: RecordRules, name: str, results: Results
    ) -> None:
        self.answers, self.rules, self.name, self.results = answers, rules, name, results
        self.failures: list[CaptionFailure] = []
        self.confident: dict[str, Answer] = {}
        self.rejects = {(r.generation, r.key): r for r in reversed(rejects)}  # of several, the first wins
        self.kept: list[Reject] = []
        self.asked = {generation.id: GenerationCounts() for generation in rules.generations}  # without `answered`
        self.answered = dict.fromkeys(self.asked, 0)  # images with a whole caption from which nothing was removed

    def counts(self) -> dict[str, GenerationCounts]:
        """The counts of each generation."""
        answered = {id: GenerationCounts(asked=n, answered=n) for id, n in self.answered.items()}
        return {id: counts + answered[id] for id, counts in self.asked.items()}

    def record(self, image: Image) -> Record:
        if image.sha256 and image.sha256 in self.rules.excluded:
            self._reject(image, None, "build", "decontaminated", "listed in source.exclude")
            return self._made(image, "excluded", "decontaminated")
        if image.reason is not None:
            self._reject(image, None, stage_of(image.reason), image.reason, image.detail or "")
            return self._made(image, "reject", image.reason)
        raw = raw_captions(image)
        results = {id: of_images[image.key] for id, of_images in self.results.items()}
        whole = {g.id: self._caption(image, g) for g in self.rules.generations if g.id not in results}
        for id, result in results.items():
            self._count(image, id, result)
        present = list(raw)
        for generation in self.rules.generations:
            caption = whole.get(generation.id)
            present += results[generation.id].captions if generation.id in results else [caption] if caption else []
        missing = [name for name, caption in whole.items() if caption is None]
        without = [*missing, *(id for id, result in results.items() if not result.has_answer)]
        lacking = [name for name in (*(() if raw else ("raw",)), *without) if name in self.rules.require]
        if lacking or not present:
            reasons = (self._reason(image, name) for name in lacking or missing)
            known = [reason for reason in reasons if reason is not None]
            if not known:
                names = lacking or ["raw", *whole]
                self._reject(image, None, "build", "missing_required", f"no text of {', '.join(names)}")
            return self._made(image, "reject", known[0] if known else "missing_required")
        if not missing:
            return self._made(image, "ok", None, tuple(present))
        return self._made(image, "partial", self._reason(image, missing[0]), tuple(present))

    def _count(self, image: Image, generation: str, result: Result) -> None:
        self.asked[generation] += result.counts
        self.failures += result.failures
        for found in result.rejects:
            self._reject(image, generation, found.stage, found.reason, found.detail, found.attempts, found.unit)

    def _reason(self, image: Image, generation: str) -> Reason | None:
        """Why an image has no answer of a generation; None if it is not known."""
        if generation in self.results:
            rejects = self.results[generation][image.key].rejects
            return rejects[0].reason if rejects else None
        found = self._found(image, generation)
        return None if found is None else found.reason

    def _caption(self, image: Image, generation: Generation) -> Caption | None:
        answer = self.answers.get(generation.id, {}).get(image.key)
        if answer is not None and answer.sha256 != image.sha256:
            log.warning("shard %s, key %s: ignored an answer about another image", self.name, image.key)
            answer = None
        caption = caption_of(generation, image.key, 0, UnitAnswer(unit=WHOLE_IMAGE, answer=answer))
        if caption is not None:
            if answer is not None and answer.logprobs is not None:
                self.confident[caption.caption_id] = answer
            if caption.cleaned:
                rules = dict.fromkeys(caption.cleaned, 1)
                self.asked[generation.id] += GenerationCounts(asked=1, answered=1, cleaned=1, rules=rules)
            else:
                self.answered[generation.id] += 1
            return caption
        found = self._found(image, generation.id)
        if found is not None:
            self._reject(image, found.generation, found.stage, found.reason, found.detail, found.attempts)
        elif answer is not None:
            found = self._reject(image, generation.id, "build", "empty_answer", "nothing visible is left once cleaned")
            self.rejects[generation.id, image.key] = found
        reasons: dict[str, int] = {} if found is None else {found.reason: 1}  # neither: the sum does not hold
        self.asked[generation.id] += GenerationCounts(asked=1, rejected=len(reasons), reasons=reasons)
        return None

    def _found(self, image: Image, generation: str) -> Reject | None:
        found = self.rejects.get((generation, image.key))
        return found if found is not None and found.sha256 == image.sha256 else None

    def _reject(
        self,
        image: Image,
        generation: str | None,
        stage: Stage,
        reason: Reason,
        detail: str,
        attempts: int = 0,
        unit: str | None = None,
    ) -> Reject:
        made = Reject.of(
            image, stage=stage, generation=generation, reason=reason, detail=detail, attempts=attempts, unit=unit
        )
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
