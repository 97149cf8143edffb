"""recaption.engine.chat_server: whether a server listens at its address. The rest is tested in test_openai.py."""

from __future__ import annotations

import socket

import pytest

from recaption.engine import EngineSpec, chat_server, check_reachable
from recaption.errors import EngineDead


def spec(port: int) -> EngineSpec:
    args = (("base_url", f"http://127.0.0.1:{port}/v1"),)
    return EngineSpec(engine="openai", model="m", engine_args=args)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_server, "LISTEN_PAUSE", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_a_port_that_nobody_listens_on_is_told_before_engines_start() -> None:
    with socket.socket() as taken:  # bound and not listening, so no other server can use the port
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(EngineDead, match=rf"no server listens at 127.0.0.1:{port} .*engine_args.base_url"):
            check_reachable(spec(port))


def test_a_port_that_somebody_listens_on_is_fine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_reachable(spec(server.getsockname()[1]))


def test_an_engine_without_a_server_is_not_looked_for() -> None:
    check_reachable(EngineSpec(engine="transformers", model="m"))
