"""Utilisation and memory of the GPUs of an engine, from NVML.

Needs the extra `nvml` (nvidia-ml-py) and NVIDIA's driver. Without them there are no figures, and nothing fails.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuUse:
    """`busy`: share of the last sample period in which a kernel ran. `memory`: bytes in use by all processes."""

    gpu: str  # as in CUDA_VISIBLE_DEVICES: an index or a UUID
    busy: float
    memory: int


def gpu_reader(visible: str | None = None) -> Callable[[], tuple[GpuUse, ...]]:
    """A function that reads the use of the GPUs in `visible`.

    The default is CUDA_VISIBLE_DEVICES, which Ray sets for an engine. A call takes less than a millisecond per GPU.
    https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html
    """
    names = [name.strip() for name in (visible or os.environ.get("CUDA_VISIBLE_DEVICES", "")).split(",")]
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = {name: _handle(pynvml, name) for name in names if name}
    except Exception:  # noqa: BLE001 - no package, driver, GPU or permission: figures are optional
        return tuple

    def read() -> tuple[GpuUse, ...]:
        try:
            return tuple(_use(pynvml, name, handle) for name, handle in handles.items())
        except pynvml.NVMLError:  # the GPU was lost, or cannot report it (MIG)
            return ()

    return read


def _handle(pynvml: Any, name: str) -> Any:
    return pynvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdecimal() else pynvml.nvmlDeviceGetHandleByUUID(name)


def _use(pynvml: Any, name: str, handle: Any) -> GpuUse:
    busy, memory = pynvml.nvmlDeviceGetUtilizationRates(handle), pynvml.nvmlDeviceGetMemoryInfo(handle)
    return GpuUse(gpu=name, busy=busy.gpu / 100, memory=int(memory.used))
