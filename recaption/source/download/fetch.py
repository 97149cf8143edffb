"""What img2dataset's workers open URLs with: urllib's opener, bounded in bytes and time, that takes only images.

img2dataset calls `urllib.request.urlopen(url, timeout).read()`: no limit on the bytes, a timeout only between two of
them, any scheme (`file:` too), a short body passes as whole, and nobody looks whether it is an image. All of that is
put right in the opener, installed by `urllib.request.install_opener`, so that nothing of img2dataset is changed.
"""

from __future__ import annotations

import contextlib
import heapq
import http.client
import io
import itertools
import re
import socket
import ssl
import string
import threading
import time
import urllib.parse
import urllib.request
import weakref
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.response import addinfourl

from recaption.source.download.optout import opted_out
from recaption.source.download.reasons import Failure
from recaption.source.download.verify import verify

_CHUNK = 1 << 16
_now = threading.local()  # .deadline: of the URL that this thread is fetching, in monotonic seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a URL may take. urlopen's `timeout` is between two packets; `seconds` is for all, redirects included."""

    max_bytes: int
    seconds: float
    respect_opt_out: bool
    user_agent_token: str | None


class Opener(urllib.request.OpenerDirector):
    """http and https only, proxies of the environment, at most ten redirects. Every failure is a `Failure`."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.limits = limits
        context = ssl.create_default_context()  # once: urllib would load the certificates anew for each URL
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.UnknownHandler(),
            _Http(),
            _Https(context=context),
            urllib.request.HTTPDefaultErrorHandler(),
            _Redirects(),
            urllib.request.HTTPErrorProcessor(),
            _Headers(limits),
            _Body(limits),
        ):
            self.add_handler(handler)

    def open(self, fullurl: Any, data: Any = None, timeout: Any = None) -> Any:
        if getattr(_now, "deadline", None) is not None:  # a redirect: it counts towards the URL that led here
            return super().open(fullurl, data, timeout)
        _now.deadline = time.monotonic() + self.limits.seconds
        try:
            if isinstance(fullurl, str):
                fullurl = urllib.request.Request(fullurl)
            fullurl.full_url = _ascii(fullurl.full_url)
            return super().open(fullurl, data, timeout)
        except Failure:
            raise
        except Exception as error:
            raise self._failure(error) from error
        finally:
            _now.deadline = None

    def _failure(self, error: Exception) -> Failure:
        if isinstance(error, HTTPError):
            error.close()
            return Failure(_reason(error), f"HTTP {error.code} {error.reason}")
        if time.monotonic() >= _now.deadline:
            return Failure("timeout", f"took longer than {self.limits.seconds:g} s in all")
        cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
        detail = f"{type(cause).__name__}: {cause}"
        if isinstance(cause, TimeoutError):
            return Failure("timeout", detail)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Failure("tls", detail)
        if isinstance(cause, socket.gaierror):
            return Failure("connection" if cause.errno == socket.EAI_AGAIN else "unknown_host", detail)
        if isinstance(cause, http.client.InvalidURL | ValueError | URLError):  # UnicodeError and wrong ports, schemes
            return Failure("bad_url", detail)
        if isinstance(cause, http.client.IncompleteRead):
            return Failure("truncated", detail)
        return Failure("connection", detail)


def _reason(error: HTTPError) -> str:
    code = error.code
    if code in (404, 410):
        return "not_found"
    if code in (401, 402, 403, 407, 451):
        return "forbidden"
    if code == 429:
        return "rate_limited"
    if code in (408, 425) or code >= 500:
        return "server_error"
    return "redirect" if 300 <= code < 400 else "http_error"


def _ascii(url: str) -> str:
    """A URL as the wire has it: lists are full of blanks and letters beyond ASCII, which browsers encode in silence."""
    url = url.strip()
    if url.isascii() and not re.search(r"[\x00-\x20\x7f]", url):
        return url
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode("ascii")
    return urllib.parse.quote(urllib.parse.urlunsplit(parts._replace(netloc=host)), safe=string.punctuation)


class _Headers(urllib.request.BaseHandler):
    handler_order = 500  # before HTTPErrorProcessor (1000), so that redirects are seen too

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def http_response(self, request: Any, response: Any) -> Any:
        if self.limits.respect_opt_out and response.code < 400:
            tags = response.headers.get_all("X-Robots-Tag", [])
            sign = opted_out(tags, response.headers.get("tdm-reservation"), self.limits.user_agent_token)
            if sign:
                response.close()
                raise Failure("opted_out", sign)
        return response

    https_response = http_response


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        fp.close()  # urllib would read its body first, to the end, however long
        if urllib.parse.urlsplit(newurl).scheme not in ("http", "https"):
            raise Failure("redirect", f"to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Body(urllib.request.BaseHandler):
    handler_order = 2000  # after HTTPErrorProcessor: only successes come here

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def http_response(self, request: Any, response: Any) -> Any:
        if not isinstance(response, http.client.HTTPResponse):
            return response  # behind a redirect: read already
        with response:
            data = self._read(response)
        verify(data)
        return addinfourl(io.BytesIO(data), response.headers, response.url, response.status)

    https_response = http_response

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        announced, limit = response.length, self.limits.max_bytes
        if announced is not None and announced > limit:
            raise Failure("too_large", f"{announced} bytes announced, limit {limit}")
        body = bytearray()
        while chunk := response.read(_CHUNK):
            body += chunk
            if len(body) > limit:
                raise Failure("too_large", f"more than {limit} bytes")
        if time.monotonic() >= _now.deadline:
            raise Failure("timeout", f"took longer than {self.limits.seconds:g} s in all, {len(body)} bytes came")
        if announced is not None and len(body) < announced:  # read(n) says nothing about it
            raise Failure("truncated", f"{len(body)} of {announced} bytes")
        return bytes(body)


class _Watchdog:
    """Shuts sockets down at their deadline: one thread, because a timeout on a socket starts anew with each byte."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, weakref.ref[socket.socket]]] = []
        self._changed = threading.Condition()
        self._count = itertools.count()
        self._thread: threading.Thread | None = None

    def add(self, sock: socket.socket, deadline: float) -> None:
        with self._changed:
            heapq.heappush(self._heap, (deadline, next(self._count), weakref.ref(sock)))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="download-watchdog", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._heap or self._heap[0][0] > time.monotonic():
                    self._changed.wait(self._heap[0][0] - time.monotonic() if self._heap else None)
                sock = heapq.heappop(self._heap)[2]()
            if sock is not None:
                with contextlib.suppress(OSError):  # closed long ago, as nearly all are
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not SSLSocket's: the reader is inside of it


_WATCHDOG = _Watchdog()


class _Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        _WATCHDOG.add(self.sock, _now.deadline)


class _SecureConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        _WATCHDOG.add(self.sock, _now.deadline)


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, req, context=self._context)  # type: ignore[attr-defined]
