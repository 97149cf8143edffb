"""Metrics for Prometheus: scraped over HTTP, and read as Prometheus reads them."""

from __future__ import annotations

import socket
import time
import urllib.request
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recaption.errors import UserError
from recaption.generate.progress import GenerationProgress, PassProgress
from recaption.generate.utilisation import Meter, Where
from recaption.run.monitor.prometheus import METRICS, PrometheusExporter

Scrape = dict[tuple[str, frozenset[tuple[str, str]]], float]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scrape(port: int) -> Scrape:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
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


def test_a_scrape_reads_the_last_update() -> None:
    port = free_port()
    with PrometheusExporter(port, info={"command": "run", "version": "0.1.0"}) as exporter:
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


def test_a_port_in_use_is_an_error_with_advice() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"--metrics-port {port}: cannot listen on 127\.0\.0\.1:{port} .*another"):
            PrometheusExporter(port).__enter__()
    with pytest.raises(UserError, match="another address of this machine"):
        PrometheusExporter(free_port(), "no.such.host.invalid").__enter__()


def test_names_and_units_follow_the_rules_of_prometheus() -> None:
    assert all(name.startswith("recaption_") and not name.endswith("_total") for name in METRICS)
    assert all(
        metric.help.endswith(".") and set(metric.labels) <= {"model", "generation", "reason"}
        for metric in METRICS.values()
    )
