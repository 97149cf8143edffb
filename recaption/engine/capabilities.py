"""What an engine can do with a model, before either is loaded: the plan refuses what would fail at each request."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from recaption.demo import EMBEDDED, model_path
from recaption.engine.base import EngineSpec
from recaption.engine.grammar import unsupported
from recaption.errors import ConfigError
from recaption.tasks.output import Form, Output
from recaption.types import Modality

Ability = Form | Literal["logprobs", "embeddings", "special_tokens"]  # the form likelihood may be combined with choices
BOTH: Final[frozenset[Modality]] = frozenset(get_args(Modality))
_OUTPUTS: Final[dict[str, frozenset[Ability]]] = {
    "vllm": frozenset({"text", "choices", "json_schema", "logprobs", "likelihood", "special_tokens"}),
    "transformers": frozenset({"text", "choices", "json_schema", "logprobs", "likelihood", "special_tokens"}),
    "openai": frozenset({"text", "choices", "json_schema", "logprobs", "special_tokens"}),  # what the server returns
    "column": frozenset({"text", "choices", "json_schema", "special_tokens"}),
    "dual_encoder": frozenset({"scores", "embeddings"}),
    "detector": frozenset({"boxes"}),
}
_NAMES: Final[dict[Ability, str]] = {
    "text": "free text",
    "choices": "one of several choices",
    "json_schema": "JSON of a schema",
    "scores": "scores",
    "boxes": "boxes of a detector",
    "logprobs": "log-probabilities",
    "likelihood": "the likelihood of a given text",
    "embeddings": "embeddings",
    "special_tokens": "special tokens",
}
_DUAL_ENCODERS: Final = frozenset({"CLIPModel", "SiglipModel", "Siglip2Model"})
_DETECTORS: Final = frozenset(
    {
        "Owlv2ForObjectDetection",
        "OwlViTForObjectDetection",
        "GroundingDinoForObjectDetection",
        "MMGroundingDinoForObjectDetection",
    }
)
_GENERATIVE: Final = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")  # ends of names of architectures
_VISION: Final = ("vision", "visual", "image", "mm_")  # in keys of the config.json of a vision-language model


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """The requests that an engine takes and the outputs that it returns. Unknown capabilities count as available.

    A server may lack an output, and a model's configuration may not tell whether it takes images. Then the engine
    raises ConfigError when it starts.
    """

    accepts: frozenset[Modality]
    outputs: frozenset[Ability]

    def lacks(self, output: Output) -> list[Ability]:
        """The parts of an output that the engine does not return."""
        wanted: dict[Ability, bool] = {
            output.form: True,
            "logprobs": output.logprobs,
            "likelihood": output.likelihood,
            "embeddings": output.embeddings,
            "special_tokens": output.special_tokens,
        }
        return [part for part, is_wanted in wanted.items() if is_wanted and part not in self.outputs]


def capabilities(spec: EngineSpec) -> Capabilities:
    """What the engine of `spec` can do with its model. Reads at most one JSON file of the model, on this machine only.

    A class named as `package.module:Class` may have attributes `accepts` (default: image) and `outputs` (default:
    text), which are frozensets.
    """
    if ":" in spec.engine:
        outputs = getattr(_own(spec), "outputs", None)
        outputs = outputs if isinstance(outputs, frozenset) else frozenset({"text"})
        return Capabilities(accepts=_engine_accepts(spec), outputs=outputs)
    accepts = _engine_accepts(spec)
    if spec.engine in ("vllm", "transformers"):
        accepts = _modalities(_model_config(spec)) or BOTH
    return Capabilities(accepts=accepts, outputs=_OUTPUTS[spec.engine])


def _own(spec: EngineSpec) -> Any:
    """The class of an engine `package.module:Class`."""
    module, _, name = spec.engine.partition(":")
    return getattr(importlib.import_module(module), name)


def _engine_accepts(spec: EngineSpec) -> frozenset[Modality]:
    """The requests that the engine takes with a suitable model. A user's own engine may also set them in `__init__`."""
    if spec.engine == "detector":
        return frozenset({"image"})
    if ":" not in spec.engine:
        return BOTH
    accepts = getattr(_own(spec), "accepts", None)
    return accepts if isinstance(accepts, frozenset) else frozenset({"image"})


def check_capable(spec: EngineSpec) -> None:
    """Raises ConfigError for `spec.needs` and `spec.outputs` that the engine or the model lacks."""
    _check_architecture(spec)
    check_accepts(spec)
    can = capabilities(spec)
    for output in spec.outputs:
        if lacking := can.lacks(output):
            able = ", ".join(engine for engine, known in _OUTPUTS.items() if known >= set(lacking)) or "none"
            raise ConfigError(
                f"engine {spec.engine} does not return {' or '.join(_NAMES[part] for part in lacking)}; "
                f"engines that do: {able}. Use a model with another engine"
            )
        if output.json_schema is not None and spec.engine == "vllm":
            _check_schema(spec, output.json_schema)


def _check_schema(spec: EngineSpec, schema: bytes) -> None:
    """Raises ConfigError for a schema that vLLM's grammars do not enforce.

    A user who sets another backend (`structured_outputs_config`) knows what it supports.
    """
    fault = None if "structured_outputs_config" in dict(spec.engine_args) else unsupported(schema)
    if fault is not None:
        raise ConfigError(
            f"output.json_schema: engine vllm cannot enforce {fault}. Change the schema, or use engine "
            "transformers, which tries again after an answer that does not fit"
        )


def check_accepts(spec: EngineSpec) -> frozenset[Modality]:
    """The requests that the engine takes. Raises ConfigError if `spec.needs` has others."""
    accepts = capabilities(spec).accepts
    if "image" in spec.needs - accepts:
        if "image" not in _engine_accepts(spec):
            raise ConfigError(
                f"engine {spec.engine} takes no images, which this pipeline needs. Use a model with another engine"
            )
        raise ConfigError(f"model {spec.model!r} takes no images: name a vision-language model")
    if "text" in spec.needs - accepts:
        raise ConfigError(
            f"engine {spec.engine} takes only requests with an image, but this pipeline sends requests "
            "without one; engines that take those: vllm, transformers, openai. Use a model with one of them"
        )
    return accepts


def _check_architecture(spec: EngineSpec) -> None:
    """Raises ConfigError for a model that another engine runs, such as a detector with engine vllm."""
    if spec.engine not in ("vllm", "transformers", "dual_encoder", "detector"):
        return
    config = _model_config(spec)
    names = [str(name) for name in config.get("architectures") or ()]
    if not names or config.get("auto_map"):
        return
    if spec.engine == "dual_encoder" and all(name.endswith(_GENERATIVE) for name in names):
        raise ConfigError(
            f"model {spec.model!r} is a {names[0]}, which has no embeddings of images and texts: engine dual_encoder "
            "needs a CLIP, SigLIP or SigLIP 2 model"
        )
    if spec.engine == "detector" and not _DETECTORS.issuperset(names):
        raise ConfigError(
            f"model {spec.model!r} is a {names[0]}, which finds no boxes of phrases: engine detector runs OWLv2, "
            "OWL-ViT, Grounding DINO and MM Grounding DINO"
        )
    for engine, known in (("dual_encoder", _DUAL_ENCODERS), ("detector", _DETECTORS)):
        if spec.engine != engine and known.issuperset(names):
            raise ConfigError(f"model {spec.model!r} is a {names[0]}, which writes no text: use engine {engine}")


def _modalities(config: Mapping[str, Any]) -> frozenset[Modality] | None:
    """The requests that a model with this config.json takes; None: unknown.

    Models with code of their own (`auto_map`) often hide what they are.
    """
    names = config.get("architectures") or ()
    if any(key.startswith(_VISION) or key.endswith("_vision") for key in config):
        return BOTH
    if names and not config.get("auto_map") and all(str(name).endswith("ForCausalLM") for name in names):
        return frozenset({"text"})
    return None


def _model_config(spec: EngineSpec) -> dict[str, Any]:
    """The config.json of a model on this machine; empty if it is not here or cannot be read."""
    if spec.model in EMBEDDED:
        file: Path | None = model_path(spec.model) / "config.json"
    elif Path(spec.model).is_dir():
        file = Path(spec.model) / "config.json"
    else:
        file = _cached_config(spec.model, spec.revision)
    try:
        config = json.loads(file.read_bytes()) if file is not None else {}
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _cached_config(model: str, revision: str | None) -> Path | None:
    try:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        return None
    try:
        found = try_to_load_from_cache(model, "config.json", revision=revision)
    except HFValidationError:  # not a hub id
        return None
    return Path(found) if isinstance(found, str) else None
