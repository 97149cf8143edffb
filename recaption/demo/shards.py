"""Writes scenes as shards in the format of img2dataset, as users have them.

`<00000>.tar` with `<9-digit key>.jpg`, `.json`, `.txt`, and next to it `<00000>.parquet` and `<00000>_stats.json`.
Names, fields and their order are those of img2dataset 1.47.0 (img2dataset/writer.py, downloader.py, logger.py) with
`compute_hash=sha256` and one additional column, `scene_seed`, from which the scene can be rendered again. Equal
arguments give equal bytes: there are no timestamps.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recaption.demo.described import ONTOLOGY, description
from recaption.demo.scenes import SHAPES, Scene, render, sample_scene

FIRST_SEED = 700_000_000  # below pool.TRAIN_SEEDS, so not in the training data
SEEDS_APART = 1_000_000
_DEMO_SOURCES: dict[str, dict[str, Any]] = {
    "demo-scenes/{00000..00003}.tar": {},
    "demo-scenes/00000.tar": {},
    "described-scenes/00000.tar": {"n": 16, "described": True},
    "thousand-scenes/{00000..00003}.tar": {"n": 1024, "per_shard": 256, "size": 64, "described": True},
}
"""Ends of source.path in shipped pipelines, and what is written there."""
_DEMO_CLASSES = "demo-classes/shapes.txt"


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneSample:
    """One image of a shard: its key, JPEG bytes, raw caption and img2dataset's metadata."""

    key: str
    jpeg: bytes
    caption: str
    meta: dict[str, Any]


def alt_text(scene: Scene) -> str:
    """A short and noisy alt text, as on a web page."""
    rng = random.Random(f"alt/{scene.seed}")
    item = rng.choice(scene.objects)
    return rng.choice(
        (
            f"{item.colour} {item.shape}",
            f"{item.colour.title()} {item.shape} clipart",
            f"{item.shape}s and more - free vector",
            f"IMG_{rng.randint(1000, 9999)}.jpg",
            f"{item.size} {item.colour} {item.shape} | stock image #{rng.randint(10000, 99999)}",
            f"Geometric shapes, {item.shape}, {scene.background}",
            "Buy 2 get 1 free!! shapes poster",
            f"kids learning colours: {item.colour}",
        )
    )


def make_sample(seed: int, key: str, size: int = 256, *, described: bool = False) -> SceneSample:
    """Render one scene as a JPEG of `size` x `size` px with its metadata; `described` adds columns.

    These are facts about the scene: `description`, a caption of two sentences; `class_name`, the shape of the first
    object; `names`, a list of the names of all objects; `texts`, the text in the image, an empty list.
    """
    scene = sample_scene(seed)
    buffer = io.BytesIO()
    render(scene, size).save(buffer, "JPEG", quality=90)
    jpeg, caption = buffer.getvalue(), alt_text(scene)
    meta = {
        "url": f"https://scenes.example/{seed}.jpg",
        "caption": caption,
        "scene_seed": seed,
        "key": key,
        "status": "success",
        "error_message": None,
        "width": size,
        "height": size,
        "original_width": size,
        "original_height": size,
        "exif": "{}",
        "sha256": hashlib.sha256(jpeg).hexdigest(),
    }
    if described:
        names = [item.name for item in scene.objects]
        meta |= {"description": description(scene), "class_name": scene.objects[0].shape, "names": names, "texts": []}
    return SceneSample(key=key, jpeg=jpeg, caption=caption, meta=meta)


def write_shards(
    out_dir: str | Path,
    n: int = 64,
    per_shard: int = 16,
    seed: int = 0,
    size: int = 256,
    *,
    described: bool = False,
) -> list[Path]:
    """Write `n` scenes into tars of `per_shard` and return the tars' paths. Each file appears whole or not at all.

    For `described`, see `make_sample`.
    """
    if n < 1 or not 1 <= per_shard <= 10_000:
        raise ValueError(f"n={n}, per_shard={per_shard}: n must be at least 1, and per_shard from 1 to 10000")
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    first = FIRST_SEED + seed * SEEDS_APART
    tars = []
    for shard, start in enumerate(range(0, n, per_shard)):
        samples = [
            make_sample(first + i, f"{shard:05d}{i - start:04d}", size, described=described)
            for i in range(start, min(n, start + per_shard))
        ]
        _put(out / f"{shard:05d}.parquet", _parquet(samples))
        _put(out / f"{shard:05d}_stats.json", _stats(len(samples)))
        tars.append(out / f"{shard:05d}.tar")
        _put(tars[-1], _tar(samples))
    return tars


def ensure_scenes(source: str) -> None:
    """Write what shipped demo pipelines have as `source.path`, unless it is there: scenes, or a list of classes.

    Copies of the pipelines are recognised by the end of the path. Nothing is rendered for other sources.
    """
    if "://" in source:
        return
    path = Path(source)
    if source.endswith(_DEMO_CLASSES) and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _put(path, "".join(f"{shape}\n" for shape in SHAPES).encode())
    for end, settings in _DEMO_SOURCES.items():
        if source.endswith(end) and not any(path.parent.glob("*.tar")):
            write_shards(path.parent, **settings)
            if settings.get("described"):
                _put(path.parent / "ontology.yaml", ONTOLOGY.encode())


def _tar(samples: list[SceneSample]) -> bytes:
    """The samples in the order of webdataset.TarWriter, with its owner and mode, and time 0."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            text = json.dumps(sample.meta, indent=4).encode()
            for suffix, data in (("jpg", sample.jpeg), ("json", text), ("txt", sample.caption.encode())):
                member = tarfile.TarInfo(f"{sample.key}.{suffix}")
                member.size, member.mode, member.mtime = len(data), 0o444, 0
                member.uname = member.gname = "bigdata"
                tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _stats(count: int) -> bytes:
    """The file that marks a finished shard, with times of 0, so that the bytes are reproducible."""
    stats = {
        "count": count,
        "successes": count,
        "failed_to_download": 0,
        "failed_to_resize": 0,
        "duration": 0.0,
        "start_time": 0.0,
        "end_time": 0.0,
        "status_dict": {"success": count},
    }
    return json.dumps(stats, indent=4).encode()


def _parquet(samples: list[SceneSample]) -> bytes:
    """The metadata as a table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        "scene_seed": pa.int64(),
        **dict.fromkeys(("width", "height", "original_width", "original_height"), pa.int32()),
        "names": pa.list_(pa.string()),
        "texts": pa.list_(pa.string()),
    }
    schema = pa.schema([(name, types.get(name, pa.string())) for name in samples[0].meta])
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([s.meta for s in samples], schema=schema), buffer)
    return buffer.getvalue()


def _put(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
