"""The parts of `recaption.source.download` that need no img2dataset: lists, opt-outs, images, failures, shards."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import socket
import tarfile
import threading
import urllib.request
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from recaption.errors import ShardError, UserError
from recaption.source.download import urls as lists
from recaption.source.download.fetch import Limits, Opener
from recaption.source.download.optout import opted_out
from recaption.source.download.passes import Pass
from recaption.source.download.reasons import Failure, split
from recaption.source.download.repack import Repack, final
from recaption.source.download.verify import header, verify


def picture(kind: str, n: int = 0) -> bytes:
    file = io.BytesIO()
    pixels = hashlib.shake_256(f"{kind}{n}".encode()).digest(40 * 30 * 3)
    Image.frombytes("RGB", (40, 30), pixels).save(file, kind)
    return file.getvalue()


# --- lists


def normalise(path: Path, url: str = "url", caption: str | None = "caption") -> tuple[pa.Table, dict[str, str]]:
    found = lists.find(str(path))
    lists.check(found, url, caption)
    target = path.parent / "list.out"
    _, renamed = lists.normalise(found, target, url_column=url, caption_column=caption, rows_per_group=2)
    return pq.read_table(target), renamed


ROWS = [{"url": f"http://h/{n}", "caption": f'猫 "{n}",\nzwei', "score": f"0{n}"} for n in range(5)]
CSV = "url,caption,score\n" + "".join(
    '{},"{}",{}\n'.format(r["url"], r["caption"].replace('"', '""'), r["score"]) for r in ROWS
)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", CSV.encode()),
        ("a.csv.gz", gzip.compress(CSV.encode())),
        ("a.csv", b"\xef\xbb\xbf" + CSV.encode()),
        ("a.tsv", CSV.replace("http://h/", "http;//h/").replace(",", "\t").replace("http;", "http:").encode()),
        ("a.jsonl", b"\n".join(json.dumps(r).encode() for r in ROWS) + b"\n\n"),
        ("a.json", json.dumps(ROWS).encode()),
    ],
)
def test_lists_of_every_kind(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    table, renamed = normalise(tmp_path / name)
    assert table["row"].to_pylist() == list(range(5)) and not renamed
    assert table["url"].to_pylist() == [r["url"] for r in ROWS]
    captions = [r["caption"].replace(",", "\t") if name == "a.tsv" else r["caption"] for r in ROWS]
    assert table["caption"].to_pylist() == captions
    assert table["score"].to_pylist() == [r["score"] for r in ROWS]  # 00, 01: not numbers
    assert pq.read_metadata(tmp_path / "list.out").row_group(0).num_rows == 2


def test_json_keeps_types_and_columns_that_come_late(tmp_path: Path) -> None:
    rows = [{"url": "a", "caption": None, "n": 1}, {"url": "b", "tags": ["x"], "n": 2.5, "mixed": 1}, {"mixed": "y"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    table, _ = normalise(tmp_path / "a.jsonl")
    assert table["n"].to_pylist() == [1.0, 2.5, None]
    assert table["tags"].to_pylist() == [None, ["x"], None]
    assert table["mixed"].to_pylist() == [None, "1", "y"]
    assert table["url"].to_pylist() == ["a", "b", None]


def test_a_folder_and_names_of_our_own(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    pq.write_table(pa.table({"URL": ["a", "b", "c"], "sha256": ["x"] * 3}), folder / "0.parquet")
    pq.write_table(pa.table({"URL": ["d"], "more": [1]}), folder / "1.parquet")
    table, renamed = normalise(folder, url="URL", caption=None)
    assert renamed == {"sha256": "input_sha256"}
    assert table.to_pydict() == {
        "row": [0, 1, 2, 3],
        "url": ["a", "b", "c", "d"],
        "input_sha256": ["x", "x", "x", None],
        "more": [None, None, None, 1],
    }


def test_a_folder_of_files_that_do_not_fit_together(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    pq.write_table(pa.table({"url": ["a"], "n": [1]}), folder / "0.parquet")
    pq.write_table(pa.table({"url": ["d"], "n": [["x"]]}), folder / "1.parquet")
    with pytest.raises(UserError, match=r"do not fit together.*n"):
        normalise(folder, caption=None)


def test_a_list_that_is_not_utf8_throughout(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"url,caption\nhttp://h/1,caf\xe9\nhttp://h/2,ok\n")
    assert normalise(tmp_path / "a.csv")[0]["caption"].to_pylist() == ["caf\ufffd", "ok"]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.csv", b"link,text\nx,y\n", "no column 'url'; its columns are: link, text. Name one with --url-column"),
        ("a.tsv", b"a dog\thttp://h/1\n", "without a header line needs one"),
        ("a.csv", b"url,text\nx,y\n", "no column 'caption'.*an empty name for a list without captions"),
        ("a.csv", b"url,caption\nx,y\nx,y,z\n", "Expected 2 columns, got 3"),
        ("a.jsonl", b'{"url": "x", "caption": "y"}\n{"url": \n', "line 2: not JSON"),
        ("a.json", b"[1]", "expected an object"),
        ("a.parquet", b"no parquet", "cannot read"),
        ("a.xlsx", b"", "ends in .txt, .csv"),
    ],
)
def test_bad_lists(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=words):
        normalise(tmp_path / name)


def test_no_list(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        lists.find(str(tmp_path / "a.csv"))
    with pytest.raises(UserError, match="a folder with no lists"):
        lists.find(str(tmp_path))


# --- opt-outs


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
def test_opt_out(headers: list[str], out: bool) -> None:
    assert bool(opted_out(headers, None, "mybot")) is out


def test_tdm_reservation() -> None:
    assert opted_out([], " 1 ", None) and not opted_out([], "0", None)


# --- images


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_images_whole_and_cut(kind: str) -> None:
    data = picture(kind)
    assert verify(data)[1:] == (40, 30) == header(data)[1:]
    assert verify(data + b"trailing bytes are common")[1:] == (40, 30)
    with pytest.raises(Failure, match=r"^(truncated|not_an_image): "):
        verify(data[: len(data) * 2 // 3])


def test_a_thumbnail_does_not_pass_for_the_image() -> None:
    exif = Image.Exif()
    file = io.BytesIO()
    pixels = hashlib.shake_256(b"x").digest(64 * 64 * 3)
    Image.frombytes("RGB", (64, 64), pixels).save(file, "JPEG", exif=exif.tobytes() + picture("JPEG"))
    data = file.getvalue()
    assert data.count(b"\xff\xd9") == 2 and verify(data).width == 64
    with pytest.raises(Failure, match="truncated"):
        verify(data[:-800])


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\xff\xd8\xff"]
)
def test_not_an_image(data: bytes) -> None:
    with pytest.raises(Failure, match=r"^not_an_image: "):
        verify(data)


# --- failures


def opener(**limits: object) -> Opener:
    settings = {"max_bytes": 1 << 20, "seconds": 5.0, "respect_opt_out": True, "user_agent_token": "bot"}
    return Opener(Limits(**{**settings, **limits}))  # type: ignore[arg-type]


def failure(url: str, **limits: object) -> str:
    with pytest.raises(Failure) as error:
        opener(**limits).open(urllib.request.Request(url), timeout=3)
    return str(error.value)


@pytest.mark.parametrize("code", [socket.EAI_NONAME, socket.EAI_AGAIN])
def test_names_that_do_not_resolve(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "no")

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    reason = "connection" if code == socket.EAI_AGAIN else "unknown_host"  # the name server is out of order: try again
    assert failure("http://nowhere.invalid/x.jpg").startswith(f"{reason}: ")


@pytest.mark.parametrize("url", ["ftp://h/x", "file:///etc/hostname", "data:image/png;base64,AA", "http:///x"])
def test_only_http(url: str) -> None:
    assert failure(url).startswith("bad_url: ")


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
        (b"HTTP/1.1 302 Found\r\nLocation: ftp://h/x\r\nContent-Length: 0\r\n\r\n", "redirect"),
        (b"HTTP/1.1 302 Found\r\nLocation: /y\r\nX-Robots-Tag: noai\r\nContent-Length: 0\r\n\r\n", "opted_out"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabc", "not_an_image"),
    ],
)
def test_failures(raw: Callable[[bytes], str], data: bytes, reason: str) -> None:
    assert failure(raw(data)).startswith(f"{reason}: ")


def test_a_whole_image_passes_untouched(raw: Callable[[bytes], str]) -> None:
    data = picture("PNG")
    with opener().open(raw(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + data)) as response:
        assert response.read() == data


def test_split() -> None:
    assert split("failed_to_download", str(Failure("timeout", "a: b\nc"))) == ("timeout", "a: b c")
    assert split("failed_to_download", "unknown url type: 'x'") == ("bad_url", "unknown url type: 'x'")
    assert split("failed_to_resize", "Image decoding error")[0] == "not_an_image"


# --- passes and shards, out of files as img2dataset leaves them


def leave(one: Pass, shard: int, rows: list[int], failed: dict[int, str], lost: int | None = None) -> None:
    records = []
    with tarfile.open(one.out / f"{shard:05d}.tar", "w") as tar:
        for row in reversed(rows):  # img2dataset writes in the order of arrival
            if row == lost:
                continue
            key, data = f"{shard:05d}{row:04d}", picture("JPEG", row)
            bad = failed.get(row)
            status = "failed_to_download" if bad else "success"
            sha256 = None if bad else hashlib.sha256(data).hexdigest()
            records.append({"row": row, "key": key, "status": status, "error_message": bad, "sha256": sha256})
            if not bad:
                info = tarfile.TarInfo(f"{key}.jpg")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    pq.write_table(pa.Table.from_pylist(records), one.out / f"{shard:05d}.parquet")
    (one.out / f"{shard:05d}_stats.json").write_text("{}")


@pytest.fixture
def passes(tmp_path: Path) -> list[Pass]:
    """250 rows: row 5 failed for good, 120 came in the second pass, 130 was lost twice, 240 timed out twice."""
    urls = [(n, f"http://h/{n}") for n in range(250)]
    table = pa.table({"row": range(250), "url": [url for _, url in urls], "caption": [f"c{n}" for n in range(250)]})
    pq.write_table(table, tmp_path / "list.parquet", row_group_size=60)
    first = Pass.plan(tmp_path, 0, iter(urls), workers=4, rows=250)
    assert (first.shard_size, first.shards) == (100, 3)
    for shard in range(3):
        rows = list(range(100 * shard, min(250, 100 * shard + 100)))
        leave(first, shard, rows, {5: "not_found: HTTP 404", 120: "timeout: x", 240: "timeout: x"}, lost=130)
    again = [(120, "u"), (130, "u"), (240, "u")]
    second = Pass.plan(tmp_path, 1, iter(again), workers=4, rows=3)
    leave(second, 0, [120, 130, 240], {240: "timeout: y"}, lost=130)
    return [first, second]


def test_shards_are_equal_and_nothing_is_dropped(tmp_path: Path, passes: list[Pass]) -> None:
    outcomes = [outcome for outcome, _ in final(passes)]
    assert [outcome.row for outcome in outcomes] == list(range(250))
    assert {o.row: o.reason for o in outcomes if not o.tar} == {5: "not_found", 130: "lost", 240: "timeout"}
    out = tmp_path / "out"
    out.mkdir()
    repack = Repack(out, passes, tmp_path / "list.parquet", kind="webdataset", size=100, exact=True)
    assert repack.shards(lambda _: None) == 3
    assert not list(passes[0].out.glob("*.tar"))  # room for what comes next
    stored = [pq.read_table(out / f"0000{n}.parquet")["caption"].to_pylist() for n in range(3)]
    assert [len(captions) for captions in stored] == [100, 100, 47]
    assert list(chain.from_iterable(stored)) == [f"c{n}" for n in range(250) if n not in (5, 130, 240)]
    counts, images, recovered = repack.failed()
    assert (dict(counts), images, recovered) == ({"not_found": 1, "lost": 1, "timeout": 1}, 247, 1)


def test_same_images_same_bytes(tmp_path: Path, passes: list[Pass], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recaption.source.download.repack._drop", lambda *_: None)
    sums = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        repack = Repack(tmp_path / name, passes, tmp_path / "list.parquet", kind="webdataset", size=100, exact=True)
        repack.shards(lambda _: None)
        sums.append([hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((tmp_path / name).iterdir())])
    assert sums[0] == sums[1]


@pytest.mark.parametrize("damage", ["cut", "flip", "table"])
def test_a_broken_shard_is_made_anew(tmp_path: Path, passes: list[Pass], damage: str) -> None:
    tar = passes[0].out / "00001.tar"
    data = bytearray(tar.read_bytes())
    if damage == "cut":
        tar.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        data[700] ^= 255
        tar.write_bytes(data)
    else:
        tar.with_suffix(".parquet").write_bytes(b"PAR1")
    out = tmp_path / "out"
    out.mkdir()
    repack = Repack(out, passes, tmp_path / "list.parquet", kind="webdataset", size=100, exact=True)
    with pytest.raises(ShardError, match="Run the same command again"):
        repack.shards(lambda _: None)
    assert [p.name for p in passes[0].finished()] == ["00000_stats.json", "00002_stats.json"]
    assert not [p for p in out.iterdir() if p.name.startswith(".tmp-")]
    failed = {120: "timeout: x", 240: "timeout: x"}
    leave(passes[0], 1, list(range(100, 200)), failed, lost=130)  # as img2dataset does the next time
    assert repack.shards(lambda _: None) == 3
    assert repack.failed()[1] == 247
