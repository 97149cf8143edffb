"""A run on a Ray cluster of several nodes, which have the engine's package and Ray, but not the driver's recaption."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from samples import jpeg, sample, write_tar

from recaption.errors import ClusterError, ClusterLost
from recaption.run import cluster, connect
from recaption.run.cluster import Daemons, runtime_env

TESTS = Path(__file__).parent.parent
ROOT = TESTS.parent
IMAGES = 600
DRIVERS_VERSION = "0.0.1+drivers"
PATIENCE = 240.0  # seconds that anything may take
ACCESS = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "of-these-tests"}


class Nodes:
    """See nodes.py."""

    def __init__(self, *arguments: str) -> None:
        # Ray keeps sockets there, whose paths may have 107 bytes; and with an address file of its own it can be found
        # by no test that starts a Ray meanwhile.
        self.folder = Path(tempfile.mkdtemp(prefix="nodes-", dir="/tmp"))
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("HF_", "RAY_"))},
            "PYTHONPATH": str(TESTS),
            "RAY_TMPDIR": str(self.folder),
            "RAY_USAGE_STATS_ENABLED": "0",
            **ACCESS,
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "RAY_gcs_server_port_wait_time_s": "120",
        }
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(TESTS / "run" / "nodes.py"), *arguments],
                env=environment,
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.address = self._said()

    def order(self, word: str) -> str:
        """Returns the node's id."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self._said()

    def close(self) -> None:
        self.process.communicate(timeout=PATIENCE)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _said(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, (self.folder / "log").read_text()
        return line


def submit_job(nodes: Nodes, arguments: Sequence[str], cwd: Path | None = None) -> None:
    """`ray job submit`. The agent of a node starts after the node, and Ray waits for it for 10 s only."""
    command = [str(Path(sys.executable).parent / "ray"), "job", "submit", "--address", nodes.address, *arguments]
    environment = {**os.environ, **ACCESS, "RAY_TMPDIR": str(nodes.folder)}
    deadline = time.monotonic() + PATIENCE
    while True:
        done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE)
        said = done.stdout + done.stderr
        if "No available agent" not in said or time.monotonic() > deadline:
            break
    assert done.returncode == 0, said


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    nodes = Nodes()
    yield nodes
    nodes.close()


@pytest.fixture(scope="module")
def drivers_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout that no node has: of another version than what is installed there."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "recaption", folder / "recaption", ignore=shutil.ignore_patterns("__pycache__"))
    for kind in ("pipelines", "prompts", "schemas"):
        shutil.copytree(ROOT / kind, folder / kind)
    init = folder / "recaption" / "__init__.py"
    init.write_text(init.read_text("utf-8") + f"\n__version__ = {DRIVERS_VERSION!r}\n", "utf-8")
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    for shard in range(3):
        samples = [sample(f"{shard}-{i:04d}", jpeg(1000 * shard + i)) for i in range(IMAGES // 3)]
        write_tar(folder / f"{shard:05d}.tar", samples)
    return folder


def pipeline(source: Path, out: Path, model: dict[str, Any] | None = None, **engine_args: Any) -> dict[str, Any]:
    return {
        "name": "test",
        "source": {"path": f"{source}/*.tar"},
        "models": {
            "fake": {"engine": "node_engine:NodeEngine", "model": "scene", "engine_args": engine_args, **(model or {})}
        },
        "generate": [
            {"id": "long", "model": "fake", "prompt": "describe_long"},
            {"id": "short", "model": "fake", "prompt": "describe_short"},
        ],
        "output": {"path": str(out)},
    }


def home(folder: Path) -> Path:
    """A home folder with the cluster's token in the file that Ray creates, and nothing that tells Ray to use it."""
    token = folder / "home" / ".ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.write_text(ACCESS["RAY_AUTH_TOKEN"])
    return folder / "home"


class Run:
    """`recaption run` (or half of it) as a process beside the cluster; 2 questions an image."""

    def __init__(
        self,
        folder: Path,
        nodes: Nodes,
        code: Path,
        source: Path,
        command: str = "run",
        out: Path | None = None,
        hold: int | None = None,
        **engine_args: Any,
    ) -> None:
        """`hold`: see the method of that name."""
        folder.mkdir(exist_ok=True)
        self.out, self.faults, self.log = folder / "out", folder / "faults", folder / "log"
        self.faults.mkdir()
        if hold is not None:
            self.hold(hold)
        args = {"faults": str(self.faults), "capacity": 8, "latency": 0.05, **engine_args}
        (folder / "p.yaml").write_text(json.dumps(pipeline(source, out or self.out, **args)))
        environment = {
            **os.environ,
            "PYTHONPATH": f"{code}{os.pathsep}{TESTS}",
            "RAY_ADDRESS": nodes.address,
            "RAY_TMPDIR": str(nodes.folder),
            "HOME": str(home(folder)),
            "HF_ENDPOINT": "http://a-mirror",
            "HF_TOKEN": "secret",
        }
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "recaption", command, "p.yaml"],
                cwd=folder,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def wait_until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"it hangs: {self.log.read_text()}"
            time.sleep(0.05)

    def hold(self, requests: int) -> None:
        """Let all requests after the first `requests` wait until `go_on` is called."""
        (self.faults / f"hold-{requests}").touch()

    def held(self) -> int:
        """Engines that waited so far."""
        return len(list(self.faults.glob("held-*")))

    def go_on(self, requests: int) -> None:
        (self.faults / f"hold-{requests}").unlink()

    def finish(self) -> Run:
        assert self.process.wait(timeout=PATIENCE) == 0, self.log.read_text()
        return self

    def asked(self) -> dict[str, int]:
        """Process of an engine -> its requests."""
        return {log.name.split("-")[1]: len(log.read_text().splitlines()) for log in self.faults.glob("asked-*")}

    def engines(self) -> dict[str, dict[str, Any]]:
        """Process of an engine -> what it said of its node."""
        return {log.name.split("-")[1]: json.loads(log.read_text()) for log in self.faults.glob("node-*")}

    def nodes_asked(self) -> set[str]:
        engines = self.engines()
        return {engines[process]["node"] for process, requests in self.asked().items() if requests}

    def answers(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.out)): path.read_bytes()
            for path in sorted((self.out / "answers").rglob("*"))
            if path.is_file() and not path.name.startswith(".tmp-")  # what a lost node was writing
        }

    def events(self) -> list[str]:
        log = self.out / "metrics" / "log.jsonl"
        whole = log.read_text().rpartition("\n")[0] if log.exists() else ""  # the last line may be half written
        return [json.loads(line)["event"] for line in whole.splitlines()]

    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = json.loads((self.out / "dataset" / "manifest.json").read_text())["counts"]
        return counts


@pytest.fixture(scope="module")
def undisturbed(nodes: Nodes, drivers_code: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on the one node that the cluster has at first."""
    return Run(tmp_path_factory.mktemp("undisturbed"), nodes, drivers_code, source, latency=0.002).finish()


@pytest.mark.slow
def test_nodes_run_the_drivers_code_with_its_settings_but_not_its_secrets(undisturbed: Run) -> None:
    (engine,) = undisturbed.engines().values()
    assert engine["version"] == DRIVERS_VERSION
    assert "py_modules_files" in engine["code"], "it came with the job"
    assert engine["views"], "and so did what is shipped with it"
    assert Path(engine["model"]) == Path(engine["code"]).parent / "demo" / "model", "the node's own, not the driver's"
    assert engine["endpoint"] == "http://a-mirror"
    assert engine["token"] is None
    assert undisturbed.counts()["ok"] == IMAGES
    assert len(undisturbed.answers()) == 6, "three shards, two questions; no parts are left"


@pytest.mark.slow
def test_a_node_that_joins_a_run_gets_engines(
    nodes: Nodes, drivers_code: Path, source: Path, undisturbed: Run, tmp_path: Path
) -> None:
    run = Run(tmp_path / "run", nodes, drivers_code, source, "generate", hold=100)
    run.wait_until(lambda: run.held() == 1)
    joined = nodes.order("add")
    try:
        run.wait_until(lambda: run.held() == 2)  # the first engine could be done with all before
        run.go_on(100)
        assert joined in run.finish().nodes_asked()
    finally:
        nodes.order("kill")
    assert len(run.engines()) == 2, "one engine on each node"
    assert run.answers() == undisturbed.answers()


@pytest.mark.slow
def test_a_run_that_requires_gpus_waits_for_the_first_node_that_has_one(
    drivers_code: Path, source: Path, undisturbed: Run, tmp_path: Path
) -> None:
    nodes = Nodes("no-gpu")
    try:
        run = Run(tmp_path / "run", nodes, drivers_code, source, "generate", model={"require_gpu": True}, latency=0.002)
        run.wait_until(lambda: "waiting_for_gpus" in run.events())
        assert not run.engines(), "none was started on the head node"
        joined = nodes.order("add")
        assert run.finish().nodes_asked() == {joined}
    finally:
        nodes.close()
    assert "gpus_available" in run.events()
    assert run.answers() == undisturbed.answers()


@pytest.mark.slow
def test_a_lost_node_loses_no_answers(
    nodes: Nodes, drivers_code: Path, source: Path, undisturbed: Run, tmp_path: Path
) -> None:
    doomed = nodes.order("add")
    run = Run(tmp_path / "run", nodes, drivers_code, source, "generate", hold=0)
    try:
        run.wait_until(lambda: run.held() == 2)  # both have work
        run.hold(600)
        run.go_on(0)
        run.wait_until(lambda: sum(run.asked().values()) >= 400)
        assert doomed in run.nodes_asked(), "it is at work when it is lost"
    finally:
        nodes.order("kill")
    run.go_on(600)
    assert run.finish().answers() == undisturbed.answers()


@pytest.mark.slow
def test_an_output_that_a_node_does_not_see_is_an_error_before_a_model_starts(
    nodes: Nodes, drivers_code: Path, source: Path, tmp_path: Path
) -> None:
    # Another folder to each process, as /data would be on each node's own disk.
    run = Run(tmp_path / "run", nodes, drivers_code, source, out=Path("/proc/self/cwd/out"))
    assert run.process.wait(timeout=PATIENCE) == 2
    assert "does not see files that the driver puts there" in run.log.read_text()
    assert not run.engines()
    assert not list((tmp_path / "run" / "out").glob(".probe*"))


@pytest.mark.slow
def test_a_wrong_token_is_named_as_the_cause_without_lines_of_ray(
    nodes: Nodes, drivers_code: Path, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "p.yaml").write_text(json.dumps(pipeline(source, tmp_path / "out")))
    access = {"RAY_ADDRESS": nodes.address, "RAY_TMPDIR": str(nodes.folder), **ACCESS, "RAY_AUTH_TOKEN": "another"}
    done = subprocess.run(
        [sys.executable, "-m", "recaption", "run", str(tmp_path / "p.yaml"), "--json"],
        env={**os.environ, "PYTHONPATH": f"{drivers_code}{os.pathsep}{TESTS}", **access},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    *lines, error, last = done.stdout.splitlines()
    assert done.returncode == 3 and all(json.loads(line) for line in lines), done.stdout
    assert "refuses the authentication token: it is missing or wrong. Set RAY_AUTH_MODE=token" in error
    assert json.loads(last)["exit_code"] == 3


@pytest.mark.slow
def test_the_token_is_used_where_the_cluster_requires_it_and_a_contradiction_is_an_error(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(home(tmp_path)))
    for name in ACCESS:
        monkeypatch.delenv(name, raising=False)
    assert connect.auth_mode(nodes.address) == "token"
    connect.check_joins(nodes.address, "token", connect.SECONDS)
    with pytest.raises(ClusterError, match=r"cannot be used from this machine: .+"):
        connect.check_joins(nodes.address, "disabled", 3)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(ClusterError, match="refuses the authentication token"):
        connect.auth_mode(nodes.address)


def test_inside_a_submitted_job_no_setting_is_repeated(tmp_path: Path) -> None:
    job = {"runtime_env": {"py_modules": ["gcs://a.zip"], "env_vars": {"HF_HOME": "/of/the/job"}}}
    environment = {
        "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(job),
        "HF_HOME": "/of/the/job",
        "HF_HUB_OFFLINE": "1",
        "HF_TOKEN": "secret",
    }
    assert runtime_env(environment, tmp_path) == {"env_vars": {"HF_HUB_OFFLINE": "1"}}


def test_a_job_without_modules_gets_the_code_that_it_runs_itself(tmp_path: Path) -> None:
    job = {"runtime_env": {"working_dir": "gcs://b.zip"}, "metadata": {}}
    env = runtime_env({"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(job)}, tmp_path)
    (package,) = map(Path, env["py_modules"])
    assert package.name == "recaption" and (package / "_shipped" / "prompts" / "describe_long.md").is_file()
    assert not list(package.rglob("__pycache__"))


@pytest.mark.soak
@pytest.mark.parametrize("brings", ["nothing", "recaption"])
def test_a_submitted_job_runs_with_the_code_that_it_brings(
    source: Path, drivers_code: Path, tmp_path: Path, brings: str
) -> None:
    work = tmp_path / "work"  # a pipeline and an engine of the user's own
    work.mkdir()
    for name in ("node_engine.py", "fake_engine.py"):
        shutil.copy(TESTS / name, work)
    faults = tmp_path / "faults"
    faults.mkdir()
    (work / "p.yaml").write_text(json.dumps(pipeline(source, tmp_path / "out", faults=str(faults))))
    wheel_like = tmp_path / "recaption"
    shutil.copytree(drivers_code / "recaption", wheel_like)
    for kind in ("pipelines", "prompts", "schemas"):
        shutil.copytree(drivers_code / kind, wheel_like / "_shipped" / kind)
    env = {"py_modules": [str(wheel_like)]} if brings == "recaption" else {}
    nodes = Nodes("dashboard")
    try:
        submit = ["--working-dir", str(work)]
        entry = [sys.executable, "-m", "recaption", "run", "p.yaml"]
        submit_job(nodes, [*submit, "--runtime-env-json", json.dumps(env), "--", *entry], cwd=tmp_path)
    finally:
        nodes.close()
    (said,) = (json.loads(log.read_text()) for log in faults.glob("node-*"))
    assert "py_modules_files" in said["code"]
    assert (said["version"] == DRIVERS_VERSION) == (brings == "recaption")


@pytest.fixture(scope="module")
def dashboard() -> Iterator[Nodes]:
    nodes = Nodes("dashboard")
    yield nodes
    nodes.close()


@pytest.mark.systems
@pytest.mark.parametrize(("code", "state"), [(1, "STOPPED"), (75, "FAILED"), (0, "SUCCEEDED")])
def test_the_state_of_a_ray_job_is_what_kuberay_decides_by(
    tmp_path: Path, dashboard: Nodes, code: int, state: str
) -> None:
    run = tmp_path / "recaption"
    run.write_text(f"#!/bin/bash\nexit {code}\n")
    run.chmod(0o755)
    ray_command = str(Path(sys.executable).parent / "ray")
    environment = {**os.environ, **ACCESS, "RAY_TMPDIR": str(dashboard.folder)}
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    job = ["--no-wait", "--submission-id", f"job-{code}"]
    env = json.dumps({"env_vars": {"PATH": path, **ACCESS}})
    entry = ["bash", str(ROOT / "deploy" / "kuberay-run.sh"), "run", "p.yaml"]
    submit_job(dashboard, [*job, "--runtime-env-json", env, "--", *entry])
    deadline, found = time.monotonic() + PATIENCE, ""
    while time.monotonic() < deadline and not re.search("SUCCEEDED|FAILED|STOPPED", found, re.IGNORECASE):
        status = [ray_command, "job", "status", "--address", dashboard.address, f"job-{code}"]
        found = subprocess.run(status, env=environment, capture_output=True, text=True, timeout=PATIENCE).stdout
        time.sleep(0.5)
    assert state.lower() in found.lower()


def test_a_lost_task_names_the_daemon_that_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_END_SECONDS", 120.0)
    sleeper = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    processes = [("raylet", psutil.Process(sleeper.pid))]
    try:
        with pytest.raises(ClusterLost, match=r"raylet\) has ended"), Daemons(processes):
            sleeper.kill()  # Ray reports the task while the process is ending
            raise ClusterError("Ray lost a task: The task's local raylet died")
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_lost_task_keeps_its_message_while_all_daemons_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_END_SECONDS", 0.2)
    with pytest.raises(ClusterError, match="lost a task") as raised, Daemons([("raylet", psutil.Process())]):
        raise ClusterError("Ray lost a task: The task's local raylet died")
    assert not isinstance(raised.value, ClusterLost)
