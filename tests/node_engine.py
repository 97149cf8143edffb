"""The fake engine as an image of the user's own would bring it; it tells where it runs and whose code runs there.

In the folder of the engine argument `faults`: `node-<pid>` (JSON), beside the `asked-<pid>` of the fake engine.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import ray
from fake_engine import FakeEngine

import recaption
from recaption.engine import EngineSpec
from recaption.resources import shipped


class NodeEngine(FakeEngine):
    def __init__(self, spec: EngineSpec) -> None:
        super().__init__(spec)
        self._model = spec.model

    async def start(self) -> None:
        await super().start()
        said = {
            "node": ray.get_runtime_context().get_node_id(),
            "version": recaption.__version__,
            "code": recaption.__file__,
            "model": self._model,
            "views": (shipped("schemas") / "views.sql").is_file(),
            "endpoint": os.environ.get("HF_ENDPOINT"),
            "token": os.environ.get("HF_TOKEN"),
        }
        assert self._faults is not None
        (Path(self._faults) / f"node-{os.getpid()}").write_text(json.dumps(said))
