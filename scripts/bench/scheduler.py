"""The real driver, fleet and scheduler over a simulated cluster: what a chunk costs the process that hands it out."""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

from sim_cluster import SimTransport, job, plan

from recaption.generate.driver import ModelPass

ENGINES, CHUNKS, PER_SHARD = 1000, 100_000, 40


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    transport = SimTransport(ENGINES, PER_SHARD)
    work = ModelPass(plan(), job(CHUNKS // PER_SHARD), transport=transport)
    memory, started = [_peak()], time.process_time()
    for number, _ in enumerate(work.run()):
        if number in (CHUNKS // PER_SHARD // 5, CHUNKS // PER_SHARD - 1):
            memory.append(_peak())
    seconds = time.process_time() - started
    return {
        "engines": ENGINES,
        "chunks": CHUNKS,
        "images": transport.finished_requests,
        "cpu_ms_per_chunk": 1000 * seconds / CHUNKS,  # the simulation's own included
        "calls_per_chunk": transport.calls / CHUNKS,
        "peak_mib_at_a_fifth": memory[1],
        "peak_mib_at_the_end": memory[-1],
        "simulated_seconds": transport.clock,
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
