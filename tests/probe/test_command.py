"""`recaption probe` on two small outputs of the same images, with stored features."""

from __future__ import annotations

import hashlib
import json
import re
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from loading import make_build
from rich.console import Console
from samples import jpeg

from recaption.cli import main
from recaption.demo.scenes import sample_scene
from recaption.errors import MissingExtra, UserError
from recaption.inspect.paths import OutputPaths
from recaption.inspect.report import probed
from recaption.io.store import LocalStore
from recaption.probe import command, demo, features, outputs, scenes
from recaption.probe.outputs import CaptionSet, Images, digests, select
from recaption.probe.pictures import Pictures
from recaption.probe.queries import Query
from recaption.probe.scenes import Scenes
from recaption.probe.settings import Training


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probe")
    out = make_build(folder, "webdataset")
    found = outputs.open_set(str(out))
    rng = np.random.default_rng(0)
    keys = [held.key for held in found.images.values()]
    np.savez(folder / "features.npz", keys=keys, features=rng.normal(size=(len(keys), 6)).astype(np.float32))
    return folder


@pytest.fixture
def run(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*words: str, encoder: str | None = f"{built}/features.npz") -> tuple[int, str, str]:
        small = ["--seen", "64", "--batch", "8", "--seeds", "2", "--out", str(tmp_path / "probe"), "--processes", "1"]
        code = main(["probe", *small, *(["--encoder", encoder] if encoder else ()), *words])
        return code, *capsys.readouterr()

    return call


def queries(folder: Path, image: str, **columns: list) -> str:
    pq.write_table(pa.table({"image": [image] * 2, "text": ["a cat", "the cat"]} | columns), folder / "q.parquet")
    return str(folder / "q.parquet")


def test_queries_give_a_table_and_probe_json(built: Path, tmp_path: Path, run: Callable) -> None:
    out, image = f"{built}/out", "000000000"
    path = queries(tmp_path, image, wrong=["a dog", None], slice=["animal", "animal"])
    code, printed, progress = run(out, "--queries", path, "--policy", "weighted:k=2", "--policy", "raw")
    assert code == 0, progress
    assert "control: other images" in printed and "no verdict: it needs 5 seeds, and there are 2" in printed
    assert "10/10" in progress
    found = json.loads((tmp_path / "probe" / "probe.json").read_text())
    assert found["arms"] == ["weighted:k=2", "raw"]
    assert [(one["slice"], one["metric"]) for one in found["results"]] == [
        ("animal", "fine"), ("animal", "d'"), ("animal", "R@1")
    ]  # fmt: skip
    shown = probed.read(OutputPaths(given=str(tmp_path), out=LocalStore(tmp_path), build=None))
    assert shown and shown.verdicts == tuple(found["verdicts"]) and len(shown.rows) == 5
    assert len(found["runs"]) == 10 and (tmp_path / "probe" / "probe.svg").read_text().count("<circle") == 3 * 5 * 2
    code, again, progress = run(out, "--queries", path, "--policy", "weighted:k=2", "--policy", "raw", "--json")
    assert progress.count("from runs.parquet") == 10
    assert json.loads(again)["results"] == found["results"]
    assert run(out, "--queries", path, "--policy", "raw")[0] == 2  # other settings in the same folder


def test_without_queries_there_is_no_verdict(built: Path, tmp_path: Path, run: Callable) -> None:
    code, printed, _ = run(f"{built}/out", "--policy", "weighted:k=2", "--policy", "raw")
    assert code == 0
    assert "This measures consistency, not truth" in printed and "better" not in printed
    found = json.loads((tmp_path / "probe" / "probe.json").read_text())
    assert "results" not in found and not (tmp_path / "probe" / "probe.svg").exists()
    assert {name: set(row) for name, row in found["consistency"].items()} == {
        "weighted:k=2": {"weighted:k=2", "raw"}, "raw": {"weighted:k=2", "raw"}
    }  # fmt: skip


def test_both_towers_can_be_trained_from_scratch(built: Path, tmp_path: Path, run: Callable) -> None:
    path = queries(tmp_path, "000000000")
    small = ["--objective", "flair", "--side", "32", "--layers", "1", "--width", "16", "--seeds", "1", "--seen", "16"]
    code, _, progress = run(f"{built}/out", "--queries", path, *small, encoder=None)
    assert code == 0, progress
    found = json.loads((tmp_path / "probe" / "probe.json").read_text())
    assert found["scratch"]["objective"] == "flair" and found["training"]["context"] == 77
    assert "encoder" not in found and "text" not in found
    shown = probed.read(OutputPaths(given=str(tmp_path), out=LocalStore(tmp_path), build=None))
    assert shown and shown.facts[-1] == "both towers trained from scratch with the objective flair"
    assert len(found["runs"]) == 4 and list((tmp_path / "probe").glob("pixels-32-*.npy"))


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ("out --side 160", "--side has no effect without --objective. Leave it out"),
        ("out --layers 12 --side 96", "--side, --layers have no effect without --objective. Leave them out"),
        ("out --objective clip --encoder scene", "--encoder has no effect with --objective"),
        ("out --text transformers:x --context 9", "--context has no effect with --text"),
        ("out --query-images x", "--query-images has no effect without --queries NAME:PATH"),
        ("out --queries q.parquet --query-images x", "--query-images has no effect without --queries NAME:PATH"),
        ("out --queries scenes:x --query-images x", "--query-images has no effect without --queries NAME:PATH"),
        ("demo --query-images x --images 9", "--query-images, --images have no effect with demo"),
        ("demo --export-arms x", "--export-arms has no effect with demo"),
        ("out --export-arms x --json --objective clip", "--objective, --json have no effect with --export-arms"),
        ("out --export-arms x --out y --width 9", "--width, --out have no effect with --export-arms"),
    ],
)
def test_options_without_effect_are_refused(capsys: pytest.CaptureFixture[str], words: str, refused: str) -> None:
    assert main(["probe", *words.split()]) == 2
    assert refused in " ".join(capsys.readouterr().err.split())


def test_only_results_need_a_local_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """An export of an output at a URL is written to the given folder only."""
    assert main(["probe", "memory://out"]) == 2
    assert "memory://out is a URL; give --out DIR" in capsys.readouterr().err
    assert main(["probe", "memory://out", "--export-arms", str(tmp_path / "arms")]) == 2
    assert "memory://out: neither a .tar nor a folder" in capsys.readouterr().err


def test_arms_are_exported_for_other_trainers(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(name: str) -> None:
        raise AssertionError("an export needs no encoder")

    monkeypatch.setattr(features, "image_encoder", loaded)
    words = ["--policy", "weighted:k=2", "--seeds", "2", "--export-arms", str(tmp_path / "arms")]
    assert main(["probe", f"{built}/out", *words]) == 0
    progress = capsys.readouterr().err
    script = (tmp_path / "arms" / "train.sh").read_text()
    assert "--batch-size 1024" in script and "--lr 0.0005" in script  # not those of the small probe
    assert progress.splitlines()[-1] == f"sh {tmp_path}/arms/train.sh"
    files = {path.name: path.read_bytes() for path in (tmp_path / "arms" / "images").rglob("*.*")}
    found = outputs.open_set(f"{built}/out")
    trained = {sha256 for sha256, held in found.images.items() if held.split == "train"}
    assert {hashlib.sha256(data).hexdigest() for data in files.values()} == trained
    assert len(list((tmp_path / "arms").glob("*/seed-*.tsv"))) == 4 * 2


def test_an_output_without_held_out_images_is_exported_whole(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = outputs.open_set(f"{built}/out")
    only = Images(found.records, found.images.sha256[:7], np.arange(7), train=7)
    monkeypatch.setattr(outputs, "open_set", lambda out: replace(found, images=only))
    out = f"{built}/out"
    assert main(["probe", out, "--seeds", "1", "--export-arms", str(tmp_path / "arms")]) == 0
    assert len([path for path in (tmp_path / "arms" / "images").rglob("*") if path.is_file()]) == 7
    assert main(["probe", out, "--out", str(tmp_path)]) == 2
    assert "has no held-out images" in " ".join(capsys.readouterr().err.split())


def test_images_of_queries_are_not_trained_on(built: Path) -> None:
    found = outputs.open_set(f"{built}/out")
    asked = [sha256 for sha256, held in found.images.items() if held.key in ("000000000", "000000001")]
    chosen = select([found], asked, 1000)
    held_out = {sha256 for sha256, held in found.images.items() if held.split == "val"}
    assert set(outputs.texts(chosen.train)) == set(found.images) - set(asked) - held_out
    assert chosen.queries == asked
    assert len(select([found], asked, 10).train) == 10


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--policy", "short"], r"--policy short needs short captions, and .*/out has long, raw"),
        (["--policy", "best"], "'best' is not a policy"),
    ],
)
def test_policies_that_cannot_be_drawn_are_refused(built: Path, run: Callable, words: list[str], message: str) -> None:
    code, _, error = run(f"{built}/out", *words)
    assert code == 2
    assert re.search(message, error.replace("\n", " "))


def test_unknown_images_and_encoders_are_refused(built: Path, tmp_path: Path, run: Callable) -> None:
    out = f"{built}/out"
    code, _, error = run(out, "--queries", queries(tmp_path, "nobody"))
    assert code == 2 and "has no image 'nobody'; queries name images by key or sha256" in error.replace("\n", " ")
    code, _, error = run(out, encoder="best")
    assert code == 2 and "--encoder best: it can be scene, transformers:MODEL" in error.replace("\n", " ")
    np.savez(tmp_path / "few.npz", keys=["000000000"], features=np.ones((1, 3), np.float32))
    code, _, error = run(out, encoder=str(tmp_path / "few.npz"))
    assert code == 2 and "has no features of image" in error


def test_all_wrong_options_are_reported_before_an_output_is_read(
    built: Path, tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(out: str) -> None:
        raise AssertionError("the records are read before the options are checked")

    monkeypatch.setattr(outputs, "open_set", read)
    code, _, error = run(
        *(f"{built}/out", f"{tmp_path}/nowhere", "--policy", "best", "--queries", "all", "--text", "small"),
        encoder=f"{tmp_path}/none.npz",
    )
    said = error.replace("\n", " ")
    wanted = (
        "nowhere",
        "best",
        "--queries all: give",
        "--text small: it can be",
        "--encoder .*none.npz cannot be read",
    )
    assert code == 2 and all(re.search(one, said) for one in wanted)

    def without_package(name: str) -> None:
        raise MissingExtra("open_clip", "probe")

    with monkeypatch.context() as patch:
        patch.setattr("recaption.probe.command.check_encoder", without_package)
        code, _, error = run(f"{tmp_path}/nowhere", encoder="open_clip:a:b")
    assert code == 2 and "nowhere" in error and "pip install 'recaption[probe]'" in error
    np.savez(tmp_path / "named.npz", images=["000000000"])
    code, _, error = run(f"{built}/out", encoder=f"{tmp_path}/named.npz")
    assert code == 2 and "it has no keys and features" in error.replace("\n", " ")


def test_a_share_of_raw_captions_needs_raw_captions() -> None:
    without = stub("a", {})
    for policy in ("weighted:k=4,p_raw=0.1", "raw", "recap_mix:p=0.5"):
        with pytest.raises(UserError, match=f"--policy {policy} needs raw captions, and a has long"):
            list(outputs.check_policies([without], ["weighted:k=4", policy]))
    assert not list(
        outputs.check_policies([without], ["weighted:k=4", "weighted:p_raw=0", "recap_mix:p=0", "flair:k=8"])
    )


def test_images_without_the_captions_of_a_policy_are_counted() -> None:
    some = stub("a", {"1": "train", "2": "train", "3": "val"})
    assert list(outputs.check_policies([some], ["long", "flair"])) == [
        "a: images without long captions: 1 of 3; --policy long draws their other captions"
    ]


def stub(name: str, images: dict[str, str]) -> CaptionSet:
    """An output with these images (sha256 -> split), without records. Two images have long captions."""
    ordered = sorted(images, key=lambda sha256: images[sha256] != "train")
    train = sum(split == "train" for split in images.values())
    held = Images(None, digests(ordered), np.arange(len(images)), train)  # type: ignore[arg-type]
    return CaptionSet(name=name, records=None, images=held, granularities={"long": 2}, datasets={})  # type: ignore[arg-type]


def test_images_are_found_by_sha256(built: Path) -> None:
    found = outputs.open_set(f"{built}/out")
    for position, (sha256, held) in enumerate(found.images.items()):
        record = found.datasets[held.split].sample(held.index).record
        assert (held.position, held.key, record.sha256) == (position, found.records[position].key, sha256)
        assert record.key == held.key
    some = digests([*found.images][3::-1])
    assert found.images.positions(some).tolist() == [3, 2, 1, 0]
    assert "f" * 64 not in found.images and "f" * 99 not in found.images and "" not in found.images


class ManyImages:
    """In place of CaptionDataset: `number` images for training and a tenth of them held out, with few records."""

    number = 5_000
    records = tuple(scenes.record(sample_scene(seed), seed) for seed in range(5))

    def __init__(self, out: str, *, split: str, **_: object) -> None:
        self.first = 0 if split == "train" else self.number
        self.steps = SimpleNamespace(samples=self.number // (1 if split == "train" else 10))

    def sample(self, index: int) -> SimpleNamespace:
        n = self.first + index
        sha256 = hashlib.sha256(b"%d" % n).hexdigest()
        return SimpleNamespace(record=replace(self.records[n % 5], key=f"{n:09d}", sha256=sha256), image=b"")


def test_an_image_takes_few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "CaptionDataset", ManyImages)

    def use() -> tuple[CaptionSet, Any]:
        found = outputs.open_set("out")
        return found, outputs.arms([found], ["weighted:k=4", "raw"], select([found], None, 1_000_000).train)

    use()  # what it imports is not measured
    tracemalloc.start()
    try:
        found, made = use()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.images) == 5_500 and len(made[1].records) == 5_000
    assert held < 250 * 5_500


@pytest.mark.parametrize("parts", [[], ["a"], ["a", 1], ["a", "b", "c"]])
def test_a_digest_is_that_of_the_tuple(parts: list) -> None:
    assert outputs.digest(iter(parts)) == hashlib.sha256(repr(tuple(parts)).encode()).hexdigest()


def test_outputs_need_common_and_held_out_images() -> None:
    with pytest.raises(UserError, match="a and b have no image in common; images are compared by sha256"):
        select([stub("a", {"1": "train"}), stub("b", {"2": "train"})], ["1"], 9)
    with pytest.raises(UserError, match=r"a has no held-out images\. Give --queries FILE"):
        select([stub("a", {"1": "train"})], None, 9)
    with pytest.raises(UserError, match="so there is none to train on"):
        select([stub("a", {"1": "val"})], None, 9)
    both = [stub("a", {"1": "train", "2": "val", "3": "train"}), stub("b", {"1": "train", "2": "train"})]
    chosen = select(both, None, 9)
    assert list(outputs.texts(chosen.train)) == ["1"]
    assert (chosen.queries, chosen.left_out) == (["2"], {"a": 1, "b": 0})


def test_a_file_of_a_query_is_excluded_by_its_content(built: Path, tmp_path: Path) -> None:
    found = outputs.open_set(f"{built}/out")
    (tmp_path / "known.jpg").write_bytes(jpeg(0, (16, 12)))  # the first image of the output
    (tmp_path / "new.jpg").write_bytes(jpeg(999, (16, 12)))
    asked = [Query(image=str(tmp_path / name), text="a cat", in_file=True) for name in ("known.jpg", "new.jpg")]
    known, new = outputs.resolved(asked, found)
    assert known.image in found.images and new.image not in found.images
    assert known.image not in outputs.texts(select([found], [known.image, new.image], 1000).train)
    assert found.image(new.image).size == (16, 12)
    with pytest.raises(UserError, match="which cannot be read"):
        outputs.resolved([Query(image="nothing.jpg", text="a cat", in_file=True)], found)


def test_the_demo_prints_its_checks_and_fails_with_1_if_one_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With features that show nothing, which need no model."""
    noise = Pictures(train=torch.randn(40, 6), queries=torch.randn(14, 6))
    monkeypatch.setattr(demo, "pictures", lambda of: noise)
    options = command.Options(training=Training(seen=32, batch=8, width=8), seeds=2, folder=tmp_path)
    code = command.demo(options, Console(width=200), Console(stderr=True), scenes=Scenes(images=40, held_out=14))
    printed, progress = capsys.readouterr()
    assert code == 1
    assert "14/14" in progress and "control: other images" in printed
    assert "FAILED: statement, fine: true is better than left and right exchanged" in printed
    found = json.loads((tmp_path / "probe.json").read_text())
    assert not all(one["right"] for one in found["checks"]) and (tmp_path / "probe.svg").exists()
