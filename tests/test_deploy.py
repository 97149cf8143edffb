"""deploy/: the Slurm script with stand-ins for Slurm, the RayJob's fields, the alerting rules and the dashboard."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import ray
import yaml
from samples import jpeg, sample, write_tar

from recaption.errors import BudgetSpent, CircuitOpen, UserError
from recaption.generate import part_writer
from recaption.generate.driver import DRAIN_SECONDS, FLUSH_SECONDS
from recaption.generate.fleet import STOP_SECONDS
from recaption.run.monitor.prometheus import METRICS

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
TESTS = ROOT / "tests"

# Each stand-in writes down how it was called. `calls` is a folder; files in it make the stand-ins behave.
STAND_INS = {
    "scontrol": """
        case "$1" in show) printf 'node-a\\nnode-b\\nnode-c\\n' ;; esac
    """,
    "srun": 'echo "token $RAY_AUTH_TOKEN" >> "$CALLS/log"',
    "python": "echo 10.0.0.7",
    "ray": """
        [ -e "$CALLS/up" ] || { touch "$CALLS/up"; exit 1; } # the first time that it is asked
    """,
    "recaption": """
        echo "address $RAY_ADDRESS" >> "$CALLS/log"
        [ -e "$CALLS/code" ] && exit "$(cat "$CALLS/code")"
        trap 'sleep 0.3; exit 75' TERM
        touch "$CALLS/running"
        while kill -0 $PPID; do sleep 0.05; done # of a test that failed, nothing is left
    """,
}


class Job:
    """slurm.sh, as Slurm would start it."""

    def __init__(self, folder: Path, stand_ins: dict[str, str], **environment: str) -> None:
        self.calls = folder / "calls"
        self.calls.mkdir(exist_ok=True)
        bin = folder / ".venv" / "bin"
        bin.mkdir(parents=True)
        for name, does in stand_ins.items():
            lines = ["#!/bin/bash", f'echo "{name} $*" >> "$CALLS/log"', does]
            (bin / name).write_text("\n".join(lines) + "\n")
            (bin / name).chmod(0o755)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLURM_"))},
            "CALLS": str(self.calls),
            "POLL_SECONDS": "0.1",
            "SLURM_JOB_ID": "40123",
            "SLURM_JOB_NODELIST": "node-[a-c]",
            "SLURM_CPUS_PER_TASK": "3",
            **environment,
        }
        self.folder, self.output = folder, folder / "slurm.out"

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with self.output.open("wb") as out:
            return subprocess.Popen(
                [str(DEPLOY / "slurm.sh"), *arguments],
                cwd=self.folder,
                env=self.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> list[str]:
        return (self.calls / "log").read_text().splitlines()

    @property
    def requeued(self) -> bool:
        return "scontrol requeue 40123" in self.log


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path, STAND_INS)


def test_the_script_is_sound_bash() -> None:
    script = DEPLOY / "slurm.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert os.access(script, os.X_OK)
    assert re.search(r"^#SBATCH --signal=B:TERM@\d+$", script.read_text("utf-8"), re.MULTILINE)


def test_slurm_starts_ray_on_every_node_and_one_run_over_them(job: Job) -> None:
    (job.calls / "code").write_text("0")
    assert job.start("flair", "--set", "output.path=/a b").wait(timeout=120) == 0
    starts = {words["--nodelist"]: words for words in map(options, job.log) if "start" in words["rest"]}
    assert sorted(starts) == ["node-a", "node-b", "node-c"]
    assert "--head" in starts["node-a"]
    port = starts["node-a"]["--port"]
    for node in ("node-b", "node-c"):
        assert starts[node]["--address"] == f"10.0.0.7:{port}" and "--head" not in starts[node]
    assert all(words["--num-cpus"] == "3" and "--block" in words for words in starts.values())
    tokens = {call for call in job.log if call.startswith("token")}
    assert len(tokens) == 1 and len(tokens.pop()) > 30, "one secret for all nodes"
    assert "recaption run flair --set output.path=/a b" in job.log
    assert f"address 10.0.0.7:{port}" in job.log
    asked, ran = (next(n for n, call in enumerate(job.log) if name in call) for name in ("health", "recaption run"))
    assert asked < ran, "Ray is up before the run begins"
    assert not job.requeued


def options(call: str) -> dict[str, Any]:
    """The options of a call; `rest` holds the other words."""
    words = shlex.split(call)
    found: dict[str, Any] = {word.split("=")[0]: word.partition("=")[2] for word in words if word.startswith("--")}
    return {"--nodelist": "", **found, "rest": [word for word in words if not word.startswith("--")]}


def test_slurm_hands_its_signal_on_waits_for_the_run_and_queues_again(job: Job) -> None:
    script = job.start("flair")
    wait_for(job.calls / "running", script)
    script.send_signal(signal.SIGTERM)
    script.send_signal(signal.SIGTERM)  # Slurm may say it twice
    assert script.wait(timeout=120) == 75
    assert job.requeued


def test_a_signal_that_slurm_sends_while_the_run_is_being_started_reaches_it(job: Job) -> None:
    signals_itself = job.folder / "signals-itself.sh"
    signals_itself.write_text("trap 'case $BASH_COMMAND in run=*) kill -TERM $$ ;; esac' DEBUG\n")
    job.environment["BASH_ENV"] = str(signals_itself)
    assert job.start("flair").wait(timeout=120) in (75, 128 + signal.SIGTERM), "the stand-in may not be ready for it"
    assert job.requeued


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("code", "restarts", "requeued"), [(3, 0, True), (137, 4, True), (3, 5, False), (134, 9, False)]
)
def test_a_lost_driver_is_started_again_a_few_times(job: Job, code: int, restarts: int, requeued: bool) -> None:
    (job.calls / "code").write_text(str(code))
    job.environment["SLURM_RESTART_COUNT"] = str(restarts)
    assert job.start("flair").wait(timeout=120) == code
    assert job.requeued == requeued


def test_a_driver_that_is_lost_after_hours_is_started_again_however_often_the_job_was_preempted(job: Job) -> None:
    (job.calls / "code").write_text("3")
    job.environment |= {"SLURM_RESTART_COUNT": "30", "SECONDS": "7200"}  # the seconds since the script has started
    assert job.start("flair").wait(timeout=120) == 3
    assert job.requeued


@pytest.mark.parametrize("code", [CircuitOpen.exit_code, BudgetSpent.exit_code, UserError.exit_code])
def test_what_running_again_would_not_mend_is_not_queued_again(job: Job, code: int) -> None:
    (job.calls / "code").write_text(str(code))
    assert job.start("flair").wait(timeout=120) == code
    assert not job.requeued


@pytest.mark.slow
def test_the_slurm_script_runs_a_pipeline_on_the_real_ray(tmp_path: Path) -> None:
    write_tar(tmp_path / "s" / "a.tar", [sample(f"k{i}", jpeg(i), recap=f"A cup, {i} plates.") for i in range(3)])
    pipeline = {
        "name": "test",
        "source": {"path": f"{tmp_path}/s/a.tar"},
        "models": {"column": {"engine": "column"}},
        "generate": [{"id": "long", "model": "column", "column": "recap"}],
        "output": {"path": str(tmp_path / "out")},
    }
    (tmp_path / "p.yaml").write_text(json.dumps(pipeline))
    stand_ins = {
        "scontrol": "echo here",
        "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; echo $$ >> "$CALLS/steps"; exec "$@"',
        "python": f'exec "{sys.executable}" "$@"',
        "ray": f'exec "{Path(sys.executable).parent}/ray" "$@"',
        "recaption": f'exec "{sys.executable}" -m recaption "$@"',
    }
    # The job's number makes the port and the name of the folder for Ray's sockets.
    number = str(10_000_000 + os.getpid())
    job = Job(tmp_path, stand_ins, PYTHONPATH=str(ROOT), SLURM_JOB_ID=number, RAY_USAGE_STATS_ENABLED="0")
    script = job.start("p.yaml")
    try:
        code = script.wait(timeout=600)
        assert code == 0, job.output.read_text()
        assert json.loads((tmp_path / "out" / "dataset" / "manifest.json").read_text())["counts"]["images"] == 3
    finally:  # Slurm ends what is left
        script.kill()
        script.wait()
        for step in (job.calls / "steps").read_text().split():
            end(int(step))
        shutil.rmtree(f"/tmp/recaption-{number}", ignore_errors=True)


def end(step: int) -> None:
    """End `ray start --block`, which ends what it started, and wait for that."""
    command, deadline = Path(f"/proc/{step}/cmdline"), time.monotonic() + 120
    while command.exists() and b"ray" in command.read_bytes() and time.monotonic() < deadline:
        with suppress(ProcessLookupError):
            os.kill(step, signal.SIGTERM)
        time.sleep(0.5)


# Fields of KubeRay 1.6, without those that are not used: ray-operator/config/crd/bases/ray.io_rayjobs.yaml, version v1.
RAYJOB = {"entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec"}
CLUSTER = {"rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions"} | {
    "headGroupSpec",
    "workerGroupSpecs",
}
AUTOSCALER = {"version", "idleTimeoutSeconds", "upscalingMode"}
WORKERS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
POD = {"terminationGracePeriodSeconds", "nodeSelector", "tolerations", "containers", "volumes"}
CONTAINER = {"name", "image", "envFrom", "env", "lifecycle", "resources", "volumeMounts"}


def test_the_rayjob_has_what_a_rayjob_needs() -> None:
    claim, found = yaml.safe_load_all((DEPLOY / "kuberay-rayjob.yaml").read_text("utf-8"))
    assert (found["apiVersion"], found["kind"]) == ("ray.io/v1", "RayJob")
    assert found["metadata"]["name"]
    spec = found["spec"]
    assert set(spec) <= RAYJOB and set(spec["rayClusterSpec"]) <= CLUSTER
    assert spec["entrypoint"] == "bash /config/kuberay-run.sh run /config/pipeline.yaml"
    assert spec["shutdownAfterJobFinishes"] and spec["backoffLimit"] > 0
    cluster = spec["rayClusterSpec"]
    head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert set(head) <= {"rayStartParams", "template"} and set(workers) <= WORKERS
    assert workers["groupName"] and 1 <= workers["minReplicas"] <= workers["replicas"] < workers["maxReplicas"]
    assert cluster["enableInTreeAutoscaling"] and set(cluster["autoscalerOptions"]) <= AUTOSCALER
    for group in (head, workers):
        assert isinstance(group["rayStartParams"], dict)
        pod = group["template"]["spec"]
        assert set(pod) <= POD, "the autoscaler v2 refuses restartPolicy"
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert set(container) <= CONTAINER
            assert container["image"] and container["resources"]["limits"]
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    mounted = {m["mountPath"] for m in head["template"]["spec"]["containers"][0]["volumeMounts"]}
    _, script, _, pipeline = shlex.split(spec["entrypoint"])
    assert {str(Path(path).parent) for path in (script, pipeline)} <= mounted, "both are where they are looked for"
    head_text = (DEPLOY / "kuberay-rayjob.yaml").read_text("utf-8").partition("\napiVersion")[0]
    (command,) = re.findall(r"kubectl create configmap recaption .*", head_text)
    files = {Path(word.removeprefix("--from-file=")).name for word in command.split() if word.startswith("--from-file")}
    assert files == {Path(script).name, Path(pipeline).name}
    assert (DEPLOY / Path(script).name).is_file()
    (worker,) = workers["template"]["spec"]["containers"]
    assert "nvidia.com/gpu" in worker["resources"]["limits"]
    text = (DEPLOY / "kuberay-rayjob.yaml").read_text("utf-8")
    assert "runtimeEnvYAML" not in text, "secrets would be shown with it"
    # The cache of models
    claims = [v["persistentVolumeClaim"]["claimName"] for v in volumes_of(workers) if "persistentVolumeClaim" in v]
    assert (claim["kind"], claims) == ("PersistentVolumeClaim", [claim["metadata"]["name"]])
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"], "pods of several machines mount it"
    (cache,) = (each["value"] for each in worker["env"] if each["name"] == "HF_HOME")
    assert cache in {mount["mountPath"] for mount in worker["volumeMounts"] if mount["name"] == "models"}


def volumes_of(group: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = group["template"]["spec"]["volumes"]
    return found


def test_the_rayjobs_pods_have_time_to_drain() -> None:
    _, found = yaml.safe_load_all((DEPLOY / "kuberay-rayjob.yaml").read_text("utf-8"))
    cluster = found["spec"]["rayClusterSpec"]
    head, worker = (g["template"]["spec"] for g in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]))
    drain = DRAIN_SECONDS + FLUSH_SECONDS + STOP_SECONDS
    _, _, script = head["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    waits = int(re.search(r"seq (\d+)", script)[1])  # type: ignore[index]
    assert drain < waits < head["terminationGracePeriodSeconds"]
    (stop,) = (each["value"] for each in head["containers"][0]["env"] if each["name"] == "RAY_JOB_STOP_WAIT_TIME_S")
    assert drain < int(stop)
    assert worker["terminationGracePeriodSeconds"] > part_writer.FLUSH_SECONDS
    # Spot machines are for the engines only: the run ends with the driver.
    assert head["nodeSelector"] != worker["nodeSelector"]


def test_the_pod_of_the_driver_stops_the_run_before_ray(tmp_path: Path) -> None:
    _, found = yaml.safe_load_all((DEPLOY / "kuberay-rayjob.yaml").read_text("utf-8"))
    (container,) = found["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    name = f"rec{os.getpid()}"[:15]  # not the runs of other tests
    run = tmp_path / name
    run.write_text(
        "#!/bin/bash\ntrap 'sleep 0.2; touch done; exit 75' TERM\ntouch running\nwhile :; do sleep 0.05; done\n"
    )
    run.chmod(0o755)
    process = subprocess.Popen([str(run)], cwd=tmp_path)
    try:
        wait_for(tmp_path / "running", process)
        reaper = threading.Thread(target=process.wait)  # a zombie would count as running
        reaper.start()
        subprocess.run([word.replace("-x recaption", f"-x {name}") for word in command], timeout=120, check=True)
        assert (tmp_path / "done").exists(), "it waits until the run has stored its answers"
        reaper.join(10)
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("code", "stopped"),
    [(0, False), (1, True), (UserError.exit_code, True), (3, False), (75, False), (137, False)],
)
def test_kuberay_repeats_a_run_that_failed_and_none_that_ended_at_a_limit(
    tmp_path: Path, code: int, stopped: bool
) -> None:
    """KubeRay repeats a job that failed, and none that was stopped: rayjob_controller.go of version 1.6,
    checkBackoffLimitAndUpdateStatusIfNeeded."""
    config = json.dumps({"metadata": {"job_submission_id": "raysubmit_7"}})
    stand_ins = {
        "recaption": f"exit {code}",
        "ray": "kill -TERM $PPID",
        "python": "exit 127",  # images have only python3
        "python3": f'exec "{sys.executable}" "$@"',
    }
    job = Job(tmp_path, stand_ins, RAY_JOB_CONFIG_JSON_ENV_VAR=config)
    job.environment["PATH"] = f"{tmp_path}/.venv/bin:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(DEPLOY / "kuberay-run.sh"), "run", "/config/pipeline.yaml"],
        env=job.environment,
        timeout=120,
        stdout=subprocess.DEVNULL,
    )
    assert "recaption run /config/pipeline.yaml" in job.log
    assert ("ray job stop --no-wait raysubmit_7" in job.log) == stopped
    assert done.returncode == (-signal.SIGTERM if stopped else code)
    assert {CircuitOpen.exit_code, BudgetSpent.exit_code} == {1}


def test_a_job_that_cannot_be_stopped_keeps_its_exit_code(tmp_path: Path) -> None:
    stand_ins = {"recaption": "exit 1", "ray": "exit 1", "python3": "exit 1"}
    job = Job(tmp_path, stand_ins, PATH=f"{tmp_path}/.venv/bin:{os.environ['PATH']}")
    done = subprocess.run(["bash", str(DEPLOY / "kuberay-run.sh")], env=job.environment, capture_output=True)
    assert done.returncode == 1


def test_files_say_how_far_they_were_tested() -> None:
    for name in ("slurm.sh", "kuberay-rayjob.yaml", "kuberay-run.sh", "Dockerfile"):
        head = [line for line in (DEPLOY / name).read_text("utf-8").splitlines() if line.startswith("#")]
        assert any("ested" in line and ("Not " in line or "not " in line) for line in head), name


FAMILY = re.compile(r"_(?:bucket|sum|count)$")


def served() -> dict[str, set[str]]:
    """The series of each name that a run serves, with their labels."""
    found = {"recaption_run_info": {"command", "version"}}
    for name, metric in METRICS.items():
        labels = set(metric.labels)
        if metric.kind == "histogram":
            found |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
        else:
            found[f"{name}_total" if metric.kind == "counter" else name] = labels
    return found


def check_expression(expression: str, where: str) -> None:
    """Its metrics of recaption exist and have the labels by which it groups."""
    for opening, closing in ("()", "[]", "{}"):
        assert expression.count(opening) == expression.count(closing), where
    named = set(re.findall(r"recaption_\w+", expression))
    assert named <= served().keys(), f"{where}: {named - served().keys()} do not exist"
    labels = {label for of in re.findall(r"(?:by|on) \(([\w, ]+)\)", expression) for label in of.split(", ")}
    for name in named:
        assert labels <= served()[name] | {"instance"}, f"{where}: {name} lacks {labels - served()[name]}"


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((DEPLOY / "alerts.yaml").read_text("utf-8"))["groups"]
    assert set(group) == {"name", "rules"}
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DEPLOY / "grafana" / "recaption.json").read_text("utf-8"))["panels"]
    return found


def expressions() -> list[tuple[str, str]]:
    """The title of each panel with each of its expressions."""
    return [(panel["title"], target["expr"]) for panel in panels() for target in panel.get("targets", [])]


def test_the_alert_rules_are_a_rule_file_over_metrics_that_exist() -> None:
    """The fields are those of https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/."""
    assert len({rule["alert"] for rule in rules()}) == len(rules())
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"} and {"alert", "expr"} <= set(rule)
        assert re.fullmatch(r"(\d+[smh])?", rule.get("for", ""))
        check_expression(rule["expr"], rule["alert"])
        named = set(re.findall(r"recaption_\w+", rule["expr"]))
        shown = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) - {"instance"}
        assert named and all(shown <= served()[name] for name in named), rule["alert"]


def test_the_dashboards_panels_show_metrics_that_exist_and_leave_out_none() -> None:
    """https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/"""
    board = json.loads((DEPLOY / "grafana" / "recaption.json").read_text("utf-8"))
    assert board["schemaVersion"] == 42, "that of Grafana 13.2, so that it migrates nothing"
    assert len({panel["id"] for panel in panels()}) == len(panels())
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and max(x for x, _ in cells) < 24, f"{panel['title']} overlaps another panel"
        taken |= cells
        assert panel["type"] == "row" or (panel["type"] in ("stat", "timeseries") and panel["targets"])
        for target in panel.get("targets", []):
            check_expression(target["expr"], panel["title"])
            grouped = re.findall(r"by \(([\w, ]+)\)", target["expr"])
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert not grouped or shown <= set(grouped[0].split(", ")), f"{panel['title']}: {shown} is summed away"
    shown = {FAMILY.sub("", name) for _, text in expressions() for name in re.findall(r"recaption_\w+", text)}
    missing = {FAMILY.sub("", name) for name in served()} - shown
    others_show_it = {"recaption_in_flight_requests", "recaption_engine_answers_total"}
    not_shown = {"recaption_run_info", "recaption_generating_seconds_total", "recaption_duplicate_images"}
    assert missing == others_show_it | not_shown


def test_the_dashboards_metrics_of_ray_and_vllm_are_those_of_the_installed_versions() -> None:
    text = " ".join(expression for _, expression in expressions())
    of_ray, of_vllm = set(re.findall(r"\bray_(\w+)", text)), set(re.findall(r"vllm:\w+", text))
    assert len(of_ray) >= 6 and len(of_vllm) >= 5
    folder = Path(ray.__file__).parent / "dashboard" / "modules"
    sources = [folder / "reporter" / "reporter_agent.py", folder / "metrics/dashboards/default_dashboard_panels.py"]
    known = "".join(path.read_text("utf-8") for path in sources)
    assert [name for name in of_ray if not re.search(rf"\b(ray_)?{name}\b", known)] == []
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vllm is not installed")
    known = (Path(spec.origin).parent / "v1" / "metrics" / "loggers.py").read_text("utf-8")
    names = {re.sub(r"_(total|bucket)$", "", name) for name in of_vllm}
    assert [name for name in names if f'"{name}"' not in known] == []


def test_all_expressions_are_promql() -> None:
    """promql-parser is a port of Prometheus' parser; it knows neither its functions' results nor any data."""
    for where, text in [*expressions(), *((rule["alert"], rule["expr"]) for rule in rules())]:
        try:
            promql_parser.parse(text.replace("$__rate_interval", "5m"))
        except ValueError as error:
            pytest.fail(f"{where}: {error}")
    with pytest.raises(ValueError, match="parenthesis"):
        promql_parser.parse("sum by (x (up)")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_the_rules_and_all_expressions_of_the_dashboard(tmp_path: Path) -> None:
    records = [
        {"record": f"panel:{n}", "expr": text.replace("$__rate_interval", "5m")}
        for n, (_, text) in enumerate(expressions())
    ]
    (tmp_path / "panels.yaml").write_text(json.dumps({"groups": [{"name": "panels", "rules": records}]}))
    for path in (DEPLOY / "alerts.yaml", tmp_path / "panels.yaml"):
        done = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


RUN, LONG = 'instance="a"', 'instance="a",model="m",generation="long"'
FIRING: dict[str, dict[str, str]] = {  # alert -> series with a value per minute, after which it fires
    "RecaptionStalled": {f"recaption_last_progress_timestamp_seconds{{{RUN}}}": "0x120"},
    "RecaptionNoAnswers": {
        f"recaption_answers_total{{{LONG}}}": "7x120",
        f'recaption_in_flight_requests{{{RUN},model="m"}}': "32x120",
    },
    "RecaptionRejects": {
        f"recaption_answers_total{{{LONG}}}": "0+7x120",
        f'recaption_rejects_total{{{LONG},reason="refusal"}}': "0+3x120",
    },
    "RecaptionEnginesFail": {f'recaption_engine_deaths_total{{{RUN},model="m"}}': "0+1x120"},
    "RecaptionGpusMissing": {f'recaption_gpu_wait_seconds{{{RUN},model="m"}}': "0+60x120"},
    "RecaptionStoreSilent": {f"recaption_store_silent_seconds{{{RUN}}}": "0+60x120"},
    "RecaptionStoreSlow": {
        f'recaption_store_put_seconds_bucket{{{RUN},model="m",node="n",le="{le}"}}': f"0+{count}x120"
        for le, count in (("30.0", 1), ("60.0", 9), ("+Inf", 9))
    },
    "RecaptionEnginesWait": {f'recaption_engine_share_ratio{{{RUN},model="m"}}': "0.5x120"},
}
HEALTHY = {
    f"recaption_last_progress_timestamp_seconds{{{RUN}}}": "0+60x120",
    f"recaption_answers_total{{{LONG}}}": "0+9x120",
    f'recaption_rejects_total{{{LONG},reason="refusal"}}': "0+1x120",
    f'recaption_rejects_total{{{LONG},reason="not_in_table"}}': "0+90x120",  # the table names a part of the folder
    f'recaption_in_flight_requests{{{RUN},model="m"}}': "32x120",
    f'recaption_engine_deaths_total{{{RUN},model="m"}}': "2x120",
    f'recaption_gpu_wait_seconds{{{RUN},model="m"}}': "0x120",
    f"recaption_store_silent_seconds{{{RUN}}}": "0x120",
    f'recaption_store_put_seconds_bucket{{{RUN},model="m",node="n",le="30.0"}}': "0+9x120",
    f'recaption_store_put_seconds_bucket{{{RUN},model="m",node="n",le="+Inf"}}': "0+9x120",
    f'recaption_engine_share_ratio{{{RUN},model="m"}}': "0.97x120",
}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_each_alert_fires_on_its_condition_and_none_in_a_healthy_run(tmp_path: Path) -> None:
    """https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/"""
    assert FIRING.keys() == {rule["alert"] for rule in rules()}

    def case(series: dict[str, str], firing: dict[str, bool]) -> dict[str, Any]:
        query = "count(ALERTS{alertstate='firing',alertname='%s'}) or vector(0)"
        return {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {"expr": query % alert, "eval_time": "100m", "exp_samples": [{"labels": "{}", "value": int(fires)}]}
                for alert, fires in firing.items()
            ],
        }

    cases = [case(series, {alert: True}) for alert, series in FIRING.items()]
    cases.append(case(HEALTHY, dict.fromkeys(FIRING, False)))
    test = {"rule_files": [str(DEPLOY / "alerts.yaml")], "evaluation_interval": "1m", "tests": cases}
    (tmp_path / "test.yaml").write_text(json.dumps(test))
    done = subprocess.run(["promtool", "test", "rules", str(tmp_path / "test.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
