"""Numbers of a run for Prometheus, on a port that the user names, in a registry of their own.

Names and units follow https://prometheus.io/docs/practices/naming/. Values of labels are ids of the pipeline, and
reasons from the closed list: never texts, and no more series than the pipeline has generations times reasons.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal

from recaption.errors import MissingExtra, UserError
from recaption.generate.progress import Progress

Labels = tuple[str, ...]
Samples = dict[str, list[tuple[Labels, float]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Metric:
    kind: Literal["counter", "gauge"]
    help: str
    labels: Labels = ("model", "generation")


METRICS: Final[Mapping[str, _Metric]] = {
    "recaption_answers": _Metric(kind="counter", help="Answers that this run stored."),
    "recaption_rejects": _Metric(
        kind="counter", help="Rejects that this run stored.", labels=("model", "generation", "reason")
    ),
    "recaption_retries": _Metric(kind="counter", help="Requests of this run that asked again."),
    "recaption_degenerate_answers": _Metric(
        kind="counter", help="Questions whose text was empty, a repetition or a refusal at first."
    ),
    "recaption_prompt_tokens": _Metric(kind="counter", help="Tokens that engines read."),
    "recaption_output_tokens": _Metric(kind="counter", help="Tokens that engines made."),
    "recaption_images": _Metric(kind="gauge", help="Images to ask about, of the shards listed so far."),
    "recaption_resumed_images": _Metric(kind="gauge", help="Of them, those answered or rejected before this run."),
    "recaption_duplicate_images": _Metric(kind="gauge", help="Of them, those equal to one that is asked."),
    "recaption_in_flight_requests": _Metric(kind="gauge", help="Requests in the engines.", labels=("model",)),
    "recaption_engines": _Metric(kind="gauge", help="Engines that are at work.", labels=("model",)),
    "recaption_engine_deaths": _Metric(kind="counter", help="Engines that died.", labels=("model",)),
    "recaption_engine_share_ratio": _Metric(
        kind="gauge", help="Share of the engines' own rate that is reached.", labels=("model",)
    ),
    "recaption_quarantined_images": _Metric(
        kind="gauge", help="Images over which engines died, asked apart.", labels=("model",)
    ),
    "recaption_generating_seconds": _Metric(
        kind="counter", help="Time since the first engine was ready.", labels=("model",)
    ),
    "recaption_left_seconds": _Metric(
        kind="gauge", help="Time left, at the rate of this run, for what is listed.", labels=("model",)
    ),
    "recaption_store_silent_seconds": _Metric(
        kind="gauge", help="Time for which the output's store has not answered.", labels=()
    ),
    "recaption_shards_built": _Metric(kind="counter", help="Dataset shards written by this run.", labels=()),
    "recaption_shards_to_build": _Metric(kind="gauge", help="Dataset shards of the build, so far.", labels=()),
    "recaption_last_progress_timestamp_seconds": _Metric(
        kind="gauge", help="When the run last told how far it is.", labels=()
    ),
}


class Exposition:
    """Serves `/metrics` while it is a context. A run tells it how far it is; scrapes read what it was told last.

    Entering it raises UserError for an address that cannot be had, MissingExtra without prometheus_client.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", info: Mapping[str, str] | None = None) -> None:
        """`info`: what is the same for the whole run, as labels of `recaption_run_info`."""
        self._host, self._port, self._info = host, port, dict(info or {})
        self._models: dict[str, Samples] = {}
        self._built: Samples = {}

    def __enter__(self) -> Exposition:
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ImportError as error:
            raise MissingExtra("prometheus_client", "run") from error

        registry = CollectorRegistry()
        registry.register(_Collector(self))
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

    def generating(self, state: Progress) -> None:
        # Replaced as a whole: a scrape, in its own thread, must not see sums that are being made.
        self._models = self._models | {state.model: _samples(state)}

    def building(self, done: int, total: int) -> None:
        self._built = {
            "recaption_shards_built": [((), done)],
            "recaption_shards_to_build": [((), total)],
            "recaption_last_progress_timestamp_seconds": [((), time.time())],
        }

    def families(self) -> Iterator[Any]:
        """Prometheus' metric families, of what was told last."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        yield InfoMetricFamily("recaption_run", "What runs.", value=self._info)
        told = [*self._models.values(), self._built]
        for name, metric in METRICS.items():
            made = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = made(name, metric.help, labels=metric.labels)
            samples = {labels: value for each in told for labels, value in each.get(name, [])}  # the newest of each
            for labels, value in samples.items():
                family.add_metric(labels, value)
            yield family


class _Collector:
    """See prometheus_client.registry.Collector; a class of its own, so that the registry asks nothing else of it."""

    def __init__(self, exposition: Exposition) -> None:
        self._exposition = exposition

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        return self._exposition.families()


def _samples(state: Progress) -> Samples:
    c, model = state.counters, (state.model,)
    by_generation = {
        "recaption_answers": c.answers,
        "recaption_retries": c.retries,
        "recaption_degenerate_answers": c.degenerate,
        "recaption_prompt_tokens": c.prompt_tokens,
        "recaption_output_tokens": c.output_tokens,
        "recaption_images": state.total,
        "recaption_resumed_images": state.resumed,
        "recaption_duplicate_images": state.duplicates,
    }
    found: Samples = {
        name: [((*model, generation), counts.get(generation, 0)) for generation in state.total]
        for name, counts in by_generation.items()
    }
    found["recaption_rejects"] = [((*model, *labels), count) for labels, count in c.rejects.items()]
    found["recaption_in_flight_requests"] = [(model, state.in_flight)]
    found["recaption_engines"] = [(model, state.engines)]
    found["recaption_engine_deaths"] = [(model, state.deaths)]
    found["recaption_quarantined_images"] = [(model, state.quarantined)]
    found["recaption_generating_seconds"] = [(model, state.seconds)]
    found["recaption_store_silent_seconds"] = [((), state.store_silent)]
    found["recaption_last_progress_timestamp_seconds"] = [((), time.time())]
    for name, value in (
        ("recaption_engine_share_ratio", state.meter.share),
        ("recaption_left_seconds", state.seconds_left),
    ):
        found[name] = [] if value is None else [(model, value)]
    return found
