"""Lets PyPI's torchvision import beside torch+cpu. For development machines: users with PyTorch's CPU index need none.

PyPI's torchvision is built against CUDA's torch. Beside torch+cpu its compiled half does not load, and its Python half
fails on import because it registers shapes for two operators that nobody declared (`torchvision::nms`, `qnms`). Once
they are declared, everything written in Python works: transforms v1 and v2, and with them transformers' image
processors and vLLM's Qwen-VL, LLaVA and InternVL. The operators themselves stay without code.

scripts/setup.py copies this file into `.venv`, with a `.pth` file that calls `install` in every interpreter, so that
engines' and Ray's processes have it too. Nothing heavy is imported until torchvision is.
"""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

NMS = "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"  # torchvision/csrc/ops/nms.cpp
QNMS = "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"  # .../ops/quantized/cpu/qnms_kernel.cpp

_kept: list[Any] = []  # a library that is collected takes its operators along


class _Declares(Loader):
    """torchvision's own loader, with the operators declared before it runs."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._real.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        declare()
        self._real.exec_module(module)

    def __getattr__(self, name: str) -> Any:  # resources, source lines
        return getattr(self._real, name)


class _Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != "torchvision":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Declares(spec.loader)
        return spec


def declare() -> None:
    """Declare the operators, unless torch is another build or torchvision one that brings them (0.28.0+cpu)."""
    import torch

    try:
        fits = "+" in version("torchvision")
    except PackageNotFoundError:
        fits = True
    if fits or _kept or not str(torch.__version__).endswith("+cpu"):
        return
    library = torch.library.Library("torchvision", "DEF")
    library.define(NMS)
    library.define(QNMS)
    _kept.append(library)


def install() -> None:
    """See to it that `import torchvision` works from now on, in this interpreter."""
    sys.meta_path.insert(0, _Finder())
