"""Any server with the OpenAI chat completions API: `vllm serve`, SGLang, a hosted one. The model runs elsewhere.

engine_args: `base_url` (needed), `api_key_env` (OPENAI_API_KEY: the name of the environment variable that holds the
key; the key itself is never written down), `concurrency` (32 requests in flight), `timeout` (120 s, of one try),
`attempts` (6 tries of a request that times out or gets a server error; see `ChatServer.complete`), `image_detail`
(auto, low or high, where the server knows it), `extra_body` (a mapping that is laid over each request; null leaves a
field out).

A server has defaults of its own: `vllm serve` samples as the model's author advises wherever a request does not say,
unless it is started with `--generation-config vllm`. There is no check for special tokens in prompts here: the
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
from recaption.engine.openai_settings import OpenAISettings
from recaption.errors import EngineDead, Interrupted, RecaptionError, RequestError
from recaption.imagefile import plain_jpeg
from recaption.types import ImageLimits

_STAND_IN_SIDE = 224  # pixels; no vision model refuses so many


class OpenAIEngine:
    """See `engine.base.Engine`. Takes Requests as they are. `sleep` waits between the tries of a request."""

    bounds_requests = True  # each try ends after `timeout`, and `attempts` bounds the tries

    def __init__(self, spec: EngineSpec, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.spec = spec
        self.settings = OpenAISettings.of(dict(spec.engine_args))
        self.capacity = self.settings.concurrency
        self._random, self._sleep = random.Random(), sleep
        self._server: ChatServer | None = None
        self._slots = asyncio.Semaphore(self.capacity)
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="openai-render")
        self._in_flight: set[asyncio.Task[Completion]] = set()
        self._dead: EngineDead | None = None
        self._closed: Interrupted | None = None
        self._owner: str | None = None

    def renderer(self) -> RendererSpec | None:
        return None

    async def start(self) -> None:
        """Ask the server whether it is there and has the model. Raises ConfigError, MissingExtra, EngineDead."""
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

    async def generate(self, work: Request | Rendered) -> Completion:
        if isinstance(work, Rendered):
            raise RequestError("the openai engine takes requests as they are, not rendered ones")
        if self._closed is not None or self._dead is not None:
            raise self._why_not()
        if self._server is None:
            raise EngineDead("the engine is not started")
        task = asyncio.ensure_future(self._generate(self._server, work))
        self._in_flight.add(task)
        task.add_done_callback(self._ended)
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()  # given up by the caller
        if task.cancelled():
            raise self._why_not()
        return task.result()

    async def drain(self, deadline: float) -> None:
        self._closed = self._closed or Interrupted("the engine is stopping and takes no more requests")
        if self._in_flight:
            await asyncio.wait(list(self._in_flight), timeout=deadline)

    async def stop(self) -> None:
        self._closed = self._closed or Interrupted("the engine was stopped")
        for task in list(self._in_flight):
            task.cancel()
        await asyncio.gather(*self._in_flight, return_exceptions=True)
        server, self._server = self._server, None
        if server is not None:
            await server.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def gauge(self) -> Gauge | None:
        return None  # the queue is the server's

    def provenance(self) -> dict[str, str]:
        said = {"owned_by": self._owner} if self._owner else {}
        return {
            "engine": "openai",
            "client": f"aiohttp {version('aiohttp')}",
            "base_url": self.settings.base_url,
            "model": self.spec.model,
            "concurrency": str(self.capacity),
            **said,
        }

    def _ended(self, task: asyncio.Task[Completion]) -> None:
        self._in_flight.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also where nobody waits for it any more

    def _why_not(self) -> RecaptionError:
        """A new error each time: tracebacks do not pile up on one."""
        why = self._closed or self._dead or Interrupted("the engine was stopped")
        return type(why)(*why.args)

    async def _generate(self, server: ChatServer, request: Request) -> Completion:
        loop = asyncio.get_running_loop()
        async with self._slots:
            body = await loop.run_in_executor(self._threads, self._body, request)
            try:
                return read(await server.complete(body, lambda: self._body(self._stand_in(request))))
            except EngineDead as error:
                self._dead = self._dead or error
                raise
            except RequestError:
                # A picture that goes out as it came is not decoded before: it may be what the server did not like.
                await loop.run_in_executor(self._threads, decode, request.image, self.spec.limits, self.spec.max_pixels)
                raise

    def _stand_in(self, request: Request) -> Request:
        """A harmless question about a grey square, sampled as `request` is: a server that works answers it."""
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
            "top_k": sampling.top_k or None,  # not OpenAI's, but known to vLLM and SGLang, as is ignore_eos
            "ignore_eos": sampling.ignore_eos or None,
            **orjson.loads(self.settings.extra_body),
        }
        try:
            return orjson.dumps({name: value for name, value in body.items() if value is not None})
        except TypeError as error:
            raise RequestError(f"the filled-in prompt cannot be sent: {error}") from error


def data_url(request: Request, limits: ImageLimits, max_pixels: int | None) -> str:
    """The image as a `data:` URL: its own bytes where they show what a trainer sees, else a JPEG of quality 95.

    Raises ImageError for an image that cannot be used. See `recaption.decode` for what a trainer sees: servers turn
    pictures as EXIF says and have their own ways with transparency, so that none of either is sent.
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
    """The choice of index 0 in a chat completion, with the server's own finish word.

    Any field may be missing. Raises RequestError where the reply has no choices, and where its text is not a string.
    """
    choice, usage = first_choice(reply), reply.get("usage")
    if choice is None:
        raise RequestError("the reply is not a chat completion: it has no choices")
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
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
    """Whether every decoder makes the same of it: no orientation, transparency, second frame or inks."""
    if info.mode not in ("RGB", "L"):
        return False
    if info.format == "PNG":  # a false alarm in the pixels only costs a conversion
        return not any(chunk in data for chunk in (b"tRNS", b"eXIf", b"acTL"))
    if info.format == "WEBP":
        return data[12:16] != b"VP8X"  # the extended format, which alone holds these
    return info.format == "JPEG"  # a GIF may always be transparent or move
