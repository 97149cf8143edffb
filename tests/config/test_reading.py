"""Reading a pipeline file: overrides, presets, and all problems in one message."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from small_pipeline import GOOD, changed

from recaption import config
from recaption.errors import ConfigError


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


def test_the_error_for_a_missing_pipeline_lists_the_existing_ones() -> None:
    with pytest.raises(ConfigError, match=r"'nope' not found.*Known names: .*demo.*flair"):
        config.load("nope")


@pytest.mark.parametrize("text", ["- 1\n", "a: [", "", "\x00"])
def test_a_file_without_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        config.load(str(file))


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


def test_all_problems_come_in_one_message() -> None:
    data = changed("source.foo", 1)
    data["output"]["fromat"] = "parquet"
    data["models"]["m"]["engine"] = "vlm"
    with pytest.raises(ConfigError) as caught:
        config.validate(data)
    for where in ("source.foo", "output.fromat", "models.m.engine"):
        assert where in str(caught.value)


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
