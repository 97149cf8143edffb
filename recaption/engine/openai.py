"""An engine on a server with the OpenAI chat completions API: `vllm serve`, SGLang or a hosted service.

engine_args: `base_url` (required), `api_key_env` (OPENAI_API_KEY: the name of the environment variable that holds the
key; the key itself is never stored), `concurrency` (32 requests in flight), `timeout` (120 s per attempt),
`attempts` (6 for a request that times out or gets a server error; see `ChatServer.complete`; a request that times out
3 times while the server answers others is rejected), `image_detail` (auto, low or high, where the server knows it),
`extra_body` (a mapping merged into each request; null removes a field).

A server has its own defaults: `vllm serve` uses the sampling of the model's authors for settings that a request leaves
out, unless it is started with `--generation-config vllm`. There is no check for special tokens in prompts here: the
tokenizer is the server's.

Choices and JSON are requested with `response_format` (json_schema, strict). A choice is then the value of a JSON
object, because OpenAI's schemas must be objects. Log-probabilities of choices are those of the first token of a free
answer, among its 20 most probable ones (`top_logprobs`). Servers ignore fields that they do not know, so `start` tries
each output that the run needs.
"""

from __future__ import annotations

import asyncio
import base64
import io
import math
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import orjson
from PIL import Image

from recaption.decode import ImageInfo, check_header, decode
from recaption.engine.base import Completion, EngineSpec, Gauge, Logprobs, Rendered, RendererSpec, Request
from recaption.engine.chat_server import ChatServer, first_choice
from recaption.engine.completion import accept, finish_reason, text_of
from recaption.engine.in_flight import InFlight
from recaption.engine.logprobs import byte_lengths, likeliest_choice, spelled_choice, sum_logprobs
from recaption.engine.openai_settings import OpenAISettings
from recaption.engine.repetition import text_repeats
from recaption.errors import ConfigError, EngineDead, RequestError
from recaption.imagefile import plain_jpeg
from recaption.tasks.output import TEXT, Form, Output
from recaption.text import storable
from recaption.types import ImageLimits, Modality, Sampling

_TOP = 20  # most probable tokens: the most that OpenAI's API and vLLM return
_CHOICE = "answer"  # the key of a choice in a JSON object
_PROBE_TOKENS = 256
_PROBES: Mapping[Form, str] = {
    "text": "Hello",
    "choices": "Reply with any word.",
    "json_schema": "Reply with any JSON.",
}
_STAND_IN_SIDE = 224  # pixels; every vision model accepts this size


class _NoChoice(RequestError):
    """An answer whose first token begins none of the choices."""


class OpenAIEngine:
    """See `engine.base.Engine`. Takes Requests, not Rendered. `sleep` waits between the attempts of a request."""

    bounds_requests = True  # `timeout` bounds each attempt, `attempts` their number

    def __init__(self, spec: EngineSpec, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.spec = spec
        self.settings = OpenAISettings.of(dict(spec.engine_args))
        self.capacity = self.settings.concurrency
        self.accepts: frozenset[Modality] = frozenset({"image", "text"})  # nothing is known of the server's model
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
            for output in self.spec.outputs:
                await self._try(server, output)
        except BaseException:
            await server.close()
            raise
        owner = (models or {}).get(self.spec.model, {}).get("owned_by")
        self._owner = storable(server.key.hide(str(owner)))[:100] if owner else None
        self._server = server
        self._in_flight.open()

    async def _try(self, server: ChatServer, output: Output) -> None:
        """Request one answer of this form. Raises ConfigError if the server does not return it."""
        if output == TEXT:
            return
        request = Request(prompt=_PROBES[output.form], sampling=Sampling(max_tokens=_PROBE_TOKENS), output=output)
        try:
            accept(read(await server.complete(self._body(request)), output), output)
        except _NoChoice:
            return  # the test is independent of these choices
        except RequestError as error:
            raise ConfigError(
                f"server {self.settings.base_url} with model {self.spec.model!r} does not support {_options(output)}, "
                f"which this run needs: {error}"
            ) from None

    async def generate(self, work: Request | Rendered) -> Completion:
        if isinstance(work, Rendered):
            raise RequestError("the openai engine renders requests itself; send it a Request")
        if not work.output.is_text:
            raise RequestError(
                f"the openai engine returns texts, not {work.output.form}: use engine dual_encoder or detector"
            )
        if work.output.likelihood:
            raise RequestError("the openai engine does not return likelihoods: use engine vllm or transformers")
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
                reply = await server.complete(body, lambda: self._body(self._stand_in(request)))
                completion = read(reply, request.output)
                return completion if request.sampling.ignore_eos else _with_loop(completion)
            except EngineDead as error:
                self._in_flight.refuse(error)
                raise
            except RequestError:
                if request.image is not None:  # it was sent without decoding, so it may be the cause
                    await loop.run_in_executor(
                        self._threads, decode, request.image, self.spec.limits, self.spec.max_pixels
                    )
                raise

    def _stand_in(self, request: Request) -> Request:
        """A request about a grey square, with the sampling of `request`, that every working server answers.

        It has no image if `request` has none.
        """
        if request.image is None:
            return Request(prompt="Hello", sampling=request.sampling)
        side = max(_STAND_IN_SIDE, self.spec.limits.min_side)
        sink = io.BytesIO()
        Image.new("RGB", (side, side), (128, 128, 128)).save(sink, "JPEG")
        return Request(image=sink.getvalue(), sha256="", prompt="Describe this image.", sampling=request.sampling)

    def _body(self, request: Request) -> bytes:
        """The request as JSON. Raises ImageError, RequestError."""
        sampling = request.sampling
        content: str | list[dict[str, Any]] = request.prompt
        if request.image is not None:
            image = {"url": data_url(request, self.spec.limits, self.spec.max_pixels)}
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
            "top_k": sampling.top_k or None,  # like ignore_eos, only vLLM and SGLang have it, not OpenAI
            "ignore_eos": sampling.ignore_eos or None,
            **_of_output(request.output),
            **orjson.loads(self.settings.extra_body),
        }
        try:
            return orjson.dumps({name: value for name, value in body.items() if value is not None})
        except TypeError as error:
            raise RequestError(f"the filled-in prompt cannot be sent: {error}") from error


def _of_output(output: Output) -> dict[str, Any]:
    """The fields of a request that select the form of the answer. Stop strings would break JSON."""
    if output.choices and output.logprobs:
        return {"max_tokens": 1, "stop": None, "ignore_eos": None, "logprobs": True, "top_logprobs": _TOP}
    fields: dict[str, Any] = {"logprobs": True} if output.logprobs else {}
    schema = None
    if output.choices:
        choice = {"type": "string", "enum": list(output.choices)}
        schema = {
            "type": "object",
            "properties": {_CHOICE: choice},
            "required": [_CHOICE],
            "additionalProperties": False,
        }
    elif output.json_schema is not None:
        schema = orjson.loads(output.json_schema)
    if schema is not None:
        described = {"name": "answer", "strict": True, "schema": schema}
        fields |= {"stop": None, "ignore_eos": None}
        fields["response_format"] = {"type": "json_schema", "json_schema": described}
    return fields


def _options(output: Output) -> str:
    """The names of the fields in `_of_output`, for messages."""
    names = ["logprobs"] if output.logprobs else []
    if output.choices and output.logprobs:
        names.append("top_logprobs")
    elif output.form != "text":
        names.append("response_format json_schema")
    return " and ".join(names)


def data_url(request: Request, limits: ImageLimits, max_pixels: int | None) -> str:
    """The image of a request as a `data:` URL: its own bytes if all decoders agree on them, else a JPEG of quality 95.

    Raises ImageError for an image that cannot be used, RequestError for a crop that is no box. See `recaption.decode`
    for the image that a trainer gets: servers differ in how they apply EXIF orientation and transparency, so neither is
    sent.
    """
    image = request.image
    assert image is not None
    if request.crop is not None:
        part = decode(image, limits, max_pixels, request.pixel_share, request.orientation, request.crop)
        return _jpeg_url(part)
    info = check_header(image, limits)
    pixels = info.width * info.height
    budget = min(pixels, max_pixels or pixels)
    if request.pixel_share < 1:
        budget = max(1, int(request.pixel_share * budget))
    if pixels <= budget and request.orientation is None and _is_plain(image, info):
        data, kind = image, info.format.lower()
        if info.format == "JPEG":
            data = plain_jpeg(data)
    else:
        return _jpeg_url(decode(image, limits, budget, orientation=request.orientation))
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _jpeg_url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def read(reply: Mapping[str, Any], output: Output = TEXT) -> Completion:
    """The choice of index 0 in a chat completion, with the server's finish reason.

    Any field may be missing or of a wrong type. Raises RequestError if the reply has no choices, if its text is not a
    string, and if `output` asks for log-probabilities and the reply has none or unreadable ones.
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
    completion = Completion(
        text=text,
        finish_reason=finish,
        prompt_tokens=usage.get("prompt_tokens", 0),
        output_tokens=usage.get("completion_tokens", 0),
        cached_tokens=details.get("cached_tokens", 0) if isinstance(details, dict) else 0,
        engine_finish=word if finish != word else None,
    )
    if finish == "refusal":
        return completion
    if output.logprobs:
        listed = choice.get("logprobs")
        found = listed.get("content") if isinstance(listed, dict) else None
        try:
            return _with_logprobs(completion, output, found or ())
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise RequestError(
                f"the server's log-probabilities are not in the form of OpenAI's API ({type(error).__name__}: {error})"
            ) from None
    return _unwrapped(completion) if output.choices else completion


def _with_loop(completion: Completion) -> Completion:
    """The completion as a repetition, if the server has let a loop fill it up to the limit, as most servers do."""
    word = completion.finish_reason
    if finish_reason(word) != "length" or not text_repeats(completion.text):
        return completion
    return replace(completion, finish_reason="repetition", engine_finish=completion.engine_finish or word)


def _unwrapped(completion: Completion) -> Completion:
    """The choice in the JSON object of an answer; any other answer is unchanged."""
    try:
        value = orjson.loads(completion.text)
    except orjson.JSONDecodeError:
        return completion
    choice = value.get(_CHOICE) if isinstance(value, dict) else None
    return replace(completion, text=choice) if isinstance(choice, str) else completion


def _with_logprobs(completion: Completion, output: Output, tokens: Sequence[Mapping[str, Any]]) -> Completion:
    """`tokens` are `choices[0].logprobs.content` of a reply: token, logprob, bytes, top_logprobs."""
    if not tokens:
        raise RequestError("the server returned no log-probabilities, although the request has logprobs: true")
    if output.choices:
        by_choice: list[list[float]] = [[] for _ in output.choices]
        first = tokens[0].get("top_logprobs")
        if not first:
            raise RequestError(f"the server returned no top_logprobs, although the request has top_logprobs: {_TOP}")
        for top in first:
            at = spelled_choice(str(top["token"]), output.choices)
            if at is not None:
                by_choice[at].append(_logprob(top))
        if not any(by_choice):
            raise _NoChoice(
                f"none of the {_TOP} most probable first tokens begins one of the choices "
                f"{', '.join(map(repr, output.choices))}; the answer begins {completion.text[:50]!r}"
            )
        return likeliest_choice(completion, output.choices, [sum_logprobs(values) for values in by_choice])
    pieces = [_bytes(token) for token in tokens]
    nbytes = byte_lengths(pieces, completion.text)
    values = tuple(map(_logprob, tokens))
    return replace(completion, logprobs=None if nbytes is None else Logprobs(tokens=values, nbytes=nbytes))


def _logprob(token: Mapping[str, Any]) -> float:
    value = float(token["logprob"])
    if math.isnan(value) or value == math.inf:
        raise ValueError(f"a log-probability is {value}")
    return value


def _bytes(token: Mapping[str, Any]) -> bytes:
    given = token.get("bytes")
    return bytes(given) if isinstance(given, list) else str(token["token"]).encode("utf-8", "surrogatepass")


def _is_plain(data: bytes, info: ImageInfo) -> bool:
    """Whether every decoder returns the same pixels: no orientation, transparency, further frames or CMYK."""
    if info.mode not in ("RGB", "L"):
        return False
    if info.format == "PNG":  # a false positive in the pixel data only costs a conversion
        return not any(chunk in data for chunk in (b"tRNS", b"eXIf", b"acTL"))
    if info.format == "WEBP":
        return data[12:16] != b"VP8X"  # the extended format; only it can contain these
    return info.format == "JPEG"  # a GIF may be transparent or animated
