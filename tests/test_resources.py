"""Names of shipped files."""

from __future__ import annotations

from pathlib import Path

import pytest

from recaption.errors import ConfigError
from recaption.resources import find, names_in, shipped


def test_what_ships_is_there() -> None:
    assert (shipped("pipelines") / "demo.yaml").is_file()
    assert (shipped("schemas") / "views.sql").is_file()


def test_a_path_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find("pipelines", "demo", ".yaml") == shipped("pipelines") / "demo.yaml"
    Path("demo").write_text("name: mine")
    assert find("pipelines", "demo", ".yaml") == Path("demo")


def test_a_name_may_begin_with_a_folder() -> None:
    assert find("pipelines", "seeds/flair", ".yaml") == shipped("pipelines") / "seeds" / "flair.yaml"
    assert {"demo", "seeds/flair"} <= set(names_in(shipped("pipelines"), ".yaml"))


@pytest.mark.parametrize(
    "name", ["seeds/../demo", "/demo", "seeds//flair", "seeds/", "../pipelines/demo", "nope.yaml", "", "a/b"]
)
def test_what_is_no_name_is_not_found(name: str) -> None:
    with pytest.raises(ConfigError, match=r"not found.*Known names: column, demo, flair, judge, openai"):
        find("pipelines", name, ".yaml")
