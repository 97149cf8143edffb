"""An engine for CLIP, SigLIP and SigLIP 2 through transformers: image-text scores and embeddings.

A request with an image and a prompt gets two scores: the cosine of the two embeddings, and the model's logit (CLIP:
cosine x scale; SigLIP: cosine x scale + bias, whose sigmoid is the probability that they match). An image with an empty
prompt, or a prompt without an image, gets its embedding, of length 1. A text that is longer than the model's context is
cut, and the finish reason is then `length`.

engine_args: those of `engine.micro_batch`. vLLM's pooling runner is not used: it does not pad texts, which SigLIP
needs, and it returns neither scale nor bias.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, ClassVar, TypeVar

from recaption.engine.base import Completion, Request
from recaption.engine.micro_batch import Job, MicroBatchEngine
from recaption.errors import ConfigError, RequestError

_T = TypeVar("_T")
_PADDED = ("siglip", "siglip2")  # trained on texts that are padded to the full length


class DualEncoderEngine(MicroBatchEngine):
    """See `engine.base.Engine`. Equal images and equal texts of a batch are encoded once."""

    name: ClassVar[str] = "dual_encoder"

    def _load(self) -> None:
        processor, model = self._loaded("AutoProcessor", "AutoModel")
        if not (hasattr(model, "get_image_features") and hasattr(model, "get_text_features")):
            raise ConfigError(
                f"model {self.spec.model!r} is a {type(model).__name__}, which has no embeddings of images and texts: "
                "name a CLIP, SigLIP or SigLIP 2 model"
            )
        self._processor, self._tokenizer, self._model = processor, processor.tokenizer, model
        self._length: int = self.spec.max_model_len or model.config.text_config.max_position_embeddings
        self._padding = "max_length" if model.config.model_type in _PADDED else "longest"

    def _check(self, request: Request) -> None:
        if not request.output.scores:
            raise RequestError(f"the dual_encoder engine returns scores, not {request.output.form}")
        if request.image is None and not request.prompt:
            raise RequestError("the request has neither an image nor a text")

    def _batch(self, jobs: Sequence[Job]) -> list[Completion]:
        import torch

        with torch.inference_mode():
            images = _once(((_picture(job), job.image) for job in jobs if job.image is not None), self._encode_images)
            prompts = [job.request.prompt for job in jobs if job.request.prompt]
            texts = _once(((prompt, prompt) for prompt in prompts), self._encode_texts)
            return [self._completion(job, images, texts) for job in jobs]

    def _encode_images(self, images: Sequence[Any]) -> list[Any]:
        """Unit vectors, float32 [D].

        The image processor is called directly: SigLIP 2's combined processor overrides its patch size with a default.
        """
        inputs = self._processor.image_processor(images=list(images), return_tensors="pt")
        inputs = inputs.to(self.device, dtype=self._model.dtype)
        return list(_unit(self._model.get_image_features(**inputs)))

    def _encode_texts(self, texts: Sequence[str]) -> list[tuple[Any, int, bool]]:
        """For each text its unit vector, float32 [D], its number of tokens, and whether it was cut."""
        whole = self._tokenizer(list(texts))["input_ids"]
        settings = {"padding": self._padding, "truncation": True, "max_length": self._length}
        inputs = self._tokenizer(list(texts), return_tensors="pt", **settings).to(self.device)
        vectors = _unit(self._model.get_text_features(**inputs))
        return [
            (vector, min(len(tokens), self._length), len(tokens) > self._length)
            for vector, tokens in zip(vectors, whole, strict=True)
        ]

    def _completion(
        self, job: Job, images: dict[Hashable, Any], texts: dict[Hashable, tuple[Any, int, bool]]
    ) -> Completion:
        vector, tokens, was_cut = texts.get(job.request.prompt, (None, 0, False))
        if job.image is None:
            scores = vector.tolist()
        elif vector is None:
            scores = images[_picture(job)].tolist()
        else:
            cosine = float(images[_picture(job)] @ vector)
            bias = getattr(self._model, "logit_bias", None)
            logit = cosine * float(self._model.logit_scale.exp()) + (0.0 if bias is None else float(bias))
            scores = [cosine, logit]
        return Completion(
            text="",
            finish_reason="length" if was_cut else "stop",
            prompt_tokens=tokens,
            output_tokens=0,
            scores=tuple(scores),
        )


def _picture(job: Job) -> Hashable:
    """The identity of the pixels of a request."""
    request = job.request
    return request.sha256, request.pixel_share, request.crop


def _once(items: Iterable[tuple[Hashable, Any]], encode: Callable[[Sequence[Any]], list[_T]]) -> dict[Hashable, _T]:
    """The results of `encode` by key. Items with equal keys are encoded once; without items, `encode` is not called."""
    unique = dict(items)
    return dict(zip(unique, encode(list(unique.values())), strict=True)) if unique else {}


def _unit(output: Any) -> Any:
    """Embeddings, float32 [B, D] of length 1 on the CPU; transformers 5 returns them as `pooler_output`."""
    vectors = getattr(output, "pooler_output", output).float().cpu()
    return vectors / vectors.norm(dim=-1, keepdim=True)
