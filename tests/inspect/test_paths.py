"""Finding the outputs to inspect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pytest

from recaption.errors import DatasetError, StoreError, UserError
from recaption.inspect import connect
from recaption.inspect.paths import find

from .conftest import write_build
from .test_connection import count


@pytest.mark.parametrize("name", ["nowhere", "a-file", "empty"])
def test_what_is_no_output(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a-file").write_text("x")
    with pytest.raises(UserError, match=r"output\.path"):
        connect(str(tmp_path / name))


def test_several_builds_and_none_published(tmp_path: Path) -> None:
    write_build(tmp_path, "one", publish=False)
    with connect(str(tmp_path)) as connection:
        assert count(connection, "captions") == 8
    write_build(tmp_path, "two", publish=False)
    with pytest.raises(UserError, match=r"builds/one.*builds/two"):
        connect(str(tmp_path))
    (tmp_path / "CURRENT").write_text("two\n")
    with connect(str(tmp_path)) as connection:
        assert count(connection, "captions") == 8


def test_a_link_to_a_build_that_is_gone(dataset: Path) -> None:
    (dataset / "dataset" / "manifest.json").unlink()
    with pytest.raises(DatasetError, match=r"no manifest\.json"):
        connect(str(dataset))


def test_what_is_not_there(memory: str) -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        find(f"{memory}/nowhere")
    with pytest.raises(UserError, match="it is a file"):
        find(f"{memory}/done/CURRENT")
    with pytest.raises(UserError, match="it matches no output"):
        connect(f"{memory}/x*")
    with pytest.raises(UserError, match="nosuch"):
        find("nosuch://bucket/out")
    with pytest.raises(UserError, match="chained"):
        find("simplecache::memory://x")


def test_a_store_that_does_not_answer(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any, path: str, **_: Any) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "info", fail)
    with pytest.raises(StoreError, match="Access Denied"):
        find(f"{memory}/done")
