"""The time from the last answer to the published build, in runs that annotate and write everything.

Simulated engines answer at `RATE` images per second, on the cores that also read, annotate and write. This is more per
core than on a node with GPUs, which answers ten images per second and GPU and has some 16 cores for each of them. The
texts have ten sentences, the images are JPEGs of about 60 kB.

    source    a dataset shard for each source shard
    equal     dataset shards of equal counts (`samples_per_shard`), cut while others are generated
    rebuild   the first quarter of the source shards changes after the build of `equal`, and all is written again
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from samples import sample, write_tar

from recaption import config
from recaption.progress import Display

RATE, ENGINES, LATENCY = 20, 2, 2.0  # images per second of all engines, engines, seconds
SHARDS, PER_SHARD, EQUAL = 24, 128, 100


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        base = Path(folder)
        for shard in range(SHARDS):
            _write(base, shard, seed=shard)
        found: dict[str, Any] = {"images": SHARDS * PER_SHARD, "engines_images_per_s": RATE}
        found |= _named("source", _run(base, "source"))
        found |= _named("equal", _run(base, EQUAL))
        for shard in range(SHARDS // 4):
            _write(base, shard, seed=100 + shard)
        return found | _named("rebuild", _run(base, EQUAL))


def _write(base: Path, shard: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(PER_SHARD):
        noise = rng.integers(0, 256, (96, 96, 3), np.uint8)  # scaled up, about 60 kB
        data = io.BytesIO()
        Image.fromarray(noise).resize((448, 448), Image.Resampling.BICUBIC).save(data, "JPEG", quality=90)
        rows.append(sample(f"{shard:03d}-{i:04d}", data.getvalue()))
    write_tar(base / "s" / f"{shard:03d}.tar", rows)


def _named(name: str, values: dict[str, float]) -> dict[str, float]:
    return {f"{name}_{key}": value for key, value in values.items()}


def _run(base: Path, samples_per_shard: int | str) -> dict[str, float]:
    from recaption.run import run

    (base / "log").mkdir(exist_ok=True)
    out = base / f"out-{samples_per_shard}"
    slots = round(RATE * LATENCY / ENGINES)
    engine_args = {"slots": slots, "latency": LATENCY, "spread": 0.5, "log": str(base / "log")}
    model = {"engine": "timed_engine:TimedEngine", "model": "scene", "replicas": ENGINES, "cpus": 0.1}
    settings = {
        "name": "overlap",
        "source": {"path": f"{base}/s/*.tar"},
        "models": {"m": {**model, "engine_args": engine_args}},
        "generate": [{"id": "long", "model": "m", "prompt": "describe_long"}],
        "output": {"path": str(out), "format": "webdataset", "samples_per_shard": samples_per_shard},
    }
    tests = str(Path(__file__).resolve().parent.parent.parent / "tests")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [tests, os.environ.get("PYTHONPATH")]))
    with Display() as display:
        done = run(config.validate(settings), None, display)
    assert done.build is not None and done.changed
    events = [json.loads(line) for line in (out / "metrics" / "log.jsonl").read_text("utf-8").splitlines()]
    events = [event for event in events if event["run"] == events[-1]["run"]]
    times = {event["event"]: datetime.fromisoformat(event["ts"]).timestamp() for event in events}  # the last of each
    began = min(datetime.fromisoformat(event["ts"]).timestamp() for event in events)
    manifest = json.loads((out / "builds" / done.build / "manifest.json").read_bytes())
    size = sum(path.stat().st_size for path in (out / "builds" / done.build).rglob("*") if path.is_file())
    return {
        "dataset_shards": len(manifest["shards"]),
        "written_mb": size / 1e6,
        "run_s": times["built"] - began,
        "images_per_s": done.answered / done.seconds,
        "end_to_build_s": times["built"] - times["shard_answered"],
        "end_to_build_share": (times["built"] - times["shard_answered"]) / (times["built"] - began),
    }
