from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from recaption import legacy
from recaption.prompt import load

OLD = "---\nid: p\nversion: 1\nkind: short\n---\nOne sentence: kind: granularity: x.\n"


def test_a_pipeline_of_schema_1_2_is_read_with_the_names_of_today() -> None:
    old = {
        "models": {"a": {"engine": "replay"}, "b": {"engine": "vllm"}, "c": None},
        "generate": [{"id": "long", "column": "caption", "kind": "long"}, {"id": "short"}, None],
    }
    new = legacy.pipeline(old)
    assert new["models"] == {"a": {"engine": "column"}, "b": {"engine": "vllm"}, "c": None}
    assert new["generate"] == [{"id": "long", "column": "caption", "granularity": "long"}, {"id": "short"}, None]
    assert old["models"]["a"] == {"engine": "replay"} and "kind" in old["generate"][0], "the input stays as it is"
    assert legacy.pipeline(new) == new


@pytest.mark.parametrize("data", [{}, {"models": 3, "generate": "x"}, {"models": None, "generate": {"kind": "x"}}])
def test_what_is_no_pipeline_is_left_to_validation(data: dict[str, Any]) -> None:
    assert legacy.pipeline(data) == data


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_prompt_keeps_its_identity_when_its_key_is_renamed(tmp_path: Path, end: str) -> None:
    before, after = tmp_path / "before.md", tmp_path / "after.md"
    old = OLD.replace("\n", end).encode()
    before.write_bytes(old)
    after.write_bytes(old.replace(b"kind: short", b"granularity: short"))
    assert load(str(before)).granularity == load(str(after)).granularity == "short"
    assert load(str(before)).sha256 == load(str(after)).sha256 == hashlib.sha256(old).hexdigest()


def test_shipped_prompts_have_the_identity_of_schema_1_2() -> None:
    """Answers to them are stored in outputs of the first release."""
    assert load("describe_long").sha256.startswith("5fe5f5e84312f485")
    assert load("describe_short").sha256.startswith("2b809454ea0d61bb")
