"""Checks each response that img2dataset receives: opt-out, size, time, and whether the body is a complete image.

img2dataset fetches with `urllib.request.urlopen`, without limits on bytes or total time, and does not look at the body.
A response that fails a check is in img2dataset's table with the error message `<reason>: <detail>`.

`python -m recaption.source.download.opener` (started by `job`) runs img2dataset with these checks installed in urllib.
img2dataset starts its workers by spawning, which imports this module in each of them, so all use the same opener. The
environment variable RECAPTION_DOWNLOAD holds the checks and img2dataset's arguments as JSON.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import string
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.error import URLError
from urllib.response import addinfourl

from recaption.errors import ImageError

DIRECTIVES: Final = ("noai", "noimageai", "noindex", "noimageindex")
_VALUED: Final = {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}  # `name: value`
_AGENT: Final = re.compile(r"\*|[a-z][a-z0-9_./-]*")


class CheckError(Exception):
    """A response that is not used. `str()` is `<reason>: <detail>`."""


@dataclass(kw_only=True)
class Checks(urllib.request.BaseHandler):
    """`max_seconds` limits a response in total; the timeout of urlopen limits only the wait for the next bytes."""

    max_bytes: int
    max_seconds: float
    respect_opt_out: bool
    user_agent_token: str
    handler_order = 50  # before urllib's handlers of redirects (so that redirects are checked), errors and proxies

    def file_open(self, request: Any) -> NoReturn:
        """Only http and https are fetched."""
        raise URLError(f"unknown url type: {request.type}")

    ftp_open = data_open = file_open

    def http_request(self, request: Any) -> Any:
        request.full_url = _ascii(request.full_url)
        request.deadline = time.monotonic() + self.max_seconds
        return request

    def http_response(self, request: Any, response: Any) -> Any:
        with response:
            headers, data = response.headers, b""
            if self.respect_opt_out and response.code < 400:
                tags = headers.get_all("X-Robots-Tag", [])
                found = opted_out(tags, headers.get("tdm-reservation"), self.user_agent_token)
                if found:
                    raise CheckError(f"opted_out: {found}")
            if 200 <= response.code < 300:  # bodies of redirects and errors are not read
                data = self._body(response, request.deadline)
                self._check_image(data)
            checked = addinfourl(io.BytesIO(data), headers, response.url, response.code)
            checked.msg = response.msg  # type: ignore[attr-defined] # HTTPErrorProcessor reads it
            return checked

    https_request, https_response = http_request, http_response

    def _body(self, response: Any, deadline: float) -> bytes:
        announced, limit, body = response.length, self.max_bytes, bytearray()
        if announced is not None and announced > limit:
            raise CheckError(f"too_large: {announced} bytes announced, limit {limit}")
        while chunk := response.read1(1 << 16):  # returns as soon as some bytes arrive
            body += chunk
            if len(body) > limit:
                raise CheckError(f"too_large: more than {limit} bytes")
            if time.monotonic() > deadline:
                raise CheckError(f"timeout: {len(body)} bytes after {self.max_seconds:g} s")
        if announced is not None and len(body) < announced:
            raise CheckError(f"truncated: {len(body)} of {announced} bytes")
        return bytes(body)

    def _check_image(self, data: bytes) -> None:
        from recaption.decode import read_header

        try:
            read_header(data)
        except ImageError as error:
            reason = error.reason if error.reason in ("truncated", "too_many_pixels") else "not_an_image"
            raise CheckError(f"{reason}: {error.args[0]}") from error


def _ascii(url: str) -> str:
    """The URL with spaces and non-ASCII characters encoded, as browsers send it."""
    if url.isascii() and not re.search(r"[\x00-\x20\x7f]", url):
        return url
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode("ascii")
    return urllib.parse.quote(urllib.parse.urlunsplit(parts._replace(netloc=host)), safe=string.punctuation)


def opted_out(robots_tags: Iterable[str], tdm_reservation: str | None, token: str) -> str | None:
    """The header that forbids use for machine learning, or None. `robots_tags`: all values of X-Robots-Tag.

    `noai`, `noimageai` (DeviantArt), `noindex` and `noimageindex`, for everyone or for `token`, and
    `tdm-reservation: 1` (W3C TDM Reservation Protocol). img2dataset's own check mistakes `noai, max-snippet:10` for
    a rule about another robot.
    """
    if (tdm_reservation or "").strip() == "1":
        return "tdm-reservation: 1"
    for value in robots_tags:
        agent: str | None = None  # a name applies to all that follows it in this header
        for item in value.lower().split(","):
            key, colon, rest = (part.strip() for part in item.partition(":"))
            if colon and key in _VALUED:
                continue
            if colon and _AGENT.fullmatch(key):
                agent = key
            if agent in (None, "*", token.lower()) and (rest if colon else key) in DIRECTIVES:
                return f"X-Robots-Tag: {value}"
    return None


def _end_with_parent() -> None:
    """Wait for the end of standard input, which means that recaption ended, then end this process group."""
    os.read(0, 1)  # not sys.stdin: its lock would be held at the end of the interpreter
    os.killpg(0, signal.SIGKILL)


if __name__ in ("__main__", "__mp_main__"):
    settings = json.loads(os.environ["RECAPTION_DOWNLOAD"])
    urllib.request.install_opener(urllib.request.build_opener(Checks(**settings["checks"])))

if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from img2dataset import download

    download(**settings["img2dataset"])
