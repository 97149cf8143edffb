"""An engine on a server with the OpenAI chat completions API: `vllm serve`, SGLang or a hosted service.

engine_args: `base_url` (required), `api_key_env` (OPENAI_API_KEY: the name of the environment variable that holds the
key; the key itself is never stored), `concurrency` (32 requests in flight), `timeout` (120 s per attempt),
`attempts` (6 for a request that times out or gets a server error; see `ChatServer.complete`; a request that times out
3 times while the server answers others is rejected), `image_detail` (auto, low or high, where the server knows it),
`extra_body` (a mapping merged into each request; null removes a field).

A server has its own defaults: `vllm serve` uses the sampling of the model's authors for settings that a request leaves
out, unless it is started with `--generation-config vllm`. There is no check for special tokens in prompts here: the
tokenizer is the server's.
"""

from __future__ import annotations

import asyncio
import base64
import io
import random
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

import orjson
from PIL import Image

from recaption.decode import ImageInfo, check_header, decode
from recaption.engine.base import Completion, EngineSpec, Gauge, Rendered, RendererSpec, Request
from recaption.engine.chat_server import ChatServer, first_choice
from recaption.engine.completion import text_of
from recaption.engine.in_flight import InFlight
from recaption.engine.openai_settings import OpenAISettings
from recaption.errors import EngineDead, RequestError
from recaption.imagefile import plain_jpeg
from recaption.types import ImageLimits

_STAND_IN_SIDE = 224  # pixels; every vision model accepts this size


class OpenAIEngine:
    """See `engine.base.Engine`. Takes Requests, not Rendered. `sleep` waits between the attempts of a request."""

    bounds_requests = True  # `timeout` bounds each attempt, `attempts` their number

    def __init__(self, spec: EngineSpec, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.spec = spec
        self.settings = OpenAISettings.of(dict(spec.engine_args))
        self.capacity = self.settings.concurrency
        self._random, self._sleep = random.Random(), sleep
        self._server: ChatServer | None = None
        self._slots = asyncio.Semaphore(self.capacity)
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="openai-render")
        self._in_flight = InFlight()
        self._owner: str | None = None

    def renderer(self) -> RendererSpec | None:
        return None

    async def start(self) -> None:
        """Check that the server is reachable and has the model. Raises ConfigError, MissingExtra, EngineDead."""
        settings = self.settings
        server = ChatServer(
            base_url=settings.base_url,
            key=settings.key(),
            connections=settings.concurrency,
            timeout=settings.timeout,
            attempts=settings.attempts,
            random=self._random,
            sleep=self._sleep,
        )
        try:
            await server.connect()
            models = await server.models()
            if models is None or self.spec.model not in models:
                await server.probe(self.spec.model, list(models) if models else None)
        except BaseException:
            await server.close()
            raise
        owner = (models or {}).get(self.spec.model, {}).get("owned_by")
        self._owner = server.key.hide(str(owner))[:100] if owner else None
        self._server = server
        self._in_flight.open()

    async def generate(self, work: Request | Rendered) -> Completion:
        if isinstance(work, Rendered):
            raise RequestError("the openai engine takes requests, not rendered ones")
        return await self._in_flight.run(self._generate, work)

    async def stop(self) -> None:
        self._in_flight.stop()
        await self._in_flight.ended()
        server, self._server = self._server, None
        if server is not None:
            await server.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def gauge(self) -> Gauge | None:
        return None  # the queue is the server's

    def provenance(self) -> dict[str, str]:
        owner = {"owned_by": self._owner} if self._owner else {}
        return {
            "engine": "openai",
            "client": f"aiohttp {version('aiohttp')}",
            "base_url": self.settings.base_url,
            "model": self.spec.model,
            "concurrency": str(self.capacity),
            **owner,
        }

    async def _generate(self, request: Request) -> Completion:
        server = self._server
        assert server is not None
        loop = asyncio.get_running_loop()
        async with self._slots:
            body = await loop.run_in_executor(self._threads, self._body, request)
            try:
                return read(await server.complete(body, lambda: self._body(self._stand_in(request))))
            except EngineDead as error:
                self._in_flight.refuse(error)
                raise
            except RequestError:
                # An image that was sent without decoding it may be the reason.
                await loop.run_in_executor(self._threads, decode, request.image, self.spec.limits, self.spec.max_pixels)
                raise

    def _stand_in(self, request: Request) -> Request:
        """A request about a grey square, with the sampling of `request`, that every working server answers."""
        side = max(_STAND_IN_SIDE, self.spec.limits.min_side)
        sink = io.BytesIO()
        Image.new("RGB", (side, side), (128, 128, 128)).save(sink, "JPEG")
        return Request(image=sink.getvalue(), sha256="", prompt="Describe this image.", sampling=request.sampling)

    def _body(self, request: Request) -> bytes:
        """The request as JSON. Raises ImageError, RequestError."""
        sampling = request.sampling
        image: dict[str, str] = {"url": data_url(request, self.spec.limits, self.spec.max_pixels)}
        if self.settings.image_detail:
            image["detail"] = self.settings.image_detail
        content = [{"type": "image_url", "image_url": image}, {"type": "text", "text": request.prompt}]
        body: dict[str, Any] = {
            "model": self.spec.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            "stop": list(sampling.stop) or None,
            "top_k": sampling.top_k or None,  # like ignore_eos not in OpenAI's API, but supported by vLLM and SGLang
            "ignore_eos": sampling.ignore_eos or None,
            **orjson.loads(self.settings.extra_body),
        }
        try:
            return orjson.dumps({name: value for name, value in body.items() if value is not None})
        except TypeError as error:
            raise RequestError(f"the filled-in prompt cannot be sent: {error}") from error


def data_url(request: Request, limits: ImageLimits, max_pixels: int | None) -> str:
    """The image as a `data:` URL: its own bytes if all decoders agree on them, else a JPEG of quality 95.

    Raises ImageError for an image that cannot be used. See `recaption.decode` for the image that a trainer
    gets: servers differ in how they apply EXIF orientation and transparency, so neither is sent.
    """
    info = check_header(request.image, limits)
    pixels = info.width * info.height
    budget = min(pixels, max_pixels or pixels)
    if request.pixel_share < 1:
        budget = max(1, int(request.pixel_share * budget))
    if pixels <= budget and request.orientation is None and _is_plain(request.image, info):
        data, kind = request.image, info.format.lower()
        if info.format == "JPEG":
            data = plain_jpeg(data)
    else:
        buffer = io.BytesIO()
        decode(request.image, limits, budget, orientation=request.orientation).save(buffer, "JPEG", quality=95)
        data, kind = buffer.getvalue(), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def read(reply: Mapping[str, Any]) -> Completion:
    """The choice of index 0 in a chat completion, with the server's finish reason.

    Any field may be missing. Raises RequestError if the reply has no choices, or if its text is not a string.
    """
    choice, usage = first_choice(reply), reply.get("usage")
    if choice is None:
        raise RequestError("the reply is not a chat completion: it has no choices")
    message = choice.get("message") or choice.get("delta")  # `delta`: a stream that a proxy has joined
    message = message if isinstance(message, dict) else {"content": message if isinstance(message, str) else None}
    content = message.get("content")
    text, refusal = text_of(choice.get("text") if content is None else content), message.get("refusal")
    word = finish = choice.get("finish_reason")
    parts = content if isinstance(content, list) else ()
    refused = any(isinstance(part, dict) and part.get("type") == "refusal" for part in parts)
    if refused or (isinstance(refusal, str) and refusal and not text):
        text, finish = text or str(refusal), "refusal"
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    return Completion(
        text=text,
        finish_reason=finish,
        prompt_tokens=usage.get("prompt_tokens", 0),
        output_tokens=usage.get("completion_tokens", 0),
        cached_tokens=details.get("cached_tokens", 0) if isinstance(details, dict) else 0,
        engine_finish=word if finish != word else None,
    )


def _is_plain(data: bytes, info: ImageInfo) -> bool:
    """Whether every decoder returns the same pixels: no orientation, transparency, further frames or CMYK."""
    if info.mode not in ("RGB", "L"):
        return False
    if info.format == "PNG":  # a false positive in the pixel data only costs a conversion
        return not any(chunk in data for chunk in (b"tRNS", b"eXIf", b"acTL"))
    if info.format == "WEBP":
        return data[12:16] != b"VP8X"  # the extended format; only it can contain these
    return info.format == "JPEG"  # a GIF may be transparent or animated
