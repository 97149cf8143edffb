from __future__ import annotations

import io
import json
import math
import shutil
from pathlib import Path
from statistics import NormalDist
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from recaption.annotate.lexicon import COLOURS, MATERIALS
from recaption.errors import UserError
from recaption.inspect import ResultFormat, connect, output_question, questions, run_sql
from recaption.resources import shipped

from .conftest import FINGERPRINT, write_build, write_run

GOLDEN = Path(__file__).parent.parent / "golden" / "output"
GIVEN: dict[str, str | int] = {"key": "a0"}


def ask(path: Path, name: str, **given: str | int) -> list[dict[str, Any]]:
    question = questions.load(name)
    with connect(str(path)) as connection:
        answer = run_sql(connection, question.sql, values=question.values(given), limit=None)
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def test_all_that_were_promised_are_there() -> None:
    promised = "overview lengths tags tag-pairs flags boilerplate duplicates rejects models prompts languages slowest"
    assert {*promised.split(), "weights", "coverage", "copied", "generations", "similar", "image"} <= set(
        questions.names()
    )
    for name in questions.names():
        question = questions.load(name)
        assert question.description.endswith(".") and len(question.description) <= 86
        assert question.takes_key == (name in ("similar", "image"))


EVERYWHERE = [name for name in questions.names() if questions.load(name).needs is None]


@pytest.mark.parametrize("name", EVERYWHERE)
def test_every_question_runs_wherever_there_is_an_output(name: str, dataset: Path, run_only: Path) -> None:
    built, started = ask(dataset, name, **GIVEN), ask(run_only, name, **GIVEN)
    assert built or name in ("boilerplate", "duplicates", "near-duplicates")
    assert started or name not in ("overview", "rejects", "prompts", "slowest")
    for build in sorted((GOLDEN / "builds").iterdir()):
        assert ask(build, name, key="000000012") or name in ("similar", "prompts", "slowest", "near-duplicates")


@pytest.mark.parametrize(("name", "explains"), [("rejects", "example"), ("slowest", "details")])
def test_what_explains_is_seen_on_80_columns(name: str, explains: str) -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    output_question([str(GOLDEN)], [name], ResultFormat(), console)
    assert isinstance(console.file, io.StringIO)
    heads = console.file.getvalue().splitlines()[1].split()
    assert explains in heads and set(heads) > {"generation"}


def test_they_run_on_plain_duckdb_too(tmp_path: Path) -> None:
    (out := tmp_path / "plain").mkdir()
    write_run(out)
    write_build(out)
    (out / "metrics" / "torn.json").unlink()
    views = (shipped("schemas") / "views.sql").read_text("utf-8")
    with duckdb.connect() as plain:
        plain.execute(views.replace("{build}", str(out / "dataset")).replace("{out}", str(out)))
        for name in EVERYWHERE:
            runnable = questions.load(name).runnable(GIVEN)
            assert "$" not in "".join(line for line in runnable.splitlines() if not line.startswith("--"))
            rows = plain.execute(runnable).fetchall()
            assert [tuple(row.values()) for row in ask(out, name, **GIVEN)] == rows, name


@pytest.mark.parametrize("name", sorted({*questions.names()} - {*EVERYWHERE}))
@pytest.mark.parametrize("format", ["table", "csv"])
def test_a_question_about_a_table_that_is_not_there_explains_where_it_comes_from(name: str, format: str) -> None:
    needs = f"--ask {name} needs the table verifications, which a generation with task: verify makes"
    with pytest.raises(UserError, match=needs):
        output_question([str(GOLDEN)], [name], ResultFormat(format=format), Console(file=io.StringIO()))


def test_shares_of_unsupported_sub_captions_have_wilsons_interval(verified: Path) -> None:
    found = {(row["grouped_by"], row["value"]): row for row in ask(verified, "support")}
    long = found["generation", "long"]
    assert (long["verified"], long["unsupported"], long["unverified"]) == (31, 12, 0)
    z, n, share = NormalDist().inv_cdf(0.975), 31, 12 / 31
    middle, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = (100 * (middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    assert (long["low"], long["high"]) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))
    assert (
        found["model", "golden"]["verified"] == found["judge", "judge"]["verified"] == found["all", "all"]["verified"]
    )
    assert found["prompt", "describe_long"]["percent"] == long["percent"]
    assert found["position", "3"] | {"unsupported": 0, "low": 0} == found["position", "3"]
    # short has no answer about one image: only there, long has no counterpart
    assert found["images with short", "long"]["verified"] < 31 and ("images with long", "long") not in found
    subs = pq.read_table(verified / "sub_captions").to_pylist()
    for lemma in [value for name, value in found if name == "object"]:
        of = [s for s in subs if lemma in s["tag_lemmas"] and s["generation"] != "raw"]
        assert found["object", lemma]["verified"] == len(of)
    assert found["kind", "colour"]["verified"] > found["kind", "material"]["verified"] > 0
    generated = {s["sub_id"] for s in subs if s["generation"] != "raw"}
    tags = [tag for tag in pq.read_table(verified / "tags").to_pylist() if tag["sub_id"] in generated]
    coloured = [tag["sub_id"] for tag in tags for words in tag["attributes"] if {*words.lower().split()} & {*COLOURS}]
    assert found["kind", "colour"]["verified"] == len({*coloured}) < len(coloured), "two colours of a sentence are one"
    assert sum(name == "object" for name, _ in found) == sum(name == "attribute" for name, _ in found) == 10


def test_sub_captions_without_a_verification_are_counted(verified: Path) -> None:
    for path in verified.glob("verifications/*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.filter(pc.equal(table["p_true"], 0.25)), path)
    found = {(row["grouped_by"], row["value"]): row for row in ask(verified, "support")}
    assert [found["all", "all"][name] for name in ("verified", "unsupported", "unverified")] == [12, 12, 19]
    assert found["position", "2"]["unverified"] == 0 and ("position", "1") not in found


def test_the_least_supported_sub_captions_come_first(verified: Path) -> None:
    rows = ask(verified, "unsupported", limit=40)
    assert [row["p_true"] for row in rows] == sorted(row["p_true"] for row in rows) and len(rows) == 40
    assert rows[0]["generation"] == "short" and rows[0]["p_true"] == 0.1 and rows[0]["judges"] == ["judge"]


def test_support_runs_on_plain_duckdb_with_the_views_of_the_build(
    verified: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(verified)
    with duckdb.connect() as plain:
        plain.execute((verified / "views.sql").read_text("utf-8"))
        for name in ("support", "unsupported"):
            rows = plain.execute(questions.load(name).runnable({})).fetchall()
            assert [tuple(row.values()) for row in ask(verified, name)] == rows


def test_attributes_are_told_apart_by_the_words_of_the_tagger() -> None:
    words = set(questions.load("support").sql.split())
    assert words >= COLOURS and words >= MATERIALS


def test_overview_counts_what_the_manifest_counts(dataset: Path) -> None:
    said = {row["what"]: row["n"] for row in ask(dataset, "overview")}
    assert said["images"] == 6 and said["images: ok"] == 4 and said["images: reject"] == 2
    assert said["captions: long"] == 4 and said["sub-captions"] == 12 and said["objects"] == 10
    assert said["stored answers: long"] == 4 and said["rejects"] == 2


def test_tags_and_pairs(dataset: Path) -> None:
    dog = ask(dataset, "tags", limit=1)
    assert dog == [{"lemma": "dog", "images": 3, "percent": 75.0, "mentions": 4, "attributes": "brown"}]
    pairs = {(row["one"], row["other"]): row["lift"] for row in ask(dataset, "tag-pairs")}
    assert pairs["dog", "mat"] == pytest.approx(1 * 4 / (3 * 1), abs=0.01)
    assert ("mat", "dog") not in pairs and ("cat", "dog") not in pairs


def test_flags_with_an_example(dataset: Path) -> None:
    (found,) = (r for r in ask(dataset, "flags") if r["flag"] == "negation" and r["generation"] == "long")
    assert (found["n"], found["example"]) == (1, "There is no cat.")


def test_weights_by_source_and_by_position() -> None:
    heads = ("generation", "source", "position", "sub_captions", "mean", "percent_low")
    assert [tuple(row[name] for name in heads) for row in ask(GOLDEN, "weights")] == [
        ("long", "golden:describe_long", None, 31, 0.927, 0.0),
        ("short", "golden:describe_short", None, 15, 1.0, 0.0),
        ("raw", "raw", None, 15, 1.0, 0.0),
        ("long", None, "1", 16, 0.953, 0.0),
        ("long", None, "2", 12, 0.875, 0.0),
        ("long", None, "3", 3, 1.0, 0.0),
        ("short", None, "1", 15, 1.0, 0.0),
        ("raw", None, "1", 15, 1.0, 0.0),
    ]


def test_weights_are_counted_in_five_classes_and_late_positions_together(dataset: Path) -> None:
    weights = {0: 0.0, 1: 0.0001, 2: 0.1, 9: 0.1001, 10: 0.4, 11: 0.8, 12: 0.8001}
    for path in sorted((dataset / "dataset").resolve().glob("sub_captions/*.parquet")):
        table = pq.read_table(path)
        row = table.to_pylist()[0] | {"generation": "long", "source": "m:p"}
        rows = [row | {"idx": idx, "weight": weight} for idx, weight in weights.items()]
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    whole, *placed = ask(dataset, "weights")
    assert [whole[name] for name in ("0", "to 0.1", "to 0.4", "to 0.8", "to 1")] == [2, 4, 4, 2, 2]
    assert (whole["sub_captions"], whole["percent_low"], whole["mean"]) == (14, 42.9, 0.314)
    assert [(row["position"], row["sub_captions"], row["percent_low"]) for row in placed] == [
        *(("1", 2, 100.0), ("2", 2, 100.0), ("3", 2, 100.0), ("10", 2, 0.0), ("11+", 6, 0.0)),
    ]


def unparsed(out: Path) -> None:
    """Let the first sub-caption of a0 be one that no rule could parse."""
    for path in sorted((out / "dataset" / "sub_captions").glob("*.parquet")):
        table = pq.read_table(path)
        rows = [row | {"is_unparsed": row["key"] == "a0" and row["idx"] == 0} for row in table.to_pylist()]
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def test_what_could_not_be_parsed_is_a_flag(tmp_path: Path) -> None:
    (out := tmp_path / "out").mkdir()
    write_run(out)
    write_build(out)
    assert {row["n"] for row in ask(out, "flags") if row["flag"] == "unparsed"} == {0}
    unparsed(out)
    found = {row["generation"]: row for row in ask(out, "flags") if row["flag"] == "unparsed"}["long"]
    assert (found["n"], found["example"]) == (1, "A brown dog sits on a red mat.")
    rows = [row for row in ask(out, "image", key="a0") if row["generation"] == "long"]
    assert ["unparsed" in row["flags"] for row in rows] == [True, False, False]
    console = Console(file=io.StringIO(), width=200, color_system=None)
    output_question([str(out)], ["image", "a0"], ResultFormat(), console)
    assert isinstance(console.file, io.StringIO) and "unparsed" in console.file.getvalue()


def test_no_sql_of_a_dataset_is_executed(tmp_path: Path) -> None:
    (out := tmp_path / "out").mkdir()
    write_run(out)
    write_build(out)
    mark = tmp_path / "written.csv"
    hostile = f"COPY (SELECT 1) TO '{mark}';\nCREATE OR REPLACE VIEW images AS SELECT 'stolen' AS key;\n"
    (out / "dataset" / "views.sql").write_text(hostile)
    name = f"x') AS y FROM t; COPY (SELECT 1) TO '{mark}'; --"
    (out / "metrics" / "run-evil.json").write_text(json.dumps({"run": "evil", name: {name: [name]}}))
    for question in EVERYWHERE:
        ask(out, question, **GIVEN)
    assert {row["key"] for row in ask(out, "image", key="a0") if "key" in row} <= {"a0"}
    with connect(str(out)) as connection:
        assert connection.execute("SELECT count(*) FROM images").fetchall() == [(6,)]
        assert connection.execute("SELECT count(*) FROM runs WHERE run = 'evil'").fetchall() == [(1,)]
        with pytest.raises(duckdb.PermissionException):  # what views.sql reads is read nowhere else either
            connection.execute(f"SELECT * FROM read_json('{tmp_path}/other.json')").fetchall()
    assert not mark.exists()


def test_duplicates_and_what_they_are_of(tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(GOLDEN, out, symlinks=True)
    rows = ask(out, "duplicates")
    assert {row["text"]: row["images"] for row in rows}["A snowball on a glove."] == 2
    assert len(ask(out, "duplicates", limit=1)) == 1


def test_generations_side_by_side(dataset: Path) -> None:
    rows = {row["generation"]: row for row in ask(GOLDEN, "generations")}
    assert list(rows) == ["long", "short", "raw"]
    long = rows["long"]
    assert (long["source"], long["captions"], long["words"], long["cut"]) == ("golden:describe_long", 16, 13.5, 6.3)
    assert (long["rejected"], long["refused"], long["looped"], long["objects"]) == (1, 0, 1, 2.5)
    assert rows["raw"]["fragment"] == 100
    for path in dataset.glob("builds/*/sub_captions/*.parquet"):
        table = pq.read_table(path)
        hedged = ["It seems to be a dog." if text.endswith("grass.") else text for text in table["text"].to_pylist()]
        pq.write_table(
            table.set_column(table.schema.get_field_index("text"), table.schema.field("text"), [hedged]), path
        )
    (found,) = (row for row in ask(dataset, "generations") if row["generation"] == "long")
    subs = [
        row["n"] for row in ask(dataset, "lengths") if (row["generation"], row["texts"]) == ("long", "sub-captions")
    ]
    assert found["hedged"] == round(100 / subs[0], 1) and found["negation"] == found["hedged"]


def test_copies_of_raw_captions_are_runs_of_equal_words(tmp_path: Path) -> None:
    raw = "Portrait of Ada Lovelace, by Alfred Edward Chalon (1840)."
    texts = [
        ("a/raw/0", raw),
        ("a/raw/1", "a b a b a c"),  # equal words at several distances
        ("a/long/0", "A woman sits: a PORTRAIT of Ada Lovelace by Alfred Edward Chalon. Ada Lovelace."),
        ("a/other/0", "A b a c, portrait of Ada Lovelace"),
        ("b/raw/0", "\u00c9t\u00e9 \u00e0 Paris"),
        ("b/raw/1", ""),
        ("b/long/0", "L'\u00e9t\u00e9 \u00e0 Lyon."),  # two words
        ("b/other/0", "Paris"),  # one word is no run
        ("c/long/0", raw),  # the image has no raw caption
        ("d/raw/0", raw),  # the image has no other caption
    ]
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE captions (caption_id VARCHAR, key VARCHAR, generation VARCHAR, text VARCHAR)")
        for caption_id, text in texts:
            key, generation, _ = caption_id.split("/")
            connection.execute("INSERT INTO captions VALUES (?, ?, ?, ?)", [caption_id, key, generation, text])
        question = questions.load("copied")

        def rows(**given: int) -> dict[str, tuple[Any, ...]]:
            found = connection.execute(question.sql, question.values(given)).fetchall()
            return {generation: rest for generation, *rest in found}

        assert rows() == {
            "long": [2, 1, 50.0, 5.0, 7.7, 8, "portrait of ada lovelace by alfred edward chalon"],
            "other": [2, 0, 0.0, 2.0, 3.8, 4, "portrait of ada lovelace"],
        }
        assert rows(words=9)["long"][1] == 0 and rows(words=4)["other"][1] == 1
        connection.execute("DELETE FROM captions WHERE generation = 'raw'")
        assert rows() == {}


def test_similar_images_share_objects(dataset: Path) -> None:
    rows = ask(dataset, "similar", key="a1")
    assert [row["key"] for row in rows] == ["b1", "a0"]  # a0 has more that a1 has not
    assert all(0 < row["objects_alike"] < 1 and row["objects"] == ["dog"] for row in rows)


def test_models_and_prompts(dataset: Path) -> None:
    (model,) = ask(dataset, "models")
    assert (model["model"], model["generation"], model["captions"]) == ("qwen", "long", 4)
    (prompt,) = ask(dataset, "prompts")
    assert (prompt["fingerprint"], prompt["prompt"], prompt["answers"]) == (FINGERPRINT, "describe_long", 4)


def test_an_unknown_name_is_answered_with_all_of_them() -> None:
    with pytest.raises(UserError, match=r"(?s)Did you mean lengths\?.*tag-pairs +Pairs"):
        questions.load("lenghts")
    with pytest.raises(UserError, match=r"no question '\.\./ask/tags'"):
        questions.load("../ask/tags")


def test_a_key_is_bound_and_never_pasted(dataset: Path) -> None:
    evil = "a0' OR '1'='1"
    assert ask(dataset, "image", key=evil) == []
    shown = questions.load("image").runnable({"key": evil})
    assert "key = 'a0'' OR ''1''=''1'" in shown
    with pytest.raises(UserError, match="--ask image KEY"):
        questions.load("image").values({})
