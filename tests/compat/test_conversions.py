"""The conversions that docs/training.md shows, run as they stand there and read back by the libraries they are for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
READ = {
    "streaming": """
import json, sys
from streaming import StreamingDataset
print(json.dumps([[s["key"], s["long"], len(s["image"])] for s in StreamingDataset(local=sys.argv[1], batch_size=1)]))
""",
    "litdata": """
import json, sys
from litdata import StreamingDataset
print(json.dumps([[s["key"], s["long"], len(s["image"])] for s in StreamingDataset(sys.argv[1])]))
""",
}


def shown(library: str) -> str:
    """The Python block of the page that imports the library."""
    found = [block for block in re.findall(r"```python[^\n]*\n(.*?)```", PAGE.read_text("utf-8"), re.S)
             if f"from {library} import" in block]  # fmt: skip
    assert len(found) == 1
    return str(found[0])


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """Runs code where these libraries can be imported; returns what it prints."""
    folder = Path(sys.prefix) / "compat" / "conversions"
    if not folder.is_dir():
        pytest.fail(f"{folder} is missing: run `make setup`, which puts these libraries there")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(PAGE.parents[1])])}

    def made(code: str, *arguments: str) -> str:
        (tmp_path / "script.py").write_text(code)  # LitData's workers import it
        command = [sys.executable, "-W", "ignore", "script.py", *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=600, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return made


@pytest.mark.parametrize("library", READ)
def test_the_library_reads_every_record(library: str, out: Path, run: Callable[..., str], tmp_path: Path) -> None:
    from recaption.load import records

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "demo").symlink_to(out / "builds" / "webdataset")
    run(shown(library))
    wanted: list[list[Any]] = [
        [s.record.key, s.record.texts().get("long", ""), len(s.image)] for s in records(out / "builds" / "webdataset")
    ]
    found = json.loads(run(READ[library], "out/converted").splitlines()[-1])
    assert sorted(found) == sorted(wanted) and len(wanted) > 10
