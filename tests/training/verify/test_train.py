"""A training run of a few steps stops, continues and exports what transformers loads."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from training.verify.train import Means, Plan, rate_at, train


def test_the_rate_warms_up_stays_and_falls():
    plan = Plan(out=None, work=None, steps=100, rate=1.0, fall_from=0.5)
    assert rate_at(0.0, plan) < 0.1
    assert rate_at(0.1, plan) == rate_at(0.5, plan) == 1.0
    assert rate_at(0.75, plan) == pytest.approx(0.5)
    assert rate_at(1.0, plan) == pytest.approx(0.0)


def test_means_start_over():
    means = Means()
    means.add("a", 1.0)
    means.add("a", 0.0)
    assert means.take() == "a 0.500"
    assert means.take() == ""


def test_a_run_continues_and_exports(tmp_path):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    options = {"out": tmp_path / "model", "work": tmp_path / "work", "batch_size": 2, "pool": 4, "log_every": 1}
    threads = torch.get_num_threads()
    train(Plan(**options, steps=1, threads=threads))
    train(Plan(**options, steps=2, threads=threads))
    log = (tmp_path / "work" / "train.log").read_text()
    assert "from step 1" in log
    assert "done at step 2" in log
    model = AutoModelForImageTextToText.from_pretrained(options["out"])
    assert model.config.architectures == ["Idefics3ForConditionalGeneration"]
    assert len(AutoProcessor.from_pretrained(options["out"]).tokenizer) == model.config.text_config.vocab_size
    assert sum(p.stat().st_size for p in options["out"].iterdir()) < 7_000_000
