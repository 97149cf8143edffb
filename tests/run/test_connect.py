"""Connecting to the cluster at RAY_ADDRESS. tests/run/test_cluster.py has a real one, which requires a token."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from recaption.errors import ClusterError, ConfigError
from recaption.run import connect
from recaption.run.connect import Mode, auth_mode, check_address, check_listening, check_temporary_folder

REFUSED = (
    "ray.exceptions.AuthenticationError: RPC error: InvalidAuthToken: Authentication token is missing or incorrect."
)


@pytest.mark.parametrize("address", ["ray://head:10001", "http://head:8265"])
def test_addresses_of_other_services_are_errors_with_advice(address: str) -> None:
    with pytest.raises(ConfigError, match=f"RAY_ADDRESS is {address}.*ray job submit"):
        check_address(address)


@pytest.mark.parametrize("address", ["somewhere", "head:", ":6379", "head:six", "head:70000"])
def test_malformed_addresses_are_errors(address: str) -> None:
    with pytest.raises(ConfigError, match=rf"RAY_ADDRESS is {address}\. Set it to auto .* or host:port"):
        check_address(address)


@pytest.mark.parametrize("address", ["auto", "head:6379", "[::1]:6379"])
def test_addresses_of_a_cluster_are_accepted(address: str) -> None:
    check_address(address)


@pytest.mark.parametrize(
    ("folder", "fault"),
    [
        ("/tmp/" + "x" * 60, "has 65 bytes, but at most [34][0-9] are allowed"),
        ("/tmp/\u00fc", "has characters that are not ASCII"),
        ("tmp", "is not an absolute path"),
        ("", "is not an absolute path"),
        ("/dev/null", "is not a folder"),
        ("/missing/folder", "does not exist. Create it, or"),
        ("/proc", r"cannot be used, .*: no folder can be created in /proc \(No such file or directory\)"),
    ],
)
@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_folder_in_which_ray_cannot_start_is_an_error(
    monkeypatch: pytest.MonkeyPatch, name: str, folder: str, fault: str
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(name, folder)
    with pytest.raises(
        ConfigError, match=rf"^{name} is '{folder}', which ({fault}).* [Ss]et RAY_TMPDIR to another folder"
    ):
        check_temporary_folder()


def test_only_the_folder_in_which_ray_creates_folders_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        check_temporary_folder()
        assert not list(Path(folder).iterdir())
        Path(folder, "ray").symlink_to("/proc")  # another user's folder, for example
        with pytest.raises(ConfigError, match=f"no folder can be created in {folder}/ray"):
            check_temporary_folder()


def test_a_full_disk_is_not_an_error_of_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    monkeypatch.setattr(connect, "TemporaryDirectory", full)
    check_temporary_folder()


def test_the_longest_folder_is_accepted_and_ray_would_accept_its_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.utils import validate_socket_filepath

    name = f"ray/session_2026-12-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store"
    with TemporaryDirectory(dir="/tmp") as folder:
        longest = folder + "x" * (107 - len(name) - 1 - len(folder))
        Path(longest).symlink_to(folder)
        try:
            monkeypatch.setenv("RAY_TMPDIR", longest)
            check_temporary_folder()
        finally:
            Path(longest).unlink()
    validate_socket_filepath(f"{longest}/{name}")
    monkeypatch.setenv("RAY_TMPDIR", f"{longest}x")
    with pytest.raises(ConfigError, match="bytes"):
        check_temporary_folder()
    with pytest.raises(OSError, match="107"):
        validate_socket_filepath(f"{longest}x/{name}")


def test_an_address_without_a_server_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_listening(f"127.0.0.1:{server.getsockname()[1]}")
    with socket.socket() as taken:  # bound and not listening, so no other server can use the port
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"RAY_ADDRESS is {address}, but no server answers there"):
            check_listening(address)
    check_listening("auto")


def test_a_server_that_does_not_reply_is_an_error_after_the_given_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"Ray at {address} does not answer: no reply within 1 s"):
            auth_mode(address, 1)


class Cluster:
    """Replies to a client in each of Ray's two modes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **replies: str) -> None:
        self.tried: list[str] = []

        def failure(code: str, address: str, mode: Mode, seconds: int) -> str:
            self.tried.append(mode)
            return replies[mode]

        monkeypatch.setattr(connect, "_failure", failure)
        monkeypatch.delenv("RAY_AUTH_MODE", raising=False)


def test_a_cluster_without_tokens_gets_none_although_this_machine_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, disabled="", token="")
    assert auth_mode("head:6379") == "disabled"
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # Ray would connect, and lose every task
    with pytest.raises(ClusterError, match="RAY_AUTH_MODE is token, but Ray at head:6379 was started without tokens"):
        auth_mode("head:6379")
    assert cluster.tried == ["disabled", "disabled"]


def test_a_cluster_with_tokens_gets_it_and_a_wrong_one_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    Cluster(monkeypatch, disabled=REFUSED, token="")
    assert auth_mode("head:6379") == "token"
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert auth_mode("head:6379") == "token"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(ClusterError, match=r"Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN \(or RAY_AUTH_TOKEN_PATH\)"):
        auth_mode("head:6379")
    Cluster(monkeypatch, disabled=REFUSED, token=REFUSED)
    with pytest.raises(ClusterError, match="refuses the authentication token: it is missing or wrong"):
        auth_mode("head:6379")


def test_other_failures_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    Cluster(monkeypatch, disabled="ConnectionError: Could not find any running Ray instance.")
    with pytest.raises(ClusterError, match=r"Ray at auto does not answer: .*Could not find any running Ray instance"):
        auth_mode("auto")
