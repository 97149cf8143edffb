"""Small images and tars for tests."""

from __future__ import annotations

import io
import json
import random
import tarfile
from pathlib import Path
from typing import Any

from PIL import Image


def jpeg(seed: int, size: tuple[int, int] = (48, 40)) -> bytes:
    """A small JPEG unlike that of any other seed."""
    rng = random.Random(seed)
    image = Image.new("RGB", size, tuple(rng.randrange(256) for _ in range(3)))
    for _ in range(6):
        x, y = rng.randrange(size[0]), rng.randrange(size[1])
        image.paste(tuple(rng.randrange(256) for _ in range(3)), (x, y, x + 12, y + 12))
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=90)
    return sink.getvalue()


def damaged_png() -> bytes:
    """Header and end are whole, the pixels are not: only decoding it shows that it is no image."""
    sink = io.BytesIO()
    Image.radial_gradient("L").save(sink, "PNG")
    made = bytearray(sink.getvalue())
    at = made.index(b"IDAT") + 4
    made[at : at + 40] = b"\x55" * 40
    return bytes(made)


def write_tar(path: Path, samples: list[dict[str, bytes]]) -> None:
    """A WebDataset tar: each sample maps member names to contents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for sample in samples:
            for name, data in sample.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def sample(key: str, image: bytes, caption: str | None = "a thing", **columns: Any) -> dict[str, bytes]:
    """The members of one img2dataset-style sample."""
    data = {"key": key, "url": f"http://example.com/{key}.jpg", "status": "success", "caption": caption, **columns}
    members = {f"{key}.jpg": image, f"{key}.json": json.dumps(data).encode()}
    if caption is not None:
        members[f"{key}.txt"] = caption.encode()
    return members
