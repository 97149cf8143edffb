"""What an engine is. The actor above it keeps `capacity` requests in flight and knows nothing else about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from recaption.errors import RequestError
from recaption.types import ImageLimits, Sampling


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One question: an image's bytes, a filled-in prompt, and how to sample.

    `sha256` is the image's; engines key their small decode caches by it, so that an image asked several prompts back
    to back is decoded once. `pixel_share` is the share of its usual pixels that the image is shown with: below 1 on the
    later rungs of the retry ladder. `orientation` is the EXIF orientation to apply to the decoded image, None: none
    (`recaption.decode.decode` takes it as it is). EXIF in the bytes is ignored.
    """

    image: bytes
    sha256: str
    prompt: str
    sampling: Sampling
    pixel_share: float = 1.0
    orientation: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """A request turned into an engine's own input, ready to be generated from."""

    engine_input: Any
    sampling: Sampling
    nbytes: int
    decode_seconds: float = 0.0  # of a core, 0 where the image was decoded for an earlier prompt
    render_seconds: float = 0.0  # of a core, decoding left out


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What an engine made of one request. The retry ladder above judges the text.

    An engine returns its own finish word, whatever that is. `engine.completion.accept` turns it into one of
    `types.FinishReason` and keeps the engine's word in `engine_finish`.
    """

    text: str
    finish_reason: str | None
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int = 0  # of the prompt's, those that the engine had computed before (prefix caching)
    engine_finish: str | None = None  # the engine's own word where `finish_reason` is another


@dataclass(frozen=True, kw_only=True, slots=True)
class Gauge:
    """What an engine is doing now, and what it has done since it started.

    `least_waiting` is the smallest length that the engine's own waiting queue had since the last call of `gauge`:
    above 0, the engine had more to do than it could take on at every moment of that window, so the window shows what
    the engine can do by itself.
    """

    running: int  # requests
    waiting: int  # requests
    least_waiting: int  # requests
    requests: int  # finished
    prompt_tokens: int
    output_tokens: int  # grows while requests run: the sign that an engine is alive


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSpec:
    """All that is needed to build an engine in another process; plain picklable values.

    `model` is a local folder by the time an engine sees it, or the name that the engine itself resolves.
    """

    engine: str  # "vllm" | "transformers" | "openai" | "package.module:Class"
    model: str
    revision: str | None = None
    dtype: str = "auto"
    max_model_len: int | None = None  # tokens
    max_pixels: int | None = None  # pixel budget: larger images are scaled down to it before the processor
    tensor_parallel: int = 1
    limits: ImageLimits = field(default_factory=ImageLimits)
    engine_args: tuple[tuple[str, Any], ...] = ()  # passed on as they are; batch settings, never identity


def check_prompt(prompt: str, special: Iterable[str]) -> None:
    """Refuse a prompt that holds one of the tokenizer's `special` tokens as text. Raises RequestError.

    Columns come from the web: "<image>" in an alt text would be taken for a second picture, and an end token in it
    would speak in the model's name.
    """
    for token in special:
        if token and token in prompt:
            raise RequestError(f"the filled-in prompt holds {token!r}, which is a special token of the model")


@runtime_checkable
class Renderer(Protocol):
    """Turns requests into engine inputs, in CPU processes beside the engine.

    Raises ImageError for an image that cannot be used, RequestError for a request that cannot be rendered.
    """

    def render(self, request: Request) -> Rendered: ...


class RendererSpec(Protocol):
    """A picklable recipe for a Renderer."""

    def build(self) -> Renderer: ...


@runtime_checkable
class Engine(Protocol):
    """A model that answers requests, many at a time.

    `capacity` (requests it wants in flight) is valid after `start`. `generate` raises ImageError for an unusable
    image, RequestError for a refused request, EngineDead when the engine is gone. `renderer` is None for an engine
    that takes Requests as they are; it may be called before `start`, so that renderers are built beside a starting
    engine. `drain` takes no more requests and returns when those in flight are answered, or after `deadline` seconds;
    `stop` ends the engine at once, and whatever is still asked of it raises Interrupted.

    An engine may have an attribute `bounds_requests`. Where it is true, every `generate` ends within a bounded time,
    and the actor does not watch for an engine that hangs (`models.*.hang_seconds`): a request without a reply is then a
    failure of that request, not of the engine.
    """

    capacity: int

    def renderer(self) -> RendererSpec | None: ...

    async def start(self) -> None: ...

    async def generate(self, work: Request | Rendered) -> Completion: ...

    async def drain(self, deadline: float) -> None: ...

    async def stop(self) -> None: ...

    def gauge(self) -> Gauge | None:
        """None for an engine that cannot tell how long its own queue is. Cheap; called about once a second."""
        ...

    def provenance(self) -> dict[str, str]:
        """Name and version of the engine and what it runs on; recorded in metrics and manifest, never identity."""
        ...
