"""`recaption doctor`: diagnose problems of this machine and of a pipeline, with a fix for each.

Changes nothing: a probe that is written to the output is deleted again. Starts no engine and no Ray; if RAY_ADDRESS
names a cluster, it connects to that. Each check is a function that returns findings; `finding.examine` runs them in
parallel.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from recaption.config import Annotate, InvalidPipeline, Pipeline, load
from recaption.demo.shards import ensure_scenes
from recaption.doctor import gpu, machine, packages
from recaption.doctor.finding import Check, Finding, error, examine, exit_code, ok
from recaption.errors import UserError
from recaption.io.files import is_url

__all__ = ["Finding", "diagnose", "exit_code"]


def diagnose(name: str | None = None, overrides: tuple[str, ...] = (), preset: str | None = None) -> list[Finding]:
    """Check the machine and, if `name` is given, what that pipeline needs. Takes at most about ten seconds."""
    if name is None:
        return examine(_of_machine(None))
    try:
        pipeline, path = load(name, overrides, preset)
    except UserError as problem:
        todo = "correct the file or the value of --set; recaption init DIR copies examples"
        findings = [error("pipeline", str(problem), todo, "input")]
        if not isinstance(problem, InvalidPipeline):
            return [*findings, *examine(_of_machine(None))]
        parts = Check("pipeline", partial(_of_parts, problem), todo)
        return [*findings, *examine([parts, *_of_machine(None, problem.parts.annotate)])]
    ensure_scenes(pipeline.source.path)  # as a run does
    checks = [*_of_machine(pipeline, pipeline.annotate), *_of_pipeline(pipeline, path)]
    return [ok("pipeline", str(path)), *examine(checks)]


def _of_parts(invalid: InvalidPipeline) -> Sequence[Finding]:
    """Findings about the valid parts of an invalid pipeline."""
    from recaption.run.check import faults

    found = faults(invalid.parts, invalid.path, tagger=False)  # which has a separate check
    return [error("pipeline", str(fault), "correct the file or the value of --set", "input") for fault in found]


def _of_machine(pipeline: Pipeline | None, annotate: Annotate | None = None) -> Sequence[Check]:
    replicas = [model.replicas for model in pipeline.models.values() if model.engine != "column"] if pipeline else []
    replicated = max((1 if count == "auto" else count for count in replicas), default=1)
    tagger = "reinstall recaption, or set another annotate.spacy_model"
    run = partial(packages.versions, "run", needed=pipeline is not None)
    disk = Check("disk", partial(machine.disk, "disk", Path.cwd()), "see df -h")
    engines = Check("engines", packages.engines, "pip install 'recaption[vllm]'")
    return [
        Check("python", machine.python, "install Python 3.11 to 3.13"),
        Check("packages", packages.versions, "pip install --force-reinstall recaption"),
        Check("packages [run]", run, "pip install 'recaption[run]'"),
        Check("gpu", partial(gpu.look, pipeline), "run nvidia-smi, and correct the error that it shows"),
        Check("cores", machine.cores, "see /proc/meminfo"),
        Check("compiler", partial(packages.compiler, pipeline), "install gcc and g++"),
        *([] if pipeline else [disk, engines]),
        Check(
            "temporary files", machine.temporary, "set RAY_TMPDIR to a writable folder with a short path, such as /tmp"
        ),
        Check("open files", machine.open_files, "ulimit -n 65536"),
        Check("shared memory", partial(machine.shared_memory, replicated), "see df -h /dev/shm"),
        Check("ray", packages.ray, "correct RAY_ADDRESS, or unset it to use this machine"),
        Check("spacy", partial(packages.spacy, annotate), tagger),
    ]


def _of_pipeline(pipeline: Pipeline, path: Path) -> Sequence[Check]:
    from recaption.doctor import model, tasks
    from recaption.doctor import pipeline as parts

    models = [
        Check(f"model {name}", partial(model.look, name, pipeline.models[name]), f"correct models.{name}")
        for name in dict.fromkeys(generation.model for generation in pipeline.generate)
    ]
    return [
        Check("source", partial(parts.source, pipeline, path), _hint("source.path", pipeline.source.path)),
        *models,
        Check("tasks", partial(tasks.look, pipeline), "correct generate or models in the pipeline"),
        Check("output", partial(parts.output, pipeline), _hint("output.path", pipeline.output.path)),
        Check("disk", partial(parts.disk_of_output, pipeline), "see df -h"),
        Check("build", partial(parts.build, pipeline), "correct annotate or output in the pipeline"),
    ]


def _hint(key: str, url: str) -> str:
    if not is_url(url):
        return f"correct {key}, in the file or with --set {key}=…"
    return f"check {key}, that its server is reachable from here, and that keys are set (AWS_ACCESS_KEY_ID, …)"
