"""Eight real Ray actors with simulated engines: the share of time in which each had all the requests it wants.

`busy_share` counts from an engine's first request to the last request of all, `steady_busy_share` from two latencies
after it until the last image begins: later, too few requests are left for all engines.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from samples import jpeg, sample, write_tar

from recaption import config
from recaption.generate import transport
from recaption.progress import Display

ENGINES, SLOTS, LATENCY, SPREAD = 8, 24, 3.0, 0.5  # engines, requests, seconds, share
SHARDS, PER_SHARD = 10, 512


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    return _measure([{"id": "long", "model": "m", "prompt": "describe_long"}], SHARDS)


def measure_units(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same with a question about each of ten sentences of each caption, which takes a tenth of a caption's time."""
    caption = {"id": "long", "model": "m", "prompt": "describe_long"}
    return _measure(
        [caption, {"id": "check", "model": "m", "task": "verify", "over": "long", "which": "all"}], SHARDS // 2
    )


def _measure(generate: list[dict[str, Any]], shards: int) -> dict[str, Any]:
    from recaption.run import run

    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for shard in range(shards):
            images = [jpeg(shard * PER_SHARD + i) for i in range(PER_SHARD)]
            write_tar(base / "s" / f"{shard:02d}.tar", [sample(f"{shard}-{i}", d) for i, d in enumerate(images)])
        (base / "log").mkdir()
        settings = {
            "name": "fleet",
            "source": {"path": f"{base}/s/*.tar"},
            "models": {
                "m": {
                    "engine": "timed_engine:TimedEngine",
                    "model": "scene",
                    "replicas": ENGINES,
                    "cpus": 0.1,
                    "engine_args": {
                        "slots": SLOTS,
                        "latency": LATENCY,
                        "spread": SPREAD,
                        "log": str(base / "log"),
                    },
                }
            },
            "generate": generate,
            "output": {"path": str(base / "out")},
        }
        tests = str(Path(__file__).resolve().parent.parent.parent / "tests")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [tests, os.environ.get("PYTHONPATH")]))
        calls: list[int] = []
        real = transport.RayTransport.wait

        def counting(self: transport.RayTransport, timeout: float) -> list[transport.Reply]:
            calls[:] = [self.calls]
            return real(self, timeout)

        transport.RayTransport.wait = counting  # type: ignore[method-assign]
        try:
            with Display() as display:
                run(config.validate(settings), None, display, half="generate")
        finally:
            transport.RayTransport.wait = real  # type: ignore[method-assign]
        logs = [json.loads(path.read_text()) for path in sorted((base / "log").glob("*.json"))]
        answers = [path.stat().st_mtime for path in (base / "out" / "answers").rglob("*.parquet")]
        rates = json.loads(next((base / "out" / "metrics").glob("run-*.json")).read_text())["models"]["m"]
    chunks = shards * PER_SHARD // 256
    times = [log["times"] for log in logs]
    handed_out = max(at for of in times for (_, before), (at, now) in pairwise(of) if now > before)
    busy = [_busy(of, of[0][0], handed_out) for of in times]
    last_image = max(log["last_caption"] for log in logs)
    steady = [_busy(of, of[0][0] + 2 * LATENCY, last_image) for of in times]
    last = max(at for of in times for at, _ in of)
    return {
        "engines": len(logs),
        "images": shards * PER_SHARD,
        "requests_per_image": 1 + 10 * (len(generate) - 1),
        "busy_share_lowest": min(busy),
        "busy_share_mean": sum(busy) / len(busy),
        "steady_busy_share_lowest": min(steady),
        "steady_busy_share_mean": sum(steady) / len(steady),
        "steady_seconds": last_image - max(of[0][0] for of in times) - 2 * LATENCY,
        "tail_seconds": last - handed_out,
        "tail_in_mean_latencies": (last - handed_out) / LATENCY,
        "last_file_after_seconds": max(answers) - handed_out,
        "ray_calls_per_chunk": calls[0] / chunks,
        "meter_share": rates["meter"]["share"],
    }


def _busy(times: list[list[float]], start: float, end: float) -> float:
    """The share of the time from `start` to `end` in which all slots of an engine were taken."""
    full = sum(
        min(until, end) - max(at, start)
        for (at, now), (until, _) in pairwise(times)
        if now >= SLOTS and at < end and until > start
    )
    return full / (end - start)
