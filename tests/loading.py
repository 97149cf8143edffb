"""Small datasets for the loader, and a policy that stands for any."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from samples import jpeg
from writing import write_manifest, write_shard

from recaption.io.store import LocalStore
from recaption.load import CaptionDataset, CaptionLoader
from recaption.load.policy import WHOLE, DrawnText
from recaption.output.index import index_to_table
from recaption.types import Caption, Image, Locator, Record, SubCaption, Tag
from recaption.write import Encoder, publish

Built = Callable[[str], Path]  # the fixture `built`: the output of a format
LONG = ("A {n} stands here.", "It is red.", "No people are seen.")


def two_texts(record: Record, rng: np.random.Generator, step: int) -> list[DrawnText]:
    """A random sub-caption of the long caption, and one of any caption."""
    drawn = []
    for captions in ((len(record.captions) - 1,), range(len(record.captions))):
        at = int(rng.choice(list(captions)))
        sub = record.captions[at].sub_captions[int(rng.integers(len(record.captions[at].sub_captions)))]
        drawn.append(DrawnText(text=sub.text, parts=((at, sub.idx),), weight=sub.weight))
    return drawn


def raw_text(record: Record, rng: np.random.Generator, step: int) -> list[DrawnText]:
    return [DrawnText(text=record.captions[0].text, parts=((0, WHOLE),))]


def lines_until(batches: CaptionLoader, step: int, line: Callable[[dict[str, Any]], Any]) -> list[Any]:
    """A line of each batch that is delivered until so many steps are."""
    seen = []
    if batches.step < step:
        for batch in batches:
            seen.append(line(batch))
            if batches.step == step:
                break
    return seen


def make_build(
    folder: Path, format: str, *, shards: int = 3, per_shard: int = 18, token_ids: Sequence[Encoder] = ()
) -> Path:
    """An output in `folder`/out, published, with its source's tars in `folder`/source. Of each shard the third sample
    is rejected and the fifth is held out."""
    store = LocalStore(folder / "out")
    entries = []
    for number in range(shards):
        shard = f"{number:05d}"
        images = _images(folder, number, per_shard)
        store.put(f"index/{shard}.parquet", _parquet(index_to_table([image for image, _ in images])))
        records = [_record(image) for image, _ in images]
        entries.append(
            write_shard(
                store,
                "builds/b",
                shard,
                records,
                lambda images=images: iter(images),  # type: ignore[misc]
                format=format,  # type: ignore[arg-type]
                token_ids=token_ids,
            )
        )
    write_manifest(
        store,
        "builds/b",
        name="small",
        build="b",
        format=format,  # type: ignore[arg-type]
        image_mode="jpeg",
        shards=entries,
        generations=[],
        require=[],
        primary=["long"],
        sampling={"policy": "weighted", "k": 2, "max_merge": 1, "p_raw": 0.1},
        token_ids=[encoder.facts for encoder in token_ids],
    )
    publish(store, "b")
    return folder / "out"


def _images(folder: Path, number: int, count: int) -> list[tuple[Image, bytes]]:
    path = folder / "source" / f"{number:05d}.tar"
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {f"{number:05d}{row:04d}": jpeg(100 * number + row, (16, 12)) for row in range(count)}
    with tarfile.open(path, "w") as tar:
        for key, data in found.items():
            info = tarfile.TarInfo(f"{key}.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with tarfile.open(path) as tar:
        offsets = {info.name.removesuffix(".jpg"): info.offset_data for info in tar}
    made = []
    for row, (key, data) in enumerate(found.items()):
        place = Locator(path=str(path), size=len(data), member=f"{key}.jpg", offset=offsets[key])
        sha256 = hashlib.sha256(data).hexdigest()
        image = Image(key=key, source_key=key, shard=f"{number:05d}", row=row, sha256=sha256, locator=place)
        made.append((image, data))
    return made


def _record(image: Image) -> Record:
    given: dict[str, Any] = {name: getattr(image, name) for name in ("key", "source_key", "shard", "row", "sha256")}
    record = Record(**given, status="ok", split="val" if image.row == 4 else "train", width=16, height=12)
    if image.row == 2:
        return replace(record, status="reject", reason="too_small")
    texts = {"raw": ("a thing",), "long": tuple(line.format(n=f"cat {image.key}") for line in LONG)}
    return replace(record, captions=tuple(_caption(image.key, name, lines) for name, lines in texts.items()))


def _caption(key: str, generation: str, lines: tuple[str, ...]) -> Caption:
    subs, at, caption_id = [], 0, f"{key}/{generation}/0"
    for idx, line in enumerate(lines):
        tag = Tag(lemma="cat", text=line[:3], char_start=at, char_end=at + 3, attributes=("red",))
        subs.append(
            SubCaption(
                sub_id=f"{caption_id}#{idx}",
                idx=idx,
                text=line,
                char_start=at,
                char_end=at + len(line),
                n_words=len(line.split()),
                content_start=at,
                weight=1.0 / (1 + idx),
                tags=(tag,),
            )
        )
        at += len(line) + 1
    kind: Any = "raw" if generation == "raw" else "long"
    return Caption(
        caption_id=caption_id,
        generation=generation,
        source=generation,
        granularity=kind,
        text=" ".join(lines),
        sub_captions=tuple(subs),
    )


def _parquet(table: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def opened(path: Path | str, **options: Any) -> CaptionDataset:
    return CaptionDataset(path, **{"policy": two_texts, "batch_size": 48, "strings": True, **options})


def spans(tar: Path) -> list[int]:
    """The offsets in the index of a tar."""
    return np.fromfile(f"{tar}.idx", "<u8").tolist()


def everything(made: CaptionDataset) -> dict[str, tuple[Any, bytes]]:
    """Record and image bytes of all samples, by key."""
    samples = [made.sample(index) for index in range(made.steps.samples)]
    return {one.record.key: (one.record, one.image) for one in samples}


def golden(format: str, **options: Any) -> CaptionDataset:
    """A build of the golden set."""
    folder = Path(__file__).parent / "golden"
    return CaptionDataset(
        folder / "output" / "builds" / format, policy=raw_text, batch_size=2, source=folder / "source", **options
    )
