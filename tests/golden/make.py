"""Makes the golden dataset: 20 images, every status, every format, as a finished output with the source beside it.

    python tests/golden/make.py [FOLDER]        default: tests/golden; then commit what changed, and say why

No model and no splitter take part, so it changes when the format on disk changes and for no other reason.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import PIL
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image as Pil
from PIL import ImageDraw

sys.path.insert(0, str(Path(__file__).parent))
from scenes import SCENES, Scene

from recaption import schema
from recaption.build.assemble import RecordRules, assemble_shard
from recaption.io.store import LocalStore
from recaption.text import normalise
from recaption.types import (
    Answer,
    Attempt,
    Caption,
    Generation,
    Image,
    Locator,
    Record,
    Reject,
    Sampling,
    SubCaption,
    Tag,
)
from recaption.write import (
    BuildInfo,
    ShardContent,
    ShardFormat,
    publish,
    write_manifest,
    write_shard,
)

HOLDOUT = 0.15
FORMATS = ("sidecar", "webdataset", "parquet")
GENERATIONS = (
    Generation(
        id="long",
        model="golden",
        granularity="long",
        fingerprint="00000000000000a1",
        prompt="describe_long",
        sampling=Sampling(max_tokens=320, temperature=0.6, top_p=0.95),
    ),
    Generation(
        id="short",
        model="golden",
        granularity="short",
        fingerprint="00000000000000a2",
        prompt="describe_short",
        sampling=Sampling(max_tokens=48),
    ),
)
PER_SHARD = 12  # of 20: shards 00000 with 12 and 00001 with 8
SAMPLING = {"policy": "weighted", "k": 8, "max_merge": 3, "p_raw": 0.1}
VERSIONS = {"pyarrow": pa.__version__, "pillow": PIL.__version__}
PROMPTS = {
    "describe_long": "Describe the image.\n\nSay what is there.",
    "describe_short": "Describe `the image` in one sentence.\n```\n# This is a prompt, not a heading.",
}
PROVENANCE = {
    **VERSIONS,
    "recaption": "golden",
    "models": {"golden": {"model": "example/golden", "commit": "0123456789abcdef", "dtype": "float32"}},
    "prompts": {
        name: {"version": 1, "sha256": hashlib.sha256(text.encode()).hexdigest(), "text": text}
        for name, text in PROMPTS.items()
    },
    "annotate": {"splitter": "golden-1"},
    "source": "source/{00000..00001}.tar",
    "card": {"description": "Twenty drawings | and what *could* be said about them.", "license": "apache-2.0"},
}
_FORMAT = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}


def draw(scene: Scene) -> bytes:
    """The image's bytes: 64 x 48 pixels, one shape; PNGs are transparent around it."""
    if scene.rejects == "undecodable":
        return b"\xff\xd8\xff" + bytes(range(64))
    size = (8, 8) if scene.rejects == "too_small" else (64, 48)
    image = Pil.new(
        "RGBA" if scene.suffix == "png" else "RGB", size, (0, 0, 0, 0) if scene.suffix == "png" else "beige"
    )
    getattr(ImageDraw.Draw(image), scene.shape)((8, 8, 52, 40), fill=scene.colour, outline="black")
    out = io.BytesIO()
    options = {"lossless": True} if scene.suffix == "webp" else {"quality": 80} if scene.suffix == "jpg" else {}
    image.save(out, _FORMAT[scene.suffix], **options)
    return out.getvalue()


def tar_of(members: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def sources() -> dict[str, tuple[list[tuple[Image, bytes]], bytes]]:
    """By shard: the images with their bytes, and the source's tar."""
    made = {}
    for number in range(2):
        shard = f"{number:05d}"
        images, members = [], []
        for row, at in enumerate(range(number * PER_SHARD, min(len(SCENES), (number + 1) * PER_SHARD))):
            scene = SCENES[at]
            data = draw(SCENES[scene.same_as] if scene.same_as is not None else scene)
            # one key that the source has but a dataset may not: it is replaced by <shard>_<row>
            source_key = f"{at:09d}" if at != 18 else "spoon and cup"
            member = f"{source_key}.{scene.suffix}"
            members.append((member, data))
            if scene.raw is not None:
                members.append((f"{source_key}.txt", scene.raw.encode()))
            images.append((image_of(scene, source_key, at, shard, row, member, data), data))
        tar = tar_of(members)
        with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
            offsets = {info.name: info.offset_data for info in opened}
        placed = [
            (replace(image, locator=replace(image.locator, offset=offsets[str(image.locator.member)])), data)
            for image, data in images
        ]
        made[shard] = (placed, tar)
    return made


def image_of(scene: Scene, source_key: str, at: int, shard: str, row: int, member: str, data: bytes) -> Image:
    return Image(
        key=source_key if " " not in source_key else f"{int(shard):06d}_{row:06d}",
        source_key=source_key,
        shard=shard,
        row=row,
        sha256=hashlib.sha256(data).hexdigest(),
        locator=Locator(path=f"source/{shard}.tar", size=len(data), member=member),
        url=f"https://example.org/{at}.{scene.suffix}" if at % 3 else None,
        raw_captions=() if scene.raw is None else (scene.raw,),
        columns={"licence": "cc0"},
    )


def answers_of(images: list[Image]) -> dict[str, dict[str, Answer]]:
    made: dict[str, dict[str, Answer]] = {g.id: {} for g in GENERATIONS}
    for image, scene in zip(images, scenes_of(images), strict=True):
        for generation, text in (("long", " ".join(scene.long) if scene.long else None), ("short", scene.short)):
            if text is None or scene.same_as is not None:
                continue
            finish = "length" if text.endswith("straps") else "stop"
            made[generation][image.sha256] = Answer(
                key=image.key,
                sha256=image.sha256,
                row=image.row,
                text=f" {text}\n",
                finish_reason=finish,
                prompt_tokens=100,
                output_tokens=len(text.split()),
                prompt_sha256=hashlib.sha256(generation.encode()).hexdigest(),
                attempts=(Attempt(seed=0, temperature=0.6, finish_reason=finish, output_tokens=len(text.split())),),
            )
    return made


def scenes_of(images: list[Image]) -> list[Scene]:
    first = int(images[0].shard) * PER_SHARD
    return [SCENES[first + image.row] for image in images]


def rejects_of(images: list[Image]) -> list[Reject]:
    made = []
    for image, scene in zip(images, scenes_of(images), strict=True):
        if scene.rejects in (None, "decontaminated"):
            continue
        whole = scene.long is None and scene.short is None
        made.append(
            Reject(
                key=image.key,
                source_key=image.source_key,
                shard=image.shard,
                row=image.row,
                sha256=image.sha256,
                stage="decode" if whole else "generate",
                generation=None if whole else "short" if scene.short is None else "long",
                reason=scene.rejects,  # type: ignore[arg-type]
                detail=f"golden: {scene.rejects}",
                attempts=0 if whole else 3,
            )
        )
    return made


def annotate(record: Record, scene: Scene) -> Record:
    """Sub-captions and tags by hand: a sub-caption per line of the scene's texts."""
    if scene.same_as is not None:
        scene = SCENES[scene.same_as]
    captions: list[Caption] = []
    earlier: dict[str, str] = {}
    for caption in record.captions:
        lines = {"long": scene.long or (), "short": (scene.short or "",)}.get(caption.generation, (caption.text,))
        subs: list[SubCaption] = []
        end = 0
        for idx, line in enumerate(map(normalise, lines)):
            start = caption.text.index(line, end)
            end = start + len(line)
            sub_id = f"{caption.caption_id}#{idx}"
            opener = "The image shows " if line.startswith("The image shows ") else ""
            meta = line.startswith(("The image", "The photo"))
            subs.append(
                SubCaption(
                    sub_id=sub_id,
                    idx=idx,
                    text=line,
                    char_start=start,
                    char_end=end,
                    n_words=len(line.split()),
                    content_start=start + len(opener),
                    is_first=idx == 0,
                    is_last=idx == len(lines) - 1,
                    is_fragment=not line.endswith("."),
                    is_negation=line.startswith("No "),
                    is_meta=meta,
                    is_boilerplate=bool(opener),
                    is_unparsed=False,
                    dup_of=earlier.get(line),
                    lang="en" if caption.generation != "raw" else None,
                    weight=0.25 if meta or line.startswith("No ") else 1.0,
                    n_tokens={"clip": len(line.split()) + 3},
                    tags=tags_of(scene, line, start),
                )
            )
            earlier.setdefault(line, sub_id)
        lang = "en" if caption.generation != "raw" else None
        captions.append(replace(caption, lang=lang, sub_captions=tuple(subs)))
    return replace(record, captions=tuple(captions))


def tags_of(scene: Scene, line: str, start: int) -> tuple[Tag, ...]:
    made = []
    for spec in scene.tags:
        left, _, right = spec.partition("=")
        attributes, _, surface = left.rpartition(":")
        lemma, _, count = right.partition("#")
        at = line.find(surface)
        if at >= 0:
            made.append(
                Tag(
                    lemma=lemma,
                    text=surface,
                    char_start=start + at,
                    char_end=start + at + len(surface),
                    label="animal" if lemma in ("horse", "flamingo") else None,
                    attributes=tuple(attributes.split(",")) if attributes else (),
                    count=int(count) if count else None,
                )
            )
    return tuple(sorted(made, key=lambda tag: tag.char_start))


def index_rows(images: list[Image]) -> Iterator[dict[str, object]]:
    for image in images:
        row = {name: getattr(image, name) for name in ("row", "key", "source_key", "sha256", "url", "raw_caption")}
        place = {"path": image.locator.path, "member": image.locator.member, "offset": image.locator.offset}
        yield {**row, **place, "size": image.locator.size, "columns": '{"licence":"cc0"}', "file_row": None}


def put_table(store: LocalStore, path: str, rows: list[dict[str, object]], target: pa.Schema) -> None:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=target), out, compression="zstd", compression_level=1)
    store.put(path, out.getvalue())


def make(folder: Path) -> Path:
    """Write `folder`/source and `folder`/output. Returns the output."""
    store = LocalStore(folder / "output")
    shards = sources()
    excluded = {i.sha256 for images, _ in shards.values() for i, _ in images if i.raw_caption == "test set image"}
    entries: dict[str, list[object]] = {format: [] for format in FORMATS}
    for shard, (pairs, tar) in shards.items():
        LocalStore(folder / "source").put(f"{shard}.tar", tar)
        images = [image for image, _ in pairs]
        answers, rejects = answers_of(images), rejects_of(images)
        put_table(store, f"index/{shard}.parquet", list(index_rows(images)), schema.INDEX)
        for generation in GENERATIONS:
            place = f"{generation.id}-{generation.fingerprint}"
            rows = [asdict(answer) for answer in answers[generation.id].values()]
            put_table(store, f"answers/{place}/{shard}.parquet", rows, schema.ANSWERS)
            rows = [asdict(reject) for reject in rejects if reject.generation == generation.id]
            put_table(store, f"rejects/{place}/{shard}.parquet", rows, schema.REJECTS)
        rows = [asdict(reject) for reject in rejects if reject.generation is None]
        put_table(store, f"rejects/source/{shard}.parquet", rows, schema.REJECTS)
        paired = {g: {i.key: found[i.sha256] for i in images if i.sha256 in found} for g, found in answers.items()}
        unusable = {r.key: r for r in rejects if r.generation is None}
        assembled = assemble_shard(
            [
                replace(i, reason=unusable[i.key].reason, detail=unusable[i.key].detail) if i.key in unusable else i
                for i in images
            ],
            paired,
            rejects,
            RecordRules(
                generations=GENERATIONS, require={"long"}, holdout_fraction=HOLDOUT, excluded=frozenset(excluded)
            ),
            shard_name=shard,
        )
        records = [annotate(r, s) for r, s in zip(assembled.records, scenes_of(images), strict=True)]
        for format in FORMATS:
            content = ShardContent(
                name=shard,
                records=records,
                images=lambda pairs=pairs: iter(pairs),  # type: ignore[misc]
                rejects=assembled.rejects,
                asked=assembled.asked,
                inputs=hashlib.sha256(tar).hexdigest()[:16],
            )
            shape = ShardFormat(format=format, tokenizers=["clip"], primary=["short", "long", "raw"])  # type: ignore[arg-type]
            entry = write_shard(store, f"builds/{format}", content, shape)
            entries[format].append(entry)
    for format in FORMATS:
        info = BuildInfo(
            name="golden",
            build=format,
            format=format,  # type: ignore[arg-type]
            image_mode="jpeg",
            generations=GENERATIONS,
            require=["long"],
            primary=["short", "long", "raw"],
            tokenizers=["clip"],
            sampling=SAMPLING,
            provenance=PROVENANCE,
            holdout=HOLDOUT,
        )
        write_manifest(store, f"builds/{format}", entries[format], info)  # type: ignore[arg-type]
    store.put(
        "metrics/000001.json",
        b'{"v":"1.1","run":"000001","command":"run","started":"2026-01-31T12:00:00Z","exit_code":0}\n',
    )
    publish(store, "webdataset")
    return folder / "output"


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent))
