"""The keys of a pipeline file with their defaults and descriptions. No other module names them."""

from __future__ import annotations

import datetime
import re
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)

from recaption.config.checks import of_generations, of_names, of_output, of_weights
from recaption.section import AsYaml, Free, OneOrMore, Section
from recaption.types import FlairList, WholeImage

Names = Annotated[
    tuple[str, ...],
    OneOrMore,
    WithJsonSchema({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}),
]
_ID = r"^[a-z][a-z0-9_]{0,31}$"
Id = Annotated[str, Field(pattern=_ID)]


def _known_engine(name: str) -> str:
    if not re.fullmatch(ENGINE_PATTERN, name):
        raise ValueError(
            f"unknown engine {name!r}; allowed: vllm, transformers, openai, dual_encoder, detector, column and "
            "package.module:Class"
        )
    return name


_ON_TRANSFORMERS = ("transformers", "dual_encoder", "detector")
ENGINE_PATTERN = r"vllm|transformers|openai|dual_encoder|detector|column|[\w.]+:\w+"
EngineName = Annotated[
    str, AfterValidator(_known_engine), WithJsonSchema({"type": "string", "pattern": f"^({ENGINE_PATTERN})$"})
]


class Limits(Section):
    """Limits for an image, checked on its header. An image outside them becomes a reject with a reason."""

    min_side: int = Field(16, ge=1, description="Smallest length of the shorter side, in pixels")
    max_pixels: int = Field(
        100_000_000, ge=1, description="Largest width x height as stored; protects from decompression bombs"
    )
    max_aspect: float = Field(20.0, ge=1, description="Largest ratio of the longer to the shorter side")


class Source(Section):
    """The images and the columns that come with them."""

    path: str = Field(
        description="A file, folder, glob or brace pattern; a local path or an fsspec URL, such as "
        "hf://datasets/ORG/NAME/data/*.tar; or a dataset of the Hugging Face Hub by name, hf://datasets/ORG/NAME"
    )
    config: str | None = Field(
        None, description="Config (subset) of a dataset of the Hub that path names; default: its default or only config"
    )
    split: str | None = Field(None, description="Split of a dataset of the Hub that path names; default: train")
    format: Literal["auto", "webdataset", "parquet", "folder", "classes"] = Field(
        "auto",
        description="Layout of the files; auto: detected from their names. classes: a list of classes without images, "
        "as txt, csv, json, yaml or parquet",
    )
    raw_caption: str | None = Field(
        "caption", description="Column with the caption that comes with the image; null: none"
    )
    image: str | None = Field(
        None, description="Parquet: column with the image; default: image or jpg, whichever exists"
    )
    key: str | None = Field(
        None,
        description="Parquet: column with the key; default: key, if it exists. classes: column with the name of the "
        "class; default: name, class, class_name or label",
    )
    keys: Literal["source", "positional"] = Field(
        "source",
        description="source: the source's keys if they are plain and unique in a shard; for a folder, keys from paths. "
        "positional: <shard>_<row>",
    )
    captions: str | None = Field(
        None, description="Folder: a CSV, JSON, JSONL or Parquet table with a file_name column"
    )
    exclude: str | None = Field(
        None,
        description="Images to leave out: a Parquet file with a sha256 column, or a text file with one sha256 per line",
    )
    limits: Limits = Limits()
    orientation: Literal["exif", "stored"] = Field(
        "exif",
        description="exif: the model and the dataset get upright images; stored: pixels as they are stored",
    )


_SET_BY_US: Final = frozenset(
    (
        *("add_generation_prompt", "chat_template", "continue_final_message", "conversation", "documents"),
        *("load_audio_from_video", "max_length", "padding", "processor_kwargs", "return_assistant_tokens_mask"),
        *("return_dict", "return_tensors", "tokenize", "tools", "truncation"),
    )
)
"""Parameters of `apply_chat_template` of transformers 5 that are not variables of a template."""


class Model(Section):
    """A model and how it is run. Batch settings in engine_args do not change the identity of answers."""

    engine: EngineName = Field(
        description="vllm, transformers, openai (any server with the OpenAI chat API, at engine_args.base_url), "
        "dual_encoder (CLIP, SigLIP and SigLIP 2: scores), detector (OWLv2, Grounding DINO: boxes), column "
        "(captions that exist in a column of the source), "
        "or package.module:Class for your own engine"
    )
    model: str | None = Field(
        None,
        description=(
            "Hub id or local folder; scene, scene-verifier, scene-encoder, scene-boxes, scene-text, scene-rewriter: "
            "the embedded models; openai: the model's name on the server"
        ),
    )
    revision: str | None = Field(
        None, description="Branch, tag or commit on the hub; default: the newest commit at the first run"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Type of weights and activations"
    )
    quantization: str | None = Field(None, description="Quantisation method, passed to vLLM")
    max_pixels: int | None = Field(None, ge=1, description="Pixels of an image at most; larger images are scaled down")
    max_model_len: int | None = Field(
        None, ge=16, description="Longest prompt plus answer, in tokens, image tokens included"
    )
    chat_template_kwargs: dict[str, str | bool | int | float | None] = Field(
        default_factory=dict,
        description="Variables of the model's chat template, such as {enable_thinking: false}: engines vllm and "
        "transformers. For openai, use engine_args.extra_body",
    )
    replicas: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto", description="Engines of this model; auto: one per tensor_parallel GPUs"
    )
    tensor_parallel: int = Field(1, ge=1, description="GPUs of one engine")
    require_gpu: Annotated[Literal["auto"] | bool, AsYaml] = Field(
        "auto",
        description="On a cluster, wait until a node has the GPUs of an engine, instead of using CPUs; auto: if engine "
        "is vllm, built for GPUs, or tensor_parallel is above 1. On one machine, true makes a missing GPU an error",
    )
    cpus: Literal["auto"] | Annotated[float, Field(ge=0)] = Field(
        "auto",
        description="CPU cores that Ray reserves for a replica; without a GPU also its number of threads. "
        "auto: reserve one core; without a GPU the replicas of a node share all of its cores",
    )
    renderers: Literal["auto"] | Annotated[int, Field(ge=0)] = Field(
        "auto", description="Processes per replica that decode and render images; auto: as many as keep its queue full"
    )
    hang_seconds: float = Field(
        300,
        gt=0,
        description="Restart an engine that produces no token for this long while requests run; "
        "openai: engine_args timeout and attempts limit each request instead",
    )
    host_memory_gib: float | None = Field(
        None, gt=0, description="Restart a replica that uses more host memory; default: its share of 80 % of the node"
    )
    engine_args: Annotated[dict[str, Any], Free] = Field(
        default_factory=dict, description="Further arguments, passed to the engine unchanged"
    )

    @property
    def reserved_cpus(self) -> float:
        return 1 if self.cpus == "auto" else self.cpus

    @model_validator(mode="after")
    def _model_is_named(self) -> Model:
        if self.engine != "column" and not self.model:
            raise ValueError(f"engine {self.engine} needs `model`: a hub id, a local folder, or scene")
        if self.engine in ("column", "openai") and self.require_gpu is True:
            raise ValueError(f"engine {self.engine} uses no GPU of this cluster: remove require_gpu")
        if self.engine in _ON_TRANSFORMERS and (self.quantization or self.tensor_parallel > 1):
            raise ValueError(
                f"quantization and tensor_parallel are settings of vLLM; with {self.engine}, use a quantised model"
            )
        return self

    @model_validator(mode="after")
    def _has_a_template(self) -> Model:
        if self.chat_template_kwargs and self.engine in ("column", "detector", "dual_encoder", "openai"):
            more = ". Use engine_args.extra_body" if self.engine == "openai" else ""
            raise ValueError(f"chat_template_kwargs is not for engine {self.engine}{more}")
        if taken := sorted(_SET_BY_US & self.chat_template_kwargs.keys()):
            raise ValueError(f"chat_template_kwargs: {', '.join(taken)} cannot be set; recaption sets this itself")
        return self


class SamplingConfig(Section):
    """How the model samples tokens."""

    max_tokens: int = Field(320, ge=1, description="Longest answer, in tokens")
    temperature: float = Field(0.0, ge=0, le=2, description="0: greedy decoding")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus sampling; 1: off")
    top_k: int = Field(0, ge=0, description="Sample from this many most likely tokens; 0: from all")
    seed: int = Field(0, ge=0, description="Seed of the first attempt; each image derives its own")
    stop: Names = Field((), description="Strings that end the answer")
    ignore_eos: Annotated[bool, AsYaml] = Field(False, description="Generate exactly max_tokens; for benchmarks only")


class Retry(Section):
    """Which answers are retried, and how. Attempt 2 has a new seed and temperature, later ones fewer pixels."""

    on: Annotated[tuple[Literal["error", "empty", "repetition", "refusal", "length"], ...], OneOrMore] = Field(
        ("empty", "error", "refusal", "repetition"),
        description="Kinds of answers to retry. length: answers cut off at max_tokens; without it they are kept",
    )
    temperature: float = Field(0.7, ge=0, le=2, description="Lowest temperature of later attempts")
    pixel_share: float = Field(
        0.5, gt=0, le=1, description="Pixels of the third and later attempts, as a share of the attempt before"
    )

    @field_validator("on")
    @classmethod
    def _sorted(cls, on: tuple[str, ...]) -> tuple[str, ...]:
        """Sorted, because the order must not change the fingerprint."""
        return tuple(sorted(set(on)))


class Breaker(Section):
    """Stops a run in which too much goes wrong."""

    window: int = Field(1000, ge=10, description="Number of latest results (images x generations) that are checked")
    rejects: float = Field(0.5, gt=0, le=1, description="Largest share of rejected results")
    degenerate: float = Field(
        0.5, gt=0, le=1, description="Largest share of results whose first answer was empty, a repetition or a refusal"
    )


class Budget(Section):
    """Limits the cost of an output, over all of its runs."""

    gpu_hours: float | None = Field(
        None,
        gt=0,
        description="GPU hours of all runs of the output. At the limit, the run stores its finished answers and ends "
        "with code 1; to continue, start it with a higher limit. An engine without a GPU counts as one GPU",
    )


TASK_PATTERN = r"[a-z][a-z0-9_]{0,31}|[\w.]+:\w+"


class GenerationConfig(Section):
    """One configured question, sent for every image. Further keys are settings of its task."""

    model_config = ConfigDict(json_schema_extra={"patternProperties": {"^x-": {}}, "additionalProperties": True})

    id: Id = Field(description="Name of the generation; part of caption ids and folder names")
    model: str = Field(description="One of the names in models")
    task: str = Field(
        "caption", pattern=f"^({TASK_PATTERN})$", description="What is made: a task's name, or package.module:Class"
    )
    over: Names = Field((), description="Ids of the generations whose answers it reads")
    settings: Annotated[dict[str, Any], Free] = Field(
        default_factory=dict, description="Settings of the task; usually written beside the other keys"
    )
    logprobs: Annotated[bool, AsYaml] = Field(
        False, description="Store the log-probability of each token with the answers"
    )
    prompt: str | None = Field(None, description="Name of a shipped prompt, or path of a prompt file")
    column: str | None = Field(None, description="Engine column: the source column that holds the captions")
    granularity: WholeImage | None = Field(
        None, description="Kind of caption; default: the prompt's; engine column: long"
    )
    sampling: SamplingConfig = SamplingConfig()
    attempts: int = Field(3, ge=1, le=10, description="Requests for one image before it becomes a reject")
    retry: Retry = Retry()

    @model_validator(mode="before")
    @classmethod
    def _settings_beside(cls, data: Any) -> Any:
        """A task may have keys of its own: those that are not known here are its settings."""
        if not isinstance(data, dict) or data.get("task", "caption") == "caption":
            return data
        own = {k: v for k, v in data.items() if k not in cls.model_fields and not str(k).startswith("x-")}
        given = data.get("settings", {})
        if not own or not isinstance(given, dict):
            return data
        if twice := own.keys() & given.keys():
            raise ValueError(f"{', '.join(sorted(twice))}: given beside the other keys and in settings; remove one")
        return {k: v for k, v in data.items() if k not in own} | {"settings": {**given, **own}}

    @model_serializer(mode="wrap")
    def _as_in_the_file(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the keys of tasks where they have their defaults: builds from before 1.3 keep their names."""
        dumped: dict[str, Any] = dump(self)
        if self.task == "caption":
            dumped.pop("task", None)
        for name in ("over", "settings", "logprobs"):
            if not getattr(self, name):
                dumped.pop(name, None)
        return dumped


Share = Annotated[float, Field(ge=0, le=1)]


class Dissimilar(Section):
    """A factor for sub-captions that a dual encoder finds dissimilar to the image. Scales differ between models, so
    `low` and `high` have no defaults."""

    generation: str = Field(description="The generation with `task: score`")
    column: Literal["score", "logit", "f_clip_score"] = Field("score", description="Column of the table `scores`")
    low: FiniteFloat = Field(description="At most this value: `factor`")
    high: FiniteFloat = Field(description="At least this value: no effect. Linear in between")
    factor: Share = Field(0.1, description="Factor of the weight")

    @model_validator(mode="after")
    def _rises(self) -> Dissimilar:
        if self.low >= self.high:
            raise ValueError(f"low is {self.low:g} and high is {self.high:g}; low must be below high")
        return self


class Weights(Section):
    """Factors of a sub-caption's weight. Factors that apply are multiplied: 1 has no effect, 0 excludes the text."""

    duplicate: Share = Field(0.0, description="Repeats an earlier sub-caption of the image")
    fragment: Share = Field(0.1, description="Is an incomplete sentence, a heading or a label")
    meta: Share = Field(0.1, description="Is about the picture as such, and fits many images")
    negation: Share = Field(0.1, description="States what is absent")
    opener: Share = Field(0.9, description='Begins with an opener, such as "The image shows"')
    no_objects: Share = Field(0.4, description="Names no object")
    one_plain_object: Share = Field(0.8, description="Names one object, without an attribute or a number")
    short: tuple[Share, ...] = Field(
        (0.0, 0.2, 0.4, 0.7), description="Has 0, 1, 2, … words; the factor of longer texts is 1"
    )
    long_words: int = Field(55, ge=1, description="Number of words above which `long` applies; about CLIP's 77 tokens")
    long: Share = Field(0.7, description="Has more words than long_words")
    repeated: Share = Field(
        0.8, description="All of its content words occur in earlier sub-captions; if only some do, in proportion"
    )
    unsupported: Share = Field(
        0.1, description="A verification of it is clearly negative; the factor rises to 1 for a clearly positive one"
    )
    dissimilar: Dissimilar | None = Field(
        None, description="Is dissimilar to the image, by a generation with task `score`"
    )

    @model_serializer(mode="wrap")
    def _as_in_the_file(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without newer keys where they have their defaults: builds from before 1.3 keep their names."""
        dumped: dict[str, Any] = dump(self)
        for name in ("unsupported", "dissimilar"):
            if getattr(self, name) == type(self).model_fields[name].default:
                dumped.pop(name, None)
        return dumped


class Annotate(Section):
    """How captions are split and tagged."""

    splitter: Literal["spacy", "flair_regex"] = Field(
        "spacy", description="spacy: recaption's rules; flair_regex: the split of FLAIR's code, for comparison"
    )
    spacy_model: str | None = Field(
        None, description="An installed spaCy pipeline, or a folder with one; default: the shipped English tagger"
    )
    vocabulary: str | None = Field(
        None, description="JSON file with labels for objects: a list, label: [synonyms], or categories of COCO or LVIS"
    )
    weights: Weights = Weights()
    tables: Annotated[tuple[Annotated[str, Field(pattern=r"^([\w.]+:)?\w+$")], ...], OneOrMore] = Field(
        (), description="Further tables: concepts, attribute_pairs, triples, sheared, or a class, package.module:Class"
    )
    tokenizers: Names = Field(
        (),
        description="Tokenizers for token counts: clip, open_clip, siglip, a tokenizers JSON, a model folder, a hub id",
    )


class Holdout(Section):
    """The split val: images held out of training, chosen by their sha256."""

    fraction: float = Field(ge=0, lt=1, description="Share of the images")


class SamplingPolicy(Section):
    """The sampling policy recommended to trainers; written into the manifest. The defaults are an opinion: no
    measurement with photographs supports them."""

    policy: Literal["weighted", "flair", "dreamlip", "long", "short", "raw"] = Field(
        "weighted", description="Name of the policy"
    )
    k: int = Field(8, ge=1, description="Texts per image and step")
    max_merge: int = Field(3, ge=1, description="Consecutive sub-captions joined into one text, at most")
    p_raw: float = Field(0.1, ge=0, le=1, description="Share of texts that are the raw caption")

    @property
    def basis(self) -> Literal["opinion", "pipeline"]:
        """Where the values come from: `opinion` for the defaults, `pipeline` for any other."""
        return "opinion" if self == SamplingPolicy() else "pipeline"


_Language = Annotated[str, Field(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$")]  # BCP 47


class Card(Section):
    """Facts for the dataset card that recaption cannot know. The card leaves out what is not given."""

    description: str | None = Field(None, description="A paragraph about the dataset")
    license: str | None = Field(
        None, description="Licence of the dataset, as Hugging Face names it: cc-by-4.0, other, …"
    )
    source: str | None = Field(None, description="Origin of the images, a name or URL; default: source.path")
    source_license: str | None = Field(None, description="Terms of the images and their original captions, in words")
    language: Annotated[tuple[_Language, ...], OneOrMore] = Field(
        (), description="Languages of the texts, as BCP 47 tags"
    )
    creator: str | None = Field(None, description="Publisher of the dataset")
    citation: str | None = Field(None, description="Citation in BibTeX")
    url: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = Field(None, description="Web page of the dataset")
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = Field(
        "1.0.0", description="Version of the dataset, MAJOR.MINOR.PATCH"
    )
    published: Annotated[datetime.date | None, AsYaml] = Field(None, description="Date of publication, YYYY-MM-DD")


class Trainer(Section):
    """The trainer that reads the dataset. A build warns if it has fewer shards than the trainer has loader workers."""

    gpus: int = Field(1, ge=1, description="GPUs on all nodes")
    workers: int = Field(1, ge=1, description="Loader workers per GPU")

    @property
    def readers(self) -> int:
        return self.gpus * self.workers


class Output(Section):
    """Location and format of the dataset."""

    path: str = Field(description="Folder for answers, builds and metrics; a local path or an fsspec URL")
    format: Literal["auto", "sidecar", "webdataset", "parquet"] = Field(
        "auto", description="Format of the dataset; auto: sidecar for tars, else parquet"
    )
    samples_per_shard: Literal["source"] | Annotated[int, Field(ge=1)] = Field(
        "source",
        description="source: one dataset shard per source shard. N: each shard but the last has exactly N usable train "
        "samples (formats webdataset and parquet)",
    )
    images: Literal["jpeg", "passthrough"] = Field(
        "jpeg", description="jpeg: transcode all other formats; passthrough: keep PNG and WebP too"
    )
    profile: Literal["flair"] | None = Field(
        None, description="flair: write FLAIR's seven sentence lists into the JSON of webdataset samples"
    )
    profile_map: dict[FlairList, Id] = Field(
        default_factory=dict,
        description="Generation (or raw) that fills each list; default: by granularity, in pipeline order",
    )
    profile_fill: Literal["empty", "repeat"] = Field(
        "empty", description="Content of the remaining lists: nothing, or a generation of the same granularity again"
    )
    require: Names = Field(
        (), description="Generations that an image needs; without them it is rejected. Default: the first"
    )
    primary: Names = Field(
        (), description="Generations for the .txt member, first choice first; default: pipeline order, then raw"
    )
    holdout: Holdout | None = Field(None, description="Default: no images are held out")
    sampling: SamplingPolicy = SamplingPolicy()
    card: Card = Card()
    token_ids: Names = Field((), description="Tokenizers to store token ids for, named as in annotate.tokenizers")
    trainer: Trainer | None = None
    max_reject_share: float = Field(
        0.5, ge=0, le=1, description="Exit with code 1 if a larger share of the images is rejected"
    )


class Pipeline(Section):
    """A pipeline: source, models, generations, annotation and output."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", description="Name of the dataset")
    source: Source
    models: dict[Id, Model] = Field(min_length=1, description="The models, by a name of your choice")
    generate: tuple[GenerationConfig, ...] = Field(min_length=1, description="The questions, in order")
    dedupe: Literal["shard", "none"] = Field(
        "shard",
        description="shard: send one request for equal images with equal prompts in a shard; none: one per image",
    )
    breaker: Breaker = Breaker()
    budget: Budget = Budget()
    notify: str | None = Field(
        None,
        description="URL that gets a JSON POST when a run ends, fails, is stopped by the breaker, or stores no answer "
        "for 15 minutes; env:NAME: the URL is in the environment variable NAME. It is not stored in the output",
    )
    annotate: Annotate = Annotate()
    output: Output
    presets: dict[Id, Annotated[dict[str, Any], Free]] = Field(
        default_factory=dict,
        exclude=True,  # applied when the file is read: an output has the result, and fingerprints depend on it alone
        description="Overrides by the name of a preset, key.path: value, with the paths of --set",
    )

    @field_validator("notify")
    @classmethod
    def _is_an_address(cls, notify: str | None) -> str | None:
        if notify is not None and not re.fullmatch(r"https?://\S+|env:[A-Za-z_]\w*", notify):
            raise ValueError("has to be a URL (http:// or https://), or env:NAME, a variable that has one")
        return notify

    @model_validator(mode="after")
    def _names_agree(self) -> Pipeline:
        known = [*(generation.id for generation in self.generate), "raw"]
        named = [*of_names(known[:-1], self.generate, self.models), *of_generations(self.generate, self.models)]
        if wrong := [*named, *of_weights(self.annotate.weights, self.generate), *of_output(self.output, known)]:
            raise ValueError("\n".join(wrong))
        return self

    @property
    def require(self) -> tuple[str, ...]:
        first = next((g for g in self.generate if g.task == "caption"), self.generate[0])
        return self.output.require or (first.id,)

    @property
    def primary(self) -> tuple[str, ...]:
        """Generations that make no captions are skipped where a text is needed."""
        return self.output.primary or (*(generation.id for generation in self.generate), "raw")
