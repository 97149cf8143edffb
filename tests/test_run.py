"""The main job through real Ray, with a deterministic fake engine: resume, bad input, sums."""

from __future__ import annotations

import hashlib
import json
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from samples import jpeg, sample, write_tar

from recaption import config
from recaption.errors import BudgetSpent, EngineDead, UserError
from recaption.io.store import open_store
from recaption.output.folder_rule import record_rule
from recaption.progress import Display
from recaption.source.keys import POSITIONS
from recaption.tokenids import TokenIds
from recaption.validate import validate_output

pytestmark = pytest.mark.usefixtures("ray_session")


def pipeline_data(source: str, out: Path, **engine_args: Any) -> dict[str, Any]:
    return {
        "name": "test",
        "source": {"path": source},
        "models": {"fake": {"engine": "fake_engine:FakeEngine", "model": "scene", "engine_args": engine_args}},
        "generate": [
            {"id": "long", "model": "fake", "prompt": "describe_long"},
            {"id": "short", "model": "fake", "prompt": "describe_short"},
        ],
        "output": {"path": str(out), "format": "webdataset"},
    }


def run(data: dict[str, Any], **options: Any) -> Any:
    from recaption.run import run as run_pipeline

    pipeline = config.validate(data)
    with Display() as display:
        return run_pipeline(pipeline, None, display, **options)


def manifest(out: Path) -> dict[str, Any]:
    return json.loads((out / "dataset" / "manifest.json").read_text())


def answers(out: Path, generation: str) -> list[dict[str, Any]]:
    files = [f for f in out.glob(f"answers/{generation}-*/*.parquet")]
    return [row for f in sorted(files) for row in pq.read_table(f).to_pylist()]


def test_a_run_makes_a_dataset_from_images(make_source: Callable[..., Path], tmp_path: Path) -> None:
    source, out = make_source(shards=3, per_shard=20), tmp_path / "out"
    outcome = run(pipeline_data(f"{source}/*.tar", out))
    assert outcome.changed and outcome.answered == 120
    found = manifest(out)
    assert found["counts"]["images"] == found["counts"]["ok"] == 60
    for generation in found["generations"]:
        assert generation["asked"] == generation["answered"] == 60
    assert [shard["name"] for shard in found["shards"]] == ["00000", "00001", "00002"]
    assert not list(out.glob("answers/*/.parts/*/*")), "parts are gone once a shard is compacted"
    rows = pq.read_table(out / "dataset" / "captions" / "00001.parquet").to_pylist()
    assert Counter(row["generation"] for row in rows) == {"raw": 20, "long": 20, "short": 20}
    assert all("red cup" in row["text"] for row in rows if row["generation"] != "raw")


def test_a_finished_run_has_nothing_to_do(make_source: Callable[..., Path], tmp_path: Path) -> None:
    source, out = make_source(), tmp_path / "out"
    data = pipeline_data(f"{source}/*.tar", out)
    first = run(data)
    before = {p: p.stat().st_mtime_ns for p in out.glob("builds/**/*") if p.is_file()}
    second = run(data)
    assert (second.changed, second.answered, second.build) == (False, 0, first.build)
    assert {p: p.stat().st_mtime_ns for p in out.glob("builds/**/*") if p.is_file()} == before


def test_a_new_generation_is_added_and_a_changed_prompt_is_generated_again(
    make_source: Callable[..., Path], tmp_path: Path
) -> None:
    source, out = make_source(), tmp_path / "out"
    data = pipeline_data(f"{source}/*.tar", out)
    data["generate"].pop()
    run(data)
    data = pipeline_data(f"{source}/*.tar", out)
    assert run(data).answered == 40, "only the short ones are new"
    prompt = tmp_path / "p.md"
    prompt.write_text("---\nid: p\nversion: 1\ngranularity: short\n---\nTitle {{ title }}: one sentence, please.\n")
    data["generate"][1]["prompt"] = str(prompt)
    assert run(data).answered == 40
    assert len(list(out.glob("builds/*/manifest.json"))) == 3, "former builds stay as they are"


def test_only_new_images_are_requested(make_source: Callable[..., Path], tmp_path: Path) -> None:
    source, out = make_source(shards=1), tmp_path / "out"
    data = pipeline_data(f"{source}/*.tar", out)
    first = run(data)
    write_tar(source / "00001.tar", [sample(f"new{i}", jpeg(90_000 + i)) for i in range(5)])
    second = run(data)
    assert second.answered == 10 and second.build != first.build
    samples = [sample(f"00000{i:04d}", jpeg(i if i != 3 else 77_777), f"alt text {i} of 0") for i in range(20)]
    time.sleep(0.01)
    write_tar(source / "00000.tar", samples)
    third = run(data)
    assert third.answered == 2, "one image of the shard has other bytes: it is asked, the others keep their answers"
    assert manifest(out)["counts"]["ok"] == 25


def test_equal_images_share_one_answer(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_tar(tmp_path / "s" / "a.tar", [sample(f"k{i}", jpeg(i % 3)) for i in range(9)])
    assert run(pipeline_data(f"{tmp_path}/s/a.tar", out)).answered == 6
    assert manifest(out)["counts"]["ok"] == 9


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it has so many pixels: a decompression bomb in a few bytes."""

    def block(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = block(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + block(b"IDAT", zlib.compress(bytes(1000))) + block(b"IEND", b"")


def test_bad_images_become_typed_rejects_and_the_others_are_unaffected(tmp_path: Path) -> None:
    good = [sample(f"g{i}", jpeg(i)) for i in range(5)]
    bomb = png_of(100_000, 100_000)
    bad = [
        sample("empty", b""),
        sample("html", b"<html><body>404 not found</body></html>"),
        sample("cut", jpeg(50)[:-400]),
        sample("tiny", jpeg(51, (3, 3))),
        sample("long", jpeg(52, (1600, 20))),
        sample("bomb", bomb),
        {"nopicture.json": b"{}", "nopicture.txt": b"x"},
    ]
    write_tar(tmp_path / "s" / "a.tar", [good[0], *bad, *good[1:]])
    out = tmp_path / "out"
    outcome = run(pipeline_data(f"{tmp_path}/s/a.tar", out))
    found = manifest(out)
    assert found["counts"]["images"] == 12
    assert (found["counts"]["ok"], found["counts"]["reject"]) == (5, 7)
    assert found["rejects"] == {
        "empty": 1,
        "extreme_aspect": 1,
        "missing_image": 1,
        "too_many_pixels": 1,
        "too_small": 1,
        "truncated": 1,
        "undecodable": 1,
    }
    assert outcome.reject_share == pytest.approx(7 / 12)
    events = [json.loads(line) for line in (out / "metrics" / "log.jsonl").read_bytes().splitlines()]
    assert (events[0]["event"], events[-1]["event"], events[-1]["state"]) == ("run_started", "run_ended", "done")
    named = {(e["key"], e["reason"], e["shard"]) for e in events if e["event"] == "image_rejected"}
    assert ("html", "undecodable", "a") in named and ("cut", "truncated", "a") in named
    assert run(pipeline_data(f"{tmp_path}/s/a.tar", out)).changed is False, "rejects are remembered"


@pytest.mark.parametrize("form", ["sidecar", "parquet"])
def test_the_other_formats(make_source: Callable[..., Path], tmp_path: Path, form: str) -> None:
    source, out = make_source(), tmp_path / "out"
    data = pipeline_data(f"{source}/*.tar", out)
    data["output"] |= {"format": form, "token_ids": ["scene"]}
    run(data)
    table = pq.read_table(out / "dataset" / "data" / "00000.parquet")
    tokens = TokenIds.open(out / "dataset" / "tokens" / "scene" / "00000.bin")
    assert table.num_rows == 20 == len(tokens) and tokens.facts.to_json() == manifest(out)["token_ids"][0]
    assert run(data).changed is False
    assert ("image" in table.column_names) == (form == "parquet")


def test_equal_shards_are_built_while_the_former_build_is_read(
    make_source: Callable[..., Path], tmp_path: Path
) -> None:
    source, out = make_source(shards=3, per_shard=8), tmp_path / "out"
    data = pipeline_data(f"{source}/*.tar", out)
    former = out / "builds" / str(run(data).build)
    whole = {path: path.read_bytes() for path in former.glob("**/*") if path.is_file()}
    rounds, over, different = 0, threading.Event(), set[Path]()

    def read() -> None:
        nonlocal rounds
        while not over.is_set():
            different.update(path for path, data in whole.items() if path.read_bytes() != data)
            rounds += 1
            over.wait(0.02)

    trainer = threading.Thread(target=read)
    with open(former / "data" / "00001.tar", "rb") as file:
        begun = file.read(100)
        trainer.start()
        try:
            data["output"] |= {"samples_per_shard": 5, "trainer": {"gpus": 4, "workers": 2}}
            second = run(data, half="build")
        finally:
            over.set()
            trainer.join()
        assert begun + file.read() == whole[former / "data" / "00001.tar"]
    assert rounds > 1 and not different, "published under the eyes of a reader"
    assert [shard["splits"]["train"] for shard in manifest(out)["shards"]] == [5, 5, 5, 5, 4]
    (warning,) = second.warnings
    assert "5 train shards are fewer than the trainer's 8 readers" in warning and "samples_per_shard=3" in warning
    log = sorted((out / "metrics").glob("run-*.json"))[-1]
    assert json.loads(log.read_bytes())["warnings"] == [warning]

    third = run(data, half="build", prune_others=True)
    assert (third.changed, third.build, third.warnings) == (False, second.build, second.warnings)
    assert third.pruned and third.pruned.builds == 1
    assert third.pruned.bytes == sum(map(len, whole.values()))
    assert [folder.name for folder in (out / "builds").iterdir()] == [second.build]
    data["output"]["format"] = "sidecar"
    with pytest.raises(UserError, match=r"samples_per_shard is 5, but output.format is sidecar"):
        run(data)


def test_a_limit_counts_images_in_listing_order(make_source: Callable[..., Path], tmp_path: Path) -> None:
    source, out = make_source(shards=3, per_shard=20), tmp_path / "out"
    data = pipeline_data(f"{source}/*.tar", out)
    assert run(data, limit=25).answered == 50
    assert manifest(out)["counts"]["images"] == 25
    assert run(data).answered == 70
    assert manifest(out)["counts"]["images"] == 60


def test_shards_with_the_same_first_key_are_an_error_before_any_request(tmp_path: Path) -> None:
    for shard in range(2):
        write_tar(tmp_path / "s" / f"{shard}.tar", [sample(f"{i:04d}", jpeg(10 * shard + i)) for i in range(3)])
    data = pipeline_data(f"{tmp_path}/s/*.tar", tmp_path / "out")
    with pytest.raises(UserError, match=r"key '0000' is in shard 0 and in shard 1.*source.keys=positional"):
        run(data)
    assert answers(tmp_path / "out", "long") == []
    data["source"]["keys"] = "positional"
    run(data)
    keys = pq.read_table(tmp_path / "out" / "dataset" / "images" / "1.parquet")["key"].to_pylist()
    assert keys == ["000001_000000", "000001_000001", "000001_000002"]


def test_a_key_in_two_shards_is_an_error_of_the_build_and_answers_are_kept(tmp_path: Path) -> None:
    for shard, keys in enumerate((["a", "b"], ["c", "b"])):
        write_tar(tmp_path / "s" / f"{shard}.tar", [sample(key, jpeg(10 * shard + i)) for i, key in enumerate(keys)])
    data = pipeline_data(f"{tmp_path}/s/*.tar", tmp_path / "out")
    with pytest.raises(UserError, match=r"key 'b' is in shard 0 and in shard 1"):
        run(data)
    data["source"]["keys"] = "positional"
    assert run(data).answered == 0
    assert manifest(tmp_path / "out")["counts"]["ok"] == 4


def test_excluded_images_are_never_requested(tmp_path: Path) -> None:
    write_tar(tmp_path / "s" / "a.tar", [sample(f"k{i}", jpeg(i)) for i in range(4)])
    listed = tmp_path / "test-set.parquet"
    hashes = [hashlib.sha256(jpeg(i)).hexdigest() for i in (1, 2)]
    pq.write_table(pa.table({"sha256": [hashes[0], hashes[1].upper()]}), listed)
    data = pipeline_data(f"{tmp_path}/s/a.tar", tmp_path / "out")
    data["source"]["exclude"] = str(listed)
    assert run(data).answered == 4
    counts = manifest(tmp_path / "out")["counts"]
    assert (counts["ok"], counts["excluded"]) == (2, 2)
    pq.write_table(pa.table({"sha256": ["nonsense"]}), listed)
    with pytest.raises(UserError, match="'nonsense' is not a sha256"):
        run(data)


def test_new_raw_captions_make_a_new_build_without_requests(tmp_path: Path) -> None:
    data = pipeline_data(f"{tmp_path}/s/a.tar", tmp_path / "out")
    write_tar(tmp_path / "s" / "a.tar", [sample("k", jpeg(1), "old words")])
    first = run(data)
    time.sleep(0.01)
    write_tar(tmp_path / "s" / "a.tar", [sample("k", jpeg(1), "new words")])
    second = run(data)
    assert second.answered == 0 and second.build != first.build
    texts = pq.read_table(tmp_path / "out" / "dataset" / "captions" / "a.parquet")["text"].to_pylist()
    assert "new words" in texts and "old words" not in texts


def test_two_models_one_after_the_other(make_source: Callable[..., Path], tmp_path: Path) -> None:
    data = pipeline_data(f"{make_source()}/*.tar", tmp_path / "out")
    data["models"]["other"] = dict(data["models"]["fake"], dtype="float32")
    data["generate"][1]["model"] = "other"
    assert run(data).answered == 80
    assert [g["model"] for g in manifest(tmp_path / "out")["generations"]] == ["fake", "other"]


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_folders_and_parquet_files(tmp_path: Path, kind: str) -> None:
    if kind == "folder":
        (tmp_path / "s" / "deep").mkdir(parents=True)
        for i in range(3):
            (tmp_path / "s" / "deep" / f"{i}.jpg").write_bytes(jpeg(i))
        path = str(tmp_path / "s")
    else:
        images = [{"bytes": jpeg(i), "path": f"{i}.jpg"} for i in range(3)]
        (tmp_path / "s").mkdir()
        pq.write_table(pa.table({"image": images, "caption": ["a", "b", None]}), tmp_path / "s" / "x.parquet")
        path = str(tmp_path / "s" / "x.parquet")
    data = pipeline_data(path, tmp_path / "out")
    data["output"]["format"] = "auto"
    run(data)
    assert manifest(tmp_path / "out")["counts"]["ok"] == 3
    assert manifest(tmp_path / "out")["format"] == "parquet"
    assert run(data).changed is False


def folder_of(path: Path, names: dict[str, int]) -> None:
    for name, number in names.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(jpeg(number))


def keys_of(out: Path) -> dict[str, str]:
    tables = [pq.read_table(file) for file in (out / "dataset" / "images").glob("*.parquet")]
    return {row["source_key"]: row["key"] for table in tables for row in table.to_pylist()}


def test_a_folder_that_grows_keeps_its_keys_and_answers(tmp_path: Path) -> None:
    folder, out = tmp_path / "s", tmp_path / "out"
    folder_of(folder, {f"2024/07/IMG_000{i}.jpg": i for i in range(4)})
    data = pipeline_data(str(folder), out)
    assert run(data).answered == 8
    before = keys_of(out)
    assert manifest(out)["provenance"]["keys"] == "path"
    folder_of(folder, {"2024/07/AAA_new.jpg": 9})
    (folder / "2024/07/IMG_0003.jpg").rename(folder / "2024/moved.jpg")
    outcome = run(data)
    assert outcome.answered == 2
    [warning] = outcome.warnings
    assert (
        warning.startswith("of 4 images of build")
        and "1 has another key in the source now: the path of each has changed" in warning
    )
    after = keys_of(out)
    assert {name: key for name, key in after.items() if name in before} == {
        name: key for name, key in before.items() if name != "2024/07/IMG_0003"
    }
    assert len(after) == 5


def test_an_output_without_a_rule_by_path_continues_as_it_was(tmp_path: Path) -> None:
    folder, out = tmp_path / "s", tmp_path / "out"
    folder_of(folder, {f"sub/{i}.jpg": i for i in range(4)})
    data = pipeline_data(str(folder), out)
    record_rule(open_store(str(out)), POSITIONS)
    first = run(data)
    assert keys_of(out) == {f"sub/{i}": f"000000_00000{i}" for i in range(4)}
    assert manifest(out)["provenance"]["keys"] == "source"
    (out / "source.json").unlink()
    (folder / "sub" / "metadata.jsonl").write_text("{not read in such an output")
    again = run(data)
    assert (again.answered, again.build, again.changed) == (0, first.build, False)
    folder_of(folder, {"sub/00.jpg": 9})
    third = run(data)
    assert third.answered == 2 and keys_of(out)["sub/00"] == "000000_000001"
    [warning] = third.warnings
    assert warning.startswith(f"of 4 images of build {first.build}, 3 have other keys in the source now")


def test_all_raw_captions_are_kept_and_unused_files_are_listed(tmp_path: Path) -> None:
    folder, out = tmp_path / "s", tmp_path / "out"
    folder_of(folder, {"train/a.jpg": 0, "test/b.jpg": 1, "c.jpg": 2})
    (folder / "train" / "metadata.jsonl").write_text('{"file_name": "a.jpg", "text": ["one cup", "two cups"]}\n')
    (folder / "notes.txt").write_text("x")
    data = pipeline_data(str(folder), out)
    data["models"]["column"] = {"engine": "column"}
    data["generate"][1] = {"id": "short", "model": "column", "column": "text"}
    outcome = run(data)
    assert outcome.unused == (
        "files that are not images: 1 .txt",
        "tables, for images that they do not name: 2 (a generation that needs a column rejects them as not_in_table)",
    )
    shard = next((out / "dataset" / "captions").glob("*.parquet"))
    raw = [row for row in pq.read_table(shard).to_pylist() if row["generation"] == "raw"]
    assert [(row["caption_id"].partition("/")[2], row["text"]) for row in raw] == [
        ("raw/0", "one cup"), ("raw/1", "two cups")
    ]  # fmt: skip
    rejects = pq.read_table(next((out / "dataset" / "rejects").glob("*.parquet"))).to_pylist()
    assert sorted(row["detail"] for row in rejects) == [
        "column 'text' holds list, not a text",
        *["no table names this image, so it has no column 'text'"] * 2,
    ]
    assert list(validate_output(str(out))) == []
    assert run(data).changed is False


def test_generate_and_build_together_equal_a_run(make_source: Callable[..., Path], tmp_path: Path) -> None:
    source, out = make_source(), tmp_path / "out"
    data = pipeline_data(f"{source}/*.tar", out)
    with pytest.raises(UserError, match=r"answers are missing in shard 00000.*recaption generate"):
        run(data, half="build")
    assert run(data, half="generate").build is None
    assert not (out / "dataset").exists()
    assert run(data, half="build").build
    data["annotate"] = {"splitter": "flair_regex"}
    assert run(data, half="build").answered == 0
    assert len(list(out.glob("builds/*/manifest.json"))) == 2


def test_engine_column_needs_no_model(tmp_path: Path) -> None:
    samples = [sample(f"k{i}", jpeg(i), recap=f"A cup. A table with {i} plates.") for i in range(4)]
    samples += [sample("none", jpeg(9)), sample("same1", jpeg(1), recap="Another text for equal bytes.")]
    write_tar(tmp_path / "s" / "a.tar", samples)
    data = pipeline_data(f"{tmp_path}/s/a.tar", tmp_path / "out")
    data["models"] = {"column": {"engine": "column"}}
    data["generate"] = [{"id": "long", "model": "column", "column": "recap"}]
    run(data)
    found = manifest(tmp_path / "out")
    assert (found["counts"]["ok"], found["counts"]["reject"], found["rejects"]) == (5, 1, {"empty_answer": 1})
    rows = pq.read_table(tmp_path / "out" / "dataset" / "captions" / "a.parquet").to_pylist()
    texts = {row["key"]: row["text"] for row in rows if row["generation"] == "long"}
    assert texts["same1"] == "Another text for equal bytes."
    assert texts["k1"] == "A cup. A table with 1 plates."


def test_a_failed_engine_is_replaced_and_nothing_is_lost(make_source: Callable[..., Path], tmp_path: Path) -> None:
    faults = tmp_path / "faults"
    faults.mkdir()
    (faults / "die-60").touch()
    source, out = make_source(shards=2, per_shard=100), tmp_path / "out"
    run(pipeline_data(f"{source}/*.tar", out, faults=str(faults), latency=0.002))
    assert not (faults / "die-60").exists(), "the fault was used"
    for generation in ("long", "short"):
        keys = [row["key"] for row in answers(out, generation)]
        assert len(keys) == len(set(keys)) == 200


def test_engines_that_keep_failing_stop_the_run_with_their_own_message(
    make_source: Callable[..., Path], tmp_path: Path
) -> None:
    faults = tmp_path / "faults"
    faults.mkdir()
    (faults / "dead").touch()
    data = pipeline_data(f"{make_source()}/*.tar", tmp_path / "out", faults=str(faults))
    with pytest.raises(EngineDead, match=r"died 3 times.*no kernel image is available"):
        run(data)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source": {"path": "/nowhere/*.tar"}}, "/nowhere"),
        ({"models": {"fake": {"engine": "transformers", "model": "no/such-model-anywhere"}}}, "no/such-model-anywhere"),
        ({"models": {"fake": {"engine": "transformers", "model": "./nofolder"}}}, "nofolder"),
        ({"generate": [{"id": "a", "model": "fake", "prompt": "nope"}]}, "generate a: prompt 'nope' not found"),
    ],
)
def test_wrong_input_is_an_error_before_a_model_is_loaded(
    make_source: Callable[..., Path], tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    data = {**pipeline_data(f"{make_source()}/*.tar", tmp_path / "out"), **change}
    with pytest.raises(UserError, match=said):
        run(data)
    assert not (tmp_path / "out").exists()


def test_an_unavailable_tokenizer_is_an_error_before_a_model_is_loaded(
    make_source: Callable[..., Path], tmp_path: Path
) -> None:
    data = pipeline_data(f"{make_source()}/*.tar", tmp_path / "out")
    data["output"]["token_ids"] = [f"{tmp_path}/none.json"]
    with pytest.raises(UserError, match=r"output\.token_ids: .*none\.json"):
        run(data)
    assert not (tmp_path / "out").exists()


def test_a_template_column_that_the_source_lacks_is_an_error(make_source: Callable[..., Path], tmp_path: Path) -> None:
    prompt = tmp_path / "p.md"
    prompt.write_text("---\nid: p\nversion: 1\ngranularity: long\n---\nDescribe {{ artist }}.\n")
    data = pipeline_data(f"{make_source()}/*.tar", tmp_path / "out")
    data["generate"][0]["prompt"] = str(prompt)
    with pytest.raises(UserError, match=r"uses artist, which the source lacks; its columns are .*title"):
        run(data)


def test_a_task_may_make_several_captions_of_an_answer(make_source: Callable[..., Path], tmp_path: Path) -> None:
    source, out = make_source(shards=1, per_shard=5), tmp_path / "out"
    data = pipeline_data(f"{source}/*.tar", out)
    data["generate"][1] |= {"task": "toy_tasks:Twice", "prompt": "describe_long"}
    assert run(data).answered == 10
    rows = pq.read_table(out / "dataset" / "captions").to_pylist()
    assert Counter(row["generation"] for row in rows) == {"raw": 5, "long": 5, "short": 10}
    assert list(validate_output(str(out))) == []


def stored_rows(out: Path) -> int:
    """Answers in shards and parts."""
    return sum(pq.read_metadata(file).num_rows for file in out.glob("answers/**/*.parquet"))


def test_a_run_ends_at_its_budget_and_a_higher_one_continues(make_source: Callable[..., Path], tmp_path: Path) -> None:
    source, out = make_source(shards=2, per_shard=30), tmp_path / "out"
    data = pipeline_data(f"{source}/*.tar", out, latency=0.5, capacity=2)  # half a minute for all requests
    data["budget"] = {"gpu_hours": 0.5 / 3600}
    with pytest.raises(BudgetSpent, match="the budget is spent"):
        run(data)
    stored = stored_rows(out)
    with pytest.raises(BudgetSpent):  # no engine is started
        run(data)
    assert stored_rows(out) == stored
    data["budget"] = {"gpu_hours": 1}
    data["models"]["fake"]["engine_args"] = {}
    outcome = run(data)
    assert outcome.answered == 120 - stored > 0 and stored_rows(out) == 120
    assert "budget" in (out / "pipeline.yaml").read_text()
    data["budget"] = {"gpu_hours": 0.5 / 3600}
    assert not run(data).changed  # nothing is left to do, so nothing is to be paid


def test_the_end_of_a_run_is_posted_and_its_address_is_not_stored(
    make_source: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recaption.run.monitor import notify

    sent: list[dict[str, Any]] = []
    defaults = notify.Notifier.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "send", lambda url, body: sent.append({"url": url, **json.loads(body)}))
    monkeypatch.setenv("HOOK", "https://chat.example/secret")
    source, out = make_source(shards=1, per_shard=4), tmp_path / "out"
    data = pipeline_data(f"{source}/*.tar", out) | {"notify": "env:HOOK"}
    outcome = run(data)
    assert [(body["url"], body["notice"], body["build"]) for body in sent] == [
        ("https://chat.example/secret", "done", outcome.build)
    ]
    assert not any(b"secret" in f.read_bytes() or b"HOOK" in f.read_bytes() for f in out.rglob("*") if f.is_file())
