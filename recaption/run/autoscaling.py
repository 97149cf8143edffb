"""Requests the GPUs of a model's engines from the autoscaler of a Ray cluster.

Engines are started on GPUs that are there, so the autoscaler of the cluster would see no demand. Ray keeps a request
until the next one, also after its job has ended. Without an autoscaler, a request has no effect.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Self

from recaption.config import Model
from recaption.errors import ClusterLost


class GpuRequest:
    """The GPUs of all engines of a model with a number of `replicas`, on the cluster at RAY_ADDRESS.

    A context manager: at its end, none are requested any more, so that idle nodes can be removed.
    """

    def __init__(self, model: Model) -> None:
        self._wanted = bool(os.environ.get("RAY_ADDRESS")) and model.replicas != "auto" and model.engine != "openai"
        self._model, self._made = model, False

    def make(self) -> None:
        """Request them, if this was not done yet."""
        if self._wanted and not self._made:
            self._made = True
            self._request(int(self._model.replicas))

    def reduce(self, engines: int) -> None:
        """Request the GPUs of so many engines only. A failure is ignored: the others then stay idle until the end."""
        if self._made:
            with suppress(Exception):
                self._request(engines)

    def _request(self, engines: int) -> None:
        _request([{"GPU": self._model.tensor_parallel, "CPU": self._model.reserved_cpus}] * engines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: object) -> None:
        if self._made and not isinstance(error, ClusterLost):  # which accepts no calls
            with suppress(Exception):  # it must not hide the error that ended the run
                _request([])


def _request(bundles: list[dict[str, float]]) -> None:
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=bundles)
