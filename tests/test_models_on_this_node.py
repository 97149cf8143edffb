"""recaption.models.on_this_node, against a hub on the loopback: one download a node, whoever asks and however many."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recaption.demo import model_path
from recaption.errors import ConfigError
from recaption.models import on_this_node

ROOT = Path(__file__).parent.parent
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ASK = "import sys; from recaption.models import on_this_node; print(on_this_node('some/model', sys.argv[1]))"
FILES = {
    "config.json": b'{"model_type": "x"}',
    "tokenizer.json": b"{}",
    "model.safetensors": b"weights" * 1000,
    "pytorch_model.bin": b"the same weights again",
    "onnx/model.onnx": b"and again",
    "original/params.json": b"{}",
    "README.md": b"about",
}


class Hub:
    """As much of the hub as a download needs: https://huggingface.co/docs/hub/api and the headers of /resolve."""

    def __init__(self, files: dict[str, bytes], delay: float = 0.0) -> None:
        self.files, self.delay = files, delay
        self.held = ""  # a file whose bytes are never sent
        self.closing = threading.Event()
        self.downloads: Counter[str] = Counter()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.file(body=False)

            def do_GET(self) -> None:
                if self.path.startswith(f"/api/models/some/model/tree/{COMMIT}"):
                    listed = [
                        {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                        for name, data in hub.files.items()
                    ]
                    self.answer(200, json.dumps(listed).encode(), {"Content-Type": "application/json"})
                else:
                    self.file(body=True)

            def file(self, *, body: bool) -> None:
                name = self.path.split("?")[0].removeprefix(f"/some/model/resolve/{COMMIT}/")
                if name not in hub.files:
                    self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
                    return
                if body:
                    hub.downloads[name] += 1
                    time.sleep(hub.delay)
                    if name == hub.held:
                        hub.closing.wait()
                data = hub.files[name]
                etag = f'"{hashlib.sha1(data).hexdigest()}"'
                self.answer(200, data, {"ETag": etag, "X-Repo-Commit": COMMIT}, body=body)

            def answer(self, code: int, data: bytes, headers: dict[str, str], *, body: bool = True) -> None:
                self.send_response(code)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if body:
                    self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub(dict(FILES), delay=0.2)
    yield hub
    hub.close()


def ask(hub: Hub, home: Path, commit: str = COMMIT, **environment: str) -> subprocess.Popen[str]:
    """A process that wants the model, on a node whose Hugging Face cache is in `home`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", ASK, commit],
        env={**kept, **settings, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def folder_of(process: subprocess.Popen[str]) -> Path:
    said, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return Path(said.strip())


def test_replicas_on_a_node_fetch_a_model_once(hub: Hub, tmp_path: Path) -> None:
    found = {folder_of(process) for process in [ask(hub, tmp_path) for _ in range(3)]}
    assert len(found) == 1
    (folder,) = found
    assert folder.name == COMMIT
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert hub.downloads == {"config.json": 1, "tokenizer.json": 1, "model.safetensors": 1}, "and no second copy"
    hub.close()
    assert folder_of(ask(hub, tmp_path)) == folder, "it needs no hub any more"


def test_a_model_without_safetensors_is_fetched_as_it_is(hub: Hub, tmp_path: Path) -> None:
    del hub.files["model.safetensors"]
    assert (folder_of(ask(hub, tmp_path)) / "pytorch_model.bin").is_file()


def test_a_model_without_weights_is_refused(hub: Hub, tmp_path: Path) -> None:
    del hub.files["model.safetensors"], hub.files["pytorch_model.bin"]
    process = ask(hub, tmp_path)
    assert "has no weights" in process.communicate(timeout=600)[1]
    assert process.returncode


def test_a_download_that_was_cut_off_is_finished_by_the_next_process(hub: Hub, tmp_path: Path) -> None:
    hub.held = "model.safetensors"
    process, snapshots = ask(hub, tmp_path), tmp_path / "hub" / "models--some--model" / "snapshots"
    while not (hub.downloads["model.safetensors"] and list(snapshots.glob("*/config.json"))):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    hub.held = ""
    folder = folder_of(ask(hub, tmp_path))
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert hub.downloads["config.json"] == 1


def test_a_hub_out_of_reach_is_infrastructure_and_says_what_to_do(hub: Hub, tmp_path: Path) -> None:
    _, errors = ask(hub, tmp_path, HF_HUB_OFFLINE="1").communicate(timeout=600)
    last = errors.strip().splitlines()[-1]
    assert last.startswith("recaption.errors.EngineDead: model 'some/model' at commit 0123456789")
    assert socket.gethostname() in last and "HF_HOME" in last


def test_a_model_that_a_node_may_not_read_is_the_users_to_mend(hub: Hub, tmp_path: Path) -> None:
    process = ask(hub, tmp_path, "f" * 40)
    last = process.communicate(timeout=600)[1].strip().splitlines()[-1]
    assert last.startswith("recaption.errors.ConfigError: ") and "HF_TOKEN" in last


def test_the_embedded_model_is_that_of_this_nodes_own_package() -> None:
    assert Path(on_this_node("scene")) == model_path()


def test_a_folder_has_to_be_on_every_node(tmp_path: Path) -> None:
    assert on_this_node(str(tmp_path)) == str(tmp_path)
    missing = tmp_path / "Qwen"
    with pytest.raises(ConfigError, match=rf"{missing} does not exist on node {socket.gethostname()}.*hub id"):
        on_this_node(str(missing))
