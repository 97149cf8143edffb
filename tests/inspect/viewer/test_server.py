"""The server of the viewer over HTTP, without a browser."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from recaption.cli import main
from recaption.errors import UserError
from recaption.inspect.paths import find
from recaption.inspect.viewer import Limits, Pages, Server, serve

TOKEN = "a-token"
GOLDEN = Path(__file__).parents[2] / "golden" / "output"


@pytest.fixture(scope="module")
def server(golden: Path) -> Iterator[Server]:
    with Pages(find(str(golden)), Limits(seconds=120, memory_mib=512)) as pages, Server(pages, token=TOKEN) as started:
        threading.Thread(target=started.serve_forever, args=(0.05,), daemon=True).start()
        yield started
        started.shutdown()


def ask(
    server: Server,
    path: str,
    *,
    method: str = "GET",
    token: str | None = TOKEN,
    headers: dict[str, str] | None = None,
    **query: str,
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request."""
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=120)
    url = f"/{path}" if token is None else f"/{token}/{path}"
    try:
        connection.request(method, f"{url}?{urlencode(query)}" if query else url, headers=headers or {})
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()
    finally:
        connection.close()


def asked(server: Server, path: str, **query: str) -> dict[str, Any]:
    status, headers, body = ask(server, path, **query)
    assert status == 200 and headers["Content-Type"] == "application/json", body
    answer: dict[str, Any] = json.loads(body)
    return answer


def refused(server: Server, path: str, **options: Any) -> tuple[int, str]:
    status, headers, body = ask(server, path, **options)
    assert headers["Content-Type"] == "application/json"
    return status, json.loads(body)["error"]


def test_the_page_is_served_with_its_policy(server: Server) -> None:
    status, headers, body = ask(server, "")
    html = body.decode()
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer" and headers["Server"] == "recaption"
    assert "connect-src &#39;self&#39;" in html and html.count("<script") == 1
    assert TOKEN not in html and str(GOLDEN) not in html
    for name in ("generation", "model", "status", "flag", "weight", "tag", "statement"):
        assert f'id="{name}"' in html
    assert '<option value="kite">' in html


def test_searches_give_counts_and_cards(server: Server) -> None:
    every = asked(server, "samples")
    assert (every["count"], every["images"], every["more"]) == (20, 20, False)
    assert every["html"].count("<article") == 20
    kites = asked(server, "samples", q="red kites", generation="long")
    assert kites["count"] == 1 and 'data-key="000000000"' in kites["html"]
    assert asked(server, "samples", q="red kites", page="1")["html"] == ""
    assert asked(server, "samples", q="", unknown="x")["count"] == 20


def test_statements_give_cards_or_rows(server: Server) -> None:
    cards = asked(server, "sql", sql="SELECT key FROM sub_captions WHERE is_negation")
    assert cards["count"] == 1 and cards["html"].count("<article") == 1
    unknown = asked(server, "sql", sql="SELECT 'no such' AS key")
    assert unknown["html"] == ""
    rows = asked(server, "sql", sql="SELECT '<b>' || chr(8238) AS \"<i>\", 1 AS n")
    assert rows == {"columns": ["<i>", "n"], "rows": [["<b>⟨U+202E⟩", "1"]], "more": False}


def test_images_are_small_or_large(server: Server) -> None:
    status, headers, small = ask(server, "image", key="000000012")
    assert status == 200 and headers["Content-Type"] == "image/webp" and small[8:12] == b"WEBP"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert ask(server, "image", key="000000012", large="1")[0] == 200
    assert refused(server, "image", headers={}, key="../../x") == (404, "the build has no image with this key")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost:80", "", "127.0.0.1.evil.example"]
)
@pytest.mark.parametrize("path", ["", "samples", "image", "sql"])
def test_a_foreign_host_is_refused(server: Server, path: str, host: str) -> None:
    status, message = refused(server, path, headers={"Host": host})
    assert status == 403 and f"127.0.0.1:{server.server_port}" in message


def test_localhost_is_answered(server: Server) -> None:
    host = f"LocalHost:{server.server_port}"
    assert ask(server, "samples", headers={"Host": host, "Origin": f"http://{host}"})[0] == 200


@pytest.mark.parametrize("origin", ["null", "http://evil.example", "https://127.0.0.1", "http://127.0.0.1"])
def test_a_foreign_origin_is_refused(server: Server, origin: str) -> None:
    assert refused(server, "samples", headers={"Origin": origin}) == (403, "requests of other pages are refused")


@pytest.mark.parametrize("token", [None, "", "a-toke", "a-token2", "%61-token", "é"])
def test_a_missing_or_wrong_token_is_refused(server: Server, token: str | None) -> None:
    path = "samples" if token is None or token.isascii() else "x"
    status, message = refused(server, path, token=token and token.encode("unicode_escape").decode())
    assert status == 403 and "Use the URL that recaption inspect --open printed" in message


@pytest.mark.parametrize("path", ["etc/passwd", "../", "samples/", "%2e%2e/x", "image/../../x"])
def test_other_paths_do_not_exist(server: Server, path: str) -> None:
    assert refused(server, path) == (404, "there is no such page")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_written(server: Server, method: str) -> None:
    assert ask(server, "samples", method=method)[0] == 501


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"sql": "COPY images TO 'x'"}, "inspect only reads"),
        ({"sql": "INSTALL httpfs"}, "inspect only reads"),
        ({}, "there is no SQL"),
        ({"sql": "SELECT key FROM images", "page": "-1"}, "page must be a whole number"),
        ({"sql": "SELECT key FROM images", "page": "9" * 5000}, "page must be a whole number"),
    ],
)
def test_wrong_input_is_a_message(server: Server, query: dict[str, str], message: str) -> None:
    status, said = refused(server, "sql", **query)
    assert status == 400 and message in said


def test_a_search_that_does_not_exist_is_a_message(server: Server) -> None:
    assert refused(server, "samples", flag="x OR true")[0] == 400


def test_a_port_in_use_is_a_user_error(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["inspect", str(GOLDEN), "--open", "--port", str(port)]) == 2
    assert f"cannot serve at 127.0.0.1:{port}: Address already in use" in capsys.readouterr().err


def test_ctrl_c_ends_the_server_and_its_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    processes: list[Any] = []

    def interrupted(server: Server) -> None:
        processes.append(server.pages._worker._process)
        raise KeyboardInterrupt

    monkeypatch.setenv("DISPLAY", ":0")

    def open_page(url: str) -> None:
        """All users of the machine see the command of a browser: it has a file that only this one can read."""
        file = Path(url.removeprefix("file://"))
        assert file.stat().st_mode & 0o077 == 0
        opened.append(file.read_text())

    monkeypatch.setattr("webbrowser.open", open_page)
    monkeypatch.setattr(Server, "serve_forever", interrupted)
    assert main(["inspect", str(GOLDEN), "--open"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(opened) == 1 and printed[1] in opened[0] and printed[1].startswith("http://127.0.0.1:")
    assert len(printed[1].split("/")[3]) >= 32  # the token
    assert processes[0].returncode is not None


def test_an_output_without_a_build_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    from rich.console import Console

    with pytest.raises(UserError, match="has no build yet"):
        serve(str(tmp_path), Console())


@pytest.mark.parametrize(
    "words", [["--port", "8080"], ["--open", "SELECT 1"], ["--open", "--unsafe"], ["--open", "--ask", "tags"]]
)
def test_options_that_exclude_each_other(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(GOLDEN), *words]) == 2
    assert "--open" in capsys.readouterr().err
