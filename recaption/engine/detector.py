"""An engine for open-vocabulary detectors of transformers: OWLv2, OWL-ViT, Grounding DINO and MM Grounding DINO.

A request has an image, and a phrase in each line of its prompt. The answer has a box for each pair of a place and a
phrase whose score is at least `LEAST_SCORE`. Boxes are shares of the part of the image that the request shows, clipped
to it. A score is the sigmoid of the model's logit; Grounding DINO has a logit per token of the phrase, and the largest
is used.
Higher thresholds and overlaps of boxes apply at build (task `regions`).

The scores are taken from the model's output, not from the processor's `post_process_*`: OWLv2's fails for lists of
phrases of different lengths (processing_owlv2.py pads them with " ", which competes with the phrases), and Grounding
DINO's mixes the tokens of different phrases. OWLv2 pads an image below and to the right to a square, and its boxes are
shares of this square. Grounding DINO reads all phrases of an image as one text, "a kite. a dog.", in which "." and "?"
separate phrases (modeling_grounding_dino.py, SPECIAL_TOKENS).

engine_args: those of `engine.micro_batch`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from recaption.engine.base import Completion, Request
from recaption.engine.micro_batch import Job, MicroBatchEngine
from recaption.errors import ConfigError, RequestError
from recaption.tasks.output import LEAST_SCORE
from recaption.types import Detection

MOST_BOXES: Final = 50  # for each phrase
_OWL: Final = ("owlv2", "owlvit")
_DINO: Final = ("grounding-dino", "mm-grounding-dino")
_SEPARATORS: Final = re.compile(r"[.?]")


class DetectorEngine(MicroBatchEngine):
    """See `engine.base.Engine`. The phrases of the requests of a batch may differ."""

    name: ClassVar[str] = "detector"

    def _load(self) -> None:
        processor, model = self._loaded("AutoProcessor", "AutoModelForZeroShotObjectDetection")
        self._type = model.config.model_type
        if self._type not in _OWL + _DINO:
            raise ConfigError(
                f"model {self.spec.model!r} is a {type(model).__name__}; engine detector runs OWLv2, OWL-ViT, "
                "Grounding DINO and MM Grounding DINO"
            )
        if not processor.tokenizer.is_fast:
            raise ConfigError(f"model {self.spec.model!r} has no tokenizer.json, which engine detector needs")
        self.accepts = frozenset({"image"})
        self._processor, self._tokenizer, self._model = processor, processor.tokenizer, model

    def _check(self, request: Request) -> None:
        if not request.output.boxes:
            raise RequestError(f"the detector engine returns boxes, not {request.output.form}")
        if request.image is None:
            raise RequestError("the detector engine takes requests with an image only")
        if not phrases_of(request.prompt):
            raise RequestError("the prompt has no phrase: write one in each line")

    def _batch(self, jobs: Sequence[Job]) -> list[Completion]:
        import torch

        phrases = [phrases_of(job.request.prompt) for job in jobs]
        find = self._owl if self._type in _OWL else self._dino
        with torch.inference_mode():
            scores, corners, tokens = find([job.image for job in jobs], phrases)
        return [
            Completion(
                text="",
                finish_reason="stop",
                prompt_tokens=tokens[n],
                output_tokens=0,
                boxes=_detections(scores[n], corners[n]),
            )
            for n in range(len(jobs))
        ]

    def _owl(self, images: Sequence[Any], phrases: Sequence[Sequence[str]]) -> tuple[list[Any], list[Any], list[int]]:
        """For each image its scores [P, Q], the corners of its boxes [P, 4], and the tokens of its Q phrases."""
        import torch

        most = max(map(len, phrases))
        padded = [phrase for some in phrases for phrase in (*some, *[" "] * (most - len(some)))]
        settings = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        length = self._model.config.text_config.max_position_embeddings
        texts = self._tokenizer(padded, max_length=length, **settings).to(self.device)
        output = self._model(
            input_ids=texts["input_ids"], attention_mask=texts["attention_mask"], **self._pixels(images)
        )
        counts = texts["attention_mask"].view(len(images), most, -1).sum(-1).tolist()
        corners = _corners(output.pred_boxes)
        if self._type == "owlv2":
            corners = torch.stack([_of_square(one.size, boxes) for one, boxes in zip(images, corners, strict=True)])
        scores = [
            of_image[:, : len(some)].float().sigmoid().cpu()
            for of_image, some in zip(output.logits, phrases, strict=True)
        ]
        return scores, list(corners), [sum(row[: len(some)]) for row, some in zip(counts, phrases, strict=True)]

    def _dino(self, images: Sequence[Any], phrases: Sequence[Sequence[str]]) -> tuple[list[Any], list[Any], list[int]]:
        """As `_owl`."""
        import torch

        texts, spans = zip(*(_joined(some) for some in phrases), strict=True)
        inputs = self._tokenizer(list(texts), padding=True, return_offsets_mapping=True, return_tensors="pt")
        offsets = inputs.pop("offset_mapping").tolist()
        counts = inputs["attention_mask"].sum(-1).tolist()
        most = self._model.config.max_text_len
        if max(counts) > most:
            raise RequestError(
                f"the phrases of the request have {max(counts)} tokens; at most {most} are allowed: use fewer phrases, "
                "or one request for each"
            )
        output = self._model(**inputs.to(self.device), **self._pixels(images))
        probabilities = output.logits.float().sigmoid().cpu()
        scores = []
        for n, of_image in enumerate(spans):
            columns = [
                [at for at, (first, last) in enumerate(offsets[n]) if start <= first < last <= end]
                for start, end in of_image
            ]
            # A phrase that consists of separators has no tokens.
            none = torch.zeros(probabilities.shape[1])
            scores.append(
                torch.stack([probabilities[n][:, found].amax(-1) if found else none for found in columns], dim=-1)
            )
        return scores, list(_corners(output.pred_boxes)), counts

    def _pixels(self, images: Sequence[Any]) -> dict[str, Any]:
        inputs = self._processor.image_processor(images=list(images), return_tensors="pt").to(self.device)
        return {**inputs, "pixel_values": inputs["pixel_values"].to(self._model.dtype)}


def phrases_of(prompt: str) -> list[str]:
    """The phrases of a request: its lines that are not blank."""
    return [line.strip() for line in prompt.splitlines() if line.strip()]


def _joined(phrases: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """The phrases as one text, and where each of them starts and ends in it."""
    text, spans = "", list[tuple[int, int]]()
    for phrase in phrases:
        words = " ".join(_SEPARATORS.sub(" ", phrase.lower()).split())
        start = len(text) + (1 if text else 0)
        text = f"{text} {words}." if text else f"{words}."
        spans.append((start, start + len(words)))
    return text, spans


def _corners(boxes: Any) -> Any:
    """Corners of boxes that are given as centre and size: float32 [..., 4] on the CPU."""
    import torch

    centre, size = boxes.float().cpu().split(2, dim=-1)
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def _of_square(size: tuple[int, int], corners: Any) -> Any:
    """Corners [..., 4] as shares of an image, from shares of the square that OWLv2 pads it to."""
    width, height = size
    side = max(width, height)
    return corners * corners.new_tensor([side / width, side / height] * 2)


def _detections(scores: Any, corners: Any) -> tuple[Detection, ...]:
    """The boxes with an area in the image, by phrase and descending score. `scores` [P, Q], `corners` [P, 4]."""
    corners = corners.clamp(0, 1)
    inside = (corners[:, 0] < corners[:, 2]) & (corners[:, 1] < corners[:, 3])
    found = []
    for phrase in range(scores.shape[1]):
        of_phrase = scores[:, phrase].nan_to_num(0.0) * inside  # half precision may overflow
        for at in of_phrase.argsort(descending=True, stable=True)[:MOST_BOXES].tolist():
            score = float(of_phrase[at])
            if score < LEAST_SCORE:
                break
            x0, y0, x1, y1 = (round(edge, 6) for edge in corners[at].tolist())
            found.append(Detection(phrase=phrase, score=round(score, 6), box=(x0, y0, x1, y1)))
    return tuple(found)
