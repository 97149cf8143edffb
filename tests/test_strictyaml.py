"""YAML: repeated keys, values that are read as something else, nesting, encodings."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from recaption import config, prompt, strictyaml
from recaption.errors import ConfigError
from recaption.strictyaml import Ambiguous

GOOD = """\
name: x
x-sampling: &sampling {max_tokens: 7}
source: {path: a.tar, x-note: 1}
models:
  m: {engine: transformers, model: scene}
generate:
  - {id: long, model: m, prompt: describe_long, sampling: {<<: *sampling, seed: 3}}
output: {path: out/x}
"""


def load(tmp_path: Path, text: str | bytes, *overrides: str) -> config.Pipeline:
    file = tmp_path / "p.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return config.load(str(file), overrides)[0]


def test_keys_that_begin_with_x_are_ignored_and_may_have_anchors(tmp_path: Path) -> None:
    sampling = load(tmp_path, GOOD).generate[0].sampling
    assert (sampling.max_tokens, sampling.seed) == (7, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "generate: []\n", r"the key 'generate' twice, in line 6 and line 9"),
        (GOOD.replace("output: {path: out/x}", "output: {path: a, path: b}"), r"'path' twice, in line 8 and line 8"),
        (GOOD + '"output": {path: b}\n', r"'output' twice, in line 8 and line 9"),
        (GOOD + "x-a: {deep: {a: 1,\n\n b: 2, a: 3}}\n", r"'a' twice, in line 9 and line 11"),
        ("[" * 10_000, "line 1, is nested more than 64 levels"),
        ("a: " + "{a: " * 10_000, "nested more than 64 levels"),
        ("- " * 10_000, "nested more than 64 levels"),
        ("a: &a [*a]", "an alias that contains itself"),
        ("a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in
         zip("abcdefgh", "bcdefghi", strict=True)), "more than 100,000 values"),
        ("? [a]\n: b", "a mapping or list as a key"),
        ("a: !!python/object/apply:os.system [x]", "type tag:yaml.org,2002:python"),
        ("a: !!set {x}", "type tag:yaml.org,2002:set"),
        ("a: !!binary aGk=", "type tag:yaml.org,2002:binary"),
        ("a: !own x", "type !own"),
        ("a: !!int x", "'x', which does not fit its type"),
        ('a: "x\\0"', "with a NUL or a lone surrogate; remove it"),
        ('a: ["\\ud83d"]', "with a NUL or a lone surrogate; remove it"),
        ('"\\udfff": 1', "with a NUL or a lone surrogate; remove it"),
        ("a: [", r"not YAML, line 1, column \d"),
        ("a: 1\n---\nb: 1", "another document"),
        (GOOD.encode("utf-16"), "encoded in UTF-16; save it as UTF-8"),
        (GOOD.encode("utf-16-le"), "may be UTF-16.*; save it as UTF-8"),
        (GOOD.encode("utf-32"), "encoded in UTF-32; save it as UTF-8"),
        (GOOD.encode() + b"# \xe9", r"not UTF-8 \(line 9, byte"),
    ],
)  # fmt: skip
def test_invalid_yaml_is_an_error_with_its_line(text: str | bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"(?s)p\.yaml.*{said}"):
        load(tmp_path, text)


def test_a_byte_order_mark_is_allowed(tmp_path: Path) -> None:
    assert load(tmp_path, b"\xef\xbb\xbf" + GOOD.encode()).name == "x"


@pytest.mark.parametrize(
    "text", ["010", "1:30", "no", "NO", "yes", "on", "Off", "0x1f", "0b1", "1_000", "2024-01-31", "1:30.5", "true"]
)
@pytest.mark.parametrize("key", ["name", "output.path", "source.limits.min_side", "generate.0.sampling.temperature"])
def test_ambiguous_values_are_refused(text: str, key: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{key.replace('.', '[.]')}.*given: {text}, which.*put it in quotes"):
        load(tmp_path, GOOD, f"{key}={text}")


@pytest.mark.parametrize("text", ["'010'", '"no"', "'2024-01-31'"])
def test_quoted_values_are_text(text: str, tmp_path: Path) -> None:
    assert load(tmp_path, GOOD, f"output.path={text}").output.path == text[1:-1]


def test_the_error_for_a_number_in_place_of_a_text_advises_quotes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'name: .*given: 12\); put it in quotes: "12"'):
        load(tmp_path, GOOD, "name=12")


def test_fields_for_booleans_and_dates_accept_them(tmp_path: Path) -> None:
    for word, value in (("true", True), ("no", False), ("on", True)):
        assert load(tmp_path, GOOD, f"generate.0.sampling.ignore_eos={word}").generate[0].sampling.ignore_eos is value
    card = load(tmp_path, GOOD, "output.card={published: 2026-01-31}").output.card
    assert card.published == datetime.date(2026, 1, 31)
    model = load(tmp_path, GOOD, "models.m.engine_args={enforce_eager: true, note: 'no', n: 1}").models["m"]
    assert model.engine_args == {"enforce_eager": True, "note": "no", "n": 1}


@pytest.mark.parametrize("text", ["no", "010", "2024-01-31"])
def test_ambiguous_values_in_engine_args_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"engine_args: .*a\.0 is {text}, which.*put it in quotes"):
        load(tmp_path, GOOD, f"models.m.engine_args={{a: [{text}]}}")


def test_numbers_with_an_exponent_are_numbers(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD.replace("seed: 3", "temperature: 1e-1")).generate[0].sampling.temperature == 0.1


def test_keys_are_text(tmp_path: Path) -> None:
    text = GOOD.replace("prompt: describe_long,", "prompt: describe_long, retry: {on: [length]},")
    assert load(tmp_path, text).generate[0].retry.on == ("length",), "YAML 1.1 reads the key `on` as true"


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("a # b", "a # b"),
        ("#a", "#a"),
        ("@x", "@x"),
        ("%x", "%x"),
        ("*.tar", "*.tar"),
        ("&a", "&a"),
        ("!x", "!x"),
        ("|", "|"),
        ("> x", "> x"),
        ("`x`", "`x`"),
        ("Photos: cats", "Photos: cats"),
        ("- x", "- x"),
        ("a=b", "a=b"),
        ('"a # b"', "a # b"),
    ],
)
def test_a_value_of_set_is_not_truncated(value: str, read: str, tmp_path: Path) -> None:
    assert load(tmp_path, GOOD, f"output.card.description={value}").output.card.description == read


def test_a_value_of_set_may_be_null_a_list_or_a_mapping(tmp_path: Path) -> None:
    for nothing in ("null", "~", ""):
        assert load(tmp_path, GOOD, f"source.raw_caption={nothing}").source.raw_caption is None
    assert load(tmp_path, GOOD, "output.require=[long, raw]").output.require == ("long", "raw")
    assert load(tmp_path, GOOD, "output.holdout={fraction: 0.5}").output.holdout == config.Holdout(fraction=0.5)


@pytest.mark.parametrize("key", ["output.require", "output.primary"])
def test_one_generation_is_a_list_of_one(key: str, tmp_path: Path) -> None:
    assert getattr(load(tmp_path, GOOD, f"{key}=long").output, key.split(".")[1]) == ("long",)


@pytest.mark.parametrize("value", ['"a" # b', "[a] # b", "[a #b]", '"a', "{a: 1, a: 2}", "[" * 10_000])
def test_an_incomplete_value_of_set_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--set"):
        load(tmp_path, GOOD, f"output.card.description={value}")


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("id: p\nid: q\nversion: 1\ngranularity: long", "'id' twice, in line 2 and line 3"),
        ("id: no\nversion: 1\ngranularity: long", "id: .*given: no, which.*put it in quotes"),
        ("id: p\nversion: true\ngranularity: long", "version: .*given: true, which"),
        ("id: p\nversion: 010\ngranularity: long", "version: .*given: 010, which"),
        ("id: p\nversion: 1\ngranularity: long\nnotes: " + "[" * 9999, "nested more than 64"),
    ],
)
def test_front_matter_is_read_strictly(head: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "p.md"
    file.write_text(f"---\n{head}\n---\ntext\n")
    with pytest.raises(ConfigError, match=f"(?s)front matter.*{said}"):
        prompt.load(str(file))


def test_a_prompt_in_utf_16_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "p.md"
    file.write_bytes("---\nid: p\nversion: 1\ngranularity: long\n---\nx".encode("utf-16"))
    with pytest.raises(ConfigError, match=r"p\.md is encoded in UTF-16; save it as UTF-8"):
        prompt.load(str(file))


@pytest.mark.parametrize(
    "value",
    ["text", 7, -1, 0, 0.5, 1e-9, 1e22, True, None, [1, ["a"]], {"a": {"b": "no"}}, "010", "1:30", "yes", "1e-3"],
)
def test_written_yaml_is_read_back(value: Any) -> None:
    """pipeline.yaml of an output is written by yaml.safe_dump."""
    assert strictyaml.read(yaml.safe_dump({"a": value}), "x") == {"a": value}


def test_an_ambiguous_value_names_both_readings() -> None:
    expected = '010, which YAML reads as the number 8; for a text, put it in quotes: "010"'
    assert str(Ambiguous("010", 8)) == expected
