"""A run, without Ray: what it checks before engines start. tests/test_run.py has whole runs."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from local_run import KeptEngines, local_runs
from PIL import Image

from recaption.cli import main
from recaption.engine import chat_server
from recaption.errors import EngineDead


@pytest.fixture
def local() -> Iterator[KeptEngines]:
    with local_runs() as engines:
        yield engines


def test_a_table_may_name_a_part_of_the_images_and_what_it_names_must_be_usable(
    local: KeptEngines, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for n, name in enumerate(("a", "b", *(f"unnamed-{n}" for n in range(20)))):
        Image.new("RGB", (48, 32), (n, 0, 0)).save(folder / f"{name}.jpg")
    table = folder / "metadata.csv"
    settings = [f"source.path={folder}", "generate.0.column=text", "breaker.window=10", f"output.path={out}"]
    arguments = ["run", "column", *(part for setting in settings for part in ("--set", setting))]
    table.write_text("file_name,text\na.jpg,red kite over the dunes\nb.jpg,pale dunes\n")
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "images in 22 = ok 2 + partial 0 + rejected 20 + excluded 0" in shown and "not_in_table 20" in shown
    table.write_text("file_name,text\na.jpg,red kite over the dunes\nb.jpg,\ngone.jpg,pale dunes\n")
    assert main(arguments) == 1
    assert "error: 66.7% of the images were rejected; output.max_reject_share is 50.0%." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "message"),
    [(None, "no server listens at"), ("local", "no server listens at"), ("head:6379", "an engine is started")],
)
def test_the_server_is_checked_before_engines_start_unless_they_start_on_a_cluster(
    address: str | None,
    message: str,
    local: KeptEngines,
    make_source: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(chat_server, "LISTEN_PAUSE", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)

    def started(spec: object, **_: object) -> None:
        raise EngineDead("an engine is started")

    monkeypatch.setattr(local, "spawn", started)
    with socket.socket() as taken:  # bound and not listening, so no other server can use the port
        taken.bind(("127.0.0.1", 0))
        model = {"engine": "openai", "model": "m", "replicas": 1}
        data = {
            "name": "x",
            "source": {"path": f"{make_source(shards=1, per_shard=2)}/*.tar"},
            "models": {"m": model | {"engine_args": {"base_url": f"http://127.0.0.1:{taken.getsockname()[1]}/v1"}}},
            "generate": [{"id": "long", "model": "m", "prompt": "describe_long"}],
            "output": {"path": str(tmp_path / "out")},
        }
        (tmp_path / "p.yaml").write_text(yaml.safe_dump(data))
        assert main(["run", str(tmp_path / "p.yaml")]) == 3
        assert message in capsys.readouterr().err


def test_a_run_on_a_cluster_without_gpus_hints_once_that_its_engines_do_not_wait(
    local: KeptEngines,
    make_source: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0})
    data = {
        "name": "x",
        "source": {"path": f"{make_source(shards=3, per_shard=2)}/*.tar"},
        "models": {"m": {"engine": "fake_engine:FakeEngine", "model": "scene"}},
        "generate": [{"id": "long", "model": "m", "prompt": "describe_long"}],
        "output": {"path": str(tmp_path / "out")},
    }
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump(data))
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    hint = "models.m: no node of the cluster has a GPU now"
    assert main(["run", str(file)]) == 0
    printed = capsys.readouterr()
    assert " ".join((printed.out + printed.err).split()).count(hint) == 1
    assert sum(hint in log.read_text() for log in (tmp_path / "out" / "metrics").rglob("*.jsonl")) == 1
    assert main(["run", str(file)]) == 0
    assert hint not in capsys.readouterr().err, "no engine is started"
