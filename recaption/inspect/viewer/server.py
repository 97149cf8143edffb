"""The HTTP server of the viewer, on the loopback interface.

Every URL starts with the token, a secret of this server: other users of the machine and other pages in the browser do
not know it. `Host` must name the loopback interface, so that a foreign name that resolves to it gets nothing (DNS
rebinding), and `Origin`, if a browser sends it, must be that of the page. Only GET is answered: nothing can be changed.
"""

from __future__ import annotations

import hmac
import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from recaption.errors import RecaptionError, UserError
from recaption.inspect.images import ImageMissing
from recaption.inspect.viewer.pages import Pages
from recaption.inspect.viewer.search import FILTERS

HOST: Final = "127.0.0.1"
_SECONDS: Final = 30  # in which a client has to send a request or read an answer
_MOST_DIGITS: Final = 6  # of the number of a page
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the page contains the rest of its policy
}


class Server(ThreadingHTTPServer):
    """Serves `pages` at `url`. Raises OSError for a port that cannot be used."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 32

    def __init__(self, pages: Pages, *, token: str, port: int = 0) -> None:
        self.pages, self.token = pages, token
        super().__init__((HOST, port), _Handler)

    @property
    def url(self) -> str:
        """The URL of the page."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    @property
    def hosts(self) -> frozenset[str]:
        """The values of `Host` that are answered."""
        ends = ("", ":80") if self.server_port == 80 else (f":{self.server_port}",)
        return frozenset(f"{name}{end}" for name in (HOST, "localhost") for end in ends)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors of the connection. The handler answers all other errors."""


class _Refused(Exception):
    """The request is refused with this status and message."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = _SECONDS

    def do_GET(self) -> None:
        try:
            kind, body = self._answer()
            status = HTTPStatus.OK
        except _Refused as error:
            status, kind, body = error.status, "application/json", _error(str(error))
        except UserError as error:
            status, kind, body = HTTPStatus.BAD_REQUEST, "application/json", _error(str(error))
        except RecaptionError as error:
            status, kind, body = HTTPStatus.INTERNAL_SERVER_ERROR, "application/json", _error(str(error))
        except Exception as error:  # noqa: BLE001 - a bug or DuckDB: the server continues
            said = _error(f"unexpected {type(error).__name__}: {error}")
            status, kind, body = HTTPStatus.INTERNAL_SERVER_ERROR, "application/json", said
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        is_image = kind.startswith("image/")
        self.send_header("Cache-Control", "private, max-age=3600" if is_image else "no-store")
        self.end_headers()
        self.wfile.write(body)

    def _answer(self) -> tuple[str, bytes]:
        """The content type and the content. Raises _Refused, UserError."""
        url = urlsplit(self.path)
        name = self._checked(url.path)
        given = {key: values[-1] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
        if name == "":
            return "text/html; charset=utf-8", self.server.pages.page().encode()
        if name == "samples":
            filters = {key: given[key] for key in FILTERS if key in given}
            return "application/json", json.dumps(self.server.pages.samples(filters, _page(given))).encode()
        if name == "sql":
            return "application/json", json.dumps(self.server.pages.sql(given.get("sql", ""), _page(given))).encode()
        if name == "image":
            found = self.server.pages.image(given.get("key", ""), large="large" in given)
            if isinstance(found, ImageMissing):
                raise _Refused(HTTPStatus.NOT_FOUND, str(found))
            return "image/webp", found
        raise _Refused(HTTPStatus.NOT_FOUND, "there is no such page")

    def _checked(self, path: str) -> str:
        """The path after the token. Raises _Refused for a foreign host, a foreign origin and a wrong token."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or hosts[0].lower() not in self.server.hosts:
            names = " or ".join(f"http://{host}" for host in sorted(self.server.hosts))
            advice = "To forward a port, use the same port number on both machines"
            raise _Refused(HTTPStatus.FORBIDDEN, f"the URL must begin with {names}. {advice}")
        for origin in self.headers.get_all("Origin") or []:
            if origin.lower() not in {f"http://{host}" for host in self.server.hosts}:
                raise _Refused(HTTPStatus.FORBIDDEN, "requests of other pages are refused")
        _, token, *rest = path.split("/") if path.startswith("/") else ("", "")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()) or not rest:
            raise _Refused(
                HTTPStatus.FORBIDDEN, "the token is wrong. Use the URL that recaption inspect --open printed"
            )
        return "/".join(rest)

    def version_string(self) -> str:
        return "recaption"

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""


def _page(given: dict[str, str]) -> int:
    text = given.get("page", "0")
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise UserError(f"page must be a whole number with at most {_MOST_DIGITS} digits, not {text[:20]!r}")
    return int(text)


def _error(message: str) -> bytes:
    return json.dumps({"error": message}).encode()
