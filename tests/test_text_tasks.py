"""The tasks about texts together: killed and run again, then built, validated and inspected. Without Ray."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from local_cluster import Crashed, Crashes, LocalTransport
from local_run import local_runs
from samples import jpeg, sample, write_tar
from small_output import build_all
from stored_answers import stored_answers
from task_engine import CHINESE, TaskEngine
from task_examples import ONTOLOGY

from recaption import config
from recaption.cli import main
from recaption.generate.chunks import Job
from recaption.generate.driver import ModelPass
from recaption.generate.plan import make_plan
from recaption.io.store import LocalStore
from recaption.output.answers import compact
from recaption.output.lease import _OWN as lease_of_this_process
from recaption.output.lease import claim
from recaption.output.locate import current_build
from recaption.source import open_source

IMAGES = 12
MODELS = {name: {"engine": "task_engine:TaskEngine", "model": "scene"} for name in ("m", "lm")}


def finish(data: dict[str, Any], crashes: Crashes | None = None) -> Path:
    """Generate what is missing, and build. Raises Crashed."""
    plan, store = make_plan(config.validate(data)), LocalStore(data["output"]["path"])
    store.put("pipeline.yaml", json.dumps(plan.pipeline.model_dump(mode="json")).encode())
    lease = claim(store)
    transport = LocalTransport(lambda _: TaskEngine(), crashes)
    job = Job(source=open_source(plan.pipeline.source), store_url=store.url, epoch=lease.epoch)
    try:
        for model in plan.models:
            for listing in ModelPass(model, job, transport=transport).run():
                for question in model.questions:
                    compact(store, question, listing.shard.id)
        lease.release()
    finally:
        lease_of_this_process.discard(lease._token)  # a process that is gone holds nothing
        transport.close()
    return build_all(plan)


def rows(build: Path, table: str) -> list[dict[str, Any]]:
    return pq.read_table(build / table).to_pylist()


def inspected(out: Path, query: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["inspect", str(out), query, "--format", "json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """A build of texts about three classes, one of them without texts."""
    TaskEngine.asked.clear()
    (tmp_path / "classes.yaml").write_text("- red cup\n- dog\n- nothing\n")
    data = {
        "name": "classes",
        "source": {"path": str(tmp_path / "classes.yaml"), "format": "classes"},
        "models": MODELS,
        "generate": [{"id": "texts", "model": "lm", "task": "class_texts", "n": 3, "spare": 1}],
        "output": {"path": str(tmp_path / "classes")},
    }
    return finish(data)


def test_texts_about_classes(classes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = classes.parent.parent
    found = rows(classes, "class_texts")
    assert [(r["class_name"], r["rank"]) for r in found] == [(n, k) for n in ("red cup", "dog") for k in range(3)]
    statuses = {r["source_key"]: (r["status"], r["reason"]) for r in rows(classes, "images")}
    assert statuses == {"red cup": ("ok", None), "dog": ("ok", None), "nothing": ("reject", "invalid_answer")}
    (rejected,) = rows(classes, "rejects")
    assert (rejected["generation"], rejected["attempts"]) == ("texts", 3) and "texts can be used" in rejected["detail"]
    assert not any(image for _, image in TaskEngine.asked)
    capsys.readouterr()
    assert main(["validate", str(out)]) == 0
    assert "no problems found" in capsys.readouterr().out
    query = "SELECT count(*) AS n, count(DISTINCT text) AS m FROM class_texts"
    assert inspected(out, query, capsys) == {"n": 6, "m": 6}
    assert main(["status", str(out)]) == 0


def test_text_tasks_of_images_are_killed_resumed_built_and_read(
    tmp_path: Path, classes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, ontology = str(classes / "class_texts"), str(tmp_path / "ontology.yaml")
    Path(ontology).write_text(ONTOLOGY)
    labels = ["red cup", "dog", "nothing"]
    samples = [sample(f"{i:04d}", jpeg(i), f"a cup {i}", label=labels[i % 3]) for i in range(IMAGES)]
    write_tar(tmp_path / "source" / "0.tar", samples)
    out = tmp_path / "out"
    data: dict[str, Any] = {
        "name": "images",
        "source": {"path": f"{tmp_path}/source/*.tar"},
        "models": MODELS,
        "generate": [
            {"id": "long", "model": "m", "prompt": "describe_long"},
            {"id": "seen", "model": "m", "task": "tags", "most": 5},
            {"id": "fit", "model": "m", "task": "match", "texts": texts, "class_column": "label", "most": 2},
            {"id": "zh", "model": "lm", "task": "translate", "over": "long", "lang": "zh"},
            {"id": "raw_zh", "model": "lm", "task": "translate", "lang": "zh", "raw": True, "granularity": "short"},
            {"id": "parts", "model": "lm", "task": "aspects", "over": "long", "ontology": ontology},
            {"id": "prior", "model": "lm", "task": "ppl", "over": ["long", "zh"]},
            {"id": "read", "model": "lm", "task": "review", "over": ["long", "parts"]},
        ],
        "output": {"path": str(out), "format": "webdataset", "require": ["long", "zh", "parts", "prior", "seen"]},
    }
    monkeypatch.setattr("recaption.generate.part_writer.FLUSH_COUNT", 3)
    monkeypatch.setattr("recaption.generate.part_writer.GATHER_SECONDS", 0.02)
    TaskEngine.asked.clear()
    # The first answers of `parts` are the 20th write at the earliest, and `prior` reads them: it is not asked yet.
    with monkeypatch.context() as patch, pytest.raises(Crashed):
        finish(data, Crashes(patch, at=20, seed=1))
    killed, stored = len(TaskEngine.asked), len(stored_answers(out))
    build = finish(data)
    expected = IMAGES * (1 + 1 + 1 + 1 + 1 + 2 + 1) + 3 * (IMAGES * 2 // 3)
    assert killed < expected and len(TaskEngine.asked) == killed + expected - stored, "what is stored is not sent again"

    captions = {row["caption_id"]: row for row in rows(build, "captions")}
    subs = rows(build, "sub_captions")
    for i in range(IMAGES):
        chinese = captions[f"{i:04d}/zh/0"]
        assert (chinese["lang"], chinese["translated_from"], chinese["text"]) == ("zh", f"{i:04d}/long/0", CHINESE)
        assert captions[f"{i:04d}/raw_zh/0"]["translated_from"] == f"{i:04d}/raw/0"
        spans = [s for s in subs if s["caption_id"] == chinese["caption_id"]]
        assert [s["text"] for s in spans] == ["一只红色的杯子放在木桌上。", "旁边有一只狗！"]
        assert all(s["tag_lemmas"] == [] and s["lang"] == "zh" and not s["is_fragment"] for s in spans)
        assert captions[f"{i:04d}/parts/0"]["granularity"] == "aspect"
    aspects = rows(build, "aspects")
    assert len(aspects) == 2 * IMAGES and {row["aspect"] for row in aspects if not row["is_valid"]} == {"kind"}
    made = {row["made_caption"] for row in aspects if row["is_valid"]}
    assert made == {id for id, row in captions.items() if row["granularity"] == "aspect"}
    assert {captions[row["made_caption"]]["aspect"] for row in aspects if row["is_valid"]} == {"look", "kind"}
    for row in rows(build, "ppl"):
        assert sum(row["nbytes"]) == len(captions[row["caption_id"]]["text"].encode())
        assert row["logprobs"] == [-float(n) for n in row["nbytes"]]
    reviewed = {row["sub_id"]: row["is_meta"] for row in rows(build, "reviews")}
    assert reviewed == {s["sub_id"]: "dog" in s["text"] for s in subs if s["generation"] in ("long", "parts")}
    for s in subs:
        if s["sub_id"] in reviewed:  # by the rules, "The cup is red." of `parts` repeats the sentence of `long`
            assert (s["is_meta"], s["dup_of"]) == (reviewed[s["sub_id"]], None)
            assert s["is_fragment"] or (s["weight"] > 0.1) == (not s["is_meta"])
    assert [(r["tag"], r["rank"]) for r in rows(build, "model_tags")] == [("cup", 0), ("table", 1)] * IMAGES
    matches = rows(build, "matches")
    assert len(matches) == 2 * IMAGES * 2 // 3 and {row["class_name"] for row in matches} == {"red cup", "dog"}
    without = [row for row in rows(build, "rejects") if row["generation"] == "fit"]
    assert len(without) == IMAGES // 3 and all("no texts of the class 'nothing'" in row["detail"] for row in without)
    assert {row["status"] for row in rows(build, "images")} == {"ok"}

    assert main(["validate", str(out)]) == 0
    query = "SELECT count(*) AS n, count(translated_from) AS t, count(aspect) AS a FROM captions"
    valid = sum(row["is_valid"] for row in aspects)
    assert inspected(out, query, capsys) == {"n": 4 * IMAGES + valid, "t": 2 * IMAGES, "a": valid}
    for table in ("aspects", "ppl", "model_tags", "matches", "reviews"):
        assert inspected(out, f"SELECT count(*) > 0 AS some FROM {table}", capsys) == {"some": True}
    assert main(["report", str(out), "-o", str(tmp_path / "report.html")]) == 0


def test_a_run_publishes_the_rows_of_its_own_inputs_also_after_they_are_changed_back(tmp_path: Path) -> None:
    """All answers are stored after the first run, so only the name of a build tells the later ones from it."""
    write_tar(tmp_path / "source" / "0.tar", [sample(f"{i:04d}", jpeg(i), "a cup") for i in range(2)])
    file, out = tmp_path / "images.yaml", tmp_path / "out"
    long = {"id": "long", "model": "m", "prompt": "describe_long"}
    zh = {"id": "zh", "model": "lm", "task": "translate", "over": "long", "lang": "zh"}
    data: dict[str, Any] = {
        "name": "images",
        "source": {"path": f"{tmp_path}/source/*.tar"},
        "models": MODELS,
        "output": {"path": str(out), "format": "webdataset"},
    }

    def scored(*over: str) -> set[str]:
        prior = {"id": "prior", "model": "lm", "task": "ppl", "over": list(over)}
        file.write_text(json.dumps({**data, "generate": [long, zh, prior]}))
        assert main(["run", str(file)]) == 0
        build = current_build(LocalStore(str(out)))
        assert build is not None
        return {row["caption_id"].split("/")[1] for row in rows(out / "builds" / build, "ppl")}

    with local_runs():
        assert scored("long", "zh") == {"long", "zh"}
        assert scored("long") == {"long"}
        assert scored("long", "zh") == {"long", "zh"}
