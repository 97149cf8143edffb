"""Captions per second of recaption, divided by those of vLLM alone: same machine, model, images, sampling; interleaved.

"vLLM alone" is `LLM.generate` over images that are already decoded in memory. recaption reads tars, decodes, renders,
sends requests, checks the answers and stores them. Each side is a process of its own; the start of engines is not
measured. With `rendered`, both sides get inputs that are rendered already: the rest is the engine and what feeds it.

Both sides get the same engine_args, and both compile the model: vLLM's default. On a CPU, vLLM keeps a core for what
feeds the engine; recaption runs an engine of one thread on every core instead (--replicas 1: one, of all cores).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PER_SHARD = 500
PROMPT = "Describe this image in detail."


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    return _measure(arguments, rendered=False)


def measure_rendered(arguments: argparse.Namespace) -> dict[str, Any]:
    return _measure(arguments, rendered=True)


def _measure(arguments: argparse.Namespace, *, rendered: bool) -> dict[str, Any]:
    import torch

    gpu = torch.cuda.is_available()
    replicas = arguments.replicas or (1 if gpu else len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        if arguments.model is None:
            from tiny_models import make_scene

            make_scene(base / "model")
        images(base / "images", arguments.images, arguments.size)
        settings = {
            "model": arguments.model or str(base / "model"),
            "images": str(base / "images"),
            "prompt": PROMPT,
            "max_tokens": arguments.max_tokens,
            "max_pixels": arguments.max_pixels,
            "load_format": arguments.load_format,
            "engine_args": {**DEFAULTS, "dtype": "auto" if gpu else "float32", **arguments.engine_args},
            "replicas": replicas,
            "cpus": 1 if replicas > 1 and not gpu else None,
            "rendered": rendered,
        }
        sides: dict[str, list[float]] = {"bare": [], "recaption": []}
        shares = []
        for pair in range(arguments.pairs):
            # Whoever comes second finds a warmer machine: they take turns.
            for side in ("bare", "recaption") if pair % 2 == 0 else ("recaption", "bare"):
                found = run_side(side, {**settings, "out": str(base / f"out-{pair}")})
                sides[side].append(found["captions"] / found["seconds"])
                if side == "recaption":
                    shares.append(found["share"])
    medians = {side: statistics.median(rates) for side, rates in sides.items()}
    return {
        "images": arguments.images,
        "size": f"{arguments.size} x {arguments.size} JPEG",
        "max_tokens": arguments.max_tokens,
        "engines": replicas,
        **{f"{side}_captions_per_second": rate for side, rate in medians.items()},
        "ratio": medians["recaption"] / medians["bare"],
        "all": sides,
        "meter_share": shares,
    }


DEFAULTS: dict[str, Any] = {"max_num_seqs": 64, "max_num_batched_tokens": 4096, "enforce_eager": False}


def images(folder: Path, count: int, size: int) -> None:
    """Tars of `count` JPEGs with something in them; the same ones every time."""
    from samples import jpeg, sample, write_tar

    rng = random.Random(0)
    for first in range(0, count, PER_SHARD):
        numbers = range(first, min(count, first + PER_SHARD))
        samples = [sample(f"{n:06d}", jpeg(rng.getrandbits(32), (size, size))) for n in numbers]
        write_tar(folder / f"{first // PER_SHARD:05d}.tar", samples)


def run_side(side: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What `side_<side>.py` prints, in a process of its own."""
    environment = dict(os.environ)
    tests = str(HERE.parent.parent / "tests")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [tests, str(HERE), environment.get("PYTHONPATH")]))
    with tempfile.NamedTemporaryFile("w+", suffix=".log") as log:
        done = subprocess.run(
            [sys.executable, str(HERE / f"side_{side}.py"), json.dumps(settings)],
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            text=True,
            check=False,
        )
        if done.returncode:
            log.seek(0)
            raise SystemExit(f"bench: {side} failed:\n{log.read()[-4000:]}")
    # The side's own line: engines print what they like.
    line = next(line for line in done.stdout.splitlines() if line.startswith('{"captions"'))
    found: dict[str, Any] = json.loads(line)
    return found
