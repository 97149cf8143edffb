"""Ray for a run: a local instance, or the cluster at RAY_ADDRESS; its daemons; and the signals that stop a run.

On a cluster the driver's code is shipped to the nodes with the job, so all nodes run the same version; only the output
and the source have to be shared. Keys and tokens are not shipped, because Ray's dashboard shows a job's runtime
environment: each node has them in its own environment.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import psutil
import ray
from ray._private import worker
from ray.exceptions import RayError, RayTaskError, RuntimeEnvSetupError

import recaption
from recaption import supervise
from recaption.config import Pipeline
from recaption.errors import ClusterError, ClusterLost, StoreError, UserError
from recaption.generate.plan import Plan
from recaption.generate.ray_tasks import remote_task
from recaption.io.store import open_store
from recaption.resources import shipped
from recaption.run import connect, own_code

SETTINGS = ("HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO")
"""Environment variables that are copied from the driver to all nodes. No secrets: Ray's dashboard shows them."""

_END_SECONDS = 2.0  # between a failed call and the end of the daemon's process
NODE_CHECK_SECONDS = 120.0  # for a node to unpack the code and check the output
_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # how `ray job submit` hands the job's runtime environment to its entry point
_DAEMONS = {"raylet": "Ray's daemon on this machine (raylet)", "gcs_server": "Ray's control service (gcs_server)"}


@contextmanager
def ray_cluster(plan: Plan) -> Iterator[None]:
    """Connect to the cluster at RAY_ADDRESS, or start Ray on this machine for the duration of the run.

    Raises ConfigError for a malformed RAY_ADDRESS or TMPDIR, ClusterError if Ray does not start or cannot be reached,
    UserError if a node of the cluster does not see the output.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "configure_logging": True}
    address = connect.cluster_address()
    if not address:
        connect.check_temporary_folder()
    supervise.divert_native_stderr()
    if not address:
        options["address"] = "local"  # never a cluster that happens to run on this machine
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "120")  # Ray's own 30 s are few on a busy machine
        models = [model.config for model in plan.models if model.engine]
        engines = max((model.reserved_cpus * _local_replicas(model.replicas) for model in models), default=0)
        # One CPU more than the engines reserve, so that indexing and writing are never starved.
        options["num_cpus"] = max(os.cpu_count() or 1, int(engines) + 1)
        # The object store carries rendered images to the engines; everything else is small.
        replicas = max((_local_replicas(model.replicas) for model in models), default=1)
        options["object_store_memory"] = min(replicas, 16) * 2**30
        with _on_import_path(own_code.import_folders(plan.pipeline)):
            _start(options)
    else:
        connect.check_address(address)
        connect.check_listening(address)
        connect.use_auth_mode(connect.auth_mode(address))
        with TemporaryDirectory(prefix="recaption-") as folder:
            options["runtime_env"] = runtime_env(os.environ, Path(folder), plan.pipeline)
            _start(options)
    supervise.ray_started(str(Path(_session_folder()) / "logs"))
    try:
        if address:
            check_output(plan.pipeline.output.path)
        yield
    except ClusterLost:  # ray.shutdown would wait for daemons that have ended
        raise
    except BaseException:
        ray.shutdown()
        raise
    ray.shutdown()


def _session_folder() -> str:
    node = worker._global_node
    return str(node.get_session_dir_path()) if node is not None else ""


def runtime_env(environment: Mapping[str, str], folder: Path, pipeline: Pipeline | None = None) -> dict[str, Any]:
    """Ray's runtime environment for the nodes: SETTINGS, and this process's recaption and the modules of the user's own
    classes in the pipeline, staged under `folder`.

    Inside a submitted job, fields that the job sets are left out: Ray refuses a field that is set twice.
    """
    job = json.loads(environment.get(_JOB) or "{}").get("runtime_env") or {}
    set_by_job = job.get("env_vars") or {}
    env: dict[str, Any] = {}
    if "py_modules" not in job:
        own = () if pipeline is None else own_code.staged(pipeline, folder / "own")
        env["py_modules"] = [str(_package(folder)), *own]
    env["env_vars"] = {name: environment[name] for name in SETTINGS if name in environment and name not in set_by_job}
    return env


def check_output(url: str) -> None:
    """Raise UserError if a node does not see a file that the driver puts into the output, or cannot run recaption."""
    store, probe = open_store(url), f".probe-{uuid.uuid4().hex}"
    store.put(probe, b"")
    nodes = {}
    for node in ray.nodes():
        if node["Alive"]:
            nodes[remote_task(_exists, node=node["NodeID"]).remote(store.url, probe)] = node["NodeName"]
    try:
        ready, _ = ray.wait(list(nodes), num_returns=len(nodes), timeout=NODE_CHECK_SECONDS)
        for ref in ready:
            _check_node(ref, nodes[ref], url)
    finally:
        with suppress(StoreError):
            store.delete(probe)


def _check_node(ref: ray.ObjectRef, node: str, url: str) -> None:
    try:
        fault = None if ray.get(ref) else "another folder is at that path"
    except RuntimeEnvSetupError as error:
        raise ClusterError(f"node {node} cannot load the driver's code: {error}") from error
    except RayTaskError as error:
        fault = f"{type(error.cause).__name__}: {error.cause}"
        if isinstance(error.cause, ImportError):
            raise UserError(
                f"node {node} cannot run recaption ({fault}). Install the same packages there as here"
            ) from None
    except RayError:  # the node has left the cluster, so the output is not the cause
        return
    if fault:
        raise UserError(
            f"output.path {url}: node {node} does not see files that the driver puts there ({fault}). Name a folder "
            "that all nodes mount at this path, or an object store, with --set output.path=…"
        )


def _exists(url: str, path: str) -> bool:
    return open_store(url).exists(path)


def _package(folder: Path) -> Path:
    """The package in the layout of a wheel. A checkout keeps pipelines, prompts and schemas in folders next to it."""
    package = Path(recaption.__file__).parent
    if (package / "_shipped").is_dir():
        return package
    staged = folder / package.name
    shutil.copytree(package, staged, ignore=shutil.ignore_patterns("__pycache__"))
    for kind in ("pipelines", "prompts", "schemas"):
        shutil.copytree(shipped(kind), staged / "_shipped" / kind)
    return staged


@contextmanager
def _on_import_path(folders: Sequence[str]) -> Iterator[None]:
    """Processes that are started meanwhile find modules in these folders, too."""
    before = os.environ.get("PYTHONPATH")
    if folders:
        os.environ["PYTHONPATH"] = os.pathsep.join([*folders, *([before] if before else [])])
    try:
        yield
    finally:
        if folders and before is None:
            del os.environ["PYTHONPATH"]
        elif before is not None:
            os.environ["PYTHONPATH"] = before


def _start(options: dict[str, Any]) -> None:
    """Call ray.init, with one retry: its raylet has 30 s to start, which an overloaded machine may miss."""
    for attempt in (1, 2):
        try:
            ray.init(logging_level="ERROR", **options)
            worker._worker_logs_enabled = False  # else it prints to stdout, between lines of JSON
            return
        except Exception as error:  # ray.init raises plain Exception
            ray.shutdown()
            if attempt == 2 or connect.cluster_address():
                logs = connect.temporary_folder()[1] / "ray/session_latest/logs"
                where = connect.cluster_address() or f"this machine (its logs: {logs})"
                raise ClusterError(f"Ray cannot be used on {where}: {error}") from error


def _local_replicas(replicas: Any) -> int:
    return 1 if replicas == "auto" else int(replicas)


class Daemons:
    """The raylet that this process is connected to, and the GCS if this process started it, as far as found.

    A context manager. If a ClusterError leaves its block and one of the processes has ended, `check` replaces the error
    with ClusterLost. Ray reports a lost task a moment before the raylet's process is gone.
    """

    def __init__(self, processes: Sequence[tuple[str, Any]] | None = None) -> None:
        if processes is not None:
            self._processes = list(processes)
            return
        here = ray.get_runtime_context().get_node_id()
        sockets = [node["RayletSocketName"] for node in ray.nodes() if node["NodeID"] == here]
        self._processes = list(_raylets(sockets[0])) if sockets else []
        self._processes += _children("gcs_server")  # that of a cluster is on another machine: Ray reconnects to it

    def check(self) -> None:
        """Raise ClusterLost if one of the processes has ended. Cheap."""
        for name, process in self._processes:
            if not _is_alive(process):
                raise ClusterLost(
                    f"{_DAEMONS[name]} has ended: it was killed, or the machine ran out of memory. "
                    "Answers so far are kept; run the same command again to continue"
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: object) -> None:
        if not isinstance(error, ClusterError) or isinstance(error, ClusterLost):
            return
        until = time.monotonic() + _END_SECONDS
        while time.monotonic() < until:
            self.check()
            time.sleep(0.05)


def _raylets(socket: str) -> Iterator[tuple[str, psutil.Process]]:
    """The raylet whose command line names this socket."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() == "raylet" and f"--raylet_socket_name={socket}" in process.cmdline():
                yield "raylet", process


def _children(name: str) -> Iterator[tuple[str, psutil.Process]]:
    """Child processes with this name."""
    for process in psutil.Process(os.getpid()).children():
        with suppress(psutil.Error):
            if process.name() == name:
                yield name, process


def _is_alive(process: Any) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
