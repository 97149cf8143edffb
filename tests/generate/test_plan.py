"""Plans: what is identity and what is not, and what is found wrong before a model is loaded."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from samples import jpeg, sample, write_tar
from toy_tasks import Words

from recaption import config
from recaption.errors import ConfigError, MissingExtra
from recaption.generate.plan import Plan, fingerprint, fitting_tasks, make_plan
from recaption.run.check import faults, prompt_faults
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
        ("models.m.chat_template_kwargs", {"enable_thinking": False}),
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


def test_a_custom_engine_with_a_fault_is_an_error_of_the_user(
    data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "engine_with_a_fault.py").write_text("class Engine:\n    def (self): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="'engine_with_a_fault:Engine' cannot be imported: SyntaxError: "):
        make_plan(config.validate(changed(data, "models.m.engine", "engine_with_a_fault:Engine")))


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


class TextTask(Words):
    """About the caption of the source, without the image."""

    needs = frozenset({"text"})
    prompt = "describe_long"

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        return Parsed(finish="stop")


class ScoreTask(TextTask):
    needs = frozenset({"image"})

    def output(self, unit: Unit | None) -> Output:
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
    with pytest.raises(ConfigError, match="takes only requests with an image"):
        make_plan(of_task(data, TextTask, "fake_engine:FakeEngine", llama))


def test_an_engine_that_cannot_do_a_task_is_reported_with_the_generation_and_all_else(
    data: dict[str, Any], tmp_path: Path
) -> None:
    llama = model_folder(tmp_path / "llama", architectures=["LlamaForCausalLM"])
    data["models"] = {"m": {"engine": "fake_engine:FakeEngine", "model": "scene"}}
    data["models"]["t"] = {"engine": "vllm", "model": str(llama)}
    scores = {"id": "scores", "model": "m", "prompt": "describe_long", "task": f"{__name__}:ScoreTask"}
    seen = {"id": "seen", "model": "t", "prompt": "describe_long"}
    repeated = {"id": "fixed", "model": "t", "task": "repair"}
    with pytest.raises(
        ConfigError, match=r"^generate scores: engine .* does not return scores; engines that do: dual_"
    ):
        make_plan(config.validate(data | {"generate": [scores]}))
    found = [
        str(one)
        for one in faults(config.Parts.of(config.validate(data | {"generate": [scores, seen, repeated]})), None)
    ]
    for start in (
        "generate scores: engine fake_engine:FakeEngine does not return scores; engines that do: dual_encoder. Use a",
        f"generate seen: model '{llama}' takes no images: name a vision-language model",
        "generate fixed: task repair needs `over`, a generation that makes verifications",
    ):
        assert any(one.startswith(start) for one in found), found


def test_scores_need_a_dual_encoder(data: dict[str, Any], tmp_path: Path) -> None:
    clip = model_folder(tmp_path / "clip", architectures=["CLIPModel"], text_config={}, vision_config={})
    (planned,) = make_plan(of_task(data, ScoreTask, "dual_encoder", clip)).models
    assert planned.engine is not None and planned.engine.outputs == (Output(scores=True),)
    with pytest.raises(ConfigError, match="engine dual_encoder does not return free text"):
        make_plan(of_task(data, TextTask, "dual_encoder", clip))
    with pytest.raises(ConfigError, match="CLIPModel, which writes no text: use engine dual_encoder"):
        make_plan(of_task(data, ScoreTask, "vllm", clip))


# generations that read others

LONG = {"id": "long", "model": "m", "prompt": "describe_long"}
CHECK = {"id": "check", "model": "m", "task": "verify", "over": "long"}
REPAIR = {"id": "fixed", "model": "m", "task": "repair", "over": "check"}


def planned(data: dict[str, Any], *generate: dict[str, Any]) -> Plan:
    models = dict.fromkeys([str(each["model"]) for each in generate], data["models"]["m"])
    return make_plan(config.validate(data | {"models": models, "generate": list(generate)}))


def passes(plan: Plan) -> list[tuple[str, list[str]]]:
    return [(each.title, [question.id for question in each.questions]) for each in plan.models]


def test_generations_of_one_model_share_a_pass_upstream_first(data: dict[str, Any]) -> None:
    plan = planned(data, REPAIR, CHECK, LONG)
    assert passes(plan) == [("m", ["long", "check", "fixed"])]
    assert [question.id for question in plan.questions] == ["fixed", "check", "long"], "in the order of the pipeline"
    long, check, fixed = plan.models[0].questions
    assert (long.over, check.over, fixed.over) == ((), (long,), (check,))
    assert [question.per_unit for question in (long, check, fixed)] == [False, True, True]


def test_models_take_turns_and_independent_generations_join_the_first_pass(data: dict[str, Any]) -> None:
    check, fixed, short = CHECK | {"model": "b"}, REPAIR, LONG | {"id": "short"}
    plan = planned(data, LONG, check, fixed, short)
    assert passes(plan) == [("m", ["long", "short"]), ("b", ["check"]), ("m (pass 2)", ["fixed"])]
    assert [each.number for each in plan.models] == [1, 1, 2]
    assert passes(planned(data, check, LONG)) == [("m", ["long"]), ("b", ["check"])], "whatever the order of models"


def test_the_passes_are_listed_if_generations_read_others(data: dict[str, Any]) -> None:
    plan = planned(data, LONG, CHECK | {"model": "b"}, REPAIR)
    assert plan.lines() == [
        "pass 1 of 3, m, fake_engine:FakeEngine: long (1 request per image)",
        "pass 2 of 3, b, fake_engine:FakeEngine: check (verify over long, one or more requests per image)",
        "pass 3 of 3, m, fake_engine:FakeEngine: fixed (repair over check, one or more requests per image)",
    ]
    assert planned(data, LONG).lines() == []


@pytest.mark.parametrize(
    ("generation", "said"),
    [
        (CHECK | {"over": []}, "generate check: task verify needs `over`, a generation that makes captions"),
        (
            REPAIR | {"over": "long"},
            "task repair reads .*, but long makes captions; name another in `over`",
        ),
        (LONG | {"id": "b", "over": "long"}, "generate b: task caption reads no other generations; remove `over`"),
        (
            CHECK | {"prompt": "describe_long"},
            r"prompt .*\.md has to use statement, which task verify fills in",
        ),
        (CHECK | {"wordings": 3}, r"prompt .*is_it_true\.md has to use wording, which task verify fills in"),
        (
            CHECK | {"task": "verfy"},
            "generate check: unknown task 'verfy'; allowed: caption, verify, ",
        ),
        (CHECK | {"which": "none"}, r"generate check: task verify: which: .*'content' or 'all'"),
        (
            CHECK | {"wich": "all"},
            r"generate check: task verify: wich: unknown key; allowed here: which, method",
        ),
        (LONG | {"id": "b", "settings": {"n": 1}}, "generate b: task caption: n: unknown key"),
        (LONG | {"id": "b", "task": f"{__name__}:TextTask", "prompt": None, "over": "long"}, "reads no other"),
        (
            LONG | {"id": "b", "task": f"{__name__}:NoPrompt", "prompt": None},
            "NoPrompt needs `prompt`, or engine",
        ),
    ],
)
def test_a_task_that_does_not_fit_is_an_error_of_the_plan(
    data: dict[str, Any], generation: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        planned(data, LONG, generation)
    pipeline = config.validate(data | {"generate": [LONG, generation]})
    found = [*fitting_tasks(pipeline.generate), *prompt_faults(pipeline.generate, None, frozenset())]
    assert str(error.value) in map(str, found), "all commands give the same message"


class NoPrompt(TextTask):
    needs = frozenset({"image"})
    prompt = None


def test_a_prompt_of_captions_needs_a_granularity_and_a_task_a_variable(data: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "p.md"
    file.write_text("---\nid: p\nversion: 1\n---\nIs this true: {{ statement }} {{ nothing }}\n")
    with pytest.raises(ConfigError, match=r"prompt .*p\.md has no granularity; set it to short or long"):
        planned(data, LONG | {"prompt": str(file)})
    with pytest.raises(ConfigError, match=r"uses nothing, which the source lacks; its columns are caption, .*title"):
        planned(data, LONG, CHECK | {"prompt": str(file)})
    with pytest.raises(ConfigError, match=r"uses nothing, statement, which the source lacks"):
        planned(data, LONG | {"prompt": str(file), "granularity": "long"})


# fingerprints of tasks


def of(data: dict[str, Any], *generate: dict[str, Any]) -> str:
    """The fingerprint of the last generation."""
    return planned(data, *generate).questions[-1].generation.fingerprint


def test_a_fingerprint_of_a_task_has_what_determines_its_answers(
    data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data["models"]["m"]["engine"] = "transformers"
    same = of(data, LONG, CHECK)
    other = LONG | {"id": "other"}
    for changes in ({"which": "all"}, {"share": 0.5}, {"calibration": {"bias": 0.4}}, {"id": "second"}):
        assert of(data, LONG, CHECK | changes) == same, "these only choose among the requests, or apply at build"
    assert of(data, LONG, other, CHECK | {"over": ["long", "other"]}) == same, "the request has what is read"
    assert of(data, LONG, CHECK | {"logprobs": True}) == same
    assert of(data, LONG | {"logprobs": True}) == of(data, LONG)
    assert of(data, LONG, CHECK | {"method": "both"}) != same
    assert of(data, LONG, CHECK | {"attempts": 1}) != same
    monkeypatch.setattr("recaption.tasks.verify.VerifyTask.version", "next")
    assert of(data, LONG, CHECK) != same


def test_captions_have_the_fingerprint_of_earlier_versions(data: dict[str, Any], tmp_path: Path) -> None:
    """Their parts, and no others. That of the column is the name of a folder in tests/stored."""
    server = {"engine": "openai", "model": "n", "engine_args": {"base_url": "http://localhost:1/v1"}}
    write_tar(tmp_path / "old.tar", [sample("a", jpeg(1), old_caption="A cup.")])
    asked = data | {"source": {"path": str(tmp_path / "old.tar")}, "models": {"m": server, "c": {"engine": "column"}}}
    asked["generate"] = [LONG, {"id": "old", "model": "c", "column": "old_caption"}]
    long, old = make_plan(config.validate(asked)).questions
    sampling = {"max_tokens": 320, "temperature": 0.0, "top_p": 1.0, "top_k": 0, "seed": 0, "stop": []}
    nothing = dict.fromkeys(("quantization", "chat_template", "max_pixels", "max_model_len", "output_schema"))
    assert long.prompt is not None
    parts = {"model": "n", "commit": "", "dtype": "auto", "prompt": long.prompt.sha256, "attempts": 3}
    assert long.generation.fingerprint == fingerprint(parts | nothing | {"sampling": sampling})
    assert old.folder == "old-dca4d11af8d5f3e6"


def test_a_second_verification_has_the_first_as_its_twin(data: dict[str, Any]) -> None:
    again = CHECK | {"id": "again", "over": ["long", "fixed"], "which": "all"}
    long, check, fixed, second = planned(data, LONG, CHECK, REPAIR, again).questions
    assert second.twins == (check,) and check.twins == fixed.twins == long.twins == ()
    *_, other = planned(data, LONG, CHECK, REPAIR, again | {"attempts": 1}).questions
    assert other.twins == ()


def test_a_source_of_classes_is_for_tasks_that_read_text_only(data: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("owl\nlark\n")
    data["source"] = {"path": str(tmp_path / "classes.txt"), "format": "classes"}
    data["models"]["m"]["engine"] = "task_engine:TaskEngine"
    problem = "generate long: task caption needs images, and a source of classes has none"
    with pytest.raises(ConfigError, match=problem):
        make_plan(config.validate(data))
    found = faults(config.Parts.of(config.validate(data)), None, tagger=False)
    assert [problem in str(fault) for fault in found] == [True]
    data["generate"] = [{"id": "texts", "model": "m", "task": "class_texts", "n": 2}]
    (question,) = make_plan(config.validate(data)).questions
    assert question.prompt is not None and question.task.needs == {"text"}


def test_captions_of_aspects_have_their_own_granularity(data: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "o.yaml").write_text("aspects: {look: {description: x}}")
    data["models"]["m"]["engine"] = "task_engine:TaskEngine"
    task = {"id": "parts", "model": "m", "task": "aspects", "over": "long", "ontology": str(tmp_path / "o.yaml")}
    data["generate"].append(task)
    _, parts = make_plan(config.validate(data)).questions
    assert parts.generation.granularity == "aspect"


@pytest.mark.parametrize(("over", "kind"), [(["brief"], "short"), (["long"], "long"), (["long", "brief"], "long")])
def test_a_generation_that_rewords_captions_has_their_granularity(
    data: dict[str, Any], over: list[str], kind: str
) -> None:
    brief = {**data["generate"][0], "id": "brief", "prompt": "describe_short"}
    made = [
        {"id": "zh", "model": "m", "task": "translate", "over": over, "lang": "zh"},
        {"id": "again", "model": "m", "task": "rewrite", "over": "zh"},
        {"id": "check", "model": "m", "task": "verify", "over": over},
        {"id": "fixed", "model": "m", "task": "repair", "over": "check"},
    ]
    data["models"]["m"]["engine"] = "task_engine:TaskEngine"
    data["generate"] += [brief, *made]
    kinds = {question.id: question.generation.granularity for question in make_plan(config.validate(data)).questions}
    assert kinds == {"long": "long", "brief": "short", "check": None} | dict.fromkeys(("zh", "again", "fixed"), kind)


def test_a_column_that_a_task_reads_has_to_exist(data: dict[str, Any], tmp_path: Path) -> None:
    pq.write_table(pa.table({"class_name": ["kite"], "text": ["A red kite."]}), tmp_path / "t.parquet")
    data["models"]["m"] = {"engine": "dual_encoder", "model": "scene-encoder"}
    data["generate"] = [{"id": "fit", "model": "m", "task": "match", "texts": str(tmp_path / "t.parquet")}]
    data["generate"][0]["class_column"] = "nope"
    with pytest.raises(ConfigError, match=r"generate fit: the source has no column 'nope'; it has .*title"):
        make_plan(config.validate(data))
