"""`recaption doctor`: diagnose problems of this machine and of a pipeline, with a fix for each.

Changes nothing: a probe that is written to the output is deleted again. Starts no Ray and no engine. Each check is a
function that returns findings; `finding.examine` runs them in parallel.
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


def diagnose(name: str | None = None, overrides: tuple[str, ...] = ()) -> list[Finding]:
    """Check the machine and, if `name` is given, what that pipeline needs. Takes at most about ten seconds."""
    if name is None:
        return examine(_of_machine(None))
    try:
        pipeline, path = load(name, overrides)
    except UserError as problem:
        todo = "correct the file or the value of --set; recaption init DIR copies examples"
        wrong = [error("pipeline", str(problem), todo, "input")]
        if isinstance(problem, InvalidPipeline):
            wrong += _of_parts(problem)
        return [*wrong, *examine(_of_machine(None))]
    ensure_scenes(pipeline.source.path)  # as a run does
    return [ok("pipeline", str(path)), *examine([*_of_machine(pipeline), *_of_pipeline(pipeline, path)])]


def _of_parts(invalid: InvalidPipeline) -> Sequence[Finding]:
    """Findings about the valid parts of an invalid pipeline."""
    from recaption.run.check import annotate_faults, faults

    parts, path = invalid.parts, invalid.path

    def findings(found: Sequence[Exception]) -> Sequence[Finding]:
        return [error("pipeline", str(fault), "correct the file or the value of --set", "input") for fault in found]

    def tagger() -> Sequence[Finding]:
        settings = Annotate(spacy_model=parts.annotate.spacy_model if parts.annotate else None)
        return findings(annotate_faults(settings))

    late = "correct the file first"
    return examine(
        [
            Check("pipeline", lambda: findings(faults(parts, path, tagger=False)), late, late="warning"),
            Check("spacy", tagger, late, late="warning"),
        ]
    )


def _of_machine(pipeline: Pipeline | None) -> Sequence[Check]:
    needed = pipeline is not None
    replicas = [m.replicas for m in pipeline.models.values() if m.engine != "column"] if pipeline else []
    engines = max((1 if n == "auto" else n for n in replicas), default=1)
    install = "reinstall recaption: pip install --force-reinstall recaption"
    tagger = "reinstall recaption, or set another annotate.spacy_model; if it is only slow, run doctor again"
    disks = [] if pipeline else [Check("disk", partial(machine.disk, "disk", Path.cwd()), "see df -h")]
    return [
        Check("python", machine.python, "install Python 3.11 to 3.13"),
        Check("packages", packages.core, install),
        Check("packages to run", partial(packages.run_extra, needed), "pip install 'recaption[run]'"),
        Check("engines", partial(packages.engines, pipeline), "pip install 'recaption[vllm]'", late="warning"),
        Check("gpu", partial(gpu.look, pipeline), "run nvidia-smi and see its error"),
        Check("cores", machine.cores, "see /proc/meminfo"),
        *disks,
        Check("temporary files", machine.temporary, "set TMPDIR to a writable folder"),
        Check("open files", machine.open_files, "ulimit -n 65536"),
        Check("shared memory", partial(machine.shared_memory, engines), "see df -h /dev/shm"),
        Check("ray", partial(packages.ray, needed), "correct or unset RAY_ADDRESS"),
        Check(
            "spacy", partial(packages.spacy, pipeline.annotate if pipeline else None, needed), tagger, late="warning"
        ),
    ]


def _of_pipeline(pipeline: Pipeline, path: Path) -> Sequence[Check]:
    from recaption.doctor import model
    from recaption.doctor import pipeline as parts

    asked = dict.fromkeys(ask.model for ask in pipeline.generate)
    return [
        Check("source", partial(parts.source, pipeline, path), _hint("source.path", pipeline.source.path)),
        *(
            Check(
                f"model {name}",
                partial(model.look, name, pipeline.models[name]),
                f"correct models.{name}, or use another model",
            )
            for name in asked
        ),
        Check("output", partial(parts.output, pipeline), _hint("output.path", pipeline.output.path)),
        Check("annotate", partial(parts.annotation, pipeline), "correct annotate in the pipeline"),
        Check("disk", partial(parts.room, pipeline), "see df -h"),
        Check("build", partial(parts.build, pipeline), "correct output in the pipeline", late="warning"),
    ]


def _hint(key: str, url: str) -> str:
    if not is_url(url):
        return f"correct {key}, in the file or with --set {key}=…"
    return f"check {key}, that its server is reachable from here, and that keys are set (AWS_ACCESS_KEY_ID, …)"
