"""The Ray cluster at RAY_ADDRESS: whether this process can connect to it, and with or without an authentication token.
And the folder for the files of a Ray that is started on this machine.

Ray 2.60 requires the token of ~/.ray/auth_token for each cluster that `ray start` starts where that file exists, but a
client uses it only with RAY_AUTH_MODE=token. A client in the wrong mode retries for 20 s and names no cause, or
connects and then loses its tasks. So the mode is found out first, in a process of its own: Ray's core reads the mode
once per process, and its calls cannot be cancelled.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

from recaption.errors import ClusterError, ConfigError

Mode = Literal["token", "disabled"]

SECONDS: Final = 30  # for an address to answer, once Ray is imported; on a busy machine it takes some
_SOCKET_BYTES: Final = 107  # of the path of a Unix socket
_IMPORT_SECONDS: Final = 120  # for importing Ray, from a slow file system
_MODE: Final = "RAY_AUTH_MODE"
_REFUSED: Final = "InvalidAuthToken", "Unauthenticated", "AuthenticationError"
_CONNECT: Final = """
from ray._private import services
from ray._raylet import GcsClient
GcsClient(address=services.canonicalize_bootstrap_address(address))
"""
_JOIN: Final = """
ray.init(address=address, logging_level="ERROR", log_to_driver=False, include_dashboard=False)
"""


def cluster_address() -> str | None:
    """RAY_ADDRESS; None if it is not set, or is `local`: then a run starts Ray on this machine."""
    address = os.environ.get("RAY_ADDRESS")
    return None if address == "local" else address or None


def temporary_folder() -> tuple[str, Path]:
    """The folder below which a Ray on this machine puts sockets, logs and spilled objects, and the variable that names
    it. This is Ray's rule (ray._common.utils.get_default_system_temp_dir): unlike Python, Ray does not choose another
    folder if this one is missing.
    """
    name = next((each for each in ("RAY_TMPDIR", "TMPDIR") if each in os.environ), "TMPDIR")
    return name, Path(os.environ.get(name, "/tmp"))


def check_temporary_folder() -> None:
    """Raise ConfigError if Ray cannot start in `temporary_folder`."""
    name, folder = temporary_folder()
    size = len(os.fsencode(folder))
    longest = _SOCKET_BYTES - len(f"/ray/session_2026-01-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store")
    if not folder.is_absolute():
        fault = "is not an absolute path"
    elif not str(folder).isascii():
        fault = "has characters that are not ASCII, which Ray cannot use"
    elif size > longest:
        fault = f"has {size} bytes, but at most {longest} are allowed, because Ray puts sockets below it"
    elif not folder.exists():  # Ray would create it, also after a typing error or where a disk is not mounted
        fault = "does not exist"
    elif not folder.is_dir():
        fault = "is not a folder"
    elif refused := _write_fault(folder / "ray" if (folder / "ray").exists() else folder):
        fault = f"cannot be used, because Ray puts sockets, logs and spilled objects below it: {refused}"
    else:
        return
    given = os.environ.get(name, str(folder))
    todo = "Create it, or set" if fault == "does not exist" else "Set"
    raise ConfigError(
        f"{name} is {given!r}, which {fault}. {todo} RAY_TMPDIR to another folder, for example RAY_TMPDIR=/tmp"
    )


def _write_fault(folder: Path) -> str:
    """Why no folder can be created in `folder`; "" if one can, or if only space is missing, which is no wrong input.

    Creates one and removes it: the permissions of /proc or of a read-only mount do not show that it refuses this even
    to root.
    """
    try:
        TemporaryDirectory(prefix="recaption-", dir=folder).cleanup()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return f"no folder can be created in {folder} ({error.strerror})"
    return ""


def check_address(address: str) -> None:
    """Raise ConfigError for an address of Ray Client or of the dashboard, or one that is not host:port."""
    if "://" in address:
        raise ConfigError(
            f"RAY_ADDRESS is {address}, but a run connects to a cluster from one of its nodes. There, set it to auto "
            "or host:port (6379 by default); from outside, unset it and use: "
            "ray job submit --address http://HEAD:8265 -- recaption run …"
        )
    host, _, port = address.rpartition(":")
    if address != "auto" and not (host and port.isdecimal() and 0 < int(port) < 65536):
        raise ConfigError(
            f"RAY_ADDRESS is {address}. Set it to auto (the cluster on this node) or host:port (6379 by default), or "
            "unset it to use this machine"
        )


def check_listening(address: str, seconds: float = SECONDS) -> None:
    """Raise ClusterError if no server listens at host:port."""
    host, _, port = address.rpartition(":")
    if not host:  # auto: Ray finds the address itself
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()
    except OSError as error:
        raise ClusterError(
            f"RAY_ADDRESS is {address}, but no server answers there: {error}. Give the address of a running "
            "cluster, or unset RAY_ADDRESS to use this machine"
        ) from error


def auth_mode(address: str, seconds: int = SECONDS) -> Mode:
    """Whether the cluster requires an authentication token. If it does, this process has the token.

    Raises ClusterError if the cluster does not answer in `seconds`, refuses the token, or RAY_AUTH_MODE contradicts it.
    """
    given = os.environ.get(_MODE, "").lower()
    refused = _failure(_CONNECT, address, "disabled", seconds)
    if not refused:
        if given == "token":
            raise ClusterError(
                f"{_MODE} is token, but Ray at {address} was started without tokens. Unset {_MODE}, or start the "
                f"cluster again with {_MODE}=token"
            )
        return "disabled"
    if given != "disabled" and _is_refusal(refused):
        refused = _failure(_CONNECT, address, "token", seconds)
        if not refused:
            return "token"
    if _is_refusal(refused):
        raise ClusterError(
            f"Ray at {address} refuses the authentication token: it is missing or wrong. Set {_MODE}=token and "
            "RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) as on the cluster's nodes; there, `ray get-auth-token` prints it"
        )
    raise ClusterError(f"Ray at {address} does not answer: {refused}")


def use_auth_mode(mode: Mode) -> None:
    """Use the mode in this process and in those that it starts.

    Ray's core reads the environment on import, so it is initialised again.
    """
    from ray._raylet import Config  # type: ignore[attr-defined]

    os.environ[_MODE] = mode
    Config.initialize("")


def check_joins(address: str, mode: Mode, seconds: int) -> None:
    """Connect to the cluster as a run does. Raises ClusterError if Ray refuses, for instance another version."""
    if failure := _failure(_JOIN, address, mode, seconds):
        raise ClusterError(f"Ray at {address} cannot be used from this machine: {failure}")


def _failure(code: str, address: str, mode: Mode, seconds: int) -> str:
    """Run code in a new process. Returns the last line of its error, or "" if there is none."""
    begin = f"import ray, signal, sys\naddress = sys.argv[1]\nsignal.alarm({seconds})\n"
    # A job's runtime environment would be set up on the cluster.
    environment = {name: value for name, value in os.environ.items() if name != "RAY_JOB_CONFIG_JSON_ENV_VAR"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", begin + code, address],
            env={**environment, _MODE: mode},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds + _IMPORT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "importing Ray takes too long on this machine"
    if done.returncode == 0:
        return ""
    if done.returncode == -signal.SIGALRM:
        return f"no reply within {seconds} s"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"a process of Ray ended with code {done.returncode}"


def _is_refusal(failure: str) -> bool:
    return any(word in failure for word in _REFUSED)
