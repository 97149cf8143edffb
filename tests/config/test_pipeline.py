"""The keys of a pipeline: accepted values, errors, and what is stored."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from small_pipeline import GOOD, changed

from recaption import config
from recaption.errors import ConfigError
from recaption.resources import shipped


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("source.foo", 1, r"source\.foo: unknown key; allowed here: path, config"),
        ("notify", "foo", r"notify: has to be a URL \(http:// or https://\), or env:NAME"),
        ("source.limits", {"x": 1}, r"source\.limits\.x: unknown key; allowed here: min_side"),
        ("output.card", {"licence": "x"}, r"output\.card\.licence: unknown key; allowed here: description, license"),
        ("output.card", {"url": "ftp://x"}, r"output\.card\.url: .*given: 'ftp://x'"),
        ("output.card", {"language": ["English!"]}, r"output\.card\.language\.0"),
        (
            "models.m.engine",
            "vlm",
            r"engine: unknown engine 'vlm'; allowed: vllm, transformers, openai, dual_encoder, detector, column",
        ),
        ("models.m.model", None, "needs `model`"),
        ("models.m.tensor_parallel", 2, "tensor_parallel are settings of vLLM"),
        ("models.m.replicas", 0, r"models\.m\.replicas: .*'auto'.*or.*greater than or equal to 1"),
        ("generate.0.model", "q", r"unknown model 'q'; models are m"),
        ("generate.0.prompt", None, "needs `prompt`"),
        ("generate.0.id", "raw", "raw is reserved"),
        ("generate.0.id", "No Good", r"generate\.0\.id"),
        ("generate.0.sampling", {"max_token": 3}, r"sampling\.max_token: unknown key; allowed here: max_tokens"),
        ("generate.0.sampling", {"temperature": 9}, r"less than or equal to 2 \(given: 9\)"),
        (
            "annotate",
            {"weights": {"dissimilar": {"generation": "long", "low": 0, "high": 1}}},
            r"annotate\.weights\.dissimilar\.generation: 'long' is no generation with `task: score`; add one",
        ),
        (
            "annotate",
            {"weights": {"dissimilar": {"generation": "long", "low": 1, "high": 0}}},
            r"annotate\.weights\.dissimilar: .*low is 1 and high is 0; low must be below high",
        ),
        ("output.require", ["shrt"], r"output\.require: unknown shrt; known are long, raw"),
        ("output.samples_per_shard", 0, r"output\.samples_per_shard: .*greater than or equal to 1.*given: 0"),
        ("output.samples_per_shard", "many", r"output\.samples_per_shard: .*'source'.*given: 'many'"),
        (
            "annotate",
            {"weights": {"dissimilar": {"generation": "check", "lo": 0, "high": 1}}},
            r"dissimilar\.lo: unknown key; allowed here: generation, column, low, high, factor",
        ),
        ("output.trainer", {"gpu": 8}, r"output\.trainer\.gpu: unknown key; allowed here: gpus, workers"),
        ("output.format", "lance", r"output\.format: .*'sidecar'.*given: 'lance'"),
        ("output.profile", "flair", "profile: flair is for format webdataset, and output.format is auto"),
        ("output", {"path": "x", "format": "parquet", "profile": "flair"}, "and output.format is parquet"),
        ("output", {"path": "x", "profile_map": {"raw_caption": "raw"}}, "set output.profile: flair"),
        ("output.profile_map", {"longXY_captions": "long"}, r"output\.profile_map\.longXY_captions.*'raw_caption'"),
        (
            "output",
            {"path": "x", "format": "webdataset", "profile": "flair", "profile_map": {"longSV_captions": "lng"}},
            r"output\.profile_map\.longSV_captions: unknown 'lng'; known are long, raw",
        ),
        ("output.profile", "clip", r"output\.profile: .*'flair'.*given: 'clip'"),
        ("name", "../evil", "name: "),
        ("generate", [], "generate: "),
    ],
)
def test_an_error_names_the_key_and_the_allowed_values(path: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config.validate(changed(path, value))


def test_defaults_that_depend_on_the_generations() -> None:
    pipeline = config.validate(GOOD)
    assert pipeline.require == ("long",)
    assert pipeline.primary == ("long", "raw")


def test_the_shipped_pipelines_fit_the_json_schema() -> None:  # tests/test_schema.py: the file is current
    schema = json.loads((shipped("schemas") / "pipeline.schema.json").read_text("utf-8"))
    for file in sorted(shipped("pipelines").rglob("*.yaml")):
        data = yaml.safe_load(file.read_text("utf-8"))
        jsonschema.validate(data, schema)
        for preset in [None, *data.get("presets", ())]:
            config.load(str(file), preset=preset)


def test_a_card_is_read_back_from_yaml() -> None:
    said = yaml.safe_load("{license: cc-by-4.0, published: 2026-01-31, language: [en, pt-BR], url: 'https://x.org/a'}")
    pipeline = config.validate(changed("output.card", said))
    dumped = pipeline.model_dump(mode="json")
    assert config.validate(yaml.safe_load(yaml.safe_dump(dumped))) == pipeline
    assert (
        dumped["output"]["card"] | {"published": "2026-01-31", "language": ["en", "pt-BR"]} == dumped["output"]["card"]
    )


def test_a_pipeline_is_read_back_from_yaml() -> None:
    pipeline = config.validate(GOOD)
    assert config.validate(yaml.safe_load(yaml.safe_dump(pipeline.model_dump(mode="json")))) == pipeline


STAGED = """
name: x
source: {path: a.tar}
models: {m: {engine: transformers, model: scene}}
generate:
- {id: long, model: m, prompt: describe_long}
- {id: check, model: m, task: verify, over: long, which: all, share: 0.5, calibration: {threshold: 0.4}, x-note: hi}
- {id: mine, model: m, task: "a.b:C", over: [long, check], logprobs: true, flag: true, settings: {n: 1}}
output: {path: out/x}
"""


def staged(tmp_path: Path, **changes: str) -> config.Pipeline:
    text = STAGED
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "p.yaml").write_text(text)
    return config.load(str(tmp_path / "p.yaml"))[0]


def test_the_settings_of_a_task_stand_beside_the_other_keys(tmp_path: Path) -> None:
    long, check, mine = staged(tmp_path).generate
    assert (long.task, long.over, long.settings, long.logprobs) == ("caption", (), {}, False)
    assert check.settings == {"which": "all", "share": 0.5, "calibration": {"threshold": 0.4}}
    assert check.over == ("long",) and mine.over == ("long", "check")
    assert mine.settings == {"n": 1, "flag": True} and mine.logprobs


def test_a_stored_pipeline_with_tasks_is_read_back_equal(tmp_path: Path) -> None:
    pipeline = staged(tmp_path)
    (tmp_path / "stored.yaml").write_text(yaml.safe_dump(pipeline.model_dump(mode="json"), sort_keys=False))
    assert config.load(str(tmp_path / "stored.yaml"))[0] == pipeline


def test_captions_are_dumped_as_before_there_were_tasks(tmp_path: Path) -> None:
    """The name of a build depends on them."""
    long, check, mine = (generation.model_dump() for generation in staged(tmp_path).generate)
    keys = ["id", "model", "prompt", "column", "granularity", "sampling", "attempts", "retry"]
    assert list(long) == keys
    assert set(check) - set(keys) == {"task", "over", "settings"}
    assert set(mine) - set(keys) == {"task", "over", "settings", "logprobs"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("flag: true", "flag: no", r"generate\.2\.settings: .*flag is no, which YAML reads as false"),
        ("flag: true", "n: 2", r"n: given beside the other keys and in settings; remove one"),
        ("settings: {n: 1}", "settings: 3", r"generate\.2\.settings: .*dictionary"),
        ('task: "a.b:C"', "task: Verify", r"generate\.2\.task: .*given: 'Verify'"),
        ("prompt: describe_long", "prompt: describe_long, which: all", r"generate\.0\.which: unknown key"),
        ("over: long", "over: lnog", r"generate check: over has unknown lnog; generations are long, check, mine"),
        (
            "over: long",
            "over: mine",
            r"over forms a cycle: (check reads mine reads check|mine reads check reads mine)",
        ),
        ("over: long", "over: check", r"over forms a cycle: check reads check; remove one of them"),
    ],
)
def test_an_error_of_a_generation_with_a_task_names_what_is_allowed(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        staged(tmp_path, **{old: new})


def test_the_first_caption_is_required_by_default(tmp_path: Path) -> None:
    pipeline = staged(
        tmp_path,
        **{
            "- {id: long, model: m, prompt: describe_long}\n": "",
            "over: long,": "",
            "over: [long, check]": "over: check",
            "output:": "- {id: long, model: m, prompt: describe_long}\noutput:",
        },
    )
    assert [generation.id for generation in pipeline.generate] == ["check", "mine", "long"]
    assert pipeline.require == ("long",)


@pytest.mark.parametrize(
    ("engine", "variables", "message"),
    [
        ("openai", {"enable_thinking": False}, r"chat_template_kwargs is not for engine openai\. Use engine_args"),
        ("vllm", {"tokenize": False}, "chat_template_kwargs: tokenize cannot be set; recaption sets this itself"),
    ],
)
def test_variables_of_a_chat_template(engine: str, variables: object, message: str) -> None:
    data = changed("models.m", {"engine": engine, "model": "org/name", "chat_template_kwargs": variables})
    with pytest.raises(ConfigError, match=message):
        config.validate(data)


def test_the_suggested_policy_is_an_opinion_unless_the_pipeline_sets_it() -> None:
    assert config.SamplingPolicy().basis == config.SamplingPolicy(p_raw=0.1).basis == "opinion"
    assert config.SamplingPolicy(p_raw=0.5).basis == "pipeline"
