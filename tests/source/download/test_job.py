"""Downloads from a server that behaves like the web: slow, unreachable, huge and wrong responses."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import zip_longest
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from recaption.errors import UserError
from recaption.source import Source
from recaption.source.download import job
from recaption.source.download.job import DownloadSummary, Settings, download

pytest.importorskip("img2dataset")


def picture(n: int, kind: str = "JPEG") -> bytes:
    """An image of its own for each n: noise, so that a cut one lacks something."""
    pixels = hashlib.shake_256(str(n).encode()).digest(24 * 16 * 3)
    file = io.BytesIO()
    Image.frombytes("RGB", (24, 16), pixels).save(file, kind)
    return file.getvalue()


class Web(ThreadingHTTPServer):
    """Routes by path; counts requests per path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.hits: Counter[str] = Counter()
        self.agents: set[str] = set()
        self.sent = 0  # bytes of the endless body
        self.closing = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that hang up are what this is about


class Page(BaseHTTPRequestHandler):
    server: Web

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def reply(self, body: bytes, kind: str = "image/jpeg", status: int = 200, length: int = -1, **more: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length < 0 else length))
        for name, value in more.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        web, path = self.server, self.path
        web.hits[path] += 1
        web.agents.add(self.headers["User-Agent"])
        name = path.strip("/").split("/")[0].partition("?")[0]
        first = web.hits[path] == 1
        if name in ("ok", "%C3%BC%20x"):
            self.reply(picture(int(path.rpartition("/")[2])))
        elif name == "png":
            self.reply(picture(1, "PNG"))
        elif name == "slow":
            web.closing.wait(600)
        elif name == "hang":  # three times, then it answers
            web.closing.wait(600) if web.hits[path] <= 3 else self.reply(picture(10))
        elif name == "drip":  # a byte in time, for ever
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            while not web.closing.wait(0.2):
                self.wfile.write(b"\xff")
        elif name == "huge":
            self.reply(b"\xff\xd8\xff", length=200 << 20)
        elif name == "endless":
            self.send_response(200)
            self.end_headers()
            while web.sent < 200 << 20:
                self.wfile.write(bytes(1 << 16))
                web.sent += 1 << 16
        elif name == "redirect":
            self.reply(b"", status=302, Location="/ok/77")
        elif name == "loop":
            self.reply(b"", status=302, Location="/loop")
        elif name == "local":
            self.reply(b"", status=302, Location="file:///etc/hostname")
        elif name == "lying":
            self.reply(b"<html><body>buy this domain</body></html>")
        elif name == "truncated":
            self.reply(picture(2)[:400], length=len(picture(2)))
        elif name == "cut":  # announced as it is, but the picture on the server is not whole
            self.reply(picture(3)[:-60])
        elif name == "once503":
            self.reply(b"busy", status=503) if first else self.reply(picture(4))
        elif name == "busy":
            self.reply(b"busy", status=503)
        elif name == "once429":
            self.reply(b"busy", status=429) if first else self.reply(picture(5))
        elif name == "oncecut":
            self.reply(picture(6)[:300] if first else picture(6), length=len(picture(6)))
        elif name == "noai":  # behind another directive with a colon, where img2dataset does not see it
            self.reply(picture(7), X_Robots_Tag="noai, max-snippet:10")
        elif name == "tokened":
            self.reply(picture(7), X_Robots_Tag="recaption-test: noindex")
        elif name == "others":
            self.reply(picture(8), X_Robots_Tag="googlebot: noai")
        elif name == "tdm":
            self.reply(picture(7), tdm_reservation="1")
        elif name == "empty":
            self.reply(b"")
        elif name == "gone":
            self.reply(b"", status=410)
        elif name == "forbidden":
            self.reply(picture(9), status=403)
        else:
            self.reply(picture(9), status=404)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Web()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.closing.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def dead_port() -> Iterator[int]:
    """Bound and not listening, so no other server can use the port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "PAUSE", 0.0)


def run(
    urls: Path, out: Path | str, report: Callable[[str], None] | None = None, **settings: Any
) -> tuple[DownloadSummary, list[str]]:
    lines: list[str] = []
    settings = {
        "user_agent_token": "recaption-test", "processes": 1, "threads": 32, "timeout": 60.0, "max_seconds": 120.0,
        "max_bytes": 1 << 20, **settings,
    }  # fmt: skip
    return download(str(urls), str(out), Settings(**settings), report or lines.append), lines


def members(tar: Path) -> dict[str, bytes]:
    with tarfile.open(tar) as file:
        return {m.name: file.extractfile(m).read() for m in file}  # type: ignore[union-attr]


def bad_urls(web: Web, dead_port: int) -> dict[str, str]:
    """URL -> the reason it must fail with."""
    paths = {
        "/huge": "too_large", "/endless": "too_large", "/loop": "redirect",
        "/local": "redirect", "/lying": "not_an_image", "/empty": "not_an_image", "/truncated": "truncated",
        "/cut": "truncated", "/noai": "opted_out", "/tokened": "opted_out", "/tdm": "opted_out", "/gone": "not_found",
        "/404": "not_found", "/forbidden": "forbidden",
    }  # fmt: skip
    bad = {web.url(path): reason for path, reason in paths.items()}
    return bad | {
        f"http://127.0.0.1:{dead_port}/x.jpg": "connection",
        "file:///etc/hostname": "bad_url",
        "not a url": "bad_url",
    }


@pytest.mark.usefixtures("looks")
def test_each_url_of_a_difficult_web_has_its_result(
    web: Web, dead_port: int, tmp_path: Path, source: Callable[..., Source], index_all: Callable[[Source], list]
) -> None:
    bad = bad_urls(web, dead_port)
    good = [web.url(f"/ok/{n}") for n in range(10)]
    good += [web.url(path) for path in ("/redirect", "/others", "/png", "/once503", "/once429", "/oncecut", "/ok/3")]
    good.append(web.url("/ü x/12"))
    urls = [url for pair in zip_longest(good, bad) for url in pair if url is not None]
    table = pa.table(
        {
            "Image URL": [*urls, None],
            "caption": [f"„Käse“ 猫 {n}\nzwei" if n % 5 else None for n in range(len(urls) + 1)],
            "score": [n / 2 for n in range(len(urls) + 1)],
            "tags": [["a", str(n)] for n in range(len(urls) + 1)],
            "width": [n for n in range(len(urls) + 1)],  # a name that img2dataset refuses
            "when": pa.array([n for n in range(len(urls) + 1)], pa.timestamp("s")),  # a type that it loses rows over
        }
    )
    pq.write_table(table, tmp_path / "list.parquet")

    out = tmp_path / "out"
    summary, lines = run(tmp_path / "list.parquet", out, url_column="Image URL", samples_per_shard=10)
    print("\n".join([*lines, *summary.lines()]))
    hits = web.hits.copy()
    failed = pq.read_table(out / "failed.parquet").to_pylist()
    print("\n".join(f"{row['status']:13} {row['attempts']} {row['url']} {row['error_message']}" for row in failed))

    assert summary.urls == len(urls) + 1 == summary.downloaded + sum(summary.failed.values())
    assert summary.failed == Counter(bad.values()) + Counter({"bad_url": 1})
    assert summary.downloaded == len(good)
    assert summary.recovered == 3
    assert all("recaption-test" in agent for agent in web.agents)
    assert web.sent < 20 << 20  # the endless body was cut, far from its end
    twice = {"/truncated", "/cut", "/once503", "/once429", "/oncecut"}
    once = {
        *("/huge", "/endless", "/local", "/lying", "/empty", "/noai", "/tokened", "/tdm"),
        *("/gone", "/404", "/forbidden"),
    }
    assert {web.hits[path] for path in twice} == {2} and {web.hits[path] for path in once} == {1}

    # the first pass makes four shards of 36 rows, the second pass a fifth
    assert summary.shards == 5 and summary.path == str(out / "{00000..00004}.tar")
    tables = [pq.read_table(out / f"0000{n}.parquet") for n in range(5)]
    assert [table.num_rows for table in tables[:4]] == [10, 10, 10, 6]
    stored = pa.concat_tables(tables).filter(pc.field("status") == "success")
    assert sorted(stored["url"].to_pylist()) == sorted(url for url in urls if url in good)
    files = {name: data for n in range(5) for name, data in members(out / f"0000{n}.tar").items()}
    assert len(files) == 3 * len(good)
    for row in stored.to_pylist():
        key, path = row["key"], row["url"].partition(str(web.server_port))[2]
        assert row["score"] == row["row"] / 2 and row["input_width"] == row["row"] and row["when"][:4] == "1970"
        assert row["sha256"] == hashlib.sha256(files[f"{key}.jpg"]).hexdigest()
        assert files[f"{key}.txt"].decode() == (row["caption"] or "")
        meta = json.loads(files[f"{key}.json"])
        assert (meta["url"], meta["tags"], meta["sha256"]) == (row["url"], row["tags"], row["sha256"])
        if path.startswith("/ok/"):
            assert files[f"{key}.jpg"] == picture(int(path[4:]))

    assert {row["url"]: row["status"] for row in failed} == {**bad, "": "bad_url"}
    attempts = {row["url"]: row["attempts"] for row in failed}
    assert attempts[web.url("/truncated")] == 2 and attempts[web.url("/404")] == 1
    assert {row["score"] for row in failed} == {n / 2 for n, url in enumerate([*urls, None]) if url not in good}
    assert sorted(p.name for p in out.iterdir()) == sorted(
        [f"0000{n}{end}" for n in range(5) for end in (".tar", ".parquet", "_stats.json")]
        + ["failed.parquet", "download.json"]
    )

    # finished is finished
    again, lines = run(tmp_path / "list.parquet", out, url_column="Image URL", samples_per_shard=10)
    assert again == summary and "already complete" in lines[0] and web.hits == hits
    with pytest.raises(UserError, match=r"another samples_per_shard .*'samples_per_shard': 10"):
        run(tmp_path / "list.parquet", out, url_column="Image URL", samples_per_shard=8)

    # our own source reads it: the sample with another suffix than its format too
    images = [image for shard, images in index_all(source(summary.path)) for image in images]
    assert {image.url for image in images} == set(good)
    assert {image.sha256 for image in images} == set(stored["sha256"].to_pylist())
    assert {image.reason for image in images} == {None}


def test_pages_that_take_too_long_are_tried_twice(web: Web, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n".join(web.url(path) for path in ("/slow", "/drip")))
    summary, _ = run(tmp_path / "list.txt", tmp_path / "out", timeout=2.0, max_seconds=3.0)
    assert (summary.downloaded, dict(summary.failed)) == (0, {"timeout": 2})
    failed = pq.read_table(tmp_path / "out" / "failed.parquet").to_pylist()
    assert [row["attempts"] for row in failed] == [2, 2] and web.hits == {"/slow": 2, "/drip": 2}


def test_a_download_that_an_earlier_version_did_not_finish_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("http://localhost/a.jpg\n")
    (tmp_path / "out" / ".download").mkdir(parents=True)
    (tmp_path / "out" / ".download" / "settings.json").write_text('{"url_column": "url"}')
    with pytest.raises(UserError, match=r"another .*list.* \(of an earlier version\)\. Continue it"):
        run(tmp_path / "list.txt", tmp_path / "out")


def test_settings_may_be_corrected_before_anything_is_downloaded(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("link,caption\nhttp://localhost/a.jpg,x\n")
    for column in ("url", "links"):
        with pytest.raises(UserError, match=rf"no column '{column}'"):
            run(tmp_path / "list.csv", tmp_path / "out", url_column=column)
    with pytest.raises(UserError, match="no column 'text'"):
        run(tmp_path / "list.csv", tmp_path / "out", url_column="link", caption_column="text")


def test_parquet_shards_with_opt_outs_ignored(
    web: Web, tmp_path: Path, source: Callable[..., Source], index_all: Callable[[Source], list]
) -> None:
    urls = [web.url(path) for path in ("/noai", "/tdm", "/ok/1", "/busy")]
    (tmp_path / "list.txt").write_text("\n".join([*urls, "", ""]))
    summary, lines = run(tmp_path / "list.txt", tmp_path / "out", format="parquet", respect_opt_out=False)
    print("\n".join([*lines, *summary.lines()]))
    assert (summary.downloaded, dict(summary.failed), summary.recovered) == (3, {"server_error": 1}, 0)
    table = pq.read_table(tmp_path / "out" / "00000.parquet").to_pylist()
    stored = {row["url"]: row for row in table if row["status"] == "success"}
    assert len(table) == 4 and set(stored) == set(urls[:3])
    assert stored[urls[2]]["jpg"] == picture(1)
    for row in stored.values():
        assert hashlib.sha256(row["jpg"]).hexdigest() == row["sha256"]
    images = [image for _, images in index_all(source(summary.path)) for image in images]
    assert Counter(image.reason for image in images) == {None: 3, "source_failed": 2}


@pytest.mark.parametrize("token", [None, "", "my bot", "a;b"])
def test_the_user_agent_token_is_required(tmp_path: Path, token: str | None) -> None:
    with pytest.raises(UserError, match=r"--user-agent-token is (missing|my bot|a;b): give the name"):
        run(tmp_path / "list.txt", tmp_path / "out", user_agent_token=token)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_unchanged(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("http://127.0.0.1:1/x")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "00000.tar").write_bytes(b"mine")
    with pytest.raises(UserError, match="is neither empty nor a download"):
        run(tmp_path / "list.txt", tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["00000.tar"]
    for out, words in (("s3://bucket/x", "local folder"), (tmp_path / "a[1]", "wildcards")):
        with pytest.raises(UserError, match=words):
            run(tmp_path / "list.txt", out)


def test_two_downloads_into_one_folder_at_the_same_time_are_refused(web: Web, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(web.url("/ok/1"))

    def second(line: str) -> None:
        run(tmp_path / "list.txt", tmp_path / "out")

    with pytest.raises(UserError, match="another process is downloading"):
        run(tmp_path / "list.txt", tmp_path / "out", report=second)


def test_a_download_continues_after_each_kind_of_stop(web: Web, tmp_path: Path) -> None:
    """No process remains, SIGTERM and Ctrl-C end with 75, and finished shards are not fetched again."""
    urls = [web.url(path) for path in ("/ok/1", "/404", "/hang")]
    (tmp_path / "list.txt").write_text("\n".join(urls))
    command = [sys.executable, "-m", "recaption", "download", "list.txt", "out", "--user-agent-token", "recaption-test"]
    command += ["--samples-per-shard", "2", "--timeout", "600"]
    stops = {
        (signal.SIGKILL,): -signal.SIGKILL,
        (signal.SIGTERM,): 75,
        (signal.SIGINT, signal.SIGINT): 75,
    }
    for numbers, code in stops.items():
        before = web.hits["/hang"]
        process = psutil.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            while web.hits["/hang"] == before or not (tmp_path / "out" / "00000_stats.json").is_file():
                time.sleep(0.1)
                assert process.poll() is None
            helpers = process.children(recursive=True)
            assert helpers
        finally:
            for number in numbers:
                process.send_signal(number)
                time.sleep(0.02)
        error = process.communicate()[1].decode()
        assert process.returncode == code
        assert code < 0 or (error.count("interrupted: ") == 1 and "run the same command again to continue" in error)
        assert "Traceback" not in error
        assert psutil.wait_procs(helpers, timeout=120)[1] == []

    settings = {"samples_per_shard": 2, "max_bytes": 32 << 20}
    summary, _ = run(tmp_path / "list.txt", tmp_path / "out", **settings)
    assert (summary.urls, summary.downloaded, summary.failed) == (3, 2, {"not_found": 1})
    assert (web.hits["/ok/1"], web.hits["/404"], web.hits["/hang"]) == (1, 1, 4)
