"""A small shard to write: real images, answers and rejects, and sub-captions cut at full stops."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pil

from recaption.build.assemble import Assembled, RecordRules, assemble_shard
from recaption.io.store import LocalStore
from recaption.types import Answer, Generation, Image, Locator, Record, Reject, SubCaption, Tag

LONG = Generation(id="long", model="m", granularity="long", fingerprint="a" * 16, prompt="describe_long")
SHORT = Generation(id="short", model="m", granularity="short", fingerprint="b" * 16, column="caption_short")


def picture(seed: int, format: str = "JPEG", mode: str = "RGB", size: tuple[int, int] = (24, 16)) -> bytes:
    """A small image of noise in a file format that Pillow writes."""
    channels = len(Pil.new(mode, (1, 1)).getbands())
    shape = (size[1], size[0], channels) if channels > 1 else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    out = io.BytesIO()
    Pil.fromarray(pixels).convert(mode).save(out, format)
    return out.getvalue()


def image_of(row: int, data: bytes, *, raw: str | None = "raw words", shard: str = "00000", **more: Any) -> Image:
    key = more.pop("key", f"k{row:03d}")
    return Image(
        key=key,
        source_key=more.pop("source_key", key),
        shard=shard,
        row=row,
        sha256=hashlib.sha256(data).hexdigest() if data else "",
        locator=Locator(path="s.tar", size=len(data)),
        raw_captions=() if raw is None else (raw,),
        **more,
    )


def answer_of(image: Image, text: str = "A red dog runs. It barks.", **more: Any) -> Answer:
    fields = {
        "key": image.key,
        "sha256": image.sha256,
        "row": image.row,
        "text": text,
        "finish_reason": "stop",
        "prompt_tokens": 1,
        "output_tokens": 1,
        "prompt_sha256": "0" * 64,
    }
    return Answer(**{**fields, **more})


def reject_of(image: Image, reason: str, generation: str, **more: Any) -> Reject:
    fields = {
        "key": image.key,
        "source_key": image.source_key,
        "shard": image.shard,
        "row": image.row,
        "sha256": image.sha256,
        "stage": "generate",
        "generation": generation,
        "reason": reason,
        "detail": "",
    }
    return Reject(**{**fields, **more})


def annotated(records: Iterable[Record]) -> list[Record]:
    """Sub-captions at full stops, a tag of the first word of each; token counts of one tokenizer, clip."""
    made = []
    for record in records:
        captions = []
        for caption in record.captions:
            subs, end = [], 0
            for idx, text in enumerate(t.strip() for t in caption.text.split(".") if t.strip()):
                start = caption.text.index(text, end)
                end = start + len(text)
                word = text.split()[0]
                tag = Tag(
                    lemma=word.lower(), text=word, char_start=start, char_end=start + len(word), attributes=("x",)
                )
                subs.append(
                    SubCaption(
                        sub_id=f"{caption.caption_id}#{idx}",
                        idx=idx,
                        text=text,
                        char_start=start,
                        char_end=end,
                        n_words=len(text.split()),
                        content_start=start,
                        is_first=idx == 0,
                        n_tokens={"clip": len(text.split()) + 2},
                        tags=(tag,),
                    )
                )
            captions.append(replace(caption, sub_captions=tuple(subs)))
        made.append(replace(record, captions=tuple(captions)))
    return made


@dataclass(kw_only=True)
class Shard:
    """Input of one shard and what assemble makes of it."""

    pairs: list[tuple[Image, bytes]]
    answers: dict[str, dict[str, Answer]]
    rejects: list[Reject]
    holdout: float = 0.0
    excluded: frozenset[str] = frozenset()
    require: Sequence[str] = ("long",)
    generations: Sequence[Generation] = (LONG, SHORT)
    name: str = "00000"

    def assembled(self) -> Assembled:
        rules = RecordRules(
            generations=self.generations,
            require=frozenset(self.require),
            holdout_fraction=self.holdout,
            excluded=self.excluded,
        )
        images = [image for image, _ in self.pairs]
        return assemble_shard(images, self.answers, self.rejects, rules, shard_name=self.name)

    def records(self) -> list[Record]:
        return annotated(self.assembled().records)

    def images(self) -> Iterable[tuple[Image, bytes]]:
        return iter(self.pairs)


@pytest.fixture
def shard() -> Callable[..., Shard]:
    """Makes a shard of n images: row 1 is a reject, row 2 lacks the short answer, the others are ok."""

    def make(n: int = 6, *, formats: Sequence[str] = ("JPEG",), **more: Any) -> Shard:
        pairs = []
        for row in range(n):
            data = picture(row, formats[row % len(formats)])
            pairs.append((image_of(row, data, url=f"https://example.org/{row}"), data))
        images = [image for image, _ in pairs]
        answers = {
            "long": {i.key: answer_of(i, f"A dog runs by {i.row}. It barks twice.") for i in images if i.row != 1},
            "short": {i.key: answer_of(i, f"Dog {i.row}.") for i in images if i.row != 2},
        }
        rejects = [reject_of(images[1], "repetition", "long", attempts=3)] if n > 1 else []
        rejects += [reject_of(images[2], "refusal", "short")] if n > 2 else []
        return Shard(pairs=pairs, answers=answers, rejects=rejects, **more)

    return make


@pytest.fixture
def store(tmp_path: Any) -> LocalStore:
    return LocalStore(tmp_path / "out")


@pytest.fixture
def make() -> Any:
    """The builders above, for tests that need single values."""
    from types import SimpleNamespace

    return SimpleNamespace(
        picture=picture,
        image=image_of,
        answer=answer_of,
        reject=reject_of,
        annotated=annotated,
        Shard=Shard,
        LONG=LONG,
        SHORT=SHORT,
    )
