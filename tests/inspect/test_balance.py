"""recaption.inspect.balance: keep probabilities from the tags of a build, compared with MetaCLIP's steps as loops."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from written_build import write_build

from recaption.balance import read_about
from recaption.cli import main
from recaption.errors import UserError
from recaption.inspect import balance
from recaption.inspect.report import write_report


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of 80 images whose objects are drawn from a long-tailed distribution; one image has no object."""
    folder = tmp_path_factory.mktemp("balance")
    write_build(folder / "out", [{"raw": "a", "long": "A thing. Another one. A third."}] * 80, per_shard=30)
    rng = np.random.default_rng(0)
    for file in sorted((folder / "out" / "dataset" / "tags").glob("*.parquet")):
        subs = pq.read_table(file.parent.parent / "sub_captions" / file.name).select(["sub_id", "key"]).to_pylist()
        rows = [
            {
                **sub,
                "lemma": f"o{min(rng.zipf(1.6), 40)}",
                "text": "x",
                "char_start": 0,
                "char_end": 1,
                "attributes": [],
                "plural": False,
                "kind": "absent" if sub["key"] == "k0007" or rng.random() < 0.1 else "object",
            }
            for sub in subs
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(file)), file)
    return folder / "out"


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "out", symlinks=True)
    return tmp_path / "out"


def by_loops(build: Path, t: int) -> dict[str, float]:
    """p of each training image: count_to_prob, then 1 - prod(1 - p), as metaclip/curation/curate.py does."""
    tables = {name: f"read_parquet('{build}/{name}/*.parquet')" for name in ("images", "tags")}
    usable = "status IN ('ok', 'partial') AND split = 'train'"
    keys = [key for (key,) in duckdb.sql(f"SELECT key FROM {tables['images']} WHERE {usable}").fetchall()]
    named: dict[str, set[str]] = {key: set() for key in keys}
    for key, lemma in duckdb.sql(f"SELECT key, lemma FROM {tables['tags']} WHERE kind = 'object'").fetchall():
        if key in named:
            named[key].add(lemma)
    counts: dict[str, int] = {}
    for lemmas in named.values():
        for lemma in lemmas:
            counts[lemma] = counts.get(lemma, 0) + 1
    expected = {}
    for key, lemmas in named.items():
        dropped = 1.0
        for lemma in lemmas:
            dropped *= 1 - t / max(counts[lemma], t)
        expected[key] = 1 - dropped
    return expected


@pytest.mark.parametrize("t", [1, 4, 1000])
def test_an_image_is_kept_if_one_of_its_objects_keeps_it(out: Path, t: int) -> None:
    file, about = balance.write_balance(str(out), None, t=t)
    assert file == out / "balance.parquet" and about.t == t
    rows = pq.read_table(file)
    expected = by_loops(out / "dataset", t)
    assert dict(zip(rows["key"].to_pylist(), rows["p"].to_pylist(), strict=True)) == pytest.approx(expected, abs=1e-6)
    assert about.kept == pytest.approx(sum(expected.values()), abs=1e-3)
    assert about.images == len(expected)
    assert about.without_objects == sum(p == 0 for p in expected.values()) == 1
    assert (about.kept < 60) == (t < 1000)
    assert read_about(pq.ParquetFile(file), "") == about


def test_the_curve_has_the_images_of_each_object_before_and_after(out: Path) -> None:
    _, about = balance.write_balance(str(out), None, t=4)
    ranks, before, after = zip(*about.curve, strict=True)
    assert ranks[0] == 1 and ranks[-1] == about.objects
    assert list(before) == sorted(before, reverse=True)
    assert all(0 < kept <= number + 0.01 for number, kept in zip(before, after, strict=True))
    assert after[0] < before[0] and after[-1] == pytest.approx(before[-1], abs=0.01), "the tail is kept whole"


def test_rows_are_in_the_order_of_the_loader(out: Path) -> None:
    file, _ = balance.write_balance(str(out), None)
    rows = pq.read_table(file).select(["shard", "key"]).to_pylist()
    images = duckdb.sql(
        f"SELECT shard, key FROM read_parquet('{out}/dataset/images/*.parquet') "
        "WHERE status IN ('ok', 'partial') AND split = 'train' ORDER BY shard, row"
    ).fetchall()
    assert [(row["shard"], row["key"]) for row in rows] == images


@pytest.mark.parametrize("share", [0.0, 0.06, 0.1, 0.5, 1.0])
def test_a_tail_share_is_a_threshold_as_in_metaclip(share: float) -> None:
    counts = np.random.default_rng(0).zipf(1.5, 500)
    ordered = sorted(counts.tolist())
    distances = [abs(sum(ordered[: n + 1]) / sum(ordered) - share) for n in range(len(ordered))]
    assert balance.tail_threshold(counts, share) == ordered[distances.index(min(distances))]


def test_the_command_and_the_report_show_it(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_report(str(out), tmp_path / "without.html")
    assert 'id="balance"' not in (tmp_path / "without.html").read_text()
    assert main(["balance", str(out), "--t", "2"]) == 0
    printed = capsys.readouterr().out
    assert "t = 2: " in printed and "an epoch keeps about" in printed and "balance.parquet" in printed
    write_report(str(out), tmp_path / "with.html")
    page = (tmp_path / "with.html").read_text()
    assert 'id="balance"' in page and "dashed: before, solid: after" in page
    assert main(["balance", str(out), "--t", "2", "--tail", "0.1"]) == 2
    assert "--t and --tail exclude each other" in capsys.readouterr().err


def test_a_build_without_objects_is_refused(tmp_path: Path) -> None:
    write_build(tmp_path / "plain", [{"raw": "a", "long": "b"}])
    with pytest.raises(UserError, match="has an object in its captions"):
        balance.write_balance(str(tmp_path / "plain"), None)
