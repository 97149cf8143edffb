"""A pipeline out of an output sends nothing to a host and imports no module: the theft, and that it is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_output import answer_all, pipeline_data, write_source

from recaption import config
from recaption.errors import ConfigError, RecaptionError, UserError
from recaption.progress import Display
from recaption.run.reproduce import reproduce
from recaption.run.retry_rejects import retry_rejects
from recaption.run.stored import trusted

THEFT = "STOLEN_BY_A_DATASET"


@pytest.fixture
def thief() -> Iterator[tuple[str, list[str]]]:
    """An HTTP server and the keys that it was sent."""
    taken: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(self.headers.get("Authorization", ""))
            self.send_error(400)

        do_GET = do_POST

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", taken
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def output(tmp_path: Path) -> Path:
    write_source(tmp_path, shards=1)
    answer_all(pipeline_data(tmp_path))
    return tmp_path


def edit(output: Path, **model: Any) -> Path:
    """The stored pipeline with another model; its path."""
    path = output / "out" / "pipeline.yaml"
    data = yaml.safe_load(path.read_text())
    data["models"]["moody"] = {"model": "scene", **model}
    path.write_text(yaml.safe_dump(data))
    return path


def attempts(out: str, path: Path | None = None) -> Iterator[Any]:
    shown = Display()
    yield lambda: reproduce(out, "cat00", path=path)
    yield lambda: retry_rejects(out, ["refusal"], shown, path=path)
    yield lambda: retry_rejects(out, ["no-such-reason"], shown, path=path)


def test_a_dataset_cannot_send_an_environment_variable_to_a_host(
    output: Path, thief: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, taken = thief
    monkeypatch.setenv(THEFT, "hunter2")
    args = {"base_url": url, "api_key_env": THEFT, "attempts": 1}
    file = edit(output, engine="openai", engine_args=args)
    for attempt in attempts(str(output / "out")):
        with pytest.raises(UserError, match=rf"(?s){url}.*{THEFT}.*--pipeline FILE"):
            attempt()
    assert taken == []
    answers = output / "out" / "answers"
    for folder in list(answers.iterdir()):  # an attacker has made the fingerprints fit
        plan_of = {q.generation.id: q.folder for q in _questions(file)}
        folder.rename(answers / plan_of[folder.name.rpartition("-")[0]])
    with suppress(RecaptionError):
        reproduce(str(output / "out"), "cat00", path=file)
    assert "Bearer hunter2" in taken, "with the file named, the same pipeline reaches that host: the test is none else"


def _questions(file: Path) -> Any:
    from recaption.generate.plan import make_plan

    return make_plan(config.load(str(file))[0]).questions


def test_a_dataset_cannot_import_a_module(output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "imported"
    (tmp_path / "evil_of_a_dataset.py").write_text(
        f"from pathlib import Path\nPath({str(mark)!r}).touch()\nEngine = None\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    file = edit(output, engine="evil_of_a_dataset:Engine")
    for attempt in attempts(str(output / "out")):
        with pytest.raises(UserError, match=r"(?s)models\.moody\.engine: evil_of_a_dataset:Engine.*--pipeline FILE"):
            attempt()
    assert not mark.exists()
    with pytest.raises(TypeError, match="not callable"):
        reproduce(str(output / "out"), "cat00", path=file)
    assert mark.exists(), "with the file named, it is imported: the test is none else"


BASE: dict[str, Any] = {
    "name": "x",
    "source": {"path": "a.tar"},
    "models": {"m": {"engine": "vllm", "model": "org/name", "engine_args": {"enforce_eager": True, "max_num_seqs": 8}}},
    "generate": [{"id": "long", "model": "m", "prompt": "describe_long"}],
    "output": {"path": "out/x"},
}


def test_shipped_prompts_and_models_need_no_file() -> None:
    stored = config.validate(BASE)
    assert trusted(stored, None, "out") is stored
    stored = config.validate(BASE | {"models": {"m": {"engine": "transformers", "model": "scene"}}})
    assert trusted(stored, None, "out") is stored


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": {"m": {"engine": "vllm", "model": "a/b", "engine_args": {"trust_remote_code": True}}}}, "trust_"),
        ({"models": {"m": {"engine": "vllm", "model": "a/b", "engine_args": {"worker_cls": "os.x"}}}}, "worker_cls"),
        ({"models": {"m": {"engine": "vllm", "model": "a/b", "engine_args": {"hf_overrides": {"a": "b"}}}}}, "hf_over"),
        ({"models": {"m": {"engine": "vllm", "model": "/tmp"}}}, r"models\.m\.model: /tmp"),
        ({"generate": [{"id": "long", "model": "m", "prompt": "/etc/passwd"}]}, r"generate\.long\.prompt: /etc/passwd"),
        ({"generate": [{"id": "long", "model": "m", "prompt": "../prompts/describe_long.md"}]}, r"generate\.long"),
        ({"annotate": {"tables": ["os:system"]}}, r"annotate\.tables: os:system"),
        ({"annotate": {"spacy_model": "some_package"}}, r"annotate\.spacy_model: some_package"),
        ({"source": {"path": "http://evil.example/a.tar"}}, r"source\.path: http://evil"),
        ({"source": {"path": "reference::http://evil.example/a"}}, r"source\.path: reference"),
    ],
)
def test_settings_that_reach_code_hosts_or_files_are_listed(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=rf"(?s)out/pipeline\.yaml.*{said}.*--pipeline FILE"):
        trusted(config.validate(BASE | changes), None, "out")


def test_these_settings_come_from_the_file_and_not_from_the_output(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    args = {"base_url": "http://mine:8000/v1", "api_key_env": "MY_KEY"}
    own.write_text(yaml.safe_dump(BASE | {"models": {"m": {"engine": "openai", "model": "n", "engine_args": args}}}))
    stored = config.validate(
        BASE
        | {
            "models": {"m": {"engine": "evil:Engine", "model": "n", "max_pixels": 7}},
            "annotate": {"tables": ["evil:T"], "spacy_model": "evil", "tokenizers": ["scene"]},
            "generate": [{"id": "long", "model": "m", "prompt": "/evil.md", "attempts": 2}],
        }
    )
    used = trusted(stored, own, "out")
    assert used.models["m"].engine == "openai" and used.models["m"].engine_args == args
    assert used.generate[0].prompt == "describe_long" and used.annotate.tables == ()
    assert used.annotate.spacy_model is None
    kept = used.models["m"].max_pixels, used.generate[0].attempts, used.annotate.tokenizers
    assert kept == (7, 2, ("scene",)), "what is harmless stays as it was run"
    assert "evil" not in repr(used)
    other = {"models": {"q": BASE["models"]["m"]}, "generate": [{"id": "y", "model": "q", "prompt": "describe_long"}]}
    own.write_text(yaml.safe_dump(BASE | other))
    with pytest.raises(ConfigError, match=r"(?s)has no model 'm'.*has no generation 'long'"):  # all at once
        trusted(stored, own, "out")


def test_a_preset_of_the_file_is_applied(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    server = {"engine": "openai", "model": "n", "engine_args": {"base_url": "http://mine/v1"}}
    local = {"models.m.engine_args.base_url": "http://here/v1"}
    own.write_text(yaml.safe_dump(BASE | {"models": {"m": server}, "presets": {"local": local}}))
    stored = config.validate(BASE | {"models": {"m": server}})
    assert trusted(stored, own, "out").models["m"].engine_args == {"base_url": "http://mine/v1"}
    assert trusted(stored, own, "out", "local").models["m"].engine_args == {"base_url": "http://here/v1"}
    for pipeline in (stored, config.validate(BASE)):  # also where nothing is taken from the file
        with pytest.raises(ConfigError, match="has no preset 'other'; its presets are: local"):
            trusted(pipeline, own, "out", "other")
        with pytest.raises(UserError, match="--preset needs --pipeline FILE"):
            trusted(pipeline, None, "out", "local")


def test_a_task_of_ones_own_comes_from_the_file_with_its_settings(tmp_path: Path) -> None:
    def check(task: str, **more: Any) -> dict[str, Any]:
        generation = {"id": "check", "model": "m", "prompt": "is_it_true", "task": task, "over": "long", **more}
        return BASE | {"generate": [*BASE["generate"], generation]}

    stored = config.validate(check("evil_tasks:Task", n="evil", attempts=2))
    with pytest.raises(UserError, match=r"(?s)check\.task: evil_tasks:Task \(imports code\).*--pipeline FILE"):
        trusted(stored, None, "out")
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump(check("mine:Task", n=3)))
    long, used = trusted(stored, own, "out").generate
    assert (used.task, used.settings, used.attempts, used.over) == ("mine:Task", {"n": 3}, 2, ("long",))
    assert long == stored.generate[0] and "evil" not in repr(used)
    own.write_text(yaml.safe_dump(BASE))
    with pytest.raises(ConfigError, match="has no generation 'check'; its generations are long"):
        trusted(stored, own, "out")


def test_a_shipped_task_needs_no_file() -> None:
    check = {"id": "check", "model": "m", "task": "verify", "over": "long", "which": "all"}
    stored = config.validate(BASE | {"generate": [*BASE["generate"], check]})
    assert trusted(stored, None, "out") is stored


def test_the_task_of_a_dataset_is_not_imported(output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "imported"
    (tmp_path / "evil_task_of_a_dataset.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = output / "out" / "pipeline.yaml"
    data = yaml.safe_load(path.read_text())
    data["generate"][0]["task"] = "evil_task_of_a_dataset:Task"
    path.write_text(yaml.safe_dump(data))
    for attempt in attempts(str(output / "out")):
        with pytest.raises(UserError, match=r"(?s)task: evil_task_of_a_dataset:Task.*--pipeline FILE"):
            attempt()
    assert not mark.exists()
