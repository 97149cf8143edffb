"""An engine that judges captions of the demo's scenes by their ground truth, for `recaption compare` without a model.

It reads the shipped prompt of task `compare`. The better caption has the larger number of true minus false claims.
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import Final

from recaption.demo.claims import claims
from recaption.demo.scenes import Scene, sample_scene
from recaption.demo.shards import FIRST_SEED, make_sample
from recaption.engine.base import Completion, EngineSpec, Gauge, Logprobs, Rendered, RendererSpec, Request
from recaption.errors import ConfigError, RequestError

_CAPTIONS: Final = re.compile(r"^Caption 1: (.*?)^Caption 2: (.*?)^Which caption ", re.DOTALL | re.MULTILINE)


def judged(prompt: str, scene: Scene) -> tuple[float, float]:
    """The probabilities that caption 1 and caption 2 is the better one. Raises RequestError for another prompt."""
    found = _CAPTIONS.search(prompt)
    if found is None:
        raise RequestError(f"no rule matches the prompt: {prompt[:100]!r}")
    first, second = (2 * sum(made.values()) - len(made) for made in (claims(text, scene) for text in found.groups()))
    p = 1 / (1 + math.exp(second - first))
    return p, 1 - p


class SceneJudge:
    """See `engine.base.Engine`. The model in the pipeline file has no meaning.

    It knows the first `engine_args.scenes` scenes of the demo (default: 64) as JPEGs of `engine_args.side` pixels
    (default: 256). Other images are rejected.
    """

    accepts: Final = frozenset({"image"})
    outputs: Final = frozenset({"choices", "logprobs"})
    capacity = 16

    def __init__(self, spec: EngineSpec) -> None:
        given = {"scenes": 64, "side": 256} | dict(spec.engine_args)
        if unknown := given.keys() - {"scenes", "side"}:
            raise ConfigError(f"unknown engine_args {', '.join(sorted(unknown))}; allowed: scenes, side")
        self._number, self._side = int(given["scenes"]), int(given["side"])
        self._scenes: dict[str, Scene] = {}

    def renderer(self) -> RendererSpec | None:
        return None

    async def start(self) -> None:
        for seed in range(FIRST_SEED, FIRST_SEED + self._number):
            jpeg = make_sample(seed, "", self._side).jpeg
            self._scenes[hashlib.sha256(jpeg).hexdigest()] = sample_scene(seed)

    async def generate(self, work: Request | Rendered) -> Completion:
        if isinstance(work, Rendered) or work.image is None:
            raise RequestError("the judge of scenes takes requests with an image, not rendered ones")
        scene = self._scenes.get(hashlib.sha256(work.image).hexdigest())
        if scene is None:
            raise RequestError("the image is not one of the demo's scenes, so the judge does not know its truth")
        p = judged(work.prompt, scene)
        logprobs = tuple(math.log(one) if one else -math.inf for one in p)
        return Completion(
            text="1" if p[0] >= p[1] else "2",
            finish_reason="stop",
            prompt_tokens=0,
            output_tokens=1,
            logprobs=Logprobs(tokens=(max(logprobs),), nbytes=(1,), choices=logprobs),
        )

    async def stop(self) -> None:
        return None

    def gauge(self) -> Gauge | None:
        return None

    def provenance(self) -> dict[str, str]:
        return {"engine": "recaption.engine.scene_judge"}
