"""What is requested from the autoscaler of a cluster."""

from __future__ import annotations

from contextlib import suppress

import pytest

from recaption.config import Model
from recaption.errors import ClusterLost, Interrupted
from recaption.run import autoscaling
from recaption.run.autoscaling import GpuRequest


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
