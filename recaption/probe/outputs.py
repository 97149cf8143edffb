"""Outputs as caption sets of the same images, and queries about their images."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from recaption.errors import DatasetError, UserError
from recaption.load import CaptionDataset, pixels, policy
from recaption.probe.arms import Arm, Reordered, Spool
from recaption.probe.queries import Query
from recaption.probe.settings import parse_policy

_JPEG = b"\xff\xd8"
# Policies that draw other captions, silently, from a record that lacks these.
_NEEDS = {"raw": "raw", "short": "short", "long": "long", "dreamlip": "raw", "lotlip": "raw", "recap_mix": "raw"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """The place of an image in an output."""

    position: int  # in the output's records
    key: str
    split: str
    index: int  # of the split's dataset


@dataclass(kw_only=True)
class CaptionSet:
    """All records of an output. `images`: by sha256."""

    name: str
    records: Spool
    images: Mapping[str, Held]
    granularities: frozenset[str]
    datasets: Mapping[str, CaptionDataset]
    files: dict[str, Path] = field(default_factory=dict)  # images of queries that the output does not have, by sha256

    def key(self, sha256: str) -> str:
        """The key of an image, or the path of its file."""
        return self.images[sha256].key if sha256 in self.images else str(self.files[sha256])

    def file(self, sha256: str) -> tuple[str, bytes]:
        """A file name and the stored bytes of an image. One that is not upright is rotated and encoded as PNG."""
        held = self.images[sha256]
        sample = self.datasets[held.split].sample(held.index)
        data = sample.image
        if (sample.orientation or 1) != 1:
            buffer = io.BytesIO()
            self.image(sha256).save(buffer, "PNG")
            data = buffer.getvalue()
        return f"{held.key}.{'jpg' if data.startswith(_JPEG) else 'png'}", data

    def image(self, sha256: str) -> Image.Image:
        """The decoded image. Raises DatasetError."""
        if sha256 not in self.images:
            return _decoded(self.files[sha256].read_bytes(), None, self.key(sha256), None)
        held = self.images[sha256]
        sample = self.datasets[held.split].sample(held.index)
        return _decoded(sample.image, sample.orientation, held.key, sample.record.shard)


def _decoded(data: bytes, orientation: int | None, key: str, shard: str | None) -> Image.Image:
    try:
        made: Image.Image = pixels.decoded(data, pixels.decoder("pil"), orientation)
    except Exception as error:  # Pillow has many
        raise DatasetError(f"the image does not decode: {error}", key=key, shard=shard) from error
    return made


def open_set(out: str) -> CaptionSet:
    """Read all records of an output or build, of both splits. Raises as CaptionDataset does."""
    datasets: dict[str, CaptionDataset] = {}
    images: dict[str, Held] = {}
    granularities: set[str] = set()
    for split in ("train", "val"):
        try:
            datasets[split] = CaptionDataset(
                out,
                batch_size=1,
                policy=policy.raw(),
                split=split,
                drop_last="pad",
                epochs=1,
                rank=0,
                world_size=1,
                lanes=0,  # images are read one by one, in another order
            )
        except UserError:
            if split == "train":
                raise

    def records() -> Iterator[Any]:
        for split, dataset in datasets.items():
            for index in range(dataset.steps.samples):
                sample = dataset.sample(index)
                record = sample.record
                sha256 = record.sha256 or hashlib.sha256(sample.image).hexdigest()
                if sha256 in images:
                    continue
                images[sha256] = Held(position=len(images), key=record.key, split=split, index=index)
                granularities.update(caption.granularity for caption in record.captions)
                yield record

    spool = Spool(records())
    return CaptionSet(name=out, records=spool, images=images, granularities=frozenset(granularities), datasets=datasets)


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The images of a probe, by sha256: those to train on, and those of queries. No image is both."""

    train: Sequence[str]
    queries: Sequence[str]
    left_out: Mapping[str, int]  # output -> its images that another output lacks


def select(sets: Sequence[CaptionSet], asked: Sequence[str] | None, most: int) -> Selection:
    """The images that all outputs have, without those of queries (`asked`, by sha256) or, if it is None, without those
    of the split val, which then become the images of queries; at most `most` to train on.

    Raises UserError for outputs without a common image, without held-out images, or without an image to train on.
    """
    common = sorted(set.intersection(*(set(one.images) for one in sets)))
    if not common:
        raise UserError(
            f"{' and '.join(one.name for one in sets)} have no image in common; images are compared by sha256. Give "
            "outputs of the same images"
        )
    held_out = {sha256 for sha256 in common if any(one.images[sha256].split == "val" for one in sets)}
    if asked is None and not held_out:
        raise UserError(
            f"{sets[0].name} has no held-out images. Give --queries FILE, or build it again with output.holdout above 0"
        )
    excluded = held_out | set(asked or ())
    left = [sha256 for sha256 in common if sha256 not in excluded]
    if not left:
        raise UserError(
            "all images are held out or have queries, so there is none to train on. Give queries about fewer images, "
            "or build with a smaller output.holdout"
        )
    order = np.random.default_rng(0).permutation(len(left))[:most]
    return Selection(
        train=[left[n] for n in np.sort(order)],
        queries=sorted(held_out) if asked is None else list(dict.fromkeys(asked)),
        left_out={one.name: len(one.images) - len(common) for one in sets},
    )


def arms(sets: Sequence[CaptionSet], policies: Sequence[str], images: Sequence[str]) -> list[Arm]:
    """Every policy on every output. Raises UserError for a policy that needs captions which an output does not have."""
    made = []
    for one in sets:
        for text in policies:
            needs = _NEEDS.get(text.partition(":")[0])
            if needs and needs not in one.granularities:
                raise UserError(
                    f"--policy {text} needs {needs} captions, and {one.name} has {', '.join(sorted(one.granularities))}"
                )
            name = text if len(sets) == 1 else f"{one.name} {text}"
            positions = [one.images[sha256].position for sha256 in images]
            made.append(Arm(name=name, records=Reordered(one.records, positions), policy=parse_policy(text)))
    return made


def resolved(queries: Sequence[Query], first: CaptionSet) -> list[Query]:
    """The queries with images named by sha256. Raises UserError for images and files that do not exist."""
    queries = [_in_file(query, first) if query.in_file else query for query in queries]
    keys = {held.key: sha256 for sha256, held in first.images.items()}
    known = keys.keys() | first.images.keys() | first.files.keys()
    unknown = [query.image for query in queries if query.image not in known]
    if unknown:
        more = f" and {len(set(unknown)) - 1:,} more" if len(set(unknown)) > 1 else ""
        raise UserError(f"{first.name} has no image {unknown[0]!r}{more}; queries name images by key or sha256")
    return [replace(query, image=keys.get(query.image, query.image)) for query in queries]


def _in_file(query: Query, first: CaptionSet) -> Query:
    path = Path(query.image)
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"--queries names the file {path}, which cannot be read: {error.strerror}") from error
    if sha256 not in first.images:
        first.files[sha256] = path
    return replace(query, image=sha256, in_file=False)


def own_queries(made: Sequence[Arm], sets: Sequence[CaptionSet], images: Sequence[str]) -> list[Query]:
    """For each arm a slice with the first text that its policy draws for each of the images."""
    found = []
    per_set = len(made) // len(sets)
    for n, arm in enumerate(made):
        of = sets[n // per_set]
        drawn = replace(arm, records=Reordered(of.records, [of.images[sha256].position for sha256 in images]), salt=1)
        draw = drawn.drawer(1 << 20)
        found += [Query(image=sha256, text=draw(at, 0, 0)[0], slice=arm.name) for at, sha256 in enumerate(images)]
    return found


def digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
