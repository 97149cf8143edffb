"""A training run of a few steps stops, continues and exports what transformers loads."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from training.locate.train import Plan, train


def test_a_run_continues_and_exports(tmp_path):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    options = {"out": tmp_path / "model", "work": tmp_path / "work", "batch_size": 2, "pool": 4, "log_every": 1}
    threads = torch.get_num_threads()
    train(Plan(**options, steps=1, see_steps=1, threads=threads))
    train(Plan(**options, steps=2, see_steps=1, threads=threads))
    first, second = (line for line in (tmp_path / "work" / "train.log").read_text().splitlines() if line[0] != "#")
    assert "say" not in first and "say" in second and "from step 1" in (tmp_path / "work" / "train.log").read_text()
    model = AutoModelForImageTextToText.from_pretrained(options["out"])
    assert len(AutoProcessor.from_pretrained(options["out"]).tokenizer) == model.config.text_config.vocab_size
    assert sum(p.stat().st_size for p in options["out"].iterdir()) < 4_000_000
