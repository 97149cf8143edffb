"""The loader against webdataset and open_clip's pipeline on the same tars; each side in a process of its own, one core.

undecoded   samples in random order, JSON parsed, against webdataset with a shuffle buffer of 1,000
stored      images decoded and cropped, K = 8 texts of FLAIR's policy from stored token ids, against open_clip's stages
            with FLAIR's sampling and SimpleTokenizer
live        the same, tokenised as it comes
resumed     the first batch at step 0 and at others
started     the first batch of two workers, against a DataLoader of two that have nothing to do
memory      what a process grows by over two epochs
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from write import _jpeg, _stored, annotated, images

from recaption.io.store import open_store
from recaption.types import Image, Locator
from recaption.write import BuildInfo, Encoder, ShardContent, ShardFormat, write_manifest, write_shard
from recaption.write.profile import flair_profile

HERE = Path(__file__).resolve().parent
COMPAT = HERE.parent.parent / ".venv" / "compat" / "webdataset-0.2.86"  # the last that open_clip reads under
SHARDS, PER_SHARD = 2, 1000
STEPS = (0, 17, 1_000_003)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    runs: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        build = make(Path(folder))
        plan = {"webdataset": 2000, "undecoded": 2000, "open_clip": 960, "stored": 960, "live": 960}
        for _ in range(arguments.pairs):
            for side, samples in plan.items():
                runs.setdefault(side, []).append(_side(side, build, samples))
            for step in STEPS:
                runs.setdefault(f"resumed at {step}", []).append(_side("resumed", build, step))
            runs.setdefault("started", []).append(_side("started", build, 2))
            runs.setdefault("memory", []).append(_side("memory", build, 2))
    rate = {side: statistics.median(run["rate"] for run in runs[side]) for side in plan}
    first = {s: statistics.median(run["first_batch"] for run in made) for s, made in runs.items() if s != "memory"}
    cold = first[f"resumed at {STEPS[0]}"]
    return {
        **{f"{side}_samples_per_s": value for side, value in rate.items()},
        "undecoded_to_webdataset": rate["undecoded"] / rate["webdataset"],
        "stored_to_open_clip": rate["stored"] / rate["open_clip"],
        "live_to_open_clip": rate["live"] / rate["open_clip"],
        "own_share_stored": statistics.median(run["own_share"] for run in runs["stored"]),
        "own_share_live": statistics.median(run["own_share"] for run in runs["live"]),
        "first_batch_s": first["stored"],
        "first_batch_open_clip_s": first["open_clip"],
        "resume_to_cold_start": max(first[f"resumed at {step}"] for step in STEPS[1:]) / cold,
        "first_batch_2_workers_s": first["started"],
        "first_batch_trivial_2_workers_s": statistics.median(run["trivial"] for run in runs["started"]),
        "grown_mib_over_2_epochs": max(run["grown_mib"] for run in runs["memory"]),
        "runs": runs,
    }


def make(folder: Path) -> Path:
    """A build of 384-pixel pictures of about 60 kB, with FLAIR's lists and CLIP's token ids."""
    store, clip = open_store(str(folder)), Encoder("clip")
    pictures = [_stored(_jpeg(seed)) for seed in range(64)]
    profile = flair_profile({"long": "long", "short": "short"}, {})
    entries = []
    for shard in range(SHARDS):
        records, pairs = [], []
        for n, made in enumerate(annotated(images(PER_SHARD, shard))):
            picture = pictures[n % len(pictures)]
            given: Any = {"key": f"{shard:05d}{n:04d}", "shard": f"{shard:05d}", "row": n, "sha256": picture.sha256}
            records.append(replace(made, source_key=given["key"], **given))
            place = Locator(path="bench", size=len(picture.data))
            pairs.append((Image(source_key=given["key"], locator=place, **given), picture.data))
        entries.append(
            write_shard(
                store,
                "b",
                ShardContent(name=f"{shard:05d}", records=records, images=partial(iter, pairs)),
                ShardFormat(format="webdataset", primary=("long", "raw"), profile=profile, token_ids=[clip]),
            )
        )
    info = BuildInfo(
        name="bench", build="b", format="webdataset", image_mode="jpeg", generations=[], require=[],
        primary=["long", "raw"], sampling={"policy": "flair", "k": 8, "max_merge": 3, "p_raw": 0.1},
        token_ids=[clip.facts],
    )  # fmt: skip
    write_manifest(store, "b", entries, info)
    return folder / "b"


def _side(side: str, build: Path, samples: int) -> dict[str, float]:
    paths = [str(HERE.parent.parent), *([str(COMPAT)] if side == "open_clip" else [])]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "side_loader.py"), side, str(build), str(samples)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(reversed(paths)), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{side}: {done.stderr[-2000:]}")
    made: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return made
