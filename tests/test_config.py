"""Pipelines: what is accepted, and that everything wrong is said in one message."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from recaption import config
from recaption.errors import ConfigError
from recaption.resources import shipped

GOOD = {
    "name": "x",
    "source": {"path": "a.tar"},
    "models": {"m": {"engine": "transformers", "model": "scene"}},
    "generate": [{"id": "long", "model": "m", "prompt": "describe_long"}],
    "output": {"path": "out/x"},
}


def changed(path: str, value: object) -> dict:
    data = copy.deepcopy(GOOD)
    node: object = data
    *parents, last = path.split(".")
    for part in parents:
        node = node[int(part) if isinstance(node, list) else part]  # type: ignore[index]
    node[last] = value  # type: ignore[index]
    return data


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


def test_all_problems_come_in_one_message() -> None:
    data = changed("source.foo", 1)
    data["output"]["fromat"] = "parquet"
    data["models"]["m"]["engine"] = "vlm"
    with pytest.raises(ConfigError) as caught:
        config.validate(data)
    for where in ("source.foo", "output.fromat", "models.m.engine"):
        assert where in str(caught.value)


def test_engine_column_needs_a_column_and_no_prompt() -> None:
    data = changed("models.m", {"engine": "column"})
    with pytest.raises(ConfigError, match="needs `column`"):
        config.validate(data)
    data["generate"] = [{"id": "long", "model": "m", "column": "recap"}]
    assert config.validate(data).generate[0].column == "recap"


def test_overrides_reach_any_key(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump(GOOD))
    pipeline, path = config.load(
        str(file), ("output.path=/data/x", "generate.0.sampling.max_tokens=7", "source.limits.min_side=3")
    )
    assert path == file
    assert pipeline.output.path == "/data/x"
    assert pipeline.generate[0].sampling.max_tokens == 7
    assert pipeline.source.limits.min_side == 3


@pytest.mark.parametrize("override", ["output.path", "=1", "generate.5.id=x", "name.x=1", "name={"])
def test_an_invalid_override_is_in_the_message(tmp_path: Path, override: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump(GOOD))
    with pytest.raises(ConfigError, match="--set"):
        config.load(str(file), (override,))


def test_the_error_for_a_missing_pipeline_lists_the_existing_ones() -> None:
    with pytest.raises(ConfigError, match=r"'nope' not found.*Known names: .*demo.*flair"):
        config.load("nope")


@pytest.mark.parametrize("text", ["- 1\n", "a: [", "", "\x00"])
def test_a_file_without_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        config.load(str(file))


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


PRESETS = """
name: x
source: {path: a.tar}
models: {m: {engine: vllm, model: org/name}}
generate: [{id: long, model: m, prompt: describe_long}]
output: {path: out/x}
presets:
  small:
    models.m: &small {engine: transformers, model: scene}
    generate.0.sampling: {max_tokens: 8}
    output.path: out/small
  two: {models.other: *small, generate.0.model: other}
"""


def with_presets(tmp_path: Path, text: str = PRESETS) -> str:
    (tmp_path / "p.yaml").write_text(text)
    return str(tmp_path / "p.yaml")


def test_a_preset_overrides_keys_and_set_overrides_the_preset(tmp_path: Path) -> None:
    file = with_presets(tmp_path)
    plain, _ = config.load(file)
    assert (plain.models["m"].engine, plain.output.path) == ("vllm", "out/x")
    small, path = config.load(file, ("output.path=out/mine", "models.m.dtype=float32"), "small")
    assert path == Path(file)
    assert (small.models["m"].engine, small.models["m"].dtype, small.output.path) == (
        "transformers",
        "float32",
        "out/mine",
    )
    assert small.generate[0].sampling.max_tokens == 8
    two, _ = config.load(file, ("models.other.dtype=float32",), "two")
    assert two.models["other"].dtype == "float32", "an anchor is copied: --set changes one place"
    assert (two.models["m"].engine, two.generate[0].model) == ("vllm", "other")


def test_presets_are_no_part_of_what_an_output_stores(tmp_path: Path) -> None:
    applied, _ = config.load(with_presets(tmp_path), preset="small")
    dumped = applied.model_dump(mode="json")
    assert "presets" not in dumped
    assert config.validate(dumped).model_dump(mode="json") == dumped
    without, _ = config.load(with_presets(tmp_path, PRESETS.partition("presets:")[0]))
    assert without.model_dump(mode="json") == config.load(with_presets(tmp_path))[0].model_dump(mode="json")


@pytest.mark.parametrize(
    ("text", "preset", "message"),
    [
        (PRESETS, "large", "p.yaml has no preset 'large'; its presets are: small, two"),
        (PRESETS.partition("presets:")[0], "small", "p.yaml has no preset 'small'; its presets are: none"),
        (
            PRESETS.replace("generate.0.s", "generate.1.s"),
            "small",
            r"preset small, 'generate.1.sampling': '1' cannot be",
        ),
        (PRESETS.replace("out/small", "no"), "small", r"output.path: .*given: no, which YAML reads as false"),
        (PRESETS.replace("out/small", "no"), None, r"presets.small: output.path is no, which YAML reads as false"),
        (PRESETS.replace("  two:", "  Two:"), None, "presets.Two"),
        (PRESETS.partition("presets:")[0] + "presets: {small: 1}", "small", "presets.small: .*dictionary"),
        (PRESETS.partition("presets:")[0] + "presets: [1]", "small", "no preset 'small'"),
    ],
)
def test_a_preset_that_cannot_be_applied_is_an_error(
    tmp_path: Path, text: str, preset: str | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config.load(with_presets(tmp_path, text), preset=preset)


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


def test_engine_column_reads_no_other_generations() -> None:
    data = copy.deepcopy(GOOD)
    data["models"] |= {"c": {"engine": "column"}}  # type: ignore[operator]
    data["generate"] += [{"id": "b", "model": "c", "column": "x", "over": "long"}]  # type: ignore[operator]
    with pytest.raises(ConfigError, match="generate b: engine column reads no other generations; remove `over`"):
        config.validate(data)


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


def test_combinations_of_keys_are_checked_although_single_keys_are_invalid(tmp_path: Path) -> None:
    """A fault of one key hides none of another: names, prompts and engines that do not fit together."""
    file = tmp_path / "p.yaml"
    file.write_text(
        """
name: "bad name!"
source: {path: x.tar}
models:
  m: {engine: openai, model: m, replicas: none}
  existing: {engine: column, cpus: -1}
  broken: {engine: nothing}
generate:
  - {id: long, model: m, prompt: describe_long, attempts: 99}
  - {id: long, model: q, prompt: describe_long, sampling: {max_tokens: 0}}
  - {id: raw, model: existing}
  - {id: other, model: broken, prompt: describe_long}
  - {id: third, model: m, prompt: 3}
output: {path: out, format: webdatset, require: [zzz, third]}
""",
        "utf-8",
    )
    with pytest.raises(ConfigError) as caught:
        config.load(str(file))
    lines = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert [line.partition(":")[0] for line in lines] == [
        "name",
        "models.m.replicas",
        "models.existing.cpus",
        "models.broken.engine",
        "generate.0.attempts",
        "generate.1.sampling.max_tokens",
        "generate.4.prompt",
        "output.format",
        "generate",
        "generate",
        "generate long",
        "generate raw",
        "output.require",
    ]
    assert "generate long: unknown model 'q'; models are m, existing, broken" in lines
    assert "output.require: unknown zzz; known are long, long, raw, other, third, raw" in lines


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("generate.5.attempts=2", "generate is a list of 1; give a position from 0 to 0"),
        ("generate.long.attempts=2", "generate is a list of 1; give a position from 0 to 0"),
        ("name.x=1", "name is not a mapping"),
        ("source.path={00000..00003}.tar", "Quote a text that begins with {: \"'{00000..00003}.tar'\""),
    ],
)
def test_the_error_for_an_impossible_override_names_the_possible_ones(
    tmp_path: Path, override: str, message: str
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "name: a\nsource: {path: x}\nmodels: {m: {engine: column}}\n"
        "generate: [{id: long, model: m, column: c}]\noutput: {path: out}\n",
        "utf-8",
    )
    with pytest.raises(ConfigError, match=re.escape(message)):
        config.load(str(file), (override,))


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
