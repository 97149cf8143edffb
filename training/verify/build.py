"""The verifier before training: the scene captioner with a few more tokens."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.scene.build import WORDS
from training.scene.captions import OPENERS

if TYPE_CHECKING:
    from transformers import Idefics3ForConditionalGeneration, Idefics3Processor

QUESTION, ASK = "Is this true of the image:", " Answer yes or no."
YES, NO = "yes", "no"
# Each becomes one token: a question about a sentence is then 8 to 13 tokens instead of 23 to 29.
PIECES = (QUESTION, ASK, *(f" {opener}" for opener in sorted(set(OPENERS.values()))), YES)


def question(statement: str) -> str:
    """The prompt about `statement`, a sentence with its full stop."""
    return f"{QUESTION} {statement}{ASK}"


def extend_tokenizer(raw: dict[str, Any]) -> dict[str, Any]:
    """`raw` is the content of the captioner's tokenizer.json: `PIECES` get the next free ids, all old ids stay.

    A pre-token that the vocabulary holds is taken whole (`ignore_merges`), so that a piece needs no merges.
    """
    split, model = raw["pre_tokenizer"]["pretokenizers"][0], raw["model"]
    phrases = split["pattern"]["Regex"].removesuffix(f"|{WORDS}")
    new = "|".join(re.escape(piece) + r"(?!\w)" for piece in PIECES if " " in piece)
    split["pattern"]["Regex"] = f"{new}|{phrases}|{WORDS}"
    for piece in PIECES:
        model["vocab"].setdefault(piece.replace(" ", "Ġ"), len(model["vocab"]))
    model["ignore_merges"] = True
    return raw


def load(start: Path, folder: Path) -> tuple[Idefics3ForConditionalGeneration, Idefics3Processor]:
    """The captioner of `start` in float32 and its processor, with the new tokens; `folder` gets the processor's files.

    A new token's vectors start as the mean of those of the tokens that it replaces.
    """
    import torch
    from transformers import Idefics3ForConditionalGeneration, Idefics3Processor

    old = Idefics3Processor.from_pretrained(start)
    old.save_pretrained(folder)
    path = folder / "tokenizer.json"
    path.write_text(
        json.dumps(extend_tokenizer(json.loads(path.read_text("utf-8"))), ensure_ascii=False, indent=2) + "\n", "utf-8"
    )
    processor = Idefics3Processor.from_pretrained(folder)
    model = Idefics3ForConditionalGeneration.from_pretrained(start, dtype=torch.float32)
    before = len(old.tokenizer)
    model.resize_token_embeddings(len(processor.tokenizer), mean_resizing=False)
    with torch.no_grad():
        for piece in PIECES:
            new = processor.tokenizer.convert_tokens_to_ids(piece.replace(" ", "Ġ"))
            if new >= before:
                parts = old.tokenizer(piece, add_special_tokens=False)["input_ids"]
                for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
                    layer.weight[new] = layer.weight[parts].mean(0)
    return model, processor
