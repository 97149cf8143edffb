"""Images, and tars and Parquet files of them, built with the standard tools."""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from PIL import Image as Pictures

from recaption.config import Source as SourceConfig
from recaption.io.store import Store
from recaption.output.folder_rule import recorded_rule
from recaption.source import Source, open_source
from recaption.source.base import Row
from recaption.source.folder import FolderSource
from recaption.source.keys import FolderRule
from recaption.types import Image, SourceShard

Members = Sequence[tuple[str, bytes]]


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """A small real image, another one for each seed."""

    def make(seed: int, suffix: str = "JPEG", side: int = 24) -> bytes:
        pixels = random.Random(seed).randbytes(side * side * 3)
        out = io.BytesIO()
        Pictures.frombytes("RGB", (side, side), pixels).save(out, suffix)
        return out.getvalue()

    return make


@pytest.fixture
def write_tar() -> Callable[..., Path]:
    def write(path: Path, members: Members, fmt: int = tarfile.PAX_FORMAT) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w", format=fmt) as tar:
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return path

    return write


@pytest.fixture
def img2dataset_sample(picture: Callable[..., bytes]) -> Callable[..., Members]:
    """The members that img2dataset's WebDatasetSampleWriter writes for a sample."""

    def make(shard: int, row: int, caption: str | None = "a red ball", **extra: object) -> Members:
        key = f"{shard:05d}{row:04d}"
        meta = {
            "url": f"http://example.org/{key}.jpg",
            "caption": caption,
            "key": key,
            "status": "success",
            "error_message": None,
            "width": 24,
            "height": 24,
            "exif": "{}",
            **extra,
        }
        text = (caption or "").encode()
        return [
            (f"{key}.jpg", picture(shard * 1000 + row)),
            (f"{key}.json", json.dumps(meta, indent=4).encode()),
            (f"{key}.txt", text),
        ]

    return make


@pytest.fixture
def source() -> Callable[..., Source]:
    def make(path: object, *, store: Store | None = None, rule: FolderRule | None = None, **settings: object) -> Source:
        made = open_source(SourceConfig(path=str(path), **settings), partial(recorded_rule, store))
        return FolderSource(made.config, rule) if rule and isinstance(made, FolderSource) else made

    return make


@pytest.fixture
def index_all() -> Callable[[Source], list[tuple[SourceShard, list[Image]]]]:
    return lambda source: [(shard, source.index(shard)) for shard in source.shards()]


@pytest.fixture(autouse=True)
def any_bytes_are_images(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests here are about names, places and columns: any bytes are an image, unless a test wants `looks`."""
    if "looks" not in request.fixturenames:
        monkeypatch.setattr(Row, "read_header", lambda row, data: None)


@pytest.fixture
def looks() -> None:
    """Images are looked at as in a run."""
