"""A real S3 server for tests: moto's, on loopback, in a thread of the test's process. Requests can fail, take time, or
exceed a rate.

    with s3_server(monkeypatch) as server:
        server.latency, server.limits = 0.03, RateLimits()
        store = open_store(server.bucket())

Needs the extra `dev` (s3fs and moto); where they are missing, `needs_s3` skips.
"""

from __future__ import annotations

import logging
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Literal

import pytest

needs_s3 = pytest.mark.skipif(
    not (find_spec("s3fs") and find_spec("moto")), reason="needs s3fs and moto: pip install s3fs 'moto[server]'"
)
Fault = Literal["refuse", "lose"]  # 503 and nothing done; or done, and the connection cut before the answer

READS = ("GET", "HEAD", "LIST")  # operations; all others write

_SLOW_DOWN = b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>'


class RateLimits:
    """Refuses requests beyond a number of reads and of writes per second, counted in whole seconds of `clock`.

    The defaults are those of one prefix of S3, as a new bucket has it:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
    """

    def __init__(self, reads: int = 5_500, writes: int = 3_500, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = {True: reads, False: writes}, clock
        self._second = -1
        self._used: Counter[bool] = Counter()

    def admits(self, operation: str) -> bool:
        if (second := int(self._clock())) != self._second:
            self._second = second
            self._used.clear()
        reads = operation in READS
        self._used[reads] += 1
        return self._used[reads] <= self._limits[reads]


class S3Server:
    """`fault(method, path)` is called before each request and returns whether and how it fails.

    `latency`: seconds that each request takes in addition. `limits`: requests beyond them get 503 SlowDown.
    """

    def __init__(self, app: Any) -> None:
        self.fault: Callable[[str, str], Fault | None] = lambda method, path: None
        self.latency = 0.0
        self.limits: RateLimits | None = None
        self.requests: Counter[str] = Counter()  # by method
        self.operations: Counter[str] = Counter()  # by method, with LIST and DELETE_MANY apart from GET and POST
        self.slowed = 0  # requests beyond the limits
        self.most_at_once = 0  # requests
        self._at_once = 0
        self._counting = threading.Lock()
        self.lost = 0
        self.endpoint = ""
        self._app = app
        self._one_at_a_time = threading.Lock()  # S3 decides conditional writes one by one; moto looks, then writes

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        operation = _operation(method, environ["QUERY_STRING"])
        with self._counting:
            self.requests[method] += 1
            self.operations[operation] += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            slow_down = self.limits is not None and not self.limits.admits(operation)
            self.slowed += slow_down
        try:
            if self.latency:
                time.sleep(self.latency)
            return self._answer(environ, start_response, "refuse" if slow_down else None)
        finally:
            with self._counting:
                self._at_once -= 1

    def _answer(self, environ: dict[str, Any], start_response: Any, fault: Fault | None) -> Iterable[bytes]:
        fault = fault or self.fault(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        if fault == "refuse":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [_SLOW_DOWN]
        with self._one_at_a_time:
            answer = list(self._app(environ, start_response))
        if fault == "lose":
            self.lost += 1
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionError("cut")  # which the server takes for a client that went away
        return answer

    def bucket(self) -> str:
        """The URL of a new, empty bucket."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"  # moto's memory is the process's and outlives a server
        with urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")):
            self.forget()
            return f"s3://{name}/out"

    def forget(self) -> None:
        """Set the counts to 0."""
        self.requests.clear()
        self.operations.clear()
        self.slowed = self.most_at_once = 0

    def fill(self, url: str, names: Iterable[str]) -> None:
        """Empty objects under `url`, put past HTTP: thousands of them in no time."""
        from moto.core import DEFAULT_ACCOUNT_ID
        from moto.s3.models import s3_backends

        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        for name in names:
            s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(bucket, f"{prefix}/{name}", b"")


def _operation(method: str, query: str) -> str:
    if method == "GET" and "list-type=" in query:
        return "LIST"
    return "DELETE_MANY" if method == "POST" and query.startswith("delete") else method


def sometimes(share: float, fault: Fault, seed: int = 0) -> Callable[[str, str], Fault | None]:
    """A `fault` that strikes a share of all requests."""
    dice = random.Random(seed)
    return lambda method, path: fault if dice.random() < share else None


@contextmanager
def s3_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A server that boto, and so s3fs, finds by the environment; in child processes, too."""
    import s3fs
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    server = S3Server(DomainDispatcherApplication(create_backend_app))
    http = make_server("127.0.0.1", 0, server, threaded=True, request_handler=MotoRequestHandler)
    server.endpoint = f"http://127.0.0.1:{http.server_port}"
    _find_by_environment(monkeypatch, server.endpoint)
    monkeypatch.setattr(logging.getLogger("werkzeug"), "level", logging.ERROR)
    s3fs.S3FileSystem.clear_instance_cache()  # one may be left of a server that is gone
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        http.shutdown()
        http.server_close()
        thread.join()


def _find_by_environment(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)


_SERVE = """
import logging
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextmanager
def s3_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, which signals can stop and continue, and the URL of an empty bucket."""
    import s3fs

    process = subprocess.Popen([sys.executable, "-c", _SERVE], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        endpoint = f"http://127.0.0.1:{int(process.stdout.readline())}"
        _find_by_environment(monkeypatch, endpoint)
        s3fs.S3FileSystem.clear_instance_cache()
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT")):
            yield process, f"s3://{name}/out"
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
