"""The Ray that a run works on: one of its own on this machine, or the cluster at RAY_ADDRESS.

On a cluster the driver's own code travels to the nodes with the job, so that all of them run the same, and nothing else
has to be shared but the output and the source. Keys and tokens do not travel, because a job's runtime environment is
shown in Ray's dashboard: each node has them in its own environment.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray._private import worker
from ray.exceptions import RayError, RayTaskError, RuntimeEnvSetupError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import recaption
from recaption import supervise
from recaption.errors import ClusterError, ClusterLost, ConfigError, StoreError, UserError
from recaption.generate.plan import Plan
from recaption.io.store import open_store
from recaption.resources import shipped

SETTINGS = ("HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO")
"""Environment variables of the driver that hold for all nodes, where it has them. No secrets: they can be read."""

CONNECT_SECONDS = 10.0
LOOK_SECONDS = 120.0  # that a node gets to unpack the code and to look at the output
_TOKEN_REFUSED = "InvalidAuthToken", "Unauthenticated", "AuthenticationError"
_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # how `ray job submit` hands the job's runtime environment to its entry point


@contextmanager
def ray_cluster(plan: Plan) -> Iterator[None]:
    """A Ray cluster to work on: the one at RAY_ADDRESS, or one on this machine for as long as the run.

    Raises ConfigError for a RAY_ADDRESS that is no cluster's address, ClusterError when Ray does not start or cannot
    be reached, UserError when a node of the cluster does not see the output.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "configure_logging": True}
    address = os.environ.get("RAY_ADDRESS")
    supervise.divert_native_stderr()
    if not address:
        options["address"] = "local"  # not a cluster that happens to run on this machine: it was not asked for
        models = [model.config for model in plan.models if model.engine]
        engines = max((model.reserved_cpus * _local_replicas(model.replicas) for model in models), default=0)
        # Next to the engines there is always a core's worth of room for indexing and writing, or they would starve.
        options["num_cpus"] = max(os.cpu_count() or 1, int(engines) + 1)
        # Rendered images cross to the engines through it, and nothing else of any size.
        replicas = max((_local_replicas(model.replicas) for model in models), default=1)
        options["object_store_memory"] = min(replicas, 16) * 2**30
        _start(options)
    else:
        check_address(address)
        check_listening(address)
        with TemporaryDirectory(prefix="recaption-") as folder:
            options["runtime_env"] = runtime_env(os.environ, Path(folder))
            _start(options)
    supervise.ray_started(str(Path(_session_folder()) / "logs"))
    try:
        if address:
            check_output(plan.pipeline.output.path)
        yield
    except ClusterLost:  # a shutdown would wait for daemons that are gone
        raise
    except BaseException:
        ray.shutdown()
        raise
    ray.shutdown()


def _session_folder() -> str:
    node = worker._global_node
    return str(node.get_session_dir_path()) if node is not None else ""


def check_address(address: str) -> None:
    """Raises ConfigError for the addresses of Ray Client and of the dashboard."""
    if "://" in address:
        raise ConfigError(
            f"RAY_ADDRESS is {address}, but a run joins a cluster from one of its nodes. There, set it to auto or "
            "host:port (6379 by default); from outside, unset it and use: "
            "ray job submit --address http://HEAD:8265 -- recaption run …"
        )


def check_listening(address: str) -> None:
    """Raises ClusterError when no server listens at host:port; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():  # auto, local: Ray finds it by itself
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"RAY_ADDRESS is {address}, but no server answers there: {error}. Give the address of a running "
            "cluster, or unset RAY_ADDRESS to use this machine"
        ) from error


def runtime_env(environment: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """What the nodes need beside what they have: this process's recaption, staged under `folder`, and SETTINGS.

    Inside a submitted job, what the job itself says stays: Ray refuses to have a field said twice.
    """
    job = json.loads(environment.get(_JOB) or "{}").get("runtime_env") or {}
    said = job.get("env_vars") or {}
    env: dict[str, Any] = {}
    if "py_modules" not in job:
        env["py_modules"] = [str(_package(folder))]
    env["env_vars"] = {name: environment[name] for name in SETTINGS if name in environment and name not in said}
    return env


def check_output(url: str) -> None:
    """Raises UserError when a node does not see what the driver puts into the output, or cannot run recaption."""
    store, probe = open_store(url), f".probe-{uuid.uuid4().hex}"
    store.put(probe, b"")
    looks = {}
    for node in ray.nodes():
        if node["Alive"]:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            looks[_sees.options(scheduling_strategy=there).remote(store.url, probe)] = node["NodeName"]
    try:
        ready, _ = ray.wait(list(looks), num_returns=len(looks), timeout=LOOK_SECONDS)
        for look in ready:
            _check_look(look, looks[look], url)
    finally:
        with suppress(StoreError):
            store.delete(probe)


def _check_look(look: ray.ObjectRef, node: str, url: str) -> None:
    try:
        said = None if ray.get(look) else "another folder is at that path"
    except RuntimeEnvSetupError as error:
        raise ClusterError(f"node {node} cannot take over the driver's code: {error}") from error
    except RayTaskError as error:
        said = f"{type(error.cause).__name__}: {error.cause}"
        if isinstance(error.cause, ImportError):
            raise UserError(
                f"node {node} cannot run recaption ({said}). Install there what is installed here"
            ) from None
    except RayError:  # a node that went away meanwhile is not the output's fault
        return
    if said:
        raise UserError(
            f"output.path {url}: node {node} does not see what the driver puts there ({said}). Name a folder that all "
            "nodes mount at this path, or an object store, with --set output.path=…"
        )


@ray.remote(num_cpus=0, max_retries=0)
def _sees(url: str, path: str) -> bool:
    return open_store(url).exists(path)


def _package(folder: Path) -> Path:
    """The package as a wheel would have it: a checkout keeps what is shipped with it in folders beside it."""
    package = Path(recaption.__file__).parent
    if (package / "_shipped").is_dir():
        return package
    staged = folder / package.name
    shutil.copytree(package, staged, ignore=shutil.ignore_patterns("__pycache__"))
    for kind in ("pipelines", "prompts", "schemas"):
        shutil.copytree(shipped(kind), staged / "_shipped" / kind)
    return staged


def _start(options: dict[str, Any]) -> None:
    """ray.init, twice if need be: its daemons get 30 s to come up, which a machine at its limits may miss once."""
    for attempt in (1, 2):
        try:
            ray.init(logging_level="ERROR", **options)
            worker._worker_logs_enabled = False  # its reports go to stdout otherwise, between lines of JSON
            return
        except Exception as error:  # Ray raises plain ones here
            ray.shutdown()
            if attempt == 2 or os.environ.get("RAY_ADDRESS"):
                where = os.environ.get("RAY_ADDRESS") or "this machine (its logs: /tmp/ray/session_latest/logs)"
                if any(word in f"{error} {supervise.native_stderr()}" for word in _TOKEN_REFUSED):
                    raise ClusterError(
                        f"Ray at {where} refuses the authentication token: it is missing or wrong. Set "
                        "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) as on the cluster's nodes"
                    ) from error
                raise ClusterError(f"Ray cannot be used on {where}: {error}") from error


def _local_replicas(replicas: Any) -> int:
    return 1 if replicas == "auto" else int(replicas)
