"""A run's figures as Prometheus metrics, served on a port that the user names.

Names and units follow https://prometheus.io/docs/practices/naming/. Label values are ids of the pipeline, reasons from
a closed list, and the engines, nodes and GPUs in use: never texts, so the number of series is bounded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal

from recaption.errors import MissingExtra, UserError
from recaption.generate.latency import Histogram
from recaption.generate.progress import EngineProgress, PassProgress

Labels = tuple[str, ...]
Samples = dict[str, list[tuple[Labels, float | Histogram]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Metric:
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ("model", "generation")


_OF_ENGINE: Final = ("model", "engine", "node")
_OF_NODE: Final = ("model", "node")

METRICS: Final[Mapping[str, _Metric]] = {
    "recaption_answers": _Metric(kind="counter", help="Answers that this run stored."),
    "recaption_rejects": _Metric(
        kind="counter", help="Rejects that this run stored.", labels=("model", "generation", "reason")
    ),
    "recaption_retries": _Metric(
        kind="counter", help="Requests of this run beyond the first of each answer and reject."
    ),
    "recaption_degenerate_answers": _Metric(
        kind="counter", help="Answers and rejects whose first text was empty, a repetition or a refusal."
    ),
    "recaption_prompt_tokens": _Metric(kind="counter", help="Prompt tokens that engines processed."),
    "recaption_output_tokens": _Metric(kind="counter", help="Tokens that engines generated."),
    "recaption_images": _Metric(kind="gauge", help="Usable images of the shards listed so far."),
    "recaption_resumed_images": _Metric(kind="gauge", help="Of them, answered or rejected by earlier runs."),
    "recaption_duplicate_images": _Metric(kind="gauge", help="Of them, duplicates of an image of the same shard."),
    "recaption_shards_listed": _Metric(kind="counter", help="Source shards that were listed.", labels=("model",)),
    "recaption_listing_seconds": _Metric(
        kind="counter", help="Time until all source shards were listed.", labels=("model",)
    ),
    "recaption_in_flight_requests": _Metric(kind="gauge", help="Requests in flight.", labels=("model",)),
    "recaption_engines": _Metric(kind="gauge", help="Engines that have started.", labels=("model",)),
    "recaption_engine_deaths": _Metric(kind="counter", help="Engines that failed.", labels=("model",)),
    "recaption_gpu_seconds": _Metric(
        kind="counter", help="Time of all engines of this run, times their GPUs.", labels=("model",)
    ),
    "recaption_gpu_wait_seconds": _Metric(
        kind="gauge", help="Time for which no node has had the GPUs of an engine.", labels=("model",)
    ),
    "recaption_engine_share_ratio": _Metric(
        kind="gauge", help="Share of the engines' maximum rate that is reached.", labels=("model",)
    ),
    "recaption_quarantined_images": _Metric(
        kind="gauge", help="Images in flight during engine crashes, retried in isolation.", labels=("model",)
    ),
    "recaption_generating_seconds": _Metric(
        kind="counter", help="Time since the first engine was ready.", labels=("model",)
    ),
    "recaption_left_seconds": _Metric(
        kind="gauge", help="Time left for the listed shards at the rate of this run.", labels=("model",)
    ),
    "recaption_store_silent_seconds": _Metric(
        kind="gauge", help="Time for which the output's store has not answered.", labels=()
    ),
    "recaption_engine_in_flight_requests": _Metric(kind="gauge", help="Requests in flight.", labels=_OF_ENGINE),
    "recaption_engine_answers": _Metric(
        kind="counter", help="Answers of the engine, stored or not.", labels=_OF_ENGINE
    ),
    "recaption_engine_output_tokens": _Metric(
        kind="counter", help="Tokens that the engine generated.", labels=_OF_ENGINE
    ),
    "recaption_engine_rate_ratio": _Metric(
        kind="gauge", help="Share of its maximum rate that the engine reaches.", labels=_OF_ENGINE
    ),
    "recaption_engine_host_bytes": _Metric(
        kind="gauge", help="Memory of the engine's processes and renderers.", labels=_OF_ENGINE
    ),
    "recaption_gpu_busy_ratio": _Metric(
        kind="gauge", help="Share of time in which the GPU ran a kernel, by NVML.", labels=(*_OF_ENGINE, "gpu")
    ),
    "recaption_gpu_memory_bytes": _Metric(
        kind="gauge", help="Memory in use on the GPU, by NVML.", labels=(*_OF_ENGINE, "gpu")
    ),
    "recaption_engine_request_seconds": _Metric(
        kind="histogram", help="Time of a request in the engine.", labels=_OF_NODE
    ),
    "recaption_store_put_seconds": _Metric(
        kind="histogram", help="Time to store a part of answers or rejects.", labels=_OF_NODE
    ),
    "recaption_source_read_seconds": _Metric(
        kind="histogram", help="Time to read up to 16 images from the source.", labels=_OF_NODE
    ),
    "recaption_build_task_seconds": _Metric(
        kind="histogram", help="Time of a task of the build, such as writing a dataset shard.", labels=()
    ),
    "recaption_shards_built": _Metric(kind="counter", help="Dataset shards written by this run.", labels=()),
    "recaption_shards_to_build": _Metric(kind="gauge", help="Dataset shards to write, as known so far.", labels=()),
    "recaption_last_progress_timestamp_seconds": _Metric(
        kind="gauge", help="Time of the last progress update.", labels=()
    ),
}


_BY_STAGE: Final[Mapping[str, str]] = {  # stage of the meter -> metric
    "engine": "recaption_engine_request_seconds",
    "put": "recaption_store_put_seconds",
    "read": "recaption_source_read_seconds",
}
_BY_GENERATION: Final[Mapping[str, str]] = {  # metric -> field of GenerationProgress
    "answers": "answers",
    "retries": "retries",
    "degenerate_answers": "degenerate",
    "prompt_tokens": "prompt_tokens",
    "output_tokens": "output_tokens",
    "images": "total",
    "resumed_images": "resumed",
    "duplicate_images": "duplicates",
}


class PrometheusExporter:
    """A context that serves `/metrics`. It is a ProgressListener of a run, and scrapes get its last update.

    Entering it raises UserError if the address cannot be used, MissingExtra without prometheus_client.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", info: Mapping[str, str] | None = None) -> None:
        """`info`: labels of `recaption_run_info`, which are constant during the run."""
        self._host, self._port, self._info = host, port, dict(info or {})
        self._models: dict[str, Samples] = {}
        self._built: Samples = {}
        self._tasks = Histogram()  # of the build

    def __enter__(self) -> PrometheusExporter:
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ImportError as error:
            raise MissingExtra("prometheus_client", "run") from error

        registry = CollectorRegistry()
        registry.register(self)
        try:
            self._server, self._thread = start_http_server(self._port, self._host, registry)
        except OSError as error:
            raise UserError(
                f"--metrics-port {self._port}: cannot listen on {self._host}:{self._port} "
                f"({error.strerror or error}). Name another port, or another address of this machine with "
                "--metrics-host"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5.0)

    def generating(self, progress: PassProgress) -> None:
        # Replaced as a whole: a scrape runs on another thread and must not see a partial update.
        self._models = self._models | {progress.model: _samples(progress)}

    def building(self, done: int, total: int) -> None:
        self._built = {
            "recaption_shards_built": [((), done)],
            "recaption_shards_to_build": [((), total)],
            "recaption_last_progress_timestamp_seconds": [((), time.time())],
        }

    def built(self, seconds: float) -> None:
        one = Histogram()
        one.add(seconds)
        self._tasks = self._tasks.merged(one)  # a new one: a scrape may read the old one now

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        """The metric families of the last update, for prometheus_client's registry."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
            InfoMetricFamily,
        )

        families = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
        from prometheus_client.utils import floatToGoString

        yield InfoMetricFamily("recaption_run", "The running command.", value=self._info)
        tasks: Samples = {"recaption_build_task_seconds": [((), self._tasks)]}
        updates = [*self._models.values(), self._built, tasks]
        for name, metric in METRICS.items():
            family = families[metric.kind](name, metric.help, labels=metric.labels)
            samples = {labels: value for each in updates for labels, value in each.get(name, [])}  # the last of each
            for labels, value in samples.items():
                if isinstance(value, Histogram):
                    buckets = [(floatToGoString(bound), count) for bound, count in value.cumulative()]
                    family.add_metric(labels, buckets, value.total)
                else:
                    family.add_metric(labels, value)
            yield family


def _samples(progress: PassProgress) -> Samples:
    model = (progress.model,)
    found: Samples = {
        f"recaption_{metric}": [((*model, id), getattr(g, name)) for id, g in progress.generations.items()]
        for metric, name in _BY_GENERATION.items()
    }
    found["recaption_rejects"] = [
        ((*model, id, reason), count) for id, g in progress.generations.items() for reason, count in g.rejects.items()
    ]
    by_model = {
        "recaption_shards_listed": progress.shards,
        "recaption_listing_seconds": progress.listing_seconds,
        "recaption_in_flight_requests": progress.in_flight,
        "recaption_engines": progress.engines,
        "recaption_engine_deaths": progress.engine_deaths,
        "recaption_gpu_seconds": progress.gpu_seconds,
        "recaption_gpu_wait_seconds": progress.gpu_wait_seconds if progress.waits_for_gpus else 0.0,
        "recaption_quarantined_images": progress.quarantined,
        "recaption_generating_seconds": progress.seconds,
        "recaption_engine_share_ratio": progress.meter.share,
        "recaption_left_seconds": progress.seconds_left,
    }
    found |= _of_engines(progress)
    found |= {name: [] if value is None else [(model, value)] for name, value in by_model.items()}
    found["recaption_store_silent_seconds"] = [((), progress.store_silent)]
    found["recaption_last_progress_timestamp_seconds"] = [((), time.time())]
    return found


def _of_engines(progress: PassProgress) -> Samples:
    model = progress.model

    def labels(engine: EngineProgress) -> Labels:
        return model, str(engine.engine), engine.node

    fleet = () if progress.phase == "done" else progress.fleet  # which has ended since
    found: Samples = {
        "recaption_engine_in_flight_requests": [(labels(each), each.in_flight) for each in fleet],
        "recaption_engine_answers": [(labels(each), each.answers) for each in fleet],
        "recaption_engine_output_tokens": [(labels(each), each.output_tokens) for each in fleet],
        "recaption_engine_rate_ratio": [(labels(each), each.share) for each in fleet if each.share is not None],
        "recaption_engine_host_bytes": [(labels(each), each.host_bytes) for each in fleet],
        "recaption_gpu_busy_ratio": [((*labels(each), gpu.gpu), gpu.busy) for each in fleet for gpu in each.gpus],
        "recaption_gpu_memory_bytes": [((*labels(each), gpu.gpu), gpu.memory) for each in fleet for gpu in each.gpus],
    }
    for (node, stage), histogram in progress.latency.items():
        found.setdefault(_BY_STAGE[stage], []).append(((model, node), histogram))
    return found
