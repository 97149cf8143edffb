"""A server with the OpenAI chat completions API, seen from outside: its key, its errors, and patience with both.

The API: https://platform.openai.com/docs/api-reference/chat, which `vllm serve` and SGLang speak too. aiohttp carries
it (Ray's own dependency). Nothing that a server says reaches a message before the key is taken out of it, and errors
are raised `from None`: an HTTP library's own error may hold the request with its headers.
"""

from __future__ import annotations

import json
import math
import random
import re
import urllib.parse
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn, TypeVar

from recaption.errors import ConfigError, EngineDead, MissingExtra, RequestError

LONGEST_BACKOFF = 60.0  # s
LONGEST_RETRY_AFTER = 60.0  # s; a request whose server asks for more is sent again after this long
LARGEST_REPLY = 8 * 2**20  # bytes
PATIENCE = 10  # completions for others, per connection, after which a busy reply concerns this request alone
_SAID = 300  # characters of a server's words that go into a message
_RETRY = (408, 409, 429)  # and all from 500 on
_BUSY = (429, 503)
_T = TypeVar("_T")


class Key:
    """An API key that does not show: not in a repr, not in a pickle, not in what a server says back."""

    __slots__ = ("_value",)

    def __init__(self, value: str | None, name: str) -> None:
        """`name` is the environment variable's. Raises ConfigError for what cannot stand in an HTTP header."""
        value = (value or "").strip()
        if not (value.isascii() and value.isprintable() and " " not in value):
            raise ConfigError(f"the environment variable {name} holds no API key: allowed are visible ASCII characters")
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
        """`text` with *** for the key, plain or as JSON or a URL would write it."""
        if not self:
            return text
        escaped = json.dumps(self._value)[1:-1]
        forms = {self._value, escaped, escaped.replace("/", r"\/"), urllib.parse.quote(self._value, safe="")}
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, "***")
        return text


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What came back for one request: a status, and a body that is JSON (`content`) or is not (None)."""

    status: int
    content: Any
    said: str  # of the body, for messages; the key is hidden


class _NotNowError(Exception):
    """This try failed, and the next may not. The message is fit to be shown."""

    def __init__(
        self, message: str, *, busy: bool = False, replied: bool = True, retry_after: float | None = None
    ) -> None:
        """`replied`: the server sent something; `retry_after`: seconds that it asks this request to wait."""
        super().__init__(message)
        self.busy, self.replied, self.retry_after = busy, replied, retry_after


@dataclass(kw_only=True, slots=True, eq=False)
class ChatServer:
    """`connect` first, `close` last. At most `connections` requests at a time; callers see to it that no more come."""

    base_url: str  # without a slash at its end
    key: Key
    connections: int
    timeout: float  # s, of one try
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
            # vLLM closes an idle connection after 5 s; a request sent into that moment would be lost.
            connector=aiohttp.TCPConnector(limit=self.connections, keepalive_timeout=4),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={**self.key.headers(), "Accept": "application/json"},
            timeout=aiohttp.ClientTimeout(total=self.timeout),
        )
        # Not aiohttp's trust_env: with it a .netrc stands in for the key, or quarrels with it.
        self._proxy = _proxy(self.base_url)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def models(self) -> dict[str, dict[str, Any]] | None:
        """What `GET /models` lists, by id; None where the server has no such list.

        Raises ConfigError for a refused key, EngineDead for a server that does not answer.
        """
        reply = await self._patiently(lambda: self._try("GET", "/models"))
        if reply.status in (401, 403):
            raise ConfigError(self._refusal(reply))
        listed = reply.content.get("data") if reply.status == 200 and isinstance(reply.content, dict) else None
        if not isinstance(listed, list):
            return None
        return {str(model["id"]): model for model in listed if isinstance(model, dict) and "id" in model}

    async def probe(self, model: str, listed: list[str] | None) -> None:
        """Ask for one token, without an image: a model that is not listed may be there under another name.

        Raises ConfigError where there is no such model or address; a server that wants more than a word is fine.
        """
        question = {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "Hello"}]}
        body = json.dumps(question).encode()
        reply = await self._patiently(lambda: self._try("POST", "/chat/completions", body))
        if self._is_final(reply):
            names = self.key.hide(f"; it lists {', '.join(listed[:10])}") if listed else ""
            raise ConfigError(f"model {model!r}: {self._refusal(reply)}{names}")

    async def complete(self, body: bytes, stand_in: Callable[[], bytes] | None = None) -> dict[str, Any]:
        """The chat completion for `body`, a JSON object; it has at least one choice.

        Raises RequestError where the server refuses this request, or where all `attempts` fail while it answers
        others; EngineDead where it answers none, or refuses all: key, model and address are the same for each. Where no
        other request was answered meanwhile, the last answered one is sent again, for one token. Where none was ever
        answered, `stand_in` makes a request that every working server answers.

        A busy server (429, 503) that answers others is tried again, until it has completed PATIENCE requests of others
        per connection since the first failure.
        """

        async def once() -> dict[str, Any]:
            reply = await self._try("POST", "/chat/completions", body)
            if self._is_final(reply):
                raise EngineDead(self._refusal(reply))
            if not 200 <= reply.status < 300:
                raise RequestError(f"the server refused the request ({reply.status}): {reply.said}")
            if first_choice(reply.content) is None:
                raise _NotNowError(f"what came back is no chat completion: {reply.said}")
            self._answered += 1
            self._known = body
            return dict(reply.content)

        return await self._patiently(once, stand_in)

    async def _patiently(self, once: Callable[[], Awaitable[_T]], stand_in: Callable[[], bytes] | None = None) -> _T:
        failed = tries = 0  # in all, and in this round of `attempts`
        answered_first = answered_before = self._answered
        asked = 0.0
        while True:
            await self._wait(tries, asked)
            try:
                return await once()
            except _NotNowError as error:
                failed, tries = failed + 1, tries + 1
                asked = error.retry_after or 0.0
                if tries == 1:
                    answered_before = self._answered
                if failed == 1:
                    answered_first = self._answered
                if tries < self.attempts:
                    continue
                said = f"{error} (tried {failed} times)" if failed > 1 else str(error)
                alone = self._answered == answered_before
                if alone and not await self._still_answers(stand_in):
                    how = "answers with errors only" if error.replied else "does not answer"
                    raise EngineDead(f"server {self.base_url} {how}: {said}") from None
                waited_enough = self._answered - answered_first >= PATIENCE * self.connections
                if alone or waited_enough or not error.busy:
                    raise RequestError(f"the server answers others, but not this request: {said}") from None
                tries = 0  # the server is busy and works on other requests: try again

    async def _still_answers(self, stand_in: Callable[[], bytes] | None) -> bool:
        """Whether the server answers a request that it has answered before, or else the stand-in."""
        if self._known is not None:
            body = json.dumps({**json.loads(self._known), "max_tokens": 1}).encode()
        elif stand_in is not None:
            body = stand_in()
        else:
            return False
        try:
            reply = await self._try("POST", "/chat/completions", body)
        except (_NotNowError, RequestError):
            return False
        return 200 <= reply.status < 300 and first_choice(reply.content) is not None

    async def _wait(self, tries: int, asked: float) -> None:
        """Before a try. `asked`: seconds that the server wants this request to wait; others are not held up by it."""
        seconds = backoff(tries, self.random)
        if asked > 0:
            seconds = max(seconds, asked) + self.random.random()  # apart from others that were told the same
        if seconds > 0:
            await self.sleep(seconds)

    async def _try(self, method: str, path: str, body: bytes | None = None) -> Reply:
        """One request. Raises _NotNowError for what may pass, RequestError for a reply without an end."""
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
                status, asked = response.status, response.headers.get("Retry-After")
        except TimeoutError:
            raise _NotNowError(f"no answer within {self.timeout:g} s", replied=False) from None
        except (aiohttp.ClientError, OSError) as error:
            said = self._shown(str(error))
            raise _NotNowError(f"{type(error).__name__}: {said}", replied=False) from None
        try:
            content = json.loads(raw)
        except (ValueError, RecursionError):  # not UTF-8 is a ValueError, too
            content = None
        said = self._shown(_message(content, bytes(raw)))
        if 200 <= status < 300 and (found := error_status(content)) is not None:
            status, said = found, f"in a reply with status {status}: {said}"
        if status in _RETRY or status >= 500:
            seconds = retry_after(asked, datetime.now(UTC))
            raise _NotNowError(f"status {status}: {said}", busy=status in _BUSY, retry_after=seconds)
        return Reply(status=status, content=content, said=said)

    def _is_final(self, reply: Reply) -> bool:
        """Whether it would be the same for every request."""
        return reply.status in (401, 402, 403, 404, 405) or 300 <= reply.status < 400

    def _refusal(self, reply: Reply) -> str:
        if reply.status in (401, 403):
            why = "refuses the API key" if self.key else "wants an API key; engine_args.api_key_env names its variable"
        elif reply.status == 402:
            why = "wants to be paid first"
        else:
            why = "has no such model, or no chat completions at that address (most end in /v1)"
        return f"server {self.base_url} {why} ({reply.status}: {reply.said})"

    def _shown(self, text: str) -> str:
        return " ".join(self.key.hide(text).split())[:_SAID]


def backoff(tries: int, source: random.Random) -> float:
    """Seconds to wait after `tries` failed tries: 1, 2, 4 … up to LONGEST_BACKOFF, less up to a half, drawn."""
    return min(LONGEST_BACKOFF, 2.0 ** min(tries - 1, 30)) * source.uniform(0.5, 1) if tries else 0.0


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header (RFC 9110, section 10.2.3: seconds or a date) asks for, bounded; None: none."""
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
    """The choice of index 0 in a chat completion; None: it has no choices.

    Servers may list choices in any order. Where none has index 0, it is the first in the list: some servers leave the
    index out.
    """
    listed = content.get("choices") if isinstance(content, dict) else None
    choices = [choice for choice in listed if isinstance(choice, dict)] if isinstance(listed, list) else []
    return next((choice for choice in choices if choice.get("index") == 0), choices[0] if choices else None)


def _error(content: Any) -> Any:
    """The error that a reply reports: `error` of the body or of its choice (OpenRouter); None: none."""
    if not isinstance(content, dict):
        return None
    if (choice := first_choice(content)) is not None:
        message = choice.get("message")
        has_text = choice.get("text") or (isinstance(message, dict) and message.get("content"))
        return None if has_text else choice.get("error") or content.get("error")
    return content.get("error") or (content if content.get("object") == "error" else None)


def error_status(content: Any) -> int | None:
    """The status that a reply with an error in its body should have had; None: its body is no error.

    By its code, where that is one of HTTP, else by its words: 429 for limits, 400 for a bad request, 500 for the rest.
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
    """The server's own words: `error.message` as OpenAI has it, or as others do, or the body as it is."""
    error = _error(content) or content
    message = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    return message if isinstance(message, str) else raw.decode("utf-8", "replace")


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for `url` (HTTP_PROXY, HTTPS_PROXY, NO_PROXY)."""
    parts = urllib.parse.urlsplit(url)
    if not parts.hostname or urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)
