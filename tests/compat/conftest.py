"""A build of each format as today's writers make it, and what has to come out of it whoever reads it.

The builds are those of the golden dataset, written anew. What is expected is worked out from its scenes and its source,
not from what was written.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image
from pixels import pixels_of

SCRIPT = Path(__file__).parent / "torch_readers.py"
GOLDEN = Path(__file__).parent.parent / "golden" / "make.py"


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """One usable image: what any reader must find. `texts` by generation; `pixels` as `pixels_of` has them."""

    key: str
    shard: str
    row: int
    split: str
    primary: str
    texts: dict[str, str]
    pixels: str
    source: bytes  # the image's bytes in the source
    jpeg: bool  # else they were transcoded


@pytest.fixture(scope="session")
def golden() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_make", GOLDEN)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def out(golden: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output with the builds sidecar, webdataset and parquet."""
    made: Path = golden.make(tmp_path_factory.mktemp("compat"))
    return made


@pytest.fixture(scope="session")
def expected(golden: ModuleType) -> list[Expected]:
    """In the order of shards and rows."""
    return [e for shard, (pairs, _) in golden.sources().items() for e in _of_shard(golden, shard, pairs)]


def _of_shard(golden: ModuleType, shard: str, pairs: list[Any]) -> list[Expected]:
    made = []
    answered: dict[str, Any] = {}  # equal images share their answers
    for image, data in pairs:
        scene = golden.SCENES[int(shard) * golden.PER_SHARD + image.row]
        scene_asked = golden.SCENES[scene.same_as] if scene.same_as is not None else scene
        answered[image.sha256] = scene_asked
        if not scene_asked.long or scene.rejects == "decontaminated":
            continue
        raw = " ".join(scene.raw.split()) if scene.raw else None
        texts = {"raw": scene.raw and scene.raw.replace("\r\n", "\n")}
        texts |= {"long": " ".join(scene_asked.long), "short": scene_asked.short}
        fraction = int(image.sha256[:16], 16) / 2**64
        made.append(
            Expected(
                key=image.key,
                shard=shard,
                row=image.row,
                split="val" if fraction < 0.15 else "train",
                primary=scene_asked.short or " ".join(scene_asked.long) or str(raw),
                texts={name: text for name, text in texts.items() if text},
                pixels=pixels_of(Image.open(io.BytesIO(data))),
                source=data,
                jpeg=scene.suffix == "jpg",
            )
        )
    return made


@pytest.fixture(scope="session")
def read_with(out: Path, expected: list[Expected]) -> Callable[[str], dict[str, Any]]:
    """What torch_readers.py found under a version of webdataset ("installed", "0.2.86", "1.0.2"); each runs once.

    open_clip reads under the versions that it pins (<= 0.2.86) and no other.
    """
    found: dict[str, dict[str, Any]] = {}

    def read(version: str) -> dict[str, Any]:
        if version not in found:
            readers = {"0.2.86": ("webdataset", "open_clip", "timm"), "1.0.2": ("webdataset", "timm")}
            command = [
                sys.executable,
                str(SCRIPT),
                str(out / "builds" / "webdataset"),
                *readers.get(version, ("webdataset",)),
            ]
            environment = dict(os.environ)
            if version != "installed":
                environment["PYTHONPATH"] = str(_side_folder(version))
            texts = json.dumps([e.primary for e in expected])
            done = subprocess.run(
                command, input=texts, capture_output=True, text=True, env=environment, timeout=240, check=False
            )
            assert done.returncode == 0, done.stderr
            found[version] = json.loads(done.stdout.splitlines()[-1])
        return found[version]

    return read


def _side_folder(version: str) -> Path:
    folder = Path(sys.prefix) / "compat" / f"webdataset-{version}"
    if not folder.is_dir():
        pytest.fail(f"{folder} is missing: run `make setup`, which puts webdataset {version} there")
    return folder
