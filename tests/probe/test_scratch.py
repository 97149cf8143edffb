"""Both towers from scratch, small and on the CPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from recaption.demo.scenes import render
from recaption.errors import UserError
from recaption.probe import demo, scratch, tower
from recaption.probe.arms import Arm
from recaption.probe.queries import Query
from recaption.probe.scenes import Scenes
from recaption.probe.scratch import OBJECTIVES, Model, Scratch
from recaption.probe.settings import Training, parse_policy

SMALL = Training(seen=64, batch=8, width=16, buckets=256, context=12, rate=0.003)
COLOURS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220), "white": (250, 250, 250)}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with tower.one_thread():
        yield


@pytest.fixture(scope="module")
def arm() -> Arm:
    return Arm(name="true", records=demo.records(Scenes(images=20)), policy=parse_policy("weighted:k=2,p_raw=0"))


def towers(objective: str = "siglip") -> Scratch:
    return Scratch(objective=objective, side=16, patch=8, layers=1, text_layers=1)


def pixels() -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(render(scene, 16)) for scene in Scenes(images=20).train]))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_trains_all_of_its_parts(objective: str) -> None:
    torch.manual_seed(0)
    model = Model(SMALL, towers(objective))
    words = torch.from_numpy(scratch.padded(["a red kite", "blue", "a kite", "two"], SMALL)).unflatten(0, (2, 2))
    model.loss(pixels()[:2], words).backward()
    unused = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    of_others = {"log_local_scale"} if objective != "dreamlip" else set()
    assert unused == of_others | ({"bias"} if objective in ("clip", "dreamlip", "sparc") else set())


def test_sparc_is_the_mean_over_the_texts_of_an_image() -> None:
    """Padding, which a longer text of the batch adds, changes nothing."""
    torch.manual_seed(0)
    model = Model(SMALL, towers("sparc"))
    texts = [["a red kite on a table", "a blue kite"], ["two", "a kite and a ball"]]

    def loss(of: list[list[str]]) -> float:
        words = torch.from_numpy(scratch.padded([text for some in of for text in some], SMALL))
        return model.loss(pixels()[:2], words.unflatten(0, (2, -1))).item()

    each = [loss([[some[k]] for some in texts]) for k in range(2)]
    assert loss(texts) == pytest.approx(sum(each) / 2, abs=1e-5)
    assert abs(each[0] - each[1]) > 1e-3


def test_equal_seeds_give_equal_runs(arm: Arm) -> None:
    first, again, other = (scratch.train(pixels(), arm, seed, SMALL, towers()) for seed in (0, 0, 1))
    assert first.loss == again.loss != other.loss


def test_a_run_learns_the_colours(monkeypatch: pytest.MonkeyPatch, arm: Arm) -> None:
    names = list(COLOURS)
    plain = torch.tensor([COLOURS[name] for name in names], dtype=torch.uint8)
    images = plain.repeat(4, 1)[:, None, None, :].expand(-1, 16, 16, -1)
    monkeypatch.setattr(
        Arm, "drawer", lambda self, seed: lambda position, epoch, step: [f"a {names[position % 4]} kite"]
    )
    training = Training(seen=1_600, batch=8, width=16, buckets=256, context=12, rate=0.003)
    made = scratch.train(images, arm, 0, training, towers("clip"))
    queries = [Query(image="", text=f"a {name} kite", wrong=f"a {names[n - 1]} kite") for n, name in enumerate(names)]
    assert (tower.outcomes(made.model, images[:4], range(4), queries) > 0).all()


def test_padding_does_not_change_a_text() -> None:
    torch.manual_seed(0)
    model = Model(SMALL, towers()).eval()
    with torch.inference_mode():
        assert torch.allclose(
            model.text(["a kite", "a red kite on a wooden table"])[0], model.text(["a kite"])[0], atol=1e-6
        )
        assert model.text(["", "???"]).isfinite().all()  # texts without words


def test_other_objectives_and_sides_are_refused() -> None:
    with pytest.raises(UserError, match="--objective best: it can be siglip, clip, flair, dreamlip, sparc"):
        Scratch(objective="best")
    with pytest.raises(UserError, match="--side 100: it must be a multiple of 32"):
        Scratch(objective="clip", side=100)
