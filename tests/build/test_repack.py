"""Shards of equal counts: where they are cut, and what a build made of them holds."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import struct
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from local_cluster import Crashed, Crashes
from local_pool import LocalPool, build
from samples import jpeg, sample, write_tar
from small_output import answer_all, pipeline_data

from recaption.build.repack import EarlyCuts, Survey, cut
from recaption.errors import DatasetError, Interrupted, UserError
from recaption.types import SourceShard
from recaption.validate import validate_output

SIZES = (9, 0, 3, 14, 5)  # images of the source's shards


def surveys(counts: list[int]) -> list[Survey]:
    return [
        Survey(shard=SourceShard(id=f"s{n}", number=n, path=""), limit=count, inputs=f"i{n}", samples=count)
        for n, count in enumerate(counts)
    ]


def cuts(counts: list[int], size: int) -> list[list[tuple[int, int, int | None]]]:
    """Dataset shards as (source shard, first, stop)."""
    made = cut(surveys(counts), size)
    assert [packing.name for packing in made] == [f"{n:05d}" for n in range(len(made))]
    return [[(s.source.shard.number, s.first, s.stop) for s in packing.segments] for packing in made]


@pytest.mark.parametrize(
    ("counts", "size", "expected"),
    [
        ([], 3, []),
        ([0, 0], 3, [[(0, 0, None), (1, 0, None)]]),
        ([3], 3, [[(0, 0, None)]]),
        ([7], 3, [[(0, 0, 3)], [(0, 3, 6)], [(0, 6, None)]]),
        ([2, 2, 2], 3, [[(0, 0, None), (1, 0, 1)], [(1, 1, None), (2, 0, None)]]),
        # rows of shards without samples stay with those before them: no dataset shard is of rejects alone
        ([3, 0, 3, 0], 3, [[(0, 0, None), (1, 0, None)], [(2, 0, None), (3, 0, None)]]),
        ([0, 1], 3, [[(0, 0, None), (1, 0, None)]]),
    ],
)
def test_cuts_have_the_expected_segments(
    counts: list[int], size: int, expected: list[list[tuple[int, int, int | None]]]
) -> None:
    assert cuts(counts, size) == expected


def test_every_sample_is_in_one_shard_and_all_but_the_last_are_full() -> None:
    for seed in range(300):
        rng = random.Random(seed)
        counts = [rng.choice((0, 1, rng.randrange(40))) for _ in range(rng.randrange(1, 12))]
        size = rng.randrange(1, 15)
        made = cut(surveys(counts), size)
        taken: dict[int, list[int]] = {number: [] for number in range(len(counts))}
        for packing in made:
            for s in packing.segments:
                number = s.source.shard.number
                taken[number] += range(s.first, counts[number] if s.stop is None else s.stop)
        assert taken == {number: list(range(count)) for number, count in enumerate(counts)}
        places = [(s.source.shard.number, s.first) for packing in made for s in packing.segments]
        assert places == sorted(set(places)), "in source order"
        full = [sum(s.samples for s in packing.segments) for packing in made]
        assert all(samples == size for samples in full[:-1]) and 0 <= full[-1] <= size
        assert full[-1] > 0 or not sum(counts)


def test_shards_are_cut_early_as_they_are_cut_at_the_end() -> None:
    for seed in range(200):
        rng = random.Random(seed)
        found = surveys([rng.choice((0, 1, rng.randrange(40))) for _ in range(rng.randrange(1, 12))])
        size = rng.randrange(1, 15)
        early = EarlyCuts(size)
        made = [packing for counted in rng.sample(found, len(found)) for packing in early.add(counted)]
        expected = cut(found, size)
        assert made == expected[:-1], "the last one is never sure to be complete"
    early = EarlyCuts(3)
    assert list(early.add(found[1])) == [], "without the first shard, nothing is known"


def test_dataset_shards_are_written_while_others_are_generated(answered: Path) -> None:
    for name in ("answers", "rejects", "index"):
        shutil.copytree(answered / "out" / name, answered / "early" / name)
    expected, _ = build(data_of(answered, 4))
    pool = LocalPool(3, eager=True)
    made, _ = build(data_of(answered, 4, out="early"), pool)
    assert made.name == expected.name
    one, other = (
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (made, expected)
    )
    assert one == other
    last_survey = len(pool.ran) - pool.ran[::-1].index("survey")
    assert pool.ran.count("pack") == len(list(expected.glob("data/*.tar"))) == 7
    assert pool.ran[:last_survey].count("pack") >= 2


@pytest.mark.parametrize("eager", [False, True])
def test_progress_counts_dataset_shards_and_not_the_source_shards_whose_samples_are_counted(
    answered: Path, eager: bool
) -> None:
    for name in ("answers", "rejects", "index"):
        shutil.copytree(answered / "out" / name, answered / f"progress{eager}" / name)
    data, seen = data_of(answered, 4, out=f"progress{eager}"), list[tuple[int, int]]()

    def building(done: int, total: int) -> None:
        seen.append((done, total))

    made, _ = build(data, LocalPool(3, eager=eager), building=building)
    shards = len(list(made.glob("data/*.tar")))
    assert seen[-1] == (shards, shards) and all(done <= total for done, total in seen)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert eager or seen[0][0] == 0, "the source shards are counted first"
    seen.clear()
    build(data, LocalPool(4), building=building)
    assert seen[-1] == (shards, shards), "nothing has changed: all of them are there"


def test_the_inputs_of_a_shard_identify_its_sources() -> None:
    made = cut(surveys([7, 7]), 3)
    assert len({packing.inputs for packing in made}) == len(made)
    changed = surveys([7, 7])
    changed[1] = Survey(shard=changed[1].shard, limit=7, inputs="other", samples=7)
    same = [a.inputs == b.inputs for a, b in zip(made, cut(changed, 3), strict=True)]
    assert same == [True, True, False, False, False]


def test_many_shards_have_names_of_equal_length() -> None:
    names = [packing.name for packing in cut(surveys([100_001]), 1)]
    assert names[0] == "000000" and names[-1] == "100000" and names == sorted(names)


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source of uneven shards, in which every kind of row is, and all its answers."""
    folder = tmp_path_factory.mktemp("repack")
    (folder / "moods").mkdir()
    for shard, size in enumerate(SIZES):
        images = [jpeg(100 * shard + i) for i in range(size)]
        if shard == 3:
            images[0], images[13] = b"<html>", b""  # at both ends of a shard
            images[5] = images[4]  # there twice
            (folder / "moods" / f"refuse-{hashlib.sha256(images[7]).hexdigest()}").touch()
        rows = [sample(f"k{shard}{i:03d}", data, f"alt {i}") for i, data in enumerate(images)]
        write_tar(folder / "source" / f"{shard:02d}.tar", rows)
    answer_all(pipeline_data(folder))
    return folder


def data_of(folder: Path, size: int | str = 6, form: str = "webdataset", out: str = "out", **output: Any) -> Any:
    made = pipeline_data(folder)
    made["annotate"] = {"splitter": "flair_regex"}
    made["output"] = {"path": str(folder / out), "format": form, "samples_per_shard": size, **output}
    return made


def table(build: Path, name: str) -> list[dict[str, Any]]:
    return [row for path in sorted((build / name).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without where they lie in the dataset, sorted."""
    made = [{name: value for name, value in row.items() if name not in ("shard", "row")} for row in rows]
    return sorted(made, key=repr)


def keys(tar: Path) -> list[str]:
    with tarfile.open(tar) as file:
        return [name.removesuffix(".json") for name in file.getnames() if name.endswith(".json")]


@pytest.mark.parametrize("form", ["webdataset", "parquet"])
def test_equal_shards_have_the_contents_of_the_source_shards(answered: Path, form: str) -> None:
    options: dict[str, Any] = {"form": form, "holdout": {"fraction": 0.2}}
    excluded = [hashlib.sha256(jpeg(i)).hexdigest() for i in (8, 200)]
    whole, _ = build(data_of(answered, "source", **options), excluded=excluded)
    equal, new = build(data_of(answered, 6, **options), LocalPool(1), excluded=excluded)
    assert new and whole != equal
    one, other = (json.loads((b / "manifest.json").read_bytes()) for b in (whole, equal))
    for same in ("splits", "rejects", "generations", "distinct_texts"):
        assert one[same] == other[same]
    for count in ("images", "ok", "partial", "reject", "excluded", "captions", "sub_captions", "tags", "words"):
        assert one["counts"][count] == other["counts"][count]
    assert other["splits"]["val"] and other["counts"]["reject"] == 3 and other["counts"]["excluded"] == 2

    *full, last = [shard["splits"]["train"] for shard in other["shards"]]
    assert set(full) == {6} and 0 < last <= 6
    for name in ("images", "captions", "sub_captions", "tags", "rejects"):
        assert plain(table(whole, name)) == plain(table(equal, name))
    assert [r["key"] for r in table(equal, "images")] == [r["key"] for r in table(whole, "images")], "source order"
    for shard in other["shards"]:
        rows = pq.read_table(equal / "images" / f"{shard['name']}.parquet").to_pylist()
        assert [(r["shard"], r["row"]) for r in rows] == [(shard["name"], n) for n in range(len(rows))]
        places = {(r["key"], r["row"], r["shard"]) for r in rows}
        rejects = pq.read_table(equal / "rejects" / f"{shard['name']}.parquet").to_pylist()
        assert {(r["key"], r["row"], r["shard"]) for r in rejects} <= places
        train = [r["key"] for r in rows if r["split"] == "train" and r["status"] in ("ok", "partial")]
        if form == "webdataset":
            assert keys(equal / "data" / f"{shard['name']}.tar") == train
            index = (equal / "data" / f"{shard['name']}.tar.idx").read_bytes()
            assert len(struct.unpack(f"<{len(index) // 8}Q", index)) == len(train) + 1
        else:
            assert pq.read_table(equal / "data" / f"{shard['name']}.parquet")["key"].to_pylist() == train
    sizes = json.loads((equal / "sizes.json").read_bytes())
    assert list(sizes.values()) == [*full, last]
    assert [list(validate_output(str(one))) for one in (whole, equal)] == [[], []], "answers are found over all shards"
    captions = equal / "captions" / f"{other['shards'][-1]['name']}.parquet"
    rows = pq.read_table(captions)
    texts = pa.array([text.replace("a", "e") for text in rows["text"].to_pylist()], pa.string())
    at = rows.schema.get_field_index("text")
    pq.write_table(rows.set_column(at, rows.schema.field(at), texts), captions)
    assert "answer" in {problem.kind for problem in validate_output(str(equal))}


def test_without_changes_nothing_is_counted_and_a_change_makes_a_revision(tmp_path: Path) -> None:
    write_tar(tmp_path / "source" / "0.tar", [sample(f"a{i}", jpeg(i)) for i in range(5)])
    write_tar(tmp_path / "source" / "1.tar", [sample(f"b{i}", jpeg(50 + i)) for i in range(5)])
    data = data_of(tmp_path, 4)
    answer_all(data)
    pool = LocalPool()
    first, new = build(data, pool)
    assert new and pool.ran.count("pack") == 3
    pool = LocalPool()
    assert build(data, pool) == (first, False)
    assert pool.ran == ["survey", "survey"]
    write_tar(tmp_path / "source" / "1.tar", [sample(f"b{i}", jpeg(50 + i), "other words") for i in range(5)])
    second, new = build(data)
    assert new and second.name == f"{first.name}-r1"
    assert build(data) == (second, False)


@pytest.mark.parametrize("size", ["source", 4])
def test_a_rebuild_is_written_while_others_are_generated_once_a_shard_has_changed(
    size: int | str, tmp_path: Path
) -> None:
    """Source shard 1 of six gets new answers after the first build."""
    for shard in range(6):
        write_tar(tmp_path / "source" / f"{shard}.tar", [sample(f"{shard}-{i}", jpeg(9 * shard + i)) for i in range(5)])
    data = data_of(tmp_path, size)
    answer_all(data)
    first, _ = build(data)
    write_tar(tmp_path / "source" / "1.tar", [sample(f"1-{i}", jpeg(70 + i)) for i in range(5)])
    answer_all(data, put_together=False)
    shutil.copytree(tmp_path / "out", tmp_path / "late", symlinks=True)
    pool, at_the_end = LocalPool(3, eager=True), list[int]()
    made, new = build(data, pool, building=lambda done, total: at_the_end.append(done))
    late, _ = build(data_of(tmp_path, size, out="late"), LocalPool(4))
    assert new and made.name == late.name == f"{first.name}-r1"
    one, other = (
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (made, late)
    )
    assert one == other
    # Shard 0 is unchanged; it is counted or written again as soon as shard 1 is known to have changed.
    if size == "source":
        assert pool.ran == ["finish_shard"] * 7 + ["changed_keys"]
        assert at_the_end[0] == 6
    else:
        assert pool.ran.count("survey") == 7
        assert at_the_end[0] >= 4, "of eight dataset shards"


class Killed(LocalPool):
    """A pool that ends with its process once three dataset shards are written."""

    def __init__(self) -> None:
        super().__init__(3, eager=True)

    def poll(self) -> None:
        super().poll()
        if self.ran.count("pack") >= 3:
            raise Interrupted("killed")


def test_a_rebuild_of_a_killed_run_is_written_early_although_its_answers_are_compacted(tmp_path: Path) -> None:
    for shard in range(6):
        write_tar(tmp_path / "source" / f"{shard}.tar", [sample(f"{shard}-{i}", jpeg(9 * shard + i)) for i in range(5)])
    data = data_of(tmp_path, 4)
    answer_all(data)
    first, _ = build(data)
    shutil.copytree(tmp_path / "out", tmp_path / "reverted", symlinks=True)
    write_tar(tmp_path / "source" / "0.tar", [sample(f"0-{i}", jpeg(70 + i)) for i in range(5)])
    answer_all(data, put_together=False)
    shutil.copytree(tmp_path / "out", tmp_path / "late", symlinks=True)
    with pytest.raises(Interrupted):
        build(data, Killed())
    late, _ = build(data_of(tmp_path, 4, out="late"))
    pool, at_the_end = LocalPool(3, eager=True), list[int]()
    made, new = build(data, pool, building=lambda done, total: at_the_end.append(done))
    assert new and made.name == late.name == f"{first.name}-r1"
    assert pool.ran.count("survey") == 6 and at_the_end[0] >= 6, "of eight dataset shards"
    one, other = (
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (made, late)
    )
    assert one == other
    write_tar(tmp_path / "source" / "0.tar", [sample(f"0-{i}", jpeg(i)) for i in range(5)])
    (tmp_path / "reverted" / "builds" / f"{first.name}-r1" / "data").mkdir(parents=True)
    again, new = build(data_of(tmp_path, 4, out="reverted"), LocalPool(eager=True))
    assert (again.name, new) == (first.name, False), "the answers are those of the finished build"


def test_a_stopped_build_is_resumed(answered: Path) -> None:
    data = data_of(answered, 5, holdout={"fraction": 0.3})
    expected = build(data_of(answered, 5, holdout={"fraction": 0.3}, sampling={"k": 3}))[0]
    pool = LocalPool()
    with pytest.raises(Interrupted):
        build(data, pool, stopping=lambda: pool.ran.count("pack") == 3)
    (unfinished,) = (b for b in (answered / "out" / "builds").iterdir() if not (b / "manifest.json").exists())
    before = {path: path.stat().st_mtime_ns for path in unfinished.glob("data/*.tar*")}
    assert len(before) == 6
    (unfinished / "data" / "00099.tar").write_bytes(b"of a run that cut the shards differently")
    (unfinished / "data" / "val" / "00099.tar").write_bytes(b"of a run that cut the shards differently")
    made, _ = build(data)
    assert made == unfinished
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what was written is taken as it is"
    for name in ("data", "images", "rejects", "captions"):
        files = sorted(p.relative_to(expected) for p in (expected / name).rglob("*") if p.is_file())
        assert files == sorted(p.relative_to(made) for p in (made / name).rglob("*") if p.is_file())
        assert all((made / file).read_bytes() == (expected / file).read_bytes() for file in files)
    basis = [json.loads((build / "manifest.json").read_bytes())["sampling"]["basis"] for build in (made, expected)]
    assert basis == ["opinion", "pipeline"]


def files(out: Path) -> dict[str, bytes]:
    found = (path for path in (out / "builds").rglob("*") if path.is_file() and not path.name.startswith(".tmp-"))
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


def test_a_build_killed_at_any_write_is_resumed_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    for shard in range(2):
        rows = [sample(f"k{shard}{i}", jpeg(10 * shard + i) if i else b"<html>") for i in range(5)]
        write_tar(tmp_path / "source" / f"{shard}.tar", rows)
    data = data_of(tmp_path, 3, holdout={"fraction": 0.2})
    answer_all(data)
    answers = tmp_path / "answers"
    (tmp_path / "out").rename(answers)
    shutil.copytree(answers, tmp_path / "out")
    with monkeypatch.context() as patch:
        crashes = Crashes(patch)
        build(data)
    expected = files(tmp_path / "out")
    assert len(expected) > 20 and crashes.count > 25
    for at in range(2, crashes.count + 1, 6):
        shutil.rmtree(tmp_path / "out")
        shutil.copytree(answers, tmp_path / "out")
        with monkeypatch.context() as patch, pytest.raises(Crashed):
            Crashes(patch, at, seed=at)
            build(data, LocalPool(at))
        build(data, LocalPool(at + 1))
        assert files(tmp_path / "out") == expected, at
        assert (tmp_path / "out" / "dataset" / "manifest.json").exists()


def test_images_found_broken_on_writing_make_their_shard_shorter(tmp_path: Path) -> None:
    for shard in range(2):
        rows = [sample(f"k{shard}{i}", jpeg(10 * shard + i)) for i in range(5)]
        write_tar(tmp_path / "source" / f"{shard}.tar", rows)
    data = data_of(tmp_path, 4)
    answer_all(data)
    tar = tmp_path / "source" / "1.tar"
    before, when = tar.read_bytes(), tar.stat()
    tar.write_bytes(before.replace(jpeg(11), bytes(len(jpeg(11)))))  # row 1 of the second shard, row 2 of 00001
    os.utime(tar, ns=(when.st_atime_ns, when.st_mtime_ns))
    made, _ = build(data)
    manifest = json.loads((made / "manifest.json").read_bytes())
    assert [shard["splits"]["train"] for shard in manifest["shards"]] == [4, 3, 2]
    assert [(r["key"], r["shard"], r["row"], r["reason"]) for r in table(made, "rejects")] == [
        ("k11", "00001", 2, "changed")
    ]


@pytest.mark.parametrize("eager", [False, True])
def test_a_key_in_two_source_shards_is_an_error_with_their_names(eager: bool, tmp_path: Path) -> None:
    for shard, names in enumerate((["a", "b"], ["c", "b"], ["d", "e"])):
        write_tar(tmp_path / "source" / f"{shard}.tar", [sample(k, jpeg(10 * shard + i)) for i, k in enumerate(names)])
    data = data_of(tmp_path, 4)
    answer_all(data)
    pool = LocalPool(eager=eager)
    with pytest.raises(UserError, match="key 'b' is in shard 0 and in shard 1"):
        build(data, pool)
    assert eager or "pack" not in pool.ran


def test_a_source_that_changes_between_counting_and_writing_is_an_error(tmp_path: Path) -> None:
    rows = [sample(f"k{i}", jpeg(i)) for i in range(4)]
    write_tar(tmp_path / "source" / "0.tar", rows)
    data = data_of(tmp_path, 3)
    answer_all(data)

    class Changing(LocalPool):
        def add(self, function: Any, *args: Any, first: bool = False) -> None:
            if function.__name__ == "pack":
                write_tar(tmp_path / "source" / "0.tar", rows[:3])
            super().add(function, *args, first=first)

    with pytest.raises(DatasetError, match=r"changed since its samples were counted.*\(shard 0\)"):
        build(data, Changing())


def test_a_limit_counts_source_rows(answered: Path) -> None:
    made, _ = build(data_of(answered, 4), limit=11)
    manifest = json.loads((made / "manifest.json").read_bytes())
    assert manifest["counts"]["images"] == 11
    assert [shard["splits"]["train"] for shard in manifest["shards"]] == [4, 4, 3]
