"""recaption.engine.capabilities: what is refused before an engine or a model is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recaption.engine import EngineSpec
from recaption.engine.capabilities import BOTH, capabilities, check_capable
from recaption.errors import ConfigError
from recaption.tasks.output import TEXT, Output

YES_NO, SCORES, BOXES = Output(choices=("yes", "no")), Output(scores=True), Output(boxes=True)
IMAGE, TEXT_ONLY = frozenset({"image"}), frozenset({"text"})


class Verifier:
    """An engine of a user's own."""

    accepts = frozenset({"image", "text"})
    outputs = frozenset({"text", "choices"})


class Scorer:
    outputs = frozenset({"scores"})


class Plain:
    def __init__(self, spec: EngineSpec) -> None:
        self.accepts = BOTH


class Writer:
    accepts = TEXT_ONLY


def folder(path: Path, **config: Any) -> str:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    return str(path)


@pytest.mark.parametrize(
    ("config", "accepts"),
    [
        ({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, TEXT_ONLY),
        ({"architectures": ["Qwen2_5_VLForConditionalGeneration"], "vision_config": {}, "image_token_id": 3}, BOTH),
        ({"architectures": ["LlavaLlamaForCausalLM"], "mm_vision_tower": "openai/clip"}, BOTH),
        ({"architectures": ["QWenLMHeadModel"], "visual": {}}, BOTH),
        # What hides in code of its own is not known: the engine decides when it starts.
        ({"architectures": ["MolmoForCausalLM"], "auto_map": {"AutoConfig": "x.Y"}}, BOTH),
        ({"architectures": ["T5ForConditionalGeneration"]}, BOTH),
        ({}, BOTH),
    ],
)
@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_requests_that_a_model_takes(engine: str, config: dict[str, Any], accepts: Any, tmp_path: Path) -> None:
    assert capabilities(EngineSpec(engine=engine, model=folder(tmp_path / "m", **config))).accepts == accepts


def test_what_is_not_on_this_machine_counts_as_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for model in ("nobody/no-such-model", str(tmp_path / "nothing"), "not a name"):
        assert capabilities(EngineSpec(engine="vllm", model=model)).accepts == BOTH
    (tmp_path / "config.json").write_text("[]")
    assert capabilities(EngineSpec(engine="vllm", model=str(tmp_path))).accepts == BOTH
    assert capabilities(EngineSpec(engine="vllm", model="scene")).accepts == BOTH


@pytest.mark.parametrize(
    ("engine", "output", "message"),
    [
        ("vllm", SCORES, "engine vllm does not return scores; engines that do: dual_encoder"),
        (
            f"{__name__}:Scorer",
            Output(scores=True, embeddings=True),
            "does not return embeddings; engines that do: dual_encoder",
        ),
        ("dual_encoder", TEXT, "does not return free text; engines that do: vllm, transformers, openai, column"),
        (
            "column",
            Output(logprobs=True),
            "does not return log-probabilities; engines that do: vllm, transformers, openai",
        ),
        (f"{__name__}:Verifier", Output(json_schema=b"{}"), "does not return JSON of a schema; engines that do: vllm"),
        (
            "openai",
            Output(likelihood=True),
            "engine openai does not return the likelihood of a given text; engines that do: vllm, transformers\\. Use",
        ),
        (
            "openai",
            Output(choices=("yes", "no"), logprobs=True, likelihood=True),
            "engine openai does not return the likelihood of a given text",
        ),
        (f"{__name__}:Plain", Output(special_tokens=True), "does not return special tokens; engines that do: vllm"),
        ("dual_encoder", BOXES, "does not return boxes of a detector; engines that do: detector"),
        ("detector", SCORES, "engine detector does not return scores; engines that do: dual_encoder"),
        (f"{__name__}:Plain", YES_NO, "does not return one of several choices"),
    ],
)
def test_an_output_that_an_engine_lacks_is_refused_by_name(engine: str, output: Output, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_capable(EngineSpec(engine=engine, model="m", outputs=(output,)))


def test_what_an_engine_has_is_not_refused(tmp_path: Path) -> None:
    text_model = folder(tmp_path / "m", architectures=["LlamaForCausalLM"])
    both_logged = (Output(logprobs=True), Output(choices=("a", "b"), logprobs=True), Output(special_tokens=True))
    for engine in ("vllm", "transformers", "openai"):
        outputs = (TEXT, YES_NO, Output(json_schema=b"{}"), *both_logged)
        check_capable(EngineSpec(engine=engine, model=text_model, needs=TEXT_ONLY, outputs=outputs))
    check_capable(EngineSpec(engine="column", model="", outputs=(TEXT, YES_NO, Output(json_schema=b"{}"))))
    check_capable(EngineSpec(engine="dual_encoder", model="m", needs=BOTH, outputs=(SCORES,)))
    owlv2 = folder(tmp_path / "owlv2", architectures=["Owlv2ForObjectDetection"])
    check_capable(EngineSpec(engine="detector", model=owlv2, outputs=(BOXES,)))
    check_capable(EngineSpec(engine=f"{__name__}:Verifier", model="m", needs=BOTH, outputs=(TEXT, YES_NO)))


def test_requests_that_a_model_does_not_take_are_refused(tmp_path: Path) -> None:
    text_model = folder(tmp_path / "m", architectures=["LlamaForCausalLM"])
    with pytest.raises(ConfigError, match=r"model '.*' takes no images: name a vision-language model"):
        check_capable(EngineSpec(engine="vllm", model=text_model))
    with pytest.raises(ConfigError, match=r"takes only requests with an image, .* engines that take those: vllm,"):
        check_capable(EngineSpec(engine=f"{__name__}:Plain", model="m", needs=TEXT_ONLY))
    with pytest.raises(ConfigError, match=r"engine .*:Writer takes no images, which this"):
        check_capable(EngineSpec(engine=f"{__name__}:Writer", model="m"))


def test_a_dual_encoder_and_a_model_that_writes_are_told_apart(tmp_path: Path) -> None:
    clip = folder(tmp_path / "clip", architectures=["CLIPModel"], vision_config={}, text_config={})
    writer = folder(tmp_path / "qwen", architectures=["Qwen2_5_VLForConditionalGeneration"], vision_config={})
    own = folder(tmp_path / "own", architectures=["XForCausalLM"], auto_map={"AutoModel": "x.Y"})
    with pytest.raises(ConfigError, match=r"CLIPModel, which writes no text: use engine dual_encoder"):
        check_capable(EngineSpec(engine="vllm", model=clip))
    with pytest.raises(ConfigError, match=r"Qwen2_5_VL.* has no embeddings .* needs a CLIP, SigLIP"):
        check_capable(EngineSpec(engine="dual_encoder", model=writer, outputs=(SCORES,)))
    for model in (clip, own):
        check_capable(EngineSpec(engine="dual_encoder", model=model, needs=BOTH, outputs=(SCORES,)))


def test_a_schema_that_no_grammar_holds_to_is_refused_by_its_keyword() -> None:
    schema = b'{"type":"array","items":{"type":"integer"},"uniqueItems":true}'
    outputs = (Output(json_schema=schema),)
    with pytest.raises(ConfigError, match=r"engine vllm cannot enforce #/uniqueItems: keyword uniqueItems"):
        check_capable(EngineSpec(engine="vllm", model="m", outputs=outputs))
    for engine in ("transformers", "openai"):
        check_capable(EngineSpec(engine=engine, model="m", outputs=outputs))
    own = (("structured_outputs_config", {"backend": "guidance"}),)
    check_capable(EngineSpec(engine="vllm", model="m", outputs=outputs, engine_args=own))


def test_a_detector_and_other_models_are_told_apart(tmp_path: Path) -> None:
    detector = folder(tmp_path / "dino", architectures=["GroundingDinoForObjectDetection"])
    with pytest.raises(ConfigError, match=r"GroundingDinoForObjectDetection, .*: use engine detector"):
        check_capable(EngineSpec(engine="transformers", model=detector))
    for name in ("CLIPModel", "Qwen2ForCausalLM", "DetrForObjectDetection"):
        other = folder(tmp_path / name, architectures=[name])
        with pytest.raises(ConfigError, match=f"{name}, which finds no boxes of phrases: engine detector runs OWLv2"):
            check_capable(EngineSpec(engine="detector", model=other, outputs=(BOXES,)))
    with pytest.raises(ConfigError, match="engine detector takes only requests with an image"):
        check_capable(EngineSpec(engine="detector", model="m", needs=TEXT_ONLY, outputs=(BOXES,)))
