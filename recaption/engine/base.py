"""The protocol of engines. The actor keeps `capacity` requests in flight in an engine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

from recaption.errors import RequestError
from recaption.tasks.output import TEXT, Output
from recaption.types import Box, Completion, ImageLimits, Logprobs, Modality, Sampling

LAST_TOKENS: Final = 16
"""Tokens at the end of a prompt that hold the opening tag of a thought, if it has one there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One attempt of a request: an image's bytes, a filled-in prompt, the sampling, and the form of the answer.

    Without an `image`, the request is text only. `sha256` is the hash of the image and the key of the engines' decode
    caches, so that an image with several prompts is decoded once. `pixel_share` is the share of the pixels that the
    model is shown: below 1 in later attempts of the retry ladder. `orientation` is the EXIF orientation to apply to the
    decoded image; None: none (see `recaption.decode.decode`). EXIF in the bytes is ignored. `crop` is the part of the
    upright image that the model is shown; None: all of it.

    `statement` is the text whose log-probabilities are wanted, with `output.likelihood` only. If the prompt contains
    it, it is scored there (where it occurs last), else as the model's answer to the prompt.
    """

    prompt: str
    sampling: Sampling
    image: bytes | None = None
    sha256: str = ""
    pixel_share: float = 1.0
    orientation: int | None = None
    crop: Box | None = None
    output: Output = TEXT
    statement: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """The tokens of a prompt that contain parts of `text`: those from position `first`, one for each entry of `nbytes`.

    An entry of `nbytes` is the number of UTF-8 bytes of `text` in its token. The entries sum to the length of `text`,
    or of the normalised text if the tokenizer normalises texts.
    """

    text: str
    first: int
    nbytes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """A request as the input of a certain engine. `scored`: with `output.likelihood`; `shown` and `in_thought`: see
    `Completion`."""

    engine_input: Any
    sampling: Sampling
    nbytes: int
    output: Output = TEXT
    scored: Scored | None = None
    shown: tuple[int, int] | None = None
    in_thought: bool = False
    decode_seconds: float = 0.0  # CPU time; 0 where the image was decoded for an earlier prompt
    render_seconds: float = 0.0  # CPU time without decoding


@dataclass(frozen=True, kw_only=True, slots=True)
class Gauge:
    """The state of an engine, and its totals since it started.

    `least_waiting` is the smallest length of the engine's waiting queue since the last call of `gauge`. If it is above
    0, the engine was saturated during the whole window, so the window shows its maximum throughput.
    """

    running: int  # requests
    waiting: int  # requests
    least_waiting: int  # requests
    requests: int  # finished
    prompt_tokens: int
    output_tokens: int  # grows while requests run: the sign of progress


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSpec:
    """The settings of an engine; plain picklable values.

    An engine gets a `model` that is a local folder or a name that the engine resolves. `needs` and `outputs` are what
    its requests will need: an engine that lacks one of them fails when it starts (`engine.capabilities` checks this
    earlier). Requests with other outputs are allowed.
    """

    engine: str  # "vllm" | "transformers" | "openai" | "dual_encoder" | "detector" | "package.module:Class"
    model: str
    revision: str | None = None
    dtype: str = "auto"
    max_model_len: int | None = None  # tokens
    max_pixels: int | None = None  # larger images are scaled down to it before the processor
    tensor_parallel: int = 1
    limits: ImageLimits = field(default_factory=ImageLimits)
    chat_template_kwargs: tuple[tuple[str, Any], ...] = ()  # variables of the model's chat template
    engine_args: tuple[tuple[str, Any], ...] = ()  # passed to the engine; not part of a fingerprint
    needs: frozenset[Modality] = frozenset({"image"})
    outputs: tuple[Output, ...] = ()


def check_prompt(prompt: str, special: Iterable[str]) -> None:
    """Raises RequestError for a prompt that contains one of the tokenizer's `special` tokens as text.

    Columns come from the web: "<image>" in an alt text would count as a second image, and an end token would end the
    user's turn.
    """
    for token in special:
        if token and token in prompt:
            raise RequestError(f"the filled-in prompt contains {token!r}, which is a special token of the model")


@runtime_checkable
class Renderer(Protocol):
    """Turns requests into engine inputs, in CPU processes on the engine's node.

    Raises ImageError for an image that cannot be used, RequestError for a request that cannot be rendered.
    """

    def render(self, request: Request) -> Rendered: ...


class RendererSpec(Protocol):
    """A picklable recipe for a Renderer."""

    def build(self) -> Renderer: ...


@runtime_checkable
class Engine(Protocol):
    """Runs a model and answers many requests at a time.

    `capacity`, the number of requests to keep in flight, and `accepts`, the kinds of requests that the model can
    answer, are valid after `start`. `generate` raises ImageError for an unusable image, RequestError for a refused
    request, EngineDead when the engine is gone. `renderer` is None for an engine that takes Requests. It may be called
    before `start`, so that renderers start at the same time as the engine. `stop` ends the engine at once; requests in
    flight and later ones raise Interrupted.

    An engine may have an attribute `bounds_requests`. Where it is true, every `generate` ends within a bounded time,
    and the actor does not watch for an engine that hangs (`models.*.hang_seconds`): a request without a reply is then a
    failure of that request, not of the engine.
    """

    capacity: int
    accepts: frozenset[Modality]

    def renderer(self) -> RendererSpec | None: ...

    async def start(self) -> None: ...

    async def generate(self, work: Request | Rendered) -> Completion: ...

    async def stop(self) -> None: ...

    def gauge(self) -> Gauge | None:
        """None for an engine that does not know the length of its queue. Called about once a second."""
        ...

    def provenance(self) -> dict[str, str]:
        """Name, version and device of the engine, for metrics and manifest. Not part of a fingerprint."""
        ...


__all__ = [
    "Completion",
    "Engine",
    "EngineSpec",
    "Gauge",
    "ImageLimits",
    "Logprobs",
    "Rendered",
    "Renderer",
    "RendererSpec",
    "Request",
    "Scored",
    "check_prompt",
]
