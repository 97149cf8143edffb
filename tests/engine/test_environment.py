"""recaption.engine.environment: what is set for a CPU, without vLLM."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from recaption.engine import EngineSpec
from recaption.engine.environment import compiler, prepare_cpu
from recaption.errors import ConfigError

VARIABLES = (
    "TORCHDYNAMO_DISABLE",
    "VLLM_ENABLE_V1_MULTIPROCESSING",
    "VLLM_CPU_OMP_THREADS_BIND",
    "OMP_NUM_THREADS",
    "VLLM_CPU_KVCACHE_SPACE",
)


@pytest.mark.parametrize(
    ("engine_args", "given", "expected"),
    [((), None, "1"), ((("enforce_eager", False),), None, None), ((), "0", "0")],
)
def test_an_eager_engine_compiles_nothing(
    engine_args: tuple[tuple[str, bool], ...],
    given: str | None,
    expected: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first log-probabilities would need a C++ compiler. A value of the user stays."""
    monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    monkeypatch.setattr("recaption.engine.environment.compiler", lambda: "g++")
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # restored after the test
        monkeypatch.delenv(name)
    if given is not None:
        monkeypatch.setenv("TORCHDYNAMO_DISABLE", given)
    args = prepare_cpu(EngineSpec(engine="vllm", model="m", engine_args=engine_args))
    assert os.environ.get("TORCHDYNAMO_DISABLE") == expected
    assert args["enforce_eager"] is True  # the default; engine_args take precedence over it later


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiling = EngineSpec(engine="vllm", model="m", engine_args=(("enforce_eager", False),))
    monkeypatch.setenv("CXX", str(tmp_path / "c++"))
    with pytest.raises(ConfigError, match=r"enforce_eager: false compiles the model, .* no C\+\+ compiler"):
        prepare_cpu(compiling)
    (tmp_path / "c++").write_text("#!/bin/sh\n")
    (tmp_path / "c++").chmod(0o755)
    assert compiler() == str(tmp_path / "c++")
    for name in VARIABLES:
        monkeypatch.setenv(name, os.environ.get(name, ""))  # restored after the test
    prepare_cpu(compiling)
