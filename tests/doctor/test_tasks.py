"""What tasks need of models, and the tokens of yes and no."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_tiny_text
from toy_tasks import Words

from recaption import config
from recaption.doctor import tasks
from recaption.doctor.finding import Finding
from recaption.tasks.base import Unit
from recaption.tasks.output import Output


class YesNo(Words):
    needs = frozenset({"text"})

    def output(self, unit: Unit | None) -> Output:
        return Output(choices=("yes", "no"), logprobs=True)


class Sets(Words):
    needs = frozenset({"text"})

    def output(self, unit: Unit | None) -> Output:
        schema = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
        return Output(json_schema=json.dumps(schema).encode())


class AllYes(YesNo):
    def output(self, unit: Unit | None) -> Output:
        return Output(choices=("yes, all", "yes, some"), logprobs=True)


def looked(model: dict[str, Any], task: str) -> Sequence[Finding]:
    generation = {"id": "check", "model": "m", "task": task, "prompt": "describe_long"}
    pipeline = config.validate(
        {
            "name": "x",
            "source": {"path": "s"},
            "models": {"m": model},
            "generate": [generation],
            "output": {"path": "o"},
        }
    )
    return tasks.look(pipeline)


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    return make_tiny_text(tmp_path_factory.mktemp("text"))


def test_the_tokens_of_yes_and_no(text_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(text_model)
    (token,) = tokenizer(" Yes", add_special_tokens=False)["input_ids"]
    for engine in ("vllm", "transformers"):
        (found,) = looked({"engine": engine, "model": str(text_model)}, f"{__name__}:YesNo")
        assert (found.name, found.status) == ("generate check", "ok")
        yes, no = found.found.split("; ")
        assert yes.startswith("yes is ") and f"' Yes' {token}" in yes and no.startswith("no is ")
    (server,) = looked(
        {"engine": "openai", "model": "m", "engine_args": {"base_url": "http://x/v1"}}, f"{__name__}:YesNo"
    )
    assert server.found == "P(yes), P(no) from the first tokens that the engine returns"


def test_a_tokenizer_is_read_once_for_all_generations(text_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    real = tasks._tokenizer

    def tokenizer(folder: Path) -> Any:
        read.append(folder)
        return real(folder)

    monkeypatch.setattr(tasks, "_tokenizer", tokenizer)
    model = {"engine": "vllm", "model": str(text_model)}
    generations = [{"id": id, "model": "m", "task": f"{__name__}:YesNo", "prompt": "describe_long"} for id in "ab"]
    given = {"name": "x", "source": {"path": "s"}, "models": {"m": model}, "output": {"path": "o"}}
    first, second = tasks.look(config.validate({**given, "generate": generations}))
    assert first.found == second.found and len(read) == 1


def test_what_a_model_cannot_do_is_an_error(text_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = {"engine": "vllm", "model": str(text_model)}
    cases = [
        (model, f"{__name__}:Sets", "keyword uniqueItems"),
        (model, f"{__name__}:AllYes", "no first token that stands for 'yes, all'"),
        (model, "caption", "takes no images"),
        ({**model, "engine": "dual_encoder"}, f"{__name__}:YesNo", "engine dual_encoder needs a CLIP"),
        (model, "no_such_module:Task", "cannot be imported"),
    ]
    for given, task, message in cases:
        (found,) = looked(given, task)
        assert (found.name, found.status, found.fault) == ("generate check", "error", "input")
        assert message in found.found and found.todo
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert looked({"engine": "vllm", "model": str(tmp_path / "nothing")}, f"{__name__}:YesNo") == []
    (absent,) = looked({"engine": "vllm", "model": "nobody/no-such-model"}, f"{__name__}:YesNo")
    assert absent.status == "skipped" and "nobody/no-such-model is not on this machine" in absent.found


def test_what_needs_no_tokens_is_not_listed(text_model: Path) -> None:
    assert looked({"engine": "vllm", "model": "scene"}, "caption") == []
