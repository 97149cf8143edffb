"""Commands that set things up."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from recaption import config
from recaption.cli import main
from recaption.demo.shards import ensure_scenes
from recaption.generate.plan import prompts_beside

ROOT = Path(__file__).parent.parent.parent


def test_init_copies_the_shipped_files_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "mine"
    assert main(["init", str(target)]) == 0
    assert "recaption run" in capsys.readouterr()[0]
    pipeline, path = config.load(str(target / "pipelines" / "demo.yaml"))
    assert pipeline.name == "demo" and path.is_relative_to(target)
    assert (target / "prompts" / "describe_long.md").is_file()
    for name in ("demo.yaml", "seeds/flair.yaml"):
        assert prompts_beside(target / "pipelines" / name) == target / "prompts"
    assert main(["init", str(target)]) == 2
    assert "not an empty folder" in capsys.readouterr()[1]


def printed_commands(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.startswith("  ")]


def test_init_prints_commands_for_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "my start"]) == 0
    said = capsys.readouterr().out
    run, doctor = printed_commands(said)
    assert run.endswith(" run 'my start/pipelines/demo.yaml'")
    assert shlex.split(doctor)[-2:] == ["doctor", "my start/pipelines/demo.yaml"]
    for name in re.findall(r"\w+\.yaml(?= \()", said):  # pipelines for other images than the demo's
        assert config.load(f"my start/pipelines/{name}")[0].models
    assert said.count(".yaml (") == 3


@pytest.mark.slow
def test_the_commands_that_init_prints_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "bin" / "recaption"  # that of this checkout
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m recaption "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)

    def shell(line: str, folder: Path = tmp_path) -> str:
        done = subprocess.run(
            ["bash", "-ec", line], cwd=folder, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said = shell("recaption init start && recaption run start/pipelines/demo.yaml --limit 1")
    run, doctor = printed_commands(said.partition("images in")[0])[:2]
    assert run == "recaption run start/pipelines/demo.yaml"
    assert (tmp_path / "out" / "demo" / "dataset").exists()
    shell(f"{run} --limit 1".replace(" start/", " "), tmp_path / "start")
    assert (tmp_path / "start" / "out" / "demo" / "dataset").exists()
    assert "errors: 0" in shell(doctor)
    following = printed_commands(said.partition("\nnext\n")[2])
    assert len(following) == 4 and all(line.startswith("recaption ") for line in following)
    for line in following:
        shell(line)


def test_scenes_are_rendered_only_for_the_demo(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    ensure_scenes(f"{tmp_path}/mine/{{00000..00003}}.tar")
    ensure_scenes("s3://bucket/demo-scenes/{00000..00003}.tar")
    assert list(tmp_path.rglob("*.tar")) == []
    source = f"{tmp_path}/demo-scenes/{{00000..00003}}.tar"
    ensure_scenes(source)
    tars = sorted((tmp_path / "demo-scenes").glob("*.tar"))
    assert [tar.name for tar in tars] == ["00000.tar", "00001.tar", "00002.tar", "00003.tar"]
    tars[0].unlink()
    ensure_scenes(source)
    assert not tars[0].exists(), "a folder with tars is left as it is"
    assert config.load("demo")[0].source.path.endswith("demo-scenes/{00000..00003}.tar")
