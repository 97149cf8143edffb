"""vLLM's engine with every input rendered before the clock starts: what is left to measure is what feeds the engine."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from side_bare import members

from recaption.engine.base import Completion, EngineSpec, Rendered, RendererSpec, Request
from recaption.engine.vllm import VllmEngine
from recaption.types import Sampling


class RenderedEngine(VllmEngine):
    """engine_args: vLLM's, and `images` (the folder of tars) and `prompt`."""

    def __init__(self, spec: EngineSpec) -> None:
        options = dict(spec.engine_args)
        self._images, self._prompt = Path(options.pop("images")), str(options.pop("prompt"))
        self._inputs: dict[str, Rendered] = {}
        super().__init__(dataclasses.replace(spec, engine="vllm", engine_args=tuple(sorted(options.items()))))

    async def start(self) -> None:
        await super().start()
        spec = VllmEngine.renderer(self)
        assert spec is not None
        renderer = spec.build()
        for data in members(self._images):
            sha256 = hashlib.sha256(data).hexdigest()
            request = Request(image=data, sha256=sha256, prompt=self._prompt, sampling=Sampling(max_tokens=1))
            self._inputs[sha256] = renderer.render(request)

    def renderer(self) -> RendererSpec:
        return None  # type: ignore[return-value]

    async def generate(self, work: Request | Rendered) -> Completion:
        assert isinstance(work, Request)
        return await super().generate(dataclasses.replace(self._inputs.pop(work.sha256), sampling=work.sampling))
