"""A server that speaks the part of the Hugging Face Hub's API that recaption needs, through the Hub's own client.

Repositories are in memory. All files are uploaded within their commit (upload mode "regular"), so the storage for large
files is not needed.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_loopback"


@dataclass
class Repository:
    """Its files by path, and the paths of each commit."""

    private: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[list[str]] = field(default_factory=list)


@dataclass
class Hub:
    """`fail_commits` is the number of further commits that fail; `requests` has method and path of all requests."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    fail_commits: int = 0
    per_commit: int = 1_000
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)


def oid(data: bytes) -> str:
    """Git's name of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def entry(path: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": len(data), "oid": oid(data)}


@contextlib.contextmanager
def hub_server() -> Iterator[Hub]:
    """A running server."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None: ...

        def answer(self, status: int, body: Any = None, **headers: str) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body if body is not None else {}).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            made = b""
            while size := int(self.rfile.readline(), 16):
                made += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return made

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            if path == "/api/whoami-v2":
                known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
                self.answer(200 if known else 401, {"name": "me", "type": "user", "orgs": []} if known else {})
            elif found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/tree/([^/]+)(?:/(.*))?", path):
                self.tree(*found.groups())
            elif found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/revision/[^/]+)?", path):
                self.info(found[1])
            elif found := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
                self.file(found[1], found[2])
            else:
                self.answer(404)

        def tree(self, name: str, _: str, folder: str | None) -> None:
            repository = hub.repositories.get(name)
            if repository is None:
                self.answer(404, X_Error_Code="RepoNotFound")
                return
            recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() in {"1", "true"}
            prefix = f"{folder}/" if folder else ""
            made: dict[str, dict[str, Any]] = {}
            for file, data in sorted(repository.files.items()):
                if file.startswith(prefix):
                    parts = file[len(prefix) :].split("/")
                    for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
                        above = prefix + "/".join(parts[:depth])
                        made[above] = {"type": "directory", "path": above, "size": 0, "oid": "0" * 40}
                    if recursive or len(parts) == 1:
                        made[file] = entry(file, data)
            if made:
                self.answer(200, list(made.values()))
            else:
                self.answer(404, X_Error_Code="EntryNotFound")

        def info(self, name: str) -> None:
            repository = hub.repositories.get(name)
            if repository is None:
                self.answer(404, X_Error_Code="RepoNotFound")
                return
            files = [{"rfilename": file} for file in sorted(repository.files)]
            about = {"id": name, "private": repository.private, "siblings": files, "sha": self.sha(repository)}
            self.answer(200, about | {"tags": [], "downloads": 0, "likes": 0})

        def sha(self, repository: Repository) -> str:
            return f"{len(repository.commits):040x}"

        def file(self, name: str, path: str) -> None:
            repository = hub.repositories.get(name)
            if repository is None or path not in repository.files:
                self.answer(404, X_Error_Code="EntryNotFound" if repository else "RepoNotFound")
                return
            data = repository.files[path]
            more = {"ETag": f'"{oid(data)}"', "X_Repo_Commit": self.sha(repository), "Accept_Ranges": "bytes"}
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if asked is None:
                self.answer(200, data, **more)
                return
            hub.ranges.append(f"{path} {asked[0]}")
            start, end = int(asked[1]), int(asked[2] or len(data) - 1)
            size = f"bytes {start}-{min(end, len(data) - 1)}/{len(data)}"
            self.answer(206, data[start : end + 1], Content_Range=size, **more)

        def do_POST(self) -> None:
            path, body = unquote(urlsplit(self.path).path), self.body()
            hub.requests.append(f"POST {path}")
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self.answer(401)
            elif path == "/api/validate-yaml":
                self.answer(200, {"errors": [], "warnings": []})
            elif path == "/api/repos/create":
                self.create(json.loads(body))
            elif found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/preupload/main", path):
                self.preupload(found[1], json.loads(body))
            elif found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/paths-info/[^/]+", path):
                self.paths_info(found[1], body)
            elif found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/commit/main", path):
                self.commit(found[1], [json.loads(line) for line in body.splitlines() if line])
            else:
                self.answer(404)

        def create(self, wanted: dict[str, Any]) -> None:
            name = "/".join(filter(None, (wanted.get("organization"), wanted["name"])))
            if name.startswith("forbidden/"):
                self.answer(403, {"error": "You don't have the rights to create a dataset under this namespace"})
                return
            known = name in hub.repositories
            hub.repositories.setdefault(name, Repository(private=wanted.get("visibility") == "private"))
            self.answer(409 if known else 200, {"url": f"{hub.url}/datasets/{name}", "name": name, "id": name})

        def preupload(self, name: str, wanted: dict[str, Any]) -> None:
            present = hub.repositories[name].files
            made = []
            for file in wanted["files"]:
                known = {"oid": oid(present[file["path"]])} if file["path"] in present else {}
                made.append({"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, **known})
            self.answer(200, {"files": made})

        def paths_info(self, name: str, body: bytes) -> None:
            if name not in hub.repositories:
                self.answer(404, X_Error_Code="RepoNotFound")
                return
            try:
                paths = json.loads(body)["paths"]
            except ValueError:
                paths = parse_qs(body.decode())["paths"]
            files = hub.repositories[name].files
            made = [entry(path, files[path]) for path in paths if path in files]
            folders = [path for path in paths if any(file.startswith(f"{path}/") for file in files)]
            made += [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in folders]
            self.answer(200, made)

        def commit(self, name: str, lines: list[dict[str, Any]]) -> None:
            repository = hub.repositories[name]
            if hub.fail_commits and repository.commits:
                hub.fail_commits -= 1
                self.answer(400, {"error": "the storage is on fire"})
                return
            files = [line["value"] for line in lines if line["key"] == "file"]
            if len(files) > hub.per_commit:
                self.answer(413, {"error": "too many files"})
                return
            for line in lines:
                if line["key"] == "deletedFile":
                    repository.files.pop(line["value"]["path"], None)
            for value in files:
                repository.files[value["path"]] = base64.b64decode(value["content"])
            repository.commits.append([value["path"] for value in files])
            made = {"success": True, "commitOid": self.sha(repository), "hookOutput": ""}
            self.answer(200, made | {"commitUrl": f"{hub.url}/datasets/{name}/commit/{self.sha(repository)}"})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
