"""The engines of a pass: how many are started, and with which GPUs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sim_cluster import SimTransport, job, plan

from recaption.config import Model
from recaption.errors import UserError
from recaption.generate.actor import ActorSpec
from recaption.generate.fleet import NODES_SECONDS, RELEASE_SECONDS, Fleet


class Nodes(SimTransport):
    """A cluster whose nodes have `here` GPUs, and the GPUs of each engine that was started."""

    def __init__(self, *here: int) -> None:
        super().__init__(0, 0)
        self.here = list(here)
        self.spawned: list[int] = []

    def gpus(self) -> list[int]:
        return self.here

    def spawn(self, spec: ActorSpec, *, cpus: float, gpus: int) -> int:
        self.spawned.append(gpus)
        return super().spawn(spec, cpus=cpus, gpus=gpus)

    def become(self, *here: int) -> None:
        self.here = list(here)
        self.clock += NODES_SECONDS


def fleet(nodes: Nodes, *, expects_gpus: bool = False, **model: object) -> Fleet:
    config = Model.model_validate({"engine": "vllm", "model": "m", **model})
    return Fleet(replace(plan(), config=config), job(0), nodes, {}, expects_gpus=expects_gpus)


def lose_all(fleet: Fleet) -> None:
    for engine in list(fleet.engines.values()):
        del fleet.engines[engine.number]
        fleet.removed(engine)


@pytest.mark.parametrize("model", [{"tensor_parallel": 2}, {"tensor_parallel": 2, "replicas": 4}])
@pytest.mark.parametrize("left", [(0,), (0, 1), ()], ids=["the head", "a node with too few GPUs", "none"])
def test_if_all_nodes_with_gpus_are_lost_one_engine_waits_for_the_next(
    model: dict[str, int], left: tuple[int, ...]
) -> None:
    nodes = Nodes(0, 4, 4)
    engines = fleet(nodes, **model)
    engines.grow()
    nodes.become(*left)
    lose_all(engines)
    engines.grow()
    assert nodes.spawned == [2] * 4 + [2], "none is started without GPUs on the head node"
    assert (len(engines), engines.running) == (1, 0), "an engine that waits for its GPUs costs nothing"
    nodes.become(*left, 4, 4)
    engines.grow()
    assert nodes.spawned == [2] * 8 and engines.running == 4


def test_engines_that_expect_gpus_wait_for_the_first_node_that_has_them() -> None:
    nodes = Nodes(0)
    engines = fleet(nodes, expects_gpus=True, tensor_parallel=2)
    engines.grow()
    assert nodes.spawned == [2] and (engines.running, engines.had_gpus) == (0, False)
    nodes.become(0)
    engines.grow()
    assert (engines.waits_for_gpus, engines.gpu_wait_seconds) == (True, NODES_SECONDS)
    nodes.become(0, 4)
    engines.grow()
    assert nodes.spawned == [2, 2] and engines.had_gpus
    assert (engines.waits_for_gpus, engines.gpu_wait_seconds, engines.running) == (False, 0.0, 2)


def test_without_gpus_an_engine_runs_on_the_cpu() -> None:
    nodes = Nodes(0)
    engines = fleet(nodes)
    engines.grow()
    assert nodes.spawned == [0] and not engines.had_gpus


@pytest.mark.parametrize("expects_gpus", [False, True])
def test_a_tensor_parallel_larger_than_any_node_is_an_error(expects_gpus: bool) -> None:
    with pytest.raises(UserError, match=r"tensor_parallel is 8, but no node has that many GPUs \(the largest has 4"):
        fleet(Nodes(4, 2), tensor_parallel=8, expects_gpus=expects_gpus).grow()


def test_engines_whose_nodes_leave_after_their_release_are_not_missed_twice() -> None:
    nodes = Nodes(1, 1, 1, 1)
    engines = fleet(nodes)
    engines.grow()
    for _ in range(2):
        released = engines.release(list(engines.engines.values())[:2])
        nodes.clock += RELEASE_SECONDS
    for engine in released:
        del engines.engines[engine.number]
        engines.removed(engine)
    nodes.become(1, 1)
    engines.grow()
    lose_all(engines)
    engines.grow()
    assert len(released) == len(engines) == engines.wanted == 2
