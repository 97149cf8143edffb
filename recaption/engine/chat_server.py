"""A client of the OpenAI chat completions API: the API key, errors and retries.

The API: https://platform.openai.com/docs/api-reference/chat, which `vllm serve` and SGLang implement too. The HTTP
client is aiohttp (a dependency of Ray). The key is removed from every text of the server before it enters a message.
Errors are raised `from None`, because an error of the HTTP library may contain the request with its headers.
"""

from __future__ import annotations

import json
import math
import random
import re
import socket
import urllib.parse
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn, TypeVar

from recaption.errors import ConfigError, EngineDead, MissingExtra, RequestError, RequestTimeout
from recaption.io.retrying import retried

LONGEST_BACKOFF = 60.0  # s
LONGEST_RETRY_AFTER = 60.0  # s; upper limit of the wait that a server requests
LARGEST_REPLY = 8 * 2**20  # bytes
TIMEOUTS = 3  # of one request while the server answers others: then it fails
PATIENCE = 10  # completions of other requests, per connection, after which a busy reply concerns this request alone
LISTEN_TRIES = 3
LISTEN_PAUSE = 0.5  # s
LISTEN_TIMEOUT = 3.0  # s, of one attempt
_SHOWN = 300  # characters of a server's text that a message contains
_RETRY = (408, 409, 429)  # and all from 500 on
_BUSY = (429, 503)
_T = TypeVar("_T")


class Key:
    """An API key that appears neither in a repr, nor in a pickle, nor in the messages of a server."""

    __slots__ = ("_value",)

    def __init__(self, value: str | None, name: str) -> None:
        """`name` is the environment variable. Raises ConfigError for a value that an HTTP header cannot contain."""
        value = (value or "").strip()
        if not (value.isascii() and value.isprintable() and " " not in value):
            raise ConfigError(
                f"the environment variable {name} is not a valid API key: a key has only visible ASCII characters"
            )
        self._value = value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Key(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an API key is not pickled; each process reads it from its own environment")

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._value}"} if self else {}

    def hide(self, text: str) -> str:
        """`text` with *** in place of the key, also where it is escaped for JSON or a URL."""
        if not self:
            return text
        escaped = json.dumps(self._value)[1:-1]
        forms = {self._value, escaped, escaped.replace("/", r"\/"), urllib.parse.quote(self._value, safe="")}
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, "***")
        return text


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """The reply to one request. `content` is the body as JSON, None if it is not JSON."""

    status: int
    content: Any
    text: str  # of the body, for messages; the key is hidden


class _TransientError(Exception):
    """This attempt failed and the next one may succeed. The message does not contain the key."""

    def __init__(
        self,
        message: str,
        *,
        busy: bool = False,
        replied: bool = True,
        timeout: bool = False,
        retry_after: float | None = None,
    ) -> None:
        """`replied`: the server sent a reply; `retry_after`: seconds that it asks the client to wait."""
        super().__init__(message)
        self.busy, self.replied, self.timeout, self.retry_after = busy, replied, timeout, retry_after


@dataclass(kw_only=True, slots=True, eq=False)
class ChatServer:
    """Call `connect` first and `close` last. Callers send at most `connections` requests at a time."""

    base_url: str  # without a trailing slash
    key: Key
    connections: int
    timeout: float  # s, of one attempt
    attempts: int
    random: random.Random
    sleep: Callable[[float], Awaitable[None]]
    _session: Any = None
    _proxy: str | None = None
    _answered: int = 0  # completions so far
    _known: bytes | None = None  # the last request that was answered

    def __repr__(self) -> str:
        return f"ChatServer({self.base_url!r})"

    async def connect(self) -> None:
        try:
            import aiohttp
        except ImportError as error:
            raise MissingExtra("aiohttp", "run") from error

        self._session = aiohttp.ClientSession(
            # vLLM closes an idle connection after 5 s; a request sent at that moment would be lost.
            connector=aiohttp.TCPConnector(limit=self.connections, keepalive_timeout=4),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={**self.key.headers(), "Accept": "application/json"},
            timeout=aiohttp.ClientTimeout(total=self.timeout),
        )
        # Not aiohttp's trust_env: it would also read credentials from a .netrc.
        self._proxy = _proxy(self.base_url)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def models(self) -> dict[str, dict[str, Any]] | None:
        """The models that `GET /models` lists, by id; None if the server has no such list.

        Raises ConfigError for a refused key, EngineDead for a server that does not answer.
        """
        reply = await self._with_retries(lambda: self._try("GET", "/models"))
        if reply.status in (401, 403):
            raise ConfigError(self._refusal(reply))
        listed = reply.content.get("data") if reply.status == 200 and isinstance(reply.content, dict) else None
        if not isinstance(listed, list):
            return None
        return {str(model["id"]): model for model in listed if isinstance(model, dict) and "id" in model}

    async def probe(self, model: str, listed: list[str] | None) -> None:
        """Request one token without an image: a server may have a model that it does not list.

        Raises ConfigError for an unknown model or address. Other errors of the server do not matter here.
        """
        question = {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "Hello"}]}
        body = json.dumps(question).encode()
        reply = await self._with_retries(lambda: self._try("POST", "/chat/completions", body))
        if self._is_final(reply):
            names = self.key.hide(f"; it lists {', '.join(listed[:10])}") if listed else ""
            raise ConfigError(f"model {model!r}: {self._refusal(reply)}{names}")

    async def complete(self, body: bytes, stand_in: Callable[[], bytes] | None = None) -> dict[str, Any]:
        """The chat completion for `body`, a JSON object; it has at least one choice.

        Raises RequestError if the server refuses this request, or all `attempts` fail, while it answers other requests.
        Raises EngineDead if it answers no request, or refuses this one for a reason that holds for all requests, which
        have the same key, model and address. If no other request was answered meanwhile, a test request is sent to find
        out: the last answered request, limited to one token, or, if none was ever answered, the request of `stand_in`,
        which every working server answers.

        A busy server (429, 503) is tried again while it answers other requests, until it has completed PATIENCE of them
        per connection since the first failure.

        Raises RequestTimeout for a request that has timed out TIMEOUTS times while the server answers other requests,
        or in the last of its attempts. A request therefore takes at most TIMEOUTS times `timeout`, plus the pauses.
        """

        async def once() -> dict[str, Any]:
            reply = await self._try("POST", "/chat/completions", body)
            if self._is_final(reply):
                raise EngineDead(self._refusal(reply))
            if not 200 <= reply.status < 300:
                raise RequestError(f"the server refused the request ({reply.status}): {reply.text}")
            if first_choice(reply.content) is None:
                raise _TransientError(f"the reply is not a chat completion: {reply.text}")
            self._answered += 1
            self._known = body
            return dict(reply.content)

        return await self._with_retries(once, stand_in)

    async def _with_retries(self, once: Callable[[], Awaitable[_T]], stand_in: Callable[[], bytes] | None = None) -> _T:
        failed = timeouts = tries = 0  # in all, and in this round of `attempts`
        answered_first = answered_before = self._answered
        requested = 0.0
        while True:
            await self._wait(tries, requested)
            try:
                return await once()
            except _TransientError as error:
                failed, tries = failed + 1, tries + 1
                requested = error.retry_after or 0.0
                if tries == 1:
                    answered_before = self._answered
                if failed == 1:
                    answered_first = self._answered
                timeouts += error.timeout
                alone = self._answered == answered_before  # the server has answered no other request in the meantime
                too_slow = error.timeout and (timeouts == TIMEOUTS or (timeouts > TIMEOUTS and not alone))
                if tries < self.attempts and not too_slow:
                    continue
                if alone and not await self._still_answers(stand_in):
                    if tries < self.attempts:
                        continue
                    how = "answers with errors only" if error.replied else "does not answer"
                    raise EngineDead(f"server {self.base_url} {how}: {_tried(error, failed)}") from None
                what = f"the server answers other requests, but not this one: {_tried(error, failed)}"
                if error.timeout:
                    raise RequestTimeout(what) from None
                if alone or not error.busy or self._answered - answered_first >= PATIENCE * self.connections:
                    raise RequestError(what) from None
                tries = 0  # the server is busy and works on other requests: try again

    async def _still_answers(self, stand_in: Callable[[], bytes] | None) -> bool:
        """Whether the server answers a request that it has answered before, or a substitute for it."""
        if self._known is not None:
            body = json.dumps({**json.loads(self._known), "max_tokens": 1}).encode()
        elif stand_in is not None:
            body = stand_in()
        else:
            return False
        try:
            reply = await self._try("POST", "/chat/completions", body)
        except (_TransientError, RequestError):
            return False
        return 200 <= reply.status < 300 and first_choice(reply.content) is not None

    async def _wait(self, tries: int, requested: float) -> None:
        """Wait before an attempt. `requested`: seconds that the server requested; other requests do not wait."""
        seconds = backoff(tries, self.random)
        if requested > 0:
            seconds = max(seconds, requested) + self.random.random()  # so that requests with the same wait spread out
        if seconds > 0:
            await self.sleep(seconds)

    async def _try(self, method: str, path: str, body: bytes | None = None) -> Reply:
        """One attempt. Raises _TransientError for a transient error, RequestError for a reply that is too large."""
        import aiohttp

        headers = {"Content-Type": "application/json"} if body is not None else None
        try:
            async with self._session.request(
                method, self.base_url + path, data=body, headers=headers, proxy=self._proxy, allow_redirects=False
            ) as response:
                raw = bytearray()
                async for piece in response.content.iter_chunked(2**16):
                    raw += piece
                    if len(raw) > LARGEST_REPLY:
                        raise RequestError(f"the server's reply is larger than {LARGEST_REPLY} bytes")
                status, wait = response.status, response.headers.get("Retry-After")
        except TimeoutError:
            raise _TransientError(f"no answer within {self.timeout:g} s", replied=False, timeout=True) from None
        except (aiohttp.ClientError, OSError) as error:
            raise _TransientError(f"{type(error).__name__}: {self._shown(str(error))}", replied=False) from None
        try:
            content = json.loads(raw)
        except (ValueError, RecursionError):  # a ValueError also if the body is not UTF-8
            content = None
        text = self._shown(_message(content, bytes(raw)))
        if 200 <= status < 300 and (found := error_status(content)) is not None:
            status, text = found, f"in a reply with status {status}: {text}"
        if status in _RETRY or status >= 500:
            seconds = retry_after(wait, datetime.now(UTC))
            raise _TransientError(f"status {status}: {text}", busy=status in _BUSY, retry_after=seconds)
        return Reply(status=status, content=content, text=text)

    def _is_final(self, reply: Reply) -> bool:
        """Whether every request would get this reply."""
        return reply.status in (401, 402, 403, 404, 405) or 300 <= reply.status < 400

    def _refusal(self, reply: Reply) -> str:
        if reply.status in (401, 403):
            why = (
                "refuses the API key"
                if self.key
                else "requires an API key; engine_args.api_key_env names its environment variable"
            )
        elif reply.status == 402:
            why = "requires a payment"
        else:
            why = "has no such model, or no chat completions at that address (most end in /v1)"
        return f"server {self.base_url} {why} ({reply.status}: {reply.text})"

    def _shown(self, text: str) -> str:
        return " ".join(self.key.hide(text).split())[:_SHOWN]


def _tried(error: _TransientError, times: int) -> str:
    return f"{error} (tried {times} times)" if times > 1 else str(error)


def backoff(tries: int, source: random.Random) -> float:
    """Seconds to wait after `tries` failed tries: 1, 2, 4 … up to LONGEST_BACKOFF, minus up to a half at random."""
    return min(LONGEST_BACKOFF, 2.0 ** min(tries - 1, 30)) * source.uniform(0.5, 1) if tries else 0.0


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header (RFC 9110, section 10.2.3: seconds or a date) asks for.

    At most LONGEST_RETRY_AFTER; None if the header is missing or invalid.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()
    return None if math.isnan(seconds) else min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def first_choice(content: Any) -> dict[str, Any] | None:
    """The choice of index 0 in a chat completion; None if it has no choices.

    Servers may list choices in any order. Where none has index 0, it is the first in the list: some servers leave the
    index out.
    """
    listed = content.get("choices") if isinstance(content, dict) else None
    choices = [choice for choice in listed if isinstance(choice, dict)] if isinstance(listed, list) else []
    return next((choice for choice in choices if choice.get("index") == 0), choices[0] if choices else None)


def check_listening(base_url: str) -> None:
    """Raises EngineDead if no connection to the host and port of `base_url` can be made in three attempts.

    Behind a proxy (HTTP_PROXY, HTTPS_PROXY) nothing is checked, because the proxy makes the connection.
    """
    parts = urllib.parse.urlsplit(base_url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.netloc):
        return
    retried(
        lambda: socket.create_connection((host, port), LISTEN_TIMEOUT).close(),
        attempts=LISTEN_TRIES,
        first_wait=LISTEN_PAUSE,
        is_transient=lambda error: isinstance(error, OSError),
        failure=lambda error, _: EngineDead(
            f"no server listens at {host}:{port} ({getattr(error, 'strerror', None) or error}). Start the "
            f"server, or correct engine_args.base_url, which is {base_url}"
        ),
    )


def _error(content: Any) -> Any:
    """The error that a reply reports: `error` of the body or of its choice (OpenRouter); None if it reports none."""
    if not isinstance(content, dict):
        return None
    if (choice := first_choice(content)) is not None:
        message = choice.get("message")
        has_text = choice.get("text") or (isinstance(message, dict) and message.get("content"))
        return None if has_text else choice.get("error") or content.get("error")
    return content.get("error") or (content if content.get("object") == "error" else None)


def error_status(content: Any) -> int | None:
    """The status code for a reply with an error in its body; None if the body is not an error.

    It is the code in the body if that is one of HTTP, else it follows from the text: 429 for limits, 400 for a bad
    request, 500 for other errors.
    """
    error = _error(content)
    if not error:
        return None
    code = error.get("code", error.get("status")) if isinstance(error, dict) else None
    if str(code).isdecimal() and len(str(code)) == 3 and 400 <= int(str(code)) < 600:
        return int(str(code))
    words = f"{code} {error.get('type')}" if isinstance(error, dict) else str(error)
    if re.search(r"rate.?limit|too many|quota|exhausted", words, re.IGNORECASE):
        return 429
    return 400 if re.search(r"invalid|bad.?request|context.?length|not.?supported", words, re.IGNORECASE) else 500


def _message(content: Any, raw: bytes) -> str:
    """The server's error message: `error.message` as OpenAI sends it, the variants of other servers, or the body."""
    error = _error(content) or content
    message = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    return message if isinstance(message, str) else raw.decode("utf-8", "replace")


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for `url` (HTTP_PROXY, HTTPS_PROXY, NO_PROXY)."""
    parts = urllib.parse.urlsplit(url)
    if not parts.hostname or urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)
