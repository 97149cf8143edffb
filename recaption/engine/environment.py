"""The environment variables that vLLM reads on import, and its settings for a CPU. Does not import vLLM."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from recaption.engine.base import EngineSpec
from recaption.errors import ConfigError


def prepare(model: str) -> None:
    """Set the environment variables that vLLM reads on import. Existing values stay."""
    quiet = {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    }
    if Path(model).is_dir():
        quiet["HF_HUB_OFFLINE"] = "1"
    for name, value in quiet.items():
        os.environ.setdefault(name, value)


def prepare_cpu(spec: EngineSpec) -> dict[str, Any]:
    """Settings for a CPU: no worker process, which vLLM would start and pin to cores.

    A worker costs another import of vLLM (half of a short start), and two engines on a machine would be pinned to the
    same cores. In one process, the engine uses all cores, or OMP_NUM_THREADS (Ray sets it to the actor's num_cpus).

    Eager mode, because a CPU is for tests, and compilation takes half a minute. For a long run of a small model use
    `engine_args: {enforce_eager: false}`, `cpus: 1` and as many replicas as cores (as `make bench` does). Raises
    ConfigError if that needs a compiler that is not there.
    """
    args: dict[str, Any] = {"max_num_seqs": 64, "max_num_batched_tokens": 4096, "enforce_eager": True}
    if dict(spec.engine_args).get("enforce_eager", True):
        _compile_nothing()
    elif compiler() is None:
        raise ConfigError(
            "engine_args.enforce_eager: false compiles the model, and this machine has no C++ compiler (g++, or the "
            "one in CXX). Install g++, or leave enforce_eager out"
        )
    if "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
        args["kv_cache_memory_bytes"] = 2**30
    if spec.tensor_parallel == 1:
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
        args["distributed_executor_backend"] = "uni"
    return args


def compiler() -> str | None:
    """The C++ compiler that torch uses (torch/_inductor/config.py, cpp.cxx); None: there is none."""
    return shutil.which(os.environ.get("CXX") or "g++")


def _compile_nothing() -> None:
    """Disable all compilation, also that of a kernel for the first log-probabilities.

    vLLM compiles one even with `enforce_eager` (vllm/v1/sample/ops/logprobs.py). That takes up to half a minute, and
    the engine fails without a C++ compiler.
    """
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    if os.environ["TORCHDYNAMO_DISABLE"] == "1" and "torch._dynamo" in sys.modules:  # has read the variable already
        import torch._dynamo.config

        torch._dynamo.config.disable = True
