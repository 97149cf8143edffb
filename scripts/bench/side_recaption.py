"""The other side of `speed`: `recaption generate`, from tars to answers put."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from recaption import config
from recaption.progress import Display
from recaption.run import run


def main() -> None:
    settings = json.loads(sys.argv[1])
    prompt = Path(settings["out"]).with_suffix(".md")
    prompt.write_text(f"---\nid: bench\nversion: 1\ngranularity: long\n---\n{settings['prompt']}\n")
    engine_args: dict[str, Any] = dict(settings["engine_args"])
    if settings["load_format"]:
        engine_args["load_format"] = settings["load_format"]
    model: dict[str, Any] = {"engine": "vllm", "model": settings["model"], "max_model_len": 1024}
    model["replicas"] = settings["replicas"]
    if settings["cpus"]:
        model["cpus"] = settings["cpus"]
    if settings["max_pixels"]:
        model["max_pixels"] = settings["max_pixels"]
    if settings["rendered"]:
        model["engine"] = "rendered_engine:RenderedEngine"
        engine_args |= {"images": settings["images"], "prompt": settings["prompt"], "enable_prefix_caching": False}
    once = {"attempts": 1}  # random weights can give an empty text, which counts as an answer, as for vLLM alone
    sampling = {"max_tokens": settings["max_tokens"], "ignore_eos": True}
    pipeline = config.validate(
        {
            "name": "bench",
            "source": {"path": f"{settings['images']}/*.tar"},
            "models": {"m": {**model, "engine_args": engine_args}},
            "generate": [{"id": "long", "model": "m", "prompt": str(prompt), "sampling": sampling, **once}],
            "output": {"path": settings["out"]},
        }
    )
    with Display() as display:
        outcome = run(pipeline, None, display, half="generate")
    metrics = json.loads(next(Path(settings["out"], "metrics").glob("run-*.json")).read_text())["models"]["m"]
    done = metrics["generations"]["long"]
    captions = done["answers"] + sum(done["rejects"].values())
    assert captions == done["total"] and outcome.output_tokens == captions * settings["max_tokens"], done
    found = {"captions": captions, "seconds": outcome.seconds, "share": metrics["meter"]["share"], **metrics}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
