"""Everything that is wrong with a pipeline is in one message, whatever command finds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from samples import jpeg, sample, write_tar

from recaption import config
from recaption.cli import main
from recaption.doctor import diagnose
from recaption.errors import ConfigError, SourceError
from recaption.progress import Display
from recaption.run import check, run
from recaption.tasks.verify import VerifyTask

FAULTS = {  # what is changed, and what the message says of it
    "source.path": ("/nowhere/*.tar", "no file matches '/nowhere/*.tar'"),
    "models.m.model": ("/no/such/model", "model '/no/such/model': there is no such folder"),
    "generate.0.prompt": ("no_such_prompt", "generate long: prompt 'no_such_prompt' not found"),
    "annotate.spacy_model": ("xx_nope_sm", "annotate.spacy_model: xx_nope_sm"),
    "annotate.vocabulary": ("/no/v.json", "annotate.vocabulary: /no/v.json cannot be read"),
    "annotate.tokenizers": (["/no/t.json"], "annotate.tokenizers: '/no/t.json'"),
    "output.token_ids": (["/no/ids.json"], "output.token_ids: '/no/ids.json'"),
    "output.path": ("memory://x", "output.path memory://x"),
}


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    write_tar(tmp_path / "source" / "a.tar", [sample("one", jpeg(1))])
    return {
        "name": "x",
        "source": {"path": str(tmp_path / "source" / "a.tar")},
        "models": {"m": {"engine": "transformers", "model": "scene"}},
        "generate": [{"id": "long", "model": "m", "prompt": "describe_long"}],
        "annotate": {},
        "output": {"path": str(tmp_path / "out")},
    }


def broken(data: dict[str, Any], *keys: str) -> dict[str, Any]:
    for key in keys:
        node: Any = data
        *parents, last = key.split(".")
        for part in parents:
            node = node[int(part) if part.isdecimal() else part]
        node[last] = FAULTS[key][0]
    return data


def written(tmp_path: Path, data: dict[str, Any]) -> str:
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump(data))
    return str(file)


@pytest.mark.parametrize("command", ["run", "generate", "build", "estimate"])
def test_all_errors_are_in_one_message(
    command: str, data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, written(tmp_path, broken(data, *FAULTS))]) == 2
    said = capsys.readouterr().err
    assert f"{len(FAULTS)} errors" in said
    for _, part in FAULTS.values():
        assert said.count(part) == 1
    assert not (tmp_path / "out").exists()


def test_doctor_finds_the_same_errors(data: dict[str, Any], tmp_path: Path) -> None:
    found = [f for f in diagnose(written(tmp_path, broken(data, *FAULTS))) if f.status == "error"]
    for key in FAULTS.keys() - {"annotate.spacy_model", "models.m.model", "output.path"}:
        assert any(FAULTS[key][1] in f.found for f in found), key
    assert any("/no/such/model" in f.found for f in found) and any("memory://x" in f.found for f in found)


def test_errors_of_the_file_come_with_those_of_what_it_names(
    data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken(data, "source.path", "generate.0.prompt", "annotate.vocabulary", "output.token_ids")
    data["name"] = "no good"
    data["output"] |= {"fromat": "parquet", "require": ["lng"]}
    data["annotate"]["spliter"] = "spacy"
    assert main(["run", written(tmp_path, data)]) == 2
    said = capsys.readouterr().err
    expected = ["name: ", "output.fromat: unknown key", "annotate.spliter: unknown key", "output.require: unknown lng"]
    expected += [
        FAULTS[key][1] for key in ("source.path", "generate.0.prompt", "annotate.vocabulary", "output.token_ids")
    ]
    for part in expected:
        assert said.count(part) == 1, part


@pytest.mark.parametrize("engine", ["column", "transformers"])
def test_a_generation_without_column_and_prompt_is_named_once(
    data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: str
) -> None:
    """Also where something else is wrong, so that the source is looked at."""
    data["models"]["m"] = {"engine": engine, **({"model": "scene"} if engine != "column" else {})}
    data["generate"] = [{"id": "long", "model": "m"}]
    data["output"]["fromat"] = "parquet"
    assert main(["run", written(tmp_path, data)]) == 2
    said = capsys.readouterr().err
    assert said.count("generate long: ") == 1 and "output.fromat: unknown key" in said
    assert ("engine column needs `column`" if engine == "column" else "needs `prompt`") in said
    assert "None" not in said


def test_a_column_that_the_source_lacks_is_named(data: dict[str, Any], tmp_path: Path) -> None:
    data["models"]["m"] = {"engine": "column"}
    data["generate"] = [{"id": "long", "model": "m", "column": "recap"}]
    with (
        pytest.raises(ConfigError, match=r"generate long: the source has no column 'recap'; it has "),
        Display() as shown,
    ):
        run(config.validate(data), None, shown)


def test_all_broken_rules_between_keys_are_reported() -> None:
    with pytest.raises(ConfigError) as caught:
        config.validate(
            {
                "name": "x",
                "source": {"path": "a.tar"},
                "models": {"m": {"engine": "column"}},
                "generate": [{"id": "a", "model": "q", "prompt": "p"}, {"id": "b", "model": "m"}],
                "output": {"path": "o", "require": ["c"], "profile_map": {"raw_caption": "d"}},
            }
        )
    for part in ("unknown model 'q'", "needs `column`", "require: unknown c", "unknown 'd'", "set output.profile"):
        assert part in str(caught.value)


def test_columns_of_all_prompts_and_the_format_are_checked(data: dict[str, Any], tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.md").write_text(
            f"---\nid: {name}\nversion: 1\ngranularity: long\n---\n{{{{ no_{name} }}}}\n"
        )
    data["generate"] = [{"id": f"g{n}", "model": "m", "prompt": str(tmp_path / f"{n}.md")} for n in "ab"]
    data["output"] |= {"format": "sidecar", "samples_per_shard": 7}
    with pytest.raises(ConfigError) as caught, Display() as shown:
        run(config.validate(data), None, shown)
    for part in ("uses no_a", "uses no_b", "samples_per_shard is 7"):
        assert part in str(caught.value)


def test_a_single_error_is_raised_as_it_is(data: dict[str, Any]) -> None:
    pipeline = config.validate(broken(data, "source.path"))
    with pytest.raises(SourceError, match="nowhere"), Display() as shown:
        run(pipeline, None, shown)


def test_a_custom_table_with_the_name_of_a_tasks_table_is_an_error(tmp_path: Path) -> None:
    class Annotator:
        table_names = ("verifications",)

    class Question:
        id = "check"
        task = VerifyTask(VerifyTask.settings())

    class Plan:
        questions = (Question(),)

    with pytest.raises(ConfigError, match="'verifications' is already used by generation check"):
        check.table_names(Plan(), Annotator())  # type: ignore[arg-type]
