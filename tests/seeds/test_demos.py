"""The demo preset of each system: run, build, validate, export, check for the trainer, and the trainer's reader.

Six systems are in `make test`; `make systems` and .ci/run run them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from local_run import local_runs
from systems import NAMES, SYSTEMS, exporter, options

from recaption.cli import main

IN_MAKE_TEST = ("fgclip", "flair", "gist", "maya", "pixelprose", "structure_clip")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One working folder and one set of engines for all systems."""
    import torch

    made = tmp_path_factory.mktemp("systems")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch, local_runs():
        patch.chdir(made)
        yield made
    torch.set_num_threads(threads)


@pytest.mark.filterwarnings("default")  # transformers warns at will
@pytest.mark.parametrize(
    "name", [name if name in IN_MAKE_TEST else pytest.param(name, marks=pytest.mark.systems) for name in NAMES]
)
def test_the_demo_of_a_system_runs_to_its_trainer(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    system, format = SYSTEMS[name], exporter(name)
    if system.before:
        assert main(["run", f"seeds/{name}", "--preset", system.before, "--quiet"]) == 0
    assert main(["run", f"seeds/{name}", "--preset", "demo", "--limit", str(system.images), "--quiet"]) == 0
    out, dest = f"out/seeds-demo/{name}", folder / "exports" / name
    capsys.readouterr()
    assert main(["validate", out]) == 0, capsys.readouterr().out
    for table in system.tables:
        assert pq.read_table(folder / out / "dataset" / table).num_rows > 0, table
    if format is None:
        return
    assert main(["export", out, str(dest), *options(name)]) == 0
    capsys.readouterr()
    assert main(["validate", str(dest), "--for", format]) == 0, capsys.readouterr().out
    assert system.read is not None
    assert system.read(dest) > 0
