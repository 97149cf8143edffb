"""Outputs as caption sets of the same images, and queries about their images."""

from __future__ import annotations

import hashlib
import io
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from recaption.errors import DatasetError, UserError
from recaption.load import CaptionDataset, pixels, policy
from recaption.probe.arms import Arm, Reordered, Spool
from recaption.probe.queries import Query
from recaption.probe.settings import parse_policy, settings_of

_JPEG = b"\xff\xd8"
# Policy -> the captions that it needs. From a record without them, it silently draws others.
_NEEDS = {"raw": "raw", "short": "short", "long": "long", "dreamlip": "raw", "lotlip": "raw", "recap_mix": "raw"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """The place of an image in an output."""

    position: int  # in the output's records
    key: str
    split: str
    index: int  # of the split's dataset


Digests = npt.NDArray[np.bytes_]
"""The sha256 of images as hexadecimal digits, dtype S64."""
_DIGITS: Final = 64


class Images(Mapping[str, Held]):
    """The images of an output by sha256, those of the split train first. Takes 80 bytes per image."""

    def __init__(self, records: Spool, sha256: Digests, indices: npt.NDArray[np.int64], train: int) -> None:
        """sha256, indices: of each record, its image and its number in the dataset of its split."""
        self._records, self.sha256, self._indices, self._train = records, sha256, indices, train
        self._order = np.argsort(sha256)

    @property
    def held_out(self) -> Digests:
        return self.sha256[self._train :]

    def positions(self, images: Digests) -> npt.NDArray[np.int64]:
        """The records of images that the output has."""
        return self._order[np.searchsorted(self.sha256, images, sorter=self._order)]

    def __getitem__(self, sha256: str) -> Held:
        position = self._position(sha256)
        if position is None:
            raise KeyError(sha256)
        return Held(
            position=position,
            key=self._records.key(position),
            split="train" if position < self._train else "val",
            index=int(self._indices[position]),
        )

    def _position(self, sha256: str) -> int | None:
        wanted = sha256.encode()
        if len(wanted) > _DIGITS:
            return None
        at = np.searchsorted(self.sha256, np.array(wanted, self.sha256.dtype), sorter=self._order)
        if at == len(self) or self.sha256[self._order[at]] != wanted:
            return None
        return int(self._order[at])

    def __contains__(self, sha256: object) -> bool:
        return isinstance(sha256, str) and self._position(sha256) is not None

    def __iter__(self) -> Iterator[str]:
        return texts(self.sha256)

    def __len__(self) -> int:
        return len(self.sha256)


def digests(sha256: Iterable[str]) -> Digests:
    return np.array([one.encode() for one in sha256], f"S{_DIGITS}")


def texts(sha256: Digests) -> Iterator[str]:
    return (one.decode() for one in sha256)


@dataclass(kw_only=True)
class CaptionSet:
    """All records of an output."""

    name: str
    records: Spool
    images: Images
    granularities: Mapping[str, int]  # images that have such a caption
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


def open_datasets(out: str) -> dict[str, CaptionDataset]:
    """The splits of an output or build, without reading records. Raises as CaptionDataset does."""
    datasets: dict[str, CaptionDataset] = {}
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
    return datasets


def open_set(out: str) -> CaptionSet:
    """Read all records of an output or build, of both splits. Raises as CaptionDataset does."""
    datasets = open_datasets(out)
    sha256s, indices, seen = bytearray(), array("q"), set[bytes]()
    of_split: dict[str, int] = {}
    granularities: Counter[str] = Counter()

    def records() -> Iterator[Any]:
        for split, dataset in datasets.items():
            for index in range(dataset.steps.samples):
                sample = dataset.sample(index)
                record = sample.record
                sha256 = (record.sha256 or hashlib.sha256(sample.image).hexdigest()).encode()
                if sha256[: _DIGITS // 2] in seen:
                    continue
                seen.add(sha256[: _DIGITS // 2])  # 128 bits
                sha256s.extend(sha256.ljust(_DIGITS, b"\0"))
                indices.append(index)
                granularities.update({caption.granularity for caption in record.captions})
                yield record
            of_split[split] = len(indices)

    spool = Spool(records())
    images = Images(
        spool, np.frombuffer(sha256s, f"S{_DIGITS}"), np.frombuffer(indices, np.int64), train=of_split["train"]
    )
    return CaptionSet(name=out, records=spool, images=images, granularities=granularities, datasets=datasets)


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The images of a probe, by sha256: those to train on, and those of queries. No image is both."""

    train: Digests  # ascending
    queries: Sequence[str]
    left_out: Mapping[str, int]  # output -> its images that another output lacks


def select(sets: Sequence[CaptionSet], asked: Sequence[str] | None, most: int) -> Selection:
    """The images of a probe: those that all outputs have, except those of queries; at most `most` of them.

    `asked`: the images of queries, by sha256. None: they are the images of the split val.

    Raises UserError for outputs without a common image, without held-out images, or without an image to train on.
    """
    common = np.sort(sets[0].images.sha256)
    for one in sets[1:]:
        common = np.intersect1d(common, one.images.sha256, assume_unique=True)
    if not len(common):
        raise UserError(
            f"{' and '.join(one.name for one in sets)} have no image in common; images are compared by sha256. Give "
            "outputs of the same images"
        )
    held_out = np.intersect1d(common, np.concatenate([one.images.held_out for one in sets]))
    if asked is None and not len(held_out):
        raise UserError(
            f"{sets[0].name} has no held-out images. Give --queries FILE, or build it again with output.holdout above 0"
        )
    left = np.setdiff1d(common, np.concatenate([held_out, digests(asked or ())]), assume_unique=True)
    if not len(left):
        raise UserError(
            "all images are held out or have queries, so there is none to train on. Give queries about fewer images, "
            "or build with a smaller output.holdout"
        )
    order = np.random.default_rng(0).permutation(len(left))[:most]
    return Selection(
        train=left[np.sort(order)],
        queries=list(texts(held_out)) if asked is None else list(dict.fromkeys(asked)),
        left_out={one.name: len(one.images) - len(common) for one in sets},
    )


def check_policies(sets: Sequence[CaptionSet], policies: Sequence[str]) -> Iterator[str]:
    """Warnings about policies that need captions which some images do not have.

    Raises UserError for a policy that needs captions which an output does not have.
    """
    for one in sets:
        for text in policies:
            needs = _needs(text)
            if needs and needs not in one.granularities:
                raise UserError(
                    f"--policy {text} needs {needs} captions, and {one.name} has {', '.join(sorted(one.granularities))}"
                )
            if needs and (without := len(one.images) - one.granularities[needs]):
                yield (
                    f"{one.name}: images without {needs} captions: {without:,} of {len(one.images):,}; "
                    f"--policy {text} draws their other captions"
                )


def _needs(text: str) -> str | None:
    name, given = settings_of(text)
    if name == "recap_mix" and given.get("p") == 0:
        return None
    return "raw" if given.get("p_raw", 0) > 0 else _NEEDS.get(name)


def arms(sets: Sequence[CaptionSet], policies: Sequence[str], images: Digests) -> list[Arm]:
    """Every policy on every output."""
    made = []
    for one in sets:
        for text in policies:
            name = text if len(sets) == 1 else f"{one.name} {text}"
            records = Reordered(one.records, one.images.positions(images))
            made.append(Arm(name=name, records=records, policy=parse_policy(text)))
    return made


def resolved(queries: Sequence[Query], first: CaptionSet) -> list[Query]:
    """The queries with images named by sha256. Raises UserError for images and files that do not exist."""
    queries = [_in_file(query, first) if query.in_file else query for query in queries]
    named = {query.image for query in queries}
    keyed = ((first.records.key(position), sha256) for position, sha256 in enumerate(first.images))
    keys = {key: sha256 for key, sha256 in keyed if key in named}
    unknown = [
        query.image for query in queries if not any(query.image in known for known in (keys, first.images, first.files))
    ]
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
        drawn = replace(arm, records=Reordered(of.records, of.images.positions(digests(images))), salt=1)
        draw = drawn.drawer(1 << 20)
        found += [Query(image=sha256, text=draw(at, 0, 0)[0], slice=arm.name) for at, sha256 in enumerate(images)]
    return found


def digest(parts: Iterable[Any]) -> str:
    """The hash of `repr(tuple(parts))`, which is not held in memory."""
    made, number = hashlib.sha256(b"("), 0
    for number, part in enumerate(parts, 1):
        made.update(b", " * (number > 1) + repr(part).encode())
    made.update(b",)" if number == 1 else b")")
    return made.hexdigest()
