"""GPU utilisation, from a stand-in for NVML. Its functions and fields are those of nvidia-ml-py."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from recaption.generate.gpu_use import GpuUse, gpu_reader


class NVMLError(Exception):
    pass


def stand_in(**changes: Any) -> ModuleType:
    found = ModuleType("pynvml")
    functions = {
        "NVMLError": NVMLError,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByIndex": lambda index: f"handle {index}",
        "nvmlDeviceGetHandleByUUID": lambda uuid: f"handle {uuid}",
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=87, memory=40),
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(total=80 * 2**30, used=len(handle), free=0),
    }
    for name, function in {**functions, **changes}.items():
        setattr(found, name, function)
    return found


def test_the_gpus_of_the_engine_are_read_by_index_or_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", stand_in())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-8932f937")
    assert gpu_reader()() == (
        GpuUse(gpu="5", busy=0.87, memory=len("handle 5")),
        GpuUse(gpu="GPU-8932f937", busy=0.87, memory=len("handle GPU-8932f937")),
    )


def refuse(*_: object) -> None:
    raise NVMLError("not supported")


@pytest.mark.parametrize(
    "failing", ["nvmlInit", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetMemoryInfo"]
)
def test_what_nvml_refuses_gives_no_figures(monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", stand_in(**{failing: refuse}))
    assert gpu_reader("0")() == ()


def test_without_the_package_or_gpus_there_are_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", stand_in())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_reader()() == ()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_reader("0")() == ()
