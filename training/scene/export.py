"""Write the captioner as a model directory that transformers and vLLM load like any from the hub."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import Idefics3ForConditionalGeneration, Idefics3Processor


def export(model: Idefics3ForConditionalGeneration, processor: Idefics3Processor, out: Path) -> None:
    """bf16 safetensors, configuration, processor, tokenizer and chat template into `out`, each file whole.

    `model` stays as it is (float32, in training). Other files in `out` stay too.
    """
    import torch

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as folder:
        copy = type(model)(model.config)
        copy.load_state_dict(model.state_dict())
        copy.generation_config = model.generation_config
        copy.to(torch.bfloat16).save_pretrained(folder)
        processor.save_pretrained(folder)
        tokenizer = Path(folder) / "tokenizer.json"
        compact = json.dumps(json.loads(tokenizer.read_text("utf-8")), ensure_ascii=False, separators=(",", ":"))
        tokenizer.write_text(compact, "utf-8")
        for path in sorted(Path(folder).iterdir()):
            path.chmod(0o644)
            path.replace(out / path.name)
