"""Plans: what is identity and what is not, and what is found wrong before a model is loaded."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recaption import config
from recaption.errors import ConfigError, MissingExtra
from recaption.generate.plan import fingerprint, make_plan, reachable
from recaption.tasks.base import Parsed, Task, Unit
from recaption.tasks.output import Output
from recaption.types import Completion


@pytest.fixture
def data(make_source: Callable[..., Path], tmp_path: Path) -> dict[str, Any]:
    return {
        "name": "x",
        "source": {"path": f"{make_source(shards=1, per_shard=2)}/*.tar"},
        "models": {"m": {"engine": "fake_engine:FakeEngine", "model": "scene"}},
        "generate": [{"id": "long", "model": "m", "prompt": "describe_long", "sampling": {"max_tokens": 50}}],
        "output": {"path": str(tmp_path / "out")},
    }


def changed(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(data)
    node: Any = data
    *parents, last = path.split(".")
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    node[last] = value
    return data


def identity(data: dict[str, Any]) -> str:
    (question,) = make_plan(config.validate(data)).questions
    return question.generation.fingerprint


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("generate.0.prompt", "describe_short"),
        ("generate.0.sampling.max_tokens", 51),
        ("generate.0.sampling.temperature", 0.5),
        ("generate.0.sampling.seed", 1),
        ("generate.0.attempts", 2),
        ("models.m.dtype", "float32"),
        ("models.m.max_pixels", 500_000),
        ("models.m.max_model_len", 1024),
    ],
)
def test_settings_that_change_answers_change_the_fingerprint(data: dict[str, Any], path: str, value: Any) -> None:
    assert identity(changed(data, path, value)) != identity(data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("models.m.engine", "transformers"),
        ("models.m.engine_args", {"batch_size": 4}),
        ("models.m.replicas", 3),
        ("models.m.cpus", 0.5),
        ("output.format", "sidecar"),
        ("annotate.splitter", "flair_regex"),
        ("name", "other"),
    ],
)
def test_provenance_does_not_change_the_fingerprint(data: dict[str, Any], path: str, value: Any) -> None:
    assert identity(changed(data, path, value)) == identity(data)


def test_a_fingerprint_does_not_depend_on_the_order_of_its_parts() -> None:
    assert fingerprint({"a": 1, "b": [2, None]}) == fingerprint({"b": [2, None], "a": 1})
    assert len(fingerprint({})) == 16


def test_an_engine_that_is_not_installed_is_an_error_of_the_plan(
    data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'recaption\[vllm\]'"):
        make_plan(config.validate(changed(data, "models.m.engine", "vllm")))


def test_a_missing_custom_engine_is_an_error(data: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="'no_such_module:Engine' cannot be imported"):
        make_plan(config.validate(changed(data, "models.m.engine", "no_such_module:Engine")))


def test_a_missing_column_is_an_error(data: dict[str, Any]) -> None:
    data["models"] = {"m": {"engine": "column"}}
    data["generate"] = [{"id": "long", "model": "m", "column": "recap"}]
    with pytest.raises(ConfigError, match=r"no column 'recap'; it has .*caption.*title"):
        make_plan(config.validate(data))


def test_a_model_that_takes_no_images_is_refused_before_it_is_loaded(data: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (folder / "model.safetensors").write_bytes(b"weights")
    llama = changed(changed(data, "models.m.engine", "transformers"), "models.m.model", str(folder))
    with pytest.raises(ConfigError, match="takes no images: name a vision-language model"):
        make_plan(config.validate(llama))
    with pytest.raises(ConfigError, match="takes no images"):  # as `recaption doctor` checks it
        reachable(config.validate(llama).models["m"])


class TextTask(Task):
    """About the caption of the source, without the image."""

    needs = frozenset({"text"})
    prompt = "describe_long"

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        return Parsed(finish="stop")


class ScoreTask(TextTask):
    needs = frozenset({"image"})

    def output(self) -> Output:
        return Output(scores=True)


def of_task(data: dict[str, Any], task: type[Task], engine: str, model: Path) -> config.Pipeline:
    data["models"] = {"m": {"engine": engine, "model": str(model)}}
    data["generate"] = [{"id": "made", "model": "m", "prompt": "describe_long", "task": f"{__name__}:{task.__name__}"}]
    return config.validate(data)


def model_folder(folder: Path, **values: Any) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_a_text_only_model_fits_a_task_that_needs_text(data: dict[str, Any], engine: str, tmp_path: Path) -> None:
    llama = model_folder(tmp_path / "llama", architectures=["LlamaForCausalLM"])
    (planned,) = make_plan(of_task(data, TextTask, engine, llama)).models
    assert planned.engine is not None and planned.engine.needs == {"text"}
    with pytest.raises(ConfigError, match="takes no images: name a vision-language model"):
        make_plan(of_task(data, ScoreTask, engine, llama))
    with pytest.raises(ConfigError, match="takes no requests without an image"):
        make_plan(of_task(data, TextTask, "fake_engine:FakeEngine", llama))


def test_scores_need_a_dual_encoder(data: dict[str, Any], tmp_path: Path) -> None:
    clip = model_folder(tmp_path / "clip", architectures=["CLIPModel"], text_config={}, vision_config={})
    (planned,) = make_plan(of_task(data, ScoreTask, "dual_encoder", clip)).models
    assert planned.engine is not None and planned.engine.outputs == (Output(scores=True),)
    with pytest.raises(ConfigError, match="engine dual_encoder does not return free text"):
        make_plan(of_task(data, TextTask, "dual_encoder", clip))
    with pytest.raises(ConfigError, match="CLIPModel, which writes no text: use engine dual_encoder"):
        make_plan(of_task(data, ScoreTask, "vllm", clip))
