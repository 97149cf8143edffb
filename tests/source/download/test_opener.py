"""Checks of responses: opt-outs, images, and failures of every kind."""

from __future__ import annotations

import hashlib
import http.client
import io
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable

import duckdb
import pytest
from PIL import Image

from recaption.source.download.opener import CheckError, Checks, opted_out
from recaption.source.download.results import REASON


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.frombytes("RGB", (40, 30), hashlib.shake_256(kind.encode()).digest(40 * 30 * 3)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("headers", "out"),
    [
        (["noai"], True),
        (["nofollow", "NoImageAI"], True),
        (["max-snippet:10, noai"], True),
        (["noai, max-snippet:10"], True),  # img2dataset takes `noai, max-snippet` for a robot
        (["unavailable_after: Wed, 25 Jun 2030 15:00:00 PST, noindex"], True),
        (["googlebot: noai"], False),
        (["googlebot: nofollow, noai"], False),
        (["googlebot: nofollow, mybot: noai"], True),
        (["MyBot: noindex"], True),
        (["*: noai"], True),
        (["all", "nofollow", ""], False),
    ],
)
def test_headers_that_opt_out(headers: list[str], out: bool) -> None:
    assert bool(opted_out(headers, None, "MyBot")) is out


def test_a_tdm_reservation_opts_out() -> None:
    assert opted_out([], " 1 ", "bot") and not opted_out([], "0", "bot")


def opener(**checks: object) -> urllib.request.OpenerDirector:
    settings = {"max_bytes": 1 << 20, "max_seconds": 120.0, "respect_opt_out": True, "user_agent_token": "bot"}
    return urllib.request.build_opener(Checks(**{**settings, **checks}))  # type: ignore[arg-type]


def failure(url: str, **checks: object) -> str:
    """The reason of the error message of a fetch."""
    with pytest.raises((OSError, ValueError, http.client.HTTPException, CheckError)) as error:
        opener(**checks).open(urllib.request.Request(url), timeout=60)
    if isinstance(error.value, urllib.error.HTTPError):
        error.value.close()
    query = f"SELECT {REASON} FROM (SELECT ? AS message)"
    return str(duckdb.execute(query, [str(error.value)]).fetchall()[0][0])


@pytest.mark.parametrize("code", [socket.EAI_NONAME, socket.EAI_AGAIN])
def test_a_host_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "no")

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    reason = "connection" if code == socket.EAI_AGAIN else "unknown_host"  # -3: the name server failed
    assert failure("http://nowhere.invalid/x.jpg") == reason


@pytest.mark.parametrize("url", ["ftp://h/x", "file:///etc/hostname", "data:image/png;base64,AA", "http:///x"])
def test_only_http_and_https_are_fetched(url: str) -> None:
    assert failure(url) == "bad_url"


@pytest.fixture
def raw(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], str]:
    """A server that sends these bytes to the first client, and closes."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def serve(data: bytes) -> str:
        server = socket.create_server(("127.0.0.1", 0))

        def once() -> None:
            with server, server.accept()[0] as client:
                client.recv(65536)
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                client.recv(65536)

        threading.Thread(target=once, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}/x"

    return serve


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "connection"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "connection"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\nabc", "truncated"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "server_error"),
        (b"HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n", "http_error"),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", "redirect"),
        (b"HTTP/1.1 302 Found\r\nLocation: ftp://h/x\r\nContent-Length: 0\r\n\r\n", "bad_url"),
        (b"HTTP/1.1 302 Found\r\nLocation: /y\r\nX-Robots-Tag: noai\r\nContent-Length: 0\r\n\r\n", "opted_out"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabc", "not_an_image"),
    ],
)
def test_each_failure_has_a_reason(raw: Callable[[bytes], str], data: bytes, reason: str) -> None:
    assert failure(raw(data)) == reason


def test_a_complete_image_is_unchanged(raw: Callable[[bytes], str]) -> None:
    data = picture("PNG")
    with opener().open(raw(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + data)) as response:
        assert response.read() == data
