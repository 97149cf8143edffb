"""Images, answers and rejects of one shard become its records: what a dataset holds of each image, and why not more."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from recaption.scrub import Scrubber, public_text, public_url
from recaption.tasks.caption import clean
from recaption.text import cut, normalise, without_surrogates
from recaption.types import Answer, Caption, Generation, Image, Reason, Record, Reject, Stage, stage_of
from recaption.write.entry import Asked

log = logging.getLogger(__name__)
_SCRUB = Scrubber({})  # without the environment, so that builds have the same bytes everywhere

Answers = Mapping[str, Mapping[str, Answer]]
"""generation id -> image key -> answer. Images that were asked the same share one; who reads the store pairs them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Assembled:
    """A shard before annotation. `rejects` are those that hold for this build, in row order: of answers that came
    since they are gone, of images with equal bytes there is one each, and the build's own are added."""

    records: tuple[Record, ...]
    rejects: tuple[Reject, ...]
    asked: Mapping[str, Asked]


def assemble(
    images: Sequence[Image],
    answers: Answers,
    rejects: Sequence[Reject],
    generations: Sequence[Generation],
    *,
    require: Sequence[str],
    holdout_fraction: float = 0.0,
    excluded: AbstractSet[str] = frozenset(),
    shard_name: str,
) -> list[Record]:
    """One record per source row, in order; see `assemble_shard`, which also says what was asked and rejected."""
    made = assemble_shard(
        images,
        answers,
        rejects,
        generations,
        require=require,
        holdout_fraction=holdout_fraction,
        excluded=excluded,
        shard_name=shard_name,
    )
    return list(made.records)


def assemble_shard(
    images: Sequence[Image],
    answers: Answers,
    rejects: Sequence[Reject],
    generations: Sequence[Generation],
    *,
    require: Sequence[str],
    holdout_fraction: float = 0.0,
    excluded: AbstractSet[str] = frozenset(),
    shard_name: str,
) -> Assembled:
    """The records of a shard with their captions, raw first, then in pipeline order.

    An answer is only ever used for the image whose sha256 it carries. `require` names generations (or `raw`) without
    which an image is rejected; `excluded` holds sha256 of images that are left out on purpose; images whose sha256
    falls below `holdout_fraction` are in split val. The text of an answer is cleaned (`tasks.caption`); one of which
    nothing is left is a reject of the build.
    """
    shard = _Shard(answers, rejects, generations, frozenset(require), holdout_fraction, excluded, shard_name)
    records = tuple(shard.record(image) for image in images)
    asked = {generation.id: shard.tally(generation.id) for generation in generations}
    return Assembled(records=records, rejects=tuple(shard.kept), asked=asked)


def split_of(sha256: str, holdout_fraction: float) -> str:
    """val for the given share of all images, a pure function of their bytes; train where there are none."""
    if holdout_fraction <= 0 or not sha256:
        return "train"
    return "val" if int(sha256[:16], 16) < holdout_fraction * 2.0**64 else "train"


class _Shard:
    """Looks up what is known of an image and keeps the tally; one per call of `assemble_shard`."""

    def __init__(
        self,
        answers: Answers,
        rejects: Sequence[Reject],
        generations: Sequence[Generation],
        require: frozenset[str],
        holdout: float,
        excluded: AbstractSet[str],
        name: str,
    ) -> None:
        self.answers, self.generations, self.require = answers, generations, require
        self.holdout, self.excluded, self.name = holdout, excluded, name
        self.by_key = {(r.generation, r.key): r for r in reversed(rejects)}  # the first of each wins
        # what a model or the decoder made of these bytes holds for every image that has them
        shared = [r for r in rejects if r.sha256 and (r.generation is not None or r.stage == "decode")]
        self.by_bytes = {(r.generation, r.sha256): r for r in reversed(shared)}
        self.kept: list[Reject] = []
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.reasons: dict[str, Counter[str]] = {g.id: Counter() for g in generations}
        self.cleaned: Counter[str] = Counter()
        self.rules: dict[str, Counter[str]] = {g.id: Counter() for g in generations}

    def tally(self, generation: str) -> Asked:
        reasons = dict(sorted(self.reasons[generation].items()))
        return Asked(
            asked=self.asked[generation],
            answered=self.answered[generation],
            rejected=sum(reasons.values()),
            reasons=reasons,
            cleaned=self.cleaned[generation],
            rules=dict(sorted(self.rules[generation].items())),
        )

    def record(self, image: Image) -> Record:
        if image.sha256 and image.sha256 in self.excluded:
            self._reject(image, None, "build", "decontaminated", "listed in source.exclude")
            return self._made(image, "excluded", "decontaminated")
        if (whole := self._image_reject(image)) is not None:
            status = "excluded" if whole.reason == "decontaminated" else "reject"
            return self._made(image, status, whole.reason)
        raw = self._raw(image)
        captions = {"raw": raw[0] if raw else None} | {g.id: self._caption(image, g) for g in self.generations}
        answered = (captions[g.id] for g in self.generations)
        present = (*raw, *(caption for caption in answered if caption is not None))
        missing = [name for name, caption in captions.items() if caption is None and name != "raw"]
        lacking = [name for name, caption in captions.items() if caption is None and name in self.require]
        if lacking or not present:
            known = [r.reason for name in lacking or missing if (r := self._found(image, name)) is not None]
            reason: Reason = known[0] if known else "missing_required"
            if not known:
                self._reject(image, None, "build", "missing_required", f"no text of {', '.join(lacking or captions)}")
            return self._made(image, "reject", reason)
        if not missing:
            return self._made(image, "ok", None, present)
        first = self._found(image, missing[0])
        return self._made(image, "partial", first.reason if first else None, present)

    def _image_reject(self, image: Image) -> Reject | None:
        """The reject of the image itself, whoever saw it first; kept for the build under this image's name."""
        found = self._found(image, None)
        if image.reason is not None and found is None:
            return self._reject(image, None, stage_of(image.reason), image.reason, image.detail or "")
        return self._keep(image, found) if found is not None else None

    def _raw(self, image: Image) -> tuple[Caption, ...]:
        texts = [text for raw in image.raw_captions if (text := cut(normalise(public_text(raw))).rstrip())]
        return tuple(
            Caption(caption_id=f"{image.key}/raw/{n}", generation="raw", source="raw", granularity="raw", text=text)
            for n, text in enumerate(texts)
        )

    def _caption(self, image: Image, generation: Generation) -> Caption | None:
        self.asked[generation.id] += 1
        answer = self.answers.get(generation.id, {}).get(image.key)
        if answer is not None and answer.sha256 != image.sha256:
            log.warning("shard %s, key %s: an answer of another image is not used", self.name, image.key)
            answer = None
        caption_text = clean(answer.text) if answer is not None else None
        if answer is not None and caption_text is not None and caption_text.text:
            self.answered[generation.id] += 1
            self.cleaned[generation.id] += bool(caption_text.removed)
            self.rules[generation.id].update(caption_text.removed)
            return Caption(
                caption_id=f"{image.key}/{generation.id}/0",
                generation=generation.id,
                source=f"{generation.model}:{generation.prompt or generation.column}",
                granularity=generation.granularity,
                text=caption_text.text,
                finish_reason="length" if "cut" in caption_text.removed else answer.finish_reason,
                cleaned=caption_text.removed or None,
            )
        found = self._found(image, generation.id)
        if found is not None:
            self._keep(image, found)
        elif answer is not None:
            found = self._reject(image, generation.id, "build", "empty_answer", "nothing visible is left once cleaned")
            self.by_key[generation.id, image.key] = found
        if found is not None:  # neither answered nor rejected: the sums of the manifest will not hold, and say so
            self.reasons[generation.id][found.reason] += 1
        return None

    def _found(self, image: Image, generation: str | None) -> Reject | None:
        own = self.by_key.get((generation, image.key))
        if own is not None and own.sha256 in ("", image.sha256):  # else of other bytes that had this key once
            return own
        return self.by_bytes.get((generation, image.sha256))

    def _keep(self, image: Image, found: Reject) -> Reject:
        return self._reject(image, found.generation, found.stage, found.reason, found.detail, found.attempts)

    def _reject(
        self, image: Image, generation: str | None, stage: Stage, reason: Reason, detail: str, attempts: int = 0
    ) -> Reject:
        made = Reject(
            key=image.key,
            source_key=without_surrogates(public_text(image.source_key)),
            shard=image.shard,
            row=image.row,
            sha256=image.sha256,
            stage=stage,
            generation=generation,
            reason=reason,
            detail=without_surrogates(_SCRUB.text(detail)),
            attempts=attempts,
        )
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
            split=split_of(image.sha256, self.holdout),
            reason=reason,
            url=without_surrogates(public_url(image.url)) if image.url else None,
            width=width,
            height=height,
            orientation=image.orientation,
            captions=captions,
        )
