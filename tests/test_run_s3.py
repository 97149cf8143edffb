"""The whole job onto a real S3-compatible server that fails a fifth of all calls, killed in the middle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from killed_run import KilledRun
from s3_server import S3Server, needs_s3, sometimes

from recaption.config import Source
from recaption.io.store import Store, open_store
from recaption.output.index import load_index
from recaption.source import open_source

pytestmark = [needs_s3, pytest.mark.systems, pytest.mark.timeout(1200)]
IMAGES = 48


def answers(store: Store) -> dict[str, bytes]:
    """Answer files, all of them compacted."""
    found = {}
    for generation in store.folders("answers"):
        for shard in store.folders(f"answers/{generation}/.parts"):
            assert not list(store.list(f"answers/{generation}/.parts/{shard}")), "parts go when a shard is compacted"
        for path in store.list(f"answers/{generation}"):
            found[path] = store.get(path)
    return found


def test_a_store_that_fails_often_and_a_killed_driver_lose_nothing(
    make_source: Callable[..., Path], tmp_path: Path, s3: S3Server
) -> None:
    source = make_source(shards=2, per_shard=IMAGES // 2)
    local = KilledRun(tmp_path / "local", source)
    local.start()
    assert local.wait() == 0, local.said()

    remote = KilledRun(tmp_path / "remote", source, latency=0.05, capacity=8)
    url = s3.bucket()
    remote.data["output"]["path"] = url
    remote.write()
    s3.fault = sometimes(0.2, "refuse")
    remote.start()
    assert remote.wait_until_asked(IMAGES // 2, room=IMAGES // 2)
    assert remote.kill("driver")
    remote.wait()
    remote.start()
    assert remote.wait() == 0, remote.said()
    asked = remote.asked()
    remote.start()
    assert remote.wait() == 0 and "Nothing to do" in remote.said()
    assert remote.asked() == asked

    store = open_store(url)
    assert answers(store) == answers(open_store(str(local.out)))
    (shard, *_) = open_source(Source(path=f"{source}/*.tar")).shards()
    images, _ = load_index(store, open_source(Source(path=f"{source}/*.tar")), shard)
    assert len(images) == IMAGES // 2
    build = store.get("CURRENT").decode().strip()
    assert store.exists(f"{build}/manifest.json")
    logged = store.get("metrics/log-run-000002-0000.jsonl").splitlines()
    assert b'"run_started"' in logged[0] and b'"run_ended"' in logged[-1], "in pieces, as it cannot be appended to"
