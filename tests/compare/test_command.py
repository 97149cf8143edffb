"""`recaption compare` on scenes whose true captions are known. The runs are real ones in this process, without Ray."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_run import KeptEngines, local_runs
from written_build import write_build

from recaption.cli import main
from recaption.demo.scenes import Scene, sample_scene
from recaption.demo.shards import FIRST_SEED, make_sample
from recaption.engine.base import Completion, Rendered, Request
from recaption.engine.scene_judge import SceneJudge
from recaption.probe.scenes import record

IMAGES, SIDE = 24, 64
SCENES = [sample_scene(FIRST_SEED + n) for n in range(IMAGES)]


class Judge(SceneJudge):
    """`asked` has all prompts. `mood` is "true", or an answer that the judge always gives."""

    asked: list[str] = []  # noqa: RUF012 - cleared by the tests
    mood = "true"

    async def generate(self, work: Request | Rendered) -> Completion:
        assert isinstance(work, Request)
        self.asked.append(work.prompt)
        if self.mood == "true":
            return await super().generate(work)
        return Completion(text=self.mood, finish_reason="stop", prompt_tokens=9, output_tokens=1)


def long(scene: Scene, corrupted: float = 0.0) -> str:
    return record(scene, 0, corrupted).captions[2].text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs of the same scenes: true captions, 30 % of their sentences corrupted, and captions of other scenes."""
    made = tmp_path_factory.mktemp("compare")
    others = [*SCENES[7:], *SCENES[:7]]
    texts = {
        "true": [long(scene) for scene in SCENES],
        "corrupted": [long(scene, 0.3) for scene in SCENES],
        "others": [long(scene) for scene in others],
    }
    for name, captions in texts.items():
        rows = [{"raw": "scene", "long": caption} for caption in captions]
        write_build(made / name, rows, picture=lambda n: make_sample(FIRST_SEED + n, "", SIDE).jpeg)
    unrelated = [{"raw": "scene", "long": "A star."}] * 2
    write_build(made / "unrelated", unrelated, picture=lambda n: make_sample(n, "", SIDE).jpeg)
    return made


@pytest.fixture(scope="module")
def engines() -> Iterator[KeptEngines]:
    with local_runs() as made:
        yield made


@pytest.fixture
def compare(folder: Path, engines: KeptEngines, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command; returns its code, `compare.json` and what it printed."""
    judge = f"{{engine: '{__name__}:Judge', model: scene, engine_args: {{scenes: {IMAGES}, side: {SIDE}}}}}"

    def call(a: str, b: str, *words: str, out: str = "out") -> tuple[int, Any, str]:
        capsys.readouterr()
        named = [str(folder / a), str(folder / b), "--out", str(tmp_path / out), "--set", f"models.judge={judge}"]
        code = main(["compare", *named, *words])
        printed = capsys.readouterr()
        file = tmp_path / out / "compare.json"
        return code, json.loads(file.read_text()) if file.is_file() else None, printed.out + printed.err

    Judge.asked.clear()
    return call


def test_the_order_of_known_better_sets_is_found(compare: Any) -> None:
    code, found, printed = compare("true", "corrupted", out="1")
    assert code == 0, printed
    judge = found["judges"]["better"]
    assert judge["better"] == "a" and judge["a_better"]["low"] > 0.5
    assert judge["first"]["value"] == 0.5, "the truth has no position bias"
    assert judge["a_wins"] + judge["b_wins"] + judge["ties"] + judge["equal"] == IMAGES
    assert "true describes the images better" in printed
    assert compare("others", "corrupted", out="2")[1]["judges"]["better"]["better"] == "b"


def test_each_pair_is_judged_once(compare: Any) -> None:
    assert compare("true", "others", "--images", "10")[0] == 0
    assert len(Judge.asked) == 20
    first = set(Judge.asked)
    code, found, _ = compare("true", "others", "--images", "16")
    assert code == 0 and found["images"] == {"common": IMAGES, "captioned": IMAGES, "sampled": 16}
    assert len(Judge.asked) == 32, "a larger sample has the smaller one, whose answers are stored"
    assert first < set(Judge.asked)
    again = compare("true", "others", "--images", "16")
    assert again[1] == found and len(Judge.asked) == 32


def test_captions_of_two_generations_of_one_output(compare: Any) -> None:
    code, found, printed = compare("true", "true", "--b", "raw")
    assert code == 0 and found["judges"]["better"]["a_wins"] == IMAGES
    assert "long describes the images better" in printed
    assert compare("true", "true")[0] == 2
    code, _, printed = compare("true", "others", "--a", "short")
    assert code == 2 and "--a short" in printed and "it has long, raw" in " ".join(printed.split())


def test_a_judge_that_always_prefers_the_first_makes_ties(compare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Judge, "mood", "1")
    code, found, printed = compare("true", "others")
    judge = found["judges"]["better"]
    assert code == 0 and (judge["ties"], judge["first"]["value"], judge["better"]) == (IMAGES, 1.0, None)
    assert "no difference seen" in printed and "100 %" in printed


def test_a_judge_that_answers_neither_is_counted(compare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Judge, "mood", "Both are good.")
    code, found, printed = compare("true", "others", "--images", "3")
    assert code == 1, printed
    judge = found["judges"]["better"]
    assert (judge["unanswered"], judge["a_better"]["of"], judge["rejected_answers"]) == (3, 0, {"invalid_answer": 6})
    assert "no verdict" in printed and "invalid_answer 6" in printed


def test_outputs_without_a_common_image_are_refused(compare: Any, folder: Path) -> None:
    code, _, printed = compare("true", "unrelated")
    assert code == 2
    assert "have no image in common; images are compared by sha256" in " ".join(printed.split())
    assert not Judge.asked


def test_the_output_of_the_comparison_is_none_of_the_compared_ones(
    compare: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    code = main(["compare", str(folder / "true"), str(folder / "others"), "--out", str(folder / "true")])
    assert code == 2 and "which is compared. Give another folder" in " ".join(capsys.readouterr().err.split())
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before and not Judge.asked
