"""Metrics for Prometheus: scraped over HTTP, and read as Prometheus reads them."""

from __future__ import annotations

import socket
import time
import urllib.request
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recaption.errors import UserError
from recaption.generate.gpu_use import GpuUse
from recaption.generate.latency import Histogram
from recaption.generate.progress import EngineProgress, GenerationProgress, PassProgress
from recaption.generate.utilisation import Meter, Where
from recaption.run.monitor.prometheus import METRICS, PrometheusExporter

Scrape = dict[tuple[str, frozenset[tuple[str, str]]], float]


def port_of(exporter: PrometheusExporter) -> int:
    """The port that the system chose for an exporter on port 0."""
    return int(exporter._server.server_port)


def scrape(port: int) -> Scrape:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=120) as reply:
        text = reply.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Scrape, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def progress(answers: int, **changes: Any) -> PassProgress:
    given: dict[str, Any] = {
        "model": "qwen",
        "phase": "generating",
        "generations": {
            "long": GenerationProgress(
                total=100, resumed=40, answers=answers, rejects={"refusal": 2}, retries=5, output_tokens=900
            ),
            "short": GenerationProgress(total=100),
        },
        "in_flight": 64,
        "engines": 2,
        "engine_deaths": 1,
        "seconds": 10.0,
    }
    return PassProgress(**given | changes)


@pytest.mark.parametrize(("phase", "served"), [("starting engine", 70.0), ("done", 0.0)])
def test_a_wait_for_gpus_is_served_while_it_lasts(phase: str, served: float) -> None:
    with PrometheusExporter(0) as exporter:
        port = port_of(exporter)
        exporter.generating(progress(0, phase=phase, gpu_wait_seconds=70.0))
        assert value(scrape(port), "recaption_gpu_wait_seconds", model="qwen") == served


def test_a_scrape_reads_the_last_update() -> None:
    with PrometheusExporter(0, info={"command": "run", "version": "0.1.0"}) as exporter:
        port = port_of(exporter)
        assert value(scrape(port), "recaption_run_info", command="run", version="0.1.0") == 1
        exporter.generating(progress(10))
        exporter.generating(progress(30))
        exporter.generating(progress(5, model="other", generations={"tags": GenerationProgress(total=9)}))
        exporter.building(3, 8)
        found = scrape(port)
        of_long = {"model": "qwen", "generation": "long"}
        assert value(found, "recaption_answers_total", **of_long) == 30
        assert value(found, "recaption_rejects_total", **of_long, reason="refusal") == 2
        assert value(found, "recaption_retries_total", **of_long) == 5
        assert value(found, "recaption_output_tokens_total", **of_long) == 900
        assert value(found, "recaption_images", **of_long) == 100
        assert value(found, "recaption_resumed_images", **of_long) == 40
        assert value(found, "recaption_answers_total", model="other", generation="tags") == 0
        assert value(found, "recaption_in_flight_requests", model="qwen") == 64
        assert value(found, "recaption_engine_deaths_total", model="qwen") == 1
        assert value(found, "recaption_gpu_wait_seconds", model="qwen") == 0
        assert value(found, "recaption_left_seconds", model="qwen") == pytest.approx((200 - 72) * 10 / 32, rel=0.1)
        assert value(found, "recaption_shards_built_total") == 3 and value(found, "recaption_shards_to_build") == 8
        assert abs(value(found, "recaption_last_progress_timestamp_seconds") - time.time()) < 60
        assert not [name for name, _ in found if name == "recaption_engine_share_ratio"], "not known yet"
        meter = Meter()
        meter.window(8.0, 800, 8, saturated=True, where=Where(reading=0, rendering=0, ready=0))
        exporter.generating(progress(40, meter=meter.report()))
        assert value(scrape(port), "recaption_engine_share_ratio", model="qwen") == 1.0
    with pytest.raises(OSError):
        scrape(port)
    with PrometheusExporter(port):
        pass  # the port is free again


def test_engines_nodes_and_gpus_are_labels_and_latencies_are_histograms() -> None:
    gpu = GpuUse(gpu="3", busy=0.93, memory=70 * 2**30)
    engine = EngineProgress(
        engine=7, node="n1", in_flight=32, answers=500, output_tokens=9000, share=None, host_bytes=2**30, gpus=(gpu,)
    )
    latency = Histogram()
    for seconds in (0.02, 0.3, 0.3, 1000.0):
        latency.add(seconds)
    with PrometheusExporter(0) as exporter:
        port = port_of(exporter)
        exporter.generating(progress(10, fleet=(engine,), latency={("n1", "put"): latency}))
        exporter.built(4.0)
        exporter.built(0.2)
        found = scrape(port)
        exporter.generating(progress(10, phase="done", fleet=(engine,), latency={("n1", "put"): latency}))
        after = {name for name, _ in scrape(port)}
    assert "recaption_store_put_seconds_count" in after and "recaption_engine_host_bytes" not in after
    of_engine = {"model": "qwen", "engine": "7", "node": "n1"}
    assert value(found, "recaption_engine_in_flight_requests", **of_engine) == 32
    assert value(found, "recaption_engine_answers_total", **of_engine) == 500
    assert value(found, "recaption_engine_output_tokens_total", **of_engine) == 9000
    assert value(found, "recaption_engine_host_bytes", **of_engine) == 2**30
    assert value(found, "recaption_gpu_busy_ratio", **of_engine, gpu="3") == 0.93
    assert value(found, "recaption_gpu_memory_bytes", **of_engine, gpu="3") == 70 * 2**30
    assert not [name for name, _ in found if name == "recaption_engine_rate_ratio"], "not known yet"
    of_node, name = {"model": "qwen", "node": "n1"}, "recaption_store_put_seconds"
    counts = {le: value(found, f"{name}_bucket", **of_node, le=le) for le in ("0.01", "0.025", "0.5", "600.0", "+Inf")}
    assert counts == {"0.01": 0, "0.025": 1, "0.5": 3, "600.0": 3, "+Inf": 4}
    assert value(found, f"{name}_sum", **of_node) == pytest.approx(1000.62)
    assert value(found, "recaption_build_task_seconds_count") == 2
    assert value(found, "recaption_build_task_seconds_sum") == pytest.approx(4.2)


def test_figures_of_single_engines_are_not_stored() -> None:
    engine = EngineProgress(engine=0, node="n", in_flight=1, answers=1, output_tokens=1, share=0.9, host_bytes=1)
    stored = progress(1, fleet=(engine,), latency={("n", "put"): Histogram()}).model_dump(mode="json")
    assert "fleet" not in stored and "latency" not in stored


def test_a_port_in_use_is_an_error_with_advice() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"--metrics-port {port}: cannot listen on 127\.0\.0\.1:{port} .*another"):
            PrometheusExporter(port).__enter__()
    with pytest.raises(UserError, match="another address of this machine"):
        PrometheusExporter(0, "no.such.host.invalid").__enter__()


def test_names_and_units_follow_the_rules_of_prometheus() -> None:
    assert all(name.startswith("recaption_") and not name.endswith("_total") for name in METRICS)
    labels = {"model", "generation", "reason", "engine", "node", "gpu"}
    assert all(metric.help.endswith(".") and set(metric.labels) <= labels for metric in METRICS.values())
