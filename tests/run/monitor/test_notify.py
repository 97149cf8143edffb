"""A notice reaches a web server when a run ends, fails or stalls. A server that fails does not fail the run."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from recaption.errors import CircuitOpen, ConfigError, EngineDead, Interrupted
from recaption.generate.progress import GenerationProgress, PassProgress
from recaption.run.monitor import notify
from recaption.run.monitor.notify import Notifier, address, post


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, Any]], list[int]]]:
    """The URL of a server, the bodies that it got, and the status codes of its next answers (then 200)."""
    got: list[dict[str, Any]] = []
    statuses: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = statuses.pop(0) if statuses else 200
            if status == 200:
                got.append({**body, "type": self.headers["Content-Type"]})
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/hook", got, statuses
        running.shutdown()
        thread.join()


def notifier(url: str | None, **more: Any) -> Notifier:
    return Notifier(url, pipeline="demo", out="out/demo", **more)


def progress(answers: int, phase: str = "generating") -> PassProgress:
    return PassProgress(model="m", phase=phase, generations={"long": GenerationProgress(total=9, answers=answers)})


@pytest.mark.parametrize(
    ("error", "notice", "detail"),
    [
        (None, "done", "done"),
        (EngineDead("the GPU fell off\nand more"), "failed", "the GPU fell off"),
        (CircuitOpen("the run was stopped: 900 of the last 1000"), "breaker", "the run was stopped"),
        (Interrupted("stopped on request"), "interrupted", "stopped on request"),
    ],
)
def test_the_end_of_a_run_is_posted(server: Any, error: Exception | None, notice: str, detail: str) -> None:
    url, got, _ = server
    told = notifier(url)
    told.generating(progress(7))
    told.ended(error, build="b")
    (body,) = got
    assert (body["notice"], body["answers"], body["build"], body["pipeline"]) == (notice, 7, "b", "demo")
    assert body["text"].startswith(f"recaption demo: {detail}") and body["text"].endswith("(out/demo)")
    assert body["type"] == "application/json"


def test_a_stall_is_posted_once_and_its_end_too() -> None:
    now, sent = 0.0, []
    told = notifier("http://x", clock=lambda: now, send=lambda url, body: sent.append(json.loads(body)))
    for at, answers in ((0, 5), (899, 5), (901, 5), (2000, 5), (2100, 6), (2900, 6)):
        now = float(at)
        told.generating(progress(answers))
    now = 4000.0
    told.generating(progress(6, phase="done"))  # it waits for nothing: it is done
    told.ended(None)
    assert [body["notice"] for body in sent] == ["stalled", "resumed", "done"]
    assert "15 min" in sent[0]["detail"]


def test_waiting_for_gpus_counts_as_a_stall() -> None:
    now, sent = 0.0, []
    told = notifier("http://x", clock=lambda: now, send=lambda url, body: sent.append(json.loads(body)))
    for at, waited, phase, answers in (
        (0, 0.0, "listing", 0),
        (899, 890.0, "starting engine", 0),
        (901, 892.0, "starting engine", 0),
        (1000, 0.0, "starting engine", 0),  # a node has joined
        (1100, 0.0, "generating", 1),
    ):
        now = float(at)
        told.generating(progress(answers, phase).model_copy(update={"gpu_wait_seconds": waited}))
    told.ended(None)
    assert [body["notice"] for body in sent] == ["stalled", "resumed", "done"]
    assert sent[0]["detail"] == "no node has enough GPUs for an engine, and no answer was stored for 15 min"


def test_a_failing_server_is_tried_again_and_given_up(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url, got, statuses = server
    monkeypatch.setattr(notify.time, "sleep", lambda seconds: None)
    statuses += [500, 503]
    post(url, b"{}")
    assert len(got) == 1
    statuses += [500] * notify.ATTEMPTS
    assert post(url, b"{}") == "HTTP Error 500: Internal Server Error"
    assert "refused" in str(post("http://127.0.0.1:9/secret", b"{}"))
    assert "Invalid IPv6" in str(post("http://[broken", b"{}"))
    assert len(got) == 1


def test_a_last_notice_that_cannot_be_sent_is_reported() -> None:
    for problem, reported in ((None, []), ("HTTP Error 404", ["the last notice could not be sent: HTTP Error 404"])):
        lines: list[str] = []
        told = notifier("http://x", say=lines.append, send=lambda url, body, problem=problem: problem)
        told.ended(None)
        assert [line.partition(". Check")[0] for line in lines] == reported


def test_without_an_address_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "Background", None)  # what starts a thread
    told = notifier(None)
    told.generating(progress(1))
    told.ended(None)


def test_the_address_may_be_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", "https://chat.example/secret")
    assert address("env:HOOK") == "https://chat.example/secret"
    assert address("http://host/x") == "http://host/x" and address(None) is None
    for value in ("", "not a url"):
        monkeypatch.setenv("HOOK", value)
        with pytest.raises(ConfigError, match="notify: the environment variable HOOK has no URL"):
            address("env:HOOK")
