"""What a pipeline needs: source, prompts, output, model; each in a good world and in a bad one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from s3_server import S3Server, needs_s3

from recaption import config
from recaption.cli import main
from recaption.doctor import diagnose, exit_code, model
from recaption.doctor import pipeline as parts
from recaption.doctor.finding import Check, Finding, examine
from recaption.errors import ConfigError
from recaption.io.store import LocalStore, ObjectStore


def pipeline(source: str, out: str = "out", **changes: Any) -> config.Pipeline:
    return config.validate(
        {
            "name": "p",
            "source": {"path": source},
            "models": {"m": {"engine": "openai", "model": "org/name", "engine_args": {"base_url": "http://x/v1"}}},
            "generate": [{"id": "long", "model": "m", "prompt": "describe_long"}],
            "output": {"path": out},
        }
        | changes
    )


def looked(look: Callable[[], Any]) -> Finding:
    """The last finding of a check, as a doctor has it: errors are findings, too."""
    return examine([Check("it", look, "hint")], seconds=60)[-1]


# source and prompts


def test_what_a_source_has_and_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for name in ("a.jpg", "b.txt"):
        (tmp_path / "s" / name).write_bytes(b"x")
    (tmp_path / "s" / "metadata.jsonl").write_text('{"file_name": "a.jpg", "alt": "x"}\n')
    source, files, columns, _ = parts.source(pipeline(str(tmp_path / "s")), tmp_path / "p.yaml")
    assert source.status == "ok" and source.found.startswith("folder, 1 shard,")
    assert (files.status, files.found) == ("warning", "not used: files that are not images: 1 .txt")
    assert columns.status == "warning" and "columns that may hold captions: alt" in columns.found
    assert exit_code([source, files, columns]) == 0


def test_a_source_and_its_prompts(make_source: Callable[..., Path], tmp_path: Path) -> None:
    prompt = tmp_path / "p.md"
    prompt.write_text("---\nid: p\nversion: 1\ngranularity: short\n---\nTitle {{ title }}: one sentence, please.\n")
    given = pipeline(
        f"{make_source(shards=2, per_shard=2)}/*.tar", generate=[{"id": "long", "model": "m", "prompt": str(prompt)}]
    )
    source, prompts = parts.source(given, tmp_path / "pipelines" / "p.yaml")
    assert source.status == "ok" and "2 shards, the first is 00000.tar; columns" in source.found
    assert (prompts.status, prompts.found) == ("ok", "p (uses title)")
    prompt.write_text("---\nid: p\nversion: 1\ngranularity: short\n---\nBy {{ author }}.\n")
    found = looked(lambda: parts.source(given, tmp_path / "p.yaml"))
    assert (found.status, found.fault) == ("error", "input")
    assert "uses author, which the source lacks; its columns are" in found.found


def test_a_column_that_is_read_has_to_be_there(make_source: Callable[..., Path], tmp_path: Path) -> None:
    def from_column(column: str) -> config.Pipeline:
        return pipeline(
            f"{make_source(shards=1, per_shard=2)}/*.tar",
            models={"m": {"engine": "column"}},
            generate=[{"id": "long", "model": "m", "column": column}],
        )

    assert looked(lambda: parts.source(from_column("title"), tmp_path)).found == "column title"
    found = looked(lambda: parts.source(from_column("tytle"), tmp_path))
    assert found.status == "error" and "no column 'tytle'" in found.found


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    found = looked(lambda: parts.source(pipeline(f"{tmp_path}/*.tar"), tmp_path))
    assert (found.status, found.fault, found.todo) == ("error", "input", "hint") and "no file matches" in found.found
    assert parts.build(pipeline(f"{tmp_path}/none")).status == "skipped"


# output, disk, build


def test_an_output_is_probed_and_left_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    assert parts.output(pipeline("x", str(out))).status == "ok"
    assert list(tmp_path.iterdir()) == []
    out.mkdir(parents=True)
    assert parts.output(pipeline("x", str(out))).status == "ok"
    assert list(out.iterdir()) == []


def test_an_output_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    found = looked(lambda: parts.output(pipeline("x", str(tmp_path / "file" / "out"))))
    assert (found.status, found.fault) == ("error", "infrastructure") and "--set output.path" in found.todo
    assert parts.output(pipeline("x", "memory://x/y")).fault == "input"
    assert looked(lambda: parts.output(pipeline("x", "nosuch://x/y"))).fault == "input"
    put = LocalStore.put
    monkeypatch.setattr(LocalStore, "put", lambda store, path, data, **options: put(store, path, data))
    found = parts.output(pipeline("x", str(tmp_path / "out")))
    assert found.status == "warning" and "--takeover" in found.todo, "a condition that is ignored"


@needs_s3
def test_an_output_on_s3(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = s3.bucket()
    found = parts.output(pipeline("x", url))
    assert found.status == "ok" and found.found == f"{url} can be written, with conditional writes"
    assert s3.requests["DELETE"] + s3.requests["POST"] >= 1, "the probe is gone"
    monkeypatch.setattr(ObjectStore, "refuses_existing", lambda store, path: False)
    found = parts.output(pipeline("x", url))
    assert found.status == "warning" and "no conditional writes" in found.found
    found = parts.output(pipeline("x", "s3://no-such-bucket-at-all/out"))
    assert (found.status, found.fault) == ("error", "infrastructure") and "AWS_ENDPOINT_URL" in found.todo
    s3.fault = lambda method, path: "refuse"
    found = looked(lambda: parts.output(pipeline("x", url)))
    assert found.status == "error" and found.todo


def test_room_for_the_dataset(
    make_source: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(parts, "disk", lambda name, path, needed: asked.append(needed) or [])
    source = f"{make_source(shards=2, per_shard=2)}/*.tar"
    size = sum(file.stat().st_size for file in (tmp_path / "source").iterdir())
    for output in ({"path": str(tmp_path)}, {"path": str(tmp_path), "format": "webdataset"}):
        parts.room(pipeline(source, output=output))
    parts.room(pipeline(f"{tmp_path}/none/*.tar", str(tmp_path)))
    assert asked == [0, size, 0], "a sidecar holds no pixel"
    assert parts.room(pipeline(source, "s3://bucket/out")) == []


def test_what_a_build_decides(make_source: Callable[..., Path], tmp_path: Path) -> None:
    source = f"{make_source(shards=1, per_shard=2)}/*.tar"
    assert parts.build(pipeline(source)).found == "format sidecar"
    assert parts.build(pipeline(source, output={"path": "x", "token_ids": ["scene"]})).found.endswith(
        "token ids of scene"
    )
    found = looked(lambda: parts.build(pipeline(source, output={"path": "x", "samples_per_shard": 100})))
    assert (found.status, found.fault) == ("error", "input") and "sidecar" in found.found


# models


@contextmanager
def server(reply: Callable[[str | None], tuple[int, Any]]) -> Iterator[str]:
    """A server with /v1/models: `reply` gets the Authorization header and says status and body."""

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


def test_a_server_that_has_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    seen: list[str | None] = []
    with server(lambda key: (seen.append(key) or 200, LISTED)) as url:
        found = model.look("m", hosted(url))
        assert (found.name, found.status, found.found) == ("model m", "ok", f"org/name at {url}, without a key")
        monkeypatch.setenv("MY_KEY", "k3y-of-mine-1234")
        found = model.look("m", hosted(url, api_key_env="MY_KEY"))
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
def test_a_server_that_is_not_well(
    status: int, body: Any, verdict: str, fault: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k3y-of-mine-1234")
    with server(lambda key: (status, body)) as url:
        found = looked(lambda: model.look("m", hosted(url)))
    assert found.status == verdict and words in found.found and found.todo
    assert fault is None or found.fault == fault
    assert "k3y-of-mine" not in found.found + found.todo


def test_a_server_that_is_not_there_or_a_key_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(lambda key: (200, LISTED)) as url:
        pass
    found = looked(lambda: model.look("m", hosted(url)))
    assert (found.status, found.fault) == ("error", "infrastructure") and "vllm serve" in found.todo
    monkeypatch.delenv("MY_KEY", raising=False)
    found = looked(lambda: model.look("m", hosted(url, api_key_env="MY_KEY")))
    assert (found.status, found.fault) == ("error", "input") and "MY_KEY is not set" in found.found


def local(path: str) -> config.Model:
    return config.Model(engine="transformers", model=path)


def test_a_model_in_a_folder(tmp_path: Path) -> None:
    assert model.look("m", local("scene")).status == "ok"
    assert model.look("m", config.Model(engine="column")).status == "ok"
    found = model.look("m", local(str(tmp_path / "none")))
    assert (found.status, found.fault) == ("error", "input") and "there is no folder" in found.found
    assert "no config.json" in model.look("m", local(str(tmp_path))).found
    (tmp_path / "config.json").write_text("{}")
    assert "no weights" in model.look("m", local(str(tmp_path))).found
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert model.look("m", local(str(tmp_path))).status == "ok"


def test_a_model_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    commit = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: f"/x/{commit}/config.json")
    monkeypatch.setattr(model, "cached", lambda name, found: tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert "in the Hugging Face cache" in model.look("m", local("org/name")).found
    monkeypatch.setattr(model, "cached", lambda name, found: None)
    monkeypatch.setattr(model, "ask_hub", lambda name, revision, timeout: commit)
    found = model.look("m", local("org/name"))
    assert found.status == "warning" and "hf download org/name" in found.todo

    def away(*_: Any, **__: Any) -> str:
        raise ConfigError("the hub cannot be asked")

    monkeypatch.setattr(model, "ask_hub", away)
    assert looked(lambda: model.look("m", local("org/name"))).status == "error"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    found = model.look("m", local("org/name"))
    assert found.status == "error" and "HF_HUB_OFFLINE is set" in found.found


# the command


def test_the_command_on_a_pipeline_that_is_well(
    make_source: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "p.yaml"
    source = f"{make_source(shards=1, per_shard=2)}/*.tar"
    file.write_text(
        json.dumps(
            {
                "name": "p",
                "source": {"path": source},
                "models": {"m": {"engine": "column"}},
                "generate": [{"id": "long", "model": "m", "column": "title"}],
                "annotate": {"splitter": "flair_regex"},
                "output": {"path": str(tmp_path / "out")},
            }
        )
    )
    assert main(["doctor", str(file), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    names = {check["name"]: check["status"] for check in data["checks"]}
    for name in ("pipeline", "python", "source", "prompts", "model m", "output", "build", "gpu"):
        assert names[name] == "ok", data
    assert not (tmp_path / "out").exists() and data["exit_code"] == 0
    assert main(["doctor", str(file), "--set", "source.path=/nowhere/*.tar"]) == 2
    said = capsys.readouterr().out
    assert "error    source" in said and "-> correct source.path, in the file or with --set source.path=…" in said


def test_a_pipeline_that_is_wrong_leaves_the_machine_to_be_looked_at() -> None:
    findings = diagnose("nope")
    assert findings[0].name == "pipeline" and "pipeline 'nope' not found" in findings[0].found
    assert {finding.name for finding in findings} >= {"python", "disk", "open files"}
    assert exit_code(findings) == 2
