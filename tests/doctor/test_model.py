"""Checks of models in folders, in the cache, on the hub and on servers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from recaption import config
from recaption.doctor import model
from recaption.doctor.finding import Check, Finding, examine
from recaption.errors import ConfigError


def looked(look: Callable[[], Any]) -> Finding:
    """The last finding of a check; an exception is a finding, too."""
    return examine([Check("it", look, "hint")], seconds=600)[-1]


@contextmanager
def server(reply: Callable[[str | None], tuple[int, Any]]) -> Iterator[str]:
    """A server with /v1/models: `reply` maps the Authorization header to a status and a body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = reply(self.headers["Authorization"])
            data = json.dumps(body).encode()
            self.send_response(status if self.path == "/v1/models" else 404)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/v1"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def hosted(url: str, **engine_args: Any) -> config.Model:
    return config.Model(engine="openai", model="org/name", engine_args={"base_url": url, **engine_args})


LISTED = {"data": [{"id": "org/name"}, {"id": "org/other"}]}


def test_a_server_that_lists_the_model_is_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    seen: list[str | None] = []
    with server(lambda key: (seen.append(key) or 200, LISTED)) as url:
        (found,) = model.look("m", hosted(url))
        assert (found.name, found.status, found.found) == ("model m", "ok", f"org/name at {url}, without a key")
        monkeypatch.setenv("MY_KEY", "k3y-of-mine-1234")
        (found,) = model.look("m", hosted(url, api_key_env="MY_KEY"))
        assert found.found == f"org/name at {url}, with the key in MY_KEY"
    assert seen == [None, "Bearer k3y-of-mine-1234"]


@pytest.mark.parametrize(
    ("status", "body", "verdict", "fault", "words"),
    [
        (200, {"data": [{"id": "org/other"}]}, "warning", None, "does not list org/name; it lists org/other"),
        (200, {"data": []}, "warning", None, "it lists none"),
        (404, {}, "warning", None, "lists no models"),
        (401, {"error": {"message": "wrong key k3y-of-mine-1234"}}, "error", "input", "refuses the API key"),
        (500, {"error": "overloaded"}, "error", "infrastructure", "overloaded"),
    ],
)
def test_a_server_without_the_model_is_a_warning_and_a_failing_one_an_error(
    status: int, body: Any, verdict: str, fault: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k3y-of-mine-1234")
    with server(lambda key: (status, body)) as url:
        found = looked(lambda: model.look("m", hosted(url)))
    assert found.status == verdict and words in found.found and found.todo
    assert fault is None or found.fault == fault
    assert "k3y-of-mine" not in found.found + found.todo


def test_an_unreachable_server_and_a_missing_key_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # bound and not listening, so no other server can use the port
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        found = looked(lambda: model.look("m", hosted(url)))
    assert (found.status, found.fault) == ("error", "infrastructure") and "vllm serve" in found.todo
    monkeypatch.delenv("MY_KEY", raising=False)
    found = looked(lambda: model.look("m", hosted(url, api_key_env="MY_KEY")))
    assert (found.status, found.fault) == ("error", "input") and "MY_KEY is not set" in found.found


def found(path: str) -> Finding:
    return looked(lambda: model.look("m", config.Model(engine="transformers", model=path)))


def test_a_model_folder_needs_config_json_and_weights(tmp_path: Path) -> None:
    assert found("scene").status == "ok"
    assert looked(lambda: model.look("m", config.Model(engine="column"))).status == "ok"
    missing = found(str(tmp_path / "none"))
    assert (missing.status, missing.fault) == ("error", "input") and "there is no such folder" in missing.found
    assert "no config.json" in found(str(tmp_path)).found
    (tmp_path / "config.json").write_text("{}")
    assert "no weights" in found(str(tmp_path)).found
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert found(str(tmp_path)).status == "ok"


def test_a_hub_model_is_looked_up_in_the_cache_and_then_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    commit = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: f"/x/{commit}/config.json")
    monkeypatch.setattr(model, "cached", lambda name, found: tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert "in the Hugging Face cache" in found("org/name").found
    monkeypatch.setattr(model, "cached", lambda name, found: None)
    monkeypatch.setattr(model, "ask_hub", lambda name, revision, timeout: commit)
    on_hub = found("org/name")
    assert on_hub.status == "warning" and "hf download org/name" in on_hub.todo

    def unreachable(*_: Any, **__: Any) -> str:
        raise ConfigError("the hub is unreachable")

    monkeypatch.setattr(model, "ask_hub", unreachable)
    assert (found("org/name").status, found("org/name").fault) == ("error", "input"), "as in a run"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    offline = found("org/name")
    assert offline.status == "error" and "HF_HUB_OFFLINE is set" in offline.found
