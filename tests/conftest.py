"""Fixtures shared by the tests: small sources, and one Ray for the session."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from s3_server import S3Server, s3_server
from samples import jpeg, sample, write_tar

TESTS = Path(__file__).parent
ROOT = TESTS.parent

# `make test` says the same for the same code, on a busy machine too; `make soak` looks for new examples.
patient = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("suite", patient, derandomize=True)
hypothesis.settings.register_profile("soak", patient, max_examples=2000, print_blob=True)
hypothesis.settings.load_profile("suite")


def pytest_configure() -> None:
    """Background jobs and `nohup` inherit ignored signals, and tests send these."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def make_source(tmp_path: Path) -> Callable[..., Path]:
    """Writes `shards` tars of `per_shard` images each and returns their folder."""

    def make(shards: int = 2, per_shard: int = 20, folder: str = "source") -> Path:
        for shard in range(shards):
            samples = [
                sample(f"{shard:05d}{i:04d}", jpeg(1000 * shard + i), f"alt text {i} of {shard}", title=f"T{i}")
                for i in range(per_shard)
            ]
            write_tar(tmp_path / folder / f"{shard:05d}.tar", samples)
        return tmp_path / folder

    return make


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A real S3 server, which everything finds by the environment; use `s3_server.needs_s3` with it."""
    with s3_server(monkeypatch) as server:
        yield server


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray for all tests that want one; its workers can import the tests' fake engine."""
    import ray

    from recaption.run.cluster import _start

    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(TESTS), str(ROOT), os.environ.get("PYTHONPATH")]))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "120")  # as a run does
    options = {"address": "local", "include_dashboard": False, "log_to_driver": False}  # never another test's Ray
    _start({**options, "num_cpus": 3, "object_store_memory": 2**28})
    yield
    ray.shutdown()
